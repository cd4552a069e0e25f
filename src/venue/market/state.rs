//! One symbol as the exchange shows it: ticker values, newest trades, candles.

use super::Quote;
use super::candles::{Bar, SERIES_MAX, Series, Span};
use crate::domain::market::TakerSide;
use crate::venue::instrument::{Instrument, as_f64};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;
use std::collections::{BTreeMap, VecDeque};

/// Trades kept for the history that a subscription begins with.
pub const RECENT_MAX: usize = 128;
/// Trades of one millisecond that go out in one frame.
pub const FRAME_TRADES_MAX: usize = 100;
/// Rows of a trade snapshot.
pub const SNAPSHOT_TRADES: usize = 50;
/// Bitget's ids have 19 digits.
const FIRST_TRADE_ID: u64 = 1_486_493_420_166_930_434;
/// Market time between settlements.
pub const FUNDING_EVERY_MS: i64 = 8 * 3_600_000;

/// A trade as the public sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublicTrade {
    pub ts_ms: i64,
    pub price: Decimal,
    pub size: Decimal,
    pub side: TakerSide,
    pub id: u64,
}

#[derive(Debug)]
pub struct SymbolState {
    pub instrument: Instrument,
    pub last: Decimal,
    pub bid: Decimal,
    pub bid_size: Decimal,
    pub ask: Decimal,
    pub ask_size: Decimal,
    pub mark: Decimal,
    pub index: Decimal,
    pub funding_rate: Decimal,
    pub next_funding_ms: i64,
    pub open_interest: Decimal,
    pub open_24h: Decimal,
    pub high_24h: Decimal,
    pub low_24h: Decimal,
    pub base_volume: Decimal,
    pub quote_volume: Decimal,
    /// Oldest first.
    pub recent: VecDeque<PublicTrade>,
    pub trades: u64,
    series: BTreeMap<Span, Series>,
    mark_ewma: f64,
    /// The source states the book's top; then trades do not move it.
    quoted: bool,
    mark_stated: bool,
    index_stated: bool,
    next_id: u64,
    /// Seed of the made-up history; `None`: only what happened is shown.
    history_seed: Option<u64>,
}

impl SymbolState {
    pub fn new(instrument: Instrument, number: usize, history_seed: Option<u64>) -> Self {
        Self {
            instrument,
            last: Decimal::ZERO,
            bid: Decimal::ZERO,
            bid_size: Decimal::ZERO,
            ask: Decimal::ZERO,
            ask_size: Decimal::ZERO,
            mark: Decimal::ZERO,
            index: Decimal::ZERO,
            funding_rate: Decimal::new(1, 4),
            next_funding_ms: 0,
            open_interest: Decimal::ZERO,
            open_24h: Decimal::ZERO,
            high_24h: Decimal::ZERO,
            low_24h: Decimal::ZERO,
            base_volume: Decimal::ZERO,
            quote_volume: Decimal::ZERO,
            recent: VecDeque::new(),
            trades: 0,
            series: BTreeMap::from([(Span::M1, Series::new(Span::M1))]),
            mark_ewma: 0.0,
            quoted: false,
            mark_stated: false,
            index_stated: false,
            next_id: FIRST_TRADE_ID + 7_000_000_000 * number as u64,
            history_seed,
        }
    }

    pub fn priced(&self) -> bool {
        !self.last.is_zero()
    }

    fn set_last(&mut self, price: Decimal) {
        if !self.priced() {
            self.open_24h = price;
            self.high_24h = price;
            self.low_24h = price;
            self.mark_ewma = as_f64(price);
            self.mark = price;
            self.index = price;
            if self.open_interest.is_zero() {
                self.open_interest = self.instrument.size(2e9 / as_f64(price).max(1e-9) / 10.0);
            }
        }
        self.last = price;
        self.high_24h = self.high_24h.max(price);
        self.low_24h = self.low_24h.min(price);
        if !self.quoted {
            let tick = self.instrument.tick().min(price / Decimal::TWO);
            self.bid = price - tick;
            self.ask = price + tick;
            let top = self.instrument.size(20_000.0 / as_f64(price).max(1e-9));
            self.bid_size = top;
            self.ask_size = top;
        }
    }

