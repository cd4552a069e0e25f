//! P6: memory runs short. What can be given up is, people are told, and before nothing is left the process ends in order.

use crate::common::{disturbed, goes_on, metric, ms, proc_kib, rooms, with};
use crate::support::figures::Figures;
use crate::support::{PATIENCE, World, http_get, wait_for};
use std::process::Command;
use std::time::Instant;

/// Sets the soft limit of the address space; false where that cannot be done.
fn limit(world: &World, bytes: &str) -> bool {
    let (pid, limit) = (format!("--pid={}", world.daemon.child.id()), format!("--as={bytes}:"));
    Command::new("prlimit").args([pid, limit]).output().is_ok_and(|output| output.status.success())
}

/// So many hundredths of what is in use now.
fn percent(world: &World, percent: u64) -> String {
    (proc_kib(&world.daemon, "VmSize") * 1_024 / 100 * percent).to_string()
}

fn ready_problems(world: &World) -> String {
    http_get(world.daemon.status_port, "/readyz").1
}

#[test]
fn p06_memory_pressure_sheds_then_ends_in_order() {
    let mut world = World::ready(&with(vec![], &[]));
    if !limit(&world, "unlimited") {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: no prlimit\n");
        return;
    }
    let before = rooms(&world.daemon);
    assert_eq!(metric(&world.daemon, "trapline_shed_total"), 0.0);
    // Nine tenths are in use: shed and told, and everything goes on.
    assert!(limit(&world, &percent(&world, 111)));
    let begun = Instant::now();
    wait_for("memory_short is told", || {
        let problems = ready_problems(&world);
        if problems.contains("memory_short") { Ok(()) } else { Err(problems) }
    });
    let told = begun.elapsed();
    wait_for("latencies are shed", || {
        let text = http_get(world.daemon.status_port, "/metrics").1;
        let line = text.lines().find(|line| line.starts_with("trapline_shed_total{class=\"monitoring\"}"));
        match line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()) {
            Some(shed) if shed > 0.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    goes_on(&world, "BTCUSDT");
    let resident = proc_kib(&world.daemon, "VmRSS");
    assert!(resident < 256 * 1_024, "{resident} KiB are more than the unit file allows");
    // More memory: it is over by itself.
    assert!(limit(&world, "unlimited"));
    wait_for("it is over", || {
        let problems = ready_problems(&world);
        if problems.contains("memory_short") { Err(problems) } else { Ok(()) }
    });
    world.daemon.wait_ready();
    assert_eq!(disturbed(&before, &rooms(&world.daemon), &[]), Vec::<String>::new());
    // Nearly all: the end, in order, before an allocation fails.
    assert!(limit(&world, &percent(&world, 102)));
    let begun = Instant::now();
    let code = wait_for("it ends", || match world.daemon.child.try_wait() {
        Ok(Some(status)) => Ok(status.code()),
        other => Err(format!("{other:?}")),
    });
    let ended = begun.elapsed();
    assert_eq!(code, Some(70), "an exit, no signal; log:\n{}", world.daemon.log());
    assert!(ended < PATIENCE);
    for key in ["trapline:BTCUSDT:market_state", "trapline:ETHUSDT:market_state"] {
        let mark = world.redis.hash(key);
        assert_eq!((mark["stale"].as_str(), mark["stale_reason"].as_str()), ("1", "stopped"), "{key}");
    }
    assert!(world.daemon.journal().iter().any(|e| e.event == "trouble" && e.text("problem") == "memory_short"));
    // The service manager's next start.
    world.daemon.start_again(&with(vec![], &[]));
    world.daemon.wait_ready();
    goes_on(&world, "BTCUSDT");
    Figures {
        row: "P6",
        fault: "memory runs short, then out (address space)",
        injected: 2,
        detected: 2,
        survived: 1,
        escalated: 1,
        detection_ms: vec![ms(told)],
        recovery_ms: vec![ms(ended)],
        more: [("resident KiB", resident.into())].into(),
        ..Figures::default()
    }
    .publish();
}
