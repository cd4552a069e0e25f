//! Every frame and body, byte for byte. `TRAPLINE_WRITE_GOLDEN=1 cargo test --lib account::tests::golden` writes them
//! anew; read the difference before you commit it.

use super::*;
use crate::venue::account::encode::{Query, product_named, rest_error, v2, v2_rest, v3, v3_rest};
use serde_json::Value;
use std::path::PathBuf;

/// A hedge-mode account with a long in two fills, a short half closed, a waiting limit order and funding.
fn lived() -> (Account, Happened, Happened) {
    let config = AccountConfig { fills_per_order: 2, hold_mode: HoldMode::Hedge, seed: 7, ..AccountConfig::default() };
    let mut account = Account::new(config);
    account.execute(order("ETHUSDT", OrderSide::Sell, Effect::Open, "2"), dec("3000"), NOW).unwrap();
    account.execute(order("ETHUSDT", OrderSide::Buy, Effect::Close, "0.5"), dec("2950.5"), NOW + 10).unwrap();
    let named = MarketOrder {
        client_order_id: Some("mine-1".to_owned()),
        ..order("BTCUSDT", OrderSide::Buy, Effect::Open, "0.011")
    };
    let opened = account.execute(named, dec("86586.73"), NOW + 20).unwrap();
    account.mark("BTCUSDT", dec("86600"));
    account.mark("ETHUSDT", dec("2960"));
    account.funding("ETHUSDT", dec("0.0001"), NOW + 30);
    account.execute(order("SOLUSDT", OrderSide::Buy, Effect::Open, "3"), dec("150"), NOW + 40).unwrap();
    let ended = account.execute(order("SOLUSDT", OrderSide::Sell, Effect::Close, "3"), dec("151"), NOW + 50).unwrap();
    account.place_limit(order("BTCUSDT", OrderSide::Sell, Effect::Close, "0.005"), dec("90000"), NOW + 60).unwrap();
    (account, opened, ended)
}

fn one_way() -> (Account, Happened) {
    let mut account = Account::new(AccountConfig { seed: 9, ..AccountConfig::default() });
    let happened =
        account.execute(order("BTCUSDT", OrderSide::Buy, Effect::Net, "0.003"), dec("82741.1"), NOW).unwrap();
    (account, happened)
}

