//! `trapline protect`.

use super::Place;
use super::legacy;
use super::support::free_port;
use std::process::{Child, Command, Stdio};
use trapline::managed_redis::find_binary;

#[test]
fn the_table_tells_and_apply_sets_in_a_safe_order() {
    let place = Place::start();
    place.set(&["CONFIG", "SET", "appendonly", "no"]);
    place.set(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    place.set(&["HSET", "current_position", "size", "0", "epoch", "7", "stale", "0"]);
    place.run(&["protect", "--check"]).expect(1);
    let plan = place.run(&["protect"]).expect(0);
    assert!(plan.out.contains("allkeys-lru") && plan.out.contains("nothing was changed"), "{}", plan.out);
    assert_eq!(place.config("maxmemory-policy"), "allkeys-lru");

    let done = place.run(&["protect", "--apply"]).expect(0);
    let set = ["maxmemory-policy", "maxmemory", "appendonly", "appendfsync"].map(|name| place.config(name));
    assert_eq!(set, ["noeviction", "1073741824", "yes", "everysec"]);
    let ttl: i64 = redis::cmd("TTL").arg("current_position").query(&mut place.redis.link()).expect("TTL");
    assert!((3_500..=3_600).contains(&ttl), "{ttl}");
    // This server was started without a file: that is said, with the lines for one.
    assert!(done.out.contains("NOT kept") && done.out.contains("maxmemory-policy noeviction"), "{}", done.out);
    place.run(&["protect", "--check"]).expect(0);
    let steps = place.steps();
    assert_eq!(steps.iter().filter(|s| *s == "protect set").count(), 4, "{steps:?}");

    // Somebody sets it back.
    place.set(&["CONFIG", "SET", "appendonly", "no"]);
    let check = place.run(&["protect", "--check", "--json"]).expect(1).json();
    assert!(
        check["rows"].as_array().expect("rows").iter().any(|r| r["setting"] == "appendonly" && r["state"] == "set")
    );
    // Another bound is another wish.
    place.run(&["protect", "--check", "--maxmemory", "2gb"]).expect(1);
    place.run(&["protect", "--maxmemory", "much"]).expect(64);
}

#[test]
fn an_expiry_is_never_put_on_a_key_that_nobody_renews() {
    let place = Place::start();
    legacy::fill(&mut place.redis.link());
    let done = place.run(&["protect", "--apply"]).expect(1);
    assert!(done.out.contains("trapline migrate --apply"), "{}", done.out);
    let ttl: i64 = redis::cmd("TTL").arg("current_position").query(&mut place.redis.link()).expect("TTL");
    assert_eq!(ttl, -1, "the old position must not vanish: that would read as 'flat'");
    assert_eq!(place.config("maxmemory"), "1073741824", "the rest is set");
    place.run(&["migrate", "--apply"]).expect(0);
    place.run(&["protect", "--check"]).expect(0);
}

#[test]
fn a_bound_that_would_refuse_writes_at_once_is_not_set() {
    let place = Place::start();
    place.set(&["CONFIG", "SET", "appendonly", "no"]);
    let done = place.run(&["protect", "--apply", "--maxmemory", "100kb"]).expect(1);
    assert!(done.out.contains("would refuse writes"), "{}", done.out);
    // Nor is it advised for the server's configuration file, from which the next start would take it.
    assert!(done.out.contains("NOT kept") && done.out.contains("      appendfsync everysec"), "{}", done.out);
    assert!(!done.out.contains("      maxmemory 1"), "{}", done.out);
    assert_eq!(place.config("maxmemory"), "0");
    place.set(&["SET", "still", "writable"]);
}

/// A server with a configuration file.
struct Filed(Child, u16, tempfile::TempDir);

impl Drop for Filed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Filed {
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let port = free_port();
        let text = format!("port {port}\nbind 127.0.0.1\ndir {}\nsave \"\"\n{more}\n", folder.path().display());
        let file = folder.path().join("redis.conf");
        std::fs::write(&file, text).expect("redis.conf");
        let child = Command::new(find_binary(None).expect("redis-server"))
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let filed = Self(child, port, folder);
        super::support::wait_for("redis answers", || {
            redis::Client::open(filed.url()).and_then(|c| c.get_connection()).map(|_| ()).map_err(|e| e.to_string())
        });
        filed
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.1)
    }

    fn run(&self, words: &[&str]) -> super::Ended {
        let mut command = Command::new(super::BIN);
        command.args(words).args(["--redis", &self.url(), "--state"]).arg(self.2.path().join("state"));
        super::Ended::of(&command.output().expect("the command runs"))
    }
}

#[test]
fn settings_are_written_to_the_servers_file_where_it_has_one() {
    let server = Filed::start("appendonly no\nmaxmemory-policy allkeys-lru");
    let done = server.run(&["protect", "--apply"]).expect(0);
    assert!(done.out.contains("written to the server's configuration file"), "{}", done.out);
    let text = std::fs::read_to_string(server.2.path().join("redis.conf")).expect("redis.conf");
    for line in ["maxmemory-policy noeviction", "appendonly yes", "maxmemory 1gb"] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[test]
fn a_server_that_keeps_its_settings_to_itself_is_told_apart() {
    let server = Filed::start("rename-command CONFIG \"\"");
    let refused = server.run(&["protect"]).expect(69);
    assert!(refused.err.contains("maxmemory-policy noeviction"), "{}", refused.err);
}