    /// Takes a trade, giving it an id `step` above the last; returns the lengths whose bar it closed unshown.
    pub fn print(&mut self, trade: PublicTrade, step: u64) -> Vec<Span> {
        self.next_id += step;
        // Stamps of one symbol never go back, however the source's clock jumps.
        let ts_ms = trade.ts_ms.max(self.recent.back().map_or(i64::MIN, |t| t.ts_ms));
        let trade = PublicTrade { id: self.next_id, ts_ms, ..trade };
        self.set_last(trade.price);
        self.base_volume += trade.size;
        self.quote_volume += trade.price * trade.size;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(trade);
        self.trades += 1;
        let mut closed = Vec::new();
        for series in self.series.values_mut() {
            if series.print(ts_ms, trade.price, trade.size) {
                closed.push(series.span);
            }
        }
        closed
    }

    pub fn quote(&mut self, quote: &Quote) {
        if let Some(last) = quote.last.or_else(|| (!self.priced()).then_some(quote.bid).flatten()) {
            self.set_last(last);
        }
        if let (Some(bid), Some(ask)) = (quote.bid, quote.ask) {
            self.quoted = true;
            self.bid = bid;
            self.ask = ask;
            self.bid_size = quote.bid_size.unwrap_or(self.bid_size);
            self.ask_size = quote.ask_size.unwrap_or(self.ask_size);
        }
        if let Some(mark) = quote.mark {
            self.mark = mark;
            self.mark_stated = true;
        }
        if let Some(index) = quote.index {
            self.index = index;
            self.index_stated = true;
        }
        self.funding_rate = quote.funding_rate.unwrap_or(self.funding_rate);
        self.open_interest = quote.open_interest.unwrap_or(self.open_interest);
        self.base_volume = quote.volume.unwrap_or(self.base_volume);
    }

    /// Between tickers: mark follows the last price, the index follows the mark, interest walks by `walk` (-1..1).
    pub fn tick(&mut self, next_funding_ms: i64, walk: f64) {
        self.next_funding_ms = next_funding_ms;
        if !self.priced() {
            return;
        }
        self.mark_ewma += (as_f64(self.last) - self.mark_ewma) * 0.15;
        if !self.mark_stated {
            self.mark = self.instrument.price(self.mark_ewma);
        }
        if !self.index_stated {
            self.index = self.instrument.price(self.mark_ewma * (1.0 + 1e-4 * walk));
        }
        self.open_interest = self.instrument.size(as_f64(self.open_interest) * (1.0 + 2e-5 * walk));
    }

