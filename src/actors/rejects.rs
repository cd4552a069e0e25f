//! What was refused: counted by reason, the newest kept for people. An observation board, not a message: several
//! rooms write it, the status room reads it.

use crate::domain::refusal::{Refusal, Refused};
use crate::supervise::Journal;
use crate::supervise::journal::Record;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How many refusals are kept to look at.
pub const NEWEST: usize = 100;

/// One line in the journal for each reason within this time: a flood must not push crashes out of it.
const WRITTEN_EVERY_MS: i64 = 60_000;

/// Shared by clone; bounded.
#[derive(Clone, Debug)]
pub struct Rejects {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    counts: Vec<AtomicU64>,
    newest: Mutex<VecDeque<Refused>>,
    journal: OnceLock<Journal>,
    /// When a refusal of this reason was last written down, ms.
    written_ms: Vec<AtomicI64>,
}

impl Default for Rejects {
    fn default() -> Self {
        let counts = Refusal::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            shared: Arc::new(Shared {
                counts,
                newest: Mutex::new(VecDeque::with_capacity(NEWEST)),
                journal: OnceLock::new(),
                written_ms: Refusal::ALL.iter().map(|_| AtomicI64::new(i64::MIN / 2)).collect(),
            }),
        }
    }
}

impl Rejects {
    /// Counts a refusal and keeps it. Expected ones (repeats after a resubscription) are counted only.
    pub fn note(&self, refused: Refused) {
        self.count(refused.refusal);
        self.write_down(&refused);
        let mut newest = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.len() == NEWEST {
            newest.pop_front();
        }
        newest.push_back(refused);
    }

    /// Tells where refusals are written down.
    pub fn journal_with(&self, journal: Journal) {
        let _ = self.shared.journal.set(journal);
    }

    /// The first of each reason in a while, for `trapline why`: the total says how many there were.
    fn write_down(&self, refused: &Refused) {
        let Some(journal) = self.shared.journal.get() else { return };
        let Some(written) = self.shared.written_ms.get(refused.refusal as usize) else { return };
        let last = written.load(Ordering::Relaxed);
        // Two rooms at once may write two lines: nothing is lost by that.
        if refused.received_ms.saturating_sub(last) < WRITTEN_EVERY_MS {
            return;
        }
        written.store(refused.received_ms, Ordering::Relaxed);
        journal.record(Record::Refused {
            reason: refused.refusal.label(),
            kind: refused.kind,
            detail: refused.detail.chars().take(200).collect(),
            total: self.total(refused.refusal),
        });
    }

    pub fn count(&self, refusal: Refusal) {
        if let Some(count) = self.shared.counts.get(refusal as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn total(&self, refusal: Refusal) -> u64 {
        self.shared.counts.get(refusal as usize).map_or(0, |c| c.load(Ordering::Relaxed))
    }

    /// Reasons that occurred, with their counts.
    pub fn counts(&self) -> Vec<(Refusal, u64)> {
        Refusal::ALL.iter().map(|&r| (r, self.total(r))).filter(|(_, n)| *n > 0).collect()
    }

    /// Oldest first.
    pub fn newest(&self) -> Vec<Refused> {
        self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_hundred_stay_and_all_are_counted() {
        let rejects = Rejects::default();
        for i in 0..250 {
            rejects.note(Refused::new(Refusal::Garbage, "frame", i, "x"));
        }
        assert_eq!(rejects.total(Refusal::Garbage), 250);
        let newest = rejects.newest();
        assert_eq!((newest.len(), newest[0].received_ms, newest[99].received_ms), (NEWEST, 150, 249));
        assert_eq!(rejects.counts(), vec![(Refusal::Garbage, 250)]);
    }
}
