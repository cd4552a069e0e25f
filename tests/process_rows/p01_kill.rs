//! P1: SIGKILL in the middle of a write to the spool, to Redis, to the journal. Started again, the picture is back, and
//! of everything that the exchange ever filled nothing is missing and nothing stands twice.

use crate::common::{Faults, Trading, assert_each_fill_once, have_fault_points, ms, order, seq, side_by_side, with};
use crate::support::figures::Figures;
use crate::support::{Exchange, PATIENCE, World, wait_for};
use std::time::{Duration, Instant};
use trapline::venue::{FaultName, FaultSpec, ScriptChoice, VenueConfig};

/// Where it is killed, and up to which visit.
/// A start writes twelve lines for sure: its own and one of each room.
const POINTS: [(&str, u64); 13] = [
    ("spool.append=kill", 8),
    ("spool.inserted=kill", 8),
    ("spool.committed=kill", 8),
    ("redis.write=kill", 40),
    ("redis.written=kill", 40),
    ("redis.reply=kill", 60),
    ("redis_writer.handle:Event=kill", 8),
    ("redis_writer.handled:Event=kill", 8),
    ("ledger.handled:Fill=kill", 8),
    ("ledger.handle:Fill=kill", 8),
    ("ws.frame=kill", 100),
    ("journal.write=kill", 12),
    ("journal.line=torn", 12),
];

/// Two worlds at once, with every other seed each.
#[test]
fn p01_sigkill_in_a_write_loses_and_doubles_nothing() {
    if have_fault_points() {
        side_by_side(&[|| kill_and_start_again(0), || kill_and_start_again(1)]);
    }
}

fn kill_and_start_again(half: u64) {
    let kills = std::env::var("FAULT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_u64) / 2;
    let folder = tempfile::tempdir().expect("folder");
    let truth = folder.path().join("truth.jsonl");
    // What is made while one life after another dies at its start has to be told by the exchange later.
    let kept = 100_000;
    let venue = VenueConfig { script: ScriptChoice::Idle, kept, truth: Some(truth.clone()), ..Exchange::config() };
    let faults = Faults::new();
    let options = with(vec![faults.env()], &[("rates", "trades_per_minute = 1000000")]);
    let mut world = World::start(venue, &options);
    world.daemon.wait_ready();
    let mut trading = Trading::start(&world.exchange, truth, Duration::from_millis(12));
    let (mut times, mut early) = (Vec::new(), 0);
    for round in 1..=kills {
        let seed = 2 * round - half;
        let chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let (point, most) = POINTS[(seed % POINTS.len() as u64) as usize];
        // The journal is written at the start, so those die there; and of the others one in four.
        let at_start = point.starts_with("journal") || chance.is_multiple_of(4);
        let entry = format!("{point}@{}", 1 + (chance >> 2) % most);
        if round > 1 && !at_start {
            times.push(publishes(&world));
        }
        if at_start {
            // This life ends in any way; the next one dies at the point, at its start.
            world.daemon.signal("KILL");
            let _ = world.daemon.child.wait();
            faults.arm(&entry);
            world.daemon.start_again(&options);
            early += 1;
        } else {
            faults.arm(&entry);
        }
        let until = Instant::now() + PATIENCE;
        while world.daemon.child.try_wait().expect("the child").is_none() {
            assert!(Instant::now() < until, "seed {seed}: {entry} never came; log:\n{}", world.daemon.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        faults.disarm();
        world.daemon.start_again(&options);
    }
    times.push(publishes(&world));
    world.daemon.wait_ready();
    assert_eq!(faults.fired().len() as u64, kills, "{:?}", faults.fired());
    let made = trading.end();
    let fills = assert_each_fill_once(&world, &made);
    assert!(fills > 10 * kills, "{fills} fills in {kills} kills show little");
    let (_, told, _) = world.daemon.cli(&["restarts", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&told).expect("json");
    let known = answer["answer"]["starts_after_kill"].as_u64().unwrap_or(0);
    // Who died before its first line reached the journal left nothing to know it by.
    assert!(known >= kills - early && known <= kills + early, "the journal knows of {known} of {kills} kills");
    let slow = times.iter().filter(|time| **time > Duration::from_secs(2)).count();
    Figures {
        row: "P1",
        fault: "SIGKILL in a write of spool, Redis or journal",
        injected: kills,
        detected: known.min(kills),
        survived: kills,
        recovery_ms: times.iter().map(|time| ms(*time)).collect(),
        events: fills,
        more: [
            ("starts beyond 2 s", slow.into()),
            ("seeds", format!("{} to {} by twos", 2 - half, 2 * kills - half).into()),
        ]
        .into(),
        ..Figures::default()
    }
    .publish();
    assert_eq!(world.daemon.stop(), 0);
}

/// From the start of the process just now until a newer value than all before is in Redis, and fresh.
fn publishes(world: &World) -> Duration {
    let (begun, before) = (Instant::now(), seq(world, "BTCUSDT"));
    let mut link = world.redis.link();
    wait_for("publishing again", || {
        let hash = redis::cmd("HGETALL").arg("trapline:BTCUSDT:market_state").query(&mut link).unwrap_or_default();
        let now = order(&hash);
        assert!(now >= before, "the value went back from {before:?} to {now:?}");
        let fresh = hash.get("stale").is_some_and(|stale| stale == "0");
        if now.0 > before.0 && fresh { Ok(()) } else { Err(format!("{hash:?}")) }
    });
    begun.elapsed()
}

/// What a killed daemon left says that it is fresh for ever; its successor judges it by its age, not by its own.
#[test]
fn p01_what_a_killed_daemon_left_is_marked_by_its_own_age() {
    const LIMIT_MS: i64 = 4_000;
    let limit = format!("market_ms = {LIMIT_MS}\nposition_ms = {LIMIT_MS}");
    let options = with(vec![], &[("freshness", &limit), ("reconcile", "every_ms = 1000")]);
    let mut world = World::start(VenueConfig { script: ScriptChoice::Idle, ..Exchange::config() }, &options);
    world.daemon.wait_ready();
    let keys = ["trapline:BTCUSDT:market_state", "trapline:BTCUSDT:position:long"];
    for key in keys {
        world.redis.wait_field(key, "stale", |v| v == "0");
    }
    world.daemon.signal("KILL");
    let _ = world.daemon.child.wait();
    // The next one hears nothing.
    world.exchange.venue.fault(FaultSpec::new(FaultName::RefuseConnect, 600_000));
    world.exchange.venue.fault(FaultSpec::new(FaultName::Rest500, 600_000));
    std::thread::sleep(Duration::from_millis(LIMIT_MS.unsigned_abs() / 2));
    world.daemon.start_again(&options);
    for key in keys {
        world.redis.wait_field(key, "stale", |v| v == "1");
        let hash: std::collections::HashMap<String, String> =
            redis::cmd("HGETALL").arg(key).query(&mut world.redis.link()).expect("the key");
        let number = |field: &str| hash[field].parse::<i64>().expect("a number");
        let late_ms = number("stale_since") - number("timestamp") - LIMIT_MS;
        assert!((0..100).contains(&late_ms), "{key}: {late_ms} ms, {hash:?}");
    }
    assert_eq!(world.daemon.stop(), 0);
}
