//! P9: the wall clock steps by an hour and back, by a leap second; the machine is suspended. Stamps follow the wall
//! clock, and nothing else changes: nothing is stale, refused, restarted or frozen because of a step. After a suspend
//! what was not confirmed meanwhile is stale at once.

use crate::common::{Faults, disturbed, goes_on, have_fault_points, metric, ms, rooms, with};
use crate::support::figures::Figures;
use crate::support::{World, wait_for};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use trapline::clock::Clock;

const MARKET: &str = "trapline:BTCUSDT:market_state";
const POSITION: &str = "trapline:BTCUSDT:position:long";
const HEALTH: &str = "trapline:health";

fn number(hash: &BTreeMap<String, String>, field: &str) -> i64 {
    hash.get(field).and_then(|text| text.parse().ok()).unwrap_or(i64::MIN)
}

/// Refused because of their time.
fn refused_by_time(world: &World) -> u64 {
    let refused = world.daemon.statusz()["refused"].clone();
    ["stale", "future", "regressed"].iter().filter_map(|reason| refused[*reason].as_u64()).sum()
}

fn a_step_of_the_wall_clock_changes_stamps_only() {
    if !have_fault_points() {
        return;
    }
    let faults = Faults::new();
    let more = [("freshness", "position_ms = 4000"), ("reconcile", "every_ms = 1000")];
    let world = World::ready(&with(vec![faults.env()], &more));
    wait_for("a position is known", || {
        let hash = world.redis.hash(POSITION);
        if hash.get("stale").is_some_and(|stale| stale == "0") { Ok(()) } else { Err(format!("{hash:?}")) }
    });
    let before = rooms(&world.daemon);
    let refused = refused_by_time(&world);
    let mut recovery = Vec::new();
    // An hour ahead, an hour behind what it was, a leap second more, and right again.
    let steps = [3_600_000, -3_600_000, -3_601_000, 0];
    for (n, shift_ms) in steps.into_iter().enumerate() {
        let begun = Instant::now();
        faults.arm(&format!("clock.wall=shift:{shift_ms}"));
        let stamps_follow = |hash: &BTreeMap<String, String>| {
            let now_ms = Clock::system().wall_ms() + shift_ms;
            (now_ms - number(hash, "timestamp")).abs() < 4_000
        };
        // All the time, and at the latest after a moment with the new stamps.
        let mut all_followed = None;
        let (mut markets, mut healths) = (Vec::new(), Vec::new());
        let until = Instant::now() + Duration::from_millis(1_600);
        while Instant::now() < until || all_followed.is_none() {
            let hashes = [MARKET, POSITION, HEALTH].map(|key| world.redis.hash(key));
            for (key, hash) in [MARKET, POSITION].iter().zip(&hashes) {
                assert_eq!(hash["stale"], "0", "{key} after a step to {shift_ms} ms: {hash:?}");
            }
            if all_followed.is_none() && hashes.iter().all(stamps_follow) {
                all_followed = Some(begun.elapsed());
            }
            markets.push(number(&hashes[0], "seq"));
            healths.push(number(&hashes[2], "timestamp"));
            assert!(begun.elapsed() < crate::support::PATIENCE, "stamps do not follow {shift_ms}: {hashes:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        recovery.extend(all_followed.map(ms));
        assert!(markets.is_sorted() && markets.first() < markets.last(), "the market stood: {markets:?}");
        let fresh: std::collections::BTreeSet<i64> = healths.into_iter().collect();
        assert!(fresh.len() >= 2, "health froze after a step to {shift_ms} ms: {fresh:?}");
        wait_for("the step is counted", || {
            let counted = metric(&world.daemon, "trapline_clock_steps_total");
            if counted >= (n + 1) as f64 { Ok(()) } else { Err(format!("{counted}")) }
        });
        // A login signs with the time: it works in any hour.
        world.exchange.control("close");
        goes_on(&world, "BTCUSDT");
    }
    world.daemon.wait_ready();
    assert_eq!(refused_by_time(&world), refused, "nothing was refused because of our clock");
    assert_eq!(disturbed(&before, &rooms(&world.daemon), &[]), Vec::<String>::new());
    assert_eq!(metric(&world.daemon, "trapline_clock_steps_total"), steps.len() as f64, "each counted once");
    let journal = world.daemon.journal();
    assert_eq!(journal.iter().filter(|e| e.text("problem") == "clock_step").count(), steps.len(), "each written down");
    assert!(!journal.iter().any(|e| e.event == "key_stale"), "nothing was ever judged stale");
    Figures {
        row: "P9",
        fault: "the wall clock steps: an hour ahead, an hour back, a leap second",
        injected: steps.len() as u64,
        detected: steps.len() as u64,
        survived: steps.len() as u64,
        recovery_ms: recovery,
        more: [("false stale marks", 0.into())].into(),
        ..Figures::default()
    }
    .publish();
}

/// The market stands, and all that the exchange said of it is in Redis: nothing is on its way that could come after
/// the clocks were moved.
fn all_told(world: &World) {
    world.exchange.venue.pause();
    wait_for("the exchange stands still", || {
        if world.exchange.venue.stands_still() { Ok(()) } else { Err("it goes on".to_owned()) }
    });
    for truth in world.exchange.venue.truth() {
        let newest_ms = truth.ticker_ms.max(truth.trade_ms);
        let key = format!("trapline:{}:market_state", truth.symbol);
        world.redis.wait_field(&key, "exchange_time", |text| text == newest_ms.to_string());
    }
}

/// Ten minutes of sleep: both clocks go on, the process does not.
fn after_a_suspend_old_values_are_stale_at_once_and_new_ones_come() {
    if !have_fault_points() {
        return;
    }
    const SLEPT_MS: i64 = 600_000;
    let faults = Faults::new();
    // The daemon asks for nothing by itself meanwhile: an answer of the exchange, which did not sleep, would be a proof.
    let more = [
        ("exchange", "silence_ms = 600000"),
        ("freshness", "position_ms = 300000"),
        ("reconcile", "every_ms = 300000\nclock_every_ms = 3600000"),
    ];
    let world = World::ready(&with(vec![faults.env()], &more));
    let before = rooms(&world.daemon);
    all_told(&world);
    world.exchange.control(&format!("fault?name=clock_skew_ms&ms=600000&value={SLEPT_MS}"));
    let begun = Instant::now();
    faults.arm(&format!("clock.wall=shift:{SLEPT_MS};clock.boot=shift:{SLEPT_MS}"));
    // Being marked leads to the question that confirms the position a moment later: the journal knows what was marked.
    wait_for("all is marked", || {
        let journal = world.daemon.journal();
        let is_marked = |key: &str| journal.iter().any(|e| e.event == "key_stale" && e.text("key").starts_with(key));
        let keys = ["market:BTCUSDT", "market:ETHUSDT", "position:BTCUSDT", "position:ETHUSDT"];
        let missing: Vec<_> = keys.into_iter().filter(|key| !is_marked(key)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}, {:?}", world.redis.hash(MARKET))) }
    });
    let marked = begun.elapsed();
    world.redis.wait_field(MARKET, "stale", |stale| stale == "1");
    world.exchange.venue.resume();
    let resumed = Instant::now();
    goes_on(&world, "BTCUSDT");
    let back = resumed.elapsed();
    world.redis.wait_field(POSITION, "stale", |stale| stale == "0");
    assert_eq!(metric(&world.daemon, "trapline_clock_steps_total"), 0.0, "sleep is no step");
    assert_eq!(disturbed(&before, &rooms(&world.daemon), &[]), Vec::<String>::new(), "and no hang");
    Figures {
        row: "P9",
        fault: "the machine was suspended for ten minutes",
        injected: 1,
        detected: 1,
        survived: 1,
        detection_ms: vec![ms(marked)],
        recovery_ms: vec![ms(back)],
        ..Figures::default()
    }
    .publish();
}

/// All of the row.
#[test]
fn p09_clock_steps_and_suspend() {
    crate::common::side_by_side(&[
        a_step_of_the_wall_clock_changes_stamps_only,
        after_a_suspend_old_values_are_stale_at_once_and_new_ones_come,
    ]);
}
