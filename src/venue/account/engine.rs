//! Orders and fills.

use super::holding::{Holding, money, notional};
use super::ids::Ids;
use super::intake::{LARGEST, usable_price, usable_size};
use super::values::{AccountConfig, ClosedPosition, Effect, Fill, Happened, MarketOrder, Order, OrderRefused};
use crate::domain::account::{OrderSide, OrderStatus};
use crate::domain::position::{HoldMode, HoldSide};
use rust_decimal::Decimal;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};

/// A trading account. See the module for what it promises.
#[derive(Clone, Debug)]
pub struct Account {
    pub(super) config: AccountConfig,
    pub(super) ids: Ids,
    pub(super) balance: Decimal,
    pub(super) realised: Decimal,
    pub(super) fees: Decimal,
    pub(super) funding: Decimal,
    pub(super) holdings: BTreeMap<(String, HoldSide), Holding>,
    /// Position id and the time it was first used, by symbol (one-way) or symbol and side (hedge).
    pub(super) identities: BTreeMap<(String, Option<HoldSide>), (u64, i64)>,
    pub(super) marks: FxHashMap<String, Decimal>,
    pub(super) waiting: BTreeMap<u64, Order>,
    pub(super) finished: VecDeque<Order>,
    pub(super) fills: VecDeque<Fill>,
    pub(super) history: VecDeque<ClosedPosition>,
}

pub(super) fn opened_by(side: OrderSide) -> HoldSide {
    match side {
        OrderSide::Buy => HoldSide::Long,
        OrderSide::Sell => HoldSide::Short,
    }
}

pub(super) fn closed_by(side: OrderSide) -> HoldSide {
    match side {
        OrderSide::Buy => HoldSide::Short,
        OrderSide::Sell => HoldSide::Long,
    }
}

/// The order side that opens (`Open`) or closes (`Close`) this side.
pub(super) fn order_side(side: HoldSide, effect: Effect) -> OrderSide {
    match (side, effect) {
        (HoldSide::Long, Effect::Close) | (HoldSide::Short, Effect::Open | Effect::Net) => OrderSide::Sell,
        (HoldSide::Short, Effect::Close) | (HoldSide::Long, Effect::Open | Effect::Net) => OrderSide::Buy,
    }
}

impl Account {
    /// Orders that may wait at once.
    pub const MAX_WAITING: usize = 1_000;
    /// Symbols (or symbol sides) that one account may ever have touched.
    pub const MAX_IDENTITIES: usize = 4_096;

    /// As it stands, without the lists of what is over: those may be long, and an order of a busy script must not copy
    /// them.
    pub fn without_past(&self) -> Self {
        Self {
            config: self.config.clone(),
            ids: self.ids.clone(),
            holdings: self.holdings.clone(),
            identities: self.identities.clone(),
            marks: self.marks.clone(),
            waiting: self.waiting.clone(),
            finished: VecDeque::new(),
            fills: VecDeque::new(),
            history: VecDeque::new(),
            ..*self
        }
    }

    /// A leverage below 1 counts as 1.
    pub fn new(config: AccountConfig) -> Self {
        let config = AccountConfig { leverage: config.leverage.max(Decimal::ONE), ..config };
        Self {
            ids: Ids::new(config.seed),
            balance: config.balance,
            realised: Decimal::ZERO,
            fees: Decimal::ZERO,
            funding: Decimal::ZERO,
            holdings: BTreeMap::new(),
            identities: BTreeMap::new(),
            marks: FxHashMap::default(),
            waiting: BTreeMap::new(),
            finished: VecDeque::new(),
            fills: VecDeque::new(),
            history: VecDeque::new(),
            config,
        }
    }

    /// Trades at once: [`Account::place`], then the fills, all at `price`.
    pub fn execute(&mut self, order: MarketOrder, price: Decimal, now_ms: i64) -> Result<Happened, OrderRefused> {
        self.trade(order, price, now_ms, true)
    }

    /// Accepts an order without filling it. A closing order freezes its size; the rows of `positions` show that with
    /// their old `updated_ms`, as the exchange does. `price` is what margin is asked for.
    pub fn place(&mut self, order: MarketOrder, price: Decimal, now_ms: i64) -> Result<Happened, OrderRefused> {
        let order = self.accept(order, None, price, now_ms, true)?;
        Ok(self.placed(order))
    }

