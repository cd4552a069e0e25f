//! The validator: refuses what cannot be true.

use super::breaker::BreakerMsg;
use super::reconciler::ReconcilerMsg;
use super::rejects::Rejects;
use super::saved::{self, SavedBatch};
use crate::domain::position_book::PositionBook;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::report::{Batch, Report};
use crate::domain::symbol::{SymbolId, Symbols};
use crate::domain::validate::{MarketGate, MarketRules, check_candle, check_private_time};
use crate::supervise::{Card, Cx, Factory, Fault, Message, Overflow, Port, Restart, Room};
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tracing::info;

/// What the validator accepts.
#[derive(Clone, Debug)]
pub enum ValidatorMsg {
    Reports(Batch),
    FeedReady {
        connection: u32,
        private: bool,
        at_ms: i64,
    },
    FeedLost {
        connection: u32,
        private: bool,
        reason: String,
        at_ms: i64,
    },
    /// Frames the feed could not read.
    Refused(Vec<Refused>),
    /// Exchange clock minus ours, as measured over REST.
    ClockOffset {
        offset_ms: i64,
    },
}

impl Message for ValidatorMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Reports(_) => "Reports",
            Self::FeedReady { .. } => "FeedReady",
            Self::FeedLost { .. } => "FeedLost",
            Self::Refused(_) => "Refused",
            Self::ClockOffset { .. } => "ClockOffset",
        }
    }

    fn split(&self) -> Vec<Self> {
        match self {
            Self::Reports(batch) => batch.singles().map(Self::Reports).collect(),
            _ => Vec::new(),
        }
    }

    fn digest(&self) -> String {
        match self {
            Self::Reports(batch) => batch.digest(),
            other => format!("{other:?}"),
        }
    }

    fn replayable(&self) -> Result<(), &'static str> {
        match self {
            Self::Reports(batch) if saved::states_something(batch) => Err(saved::REPLACED),
            Self::Reports(_) | Self::Refused(_) => Ok(()),
            Self::FeedReady { .. } | Self::FeedLost { .. } | Self::ClockOffset { .. } => Err(saved::PASSED),
        }
    }

    fn save(&self) -> Result<String, &'static str> {
        match self {
            Self::Reports(batch) => saved::save(&SavedBatch::of(batch)),
            _ => Err("only reports are kept whole"),
        }
    }

    fn load(saved: &str) -> Option<Self> {
        saved::load(saved).map(|kept: SavedBatch| Self::Reports(kept.batch()))
    }
}

pub fn card() -> Card {
    Card {
        name: "validator",
        purpose: "Refuses what cannot be true: symbol, range, age, order, price band, repeats, contradictions.",
        mailbox: 64,
        overflow: Overflow::Block,
        deadline: Duration::from_secs(2),
        restart: Restart::Permanent,
        attempts: 1,
        critical: true,
        accepts: &["Reports", "FeedReady", "FeedLost", "Refused", "ClockOffset"],
        emits: &[
            "Accepted -> circuit_breaker",
            "Positions -> circuit_breaker",
            "Suspicion -> reconciler",
            "ClockDoubted -> reconciler",
            "FeedState -> circuit_breaker",
            "ClockStep -> circuit_breaker",
        ],
        state_at_restart: "the clock's offset is kept; else empty: bands and ids start anew, positions are unknown until REST and socket speak again (asked for at once)",
    }
}

/// Where the validator's findings go.
#[derive(Clone)]
pub struct Outlets {
    pub breaker: Port<BreakerMsg>,
    pub reconciler: Port<ReconcilerMsg>,
}

/// Refusals for their time in a row, without one belief between, that put the clock in doubt: more than a few late
/// frames, and soon enough for the keys not to be stale for long.
const DOUBTS: u32 = 10;
/// A difference of the clocks that changed by more than this is a clock that was set; less is the network.
const CLOCK_STEP_MS: i64 = 1_000;

/// One symbol's gate, and the connections that it has heard of.
#[derive(Default)]
struct Seen {
    gate: MarketGate,
    /// What its market data came over last.
    connection: u32,
    /// What its latest trades were told over.
    history_of: u32,
}

/// One for each symbol.
struct Gates(Vec<Seen>);

