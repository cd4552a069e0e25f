//! What the rows share: arming fault points in a running daemon, its rooms over the control socket, its values in Redis.

use crate::support::{Daemon, Exchange, Options, World, http_get, wait_for};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// False where the daemon under test has no fault points: said aloud.
pub fn have_fault_points() -> bool {
    if !cfg!(debug_assertions) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: fault points exist in debug builds only");
    }
    cfg!(debug_assertions)
}

/// Fault points of running daemons, armed and disarmed at will.
pub struct Faults {
    dir: tempfile::TempDir,
}

impl Faults {
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("tl-fault-").tempdir().expect("folder") }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("points")
    }

    /// For [`Options::env`].
    pub fn env(&self) -> (&'static str, OsString) {
        ("TRAPLINE_FAULT_POINTS", format!("@{}", self.file().display()).into())
    }

    /// Whole or not at all: the daemon reads it at any moment.
    pub fn arm(&self, entries: &str) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, entries).expect("fault points");
        std::fs::rename(new, self.file()).expect("fault points");
        // Looked at every few milliseconds.
        std::thread::sleep(Duration::from_millis(40));
    }

    pub fn disarm(&self) {
        self.arm("");
    }

    /// `point action`, one for each fault that came to be.
    pub fn fired(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("points.fired")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn fired_at(&self, point: &str) -> usize {
        self.fired().iter().filter(|line| line.split(' ').next() == Some(point)).count()
    }
}

pub fn with(env: Vec<(&'static str, OsString)>, more: &[(&'static str, &str)]) -> Options {
    let more = more.iter().map(|(section, line)| (*section, (*line).to_owned())).collect();
    Options { env, more, ..Options::default() }
}

/// Drills are allowed.
pub fn drillable(more: &[(&'static str, &str)]) -> Options {
    let mut options = with(vec![], more);
    options.more.push(("", "allow_drills = true".to_owned()));
    options
}

/// A budget of deaths that no test of single faults uses up.
pub const PATIENT: [(&str, &str); 2] =
    [("supervision", "max_deaths = 10000"), ("supervision", "max_deaths_in_a_row = 500")];

pub fn order_room(daemon: &Daemon, act: &str, room: &str) {
    let request = serde_json::json!({"do": act, "room": room, "who": "test", "why": "a row of the matrix"});
    let reply = daemon.ask(&request).expect("an answer");
    assert!(reply.get("error").is_none(), "{reply}");
}

/// One room at one moment.
#[derive(Clone, Debug, Default)]
pub struct Room {
    pub state: String,
    pub epoch: u64,
    pub restarts: u64,
    /// Messages of either lane.
    pub handled: u64,
    pub depth: u64,
    pub capacity: u64,
    pub refused: u64,
    pub quarantined: u64,
}

pub type Rooms = BTreeMap<String, Room>;

pub fn rooms(daemon: &Daemon) -> Rooms {
    let status = wait_for("the control socket", || {
        daemon.ask(&serde_json::json!({"do": "status"})).ok_or_else(|| "no answer".to_owned())
    });
    let number = |room: &Value, field: &str| room[field].as_u64().unwrap_or(0);
    let list = status["body"]["rooms"].as_array().cloned().unwrap_or_default();
    let of = |room: &Value| Room {
        state: room["state"].as_str().unwrap_or_default().to_owned(),
        epoch: number(room, "epoch"),
        restarts: number(room, "restarts_total"),
        handled: number(room, "handled") + number(room, "handled_inner"),
        depth: number(room, "depth"),
        capacity: number(room, "capacity"),
        refused: number(room, "refused") + number(room, "dropped_oldest"),
        quarantined: number(room, "quarantined"),
    };
    list.iter().map(|room| (room["name"].as_str().unwrap_or_default().to_owned(), of(room))).collect()
}

/// Rooms other than `but` whose incarnation is not the one of before.
pub fn disturbed(before: &Rooms, now: &Rooms, but: &[&str]) -> Vec<String> {
    let changed = |(name, room): &(&String, &Room)| before.get(*name).is_none_or(|had| had.epoch != room.epoch);
    now.iter().filter(|(name, _)| !but.contains(&name.as_str())).filter(changed).map(|(name, _)| name.clone()).collect()
}

/// Messages that these rooms handled together.
pub fn handled(rooms: &Rooms, names: &[&str]) -> u64 {
    rooms.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, room)| room.handled).sum()
}

/// A value's place in the order of all values: the process that wrote it, then its number there.
pub fn order(hash: &BTreeMap<String, String>) -> (u64, u64) {
    let number = |field: &str| hash.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
    (number("epoch"), number("seq"))
}

pub fn seq(world: &World, symbol: &str) -> (u64, u64) {
    order(&world.redis.hash(&format!("trapline:{symbol}:market_state")))
}

