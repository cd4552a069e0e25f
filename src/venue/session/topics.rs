//! Which stream an argument of a subscription names.

use super::Door;
use super::replies::Reject;
use crate::domain::symbol::Product;
use crate::venue::account::encode::{category, product_type};
use crate::venue::book::Depth;
use crate::venue::config::Generation;
use crate::venue::hub::{Feed, Topic};
use crate::venue::market::candles::Span;
use crate::venue::owners::MAIN;
use serde_json::Value;
use std::hash::{Hash, Hasher};

/// What the exchange lists: a symbol's index and product by its name.
pub trait Listing {
    fn find(&self, generation: Generation, name: &str) -> Option<(usize, Product)>;
}

/// v2 channels that exist and that this exchange acknowledges and leaves silent.
const V2_SILENT_PRIVATE: [&str; 3] = ["orders-algo", "adl-noti", "account-crossed"];
const V3_SILENT_PUBLIC: [&str; 4] = ["rpi-books", "rpi-books1", "rpi-books5", "rpi-books50"];
const V3_SILENT_PRIVATE: [&str; 4] = ["fast-fill", "strategy-order", "adl-notification", "liquidation-risk"];

/// The stream that `arg` names (of private ones the main account's), and the argument as it is echoed (symbol in upper case).
pub fn resolve(door: Door, arg: &Value, listing: &impl Listing) -> Result<(Topic, Value), Reject> {
    let Some(fields) = arg.as_object() else { return Err(Reject::BadParameter) };
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut echo = arg.clone();
    let topic = match door {
        Door { generation: Generation::V2, private: false } => {
            upper(&mut echo, "instId");
            let feed = v2_public(text("channel"))?;
            public(Generation::V2, text("instType"), feed, &text("instId").to_uppercase(), arg, listing)?
        }
        Door { generation: Generation::V3, private: false } => {
            upper(&mut echo, "symbol");
            let feed = v3_public(text("topic"), text("interval"), arg)?;
            public(Generation::V3, text("instType"), feed, &text("symbol").to_uppercase(), arg, listing)?
        }
        Door { generation: Generation::V2, private: true } => v2_private(arg, listing)?,
        Door { generation: Generation::V3, private: true } => {
            if text("instType") != "UTA" {
                return Err(Reject::NotThere);
            }
            let feed = match text("topic") {
                "position" => Feed::Positions,
                "account" => Feed::Account,
                "order" => Feed::Orders,
                "fill" => Feed::Fills,
                other if V3_SILENT_PRIVATE.contains(&other) => silent(arg),
                other if v3_public(other, "1m", arg).is_ok() => return Err(Reject::NotThere),
                _ => return Err(Reject::BadParameter),
            };
            Topic { generation: Generation::V3, feed, symbol: None, product: None, owner: MAIN }
        }
    };
    Ok((topic, echo))
}

fn upper(echo: &mut Value, key: &str) {
    if let Some(Value::String(name)) = echo.get_mut(key) {
        *name = name.to_uppercase();
    }
}

fn silent(arg: &Value) -> Feed {
    let mut hasher = rustc_hash::FxHasher::default();
    arg.to_string().to_uppercase().hash(&mut hasher);
    Feed::Silent(hasher.finish())
}

fn v2_public(channel: &str) -> Result<Feed, Reject> {
    match channel {
        "ticker" => Ok(Feed::Ticker),
        "trade" => Ok(Feed::Trade),
        other => match (Depth::named(Generation::V2, other), other.strip_prefix("candle").and_then(Span::v2)) {
            (Some(depth), _) => Ok(Feed::Book(depth)),
            (None, Some(span)) => Ok(Feed::Candle(span)),
            (None, None) => Err(Reject::BadParameter),
        },
    }
}

fn v3_public(topic: &str, interval: &str, arg: &Value) -> Result<Feed, Reject> {
    match topic {
        "ticker" => Ok(Feed::Ticker),
        "publicTrade" => Ok(Feed::Trade),
        "kline" => Span::v3(interval).map(Feed::Candle).ok_or(Reject::NotThere),
        "liquidation" => Ok(Feed::Liquidation),
        other if V3_SILENT_PUBLIC.contains(&other) => Ok(silent(arg)),
        other => Depth::named(Generation::V3, other).map(Feed::Book).ok_or(Reject::BadParameter),
    }
}

