//! The trap recorder: every trap becomes an event once, and what traps add up to becomes state.

use super::saved;
use super::writer::WriterMsg;
use crate::domain::event::Event;
use crate::domain::picture::TrapPicture;
use crate::domain::symbol::{SymbolId, Symbols};
use crate::domain::trap::TrapDetected;
use crate::domain::trap::summary::TrapSummary;
use crate::exchange::skew::Skew;
use crate::store::encode::summary;
use crate::supervise::{Card, Cx, Factory, Fault, Message, Overflow, Port, Restart, Room};
use crate::telemetry::metrics::Metrics;
use rustc_hash::FxHashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info};

/// What the recorder accepts.
#[derive(Clone, Debug)]
pub enum RecorderMsg {
    TrapDetected(Box<TrapDetected>),
    /// How far along an excursion is, once a second.
    Outlook {
        symbol: SymbolId,
        forming: f64,
    },
}

impl Message for RecorderMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::TrapDetected(_) => "TrapDetected",
            Self::Outlook { .. } => "Outlook",
        }
    }

    fn digest(&self) -> String {
        format!("{self:?}")
    }

    fn replayable(&self) -> Result<(), &'static str> {
        match self {
            Self::TrapDetected(_) => Ok(()),
            Self::Outlook { .. } => Err(saved::PASSED),
        }
    }

    fn save(&self) -> Result<String, &'static str> {
        match self {
            Self::TrapDetected(trap) => saved::save(trap),
            Self::Outlook { .. } => Err(saved::PASSED),
        }
    }

    fn load(saved: &str) -> Option<Self> {
        saved::load(saved).map(Self::TrapDetected)
    }
}

pub fn card() -> Card {
    Card {
        name: "trap_recorder",
        purpose: "Makes each trap an event, once, and publishes what traps add up to.",
        mailbox: 1_024,
        overflow: Overflow::Block,
        deadline: Duration::from_secs(2),
        restart: Restart::Permanent,
        attempts: 1,
        critical: true,
        accepts: &["TrapDetected", "Outlook"],
        emits: &["Event -> redis_writer", "Text -> redis_writer"],
        state_at_restart: "kept: summaries and ids pass as a checkpoint taken between messages",
    }
}

/// Trap ids remembered so that a trap found again after the analyst's restart stays one event.
const IDS: usize = 10_000;
/// Summaries are published at most this often between traps.
const PUBLISH_MS: i64 = 5_000;
/// Entries of `trap_probability_history`, and how often the list is written.
const HISTORY: usize = 1_000;
const HISTORY_MS: i64 = 30_000;
/// A trap counts as current for this long.
const CURRENT_MS: i64 = 900_000;

#[derive(Clone, Default)]
struct Memory {
    summaries: Vec<(TrapSummary, f64)>,
    ids: FxHashSet<String>,
    order: VecDeque<String>,
}

pub struct TrapRecorder {
    symbols: Arc<Symbols>,
    skew: Skew,
    memory: Memory,
    published_ms: i64,
    forming: f64,
    /// Newest first.
    history: VecDeque<String>,
    history_ms: i64,
    metrics: Metrics,
    writer: Port<WriterMsg>,
}

impl TrapRecorder {
    pub fn factory(symbols: Arc<Symbols>, skew: Skew, metrics: Metrics, writer: Port<WriterMsg>) -> Factory<Self> {
        Arc::new(move |birth, cx| {
            let kept = birth.checkpoint.and_then(|c| c.downcast::<Memory>().ok());
            let mut memory = Memory::default();
            if let Some(kept) = kept {
                memory = Memory::clone(&kept);
                // Left again at once: a death before the next trap is to lose nothing either.
                cx.checkpoint(Box::new(memory.clone()));
            }
            memory.summaries.resize_with(symbols.len(), Default::default);
            Ok(Self {
                symbols: symbols.clone(),
                skew: skew.clone(),
                memory,
                published_ms: i64::MIN / 2,
                forming: 0.0,
                history: VecDeque::new(),
                history_ms: i64::MIN / 2,
                metrics: metrics.clone(),
                writer: writer.clone(),
            })
        })
    }

    fn trap(&mut self, trap: &TrapDetected, cx: &mut Cx<Self>) {
        if !self.memory.ids.insert(trap.id.clone()) {
            return;
        }
        self.memory.order.push_back(trap.id.clone());
        if self.memory.order.len() > IDS
            && let Some(oldest) = self.memory.order.pop_front()
        {
            self.memory.ids.remove(&oldest);
        }
        self.metrics.traps_total.of(trap.kind.label()).inc();
        info!(
            id = %trap.id, symbol = self.symbols.name(trap.symbol), kind = trap.kind.label(), price = %trap.price,
            level = %trap.level, extreme = %trap.extreme, confidence = trap.confidence, "trap"
        );
        if let Some((summary, _)) = self.memory.summaries.get_mut(trap.symbol.index()) {
            summary.on_trap(trap);
        }
        cx.send(&self.writer, WriterMsg::Event(vec![Event::Trap(trap.clone())]));
        self.publish(trap.symbol, cx);
        cx.checkpoint(Box::new(self.memory.clone()));
    }

    fn publish(&mut self, symbol: SymbolId, cx: &mut Cx<Self>) {
        let now_ms = cx.now_ms();
        // Traps carry the exchange's time, so their age is told by its clock.
        let exchange_ms = self.skew.exchange_ms(now_ms);
        let forming = if Some(symbol) == self.symbols.primary() { self.forming } else { 0.0 };
        let Some((summary, last)) = self.memory.summaries.get_mut(symbol.index()) else { return };
        let probability = summary.probability(exchange_ms, forming);
        let probability_change = probability.value - *last;
        *last = probability.value;
        let picture = TrapPicture {
            symbol,
            analysis: summary.analysis(exchange_ms),
            probability,
            probability_change,
            newest: summary.recent().next().filter(|b| exchange_ms - b.detected_ms <= CURRENT_MS).cloned(),
            high_frequency: summary.high_frequency.is_active(exchange_ms),
            multiplier: summary.high_frequency.multiplier(exchange_ms),
            at_ms: now_ms,
            exchange_ms,
        };
        // The names without a symbol belong to the primary one; traps of all symbols reach their own event stream.
        if Some(symbol) != self.symbols.primary() {
            return;
        }
        self.published_ms = now_ms;
        if self.history.len() == HISTORY {
            self.history.pop_back();
        }
        self.history.push_front(summary::probability(&picture));
        let due = now_ms - self.history_ms >= HISTORY_MS;
        if due {
            self.history_ms = now_ms;
        }
        match summary::traps(&picture, due.then(|| self.history.iter().cloned().collect())) {
            Ok(keys) => keys.into_iter().for_each(|key| cx.send(&self.writer, WriterMsg::Text(key))),
            Err(error) => error!(%error, "trap summary not published"),
        }
    }
}

impl Room for TrapRecorder {
    type Msg = RecorderMsg;

    fn handle(&mut self, msg: &RecorderMsg, cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            RecorderMsg::TrapDetected(trap) => self.trap(trap, cx),
            RecorderMsg::Outlook { symbol, forming } => {
                self.forming = *forming;
                if cx.now_ms() - self.published_ms >= PUBLISH_MS {
                    self.publish(*symbol, cx);
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for TrapRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrapRecorder").field("ids", &self.memory.ids.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
