//! The whole scene: an exchange whose account trades by a seed, a redis-server, a proxy in front of each, the daemon.

use crate::support::relay::{Place, Relay};
use crate::support::{BIN, Daemon, Exchange, Options};
use crate::truth::{self, Book};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use trapline::managed_redis::{ManagedRedis, ManagedRedisSettings};
use trapline::venue::account::script::Script;
use trapline::venue::{Limits, ScriptChoice, VenueConfig};

/// The first one only holds a position, which is never closed; the others trade.
pub const SYMBOLS: [&str; 8] =
    ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "LTCUSDT", "ADAUSDT", "LINKUSDT"];
/// Every room of the daemon, as drills name them.
pub const ROOMS: [&str; 11] = [
    "exchange_feed",
    "exchange_feed_private",
    "reconciler",
    "validator",
    "circuit_breaker",
    "analyst",
    "trap_recorder",
    "ledger",
    "redis_writer",
    "health_watchdog",
    "status",
];
/// Size of the position that stays.
pub const HELD: &str = "0.005";
pub const MARKET_LIMIT_MS: i64 = 3_000;
pub const POSITION_LIMIT_MS: i64 = 10_000;
const ROUND_MS: u64 = 2_000;
/// An open, an add, a flip (two fills), a close.
const FILLS_PER_CYCLE: u64 = 5;

/// A redis-server that may be killed and started again in the same place.
pub struct Server {
    managed: Option<ManagedRedis>,
    dir: PathBuf,
    socket: PathBuf,
}

impl Server {
    pub fn start(dir: &Path) -> Self {
        let managed = launch(dir);
        Self { socket: managed.socket().to_owned(), managed: Some(managed), dir: dir.to_owned() }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn signal(&self, name: &str) {
        if let Some(managed) = &self.managed {
            signal(managed.pid(), name);
        }
    }

    pub fn kill(&mut self) {
        self.signal("KILL");
        // It takes its socket with it, so the next one starts afterwards.
        drop(self.managed.take());
    }

    pub fn raise(&mut self) {
        if self.managed.is_none() {
            self.managed = Some(launch(&self.dir));
        }
    }

    /// Cuts the end of the append-only file, as a power loss does. Only while it is dead.
    pub fn cut_tail(&self, bytes: u64) {
        let Ok(files) = std::fs::read_dir(self.dir.join("redis/appendonlydir")) else { return };
        // While it is rewritten there are two; the older one was closed, and safe, before the newer one began.
        let number = |file: &std::fs::DirEntry| {
            let name = file.file_name().to_string_lossy().into_owned();
            name.strip_suffix(".incr.aof")?.rsplit('.').next()?.parse::<u64>().ok()
        };
        let newest = files.flatten().filter_map(|file| Some((number(&file)?, file))).max_by_key(|(number, _)| *number);
        let Some((_, file)) = newest else { return };
        let size = file.metadata().map_or(0, |m| m.len());
        let file = std::fs::OpenOptions::new().write(true).open(file.path()).expect("the append-only file");
        file.set_len(size.saturating_sub(bytes)).expect("cut");
    }

    /// Its data are gone. Only while it is dead.
    pub fn forget(&self) {
        let _ = std::fs::remove_dir_all(self.dir.join("redis/appendonlydir"));
        let _ = std::fs::remove_file(self.dir.join("redis/dump.rdb"));
    }

    /// A command of somebody else; an error is his affair.
    pub fn run(&self, words: &[&str]) -> Option<redis::Value> {
        let mut link = eyes(&self.socket)?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut link).ok()
    }
}

fn launch(dir: &Path) -> ManagedRedis {
    ManagedRedis::start(&ManagedRedisSettings {
        folder: dir.join("redis"),
        leash: Some(BIN.into()),
        ..ManagedRedisSettings::default()
    })
    .expect("redis-server is needed: run ./scripts/setup")
}

/// A connection of our own, past the proxy, that never waits for long.
pub fn eyes(socket: &Path) -> Option<redis::Connection> {
    let client = redis::Client::open(format!("unix://{}", socket.display())).ok()?;
    let link = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
    link.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    Some(link)
}

pub fn signal(pid: u32, name: &str) {
    let _ = std::process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
}

/// What a daemon answers; `None` when nobody does, or refuses.
pub fn ask(daemon: &Daemon, request: &Value) -> Option<Value> {
    let reply = daemon.ask(request)?;
    reply.get("error").is_none().then(|| reply["body"].clone())
}

pub struct Scene {
    pub daemon: Daemon,
    pub options: Options,
    pub exchange_wire: Relay,
    pub redis_wire: Relay,
    pub redis: Server,
    pub exchange: Exchange,
    pub truth: Book,
    /// Kept when something fails.
    pub folder: TempDir,
}

impl Scene {
    /// `fills`: how many fills a second the account makes.
    pub fn start(seed: u64, fills: u64) -> Self {
        let mut folder = tempfile::Builder::new().prefix("tl-day-").tempdir().expect("folder");
        folder.disable_cleanup(true);
        let (pipe, truth, _) = truth::listen(folder.path());
        let venue = VenueConfig {
            symbols: SYMBOLS.map(str::to_owned).to_vec(),
            seed,
            script: ScriptChoice::Given(script(seed, fills)),
            // Fees of some million fills.
            funds: 1_000_000.0,
            // What the exchange itself forgets cannot be read from it: more than any outage here has, and more than a
            // process remembers of its own, for one that starts reads them all.
            kept: 200_000,
            truth: Some(pipe),
            limits: no_limits(),
            ..Exchange::config()
        };
        let exchange = Exchange::start(venue);
        exchange.control(&format!("position?symbol={}&side=long&size={HELD}", SYMBOLS[0]));
        let redis = Server::start(folder.path());
        let exchange_wire = Relay::start(Place::Port(exchange.venue.addr().port()));
        let redis_wire = Relay::start(Place::Socket(redis.socket().to_owned()));
        let options = options();
        let mut daemon =
            Daemon::start(exchange_wire.port(), &format!("redis://127.0.0.1:{}/0", redis_wire.port()), &options);
        daemon.state.disable_cleanup(true);
        Self { daemon, options, exchange_wire, redis_wire, redis, exchange, truth, folder }
    }

