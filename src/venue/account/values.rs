//! What goes into an [`Account`](super::Account) and what comes out.

use crate::domain::account::{OrderSide, OrderStatus};
use crate::domain::position::{HoldMode, HoldSide, MarginMode};
use crate::domain::symbol::Product;
use rust_decimal::Decimal;

/// How an account begins.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountConfig {
    /// Margin coin, e.g. `USDT`.
    pub coin: String,
    /// The product all its contracts belong to; it decides the arithmetic, see `holding.rs`.
    pub product: Product,
    /// In the margin coin.
    pub balance: Decimal,
    pub leverage: Decimal,
    pub margin_mode: MarginMode,
    pub hold_mode: HoldMode,
    /// Fraction of the notional, e.g. 0.0006.
    pub taker_fee: Decimal,
    pub maker_fee: Decimal,
    /// Maintenance margin as a fraction of the notional.
    pub maintenance_rate: Decimal,
    /// Into how many fills [`Account::execute`](super::Account::execute) breaks an order (at least 1).
    pub fills_per_order: u32,
    /// How many fills, finished orders and closed positions are remembered for the REST pages.
    pub kept: usize,
    /// Where the ids begin.
    pub seed: u64,
}

impl Default for AccountConfig {
    fn default() -> Self {
        Self {
            coin: "USDT".to_owned(),
            product: Product::UsdtFutures,
            balance: Decimal::from(10_000),
            leverage: Decimal::from(20),
            margin_mode: MarginMode::Crossed,
            hold_mode: HoldMode::OneWay,
            taker_fee: Decimal::new(6, 4),
            maker_fee: Decimal::new(2, 4),
            maintenance_rate: Decimal::new(4, 3),
            fills_per_order: 1,
            kept: 500,
            seed: 1,
        }
    }
}

/// What an order or a fill means to do to the holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    Open,
    /// Reduce only: never more than there is.
    Close,
    /// One-way mode: reduce the opposite side first, then open with the rest.
    Net,
}

/// An order to trade now. `side` is always what is done in the market: a long is closed by `Sell`.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketOrder {
    pub symbol: String,
    pub side: OrderSide,
    pub effect: Effect,
    /// Hedge mode: the side it touches; `None` follows from `side` and `effect`. Must fit them where given.
    pub hold_side: Option<HoldSide>,
    /// Base coin.
    pub size: Decimal,
    /// Made up where `None`.
    pub client_order_id: Option<String>,
}

/// An order as it stood after one of its updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub order_id: u64,
    pub client_order_id: String,
    pub symbol: String,
    pub side: OrderSide,
    pub effect: Effect,
    /// The side of the holding it works on, `None` in one-way mode.
    pub hold_side: Option<HoldSide>,
    pub hold_mode: HoldMode,
    pub margin_mode: MarginMode,
    pub leverage: Decimal,
    /// `None` for market orders.
    pub limit_price: Option<Decimal>,
    /// The price it was accepted at; what its margin is reserved by.
    pub reference_price: Decimal,
    /// Base coin.
    pub size: Decimal,
    /// The part of `size` that margin was asked for.
    pub opening_size: Decimal,
    pub filled: Decimal,
    /// Sum of price × size of its fills.
    pub filled_value: Decimal,
    /// Positive = paid.
    pub fee: Decimal,
    /// Realised by its closing fills, without fees.
    pub profit: Decimal,
    pub status: OrderStatus,
    /// Placed by the exchange to take a holding over.
    pub liquidation: bool,
    pub last_fill: Option<Fill>,
    pub created_ms: i64,
    pub updated_ms: i64,
}

impl Order {
    pub fn remaining(&self) -> Decimal {
        self.size - self.filled
    }

    /// `None` before the first fill.
    pub fn average_price(&self) -> Option<Decimal> {
        (!self.filled.is_zero()).then(|| super::holding::price(self.filled_value / self.filled))
    }

    pub fn is_maker(&self) -> bool {
        self.limit_price.is_some()
    }
}

/// One execution. A flip yields two: the closing and the opening part.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    pub trade_id: u64,
    pub order_id: u64,
    pub client_order_id: String,
    pub symbol: String,
    pub side: OrderSide,
    /// The side of the holding it changed.
    pub hold_side: HoldSide,
    pub hold_mode: HoldMode,
    /// What it did: `Open` or `Close`, never `Net`.
    pub effect: Effect,
    pub price: Decimal,
    /// Base coin.
    pub size: Decimal,
    /// Positive = paid, in the margin coin.
    pub fee: Decimal,
    /// Realised, without the fee.
    pub profit: Decimal,
    pub maker: bool,
    pub liquidation: bool,
    pub time_ms: i64,
}

impl Fill {
    pub fn value(&self) -> Decimal {
        self.price * self.size
    }
}

