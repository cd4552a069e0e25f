//! The unified (v3) private socket. `position` begins with a snapshot of everything and goes on with updates of what
//! changed; a closed position is a row with size 0 and `positionStatus` `ended`, most of its numbers empty texts.

use super::words::{Blank, Text, blank, category, hold_mode, num, order_hold_side, order_type, product_type, ratio};
use super::words::{side, trade_scope, trade_side};
use super::{Action, json};
use crate::domain::account::OrderStatus;
use crate::domain::symbol::Product;
use crate::venue::account::Account;
use crate::venue::account::values::{AccountRow, Effect, Fill, Order, PositionRow};
use crate::venue::config::Generation;
use crate::venue::instrument::wire_name;
use rust_decimal::Decimal;
use serde::Serialize;
use std::borrow::Cow;

/// A push around rows; `data` comes first here.
pub fn frame(action: Action, arg: &str, rows: &str, ts_ms: i64) -> String {
    let action = action.label();
    format!(r#"{{"data":{rows},"arg":{arg},"action":"{action}","ts":{ts_ms}}}"#)
}

/// `{"instType":"UTA","topic":…}`; a symbol is never echoed.
pub fn arg(topic: &str) -> String {
    format!(r#"{{"instType":"UTA","topic":{}}}"#, json(topic))
}

/// `position` on (re-)subscribe: all open positions of the account, `[]` when flat.
pub fn positions_snapshot(account: &Account, ts_ms: i64) -> String {
    frame(Action::Snapshot, &arg("position"), &position_rows(account, &account.positions()), ts_ms)
}

/// `position` afterwards: the rows of [`Happened::positions`](crate::venue::account::Happened), ended ones included.
pub fn positions_update(account: &Account, changed: &[PositionRow], ts_ms: i64) -> String {
    frame(Action::Update, &arg("position"), &position_rows(account, changed), ts_ms)
}

/// `account`: one row for the whole account.
pub fn account(account: &Account, ts_ms: i64) -> String {
    frame(Action::Snapshot, &arg("account"), &account_rows(account), ts_ms)
}

/// `order`: always a snapshot; nothing is pushed on subscribe.
pub fn orders(account: &Account, orders: &[Order], ts_ms: i64) -> String {
    frame(Action::Snapshot, &arg("order"), &order_rows(account, orders), ts_ms)
}

/// `fill`: nothing is pushed on subscribe.
pub fn fills(account: &Account, fills: &[Fill], ts_ms: i64) -> String {
    frame(Action::Snapshot, &arg("fill"), &fill_rows(account, fills), ts_ms)
}

/// The name that every v3 row says, see [`wire_name`].
pub(super) fn symbol(product: Product, name: &str) -> Cow<'_, str> {
    wire_name(Generation::V3, product, name)
}

pub fn position_rows(account: &Account, rows: &[PositionRow]) -> String {
    json(&rows.iter().map(|row| PositionWire::new(row, account)).collect::<Vec<_>>())
}

pub fn account_rows(account: &Account) -> String {
    json(&[AccountWire::new(&account.account_row())])
}

pub fn order_rows(account: &Account, orders: &[Order]) -> String {
    json(&orders.iter().map(|order| OrderWire::new(order, account)).collect::<Vec<_>>())
}

pub fn fill_rows(account: &Account, fills: &[Fill]) -> String {
    json(&fills.iter().map(|fill| FillWire::new(fill, account.coin(), account.product())).collect::<Vec<_>>())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PositionWire<'a> {
    symbol: Cow<'a, str>,
    margin_coin: &'a str,
    margin_size: Text<Decimal>,
    margin_mode: &'static str,
    hold_mode: &'static str,
    pos_side: &'static str,
    position_status: &'static str,
    size: Text<Decimal>,
    available: Text<Decimal>,
    frozen: Text<Decimal>,
    avg_price: Text<Decimal>,
    leverage: Text<Decimal>,
    cur_realised_pnl: Text<Decimal>,
    unrealised_pnl: Text<Decimal>,
    liq_price: Blank,
    mmr: Blank,
    mark_price: Text<Decimal>,
    break_even_price: Blank,
    profit_rate: Blank,
    total_funding_fee: Text<Decimal>,
    /// Negative = paid.
    open_fee_total: Blank,
    close_fee_total: Blank,
    cash_dividend: &'static str,
    created_time: Text<i64>,
    updated_time: Text<i64>,
}

impl<'a> PositionWire<'a> {
    fn new(row: &'a PositionRow, account: &'a Account) -> Self {
        let ended = row.has_ended();
        let open = |number: Decimal| blank((!ended).then_some(number));
        Self {
            symbol: symbol(account.product(), &row.symbol),
            margin_coin: account.coin(),
            margin_size: num(row.margin),
            margin_mode: row.margin_mode.label(),
            hold_mode: hold_mode(row.hold_mode),
            pos_side: row.side.label(),
            position_status: if ended { "ended" } else { "opening" },
            size: num(row.size),
            available: num(row.available()),
            frozen: num(row.frozen),
            avg_price: num(row.entry_price),
            leverage: num(row.leverage),
            cur_realised_pnl: num(if ended { Decimal::ZERO } else { row.realised }),
            unrealised_pnl: num(row.unrealised_pnl),
            liq_price: open(row.liquidation_price),
            mmr: open(row.maintenance_rate),
            mark_price: num(row.mark_price),
            break_even_price: open(row.break_even_price),
            profit_rate: open(ratio(row.unrealised_pnl, row.margin).0),
            total_funding_fee: num(if ended { Decimal::ZERO } else { row.funding.unwrap_or_default() }),
            open_fee_total: open(-row.open_fee),
            close_fee_total: open(-row.close_fee),
            cash_dividend: if ended { "" } else { "0" },
            created_time: Text(row.created_ms),
            updated_time: Text(row.updated_ms),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountWire<'a> {
    total_equity: Text<Decimal>,
    eff_equity: Text<Decimal>,
    mmr: Text<Decimal>,
    imr: Text<Decimal>,
    mgn_ratio: Text<Decimal>,
    position_mgn_ratio: Text<Decimal>,
    #[serde(rename = "unrealisedPnL")]
    unrealised_pnl: Text<Decimal>,
    /// Coins with nothing in them are left out.
    coin: Vec<CoinWire<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CoinWire<'a> {
    coin: &'a str,
    equity: Text<Decimal>,
    usd_value: Text<Decimal>,
    balance: Text<Decimal>,
    available: Text<Decimal>,
    debts: &'static str,
    borrow: &'static str,
    locked: Text<Decimal>,
    bonus: &'static str,
}

impl<'a> AccountWire<'a> {
    fn new(row: &'a AccountRow) -> Self {
        let empty = row.balance.is_zero() && row.equity.is_zero();
        let coin = CoinWire {
            coin: &row.coin,
            equity: num(row.equity),
            usd_value: num(row.equity),
            balance: num(row.balance),
            available: num(row.available),
            debts: "0",
            borrow: "0",
            locked: num(row.frozen),
            bonus: "0",
        };
        Self {
            total_equity: num(row.equity),
            eff_equity: num(row.equity),
            mmr: num(row.maintenance_margin),
            imr: num(row.margin + row.frozen),
            mgn_ratio: num(row.risk_rate),
            position_mgn_ratio: num(row.risk_rate),
            unrealised_pnl: num(row.unrealised_pnl),
            coin: (!empty).then_some(coin).into_iter().collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FeeWire<'a> {
    pub(super) fee_coin: &'a str,
    /// Positive = paid, unlike the classic protocol; empty before the first fill.
    pub(super) fee: Blank,
}

impl<'a> FeeWire<'a> {
    pub(super) fn of_order(order: &Order, coin: &'a str) -> Self {
        let paid = !order.filled.is_zero();
        Self { fee_coin: if paid { coin } else { "" }, fee: blank(paid.then_some(order.fee)) }
    }
}

pub(super) const fn status(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Live => "live",
        OrderStatus::PartiallyFilled => "partially_filled",
        OrderStatus::Filled => "filled",
        OrderStatus::Cancelled => "cancelled",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderWire<'a> {
    category: &'static str,
    symbol: Cow<'a, str>,
    order_id: Text<u64>,
    client_oid: &'a str,
    /// Empty for market orders.
    price: Blank,
    qty: Text<Decimal>,
    amount: &'static str,
    hold_mode: &'static str,
    hold_side: &'static str,
    trade_side: &'static str,
    order_type: &'static str,
    time_in_force: &'static str,
    side: &'static str,
    margin_mode: &'static str,
    margin_coin: &'a str,
    reduce_only: &'static str,
    cum_exec_qty: Text<Decimal>,
    cum_exec_value: Text<Decimal>,
    avg_price: Text<Decimal>,
    total_profit: Text<Decimal>,
    order_status: &'static str,
    cancel_reason: &'static str,
    leverage: Text<Decimal>,
    fee_detail: [FeeWire<'a>; 1],
    created_time: Text<i64>,
    updated_time: Text<i64>,
    stp_mode: &'static str,
    tp_trigger_by: &'static str,
    sl_trigger_by: &'static str,
    takeprofit: &'static str,
    stoploss: &'static str,
    tp_order_type: &'static str,
    sl_order_type: &'static str,
    tp_limit_price: &'static str,
    sl_limit_price: &'static str,
    match_type: &'static str,
}

impl<'a> OrderWire<'a> {
    fn new(order: &'a Order, account: &'a Account) -> Self {
        Self {
            category: category(account.product()),
            symbol: symbol(account.product(), &order.symbol),
            order_id: Text(order.order_id),
            client_oid: &order.client_order_id,
            price: blank(order.limit_price),
            qty: num(order.size),
            amount: "0",
            hold_mode: hold_mode(order.hold_mode),
            hold_side: order_hold_side(order).label(),
            trade_side: trade_side(order.hold_mode, order.side, order.effect, order.liquidation),
            order_type: order_type(order.is_maker()),
            time_in_force: "gtc",
            side: side(order.side),
            margin_mode: order.margin_mode.label(),
            margin_coin: account.coin(),
            reduce_only: if order.effect == Effect::Close { "yes" } else { "no" },
            cum_exec_qty: num(order.filled),
            cum_exec_value: num(order.filled_value),
            avg_price: num(order.average_price().unwrap_or_default()),
            total_profit: num(order.profit),
            order_status: status(order.status),
            cancel_reason: if order.status == OrderStatus::Cancelled { "normal_cancel" } else { "" },
            leverage: num(order.leverage),
            fee_detail: [FeeWire::of_order(order, account.coin())],
            created_time: Text(order.created_ms),
            updated_time: Text(order.updated_ms),
            stp_mode: "none",
            tp_trigger_by: "",
            sl_trigger_by: "",
            takeprofit: "",
            stoploss: "",
            tp_order_type: "",
            sl_order_type: "",
            tp_limit_price: "",
            sl_limit_price: "",
            match_type: "",
        }
    }
}

/// One execution, the same on the socket and in REST but for the name of its time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FillWire<'a> {
    category: &'static str,
    symbol: Cow<'a, str>,
    order_id: Text<u64>,
    client_oid: &'a str,
    exec_id: Text<u64>,
    exec_link_id: Text<u64>,
    order_type: &'static str,
    side: &'static str,
    hold_side: &'static str,
    trade_side: &'static str,
    exec_price: Text<Decimal>,
    exec_qty: Text<Decimal>,
    exec_value: Text<Decimal>,
    exec_pnl: Text<Decimal>,
    trade_scope: &'static str,
    fee_detail: [FeeWire<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    exec_time: Option<Text<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_time: Option<Text<i64>>,
    updated_time: Text<i64>,
    #[serde(rename = "isRPI")]
    is_rpi: &'static str,
}

impl<'a> FillWire<'a> {
    fn new(fill: &'a Fill, coin: &'a str, product: Product) -> Self {
        Self {
            category: product_type(product),
            symbol: symbol(product, &fill.symbol),
            order_id: Text(fill.order_id),
            client_oid: &fill.client_order_id,
            exec_id: Text(fill.trade_id),
            exec_link_id: Text(fill.trade_id + 1),
            order_type: order_type(fill.maker),
            side: side(fill.side),
            hold_side: fill.hold_side.label(),
            trade_side: trade_side(fill.hold_mode, fill.side, fill.effect, fill.liquidation),
            exec_price: num(fill.price),
            exec_qty: num(fill.size),
            exec_value: num(fill.value()),
            exec_pnl: num(fill.profit),
            trade_scope: trade_scope(fill.maker),
            fee_detail: [FeeWire { fee_coin: coin, fee: blank(Some(fill.fee)) }],
            exec_time: Some(Text(fill.time_ms)),
            created_time: None,
            updated_time: Text(fill.time_ms),
            is_rpi: "no",
        }
    }

    /// REST calls the time `createdTime`.
    pub(super) fn rest(fill: &'a Fill, coin: &'a str, product: Product) -> Self {
        Self { exec_time: None, created_time: Some(Text(fill.time_ms)), ..Self::new(fill, coin, product) }
    }
}
