//! Events on disk before anybody hears of them: an append-only table of records with contiguous numbers, written by a
//! thread of its own in group commits, kept for a while after Redis has them.
//!
//! Why a tail is kept: Redis may come back older than it was (power loss, a replica promoted, a restored backup). The
//! cursor in Redis goes back with the data, and what follows it is sent again from here.
//!
//! A disk that refuses turns the spool volatile: records wait in memory, bounded, with the same numbers, and go to disk
//! when it takes them again. A file that cannot be read is set aside under another name; never a crash loop.

mod disk;
mod thread;

pub use disk::{SpoolContents, inspect};

use super::ids::Print;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use futures_util::task::AtomicWaker;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// Settings of the spool.
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    /// The file; `None`: in memory only, and announced as not durable.
    pub file: Option<PathBuf>,
    /// Records older than this are removed once Redis has them.
    pub keep: Duration,
    /// Bytes of records kept, applied or not.
    pub keep_bytes: u64,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self { file: None, keep: Duration::from_secs(86_400), keep_bytes: 256 * 1024 * 1024 }
    }
}

/// Records that may wait in memory while the disk refuses.
pub const VOLATILE_MAX: usize = 10_000;
/// Records that may be on their way to the thread.
const QUEUE: usize = 4_096;

/// One record on its way to the disk.
#[derive(Clone, Debug)]
pub struct Stored {
    pub seq: u64,
    pub ms: i64,
    pub id: String,
    pub bytes: Arc<[u8]>,
}

pub(crate) enum Order {
    Append(Stored),
    /// Records from `first`, at most `count` of them and about `bytes` bytes.
    Read {
        first: u64,
        count: usize,
        bytes: usize,
        reply: tokio::sync::oneshot::Sender<Vec<(u64, Arc<[u8]>)>>,
    },
    /// Redis has everything up to here.
    Applied(u64),
    /// This spool counts as a new one from now on.
    Generation(u64),
    /// Remove now what may go.
    Trim,
    #[cfg(test)]
    Fail(bool),
}

/// What thread and engine both see.
#[derive(Debug, Default)]
pub struct SpoolState {
    /// Everything up to here is on disk, or in the memory that stands for it while the disk refuses.
    pub(crate) safe: AtomicU64,
    /// The oldest record that can still be read.
    pub(crate) first: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) durable: AtomicBool,
    pub(crate) failures: AtomicU64,
    pub(crate) commits: AtomicU64,
    /// Left memory before Redis had them, while the disk refused.
    pub(crate) dropped: AtomicU64,
    pub(crate) waker: AtomicWaker,
}

/// What was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Names the spool: a lost or new one has a higher number, so that a cursor never counts in the wrong one.
    pub generation: u64,
    pub last_seq: u64,
    pub last_ms: i64,
    /// Identities of the newest retained records, in no order.
    pub ids: Vec<Print>,
    /// A file that could not be read was put here.
    pub set_aside: Option<PathBuf>,
}

/// The way to the spool's thread. Clones share it; the thread ends with the last one.
#[derive(Clone, Debug)]
pub struct Spool {
    orders: Sender<Order>,
    state: Arc<SpoolState>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

impl Spool {
    /// Opens or creates the file and starts the thread. Blocks for as long as the file needs to open. Never fails: a
    /// file that is no spool is set aside, a disk that refuses makes the spool volatile.
    pub fn open(settings: SpoolSettings, now_ms: i64) -> (Self, Found) {
        let (orders, inbox): (Sender<Order>, Receiver<Order>) = bounded(QUEUE);
        let state = Arc::new(SpoolState::default());
        let (store, found) = disk::Disk::open(&settings, now_ms);
        state.safe.store(found.last_seq, SeqCst);
        let worker = thread::Worker::new(settings, store, Arc::clone(&state), &found);
        let spawned = std::thread::Builder::new().name("spool".to_owned()).spawn(move || worker.run(&inbox));
        if spawned.is_err() {
            state.durable.store(false, SeqCst);
        }
        (Self { orders, state }, found)
    }

    /// Hands a record over. `Err` gives it back when the thread is that far behind.
    pub(crate) fn append(&self, record: Stored) -> Result<(), Stored> {
        match self.orders.try_send(Order::Append(record)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Order::Append(record)) | TrySendError::Disconnected(Order::Append(record))) => {
                Err(record)
            }
            Err(_) => Ok(()),
        }
    }

    /// Removes now what the settings allow to remove; otherwise it happens every minute.
    pub fn trim_now(&self) {
        self.order(Order::Trim);
    }

    pub(crate) fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    pub(crate) fn state(&self) -> &SpoolState {
        &self.state
    }

    /// Everything up to this number is safe to publish.
    pub fn safe(&self) -> u64 {
        self.state.safe.load(SeqCst)
    }

    /// The oldest record that can still be read; 0: none.
    pub fn first(&self) -> u64 {
        self.state.first.load(SeqCst)
    }

    pub fn is_durable(&self) -> bool {
        self.state.durable.load(SeqCst)
    }

    #[cfg(test)]
    pub(crate) fn set_failing(&self, failing: bool) {
        let _ = self.orders.send(Order::Fail(failing));
    }
}

#[cfg(test)]
mod tests;
