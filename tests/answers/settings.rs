//! Settings of supervision take effect in the daemon that reads them; and what the log tells is what the journal tells.

use crate::json;
use crate::support::{Options, World, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

fn world(supervision: &str) -> World {
    let more = vec![("", "allow_drills = true".to_owned()), ("supervision", supervision.to_owned())];
    World::ready(&Options { more, ..Options::default() })
}

fn panic_of(world: &World, room: &str) {
    let _ = world.daemon.ask(&serde_json::json!({"do": "panic", "room": room, "who": "test", "why": "a setting"}));
}

/// With one thread to spare the second hang ends the process: 72, and the journal says so.
#[test]
fn max_zombies_ends_the_process_with_72() {
    let mut world = world("max_zombies = 1");
    let (code, told, error) = world.daemon.cli(&["drill", "hang:analyst:30s"]);
    assert_eq!(code, 0, "one is lived with: {told}{error}");
    let _ = world.daemon.cli(&["drill", "hang:ledger:30s"]);
    let code = wait_for("ended", || match world.daemon.child.try_wait() {
        Ok(Some(status)) => Ok(status.code()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(code, Some(72));
    let journal = world.daemon.journal();
    let exit = journal.iter().rfind(|entry| entry.event == "exit").expect("the end is told");
    assert_eq!(exit.fields["code"], 72);
}

#[test]
fn quarantine_size_bounds_what_can_be_replayed() {
    let world = world("quarantine_size = 1");
    for _ in 0..2 {
        assert_eq!(world.daemon.cli(&["drill", "poison:validator", "--json"]).0, 0);
    }
    let (_, told, _) = world.daemon.cli(&["status", "--json"]);
    assert_eq!(json(&told)["quarantined"], 1, "the older one has left memory");
    // Written by the journal's thread, which names the frames of both deaths before.
    wait_for("the file still has both", || {
        let (_, told, _) = world.daemon.cli(&["quarantine", "ls", "--json"]);
        if told.lines().count() == 2 { Ok(()) } else { Err(told) }
    });
    let (code, _, error) = world.daemon.cli(&["quarantine", "replay", "1", "--why", "x"]);
    assert!(code == 64 && error.contains("no message 1"), "{code} {error}");
}

#[test]
fn journal_mib_bounds_the_journal() {
    let world = world("journal_mib = 1");
    let stream = UnixStream::connect(world.daemon.state.path().join("ctl.sock")).expect("connect");
    let mut answers = BufReader::new(stream.try_clone().expect("clone"));
    let (mut write, why) = (stream, "x".repeat(180));
    for _ in 0..6_000 {
        let order = format!("{{\"do\":\"resume\",\"room\":\"analyst\",\"who\":\"test\",\"why\":\"{why}\"}}\n");
        write.write_all(order.as_bytes()).expect("asked");
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("answered");
        assert_eq!(answer, "{}\n");
    }
    let sizes = || -> Vec<u64> {
        let files = std::fs::read_dir(world.daemon.state.path()).expect("files").flatten();
        let journal = files.filter(|file| file.file_name().to_string_lossy().starts_with("journal.jsonl"));
        journal.filter_map(|file| Some(file.metadata().ok()?.len())).collect()
    };
    wait_for("rotated", || if sizes().len() == 5 { Ok(()) } else { Err(format!("{:?}", sizes())) });
    assert!(sizes().iter().sum::<u64>() <= 1024 * 1024, "{:?}", sizes());
}

/// One room cannot keep its thread busy for ever at the end: each stage has a share of the deadline, what is left is
/// counted, and the exit code says so.
#[test]
fn the_stop_deadline_holds_and_what_is_left_is_counted() {
    let mut world = world("stop_deadline_ms = 2000");
    assert_eq!(world.daemon.cli(&["ctl", "suspend", "redis_writer", "--why", "to leave something"]).0, 0);
    wait_for("messages wait", || {
        let room = world.daemon.room("redis_writer");
        if room["depth"].as_u64() > Some(0) { Ok(()) } else { Err(room.to_string()) }
    });
    let begun = Instant::now();
    assert_eq!(world.daemon.stop(), 75);
    assert!(begun.elapsed() >= Duration::from_millis(300), "it did wait for the writer");
    assert!(world.daemon.log().contains("left undone"), "{}", world.daemon.log());
    let journal = world.daemon.journal();
    let left: u64 = journal.iter().filter(|entry| entry.event == "stopped").map(|e| e.number("undelivered")).sum();
    assert!(left > 0, "counted in the journal");
    let (_, table, _) = world.daemon.cli(&["restarts"]);
    assert!(table.contains(&format!("{left} left at a stop")), "and told:\n{table}");
}

/// The budget of a group, as configured: two deaths in a row are too many, and the group restarts.
#[test]
fn budgets_are_those_of_the_configuration() {
    let world = world("max_deaths_in_a_row = 1");
    for _ in 0..2 {
        panic_of(&world, "status");
        wait_for("it died", || {
            let room = world.daemon.room("status");
            if room["restarts_total"].as_u64() > Some(0) && room["state"] == "running" {
                Ok(())
            } else {
                Err(room.to_string())
            }
        });
    }
    wait_for("the group escalates", || {
        let journal = world.daemon.journal();
        let told = journal.iter().find(|entry| entry.event == "escalate");
        match told {
            Some(told) if told.text("group") == "operations" && told.text("why") == "deaths without progress" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Panics of the validator that no message brought about, one after the other, each after a life of `apart`: how long
/// each was made to wait, ms.
fn waits(world: &World, deaths: u64, apart: Duration) -> Vec<u64> {
    for n in 0..deaths {
        panic_of(world, "validator");
        wait_for("it is back and works", || {
            let room = world.daemon.room("validator");
            let is_back = room["restarts_total"].as_u64() > Some(n) && room["state"] == "running";
            if is_back { Ok(()) } else { Err(room.to_string()) }
        });
        std::thread::sleep(apart);
    }
    wait_for("all are written down", || {
        let journal = world.daemon.journal();
        let downs = journal.iter().filter(|entry| entry.event == "down" && entry.text("room") == "validator");
        let waits: Vec<u64> = downs.map(|down| down.number("delay_ms")).collect();
        if waits.len() as u64 == deaths { Ok(waits) } else { Err(format!("{waits:?}")) }
    })
}

#[test]
fn no_death_waits_longer_than_restart_backoff_max_ms() {
    let world =
        world("max_deaths_in_a_row = 1000\nmax_deaths = 1000\nrestart_backoff_ms = 2\nrestart_backoff_max_ms = 20");
    // Of more in one minute the journal tells the number only.
    let waits = waits(&world, 10, Duration::ZERO);
    assert_eq!(waits[0], 0, "the first waits for nothing: {waits:?}");
    assert!(waits[1] <= 2 && waits.iter().all(|ms| *ms <= 20), "{waits:?}");
    assert!(waits.iter().any(|ms| *ms > 2), "it does grow: {waits:?}");
}

/// A second death would wait for up to a minute.
#[test]
fn after_a_life_of_stable_after_ms_a_death_is_a_first_one() {
    let world = world("restart_backoff_ms = 60000\nrestart_backoff_max_ms = 60000\nstable_after_ms = 300");
    assert_eq!(waits(&world, 4, Duration::from_millis(900)), [0; 4]);
}

/// Every record of the journal is a line of the log as well, with the same number and the same words.
#[test]
fn the_log_tells_what_the_journal_tells() {
    let more = vec![
        ("", "allow_drills = true".to_owned()),
        ("log", "level = \"debug\"".to_owned()),
        // Well before the silent channels are subscribed again, which brings a snapshot.
        ("freshness", "market_ms = 1000".to_owned()),
    ];
    let mut world =
        World::ready(&Options { more, env: vec![("TRAPLINE__LOG__FORMAT", "json".into())], ..Options::default() });
    // Long enough that a machine that is late itself, for which the watchdog makes allowance, cannot hide it.
    for what in ["panic:analyst", "poison:validator", "hang:status:12s"] {
        let (code, told, error) = world.daemon.cli(&["drill", what]);
        assert_eq!(code, 0, "{what}: {told}{error}");
    }
    assert_eq!(world.daemon.cli(&["ctl", "restart", "ledger", "--why", "to see it"]).0, 0);
    world.exchange.venue.pause();
    world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |v| v == "1");
    wait_for("the blocked thread to end", || {
        let ended = world.daemon.journal().iter().any(|entry| entry.event == "zombie_ended");
        if ended { Ok(()) } else { Err("not yet".to_owned()) }
    });
    assert_eq!(world.daemon.stop(), 0);
    let log: BTreeMap<u64, Value> = world
        .daemon
        .log()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| Some((line["jseq"].as_u64()?, line)))
        .collect();
    let journal = world.daemon.journal();
    assert!(journal.len() > 30, "{} records", journal.len());
    let mut compared = 0;
    for entry in &journal {
        let line = log.get(&entry.jseq).unwrap_or_else(|| panic!("not in the log: {:?}", entry.fields));
        for (name, value) in line.as_object().expect("an object") {
            if let Some(kept) =
                entry.fields.get(name).filter(|_| !["timestamp", "level", "message", "target"].contains(&name.as_str()))
            {
                assert_eq!(kept, value, "{name} of {:?}", entry.fields);
                compared += 1;
            }
        }
    }
    assert_eq!(log.len(), journal.len(), "and nothing else has a number");
    assert!(compared > journal.len() * 2, "{compared} fields compared");
    for event in ["down", "restarted", "recovered", "quarantined", "operator", "key_stale", "zombie_ended", "exit"] {
        assert!(journal.iter().any(|entry| entry.event == event), "{event} was to be among them");
    }
}

/// What a service manager is told.
struct Manager {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Manager {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("tl-sd-").tempdir().expect("folder");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("bind");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
        Self { socket, dir }
    }

    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4_096];
        let n = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
    }
}

/// The validator dies at each start, with longer and longer waits between: the room that feeds the service manager is
/// well, and feeds it no more.
#[test]
fn the_service_manager_is_not_fed_while_another_critical_room_is_stuck() {
    let manager = Manager::start();
    let more = vec![
        ("", "allow_drills = true".to_owned()),
        ("supervision", "max_deaths_in_a_row = 1000\nmax_deaths = 100000".to_owned()),
    ];
    let env = vec![("NOTIFY_SOCKET", manager.dir.path().join("notify").into())];
    let world = World::ready(&Options { more, env, ..Options::default() });
    wait_for("fed", || match manager.next() {
        Some(told) if told.contains("WATCHDOG=1") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for _ in 0..40 {
        panic_of(&world, "validator");
    }
    let stuck = wait_for("stuck, by name", || match manager.next() {
        Some(told) if told.contains("STATUS=stuck") => Ok(told),
        other => Err(format!("{other:?}")),
    });
    assert!(stuck.contains("validator") && !stuck.contains("WATCHDOG=1"), "{stuck}");
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let told = manager.next().unwrap_or_default();
        assert!(!told.contains("STATUS=stuck") || !told.contains("WATCHDOG=1"), "{told}");
    }
    assert_eq!(world.daemon.room("health_watchdog")["restarts_total"], 0, "the one that feeds it is well");
}