fn check(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/venue/account/tests/golden").join(name);
    if std::env::var_os("TRAPLINE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{actual}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(actual, golden.trim_end(), "{name}");
}

#[test]
fn frames_and_bodies_are_as_recorded() {
    let (account, opened, ended) = lived();
    let (single, single_opened) = one_way();
    let (product, query, ts) = (Product::UsdtFutures, Query::default(), NOW + 100);
    let frames = [
        ("v2_ws_positions_hedge.json", v2::positions(&account, product, ts)),
        ("v2_ws_positions_one_way.json", v2::positions(&single, product, ts)),
        ("v2_ws_positions_other_product.json", v2::positions(&account, Product::CoinFutures, ts)),
        ("v2_ws_account.json", v2::account(&account, product, ts)),
        ("v2_ws_orders_hedge.json", v2::orders(&account, &opened.orders, ts)),
        ("v2_ws_orders_one_way.json", v2::orders(&single, &single_opened.orders, ts)),
        ("v2_ws_fill_close.json", v2::fills(&account, &ended.fills, ts)),
        ("v2_ws_positions_history.json", v2::positions_history(&account, &ended.history, ts)),
        ("v2_rest_all_position.json", v2_rest::positions(&account, product, None, ts)),
        ("v2_rest_all_position_flat.json", v2_rest::positions(&account, product, Some("XUSDT"), ts)),
        ("v2_rest_accounts.json", v2_rest::accounts(&account, product, ts)),
        ("v2_rest_account.json", v2_rest::account(&account, ts)),
        ("v2_rest_fills.json", v2_rest::fills(&account, product, &query, ts)),
        ("v2_rest_fills_none.json", v2_rest::fills(&account, Product::UsdcFutures, &query, ts)),
        ("v2_rest_orders_pending.json", v2_rest::orders_pending(&account, product, &query, ts)),
        ("v2_rest_orders_history.json", v2_rest::orders_history(&single, product, &query, ts)),
        ("v2_rest_history_position.json", v2_rest::history_position(&account, product, &query, ts)),
        ("v3_ws_position_snapshot.json", v3::positions_snapshot(&account, ts)),
        ("v3_ws_position_ended.json", v3::positions_update(&account, &ended.positions, ts)),
        ("v3_ws_account.json", v3::account(&account, ts)),
        ("v3_ws_order_hedge.json", v3::orders(&account, &opened.orders, ts)),
        ("v3_ws_order_one_way.json", v3::orders(&single, &single_opened.orders, ts)),
        ("v3_ws_fill_close.json", v3::fills(&account, &ended.fills, ts)),
        ("v3_rest_current_position.json", v3_rest::current_position(&account, product, None, ts)),
        ("v3_rest_current_position_flat.json", v3_rest::current_position(&account, product, Some("XUSDT"), ts)),
        ("v3_rest_assets.json", v3_rest::assets(&account, ts)),
        ("v3_rest_fills.json", v3_rest::fills(&account, product, &query, ts)),
        ("v3_rest_fills_none.json", v3_rest::fills(&account, Product::UsdcFutures, &query, ts)),
        ("v3_rest_unfilled_orders.json", v3_rest::unfilled_orders(&account, product, &query, ts)),
        ("v3_rest_history_orders.json", v3_rest::history_orders(&single, product, &query, ts)),
        ("v3_rest_history_position.json", v3_rest::history_position(&account, product, &query, ts)),
        ("rest_error.json", rest_error("40085", "You are in unified account mode", ts)),
    ];
    for (name, frame) in &frames {
        check(name, frame);
        serde_json::from_str::<Value>(frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!frame.contains("\"-0\""), "{name}: a zero has no sign");
    }
}

fn keys(text: &str, at: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(text).unwrap();
    let mut keys: Vec<String> = value.pointer(at).unwrap().as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn rows_have_the_documented_keys() {
    let (account, opened, ended) = lived();
    let product = Product::UsdtFutures;
    let cases = [
        (
            "v3 position: the 25 keys seen live",
            keys(&v3::positions_snapshot(&account, NOW), "/data/0"),
            "symbol marginCoin marginSize marginMode holdMode posSide positionStatus size available frozen avgPrice leverage
             curRealisedPnl unrealisedPnl liqPrice mmr markPrice breakEvenPrice profitRate totalFundingFee openFeeTotal
             closeFeeTotal cashDividend createdTime updatedTime",
        ),
        (
            "v3 account",
            keys(&v3::account(&account, NOW), "/data/0"),
            "totalEquity effEquity mmr imr mgnRatio positionMgnRatio unrealisedPnL coin",
        ),
        (
            "v3 coin",
            keys(&v3::account(&account, NOW), "/data/0/coin/0"),
            "coin equity usdValue balance available debts borrow locked bonus",
        ),
        (
            "v3 fill",
            keys(&v3::fills(&account, &ended.fills, NOW), "/data/0"),
            "category symbol orderId clientOid execId execLinkId orderType side holdSide tradeSide execPrice execQty
             execValue execPnl tradeScope feeDetail execTime updatedTime isRPI",
        ),
        (
            "v2 positions",
            keys(&v2::positions(&account, product, NOW), "/data/0"),
            "posId instId holdSide posMode total available frozen openPriceAvg markPrice unrealizedPL unrealizedPLR leverage
             marginMode marginSize marginCoin marginRate keepMarginRate isolatedMarginRate liquidationPrice breakEvenPrice
             achievedProfits deductedFee totalFee assetMode autoMargin cashDividend cTime uTime",
        ),
        (
            "v2 account",
            keys(&v2::account(&account, product, NOW), "/data/0"),
            "marginCoin frozen available maxOpenPosAvailable maxTransferOut equity usdtEquity crossedRiskRate unrealizedPL
             unionTotalMargin unionAvailable unionMm assetsMode",
        ),
        (
            "v2 fill",
            keys(&v2::fills(&account, &opened.fills, NOW), "/data/0"),
            "orderId clientOid tradeId symbol side orderType posMode price baseVolume quoteVolume profit tradeSide
             tradeScope feeDetail cTime uTime",
        ),
        (
            "v2 positions-history",
            keys(&v2::positions_history(&account, &ended.history, NOW), "/data/0"),
            "posId instId marginCoin marginMode holdSide posMode openPriceAvg closePriceAvg openSize closeSize
             achievedProfits settleFee openFee closeFee cTime uTime",
        ),
    ];
    for (name, keys, documented) in cases {
        assert_eq!(keys, words(documented), "{name}");
    }
}

#[test]
fn numbers_and_texts_are_what_they_are_on_the_wire() {
    let (account, ..) = lived();
    let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let product = Product::UsdtFutures;
    let socket2 = read(v2::positions(&account, product, NOW));
    let (long, short) = (&socket2["data"][0], &socket2["data"][1]);
    assert!(long["leverage"].is_u64(), "a bare number on the classic socket alone");
    assert_eq!(
        (&long["totalFee"], &short["totalFee"]),
        (&"".into(), &"0.444".into()),
        "empty before the first funding"
    );
    assert!(long["liquidationPrice"].as_str().unwrap().starts_with('-'), "negative means none");
    assert!(socket2["ts"].is_u64() && long["cTime"].is_string());
    assert!(read(v2_rest::positions(&account, product, None, NOW))["data"][0]["leverage"].is_string());
    assert!(read(v3::positions_snapshot(&account, NOW))["data"][0]["leverage"].is_string());
    let flat = read(v3_rest::current_position(&account, product, Some("XUSDT"), NOW));
    assert!(flat["data"]["list"].is_null(), "null, not an empty list");
    assert_eq!(read(v2_rest::positions(&account, product, Some("XUSDT"), NOW))["data"], serde_json::json!([]));
    let odd = Account::new(AccountConfig { leverage: dec("12.5"), ..AccountConfig::default() });
    assert_eq!(odd.config().leverage, dec("12.5"));
    assert_eq!((product_named("usdt-futures"), product_named("SPOT")), (Some(product), None));
}

#[test]
fn pages_go_from_the_newest_to_the_oldest_without_gap_or_overlap() {
    let mut account = Account::new(AccountConfig { fills_per_order: 4, ..AccountConfig::default() });
    for turn in 0..5 {
        account.execute(order("X", OrderSide::Buy, Effect::Net, "0.4"), dec("10"), NOW + turn).unwrap();
    }
    let all: Vec<u64> = account.fills().rev().map(|f| f.trade_id).collect();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let query = Query { limit: Some(6), before, ..Query::default() };
        let page: Value = serde_json::from_str(&v3_rest::fills(&account, Product::UsdtFutures, &query, NOW)).unwrap();
        let Some(rows) = page["data"]["list"].as_array() else { break };
        seen.extend(rows.iter().map(|row| row["execId"].as_str().unwrap().parse::<u64>().unwrap()));
        before = page["data"]["cursor"].as_str().map(|cursor| cursor.parse().unwrap());
    }
    assert_eq!((seen.len(), &seen), (20, &all));
    let narrow = Query { start_ms: Some(NOW + 1), end_ms: Some(NOW + 2), ..Query::default() };
    let page: Value = serde_json::from_str(&v2_rest::fills(&account, Product::UsdtFutures, &narrow, NOW)).unwrap();
    assert_eq!(page["data"]["fillList"].as_array().unwrap().len(), 8, "both ends of the time range count");
}

#[test]
fn the_past_is_left_out_and_nothing_of_the_present() {
    let (account, ..) = lived();
    let present = account.without_past();
    let product = account.product();
    assert!(account.fills().next().is_some() && present.fills().next().is_none());
    assert_eq!(v2::positions(&present, product, NOW), v2::positions(&account, product, NOW));
    assert_eq!(present.account_row(), account.account_row());
    assert!(present.waiting_orders().eq(account.waiting_orders()));
}
