//! The classic (v2) REST answers about an account, as whole bodies. Leverage is text here, `frozen` is `locked`,
//! `instId` is `symbol`.

pub use super::v2_rest_account::{account, accounts};

use super::v2::FillFeeWire;
use super::v2_orders::{pos_side, status};
use super::words::{Blank, Text, blank, hold_mode, num, order_type, ratio, side_v2, trade_scope, trade_side};
use super::{Query, json, rest_ok, speaks_for};
use crate::domain::position::MarginMode;
use crate::domain::symbol::Product;
use crate::venue::account::Account;
use crate::venue::account::values::{AccountRow, ClosedPosition, Effect, Fill, Order, PositionRow};
use rust_decimal::Decimal;
use serde::Serialize;

/// `GET /api/v2/mix/position/all-position`; with a symbol `single-position`. Flat is `"data":[]`.
pub fn positions(account: &Account, product: Product, symbol: Option<&str>, now_ms: i64) -> String {
    let rows = if speaks_for(account, product) { account.positions() } else { Vec::new() };
    let whole = account.account_row();
    let wire = rows.iter().filter(|row| symbol.is_none_or(|s| s == row.symbol));
    rest_ok(&json(&wire.map(|row| PositionWire::new(row, account.coin(), &whole)).collect::<Vec<_>>()), now_ms)
}

/// `GET /api/v2/mix/order/fills`, newest first. Without any, list and end are `null`.
pub fn fills(account: &Account, product: Product, query: &Query, now_ms: i64) -> String {
    let rows: Vec<&Fill> = account
        .fills()
        .rev()
        .filter(|f| speaks_for(account, product) && query.wants(&f.symbol, Some(f.order_id), f.trade_id, f.time_ms))
        .take(query.rows())
        .collect();
    let wire: Vec<_> = rows.iter().map(|fill| FillWire::new(fill, account.coin())).collect();
    let page = json(&FillPage { fill_list: filled(wire), end_id: rows.last().map(|f| Text(f.trade_id)) });
    rest_ok(&page, now_ms)
}

/// `GET /api/v2/mix/order/orders-pending`, newest first. Without any, list and end are `null`.
pub fn orders_pending(account: &Account, product: Product, query: &Query, now_ms: i64) -> String {
    rest_ok(&order_page(account, product, query, account.waiting_orders().rev()), now_ms)
}

/// `GET /api/v2/mix/order/orders-history`, newest first.
pub fn orders_history(account: &Account, product: Product, query: &Query, now_ms: i64) -> String {
    rest_ok(&order_page(account, product, query, account.finished_orders().rev()), now_ms)
}

/// `GET /api/v2/mix/position/history-position`, newest first.
pub fn history_position(account: &Account, product: Product, query: &Query, now_ms: i64) -> String {
    let rows: Vec<&ClosedPosition> = account
        .history()
        .rev()
        .filter(|row| speaks_for(account, product) && query.wants(&row.symbol, None, row.history_id, row.closed_ms))
        .take(query.rows())
        .collect();
    let list: Vec<_> = rows.iter().map(|row| ClosedWire::new(row, account.coin())).collect();
    rest_ok(&json(&ClosedPage { list, end_id: rows.last().map(|row| Text(row.history_id)) }), now_ms)
}

fn order_page<'a>(
    account: &'a Account,
    product: Product,
    query: &Query,
    orders: impl Iterator<Item = &'a Order>,
) -> String {
    let rows: Vec<&Order> = orders
        .filter(|o| speaks_for(account, product) && query.wants(&o.symbol, Some(o.order_id), o.order_id, o.created_ms))
        .take(query.rows())
        .collect();
    let wire: Vec<_> = rows.iter().map(|order| OrderWire::new(order, account.coin())).collect();
    json(&OrderPage { entrusted_list: filled(wire), end_id: rows.last().map(|o| Text(o.order_id)) })
}

