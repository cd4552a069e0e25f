//! REST as clients load it, and the control door.

use crate::client::*;
use serde_json::json;
use trapline::venue::session::login::sign;
use trapline::venue::{AccountKind, Credentials, Limits};

#[tokio::test]
async fn public_lists() {
    let venue = venue(|_| {}).await;
    let time = get(&venue, "/api/v2/public/time").await.json();
    assert_eq!((&time["code"], &time["msg"]), (&json!("00000"), &json!("success")));
    assert!(time["requestTime"].is_number() && time["data"]["serverTime"].is_string());
    let contracts = get(&venue, "/api/v2/mix/market/contracts?productType=usdt-futures").await.json();
    assert_eq!(contracts["data"].as_array().map(Vec::len), Some(2));
    let btc = &contracts["data"][0];
    assert_eq!(
        (&btc["symbol"], &btc["pricePlace"], &btc["priceEndStep"]),
        (&json!("BTCUSDT"), &json!("1"), &json!("1"))
    );
    assert_eq!((&btc["sizeMultiplier"], &btc["symbolStatus"]), (&json!("0.0001"), &json!("normal")));
    let instruments = get(&venue, "/api/v3/market/instruments?category=USDT-FUTURES").await.json();
    let btc = &instruments["data"][0];
    assert_eq!(
        (&btc["priceMultiplier"], &btc["status"], &btc["type"]),
        (&json!("0.1"), &json!("online"), &json!("perpetual"))
    );
    for path in [
        "/api/v2/mix/market/contracts?productType=COIN-FUTURES",
        "/api/v3/market/instruments?category=MARGIN",
        "/api/v2/margin/currencies",
    ] {
        assert_eq!(get(&venue, path).await.json()["data"], json!([]), "{path}");
    }
    for (path, symbol) in [
        ("/api/v2/mix/market/contracts?productType=SUSDT-FUTURES", "SBTCSUSDT"),
        ("/api/v2/mix/market/contracts?productType=susdc-futures", "SBTCSPERP"),
        ("/api/v2/mix/market/contracts?productType=SCOIN-FUTURES", "SBTCSUSD"),
        ("/api/v3/market/instruments?category=SPOT", "BTCUSDT"),
        ("/api/v2/spot/public/symbols", "BTCUSDT"),
        ("/api/v2/spot/public/symbols?symbol=ETHUSDT", "ETHUSDT"),
    ] {
        assert_eq!(get(&venue, path).await.json()["data"][0]["symbol"], symbol, "{path}");
    }
    let coins = get(&venue, "/api/v2/spot/public/coins").await.json();
    let names: Vec<_> = coins["data"].as_array().expect("coins").iter().map(|c| c["coin"].clone()).collect();
    assert_eq!(names, [json!("BTC"), json!("ETH"), json!("USDT")]);
    let tickers = get(&venue, "/api/v2/mix/market/tickers?productType=USDT-FUTURES").await.json();
    assert!(tickers["data"][1]["markPrice"].is_string());
    let tickers = get(&venue, "/api/v3/market/tickers?category=USDT-FUTURES&symbol=ETHUSDT").await.json();
    assert_eq!((tickers["data"].as_array().map(Vec::len), &tickers["data"][0]["symbol"]), (Some(1), &json!("ETHUSDT")));
}

