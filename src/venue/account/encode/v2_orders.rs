//! Order rows of the classic private socket.

use super::words::{Text, hold_mode, num, order_hold_side, order_type, side_v2, trade_side};
use crate::domain::account::OrderStatus;
use crate::domain::position::HoldMode;
use crate::venue::account::values::{Effect, Order};
use rust_decimal::Decimal;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FeeWire<'a> {
    fee_coin: &'a str,
    /// Negative = paid.
    fee: Text<Decimal>,
}

pub(super) const fn status(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Live => "live",
        OrderStatus::PartiallyFilled => "partially_filled",
        OrderStatus::Filled => "filled",
        OrderStatus::Cancelled => "canceled",
    }
}

/// `net` in one-way mode.
pub(super) fn pos_side(order: &Order) -> &'static str {
    match order.hold_mode {
        HoldMode::OneWay => "net",
        HoldMode::Hedge => order_hold_side(order).label(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderWire<'a> {
    order_id: Text<u64>,
    client_oid: &'a str,
    inst_id: &'a str,
    side: &'static str,
    pos_side: &'static str,
    trade_side: &'static str,
    order_type: &'static str,
    force: &'static str,
    price: Text<Decimal>,
    size: Text<Decimal>,
    status: &'static str,
    acc_base_volume: Text<Decimal>,
    #[serde(flatten)]
    fill: Option<LastFillWire<'a>>,
    leverage: Text<Decimal>,
    margin_mode: &'static str,
    margin_coin: &'a str,
    pos_mode: &'static str,
    reduce_only: &'static str,
    total_profits: Text<Decimal>,
    fee_detail: Vec<FeeWire<'a>>,
    notional_usd: Text<Decimal>,
    enter_point_source: &'static str,
    cancel_reason: &'static str,
    stp_mode: &'static str,
    preset_stop_surplus_price: &'static str,
    preset_stop_surplus_type: &'static str,
    preset_stop_surplus_execute_price: &'static str,
    preset_stop_loss_price: &'static str,
    preset_stop_loss_type: &'static str,
    preset_stop_loss_execute_price: &'static str,
    c_time: Text<i64>,
    u_time: Text<i64>,
}

/// Only there in a push that a fill caused.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastFillWire<'a> {
    base_volume: Text<Decimal>,
    fill_price: Text<Decimal>,
    fill_time: Text<i64>,
    fill_fee: Text<Decimal>,
    fill_fee_coin: &'a str,
    fill_notional_usd: Text<Decimal>,
    trade_id: Text<u64>,
    /// `T` taker, `M` maker.
    trade_scope: &'static str,
    price_avg: Text<Decimal>,
    pnl: Text<Decimal>,
}

impl<'a> OrderWire<'a> {
    pub(super) fn new(order: &'a Order, coin: &'a str) -> Self {
        // A cancel repeats no fill.
        let fill = order.last_fill.as_ref().filter(|_| order.status != OrderStatus::Cancelled);
        let paid = !order.filled.is_zero();
        Self {
            order_id: Text(order.order_id),
            client_oid: &order.client_order_id,
            inst_id: &order.symbol,
            side: side_v2(order.side, order.hold_mode, order.hold_side),
            pos_side: pos_side(order),
            trade_side: trade_side(order.hold_mode, order.side, order.effect, order.liquidation),
            order_type: order_type(order.is_maker()),
            force: "gtc",
            price: num(order.limit_price.unwrap_or_default()),
            size: num(order.size),
            status: status(order.status),
            acc_base_volume: num(order.filled),
            fill: fill.map(|fill| LastFillWire {
                base_volume: num(fill.size),
                fill_price: num(fill.price),
                fill_time: Text(fill.time_ms),
                fill_fee: num(-fill.fee),
                fill_fee_coin: coin,
                fill_notional_usd: num(fill.value()),
                trade_id: Text(fill.trade_id),
                trade_scope: if fill.maker { "M" } else { "T" },
                price_avg: num(order.average_price().unwrap_or_default()),
                pnl: num(fill.profit),
            }),
            leverage: num(order.leverage),
            margin_mode: order.margin_mode.label(),
            margin_coin: coin,
            pos_mode: hold_mode(order.hold_mode),
            reduce_only: if order.effect == Effect::Close { "yes" } else { "no" },
            total_profits: num(order.profit),
            fee_detail: paid.then(|| FeeWire { fee_coin: coin, fee: num(-order.fee) }).into_iter().collect(),
            notional_usd: num(order.size * order.reference_price),
            enter_point_source: "API",
            cancel_reason: if order.status == OrderStatus::Cancelled { "normal_cancel" } else { "" },
            stp_mode: "none",
            preset_stop_surplus_price: "",
            preset_stop_surplus_type: "",
            preset_stop_surplus_execute_price: "",
            preset_stop_loss_price: "",
            preset_stop_loss_type: "",
            preset_stop_loss_execute_price: "",
            c_time: Text(order.created_ms),
            u_time: Text(order.updated_ms),
        }
    }
}
