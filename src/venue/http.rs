//! The one port: plain HTTP/1.1, upgraded to WebSocket at the four doors.

use super::core::Shared;
use super::faults::FaultName;
use super::patient::Patient;
use super::session::{self, Door};
use super::{control, rest};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub type Reply = Response<Full<Bytes>>;

/// The largest body a request may have.
const BODY_MAX: usize = 64 * 1024;

/// Connections of any kind at a time; the next one waits.
const SOCKETS_MAX: usize = 4_096;

/// The connection is dropped without an answer.
#[derive(Debug, thiserror::Error)]
#[error("connection refused on purpose")]
struct Refused;

/// Accepts connections until the exchange stops.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(SOCKETS_MAX));
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = shared.stopped() => return,
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        connection(stream, peer, shared).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others may go on and give some back.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = shared.stopped() => return,
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let time = shared.config.limits.request_time;
    let for_service = Arc::clone(&shared);
    let service = service_fn(move |request| route(request, peer, Arc::clone(&for_service)));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(time)
        .serve_connection(TokioIo::new(Patient::new(stream, time)), service)
        .with_upgrades();
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                tracing::debug!(%error, "connection over");
            }
        }
        () = shared.stopped() => {}
    }
}

async fn route(request: Request<Incoming>, peer: SocketAddr, shared: Arc<Shared>) -> Result<Reply, Refused> {
    let path = request.uri().path().to_owned();
    if let Some(door) = Door::at(&path) {
        return upgrade(request, door, peer, shared);
    }
    let (head, body) = request.into_parts();
    let body =
        match tokio::time::timeout(shared.config.limits.request_time, Limited::new(body, BODY_MAX).collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Err(_) => return Ok(refused(&shared, StatusCode::REQUEST_TIMEOUT, "40020", "body too slow")),
            Ok(Err(_)) => return Ok(refused(&shared, StatusCode::PAYLOAD_TOO_LARGE, "40020", "body too large")),
        };
    if let Some(command) = path.strip_prefix("/_exchange/") {
        return Ok(control::answer(&shared, command, head.uri.query().unwrap_or_default(), &body));
    }
    Ok(rest::answer(&shared, peer.ip(), &head, &body).await)
}

fn upgrade(request: Request<Incoming>, door: Door, peer: SocketAddr, shared: Arc<Shared>) -> Result<Reply, Refused> {
    if shared.core().faults.turn(FaultName::RefuseConnect, None, door.private).is_some() {
        return Err(Refused);
    }
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
        return Ok(json(StatusCode::UPGRADE_REQUIRED, "a WebSocket client is needed here".to_owned()));
    };
    let limits = &shared.config.limits;
    let open = shared.core().hub.connections_of(peer.ip());
    if open >= limits.connections || !shared.peers.may_connect(peer.ip(), limits, Instant::now()) {
        tracing::debug!(%peer, open, "too many connections");
        shared.core().hub.met.connects += 1;
        return Ok(refused(&shared, StatusCode::TOO_MANY_REQUESTS, "30007", "too many connections"));
    }
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => match upgraded.downcast::<TokioIo<Patient<TcpStream>>>() {
                Ok(parts) => {
                    session::serve(shared, parts.io.into_inner().into_inner(), &parts.read_buf, door, peer).await;
                }
                Err(_) => tracing::warn!("upgraded connection is no TCP stream"),
            },
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

/// A refusal from before any path was looked at, stamped like every other.
fn refused(shared: &Shared, status: StatusCode, code: &str, message: &str) -> Reply {
    let now_ms = shared.core().now_ms();
    json(status, rest::error_body(code, message, now_ms))
}

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: String) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
