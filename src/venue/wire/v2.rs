//! v2: `instType`, `channel`, `instId`; arguments first, rows as objects (candles as arrays).

use super::digits::Plain;
use super::{Action, side};
use crate::venue::account::encode::product_type;
use crate::venue::market::candles::{Bar, Span};
use crate::venue::market::state::{PublicTrade, SymbolState};
use rust_decimal::Decimal;
use std::fmt::Write;

/// Starts a frame and leaves it at the opening bracket of `data`.
pub(super) fn begin(state: &SymbolState, action: Action, channel: &str, capacity: usize) -> String {
    let mut out = String::with_capacity(capacity);
    let product = product_type(state.instrument.product);
    let (action, name) = (action.label(), &state.instrument.name);
    let _ = write!(
        out,
        r#"{{"action":"{action}","arg":{{"instType":"{product}","channel":"{channel}","instId":"{name}"}},"data":["#
    );
    out
}

pub(super) fn end(mut out: String, now_ms: i64) -> String {
    if out.ends_with(',') {
        out.pop();
    }
    let _ = write!(out, r#"],"ts":{now_ms}}}"#);
    out
}

pub fn ticker(state: &SymbolState, now_ms: i64) -> String {
    let mut out = begin(state, Action::Snapshot, "ticker", 800);
    ticker_row(&mut out, state, now_ms);
    end(out, now_ms)
}

/// The fields of the WebSocket row and of the REST row are the same.
pub fn ticker_row(out: &mut String, s: &SymbolState, now_ms: i64) {
    let change = if s.open_24h.is_zero() { Decimal::ZERO } else { ((s.last - s.open_24h) / s.open_24h).round_dp(5) };
    let _ = write!(
        out,
        concat!(
            r#"{{"instId":"{name}","symbol":"{name}","lastPr":"{last}","bidPr":"{bid}","askPr":"{ask}","bidSz":"{bid_size}","#,
            r#""askSz":"{ask_size}","open24h":"{open}","high24h":"{high}","low24h":"{low}","change24h":"{change}","#,
            r#""fundingRate":"{funding}","nextFundingTime":"{next}","markPrice":"{mark}","indexPrice":"{index}","#,
            r#""holdingAmount":"{interest}","baseVolume":"{base}","quoteVolume":"{quote}","openUtc":"{open}","#,
            r#""symbolType":1,"deliveryPrice":"0","ts":"{now_ms}"}}"#
        ),
        name = s.instrument.name,
        last = Plain(s.last),
        bid = Plain(s.bid),
        ask = Plain(s.ask),
        bid_size = Plain(s.bid_size),
        ask_size = Plain(s.ask_size),
        open = Plain(s.open_24h),
        high = Plain(s.high_24h),
        low = Plain(s.low_24h),
        change = Plain(change),
        funding = Plain(s.funding_rate),
        next = s.next_funding_ms,
        mark = Plain(s.mark),
        index = Plain(s.index),
        interest = Plain(s.open_interest),
        base = Plain(s.base_volume),
        quote = Plain(s.quote_volume.round_dp(4)),
        now_ms = now_ms,
    );
}

pub fn trades<'a>(
    state: &SymbolState,
    action: Action,
    newest_first: impl Iterator<Item = &'a PublicTrade>,
    now_ms: i64,
) -> String {
    let mut out = begin(state, action, "trade", 512);
    for t in newest_first {
        let (ts, price, size, side, id) = (t.ts_ms, Plain(t.price), Plain(t.size), side(t.side), t.id);
        let _ = write!(out, r#"{{"ts":"{ts}","price":"{price}","size":"{size}","side":"{side}","tradeId":"{id}"}},"#);
    }
    end(out, now_ms)
}

pub fn candles<'a>(
    state: &SymbolState,
    span: Span,
    action: Action,
    oldest_first: impl Iterator<Item = &'a Bar>,
    now_ms: i64,
) -> String {
    let mut out = begin(state, action, &format!("candle{}", span.name()), 256);
    for bar in oldest_first {
        candle_row(&mut out, bar);
        out.push(',');
    }
    end(out, now_ms)
}

pub fn candle_row(out: &mut String, bar: &Bar) {
    let Bar { start_ms, open, high, low, close, base_volume, quote_volume } = bar;
    let [open, high, low, close, base_volume] = [open, high, low, close, base_volume].map(|number| Plain(*number));
    let quote = Plain(quote_volume.round_dp(6));
    let _ = write!(out, r#"["{start_ms}","{open}","{high}","{low}","{close}","{base_volume}","{quote}","{quote}"]"#);
}
