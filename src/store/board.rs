//! What is accepted and what Redis has confirmed, as atomics: the watchdog, the status page and the demo read it
//! without sending the writer a message, also while the writer is stuck.

use crate::domain::position::HoldSide;
use crate::domain::symbol::SymbolId;
use crate::telemetry::metrics::{OTHER, REDIS_ERRORS};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// How the writer stands with Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected since the start.
    Never = 0,
    Connecting = 1,
    /// Taken over, writing.
    Up = 2,
    /// Connected, but Redis refuses writes (loading, full, read-only, wrong password).
    Refused = 3,
    Down = 4,
    /// Another daemon has taken over; this one must end.
    Fenced = 5,
}

impl LinkState {
    const ALL: [Self; 6] = [Self::Never, Self::Connecting, Self::Up, Self::Refused, Self::Down, Self::Fenced];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Refused => "refused",
            Self::Down => "down",
            Self::Fenced => "fenced",
        }
    }
}

/// One value's way to Redis.
#[derive(Debug, Default)]
pub struct Cell {
    accepted_seq: AtomicU64,
    written_seq: AtomicU64,
    verified_ms: AtomicI64,
    written_ms: AtomicI64,
    found_ms: AtomicI64,
    stale: AtomicBool,
}

/// A reading of a [`Cell`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Sequence of the newest accepted value; 0: none yet.
    pub accepted_seq: u64,
    /// Sequence of the newest value that Redis has confirmed.
    pub written_seq: u64,
    /// When the exchange last proved the accepted value, local clock; 0: never.
    pub verified_ms: i64,
    /// When Redis last confirmed a write.
    pub written_ms: i64,
    /// When the value was last proved that an earlier process left in Redis without a mark, our clock; 0: there is none.
    pub found_ms: i64,
    pub stale: bool,
}

impl Cell {
    /// Booked by whoever accepts the value.
    pub fn accepted(&self, seq: u64, verified_ms: i64) {
        self.accepted_seq.fetch_max(seq, Relaxed);
        self.verified_ms.fetch_max(verified_ms, Relaxed);
    }

    pub(crate) fn written(&self, seq: u64, now_ms: i64) {
        self.written_seq.fetch_max(seq, Relaxed);
        self.written_ms.store(now_ms, Relaxed);
    }

    /// An earlier process left this, not marked stale.
    pub(crate) fn found(&self, proved_ms: i64) {
        self.found_ms.store(proved_ms, Relaxed);
    }

    pub(crate) fn set_stale(&self, stale: bool) {
        self.stale.store(stale, Relaxed);
    }

    pub fn read(&self) -> Reading {
        Reading {
            accepted_seq: self.accepted_seq.load(Relaxed),
            written_seq: self.written_seq.load(Relaxed),
            verified_ms: self.verified_ms.load(Relaxed),
            written_ms: self.written_ms.load(Relaxed),
            found_ms: self.found_ms.load(Relaxed),
            stale: self.stale.load(Relaxed),
        }
    }
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Totals since the start, and gauges. Names are the metric names without prefix.
        #[derive(Debug, Default)]
        pub struct Counts { $($(#[$doc])* pub $name: AtomicU64),+ }

        impl Counts {
            /// Every count by name.
            pub fn read(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed))),+]
            }
        }
    };
}

counts! {
    connects_total,
    disconnects_total,
    timeouts_total,
    /// Writes whose reply was lost with the connection: landed or not, nobody knows; they were sent again.
    unknown_outcome_total,
    state_writes_total,
    state_flushes_total,
    /// Values that a newer one replaced before they were sent.
    conflated_total,
    /// Values older than what stands in Redis, or than what was accepted before.
    regressed_total,
    republished_total,
    audit_repairs_total,
    quarantined_keys,
    migrated_keys_total,
    errors_total,
    latencies_shed_total,
    events_accepted_total,
    events_duplicate_total,
    events_spooled_total,
    events_published_total,
    /// Accepted, not yet confirmed by Redis.
    events_pending,
    events_unrecoverable_total,
    /// Operations of events left out because their key is quarantined or refused them.
    event_ops_refused_total,
    /// Events dropped because spool and memory were full.
    events_dropped_total,
    cursor_rewinds_total,
    /// Events that Redis had, lost, and was sent again.
    cursor_rewind_events_total,
    /// Connections given up because they were silent twice in a row.
    half_open_total,
    /// Keys that others deleted, or hashes that they took fields from: one each time that a write of ours finds it so,
    /// except after a lost connection. A Redis that was emptied is one repair.
    audit_mismatch_total,
    /// Values in our keys that another program wrote.
    foreign_writes_total,
    spool_bytes,
    spool_failures_total,
    fenced_total,
    /// Steps of the wall clock that were noticed.
    clock_steps_total,
}

