//! The unified (v3) REST answers about an account, as whole bodies. Positions have other field names here than on
//! the socket: `total`, `positionBalance`, `liquidationPrice`, `totalFunding`, and `positionStatus` is `normal`.

use super::v3::{FeeWire, FillWire, status, symbol};
use super::words::{Text, hold_mode, num, order_hold_side, order_type, product_type, ratio, side};
use super::{Query, json, rest_ok, speaks_for};
use crate::domain::account::OrderStatus;
use crate::domain::symbol::Product;
use crate::venue::account::Account;
use crate::venue::account::values::{ClosedPosition, Effect, Fill, Order, PositionRow};
use rust_decimal::Decimal;
use serde::Serialize;
use std::borrow::Cow;

/// `GET /api/v3/position/current-position`. Flat is `"list":null`, never an empty list.
pub fn current_position(account: &Account, product: Product, wanted: Option<&str>, now_ms: i64) -> String {
    let rows = if speaks_for(account, product) { account.positions() } else { Vec::new() };
    let wanted = rows.iter().filter(|row| wanted.is_none_or(|s| s == symbol(product, &row.symbol)));
    let list: Vec<_> = wanted.map(|row| PositionWire::new(row, account.coin(), product)).collect();
    rest_ok(&json(&Positions { list: (!list.is_empty()).then_some(list) }), now_ms)
}

/// `GET /api/v3/account/assets`.
pub fn assets(account: &Account, now_ms: i64) -> String {
    let row = account.account_row();
    let asset = AssetWire {
        coin: &row.coin,
        equity: num(row.equity),
        usd_value: num(row.equity),
        balance: num(row.balance),
        available: num(row.available),
        debt: "0",
        locked: num(row.frozen),
    };
    let empty = row.balance.is_zero() && row.equity.is_zero();
    let body = AssetsWire {
        account_equity: num(row.equity),
        usdt_equity: num(row.equity),
        btc_equity: "0",
        unrealised_pnl: num(row.unrealised_pnl),
        usdt_unrealised_pnl: num(row.unrealised_pnl),
        btc_unrealized_pnl: "0",
        eff_equity: num(row.equity),
        mmr: num(row.maintenance_margin),
        imr: num(row.margin + row.frozen),
        mgn_ratio: num(row.risk_rate),
        position_mgn_ratio: num(row.risk_rate),
        assets: (!empty).then_some(asset).into_iter().collect(),
    };
    rest_ok(&json(&body), now_ms)
}

/// `GET /api/v3/trade/fills`, newest first. Without any, list and cursor are `null`.
pub fn fills(account: &Account, product: Product, query: &Query, now_ms: i64) -> String {
    let rows: Vec<&Fill> = account
        .fills()
        .rev()
        .filter(|f| {
            speaks_for(account, product)
                && query.wants(&symbol(product, &f.symbol), Some(f.order_id), f.trade_id, f.time_ms)
        })
        .take(query.rows())
        .collect();
    let list: Vec<_> = rows.iter().map(|fill| FillWire::rest(fill, account.coin(), product)).collect();
    let page = Page { list: (!list.is_empty()).then_some(list), cursor: rows.last().map(|f| Text(f.trade_id)) };
    rest_ok(&json(&page), now_ms)
}

/// `GET /api/v3/trade/unfilled-orders`, newest first.
pub fn unfilled_orders(account: &Account, product: Product, query: &Query, now_ms: i64) -> String {
    rest_ok(&order_page(account, product, query, account.waiting_orders().rev()), now_ms)
}

/// `GET /api/v3/trade/history-orders`, newest first.
pub fn history_orders(account: &Account, product: Product, query: &Query, now_ms: i64) -> String {
    rest_ok(&order_page(account, product, query, account.finished_orders().rev()), now_ms)
}

/// `GET /api/v3/position/history-position`, newest first.
pub fn history_position(account: &Account, product: Product, query: &Query, now_ms: i64) -> String {
    let rows: Vec<&ClosedPosition> = account
        .history()
        .rev()
        .filter(|row| {
            speaks_for(account, product)
                && query.wants(&symbol(product, &row.symbol), None, row.history_id, row.closed_ms)
        })
        .take(query.rows())
        .collect();
    let list: Vec<_> = rows.iter().map(|row| ClosedWire::new(row, account.coin(), product)).collect();
    rest_ok(&json(&Page { list: Some(list), cursor: rows.last().map(|row| Text(row.history_id)) }), now_ms)
}

