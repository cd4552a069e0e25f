//! The status room: a page for people at `/`, and `/livez`, `/readyz`, `/statusz`, `/metrics` over HTTP, on loopback unless a token guards it.
//! It only reads observation boards, so it answers while other rooms are stuck.

use super::health::Health;
use super::reconciler::ReconcilerCounters;
use super::rejects::Rejects;
use crate::alive::{SILENCE, while_waiting};
use crate::clock::Clock;
use crate::domain::symbol::Symbols;
use crate::exchange::session::Heard;
use crate::exchange::skew::Skew;
use crate::store::board::Board;
use crate::supervise::{Card, Cx, Factory, Fault, Message, Overflow, Progress, Restart, Room};
use crate::telemetry::metrics::Metrics;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{info, warn};

/// The status room is asked over HTTP only; this is its own life.
#[derive(Clone, Copy, Debug)]
pub enum StatusMsg {
    /// Try to listen (again).
    Listen,
}

impl Message for StatusMsg {
    fn kind(&self) -> &'static str {
        "Listen"
    }
}

pub fn card() -> Card {
    Card {
        name: "status",
        purpose: "Shows a page at /, and answers /livez, /readyz, /statusz and /metrics.",
        mailbox: 16,
        overflow: Overflow::Reject,
        deadline: Duration::from_secs(2),
        restart: Restart::Permanent,
        attempts: 2,
        critical: false,
        accepts: &["Listen"],
        emits: &[],
        state_at_restart: "empty: it only reads what others publish",
    }
}

/// Connections at once.
const CONNECTIONS: usize = 64;
/// Time for a request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Then a connection ends after its answer: who takes no answers may not hold a place for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(2);

/// What the pages are made of.
#[derive(Clone)]
pub struct Sources {
    pub health: Health,
    pub rejects: Rejects,
    pub board: Arc<Board>,
    pub symbols: Arc<Symbols>,
    pub metrics: Metrics,
    pub token: Option<SecretString>,
    pub reconciles: ReconcilerCounters,
    pub skew: Skew,
    pub heard: Heard,
    pub started_ms: i64,
    pub clock: Clock,
}

/// Where it came to listen; port 0 takes a free one.
pub type Bound = Arc<Mutex<Option<SocketAddr>>>;

pub struct Status {
    address: SocketAddr,
    sources: Sources,
    bound: Bound,
    /// Somebody else has the port: told once.
    is_taken: Rc<Cell<bool>>,
}

impl Status {
    pub fn factory(address: SocketAddr, sources: Sources, bound: Bound) -> Factory<Self> {
        Arc::new(move |_birth, cx| {
            let mut room = Self { address, sources: sources.clone(), bound: bound.clone(), is_taken: Rc::default() };
            room.listen(cx);
            Ok(room)
        })
    }

    fn listen(&mut self, cx: &mut Cx<Self>) {
        let (address, sources, bound, me) = (self.address, self.sources.clone(), self.bound.clone(), cx.myself());
        let (progress, is_taken) = (cx.progress(), self.is_taken.clone());
        cx.task("http", async move {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let local = listener.local_addr().unwrap_or(address);
                    *bound.lock().unwrap_or_else(PoisonError::into_inner) = Some(local);
                    info!(%local, "status pages");
                    progress.expect_within(SILENCE);
                    serve(listener, Rc::new(sources), &progress).await;
                }
                Err(error) => {
                    if !is_taken.replace(true) {
                        warn!(%address, %error, "status pages cannot listen: free the port or change [status] listen");
                    }
                    tokio::time::sleep(RETRY).await;
                    let _ = me.post(StatusMsg::Listen);
                }
            }
        });
    }
}

impl Room for Status {
    type Msg = StatusMsg;

    fn handle(&mut self, _msg: &StatusMsg, cx: &mut Cx<Self>) -> Result<(), Fault> {
        self.listen(cx);
        Ok(())
    }
}

async fn serve(listener: TcpListener, sources: Rc<Sources>, progress: &Progress) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        crate::fault_points::never("status").await;
        progress.beat();
        let Ok(slot) = while_waiting(|| progress.beat(), slots.clone().acquire_owned()).await else { return };
        let stream = match while_waiting(|| progress.beat(), listener.accept()).await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: do not spin.
                warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let sources = sources.clone();
        connections.spawn_local(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &sources);
                async move { Ok::<_, Infallible>(response) }
            });
            attend(stream, service, CONNECTION_LIFE, HEAD_LIMIT).await;
            drop(slot);
        });
    }
}

/// Answers one client until it hangs up, which is no news, or its life is over: then within `grace` to the end of an
/// answer.
async fn attend<I, S>(stream: I, service: S, life: Duration, grace: Duration)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(16 * 1024);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    if tokio::time::timeout(life, connection.as_mut()).await.is_ok() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(grace, connection).await;
}

/// For people; it holds no data, and reads /statusz every second.
const PAGE: &str = include_str!("status_page.html");
/// Nothing from elsewhere, nothing to elsewhere, and not inside of another's page.
const PAGE_MAY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                        img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

fn people() -> Response<Full<Bytes>> {
    let mut response = page(StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned());
    let may = hyper::header::HeaderValue::from_static(PAGE_MAY);
    response.headers_mut().insert(hyper::header::CONTENT_SECURITY_POLICY, may);
    response
}

