//! What is pushed when: each event, what v2 says of it, and what v3 says.

use crate::client::*;
use serde_json::{Value, json};
use std::time::Duration;
use trapline::venue::{Speed, Venue};

/// A v2 frame: all open rows as `SYMBOL side total`.
type V2 = &'static [&'static str];
/// A v3 frame: its action, and its rows as `SYMBOL side size status frozen`.
type V3 = (&'static str, &'static [&'static str]);

struct Row {
    event: &'static str,
    does: &'static [&'static str],
    v2: &'static [V2],
    v3: &'static [V3],
}

/// One-way mode, from flat to flat.
const ONE_WAY: &[Row] = &[
    Row {
        event: "open",
        does: &["order?symbol=BTCUSDT&side=buy&size=0.5&price=80000"],
        v2: &[&["BTCUSDT long 0.5"]],
        v3: &[("update", &["BTCUSDT long 0.5 opening 0"])],
    },
    Row {
        event: "increase",
        does: &["order?symbol=BTCUSDT&side=buy&size=0.2&price=80000"],
        v2: &[&["BTCUSDT long 0.7"]],
        v3: &[("update", &["BTCUSDT long 0.7 opening 0"])],
    },
    Row {
        event: "open in another symbol: v2 tells all rows, v3 the changed one",
        does: &["order?symbol=ETHUSDT&side=sell&size=2&price=2800"],
        v2: &[&["BTCUSDT long 0.7", "ETHUSDT short 2"]],
        v3: &[("update", &["ETHUSDT short 2 opening 0"])],
    },
    Row {
        event: "reduce",
        does: &["order?symbol=BTCUSDT&side=sell&size=0.3&price=80000"],
        v2: &[&["BTCUSDT long 0.4", "ETHUSDT short 2"]],
        v3: &[("update", &["BTCUSDT long 0.4 opening 0"])],
    },
    Row {
        event: "close order placed, then the last lot closed",
        does: &["order?symbol=ETHUSDT&side=buy&effect=close&size=2&price=2800"],
        v2: &[&["BTCUSDT long 0.4", "ETHUSDT short 2"], &["BTCUSDT long 0.4"]],
        v3: &[("update", &["ETHUSDT short 2 opening 2"]), ("update", &["ETHUSDT short 0 ended 0"])],
    },
    Row {
        event: "flip",
        does: &["order?symbol=BTCUSDT&side=sell&size=1&price=80000"],
        v2: &[&["BTCUSDT short 0.6"]],
        v3: &[("update", &["BTCUSDT long 0 ended 0", "BTCUSDT short 0.6 opening 0"])],
    },
    Row {
        event: "the last of all closed",
        does: &["order?symbol=BTCUSDT&side=buy&size=0.6&price=80000"],
        v2: &[&[]],
        v3: &[("update", &["BTCUSDT short 0 ended 0"])],
    },
];

/// Hedge mode: two rows of one symbol.
const HEDGE: &[Row] = &[
    Row {
        event: "open long",
        does: &["mode?hold=hedge", "order?symbol=BTCUSDT&side=buy&effect=open&size=0.5&price=80000"],
        v2: &[&["BTCUSDT long 0.5"]],
        v3: &[("update", &["BTCUSDT long 0.5 opening 0"])],
    },
    Row {
        event: "open short beside it",
        does: &["order?symbol=BTCUSDT&side=sell&effect=open&size=0.3&price=80000"],
        v2: &[&["BTCUSDT long 0.5", "BTCUSDT short 0.3"]],
        v3: &[("update", &["BTCUSDT short 0.3 opening 0"])],
    },
    Row {
        event: "close the long: the short stays",
        does: &["order?symbol=BTCUSDT&side=sell&effect=close&size=0.5&price=80000"],
        v2: &[&["BTCUSDT long 0.5", "BTCUSDT short 0.3"], &["BTCUSDT short 0.3"]],
        v3: &[("update", &["BTCUSDT long 0.5 opening 0.5"]), ("update", &["BTCUSDT long 0 ended 0"])],
    },
];

fn words(row: &Value, keys: &[&str]) -> String {
    let word = |key: &&str| row[*key].as_str().unwrap_or_else(|| panic!("{key} in {row}")).to_owned();
    keys.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn rows(generation: u8, frame: &Value) -> Vec<String> {
    let keys: &[&str] = if generation == 2 {
        &["instId", "holdSide", "total"]
    } else {
        &["symbol", "posSide", "size", "positionStatus", "frozen"]
    };
    let mut rows: Vec<_> = frame["data"].as_array().expect("rows").iter().map(|row| words(row, keys)).collect();
    rows.sort();
    rows
}

async fn positions(venue: &Venue, generation: u8) -> (Client, Value) {
    let mut client = trader(venue, generation).await;
    client.subscribe(&private(generation, "positions")).await;
    assert_eq!(client.frame().await["event"], "subscribe");
    let first = client.frame().await;
    assert_eq!(first["action"], "snapshot", "a subscription begins with everything");
    (client, first)
}

async fn walk(table: &[Row]) {
    let venue = venue(|_| {}).await;
    let (mut v2, first2) = positions(&venue, 2).await;
    let (mut v3, first3) = positions(&venue, 3).await;
    assert_eq!((&first2["data"], &first3["data"]), (&json!([]), &json!([])), "subscribed while flat");
    let (mut stamp2, mut stamp3) = (0, 0);
    for row in table {
        for order in row.does {
            command(&venue, order).await;
        }
        for expected in row.v2 {
            let frame = v2.frame().await;
            assert_eq!(frame["action"], "snapshot", "{}: v2 is always a snapshot", row.event);
            assert_eq!(rows(2, &frame), *expected, "{}: v2", row.event);
            assert!(frame["ts"].as_i64() > Some(stamp2), "{}: envelopes rise", row.event);
            stamp2 = frame["ts"].as_i64().expect("time");
        }
        for (action, expected) in row.v3 {
            let frame = v3.frame().await;
            assert_eq!(frame["action"], *action, "{}: v3", row.event);
            assert_eq!(rows(3, &frame), *expected, "{}: v3", row.event);
            assert!(frame["ts"].as_i64() > Some(stamp3), "{}: envelopes rise", row.event);
            stamp3 = frame["ts"].as_i64().expect("time");
            for ended in frame["data"].as_array().expect("rows").iter().filter(|row| row["positionStatus"] == "ended") {
                assert_eq!((&ended["size"], &ended["avgPrice"]), (&json!("0"), &json!("0")), "{}", row.event);
            }
        }
    }
    assert!(v2.silent_for(Duration::from_millis(300)).await && v3.silent_for(Duration::from_millis(300)).await);
}

#[tokio::test]
async fn one_way_mode_row_by_row() {
    walk(ONE_WAY).await;
}

#[tokio::test]
async fn hedge_mode_row_by_row() {
    walk(HEDGE).await;
}

#[tokio::test]
async fn a_subscription_with_positions_and_after_a_reconnect_is_told_all_of_them() {
    let venue = venue(|_| {}).await;
    command(&venue, "position?symbol=BTCUSDT&side=long&size=0.5").await;
    command(&venue, "position?symbol=ETHUSDT&side=short&size=2").await;
    for generation in [2, 3] {
        for time in ["first", "after a reconnect"] {
            let (client, first) = positions(&venue, generation).await;
            assert_eq!(first["data"].as_array().map(Vec::len), Some(2), "{time}, v{generation}");
            drop(client);
        }
        let mut client = Client::connect(&venue, &door(generation, "private")).await;
        assert!(client.silent_for(Duration::from_millis(300)).await, "nothing before login and subscription");
        client.subscribe(&private(generation, "positions")).await;
        assert_eq!(client.frame().await["code"], 30004, "a login belongs to its connection");
    }
}

#[tokio::test]
async fn prices_that_move_and_time_that_passes_push_nothing() {
    let venue = venue(|config| config.speed = Speed::Times(20.0)).await;
    command(&venue, "position?symbol=BTCUSDT&side=long&size=0.5").await;
    for generation in [2, 3] {
        let (mut client, _) = positions(&venue, generation).await;
        assert!(client.silent_for(Duration::from_millis(1_500)).await, "v{generation}: half a minute of market");
    }
}

#[tokio::test]
async fn v2_tells_each_product_apart_and_v3_all_of_them_together() {
    let venue = venue(|_| {}).await;
    command(&venue, "position?symbol=BTCUSDT&side=long&size=0.5").await;
    let mut client = trader(&venue, 2).await;
    for product in ["COIN-FUTURES", "USDC-FUTURES"] {
        client.subscribe(&json!({"instType": product, "channel": "positions", "instId": "default"})).await;
        assert_eq!(client.frame().await["event"], "subscribe");
        let frame = client.frame().await;
        assert_eq!((&frame["data"], &frame["arg"]["instType"]), (&json!([]), &json!(product)));
    }
    command(&venue, "position?symbol=BTCUSDT&side=long&size=0.6").await;
    assert!(client.silent_for(Duration::from_millis(300)).await, "no business of theirs");
    let mut client = trader(&venue, 3).await;
    client.subscribe(&json!({"instType": "usdt-futures", "topic": "position"})).await;
    assert_eq!(client.frame().await["code"], 30001, "v3 knows only UTA");
}
