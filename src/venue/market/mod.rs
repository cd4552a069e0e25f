//! The market behind the exchange: prices come in as [`Event`]s in time order, what clients may see comes out as
//! [`Emit`]s. Told the time; knows no socket and no wire word.

pub mod candles;
pub mod path;
pub mod rekey;
pub mod seeded;
pub mod state;
pub mod tapes;
pub mod truth;

use crate::domain::market::TakerSide;
use candles::Span;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;
use state::{PublicTrade, SymbolState};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happened, at a time of the source (ms). Symbols are indices.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Print {
        ts_ms: i64,
        symbol: usize,
        price: Decimal,
        size: Decimal,
        side: TakerSide,
    },
    Quote {
        ts_ms: i64,
        symbol: usize,
        quote: Quote,
    },
    /// A trade from before the recording: history only. `at_ms` is when it happened.
    PastTrade {
        ts_ms: i64,
        at_ms: i64,
        symbol: usize,
        price: Decimal,
        size: Decimal,
        side: TakerSide,
    },
    /// A candle from before the first trade: history only.
    PastCandle {
        ts_ms: i64,
        symbol: usize,
        candle: candles::Bar,
    },
}

impl Event {
    /// Only history: nobody is sent it when it comes.
    pub const fn is_past(&self) -> bool {
        matches!(self, Self::PastTrade { .. } | Self::PastCandle { .. })
    }

    /// Moves it in time, what it tells of included.
    pub fn move_by(&mut self, shift_ms: i64) {
        match self {
            Self::Print { ts_ms, .. } | Self::Quote { ts_ms, .. } => *ts_ms += shift_ms,
            Self::PastTrade { ts_ms, at_ms, .. } => {
                *ts_ms += shift_ms;
                *at_ms += shift_ms;
            }
            Self::PastCandle { ts_ms, candle, .. } => {
                *ts_ms += shift_ms;
                candle.start_ms += shift_ms;
            }
        }
    }

    pub const fn ts_ms(&self) -> i64 {
        match self {
            Self::Print { ts_ms, .. }
            | Self::Quote { ts_ms, .. }
            | Self::PastTrade { ts_ms, .. }
            | Self::PastCandle { ts_ms, .. } => *ts_ms,
        }
    }
}

/// What a source may say of a symbol besides trades; what it does not say is derived.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quote {
    pub bid: Option<Decimal>,
    pub bid_size: Option<Decimal>,
    pub ask: Option<Decimal>,
    pub ask_size: Option<Decimal>,
    pub last: Option<Decimal>,
    pub mark: Option<Decimal>,
    pub index: Option<Decimal>,
    pub funding_rate: Option<Decimal>,
    pub open_interest: Option<Decimal>,
    /// Base coin, 24 hours.
    pub volume: Option<Decimal>,
}

/// Where events come from. `peek_ms` is the time of the next one, `None` at the end.
pub trait Source: Send {
    fn peek_ms(&mut self) -> Option<i64>;
    fn next(&mut self) -> Option<Event>;
}

/// What the clients that are subscribed shall see now.
#[derive(Clone, Debug, PartialEq)]
pub enum Emit {
    /// `count` trades of the symbol up to its `upto`th, all of one source millisecond; `envelope_ms` is the frame's time.
    Trades {
        symbol: usize,
        count: usize,
        upto: u64,
        envelope_ms: i64,
    },
    Ticker {
        symbol: usize,
        now_ms: i64,
    },
    /// The newest bar of this length; `closed` = the one before it, for the last time.
    Candle {
        symbol: usize,
        span: Span,
        closed: bool,
        now_ms: i64,
    },
}

/// Turns a source's time into the time that frames carry.
#[derive(Clone, Copy, Debug)]
pub struct TimeMap {
    /// Source time of the beginning.
    pub source_ms: i64,
    /// What frames carry at the beginning.
    pub shown_ms: i64,
    /// Source ms per shown ms; 1 where spans are kept, infinite where only [`Market::raise_floor`] moves time.
    pub scale: f64,
}

impl TimeMap {
    pub fn shown(&self, source_ms: i64) -> i64 {
        self.shown_ms + ((source_ms - self.source_ms) as f64 / self.scale) as i64
    }

    /// History lies as far back as it did, whatever the speed.
    pub const fn shown_past(&self, source_ms: i64) -> i64 {
        self.shown_ms + (source_ms - self.source_ms)
    }
}

/// Source ms between candle pushes while a symbol trades.
const CANDLE_EVERY_MS: i64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Ticker,
    Candles,
}

/// All symbols, folded up to now.
#[derive(Debug)]
pub struct Market {
    pub symbols: Vec<SymbolState>,
    time: TimeMap,
    /// At speed `max`, frames carry the time of sending: the floor under every stamp.
    floor_ms: i64,
    due: BinaryHeap<Reverse<(i64, Due, usize)>>,
    /// Symbols with trades of the current source millisecond that are not out yet, and how many.
    pending: Vec<(usize, usize)>,
    pending_ms: i64,
    rng: ChaCha8Rng,
    /// Source time up to which everything is out.
    advanced_ms: i64,
}