/// One side of one symbol at one moment; `size` 0 = it just ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionRow {
    /// Reused for every holding of this symbol (one-way) or of this symbol and side (hedge), as on the exchange.
    pub position_id: u64,
    pub symbol: String,
    pub side: HoldSide,
    pub hold_mode: HoldMode,
    pub margin_mode: MarginMode,
    pub leverage: Decimal,
    pub size: Decimal,
    /// Waiting in close orders.
    pub frozen: Decimal,
    pub entry_price: Decimal,
    pub mark_price: Decimal,
    pub unrealised_pnl: Decimal,
    /// Initial margin: cost / leverage.
    pub margin: Decimal,
    /// Negative or zero = cannot be liquidated at any price.
    pub liquidation_price: Decimal,
    pub break_even_price: Decimal,
    pub maintenance_rate: Decimal,
    /// Maintenance margin at the mark price.
    pub maintenance_margin: Decimal,
    /// Realised since this holding was opened, without fees.
    pub realised: Decimal,
    /// Positive = paid.
    pub open_fee: Decimal,
    pub close_fee: Decimal,
    /// Positive = received; `None` until the first settlement.
    pub funding: Option<Decimal>,
    /// The first time this id was ever used; older than the holding.
    pub created_ms: i64,
    pub updated_ms: i64,
}

impl PositionRow {
    pub fn available(&self) -> Decimal {
        self.size - self.frozen
    }

    pub fn has_ended(&self) -> bool {
        self.size.is_zero()
    }
}

/// A holding that was closed to the last lot.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedPosition {
    /// Of this closed holding alone.
    pub history_id: u64,
    /// Reused, see [`PositionRow::position_id`].
    pub position_id: u64,
    pub symbol: String,
    pub side: HoldSide,
    pub hold_mode: HoldMode,
    pub margin_mode: MarginMode,
    pub open_price: Decimal,
    pub close_price: Decimal,
    pub open_size: Decimal,
    pub close_size: Decimal,
    /// Without fees and funding.
    pub realised: Decimal,
    /// Positive = received.
    pub funding: Decimal,
    /// Positive = paid.
    pub open_fee: Decimal,
    pub close_fee: Decimal,
    pub opened_ms: i64,
    pub closed_ms: i64,
}

impl ClosedPosition {
    /// Realised + funding - fees.
    pub fn net(&self) -> Decimal {
        self.realised + self.funding - self.open_fee - self.close_fee
    }
}

/// The account as a whole at one moment, in its margin coin.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountRow {
    pub coin: String,
    pub balance: Decimal,
    /// Balance + unrealised.
    pub equity: Decimal,
    pub unrealised_pnl: Decimal,
    /// Of isolated holdings alone.
    pub isolated_unrealised_pnl: Decimal,
    /// Initial margin of all holdings.
    pub margin: Decimal,
    /// Of isolated holdings alone.
    pub isolated_margin: Decimal,
    /// Reserved by waiting orders.
    pub frozen: Decimal,
    /// What can be used for new orders, never negative.
    pub available: Decimal,
    pub maintenance_margin: Decimal,
    /// Maintenance margin / equity; 0 without holdings.
    pub risk_rate: Decimal,
}

/// Everything that one call changed, in the order in which a client should be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Happened {
    /// Each update of the order: live, partially filled, filled.
    pub orders: Vec<Order>,
    pub fills: Vec<Fill>,
    /// One row for each holding that changed, as it is now; ended ones have size 0 and come first.
    pub positions: Vec<PositionRow>,
    /// Holdings closed to the last lot.
    pub history: Vec<ClosedPosition>,
    /// The balance side after it; `None` where nothing changed.
    pub account: Option<AccountRow>,
}

impl Happened {
    /// Takes what happened next, as if both were one.
    pub fn then(&mut self, next: Self) {
        self.orders.extend(next.orders);
        self.fills.extend(next.fills);
        // Several changes leave one row for each holding; an ended holding keeps its own.
        self.positions.retain(|old| {
            old.has_ended() || !next.positions.iter().any(|new| new.symbol == old.symbol && new.side == old.side)
        });
        self.positions.extend(next.positions);
        self.history.extend(next.history);
        self.account = next.account.or(self.account.take());
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why an account did not do as told. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefused {
    #[error("size {0} is not above 0 and at most 10^12 with 10 decimals: send another size")]
    Size(Decimal),
    #[error("price {0} is not above 0 and at most 10^12 with 10 decimals: send another price")]
    Price(Decimal),
    #[error("notional {0} is above 10^12: send a smaller order")]
    Notional(Decimal),
    #[error("needs {needed} {coin}, {available} is available: reduce the size")]
    Balance { needed: Decimal, available: Decimal, coin: String },
    #[error("no {side} position in {symbol} to close")]
    NothingToClose { symbol: String, side: &'static str },
    #[error("{0} does not fit the account's hold mode: one-way takes net or close, hedge takes open or close")]
    Mode(&'static str),
    #[error("side and hold side contradict each other: buy opens long or closes short")]
    Sides,
    #[error("client order id is taken by a waiting order: send another")]
    DuplicateClientId,
    #[error("no waiting order {0}")]
    UnknownOrder(u64),
    #[error("positions or orders are open: close them before switching modes")]
    NotFlat,
    #[error("{0} has no mark price yet: give a price")]
    NoPrice(String),
    #[error("the account holds {0} of what it can: close something first")]
    Full(usize),
}
