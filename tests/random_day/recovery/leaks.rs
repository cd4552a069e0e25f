//! What many deaths leave behind: threads, descriptors, memory.

use super::bench::{Bench, ON_THE_WAY};
use super::round;
use crate::measure::{Look, look};
use crate::support::figures::Figures;
use serde_json::json;
use std::time::{Duration, Instant};

/// What a process takes when it is at rest: the least of several looks.
fn rest(pid: u32) -> Look {
    let mut least = look(pid, 0.0, 0).expect("a process");
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(100));
        let seen = look(pid, 0.0, 0).expect("a process");
        least.rss_kib = least.rss_kib.min(seen.rss_kib);
        least.fds = least.fds.min(seen.fds);
        least.threads = least.threads.min(seen.threads);
    }
    least
}

/// Threads, descriptors and memory after many panics and some hangs, against before. With short waits between deaths:
/// what one leaves behind is the same, and there can be hundreds.
pub(super) fn leaks(times: usize) {
    let bench = Bench::with("restart_backoff_ms = 5\nrestart_backoff_max_ms = 10\nstable_after_ms = 1000");
    let mut link = bench.eyes();
    let mut die = |panics: usize| {
        for n in 0..panics {
            bench.die(&mut link, ON_THE_WAY[n % ON_THE_WAY.len()]);
        }
        for room in ["analyst", "validator"] {
            bench.drill("hang", room, Some(3_000));
        }
        // The abandoned threads wake up and end.
        std::thread::sleep(Duration::from_millis(5_000));
        rest(bench.daemon.child.id())
    };
    // What grows to its bound with the first deaths is there before.
    let before = die(times * 10);
    let begun = Instant::now();
    let after = die(times * 20);
    let deaths = times as u64 * 20 + 2;
    let kib = after.rss_kib - before.rss_kib;
    let more = [
        ("deaths", json!(deaths)),
        ("threads more", json!(after.threads - before.threads)),
        ("fds more", json!(after.fds - before.fds)),
        ("RSS more KiB", json!(kib)),
        ("RSS KiB per death", json!(round(kib / deaths as f64))),
        ("RSS MiB", json!(round(after.rss_kib / 1_024.0))),
    ];
    println!("leaks over {deaths} deaths in {:.0} s: {more:?}", begun.elapsed().as_secs_f64());
    let fault = "what many deaths leave behind";
    let more = more.into();
    let n = deaths;
    Figures { row: "leaks", fault, injected: n, detected: n, survived: n, more, ..Figures::default() }.publish();
    bench.wait_ready();
}
