//! Events between their acceptance and Redis' confirmation: numbered, spooled, then published in order.

use super::board::{Board, Counts};
use super::encode::Layout;
use super::encode::event::{event_id, event_ms, record};
use super::spool::{Found, Order, Spool, Stored};
use crate::domain::event::Event;
use rustc_hash::FxHashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Copies kept in memory so that the usual case reads no disk.
const CACHE_MAX: usize = 10_000;
/// Records that the spool's thread has no room for yet. Beyond it the room takes no more messages.
const WAITING_MAX: usize = 4_096;
const BATCH_RECORDS: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;

/// Records in order with their numbers.
pub type Batch = Vec<(u64, Arc<[u8]>)>;

/// What the publisher can do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    Publish(Batch),
    /// From disk, from this number on.
    Read(u64),
    /// These cannot be read any more: state the gap, go on after it.
    Lost {
        first: u64,
        last: u64,
    },
}

/// See the module's text.
pub struct Outbox {
    pub spool: Spool,
    pub generation: u64,
    /// The last number that the spool held at the start.
    found_last: u64,
    next_seq: u64,
    last_ms: i64,
    ids: FxHashSet<String>,
    ids_order: VecDeque<String>,
    waiting: VecDeque<Stored>,
    /// A contiguous run of records.
    cache: VecDeque<(u64, Arc<[u8]>)>,
    /// Highest number that Redis ever confirmed to this process.
    applied: u64,
    board: Arc<Board>,
}

impl Outbox {
    pub fn new(spool: Spool, found: Found, board: Arc<Board>) -> Self {
        board.set_spool_durable(spool.is_durable());
        Self {
            spool,
            generation: found.generation,
            found_last: found.last_seq,
            next_seq: found.last_seq + 1,
            last_ms: found.last_ms,
            ids: found.ids.iter().cloned().collect(),
            ids_order: found.ids.into(),
            waiting: VecDeque::new(),
            cache: VecDeque::new(),
            applied: 0,
            board,
        }
    }

