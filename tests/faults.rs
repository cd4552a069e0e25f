//! One test per failure: what is broken, what readers of Redis see, and that the rest goes on. Real processes, real
//! sockets, a real redis-server. Redis' own failures: `redis_rows.rs`.

mod support;

use support::{KEY, Options, World, http_get, wait_for};

fn number(text: Option<&String>) -> i64 {
    text.and_then(|t| t.parse().ok()).unwrap_or(-1)
}

/// The symbol's sequence number in Redis.
fn seq(world: &World, symbol: &str) -> i64 {
    number(world.redis.hash(&format!("trapline:{symbol}:market_state")).get("seq"))
}

/// New values keep arriving.
fn goes_on(world: &World, symbol: &str) {
    let before = seq(world, symbol);
    wait_for(&format!("{symbol} goes on"), || match seq(world, symbol) {
        now if now > before => Ok(()),
        now => Err(format!("seq {now}")),
    });
}

#[test]
fn silence_is_marked_stale_in_the_key_itself() {
    // Sooner than a silent ticker is asked for again: the answer to that would be a proof.
    let more = vec![("freshness", "market_ms = 1000".to_owned())];
    let world = World::ready(&Options { more, ..Options::default() });
    world.exchange.venue.pause();
    let hash = world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |v| v == "1");
    assert!(hash.get("stale_reason").is_some_and(|r| !r.is_empty()), "{hash:?}");
    assert!(number(hash.get("stale_since")) > 0, "{hash:?}");
    assert!(number(hash.get("price").map(|_| hash.get("seq")).unwrap_or(None)) > 0, "the last value stays: {hash:?}");
    assert_eq!(http_get(world.daemon.status_port, "/readyz").0, 503);
    world.exchange.venue.resume();
    world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |v| v == "0");
}

#[test]
fn a_panic_in_one_room_disturbs_no_other() {
    let options = Options { more: vec![("", "allow_drills = true".to_owned())], ..Options::default() };
    let world = World::ready(&options);
    for room in ["validator", "circuit_breaker", "analyst", "trap_recorder", "redis_writer", "health_watchdog"] {
        let (code, told, error) = world.daemon.cli(&["drill", &format!("panic:{room}")]);
        assert_eq!(code, 0, "{room}: {told}{error}");
        wait_for(&format!("{room} restarted"), || {
            let status = world.daemon.statusz();
            let found = status["rooms"].as_array().and_then(|r| r.iter().find(|r| r["name"] == room).cloned());
            match found {
                Some(r) if r["restarts_total"].as_u64() >= Some(1) && r["state"] == "running" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        goes_on(&world, "BTCUSDT");
        assert_eq!(http_get(world.daemon.status_port, "/livez").0, 200);
    }
    let journal = std::fs::read_to_string(world.daemon.state.path().join("journal.jsonl")).expect("a journal");
    assert!(journal.contains("validator"), "the journal names who died");
}

#[test]
fn a_hung_room_is_replaced() {
    let options = Options { more: vec![("", "allow_drills = true".to_owned())], ..Options::default() };
    let world = World::ready(&options);
    let (code, told, error) = world.daemon.cli(&["drill", "hang:validator:8s"]);
    assert_eq!(code, 0, "{told}{error}");
    wait_for("the validator is replaced", || {
        let status = world.daemon.statusz();
        let found = status["rooms"].as_array().and_then(|r| r.iter().find(|r| r["name"] == "validator").cloned());
        match found {
            Some(r) if r["restarts_total"].as_u64() >= Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    goes_on(&world, "BTCUSDT");
    world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |v| v == "0");
}

#[test]
fn no_secret_anywhere() {
    let mut world = World::ready(&Options::default());
    world.exchange.fault("kill", 0);
    goes_on(&world, "BTCUSDT");
    let mut seen = String::new();
    for path in ["/statusz", "/metrics", "/readyz", "/livez"] {
        seen.push_str(&http_get(world.daemon.status_port, path).1);
    }
    let dump: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut world.redis.link()).expect("keys");
    for key in &dump {
        let kind: String = redis::cmd("TYPE").arg(key).query(&mut world.redis.link()).expect("type");
        let read = match kind.as_str() {
            "hash" => vec!["HGETALL", key.as_str()],
            "list" => vec!["LRANGE", key, "0", "-1"],
            "zset" => vec!["ZRANGE", key, "0", "-1"],
            "stream" => vec!["XRANGE", key, "-", "+"],
            _ => vec!["GET", key],
        };
        let mut command = redis::cmd(read[0]);
        read[1..].iter().for_each(|word| {
            command.arg(*word);
        });
        let value: redis::Value = command.query(&mut world.redis.link()).expect("value");
        seen.push_str(&format!("{key} {value:?}\n"));
    }
    assert_eq!(world.daemon.stop(), 0, "an orderly end");
    seen.push_str(&world.daemon.log());
    for entry in walk(world.daemon.state.path()) {
        seen.push_str(&String::from_utf8_lossy(&std::fs::read(&entry).unwrap_or_default()));
    }
    assert!(seen.len() > 10_000, "only {} bytes were looked at", seen.len());
    for canary in KEY {
        assert!(!seen.contains(canary), "a secret was shown");
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn an_orderly_end_marks_what_it_leaves() {
    let mut world = World::ready(&Options::default());
    assert_eq!(world.daemon.stop(), 0, "log:\n{}", world.daemon.log());
    let hash = world.redis.hash("trapline:BTCUSDT:market_state");
    assert_eq!(hash.get("stale").map(String::as_str), Some("1"), "{hash:?}");
    assert_eq!(hash.get("stale_reason").map(String::as_str), Some("stopped"), "{hash:?}");
}
