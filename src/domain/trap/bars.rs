//! One-second and one-minute bars from trades, in event time. Seconds feed the detectors, minutes are published.

use super::windows::Mark;
use crate::domain::market::{TakerSide, Trade};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// What traded within one second. Statistics are f64; what may be published stays exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecondBar {
    /// Seconds since 1970.
    pub sec: i64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
    /// Base coin.
    pub volume: f64,
    pub buy_volume: f64,
    pub trades: u32,
    pub high_exact: Decimal,
    pub low_exact: Decimal,
    pub close_exact: Decimal,
    /// Base coin traded since the engine began: before this second, and up to its end.
    pub traded_before: Decimal,
    pub traded_after: Decimal,
    /// At least one trade came from a subscription's history: nothing found here is news.
    pub history: bool,
}

impl SecondBar {
    pub fn open(sec: i64, traded_before: Decimal, trade: &PlainTrade) -> Self {
        let mut bar = Self {
            sec,
            high: trade.price,
            low: trade.price,
            close: trade.price,
            volume: 0.0,
            buy_volume: 0.0,
            trades: 0,
            high_exact: trade.price_exact,
            low_exact: trade.price_exact,
            close_exact: trade.price_exact,
            traded_before,
            traded_after: traded_before,
            history: false,
        };
        bar.add(trade);
        bar
    }

    pub fn add(&mut self, trade: &PlainTrade) {
        if trade.price > self.high {
            (self.high, self.high_exact) = (trade.price, trade.price_exact);
        }
        if trade.price < self.low {
            (self.low, self.low_exact) = (trade.price, trade.price_exact);
        }
        (self.close, self.close_exact) = (trade.price, trade.price_exact);
        self.volume += trade.size;
        if trade.side == TakerSide::Buy {
            self.buy_volume += trade.size;
        }
        self.trades = self.trades.saturating_add(1);
        // A sum beyond 28 digits starts again rather than panicking; only differences are ever used.
        self.traded_after = self.traded_after.checked_add(trade.size_exact).unwrap_or(trade.size_exact);
        self.history |= trade.history;
    }

    pub const fn end_ms(&self) -> i64 {
        (self.sec + 1) * 1_000
    }

    pub(super) const fn high_mark(&self) -> Mark {
        Mark { sec: self.sec, value: self.high, exact: self.high_exact, traded_before: self.traded_before }
    }

    pub(super) const fn low_mark(&self) -> Mark {
        Mark { sec: self.sec, value: self.low, exact: self.low_exact, traded_before: self.traded_before }
    }
}

/// A trade with its numbers converted once.
#[derive(Clone, Copy, Debug)]
pub struct PlainTrade {
    pub price: f64,
    pub size: f64,
    pub price_exact: Decimal,
    pub size_exact: Decimal,
    pub side: TakerSide,
    pub history: bool,
}

impl PlainTrade {
    /// `None` for what the validator refuses anyway: a price or size that is not positive.
    pub fn from_trade(trade: &Trade) -> Option<Self> {
        let (price, size) = (trade.price.to_f64()?, trade.size.to_f64()?);
        (price > 0.0 && size > 0.0).then_some(Self {
            price,
            size,
            price_exact: trade.price,
            size_exact: trade.size,
            side: trade.side,
            history: trade.history,
        })
    }
}

/// A closed minute, exact, as it is published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinuteBar {
    /// Exchange time of the minute's begin.
    pub start_ms: i64,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    /// Base coin.
    pub volume: Decimal,
    pub buy_volume: Decimal,
    pub sell_volume: Decimal,
    pub trades: u32,
    /// Some of it came from history or followed a gap: the volume may be short.
    pub partial: bool,
}

impl MinuteBar {
    const SPAN_MS: i64 = 60_000;

    fn flat(start_ms: i64, price: Decimal, partial: bool) -> Self {
        let zero = Decimal::ZERO;
        Self {
            start_ms,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: zero,
            buy_volume: zero,
            sell_volume: zero,
            trades: 0,
            partial,
        }
    }

    fn add(&mut self, trade: &Trade) {
        if self.trades == 0 {
            // A quiet minute is carried at the last close until its first trade.
            (self.open, self.high, self.low) = (trade.price, trade.price, trade.price);
        }
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        self.close = trade.price;
        self.volume = self.volume.saturating_add(trade.size);
        let side = match trade.side {
            TakerSide::Buy => &mut self.buy_volume,
            TakerSide::Sell => &mut self.sell_volume,
        };
        *side = side.saturating_add(trade.size);
        self.trades = self.trades.saturating_add(1);
        self.partial |= trade.history;
    }
}

/// Builds minute bars; quiet minutes become flat bars without volume, so that the series has no holes.
#[derive(Clone, Debug, Default)]
pub struct MinuteBars {
    open: Option<MinuteBar>,
    /// The first minute after a start or a gap is not whole.
    after_gap: bool,
    started: bool,
}

impl MinuteBars {
    /// The most quiet minutes that are filled at once; a longer silence leaves a hole and counts as a gap.
    pub const FILL_MAX: i64 = 60;

    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a valid trade (price and size positive); closed minutes are appended to `closed`, oldest first, at most
    /// [`Self::FILL_MAX`] + 1 of them. A trade older than the open minute is counted into it.
    pub fn on_trade(&mut self, trade: &Trade, closed: &mut Vec<MinuteBar>) {
        self.close_before(trade.exchange_time_ms, closed);
        if self.open.is_none() {
            let start_ms = trade.exchange_time_ms.div_euclid(MinuteBar::SPAN_MS) * MinuteBar::SPAN_MS;
            let partial = !self.started || self.after_gap;
            (self.started, self.after_gap) = (true, false);
            self.open = Some(MinuteBar::flat(start_ms, trade.price, partial));
        }
        if let Some(bar) = &mut self.open {
            bar.add(trade);
        }
    }

