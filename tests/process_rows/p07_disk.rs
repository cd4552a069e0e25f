//! P7: the disk is full, read-only or broken, for spool, journal and quarantine. Events go on in memory and are announced
//! as volatile; the journal says what it could not write; both heal by themselves when the disk takes them again.

use crate::common::{
    Faults, Trading, assert_each_fill_once, disturbed, goes_on, have_fault_points, metric, ms, order_room, rooms, with,
};
use crate::support::figures::Figures;
use crate::support::{Exchange, Options, World, http_get, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use trapline::venue::{ScriptChoice, VenueConfig};

fn trading_world(options: &Options, folder: &Path) -> (World, Trading) {
    let truth = folder.join("truth.jsonl");
    let venue = VenueConfig { script: ScriptChoice::Idle, truth: Some(truth.clone()), ..Exchange::config() };
    let world = World::start(venue, options);
    world.daemon.wait_ready();
    let trading = Trading::start(&world.exchange, truth, Duration::from_millis(40));
    (world, trading)
}

fn problem_is(world: &World, problem: &str, there: bool) -> Duration {
    let begun = Instant::now();
    wait_for(&format!("{problem} {there}"), || {
        let body = http_get(world.daemon.status_port, "/readyz").1;
        if body.contains(problem) == there { Ok(()) } else { Err(body) }
    });
    begun.elapsed()
}

/// Each error of the disk in turn, for the spool, then for journal and quarantine, while fills come in.
fn a_disk_that_refuses_makes_events_volatile_and_heals_alone() {
    if !have_fault_points() {
        return;
    }
    let (faults, folder) = (Faults::new(), tempfile::tempdir().expect("folder"));
    let more = [("rates", "trades_per_minute = 1000000")];
    let options = with(vec![faults.env()], &more);
    let (mut world, mut trading) = trading_world(&options, folder.path());
    let before = rooms(&world.daemon);
    assert_eq!(metric(&world.daemon, "trapline_spool_durable"), 1.0);
    let (mut detection, mut recovery) = (Vec::new(), Vec::new());
    for error in ["full", "rofs"] {
        faults.arm(&format!("spool.append={error};spool.open={error};journal.write=eio;quarantine.write=eio"));
        detection.push(ms(problem_is(&world, "spool_volatile", true)));
        assert_eq!(metric(&world.daemon, "trapline_spool_durable"), 0.0, "{error}");
        // Rooms go on, also over a death that the journal cannot write down.
        order_room(&world.daemon, "restart", "analyst");
        goes_on(&world, "BTCUSDT");
        let known = metric(&world.daemon, "trapline_events_written_total");
        wait_for("fills reach redis from memory", || {
            let now = metric(&world.daemon, "trapline_events_written_total");
            if now > known + 10.0 { Ok(()) } else { Err(format!("{known} {now}")) }
        });
        let (_, table, _) = world.daemon.cli(&["status"]);
        assert!(table.contains("the journal is not written"), "{error}: {table}");
        faults.disarm();
        recovery.push(ms(problem_is(&world, "spool_volatile", false)));
        assert_eq!(metric(&world.daemon, "trapline_spool_durable"), 1.0, "{error}");
    }
    order_room(&world.daemon, "restart", "analyst");
    wait_for("the journal is written again", || {
        let (_, table, _) = world.daemon.cli(&["status"]);
        if table.contains("the journal is not written") { Err(table) } else { Ok(()) }
    });
    assert_eq!(disturbed(&before, &rooms(&world.daemon), &["analyst"]), Vec::<String>::new());
    // Healed: what only memory had is on disk now, so that a SIGKILL costs nothing.
    world.daemon.signal("KILL");
    let _ = world.daemon.child.wait();
    world.daemon.start_again(&options);
    world.daemon.wait_ready();
    let fills = assert_each_fill_once(&world, &trading.end());
    Figures {
        row: "P7",
        fault: "the disk of spool, journal and quarantine is full, broken or read-only",
        injected: 2,
        detected: 2,
        survived: 2,
        detection_ms: detection,
        recovery_ms: recovery,
        events: fills,
        ..Figures::default()
    }
    .publish();
}

/// A file system of 8 MiB over the state folder; gone with this value. `None` (said aloud) without the right to mount.
struct Small {
    path: PathBuf,
}

impl Small {
    fn mount(path: &Path) -> Option<Self> {
        let path = path.to_owned();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&path).output();
        if done.is_ok_and(|output| output.status.success()) {
            return Some(Self { path });
        }
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: no right to mount a small file system\n");
        None
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let file = std::fs::File::options().create(true).append(true).open(self.path.join("ballast"));
        let mut file = file.expect("ballast");
        for size in [65_536, 4_096, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.path.join("ballast")).expect("ballast");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).output();
    }
}

