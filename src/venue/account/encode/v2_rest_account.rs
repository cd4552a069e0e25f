//! The classic REST answers about balances.

use super::words::{Text, hold_mode, num};
use super::{json, rest_ok, speaks_for};
use crate::domain::symbol::Product;
use crate::venue::account::Account;
use rust_decimal::Decimal;
use serde::Serialize;

/// `GET /api/v2/mix/account/accounts`: one row per margin coin.
pub fn accounts(account: &Account, product: Product, now_ms: i64) -> String {
    let rows: Vec<_> = speaks_for(account, product).then(|| AccountWire::new(account, None)).into_iter().collect();
    rest_ok(&json(&rows), now_ms)
}

/// `GET /api/v2/mix/account/account`: one coin as an object, with the account's settings.
pub fn account(account: &Account, now_ms: i64) -> String {
    let settings = SettingsWire {
        crossed_margin_leverage: num(account.config().leverage),
        isolated_long_lever: num(account.config().leverage),
        isolated_short_lever: num(account.config().leverage),
        margin_mode: account.margin_mode().label(),
        pos_mode: hold_mode(account.hold_mode()),
    };
    rest_ok(&json(&AccountWire::new(account, Some(settings))), now_ms)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountWire<'a> {
    margin_coin: &'a str,
    locked: Text<Decimal>,
    available: Text<Decimal>,
    crossed_max_available: Text<Decimal>,
    isolated_max_available: Text<Decimal>,
    max_transfer_out: Text<Decimal>,
    account_equity: Text<Decimal>,
    usdt_equity: Text<Decimal>,
    btc_equity: &'static str,
    crossed_risk_rate: Text<Decimal>,
    #[serde(flatten)]
    settings: Option<SettingsWire>,
    #[serde(rename = "unrealizedPL")]
    unrealized_pl: Text<Decimal>,
    coupon: &'static str,
    union_total_margin: Text<Decimal>,
    union_available: Text<Decimal>,
    union_mm: Text<Decimal>,
    asset_list: [(); 0],
    isolated_margin: Text<Decimal>,
    crossed_margin: Text<Decimal>,
    #[serde(rename = "crossedUnrealizedPL")]
    crossed_unrealized_pl: Text<Decimal>,
    #[serde(rename = "isolatedUnrealizedPL")]
    isolated_unrealized_pl: Text<Decimal>,
    grant: &'static str,
    asset_mode: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SettingsWire {
    crossed_margin_leverage: Text<Decimal>,
    isolated_long_lever: Text<Decimal>,
    isolated_short_lever: Text<Decimal>,
    margin_mode: &'static str,
    pos_mode: &'static str,
}

impl<'a> AccountWire<'a> {
    fn new(account: &'a Account, settings: Option<SettingsWire>) -> Self {
        let row = account.account_row();
        Self {
            margin_coin: account.coin(),
            locked: num(row.frozen),
            available: num(row.balance - row.isolated_margin),
            crossed_max_available: num(row.available),
            isolated_max_available: num(row.available),
            max_transfer_out: num(row.available),
            account_equity: num(row.equity),
            usdt_equity: num(row.equity),
            btc_equity: "0",
            crossed_risk_rate: num(row.risk_rate),
            settings,
            unrealized_pl: num(row.unrealised_pnl),
            coupon: "0",
            union_total_margin: num(row.equity),
            union_available: num(row.available),
            union_mm: num(row.maintenance_margin),
            asset_list: [],
            isolated_margin: num(row.isolated_margin),
            crossed_margin: num(row.margin - row.isolated_margin),
            crossed_unrealized_pl: num(row.unrealised_pnl - row.isolated_unrealised_pnl),
            isolated_unrealized_pl: num(row.isolated_unrealised_pnl),
            grant: "0",
            asset_mode: "single",
        }
    }
}