    /// Closes what ended by `now_ms` while nothing trades.
    pub fn on_time(&mut self, now_ms: i64, closed: &mut Vec<MinuteBar>) {
        self.close_before(now_ms, closed);
    }

    /// The feed was away: the open minute is closed as partial and nothing is filled across the hole.
    pub fn on_gap(&mut self, closed: &mut Vec<MinuteBar>) {
        if let Some(mut bar) = self.open.take() {
            bar.partial = true;
            closed.push(bar);
        }
        self.after_gap = true;
    }

    /// The minute that is still open.
    pub const fn current(&self) -> Option<&MinuteBar> {
        self.open.as_ref()
    }

    fn close_before(&mut self, now_ms: i64, closed: &mut Vec<MinuteBar>) {
        let Some(bar) = self.open else { return };
        let minutes = (now_ms - bar.start_ms).div_euclid(MinuteBar::SPAN_MS);
        if minutes < 1 {
            return;
        }
        closed.push(bar);
        if minutes - 1 > Self::FILL_MAX {
            self.open = None;
            self.after_gap = true;
            return;
        }
        let at = |n: i64| MinuteBar::flat(bar.start_ms + n * MinuteBar::SPAN_MS, bar.close, false);
        closed.extend((1..minutes).map(at));
        self.open = Some(at(minutes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::symbol::SymbolId;

    fn trade(ms: i64, price: i64, size: i64, side: TakerSide) -> Trade {
        Trade {
            symbol: SymbolId(0),
            exchange_time_ms: ms,
            price: price.into(),
            size: size.into(),
            side,
            id: ms as u64,
            history: false,
        }
    }

    fn feed(bars: &mut MinuteBars, trades: &[(i64, i64, i64, TakerSide)]) -> Vec<MinuteBar> {
        let mut closed = Vec::new();
        for (ms, price, size, side) in trades {
            bars.on_trade(&trade(*ms, *price, *size, *side), &mut closed);
        }
        closed
    }

    use TakerSide::{Buy, Sell};

    #[test]
    fn a_minute_holds_what_traded_in_it() {
        let mut bars = MinuteBars::new();
        let trades = [
            (59_999, 9, 1, Buy),
            (60_000, 10, 1, Buy),
            (70_000, 12, 2, Sell),
            (119_999, 11, 3, Buy),
            (120_000, 5, 1, Buy),
        ];
        let closed = feed(&mut bars, &trades);
        assert_eq!(closed.len(), 2);
        assert!(closed[0].partial, "the first minute is not whole");
        let bar = closed[1];
        let ohlc = [bar.open, bar.high, bar.low, bar.close].map(|d| d.to_string()).join(" ");
        assert_eq!((bar.start_ms, ohlc.as_str(), bar.trades, bar.partial), (60_000, "10 12 10 11", 3, false));
        assert_eq!([bar.volume, bar.buy_volume, bar.sell_volume], [6.into(), 4.into(), 2.into()]);
    }

    #[test]
    fn quiet_minutes_are_flat_and_a_long_silence_is_a_hole() {
        let mut bars = MinuteBars::new();
        let closed = feed(&mut bars, &[(0, 10, 1, Buy), (3 * 60_000, 12, 1, Buy)]);
        let starts: Vec<_> = closed.iter().map(|b| (b.start_ms / 60_000, b.trades, b.close.to_string())).collect();
        assert_eq!(starts, [(0, 1, "10".to_owned()), (1, 0, "10".to_owned()), (2, 0, "10".to_owned())]);
        assert_eq!(bars.current().map(|b| b.open), Some(12.into()), "a quiet minute opens with its first trade");
        for (name, minutes, filled) in [("at the bound", 61, 61), ("past it", 62, 1)] {
            let mut bars = MinuteBars::new();
            let closed = feed(&mut bars, &[(0, 10, 1, Buy), (minutes * 60_000, 12, 1, Buy)]);
            assert_eq!(closed.len(), filled, "case: {name}");
            assert_eq!(bars.current().map(|b| b.partial), Some(minutes == 62), "case: {name}");
        }
    }

    #[test]
    fn time_closes_a_minute_and_a_gap_marks_it_partial() {
        let (mut bars, mut closed) = (MinuteBars::new(), Vec::new());
        feed(&mut bars, &[(0, 10, 1, Buy)]);
        bars.on_time(59_999, &mut closed);
        assert!(closed.is_empty());
        bars.on_time(60_000, &mut closed);
        assert_eq!(closed.len(), 1);
        bars.on_gap(&mut closed);
        assert!(closed[1].partial && bars.current().is_none());
        closed.extend(feed(&mut bars, &[(300_000, 10, 1, Buy), (360_000, 10, 1, Buy)]));
        assert_eq!(closed.len(), 3, "nothing is filled across a gap");
        assert!(closed[2].partial);
    }

    #[test]
    fn a_late_trade_counts_into_the_open_minute() {
        let mut bars = MinuteBars::new();
        assert!(feed(&mut bars, &[(60_000, 10, 1, Buy), (59_000, 9, 1, Buy)]).is_empty());
        assert_eq!(bars.current().map(|b| b.trades), Some(2));
    }
}