/// A real file system without space, from the start, and later while it runs.
fn a_full_file_system_from_the_start_and_later() {
    let folder = tempfile::tempdir().expect("folder");
    let options = with(vec![], &[("rates", "trades_per_minute = 1000000")]);
    let (mut world, mut trading) = trading_world(&options, folder.path());
    assert_eq!(world.daemon.stop(), 0);
    let state = world.daemon.state.path().to_owned();
    let config = std::fs::read(state.join("trapline.toml")).expect("configuration");
    let Some(small) = Small::mount(&state) else { return };
    std::fs::write(state.join("trapline.toml"), config).expect("configuration");
    std::fs::write(state.join("log"), "").expect("log");
    small.fill();
    world.daemon.start_again(&options);
    goes_on(&world, "BTCUSDT");
    let first = problem_is(&world, "spool_volatile", true);
    small.free();
    let healed = problem_is(&world, "spool_volatile", false);
    world.daemon.wait_ready();
    assert_eq!(metric(&world.daemon, "trapline_spool_durable"), 1.0);
    // Full while it runs: the spool has to grow sooner or later.
    small.fill();
    let journal = wait_for("the journal notices", || {
        order_room(&world.daemon, "restart", "analyst");
        std::thread::sleep(Duration::from_millis(100));
        let (_, table, _) = world.daemon.cli(&["status"]);
        if table.contains("the journal is not written") { Ok(table) } else { Err(table) }
    });
    assert!(!journal.is_empty());
    goes_on(&world, "BTCUSDT");
    small.free();
    wait_for("written again", || {
        order_room(&world.daemon, "restart", "analyst");
        std::thread::sleep(Duration::from_millis(300));
        let (_, table, _) = world.daemon.cli(&["status"]);
        if table.contains("the journal is not written") { Err(table) } else { Ok(()) }
    });
    problem_is(&world, "spool_volatile", false);
    assert_eq!(world.daemon.stop(), 0, "everything was delivered");
    world.daemon.start_again(&options);
    world.daemon.wait_ready();
    let made = trading.end();
    // The folder was another one before, so numbers begin anew: each fill once is what counts.
    wait_for("every fill is in redis", || {
        let ids: Vec<String> =
            crate::common::events(&world).into_iter().filter(|e| e.kind == "fill").map(|e| e.id).collect();
        let there: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert!(ids.len() <= made.len() || there.len() == made.len(), "{} {}", ids.len(), made.len());
        if made.iter().all(|id| there.contains(id)) {
            Ok(())
        } else {
            Err(format!("{} of {}", there.len(), made.len()))
        }
    });
    assert_eq!(world.daemon.stop(), 0);
    Figures {
        row: "P7",
        fault: "a file system of 8 MiB without space",
        injected: 2,
        detected: 2,
        survived: 2,
        detection_ms: vec![ms(first)],
        recovery_ms: vec![ms(healed)],
        ..Figures::default()
    }
    .publish();
    drop(small);
}

/// All of the row.
#[test]
fn p07_disk_full_broken_read_only() {
    crate::common::side_by_side(&[
        a_disk_that_refuses_makes_events_volatile_and_heals_alone,
        a_full_file_system_from_the_start_and_later,
    ]);
}
