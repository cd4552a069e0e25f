//! The lists that clients load before they begin: contracts, instruments, spot symbols, coins.

use super::query::Query;
use super::{Refusal, product};
use crate::domain::symbol::Product;
use crate::venue::account::encode::product_type;
use crate::venue::config::Generation;
use crate::venue::core::Core;
use crate::venue::faults::{FaultName, FaultSpec};
use crate::venue::instrument::Instrument;
use crate::venue::market::state::SymbolState;
use std::collections::BTreeSet;
use std::fmt::Write;

/// What a fill in spot would cost, by the list of its symbols.
pub const SPOT_FEE: &str = "0.002";

/// Rows of all symbols of a product (or of the one asked for). `key` names the product: `productType` or `category`.
pub fn rows(
    core: &mut Core,
    query: &Query,
    key: &str,
    row: impl Fn(&mut String, &SymbolState),
) -> Result<String, Refusal> {
    let asked = product::asked(query, key)?;
    if asked.is_none() && query.get("symbol").is_none() {
        return Err(Refusal::parameter(key));
    }
    if core.faults.hit(FaultName::RestListNull).is_some() {
        return Ok("[]".to_owned());
    }
    let generation = if key == "category" { Generation::V3 } else { Generation::V2 };
    let symbol = query.get("symbol").map(str::to_uppercase);
    let mut out = String::from("[");
    for state in &core.market.symbols {
        let instrument = &state.instrument;
        let fits = symbol.as_ref().is_none_or(|name| **name == *instrument.wire_name(generation));
        if fits && asked.is_none_or(|asked| asked.traded() == Some(instrument.product)) {
            if out.len() > 1 {
                out.push(',');
            }
            row(&mut out, state);
        }
    }
    if symbol.is_some() && out.len() == 1 {
        return Err(Refusal::new("40034", "Parameter does not exist"));
    }
    out.push(']');
    Ok(out)
}

/// v2 `contracts`. The three simulated products list one contract each, as the real exchange does; nothing is
/// traded in them.
pub fn contracts(core: &mut Core, query: &Query) -> Result<String, Refusal> {
    let simulated = match query.get("productType").map(str::to_uppercase).as_deref() {
        Some("SUSDT-FUTURES") => Some(("SBTCSUSDT", "SUSDT", "SUSDT")),
        Some("SUSDC-FUTURES") => Some(("SBTCSPERP", "SUSDC", "SUSDC")),
        Some("SCOIN-FUTURES") => Some(("SBTCSUSD", "SUSD", "SBTC")),
        _ => None,
    };
    if let Some((name, quote, coin)) = simulated
        && query.get("symbol").is_none_or(|asked| asked.eq_ignore_ascii_case(name))
    {
        let btc = Instrument::named("BTCUSDT");
        let instrument = Instrument { name: name.to_owned(), base: "SBTC".to_owned(), quote: quote.to_owned(), ..btc };
        let mut out = String::from("[");
        contract(&mut out, &instrument, coin, false);
        out.push(']');
        return Ok(out);
    }
    let maintained = maintained(core);
    rows(core, query, "productType", |out, s| {
        contract(
            out,
            &s.instrument,
            margin_coin(&s.instrument),
            maintained.as_ref().is_some_and(|m| m.means(&s.instrument.name)),
        );
    })
}

fn maintained(core: &mut Core) -> Option<FaultSpec> {
    core.faults.hit(FaultName::SymbolMaintain).cloned()
}

fn margin_coin(instrument: &Instrument) -> &str {
    match instrument.product {
        Product::UsdtFutures => "USDT",
        Product::UsdcFutures => "USDC",
        Product::CoinFutures => &instrument.base,
    }
}

