//! The whole daemon with an exchange that sends a thousand frames a second, and what surrounds it.

use crate::scene::{Server, ask, eyes, no_limits};
use crate::support::relay::{Place, Relay};
use crate::support::{Daemon, Exchange, Options, PATIENCE, http_get};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use trapline::venue::{Firehose, VenueConfig};

pub(super) const KEY: &str = "trapline:BTCUSDT:market_state";

/// Rooms that a price passes through.
pub(super) const ON_THE_WAY: [&str; 4] = ["validator", "circuit_breaker", "redis_writer", "exchange_feed"];

pub(super) fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

pub(super) fn until(what: &str, mut met: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !met() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The whole daemon with what surrounds it.
pub(super) struct Bench {
    pub(super) daemon: Daemon,
    pub(super) options: Options,
    pub(super) redis_wire: Relay,
    pub(super) exchange_wire: Relay,
    pub(super) redis: Server,
    pub(super) exchange: Exchange,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(super) fn start() -> Self {
        Self::with("")
    }

    /// `supervision`: lines of that section beside its budgets.
    pub(super) fn with(supervision: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("tl-rec-").tempdir().expect("folder");
        let firehose = Firehose { rate: Some(1_000.0), frames: None };
        let exchange =
            Exchange::start(VenueConfig { firehose: Some(firehose), limits: no_limits(), ..Exchange::config() });
        let redis = Server::start(folder.path());
        let exchange_wire = Relay::start(Place::Port(exchange.venue.addr().port()));
        let redis_wire = Relay::start(Place::Socket(redis.socket().to_owned()));
        // What is measured is a recovery, not giving up.
        let budgets = "max_deaths = 100000\nmax_deaths_in_a_row = 1000\nmax_zombies = 64";
        let options = Options {
            more: vec![
                ("", "allow_drills = true".to_owned()),
                ("rates", "market_data_per_minute = 100000000".to_owned()),
                ("supervision", format!("{budgets}\n{supervision}")),
            ],
            ..Options::default()
        };
        let url = format!("redis://127.0.0.1:{}/0", redis_wire.port());
        let daemon = Daemon::start(exchange_wire.port(), &url, &options);
        let bench = Self { daemon, options, redis_wire, exchange_wire, redis, exchange, _folder: folder };
        bench.wait_ready();
        bench
    }

    pub(super) fn wait_ready(&self) {
        until("ready", || http_get(self.daemon.status_port, "/readyz").0 == 200);
    }

    pub(super) fn ask(&self, request: &Value) -> Value {
        ask(&self.daemon, request).unwrap_or_default()
    }

    pub(super) fn drill(&self, kind: &str, room: &str, ms: Option<u64>) {
        let mut request = json!({"do": kind, "room": room, "who": "figures", "why": "measured"});
        if let Some(ms) = ms {
            request["ms"] = ms.into();
        }
        self.ask(&request);
    }

    pub(super) fn restarts(&self) -> BTreeMap<String, u64> {
        let status = self.ask(&json!({"do": "status"}));
        let rooms = status["rooms"].as_array().cloned().unwrap_or_default();
        let name = |room: &Value| room["name"].as_str().unwrap_or_default().to_owned();
        rooms.iter().map(|room| (name(room), room["restarts_total"].as_u64().unwrap_or(0))).collect()
    }

    /// Waits for a value whose exchange time is later than `after_ms`, and which is not marked.
    pub(super) fn fresh(&self, link: &mut redis::Connection, after_ms: i64) {
        until("fresh", || {
            let read: redis::RedisResult<(Option<i64>, Option<String>)> =
                redis::cmd("HMGET").arg(KEY).arg("exchange_time").arg("stale").query(link);
            matches!(read, Ok((Some(time), Some(stale))) if time > after_ms && stale == "0")
        });
    }

    pub(super) fn eyes(&self) -> redis::Connection {
        let mut link = None;
        until("redis answers", || {
            link = eyes(self.redis.socket());
            link.is_some()
        });
        link.expect("a connection")
    }

    /// One panic, waited for; ms to the first price in Redis that is younger.
    pub(super) fn die(&self, link: &mut redis::Connection, room: &str) -> f64 {
        let before = self.restarts();
        let begun = (Instant::now(), crate::eyes::now_ms());
        self.drill("panic", room, None);
        until("it died", || self.restarts()[room] > before[room]);
        self.fresh(link, begun.1 + 1);
        ms(begun.0)
    }
}