/// Something about one key that a person should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Code of the alert: `foreign_writer`, `key_quarantined`.
    pub code: &'static str,
    pub key: String,
    pub text: String,
}

/// Notes that may wait for the watchdog; more are counted only.
const NOTES_MAX: usize = 32;

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Board {
    market: Vec<Cell>,
    position: Vec<[Cell; 2]>,
    pub account: Cell,
    pub counts: Counts,
    link: AtomicU8,
    link_since_ms: AtomicI64,
    /// Since when Redis has taken no writes; 0 while it takes them.
    away_since_ms: AtomicI64,
    /// Error replies and lost connections, in the order of [`REDIS_ERRORS`].
    errors: Vec<AtomicU64>,
    notes: Mutex<Vec<Note>>,
    last_reply_ms: AtomicI64,
    write_lag_ms: AtomicI64,
    epoch: AtomicU64,
    spool_durable: AtomicBool,
    /// Memory runs short: what can be given up is.
    shedding: AtomicBool,
    /// There is none left to go on with.
    exhausted: AtomicBool,
}

impl Board {
    pub fn new(symbols: usize) -> Arc<Self> {
        Arc::new(Self {
            market: (0..symbols).map(|_| Cell::default()).collect(),
            position: (0..symbols).map(|_| Default::default()).collect(),
            account: Cell::default(),
            counts: Counts::default(),
            link: AtomicU8::new(0),
            link_since_ms: AtomicI64::new(0),
            away_since_ms: AtomicI64::new(0),
            errors: (0..=REDIS_ERRORS.len()).map(|_| AtomicU64::new(0)).collect(),
            notes: Mutex::new(Vec::new()),
            last_reply_ms: AtomicI64::new(0),
            write_lag_ms: AtomicI64::new(0),
            epoch: AtomicU64::new(0),
            spool_durable: AtomicBool::new(true),
            shedding: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
        })
    }

    pub fn symbols(&self) -> usize {
        self.market.len()
    }

    pub fn market(&self, symbol: SymbolId) -> &Cell {
        &self.market[symbol.index()]
    }

    pub fn position(&self, symbol: SymbolId, side: HoldSide) -> &Cell {
        &self.position[symbol.index()][side.index()]
    }

    pub fn link(&self) -> LinkState {
        LinkState::ALL.get(usize::from(self.link.load(Relaxed))).copied().unwrap_or(LinkState::Never)
    }

    pub fn link_since_ms(&self) -> i64 {
        self.link_since_ms.load(Relaxed)
    }

    pub(crate) fn set_link(&self, state: LinkState, now_ms: i64) {
        if self.link.swap(state as u8, Relaxed) != state as u8 {
            self.link_since_ms.store(now_ms, Relaxed);
        }
        if state == LinkState::Up {
            self.away_since_ms.store(0, Relaxed);
        } else {
            // Trying again and being refused again is one absence.
            let _ = self.away_since_ms.compare_exchange(0, now_ms, Relaxed, Relaxed);
        }
    }

    /// How long Redis has taken no writes; 0 while it takes them, and before the first attempt.
    pub fn away_ms(&self, now_ms: i64) -> i64 {
        match self.away_since_ms.load(Relaxed) {
            0 => 0,
            since => (now_ms - since).max(0),
        }
    }

