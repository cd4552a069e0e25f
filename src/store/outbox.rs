//! Events between their acceptance and Redis' confirmation: numbered, spooled, then published in order.

use super::board::{Board, Counts};
use super::cluster::index::Index;
use super::encode::Layout;
use super::encode::event::{event_id, event_ms, record};
use super::guard::Cursor;
use super::ids::Ids;
use super::spool::{Found, Order, Spool, Stored};
use crate::domain::event::Event;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Copies kept in memory so that the usual case reads no disk; about a kilobyte each.
const CACHE_MAX: usize = 2_000;
/// Records that the spool's thread has no room for yet. Beyond it the room takes no more messages.
const WAITING_MAX: usize = 4_096;
/// So often in a row a reading may bring nothing before its place counts as damaged.
const EMPTY_READS: u32 = 20;
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
    ids: Ids,
    waiting: VecDeque<Stored>,
    /// A contiguous run of records.
    cache: VecDeque<(u64, Arc<[u8]>)>,
    /// Readings in a row that brought nothing.
    empty_reads: u32,
    /// How far a search for the next readable record has stepped over records that cannot be read; 0: no search.
    skip: u64,
    /// What follows the hole that a search has found.
    after_hole: Option<u64>,
    /// Highest number that Redis ever confirmed to this process.
    applied: u64,
    /// In a cluster: the last number that each key's lane confirmed, in this numbering. Longer remembered than by the
    /// cluster itself: a node that dies may take the index' tail and a lane's along.
    pub(super) lanes: BTreeMap<String, u64>,
    /// The lanes were compared with what the spool held at the start.
    has_met: bool,
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
            ids: Ids::of(found.ids),
            waiting: VecDeque::new(),
            cache: VecDeque::new(),
            empty_reads: 0,
            skip: 0,
            after_hole: None,
            applied: 0,
            lanes: BTreeMap::new(),
            has_met: false,
            board,
        }
    }

    /// Numbers an event and sends it to the spool. The same event twice counts once.
    pub fn accept(&mut self, layout: &Layout, event: &Event) {
        let id = event_id(layout, event);
        if !self.ids.is_new(&id) {
            return Counts::add(&self.board.counts.events_duplicate_total, 1);
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
            Counts::add(&self.board.counts.cursor_rewind_events_total, self.applied - off);
            tracing::warn!(had = self.applied, has = off, "redis went back, events are sent again");
            self.applied = off;
            // A hole that was being looked for lies behind what comes first now.
            self.after_hole = None;
            self.skip = 0;
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
        self.lanes.clear();
    }

    /// [`Outbox::meet`] in a cluster: `have` is where the lanes' own cursors stand. Whoever has lost its tail is sent it
    /// again: it begins at the least place that is known to be complete, and the other lanes skip what they have.
    pub(super) fn meet_lanes(&mut self, index: &Index, have: &BTreeMap<String, Cursor>) -> u64 {
        let first = !std::mem::replace(&mut self.has_met, true);
        let newest = have.values().map(|lane| lane.generation).chain([index.cursor.generation]).max().unwrap_or(0);
        if newest > self.generation {
            self.begin_anew(newest);
        }
        let ours = self.generation;
        let known = (index.cursor.generation == ours).then_some(index.cursor.off);
        let off = |key: &String| have.get(key).filter(|lane| lane.generation == ours).map_or(0, |lane| lane.off);
        let mut from = match known {
            Some(off) => off,
            // The index alone was lost: this process knows what all lanes had.
            None if !first && !self.lanes.is_empty() => self.applied,
            None => 0,
        };
        let mut expected = std::mem::take(&mut self.lanes);
        for (key, &(_, seq)) in index.lanes.iter().filter(|(_, (spool, _))| *spool == ours) {
            let known = expected.entry(key.clone()).or_default();
            *known = seq.max(*known);
        }
        let furthest = expected.keys().map(off).chain([from]).max().unwrap_or(0);
        for (key, &seq) in &expected {
            let off = off(key);
            if off < seq {
                tracing::warn!(%key, had = seq, has = off, "this key went back, its events are sent again");
                from = from.min(off);
            }
        }
        if first && furthest > self.found_last {
            tracing::warn!(
                cursor = furthest,
                spool = self.found_last,
                "spool is behind redis, it begins a new numbering"
            );
            from = from.min(self.found_last);
            self.begin_anew(ours);
        } else {
            self.lanes = expected.into_keys().map(|key| (off(&key), key)).map(|(off, key)| (key, off)).collect();
        }
        self.cursor_at(from);
        from
    }

    /// Compares Redis' cursor with this spool; returns how far Redis has it, and whether the cursor has to be moved into
    /// a new numbering by the next batch.
    ///
    /// `first` is the process' first look. A cursor beyond what the spool held then counted records that only memory
    /// had (a volatile spool, or an older copy of the file): their numbers are given out again, so the spool begins a
    /// new numbering, and everything it held is known to be applied.
    pub(super) fn meet(&mut self, cursor: Cursor, first: bool) -> (u64, bool) {
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
        match self.after_hole.take() {
            Some(after) if after > off + 1 => Next::Lost { first: off + 1, last: after - 1 },
            _ => Next::Read(off + 1 + self.skip),
        }
    }

    pub(super) fn read(&self, first: u64) -> Option<tokio::sync::oneshot::Receiver<Batch>> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.spool.order(Order::Read { first, count: 512, bytes: 4 * BATCH_BYTES, reply }).then_some(answer)
    }

    /// Records read from disk become the cache. Where they do not begin behind `off` there is a hole: a damaged page.
    /// It is stepped over, in growing steps, and what it held is stated to be lost; asking for it again and again would
    /// hold up everything behind it for ever. False: nothing was read, and it should be asked again after a moment.
    pub(super) fn has_read(&mut self, off: u64, records: Batch) -> bool {
        let safe = self.spool.safe();
        self.empty_reads = if records.is_empty() { self.empty_reads + 1 } else { 0 };
        match records.first() {
            Some((seq, _)) => {
                self.after_hole = (*seq > off + 1).then_some(*seq);
                self.skip = 0;
            }
            // A disk that fails now and then, or is being opened anew, has lost nothing.
            None if self.empty_reads < EMPTY_READS => return false,
            None if off + 1 + self.skip >= safe => {
                self.after_hole = Some(safe + 1);
                self.skip = 0;
            }
            None => self.skip = (self.skip * 2).max(1).min(safe.saturating_sub(off + 1)),
        }
        let mut cache: VecDeque<(u64, Arc<[u8]>)> = VecDeque::new();
        for (seq, record) in records.into_iter().filter(|(seq, _)| *seq <= safe) {
            if cache.back().is_none_or(|(last, _)| last + 1 == seq) {
                cache.push_back((seq, record));
            }
        }
        self.cache = cache;
        self.empty_reads == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::encode::event::tests as events;
    use crate::store::spool::SpoolSettings;
    use std::time::{Duration, Instant};

    /// An outbox after a restart: ten records in the spool, none in memory.
    fn restarted(folder: &std::path::Path) -> Outbox {
        let settings = SpoolSettings { file: Some(folder.join("spool.redb")), ..SpoolSettings::default() };
        let (spool, found) = Spool::open(settings, 5);
        let mut before = Outbox::new(spool.clone(), found.clone(), Board::new(1));
        for n in 1..=10 {
            before.accept(&events::layout(), &Event::Trap(events::trap(&format!("{n:016x}"), 0, 1_000 * n)));
        }
        let until = Instant::now() + Duration::from_secs(20);
        while spool.safe() < 10 {
            assert!(Instant::now() < until, "never on disk");
            std::thread::sleep(Duration::from_millis(2));
        }
        Outbox::new(spool, Found { last_seq: 10, ..found }, Board::new(1))
    }

    fn record(seq: u64) -> (u64, Arc<[u8]>) {
        (seq, Arc::from(&b"{}"[..]))
    }

    #[test]
    fn a_hole_is_stated_and_what_follows_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = restarted(folder.path());
        assert_eq!(outbox.next(0), Next::Read(1));
        assert!(outbox.has_read(0, vec![record(4), record(5)]));
        assert_eq!(outbox.next(0), Next::Lost { first: 1, last: 3 });
        assert_eq!(outbox.next(3), Next::Publish(vec![record(4), record(5)]));
        assert_eq!(outbox.next(5), Next::Read(6));
    }

    #[test]
    fn a_tail_that_cannot_be_read_is_asked_for_patiently_then_stepped_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = restarted(folder.path());
        for _ in 1..EMPTY_READS {
            assert!(!outbox.has_read(5, vec![]));
            assert_eq!(outbox.next(5), Next::Read(6), "a disk that fails for a moment has lost nothing");
        }
        for from in [7, 8, 10] {
            assert!(!outbox.has_read(5, vec![]));
            assert_eq!(outbox.next(5), Next::Read(from), "in growing steps");
        }
        assert!(!outbox.has_read(5, vec![]));
        assert_eq!(outbox.next(5), Next::Lost { first: 6, last: 10 });
        assert_eq!(outbox.next(10), Next::Nothing);
    }
}
