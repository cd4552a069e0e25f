//! Book and liquidation frames, and the books of REST.

use super::digits::Plain;
use super::{Action, v2, v3};
use crate::venue::account::encode::category;
use crate::venue::book::{Book, Depth, Ladder, Level};
use crate::venue::config::Generation;
use crate::venue::instrument::Instrument;
use crate::venue::liquidation::Liquidation;
use crate::venue::market::state::SymbolState;
use rust_decimal::Decimal;
use std::fmt::Write;

/// A whole book, or its best levels. A snapshot begins a chain, so it follows nothing: `pseq` is 0.
pub fn snapshot(generation: Generation, depth: Depth, state: &SymbolState, book: &Book, now_ms: i64) -> String {
    let count = depth.levels(generation, state.instrument.product);
    let (bids, asks) = book.ladder.top(count);
    frame(generation, depth, state, Action::Snapshot, bids, asks, [book.seq, 0], now_ms)
}

/// What changed in the whole book.
pub fn update(generation: Generation, state: &SymbolState, book: &Book, changes: &Ladder, now_ms: i64) -> String {
    let chain = [book.seq, book.pseq];
    frame(generation, Depth::Full, state, Action::Update, &changes.bids, &changes.asks, chain, now_ms)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one frame; a struct would only rename them")]
fn frame(
    generation: Generation,
    depth: Depth,
    state: &SymbolState,
    action: Action,
    bids: &[Level],
    asks: &[Level],
    [seq, pseq]: [u64; 2],
    now_ms: i64,
) -> String {
    let i = &state.instrument;
    let capacity = 200 + 28 * (bids.len() + asks.len());
    match generation {
        Generation::V2 => {
            let mut out = v2::begin(state, action, depth.channel(), capacity);
            out.push_str(r#"{"asks":"#);
            levels(&mut out, i, asks);
            out.push_str(r#","bids":"#);
            levels(&mut out, i, bids);
            let _ = write!(out, r#","ts":"{now_ms}","seq":{seq},"pseq":{pseq}}}"#);
            v2::end(out, now_ms)
        }
        Generation::V3 => {
            let mut out = v3::begin(capacity);
            out.push_str(r#"{"a":"#);
            levels(&mut out, i, asks);
            out.push_str(r#","b":"#);
            levels(&mut out, i, bids);
            let most = depth.levels(generation, i.product);
            let _ = write!(out, r#","pseq":{pseq},"seq":{seq},"ts":"{now_ms}","maxdepth":"{most}"}}"#);
            v3::end(out, state, action, depth.channel(), None, now_ms)
        }
    }
}

fn levels(out: &mut String, instrument: &Instrument, levels: &[Level]) {
    out.push('[');
    for (number, (ticks, steps)) in levels.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        let price = Plain(Decimal::new(*ticks, instrument.price_scale));
        if *steps == 0 {
            let _ = write!(out, r#"["{price}","0"]"#);
        } else {
            let size = Plain(Decimal::new(*steps, instrument.size_scale));
            let _ = write!(out, r#"["{price}","{size}"]"#);
        }
    }
    out.push(']');
}

/// The `data` of a REST book.
pub fn rest(generation: Generation, state: &SymbolState, ladder: &Ladder, now_ms: i64) -> String {
    let i = &state.instrument;
    let [asks, bids] = match generation {
        Generation::V2 => ["asks", "bids"],
        Generation::V3 => ["a", "b"],
    };
    let mut out = format!(r#"{{"{asks}":"#);
    levels(&mut out, i, &ladder.asks);
    let _ = write!(out, r#","{bids}":"#);
    levels(&mut out, i, &ladder.bids);
    let _ = write!(out, r#","ts":"{now_ms}""#);
    if generation == Generation::V2 {
        let _ = write!(out, r#","scale":"{}","precision":"scale0","isMaxPrecision":"NO""#, i.tick());
    }
    out.push('}');
    out
}

/// v3 `liquidation`: market-wide, so the argument names no symbol.
pub fn liquidations(state: &SymbolState, rows: &[Liquidation], now_ms: i64) -> String {
    let mut out = v3::begin(256);
    let name = state.instrument.wire_name(Generation::V3);
    for row in rows {
        let (side, price, amount, ts) = (super::side(row.side), row.price, row.amount, row.ts_ms);
        let _ =
            write!(out, r#"{{"symbol":"{name}","side":"{side}","price":"{price}","amount":"{amount}","ts":"{ts}"}},"#);
    }
    out.pop();
    let inst_type = category(state.instrument.product);
    let _ =
        write!(out, r#"],"arg":{{"instType":"{inst_type}","topic":"liquidation"}},"action":"update","ts":{now_ms}}}"#);
    out
}
