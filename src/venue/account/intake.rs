//! What an order must fulfil before it may wait or fill. Nothing is changed here but the next id.

use super::Account;
use super::engine::{closed_by, opened_by};
use super::holding::{money, notional};
use super::values::{Effect, MarketOrder, Order, OrderRefused};
use crate::domain::account::{OrderSide, OrderStatus};
use crate::domain::position::{HoldMode, HoldSide};
use rust_decimal::Decimal;

/// 10^12: keeps every product inside the 28 digits of a decimal.
pub(super) const LARGEST: Decimal = Decimal::from_parts(0xd4a5_1000, 0xe8, 0, false, 0);

fn usable(number: Decimal) -> bool {
    number > Decimal::ZERO && number <= LARGEST && number.normalize().scale() <= 10
}

pub(super) fn usable_price(price: Decimal) -> Result<(), OrderRefused> {
    if usable(price) { Ok(()) } else { Err(OrderRefused::Price(price)) }
}

pub(super) fn usable_size(size: Decimal) -> Result<(), OrderRefused> {
    if usable(size) { Ok(()) } else { Err(OrderRefused::Size(size)) }
}

impl Account {
    pub(super) fn accept(
        &mut self,
        order: MarketOrder,
        limit_price: Option<Decimal>,
        price: Decimal,
        now_ms: i64,
        checked: bool,
    ) -> Result<Order, OrderRefused> {
        let MarketOrder { symbol, side, effect, hold_side, size, client_order_id } = order;
        usable_price(price)?;
        usable_size(size)?;
        let size = size.normalize();
        if price * size > LARGEST {
            return Err(OrderRefused::Notional(price * size));
        }
        let hold_side = self.side_touched(side, effect, hold_side)?;
        if client_order_id.as_ref().is_some_and(|id| self.waiting.values().any(|o| o.client_order_id == *id)) {
            return Err(OrderRefused::DuplicateClientId);
        }
        let closable = match (self.config.hold_mode, effect) {
            (HoldMode::Hedge, Effect::Open | Effect::Net) => Decimal::ZERO,
            _ => self.closable(&symbol, closed_by(side)),
        };
        if effect == Effect::Close && closable.is_zero() {
            return Err(OrderRefused::NothingToClose { symbol, side: closed_by(side).label() });
        }
        let size = if effect == Effect::Close { size.min(closable) } else { size };
        let opening_size = (size - closable).max(Decimal::ZERO);
        self.room_for(&symbol, side, opening_size)?;
        if checked && !opening_size.is_zero() {
            let released = self.margin_of(&symbol, closed_by(side), size - opening_size);
            let fee_rate = if limit_price.is_some() { self.config.maker_fee } else { self.config.taker_fee };
            let value = |size| notional(self.is_inverse(), size, price);
            let needed = money(value(opening_size) / self.config.leverage + value(size) * fee_rate);
            let available = self.account_row().available + released;
            if needed > available {
                return Err(OrderRefused::Balance { needed, available, coin: self.config.coin.clone() });
            }
        }
        let order_id = self.ids.next();
        let client_order_id = client_order_id.unwrap_or_else(|| self.ids.next().to_string());
        Ok(Order {
            order_id,
            client_order_id,
            symbol,
            side,
            effect,
            hold_side,
            hold_mode: self.config.hold_mode,
            margin_mode: self.config.margin_mode,
            leverage: self.config.leverage,
            limit_price,
            reference_price: price,
            size,
            opening_size,
            filled: Decimal::ZERO,
            filled_value: Decimal::ZERO,
            fee: Decimal::ZERO,
            profit: Decimal::ZERO,
            status: OrderStatus::Live,
            liquidation: false,
            last_fill: None,
            created_ms: now_ms,
            updated_ms: now_ms,
        })
    }

    /// Which side of a hedge the order works on; `None` in one-way mode.
    fn side_touched(
        &self,
        side: OrderSide,
        effect: Effect,
        given: Option<HoldSide>,
    ) -> Result<Option<HoldSide>, OrderRefused> {
        let follows = match effect {
            Effect::Open | Effect::Net => opened_by(side),
            Effect::Close => closed_by(side),
        };
        match (self.config.hold_mode, effect) {
            (HoldMode::OneWay, Effect::Open) => Err(OrderRefused::Mode("open")),
            (HoldMode::Hedge, Effect::Net) => Err(OrderRefused::Mode("net")),
            (HoldMode::OneWay, _) => Ok(None),
            (HoldMode::Hedge, _) if given.is_some_and(|given| given != follows) => Err(OrderRefused::Sides),
            (HoldMode::Hedge, _) => Ok(Some(follows)),
        }
    }

    fn room_for(&self, symbol: &str, side: OrderSide, opening: Decimal) -> Result<(), OrderRefused> {
        if self.waiting.len() >= Self::MAX_WAITING {
            return Err(OrderRefused::Full(Self::MAX_WAITING));
        }
        if opening.is_zero() {
            return Ok(());
        }
        let key = self.identity_key(symbol, opened_by(side));
        if self.identities.len() >= Self::MAX_IDENTITIES && !self.identities.contains_key(&key) {
            return Err(OrderRefused::Full(Self::MAX_IDENTITIES));
        }
        let held = self.holdings.get(&(symbol.to_owned(), opened_by(side)));
        match held {
            Some(held) if held.size + opening > LARGEST => Err(OrderRefused::Size(held.size + opening)),
            Some(held) if held.cost > LARGEST => Err(OrderRefused::Notional(held.cost)),
            _ => Ok(()),
        }
    }

    pub(super) fn identity_key(&self, symbol: &str, side: HoldSide) -> (String, Option<HoldSide>) {
        (symbol.to_owned(), (self.config.hold_mode == HoldMode::Hedge).then_some(side))
    }

    /// What may still be closed: the size less what waits in close orders.
    fn closable(&self, symbol: &str, side: HoldSide) -> Decimal {
        self.position(symbol, side).map_or(Decimal::ZERO, |row| row.available())
    }

    fn margin_of(&self, symbol: &str, side: HoldSide, size: Decimal) -> Decimal {
        let held = self.holdings.get(&(symbol.to_owned(), side));
        held.map_or(Decimal::ZERO, |h| money(h.margin() * size / h.size))
    }
}
