//! What the public side says is believed only if it can be true. Pure: told the time and the clock offset.

use super::market::{Candle, Ticker, Trade};
use super::refusal::Refusal;
use rust_decimal::Decimal;
use rustc_hash::FxHashSet;
use std::collections::VecDeque;

/// Rules for market data; ages and tolerances in ms, bands as fractions.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketRules {
    /// Oldest believable reading, clock skew corrected.
    pub max_age_ms: i64,
    /// How far ahead of us the exchange's stamp may be, clock skew corrected.
    pub future_tolerance_ms: i64,
    /// Furthest believable step from the last accepted price.
    pub price_band: Decimal,
    /// How many readings in a row, each within the band of the one before, confirm a step beyond the band.
    pub band_confirmations: u8,
    /// Furthest a ticker's last price may be from a trade that is not older than `two_source_ms`.
    pub two_source_band: Decimal,
    pub two_source_ms: i64,
    /// How far a trade may lie before the newest accepted one.
    pub reorder_tolerance_ms: i64,
}

impl Default for MarketRules {
    fn default() -> Self {
        Self {
            max_age_ms: 5_000,
            future_tolerance_ms: 1_000,
            price_band: Decimal::new(10, 2),
            band_confirmations: 3,
            two_source_band: Decimal::new(3, 2),
            two_source_ms: 1_000,
            reorder_tolerance_ms: 1_000,
        }
    }
}

/// Largest believable price or size; beyond it arithmetic could overflow.
const NUMBER_MAX: Decimal = Decimal::from_parts(0x6fc1_0000, 0x0023_86f2, 0, false, 0); // 10^16

/// Ids of trades remembered per symbol: a repeated history snapshot (~50 to 100 rows) fits several times.
const TRADE_IDS: usize = 256;

/// Judges freshness: `offset_ms` is exchange clock minus ours.
pub fn check_age(exchange_time_ms: i64, now_ms: i64, offset_ms: i64, rules: &MarketRules) -> Result<(), Refusal> {
    let age_ms = now_ms.saturating_add(offset_ms).saturating_sub(exchange_time_ms);
    if age_ms > rules.max_age_ms {
        Err(Refusal::Stale)
    } else if age_ms < -rules.future_tolerance_ms {
        Err(Refusal::Future)
    } else {
        Ok(())
    }
}

fn check_positive(value: Decimal) -> Result<(), Refusal> {
    if value <= Decimal::ZERO {
        Err(Refusal::NotPositive)
    } else if value > NUMBER_MAX {
        Err(Refusal::OutOfRange)
    } else {
        Ok(())
    }
}

fn within(value: Decimal, reference: Decimal, band: Decimal) -> bool {
    (value - reference).abs() <= reference * band
}

/// What is remembered of one symbol to judge the next reading. Bounded: a few numbers and the newest trade ids.
#[derive(Clone, Debug, Default)]
pub struct MarketGate {
    ticker_time_ms: i64,
    trade_time_ms: i64,
    trade_price: Option<Decimal>,
    price: Option<Decimal>,
    /// A step beyond the band that waits for confirmation: its newest price and how often it was seen.
    pending: Option<(Decimal, u8)>,
    ids: VecDeque<u64>,
    id_set: FxHashSet<u64>,
}

impl MarketGate {
    /// Judges a ticker and remembers it when believed.
    pub fn ticker(&mut self, t: &Ticker, now_ms: i64, offset_ms: i64, rules: &MarketRules) -> Result<(), Refusal> {
        check_positive(t.last)?;
        for side in [t.bid, t.ask, t.mark, t.index].into_iter().flatten() {
            check_positive(side)?;
        }
        for size in [t.bid_size, t.ask_size, t.open_interest, t.volume_24h].into_iter().flatten() {
            if size < Decimal::ZERO || size > NUMBER_MAX {
                return Err(Refusal::OutOfRange);
            }
        }
        if let (Some(bid), Some(ask)) = (t.bid, t.ask)
            && bid > ask
        {
            return Err(Refusal::Crossed);
        }
        check_age(t.exchange_time_ms, now_ms, offset_ms, rules)?;
        if t.exchange_time_ms < self.ticker_time_ms {
            return Err(Refusal::Regressed);
        }
        let trade_is_recent = (t.exchange_time_ms - self.trade_time_ms).abs() <= rules.two_source_ms;
        if let Some(trade) = self.trade_price.filter(|_| trade_is_recent)
            && !within(t.last, trade, rules.two_source_band)
        {
            return Err(Refusal::SourcesDisagree);
        }
        self.band(t.last, rules)?;
        self.ticker_time_ms = t.exchange_time_ms;
        Ok(())
    }