/// The classic REST says `null` for a page without rows.
fn filled<T>(rows: Vec<T>) -> Option<Vec<T>> {
    (!rows.is_empty()).then_some(rows)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FillPage<'a> {
    fill_list: Option<Vec<FillWire<'a>>>,
    end_id: Option<Text<u64>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderPage<'a> {
    entrusted_list: Option<Vec<OrderWire<'a>>>,
    end_id: Option<Text<u64>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedPage<'a> {
    list: Vec<ClosedWire<'a>>,
    end_id: Option<Text<u64>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PositionWire<'a> {
    margin_coin: &'a str,
    symbol: &'a str,
    hold_side: &'static str,
    open_delegate_size: &'static str,
    margin_size: Text<Decimal>,
    available: Text<Decimal>,
    locked: Text<Decimal>,
    total: Text<Decimal>,
    leverage: Text<Decimal>,
    achieved_profits: Text<Decimal>,
    open_price_avg: Text<Decimal>,
    margin_mode: &'static str,
    pos_mode: &'static str,
    #[serde(rename = "unrealizedPL")]
    unrealized_pl: Text<Decimal>,
    liquidation_price: Text<Decimal>,
    keep_margin_rate: Text<Decimal>,
    mark_price: Text<Decimal>,
    margin_ratio: Text<Decimal>,
    break_even_price: Text<Decimal>,
    total_fee: Blank,
    deducted_fee: Text<Decimal>,
    take_profit: &'static str,
    stop_loss: &'static str,
    take_profit_id: &'static str,
    stop_loss_id: &'static str,
    grant: Option<&'static str>,
    asset_mode: &'static str,
    auto_margin: &'static str,
    cash_dividend: &'static str,
    c_time: Text<i64>,
    u_time: Text<i64>,
}

