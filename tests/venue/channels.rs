//! Every channel in both generations: acknowledgement, first push, later pushes.

use crate::client::*;
use serde_json::{Value, json};
use std::time::Duration;

fn decimal(value: &Value) -> f64 {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).parse().expect("a number")
}

fn is_push(frame: &Value) -> bool {
    frame.get("data").is_some()
}

#[tokio::test]
async fn ticker_is_always_a_snapshot_of_one_row() {
    let venue = venue(|_| {}).await;
    for generation in [2, 3] {
        let mut client = Client::connect(&venue, &door(generation, "public")).await;
        let arg = public(generation, "ticker");
        client.subscribe(&arg).await;
        let ack = client.frame().await;
        assert_eq!((&ack["event"], &ack["arg"]), (&json!("subscribe"), &arg));
        assert!(ack.get("code").is_none());
        assert_eq!(ack["connId"].is_string(), generation == 3);
        let mut before = 0;
        for _ in 0..5 {
            let frame = client.frame().await;
            assert_eq!((&frame["action"], &frame["arg"]), (&json!("snapshot"), &arg));
            let ts = frame["ts"].as_i64().expect("the envelope's time is a number");
            assert!(ts >= before, "{ts} < {before}");
            before = ts;
            let row = &frame["data"][0];
            let keys: &[&str] = if generation == 2 {
                &[
                    "lastPr",
                    "bidPr",
                    "askPr",
                    "bidSz",
                    "askSz",
                    "markPrice",
                    "indexPrice",
                    "fundingRate",
                    "holdingAmount",
                ]
            } else {
                &[
                    "lastPrice",
                    "bid1Price",
                    "ask1Price",
                    "bid1Size",
                    "ask1Size",
                    "markPrice",
                    "openInterest",
                    "volume24h",
                ]
            };
            for key in keys {
                assert!(decimal(&row[*key]).is_finite(), "{key}");
            }
            assert_eq!(row["ts"].is_string(), generation == 2, "v3 rows have no time");
            assert_eq!(row["symbolType"].is_number(), generation == 2);
        }
    }
}

#[tokio::test]
async fn trades_begin_with_history_newest_first_and_go_on_with_rising_ids() {
    let venue = venue(|_| {}).await;
    for generation in [2, 3] {
        let (id, ts) = if generation == 2 { ("tradeId", "ts") } else { ("i", "T") };
        let mut client = Client::connect(&venue, &door(generation, "public")).await;
        client.subscribe(&public(generation, "trade")).await;
        client.frame().await;
        let history = client.frame().await;
        assert_eq!(history["action"], "snapshot");
        let rows = history["data"].as_array().expect("rows");
        assert!(rows.len() >= 10, "{}", rows.len());
        let ids = |rows: &[Value]| -> Vec<u64> {
            rows.iter().map(|row| row[id].as_str().expect("id").parse().expect("number")).collect()
        };
        let mut newest = ids(rows);
        assert!(newest.windows(2).all(|w| w[0] > w[1]), "newest first");
        assert!(newest.iter().all(|id| id.to_string().len() == 19));
        for _ in 0..10 {
            let update = client.frame().await;
            assert_eq!(update["action"], "update");
            let rows = update["data"].as_array().expect("rows");
            let ids = ids(rows);
            assert!(ids.windows(2).all(|w| w[0] > w[1]), "newest first inside a frame");
            assert!(ids.iter().all(|id| *id > newest[0]), "above everything before");
            assert!(rows.iter().all(|row| row[ts] == rows[0][ts]), "one millisecond a frame");
            newest = ids;
        }
    }
}

