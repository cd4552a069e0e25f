//! P3: a panic storm. The group is tried again three times, then the process ends with 70 and the story is on disk. A
//! burst of poison messages is none: each of them is put aside, and that is progress.

use crate::common::{Faults, disturbed, drillable, goes_on, have_fault_points, ms, order_room, rooms};
use crate::manager::Manager;
use crate::support::figures::Figures;
use crate::support::{Options, PATIENCE, World, wait_for};
use std::time::{Duration, Instant};

/// Does `again` until the process ends; its exit code.
fn until_it_ends(world: &mut World, mut again: impl FnMut(&World)) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = world.daemon.child.try_wait().expect("the child") {
            return status.code();
        }
        assert!(Instant::now() < until, "it did not end; log:\n{}", world.daemon.log());
        again(world);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What every end by escalation leaves behind: the story, the marks, and a next start that works.
fn assert_ended_well(world: &mut World, plain: &Options) {
    let journal = world.daemon.journal();
    let count = |event: &str| journal.iter().filter(|entry| entry.event == event).count();
    assert_eq!(count("escalate"), 4, "three times the group was tried again");
    let last = journal.iter().rfind(|entry| entry.event == "exit").expect("the end is told");
    assert_eq!(last.fields["code"], 70);
    for entry in journal.iter().filter(|entry| entry.event == "down") {
        assert_eq!(entry.text("room"), "analyst", "nobody else died: {:?}", entry.fields);
    }
    let (code, story, _) = world.daemon.cli(&["why", "analyst"]);
    assert!(code == 0 && story.contains("escalated because of analyst"), "{story}");
    // What was known is marked: nobody keeps it up to date until the next start.
    let mark = world.redis.hash("trapline:BTCUSDT:market_state");
    assert_eq!((mark["stale"].as_str(), mark["stale_reason"].as_str()), ("1", "stopped"), "{mark:?}");
    // And the service manager's next start works as if nothing had been.
    world.daemon.start_again(plain);
    world.daemon.wait_ready();
    goes_on(world, "BTCUSDT");
}

fn a_panic_storm_escalates_and_ends_with_70() {
    let mut world = World::ready(&drillable(&[("supervision", "max_deaths_in_a_row = 2")]));
    let panic = serde_json::json!({"do": "panic", "room": "analyst", "who": "storm", "why": "P3"});
    let (begun, mut orders) = (Instant::now(), 0);
    let code = until_it_ends(&mut world, |world| {
        if world.daemon.ask(&panic).is_some() {
            orders += 1;
        }
    });
    let ended = begun.elapsed();
    assert_eq!(code, Some(70), "after {orders} panics");
    assert_ended_well(&mut world, &drillable(&[]));
    Figures {
        row: "P3",
        fault: "a room panics again and again",
        injected: orders,
        detected: orders,
        escalated: 1,
        recovery_ms: vec![ms(ended)],
        ..Figures::default()
    }
    .publish();
}

fn a_factory_that_always_fails_ends_with_70() {
    if !have_fault_points() {
        return;
    }
    let (faults, manager, mut heard) = (Faults::new(), Manager::start(), Vec::new());
    let env = vec![("NOTIFY_SOCKET", manager.path.clone().into()), faults.env()];
    let mut world = World::ready(&Options { env, ..drillable(&[("supervision", "max_deaths_in_a_row = 2")]) });
    let begun = Instant::now();
    faults.arm("analyst.birth=panic");
    order_room(&world.daemon, "restart", "analyst");
    let code = until_it_ends(&mut world, |_| heard.extend(manager.listen(Duration::from_millis(50))));
    heard.extend(manager.listen(Duration::from_millis(100)));
    assert!(heard.iter().any(|text| text.contains("STOPPING=1")), "it ends in order: {heard:?}");
    let ended = begun.elapsed();
    assert_eq!(code, Some(70), "{:?}", faults.fired());
    faults.disarm();
    assert_ended_well(&mut world, &drillable(&[]));
    Figures {
        row: "P3",
        fault: "a factory that always fails",
        injected: faults.fired().len() as u64,
        detected: faults.fired().len() as u64,
        escalated: 1,
        recovery_ms: vec![ms(ended)],
        ..Figures::default()
    }
    .publish();
}

/// Every message of the flow kills its room, a hundred times over: each is put aside, nobody gives up, nobody else
/// notices, and the first good message is handled.
fn a_burst_of_poison_is_survived() {
    if !have_fault_points() {
        return;
    }
    let faults = Faults::new();
    let world = World::ready(&Options { env: vec![faults.env()], ..drillable(&[]) });
    let before = rooms(&world.daemon);
    faults.arm("analyst.handle:Market=panic");
    wait_for("a hundred deaths", || {
        let room = rooms(&world.daemon)["analyst"].clone();
        if room.restarts >= 100 { Ok(()) } else { Err(format!("{room:?}")) }
    });
    goes_on(&world, "BTCUSDT");
    faults.disarm();
    let had = rooms(&world.daemon)["analyst"].handled;
    wait_for("it works", || {
        let now = rooms(&world.daemon)["analyst"].handled;
        if now > had { Ok(()) } else { Err(format!("{now}")) }
    });
    let now = rooms(&world.daemon);
    assert_eq!(disturbed(&before, &now, &["analyst"]), Vec::<String>::new());
    assert!(now["analyst"].quarantined >= 50, "{:?}", now["analyst"]);
    assert!(!world.daemon.journal().iter().any(|entry| entry.event == "escalate"), "poison is no reason to give up");
    let deaths = now["analyst"].restarts;
    Figures {
        row: "P3",
        fault: "a burst of poison messages",
        injected: deaths,
        detected: deaths,
        survived: deaths,
        ..Figures::default()
    }
    .publish();
}

/// Another room of another group storms within what its budget allows: it is not the end, and the rest does not notice.
fn a_short_storm_is_survived() {
    if !have_fault_points() {
        return;
    }
    let faults = Faults::new();
    let world = World::ready(&Options { env: vec![faults.env()], ..drillable(&[]) });
    let before = rooms(&world.daemon);
    // Four in a row; five are too many, and ten within a minute.
    faults.arm("health_watchdog.handle:Look=panic@1-4");
    wait_for("four deaths", || {
        let now = rooms(&world.daemon);
        let room = &now["health_watchdog"];
        if room.restarts == 4 && room.state == "running" { Ok(()) } else { Err(format!("{room:?}")) }
    });
    goes_on(&world, "BTCUSDT");
    let now = rooms(&world.daemon);
    assert_eq!(disturbed(&before, &now, &["health_watchdog"]), Vec::<String>::new());
    assert!(!world.daemon.journal().iter().any(|entry| entry.event == "escalate"));
}

/// All of the row.
#[test]
fn p03_panic_storm() {
    crate::common::side_by_side(&[
        a_panic_storm_escalates_and_ends_with_70,
        a_factory_that_always_fails_ends_with_70,
        a_burst_of_poison_is_survived,
        a_short_storm_is_survived,
    ]);
}
