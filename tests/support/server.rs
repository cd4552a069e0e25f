//! A redis-server to maltreat: killed, stopped, emptied, cut, started again in the same place.
#![allow(dead_code, reason = "each test binary uses its part")]

use redis::Commands;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use trapline::managed_redis::find_binary;

/// A missing redis-server skips visibly, and fails where TRAPLINE_REQUIRE_REDIS is set.
pub fn skip() -> bool {
    if find_binary(None).is_some() {
        return false;
    }
    assert!(std::env::var_os("TRAPLINE_REQUIRE_REDIS").is_none(), "redis-server is missing");
    eprintln!("SKIPPED: no redis-server");
    true
}

pub fn wait_for(what: &str, mut met: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !met() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A redis-server that can be killed and started again on the same socket.
pub struct Server {
    folder: tempfile::TempDir,
    child: Option<Child>,
    args: Vec<String>,
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("tl").tempdir_in("/tmp").unwrap();
        let mut server = Self { folder, child: None, args: args.iter().map(|a| (*a).to_owned()).collect() };
        server.up();
        server
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("r.sock")
    }

    /// Starts it again and waits until it answers.
    pub fn up(&mut self) {
        self.launch();
        wait_for("redis is up", || {
            self.try_eyes().is_some_and(|mut c| redis::cmd("PING").query::<String>(&mut c).is_ok())
        });
    }

    /// Starts it again and waits for nothing.
    pub fn launch(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let data = self.folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let child = Command::new(find_binary(None).unwrap())
            .args(["--port", "0", "--save", "", "--appendonly", "yes", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(&data)
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// For the next start.
    pub fn set_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(|a| (*a).to_owned()).collect();
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.as_ref().unwrap().id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn forget_everything(&self) {
        std::fs::remove_dir_all(self.folder.path().join("data")).unwrap();
    }

    /// Cuts the end of the append-only file, as a power loss does.
    pub fn cut_tail(&self, bytes: u64) {
        let folder = self.folder.path().join("data/appendonlydir");
        for file in std::fs::read_dir(folder).unwrap().flatten() {
            if file.file_name().to_string_lossy().ends_with(".incr.aof") {
                let size = file.metadata().unwrap().len();
                let file = std::fs::OpenOptions::new().write(true).open(file.path()).unwrap();
                file.set_len(size.saturating_sub(bytes)).unwrap();
            }
        }
    }

    pub fn try_eyes(&self) -> Option<redis::Connection> {
        redis::Client::open(format!("unix:{}", self.socket().display())).ok()?.get_connection().ok()
    }

    pub fn eyes(&self) -> redis::Connection {
        self.try_eyes().unwrap()
    }

    pub fn run(&self, words: &[&str]) -> redis::Value {
        self.try_run(words).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    /// Sentinels end the connections of a server whose role they change.
    pub fn try_run(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let mut link = redis::Client::open(format!("unix:{}", self.socket().display()))?.get_connection()?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut link)
    }

    /// The same with a password.
    pub fn run_as(&self, password: &str, words: &[&str]) -> redis::Value {
        let mut eyes = self.eyes();
        let _: () = redis::cmd("AUTH").arg(password).query(&mut eyes).expect("the password");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut eyes).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    pub fn field(&self, key: &str, field: &str) -> Option<String> {
        self.try_eyes()?.hget(key, field).ok()?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads a time in a hash again and again; a value below one seen before, in the same life of Redis' data, is a
/// regression.
pub fn watch(server: &Server, watching: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<String>> {
    let url = format!("unix:{}", server.socket().display());
    std::thread::spawn(move || {
        let mut regressions = Vec::new();
        while watching.load(SeqCst) {
            let Some(mut eyes) = redis::Client::open(url.as_str()).ok().and_then(|c| c.get_connection().ok()) else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let _ = eyes.set_read_timeout(Some(Duration::from_secs(5)));
            // A killed Redis with a cut tail comes back older by itself, so each connection starts afresh.
            let mut highest = 0_i64;
            while watching.load(SeqCst) {
                let time: redis::RedisResult<Option<i64>> = eyes.hget("trapline:BTCUSDT:market_state", "exchange_time");
                match time {
                    Ok(Some(time)) if time < highest => {
                        regressions.push(format!("{highest} -> {time}"));
                        highest = time;
                    }
                    Ok(Some(time)) => highest = time,
                    Ok(None) => {}
                    Err(_) => break,
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        regressions
    })
}
