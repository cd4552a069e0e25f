//! Folds accepted tickers and trades of one symbol into its [`MarketPicture`].

use super::market::{Ticker, Trade};
use super::picture::MarketPicture;
use super::symbol::SymbolId;
use rust_decimal::Decimal;
use std::time::Instant;

/// Seconds in the volume window.
const WINDOW_S: usize = 60;

/// Base coin traded in the last 60 s of exchange time, in one-second buckets.
#[derive(Clone, Debug)]
struct VolumeWindow {
    buckets: Box<[Decimal; WINDOW_S]>,
    total: Decimal,
    newest_s: i64,
}

impl VolumeWindow {
    fn advance(&mut self, second: i64) {
        if second <= self.newest_s {
            return;
        }
        if second - self.newest_s >= WINDOW_S as i64 {
            *self.buckets = [Decimal::ZERO; WINDOW_S];
            self.total = Decimal::ZERO;
        } else {
            for s in self.newest_s + 1..=second {
                let bucket = &mut self.buckets[s.rem_euclid(WINDOW_S as i64) as usize];
                self.total -= *bucket;
                *bucket = Decimal::ZERO;
            }
        }
        self.newest_s = second;
    }

    fn add(&mut self, second: i64, size: Decimal) {
        self.advance(second);
        if self.newest_s - second < WINDOW_S as i64 {
            self.buckets[second.rem_euclid(WINDOW_S as i64) as usize] += size;
            self.total += size;
        }
    }
}

/// The running fold of one symbol.
#[derive(Clone, Debug)]
pub struct MarketView {
    picture: MarketPicture,
    /// Made with the first trade, so that a symbol that only ticks costs nothing.
    volume: Option<VolumeWindow>,
}

impl MarketView {
    /// Begins with the first accepted ticker; sequence numbers count up from `seq_base`.
    pub fn from_ticker(t: &Ticker, received_ms: i64, received: Instant, seq_base: u64) -> Self {
        let mut view = Self::empty(t.symbol, t.last, received_ms, received, seq_base);
        view.on_ticker(t, received_ms, received);
        view
    }

    /// Begins with the first accepted trade.
    pub fn from_trade(t: &Trade, received_ms: i64, received: Instant, seq_base: u64) -> Self {
        let mut view = Self::empty(t.symbol, t.price, received_ms, received, seq_base);
        view.on_trade(t, received_ms, received);
        view
    }

    fn empty(symbol: SymbolId, price: Decimal, received_ms: i64, received: Instant, seq: u64) -> Self {
        Self {
            picture: MarketPicture {
                symbol,
                price,
                previous_price: None,
                last_size: None,
                bid: None,
                bid_size: None,
                ask: None,
                ask_size: None,
                mark: None,
                index: None,
                funding_rate: None,
                open_interest: None,
                volume_1m: Decimal::ZERO,
                exchange_time_ms: i64::MIN,
                received_ms,
                received,
                seq,
            },
            volume: None,
        }
    }

    pub const fn picture(&self) -> &MarketPicture {
        &self.picture
    }

    /// What a fill's price is measured against: the mark if the exchange gives one, else the last trade.
    pub fn reference_price(&self) -> Decimal {
        self.picture.mark.unwrap_or(self.picture.price)
    }

    pub fn on_ticker(&mut self, t: &Ticker, received_ms: i64, received: Instant) {
        self.accept(t.exchange_time_ms, t.last, received_ms, received);
        let p = &mut self.picture;
        (p.bid, p.bid_size, p.ask, p.ask_size) = (t.bid, t.bid_size, t.ask, t.ask_size);
        (p.mark, p.index) = (t.mark.or(p.mark), t.index.or(p.index));
        (p.funding_rate, p.open_interest) = (t.funding_rate.or(p.funding_rate), t.open_interest.or(p.open_interest));
        if let Some(volume) = &mut self.volume {
            volume.advance(t.exchange_time_ms.div_euclid(1_000));
            p.volume_1m = volume.total;
        }
    }

    pub fn on_trade(&mut self, t: &Trade, received_ms: i64, received: Instant) {
        let second = t.exchange_time_ms.div_euclid(1_000);
        let volume = self.volume.get_or_insert_with(|| VolumeWindow {
            buckets: Box::new([Decimal::ZERO; WINDOW_S]),
            total: Decimal::ZERO,
            newest_s: second,
        });
        volume.add(second, t.size);
        self.picture.volume_1m = volume.total;
        self.picture.last_size = Some(t.size);
        self.accept(t.exchange_time_ms, t.price, received_ms, received);
    }