#[tokio::test]
async fn refusals_are_http_400_with_an_envelope() {
    let venue = venue(|_| {}).await;
    for (path, status, code) in [
        ("/api/v2/mix/market/contracts", 400, "400172"),
        ("/api/v2/mix/market/ticker?symbol=BTCUSDT&productType=nope", 400, "400172"),
        ("/api/v2/mix/position/all-position", 400, "400172"),
        ("/api/v3/market/tickers?category=USDT-FUTURES&symbol=NOPE", 400, "40034"),
        ("/api/v2/mix/market/ticker?symbol=BTCUSDT", 400, "400172"),
        ("/api/mix/v1/market/contracts", 400, "30032"),
        ("/api/spot/v1/public/time", 400, "30032"),
        ("/api/margin/v1/cross/public/interestRateAndLimit", 400, "30032"),
        ("/mix/v1/stream", 400, "30032"),
        ("/api/v3/market/orderbook?category=USDT-FUTURES", 400, "400172"),
        ("/api/v3/market/orderbook?category=USDT-FUTURES&symbol=BTCUSDT&limit=x", 400, "400172"),
        ("/api/v2/mix/market/candles?productType=USDT-FUTURES&symbol=BTCUSDT&granularity=7m", 400, "400172"),
        ("/api/v2/mix/market/candles?productType=USDT-FUTURES&symbol=NOPE&granularity=1m", 400, "40034"),
        ("/api/v2/mix/order/detail", 400, "400172"),
        ("/api/v3/trade/order-info?orderId=5", 400, "40109"),
        ("/", 404, "40404"),
        ("/api/v2/nothing/here", 404, "40404"),
    ] {
        let answer = get(&venue, path).await;
        assert_eq!(answer.status, status, "{path}");
        let body = answer.json();
        assert_eq!((&body["code"], &body["data"]), (&json!(code), &json!(null)), "{path}");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let venue = venue(|_| {}).await;
    let length = |answer: &Answer| {
        let line = answer.head.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
        line.expect("a length").parse::<usize>().expect("a number")
    };
    for (path, status) in [
        ("/api/v2/public/time", 200),
        ("/api/v3/market/instruments?category=USDT-FUTURES", 200),
        ("/api/v2/mix/position/all-position?productType=USDT-FUTURES", 200),
        ("/api/v2/mix/market/contracts", 400),
        ("/api/v2/nothing/here", 404),
    ] {
        let (head, full) = (http(venue.addr(), "HEAD", path, "", "").await, get(&venue, path).await);
        assert_eq!((head.status, full.status), (status, status), "{path}");
        assert_eq!((head.body.as_str(), length(&head)), ("", full.body.len()), "{path}");
    }
    assert_eq!(http(venue.addr(), "POST", "/api/v2/public/time", "", "").await.status, 404, "other methods are none");
}

#[tokio::test]
async fn signatures_are_verified_over_the_query_as_sent() {
    let credentials = Credentials { key: "k".to_owned(), secret: "s".to_owned(), pass: "p".to_owned() };
    let venue = venue(|config| config.credentials = Some(credentials)).await;
    let now = trapline::clock::Clock::system().now_ms();
    let path = "/api/v2/mix/position/all-position?productType=USDT-FUTURES&marginCoin=USDT";
    for (name, key, secret, at, status, code) in [
        ("right", "k", "s", now, 200, "00000"),
        ("key", "x", "s", now, 400, "40006"),
        ("secret", "k", "t", now, 400, "40009"),
        ("old", "k", "s", now - 60_000, 400, "40008"),
        ("29 s old", "k", "s", now - 29_000, 200, "00000"),
        ("32 s ahead", "k", "s", now + 32_000, 400, "40008"),
        ("seconds", "k", "s", now / 1_000, 200, "00000"),
        ("no time", "k", "s", 0, 400, "40005"),
    ] {
        let headers = format!(
            "ACCESS-KEY: {key}\r\nACCESS-SIGN: {}\r\nACCESS-TIMESTAMP: {at}\r\nACCESS-PASSPHRASE: p\r\n",
            sign(secret, &format!("{at}GET{path}"))
        );
        let answer = http(venue.addr(), "GET", path, &headers, "").await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{name}");
    }
    let sign_of = |query: &str| sign("s", &format!("{now}GET/api/v2/mix/position/all-position?{query}"));
    let (sorted, unsorted) = ("marginCoin=USDT&productType=USDT-FUTURES", "productType=USDT-FUTURES&marginCoin=USDT");
    for (sent, signed) in [(sorted, sorted), (unsorted, unsorted), (unsorted, sorted)] {
        let path = format!("/api/v2/mix/position/all-position?{sent}");
        let sign = sign_of(signed);
        for (gone, code) in
            [("", "00000"), ("ACCESS-KEY", "40001"), ("ACCESS-SIGN", "40003"), ("ACCESS-PASSPHRASE", "40011")]
        {
            let headers =
                format!("ACCESS-KEY: k\r\nACCESS-SIGN: {sign}\r\nACCESS-TIMESTAMP: {now}\r\nACCESS-PASSPHRASE: p\r\n");
            let kept: String =
                headers.split_inclusive("\r\n").filter(|line| gone.is_empty() || !line.starts_with(gone)).collect();
            let answer = http(venue.addr(), "GET", &path, &kept, "").await;
            assert_eq!(answer.json()["code"], code, "{sent} signed {signed} without {gone:?}");
        }
        let wrong =
            format!("ACCESS-KEY: k\r\nACCESS-SIGN: {sign}\r\nACCESS-TIMESTAMP: {now}\r\nACCESS-PASSPHRASE: q\r\n");
        assert_eq!(http(venue.addr(), "GET", &path, &wrong, "").await.json()["code"], "40012");
    }
    assert_eq!(get(&venue, path).await.json()["code"], "40001", "no headers at all");
    assert_eq!(get(&venue, "/api/v2/public/time").await.status, 200, "public needs none");
}

#[tokio::test]
async fn the_gate_comes_before_the_signature() {
    for (kind, path, code) in [
        (AccountKind::Unified, "/api/v2/mix/account/accounts?productType=USDT-FUTURES", "40085"),
        (AccountKind::Classic, "/api/v3/account/settings", "40084"),
    ] {
        let venue = venue(|config| {
            config.account = kind;
            config.credentials =
                Some(Credentials { key: "k".to_owned(), secret: "s".to_owned(), pass: "p".to_owned() });
        })
        .await;
        assert_eq!(get(&venue, path).await.json()["code"], code, "{kind:?}");
    }
    let venue = venue(|_| {}).await;
    assert!(get(&venue, "/api/v3/account/settings").await.json()["data"]["accountMode"].is_string());
}

#[tokio::test]
async fn positions_balance_and_fills_in_both_generations() {
    let venue = venue(|_| {}).await;
    let v2 = "/api/v2/mix/position/all-position?productType=USDT-FUTURES&marginCoin=USDT";
    let v3 = "/api/v3/position/current-position?category=USDT-FUTURES";
    assert_eq!(get(&venue, v2).await.json()["data"], json!([]));
    assert_eq!(get(&venue, v3).await.json()["data"], json!({"list": null}), "null, not an empty list");
    command(&venue, "order?symbol=BTCUSDT&side=sell&size=0.02").await;
    let row = &get(&venue, v2).await.json()["data"][0];
    assert_eq!((&row["symbol"], &row["total"], &row["holdSide"]), (&json!("BTCUSDT"), &json!("0.02"), &json!("short")));
    assert!(row["leverage"].is_string() && row.get("locked").is_some(), "REST differs from push here");
    let row = &get(&venue, v3).await.json()["data"]["list"][0];
    assert_eq!((&row["total"], &row["posSide"]), (&json!("0.02"), &json!("short")));
    let fills = get(&venue, "/api/v2/mix/order/fills?productType=USDT-FUTURES").await.json();
    assert_eq!(fills["data"]["fillList"][0]["symbol"], "BTCUSDT");
    let fills = get(&venue, "/api/v3/trade/fills?category=USDT-FUTURES").await.json();
    assert_eq!(fills["data"]["list"][0]["symbol"], "BTCUSDT");
    let fills = get(&venue, "/api/v3/trade/fills").await.json();
    assert_eq!(fills["data"]["list"][0]["symbol"], "BTCUSDT", "clients leave the category out");
    let accounts = get(&venue, "/api/v2/mix/account/accounts?productType=USDT-FUTURES").await.json();
    assert_eq!(accounts["data"][0]["marginCoin"], "USDT");
    assert!(get(&venue, "/api/v3/account/assets").await.json()["data"].is_object());
}

#[tokio::test]
async fn rates_end_in_429() {
    let venue = venue(|config| config.limits = Limits::default()).await;
    let path = "/api/v2/mix/position/all-position?productType=USDT-FUTURES";
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let answer = get(&venue, path).await;
        let left = answer.head.lines().find_map(|line| line.strip_prefix("x-mbx-used-remain-limit: "));
        statuses.push((answer.status, left.expect("a header").to_owned()));
    }
    let expected = [(200, "4"), (200, "3"), (200, "2"), (200, "1"), (200, "0"), (429, "0")];
    assert_eq!(statuses, expected.map(|(status, left)| (status, left.to_owned())));
}

