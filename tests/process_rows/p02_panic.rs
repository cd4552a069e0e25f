//! P2: a panic in each room, at each kind of message, in factory, drop and while sending. The room is back at once, the
//! others are not touched, and what kills its room is not tried more often than its card allows.

use crate::common::{
    Faults, PATIENT, Rooms, Trading, disturbed, goes_on, handled, have_fault_points, ms, order_room, rooms, with,
};
use crate::support::figures::Figures;
use crate::support::{Exchange, World, wait_for};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use trapline::supervise::journal::JournalEntry;
use trapline::topology::cards;
use trapline::venue::{ScriptChoice, VenueConfig};

/// Kinds that do not come in a healthy daemon within seconds: nobody sends them yet, they tell of the end, or they
/// need a market of hours. Their rooms are shown with all the others.
const NOT_PROVOKED: [(&str, &str); 8] = [
    // The exchange's clock is not touched here (row X8).
    ("reconciler", "ClockDoubted"),
    ("circuit_breaker", "ClockStep"),
    ("exchange_feed", "Reconnect"),
    ("exchange_feed_private", "Reconnect"),
    ("trap_recorder", "TrapDetected"),
    ("redis_writer", "Regime"),
    ("redis_writer", "Fresh"),
    ("redis_writer", "Ended"),
];

/// A daemon that has much to do, and whose budgets are wide.
fn busy_world(faults: &Faults, folder: &std::path::Path) -> (World, Trading) {
    let truth = folder.join("truth.jsonl");
    let venue = VenueConfig { script: ScriptChoice::Idle, truth: Some(truth.clone()), ..Exchange::config() };
    let mut more = PATIENT.to_vec();
    more.extend([
        ("rates", "trades_per_minute = 1000000"),
        ("reconcile", "every_ms = 400\nclock_every_ms = 1000"),
        ("freshness", "position_ms = 1500"),
        ("", "allow_drills = true"),
    ]);
    let world = World::start(venue, &with(vec![faults.env()], &more));
    world.daemon.wait_ready();
    let trading = Trading::start(&world.exchange, truth, Duration::from_millis(60));
    (world, trading)
}

/// What makes a message of this kind come.
fn provoke(world: &World, room: &str, kind: &str) {
    match (room, kind) {
        ("validator" | "reconciler", "FeedReady" | "FeedLost")
        | ("circuit_breaker", "FeedState")
        | ("analyst", "FeedGap") => {
            world.exchange.control("close");
        }
        ("reconciler", "Suspicion") => order_room(&world.daemon, "restart", "validator"),
        ("validator", "Refused") => world.exchange.fault("garbage_frame", 2_000),
        ("circuit_breaker", "AccountFreshness") | ("redis_writer", "Stale") => {
            world.exchange.fault("rest_500", 2_500);
            world.exchange.fault("freeze_channel", 2_500);
        }
        // A question is asked three times before it counts as unanswered, and that for the clock comes first.
        ("health_watchdog", "Problem") => world.exchange.fault("rest_500", 20_000),
        ("redis_writer", "Breaker") => order_room(&world.daemon, "restart", "circuit_breaker"),
        _ => {}
    }
}

/// Deaths of a room by the journal, after the first `skip` entries of all.
fn deaths<'a>(journal: &'a [JournalEntry], skip: usize, room: &str) -> Vec<&'a JournalEntry> {
    journal.iter().skip(skip).filter(|entry| entry.event == "down" && entry.text("room") == room).collect()
}