impl<'a> PositionWire<'a> {
    fn new(row: &'a PositionRow, coin: &'a str, whole: &AccountRow) -> Self {
        let margin_ratio = match row.margin_mode {
            MarginMode::Crossed => num(whole.risk_rate),
            MarginMode::Isolated => ratio(row.maintenance_margin, row.margin + row.unrealised_pnl),
        };
        Self {
            margin_coin: coin,
            symbol: &row.symbol,
            hold_side: row.side.label(),
            open_delegate_size: "0",
            margin_size: num(row.margin),
            available: num(row.available()),
            locked: num(row.frozen),
            total: num(row.size),
            leverage: num(row.leverage),
            achieved_profits: num(row.realised),
            open_price_avg: num(row.entry_price),
            margin_mode: row.margin_mode.label(),
            pos_mode: hold_mode(row.hold_mode),
            unrealized_pl: num(row.unrealised_pnl),
            liquidation_price: num(row.liquidation_price),
            keep_margin_rate: num(row.maintenance_rate),
            mark_price: num(row.mark_price),
            margin_ratio,
            break_even_price: num(row.break_even_price),
            total_fee: blank(row.funding),
            deducted_fee: num(row.open_fee + row.close_fee),
            take_profit: "",
            stop_loss: "",
            take_profit_id: "",
            stop_loss_id: "",
            grant: None,
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
struct FillWire<'a> {
    trade_id: Text<u64>,
    symbol: &'a str,
    order_id: Text<u64>,
    price: Text<Decimal>,
    base_volume: Text<Decimal>,
    fee_detail: [FillFeeWire<'a>; 1],
    side: &'static str,
    quote_volume: Text<Decimal>,
    profit: Text<Decimal>,
    enter_point_source: &'static str,
    trade_side: &'static str,
    pos_mode: &'static str,
    trade_scope: &'static str,
    c_time: Text<i64>,
}

impl<'a> FillWire<'a> {
    fn new(fill: &'a Fill, coin: &'a str) -> Self {
        Self {
            trade_id: Text(fill.trade_id),
            symbol: &fill.symbol,
            order_id: Text(fill.order_id),
            price: num(fill.price),
            base_volume: num(fill.size),
            fee_detail: [FillFeeWire {
                fee_coin: coin,
                deduction: "no",
                total_deduction_fee: "0",
                total_fee: num(-fill.fee),
            }],
            side: side_v2(fill.side, fill.hold_mode, Some(fill.hold_side)),
            quote_volume: num(fill.value()),
            profit: num(fill.profit),
            enter_point_source: "api",
            trade_side: trade_side(fill.hold_mode, fill.side, fill.effect, fill.liquidation),
            pos_mode: hold_mode(fill.hold_mode),
            trade_scope: trade_scope(fill.maker),
            c_time: Text(fill.time_ms),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderWire<'a> {
    symbol: &'a str,
    size: Text<Decimal>,
    order_id: Text<u64>,
    client_oid: &'a str,
    base_volume: Text<Decimal>,
    fee: Text<Decimal>,
    price: Text<Decimal>,
    price_avg: Blank,
    status: &'static str,
    side: &'static str,
    force: &'static str,
    total_profits: Text<Decimal>,
    pos_side: &'static str,
    margin_coin: &'a str,
    quote_volume: Text<Decimal>,
    leverage: Text<Decimal>,
    margin_mode: &'static str,
    enter_point_source: &'static str,
    trade_side: &'static str,
    pos_mode: &'static str,
    order_type: &'static str,
    order_source: &'static str,
    preset_stop_surplus_price: &'static str,
    preset_stop_loss_price: &'static str,
    reduce_only: &'static str,
    c_time: Text<i64>,
    u_time: Text<i64>,
}

impl<'a> OrderWire<'a> {
    fn new(order: &'a Order, coin: &'a str) -> Self {
        Self {
            symbol: &order.symbol,
            size: num(order.size),
            order_id: Text(order.order_id),
            client_oid: &order.client_order_id,
            base_volume: num(order.filled),
            fee: num(-order.fee),
            price: num(order.limit_price.unwrap_or_default()),
            price_avg: blank(order.average_price()),
            status: status(order.status),
            side: side_v2(order.side, order.hold_mode, order.hold_side),
            force: "gtc",
            total_profits: num(order.profit),
            pos_side: pos_side(order),
            margin_coin: coin,
            quote_volume: num(order.filled_value),
            leverage: num(order.leverage),
            margin_mode: order.margin_mode.label(),
            enter_point_source: "API",
            trade_side: trade_side(order.hold_mode, order.side, order.effect, order.liquidation),
            pos_mode: hold_mode(order.hold_mode),
            order_type: order_type(order.is_maker()),
            order_source: "normal",
            preset_stop_surplus_price: "",
            preset_stop_loss_price: "",
            reduce_only: if order.effect == Effect::Close { "YES" } else { "NO" },
            c_time: Text(order.created_ms),
            u_time: Text(order.updated_ms),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedWire<'a> {
    position_id: Text<u64>,
    symbol: &'a str,
    margin_coin: &'a str,
    hold_side: &'static str,
    pos_mode: &'static str,
    open_avg_price: Text<Decimal>,
    close_avg_price: Text<Decimal>,
    margin_mode: &'static str,
    open_total_pos: Text<Decimal>,
    close_total_pos: Text<Decimal>,
    pnl: Text<Decimal>,
    net_profit: Text<Decimal>,
    total_funding: Text<Decimal>,
    open_fee: Text<Decimal>,
    close_fee: Text<Decimal>,
    #[serde(rename = "utime")]
    u_time: Text<i64>,
    #[serde(rename = "ctime")]
    c_time: Text<i64>,
}

impl<'a> ClosedWire<'a> {
    fn new(row: &'a ClosedPosition, coin: &'a str) -> Self {
        Self {
            position_id: Text(row.history_id),
            symbol: &row.symbol,
            margin_coin: coin,
            hold_side: row.side.label(),
            pos_mode: hold_mode(row.hold_mode),
            open_avg_price: num(row.open_price),
            close_avg_price: num(row.close_price),
            margin_mode: row.margin_mode.label(),
            open_total_pos: num(row.open_size),
            close_total_pos: num(row.close_size),
            pnl: num(row.realised),
            net_profit: num(row.net()),
            total_funding: num(row.funding),
            open_fee: num(-row.open_fee),
            close_fee: num(-row.close_fee),
            u_time: Text(row.closed_ms),
            c_time: Text(row.opened_ms),
        }
    }
}