#[tokio::test]
async fn an_address_that_asks_too_much_is_shut_out() {
    let limits = Limits { requests_per_minute: 3, ..Limits::default() };
    let venue = venue(|config| config.limits = limits).await;
    for (name, status) in [("1", 200), ("2", 200), ("3", 200), ("4", 429), ("5", 429)] {
        assert_eq!(get(&venue, "/api/v2/public/time").await.status, status, "request {name}");
    }
    assert_eq!(get(&venue, "/_exchange/faults").await.status, 200, "the control door has no limit");
}

#[tokio::test]
async fn the_control_door_says_what_is_wrong() {
    let venue = venue(|_| {}).await;
    for (path, holds) in [
        ("/_exchange/position?symbol=BTCUSDT&side=up&size=1", "long or short"),
        ("/_exchange/position?symbol=BTCUSDT&side=long", "`size`"),
        ("/_exchange/order?symbol=NOPEUSDT&side=buy&size=1", "NOPEUSDT"),
        ("/_exchange/order?symbol=BTCUSDT&side=buy&size=1e9x", "no number"),
        ("/_exchange/nonsense", "no command"),
    ] {
        let answer = get(&venue, path).await;
        assert_eq!(answer.status, 400, "{path}");
        let error = answer.json()["error"].as_str().expect("a text").to_owned();
        assert!(error.contains(holds), "{path}: {error}");
    }
    let body = r#"{"symbol":"BTCUSDT","side":"long","size":"0.25","entry":60000}"#;
    let answer = http(venue.addr(), "POST", "/_exchange/position", "", body).await;
    let rows = answer.json()["positions"].clone();
    assert_eq!((&rows[0]["size"], &rows[0]["entry"]), (&json!("0.25"), &json!("60000")), "POST with JSON");
    let answer = http(venue.addr(), "POST", "/_exchange/position", "", "{").await;
    assert_eq!(answer.status, 400);
    let huge = "x".repeat(100_000);
    let answer = http(venue.addr(), "POST", "/_exchange/position", "", &huge).await;
    assert_eq!(answer.status, 413);
    let told = answer.json()["requestTime"].as_i64().expect("a time");
    assert!((trapline::clock::Clock::system().now_ms() - told).abs() < 60_000, "{told} is no present time");
    assert_eq!(get(&venue, "/v2/ws/public").await.status, 426, "a door without a WebSocket client");
}

