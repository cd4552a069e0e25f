//! Private REST by product: only rows of the one that is asked for, and none of a product that is not held.

use crate::client::*;
use serde_json::{Value, json};

/// Private lists of both generations, and where their rows are.
const LISTS: [(&str, &str); 11] = [
    ("/api/v2/mix/position/all-position", ""),
    ("/api/v2/mix/position/single-position?symbol=BTCUSDT", ""),
    ("/api/v2/mix/position/history-position", "/list"),
    ("/api/v2/mix/account/accounts", ""),
    ("/api/v2/mix/order/fills", "/fillList"),
    ("/api/v2/mix/order/fill-history", "/fillList"),
    ("/api/v2/mix/order/orders-history", "/entrustedList"),
    ("/api/v3/position/current-position", "/list"),
    ("/api/v3/position/history-position", "/list"),
    ("/api/v3/trade/fills", "/list"),
    ("/api/v3/trade/history-orders", "/list"),
];

/// `path` with the parameter that names the product in its generation.
fn of(path: &str, product: &str) -> String {
    let key = if path.starts_with("/api/v2/") { "productType" } else { "category" };
    format!("{path}{}{key}={product}", if path.contains('?') { '&' } else { '?' })
}

/// Products that exist in the generation and of which the account holds nothing.
fn not_held(path: &str) -> &'static [&'static str] {
    match path.starts_with("/api/v2/") {
        true => &["USDC-FUTURES", "COIN-FUTURES", "SUSDT-FUTURES", "susdc-futures", "SCOIN-FUTURES"],
        false => &["USDC-FUTURES", "COIN-FUTURES", "SPOT", "spot", "MARGIN"],
    }
}

#[tokio::test]
async fn rows_are_of_the_product_that_is_asked_for() {
    let venue = venue(|_| {}).await;
    for (side, size) in [("buy", "0.03"), ("sell", "0.03"), ("buy", "0.02")] {
        command(&venue, &format!("order?symbol=BTCUSDT&side={side}&size={size}")).await;
    }
    for (path, list) in LISTS {
        let rows = |body: &Value| body["data"].pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
        let held = get(&venue, &of(path, "USDT-FUTURES")).await.json();
        assert!(rows(&held) > 0, "{path}: {held}");
        for product in not_held(path) {
            let answer = get(&venue, &of(path, product)).await;
            let body = answer.json();
            assert_eq!((answer.status, &body["code"]), (200, &json!("00000")), "{path} {product}: {body}");
            assert_eq!(rows(&body), 0, "{path} {product}: {body}");
        }
        for product in ["NOPE-FUTURES", if path.starts_with("/api/v2/") { "SPOT" } else { "NOPE" }] {
            let answer = get(&venue, &of(path, product)).await;
            assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("400172")), "{path} {product}");
        }
    }
    for (path, code) in [
        (of("/api/v2/mix/order/orders-pending", "SUSDT-FUTURES"), "00000"),
        (of("/api/v3/trade/unfilled-orders", "SPOT"), "00000"),
        (of("/api/v3/trade/unfilled-orders", "NOPE"), "400172"),
        (of("/api/v2/mix/account/bill", "NOPE"), "400172"),
        (of("/api/v2/mix/account/account", "NOPE"), "400172"),
        (of("/api/v3/account/fee-rate", "NOPE"), "400172"),
        ("/api/v2/common/trade-rate?businessType=NOPE".to_owned(), "400172"),
    ] {
        assert_eq!(get(&venue, &path).await.json()["code"], code, "{path}");
    }
}

#[tokio::test]
async fn one_order_and_one_balance_are_of_the_product_that_is_asked_for() {
    let venue = venue(|_| {}).await;
    command(&venue, "order?symbol=BTCUSDT&side=buy&size=0.02").await;
    let orders = get(&venue, "/api/v3/trade/history-orders?category=USDT-FUTURES").await.json();
    let id = orders["data"]["list"][0]["orderId"].as_str().expect("id").to_owned();
    for (path, code) in [
        (format!("/api/v2/mix/order/detail?symbol=BTCUSDT&productType=USDT-FUTURES&orderId={id}"), "00000"),
        (format!("/api/v2/mix/order/detail?symbol=BTCUSDT&productType=COIN-FUTURES&orderId={id}"), "40109"),
        (format!("/api/v2/mix/order/detail?symbol=ETHUSDT&productType=USDT-FUTURES&orderId={id}"), "40109"),
        (format!("/api/v2/mix/order/detail?symbol=BTCUSDT&productType=NOPE&orderId={id}"), "400172"),
        (format!("/api/v3/trade/order-info?orderId={id}"), "00000"),
        (format!("/api/v3/trade/order-info?category=SPOT&orderId={id}"), "40109"),
    ] {
        assert_eq!(get(&venue, &path).await.json()["code"], code, "{path}");
    }
    let balance = "/api/v2/mix/account/account?symbol=BTCUSDT";
    let held = get(&venue, &format!("{balance}&productType=USDT-FUTURES&marginCoin=USDT")).await.json();
    assert_ne!(held["data"]["accountEquity"], "0");
    let other = get(&venue, &format!("{balance}&productType=COIN-FUTURES&marginCoin=btc")).await.json();
    let row = &other["data"];
    assert_eq!(
        (&row["marginCoin"], &row["accountEquity"], &row["available"]),
        (&json!("BTC"), &json!("0"), &json!("0"))
    );
    for (path, taker) in [
        ("/api/v3/account/fee-rate?symbol=BTCUSDT&category=USDT-FUTURES", "0.0006"),
        ("/api/v3/account/fee-rate?symbol=BTCUSDT&category=SPOT", "0.002"),
        ("/api/v2/common/trade-rate?symbol=BTCUSDT&businessType=mix", "0.0006"),
        ("/api/v2/common/trade-rate?symbol=BTCUSDT&businessType=spot", "0.002"),
    ] {
        assert_eq!(get(&venue, path).await.json()["data"]["takerFeeRate"], taker, "{path}");
    }
}
