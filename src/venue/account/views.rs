//! What can be read off an account.

use super::Account;
use super::engine::closed_by;
use super::holding::{Holding, money, notional};
use super::values::{AccountConfig, AccountRow, ClosedPosition, Effect, Fill, Order, PositionRow};
use crate::domain::position::{HoldMode, HoldSide, MarginMode};
use crate::domain::symbol::Product;
use rust_decimal::{Decimal, RoundingStrategy};

/// Sums over all holdings, taken once for all rows of a snapshot.
pub(super) struct Totals {
    unrealised: Decimal,
    /// Of crossed holdings alone: what may cover others.
    crossed_unrealised: Decimal,
    margin: Decimal,
    isolated_margin: Decimal,
    maintenance: Decimal,
    crossed_maintenance: Decimal,
}

impl Account {
    pub fn config(&self) -> &AccountConfig {
        &self.config
    }

    pub fn coin(&self) -> &str {
        &self.config.coin
    }

    pub fn product(&self) -> Product {
        self.config.product
    }

    /// Margin and profit are in the base coin of its contracts.
    pub fn is_inverse(&self) -> bool {
        self.config.product == Product::CoinFutures
    }

    pub fn hold_mode(&self) -> HoldMode {
        self.config.hold_mode
    }

    pub fn margin_mode(&self) -> MarginMode {
        self.config.margin_mode
    }

    /// Wallet balance: start + realised - fees + funding.
    pub fn balance(&self) -> Decimal {
        self.balance
    }

    /// Sum of all realised profits, without fees.
    pub fn realised(&self) -> Decimal {
        self.realised
    }

    /// Sum of all fees; positive = paid.
    pub fn fees(&self) -> Decimal {
        self.fees
    }

    /// Sum of all funding; positive = received.
    pub fn funding_received(&self) -> Decimal {
        self.funding
    }

    pub fn is_flat(&self) -> bool {
        self.holdings.is_empty()
    }

    pub fn mark_price(&self, symbol: &str) -> Option<Decimal> {
        self.marks.get(symbol).copied()
    }

    /// All open positions, by symbol, long before short.
    pub fn positions(&self) -> Vec<PositionRow> {
        let totals = self.totals();
        self.holdings.iter().map(|((symbol, _), held)| self.row_of(symbol, held, &totals)).collect()
    }

    pub fn position(&self, symbol: &str, side: HoldSide) -> Option<PositionRow> {
        self.holdings.get(&(symbol.to_owned(), side)).map(|held| self.row(symbol, held))
    }

    /// Orders that wait, oldest first.
    pub fn waiting_orders(&self) -> impl DoubleEndedIterator<Item = &Order> {
        self.waiting.values()
    }

    /// Filled and cancelled orders, oldest first; the newest `kept` of them.
    pub fn finished_orders(&self) -> impl DoubleEndedIterator<Item = &Order> {
        self.finished.iter()
    }

    /// Oldest first; the newest `kept` of them.
    pub fn fills(&self) -> impl DoubleEndedIterator<Item = &Fill> {
        self.fills.iter()
    }

