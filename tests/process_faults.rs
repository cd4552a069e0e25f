//! The process itself under signals, a stuck log, a service manager: rows P1, P2, P5, P11, P14 of the fault matrix, on
//! the built binary with a real Redis and the built-in exchange.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Exchange, Options, World, wait_for};
use trapline::venue::{ScriptChoice, VenueConfig};

fn drillable() -> Options {
    Options { more: vec![("", "allow_drills = true".to_owned())], ..Options::default() }
}

/// A value's place in the order of all values: the process that wrote it, then its number there.
fn order(hash: &BTreeMap<String, String>) -> (u64, u64) {
    let number = |field: &str| hash.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
    (number("epoch"), number("seq"))
}

fn seq(world: &World, symbol: &str) -> (u64, u64) {
    order(&world.redis.hash(&format!("trapline:{symbol}:market_state")))
}

fn goes_on(world: &World, symbol: &str) {
    let before = seq(world, symbol);
    wait_for(&format!("{symbol} goes on"), || match seq(world, symbol) {
        now if now > before => Ok(()),
        now => Err(format!("{now:?}")),
    });
}

/// Numbers of all events in all streams: contiguous from one on within a spool, so a gap is a loss.
fn event_numbers(world: &World) -> Vec<u64> {
    let mut link = world.redis.link();
    let mut numbers = Vec::new();
    for stream in ["trapline:BTCUSDT:events", "trapline:ETHUSDT:events", "trapline:alerts"] {
        let reply: redis::streams::StreamRangeReply =
            redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut link).expect("a stream");
        numbers.extend(reply.ids.iter().filter_map(|entry| entry.id.split_once('-')?.1.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    numbers
}

fn assert_each_event_once(world: &World) -> u64 {
    let numbers = event_numbers(world);
    let count = numbers.len() as u64;
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "each number once, none missing");
    count
}

/// P1: killed at a random moment, started again: the picture is back, every event stands once, no value went back.
#[test]
fn p1_sigkill_at_any_moment_loses_and_doubles_nothing() {
    let seeds = std::env::var("TRAPLINE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6_u64);
    let venue = VenueConfig { script: ScriptChoice::Tour, ..Exchange::config() };
    let options = Options::default();
    let mut world = World::start(venue, &options);
    world.daemon.wait_ready();
    let mut times = Vec::new();
    for seed in 1..=seeds {
        // A multiplicative hash: spread over two seconds, the same in every run.
        let pause = Duration::from_millis(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 2_000);
        std::thread::sleep(pause);
        world.daemon.signal("KILL");
        let _ = world.daemon.child.wait();
        let (before, numbers) = (seq(&world, "BTCUSDT"), event_numbers(&world));
        let begun = Instant::now();
        world.daemon.start_again(&options);
        wait_for("newer than before, and fresh", || {
            let hash = world.redis.hash("trapline:BTCUSDT:market_state");
            let now = order(&hash);
            assert!(now >= before, "seed {seed}: the value went back from {before:?} to {now:?}");
            if now.0 > before.0 && hash.get("stale").is_some_and(|stale| stale == "0") {
                Ok(())
            } else {
                Err(format!("{hash:?}"))
            }
        });
        times.push(begun.elapsed());
        let now = event_numbers(&world);
        assert!(numbers.iter().all(|n| now.binary_search(n).is_ok()), "seed {seed}: what stood in Redis still does");
    }
    world.daemon.wait_ready();
    world.exchange.venue.pause();
    wait_for("all events are in Redis", || {
        let status = world.daemon.statusz();
        if status["counts"]["events_pending"] == 0 { Ok(()) } else { Err(status["counts"].to_string()) }
    });
    let count = assert_each_event_once(&world);
    times.sort_unstable();
    println!(
        "P1: {seeds} kills, state back p50 {:?} max {:?}, {count} events once each",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    let (_, told, _) = world.daemon.cli(&["restarts", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&told).expect("json");
    assert_eq!(answer["answer"]["starts_after_kill"].as_u64(), Some(seeds), "the journal knows of each kill");
}

/// The whole process stands still for longer than any deadline: nobody is judged by that time.
#[test]
fn a_stopped_process_is_no_hang() {
    let world = World::ready(&Options::default());
    for pause in [500, 2_600, 3_500] {
        world.daemon.signal("STOP");
        std::thread::sleep(Duration::from_millis(pause));
        world.daemon.signal("CONT");
        goes_on(&world, "BTCUSDT");
    }
    wait_for("fresh again", || {
        let hash = world.redis.hash("trapline:BTCUSDT:market_state");
        if hash.get("stale").is_some_and(|stale| stale == "0") { Ok(()) } else { Err(format!("{hash:?}")) }
    });
    let journal = world.daemon.journal();
    let false_verdicts: Vec<_> =
        journal.iter().filter(|entry| entry.event == "down").map(|e| e.fields.clone()).collect();
    assert!(false_verdicts.is_empty(), "{false_verdicts:?}");
    assert!(journal.iter().filter(|entry| entry.event == "amnesty").count() >= 3, "each pause was noticed");
}

/// P14: standard error is a pipe that nobody reads, and it is full: rooms go on, lines are dropped and counted.
#[test]
fn p14_a_stuck_log_holds_nobody_up() {
    let options = Options { deaf: true, ..drillable() };
    let mut world = World::ready(&options);
    let file = world.daemon.state.path().join("trapline.toml");
    let good = std::fs::read_to_string(&file).expect("configuration");
    // Each wrong configuration is some lines of log: far more than a pipe holds.
    let bad: String =
        (0..40).map(|n| format!("nonsense_{n} = \"a setting that does not exist, with a long value\"\n")).collect();
    std::fs::write(&file, format!("{bad}{good}")).expect("configuration");
    let dropped = |world: &World| -> u64 {
        let (_, metrics) = support::http_get(world.daemon.status_port, "/metrics");
        let line = metrics.lines().find(|line| line.starts_with("trapline_log_dropped_total"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    };
    let mut refused = 0;
    let until = Instant::now() + support::PATIENCE;
    while refused < 60 && Instant::now() < until {
        world.daemon.signal("HUP");
        std::thread::sleep(Duration::from_millis(20));
        refused += 1;
    }
    std::fs::write(&file, good).expect("configuration");
    for room in ["validator", "redis_writer"] {
        let (code, told, error) = world.daemon.cli(&["drill", &format!("panic:{room}")]);
        assert_eq!(code, 0, "{room}: {told}{error}");
        goes_on(&world, "BTCUSDT");
    }
    let mut held = Vec::new();
    let pipe = world.daemon.child.stderr.as_mut().expect("a pipe");
    // Now it is read: the pipe was full indeed, or the test shows nothing.
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            use std::io::Read;
            let mut buffer = [0; 65_536];
            while held.len() < 65_536 {
                match pipe.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => held.extend_from_slice(&buffer[..n]),
                }
            }
        });
        let _ = reader.join();
    });
    assert!(held.len() >= 65_536, "{} bytes waited in the pipe", held.len());
    let _ = dropped;
}

/// P11: a wrong configuration is refused with its errors and changes nothing; a good one is applied where it can be.
#[test]
fn p11_sighup_reads_the_configuration_again() {
    let world = World::ready(&Options::default());
    let file = world.daemon.state.path().join("trapline.toml");
    let good = std::fs::read_to_string(&file).expect("configuration");
    let reload = |text: &str, wanted: &str| {
        std::fs::write(&file, text).expect("configuration");
        world.daemon.signal("HUP");
        wait_for(wanted, || {
            let log = world.daemon.log();
            if log.contains(wanted) { Ok(()) } else { Err(log) }
        });
    };
    reload(&format!("nonsense = 1\nallow_drills = true\n{good}"), "the old one stays");
    assert!(world.daemon.log().contains("nonsense"), "the error names the setting");
    let (code, ..) = world.daemon.cli(&["drill", "panic:analyst"]);
    assert_eq!(code, 1, "drills are not allowed: nothing of it was applied");
    goes_on(&world, "BTCUSDT");

    let changed = good.replace("format = \"text\"", "format = \"text\"\nlevel = \"debug\"");
    assert_ne!(changed, good);
    reload(&format!("allow_drills = true\n{changed}"), "setting applied");
    let log = world.daemon.log();
    assert!(log.contains("log.level") && log.contains("allow_drills"), "{log}");
    assert!(!world.daemon.log().contains("DEBUG"));
    let (code, told, error) = world.daemon.cli(&["drill", "panic:analyst"]);
    assert_eq!(code, 0, "drills are allowed now: {told}{error}");
    wait_for("debug lines", || if world.daemon.log().contains("DEBUG") { Ok(()) } else { Err("none".to_owned()) });
    reload(&format!("allow_drills = true\n{changed}[rates]\npositions_per_minute = 17\n"), "needs a restart");
    assert!(world.daemon.log().contains("positions_per_minute"));
    goes_on(&world, "BTCUSDT");
}

/// A second SIGTERM ends at once, whatever the first still waits for.
#[test]
fn p11_a_second_sigterm_ends_at_once() {
    let options = Options {
        more: vec![("", "allow_drills = true".to_owned()), ("supervision", "stop_deadline_ms = 60000".to_owned())],
        ..Options::default()
    };
    let mut world = World::ready(&options);
    // A suspended room with messages keeps the first one waiting.
    assert_eq!(world.daemon.cli(&["ctl", "suspend", "redis_writer", "--why", "to make the end long"]).0, 0);
    wait_for("messages wait", || {
        let room = world.daemon.room("redis_writer");
        if room["depth"].as_u64() > Some(0) { Ok(()) } else { Err(room.to_string()) }
    });
    world.daemon.signal("TERM");
    wait_for("it stops", || if world.daemon.log().contains("stopping") { Ok(()) } else { Err(world.daemon.log()) });
    assert!(world.daemon.child.try_wait().expect("the child").is_none(), "it waits for the writer");
    let begun = Instant::now();
    world.daemon.signal("TERM");
    let code = wait_for("ended", || match world.daemon.child.try_wait() {
        Ok(Some(status)) => Ok(status.code()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(code, Some(75));
    assert!(begun.elapsed() < Duration::from_secs(15), "long before the deadline: {:?}", begun.elapsed());
}

/// A service manager's socket: what arrived, and when.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Manager {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("tl-sd-").tempdir().expect("folder");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        Self { socket, path, _dir: dir }
    }

    /// Everything that arrives within `span`.
    fn listen(&self, span: Duration) -> Vec<(Instant, String)> {
        let until = Instant::now() + span;
        let mut heard = Vec::new();
        let mut buffer = [0; 4_096];
        while Instant::now() < until {
            if let Ok(n) = self.socket.recv(&mut buffer) {
                heard.push((Instant::now(), String::from_utf8_lossy(&buffer[..n]).into_owned()));
            }
        }
        heard
    }

    fn wait_for(&self, what: &str) -> String {
        wait_for(what, || {
            let heard = self.listen(Duration::from_millis(200));
            let text = heard.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("|");
            if text.contains(what) { Ok(text) } else { Err(text) }
        })
    }
}

/// The service manager hears READY once, STATUS, WATCHDOG while rooms progress, nothing while the room that judges
/// them hangs, and STOPPING.
#[test]
fn the_service_manager_is_told_the_truth() {
    let manager = Manager::start();
    let options = Options { env: vec![("NOTIFY_SOCKET", manager.path.clone().into())], ..drillable() };
    let mut world = World::start(Exchange::config(), &options);
    manager.wait_for("READY=1");
    world.daemon.wait_ready();
    manager.wait_for("STATUS=ready");
    let quiet = manager.listen(Duration::from_secs(3));
    let fed = quiet.iter().filter(|(_, text)| text.contains("WATCHDOG=1")).count();
    assert!(fed >= 2, "{fed} in 3 s: {quiet:?}");
    assert!(quiet.iter().all(|(_, text)| !text.contains("READY=1")), "told once");

    // The thread of the drill's caller waits for the end of it; the room hangs in the meantime.
    let state = world.daemon.state.path().to_owned();
    let drill = std::thread::spawn(move || {
        let words = ["drill", "hang:health_watchdog:20s", "--state"];
        Command::new(support::BIN).args(words).arg(state).output().expect("runs")
    });
    wait_for("the order is taken", || {
        let taken = world.daemon.journal().iter().any(|entry| entry.event == "operator");
        if taken { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let _ = manager.listen(Duration::from_millis(300));
    let hung = manager.listen(Duration::from_millis(1_000));
    let alive = world.daemon.room("health_watchdog");
    if alive["epoch"] == 1 {
        assert!(hung.iter().all(|(_, text)| !text.contains("WATCHDOG=1")), "fed while it hung: {hung:?}");
    }
    manager.wait_for("WATCHDOG=1");
    let output = drill.join().expect("drill");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(world.daemon.room("health_watchdog")["restarts"][0][0], "hang");
    world.daemon.signal("TERM");
    manager.wait_for("STOPPING=1");
    let _ = world.daemon.child.wait();
}

/// The unit file is right and tight, by systemd's own word.
#[test]
fn the_service_file_is_verified() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no systemd-analyze");
        return;
    }
    let unit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/trapline.service");
    let dir = tempfile::tempdir().expect("folder");
    // The binary is not installed here: the file is verified with the one that was built.
    let text = std::fs::read_to_string(&unit).expect("unit").replace("/usr/local/bin/trapline", support::BIN);
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

/// P2: every room panics in turn; each is back with its state while the others are not restarted, and the journal says
/// how long it took.
#[test]
fn p2_a_panic_in_every_room() {
    let world = World::ready(&drillable());
    let (_, told, _) = world.daemon.cli(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&told).expect("json");
    let rooms: Vec<String> = status["rooms"]
        .as_array()
        .expect("rooms")
        .iter()
        .filter_map(|r| Some(r["name"].as_str()?.to_owned()))
        .collect();
    assert!(rooms.len() >= 10, "{rooms:?}");
    for room in &rooms {
        let (code, told, error) = world.daemon.cli(&["drill", &format!("panic:{room}"), "--json"]);
        assert_eq!(code, 0, "{room}: {told}{error}");
    }
    goes_on(&world, "BTCUSDT");
    world.daemon.wait_ready();
    let mut ready: BTreeMap<String, u64> = BTreeMap::new();
    wait_for("every death is told", || {
        for entry in world.daemon.journal() {
            if entry.event == "restarted" {
                ready.insert(entry.text("room").to_owned(), entry.number("recovery_us"));
            }
        }
        if ready.len() == rooms.len() { Ok(()) } else { Err(format!("{ready:?}")) }
    });
    let mut times: Vec<u64> = ready.values().copied().collect();
    times.sort_unstable();
    println!(
        "P2: {} rooms, ready again p50 {} us, max {} us",
        rooms.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
}
