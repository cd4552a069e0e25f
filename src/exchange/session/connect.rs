//! Opens the socket: bounded in time, frame size and buffers; never compressed; over whichever address answers.

use super::super::bitget::consts::FRAME_MAX_BYTES;
use super::super::retry_after::retry_after;
use super::super::tls;
use super::EndReason;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, lookup_host};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::http::header::RETRY_AFTER;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const READ_BUFFER_BYTES: usize = 64 * 1024;
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// What may wait to be written; everything we send is small, so more means that nobody reads.
const WRITE_BUFFER_MAX_BYTES: usize = 256 * 1024;
/// An address that has not answered by then is joined by the next one: a dead IPv6 route answers nothing at all.
const HEAD_START: Duration = Duration::from_millis(250);

/// `now_ms` is for answers that name the time of the next try.
pub(super) async fn connect(url: &str, limit: Duration, now_ms: i64) -> Result<Socket, EndReason> {
    match tokio::time::timeout(limit, open(url)).await {
        Err(_) => Err(EndReason::ConnectTimeout(limit)),
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(Error::Http(answer))) => {
            let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = wait.and_then(|text| retry_after(text, now_ms));
            Err(EndReason::Refused { status: answer.status().as_u16(), after })
        }
        Ok(Err(error)) => Err(EndReason::Connect(error.to_string())),
    }
}

async fn open(url: &str) -> Result<Socket, Error> {
    let request = url.into_client_request()?;
    let tls = request.uri().scheme_str() == Some("wss");
    let host = request.uri().host().ok_or(Error::Url(UrlError::NoHostName))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = request.uri().port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = tcp(lookup_host((host, port)).await?.collect()).await?;
    stream.set_nodelay(true)?;
    // A message is as long as a frame may be: what comes in many pieces has no more room.
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES)
        .max_message_size(Some(FRAME_MAX_BYTES))
        .max_frame_size(Some(FRAME_MAX_BYTES));
    let connector = if tls { Connector::Rustls(tls::client_config()) } else { Connector::Plain };
    let (socket, _answer) = client_async_tls_with_config(request, stream, Some(config), Some(connector)).await?;
    Ok(socket)
}

/// The first of the addresses that answers; both families get their turn early.
async fn tcp(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = alternating(addresses).into_iter();
    let mut trying = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    loop {
        if let Some(address) = waiting.next() {
            trying.push(TcpStream::connect(address));
        } else if trying.is_empty() {
            return Err(failed);
        }
        tokio::select! {
            Some(outcome) = trying.next() => match outcome {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            },
            () = tokio::time::sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

/// In the resolver's order, but one of the other family after each.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first);
    let longest = preferred.len().max(other.len());
    (0..longest).flat_map(|n| [preferred.get(n), other.get(n)]).flatten().copied().collect()
}

/// Reads what still comes for a moment: closing with unread bytes would take the goodbye away from the other end.
pub(super) async fn read_out(socket: &mut Socket, limit: Duration) {
    let mut rest = vec![0; 16 * 1024];
    let read = async { while socket.get_mut().read(&mut rest).await.is_ok_and(|n| n > 0) {} };
    let _ = tokio::time::timeout(limit, read).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_get_their_turn_early() {
        let all = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let resolved = all(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let expected = all(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(alternating(resolved), expected);
        assert_eq!(alternating(Vec::new()), []);
    }

    #[tokio::test]
    async fn an_address_that_answers_nothing_is_overtaken() {
        // A full queue of connections: the kernel answers nothing any more, as a black hole does.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let dead = socket.listen(1).unwrap();
        let mut filling = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(dead.local_addr().unwrap())).await
        {
            filling.push(stream);
        }
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let found = tcp(vec![dead.local_addr().unwrap(), alive.local_addr().unwrap()]).await.unwrap();
        assert_eq!(found.peer_addr().unwrap(), alive.local_addr().unwrap());
    }
}
