//! The way over from an older system, and looking inside: the commands as people run them, against redis-server
//! processes filled with what the old programs wrote.

mod support;

#[path = "upkeep/backup.rs"]
mod backup;
#[path = "upkeep/clean.rs"]
mod clean;
#[path = "upkeep/legacy.rs"]
mod legacy;
#[path = "upkeep/live.rs"]
mod live;
#[path = "upkeep/migrate.rs"]
mod migrate;
#[path = "upkeep/protect.rs"]
mod protect;
#[path = "upkeep/spool.rs"]
mod spool;
#[path = "upkeep/tap.rs"]
mod tap;

use std::process::{Command, Output, Stdio};
use support::{BIN, Redis};
use tempfile::TempDir;
use trapline::upkeep::acts::{ActLine, read};

/// A Redis with its tools' state folder.
pub struct Place {
    pub redis: Redis,
    pub state: TempDir,
}

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out:\n{}\nerr:\n{}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

impl Place {
    pub fn start() -> Self {
        let state = tempfile::Builder::new().prefix("tl-acts-").tempdir().expect("folder");
        Self { redis: Redis::start(), state }
    }

    pub fn url(&self) -> String {
        self.redis.server().url()
    }

    /// `trapline WORDS --redis … --state …`, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command.args(words).args(["--redis", &self.url(), "--state"]).arg(self.state.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Ended {
        Ended::of(&self.command(words).output().expect("the command runs"))
    }

    pub fn acts(&self) -> Vec<ActLine> {
        read(self.state.path()).unwrap_or_default()
    }

    /// Steps of the journal, `act step`.
    pub fn steps(&self) -> Vec<String> {
        self.acts().iter().map(|line| format!("{} {}", line.act, line.step)).collect()
    }

    pub fn keys(&self) -> u64 {
        redis::cmd("DBSIZE").query(&mut self.redis.link()).expect("DBSIZE")
    }

    pub fn exists(&self, key: &str) -> bool {
        redis::cmd("EXISTS").arg(key).query(&mut self.redis.link()).expect("EXISTS")
    }

    pub fn kind(&self, key: &str) -> String {
        redis::cmd("TYPE").arg(key).query(&mut self.redis.link()).expect("TYPE")
    }

    pub fn set(&self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let _: redis::Value = command.query(&mut self.redis.link()).unwrap_or_else(|e| panic!("{words:?}: {e}"));
    }

    pub fn config(&self, name: &str) -> String {
        let pair: Vec<String> =
            redis::cmd("CONFIG").arg("GET").arg(name).query(&mut self.redis.link()).expect("CONFIG");
        pair.get(1).cloned().unwrap_or_default()
    }
}

#[test]
fn each_command_teaches_with_example_lines() {
    for name in ["backup", "clean-simulation", "migrate", "protect", "tap", "spool", "keys"] {
        let help = Ended::of(&Command::new(BIN).args(["help", name]).output().expect("help")).expect(0);
        let examples = help.out.lines().filter(|l| l.starts_with(&format!("  trapline {name}"))).count();
        assert!(examples >= 2, "{name}: {}", help.out);
    }
}

#[test]
fn a_redis_that_is_not_given_not_there_or_locked_has_its_own_exit_code() {
    let place = Place::start();
    for words in
        [&["migrate"][..], &["backup"], &["clean-simulation"], &["protect"], &["keys", "--live"], &["tap", "k"]]
    {
        let bare = Ended::of(&Command::new(BIN).args(words).output().expect("runs"));
        assert_eq!((bare.code, bare.err.contains("--redis URL")), (64, true), "{words:?}: {}", bare.err);
        let mut gone = Command::new(BIN);
        gone.args(words).args(["--redis", "unix:///nowhere/redis.sock", "--state"]).arg(place.state.path());
        let gone = Ended::of(&gone.output().expect("runs"));
        assert_eq!((gone.code, gone.err.contains("unix:/nowhere/redis.sock")), (69, true), "{words:?}: {}", gone.err);
    }
    let wrong = Ended::of(&Command::new(BIN).args(["migrate", "--redis", "redis://:CANARY@h"]).output().expect("runs"));
    assert_eq!((wrong.code, wrong.err.contains("CANARY")), (64, false), "{}", wrong.err);
    place.set(&["CONFIG", "SET", "requirepass", "CANARY-right"]);
    place.run(&["migrate"]).expect(78);
    let password = place.state.path().join("password");
    std::fs::write(&password, "CANARY-right\n").expect("a file");
    let with_file = ["migrate", "--password-file", &password.to_string_lossy()].map(str::to_owned);
    let with_file: Vec<&str> = with_file.iter().map(String::as_str).collect();
    assert_eq!(place.run(&with_file).code, 64, "a file that others can read is refused");
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("mode");
    place.run(&with_file).expect(0);
    let by_env = place.command(&["migrate"]).env("TRAPLINE_REDIS_PASSWORD", "CANARY-right").output().expect("runs");
    Ended::of(&by_env).expect(0);
    let journal = std::fs::read_to_string(place.state.path().join("acts.jsonl")).unwrap_or_default();
    assert!(!journal.contains("CANARY"));
}

#[test]
fn a_configuration_file_says_where_redis_and_the_state_are() {
    let place = Place::start();
    let file = place.state.path().join("trapline.toml");
    let state = place.state.path().join("daemon-state");
    let text =
        format!("[redis]\nurl = {:?}\nposition_key_format = \"legacy-json\"\n[state]\ndir = {state:?}\n", place.url());
    std::fs::write(&file, text).expect("a file");
    place.set(&["SET", "current_position", "{}"]);
    place.set(&["SET", "sim_timestamp", "2025-03-29 20:09:50"]);
    let run = |words: &[&str]| {
        Ended::of(&Command::new(BIN).args(words).arg("--config").arg(&file).output().expect("the command runs"))
    };
    // The format of the configuration counts: as JSON the old text is of the right type.
    run(&["migrate", "--check"]).expect(0);
    run(&["clean-simulation", "--apply", "--without-backup"]).expect(0);
    assert!(!place.exists("sim_timestamp") && state.join("acts.jsonl").exists());
}
