//! Exchange, Redis and daemon, and what a row asks of them.

use crate::server::Server;
use crate::support::figures::Figures;
use crate::support::relay::Relay;
use crate::support::{Daemon, Exchange, Options, http_get, wait_for};
use redis::Commands;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const BTC: &str = "trapline:BTCUSDT:market_state";
pub const ETH: &str = "trapline:ETHUSDT:market_state";

/// Hashes of state that are always there once the account is known. Each has a field `epoch`.
pub const HASHES: [&str; 9] = [
    BTC,
    ETH,
    "market_state",
    "current_position",
    "trapline:BTCUSDT:position:long",
    "trapline:BTCUSDT:position:short",
    "trapline:ETHUSDT:position:long",
    "trapline:breaker",
    "trapline:health",
];
/// Strings of state that are always there.
pub const STRINGS: [&str; 4] = ["active_position", "long_trader_position", "short_trader_position", "last_btc_price"];

pub fn is_long() -> bool {
    std::env::var_os("TRAPLINE_LONG_FAULTS").is_some_and(|v| v == "1")
}

pub fn ms(since: Instant) -> f64 {
    (since.elapsed().as_micros() as f64 / 100.0).round() / 10.0
}

/// Quick to hear of, so that a row is short.
pub fn options(more: &[(&'static str, &str)]) -> Options {
    let mut all = vec![("rates", "trades_per_minute = 1000000".to_owned())];
    all.extend(more.iter().map(|(section, line)| (*section, (*line).to_owned())));
    Options { more: all, ..Options::default() }
}

pub struct Scene {
    pub daemon: Daemon,
    pub exchange: Exchange,
    pub server: Server,
    /// Orders that were filled.
    pub orders: u64,
    watching: Arc<AtomicBool>,
    watcher: Option<JoinHandle<Vec<String>>>,
}

impl Scene {
    pub fn ready() -> Self {
        Self::with(&[], &options(&[]))
    }

    /// With arguments for Redis.
    pub fn with(args: &[&str], options: &Options) -> Self {
        let server = Server::start(args);
        let url = server.url();
        let scene = Self::at(server, &url, options);
        scene.wait_whole();
        scene
    }

    /// With another way to Redis; waits for nothing.
    pub fn at(server: Server, url: &str, options: &Options) -> Self {
        let exchange = Exchange::start(Exchange::config());
        let daemon = Daemon::start(exchange.venue.addr().port(), url, options);
        let watching = Arc::new(AtomicBool::new(true));
        let watcher = Some(crate::server::watch(&server, Arc::clone(&watching)));
        Self { daemon, exchange, server, orders: 0, watching, watcher }
    }

    /// Ready, and every key of state is there.
    pub fn wait_whole(&self) {
        self.daemon.wait_ready();
        self.wait_all();
    }

    pub fn seq(&self, key: &str) -> i64 {
        self.server.field(key, "seq").and_then(|s| s.parse().ok()).unwrap_or(-1)
    }

    /// What the daemon itself counts.
    pub fn count(&self, name: &str) -> u64 {
        self.daemon.statusz()["counts"][name].as_u64().unwrap_or(0)
    }

    pub fn link(&self) -> String {
        self.daemon.statusz()["redis"]["link"].as_str().unwrap_or("?").to_owned()
    }

    /// A metric as it is scraped, labels included in the name.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = http_get(self.daemon.status_port, "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(-1.0)
    }

    pub fn wait_metric(&self, name: &str, least: f64) {
        wait_for(name, || match self.metric(name) {
            now if now >= least => Ok(()),
            now => Err(format!("{now}, wanted {least}")),
        });
    }

    /// Waits until the daemon says something else than `up`; how long it took, ms.
    pub fn wait_noticed(&self, from: Instant) -> f64 {
        wait_for("noticed", || match self.link().as_str() {
            "up" => Err("still up".to_owned()),
            _ => Ok(()),
        });
        ms(from)
    }

    /// Takes a field out of every hash: it comes back only when the hash is written as a whole.
    pub fn mark(&self) {
        for key in HASHES {
            let _: i64 = self.server.eyes().hdel(key, "epoch").unwrap_or(0);
        }
    }

    /// What of the state is missing, or was not written as a whole since [`Scene::mark`].
    fn missing(&self) -> Vec<&'static str> {
        let Some(mut eyes) = self.server.try_eyes() else { return HASHES.to_vec() };
        let _ = eyes.set_read_timeout(Some(Duration::from_secs(2)));
        let mut missing: Vec<_> =
            HASHES.into_iter().filter(|key| !eyes.hexists::<_, _, bool>(*key, "epoch").unwrap_or(false)).collect();
        missing.extend(STRINGS.into_iter().filter(|key| !eyes.exists::<_, bool>(*key).unwrap_or(false)));
        missing
    }

    pub fn wait_all(&self) {
        wait_for("all state is there", || match self.missing() {
            none if none.is_empty() => Ok(()),
            some => Err(some.join(" ")),
        });
    }

    /// The newest value that the daemon has accepted.
    fn accepted(&self) -> i64 {
        self.daemon.statusz()["symbols"][0]["market"]["accepted_seq"].as_i64().unwrap_or(i64::MAX)
    }

    /// From `from`, when Redis took writes again, to the first value that was accepted while it did not, and to all of
    /// the state, ms.
    pub fn recovered(&self, from: Instant) -> (f64, f64) {
        let (wanted, deadline) = (self.accepted(), Instant::now() + crate::support::PATIENCE);
        let first = loop {
            if self.seq(BTC) >= wanted {
                break ms(from);
            }
            assert!(Instant::now() < deadline, "no newer value; log:\n{}", self.daemon.log());
            std::thread::sleep(Duration::from_millis(3));
        };
        self.wait_all();
        (first, ms(from))
    }

    /// New values keep arriving.
    pub fn goes_on(&self, key: &str) {
        let before = self.seq(key);
        wait_for(&format!("{key} goes on"), || match self.seq(key) {
            now if now > before => Ok(()),
            now => Err(format!("seq {now}")),
        });
    }

    /// Messages that the other rooms handle in a second.
    pub fn others_rate(&self, over: Duration) -> f64 {
        let handled = || {
            let status = self.daemon.statusz();
            let rooms = status["rooms"].as_array().cloned().unwrap_or_default();
            let others = rooms.iter().filter(|room| room["name"] != "redis_writer");
            others.filter_map(|room| room["handled"].as_u64()).sum::<u64>()
        };
        let (before, from) = (handled(), Instant::now());
        std::thread::sleep(over);
        (handled() - before) as f64 / from.elapsed().as_secs_f64()
    }

    /// Orders at the exchange, each of which becomes one event.
    pub fn trade(&mut self, orders: u64) {
        for _ in 0..orders {
            let side = if self.orders.is_multiple_of(2) { "buy&effect=open" } else { "sell&effect=close" };
            let told = self.exchange.control(&format!("order?symbol=ETHUSDT&size=0.01&side={side}&hold_side=long"));
            assert!(!told.contains("error"), "{told}");
            self.orders += 1;
        }
    }

    fn fills(&self) -> Vec<String> {
        let Some(mut eyes) = self.server.try_eyes() else { return Vec::new() };
        let reply: redis::streams::StreamRangeReply = eyes.xrange_all("trapline:ETHUSDT:events").unwrap_or_default();
        let fills = reply.ids.iter().filter(|entry| entry.get::<String>("kind").as_deref() == Some("fill"));
        fills.filter_map(|entry| entry.get::<String>("id")).collect()
    }

    /// Every order is an event once, in the exchange's order. Returns how many.
    pub fn events_are_whole(&self) -> u64 {
        wait_for("every event is there", || match self.fills().len() as u64 {
            n if n >= self.orders => Ok(()),
            n => Err(format!("{n} of {}; pending {}", self.orders, self.count("events_pending"))),
        });
        let fills = self.fills();
        let unique: std::collections::BTreeSet<_> = fills.iter().collect();
        assert_eq!((fills.len() as u64, unique.len()), (self.orders, fills.len()), "each once: {fills:?}");
        let numbers: Vec<u128> = fills.iter().filter_map(|id| id.trim_start_matches("fill:").parse().ok()).collect();
        assert!(numbers.len() == fills.len() && numbers.is_sorted(), "in order: {fills:?}");
        self.orders
    }

    /// Alerts in Redis with this code.
    pub fn alerts(&self, code: &str) -> usize {
        let Some(mut eyes) = self.server.try_eyes() else { return 0 };
        let reply: redis::streams::StreamRangeReply = eyes.xrange_all("trapline:alerts").unwrap_or_default();
        let told = |entry: &&redis::streams::StreamId| {
            entry.get::<String>("data").is_some_and(|data| data.contains(&format!("\"{code}\"")))
        };
        reply.ids.iter().filter(told).count()
    }

    pub fn wait_alert(&self, code: &str) {
        wait_for(&format!("alert {code}"), || match self.alerts(code) {
            0 => Err(self.daemon.log()),
            _ => Ok(()),
        });
    }

    /// Bots are told: not ready, and why.
    pub fn says_unavailable(&self) {
        wait_for("not ready", || match http_get(self.daemon.status_port, "/readyz") {
            (503, body) if body.contains("redis_unavailable") => Ok(()),
            (code, body) => Err(format!("{code} {body}")),
        });
    }

    pub fn log_says(&self, words: &[&str]) {
        wait_for("the log says it", || {
            let log = self.daemon.log();
            match words.iter().find(|word| !log.contains(**word)) {
                None => Ok(()),
                Some(word) => Err(format!("{word:?} is not in:\n{log}")),
            }
        });
    }

    /// No state went back, no room died, the process is alive and whole. Ends the watch.
    pub fn check(mut self, mut figures: Figures) {
        self.wait_whole();
        figures.events = self.events_are_whole();
        self.watching.store(false, SeqCst);
        let regressions = self.watcher.take().expect("watched").join().expect("the watch ended");
        assert_eq!(regressions, Vec::<String>::new(), "{}: state went back", figures.row);
        assert_eq!(http_get(self.daemon.status_port, "/livez").0, 200, "alive");
        let status = self.daemon.statusz();
        let restarts: u64 = status["rooms"]
            .as_array()
            .map(|rooms| rooms.iter().filter_map(|room| room["restarts_total"].as_u64()).sum())
            .unwrap_or(99);
        assert_eq!(restarts, 0, "{}: Redis being ill is no death of a room", figures.row);
        figures.survived = figures.injected;
        figures.publish();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.watching.store(false, SeqCst);
    }
}