    /// The same for a limit order; its fills pay the maker's fee.
    pub fn place_limit(&mut self, order: MarketOrder, limit: Decimal, now_ms: i64) -> Result<Happened, OrderRefused> {
        let order = self.accept(order, Some(limit), limit, now_ms, true)?;
        Ok(self.placed(order))
    }

    /// Fills a waiting order by at most `size`.
    pub fn fill(
        &mut self,
        order_id: u64,
        price: Decimal,
        size: Decimal,
        now_ms: i64,
    ) -> Result<Happened, OrderRefused> {
        usable_price(price)?;
        usable_size(size)?;
        if price * size > LARGEST {
            return Err(OrderRefused::Notional(price * size));
        }
        let order = self.waiting.remove(&order_id).ok_or(OrderRefused::UnknownOrder(order_id))?;
        let mut happened = Happened::default();
        self.fill_order(order, price, size, now_ms, &mut happened);
        Ok(self.finished(happened))
    }

    /// Takes a waiting order back.
    pub fn cancel(&mut self, order_id: u64, now_ms: i64) -> Result<Happened, OrderRefused> {
        let mut order = self.waiting.remove(&order_id).ok_or(OrderRefused::UnknownOrder(order_id))?;
        order.status = OrderStatus::Cancelled;
        order.updated_ms = now_ms;
        let positions = self.frozen_rows(&order);
        self.keep_finished(order.clone());
        Ok(Happened { orders: vec![order], positions, account: Some(self.account_row()), ..Happened::default() })
    }

    /// `checked` false: the control door, which does as it is told even without the margin for it.
    pub(super) fn trade(
        &mut self,
        order: MarketOrder,
        price: Decimal,
        now_ms: i64,
        checked: bool,
    ) -> Result<Happened, OrderRefused> {
        let order = self.accept(order, None, price, now_ms, checked)?;
        let mut happened = Happened { orders: vec![order.clone()], ..Happened::default() };
        let mut parts = self.config.fills_per_order.max(1);
        let part = (order.size / Decimal::from(parts)).trunc_with_scale(order.size.scale());
        let mut order = Some(order);
        while let Some(live) = order.take() {
            let last = part.is_zero() || parts <= 1;
            let size = if last { live.remaining() } else { part };
            parts = parts.saturating_sub(1);
            let order_id = live.order_id;
            self.fill_order(live, price, size, now_ms, &mut happened);
            order = self.waiting.remove(&order_id);
        }
        Ok(self.finished(happened))
    }

    /// Brings open rows up to date (a crossed liquidation price moves with everything that comes after) and adds the
    /// balance side.
    pub(super) fn finished(&self, mut happened: Happened) -> Happened {
        for row in happened.positions.iter_mut().filter(|row| !row.has_ended()) {
            if let Some(now) = self.position(&row.symbol, row.side) {
                *row = now;
            }
        }
        happened.account = Some(self.account_row());
        happened
    }

    fn placed(&mut self, order: Order) -> Happened {
        self.waiting.insert(order.order_id, order.clone());
        let positions = self.frozen_rows(&order);
        Happened { orders: vec![order], positions, account: Some(self.account_row()), ..Happened::default() }
    }

    /// The row that an order freezes a part of.
    fn frozen_rows(&self, order: &Order) -> Vec<super::PositionRow> {
        match (self.config.hold_mode, order.effect) {
            (HoldMode::Hedge, Effect::Open | Effect::Net) => Vec::new(),
            _ => self.position(&order.symbol, closed_by(order.side)).into_iter().collect(),
        }
    }

    /// Fills the order, writes its updates, and puts it back among the waiting if something remains.
    pub(super) fn fill_order(
        &mut self,
        mut order: Order,
        price: Decimal,
        size: Decimal,
        now_ms: i64,
        out: &mut Happened,
    ) {
        let mut left = size.min(order.remaining());
        let (closes, opens) = match (order.hold_mode, order.effect) {
            (HoldMode::Hedge, Effect::Open | Effect::Net) => (None, Some(opened_by(order.side))),
            (_, Effect::Close) => (Some(closed_by(order.side)), None),
            (HoldMode::OneWay, _) => (Some(closed_by(order.side)), Some(opened_by(order.side))),
        };
        if let Some(side) = closes {
            let held = self.holdings.get(&(order.symbol.clone(), side)).map_or(Decimal::ZERO, |h| h.size);
            let closing = left.min(held);
            if !closing.is_zero() {
                self.book(&mut order, side, Effect::Close, price, closing, now_ms, out);
                left -= closing;
            }
        }
        if let Some(side) = opens.filter(|_| !left.is_zero()) {
            self.book(&mut order, side, Effect::Open, price, left, now_ms, out);
            left = Decimal::ZERO;
        }
        if !left.is_zero() {
            // Reduce only, and somebody else closed the position meanwhile.
            order.status = OrderStatus::Cancelled;
            order.updated_ms = now_ms;
            out.orders.push(order.clone());
        }
        match order.status {
            OrderStatus::Live | OrderStatus::PartiallyFilled => {
                self.waiting.insert(order.order_id, order);
            }
            OrderStatus::Filled | OrderStatus::Cancelled => self.keep_finished(order),
        }
    }