#[tokio::test]
async fn candles_begin_with_500_rows_oldest_first_and_the_open_one_moves() {
    let venue = venue(|_| {}).await;
    for (generation, channel, span_ms) in
        [(2, "candle1m", 60_000), (2, "candle1H", 3_600_000), (3, "candle5m", 300_000), (3, "candle1D", 86_400_000)]
    {
        let start = |row: &Value| -> i64 {
            let cell = if generation == 2 { &row[0] } else { &row["start"] };
            cell.as_str().expect("start").parse().expect("number")
        };
        let mut client = Client::connect(&venue, &door(generation, "public")).await;
        let arg = public(generation, channel);
        client.subscribe(&arg).await;
        assert_eq!(client.frame().await["event"], "subscribe");
        let snapshot = client.frame().await;
        assert_eq!((&snapshot["action"], &snapshot["arg"]), (&json!("snapshot"), &arg));
        let rows = snapshot["data"].as_array().expect("rows");
        assert_eq!(rows.len(), 500);
        assert!(rows.windows(2).all(|w| start(&w[1]) - start(&w[0]) == span_ms), "{channel}");
        if generation == 2 {
            assert!(rows.iter().all(|row| row.as_array().is_some_and(|cells| cells.len() == 8)));
        }
        let update = client.frame().await;
        assert_eq!(update["action"], "update");
        assert!(start(&update["data"][0]) >= start(&rows[499]));
    }
}

#[tokio::test]
async fn a_second_subscription_brings_a_snapshot_and_no_second_stream() {
    let venue = venue(|_| {}).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    client.subscribe(&public(2, "trade")).await;
    client.until(|f| f["action"] == "snapshot").await;
    client.subscribe(&public(2, "trade")).await;
    client.until(|f| f["event"] == "subscribe").await;
    client.until(|f| f["action"] == "snapshot").await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10 {
        for row in client.until(is_push).await["data"].as_array().expect("rows") {
            assert!(seen.insert(row["tradeId"].to_string()), "twice: {row}");
        }
    }
    client.say(&json!({"op": "unsubscribe", "args": [public(2, "trade")]}).to_string()).await;
    client.until(|f| f["event"] == "unsubscribe").await;
    assert!(client.silent_for(Duration::from_millis(700)).await);
}

