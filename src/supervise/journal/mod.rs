//! The restart journal: a thread that writes one JSON line per fact, so that a restart can be read afterwards.
//!
//! Writing never blocks a room: the lanes are bounded, what does not fit is counted, and the count is written as
//! `journal_gap` as soon as there is space. Crashes have a lane of their own, so that a storm of starts cannot push
//! them out.

mod file;
mod reader;
mod record;
mod writer;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
pub(crate) use file::{LineFile, numbered};
pub use reader::{JournalEntry, JournalText, read_journal};
pub use record::{CrashReport, RecentMessage, Record};

use super::panic_hook;
use super::queue::lock;
use crate::clock::Clock;

pub(crate) const JOURNAL_FILE: &str = "journal.jsonl";
pub(crate) const QUARANTINE_FILE: &str = "quarantine.jsonl";
/// Old files kept beside the newest.
pub(crate) const KEEP: u32 = 4;
/// All files of the journal together, unless the tree says otherwise.
pub(crate) const JOURNAL_BYTES: u64 = 40 * 1024 * 1024;
/// One file of the quarantine; all of them are read at start.
const QUARANTINE_BYTES: u64 = 2 * 1024 * 1024;
const CRASH_LANE: usize = 1024;
const LIFE_LANE: usize = 1024;
const QUARANTINE_LANE: usize = 1024;
/// Lines kept in memory, for the status page and for the case that the disk is full.
const KEPT_LINES: usize = 256;

/// A record with its time.
pub(crate) struct Stamped {
    pub(crate) at_ms: i64,
    pub(crate) record: Record,
}

pub(crate) enum Order {
    Write(Stamped),
    /// Everything before is written and on disk when this is answered.
    Flush(Sender<()>),
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) written: AtomicU64,
    pub(crate) write_errors: AtomicU64,
    pub(crate) lost_crash: AtomicU64,
    pub(crate) lost_life: AtomicU64,
    pub(crate) lost_quarantine: AtomicU64,
    pub(crate) degraded: AtomicBool,
    stated: [AtomicU64; 3],
}

impl Counts {
    /// How many losses of a lane the journal has told so far.
    fn stated(&self, lane: &str) -> &AtomicU64 {
        match lane {
            "crash" => &self.stated[0],
            "lifecycle" => &self.stated[1],
            _ => &self.stated[2],
        }
    }
}

/// How the journal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct JournalStatus {
    pub written: u64,
    pub write_errors: u64,
    /// Records for which there was no space in their lane; each loss is stated in the journal.
    pub lost: u64,
    /// The last write failed: the newest lines are only in memory and in the log.
    pub degraded: bool,
}

/// The way to the journal's thread. Clones write to the same file.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    crash: Sender<Order>,
    life: Sender<Stamped>,
    quarantine: Sender<String>,
    counts: Arc<Counts>,
    kept: Arc<Mutex<VecDeque<String>>>,
    boot: String,
}

pub(crate) struct Lanes {
    pub(crate) crash: Receiver<Order>,
    pub(crate) life: Receiver<Stamped>,
    pub(crate) quarantine: Receiver<String>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("boot", &self.shared.boot).finish_non_exhaustive()
    }
}

impl Journal {
    /// Starts the thread. It ends when the last clone is gone.
    pub fn start(clock: Clock, state_dir: Option<PathBuf>) -> Self {
        Self::start_sized(clock, state_dir, JOURNAL_BYTES)
    }

    /// As [`Journal::start`]; the files together stay below `bytes`.
    pub fn start_sized(clock: Clock, state_dir: Option<PathBuf>, bytes: u64) -> Self {
        let file_bytes = (bytes / u64::from(KEEP + 1)).max(64 * 1024);
        let (crash, crash_rx) = bounded(CRASH_LANE);
        let (life, life_rx) = bounded(LIFE_LANE);
        let (quarantine, quarantine_rx) = bounded(QUARANTINE_LANE);
        let counts = Arc::new(Counts::default());
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        // Process id and start time: unique on one machine, readable, and no randomness that a replay would miss.
        let boot = format!("{:x}-{:x}", clock.wall_ms(), std::process::id());
        let (told, lines) = (Arc::clone(&counts), Arc::clone(&kept));
        let writer = writer::Writer::new(clock.clone(), state_dir, file_bytes, boot.clone(), told, lines);
        let lanes = Lanes { crash: crash_rx, life: life_rx, quarantine: quarantine_rx };
        let spawned = std::thread::Builder::new().name("trapline-journal".to_owned()).spawn(move || writer.run(&lanes));
        // On a thread of its own: what happens in the first moments is written down in them.
        let _ = std::thread::Builder::new().name("trapline-symbols".to_owned()).spawn(panic_hook::load_symbols);
        if spawned.is_err() {
            counts.degraded.store(true, Ordering::Relaxed);
        }
        Self { shared: Arc::new(Shared { clock, crash, life, quarantine, counts, kept, boot }) }
    }

    /// Never blocks; what does not fit is counted and stated.
    pub fn record(&self, record: Record) {
        let stamped = Stamped { at_ms: self.shared.clock.wall_ms(), record };
        if stamped.record.is_crash() {
            if self.shared.crash.try_send(Order::Write(stamped)).is_err() {
                self.shared.counts.lost_crash.fetch_add(1, Ordering::Relaxed);
            }
        } else if self.shared.life.try_send(stamped).is_err() {
            self.shared.counts.lost_life.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn quarantine_line(&self, line: String) {
        if self.shared.quarantine.try_send(line).is_err() {
            self.shared.counts.lost_quarantine.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits, at most `limit`, until everything before is written. Blocks the thread: not for rooms.
    pub fn flush(&self, limit: Duration) -> bool {
        let (done, wait) = bounded(1);
        self.shared.crash.send_timeout(Order::Flush(done), limit).is_ok() && wait.recv_timeout(limit).is_ok()
    }

    /// The newest lines, oldest first.
    pub fn newest_lines(&self) -> Vec<String> {
        lock(&self.shared.kept).iter().cloned().collect()
    }

    pub fn status(&self) -> JournalStatus {
        let counts = &self.shared.counts;
        JournalStatus {
            written: counts.written.load(Ordering::Relaxed),
            write_errors: counts.write_errors.load(Ordering::Relaxed),
            lost: counts.lost_crash.load(Ordering::Relaxed)
                + counts.lost_life.load(Ordering::Relaxed)
                + counts.lost_quarantine.load(Ordering::Relaxed),
            degraded: counts.degraded.load(Ordering::Relaxed),
        }
    }

    /// Names this start of the program in every record.
    pub fn boot_id(&self) -> &str {
        &self.shared.boot
    }
}

#[cfg(test)]
mod tests;
