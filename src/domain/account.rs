//! The private side besides positions: balance, orders, fills.

use super::position::HoldSide;
use super::symbol::SymbolId;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Balance of one margin coin (classic account) or of the whole account (unified, `coin` = `USD`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountState {
    pub coin: String,
    pub exchange_time_ms: i64,
    pub equity: Option<Decimal>,
    pub available: Option<Decimal>,
    pub frozen: Option<Decimal>,
    pub unrealised_pnl: Option<Decimal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderSide {
    Buy,
    Sell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderStatus {
    Live,
    PartiallyFilled,
    Filled,
    Cancelled,
}

/// An order as last reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub symbol: SymbolId,
    pub exchange_time_ms: i64,
    pub order_id: String,
    pub client_order_id: Option<String>,
    pub side: OrderSide,
    pub status: OrderStatus,
    /// Limit price; `None` for market orders.
    pub price: Option<Decimal>,
    /// Base coin.
    pub size: Decimal,
    pub filled: Decimal,
    pub average_price: Option<Decimal>,
    pub update_time_ms: i64,
}

/// What a fill does to the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FillEffect {
    Open,
    Close,
    /// One-way mode: the exchange says only buy or sell.
    Net,
}

/// One execution of the account. Identity: `trade_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    pub symbol: SymbolId,
    pub exchange_time_ms: i64,
    pub trade_id: String,
    pub order_id: String,
    pub client_order_id: Option<String>,
    pub side: OrderSide,
    /// The side of the position it touches, where the exchange says so (hedge mode).
    pub hold_side: Option<HoldSide>,
    pub effect: FillEffect,
    pub price: Decimal,
    /// Base coin.
    pub size: Decimal,
    /// Positive = paid, in `fee_coin`.
    pub fee: Decimal,
    pub fee_coin: String,
    /// Realised profit of the closing part, without fees.
    pub profit: Decimal,
}
