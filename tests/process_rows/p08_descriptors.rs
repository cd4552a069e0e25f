//! P8: no descriptor is left. What is open goes on, what is asked for is turned away without a busy loop, and when there
//! are some again everything works.

use crate::common::{disturbed, goes_on, metric, ms, proc_text, rooms, with};
use crate::support::figures::Figures;
use crate::support::{World, http_get, wait_for};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn p08_without_descriptors_the_data_go_on() {
    let world = World::ready(&with(vec![], &[]));
    let pid = world.daemon.child.id();
    let before = rooms(&world.daemon);
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count();
    let shown = metric(&world.daemon, "trapline_open_fds");
    assert!((shown - open as f64).abs() < 8.0, "the metric says {shown} of {open}");
    let limit = |soft: usize| {
        let output = Command::new("prlimit").arg(format!("--pid={pid}")).arg(format!("--nofile={soft}:")).output();
        output.is_ok_and(|output| output.status.success())
    };
    // One more than are open: a caller takes it, and nothing is left.
    if !limit(open + 1) {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: no prlimit\n");
        return;
    }
    let ticks = || -> u64 {
        let stat = proc_text(&world.daemon, "stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        fields[11].parse::<u64>().unwrap_or(0) + fields[12].parse::<u64>().unwrap_or(0)
    };
    let (had, begun) = (ticks(), Instant::now());
    let held: Vec<_> =
        (0..30).filter_map(|_| std::net::TcpStream::connect(("127.0.0.1", world.daemon.status_port)).ok()).collect();
    for _ in 0..3 {
        goes_on(&world, "BTCUSDT");
        goes_on(&world, "ETHUSDT");
    }
    // The connection to the exchange breaks as well, and there is no descriptor for a new one but its own.
    world.exchange.control("close");
    std::thread::sleep(Duration::from_millis(1_500));
    let busy = Duration::from_millis((ticks() - had) * 10);
    assert!(busy < begun.elapsed().mul_f64(0.9), "a busy loop: {busy:?} of processor in {:?}", begun.elapsed());
    drop(held);
    assert!(limit(1_024), "prlimit");
    let freed = Instant::now();
    wait_for("pages again", || match http_get(world.daemon.status_port, "/livez") {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    goes_on(&world, "BTCUSDT");
    let back = freed.elapsed();
    world.daemon.wait_ready();
    assert_eq!(disturbed(&before, &rooms(&world.daemon), &[]), Vec::<String>::new(), "nobody died of it");
    Figures {
        row: "P8",
        fault: "no descriptor is left",
        injected: 1,
        detected: 1,
        survived: 1,
        recovery_ms: vec![ms(back)],
        more: [("processor busy, share", (busy.as_secs_f64() / begun.elapsed().as_secs_f64()).into())].into(),
        ..Figures::default()
    }
    .publish();
}
