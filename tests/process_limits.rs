//! The process at its limits: rows P3 (panic storm), P7 (disk full), P8 (no descriptors left), and P10 (another time
//! zone) of the fault matrix.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Options, World, wait_for};

fn drillable(more: &[(&'static str, &str)]) -> Options {
    let mut lines = vec![("", "allow_drills = true".to_owned())];
    lines.extend(more.iter().map(|(section, line)| (*section, (*line).to_owned())));
    Options { more: lines, ..Options::default() }
}

fn goes_on(world: &World) {
    let seq = || world.redis.hash("trapline:BTCUSDT:market_state").get("seq").and_then(|seq| seq.parse::<u64>().ok());
    let before = seq();
    wait_for("values keep coming", || if seq() > before { Ok(()) } else { Err(format!("{:?}", seq())) });
}

/// P3: a room that panics again and again takes its group down, then the process, with 70 and the whole story on disk.
#[test]
fn p3_a_panic_storm_escalates_and_ends_with_70() {
    let mut world = World::ready(&drillable(&[("supervision", "max_deaths_in_a_row = 2")]));
    let socket = world.daemon.state.path().join("ctl.sock");
    let until = Instant::now() + support::PATIENCE;
    let mut orders = 0;
    let code = loop {
        if let Some(status) = world.daemon.child.try_wait().expect("the child") {
            break status.code();
        }
        assert!(Instant::now() < until, "{orders} panics did not end it; log:\n{}", world.daemon.log());
        if let Ok(mut stream) = UnixStream::connect(&socket) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = stream.write_all(b"{\"do\":\"panic\",\"room\":\"analyst\",\"who\":\"storm\",\"why\":\"P3\"}\n");
            let _ = BufReader::new(stream).read_line(&mut String::new());
            orders += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(code, Some(70), "after {orders} panics");
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
    // And the service manager's next start works as if nothing had been.
    world.daemon.start_again(&drillable(&[]));
    world.daemon.wait_ready();
    goes_on(&world);
}

/// P7: the journal's disk is full: rooms go on, deaths are survived, `status` says what is wrong.
#[test]
fn p7_a_full_disk_costs_the_journal_alone() {
    let mut world = World::ready(&drillable(&[]));
    assert_eq!(world.daemon.stop(), 0);
    let file = world.daemon.state.path().join("journal.jsonl");
    std::fs::remove_file(&file).expect("the old journal");
    std::os::unix::fs::symlink("/dev/full", &file).expect("a full disk");
    world.daemon.start_again(&drillable(&[]));
    world.daemon.wait_ready();
    for room in ["validator", "redis_writer"] {
        let (code, told, error) = world.daemon.cli(&["drill", &format!("panic:{room}")]);
        assert_eq!(code, 0, "{room}: {told}{error}");
        goes_on(&world);
    }
    let (code, table, _) = world.daemon.cli(&["status"]);
    assert!(code == 0 && table.contains("the journal is not written"), "{table}");
    assert!(world.daemon.log().contains("journal not written"), "and the log");
    // Space again: it writes on by itself.
    std::fs::remove_file(&file).expect("the link");
    let (code, ..) = world.daemon.cli(&["drill", "panic:validator"]);
    assert_eq!(code, 0);
    wait_for("written again", || {
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        if written.contains("validator") { Ok(()) } else { Err(written) }
    });
    assert_eq!(world.daemon.stop(), 0);
}

/// P8: no descriptor is left: what is open goes on, what is asked for is turned away without a busy loop, and when
/// there are some again everything works.
#[test]
fn p8_without_descriptors_the_data_go_on() {
    let world = World::ready(&Options::default());
    let pid = world.daemon.child.id();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count();
    let limit = |soft: usize| {
        let output = Command::new("prlimit").arg(format!("--pid={pid}")).arg(format!("--nofile={soft}:")).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !limit(open + 1) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no prlimit");
        return;
    }
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        fields[11].parse::<u64>().unwrap_or(0) + fields[12].parse::<u64>().unwrap_or(0)
    };
    let (before, begun) = (ticks(), Instant::now());
    let held: Vec<_> =
        (0..30).filter_map(|_| std::net::TcpStream::connect(("127.0.0.1", world.daemon.status_port)).ok()).collect();
    for _ in 0..3 {
        goes_on(&world);
    }
    std::thread::sleep(Duration::from_millis(1_000));
    let busy = Duration::from_millis((ticks() - before) * 10);
    assert!(busy < begun.elapsed().mul_f64(0.9), "a busy loop: {busy:?} of processor in {:?}", begun.elapsed());
    drop(held);
    assert!(limit(1_024), "prlimit");
    wait_for("pages again", || match support::http_get(world.daemon.status_port, "/livez") {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    goes_on(&world);
    let status = world.daemon.statusz();
    for room in status["rooms"].as_array().expect("rooms") {
        assert_eq!(room["restarts_total"], 0, "nobody died of it: {room}");
    }
}

/// P10: another time zone and language change no byte of what is written for programs.
#[test]
fn p10_the_time_zone_changes_nothing() {
    let env = vec![("TZ", "Asia/Kolkata".into()), ("LANG", "C".into()), ("LC_ALL", "de_DE.UTF-8".into())];
    let world = World::ready(&Options { env, ..Options::default() });
    goes_on(&world);
    let now_ms = trapline::clock::Clock::system().now_ms();
    for entry in world.daemon.journal() {
        assert!((now_ms - 120_000..=now_ms + 1_000).contains(&entry.at_ms), "{:?} at {now_ms}", entry.fields);
    }
    let hash = world.redis.hash("trapline:BTCUSDT:market_state");
    let price = hash.get("price").expect("a price");
    assert!(price.parse::<f64>().is_ok_and(|price| price > 0.0), "{price}");
    let stamp = hash.get("timestamp").and_then(|text| text.parse::<i64>().ok()).expect("a time");
    assert!((now_ms - 60_000..=now_ms + 60_000).contains(&stamp), "{stamp} at {now_ms}");
}