    /// Numbers an event and sends it to the spool. The same event twice counts once.
    pub fn accept(&mut self, layout: &Layout, event: &Event) {
        let id = event_id(layout, event);
        if !self.ids.insert(id.clone()) {
            return Counts::add(&self.board.counts.events_duplicate_total, 1);
        }
        self.ids_order.push_back(id.clone());
        if self.ids_order.len() > Found::IDS_MAX
            && let Some(old) = self.ids_order.pop_front()
        {
            self.ids.remove(&old);
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.last_ms = self.last_ms.max(event_ms(event));
        let bytes: Arc<[u8]> = record(layout, event, seq, self.last_ms).to_bytes().into();
        if self.cache.len() < CACHE_MAX && self.cache.back().is_none_or(|(last, _)| last + 1 == seq) {
            self.cache.push_back((seq, Arc::clone(&bytes)));
        }
        Counts::add(&self.board.counts.events_accepted_total, 1);
        self.waiting.push_back(Stored { seq, ms: self.last_ms, id, bytes });
        self.pump();
        self.report();
    }

    /// Hands to the spool's thread what it has room for.
    pub(super) fn pump(&mut self) {
        while let Some(record) = self.waiting.pop_front() {
            if let Err(record) = self.spool.append(record) {
                self.waiting.push_front(record);
                return;
            }
        }
    }

    /// No more events should be taken for now.
    pub fn is_congested(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Redis has every event.
    pub fn is_settled(&self) -> bool {
        self.applied + 1 >= self.next_seq
    }

    /// Highest number that Redis confirmed.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    pub fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    pub(super) fn report(&self) {
        let counts = &self.board.counts;
        counts.events_pending.store(self.next_seq.saturating_sub(self.applied + 1), Relaxed);
        counts.spool_bytes.store(self.spool.state().bytes.load(Relaxed), Relaxed);
        counts.spool_failures_total.store(self.spool.state().failures.load(Relaxed), Relaxed);
        counts.events_dropped_total.store(self.spool.state().dropped.load(Relaxed), Relaxed);
        counts.events_spooled_total.store(self.spool.safe(), Relaxed);
        self.board.set_spool_durable(self.spool.is_durable());
    }

    /// Redis has everything up to `off`.
    pub(super) fn confirmed(&mut self, off: u64) {
        if off > self.applied {
            Counts::add(&self.board.counts.events_published_total, off - self.applied);
            self.applied = off;
            self.spool.order(Order::Applied(off));
        }
        while self.cache.front().is_some_and(|(seq, _)| *seq <= off) {
            self.cache.pop_front();
        }
        self.report();
    }

    /// Redis' cursor says `off`: what it had and lost is sent again.
    pub(super) fn cursor_at(&mut self, off: u64) {
        if off < self.applied {
            Counts::add(&self.board.counts.cursor_rewinds_total, 1);
            tracing::warn!(had = self.applied, has = off, "redis went back, events are sent again");
            self.applied = off;
        } else {
            self.applied = off;
        }
        self.report();
    }

    /// A cursor counts in a spool newer than this one: an old spool was put back. Its records count as new.
    pub(super) fn begin_anew(&mut self, newer_than: u64) {
        self.generation = self.generation.max(newer_than) + 1;
        self.spool.order(Order::Generation(self.generation));
        self.applied = 0;
    }

    /// Compares Redis' cursor with this spool; returns how far Redis has it, and whether the cursor has to be moved into
    /// a new numbering by the next batch.
    ///
    /// `first` is the process' first look. A cursor beyond what the spool held then counted records that only memory
    /// had (a volatile spool, or an older copy of the file): their numbers are given out again, so the spool begins a
    /// new numbering, and everything it held is known to be applied.
    pub(super) fn meet(&mut self, cursor: super::guard::Cursor, first: bool) -> (u64, bool) {
        if cursor.generation > self.generation {
            self.begin_anew(cursor.generation);
        }
        if cursor.generation != self.generation {
            self.cursor_at(0);
            return (0, false);
        }
        if first && cursor.off > self.found_last {
            tracing::warn!(
                cursor = cursor.off,
                spool = self.found_last,
                "spool is behind redis, it begins a new numbering"
            );
            self.begin_anew(cursor.generation);
            self.cursor_at(self.found_last);
            return (self.found_last, true);
        }
        self.cursor_at(cursor.off);
        (cursor.off, false)
    }

    /// What comes after `off`.
    pub(super) fn next(&mut self, off: u64) -> Next {
        self.pump();
        let safe = self.spool.safe();
        if off >= safe {
            return Next::Nothing;
        }
        while self.cache.front().is_some_and(|(seq, _)| *seq <= off) {
            self.cache.pop_front();
        }
        if self.cache.front().is_some_and(|(seq, _)| *seq == off + 1) {
            let mut bytes = 0;
            let batch: Batch = self
                .cache
                .iter()
                .take_while(|(seq, record)| {
                    bytes += record.len();
                    *seq <= safe && (bytes <= BATCH_BYTES || *seq == off + 1)
                })
                .take(BATCH_RECORDS)
                .cloned()
                .collect();
            return Next::Publish(batch);
        }
        let first = self.spool.first();
        if first > off + 1 {
            return Next::Lost { first: off + 1, last: first - 1 };
        }
        Next::Read(off + 1)
    }

    pub(super) fn read(&self, first: u64) -> Option<tokio::sync::oneshot::Receiver<Batch>> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.spool.order(Order::Read { first, count: 512, bytes: 4 * BATCH_BYTES, reply }).then_some(answer)
    }

    /// Records read from disk become the cache.
    pub(super) fn has_read(&mut self, records: Batch) {
        let safe = self.spool.safe();
        let mut cache: VecDeque<(u64, Arc<[u8]>)> = VecDeque::new();
        for (seq, record) in records.into_iter().filter(|(seq, _)| *seq <= safe) {
            if cache.back().is_none_or(|(last, _)| last + 1 == seq) {
                cache.push_back((seq, record));
            }
        }
        self.cache = cache;
    }
}