    /// Closed positions, oldest first; the newest `kept` of them.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &ClosedPosition> {
        self.history.iter()
    }

    /// The balance side at the present marks.
    pub fn account_row(&self) -> AccountRow {
        let totals = self.totals();
        let equity = self.balance + totals.unrealised;
        let frozen = self.reserved();
        let usable = self.balance + totals.crossed_unrealised - totals.margin - frozen;
        let risk_rate = if totals.maintenance.is_zero() || equity <= Decimal::ZERO {
            Decimal::ZERO
        } else {
            (totals.maintenance / equity).round_dp_with_strategy(8, RoundingStrategy::MidpointAwayFromZero).normalize()
        };
        AccountRow {
            coin: self.config.coin.clone(),
            balance: self.balance,
            equity,
            unrealised_pnl: totals.unrealised,
            isolated_unrealised_pnl: totals.unrealised - totals.crossed_unrealised,
            margin: totals.margin,
            isolated_margin: totals.isolated_margin,
            frozen,
            available: usable.max(Decimal::ZERO),
            maintenance_margin: totals.maintenance,
            risk_rate,
        }
    }

    pub(super) fn row(&self, symbol: &str, held: &Holding) -> PositionRow {
        self.row_of(symbol, held, &self.totals())
    }

    fn row_of(&self, symbol: &str, held: &Holding, totals: &Totals) -> PositionRow {
        let mark = self.mark_of(symbol, held);
        let (rate, fee) = (self.config.maintenance_rate, self.config.taker_fee);
        let maintenance_margin = money(held.value(mark) * rate);
        let cushion = self.cushion(held, mark, totals, true);
        let identity = self.identities.get(&self.identity_key(symbol, held.side)).copied();
        let (position_id, created_ms) = identity.unwrap_or((0, held.opened_ms));
        PositionRow {
            position_id,
            symbol: symbol.to_owned(),
            side: held.side,
            hold_mode: self.config.hold_mode,
            margin_mode: held.margin_mode,
            leverage: held.leverage,
            size: held.size,
            frozen: self.frozen(symbol, held),
            entry_price: held.entry_price(),
            mark_price: mark,
            unrealised_pnl: held.unrealised(mark),
            margin: held.margin(),
            liquidation_price: held.liquidation_price(cushion, rate, fee),
            break_even_price: held.break_even_price(fee),
            maintenance_rate: rate,
            maintenance_margin,
            realised: held.realised,
            open_fee: held.open_fee,
            close_fee: held.close_fee,
            funding: held.funding,
            created_ms,
            updated_ms: held.updated_ms,
        }
    }

    /// What a holding's loss may eat up: its own margin (isolated), or everything the rest of the account could put
    /// in (crossed): balance and other crossed profits, less (`kept`) what the other holdings must keep.
    pub(super) fn cushion(&self, held: &Holding, mark: Decimal, totals: &Totals, kept: bool) -> Decimal {
        match held.margin_mode {
            MarginMode::Isolated => held.margin(),
            MarginMode::Crossed => {
                let own = money(held.value(mark) * self.config.maintenance_rate);
                let others = if kept { totals.crossed_maintenance - own } else { Decimal::ZERO };
                self.balance + totals.crossed_unrealised - held.unrealised(mark) - totals.isolated_margin - others
            }
        }
    }

    pub(super) fn mark_of(&self, symbol: &str, held: &Holding) -> Decimal {
        self.mark_price(symbol).unwrap_or_else(|| held.entry_price())
    }

    fn frozen(&self, symbol: &str, held: &Holding) -> Decimal {
        let closing = |order: &&Order| {
            order.symbol == symbol
                && closed_by(order.side) == held.side
                && (order.hold_mode == HoldMode::OneWay || order.effect == Effect::Close)
        };
        self.waiting.values().filter(closing).map(Order::remaining).sum::<Decimal>().min(held.size)
    }

    /// Margin of waiting orders.
    fn reserved(&self) -> Decimal {
        let reserved = |o: &Order| {
            let value = notional(self.is_inverse(), o.remaining().min(o.opening_size), o.reference_price);
            money(value / o.leverage)
        };
        self.waiting.values().map(reserved).sum()
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals {
            unrealised: Decimal::ZERO,
            crossed_unrealised: Decimal::ZERO,
            margin: Decimal::ZERO,
            isolated_margin: Decimal::ZERO,
            maintenance: Decimal::ZERO,
            crossed_maintenance: Decimal::ZERO,
        };
        for ((symbol, _), held) in &self.holdings {
            let mark = self.mark_of(symbol, held);
            let unrealised = held.unrealised(mark);
            let maintenance = money(held.value(mark) * self.config.maintenance_rate);
            totals.unrealised += unrealised;
            totals.margin += held.margin();
            totals.maintenance += maintenance;
            match held.margin_mode {
                MarginMode::Isolated => totals.isolated_margin += held.margin(),
                MarginMode::Crossed => {
                    totals.crossed_unrealised += unrealised;
                    totals.crossed_maintenance += maintenance;
                }
            }
        }
        totals
    }
}