#[tokio::test]
async fn clients_are_listed_and_can_be_closed() {
    let venue = venue(|_| {}).await;
    let mut first = Client::connect(&venue, "/v2/ws/public").await;
    let mut second = Client::connect(&venue, "/v3/ws/private").await;
    second.say("ping").await;
    second.text().await;
    let listed = command(&venue, "clients").await;
    let doors: Vec<_> =
        listed.as_array().expect("list").iter().map(|c| (c["generation"].clone(), c["private"].clone())).collect();
    assert_eq!(doors, [(json!("v2"), json!(false)), (json!("v3"), json!(true))]);
    let id = listed[0]["id"].as_u64().expect("id");
    assert_eq!(command(&venue, &format!("close?client={id}&code=1013")).await["closed"], 1);
    assert_eq!(first.end().await, Ended::Close(1013));
    second.say("ping").await;
    assert_eq!(second.text().await, "pong");
    venue.stop().await;
    assert_eq!(second.end().await, Ended::Close(1001), "the exchange says goodbye");
}

#[tokio::test]
async fn books_candles_trades_and_prices_in_both_generations() {
    let venue = venue(|_| {}).await;
    let v2 = "productType=USDT-FUTURES&symbol=BTCUSDT";
    let v3 = "category=USDT-FUTURES&symbol=BTCUSDT";
    let decimal = |cell: &serde_json::Value| cell.as_str().expect("text").parse::<f64>().expect("number");
    for (path, bids, asks, levels) in [
        (format!("/api/v2/mix/market/merge-depth?{v2}&limit=15"), "bids", "asks", 15),
        (format!("/api/v2/mix/market/merge-depth?{v2}&limit=max"), "bids", "asks", 1_000),
        (format!("/api/v3/market/orderbook?{v3}"), "b", "a", 5),
        (format!("/api/v3/market/orderbook?{v3}&limit=1000"), "b", "a", 1_000),
    ] {
        let data = get(&venue, &path).await.json()["data"].clone();
        assert_eq!(data[bids].as_array().map(Vec::len), Some(levels), "{path}");
        assert!(decimal(&data[bids][0][0]) < decimal(&data[asks][0][0]), "{path}");
        assert!(data["ts"].is_string());
    }
    for (path, count) in [
        (format!("/api/v2/mix/market/candles?{v2}&granularity=5m"), 100),
        (format!("/api/v2/mix/market/candles?{v2}&granularity=1Dutc&limit=3"), 3),
        (format!("/api/v2/mix/market/history-candles?{v2}&granularity=1H&limit=500"), 200),
        (format!("/api/v3/market/candles?{v3}&interval=1m&limit=500"), 500),
    ] {
        let rows = get(&venue, &path).await.json()["data"].clone();
        let rows = rows.as_array().expect("rows");
        assert_eq!(rows.len(), count, "{path}");
        assert!(rows.iter().all(|row| row.as_array().is_some_and(|cells| cells.len() == 7)));
        assert!(rows.windows(2).all(|w| decimal(&w[0][0]) < decimal(&w[1][0])), "oldest first");
    }
    let all = get(&venue, &format!("/api/v2/mix/market/candles?{v2}&granularity=1m&limit=10")).await.json();
    let (from, to) = (all["data"][2][0].as_str().expect("time"), all["data"][4][0].as_str().expect("time"));
    let some = format!("/api/v2/mix/market/candles?{v2}&granularity=1m&startTime={from}&endTime={to}");
    assert_eq!(get(&venue, &some).await.json()["data"].as_array().map(Vec::len), Some(3));
    for (path, id) in [("/api/v2/mix/market/fills", "tradeId"), ("/api/v3/market/fills", "execId")] {
        let query = if path.contains("v2") { v2 } else { v3 };
        let rows = get(&venue, &format!("{path}?{query}&limit=20")).await.json()["data"].clone();
        let rows = rows.as_array().expect("rows");
        assert_eq!(rows.len(), 20);
        assert!(rows.windows(2).all(|w| w[0][id].as_str() > w[1][id].as_str()), "newest first");
    }
    for (path, pointer) in [
        (format!("/api/v2/mix/market/open-interest?{v2}"), "/openInterestList/0/size"),
        (format!("/api/v3/market/open-interest?{v3}"), "/list/0/openInterest"),
        (format!("/api/v2/mix/market/symbol-price?{v2}"), "/0/markPrice"),
        (format!("/api/v2/mix/market/current-fund-rate?{v2}"), "/0/fundingRate"),
        (format!("/api/v3/market/current-fund-rate?{v3}"), "/0/fundingRate"),
        (format!("/api/v2/mix/market/history-fund-rate?{v2}"), "/19/fundingTime"),
        (format!("/api/v3/market/history-fund-rate?{v3}&limit=2"), "/resultList/1/fundingRate"),
        (format!("/api/v2/mix/market/funding-time?{v2}"), "/0/nextFundingTime"),
        (format!("/api/v2/mix/market/query-position-lever?{v2}"), "/0/leverage"),
        (format!("/api/v3/market/position-tier?{v3}"), "/0/mmr"),
    ] {
        let body = get(&venue, &path).await.json();
        let cell = body["data"].pointer(pointer).unwrap_or_else(|| panic!("{path}: {body}"));
        assert!(decimal(cell).is_finite(), "{path}");
    }
}