/// Section 4.5 of the protocol notes, row by row.
#[tokio::test]
async fn v2_positions_are_full_snapshots_and_flat_is_absence() {
    let venue = venue(|_| {}).await;
    let mut client = trader(&venue, 2).await;
    client.subscribe(&private(2, "positions")).await;
    assert_eq!(client.frame().await["arg"], private(2, "positions"));
    let sizes = |frame: &Value| -> Vec<String> {
        assert_eq!(frame["action"], "snapshot");
        frame["data"].as_array().expect("rows").iter().map(|row| format!("{}{}", row["instId"], row["total"])).collect()
    };
    assert!(sizes(&client.frame().await).is_empty(), "subscribed while flat");
    let mut stamp = 0;
    for (order, expected) in [
        ("position?symbol=BTCUSDT&side=long&size=0.5", vec![r#""BTCUSDT""0.5""#]),
        ("position?symbol=BTCUSDT&side=long&size=0.7", vec![r#""BTCUSDT""0.7""#]),
        ("position?symbol=ETHUSDT&side=short&size=2", vec![r#""BTCUSDT""0.7""#, r#""ETHUSDT""2""#]),
        ("position?symbol=BTCUSDT&side=long&size=0", vec![r#""ETHUSDT""2""#]),
        ("position?symbol=ETHUSDT&side=short&size=0", vec![]),
    ] {
        command(&venue, order).await;
        let frame = client.frame().await;
        assert_eq!(sizes(&frame), expected, "{order}");
        let ts = frame["ts"].as_i64().expect("time");
        assert!(ts > stamp, "private envelopes rise");
        stamp = ts;
        if let Some(row) = frame["data"].get(0) {
            assert!(row["leverage"].is_number() && row["holdSide"].is_string() && row["markPrice"].is_string());
        }
    }
}

#[tokio::test]
async fn a_closing_order_shows_the_old_position_once_more_before_it_fills() {
    let venue = venue(|_| {}).await;
    command(&venue, "position?symbol=BTCUSDT&side=long&size=0.5").await;
    let mut client = trader(&venue, 2).await;
    client.subscribe(&private(2, "positions")).await;
    client.until(is_push).await;
    command(&venue, "order?symbol=BTCUSDT&side=sell&effect=close&size=0.5").await;
    assert_eq!(client.frame().await["data"][0]["total"], "0.5", "the order is placed");
    assert_eq!(client.frame().await["data"], json!([]), "the order is filled");
}

#[tokio::test]
async fn v3_positions_are_updates_and_flat_is_an_ended_row() {
    let venue = venue(|_| {}).await;
    let mut client = trader(&venue, 3).await;
    client.subscribe(&json!({"instType": "UTA", "topic": "position", "symbol": "BTCUSDT", "uta": true})).await;
    assert_eq!(client.frame().await["event"], "subscribe");
    let first = client.frame().await;
    assert_eq!((&first["action"], &first["data"]), (&json!("snapshot"), &json!([])));
    assert_eq!(first["arg"], json!({"instType": "UTA", "topic": "position"}), "never a symbol");
    command(&venue, "position?symbol=BTCUSDT&side=long&size=0.5").await;
    let opened = client.frame().await;
    let row = &opened["data"][0];
    assert_eq!((&opened["action"], &row["size"], &row["posSide"]), (&json!("update"), &json!("0.5"), &json!("long")));
    assert_eq!(row["positionStatus"], "opening");
    command(&venue, "position?symbol=ETHUSDT&side=short&size=1").await;
    let other = client.frame().await;
    assert_eq!(other["data"].as_array().map(Vec::len), Some(1), "only what changed");
    command(&venue, "position?symbol=BTCUSDT&side=long&size=0").await;
    let ended = client.frame().await;
    let row = &ended["data"][0];
    assert_eq!((&row["size"], &row["positionStatus"], &row["avgPrice"]), (&json!("0"), &json!("ended"), &json!("0")));
    client.subscribe(&private(3, "positions")).await;
    let again = client.until(|f| f["action"] == "snapshot").await;
    assert_eq!(again["data"].as_array().map(Vec::len), Some(1), "each subscription brings a fresh snapshot");
}

#[tokio::test]
async fn an_order_is_told_as_orders_fill_and_account() {
    let venue = venue(|_| {}).await;
    for generation in [2, 3] {
        let mut client = trader(&venue, generation).await;
        for channel in ["orders", "fill"] {
            client.subscribe(&private(generation, channel)).await;
            assert_eq!(client.frame().await["event"], "subscribe", "{channel}");
        }
        assert!(client.silent_for(Duration::from_millis(300)).await, "nothing on subscribe");
        client.subscribe(&private(generation, "account")).await;
        let key = if generation == 2 { "channel" } else { "topic" };
        let account = client.until(is_push).await;
        assert_eq!((&account["action"], &account["arg"][key]), (&json!("snapshot"), &json!("account")));
        command(&venue, "order?symbol=BTCUSDT&side=buy&size=0.01").await;
        let mut statuses = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 3 || statuses.last().map(String::as_str) != Some("filled") {
            let frame = client.until(is_push).await;
            assert_eq!(frame["action"], "snapshot");
            let channel = frame["arg"][key].as_str().expect("channel").to_owned();
            let row = &frame["data"][0];
            if channel.starts_with("order") {
                let status = if generation == 2 { &row["status"] } else { &row["orderStatus"] };
                statuses.push(status.as_str().expect("status").to_owned());
            }
            if channel == "fill" {
                assert_eq!((&row["symbol"], &row["side"]), (&json!("BTCUSDT"), &json!("buy")));
            }
            seen.insert(channel);
        }
        assert_eq!(statuses.first().map(String::as_str), Some("live"));
    }
}
