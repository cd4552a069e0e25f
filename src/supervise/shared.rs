//! What the supervisor, the watchdog and the handle of a tree know together.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::cell::Cell;
use super::journal::{Journal, Record};
use super::quarantine::Quarantine;
use crate::error::Exit;

pub(crate) struct Child {
    pub(crate) cell: Arc<dyn Cell>,
    pub(crate) group: usize,
    /// Index of the room whose thread it lives on.
    pub(crate) home: usize,
}

pub(crate) struct Shared {
    pub(crate) children: Vec<Child>,
    pub(crate) groups: Vec<&'static str>,
    pub(crate) journal: Journal,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) base: Instant,
    /// The supervisor's own sign of life, in milliseconds since `base`.
    pub(crate) beat_ms: AtomicU64,
    /// The thread it runs on.
    pub(crate) supervisor_tid: OnceLock<String>,
    pub(crate) zombies: Arc<AtomicUsize>,
    pub(crate) stopping: AtomicBool,
    pub(crate) over: AtomicBool,
    pub(crate) ended: watch::Sender<Option<Exit>>,
    pub(crate) on_exit: Arc<dyn Fn(Exit) + Send + Sync>,
}

impl Shared {
    pub(crate) fn path(&self, room: usize) -> String {
        let child = &self.children[room];
        format!("{}/{}", self.groups[child.group], child.cell.card().name)
    }

    pub(crate) fn room(&self, name: &str) -> Option<usize> {
        self.children.iter().position(|child| child.cell.card().name == name)
    }

    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The tree is at its end; the first reason counts.
    pub(crate) fn end(&self, exit: Exit, reason: &'static str) {
        let first = self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(exit);
            first
        });
        if !first {
            return;
        }
        self.journal.record(Record::Exit { code: exit as i32, reason });
        if matches!(exit, Exit::SupervisorHung | Exit::TooManyZombies) {
            // No orderly way is left: the caller's thread may be the only one that still runs.
            self.journal.flush(Duration::from_millis(500));
            self.over.store(true, Ordering::SeqCst);
            (self.on_exit)(exit);
        }
    }
}