    /// The exchange's clock was set: the newest reading moves with it, or no later one would be taken for newer.
    pub fn on_clock_step(&mut self, step_ms: i64) {
        const ERROR_MS: i64 = 1_000;
        let newest_ms = &mut self.picture.exchange_time_ms;
        if *newest_ms != i64::MIN {
            *newest_ms = newest_ms.saturating_add(step_ms).saturating_sub(ERROR_MS);
        }
    }

    /// A reading that lies before the newest one (within the reorder tolerance) adds to volume but moves no price.
    fn accept(&mut self, exchange_time_ms: i64, price: Decimal, received_ms: i64, received: Instant) {
        let p = &mut self.picture;
        p.seq += 1;
        (p.received_ms, p.received) = (received_ms, received);
        if exchange_time_ms >= p.exchange_time_ms {
            if price != p.price {
                p.previous_price = Some(p.price);
                p.price = price;
            }
            p.exchange_time_ms = exchange_time_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::market::TakerSide;
    use proptest::prelude::*;

    fn trade(at_ms: i64, price: i64, size: i64) -> Trade {
        Trade {
            symbol: SymbolId(0),
            exchange_time_ms: at_ms,
            price: Decimal::new(price, 0),
            size: Decimal::new(size, 0),
            side: TakerSide::Buy,
            id: 0,
            history: false,
        }
    }

    #[test]
    fn price_follows_time_and_previous_is_the_last_different_one() {
        let now = Instant::now();
        let mut view = MarketView::from_trade(&trade(1_000, 10, 1), 0, now, 0);
        assert_eq!((view.picture().price, view.picture().previous_price), (Decimal::new(10, 0), None));
        view.on_trade(&trade(2_000, 11, 1), 0, now);
        view.on_trade(&trade(3_000, 11, 1), 0, now);
        view.on_trade(&trade(2_500, 99, 1), 0, now);
        let p = view.picture();
        assert_eq!((p.price, p.previous_price, p.seq), (Decimal::new(11, 0), Some(Decimal::new(10, 0)), 4));
        assert_eq!(p.exchange_time_ms, 3_000);
        assert_eq!(p.volume_1m, Decimal::new(4, 0), "a late trade was traded all the same");
    }

    #[test]
    fn after_a_step_of_the_exchanges_clock_the_next_reading_is_newer_and_an_earlier_one_is_not() {
        const THEN_MS: i64 = 10_000_000;
        let now = Instant::now();
        for step_ms in [-600_000, 600_000] {
            let mut view = MarketView::from_trade(&trade(THEN_MS, 10, 1), 0, now, 0);
            view.on_clock_step(step_ms);
            view.on_trade(&trade(THEN_MS + step_ms - 2_000, 11, 1), 0, now);
            assert_eq!(view.picture().price, Decimal::new(10, 0), "of before, step {step_ms} ms");
            // The step was measured over a network: a little too large must not freeze the price.
            view.on_trade(&trade(THEN_MS + step_ms - 500, 12, 1), 0, now);
            assert_eq!(view.picture().price, Decimal::new(12, 0), "of now, step {step_ms} ms");
        }
    }

    proptest! {
        #[test]
        fn the_volume_window_equals_the_sum_over_its_seconds(
            rows in prop::collection::vec((0_i64..9_000, 1_i64..50), 1..200)
        ) {
            let mut view: Option<MarketView> = None;
            let (mut now, mut all) = (1_000_000_i64, Vec::new());
            for (gap, size) in rows {
                now += gap;
                let t = trade(now, 10, size);
                match &mut view {
                    None => view = Some(MarketView::from_trade(&t, 0, Instant::now(), 0)),
                    Some(v) => v.on_trade(&t, 0, Instant::now()),
                }
                all.push((now.div_euclid(1_000), size));
                let from = now.div_euclid(1_000) - 60;
                let expected: i64 = all.iter().filter(|(s, _)| *s > from).map(|(_, size)| size).sum();
                let got = view.as_ref().map(|v| v.picture().volume_1m);
                prop_assert_eq!(got, Some(Decimal::new(expected, 0)));
            }
        }
    }
}