fn order_page<'a>(
    account: &'a Account,
    product: Product,
    query: &Query,
    orders: impl Iterator<Item = &'a Order>,
) -> String {
    let rows: Vec<&Order> = orders
        .filter(|o| {
            speaks_for(account, product)
                && query.wants(&symbol(product, &o.symbol), Some(o.order_id), o.order_id, o.created_ms)
        })
        .take(query.rows())
        .collect();
    let list: Vec<_> = rows.iter().map(|order| OrderWire::new(order, account.coin(), product)).collect();
    json(&Page { list: Some(list), cursor: rows.last().map(|o| Text(o.order_id)) })
}

#[derive(Serialize)]
struct Positions<'a> {
    list: Option<Vec<PositionWire<'a>>>,
}

#[derive(Serialize)]
struct Page<T> {
    list: Option<Vec<T>>,
    cursor: Option<Text<u64>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PositionWire<'a> {
    category: &'static str,
    symbol: Cow<'a, str>,
    margin_coin: &'a str,
    hold_mode: &'static str,
    pos_side: &'static str,
    margin_mode: &'static str,
    position_balance: Text<Decimal>,
    available: Text<Decimal>,
    frozen: Text<Decimal>,
    total: Text<Decimal>,
    leverage: Text<Decimal>,
    cur_realised_pnl: Text<Decimal>,
    avg_price: Text<Decimal>,
    position_status: &'static str,
    unrealised_pnl: Text<Decimal>,
    liquidation_price: Text<Decimal>,
    mmr: Text<Decimal>,
    profit_rate: Text<Decimal>,
    mark_price: Text<Decimal>,
    break_even_price: Text<Decimal>,
    total_funding: Text<Decimal>,
    open_fee_total: Text<Decimal>,
    close_fee_total: Text<Decimal>,
    created_time: Text<i64>,
    updated_time: Text<i64>,
}