    /// Counts an error under its label; one that is not declared is counted as other.
    pub(crate) fn failed(&self, label: &str) {
        let at = REDIS_ERRORS.iter().position(|known| *known == label).unwrap_or(REDIS_ERRORS.len());
        Counts::add(&self.counts.errors_total, 1);
        Counts::add(&self.errors[at], 1);
    }

    /// Totals of errors by label.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REDIS_ERRORS.iter().copied().chain([OTHER]).zip(&self.errors).map(|(label, n)| (label, n.load(Relaxed)))
    }

    pub(crate) fn note(&self, note: Note) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < NOTES_MAX && !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// What waits to be told, at most [`NOTES_MAX`] of it.
    pub fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When Redis last answered anything.
    pub fn last_reply_ms(&self) -> i64 {
        self.last_reply_ms.load(Relaxed)
    }

    pub(crate) fn replied(&self, now_ms: i64) {
        self.last_reply_ms.store(now_ms, Relaxed);
    }

    /// From the arrival of a market frame to Redis's confirmation, newest sample.
    pub fn write_lag_ms(&self) -> i64 {
        self.write_lag_ms.load(Relaxed)
    }

    pub(crate) fn lagged(&self, ms: i64) {
        self.write_lag_ms.store(ms, Relaxed);
    }

    /// This process's number among the writers of these keys; 0 before the first take-over.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Relaxed);
    }

    /// Memory runs short: latencies are no longer kept.
    pub fn is_shedding(&self) -> bool {
        self.shedding.load(Relaxed)
    }

    /// So little memory is left that the process has to end while it still can in order.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.load(Relaxed)
    }

    /// Booked by whoever watches the memory.
    pub fn set_memory(&self, shedding: bool, exhausted: bool) {
        self.shedding.store(shedding, Relaxed);
        self.exhausted.fetch_or(exhausted, Relaxed);
    }

    /// False: events wait in memory only, because the disk refuses them.
    pub fn spool_durable(&self) -> bool {
        self.spool_durable.load(Relaxed)
    }

    pub(crate) fn set_spool_durable(&self, durable: bool) {
        self.spool_durable.store(durable, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_never_reads_backwards() {
        let board = Board::new(2);
        let cell = board.market(SymbolId(1));
        cell.accepted(5, 100);
        cell.accepted(4, 90);
        cell.written(3, 110);
        assert_eq!(
            cell.read(),
            Reading { accepted_seq: 5, written_seq: 3, verified_ms: 100, written_ms: 110, found_ms: 0, stale: false }
        );
        assert_eq!(board.market(SymbolId(0)).read(), Reading::default());
    }

    #[test]
    fn an_absence_is_one_however_often_it_is_tried() {
        let board = Board::new(0);
        assert_eq!(board.away_ms(9), 0);
        for (state, now_ms, away_ms) in [
            (LinkState::Connecting, 100, 0),
            (LinkState::Down, 200, 100),
            (LinkState::Connecting, 2_300, 2_200),
            (LinkState::Refused, 2_400, 2_300),
            (LinkState::Up, 2_500, 0),
            (LinkState::Down, 3_000, 0),
        ] {
            board.set_link(state, now_ms);
            assert_eq!(board.away_ms(now_ms), away_ms, "{state:?}");
        }
    }

    #[test]
    fn errors_are_counted_by_label_and_notes_are_bounded() {
        let board = Board::new(0);
        board.failed("oom");
        board.failed("nobody declared this");
        let found: Vec<_> = board.errors().filter(|(_, n)| *n > 0).collect();
        assert_eq!(found, [("oom", 1), (OTHER, 1)]);
        for i in 0..100 {
            board.note(Note { code: "foreign_writer", key: i.to_string(), text: String::new() });
        }
        assert_eq!((board.take_notes().len(), board.take_notes().len()), (NOTES_MAX, 0));
    }

    #[test]
    fn every_link_state_reads_back() {
        let board = Board::new(0);
        for state in LinkState::ALL {
            board.set_link(state, 1);
            assert_eq!(board.link(), state);
        }
    }
}
