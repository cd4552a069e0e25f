//! The open, add, close sequence as a client of the classic socket sees it: `[]`, 3, 3, 6, 6, `[]`.

use super::*;
use crate::venue::account::encode::{v2, v3};
use serde_json::Value;

fn read(frame: &str) -> Value {
    serde_json::from_str(frame).unwrap()
}

fn total(frame: &Value) -> Option<&str> {
    frame["data"][0]["total"].as_str()
}

#[test]
fn classic_positions_go_from_empty_over_three_and_six_to_empty() {
    let mut account = account(HoldMode::OneWay);
    let product = Product::UsdtFutures;
    let push = |account: &Account, after_ms: i64| read(&v2::positions(account, product, NOW + after_ms));

    let subscribed = push(&account, 0);
    account.execute(order("XRPUSDT", OrderSide::Buy, Effect::Net, "3"), dec("2.2"), NOW + 1_000).unwrap();
    let opened = push(&account, 1_001);
    account.mark("XRPUSDT", dec("2.21"));
    let moved = push(&account, 2_000);
    account.execute(order("XRPUSDT", OrderSide::Buy, Effect::Net, "3"), dec("2.22"), NOW + 3_000).unwrap();
    let added = push(&account, 3_001);
    let placed =
        account.place(order("XRPUSDT", OrderSide::Sell, Effect::Close, "6"), dec("2.21"), NOW + 4_000).unwrap();
    let closing = push(&account, 4_001);
    account.fill(placed.orders[0].order_id, dec("2.21"), dec("6"), NOW + 4_130).unwrap();
    let closed = push(&account, 4_131);

    let frames = [&subscribed, &opened, &moved, &added, &closing, &closed];
    let totals = frames.map(total);
    assert_eq!(totals, [None, Some("3"), Some("3"), Some("6"), Some("6"), None]);
    for frame in frames {
        assert_eq!(frame["action"], "snapshot");
        assert!(frame["data"].is_array() && frame["ts"].is_number());
    }
    assert_eq!(subscribed["data"], serde_json::json!([]));
    assert_eq!(closed["data"], serde_json::json!([]));
    assert_eq!((&opened["data"][0]["unrealizedPL"], &moved["data"][0]["unrealizedPL"]), (&"0".into(), &"0.03".into()));
    assert_eq!(opened["data"][0]["uTime"], moved["data"][0]["uTime"], "a price move keeps the row's time");
    assert_eq!(added["data"][0]["uTime"], closing["data"][0]["uTime"], "a placed order keeps the row's time");
    assert_eq!(added["data"][0]["openPriceAvg"], "2.21");
    assert_eq!((&closing["data"][0]["available"], &closing["data"][0]["frozen"]), (&"0".into(), &"6".into()));
}

#[test]
fn unified_positions_tell_the_end_by_a_row() {
    let mut account = account(HoldMode::OneWay);
    let empty = read(&v3::positions_snapshot(&account, NOW));
    assert_eq!((&empty["action"], &empty["data"]), (&"snapshot".into(), &serde_json::json!([])));
    account.execute(order("XRPUSDT", OrderSide::Buy, Effect::Net, "3"), dec("2.2"), NOW).unwrap();
    let flip = account.execute(order("XRPUSDT", OrderSide::Sell, Effect::Net, "5"), dec("2.3"), NOW + 9).unwrap();
    let update = read(&v3::positions_update(&account, &flip.positions, NOW + 10));
    assert_eq!(update["action"], "update");
    let ended = &update["data"][0];
    let fields = ["posSide", "positionStatus", "size", "avgPrice", "liqPrice", "mmr", "openFeeTotal"];
    assert_eq!(fields.map(|f| ended[f].as_str().unwrap()), ["long", "ended", "0", "0", "", "", ""]);
    let opened = &update["data"][1];
    assert_eq!(fields.map(|f| opened[f].as_str().unwrap())[..4], ["short", "opening", "2", "2.3"]);
}