#[tokio::test]
async fn coin_margined_names_differ_by_generation() {
    let venue = venue(|config| config.symbols = vec!["BTCUSD".to_owned(), "BTCUSDT".to_owned()]).await;
    let v2 = get(&venue, "/api/v2/mix/market/contracts?productType=COIN-FUTURES").await.json();
    assert_eq!((&v2["data"][0]["symbol"], &v2["data"][0]["supportMarginCoins"]), (&json!("BTCUSD"), &json!(["BTC"])));
    let v3 = get(&venue, "/api/v3/market/instruments?category=COIN-FUTURES").await.json();
    assert_eq!(v3["data"][0]["symbol"], "BTCUSD_CM");
    let v3 = get(&venue, "/api/v3/market/tickers?category=COIN-FUTURES&symbol=BTCUSD_CM").await.json();
    assert_eq!(v3["data"][0]["symbol"], "BTCUSD_CM");
    let mut client = Client::connect(&venue, "/v3/ws/public").await;
    let arg = json!({"instType": "coin-futures", "topic": "books", "symbol": "BTCUSD_CM"});
    client.subscribe(&arg).await;
    assert_eq!(client.frame().await["arg"], arg);
    let book = client.frame().await;
    assert_eq!(book["arg"], arg);
    assert!(book["data"][0]["seq"].as_u64().is_some_and(|seq| seq > 1 << 53), "{}", book["data"][0]["seq"]);
    client.subscribe(&json!({"instType": "coin-futures", "topic": "books", "symbol": "BTCUSD"})).await;
    client.until(|f| f["code"] == 30001).await;
}