    /// Judges a trade and remembers it when believed. History is exempt from freshness and order, never from sense.
    pub fn trade(&mut self, t: &Trade, now_ms: i64, offset_ms: i64, rules: &MarketRules) -> Result<(), Refusal> {
        check_positive(t.price)?;
        check_positive(t.size)?;
        if self.id_set.contains(&t.id) {
            return Err(Refusal::Duplicate);
        }
        if t.history {
            if t.exchange_time_ms > now_ms + offset_ms + rules.future_tolerance_ms {
                return Err(Refusal::Future);
            }
            self.remember(t.id);
            return Ok(());
        }
        check_age(t.exchange_time_ms, now_ms, offset_ms, rules)?;
        if t.exchange_time_ms < self.trade_time_ms - rules.reorder_tolerance_ms {
            return Err(Refusal::Regressed);
        }
        self.band(t.price, rules)?;
        self.remember(t.id);
        if t.exchange_time_ms >= self.trade_time_ms {
            self.trade_time_ms = t.exchange_time_ms;
            self.trade_price = Some(t.price);
        }
        Ok(())
    }

    /// After a gap (reconnect) the next price may be anywhere: the band starts anew, times and ids stay.
    pub fn on_gap(&mut self) {
        self.price = None;
        self.trade_price = None;
        self.pending = None;
    }

    /// The exchange's clock was set: what is remembered moves with it, or everything would look old (or, after a step
    /// back, be refused until the clock has caught up). Neighbours within the measurement's error stay believable.
    pub fn on_clock_step(&mut self, step_ms: i64, rules: &MarketRules) {
        for time_ms in [&mut self.ticker_time_ms, &mut self.trade_time_ms].into_iter().filter(|t| **t != 0) {
            *time_ms = time_ms.saturating_add(step_ms).saturating_sub(rules.reorder_tolerance_ms);
        }
    }

    /// Whether this trade was taken before.
    pub fn knows(&self, id: u64) -> bool {
        self.id_set.contains(&id)
    }

    /// Whether any trade is remembered.
    pub fn has_traded(&self) -> bool {
        !self.ids.is_empty()
    }

    fn band(&mut self, price: Decimal, rules: &MarketRules) -> Result<(), Refusal> {
        let Some(reference) = self.price else {
            self.price = Some(price);
            return Ok(());
        };
        if !within(price, reference, rules.price_band) {
            let seen = match self.pending {
                Some((before, seen)) if within(price, before, rules.price_band) => seen.saturating_add(1),
                _ => 1,
            };
            if seen < rules.band_confirmations {
                self.pending = Some((price, seen));
                return Err(Refusal::PriceBand);
            }
        }
        self.pending = None;
        self.price = Some(price);
        Ok(())
    }

    fn remember(&mut self, id: u64) {
        if self.ids.len() == TRADE_IDS
            && let Some(oldest) = self.ids.pop_front()
        {
            self.id_set.remove(&oldest);
        }
        self.ids.push_back(id);
        self.id_set.insert(id);
    }
}

/// How far the account's own reports may lie ahead of the exchange's clock as we know it.
pub const PRIVATE_FUTURE_MS: i64 = 5_000;

/// Judges the time of a report about the account. A believed word from the future would outrank every true one until
/// its time has come; more generous than for the market, because a refused position is missed more than a price.
pub fn check_private_time(exchange_time_ms: i64, now_ms: i64, offset_ms: i64) -> Result<(), Refusal> {
    if exchange_time_ms > now_ms + offset_ms + PRIVATE_FUTURE_MS { Err(Refusal::Future) } else { Ok(()) }
}

/// Judges a candle by itself: positive, consistent, not from the future. Old candles are history, not stale data.
pub fn check_candle(c: &Candle, now_ms: i64, offset_ms: i64, rules: &MarketRules) -> Result<(), Refusal> {
    for price in [c.open, c.high, c.low, c.close] {
        check_positive(price)?;
    }
    if c.base_volume < Decimal::ZERO || c.base_volume > NUMBER_MAX {
        return Err(Refusal::OutOfRange);
    }
    let (body_low, body_high) = (c.open.min(c.close), c.open.max(c.close));
    if c.low > body_low || c.high < body_high {
        return Err(Refusal::Inconsistent);
    }
    if c.start_ms > now_ms + offset_ms + rules.future_tolerance_ms {
        return Err(Refusal::Future);
    }
    Ok(())
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