impl Gates {
    /// The symbol's gate; data over a new connection begins after a gap.
    fn of(&mut self, symbol: SymbolId, connection: u32) -> &mut MarketGate {
        let seen = &mut self.0[symbol.index()];
        // They are numbered upwards: a lower number is a message that was replayed, or the rest of a connection that was
        // relieved, and says nothing about a gap.
        if seen.connection < connection {
            seen.connection = connection;
            seen.gate.on_gap();
        }
        &mut seen.gate
    }
}

pub struct Validator {
    rules: MarketRules,
    symbols: Arc<Symbols>,
    gates: Gates,
    book: PositionBook,
    offset_ms: i64,
    /// Refusals for their time since the last belief.
    out_of_time: u32,
    rejects: Rejects,
    metrics: Metrics,
    out: Outlets,
}

impl Validator {
    pub fn factory(
        rules: MarketRules,
        symbols: Arc<Symbols>,
        rejects: Rejects,
        metrics: Metrics,
        out: Outlets,
    ) -> Factory<Self> {
        Arc::new(move |birth, cx| {
            let kept = birth.checkpoint.and_then(|kept| kept.downcast::<i64>().ok()).map(|offset_ms| *offset_ms);
            if let Some(offset_ms) = kept {
                cx.checkpoint(Box::new(offset_ms));
            }
            let room = Self {
                rules: rules.clone(),
                gates: Gates(symbols.ids().map(|_| Seen::default()).collect()),
                book: PositionBook::new(symbols.clone(), birth.epoch << 40),
                symbols: symbols.clone(),
                // A guess of nothing would refuse everything where the clocks differ.
                offset_ms: kept.unwrap_or(0),
                out_of_time: 0,
                rejects: rejects.clone(),
                metrics: metrics.clone(),
                out: out.clone(),
            };
            if birth.cause.is_some() {
                // A fresh book knows nothing: ask for the truth instead of waiting for the next round.
                cx.send(&room.out.reconciler, ReconcilerMsg::Suspicion { symbol: None });
            }
            Ok(room)
        })
    }

    fn reports(&mut self, batch: &Batch, cx: &mut Cx<Self>) {
        let now_ms = batch.received_ms;
        // A batch that passes whole goes on as it is; the first report that does not begins a copy.
        let mut kept: Option<Vec<Report>> = None;
        let mut positions = Vec::new();
        let mut suspicions: Vec<SymbolId> = Vec::new();
        for (index, report) in batch.reports.iter().enumerate() {
            let verdict = match report {
                Report::Ticker(t) => {
                    self.gates.of(t.symbol, batch.connection).ticker(t, now_ms, self.offset_ms, &self.rules)
                }
                Report::Trade(t) => {
                    if t.history {
                        self.count_gap(t.symbol, batch, index);
                    }
                    self.gates.of(t.symbol, batch.connection).trade(t, now_ms, self.offset_ms, &self.rules)
                }
                Report::Candle(c) => check_candle(c, now_ms, self.offset_ms, &self.rules),
                Report::Positions(_) | Report::Account(_) | Report::Order(_) | Report::Fill(_)
                    if check_private_time(report.exchange_time_ms(), now_ms, self.offset_ms).is_err() =>
                {
                    Err(Refusal::Future)
                }
                Report::Positions(statement) => {
                    let outcome = self.book.apply(statement, batch.origin, now_ms);
                    positions.extend(outcome.accepted);
                    suspicions.extend(outcome.suspicions);
                    outcome.refused.into_iter().for_each(|r| self.rejects.note(r));
                    kept.get_or_insert_with(|| batch.reports[..index].to_vec());
                    continue;
                }
                Report::Account(_) | Report::Order(_) | Report::Fill(_) => Ok(()),
            };
            match (report, verdict) {
                (Report::Ticker(_) | Report::Trade(_), Ok(())) => self.out_of_time = 0,
                (Report::Ticker(_) | Report::Trade(_), Err(Refusal::Stale | Refusal::Future)) => {
                    self.out_of_time += 1;
                    if self.out_of_time.is_multiple_of(DOUBTS) {
                        cx.send(&self.out.reconciler, ReconcilerMsg::ClockDoubted);
                    }
                }
                // Words about the account are few, and each is missed.
                (_, Err(Refusal::Future)) => cx.send(&self.out.reconciler, ReconcilerMsg::ClockDoubted),
                _ => {}
            }
            if verdict.is_err() {
                kept.get_or_insert_with(|| batch.reports[..index].to_vec());
            }
            match verdict {
                Ok(()) => {
                    if let Some(kept) = &mut kept {
                        kept.push(report.clone());
                    }
                }
                // A resubscription repeats history: expected, so counted and not kept.
                Err(Refusal::Duplicate) => self.rejects.count(Refusal::Duplicate),
                Err(refusal) => self.rejects.note(
                    Refused::new(refusal, report.kind(), now_ms, &format!("{report:?}"))
                        .with_symbol(report.symbol())
                        .at(report.exchange_time_ms()),
                ),
            }
        }
        if !positions.is_empty() {
            cx.send(&self.out.breaker, BreakerMsg::Positions(positions));
        }
        let accepted = kept.map_or_else(|| batch.clone(), |kept| batch.with(kept));
        if !accepted.reports.is_empty() {
            self.count(&accepted.reports);
            cx.send(&self.out.breaker, BreakerMsg::Accepted(accepted));
        }
        if !suspicions.is_empty() {
            suspicions.sort_unstable();
            suspicions.dedup();
            let symbol = (suspicions.len() == 1).then(|| suspicions[0]);
            cx.send(&self.out.reconciler, ReconcilerMsg::Suspicion { symbol });
        }
    }
}

