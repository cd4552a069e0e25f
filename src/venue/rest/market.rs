//! Public REST about one symbol: books, candles, trades, open interest, prices, funding.

use super::query::Query;
use super::{Refusal, product};
use crate::venue::book::Ladder;
use crate::venue::config::Generation;
use crate::venue::core::Core;
use crate::venue::market::candles::Span;
use crate::venue::market::state::{PublicTrade, SymbolState};
use crate::venue::wire;
use std::fmt::Write;

/// Funding is settled every so many ms.
const FUNDING_MS: i64 = 8 * 3_600_000;

/// The symbol that a request names, by the product that it names.
fn symbol(core: &Core, query: &Query, generation: Generation) -> Result<usize, Refusal> {
    let key = if generation == Generation::V2 { "productType" } else { "category" };
    let asked = product::asked(query, key)?.ok_or_else(|| Refusal::parameter(key))?;
    let name = query.get("symbol").ok_or_else(|| Refusal::parameter("symbol"))?.to_uppercase();
    let found = core.market.symbols.iter().position(|state| {
        asked.traded() == Some(state.instrument.product) && *state.instrument.wire_name(generation) == *name
    });
    found.ok_or_else(|| Refusal::new("40034", format!("Parameter {name} does not exist")))
}

fn count(query: &Query, default: usize, most: usize) -> Result<usize, Refusal> {
    match query.get("limit") {
        // v2 books also take the word.
        Some("max") => Ok(most),
        Some(text) => text.parse().map(|n: usize| n.clamp(1, most)).map_err(|_| Refusal::parameter("limit")),
        None => Ok(default),
    }
}

/// v2 `merge-depth` and `orderbook`, v3 `orderbook`.
pub fn book(core: &Core, query: &Query, generation: Generation, now_ms: i64) -> Result<String, Refusal> {
    let state = core.state(symbol(core, query, generation)?);
    let levels = match generation {
        Generation::V2 => count(query, 100, 1_000)?,
        Generation::V3 => count(query, 5, 1_000)?,
    };
    Ok(wire::book::rest(generation, state, &Ladder::of(state, levels, now_ms), now_ms))
}

/// Candles, oldest first, of seven cells. `most` differs between the recent and the history door.
pub fn candles(
    core: &mut Core,
    query: &Query,
    generation: Generation,
    most: usize,
    now_ms: i64,
) -> Result<String, Refusal> {
    let index = symbol(core, query, generation)?;
    let key = if generation == Generation::V2 { "granularity" } else { "interval" };
    let name = query.get(key).ok_or_else(|| Refusal::parameter(key))?;
    let span = if generation == Generation::V2 { Span::v2(name) } else { Span::v3(name) };
    let span = span.ok_or_else(|| Refusal::parameter(key))?;
    let limit = count(query, 100, most)?;
    let time =
        |key: &str| query.get(key).map(|text| text.parse::<i64>().map_err(|_| Refusal::parameter(key))).transpose();
    let (from, to) = (time("startTime")?.unwrap_or(i64::MIN), time("endTime")?.unwrap_or(i64::MAX));
    let bars = &core.market.symbols[index].series(span, now_ms).bars;
    let fits: Vec<_> = bars.iter().filter(|bar| bar.start_ms >= from && bar.start_ms <= to).collect();
    let mut out = String::from("[");
    for bar in &fits[fits.len().saturating_sub(limit)..] {
        if out.len() > 1 {
            out.push(',');
        }
        let quote = bar.quote_volume.round_dp(6);
        let _ = write!(
            out,
            r#"["{}","{}","{}","{}","{}","{}","{quote}"]"#,
            bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.base_volume
        );
    }
    out.push(']');
    Ok(out)
}

