//! The reconciler: asks REST for the truth, after each login, in regular rounds and on suspicion.
//!
//! A failed or odd answer is counted and told; it is never handed on, least of all as 'flat'.

mod fills;
mod rounds;

use self::fills::Bookmark;
use self::rounds::Rounds;
use super::validator::ValidatorMsg;
use super::watchdog::WatchdogMsg;
use crate::clock::Clock;
use crate::domain::symbol::SymbolId;
use crate::exchange::bitget::dialect::Dialect;
use crate::exchange::bitget::rest::Rest;
use crate::supervise::{Card, Cx, Factory, Fault, Message, Overflow, Port, Restart, Room};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// What the reconciler accepts.
#[derive(Clone, Debug)]
pub enum ReconcilerMsg {
    /// Positions are in doubt (`None`: all of them): ask now.
    Suspicion { symbol: Option<SymbolId> },
    /// The private feed logged in: what happened in between is unknown.
    FeedReady { at_ms: i64 },
    /// What the market says is from the past or the future again and again: compare the clocks now.
    ClockDoubted,
}

impl Message for ReconcilerMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Suspicion { .. } => "Suspicion",
            Self::ClockDoubted => "ClockDoubted",
            Self::FeedReady { .. } => "FeedReady",
        }
    }

    fn conflate_key(&self) -> Option<u64> {
        // All positions are read in any case, so one doubt waiting is as good as many.
        Some(match self {
            Self::Suspicion { .. } => 0,
            Self::FeedReady { .. } => 1,
            Self::ClockDoubted => 2,
        })
    }

    fn digest(&self) -> String {
        format!("{self:?}")
    }

    fn save(&self) -> Result<String, &'static str> {
        Err("it is done anyway when the program starts")
    }
}

pub fn card() -> Card {
    Card {
        name: "reconciler",
        purpose: "Asks REST for positions, balance, fills, contracts and the clock; a failed answer is never 'flat'.",
        mailbox: 64,
        overflow: Overflow::Conflate,
        deadline: Duration::from_secs(2),
        restart: Restart::Permanent,
        attempts: 2,
        critical: false,
        accepts: &["Suspicion", "FeedReady", "ClockDoubted"],
        emits: &[
            "Reports -> validator",
            "Refused -> validator",
            "ClockOffset -> validator",
            "Problem -> health_watchdog",
        ],
        state_at_restart: "empty, but for which fills are still to be read: a full round begins at once, and reading goes on there (at a start: those of the last day), told apart by id",
    }
}

/// When the reconciler asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcilerSettings {
    /// Between two full rounds: positions, balance, fills.
    pub every: Duration,
    /// Shortest pause between two reads of positions out of suspicion. A second witness is wanted soon, a storm of
    /// doubts is not: the exchange allows five such calls a second.
    pub suspicion_gap: Duration,
    /// Between two comparisons of the clocks.
    pub clock_every: Duration,
    /// Between two looks at the list of contracts.
    pub contracts_every: Duration,
    /// How far back fills are read at the program's start.
    pub fills_back: Duration,
    /// Between two stretches of pages of fills.
    pub fills_pause: Duration,
    /// Pause after the exchange refused the key.
    pub refused_pause: Duration,
}

impl Default for ReconcilerSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            suspicion_gap: Duration::from_millis(250),
            clock_every: Duration::from_secs(60),
            contracts_every: Duration::from_secs(600),
            fills_back: Duration::from_secs(24 * 3_600),
            fills_pause: Duration::from_secs(1),
            refused_pause: Duration::from_secs(60),
        }
    }
}

/// Shared by clone, written by the reconciler, read by whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct ReconcilerCounters {
    shared: Arc<(AtomicU64, AtomicU64, AtomicU64)>,
}

impl ReconcilerCounters {
    /// Reads of positions that were answered.
    pub fn answered_total(&self) -> u64 {
        self.shared.0.load(Ordering::Relaxed)
    }

    /// Calls without a usable answer, all tries counted as one.
    pub fn failed_total(&self) -> u64 {
        self.shared.1.load(Ordering::Relaxed)
    }

    /// Reads of positions out of suspicion.
    pub fn suspicions_total(&self) -> u64 {
        self.shared.2.load(Ordering::Relaxed)
    }
}

/// Where the reconciler's findings go.
#[derive(Clone)]
pub struct Outlets {
    pub validator: Port<ValidatorMsg>,
    pub watchdog: Port<WatchdogMsg>,
}

/// What the handler leaves for the task.
#[derive(Default)]
struct Wanted {
    positions: Cell<bool>,
    everything: Cell<bool>,
    clock: Cell<bool>,
    poke: Notify,
}

pub struct Reconciler {
    wanted: Rc<Wanted>,
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler").field("positions_wanted", &self.wanted.positions.get()).finish_non_exhaustive()
    }
}

impl Reconciler {
    pub fn factory(
        rest: Rest,
        dialect: Dialect,
        settings: ReconcilerSettings,
        clock: Clock,
        counters: ReconcilerCounters,
        out: Outlets,
    ) -> Factory<Self> {
        let bookmark = Bookmark::default();
        Arc::new(move |_birth, cx| {
            let wanted = Rc::<Wanted>::default();
            let fills_back_ms = i64::try_from(settings.fills_back.as_millis()).unwrap_or_default();
            let rounds = Rounds::new(
                rest.clone(),
                dialect.clone(),
                settings.clone(),
                clock.clone(),
                counters.clone(),
                out.clone(),
                cx.progress(),
                wanted.clone(),
            );
            let rounds = rounds.reading_fills_since(cx.now_ms() - fills_back_ms, bookmark.clone());
            cx.task("rounds", rounds.run());
            Ok(Self { wanted })
        })
    }
}

impl Room for Reconciler {
    type Msg = ReconcilerMsg;

    fn handle(&mut self, msg: &ReconcilerMsg, _cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            ReconcilerMsg::Suspicion { .. } => self.wanted.positions.set(true),
            ReconcilerMsg::FeedReady { .. } => self.wanted.everything.set(true),
            ReconcilerMsg::ClockDoubted => self.wanted.clock.set(true),
        }
        self.wanted.poke.notify_one();
        Ok(())
    }
}