impl Market {
    pub fn new(symbols: Vec<SymbolState>, seed: u64) -> Self {
        Self {
            symbols,
            time: TimeMap { source_ms: 0, shown_ms: 0, scale: 1.0 },
            floor_ms: i64::MIN,
            due: BinaryHeap::new(),
            pending: Vec::new(),
            pending_ms: i64::MIN,
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x6d61_726b_6574),
            advanced_ms: i64::MIN,
        }
    }

    /// Starts (or restarts) the clocks: tickers and candles fall due from `time.source_ms` on.
    pub fn begin(&mut self, time: TimeMap) {
        self.time = time;
        self.advanced_ms = time.source_ms;
        self.due.clear();
        for symbol in 0..self.symbols.len() {
            let first = self.rng.random_range(0..100);
            self.due.push(Reverse((time.source_ms + first, Due::Ticker, symbol)));
            self.due.push(Reverse((time.source_ms + CANDLE_EVERY_MS, Due::Candles, symbol)));
        }
    }

    pub fn time(&self) -> TimeMap {
        self.time
    }

    /// No stamp is older than this from now on.
    pub fn raise_floor(&mut self, now_ms: i64) {
        self.floor_ms = self.floor_ms.max(now_ms);
    }

    fn shown(&self, source_ms: i64) -> i64 {
        self.time.shown(source_ms).max(self.floor_ms)
    }

    /// Source time at which something falls due next, events aside.
    pub fn next_due_ms(&self) -> Option<i64> {
        let pending = (!self.pending.is_empty()).then_some(self.pending_ms + 1);
        let due = self.due.peek().map(|Reverse((ms, ..))| *ms);
        pending.into_iter().chain(due).min()
    }

    /// Takes one event; the ones before it must have been taken.
    pub fn apply(&mut self, event: Event, out: &mut Vec<Emit>) {
        let ts_ms = event.ts_ms();
        if ts_ms > self.pending_ms {
            self.flush_pending(out);
        }
        match event {
            Event::Print { symbol, price, size, side, .. } => {
                let shown_ms = self.shown(ts_ms);
                let step = self.rng.random_range(1..5_000_u64) * 2;
                let state = &mut self.symbols[symbol];
                let closed = state.print(PublicTrade { ts_ms: shown_ms, price, size, side, id: 0 }, step);
                for span in closed {
                    out.push(Emit::Candle { symbol, span, closed: true, now_ms: shown_ms });
                }
                self.pending_ms = ts_ms;
                match self.pending.iter_mut().find(|(s, _)| *s == symbol) {
                    Some((_, count)) => *count += 1,
                    None => self.pending.push((symbol, 1)),
                }
                // A millisecond with very many trades goes out in pieces, as ring and frame are bounded.
                if self.pending.iter().any(|(_, count)| *count >= state::FRAME_TRADES_MAX) {
                    self.flush_pending(out);
                }
            }
            Event::Quote { symbol, quote, .. } => self.symbols[symbol].quote(&quote),
            Event::PastTrade { at_ms, symbol, price, size, side, .. } => {
                let ts_ms = self.time.shown_past(at_ms);
                self.symbols[symbol].past_trade(PublicTrade { ts_ms, price, size, side, id: 0 });
            }
            Event::PastCandle { symbol, candle, .. } => {
                let shown_ms = self.time.shown_past(candle.start_ms);
                self.symbols[symbol].past_candle(shown_ms, candle);
            }
        }
    }

    /// Everything that falls due up to `source_ms`, in order.
    pub fn advance(&mut self, source_ms: i64, out: &mut Vec<Emit>) {
        if source_ms > self.pending_ms {
            self.flush_pending(out);
        }
        while let Some(Reverse((due_ms, kind, symbol))) = self.due.peek().copied() {
            if due_ms > source_ms {
                break;
            }
            self.due.pop();
            let now_ms = self.shown(due_ms);
            // After a jump (a gap of a tape at full speed) what fell due many times is shown once.
            let base = if source_ms - due_ms > 10_000 { source_ms } else { due_ms };
            match kind {
                Due::Ticker => {
                    let gap = self.rng.random_range(48..=150);
                    let walk = self.rng.random_range(-1.0..1.0);
                    let funding_ms = self.next_funding_ms(due_ms, now_ms);
                    self.symbols[symbol].tick(funding_ms, walk);
                    if self.symbols[symbol].priced() {
                        out.push(Emit::Ticker { symbol, now_ms });
                    }
                    self.due.push(Reverse((base + gap, Due::Ticker, symbol)));
                }
                Due::Candles => {
                    for span in self.symbols[symbol].roll(now_ms) {
                        out.push(Emit::Candle { symbol, span, closed: false, now_ms });
                    }
                    self.due.push(Reverse((base + CANDLE_EVERY_MS, Due::Candles, symbol)));
                }
            }
        }
        self.advanced_ms = self.advanced_ms.max(source_ms);
    }

    /// When frames say that funding is settled next: the next boundary of market time, as frames will show it.
    fn next_funding_ms(&self, source_ms: i64, now_ms: i64) -> i64 {
        let after = |ms: i64| (ms.div_euclid(state::FUNDING_EVERY_MS) + 1) * state::FUNDING_EVERY_MS;
        if !self.time.scale.is_finite() {
            return after(now_ms);
        }
        // The clocks of market and frames differ by the milliseconds of the start.
        let unit_ms = if self.time.scale > 1.0 { 1_000 } else { 60_000 };
        (self.shown(after(source_ms)) + unit_ms / 2).div_euclid(unit_ms) * unit_ms
    }

    /// Source time up to which the market ran.
    pub const fn advanced_ms(&self) -> i64 {
        self.advanced_ms
    }

    /// What frames carry now.
    pub fn now_ms(&self) -> i64 {
        self.shown(self.advanced_ms)
    }

    fn flush_pending(&mut self, out: &mut Vec<Emit>) {
        for (symbol, count) in std::mem::take(&mut self.pending) {
            let state = &self.symbols[symbol];
            let newest_ms = state.recent.back().map_or(0, |t| t.ts_ms);
            let envelope_ms = newest_ms + self.rng.random_range(0..=3);
            out.push(Emit::Trades { symbol, count, upto: state.trades, envelope_ms });
        }
    }
}