    /// Opens new bars whose time has come; returns what has to be shown.
    pub fn roll(&mut self, now_ms: i64) -> Vec<Span> {
        if !self.priced() {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for series in self.series.values_mut() {
            series.roll(now_ms, self.last);
            if std::mem::take(&mut series.dirty) {
                changed.push(series.span);
            }
        }
        changed
    }

    /// A trade of history: goes into the list in front of what happened since.
    pub fn past_trade(&mut self, trade: PublicTrade) {
        if !self.priced() {
            self.set_last(trade.price);
        }
        // Only while nothing has happened yet: then ids rise with time.
        if self.trades == 0 && self.recent.len() < RECENT_MAX {
            self.next_id += 2;
            self.recent.push_back(PublicTrade { id: self.next_id, ..trade });
        }
    }

    /// A minute of history; one that is there already stands.
    pub fn past_candle(&mut self, start_ms: i64, candle: Bar) {
        if !self.priced() {
            self.set_last(candle.close);
        }
        self.high_24h = self.high_24h.max(candle.high);
        self.low_24h = self.low_24h.min(candle.low);
        let series = self.series.entry(Span::M1).or_insert_with(|| Series::new(Span::M1));
        let start_ms = Span::M1.start_of(start_ms);
        if let Err(place) = series.bars.binary_search_by_key(&start_ms, |bar| bar.start_ms) {
            series.bars.insert(place, Bar { start_ms, ..candle });
            if series.bars.len() > SERIES_MAX {
                series.bars.pop_front();
            }
        }
    }

    pub fn bar(&self, span: Span, closed: bool) -> Option<&Bar> {
        self.series.get(&span)?.newest(closed)
    }

    /// The series of this length, folded on from now on if nobody asked before. What did not happen, the made-up
    /// history of a seeded symbol, is drawn anew from its seed each time instead of being kept: 500 bars for 600
    /// symbols would be 30 MB.
    pub fn series(&mut self, span: Span, now_ms: i64) -> Series {
        let minutes = self.with_history(self.series.get(&Span::M1).cloned(), Span::M1, now_ms);
        if span == Span::M1 {
            return minutes;
        }
        let kept = self.series.entry(span).or_insert_with(|| Series::folded(span, &minutes.bars)).clone();
        self.with_history(Some(kept), span, now_ms)
    }

    fn with_history(&self, kept: Option<Series>, span: Span, now_ms: i64) -> Series {
        let mut series = kept.unwrap_or_else(|| Series::new(span));
        if let Some(seed) = self.history_seed {
            self.prepend(&mut series, seed ^ span.length.span_ms() as u64, now_ms);
        }
        series
    }

    /// Walks backwards from the oldest bar until the series is full.
    fn prepend(&self, series: &mut Series, seed: u64, now_ms: i64) {
        if !self.priced() {
            return;
        }
        if series.bars.is_empty() {
            series.push(Bar::flat(series.span.start_of(now_ms), self.last));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let minutes = series.span.length.span_ms() as f64 / 60_000.0;
        let sigma = 0.0006 * minutes.sqrt();
        while series.bars.len() < SERIES_MAX {
            let Some(first) = series.bars.front() else { break };
            let close = as_f64(first.open);
            let open = close * (1.0 + sigma * rng.random_range(-1.7..1.7)).max(0.5);
            let wick = |rng: &mut ChaCha8Rng| 1.0 + sigma * rng.random_range(0.0..0.8);
            let high = open.max(close) * wick(&mut rng);
            let low = open.min(close) / wick(&mut rng);
            let base = 3e5 * minutes * rng.random_range(0.3..2.0) / close;
            let instrument = &self.instrument;
            series.bars.push_front(Bar {
                start_ms: series.span.before(first.start_ms),
                open: instrument.price(open),
                high: instrument.price(high),
                low: instrument.price(low),
                close: first.open,
                base_volume: instrument.size(base),
                quote_volume: instrument.size(base) * instrument.price((open + close) / 2.0),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(history: Option<u64>) -> SymbolState {
        SymbolState::new(Instrument::named("BTCUSDT"), 0, history)
    }

    fn print(state: &mut SymbolState, ts_ms: i64, price: i64) {
        let trade = PublicTrade { ts_ms, price: price.into(), size: Decimal::ONE, side: TakerSide::Buy, id: 0 };
        state.print(trade, 2);
    }

    #[test]
    fn ids_have_nineteen_digits_and_rise() {
        let mut state = state(None);
        for price in 100..110 {
            print(&mut state, 1_000, price);
        }
        let ids: Vec<u64> = state.recent.iter().map(|t| t.id).collect();
        assert!(ids.windows(2).all(|w| w[0] < w[1]), "{ids:?}");
        assert!(ids.iter().all(|id| id.to_string().len() == 19), "{ids:?}");
    }

    #[test]
    fn stamps_never_go_back() {
        let mut state = state(None);
        print(&mut state, 2_000, 100);
        print(&mut state, 1_000, 101);
        assert_eq!(state.recent.back().map(|t| t.ts_ms), Some(2_000));
    }

    #[test]
    fn a_seeded_symbol_has_full_history_that_joins_up_and_a_tape_has_none_made_up() {
        for name in ["1m", "5m", "1H", "1D"] {
            let span = Span::v2(name).expect("span");
            let mut seeded = state(Some(3));
            print(&mut seeded, 1_795_404_675_000, 86_500);
            let bars = seeded.series(span, 1_795_404_675_000).bars.clone();
            assert_eq!(bars.len(), SERIES_MAX, "{name}");
            for (a, b) in bars.iter().zip(bars.iter().skip(1)) {
                assert!(a.start_ms < b.start_ms && a.close == b.open && a.low <= a.close && a.close <= a.high);
            }
            let mut tape = state(None);
            print(&mut tape, 1_795_404_675_000, 86_500);
            assert_eq!(tape.series(span, 1_795_404_675_000).bars.len(), 1, "{name}");
        }
    }

    #[test]
    fn the_ring_of_trades_is_bounded() {
        let mut state = state(None);
        for i in 0..2_000 {
            print(&mut state, i, 100);
        }
        assert_eq!(state.recent.len(), RECENT_MAX);
    }
}
