//! v3: `instType` in lower case, `topic`, `symbol`; data first, short names for trades, candles as objects.

use super::digits::Plain;
use super::{Action, side};
use crate::venue::account::encode::category;
use crate::venue::config::Generation;
use crate::venue::market::candles::{Bar, Span};
use crate::venue::market::state::{PublicTrade, SymbolState};
use rust_decimal::Decimal;
use std::fmt::Write;

pub(super) fn end(
    mut out: String,
    state: &SymbolState,
    action: Action,
    topic: &str,
    interval: Option<&str>,
    now_ms: i64,
) -> String {
    if out.ends_with(',') {
        out.pop();
    }
    let i = &state.instrument;
    let (inst_type, name, action) = (category(i.product), i.wire_name(Generation::V3), action.label());
    let _ = write!(out, r#"],"arg":{{"instType":"{inst_type}","topic":"{topic}","symbol":"{name}""#);
    if let Some(interval) = interval {
        let _ = write!(out, r#","interval":"{interval}""#);
    }
    let _ = write!(out, r#"}},"action":"{action}","ts":{now_ms}}}"#);
    out
}

pub(super) fn begin(capacity: usize) -> String {
    let mut out = String::with_capacity(capacity);
    out.push_str(r#"{"data":["#);
    out
}

/// No symbol and no time in the row: argument and envelope have them.
pub fn ticker(state: &SymbolState, now_ms: i64) -> String {
    let mut out = begin(800);
    out.push('{');
    ticker_fields(&mut out, state);
    out.push('}');
    end(out, state, Action::Snapshot, "ticker", None, now_ms)
}

/// The fields that the WebSocket and the REST row share, without braces.
pub fn ticker_fields(out: &mut String, s: &SymbolState) {
    let change = if s.open_24h.is_zero() { Decimal::ZERO } else { ((s.last - s.open_24h) / s.open_24h).round_dp(5) };
    let _ = write!(
        out,
        concat!(
            r#""highPrice24h":"{high}","lowPrice24h":"{low}","openPrice24h":"{open}","lastPrice":"{last}","#,
            r#""turnover24h":"{quote}","volume24h":"{base}","bid1Price":"{bid}","ask1Price":"{ask}","#,
            r#""bid1Size":"{bid_size}","ask1Size":"{ask_size}","price24hPcnt":"{change}","indexPrice":"{index}","#,
            r#""markPrice":"{mark}","fundingRate":"{funding}","openInterest":"{interest}","nextFundingTime":"{next}","#,
            r#""deliveryTime":"","deliveryStartTime":"","deliveryStatus":"""#
        ),
        high = Plain(s.high_24h),
        low = Plain(s.low_24h),
        open = Plain(s.open_24h),
        last = Plain(s.last),
        quote = Plain(s.quote_volume.round_dp(4)),
        base = Plain(s.base_volume),
        bid = Plain(s.bid),
        ask = Plain(s.ask),
        bid_size = Plain(s.bid_size),
        ask_size = Plain(s.ask_size),
        change = Plain(change),
        index = Plain(s.index),
        mark = Plain(s.mark),
        funding = Plain(s.funding_rate),
        interest = Plain(s.open_interest),
        next = s.next_funding_ms,
    );
}

pub fn trades<'a>(
    state: &SymbolState,
    action: Action,
    newest_first: impl Iterator<Item = &'a PublicTrade>,
    now_ms: i64,
) -> String {
    let mut out = begin(512);
    for t in newest_first {
        let (id, link, price, size, side, ts) = (t.id, t.id + 1, Plain(t.price), Plain(t.size), side(t.side), t.ts_ms);
        let _ = write!(
            out,
            r#"{{"i":"{id}","L":"{link}","p":"{price}","v":"{size}","S":"{side}","T":"{ts}","isRPI":"no"}},"#
        );
    }
    end(out, state, action, "publicTrade", None, now_ms)
}

pub fn candles<'a>(
    state: &SymbolState,
    span: Span,
    action: Action,
    oldest_first: impl Iterator<Item = &'a Bar>,
    now_ms: i64,
) -> String {
    let mut out = begin(256);
    for bar in oldest_first {
        let Bar { start_ms, open, high, low, close, base_volume, quote_volume } = bar;
        let turnover = quote_volume.round_dp(6);
        let _ = write!(
            out,
            concat!(
                r#"{{"start":"{start}","open":"{open}","high":"{high}","low":"{low}","close":"{close}","#,
                r#""volume":"{volume}","turnover":"{turnover}"}},"#
            ),
            start = start_ms,
            open = Plain(*open),
            high = Plain(*high),
            low = Plain(*low),
            close = Plain(*close),
            volume = Plain(*base_volume),
            turnover = Plain(turnover),
        );
    }
    end(out, state, action, "kline", Some(&span.name()), now_ms)
}