impl<'a> PositionWire<'a> {
    fn new(row: &'a PositionRow, coin: &'a str, product: Product) -> Self {
        Self {
            category: product_type(product),
            symbol: symbol(product, &row.symbol),
            margin_coin: coin,
            hold_mode: hold_mode(row.hold_mode),
            pos_side: row.side.label(),
            margin_mode: row.margin_mode.label(),
            position_balance: num(row.margin),
            available: num(row.available()),
            frozen: num(row.frozen),
            total: num(row.size),
            leverage: num(row.leverage),
            cur_realised_pnl: num(row.realised),
            avg_price: num(row.entry_price),
            position_status: "normal",
            unrealised_pnl: num(row.unrealised_pnl),
            // REST says 0 where there is none, the sockets say the negative number.
            liquidation_price: num(row.liquidation_price.max(Decimal::ZERO)),
            mmr: num(row.maintenance_rate),
            profit_rate: ratio(row.unrealised_pnl, row.margin),
            mark_price: num(row.mark_price),
            break_even_price: num(row.break_even_price),
            total_funding: num(row.funding.unwrap_or_default()),
            open_fee_total: num(-row.open_fee),
            close_fee_total: num(-row.close_fee),
            created_time: Text(row.created_ms),
            updated_time: Text(row.updated_ms),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AssetsWire<'a> {
    account_equity: Text<Decimal>,
    usdt_equity: Text<Decimal>,
    btc_equity: &'static str,
    unrealised_pnl: Text<Decimal>,
    usdt_unrealised_pnl: Text<Decimal>,
    /// With a z, as the exchange spells this one.
    btc_unrealized_pnl: &'static str,
    eff_equity: Text<Decimal>,
    mmr: Text<Decimal>,
    imr: Text<Decimal>,
    mgn_ratio: Text<Decimal>,
    position_mgn_ratio: Text<Decimal>,
    assets: Vec<AssetWire<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AssetWire<'a> {
    coin: &'a str,
    equity: Text<Decimal>,
    usd_value: Text<Decimal>,
    balance: Text<Decimal>,
    available: Text<Decimal>,
    debt: &'static str,
    locked: Text<Decimal>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderWire<'a> {
    order_id: Text<u64>,
    client_oid: &'a str,
    category: &'static str,
    symbol: Cow<'a, str>,
    order_type: &'static str,
    side: &'static str,
    price: Text<Decimal>,
    qty: Text<Decimal>,
    amount: &'static str,
    cum_exec_qty: Text<Decimal>,
    cum_exec_value: Text<Decimal>,
    avg_price: Text<Decimal>,
    time_in_force: &'static str,
    order_status: &'static str,
    pos_side: &'static str,
    hold_mode: &'static str,
    reduce_only: &'static str,
    fee_detail: [FeeWire<'a>; 1],
    created_time: Text<i64>,
    updated_time: Text<i64>,
    cancel_reason: &'static str,
    exec_type: &'static str,
    stp_mode: &'static str,
    tp_trigger_by: Option<&'static str>,
    sl_trigger_by: Option<&'static str>,
    take_profit: Option<&'static str>,
    stop_loss: Option<&'static str>,
    tp_order_type: Option<&'static str>,
    sl_order_type: Option<&'static str>,
    tp_limit_price: Option<&'static str>,
    sl_limit_price: Option<&'static str>,
}

impl<'a> OrderWire<'a> {
    fn new(order: &'a Order, coin: &'a str, product: Product) -> Self {
        Self {
            order_id: Text(order.order_id),
            client_oid: &order.client_order_id,
            category: product_type(product),
            symbol: symbol(product, &order.symbol),
            order_type: order_type(order.is_maker()),
            side: side(order.side),
            price: num(order.limit_price.unwrap_or_default()),
            qty: num(order.size),
            amount: "0",
            cum_exec_qty: num(order.filled),
            cum_exec_value: num(order.filled_value),
            avg_price: num(order.average_price().unwrap_or_default()),
            time_in_force: "gtc",
            order_status: status(order.status),
            pos_side: order_hold_side(order).label(),
            hold_mode: hold_mode(order.hold_mode),
            reduce_only: if order.effect == Effect::Close { "YES" } else { "NO" },
            fee_detail: [FeeWire::of_order(order, coin)],
            created_time: Text(order.created_ms),
            updated_time: Text(order.updated_ms),
            cancel_reason: if order.status == OrderStatus::Cancelled { "normal_cancel" } else { "" },
            exec_type: "normal",
            stp_mode: "none",
            tp_trigger_by: None,
            sl_trigger_by: None,
            take_profit: None,
            stop_loss: None,
            tp_order_type: None,
            sl_order_type: None,
            tp_limit_price: None,
            sl_limit_price: None,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedWire<'a> {
    position_id: Text<u64>,
    category: &'static str,
    symbol: Cow<'a, str>,
    margin_coin: &'a str,
    hold_mode: &'static str,
    pos_side: &'static str,
    margin_mode: &'static str,
    open_price_avg: Text<Decimal>,
    close_price_avg: Text<Decimal>,
    open_total_pos: Text<Decimal>,
    close_total_pos: Text<Decimal>,
    cum_realised_pnl: Text<Decimal>,
    net_profit: Text<Decimal>,
    total_funding: Text<Decimal>,
    open_fee_total: Text<Decimal>,
    close_fee_total: Text<Decimal>,
    created_time: Text<i64>,
    updated_time: Text<i64>,
}

impl<'a> ClosedWire<'a> {
    fn new(row: &'a ClosedPosition, coin: &'a str, product: Product) -> Self {
        Self {
            position_id: Text(row.history_id),
            category: product_type(product),
            symbol: symbol(product, &row.symbol),
            margin_coin: coin,
            hold_mode: hold_mode(row.hold_mode),
            pos_side: row.side.label(),
            margin_mode: row.margin_mode.label(),
            open_price_avg: num(row.open_price),
            close_price_avg: num(row.close_price),
            open_total_pos: num(row.open_size),
            close_total_pos: num(row.close_size),
            cum_realised_pnl: num(row.realised),
            net_profit: num(row.net()),
            total_funding: num(row.funding),
            open_fee_total: num(-row.open_fee),
            close_fee_total: num(-row.close_fee),
            created_time: Text(row.opened_ms),
            updated_time: Text(row.closed_ms),
        }
    }
}
