//! A whole daemon as its users run it: the built binary, a redis-server of its own, the built-in exchange.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod figures;
pub mod frames;
pub mod proxy;
pub mod relay;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use trapline::managed_redis::{ManagedRedis, ManagedRedisSettings};
use trapline::venue::{self, Credentials, Venue, VenueConfig};

pub const BIN: &str = env!("CARGO_BIN_EXE_trapline");
pub const KEY: [&str; 3] = ["CANARY-key-5f1c", "CANARY-secret-9a7d", "CANARY-pass-33e2"];
/// Generous: machines are shared. Conditions end a wait, not this.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Tapes beside the project; `None` (said aloud) where there are none. They are required where CI says so.
pub fn tape(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TRAPLINE_TAPES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tapes"), PathBuf::from);
    let path = root.join("open").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("TRAPLINE_REQUIRE_TAPES").is_none_or(|v| v != "1"), "{} is required", path.display());
    let _ = writeln!(std::io::stderr(), "SKIPPED: no {}", path.display());
    None
}

/// Waits for a condition; panics with what was last seen.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => panic!("{what}: not within {PATIENCE:?}; last seen: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// The built-in exchange on a thread of its own.
pub struct Exchange {
    pub venue: Arc<Venue>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Exchange {
    pub fn start(config: VenueConfig) -> Self {
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                let venue = Arc::new(venue::start(config).await.expect("the exchange starts"));
                ready.send(venue).expect("somebody waits");
                let _ = stopped.await;
            });
        });
        Self { venue: started.recv().expect("the exchange starts"), stop: Some(stop), thread: Some(thread) }
    }

    /// Verifies logins against [`KEY`].
    pub fn config() -> VenueConfig {
        let [key, secret, pass] = KEY.map(str::to_owned);
        VenueConfig { credentials: Some(Credentials { key, secret, pass }), ..VenueConfig::default() }
    }

    /// Starts a fault by name, for some time.
    pub fn fault(&self, name: &str, ms: u64) {
        self.control(&format!("fault?name={name}&ms={ms}"));
    }

    /// Opens the control door as a person would, with a plain GET.
    pub fn control(&self, what: &str) -> String {
        http_get(self.venue.addr().port(), &format!("/_exchange/{what}")).1
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Status and body of a GET on loopback.
pub fn http_get(port: u16, path: &str) -> (u16, String) {
    http("GET", port, path)
}

pub fn http_post(port: u16, path: &str) -> (u16, String) {
    http("POST", port, path)
}

fn http(method: &str, port: u16, path: &str) -> (u16, String) {
    use std::io::Read;
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return (0, String::new()) };
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    let _ =
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

/// A redis-server of this test's own.
pub struct Redis {
    /// `None` while it is being restarted.
    managed: Option<ManagedRedis>,
    pub dir: TempDir,
}

impl Redis {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("tl-").tempdir().expect("folder");
        let managed = Some(Self::launch(dir.path()));
        Self { managed, dir }
    }

    pub fn server(&self) -> &ManagedRedis {
        self.managed.as_ref().expect("a server")
    }

    /// Killed, its data deleted, started again in the same folder.
    pub fn restart_empty(&mut self) {
        let mut old = self.managed.take().expect("a server");
        let killed = Command::new("kill").args(["-9", &old.pid().to_string()]).status();
        assert!(killed.is_ok_and(|s| s.success()));
        wait_for("redis is dead", || if old.is_alive() { Err("alive".to_owned()) } else { Ok(()) });
        // It takes its socket with it, so the next one starts afterwards.
        drop(old);
        let folder = self.dir.path().join("redis");
        let _ = std::fs::remove_dir_all(folder.join("appendonlydir"));
        let _ = std::fs::remove_file(folder.join("dump.rdb"));
        self.managed = Some(Self::launch(self.dir.path()));
    }

    fn launch(dir: &Path) -> ManagedRedis {
        ManagedRedis::start(&ManagedRedisSettings {
            folder: dir.join("redis"),
            leash: Some(BIN.into()),
            ..ManagedRedisSettings::default()
        })
        .expect("redis-server is needed: run ./scripts/setup")
    }

    pub fn link(&self) -> redis::Connection {
        let client = redis::Client::open(self.server().url()).expect("a URL");
        // A connect may be interrupted (EINTR), which means nothing.
        wait_for("redis answers", || {
            client.get_connection_with_timeout(Duration::from_secs(5)).map_err(|error| error.to_string())
        })
    }

    pub fn hash(&self, key: &str) -> BTreeMap<String, String> {
        redis::cmd("HGETALL").arg(key).query(&mut self.link()).unwrap_or_default()
    }

    pub fn text(&self, key: &str) -> Option<String> {
        redis::cmd("GET").arg(key).query(&mut self.link()).expect("a string")
    }

    /// Waits until a field of a hash is as wanted.
    pub fn wait_field(&self, key: &str, field: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        wait_for(&format!("{key} {field}"), || {
            let hash = self.hash(key);
            match hash.get(field) {
                Some(value) if wanted(value) => Ok(hash),
                other => Err(format!("{other:?} in {hash:?}")),
            }
        })
    }
}