impl Validator {
    /// A new connection begins with a symbol's latest trades. When none of them is known, some before them were missed.
    fn count_gap(&mut self, symbol: SymbolId, batch: &Batch, first: usize) {
        let seen = &mut self.gates.0[symbol.index()];
        if std::mem::replace(&mut seen.history_of, batch.connection) == batch.connection || !seen.gate.has_traded() {
            return;
        }
        let known = |report: &Report| matches!(report, Report::Trade(t) if t.symbol == symbol && seen.gate.knows(t.id));
        if !batch.reports[first..].iter().any(known) {
            self.metrics.seq_gaps_total.inc();
            info!(symbol = self.symbols.name(symbol), "trades were missed between two connections");
        }
    }

    /// Runs of one kind are counted at once: a batch is mostly one kind.
    fn count(&self, accepted: &[Report]) {
        for run in accepted.chunk_by(|a, b| a.kind() == b.kind()) {
            self.metrics.accepted_total.of(run[0].kind()).inc_by(run.len() as u64);
        }
    }
}

impl Room for Validator {
    type Msg = ValidatorMsg;

    fn handle(&mut self, msg: &ValidatorMsg, cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            ValidatorMsg::Reports(batch) => self.reports(batch, cx),
            ValidatorMsg::Refused(refused) => refused.iter().cloned().for_each(|r| self.rejects.note(r)),
            ValidatorMsg::ClockOffset { offset_ms } => {
                let step_ms = offset_ms - self.offset_ms;
                if step_ms.abs() > CLOCK_STEP_MS {
                    info!(from_ms = self.offset_ms, to_ms = offset_ms, "clock offset to the exchange changed");
                    self.gates.0.iter_mut().for_each(|seen| seen.gate.on_clock_step(step_ms, &self.rules));
                    self.book.on_clock_step(step_ms);
                    cx.send(&self.out.breaker, BreakerMsg::ClockStep { by_ms: step_ms });
                    // What was refused for its time meanwhile is asked for again.
                    cx.send(&self.out.reconciler, ReconcilerMsg::Suspicion { symbol: None });
                }
                self.offset_ms = *offset_ms;
                cx.checkpoint(Box::new(*offset_ms));
            }
            ValidatorMsg::FeedReady { private, at_ms, .. } => {
                cx.send(&self.out.breaker, BreakerMsg::FeedState { private: *private, live: true, at_ms: *at_ms });
            }
            ValidatorMsg::FeedLost { private, at_ms, .. } => {
                if *private {
                    self.book.on_feed_lost();
                }
                cx.send(&self.out.breaker, BreakerMsg::FeedState { private: *private, live: false, at_ms: *at_ms });
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Validator")
            .field("symbols", &self.symbols.len())
            .field("offset_ms", &self.offset_ms)
            .finish_non_exhaustive()
    }
}