#[test]
fn p02_a_panic_at_each_kind_of_message() {
    if !have_fault_points() {
        return;
    }
    let (faults, folder) = (Faults::new(), tempfile::tempdir().expect("folder"));
    let (world, mut trading) = busy_world(&faults, folder.path());
    let daemon = &world.daemon;
    let start = rooms(daemon);
    let (mut shown, mut out) = (BTreeSet::new(), 0_u64);
    let mut detection = Vec::new();
    for card in cards() {
        for kind in card.accepts {
            if NOT_PROVOKED.contains(&(card.name, *kind)) || (card.name, *kind) == ("status", "Listen") {
                continue;
            }
            let point = format!("{}.handle:{kind}", card.name);
            let (before, hits) = (rooms(daemon), faults.fired_at(&point));
            faults.arm(&format!("{point}=panic@1"));
            let provoked = Instant::now();
            provoke(&world, card.name, kind);
            let mut hit_at = None;
            let now = wait_for(&point, || {
                if hit_at.is_none() && faults.fired_at(&point) > hits {
                    hit_at = Some(Instant::now());
                } else if hit_at.is_none() && provoked.elapsed() > Duration::from_secs(25) {
                    return Err(format!("it never came; log:\n{}", daemon.log()));
                }
                let now = rooms(daemon);
                let (had, is) = (&before[card.name], &now[card.name]);
                let back = is.restarts > had.restarts && is.state == "running" && is.epoch > had.epoch;
                if back { Ok(now) } else { Err(format!("{is:?}")) }
            });
            detection.extend(hit_at.map(|at| ms(at.elapsed())));
            faults.disarm();
            // Restarted on purpose, to make the message come.
            let meant: &[&str] = match (card.name, *kind) {
                ("reconciler", "Suspicion") => &["validator"],
                ("redis_writer", "Breaker") => &["circuit_breaker"],
                _ => &[],
            };
            let mut spared = vec![card.name];
            spared.extend(meant);
            assert_eq!(disturbed(&before, &now, &spared), Vec::<String>::new(), "{point} touched others");
            shown.insert((card.name, *kind));
            out += 1;
        }
    }
    goes_on(&world, "BTCUSDT");
    // Backtraces name the program's own functions. Debug information of libraries, where a machine has it, would stay in
    // memory, 30 MiB of the C library's alone.
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon.child.id())).expect("a process");
    let foreign: Vec<&str> = maps.lines().filter(|line| line.contains("/lib/debug/")).collect();
    assert_eq!(foreign, Vec::<&str>::new());
    // One kind was tried once: nobody died more often than that, by the journal's own words.
    let journal = daemon.journal();
    let downs: Vec<&JournalEntry> = journal.iter().filter(|entry| entry.event == "down").collect();
    assert_eq!(
        downs.len() as u64,
        out,
        "{:?}",
        downs.iter().map(|d| (d.text("room"), d.text("cause"))).collect::<Vec<_>>()
    );
    assert!(downs.iter().all(|down| down.text("cause") == "panic"));
    let recovery: Vec<f64> = journal
        .iter()
        .filter(|entry| entry.event == "restarted" && entry.text("cause") == "panic")
        .map(|entry| entry.number("recovery_us") as f64 / 1_000.0)
        .collect();
    assert_eq!(recovery.len() as u64, out, "each death is followed by its restart");
    let end = rooms(daemon);
    for (name, room) in &end {
        assert!(room.handled > start[name].handled || name == "status" || name.starts_with("exchange"), "{name} stood");
    }
    let fills = crate::common::assert_each_fill_once(&world, &trading.end());
    let late = recovery.iter().filter(|ms| **ms > 100.0).count();
    Figures {
        row: "P2",
        fault: "panic at each kind of message of each room",
        injected: out,
        detected: out,
        survived: out,
        detection_ms: detection,
        recovery_ms: recovery,
        events: fills,
        more: [("kinds", shown.len().into()), ("restarts beyond 100 ms", late.into())].into(),
        ..Figures::default()
    }
    .publish();
}

