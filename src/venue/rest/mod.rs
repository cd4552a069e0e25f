//! REST at Bitget's paths: envelopes, signatures, the account-type gate, rates, and the faults of all of them.

pub mod key;
pub mod lists;
pub mod market;
pub mod private;
pub mod product;
pub mod public;
pub mod query;
pub mod signature;

use super::account::encode;
use super::config::AccountKind;
use super::core::Shared;
use super::faults::FaultName;
use super::http::{Reply, json};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use query::Query;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A refusal: Bitget's code and text, and the HTTP status it goes out with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    pub fn parameter(name: &str) -> Self {
        Self::new("400172", format!("Parameter verification failed: {name}"))
    }
}

/// The envelope of a refusal.
pub fn error_body(code: &str, message: &str, now_ms: i64) -> String {
    encode::rest_error(code, message, now_ms)
}

/// Requests a second that a path allows, by the vendor's pages; 10 where none is given.
fn rate_of(path: &str) -> u32 {
    match path {
        "/api/v2/mix/position/all-position" => 5,
        "/api/v2/public/time"
        | "/api/v3/public/time"
        | "/api/v2/mix/market/contracts"
        | "/api/v3/market/instruments"
        | "/api/v2/mix/market/tickers"
        | "/api/v3/market/tickers"
        | "/api/v3/account/settings"
        | "/api/v3/account/assets"
        | "/api/v3/position/current-position"
        | "/api/v3/trade/fills"
        | "/api/v3/trade/unfilled-orders" => 20,
        _ => 10,
    }
}

/// Newest requests by path and by who asks: an account (its key) on private paths, an address on public ones.
#[derive(Debug, Default)]
pub struct Rates(Mutex<BTreeMap<String, VecDeque<Instant>>>);

impl Rates {
    const MAX: usize = 4_096;

    /// How many requests are left in this second; `None` = one too many.
    fn left(&self, path: &str, who: &str) -> Option<u32> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = format!("{path} {who}");
        if seen.len() >= Self::MAX && !seen.contains_key(&asked) {
            seen.clear();
        }
        let times = seen.entry(asked).or_default();
        let now = Instant::now();
        while times.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
            times.pop_front();
        }
        let left = rate_of(path).checked_sub(times.len() as u32 + 1)?;
        times.push_back(now);
        Some(left)
    }
}

/// Answers one request.
pub async fn answer(shared: &Arc<Shared>, peer: IpAddr, head: &Parts, body: &Bytes) -> Reply {
    let slow = shared.core().faults.hit(FaultName::RestSlow).map(|spec| spec.number(10_000));
    if let Some(ms) = slow {
        tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(0))).await;
    }
    if let Some(reply) = fault(shared) {
        return reply;
    }
    let path = head.uri.path();
    let now_ms = shared.core().now_ms();
    let mut left = None;
    if shared.config.limits.rest_rates {
        let may = shared.peers.may_ask(peer, &shared.config.limits, Instant::now());
        left = if may { shared.rates.left(path, &who(head, peer)) } else { None };
        if left.is_none() {
            shared.core().hub.met.requests += 1;
            let body = error_body("429", "Too Many Requests", now_ms);
            return with_left(json(StatusCode::TOO_MANY_REQUESTS, body), 0);
        }
    }
    let reply = match dispatch(shared, head, body) {
        Ok(body) => json(StatusCode::OK, body),
        Err(Refusal { status, code, message }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            json(status, error_body(code, &message, now_ms))
        }
    };
    match left {
        Some(left) => with_left(reply, left),
        None => reply,
    }
}

/// Who is counted: private paths are limited by account, all others by address.
fn who(head: &Parts, peer: IpAddr) -> String {
    let key = head.headers.get("ACCESS-KEY").and_then(|key| key.to_str().ok()).unwrap_or_default();
    if private::PATHS.contains(&head.uri.path()) && !key.is_empty() { key.to_owned() } else { peer.to_string() }
}

/// Says how many requests of this path are left in this second.
fn with_left(mut reply: Reply, left: u32) -> Reply {
    reply.headers_mut().insert("x-mbx-used-remain-limit", HeaderValue::from(left));
    reply
}

