//! What really happened to an account, one JSON object each, for the truth log. Numbers of money are text.

use super::values::Happened;
use super::{Account, Effect, OrderSide};
use crate::domain::account::OrderStatus;
use rust_decimal::Decimal;
use serde_json::{Value, json};

fn side(side: OrderSide) -> &'static str {
    match side {
        OrderSide::Buy => "buy",
        OrderSide::Sell => "sell",
    }
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Open => "open",
        Effect::Close => "close",
        Effect::Net => "net",
    }
}

fn text(number: Decimal) -> String {
    number.normalize().to_string()
}

/// The lines of what happened to the account called `name`, in its order: orders, fills, positions, closed positions, the balance after it.
pub fn lines(name: &str, account: &Account, happened: &Happened, now_ms: i64) -> Vec<Value> {
    let orders = happened.orders.iter().map(|o| {
        let status = match o.status {
            OrderStatus::Live => "live",
            OrderStatus::PartiallyFilled => "partially_filled",
            OrderStatus::Filled => "filled",
            OrderStatus::Cancelled => "cancelled",
        };
        let kind = match o.limit_price {
            _ if o.liquidation => "liquidation",
            Some(_) => "limit",
            None => "market",
        };
        json!({
            "at_ms": now_ms, "kind": "order", "order_id": o.order_id.to_string(), "symbol": o.symbol,
            "type": kind, "side": side(o.side), "effect": effect(o.effect), "price": o.limit_price.map(text),
            "size": text(o.size), "filled": text(o.filled), "status": status,
        })
    });
    let fills = happened.fills.iter().map(|f| {
        json!({
            "at_ms": now_ms, "kind": "fill", "trade_id": f.trade_id.to_string(), "order_id": f.order_id.to_string(),
            "symbol": f.symbol, "side": side(f.side), "hold_side": f.hold_side.label(), "effect": effect(f.effect),
            "price": text(f.price), "size": text(f.size), "fee": text(f.fee), "profit": text(f.profit),
            "maker": f.maker, "liquidation": f.liquidation,
        })
    });
    let positions = happened.positions.iter().map(|p| {
        json!({
            "at_ms": now_ms, "kind": "position", "symbol": p.symbol, "side": p.side.label(), "size": text(p.size),
            "entry": text(p.entry_price), "mark": text(p.mark_price), "leverage": text(p.leverage),
            "margin": text(p.margin), "margin_mode": p.margin_mode.label(), "hold_mode": p.hold_mode.label(),
            "liquidation": text(p.liquidation_price),
        })
    });
    let closed = happened.history.iter().map(|c| {
        json!({
            "at_ms": now_ms, "kind": "closed", "symbol": c.symbol, "side": c.side.label(),
            "size": text(c.close_size), "entry": text(c.open_price), "exit": text(c.close_price),
            "realised": text(c.realised), "funding": text(c.funding), "fees": text(c.open_fee + c.close_fee),
        })
    });
    let mut all: Vec<Value> = orders.chain(fills).chain(positions).chain(closed).collect();
    if let Some(row) = &happened.account {
        all.push(json!({
            "at_ms": now_ms, "kind": "balance", "coin": row.coin, "balance": text(row.balance),
            "equity": text(row.equity), "available": text(row.available), "realised": text(account.realised()),
            "fees": text(account.fees()), "funding": text(account.funding_received()),
        }));
    }
    for line in &mut all {
        line["account"] = Value::from(name);
    }
    all
}
