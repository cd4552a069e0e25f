//! P14: standard error is a pipe whose reader stands still. Rooms go on; lines are dropped, and counted.

use crate::common::{disturbed, drillable, goes_on, metric, order_room, pace, rooms};
use crate::support::figures::Figures;
use crate::support::{Options, PATIENCE, World, wait_for};
use std::io::Read;
use std::time::{Duration, Instant};

#[test]
fn p14_a_stuck_log_holds_nobody_up() {
    let options = Options { deaf: true, ..drillable(&[]) };
    let mut world = World::ready(&options);
    let flow = ["validator", "circuit_breaker", "redis_writer", "analyst", "health_watchdog"];
    let calm = pace(&world.daemon, &flow, Duration::from_millis(1_500));
    assert_eq!(metric(&world.daemon, "trapline_log_dropped_total"), 0.0);
    let file = world.daemon.state.path().join("trapline.toml");
    let good = std::fs::read_to_string(&file).expect("configuration");
    // Each wrong configuration is some lines of log: far more than a pipe holds.
    let bad: String =
        (0..40).map(|n| format!("nonsense_{n} = \"a setting that does not exist, with a long value\"\n")).collect();
    std::fs::write(&file, format!("{bad}{good}")).expect("configuration");
    let (until, begun) = (Instant::now() + PATIENCE, Instant::now());
    while metric(&world.daemon, "trapline_log_dropped_total") <= 100.0 {
        assert!(Instant::now() < until, "no line is dropped");
        world.daemon.signal("HUP");
        std::thread::sleep(Duration::from_millis(10));
    }
    let detected = begun.elapsed();
    std::fs::write(&file, good).expect("configuration");
    // The log stands still now, for good: nobody does with it.
    let meanwhile = pace(&world.daemon, &flow, Duration::from_millis(1_500));
    let ratio = meanwhile / calm.max(1.0);
    assert!(ratio > 0.4, "{meanwhile} a second instead of {calm}");
    let before = rooms(&world.daemon);
    for room in ["validator", "redis_writer"] {
        order_room(&world.daemon, "panic", room);
        goes_on(&world, "BTCUSDT");
    }
    assert_eq!(disturbed(&before, &rooms(&world.daemon), &["validator", "redis_writer"]), Vec::<String>::new());
    let dropped = metric(&world.daemon, "trapline_log_dropped_total");
    // Now it is read: the pipe was full indeed, lines come again, and how many are missing is among them.
    let pipe = world.daemon.child.stderr.take().expect("a pipe");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut pipe = pipe;
        let mut buffer = [0; 65_536];
        while let Ok(n) = pipe.read(&mut buffer) {
            if n == 0 || tell.send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut text = Vec::new();
    wait_for("the log says what it lost", || {
        text.extend(told.try_iter().flatten());
        let said = String::from_utf8_lossy(&text);
        let lost = said.lines().rfind(|line| line.contains("log lines dropped"));
        match lost.and_then(|line| line.rsplit('=').next()?.trim().parse::<f64>().ok()) {
            Some(lost) if lost >= dropped => Ok(()),
            other => Err(format!("{other:?} of {dropped} in {} bytes", said.len())),
        }
    });
    assert!(text.len() >= 65_536, "{} bytes waited in the pipe", text.len());
    Figures {
        row: "P14",
        fault: "the reader of the log stands still",
        injected: 1,
        detected: 1,
        survived: 1,
        detection_ms: vec![crate::common::ms(detected)],
        others_ratio: Some(ratio),
        more: [("log lines dropped and counted", dropped.into())].into(),
        ..Figures::default()
    }
    .publish();
}
