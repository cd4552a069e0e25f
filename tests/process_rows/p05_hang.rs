//! P5: a room's thread blocks for ever. It cannot be killed: it is left behind once and replaced; too many of them end
//! the process with 72. The service manager is not fed while a critical room hangs.

use crate::common::{Faults, PATIENT, Trading, disturbed, goes_on, have_fault_points, ms, pace, poke, rooms, with};
use crate::manager::Manager;
use crate::support::figures::Figures;
use crate::support::{BIN, Daemon, Exchange, Options, PATIENCE, World, wait_for};
use std::process::Command;
use std::time::{Duration, Instant};
use trapline::venue::{ScriptChoice, VenueConfig};

/// Where each room blocks, those together that share no thread; who is replaced with them, because they do; and who
/// has work that depends on none of them.
const WAVES: [(&[&str], &[&str], &[&str]); 4] = [
    (
        &["validator.handle", "exchange_feed.task", "ledger.handle"],
        &["circuit_breaker", "redis_writer"],
        &["health_watchdog"],
    ),
    (
        &["circuit_breaker.handle", "status.task", "reconciler.task"],
        &["validator", "redis_writer"],
        &["health_watchdog"],
    ),
    (&["redis_writer.handle", "exchange_feed_private.task"], &["validator", "circuit_breaker"], &["health_watchdog"]),
    (&["analyst.handle", "trap_recorder.handle", "health_watchdog.handle"], &[], &["validator", "redis_writer"]),
];

