//! Exchange, proxy, daemon and Redis in a row, and what is watched while something is wrong.

use crate::support::figures::Figures;
use crate::support::proxy::{Kind, Proxy};
use crate::support::{Daemon, Exchange, Options, Redis, World, http_get, wait_for};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trapline::venue::VenueConfig;

pub const SYMBOLS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];

/// The times of the protocol, short enough for a test.
const HASTY: &str = "ping_ms = 500\npong_deadline_ms = 1000\nsilence_ms = 2000\nfirst_data_ms = 2000\n\
                     connect_timeout_ms = 1500\nlogin_timeout_ms = 1500";

pub fn hasty() -> Options {
    with(&[])
}

/// The same with further lines of the configuration, by section.
pub fn with(more: &[(&'static str, &str)]) -> Options {
    let more = more.iter().map(|(section, line)| (*section, (*line).to_owned()));
    let usual = [
        ("exchange", HASTY.to_owned()),
        ("reconcile", "every_ms = 500".to_owned()),
        ("recovery", "backoff_ms = 50".to_owned()),
        ("rates", "trades_per_minute = 100000".to_owned()),
    ];
    Options { more: usual.into_iter().chain(more).collect(), ..Options::default() }
}

/// A time that the environment may lengthen, seconds.
pub fn seconds(usual: f64) -> Duration {
    let asked = std::env::var("FAULT_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(asked.unwrap_or(usual).max(usual))
}

pub struct Way {
    pub world: World,
    pub proxy: Proxy,
}

impl Way {
    /// Ready.
    pub fn ready(options: &Options) -> Self {
        let way = Self::start(Exchange::config(), options);
        way.world.daemon.wait_ready();
        way
    }

    pub fn start(venue: VenueConfig, options: &Options) -> Self {
        let (exchange, redis) = (Exchange::start(venue), Redis::start());
        let proxy = Proxy::start(exchange.venue.addr().port());
        let daemon = Daemon::start(proxy.port(), &redis.server().url(), options);
        Self { world: World { daemon, exchange, redis }, proxy }
    }

    /// Not ready yet, with options that depend on the proxy's port.
    pub fn start_with(options: &dyn Fn(u16) -> Options) -> Self {
        let (exchange, redis) = (Exchange::start(Exchange::config()), Redis::start());
        let proxy = Proxy::start(exchange.venue.addr().port());
        let daemon = Daemon::start(proxy.port(), &redis.server().url(), &options(proxy.port()));
        Self { world: World { daemon, exchange, redis }, proxy }
    }

    pub fn market(&self, symbol: &str) -> BTreeMap<String, String> {
        self.world.redis.hash(&format!("trapline:{symbol}:market_state"))
    }

    /// A sample of `/metrics`, by its name and a label's value ("" for none); 0 when it is not there.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = http_get(self.world.daemon.status_port, "/metrics").1;
        let is_meant = |line: &&str| {
            let (series, _) = line.rsplit_once(' ').unwrap_or_default();
            match series.split_once('{') {
                Some((found, labels)) => found == name && labels.contains(&format!("\"{label}\"")),
                None => series == name && label.is_empty(),
            }
        };
        text.lines().find(is_meant).and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    pub fn wait_metric(&self, name: &str, label: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        wait_for(&format!("{name} {label}"), || match self.metric(name, label) {
            value if wanted(value) => Ok(value),
            value => Err(format!("{value}")),
        })
    }

    pub fn refused(&self, reason: &str) -> u64 {
        self.world.daemon.statusz()["refused"][reason].as_u64().unwrap_or(0)
    }

    /// Newer values of both symbols, unmarked. How long it took, ms.
    pub fn fresh_again(&self, what: &str) -> f64 {
        let begun = Instant::now();
        let before = SYMBOLS.map(|symbol| order(&self.market(symbol)));
        for (symbol, before) in SYMBOLS.iter().zip(before) {
            wait_for(&format!("{what}: {symbol} is fresh"), || {
                let hash = self.market(symbol);
                let is_fresh = hash.get("stale").is_some_and(|stale| stale == "0");
                if is_fresh && order(&hash) > before { Ok(()) } else { Err(format!("{hash:?}")) }
            });
        }
        begun.elapsed().as_secs_f64() * 1_000.0
    }

    pub fn wait_connections(&self, kinds: &[Kind], more_than: usize) -> f64 {
        let begun = Instant::now();
        wait_for(&format!("connection {} of {kinds:?}", more_than + 1), || match self.proxy.connections(kinds) {
            now if now > more_than => Ok(()),
            now => Err(now.to_string()),
        });
        begun.elapsed().as_secs_f64() * 1_000.0
    }

    /// Waits for a line of the daemon's log that holds all the words; returns it.
    pub fn wait_log(&self, words: &[&str]) -> String {
        wait_for(&format!("the log says {words:?}"), || {
            let log = self.world.daemon.log();
            let found = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            found.map(str::to_owned).ok_or_else(|| log.lines().last().unwrap_or_default().to_owned())
        })
    }

    /// An order at the market: a fill that has to become one trade of the strategy.
    pub fn order(&self, n: usize) {
        let (side, effect) = if n.is_multiple_of(2) { ("buy", "open") } else { ("sell", "close") };
        self.world.exchange.control(&format!("order?symbol=BTCUSDT&side={side}&effect={effect}&size=0.001"));
    }

    /// Waits until each fill of the exchange stands in Redis; asserts that each stands there once. How many.
    pub fn each_fill_once(&self, fills: usize) -> u64 {
        let trades: Vec<String> = wait_for("each fill is a trade", || {
            let mut link = self.world.redis.link();
            let trades: Vec<String> =
                redis::cmd("LRANGE").arg("trader:trades:scalper").arg(0).arg(-1).query(&mut link).expect("list");
            if trades.len() >= fills { Ok(trades) } else { Err(format!("{} of {fills}", trades.len())) }
        });
        let unique: std::collections::BTreeSet<_> = trades.iter().collect();
        assert_eq!((trades.len(), unique.len()), (fills, fills), "{trades:?}");
        fills as u64
    }

    /// I6: nobody died of it, and the process is alive.
    pub fn nobody_died(&self) {
        let status = self.world.daemon.statusz();
        for room in status["rooms"].as_array().expect("rooms") {
            assert_eq!(room["restarts_total"], 0, "{room}");
            assert!(room["depth"].as_u64() <= room["capacity"].as_u64(), "{room}");
        }
        assert_eq!(http_get(self.world.daemon.status_port, "/livez").0, 200);
    }
}

pub fn order(hash: &BTreeMap<String, String>) -> (u64, u64) {
    (number(hash, "epoch"), number(hash, "seq"))
}

pub fn number(hash: &BTreeMap<String, String>, field: &str) -> u64 {
    hash.get(field).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Rooms that have something to do whatever is wrong outside: timers, REST rounds, health.
const OTHERS: [&str; 5] = ["validator", "circuit_breaker", "analyst", "redis_writer", "health_watchdog"];

/// I4: the other rooms' counters rise while something is wrong.
pub struct Others {
    before: BTreeMap<String, u64>,
    begun: Instant,
    looks: u64,
}

/// Pause between two looks of the watchdog, as `[freshness]` has it.
const LOOK_S: f64 = 0.25;

fn rooms(way: &Way) -> Vec<serde_json::Value> {
    way.world.daemon.statusz()["rooms"].as_array().cloned().unwrap_or_default()
}

fn count(room: &serde_json::Value, field: &str) -> u64 {
    room[field].as_u64().unwrap_or(0)
}

fn work(rooms: &[serde_json::Value]) -> BTreeMap<String, u64> {
    let name = |room: &serde_json::Value| room["name"].as_str().unwrap_or_default().to_owned();
    rooms.iter().map(|room| (name(room), count(room, "handled") + count(room, "handled_inner"))).collect()
}

/// What the timer of the watchdog got done.
fn looks(rooms: &[serde_json::Value]) -> u64 {
    rooms.iter().filter(|room| room["name"] == "health_watchdog").map(|room| count(room, "handled_inner")).sum()
}

impl Others {
    pub fn watch(way: &Way) -> Self {
        let rooms = rooms(way);
        Self { before: work(&rooms), begun: Instant::now(), looks: looks(&rooms) }
    }

    /// Asserts that they went on; the watchdog's looks per second over what its timer asks for. (What depends on the
    /// market does less without one, rightly.)
    pub fn went_on(&self, way: &Way) -> f64 {
        let rooms = wait_for("the other rooms go on", || {
            let rooms = rooms(way);
            let now = work(&rooms);
            let stuck: Vec<_> = OTHERS.iter().filter(|room| now.get(**room) <= self.before.get(**room)).collect();
            if stuck.is_empty() { Ok(rooms) } else { Err(format!("{stuck:?} did nothing")) }
        });
        let looks = looks(&rooms).saturating_sub(self.looks) as f64;
        (looks + 1.0) * LOOK_S / self.begun.elapsed().as_secs_f64().max(LOOK_S)
    }
}

/// I1 and I3, looked at all the time: no value goes back, and an old one says that it is.
pub struct Observer {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Observed>>,
}

#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub looks: u64,
    pub regressions: u64,
    /// Longest time for which a value stood still, ms.
    pub longest_ms: u64,
    /// Most by which an unmarked value was older than the limit allows, ms.
    pub unmarked_ms: u64,
    pub marked: bool,
}

/// What a machine under load may add to a look and to a mark.
const NOISE_MS: u64 = 3_000;

impl Observer {
    /// `limit_ms`: `market_ms` of `[freshness]`.
    pub fn start(way: &Way, limit_ms: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (ended, url) = (over.clone(), way.world.redis.server().url());
        let thread = std::thread::spawn(move || {
            let mut link = redis::Client::open(url).and_then(|c| c.get_connection()).expect("redis");
            let mut seen = Observed::default();
            let mut newest: BTreeMap<&str, ((u64, u64), u64, Instant)> = BTreeMap::new();
            while !ended.load(Ordering::SeqCst) {
                for symbol in SYMBOLS {
                    let key = format!("trapline:{symbol}:market_state");
                    let hash: BTreeMap<String, String> =
                        redis::cmd("HGETALL").arg(key).query(&mut link).unwrap_or_default();
                    let (now, at) = (order(&hash), number(&hash, "exchange_time"));
                    let is_marked = hash.get("stale").is_none_or(|stale| stale == "1");
                    seen.marked |= is_marked;
                    let entry = newest.entry(symbol).or_insert((now, at, Instant::now()));
                    seen.regressions += u64::from(now < entry.0 || at < entry.1);
                    if now > entry.0 {
                        *entry = (now, at, Instant::now());
                    }
                    let still_ms = entry.2.elapsed().as_millis() as u64;
                    seen.longest_ms = seen.longest_ms.max(still_ms);
                    if !is_marked {
                        seen.unmarked_ms = seen.unmarked_ms.max(still_ms.saturating_sub(limit_ms + 1_000));
                    }
                }
                seen.looks += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        Self { over, thread: Some(thread) }
    }

    pub fn end(mut self) -> Observed {
        self.over.store(true, Ordering::SeqCst);
        let seen = self.thread.take().expect("once").join().expect("the observer");
        assert!(seen.looks > 0, "nobody looked");
        assert_eq!(seen.regressions, 0, "I1: a value went back: {seen:?}");
        assert!(seen.unmarked_ms <= NOISE_MS, "I3: an old value did not say so: {seen:?}");
        seen
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// Everything that is watched in every row, and the figures that come of it.
pub struct Row {
    pub figures: Figures,
    observer: Observer,
    others: Others,
}

impl Row {
    /// Begins to watch; the freshness limit of the market is the usual one.
    pub fn begin(way: &Way, row: &'static str, fault: &'static str) -> Self {
        Self::begin_within(way, row, fault, 5_000)
    }

    pub fn begin_within(way: &Way, row: &'static str, fault: &'static str, limit_ms: u64) -> Self {
        let figures = Figures { row, fault, ..Figures::default() };
        Self { figures, observer: Observer::start(way, limit_ms), others: Others::watch(way) }
    }

    /// One fault, noticed after so many ms and over after so many.
    pub fn note(&mut self, detection_ms: f64, recovery_ms: f64) {
        self.figures.injected += 1;
        self.figures.detected += 1;
        self.figures.survived += 1;
        self.figures.detection_ms.push(detection_ms);
        self.figures.recovery_ms.push(recovery_ms);
    }

    /// Ends the watch, asserts what holds in every row, and publishes.
    pub fn end(mut self, way: &Way) -> Observed {
        self.figures.others_ratio = Some(self.others.went_on(way));
        let seen = self.observer.end();
        way.nobody_died();
        self.figures.more.insert("longest_still_ms", seen.longest_ms.into());
        self.figures.more.insert("took_s", self.others.begun.elapsed().as_secs_f64().into());
        self.figures.more.insert("state_regressions", seen.regressions.into());
        self.figures.publish();
        seen
    }
}