/// Beginning of a row's figures.
pub fn figures(row: &'static str, fault: &'static str, injected: u64) -> Figures {
    Figures { row, fault, injected, detected: injected, ..Figures::default() }
}

/// Named figures with their units.
pub fn more<const N: usize>(rows: [(&'static str, f64); N]) -> BTreeMap<&'static str, serde_json::Value> {
    rows.into_iter().map(|(name, value)| (name, serde_json::json!(value))).collect()
}

/// Least pause of the daemon between two tries at something that a person has to mend.
const SLOW_RETRY: Duration = Duration::from_secs(5);

/// Waits for the next connection. It comes no sooner after the last one, which was refused, than a slow retry may: a
/// wrong password that is tried again and again looks like an attack. Half of the pause is left to a busy machine.
pub fn is_tried_slowly(relay: &Relay, what: &str) {
    let refused = relay.accepted().len();
    assert!(refused > 0, "{what}: not tried at all");
    let gap = wait_for(&format!("{what}: the next try"), || match relay.accepted().as_slice() {
        all if all.len() > refused => Ok(all[refused].duration_since(all[refused - 1])),
        all => Err(format!("{} tries", all.len())),
    });
    assert!(gap >= SLOW_RETRY / 2, "{what}: tried again after {gap:?}, {} times by now", relay.accepted().len());
}