/// What a daemon is started with.
pub struct Options {
    pub symbols: Vec<String>,
    pub generation: &'static str,
    pub key: Option<[String; 3]>,
    /// More lines of the configuration, by section.
    pub more: Vec<(&'static str, String)>,
    /// More variables of the environment.
    pub env: Vec<(&'static str, std::ffi::OsString)>,
    /// What the daemon is started through, e.g. `unshare -m`; it has to end in executing its arguments.
    pub through: Vec<String>,
    /// Standard error is a pipe that nobody reads, instead of the log file.
    pub deaf: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            symbols: vec!["BTCUSDT".to_owned(), "ETHUSDT".to_owned()],
            generation: "v3",
            key: Some(KEY.map(str::to_owned)),
            more: Vec::new(),
            env: Vec::new(),
            through: Vec::new(),
            deaf: false,
        }
    }
}

/// `trapline run`, as a process.
pub struct Daemon {
    pub child: Child,
    pub status_port: u16,
    pub state: TempDir,
}

impl Daemon {
    pub fn start(exchange_port: u16, redis_url: &str, options: &Options) -> Self {
        let state = tempfile::Builder::new().prefix("tl-state-").tempdir().expect("folder");
        let status_port = free_port();
        let (ws, http) = (format!("ws://127.0.0.1:{exchange_port}"), format!("http://127.0.0.1:{exchange_port}"));
        let mut sections: BTreeMap<&str, String> = BTreeMap::new();
        let symbols = options.symbols.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        let mut add = |section, line: String| {
            let text = sections.entry(section).or_default();
            text.push_str(&line);
            text.push('\n');
        };
        add("exchange", format!("generation = {:?}", options.generation));
        add("exchange", format!("public_url = {ws:?}\nprivate_url = {ws:?}\nrest_url = {http:?}"));
        add("exchange", format!("symbols = [{symbols}]\nsubscribe_gap_ms = 200"));
        add("redis", format!("url = {redis_url:?}"));
        add("status", format!("listen = \"127.0.0.1:{status_port}\""));
        add("state", format!("dir = {:?}", state.path()));
        add("log", "format = \"text\"".to_owned());
        for (section, line) in &options.more {
            add(section, line.clone());
        }
        let text: String = sections.iter().map(|(name, lines)| format!("[{name}]\n{lines}\n")).collect();
        // Settings without a section stand before the first one.
        let text = text.replace("[]\n", "");
        let file = state.path().join("trapline.toml");
        std::fs::write(&file, text).expect("configuration");
        Self { child: Self::spawn(state.path(), options), status_port, state }
    }

    fn spawn(state: &Path, options: &Options) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(state.join("log")).expect("log");
        let mut words = options.through.iter().map(String::as_str).chain([BIN]);
        let mut command = Command::new(words.next().unwrap_or(BIN));
        command
            .args(words)
            .arg("run")
            .arg("--config")
            .arg(state.join("trapline.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.stderr(if options.deaf { Stdio::piped() } else { log.into() });
        for (name, value) in ["KEY", "SECRET", "PASSPHRASE"].iter().zip(options.key.iter().flatten()) {
            command.env(format!("TRAPLINE_BITGET_{name}"), value);
        }
        command.envs(options.env.iter().map(|(name, value)| (*name, value)));
        command.spawn().expect("the daemon starts")
    }

    /// The same daemon once more, in the same place; the one before must have ended.
    pub fn start_again(&mut self, options: &Options) {
        self.child = Self::spawn(self.state.path(), options);
    }

    /// `trapline WORDS --state …`: exit code, standard output, standard error.
    pub fn cli(&self, words: &[&str]) -> (i32, String, String) {
        let output =
            Command::new(BIN).args(words).arg("--state").arg(self.state.path()).output().expect("the command runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// A room as `trapline status` shows it.
    pub fn room(&self, name: &str) -> serde_json::Value {
        let (_, text, _) = self.cli(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let rooms = status["rooms"].as_array().cloned().unwrap_or_default();
        rooms.into_iter().find(|room| room["name"] == name).unwrap_or_default()
    }

    /// One request over the control socket, and its reply; `None` where nobody answers in time.
    pub fn ask(&self, request: &serde_json::Value) -> Option<serde_json::Value> {
        let stream = UnixStream::connect(self.state.path().join("ctl.sock")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        (&stream).write_all(format!("{request}\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    pub fn journal(&self) -> Vec<trapline::supervise::journal::JournalEntry> {
        trapline::supervise::journal::read_journal(self.state.path(), i64::MIN).expect("a journal").entries
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("log")).unwrap_or_default()
    }

    pub fn statusz(&self) -> serde_json::Value {
        serde_json::from_str(&http_get(self.status_port, "/statusz").1).unwrap_or_default()
    }

    pub fn wait_ready(&self) {
        wait_for("ready", || match http_get(self.status_port, "/readyz") {
            (200, _) => Ok(()),
            (code, body) => Err(format!("{code} {body}; log:\n{}", self.log())),
        });
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|s| s.success()), "kill -{name}");
    }

    /// Ends it in order; its exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "did not end after SIGTERM; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(6_000);
            eprintln!("--- end of the daemon's log ---\n{}", log.get(from..).unwrap_or(&log));
        }
    }
}

/// Exchange, Redis and daemon together.
pub struct World {
    pub daemon: Daemon,
    pub exchange: Exchange,
    pub redis: Redis,
}

impl World {
    pub fn start(venue: VenueConfig, options: &Options) -> Self {
        let (exchange, redis) = (Exchange::start(venue), Redis::start());
        let daemon = Daemon::start(exchange.venue.addr().port(), &redis.server().url(), options);
        Self { daemon, exchange, redis }
    }

    /// With a seeded market and a quiet account, ready.
    pub fn ready(options: &Options) -> Self {
        let world = Self::start(Exchange::config(), options);
        world.daemon.wait_ready();
        world
    }
}