#[tokio::test]
async fn pages_of_fills_join_up_and_an_order_is_found_by_its_id() {
    let venue = venue(|_| {}).await;
    for side in ["buy", "sell", "buy", "sell", "buy"] {
        command(&venue, &format!("order?symbol=BTCUSDT&side={side}&size=0.01")).await;
    }
    for (path, list, next, id) in [
        ("/api/v2/mix/order/fills?productType=USDT-FUTURES&limit=2", "fillList", "idLessThan", "tradeId"),
        ("/api/v3/trade/fills?category=USDT-FUTURES&limit=2", "list", "cursor", "execId"),
    ] {
        let (mut seen, mut query) = (Vec::new(), path.to_owned());
        loop {
            let data = get(&venue, &query).await.json()["data"].clone();
            let Some(rows) = data[list].as_array() else { break };
            assert!(rows.len() <= 2);
            seen.extend(rows.iter().map(|row| row[id].as_str().expect("id").to_owned()));
            query = format!("{path}&{next}={}", seen.last().expect("rows"));
        }
        assert_eq!(seen.len(), 5, "{path}");
        assert!(seen.windows(2).all(|w| w[0] > w[1]), "newest first, none twice: {seen:?}");
    }
    let orders = get(&venue, "/api/v2/mix/order/orders-history?productType=USDT-FUTURES").await.json();
    let id = orders["data"]["entrustedList"][0]["orderId"].as_str().expect("id").to_owned();
    for path in ["/api/v2/mix/order/detail?symbol=BTCUSDT&productType=USDT-FUTURES", "/api/v3/trade/order-info?x=1"] {
        assert_eq!(get(&venue, &format!("{path}&orderId={id}")).await.json()["data"]["orderId"], *id, "{path}");
    }
}
