//! P5: a machine with far more to do than processors. Threads that are not let run are silent, which is nobody's hang.

use crate::common::{goes_on, proc_text};
use crate::support::figures::Figures;
use crate::support::{Options, World, wait_for};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// So many that each of the daemon's threads gets an eight-hundredth of the processor at most.
const HOGS: usize = 160;
const PROCESSOR: &str = "0";

/// Programs that take one processor and give nothing; they end with this.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start() -> Self {
        // Last in line for everybody but the daemon: other tests hardly notice.
        let one = || {
            let words = ["-c", PROCESSOR, "nice", "-n", "19", "sh", "-c", "while :; do :; done"];
            Command::new("taskset").args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        Self((0..HOGS).map(|_| one().expect("a program that only runs")).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        // All at once: each has to get its turn to end, and the others would take theirs first.
        for hog in &mut self.0 {
            let _ = hog.kill();
        }
        for hog in &mut self.0 {
            let _ = hog.wait();
        }
    }
}

/// The threads that rooms and the supervisor run on; the watchdog's own is served as ever.
fn threads_of_rooms(world: &World) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", world.daemon.child.id())).expect("a process");
    let tids = tasks.flatten().map(|task| task.file_name().to_string_lossy().into_owned());
    tids.filter(|tid| proc_text(&world.daemon, &format!("task/{tid}/comm")).starts_with("actix-rt")).collect()
}

fn did(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
}

#[test]
fn p05_threads_that_are_not_let_run_do_not_hang() {
    if !did("chrt", &["--version"]) || !did("taskset", &["--version"]) || proc_text_of_self().is_empty() {
        let _ = std::io::stderr().write_all(b"SKIPPED: no chrt, taskset or schedstat\n");
        return;
    }
    let world = World::ready(&Options::default());
    goes_on(&world, "BTCUSDT");
    let threads = threads_of_rooms(&world);
    assert!(threads.len() > 5, "{threads:?}");
    let hogs = Hogs::start();
    for tid in &threads {
        assert!(did("taskset", &["-p", "-c", PROCESSOR, tid]) && did("chrt", &["-i", "-p", "0", tid]), "{tid}");
    }
    let count = |event: &str| world.daemon.journal().iter().filter(|entry| entry.event == event).count();
    let deaths = || {
        let journal = world.daemon.journal();
        journal.iter().filter(|e| ["down", "exit"].contains(&e.event.as_str())).map(|e| e.fields.clone()).collect()
    };
    wait_for("a room is silent past its deadline, and not judged", || {
        let (starved, dead): (usize, Vec<_>) = (count("starved"), deaths());
        if starved > 0 || !dead.is_empty() { Ok(()) } else { Err("nobody yet".to_owned()) }
    });
    // Longer than the supervisor's own deadline.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(deaths(), Vec::new(), "{}", world.daemon.log());
    drop(hogs);
    let all = format!("0-{}", std::thread::available_parallelism().map_or(0, |n| n.get() - 1));
    for tid in &threads {
        let _ = did("taskset", &["-p", "-c", &all, tid]);
        let _ = did("chrt", &["-o", "-p", "0", tid]);
    }
    goes_on(&world, "BTCUSDT");
    world.daemon.wait_ready();
    assert_eq!(deaths(), Vec::new());
    let starved = count("starved") as u64;
    Figures {
        row: "P5",
        fault: "threads of rooms are not let run: no hang",
        injected: 1,
        detected: 1,
        survived: 1,
        more: [("false hang verdicts", 0.into()), ("silences not judged", starved.into())].into(),
        ..Figures::default()
    }
    .publish();
}

fn proc_text_of_self() -> String {
    std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default()
}