/// The newest public trades, newest first.
pub fn trades(core: &Core, query: &Query, generation: Generation) -> Result<String, Refusal> {
    let state = core.state(symbol(core, query, generation)?);
    let limit = count(query, 100, 1_000)?;
    let id_key = if generation == Generation::V2 { "tradeId" } else { "execId" };
    let mut out = String::from("[");
    for trade in state.recent.iter().rev().take(limit) {
        let PublicTrade { ts_ms, price, size, side, id } = trade;
        let side = wire::side(*side);
        if out.len() > 1 {
            out.push(',');
        }
        let _ = write!(out, r#"{{"{id_key}":"{id}","price":"{price}","size":"{size}","side":"{side}","ts":"{ts_ms}""#);
        if generation == Generation::V2 {
            let _ = write!(out, r#","symbol":"{}""#, state.instrument.name);
        }
        out.push('}');
    }
    out.push(']');
    Ok(out)
}

pub fn open_interest(core: &Core, query: &Query, generation: Generation, now_ms: i64) -> Result<String, Refusal> {
    let state = core.state(symbol(core, query, generation)?);
    let (name, interest) = (state.instrument.wire_name(generation), state.open_interest);
    let (list, cell) = match generation {
        Generation::V2 => ("openInterestList", "size"),
        Generation::V3 => ("list", "openInterest"),
    };
    Ok(format!(r#"{{"{list}":[{{"symbol":"{name}","{cell}":"{interest}"}}],"ts":"{now_ms}"}}"#))
}

/// v2 `symbol-price`.
pub fn prices(core: &Core, query: &Query, now_ms: i64) -> Result<String, Refusal> {
    let s = core.state(symbol(core, query, Generation::V2)?);
    let (name, last, index, mark) = (&s.instrument.name, s.last, s.index, s.mark);
    Ok(format!(
        r#"[{{"symbol":"{name}","price":"{last}","indexPrice":"{index}","markPrice":"{mark}","ts":"{now_ms}"}}]"#
    ))
}

/// v2 `funding-time`.
pub fn funding_time(core: &Core, query: &Query) -> Result<String, Refusal> {
    let s = core.state(symbol(core, query, Generation::V2)?);
    let (name, next) = (&s.instrument.name, s.next_funding_ms);
    Ok(format!(r#"[{{"symbol":"{name}","nextFundingTime":"{next}","ratePeriod":"8"}}]"#))
}

/// Past funding, newest first. Only the present rate is known here, so every past one is shown as that.
pub fn past_funding(core: &Core, query: &Query, generation: Generation, now_ms: i64) -> Result<String, Refusal> {
    let state = core.state(symbol(core, query, generation)?);
    let limit = match query.get("limit").or_else(|| query.get("pageSize")) {
        Some(text) => text.parse::<i64>().map_err(|_| Refusal::parameter("limit"))?.clamp(1, 100),
        None => 20,
    };
    let (name, rate) = (state.instrument.wire_name(generation), state.funding_rate);
    let key = if generation == Generation::V2 { "fundingTime" } else { "fundingRateTimestamp" };
    let newest = now_ms.div_euclid(FUNDING_MS) * FUNDING_MS;
    let rows = (0..limit).map(|back| {
        let at = newest - back * FUNDING_MS;
        format!(r#"{{"symbol":"{name}","fundingRate":"{rate}","{key}":"{at}"}}"#)
    });
    let rows = rows.collect::<Vec<_>>().join(",");
    Ok(match generation {
        Generation::V2 => format!("[{rows}]"),
        Generation::V3 => format!(r#"{{"resultList":[{rows}]}}"#),
    })
}

/// One step of leverage for all sizes: v2 `query-position-lever`, v3 `position-tier`.
pub fn tiers(core: &Core, query: &Query, generation: Generation) -> Result<String, Refusal> {
    let state: &SymbolState = core.state(symbol(core, query, generation)?);
    let name = state.instrument.wire_name(generation);
    Ok(match generation {
        Generation::V2 => format!(
            r#"[{{"symbol":"{name}","level":"1","startUnit":"0","endUnit":"150000000","leverage":"125","keepMarginRate":"0.004"}}]"#
        ),
        Generation::V3 => format!(
            r#"[{{"tier":"1","minTierValue":"0","maxTierValue":"150000000","leverage":"125","mmr":"0.004","symbol":"{name}"}}]"#
        ),
    })
}