fn public(
    generation: Generation,
    inst_type: &str,
    feed: Feed,
    name: &str,
    arg: &Value,
    listing: &impl Listing,
) -> Result<Topic, Reject> {
    let spelled = |product: Product| match generation {
        Generation::V2 => product_type(product),
        Generation::V3 => category(product),
    };
    let spot = if generation == Generation::V2 { "SPOT" } else { "spot" };
    let asked = Product::ALL.into_iter().find(|product| spelled(*product) == inst_type);
    if asked.is_none() && inst_type != spot {
        return Err(Reject::NotThere);
    }
    if feed == Feed::Liquidation {
        // Market-wide: a symbol beside it is ignored. Spot has none.
        let feed = if asked.is_some() { feed } else { silent(arg) };
        return Ok(Topic { generation, feed, symbol: None, product: asked, owner: MAIN });
    }
    match listing.find(generation, name) {
        // A real symbol under the wrong type is acknowledged and stays silent for ever.
        Some((symbol, product)) => {
            let feed = if asked == Some(product) { feed } else { silent(arg) };
            Ok(Topic::public(generation, feed, symbol))
        }
        None => Err(Reject::NotThere),
    }
}

fn v2_private(arg: &Value, listing: &impl Listing) -> Result<Topic, Reject> {
    let text = |key: &str| arg[key].as_str().unwrap_or_default();
    let product = Product::ALL.into_iter().find(|product| product_type(*product) == text("instType"));
    let spot = text("instType") == "SPOT";
    if product.is_none() && !spot {
        return Err(Reject::NotThere);
    }
    let channel = text("channel");
    let feed = match channel {
        "positions" => Feed::Positions,
        "positions-history" => Feed::History,
        "orders" => Feed::Orders,
        "fill" => Feed::Fills,
        "account" => Feed::Account,
        "equity" => Feed::Equity,
        other if V2_SILENT_PRIVATE.contains(&other) => silent(arg),
        other if v2_public(other).is_ok() => return Err(Reject::NotThere),
        _ => return Err(Reject::BadParameter),
    };
    let name = text("instId");
    let symbol = match feed {
        // `account` takes a coin in place of an instrument, `equity` takes nothing.
        Feed::Account | Feed::Equity | Feed::Silent(_) => None,
        _ if name == "default" => None,
        Feed::Fills | Feed::Orders => {
            Some(listing.find(Generation::V2, &name.to_uppercase()).ok_or(Reject::NotThere)?.0)
        }
        _ => return Err(Reject::NotThere),
    };
    let feed = if spot { silent(arg) } else { feed };
    Ok(Topic { generation: Generation::V2, feed, symbol, product, owner: MAIN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Two;

    impl Listing for Two {
        fn find(&self, generation: Generation, name: &str) -> Option<(usize, Product)> {
            match name {
                "BTCUSD_CM" if generation == Generation::V3 => Some((1, Product::CoinFutures)),
                "BTCUSD" if generation == Generation::V3 => None,
                "BTCUSDT" => Some((0, Product::UsdtFutures)),
                "BTCUSD" => Some((1, Product::CoinFutures)),
                _ => None,
            }
        }
    }

    fn code(generation: Generation, private: bool, arg: &Value) -> Result<&'static str, u32> {
        let answer = resolve(Door { generation, private }, arg, &Two);
        answer.map(|(topic, _)| topic.feed.label()).map_err(|reject| reject.code())
    }

    #[test]
    fn v2_arguments() {
        let public = |inst_type: &str, channel: &str, id: &str| {
            code(Generation::V2, false, &json!({"instType": inst_type, "channel": channel, "instId": id}))
        };
        for (answer, expected) in [
            (public("USDT-FUTURES", "ticker", "BTCUSDT"), Ok("ticker")),
            (public("USDT-FUTURES", "ticker", "btcusdt"), Ok("ticker")),
            (public("USDT-FUTURES", "candle1H", "BTCUSDT"), Ok("candle")),
            (public("USDT-FUTURES", "candle7m", "BTCUSDT"), Err(30016)),
            (public("USDT-FUTURES", "markPrice", "BTCUSDT"), Err(30016)),
            (public("USDT-FUTURES", "ticker", "NOPEUSDT"), Err(30001)),
            (public("COIN-FUTURES", "ticker", "BTCUSDT"), Ok("silent")),
            (public("SPOT", "ticker", "BTCUSDT"), Ok("silent")),
            (public("mc", "ticker", "BTCUSDT"), Err(30001)),
            (public("USDT-FUTURES", "books", "BTCUSDT"), Ok("books")),
            (public("USDT-FUTURES", "books15", "BTCUSDT"), Ok("books15")),
            (public("USDT-FUTURES", "books50", "BTCUSDT"), Err(30016)),
            (public("USDT-FUTURES", "liquidation", "BTCUSDT"), Err(30016)),
            (public("usdt-futures", "ticker", "BTCUSDT"), Err(30001)),
        ] {
            assert_eq!(answer, expected);
        }
        let private = |channel: &str, key: &str, id: &str| {
            code(Generation::V2, true, &json!({"instType": "USDT-FUTURES", "channel": channel, key: id}))
        };
        for (answer, expected) in [
            (private("positions", "instId", "default"), Ok("positions")),
            (private("positions", "instId", "BTCUSDT"), Err(30001)),
            (private("fill", "instId", "BTCUSDT"), Ok("fill")),
            (private("account", "coin", "default"), Ok("account")),
            (private("equity", "x", ""), Ok("equity")),
            (private("orders-algo", "instId", "default"), Ok("silent")),
            (private("positions-history", "instId", "default"), Ok("positions-history")),
            (private("ticker", "instId", "BTCUSDT"), Err(30001)),
            (private("nonsense", "instId", "default"), Err(30016)),
        ] {
            assert_eq!(answer, expected);
        }
    }

    #[test]
    fn v3_arguments() {
        let public = |inst_type: &str, topic: &str, symbol: &str, interval: &str| {
            let arg = json!({"instType": inst_type, "topic": topic, "symbol": symbol, "interval": interval});
            code(Generation::V3, false, &arg)
        };
        for (answer, expected) in [
            (public("usdt-futures", "publicTrade", "BTCUSDT", ""), Ok("trade")),
            (public("USDT-FUTURES", "publicTrade", "BTCUSDT", ""), Err(30001)),
            (public("usdt-futures", "kline", "BTCUSDT", "1m"), Ok("candle")),
            (public("usdt-futures", "kline", "BTCUSDT", "2H"), Err(30001)),
            (public("usdt-futures", "trade", "BTCUSDT", ""), Err(30016)),
            (public("coin-futures", "ticker", "BTCUSD_CM", ""), Ok("ticker")),
            (public("coin-futures", "ticker", "BTCUSD", ""), Err(30001)),
            (public("usdt-futures", "books50", "btcusdt", ""), Ok("books50")),
            (public("usdt-futures", "books15", "BTCUSDT", ""), Err(30016)),
            (public("usdt-futures", "liquidation", "", ""), Ok("liquidation")),
            (public("spot", "liquidation", "", ""), Ok("silent")),
            (public("usdt-futures", "liquidation", "BTCUSDT", ""), Ok("liquidation")),
        ] {
            assert_eq!(answer, expected);
        }
        for (inst_type, expected) in [("UTA", Ok("positions")), ("uta", Err(30001)), ("usdt-futures", Err(30001))] {
            assert_eq!(code(Generation::V3, true, &json!({"instType": inst_type, "topic": "position"})), expected);
        }
    }

    #[test]
    fn the_echo_is_in_upper_case_and_keeps_the_rest() {
        let arg = json!({"instType": "usdt-futures", "topic": "ticker", "symbol": "btcusdt", "extra": 1});
        let (_, echo) = resolve(Door { generation: Generation::V3, private: false }, &arg, &Two).expect("resolves");
        assert_eq!(echo, json!({"instType": "usdt-futures", "topic": "ticker", "symbol": "BTCUSDT", "extra": 1}));
    }
}