fn contract(out: &mut String, i: &Instrument, coin: &str, maintained: bool) {
    let status = if maintained { "maintain" } else { "normal" };
    let _ = write!(
        out,
        concat!(
            r#"{{"symbol":"{name}","baseCoin":"{base}","quoteCoin":"{quote}","buyLimitPriceRatio":"0.05","#,
            r#""sellLimitPriceRatio":"0.05","feeRateUpRatio":"0.005","makerFeeRate":"0.0002","takerFeeRate":"0.0006","#,
            r#""openCostUpRatio":"0.01","supportMarginCoins":["{coin}"],"minTradeNum":"{step}","priceEndStep":"1","#,
            r#""volumePlace":"{volume_place}","pricePlace":"{price_place}","sizeMultiplier":"{step}","#,
            r#""symbolType":"perpetual","minTradeUSDT":"5","maxSymbolOrderNum":"200","maxProductOrderNum":"1000","#,
            r#""maxPositionNum":"150","symbolStatus":"{status}","offTime":"-1","limitOpenTime":"-1","deliveryTime":"","#,
            r#""deliveryStartTime":"","deliveryPeriod":"","launchTime":"","fundInterval":"8","minLever":"1","#,
            r#""maxLever":"125","posLimit":"0.1","maintainTime":"","openTime":"","maxMarketOrderQty":"","#,
            r#""maxOrderQty":"","isRwa":"NO"}}"#
        ),
        name = i.name,
        base = i.base,
        quote = i.quote,
        coin = coin,
        step = i.step(),
        volume_place = i.size_scale,
        price_place = i.price_scale,
        status = status,
    );
}

/// v3 `instruments`.
pub fn instruments(core: &mut Core, query: &Query) -> Result<String, Refusal> {
    if query.get("category").is_some_and(|name| name.eq_ignore_ascii_case("SPOT")) {
        return spot(core, query, |out, i| {
            let _ = write!(
                out,
                concat!(
                    r#"{{"symbol":"{name}","category":"SPOT","baseCoin":"{base}","quoteCoin":"{quote}","#,
                    r#""buyLimitPriceRatio":"0.05","sellLimitPriceRatio":"0.05","minOrderQty":"{step}","maxOrderQty":"0","#,
                    r#""pricePrecision":"{price_place}","quantityPrecision":"{volume_place}","quotePrecision":"8","#,
                    r#""minOrderAmount":"1","maxSymbolOrderNum":"400","maxProductOrderNum":"400","status":"online","#,
                    r#""maintainTime":"","isRwa":"NO"}}"#
                ),
                name = i.name,
                base = i.base,
                quote = i.quote,
                step = i.step(),
                price_place = i.price_scale,
                volume_place = i.size_scale,
            );
        });
    }
    let maintained = maintained(core);
    rows(core, query, "category", |out, s| {
        instrument(out, &s.instrument, maintained.as_ref().is_some_and(|m| m.means(&s.instrument.name)));
    })
}

fn instrument(out: &mut String, i: &Instrument, maintained: bool) {
    let status = if maintained { "offline" } else { "online" };
    let _ = write!(
        out,
        concat!(
            r#"{{"symbol":"{name}","category":"{category}","baseCoin":"{base}","quoteCoin":"{quote}","#,
            r#""buyLimitPriceRatio":"0.05","sellLimitPriceRatio":"0.05","feeRateUpRatio":"0.005","#,
            r#""makerFeeRate":"0.0002","takerFeeRate":"0.0006","openCostUpRatio":"0.01","#,
            r#""minOrderQty":"{step}","maxOrderQty":"","pricePrecision":"{price_place}","#,
            r#""quantityPrecision":"{volume_place}","quotePrecision":null,"priceMultiplier":"{tick}","#,
            r#""quantityMultiplier":"{step}","type":"perpetual","symbolType":"perpetual","minOrderAmount":"5","#,
            r#""maxSymbolOrderNum":"200","maxProductOrderNum":"1000","maxPositionNum":"150","status":"{status}","#,
            r#""offTime":"-1","limitOpenTime":"-1","deliveryTime":"","deliveryStartTime":"","deliveryPeriod":"","#,
            r#""launchTime":"","fundInterval":"8","minLeverage":"1","maxLeverage":"125","maintainTime":"","#,
            r#""maxMarketOrderQty":"","isRwa":"NO"}}"#
        ),
        name = i.wire_name(Generation::V3),
        category = product_type(i.product),
        base = i.base,
        quote = i.quote,
        step = i.step(),
        tick = i.tick(),
        volume_place = i.size_scale,
        price_place = i.price_scale,
        status = status,
    );
}

