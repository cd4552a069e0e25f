//! P11: SIGTERM under load, twice, and SIGHUP with a bad configuration.

use crate::common::{Trading, assert_each_fill_once, drillable, goes_on, ms, rooms, with};
use crate::support::figures::Figures;
use crate::support::{Exchange, Options, World, wait_for};
use std::time::{Duration, Instant};
use trapline::venue::{ScriptChoice, VenueConfig};

/// Much comes in when it is told to end: it drains within its deadline, every state key says that it is no longer kept
/// up to date and why, and no fill is lost between this process and the next.
fn sigterm_under_load_drains_and_marks_what_it_leaves() {
    let folder = tempfile::tempdir().expect("folder");
    let truth = folder.path().join("truth.jsonl");
    let symbols = ["BTCUSDT", "ETHUSDT"].map(str::to_owned).to_vec();
    let venue = VenueConfig {
        script: ScriptChoice::Idle,
        truth: Some(truth.clone()),
        symbols,
        firehose: Some(trapline::venue::Firehose { rate: Some(2_000.0), frames: None }),
        ..Exchange::config()
    };
    let options = with(vec![], &[("rates", "trades_per_minute = 1000000\nmarket_data_per_minute = 100000000")]);
    let mut world = World::start(venue, &options);
    goes_on(&world, "BTCUSDT");
    let mut trading = Trading::start(&world.exchange, truth, Duration::from_millis(5));
    let mut times = Vec::new();
    for _ in 0..3 {
        goes_on(&world, "BTCUSDT");
        std::thread::sleep(Duration::from_millis(700));
        let begun = Instant::now();
        let code = world.daemon.stop();
        times.push(ms(begun.elapsed()));
        assert_eq!(code, 0, "log:\n{}", world.daemon.log());
        for key in [
            "trapline:BTCUSDT:market_state",
            "trapline:ETHUSDT:market_state",
            "trapline:BTCUSDT:position:long",
            "trapline:BTCUSDT:position:short",
            "trapline:account",
            "current_position",
        ] {
            let mark = world.redis.hash(key);
            assert_eq!((mark["stale"].as_str(), mark["stale_reason"].as_str()), ("1", "stopped"), "{key}: {mark:?}");
            assert_ne!(mark["stale_since"], "0", "{key}");
        }
        world.daemon.start_again(&options);
    }
    goes_on(&world, "BTCUSDT");
    let fills = assert_each_fill_once(&world, &trading.end());
    let slowest = times.iter().copied().fold(0.0, f64::max);
    assert!(slowest < 20_000.0, "the drain has five seconds: {times:?}");
    Figures {
        row: "P11",
        fault: "SIGTERM under load",
        injected: 3,
        detected: 3,
        survived: 3,
        recovery_ms: times,
        events: fills,
        ..Figures::default()
    }
    .publish();
}

/// A second SIGTERM ends at once, whatever the first still waits for.
fn a_second_sigterm_ends_at_once() {
    let mut world = World::ready(&drillable(&[("supervision", "stop_deadline_ms = 60000")]));
    // A suspended room with messages keeps the first one waiting.
    assert_eq!(world.daemon.cli(&["ctl", "suspend", "redis_writer", "--why", "to make the end long"]).0, 0);
    wait_for("messages wait", || {
        let room = rooms(&world.daemon)["redis_writer"].clone();
        if room.depth > 0 { Ok(()) } else { Err(format!("{room:?}")) }
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
    let ended = begun.elapsed();
    assert!(ended < Duration::from_secs(15), "long before the deadline: {ended:?}");
    let journal = std::fs::read_to_string(world.daemon.state.path().join("journal.jsonl")).expect("journal");
    // Not the last line for sure: what is no crash goes by a lane of its own.
    let exit = journal.lines().find(|line| line.contains(r#""event":"exit""#)).unwrap_or_default();
    assert!(exit.contains("a second signal"), "{journal}");
    Figures {
        row: "P11",
        fault: "a second SIGTERM",
        injected: 1,
        detected: 1,
        escalated: 1,
        recovery_ms: vec![ms(ended)],
        ..Figures::default()
    }
    .publish();
}

/// A wrong configuration is refused with its errors and changes nothing; a good one is applied where it can be.
fn sighup_reads_the_configuration_again() {
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
    assert!(!world.daemon.log().contains("nothing was started"), "it runs: {}", world.daemon.log());
    assert!(world.daemon.log().contains("nonsense"), "the error names the setting");
    let (code, ..) = world.daemon.cli(&["drill", "panic:analyst"]);
    assert_eq!(code, 1, "drills are not allowed: nothing of it was applied");
    goes_on(&world, "BTCUSDT");

    let changed = good.replace("format = \"text\"", "format = \"text\"\nlevel = \"debug\"");
    assert_ne!(changed, good);
    assert!(!world.daemon.log().contains("DEBUG"), "not before it is asked for");
    reload(&format!("allow_drills = true\n{changed}"), "setting applied");
    // A line for each change, one after the other.
    wait_for("both changes are told", || {
        let log = world.daemon.log();
        if log.contains("log.level") && log.contains("allow_drills") { Ok(()) } else { Err(log) }
    });
    let (code, told, error) = world.daemon.cli(&["drill", "panic:analyst"]);
    assert_eq!(code, 0, "drills are allowed now: {told}{error}");
    wait_for("debug lines", || if world.daemon.log().contains("DEBUG") { Ok(()) } else { Err("none".to_owned()) });
    reload(&format!("allow_drills = true\n{changed}[rates]\npositions_per_minute = 17\n"), "needs a restart");
    assert!(world.daemon.log().contains("positions_per_minute"));
    goes_on(&world, "BTCUSDT");
    Figures {
        row: "P11",
        fault: "SIGHUP with a bad configuration",
        injected: 1,
        detected: 1,
        survived: 1,
        ..Figures::default()
    }
    .publish();
}

/// All of the row.
#[test]
fn p11_signals() {
    crate::common::side_by_side(&[
        sigterm_under_load_drains_and_marks_what_it_leaves,
        a_second_sigterm_ends_at_once,
        sighup_reads_the_configuration_again,
    ]);
}
