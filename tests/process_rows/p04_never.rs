//! P4: a task of a room awaits what never comes. The room is replaced, and the others go on.

use crate::common::{Faults, PATIENT, disturbed, goes_on, have_fault_points, ms, pace, poke, rooms, with};
use crate::support::figures::Figures;
use crate::support::{World, wait_for};
use std::time::{Duration, Instant};

/// Every room that has a task, two at a time that have nothing to do with each other.
const PAIRS: [&[&str]; 3] = [&["exchange_feed", "status"], &["exchange_feed_private", "redis_writer"], &["reconciler"]];
/// Rooms with work of their own, whoever of the others hangs.
const OTHERS: [&str; 2] = ["health_watchdog", "trap_recorder"];

fn a_task_that_awaits_for_ever_is_replaced() {
    if !have_fault_points() {
        return;
    }
    let faults = Faults::new();
    let mut more = PATIENT.to_vec();
    // A round of questions at least once a second: a hang shows at the next turn of the loop.
    more.push(("reconcile", "every_ms = 500"));
    let world = World::ready(&with(vec![faults.env()], &more));
    let daemon = &world.daemon;
    let calm = pace(daemon, &OTHERS, Duration::from_millis(1_200));
    let (mut recovery, mut ratio) = (Vec::new(), Vec::new());
    for pair in PAIRS {
        let before = rooms(daemon);
        let entries: Vec<String> = pair.iter().map(|room| format!("{room}.task=never@1")).collect();
        faults.arm(&entries.join(";"));
        wait_for("they hang", || {
            // The status room looks round with each caller, who then waits in vain.
            poke(daemon.status_port);
            let hung = pair.iter().all(|room| faults.fired_at(&format!("{room}.task")) > 0);
            if hung { Ok(()) } else { Err(format!("{:?}", faults.fired())) }
        });
        let begun = Instant::now();
        // They hang now, and are not found yet.
        ratio.push(pace(daemon, &OTHERS, Duration::from_millis(1_200)) / calm.max(1.0));
        let now = wait_for("replaced", || {
            let now = rooms(daemon);
            let back = pair.iter().all(|room| now[*room].epoch > before[*room].epoch && now[*room].state == "running");
            if back { Ok(now) } else { Err(format!("{:?}", pair.iter().map(|room| &now[*room]).collect::<Vec<_>>())) }
        });
        recovery.push(ms(begun.elapsed()));
        faults.disarm();
        // The public feed shares its thread with other shards of itself only; the writer with validator and breaker.
        let mut spared = pair.to_vec();
        spared.extend(["validator", "circuit_breaker"]);
        assert_eq!(disturbed(&before, &now, &spared), Vec::<String>::new());
        goes_on(&world, "BTCUSDT");
        goes_on(&world, "ETHUSDT");
    }
    world.daemon.wait_ready();
    let journal = daemon.journal();
    let hung: Vec<&str> =
        journal.iter().filter(|e| e.event == "down" && e.text("cause") == "hang").map(|e| e.text("room")).collect();
    for room in PAIRS.concat() {
        assert!(hung.contains(&room), "{room} was found hanging: {hung:?}");
    }
    let slowest = recovery.iter().copied().fold(0.0, f64::max);
    assert!(slowest < 15_000.0, "the limit is two seconds: {recovery:?}");
    assert!(ratio.iter().all(|ratio| *ratio > 0.3), "the others stood: {ratio:?}");
    Figures {
        row: "P4",
        fault: "a task awaits for ever, each room that has one",
        injected: 5,
        detected: 5,
        survived: 5,
        detection_ms: recovery.clone(),
        recovery_ms: recovery,
        others_ratio: ratio.iter().copied().reduce(f64::min),
        ..Figures::default()
    }
    .publish();
}

/// What may rightly take long is no hang: a quiet private connection, a pause between rounds, Redis away for longer
/// than the limit, an exchange that refuses connections.
fn a_patient_task_is_not_taken_for_a_hung_one() {
    let world = World::ready(&with(vec![], &[]));
    let before = rooms(&world.daemon);
    let redis = world.redis.server().pid().to_string();
    let signal =
        |name: &str| std::process::Command::new("kill").args([name, &redis]).status().is_ok_and(|s| s.success());
    world.exchange.fault("refuse_connect", 4_000);
    world.exchange.control("close");
    assert!(signal("-STOP"));
    std::thread::sleep(Duration::from_millis(4_500));
    assert!(signal("-CONT"));
    goes_on(&world, "BTCUSDT");
    world.daemon.wait_ready();
    let now = rooms(&world.daemon);
    assert_eq!(disturbed(&before, &now, &[]), Vec::<String>::new(), "nobody was replaced");
}

/// All of the row.
#[test]
fn p04_async_hang() {
    crate::common::side_by_side(&[a_task_that_awaits_for_ever_is_replaced, a_patient_task_is_not_taken_for_a_hung_one]);
}
