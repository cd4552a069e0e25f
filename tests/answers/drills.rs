//! Drills on a running daemon: what was broken is found, comes back, and nothing is lost.

use super::{drillable, json};
use crate::support::{Options, World, wait_for};
use serde_json::Value;

/// Runs one; its report, which must be good.
fn drill(world: &World, what: &str) -> Value {
    let (code, told, error) = world.daemon.cli(&["drill", what, "--why", "to see it", "--json"]);
    assert_eq!(code, 0, "{what}: {told}{error}");
    let report = json(&told);
    assert!(report["detected_us"].as_u64() > Some(0) && report["recovered_us"].as_u64() > Some(0), "{report}");
    assert_eq!((&report["lost"], &report["events_lost"], &report["events_waiting"]), (&0.into(), &0.into(), &0.into()));
    eprintln!("{what}: found {} us, back {} us", report["detected_us"], report["recovered_us"]);
    report
}

/// The word of the operator is in the journal before its consequences.
fn journalled(world: &World, about: &str, command: &str) {
    wait_for("the act is in the journal", || {
        let acts = world.daemon.journal();
        let act =
            acts.iter().find(|e| e.event == "operator" && e.text("room") == about && e.text("command") == command);
        match act {
            Some(act) if act.text("why") == "to see it" && act.text("who").contains("uid ") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn a_hang_takes_those_on_its_thread_with_it_and_nobody_else() {
    let world = drillable();
    let report = drill(&world, "hang:validator:6s");
    let mut with_it: Vec<_> =
        report["restarted_with_it"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    with_it.sort_unstable();
    assert_eq!(with_it, ["circuit_breaker", "redis_writer"], "{report}");
    assert!(report["detected_us"].as_u64() < Some(6_000_000), "before the thread came back: {report}");
    journalled(&world, "validator", "drill: hang for 6000 ms");
}

#[test]
fn a_poisoned_message_is_quarantined_and_the_room_goes_on() {
    let world = drillable();
    for room in ["validator", "redis_writer"] {
        let report = drill(&world, &format!("poison:{room}"));
        assert_eq!(report["quarantined"], 1, "{report}");
        assert_eq!(world.daemon.room(room)["quarantined"], 1);
    }
}

#[test]
fn redis_ends_the_writers_connection_and_nobody_elses() {
    let world = drillable();
    let mut other = world.redis.link();
    let id: i64 = redis::cmd("CLIENT").arg("ID").query(&mut other).expect("an id");
    let report = drill(&world, "redis-kill");
    let same: i64 = redis::cmd("CLIENT").arg("ID").query(&mut other).expect("the other client lives on");
    assert_eq!(id, same);
    assert_eq!(report["others_restarted"], Value::Array(vec![]), "a lost connection is no death: {report}");
    journalled(&world, "redis-kill", "drill");
    let (code, story, error) = world.daemon.cli(&["why", "redis-kill"]);
    assert!(code == 0 && story.contains("to see it"), "{story}{error}");
}

#[test]
fn the_feeds_are_closed_and_fall_silent() {
    let more = vec![
        ("", "allow_drills = true".to_owned()),
        ("exchange", "silence_ms = 3000\nping_ms = 2000\npong_deadline_ms = 2000".to_owned()),
    ];
    let world = World::ready(&Options { more, ..Options::default() });
    for what in ["feed-close", "feed-blackhole"] {
        let report = drill(&world, what);
        assert_eq!(report["others_restarted"], Value::Array(vec![]), "{report}");
        journalled(&world, what, "drill");
    }
    let log = world.daemon.log();
    assert!(log.contains("cut by a drill"), "the first was cut");
    assert!(log.contains("stays silent") || log.contains("no pong"), "the second was found by its silence");
}

#[test]
fn what_can_be_broken_is_listed_and_refused_where_it_is_not_allowed() {
    let world = World::ready(&Options::default());
    let (code, list, _) = world.daemon.cli(&["drill", "--list"]);
    assert_eq!(code, 0);
    for part in ["panic:ROOM", "hang:ROOM", "poison:ROOM", "redis-kill", "feed-blackhole", "feed-close", "redis_writer"]
    {
        assert!(list.contains(part), "{part} is missing in\n{list}");
    }
    assert!(list.contains("not allowed"), "{list}");
    for what in ["panic:validator", "poison:validator", "hang:validator", "redis-kill", "feed-blackhole", "feed-close"]
    {
        let (code, _, error) = world.daemon.cli(&["drill", what]);
        assert!(code == 1 && error.contains("allow_drills"), "{what}: {code} {error}");
    }
    assert!(world.daemon.journal().iter().all(|entry| entry.event != "operator"), "nothing was done");
    assert_eq!(world.daemon.room("validator")["restarts_total"], 0);
}