/// v2 `spot/public/symbols`: a pair for each USDT contract, so that clients can load; nothing is traded in them here.
pub fn spot_symbols(core: &Core, query: &Query) -> Result<String, Refusal> {
    spot(core, query, |out, i| {
        let _ = write!(
            out,
            concat!(
                r#"{{"symbol":"{name}","baseCoin":"{base}","quoteCoin":"{quote}","minTradeAmount":"0","#,
                r#""maxTradeAmount":"10000000000","takerFeeRate":"{fee}","makerFeeRate":"{fee}","#,
                r#""pricePrecision":"{price_place}","quantityPrecision":"{volume_place}","quotePrecision":"8","#,
                r#""status":"online","minTradeUSDT":"1","buyLimitPriceRatio":"0.05","sellLimitPriceRatio":"0.05","#,
                r#""areaSymbol":"no","orderQuantity":"200","openTime":"","offTime":""}}"#
            ),
            name = i.name,
            base = i.base,
            quote = i.quote,
            fee = SPOT_FEE,
            price_place = i.price_scale,
            volume_place = i.size_scale,
        );
    })
}

/// v2 `spot/market/tickers`: nothing is traded, so there is none. Asked for one symbol, clients take the first row
/// without looking: they are told that it does not exist instead of being given an empty list.
pub fn spot_tickers(query: &Query) -> Result<String, Refusal> {
    match query.get("symbol") {
        Some(name) => Err(no_such_symbol(name)),
        None => Ok("[]".to_owned()),
    }
}

fn no_such_symbol(name: &str) -> Refusal {
    Refusal::new("40034", format!("Parameter {} does not exist", name.to_uppercase()))
}

fn spot(core: &Core, query: &Query, row: impl Fn(&mut String, &Instrument)) -> Result<String, Refusal> {
    let symbol = query.get("symbol").map(str::to_uppercase);
    let mut out = String::from("[");
    for instrument in core.market.symbols.iter().map(|s| &s.instrument) {
        let fits = symbol.as_ref().is_none_or(|name| *name == instrument.name);
        if fits && instrument.product == Product::UsdtFutures {
            if out.len() > 1 {
                out.push(',');
            }
            row(&mut out, instrument);
        }
    }
    if let (Some(name), 1) = (&symbol, out.len()) {
        return Err(no_such_symbol(name));
    }
    out.push(']');
    Ok(out)
}

/// v2 `spot/public/coins`: every coin that a listed contract names.
pub fn coins(core: &Core, query: &Query) -> String {
    let instruments = core.market.symbols.iter().map(|s| &s.instrument);
    let names: BTreeSet<&str> = instruments.flat_map(|i| [i.base.as_str(), i.quote.as_str()]).collect();
    let asked = query.get("coin");
    let mut out = String::from("[");
    for (number, coin) in names.into_iter().enumerate() {
        if asked.is_none_or(|name| name.eq_ignore_ascii_case(coin)) {
            if out.len() > 1 {
                out.push(',');
            }
            let _ = write!(
                out,
                concat!(
                    r#"{{"coinId":"{id}","coin":"{coin}","transfer":"true","chains":[{{"chain":"ERC20","needTag":"false","#,
                    r#""withdrawable":"true","rechargeable":"true","withdrawFee":"1","extraWithdrawFee":"0","#,
                    r#""depositConfirm":"12","withdrawConfirm":"64","minDepositAmount":"0.01","minWithdrawAmount":"10","#,
                    r#""browserUrl":"","contractAddress":"","withdrawStep":"0","withdrawMinScale":"8","#,
                    r#""congestion":"normal"}}],"areaCoin":"no"}}"#
                ),
                id = number + 1,
                coin = coin,
            );
        }
    }
    out.push(']');
    out
}
