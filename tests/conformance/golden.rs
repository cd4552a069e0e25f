//! Every channel and every REST answer, by its shape.

use crate::client::*;
use crate::shapes::shape;
use serde_json::{Value, json};
use std::path::PathBuf;
use trapline::venue::{Speed, Venue};

fn check(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/exchange").join(format!("{name}.json"));
    if std::env::var_os("TRAPLINE_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(&path, format!("{actual}\n")).expect("writes");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(actual, golden.trim_end(), "{name}");
}

const V2_CANDLES: [&str; 21] = [
    "1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H", "6H", "8H", "12H", "1D", "3D", "1W", "1M", "6Hutc", "12Hutc",
    "1Dutc", "3Dutc", "1Wutc", "1Mutc",
];
const V3_CANDLES: [&str; 10] = ["1m", "3m", "5m", "15m", "30m", "1H", "4H", "6H", "12H", "1D"];

async fn texts(client: &mut Client, wanted: usize, fits: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut list = Vec::new();
    while list.len() < wanted {
        let text = client.until_text(|text| serde_json::from_str(text).is_ok_and(|frame| fits(&frame))).await;
        list.push(text);
    }
    list
}

#[tokio::test]
async fn public_channels() {
    let venue = venue(|config| config.speed = Speed::Times(10.0)).await;
    for generation in [2, 3] {
        let books: [&str; 4] = if generation == 2 {
            ["books", "books1", "books5", "books15"]
        } else {
            ["books", "books1", "books5", "books50"]
        };
        for channel in ["ticker", "trade"].into_iter().chain(books).chain(["candle1m"]) {
            let mut client = Client::connect(&venue, &door(generation, "public")).await;
            client.subscribe(&public(generation, channel)).await;
            let ack = client.text().await;
            check(&format!("v{generation}_ws_{channel}_ack"), &shape(&ack));
            let first = client.text().await;
            check(&format!("v{generation}_ws_{channel}_snapshot"), &shape(&first));
            if ["trade", "books", "candle1m"].contains(&channel) {
                // An update of a book may touch one side alone: its shape is that of one that touches both.
                let both = |f: &Value| {
                    let rows = f["data"][0].as_object();
                    f["action"] == "update"
                        && rows.is_none_or(|row| row.values().all(|cell| cell.as_array().is_none_or(|l| !l.is_empty())))
                };
                let update = texts(&mut client, 1, both).await.remove(0);
                check(&format!("v{generation}_ws_{channel}_update"), &shape(&update));
            }
            client.say(&json!({"op": "unsubscribe", "args": [public(generation, channel)]}).to_string()).await;
            let ack = texts(&mut client, 1, |f| f["event"] == "unsubscribe").await.remove(0);
            check(&format!("v{generation}_ws_{channel}_unsubscribe"), &shape(&ack));
        }
    }
    let mut client = Client::connect(&venue, "/v3/ws/public").await;
    client.subscribe(&json!({"instType": "usdt-futures", "topic": "liquidation"})).await;
    check("v3_ws_liquidation_ack", &shape(&client.text().await));
    let update = client.text().await.replace("ETHUSDT", "BTCUSDT");
    check("v3_ws_liquidation_update", &shape(&update));
}

/// Every interval has the shape of the minute, and stands on its grid.
#[tokio::test]
async fn every_candle_interval() {
    let venue = venue(|_| {}).await;
    for (generation, names) in [(2, &V2_CANDLES[..]), (3, &V3_CANDLES[..])] {
        let mut client = Client::connect(&venue, &door(generation, "public")).await;
        for name in names {
            let arg = public(generation, &format!("candle{name}"));
            client.subscribe(&arg).await;
            let frame = client.until(|f| f["action"] == "snapshot" && f["arg"] == arg).await;
            let rows = frame["data"].as_array().expect("rows");
            assert_eq!(rows.len(), 500, "{name}");
            let start = |row: &Value| -> i64 {
                let cell = if generation == 2 { &row[0] } else { &row["start"] };
                cell.as_str().expect("start").parse().expect("number")
            };
            assert!(rows.windows(2).all(|w| start(&w[0]) < start(&w[1])), "{name}: oldest first");
            let hour = 3_600_000;
            let utc_8 = !name.ends_with("utc") && ["6H", "8H", "12H", "1D", "3D", "1W", "1M"].contains(name);
            let local = start(&rows[499]) + if utc_8 { 8 * hour } else { 0 };
            let grid = match name.trim_end_matches("utc") {
                "6H" => 6 * hour,
                "8H" => 8 * hour,
                "12H" => 12 * hour,
                "1D" | "3D" | "1W" | "1M" => 24 * hour,
                _ => 60_000,
            };
            assert_eq!(local % grid, 0, "{name} of v{generation}");
        }
        for wrong in ["7m", "1h", "1d", "2Hutc", "1mutc"] {
            client.subscribe(&public(generation, &format!("candle{wrong}"))).await;
            let code = if generation == 2 { 30016 } else { 30001 };
            client.until(|f| f["code"] == code).await;
        }
    }
}

async fn order(venue: &Venue, text: &str) {
    command(venue, &format!("order?symbol=BTCUSDT&{text}")).await;
}

#[tokio::test]
async fn private_channels() {
    let venue = venue(|_| {}).await;
    for generation in [2, 3] {
        let mut client = Client::connect(&venue, &door(generation, "private")).await;
        client.say(r#"{"op":"login","args":[{"apiKey":"k"}]}"#).await;
        check(&format!("v{generation}_ws_login"), &shape(&client.text().await));
        let all: &[&str] = if generation == 2 {
            &["positions", "account", "orders", "fill", "positions-history", "equity", "orders-algo"]
        } else {
            &["positions", "account", "orders", "fill"]
        };
        let key = if generation == 2 { "channel" } else { "topic" };
        for channel in all {
            let arg = match *channel {
                "equity" => json!({"instType": "USDT-FUTURES", "channel": "equity"}),
                _ => private(generation, channel),
            };
            client.subscribe(&arg).await;
            check(&format!("v{generation}_ws_{channel}_ack"), &shape(&client.text().await));
            if ["positions", "account"].contains(channel) {
                check(&format!("v{generation}_ws_{channel}_first"), &shape(&client.text().await));
            }
        }
        order(&venue, "side=buy&size=0.02").await;
        for (word, channel) in [("position", "open"), ("order", "live"), ("fill", "one"), ("account", "one")] {
            let fits =
                |f: &Value| f.get("data").is_some() && f["arg"][key].as_str().is_some_and(|c| c.starts_with(word));
            // Every channel is asked anew: the order of channels is no promise.
            let text = texts(&mut client, 1, fits).await.remove(0);
            check(&format!("v{generation}_ws_{word}_{channel}"), &shape(&text));
            order(&venue, "side=buy&size=0.02").await;
        }
        command(&venue, "position?symbol=BTCUSDT&side=long&size=0").await;
        let (word, ended): (_, Box<dyn Fn(&Value) -> bool>) = if generation == 2 {
            ("positions-history", Box::new(|f: &Value| f["arg"]["channel"] == "positions-history"))
        } else {
            ("position_ended", Box::new(|f: &Value| f["data"][0]["positionStatus"] == "ended"))
        };
        let text = texts(&mut client, 1, |f| f.get("data").is_some() && ended(f)).await.remove(0);
        check(&format!("v{generation}_ws_{word}"), &shape(&text));
    }
    let mut client = trader(&venue, 2).await;
    client.subscribe(&json!({"instType": "USDT-FUTURES", "channel": "equity"})).await;
    client.text().await;
    order(&venue, "side=buy&size=0.02").await;
    check("v2_ws_equity", &shape(&client.text().await));
}

#[tokio::test]
async fn errors() {
    let venue = venue(|_| {}).await;
    for generation in [2, 3] {
        for (name, kind, say) in [
            ("30001", "public", json!({"op": "subscribe", "args": [renamed(generation)]}).to_string()),
            ("30002", "public", r#"{"op":"ping"}"#.to_owned()),
            ("30003", "public", r#"{"op":"login","args":[{}]}"#.to_owned()),
            ("30004", "private", json!({"op": "subscribe", "args": [private(generation, "positions")]}).to_string()),
            ("30016", "public", json!({"op": "subscribe", "args": [public(generation, "nonsense")]}).to_string()),
        ] {
            let mut client = Client::connect(&venue, &door(generation, kind)).await;
            client.say(&say).await;
            let text = client.text().await;
            assert!(text.contains(&format!(r#""code":{name}"#)), "{name}: {text}");
            check(&format!("v{generation}_ws_error_{name}"), &shape(&text));
        }
    }
}

fn renamed(generation: u8) -> Value {
    let mut arg = public(generation, "ticker");
    arg[if generation == 2 { "instId" } else { "symbol" }] = json!("NOPEUSDT");
    arg
}

#[tokio::test]
async fn rest_answers() {
    let venue = venue(|config| config.symbols = vec!["BTCUSDT".to_owned()]).await;
    for text in ["side=buy&size=0.02", "side=sell&size=0.02", "side=buy&size=0.03"] {
        order(&venue, text).await;
    }
    let orders = get(&venue, "/api/v2/mix/order/orders-history?productType=USDT-FUTURES").await.json();
    let id = orders["data"]["entrustedList"][0]["orderId"].as_str().expect("id").to_owned();
    let v2 = "productType=USDT-FUTURES&symbol=BTCUSDT";
    let v3 = "category=USDT-FUTURES&symbol=BTCUSDT";
    let mut asked = Vec::new();
    for (path, query) in [
        ("/api/v2/public/time", ""),
        ("/api/v2/spot/public/symbols", ""),
        ("/api/v2/spot/public/coins", ""),
        ("/api/v2/margin/currencies", ""),
        ("/api/v2/spot/market/tickers", ""),
        ("/api/v2/spot/account/assets", ""),
        ("/api/v2/common/trade-rate", "symbol=BTCUSDT&businessType=mix"),
        ("/api/v2/mix/market/orderbook", v2),
        ("/api/v2/mix/market/history-candles", &format!("{v2}&granularity=1m")),
        ("/api/v2/mix/market/history-mark-candles", &format!("{v2}&granularity=1m")),
        ("/api/v2/mix/market/history-index-candles", &format!("{v2}&granularity=1m")),
        ("/api/v2/mix/market/fills-history", v2),
        ("/api/v2/mix/order/fill-history", v2),
        ("/api/v2/mix/account/bill", "productType=USDT-FUTURES"),
        ("/api/v3/public/time", ""),
        ("/api/v3/market/history-candles", &format!("{v3}&interval=1m")),
        ("/api/v3/account/financial-records", v3),
        ("/api/v2/mix/market/contracts", "productType=USDT-FUTURES"),
        ("/api/v2/mix/market/tickers", "productType=USDT-FUTURES"),
        ("/api/v2/mix/market/ticker", v2),
        ("/api/v2/mix/market/merge-depth", v2),
        ("/api/v2/mix/market/candles", &format!("{v2}&granularity=1m")),
        ("/api/v2/mix/market/fills", v2),
        ("/api/v2/mix/market/open-interest", v2),
        ("/api/v2/mix/market/symbol-price", v2),
        ("/api/v2/mix/market/funding-time", v2),
        ("/api/v2/mix/market/current-fund-rate", v2),
        ("/api/v2/mix/market/history-fund-rate", v2),
        ("/api/v2/mix/market/query-position-lever", v2),
        ("/api/v2/mix/position/all-position", "productType=USDT-FUTURES"),
        ("/api/v2/mix/position/single-position", v2),
        ("/api/v2/mix/position/history-position", v2),
        ("/api/v2/mix/account/accounts", "productType=USDT-FUTURES"),
        ("/api/v2/mix/account/account", v2),
        ("/api/v2/mix/order/fills", v2),
        ("/api/v2/mix/order/orders-pending", v2),
        ("/api/v2/mix/order/orders-history", v2),
        ("/api/v2/mix/order/detail", &format!("{v2}&orderId={id}")),
        ("/api/v3/market/instruments", "category=USDT-FUTURES"),
        ("/api/v3/market/tickers", "category=USDT-FUTURES"),
        ("/api/v3/market/orderbook", v3),
        ("/api/v3/market/candles", &format!("{v3}&interval=1m")),
        ("/api/v3/market/fills", v3),
        ("/api/v3/market/open-interest", v3),
        ("/api/v3/market/current-fund-rate", v3),
        ("/api/v3/market/history-fund-rate", v3),
        ("/api/v3/market/position-tier", v3),
        ("/api/v3/account/settings", ""),
        ("/api/v3/account/assets", ""),
        ("/api/v3/account/fee-rate", v3),
        ("/api/v3/position/current-position", v3),
        ("/api/v3/position/history-position", v3),
        ("/api/v3/trade/fills", v3),
        ("/api/v3/trade/unfilled-orders", v3),
        ("/api/v3/trade/history-orders", v3),
        ("/api/v3/trade/order-info", &format!("orderId={id}")),
        ("/api/v2/no/such/path", ""),
        ("/api/mix/v1/market/contracts", ""),
    ] {
        asked.push(path);
        let answer = get(&venue, &format!("{path}?{query}")).await;
        let name = path.trim_start_matches("/api/").replace('/', "_").replacen('_', "_rest_", 1);
        check(&name, &format!("{} {}", answer.status, shape(&answer.body)));
    }
    for path in trapline::venue::rest::private::PATHS.iter().chain(&trapline::venue::rest::public::PATHS) {
        assert!(asked.contains(path), "{path} is answered and has no golden answer");
    }
    let flat = "/api/v3/position/current-position?category=COIN-FUTURES";
    check("v3_rest_current-position_flat", &shape(&get(&venue, flat).await.body));
    let flat = "/api/v2/mix/position/all-position?productType=COIN-FUTURES";
    check("v2_rest_all-position_flat", &shape(&get(&venue, flat).await.body));
}
