//! The analyst: turns the flow of trades into bars, a regime and findings. Statistics only; it never touches what
//! the account holds.

use super::recorder::RecorderMsg;
use super::saved;
use super::writer::WriterMsg;
use crate::domain::market::{Candle, Trade};
use crate::domain::report::{Batch, Report};
use crate::domain::symbol::{SymbolId, Symbols};
use crate::domain::symbol_watch::{Findings, SymbolWatch};
use crate::domain::trap::TrapSettings;
use crate::exchange::skew::Skew;
use crate::supervise::{Card, Cx, Factory, Fault, Message, Overflow, Port, Restart, Room};
use std::sync::Arc;
use std::time::Duration;

/// What the analyst accepts.
#[derive(Clone, Debug)]
pub enum AnalystMsg {
    /// Accepted trades (history marked) and candles.
    Market(Batch),
    /// The public feed was away: windows begin anew.
    FeedGap {
        at_ms: i64,
    },
    Second,
}

impl Message for AnalystMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Market(_) => "Market",
            Self::FeedGap { .. } => "FeedGap",
            Self::Second => "Second",
        }
    }

    fn split(&self) -> Vec<Self> {
        match self {
            Self::Market(batch) => batch.singles().map(Self::Market).collect(),
            _ => Vec::new(),
        }
    }

    fn digest(&self) -> String {
        match self {
            Self::Market(batch) => batch.digest(),
            other => format!("{other:?}"),
        }
    }

    /// Windows move on: a trade of then, counted now, would tell of a move that never was.
    fn replayable(&self) -> Result<(), &'static str> {
        Err(saved::PASSED)
    }
}

pub fn card() -> Card {
    Card {
        name: "analyst",
        purpose: "Turns the flow of trades into bars, a regime and traps.",
        mailbox: 64,
        overflow: Overflow::Block,
        deadline: Duration::from_secs(2),
        restart: Restart::Permanent,
        attempts: 1,
        critical: true,
        accepts: &["Market", "FeedGap", "Second"],
        emits: &["TrapDetected -> trap_recorder", "Outlook -> trap_recorder", "Regime -> redis_writer"],
        state_at_restart: "empty: windows are filled from the candles of the next subscription, else nothing is told until they are warm",
    }
}

#[derive(Clone)]
pub struct Outlets {
    pub recorder: Port<RecorderMsg>,
    pub writer: Port<WriterMsg>,
}

/// Event time may lag behind the exchange's clock by this much before a second is closed without trades.
const LAG_MS: i64 = 2_000;

pub struct Analyst {
    settings: TrapSettings,
    symbols: Arc<Symbols>,
    skew: Skew,
    /// Made with a symbol's first trade: a symbol that only ticks costs nothing.
    watches: Vec<Option<Box<SymbolWatch>>>,
    found: Findings,
    /// Candles of the past, of one symbol, until the last of them was read.
    past: Vec<Candle>,
    out: Outlets,
}

/// Candles that a subscription begins with.
const PAST_MAX: usize = 1_000;

impl Analyst {
    pub fn factory(settings: TrapSettings, symbols: Arc<Symbols>, skew: Skew, out: Outlets) -> Factory<Self> {
        Arc::new(move |_birth, cx| {
            cx.every(Duration::from_secs(1), || AnalystMsg::Second);
            Ok(Self {
                settings: settings.clone(),
                symbols: symbols.clone(),
                skew: skew.clone(),
                watches: symbols.ids().map(|_| None).collect(),
                found: Findings::default(),
                past: Vec::new(),
                out: out.clone(),
            })
        })
    }

    fn watch(&mut self, symbol: SymbolId) -> &mut SymbolWatch {
        self.watches[symbol.index()]
            .get_or_insert_with(|| Box::new(SymbolWatch::new(symbol, self.symbols.name(symbol), self.settings.clone())))
    }

    fn trade(&mut self, trade: &Trade, cx: &mut Cx<Self>) {
        let mut found = std::mem::take(&mut self.found);
        self.watch(trade.symbol).on_trade(trade, &mut found);
        self.found = found;
        self.tell(trade.symbol, cx);
    }

    /// Tells the collected past to its symbol.
    fn end_past(&mut self, cx: &mut Cx<Self>) {
        let Some(first) = self.past.first() else { return };
        let (symbol, past) = (first.symbol, std::mem::take(&mut self.past));
        let mut found = std::mem::take(&mut self.found);
        self.watch(symbol).on_history(&past, &mut found);
        self.found = found;
        self.tell(symbol, cx);
    }

    /// Hands on what was found for one symbol.
    fn tell(&mut self, symbol: SymbolId, cx: &mut Cx<Self>) {
        for trap in self.found.traps.drain(..) {
            cx.send(&self.out.recorder, RecorderMsg::TrapDetected(Box::new(trap)));
        }
        if let Some(regime) = self.found.regime.take() {
            cx.send(&self.out.writer, WriterMsg::Regime { symbol, regime: regime.label() });
        }
    }
}

impl Room for Analyst {
    type Msg = AnalystMsg;

    fn handle(&mut self, msg: &AnalystMsg, cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            AnalystMsg::Market(batch) => {
                for report in batch.reports.iter() {
                    match report {
                        Report::Candle(candle) if candle.history => {
                            if self
                                .past
                                .first()
                                .is_some_and(|c| (c.symbol, c.interval) != (candle.symbol, candle.interval))
                                || self.past.len() == PAST_MAX
                            {
                                self.end_past(cx);
                            }
                            self.past.push(*candle);
                        }
                        Report::Trade(trade) => {
                            self.end_past(cx);
                            self.trade(trade, cx);
                        }
                        _ => {}
                    }
                }
                // A snapshot is one frame, and a frame is one batch.
                self.end_past(cx);
            }
            AnalystMsg::FeedGap { .. } => self.watches.iter_mut().flatten().for_each(|watch| watch.on_gap()),
            AnalystMsg::Second => {
                // Seconds are the exchange's: by our clock they would be closed before or long after their trades came.
                let now_ms = self.skew.exchange_ms(cx.now_ms()) - LAG_MS;
                let primary = self.symbols.primary();
                for symbol in self.symbols.ids() {
                    let Some(watch) = &mut self.watches[symbol.index()] else { continue };
                    watch.on_time(now_ms, &mut self.found);
                    if Some(symbol) == primary {
                        let outlook = RecorderMsg::Outlook { symbol, forming: watch.forming() };
                        cx.send(&self.out.recorder, outlook);
                    }
                    self.tell(symbol, cx);
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Analyst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analyst").field("watches", &self.watches.iter().flatten().count()).finish_non_exhaustive()
    }
}