/// Faults that answer in place of the exchange.
fn fault(shared: &Shared) -> Option<Reply> {
    let mut core = shared.core();
    let now_ms = core.now_ms();
    if core.faults.hit(FaultName::Rest500).is_some() {
        return Some(json(StatusCode::INTERNAL_SERVER_ERROR, error_body("40015", "System is abnormal", now_ms)));
    }
    if core.faults.hit(FaultName::Rest429).is_some() {
        return Some(json(StatusCode::TOO_MANY_REQUESTS, error_body("429", "Too Many Requests", now_ms)));
    }
    if let Some(spec) = core.faults.hit(FaultName::RestBusy) {
        const BUSY: [(&str, &str); 5] = [
            ("40725", "service return an error"),
            ("40808", "Parameter verification exception"),
            ("45001", "Unknown error"),
            ("40015", "System is abnormal, please try again later"),
            ("40200", "Server upgrade, please try again later"),
        ];
        let asked = spec.value.as_deref().unwrap_or("45001");
        let (code, message) = BUSY.into_iter().find(|(code, _)| *code == asked).unwrap_or(BUSY[2]);
        return Some(json(StatusCode::BAD_REQUEST, error_body(code, message, now_ms)));
    }
    if core.faults.hit(FaultName::RestEmptyBody).is_some() {
        return Some(json(StatusCode::OK, String::new()));
    }
    let spec = core.faults.hit(FaultName::RestHtml)?;
    let status = u16::try_from(spec.number(200)).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let page = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>cloudflare</body></html>";
    let mut response = Response::new(http_body_util::Full::new(Bytes::from_static(page.as_bytes())));
    *response.status_mut() = status.unwrap_or(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    Some(response)
}

fn dispatch(shared: &Shared, head: &Parts, body: &Bytes) -> Result<String, Refusal> {
    let path = head.uri.path();
    let raw = head.uri.query().unwrap_or_default();
    if is_v1(path) {
        return Err(Refusal::new("30032", "The V1 API has been decommissioned. Please migrate to a newer version."));
    }
    let query = Query::parse(raw);
    // HEAD is GET; the server leaves the body out by itself.
    if matches!(head.method, Method::GET | Method::HEAD)
        && let Some(answer) = public::answer(shared, path, &query)
    {
        return answer;
    }
    if !private::PATHS.contains(&path) && !key::PATHS.contains(&path) {
        return Err(Refusal { status: 404, ..Refusal::new("40404", "Request URL NOT FOUND") });
    }
    gate(shared, path)?;
    let mut core = shared.core();
    let now_ms = core.now_ms();
    let owner = signature::check(&head.headers, &head.method, path, raw, body, &shared.keys, now_ms)?;
    if let Some(answer) = key::answer(&shared.config.key, path, now_ms) {
        return Ok(answer);
    }
    let empty = core.faults.hit(FaultName::RestListNull).is_some();
    private::answer(core.shown_account(owner), owner, path, &query, now_ms, empty)
}

/// `/api/mix/v1/…`, `/api/spot/v1/…` and their like, and the socket of that time: switched off in November 2025.
fn is_v1(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some("api"), Some(area), Some("v1")) => !matches!(area, "v2" | "v3"),
        (Some("mix" | "spot"), Some("v1"), Some("stream")) => true,
        _ => false,
    }
}

/// The account-type gate comes before the signature.
fn gate(shared: &Shared, path: &str) -> Result<(), Refusal> {
    let mut core = shared.core();
    let kind = shared.config.account;
    let v2 = path.starts_with("/api/v2/");
    if v2 && (kind == AccountKind::Unified || core.faults.hit(FaultName::UtaGate40085).is_some()) {
        return Err(Refusal::new(
            "40085",
            "You are in Unified Account mode, and the Classic Account API is not supported at this time",
        ));
    }
    if !v2 && (kind == AccountKind::Classic || core.faults.hit(FaultName::ClassicGate40084).is_some()) {
        return Err(Refusal::new(
            "40084",
            "You are in Classic Account mode, and the Unified Account API is not supported at this time",
        ));
    }
    Ok(())
}