/// Each room, in its factory, in its drop, and with a message of its own already written: the next incarnation works.
fn a_panic_in_factory_drop_and_send() {
    if !have_fault_points() {
        return;
    }
    let (faults, folder) = (Faults::new(), tempfile::tempdir().expect("folder"));
    let (world, mut trading) = busy_world(&faults, folder.path());
    let daemon = &world.daemon;
    let names: Vec<String> = rooms(daemon).into_keys().collect();
    assert!(names.len() >= 10, "{names:?}");
    let mut recovery = Vec::new();
    let mut injected = 0;
    for name in &names {
        for step in ["birth", "drop", "send"] {
            let sends = !matches!(
                name.as_str(),
                "redis_writer" | "status" | "exchange_feed" | "exchange_feed_private" | "reconciler"
            );
            if step == "send" && !sends {
                continue;
            }
            let before = rooms(daemon);
            let point = format!("{name}.{step}");
            let hits = faults.fired_at(&point);
            faults.arm(&format!("{point}=panic@1"));
            let mut fired = None;
            if step != "send" {
                order_room(daemon, "restart", name);
            }
            let now: Rooms = wait_for(&point, || {
                if fired.is_none() && faults.fired_at(&point) > hits {
                    fired = Some(Instant::now());
                }
                let now = rooms(daemon);
                let (had, is) = (&before[name], &now[name]);
                let back = is.state == "running" && is.epoch > had.epoch && faults.fired_at(&point) > hits;
                if back { Ok(now) } else { Err(format!("{is:?}, fired {:?}", faults.fired())) }
            });
            recovery.extend(fired.map(|at| ms(at.elapsed())));
            faults.disarm();
            assert_eq!(disturbed(&before, &now, &[name]), Vec::<String>::new(), "{point} touched others");
            injected += 1;
        }
    }
    goes_on(&world, "BTCUSDT");
    let alive = ["validator", "circuit_breaker", "analyst", "redis_writer", "health_watchdog"];
    let had = handled(&rooms(daemon), &alive);
    wait_for("rooms handle", || if handled(&rooms(daemon), &alive) > had { Ok(()) } else { Err(String::new()) });
    crate::common::assert_each_fill_once(&world, &trading.end());
    Figures {
        row: "P2",
        fault: "panic in factory, drop and while sending, each room",
        injected,
        detected: injected,
        survived: injected,
        recovery_ms: recovery,
        ..Figures::default()
    }
    .publish();
}

/// A message that kills its room each time is tried as often as the card says, then put aside; those behind it go on.
fn poison_is_not_tried_more_often_than_allowed() {
    if !have_fault_points() {
        return;
    }
    let (faults, folder) = (Faults::new(), tempfile::tempdir().expect("folder"));
    let (world, _trading) = busy_world(&faults, folder.path());
    for (room, kind, allowed) in [
        ("validator", "ClockOffset", 1),
        ("redis_writer", "Health", 2),
        ("trap_recorder", "Outlook", 1),
        ("ledger", "Fill", 1),
    ] {
        let card = cards().into_iter().find(|card| card.name == room).expect("a card");
        assert_eq!(u64::from(card.attempts), allowed, "{room}: the card says so");
        let (before, lines) = (rooms(&world.daemon), world.daemon.journal().len());
        faults.arm(&format!("{room}.handle:{kind}=poison"));
        let quarantined = |skip: usize| {
            let journal = world.daemon.journal();
            journal.iter().skip(skip).filter(|e| e.event == "quarantined" && e.text("room") == room).count()
        };
        wait_for(&format!("{room}: {kind} is put aside"), || match quarantined(lines) {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        });
        // Others of its kind come after it and are handled.
        let had = rooms(&world.daemon)[room].handled;
        wait_for("those behind it", || {
            let now = rooms(&world.daemon)[room].handled;
            if now > had + 2 { Ok(()) } else { Err(format!("{had} {now}")) }
        });
        faults.disarm();
        let journal = world.daemon.journal();
        assert_eq!(deaths(&journal, lines, room).len() as u64, allowed, "{room} {kind}");
        assert_eq!(quarantined(lines), 1, "{room} {kind}");
        let now = rooms(&world.daemon);
        assert_eq!(now[room].quarantined, before[room].quarantined + 1);
        assert_eq!(disturbed(&before, &now, &[room]), Vec::<String>::new(), "{room} touched others");
    }
    goes_on(&world, "BTCUSDT");
}

/// Factory, drop and send; and what is tried no more than allowed.
#[test]
fn p02_a_panic_elsewhere_and_poison() {
    crate::common::side_by_side(&[a_panic_in_factory_drop_and_send, poison_is_not_tried_more_often_than_allowed]);
}
