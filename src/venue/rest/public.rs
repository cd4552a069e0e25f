//! Public REST: which path asks for what. Rows are made in [`super::lists`] and [`super::market`].

use super::query::Query;
use super::{Refusal, lists, market};
use crate::venue::account::encode::{product_type, rest_ok};
use crate::venue::config::Generation::{V2, V3};
use crate::venue::core::Shared;
use crate::venue::market::state::SymbolState;
use crate::venue::wire;
use std::fmt::Write;

/// What is answered here.
pub const PATHS: [&str; 33] = [
    "/api/v2/public/time",
    "/api/v3/public/time",
    "/api/v2/mix/market/contracts",
    "/api/v3/market/instruments",
    "/api/v2/mix/market/tickers",
    "/api/v2/mix/market/ticker",
    "/api/v3/market/tickers",
    "/api/v2/mix/market/current-fund-rate",
    "/api/v3/market/current-fund-rate",
    "/api/v2/mix/market/history-fund-rate",
    "/api/v3/market/history-fund-rate",
    "/api/v2/mix/market/funding-time",
    "/api/v2/mix/market/merge-depth",
    "/api/v2/mix/market/orderbook",
    "/api/v3/market/orderbook",
    "/api/v2/mix/market/candles",
    "/api/v2/mix/market/history-candles",
    "/api/v2/mix/market/history-mark-candles",
    "/api/v2/mix/market/history-index-candles",
    "/api/v3/market/candles",
    "/api/v3/market/history-candles",
    "/api/v2/mix/market/fills",
    "/api/v2/mix/market/fills-history",
    "/api/v3/market/fills",
    "/api/v2/mix/market/open-interest",
    "/api/v3/market/open-interest",
    "/api/v2/mix/market/symbol-price",
    "/api/v2/mix/market/query-position-lever",
    "/api/v3/market/position-tier",
    "/api/v2/spot/public/symbols",
    "/api/v2/spot/public/coins",
    "/api/v2/margin/currencies",
    "/api/v2/spot/market/tickers",
];

/// The answer, or `None` where the path is no public one.
pub fn answer(shared: &Shared, path: &str, query: &Query) -> Option<Result<String, Refusal>> {
    if !PATHS.contains(&path) {
        return None;
    }
    let mut core = shared.core();
    let now_ms = core.now_ms();
    let core = &mut *core;
    let data = match path {
        "/api/v2/public/time" | "/api/v3/public/time" => Ok(format!(r#"{{"serverTime":"{now_ms}"}}"#)),
        "/api/v2/mix/market/contracts" => lists::contracts(core, query),
        "/api/v3/market/instruments" => lists::instruments(core, query),
        "/api/v2/mix/market/tickers" => lists::rows(core, query, "productType", |out, s| v2_ticker(out, s, now_ms)),
        "/api/v2/mix/market/ticker" => match query.get("symbol") {
            // Both are needed here, though a symbol alone would say enough.
            Some(_) if query.get("productType").is_none() => Err(Refusal::parameter("productType")),
            Some(_) => lists::rows(core, query, "productType", |out, s| v2_ticker(out, s, now_ms)),
            None => Err(Refusal::parameter("symbol")),
        },
        "/api/v3/market/tickers" => lists::rows(core, query, "category", |out, s| v3_ticker(out, s, now_ms)),
        "/api/v2/mix/market/current-fund-rate" => lists::rows(core, query, "productType", v2_funding),
        "/api/v3/market/current-fund-rate" => lists::rows(core, query, "category", v3_funding),
        "/api/v2/mix/market/history-fund-rate" => market::past_funding(core, query, V2, now_ms),
        "/api/v3/market/history-fund-rate" => market::past_funding(core, query, V3, now_ms),
        "/api/v2/mix/market/funding-time" => market::funding_time(core, query),
        "/api/v2/mix/market/merge-depth" | "/api/v2/mix/market/orderbook" => market::book(core, query, V2, now_ms),
        "/api/v3/market/orderbook" => market::book(core, query, V3, now_ms),
        "/api/v2/mix/market/candles" => market::candles(core, query, V2, 1_000, now_ms),
        "/api/v2/mix/market/history-candles"
        | "/api/v2/mix/market/history-mark-candles"
        | "/api/v2/mix/market/history-index-candles" => market::candles(core, query, V2, 200, now_ms),
        "/api/v3/market/candles" => market::candles(core, query, V3, 1_000, now_ms),
        "/api/v3/market/history-candles" => market::candles(core, query, V3, 100, now_ms),
        "/api/v2/mix/market/fills" | "/api/v2/mix/market/fills-history" => market::trades(core, query, V2),
        "/api/v3/market/fills" => market::trades(core, query, V3),
        "/api/v2/mix/market/open-interest" => market::open_interest(core, query, V2, now_ms),
        "/api/v3/market/open-interest" => market::open_interest(core, query, V3, now_ms),
        "/api/v2/mix/market/symbol-price" => market::prices(core, query, now_ms),
        "/api/v2/mix/market/query-position-lever" => market::tiers(core, query, V2),
        "/api/v3/market/position-tier" => market::tiers(core, query, V3),
        "/api/v2/spot/public/symbols" => lists::spot_symbols(core, query),
        "/api/v2/spot/public/coins" => Ok(lists::coins(core, query)),
        "/api/v2/spot/market/tickers" => lists::spot_tickers(query),
        "/api/v2/margin/currencies" => Ok("[]".to_owned()),
        _ => return None,
    };
    Some(data.map(|data| rest_ok(&data, now_ms)))
}

fn v2_ticker(out: &mut String, s: &SymbolState, now_ms: i64) {
    wire::v2::ticker_row(out, s, now_ms);
}

fn v3_ticker(out: &mut String, s: &SymbolState, now_ms: i64) {
    let category = product_type(s.instrument.product);
    let name = s.instrument.wire_name(V3);
    let _ = write!(out, r#"{{"category":"{category}","symbol":"{name}","ts":"{now_ms}","#);
    wire::v3::ticker_fields(out, s);
    out.push('}');
}

fn v2_funding(out: &mut String, s: &SymbolState) {
    funding(out, s, &s.instrument.name);
}

fn v3_funding(out: &mut String, s: &SymbolState) {
    funding(out, s, &s.instrument.wire_name(V3));
}

fn funding(out: &mut String, s: &SymbolState, name: &str) {
    let (rate, next) = (s.funding_rate, s.next_funding_ms);
    let _ = write!(
        out,
        concat!(
            r#"{{"symbol":"{name}","fundingRate":"{rate}","fundingRateInterval":"8","nextUpdate":"{next}","#,
            r#""minFundingRate":"-0.003","maxFundingRate":"0.003"}}"#
        ),
        name = name,
        rate = rate,
        next = next,
    );
}
