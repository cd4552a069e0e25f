//! The classic (v2) private socket. Every push is a snapshot; `positions` lists all open rows of the product, so a
//! closed position is simply not there any more, and the last one leaves `"data":[]`.

use super::v2_orders::OrderWire;
use super::words::trade_scope;
use super::words::{Bare, Blank, Text, blank, hold_mode, num, order_type, product_type, ratio, side_v2, trade_side};
use super::{Action, json, speaks_for};
use crate::domain::position::MarginMode;
use crate::domain::symbol::Product;
use crate::venue::account::Account;
use crate::venue::account::values::{ClosedPosition, Fill, Order, PositionRow};
use rust_decimal::Decimal;
use serde::Serialize;

/// A push around rows; `arg` is JSON, best the echo of what was subscribed.
pub fn frame(action: Action, arg: &str, rows: &str, ts_ms: i64) -> String {
    let action = action.label();
    format!(r#"{{"action":"{action}","arg":{arg},"data":{rows},"ts":{ts_ms}}}"#)
}

/// `{"instType":…,"channel":…,"instId":"default"}`; the account channel says `coin` instead of `instId`.
pub fn default_arg(product: Product, channel: &str) -> String {
    let selector = if channel == "account" { "coin" } else { "instId" };
    let (inst_type, channel) = (product_type(product), json(channel));
    format!(r#"{{"instType":"{inst_type}","channel":{channel},"{selector}":"default"}}"#)
}

/// `positions`: the whole set of open positions of a product.
pub fn positions(account: &Account, product: Product, ts_ms: i64) -> String {
    frame(Action::Snapshot, &default_arg(product, "positions"), &position_rows(account, product), ts_ms)
}

/// `account`: the balance of the margin coin.
pub fn account(account: &Account, product: Product, ts_ms: i64) -> String {
    frame(Action::Snapshot, &default_arg(product, "account"), &account_rows(account, product), ts_ms)
}

/// `orders`: what [`Happened::orders`](crate::venue::account::Happened) holds. Nothing is pushed on subscribe.
pub fn orders(account: &Account, orders: &[Order], ts_ms: i64) -> String {
    frame(Action::Snapshot, &default_arg(account.product(), "orders"), &order_rows(account, orders), ts_ms)
}

/// `fill`. Nothing is pushed on subscribe.
pub fn fills(account: &Account, fills: &[Fill], ts_ms: i64) -> String {
    frame(Action::Snapshot, &default_arg(account.product(), "fill"), &fill_rows(account, fills), ts_ms)
}

/// `positions-history`: only when a position was closed to the last lot.
pub fn positions_history(account: &Account, closed: &[ClosedPosition], ts_ms: i64) -> String {
    let arg = default_arg(account.product(), "positions-history");
    frame(Action::Snapshot, &arg, &history_rows(account, closed), ts_ms)
}

pub fn position_rows(account: &Account, product: Product) -> String {
    if !speaks_for(account, product) {
        return "[]".to_owned();
    }
    let positions = account.positions();
    let risk_rate = account.account_row().risk_rate;
    json(&positions.iter().map(|row| PositionWire::new(row, account.coin(), risk_rate)).collect::<Vec<_>>())
}

pub fn account_rows(account: &Account, product: Product) -> String {
    if !speaks_for(account, product) {
        return "[]".to_owned();
    }
    let row = account.account_row();
    // The classic `available` counts crossed margin in; `maxOpenPosAvailable` is what can really be used.
    let available = row.balance - row.isolated_margin;
    json(&[AccountWire {
        margin_coin: account.coin(),
        frozen: num(row.frozen),
        available: num(available),
        max_open_pos_available: num(row.available),
        max_transfer_out: num(row.available),
        equity: num(row.equity),
        usdt_equity: num(row.equity),
        crossed_risk_rate: num(row.risk_rate),
        unrealized_pl: num(row.unrealised_pnl),
        union_total_margin: num(row.equity),
        union_available: num(row.available),
        union_mm: num(row.maintenance_margin),
        assets_mode: "single",
    }])
}

pub fn order_rows(account: &Account, orders: &[Order]) -> String {
    json(&orders.iter().map(|order| OrderWire::new(order, account.coin())).collect::<Vec<_>>())
}

pub fn fill_rows(account: &Account, fills: &[Fill]) -> String {
    json(&fills.iter().map(|fill| FillWire::new(fill, account.coin())).collect::<Vec<_>>())
}

pub fn history_rows(account: &Account, closed: &[ClosedPosition]) -> String {
    json(&closed.iter().map(|row| ClosedWire::new(row, account.coin())).collect::<Vec<_>>())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PositionWire<'a> {
    pos_id: Text<u64>,
    inst_id: &'a str,
    margin_coin: &'a str,
    margin_size: Text<Decimal>,
    margin_mode: &'static str,
    hold_side: &'static str,
    pos_mode: &'static str,
    total: Text<Decimal>,
    available: Text<Decimal>,
    frozen: Text<Decimal>,
    open_price_avg: Text<Decimal>,
    leverage: Bare,
    achieved_profits: Text<Decimal>,
    #[serde(rename = "unrealizedPL")]
    unrealized_pl: Text<Decimal>,
    #[serde(rename = "unrealizedPLR")]
    unrealized_plr: Text<Decimal>,
    liquidation_price: Text<Decimal>,
    keep_margin_rate: Text<Decimal>,
    isolated_margin_rate: Text<Decimal>,
    margin_rate: Text<Decimal>,
    break_even_price: Text<Decimal>,
    total_fee: Blank,
    deducted_fee: Text<Decimal>,
    mark_price: Text<Decimal>,
    asset_mode: &'static str,
    auto_margin: &'static str,
    cash_dividend: &'static str,
    c_time: Text<i64>,
    u_time: Text<i64>,
}

impl<'a> PositionWire<'a> {
    fn new(row: &'a PositionRow, coin: &'a str, risk_rate: Decimal) -> Self {
        let isolated = ratio(row.maintenance_margin, row.margin + row.unrealised_pnl);
        Self {
            pos_id: Text(row.position_id),
            inst_id: &row.symbol,
            margin_coin: coin,
            margin_size: num(row.margin),
            margin_mode: row.margin_mode.label(),
            hold_side: row.side.label(),
            pos_mode: hold_mode(row.hold_mode),
            total: num(row.size),
            available: num(row.available()),
            frozen: num(row.frozen),
            open_price_avg: num(row.entry_price),
            leverage: Bare(row.leverage),
            achieved_profits: num(row.realised),
            unrealized_pl: num(row.unrealised_pnl),
            unrealized_plr: ratio(row.unrealised_pnl, row.margin),
            liquidation_price: num(row.liquidation_price),
            keep_margin_rate: num(row.maintenance_rate),
            isolated_margin_rate: if row.margin_mode == MarginMode::Isolated { isolated } else { num(Decimal::ZERO) },
            margin_rate: num(risk_rate),
            break_even_price: num(row.break_even_price),
            total_fee: blank(row.funding),
            deducted_fee: num(row.open_fee + row.close_fee),
            mark_price: num(row.mark_price),
            asset_mode: "single",
            auto_margin: "off",
            cash_dividend: "0",
            c_time: Text(row.created_ms),
            u_time: Text(row.updated_ms),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountWire<'a> {
    margin_coin: &'a str,
    frozen: Text<Decimal>,
    available: Text<Decimal>,
    max_open_pos_available: Text<Decimal>,
    max_transfer_out: Text<Decimal>,
    equity: Text<Decimal>,
    usdt_equity: Text<Decimal>,
    crossed_risk_rate: Text<Decimal>,
    #[serde(rename = "unrealizedPL")]
    unrealized_pl: Text<Decimal>,
    union_total_margin: Text<Decimal>,
    union_available: Text<Decimal>,
    union_mm: Text<Decimal>,
    assets_mode: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FillFeeWire<'a> {
    pub(super) fee_coin: &'a str,
    pub(super) deduction: &'static str,
    pub(super) total_deduction_fee: &'static str,
    /// Negative = paid.
    pub(super) total_fee: Text<Decimal>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FillWire<'a> {
    order_id: Text<u64>,
    client_oid: &'a str,
    trade_id: Text<u64>,
    symbol: &'a str,
    side: &'static str,
    order_type: &'static str,
    pos_mode: &'static str,
    price: Text<Decimal>,
    base_volume: Text<Decimal>,
    quote_volume: Text<Decimal>,
    profit: Text<Decimal>,
    trade_side: &'static str,
    trade_scope: &'static str,
    fee_detail: [FillFeeWire<'a>; 1],
    c_time: Text<i64>,
    u_time: Text<i64>,
}

impl<'a> FillWire<'a> {
    fn new(fill: &'a Fill, coin: &'a str) -> Self {
        Self {
            order_id: Text(fill.order_id),
            client_oid: &fill.client_order_id,
            trade_id: Text(fill.trade_id),
            symbol: &fill.symbol,
            side: side_v2(fill.side, fill.hold_mode, Some(fill.hold_side)),
            order_type: order_type(fill.maker),
            pos_mode: hold_mode(fill.hold_mode),
            price: num(fill.price),
            base_volume: num(fill.size),
            quote_volume: num(fill.value()),
            profit: num(fill.profit),
            trade_side: trade_side(fill.hold_mode, fill.side, fill.effect, fill.liquidation),
            trade_scope: trade_scope(fill.maker),
            fee_detail: [FillFeeWire {
                fee_coin: coin,
                deduction: "no",
                total_deduction_fee: "0",
                total_fee: num(-fill.fee),
            }],
            c_time: Text(fill.time_ms),
            u_time: Text(fill.time_ms),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedWire<'a> {
    pos_id: Text<u64>,
    inst_id: &'a str,
    margin_coin: &'a str,
    /// Here the isolated mode is called `fixed`.
    margin_mode: &'static str,
    hold_side: &'static str,
    pos_mode: &'static str,
    open_price_avg: Text<Decimal>,
    close_price_avg: Text<Decimal>,
    open_size: Text<Decimal>,
    close_size: Text<Decimal>,
    achieved_profits: Text<Decimal>,
    settle_fee: Text<Decimal>,
    open_fee: Text<Decimal>,
    close_fee: Text<Decimal>,
    c_time: Text<i64>,
    u_time: Text<i64>,
}

impl<'a> ClosedWire<'a> {
    fn new(row: &'a ClosedPosition, coin: &'a str) -> Self {
        Self {
            pos_id: Text(row.position_id),
            inst_id: &row.symbol,
            margin_coin: coin,
            margin_mode: if row.margin_mode == MarginMode::Isolated { "fixed" } else { "crossed" },
            hold_side: row.side.label(),
            pos_mode: hold_mode(row.hold_mode),
            open_price_avg: num(row.open_price),
            close_price_avg: num(row.close_price),
            open_size: num(row.open_size),
            close_size: num(row.close_size),
            achieved_profits: num(row.realised),
            settle_fee: num(row.funding),
            open_fee: num(-row.open_fee),
            close_fee: num(-row.close_fee),
            c_time: Text(row.opened_ms),
            u_time: Text(row.closed_ms),
        }
    }
}
