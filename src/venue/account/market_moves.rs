//! What the market, the operator and the control door do to an account.

use super::Account;
use super::engine::order_side;
use super::holding::money;
use super::intake::{usable_price, usable_size};
use super::values::{Effect, Happened, MarketOrder, OrderRefused};
use crate::domain::position::{HoldMode, HoldSide, MarginMode};
use rust_decimal::Decimal;

impl Account {
    /// Symbols whose mark price is kept; more are ignored.
    pub const MAX_MARKS: usize = 4_096;

    /// Takes note of a mark price. A price that cannot be one (zero, negative, absurd) is ignored.
    pub fn mark(&mut self, symbol: &str, price: Decimal) {
        if usable_price(price).is_err() {
            return;
        }
        if let Some(mark) = self.marks.get_mut(symbol) {
            *mark = price;
        } else if self.marks.len() < Self::MAX_MARKS {
            self.marks.insert(symbol.to_owned(), price);
        }
    }

    /// Settles funding for a symbol: with a positive rate longs pay shorts `rate` × value at the mark price.
    pub fn funding(&mut self, symbol: &str, rate: Decimal, now_ms: i64) -> Happened {
        let mut happened = Happened::default();
        if rate.abs() > Decimal::ONE {
            return happened;
        }
        for side in HoldSide::BOTH {
            let mark = self.position(symbol, side).map(|row| row.mark_price);
            let Some((mark, held)) = mark.zip(self.holdings.get_mut(&(symbol.to_owned(), side))) else { continue };
            let received = money(-held.signed(held.value(mark) * rate));
            held.funding = Some(held.funding.unwrap_or_default() + received);
            held.updated_ms = now_ms;
            self.balance += received;
            self.funding += received;
            happened.positions.extend(self.position(symbol, side));
        }
        if happened.positions.is_empty() { happened } else { self.finished(happened) }
    }

    /// Makes a position be what it is told to be, through made-up fills, so that the books still balance; margin is
    /// not asked for. `size` 0 closes. In one-way mode the opposite side is closed first. Without `entry` the
    /// difference trades at the mark price; with an `entry` other than the present average the holding is closed at
    /// the mark and opened anew at `entry`.
    pub fn set_position(
        &mut self,
        symbol: &str,
        side: HoldSide,
        size: Decimal,
        entry: Option<Decimal>,
        now_ms: i64,
    ) -> Result<Happened, OrderRefused> {
        if !size.is_zero() {
            usable_size(size)?;
        }
        if let Some(entry) = entry {
            usable_price(entry)?;
        }
        let held = self.position(symbol, side);
        let opposite = match self.config.hold_mode {
            HoldMode::OneWay if !size.is_zero() => self.position(symbol, other(side)),
            HoldMode::OneWay | HoldMode::Hedge => None,
        };
        let present = held.as_ref().map_or(Decimal::ZERO, |row| row.size);
        let anew = held.as_ref().is_some_and(|row| entry.is_some_and(|entry| entry != row.entry_price));
        let known = self.mark_price(symbol).or(entry);
        let mark = known.ok_or_else(|| OrderRefused::NoPrice(symbol.to_owned()))?;

        // On a copy: several trades, and a refused one must leave nothing behind.
        let mut trial = self.clone();
        let mut happened = Happened::default();
        trial.cancel_waiting(symbol, now_ms, &mut happened);
        if let Some(row) = opposite {
            trial.step(symbol, row.side, Effect::Close, row.size, mark, now_ms, &mut happened)?;
        }
        let present = if anew || size.is_zero() {
            trial.step(symbol, side, Effect::Close, present, mark, now_ms, &mut happened)?;
            Decimal::ZERO
        } else {
            present
        };
        if size > present {
            let at = entry.unwrap_or(mark);
            trial.step(symbol, side, Effect::Open, size - present, at, now_ms, &mut happened)?;
        } else {
            trial.step(symbol, side, Effect::Close, present - size, mark, now_ms, &mut happened)?;
        }
        *self = trial;
        Ok(if happened.is_empty() { happened } else { self.finished(happened) })
    }

    /// Switches between one row and two rows per symbol.
    pub fn set_hold_mode(&mut self, mode: HoldMode) -> Result<(), OrderRefused> {
        self.require_idle()?;
        self.config.hold_mode = mode;
        Ok(())
    }

    pub fn set_margin_mode(&mut self, mode: MarginMode) -> Result<(), OrderRefused> {
        self.require_idle()?;
        self.config.margin_mode = mode;
        Ok(())
    }

    /// Leverage of holdings opened from now on, at least 1.
    pub fn set_leverage(&mut self, leverage: Decimal) -> Result<(), OrderRefused> {
        self.require_idle()?;
        if leverage < Decimal::ONE || usable_size(leverage).is_err() {
            return Err(OrderRefused::Size(leverage));
        }
        self.config.leverage = leverage;
        Ok(())
    }

    fn require_idle(&self) -> Result<(), OrderRefused> {
        if self.holdings.is_empty() && self.waiting.is_empty() { Ok(()) } else { Err(OrderRefused::NotFlat) }
    }

    pub(super) fn cancel_waiting(&mut self, symbol: &str, now_ms: i64, out: &mut Happened) {
        let ids: Vec<u64> = self.waiting.values().filter(|o| o.symbol == symbol).map(|o| o.order_id).collect();
        for id in ids {
            if let Ok(cancelled) = self.cancel(id, now_ms) {
                out.then(cancelled);
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // one trade has this many facts
    fn step(
        &mut self,
        symbol: &str,
        side: HoldSide,
        effect: Effect,
        size: Decimal,
        price: Decimal,
        now_ms: i64,
        out: &mut Happened,
    ) -> Result<(), OrderRefused> {
        if size.is_zero() {
            return Ok(());
        }
        let order = MarketOrder {
            symbol: symbol.to_owned(),
            side: order_side(side, effect),
            effect: match (self.config.hold_mode, effect) {
                (HoldMode::OneWay, Effect::Open) => Effect::Net,
                (_, effect) => effect,
            },
            hold_side: Some(side),
            size,
            client_order_id: None,
        };
        let step = self.trade(order, price, now_ms, false)?;
        out.then(step);
        Ok(())
    }
}

fn other(side: HoldSide) -> HoldSide {
    match side {
        HoldSide::Long => HoldSide::Short,
        HoldSide::Short => HoldSide::Long,
    }
}
