//! A trading account of the built-in exchange, as pure arithmetic: it is told orders, prices and the time, and says
//! what happened. Nothing here does IO or reads a clock.
//!
//! * [`Account`] holds balance, holdings, orders and fills; [`Account::execute`] trades, [`Account::set_position`] is
//!   what the control door does, [`Account::mark`] and [`Account::funding`] are what the market does to it.
//! * [`Happened`] carries copies of everything a client must be told, as it was at that moment.
//! * [`script`] moves an account by a timetable; [`encode`] spells the account for both protocol generations.
//!
//! Money is exact: a holding keeps its cost, not its average price, and whatever is rounded (8 decimals) is rounded
//! once and booked on both sides. So `balance = start + realised - fees + funding` holds to the last digit.

pub mod encode;
mod engine;
mod holding;
mod ids;
mod intake;
pub mod liquidation;
mod market_moves;
pub mod record;
pub mod script;
mod script_text;
pub mod shipped;
mod tour;
pub mod trader;
mod values;
mod views;

#[cfg(test)]
mod tests;

pub use engine::Account;
pub use values::{
    AccountConfig, AccountRow, ClosedPosition, Effect, Fill, Happened, MarketOrder, Order, OrderRefused, PositionRow,
};

/// Words of the domain that this module's API speaks.
pub use crate::domain::account::{OrderSide, OrderStatus};
pub use crate::domain::position::{HoldMode, HoldSide, MarginMode};
pub use crate::domain::symbol::Product;