fn name(point: &'static str) -> &'static str {
    point.split('.').next().unwrap_or(point)
}

fn zombies(daemon: &Daemon) -> u64 {
    daemon.ask(&serde_json::json!({"do": "status"})).and_then(|s| s["body"]["zombies"].as_u64()).unwrap_or(u64::MAX)
}

fn a_blocked_thread_is_left_behind_and_replaced() {
    if !have_fault_points() {
        return;
    }
    let (faults, folder) = (Faults::new(), tempfile::tempdir().expect("folder"));
    let truth = folder.path().join("truth.jsonl");
    let venue = VenueConfig { script: ScriptChoice::Idle, truth: Some(truth.clone()), ..Exchange::config() };
    let mut more = PATIENT.to_vec();
    more.extend([
        ("supervision", "max_zombies = 64"),
        ("reconcile", "every_ms = 500"),
        ("rates", "trades_per_minute = 1000000"),
    ]);
    let world = World::start(venue, &with(vec![faults.env()], &more));
    world.daemon.wait_ready();
    let mut trading = Trading::start(&world.exchange, truth, Duration::from_millis(50));
    let daemon = &world.daemon;
    let (mut recovery, mut ratio, mut injected) = (Vec::new(), Vec::new(), 0);
    for (points, together, others) in WAVES {
        let hung: Vec<&str> = points.iter().map(|point| name(point)).collect();
        let but: Vec<&str> = hung.iter().chain(together).copied().collect();
        let calm = pace(daemon, others, Duration::from_millis(1_000));
        let before = rooms(daemon);
        let entries: Vec<String> = points.iter().map(|point| format!("{point}=hang@1")).collect();
        faults.arm(&entries.join(";"));
        wait_for("they hang", || {
            // The status room looks round with each caller, who then waits in vain.
            poke(daemon.status_port);
            let fired = points.iter().all(|p| faults.fired().iter().any(|line| line.starts_with(p)));
            if fired { Ok(()) } else { Err(format!("{:?}", faults.fired())) }
        });
        let begun = Instant::now();
        let meanwhile = pace(daemon, others, Duration::from_millis(1_000));
        ratio.push(meanwhile / calm.max(1.0));
        let now = wait_for("replaced", || {
            let now = rooms(daemon);
            let back = |room: &str| now[room].epoch > before[room].epoch && now[room].state == "running";
            if hung.iter().all(|room| back(room)) { Ok(now) } else { Err(format!("{now:?}")) }
        });
        recovery.push(ms(begun.elapsed()));
        assert!(zombies(daemon) >= hung.len() as u64, "each left its thread behind");
        assert_eq!(disturbed(&before, &now, &but), Vec::<String>::new(), "{hung:?} touched others");
        for room in &hung {
            assert_eq!(now[*room].epoch, before[*room].epoch + 1, "{room}: replaced once");
        }
        goes_on(&world, "BTCUSDT");
        faults.disarm();
        // The old threads come back, find themselves fenced, and leave.
        wait_for("no thread is left behind", || match zombies(daemon) {
            0 => Ok(()),
            left => Err(format!("{left}")),
        });
        injected += hung.len() as u64;
    }
    assert!(ratio.iter().all(|ratio| *ratio > 0.3), "the others stood: {ratio:?}");
    world.daemon.wait_ready();
    let fills = crate::common::assert_each_fill_once(&world, &trading.end());
    Figures {
        row: "P5",
        fault: "a blocked thread, each room",
        injected,
        detected: injected,
        survived: injected,
        detection_ms: recovery.clone(),
        recovery_ms: recovery,
        events: fills,
        others_ratio: ratio.iter().copied().reduce(f64::min),
        ..Figures::default()
    }
    .publish();
}

fn too_many_blocked_threads_end_with_72() {
    if !have_fault_points() {
        return;
    }
    let faults = Faults::new();
    let more = [("supervision", "max_zombies = 2\nmax_deaths = 1000\nmax_deaths_in_a_row = 500")];
    let options = with(vec![faults.env()], &more);
    let mut world = World::ready(&options);
    let begun = Instant::now();
    faults.arm("analyst.handle=hang@1;trap_recorder.handle=hang@1;exchange_feed.task=hang@1");
    let until = Instant::now() + PATIENCE;
    let code = loop {
        if let Some(status) = world.daemon.child.try_wait().expect("the child") {
            break status.code();
        }
        assert!(Instant::now() < until, "log:\n{}", world.daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    };
    let ended = begun.elapsed();
    assert_eq!(code, Some(72), "{:?}", faults.fired());
    let journal = world.daemon.journal();
    let exit = journal.iter().rfind(|entry| entry.event == "exit").expect("the end is told");
    assert_eq!(exit.fields["code"], 72);
    faults.disarm();
    world.daemon.start_again(&options);
    goes_on(&world, "BTCUSDT");
    Figures {
        row: "P5",
        fault: "more blocked threads than may be left behind",
        injected: 3,
        detected: 3,
        escalated: 1,
        recovery_ms: vec![ms(ended)],
        ..Figures::default()
    }
    .publish();
}

/// The whole process stands still for longer than any deadline: nobody is judged by that time.
fn a_stopped_process_is_no_hang() {
    let world = World::ready(&Options::default());
    for pause in [500, 2_600, 3_500] {
        world.daemon.signal("STOP");
        std::thread::sleep(Duration::from_millis(pause));
        world.daemon.signal("CONT");
        goes_on(&world, "BTCUSDT");
    }
    let journal = world.daemon.journal();
    let false_verdicts: Vec<_> =
        journal.iter().filter(|entry| entry.event == "down").map(|e| e.fields.clone()).collect();
    assert!(false_verdicts.is_empty(), "{false_verdicts:?}");
    wait_for("each pause is noticed", || {
        let count = world.daemon.journal().iter().filter(|entry| entry.event == "amnesty").count();
        if count >= 3 { Ok(()) } else { Err(format!("{count}")) }
    });
    Figures {
        row: "P5",
        fault: "the whole process stopped and continued: no hang",
        injected: 3,
        detected: 3,
        survived: 3,
        more: [("false hang verdicts", 0.into())].into(),
        ..Figures::default()
    }
    .publish();
}

/// The service manager hears READY once, STATUS, WATCHDOG while rooms progress, nothing while a critical room hangs
/// (the one that speaks to it, or another), WATCHDOG again when it works, and STOPPING.
#[test]
fn p05_the_service_manager_is_fed_only_while_critical_rooms_progress() {
    if !have_fault_points() {
        return;
    }
    let (manager, faults) = (Manager::start(), Faults::new());
    let mut more = PATIENT.to_vec();
    more.push(("supervision", "max_zombies = 64"));
    let env = vec![("NOTIFY_SOCKET", manager.path.clone().into()), faults.env()];
    let mut world = World::start(Exchange::config(), &with(env, &more));
    manager.wait_for("READY=1");
    world.daemon.wait_ready();
    manager.wait_for("STATUS=ready");
    let quiet = manager.listen(Duration::from_secs(3));
    let fed = quiet.iter().filter(|text| text.contains("WATCHDOG=1")).count();
    assert!(fed >= 2, "{fed} in 3 s: {quiet:?}");
    assert!(quiet.iter().all(|text| !text.contains("READY=1")), "told once");
    // Every incarnation hangs at its first message, so that replacing it does not help.
    for room in ["health_watchdog", "validator", "analyst"] {
        let point = format!("{room}.handle");
        faults.arm(&format!("{point}=hang"));
        wait_for(&point, || {
            let hangs = faults.fired().iter().any(|line| line.starts_with(&point));
            if hangs { Ok(()) } else { Err("not yet".to_owned()) }
        });
        // What was on its way, the second that a busy room is allowed, and the pause between two looks. On a busy machine
        // a look may fall between two incarnations; but it is fed twice in each such window while nothing hangs.
        wait_for(&format!("no word while {room} hangs"), || match manager.fed(Duration::from_millis(1_800)) {
            0 => Ok(()),
            fed => Err(format!("fed {fed} times")),
        });
        faults.disarm();
        manager.wait_for("WATCHDOG=1");
    }
    goes_on(&world, "BTCUSDT");
    world.daemon.signal("TERM");
    manager.wait_for("STOPPING=1");
    let _ = world.daemon.child.wait();
    Figures {
        row: "P5",
        fault: "a critical room hangs again and again: the service manager is not fed",
        injected: 3,
        detected: 3,
        survived: 3,
        ..Figures::default()
    }
    .publish();
}

/// The unit file is right and tight, by systemd's own word.
#[test]
fn p05_the_service_file_is_verified() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: no systemd-analyze\n");
        return;
    }
    let unit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/trapline.service");
    let dir = tempfile::tempdir().expect("folder");
    // The binary is not installed here: the file is verified with the one that was built.
    let text = std::fs::read_to_string(&unit).expect("unit").replace("/usr/local/bin/trapline", BIN);
    let copy = dir.path().join("trapline.service");
    std::fs::write(&copy, text).expect("copy");
    let run = |words: &[&str]| {
        let output = Command::new("systemd-analyze").args(words).arg(&copy).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let (good, said) = run(&["verify", "--man=no"]);
    assert!(good && said.is_empty(), "any word is a failure: {said}");
    let (_, said) = run(&["security", "--offline=true", "--no-pager"]);
    let level = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    let level: f64 =
        level.split(':').nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("a number");
    assert!(level <= 1.3, "exposure {level}");
}

/// Hangs of one, of too many, and of the process as a whole, which is none.
#[test]
fn p05_sync_hang() {
    crate::common::side_by_side(&[
        a_blocked_thread_is_left_behind_and_replaced,
        too_many_blocked_threads_end_with_72,
        a_stopped_process_is_no_hang,
    ]);
}