/// A newer market value than now comes to Redis, and it is fresh.
pub fn goes_on(world: &World, symbol: &str) {
    let before = seq(world, symbol);
    wait_for(&format!("{symbol} goes on"), || {
        let hash = world.redis.hash(&format!("trapline:{symbol}:market_state"));
        let fresh = hash.get("stale").is_some_and(|stale| stale == "0");
        if order(&hash) > before && fresh { Ok(()) } else { Err(format!("{hash:?}")) }
    });
}

pub fn metric(daemon: &Daemon, name: &str) -> f64 {
    let (_, text) = http_get(daemon.status_port, "/metrics");
    let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
}

/// A file of the daemon's process in /proc.
pub fn proc_text(daemon: &Daemon, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{file}", daemon.child.id())).unwrap_or_default()
}

/// A line of /proc/PID/status in KiB.
pub fn proc_kib(daemon: &Daemon, field: &str) -> u64 {
    let text = proc_text(daemon, "status");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// An event as it stands in a stream: the number it got, its kind and identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Noted {
    pub number: u64,
    pub kind: String,
    pub id: String,
}

/// All events of all streams, by number.
pub fn events(world: &World) -> Vec<Noted> {
    let mut link = world.redis.link();
    let mut found = Vec::new();
    for stream in ["trapline:BTCUSDT:events", "trapline:ETHUSDT:events", "trapline:alerts"] {
        let reply: redis::streams::StreamRangeReply =
            redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut link).expect("a stream");
        found.extend(reply.ids.iter().filter_map(|entry| {
            let number = entry.id.split_once('-')?.1.parse().ok()?;
            let text = |field: &str| entry.get::<String>(field).unwrap_or_default();
            Some(Noted { number, kind: text("kind"), id: text("id") })
        }));
    }
    found.sort();
    found
}

/// Orders at the exchange, one after the other, each filled at once; and what it says really happened.
pub struct Trading {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    pub truth: PathBuf,
}

impl Trading {
    /// Buys and sells by turns, one order each `gap`.
    pub fn start(exchange: &Exchange, truth: PathBuf, gap: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (over, port) = (Arc::clone(&stop), exchange.venue.addr().port());
        let thread = std::thread::spawn(move || {
            let mut turn = 0;
            while !over.load(Ordering::Relaxed) {
                let (side, symbol) = (["buy", "sell"][turn % 2], ["BTCUSDT", "ETHUSDT"][turn / 2 % 2]);
                let size = if symbol == "BTCUSDT" { "0.001" } else { "0.01" };
                http_get(port, &format!("/_exchange/order?symbol={symbol}&side={side}&size={size}"));
                turn += 1;
                std::thread::sleep(gap);
            }
        });
        Self { stop, thread: Some(thread), truth }
    }

    /// Ends it; identities of all fills that the exchange made.
    pub fn end(&mut self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
        let text = std::fs::read_to_string(&self.truth).expect("the truth log");
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["kind"] == "fill").filter_map(|l| Some(l["trade_id"].as_str()?.to_owned())).collect()
    }
}

impl Drop for Trading {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Compares the fills in Redis with those that the exchange made, once all are there: lost and doubled ones, and
/// whether numbers are contiguous and in order.
pub fn assert_each_fill_once(world: &World, made: &BTreeSet<String>) -> u64 {
    wait_for("every fill is in Redis", || {
        let there: BTreeSet<String> = events(world).into_iter().filter(|e| e.kind == "fill").map(|e| e.id).collect();
        let missing: Vec<_> = made.difference(&there).take(5).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{} of {}, e.g. {missing:?}", there.len(), made.len())) }
    });
    let all = events(world);
    let fills: Vec<&Noted> = all.iter().filter(|e| e.kind == "fill").collect();
    let distinct: BTreeSet<&str> = fills.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(fills.len(), distinct.len(), "a fill stands twice");
    assert!(distinct.iter().all(|id| made.contains(*id)), "a fill that the exchange never made");
    let numbers: Vec<u64> = all.iter().map(|e| e.number).collect();
    let count = numbers.len() as u64;
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "each number once, none missing");
    fills.len() as u64
}

pub fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// How much the named rooms handle in a second, counted over `span`.
pub fn pace(daemon: &Daemon, names: &[&str], span: Duration) -> f64 {
    let (before, at) = (handled(&rooms(daemon), names), Instant::now());
    std::thread::sleep(span);
    (handled(&rooms(daemon), names) - before) as f64 / at.elapsed().as_secs_f64()
}

/// Opens a connection and goes away.
pub fn poke(port: u16) {
    let _ = std::net::TcpStream::connect(("127.0.0.1", port));
}

/// Parts of one row that mostly wait, each with a world of its own, at the same time.
pub fn side_by_side(parts: &[fn()]) {
    std::thread::scope(|scope| {
        let running: Vec<_> = parts.iter().map(|part| scope.spawn(part)).collect();
        let ended: Vec<_> = running.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        if let Some(failed) = ended.into_iter().find_map(Result::err) {
            std::panic::resume_unwind(failed);
        }
    });
}