fn answer(request: &Request<Incoming>, sources: &Sources) -> Response<Full<Bytes>> {
    // A browser cannot show a token for the page itself; what the page reads is guarded.
    if request.uri().path() == "/" && matches!(*request.method(), Method::GET | Method::HEAD) {
        return people();
    }
    if !is_allowed(request, sources) {
        return page(StatusCode::UNAUTHORIZED, "text/plain", "present the token: Authorization: Bearer …\n".to_owned());
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/livez" => livez(sources),
        "/readyz" => readyz(sources),
        "/statusz" => page(StatusCode::OK, "application/json", format!("{}\n", statusz(sources))),
        "/metrics" => {
            super::observe::observe(sources, sources.clock.now_ms());
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            page(StatusCode::OK, kind, sources.metrics.encode())
        }
        _ => page(StatusCode::NOT_FOUND, "text/plain", "try / /livez /readyz /statusz /metrics\n".to_owned()),
    }
}

fn is_allowed(request: &Request<Incoming>, sources: &Sources) -> bool {
    let Some(token) = &sources.token else { return true };
    let shown = request.headers().get(AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
    // Equal length and every byte looked at: the time taken tells nothing about the token.
    shown.is_some_and(|shown| {
        let token = token.expose_secret().as_bytes();
        shown.len() == token.len() && shown.iter().zip(token).fold(0, |d, (a, b)| d | (a ^ b)) == 0
    })
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

/// The process makes progress. Redis and the exchange are not asked: restarting would not bring them back.
fn livez(sources: &Sources) -> Response<Full<Bytes>> {
    let stuck = sources.health.stuck();
    if stuck.is_empty() {
        page(StatusCode::OK, "text/plain", "alive\n".to_owned())
    } else {
        page(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("stuck: {}\n", stuck.join(", ")))
    }
}

fn readyz(sources: &Sources) -> Response<Full<Bytes>> {
    let r = sources.health.readiness();
    let status = if sources.health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": status == StatusCode::OK,
        "stale_keys": r.stale_keys,
        "problems": r.problems,
        "unwritten_symbols": r.unwritten_symbols,
        "redis": sources.board.link().label(),
    });
    page(status, "application/json", format!("{body}\n"))
}

/// Everything that can be seen, as one JSON object.
pub fn statusz(sources: &Sources) -> serde_json::Value {
    let symbols: Vec<_> = sources
        .symbols
        .iter()
        .take(100)
        .map(|(id, symbol)| {
            let market = sources.board.market(id).read();
            let side = |s| {
                let p = sources.board.position(id, s).read();
                json!({"verified_ms": p.verified_ms, "seq": p.accepted_seq, "stale": p.stale})
            };
            json!({
                "symbol": symbol.name,
                "market": {
                    "accepted_seq": market.accepted_seq, "written_seq": market.written_seq,
                    "verified_ms": market.verified_ms, "written_ms": market.written_ms, "stale": market.stale,
                },
                "long": side(crate::domain::position::HoldSide::Long),
                "short": side(crate::domain::position::HoldSide::Short),
            })
        })
        .collect();
    let counts: serde_json::Map<_, _> =
        sources.board.counts.read().into_iter().map(|(name, n)| (name.to_owned(), n.into())).collect();
    let refused: serde_json::Map<_, _> =
        sources.rejects.counts().into_iter().map(|(r, n)| (r.label().to_owned(), n.into())).collect();
    let newest: Vec<_> = sources
        .rejects
        .newest()
        .into_iter()
        .rev()
        .map(|r| {
            json!({
                "reason": r.refusal.label(), "kind": r.kind, "received_ms": r.received_ms,
                "exchange_time_ms": r.exchange_time_ms, "detail": r.detail,
                "symbol": r.symbol.map(|s| sources.symbols.name(s).to_owned()),
            })
        })
        .collect();
    let readiness = sources.health.readiness();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now_ms": sources.clock.now_ms(),
        "ready": sources.health.is_ready(),
        "problems": readiness.problems,
        "stale_keys": readiness.stale_keys,
        "unwritten_symbols": readiness.unwritten_symbols,
        "breaker": match sources.metrics.breaker_state.get() {
            0 => "closed",
            1 => "half_open",
            _ => "open",
        },
        "started_ms": sources.started_ms,
        "redis": {
            "link": sources.board.link().label(), "since_ms": sources.board.link_since_ms(),
            "epoch": sources.board.epoch(), "spool_durable": sources.board.spool_durable(),
        },
        "rooms": sources.health.rooms(),
        "symbols": symbols,
        "counts": counts,
        "refused": refused,
        "refused_newest": newest,
    })
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const ASKED: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    /// A client behind a pipe that holds fewer bytes than an answer has.
    async fn client(life: Duration, grace: Duration) -> (tokio::io::DuplexStream, actix_rt::task::JoinHandle<()>) {
        let (mut near, far) = tokio::io::duplex(1_000);
        let service = service_fn(|_| async { Ok(page(StatusCode::OK, "text/plain", "x".repeat(10_000))) });
        let attended = actix_rt::spawn(attend(far, service, life, grace));
        near.write_all(ASKED).await.expect("taken");
        (near, attended)
    }

    #[actix_rt::test]
    async fn a_client_that_takes_no_answer_is_left_and_one_that_does_is_not_cut() {
        let long = Duration::from_secs(60);
        let (deaf, attended) = client(Duration::from_millis(50), Duration::from_millis(50)).await;
        tokio::time::timeout(long, attended).await.expect("left").expect("no panic");
        drop(deaf);
        let life = Duration::from_secs(4);
        let (mut slow, attended) = client(life, long).await;
        let mut first = [0; 100];
        slow.read_exact(&mut first).await.expect("the answer begins");
        tokio::time::sleep(life).await;
        let mut rest = Vec::new();
        slow.read_to_end(&mut rest).await.expect("all of the answer, and the end of the connection");
        assert!(rest.len() >= 10_000 - 100, "{} bytes", rest.len());
        attended.await.expect("no panic");
    }
}
