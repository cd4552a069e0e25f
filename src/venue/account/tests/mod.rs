mod coin;
mod golden;
mod identities;
mod liquidation;
mod scenarios;
mod scripted;
mod scripts;
mod sequence;
mod trader;

use super::*;
use rust_decimal::Decimal;
use std::str::FromStr;

pub(super) const NOW: i64 = 1_790_000_000_000;

pub(super) fn dec(text: &str) -> Decimal {
    Decimal::from_str(text).unwrap_or_else(|_| panic!("not a decimal: {text}"))
}

pub(super) fn account(hold_mode: HoldMode) -> Account {
    Account::new(AccountConfig { hold_mode, ..AccountConfig::default() })
}

pub(super) fn order(symbol: &str, side: OrderSide, effect: Effect, size: &str) -> MarketOrder {
    MarketOrder { symbol: symbol.to_owned(), side, effect, hold_side: None, size: dec(size), client_order_id: None }
}