    #[allow(clippy::too_many_arguments)] // one execution has this many facts
    fn book(
        &mut self,
        order: &mut Order,
        side: HoldSide,
        effect: Effect,
        price: Decimal,
        size: Decimal,
        now_ms: i64,
        out: &mut Happened,
    ) {
        let fee_rate = if order.is_maker() { self.config.maker_fee } else { self.config.taker_fee };
        let inverse = self.is_inverse();
        let fee = money(notional(inverse, size, price) * fee_rate);
        self.marks.entry(order.symbol.clone()).or_insert(price);
        let identity = self.identity_key(&order.symbol, side);
        let next_id = self.ids.next();
        self.identities.entry(identity).or_insert((next_id, now_ms));
        let (leverage, margin_mode) = (self.config.leverage, self.config.margin_mode);
        let key = (order.symbol.clone(), side);
        let holding = self
            .holdings
            .entry(key.clone())
            .or_insert_with(|| Holding::new(side, inverse, leverage, margin_mode, now_ms));
        let profit = match effect {
            Effect::Close => holding.close(price, size, fee, now_ms),
            Effect::Open | Effect::Net => {
                holding.open(price, size, fee, now_ms);
                Decimal::ZERO
            }
        };
        let after = holding.clone();
        if after.size.is_zero() {
            self.holdings.remove(&key);
        }
        self.balance += profit - fee;
        self.realised += profit;
        self.fees += fee;

        let fill = Fill {
            trade_id: self.ids.next(),
            order_id: order.order_id,
            client_order_id: order.client_order_id.clone(),
            symbol: order.symbol.clone(),
            side: order.side,
            hold_side: side,
            hold_mode: order.hold_mode,
            effect,
            price,
            size,
            fee,
            profit,
            maker: order.is_maker(),
            liquidation: order.liquidation,
            time_ms: now_ms,
        };
        order.filled += size;
        order.filled_value += price * size;
        order.fee += fee;
        order.profit += profit;
        order.updated_ms = now_ms;
        order.status = if order.remaining().is_zero() { OrderStatus::Filled } else { OrderStatus::PartiallyFilled };
        order.last_fill = Some(fill.clone());
        out.orders.push(order.clone());
        keep(&mut self.fills, fill.clone(), self.config.kept);
        out.fills.push(fill);

        let row = self.row(&order.symbol, &after);
        if row.has_ended() {
            let closed = self.closed(&row, &after, now_ms);
            keep(&mut self.history, closed.clone(), self.config.kept);
            out.history.push(closed);
        }
        // Several fills of one order leave one row for each holding; an ended holding keeps its own.
        out.positions.retain(|p| p.symbol != row.symbol || p.side != row.side || p.has_ended());
        out.positions.push(row);
    }

    fn closed(&mut self, row: &super::PositionRow, after: &Holding, now_ms: i64) -> ClosedPosition {
        ClosedPosition {
            history_id: self.ids.next(),
            position_id: row.position_id,
            symbol: row.symbol.clone(),
            side: row.side,
            hold_mode: row.hold_mode,
            margin_mode: row.margin_mode,
            open_price: super::holding::price(after.opened_value / after.opened_size),
            close_price: super::holding::price(after.closed_value / after.closed_size),
            open_size: after.opened_size,
            close_size: after.closed_size,
            realised: after.realised,
            funding: after.funding.unwrap_or_default(),
            open_fee: after.open_fee,
            close_fee: after.close_fee,
            opened_ms: after.opened_ms,
            closed_ms: now_ms,
        }
    }

    fn keep_finished(&mut self, order: Order) {
        keep(&mut self.finished, order, self.config.kept);
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T, limit: usize) {
    if list.len() >= limit.max(1) {
        list.pop_front();
    }
    list.push_back(item);
}
