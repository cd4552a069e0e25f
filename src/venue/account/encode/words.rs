//! Wire words that both generations share.

use crate::domain::account::OrderSide;
use crate::domain::position::{HoldMode, HoldSide};
use crate::domain::symbol::Product;
use crate::venue::account::engine::{closed_by, opened_by};
use crate::venue::account::values::{Effect, Order};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Serialize, Serializer};
use std::fmt::Display;

/// Anything printed as a JSON string, as the exchange does with ids, times and numbers.
pub(super) struct Text<T>(pub T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A number as text; absent = empty text.
pub(super) struct Blank(pub Option<Decimal>);

impl Serialize for Blank {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(number) => serializer.collect_str(&number),
            None => serializer.serialize_str(""),
        }
    }
}

/// A leverage as a bare JSON number: only the classic socket does that.
pub(super) struct Bare(pub Decimal);

impl Serialize for Bare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match u64::try_from(self.0) {
            Ok(whole) if self.0.fract().is_zero() => serializer.serialize_u64(whole),
            _ => serializer.serialize_f64(self.0.try_into().unwrap_or_default()),
        }
    }
}

pub(super) fn num(number: Decimal) -> Text<Decimal> {
    Text(number.normalize())
}

pub(super) fn blank(number: Option<Decimal>) -> Blank {
    Blank(number.map(|n| n.normalize()))
}

/// `part / whole`, 0 where there is no whole.
pub(super) fn ratio(part: Decimal, whole: Decimal) -> Text<Decimal> {
    let ratio = part.checked_div(whole).unwrap_or_default();
    num(ratio.round_dp_with_strategy(12, RoundingStrategy::MidpointAwayFromZero))
}

/// `USDT-FUTURES`: v2 `instType`/`productType`, v3 REST `category`.
pub const fn product_type(product: Product) -> &'static str {
    match product {
        Product::UsdtFutures => "USDT-FUTURES",
        Product::UsdcFutures => "USDC-FUTURES",
        Product::CoinFutures => "COIN-FUTURES",
    }
}

/// `usdt-futures`: v3 public `instType`, `category` in v3 order rows.
pub const fn category(product: Product) -> &'static str {
    match product {
        Product::UsdtFutures => "usdt-futures",
        Product::UsdcFutures => "usdc-futures",
        Product::CoinFutures => "coin-futures",
    }
}

/// The product of a name in either spelling.
pub fn product_named(name: &str) -> Option<Product> {
    Product::ALL.into_iter().find(|product| product_type(*product).eq_ignore_ascii_case(name))
}

pub(super) const fn side(side: OrderSide) -> &'static str {
    match side {
        OrderSide::Buy => "buy",
        OrderSide::Sell => "sell",
    }
}

/// v2 in hedge mode names the position's direction, also where it is closed: a long is closed by `buy` + `close`.
pub(super) fn side_v2(order_side: OrderSide, hold_mode: HoldMode, touched: Option<HoldSide>) -> &'static str {
    match (hold_mode, touched) {
        (HoldMode::Hedge, Some(HoldSide::Long)) => "buy",
        (HoldMode::Hedge, Some(HoldSide::Short)) => "sell",
        _ => side(order_side),
    }
}

pub(super) const fn hold_mode(mode: HoldMode) -> &'static str {
    match mode {
        HoldMode::OneWay => "one_way_mode",
        HoldMode::Hedge => "hedge_mode",
    }
}

pub(super) const fn trade_side(mode: HoldMode, side: OrderSide, effect: Effect, liquidation: bool) -> &'static str {
    if liquidation {
        return match (mode, side) {
            (HoldMode::OneWay, OrderSide::Buy) => "burst_buy_single",
            (HoldMode::OneWay, OrderSide::Sell) => "burst_sell_single",
            (HoldMode::Hedge, OrderSide::Buy) => "burst_close_short",
            (HoldMode::Hedge, OrderSide::Sell) => "burst_close_long",
        };
    }
    match (mode, side, effect) {
        (HoldMode::OneWay, OrderSide::Buy, _) => "buy_single",
        (HoldMode::OneWay, OrderSide::Sell, _) => "sell_single",
        (HoldMode::Hedge, _, Effect::Close) => "close",
        (HoldMode::Hedge, _, Effect::Open | Effect::Net) => "open",
    }
}

/// The side an order works on; in one-way mode the side it would leave a position on.
pub(super) fn order_hold_side(order: &Order) -> HoldSide {
    order.hold_side.unwrap_or_else(|| match order.effect {
        Effect::Close => closed_by(order.side),
        Effect::Open | Effect::Net => opened_by(order.side),
    })
}

pub(super) const fn order_type(maker: bool) -> &'static str {
    if maker { "limit" } else { "market" }
}

pub(super) const fn trade_scope(maker: bool) -> &'static str {
    if maker { "maker" } else { "taker" }
}