    fn ask(&self, request: &Value) -> Option<Value> {
        ask(&self.daemon, request)
    }

    pub fn drill(&self, kind: &str, room: &str, ms: Option<u64>) -> bool {
        let mut request = serde_json::json!({"do": kind, "room": room, "who": "random day", "why": "drill"});
        if let Some(ms) = ms {
            request["ms"] = ms.into();
        }
        self.ask(&request).is_some()
    }

    pub fn rooms(&self) -> Vec<Value> {
        let status = self.ask(&serde_json::json!({"do": "status"})).unwrap_or_default();
        status["rooms"].as_array().cloned().unwrap_or_default()
    }

    /// Both folders are removed: nothing went wrong.
    pub fn forget(mut self) {
        self.folder.disable_cleanup(false);
        self.daemon.state.disable_cleanup(false);
    }

    /// Longer than the minute for which REST is left alone after an answer that only a person can help with, and than
    /// reading what happened in that minute: until then not everything is rightly confirmed.
    pub fn wait_ready(&self) {
        const LIMIT: Duration = Duration::from_secs(180);
        let until = Instant::now() + LIMIT;
        loop {
            let (code, body) = crate::support::http_get(self.daemon.status_port, "/readyz");
            if code == 200 {
                return;
            }
            assert!(Instant::now() < until, "not ready within {LIMIT:?}; last seen: {code} {body}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// An exchange that is broken on purpose, again and again, must not shut its client out for coming back.
pub fn no_limits() -> Limits {
    Limits {
        messages_per_second: 1_000,
        subscribes_per_hour: u32::MAX,
        connects: u32::MAX,
        connections: 4_096,
        connect_span: Duration::from_secs(1),
        hour: Duration::from_secs(1),
        requests_per_minute: u32::MAX,
        rest_rates: false,
        ..Limits::default()
    }
}

/// Waits of the real daemon are made for a real exchange; here a day has to fit into minutes.
pub fn options() -> Options {
    let more = |section, text: &str| (section, text.to_owned());
    Options {
        symbols: SYMBOLS.map(str::to_owned).to_vec(),
        more: vec![
            more("", "allow_drills = true"),
            more("exchange", "ping_ms = 500\npong_deadline_ms = 1500\nfirst_data_ms = 3000\nsilence_ms = 2500"),
            more("exchange", "reconnect_min_ms = 100\nreconnect_max_ms = 1000\nlogin_retry_ms = 1000"),
            more("exchange", "connect_timeout_ms = 2000\nlogin_timeout_ms = 2000"),
            more("rates", "positions_per_minute = 60000\nmarket_data_per_minute = 60000\ntrades_per_minute = 1000000"),
            more("reconcile", "every_ms = 2000\nclock_every_ms = 1000"),
            more("recovery", "timeout_ms = 1000\nbackoff_ms = 200"),
            more("freshness", &format!("position_ms = {POSITION_LIMIT_MS}\nmarket_ms = {MARKET_LIMIT_MS}")),
            more("supervision", "max_deaths = 40\nmax_zombies = 16"),
        ],
        env: deployed_environment(),
        ..Options::default()
    }
}

/// What the service file gives to the daemon: what is measured is what runs.
fn deployed_environment() -> Vec<(&'static str, std::ffi::OsString)> {
    let lines = include_str!("../../deploy/trapline.service").lines();
    let pairs = lines.filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    pairs.map(|(name, value)| (name, value.into())).collect()
}

/// Every symbol but the first opens, adds, turns round and closes, over and over, at moments of the seed.
fn script(seed: u64, fills: u64) -> Script {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6461_7920);
    let traders = SYMBOLS.len() as u64 - 1;
    let cycles = (fills * ROUND_MS / 1_000 / FILLS_PER_CYCLE / traders).max(1);
    let mut steps: Vec<(u64, usize, String)> = Vec::new();
    for (symbol, name) in SYMBOLS.into_iter().enumerate().skip(1) {
        let mut times: Vec<u64> = (0..cycles * 4).map(|_| rng.random_range(0..ROUND_MS)).collect();
        times.sort_unstable();
        for cycle in times.chunks(4) {
            let (side, other) = if rng.random_bool(0.5) { ("long", "short") } else { ("short", "long") };
            let value = rng.random_range(30..60);
            let deeds = [
                format!(r#""do":"open","symbol":"{name}","side":"{side}","value":{value}"#),
                format!(r#""do":"open","symbol":"{name}","side":"{side}","value":{value}"#),
                format!(r#""do":"flip","symbol":"{name}""#),
                format!(r#""do":"close","symbol":"{name}","side":"{other}""#),
            ];
            steps.extend(cycle.iter().zip(deeds).map(|(at, deed)| (*at, symbol, deed)));
        }
    }
    steps.sort_by_key(|(at, symbol, _)| (*at, *symbol));
    let mut text = format!("{{\"repeat_every_ms\":{ROUND_MS}}}\n");
    for (at, _, deed) in steps {
        let _ = writeln!(text, "{{\"at_ms\":{at},{deed}}}");
    }
    Script::from_json_lines(&text).expect("a script")
}
