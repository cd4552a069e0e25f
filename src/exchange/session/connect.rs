//! Opens the socket: bounded in time, frame size and buffers; never compressed.

use super::super::tls;
use super::EndReason;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A message up to this length is read, so that one that is too long for the protocol is refused and counted
/// without costing the connection; a longer one ends it.
const MESSAGE_MAX_BYTES: usize = 4 * 1024 * 1024;
const READ_BUFFER_BYTES: usize = 64 * 1024;
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// What may wait to be written; everything we send is small, so more means that nobody reads.
const WRITE_BUFFER_MAX_BYTES: usize = 256 * 1024;

pub(super) async fn connect(url: &str, limit: Duration) -> Result<Socket, EndReason> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES)
        .max_message_size(Some(MESSAGE_MAX_BYTES))
        .max_frame_size(Some(MESSAGE_MAX_BYTES));
    let connector = if url.starts_with("wss://") { Connector::Rustls(tls::client_config()) } else { Connector::Plain };
    let opening = connect_async_tls_with_config(url, Some(config), true, Some(connector));
    match tokio::time::timeout(limit, opening).await {
        Err(_) => Err(EndReason::ConnectTimeout(limit)),
        Ok(Ok((socket, _answer))) => Ok(socket),
        Ok(Err(Error::Http(answer))) => Err(EndReason::Connect(format!("http {}", answer.status().as_u16()))),
        Ok(Err(error)) => Err(EndReason::Connect(error.to_string())),
    }
}
