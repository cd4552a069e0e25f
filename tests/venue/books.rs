//! Order books, forced orders, equity: what they begin with and how they go on.

use crate::client::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use trapline::venue::Venue;

/// A book as a client keeps it: price in hundredths to size.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    bids: BTreeMap<i64, String>,
    asks: BTreeMap<i64, String>,
    seq: u64,
}

fn cents(cell: &Value) -> i64 {
    (cell.as_str().expect("price").parse::<f64>().expect("number") * 100.0).round() as i64
}

impl Kept {
    /// Takes a frame; false when the chain is broken.
    fn take(&mut self, frame: &Value) -> bool {
        let row = &frame["data"][0];
        let (seq, pseq) = (row["seq"].as_u64().expect("seq"), row["pseq"].as_u64().expect("pseq"));
        if frame["action"] == "snapshot" {
            assert_eq!(pseq, 0, "a snapshot follows nothing");
            *self = Self::default();
        } else if pseq != self.seq {
            return false;
        }
        self.seq = seq;
        for (side, keys) in [(&mut self.bids, ["bids", "b"]), (&mut self.asks, ["asks", "a"])] {
            let levels = keys.iter().find_map(|key| row[*key].as_array()).expect("levels");
            for level in levels {
                match level[1].as_str().expect("size") {
                    "0" => {
                        side.remove(&cents(&level[0]));
                    }
                    size => {
                        side.insert(cents(&level[0]), size.to_owned());
                    }
                }
            }
        }
        true
    }

    fn crossed(&self) -> bool {
        self.bids.last_key_value().map(|(p, _)| p) >= self.asks.first_key_value().map(|(p, _)| p)
    }
}

fn is_push(frame: &Value) -> bool {
    frame.get("data").is_some()
}

async fn reader(venue: &Venue, generation: u8, channel: &str) -> Client {
    let mut client = Client::connect(venue, &door(generation, "public")).await;
    client.subscribe(&public(generation, channel)).await;
    assert_eq!(client.frame().await["arg"], public(generation, channel));
    client
}

#[tokio::test]
async fn a_whole_book_is_a_snapshot_and_a_chain_of_updates() {
    let venue = venue(|_| {}).await;
    for (generation, levels) in [(2, 500), (3, 1_000)] {
        let mut client = reader(&venue, generation, "books").await;
        let mut kept = Kept::default();
        let first = client.frame().await;
        assert_eq!(first["action"], "snapshot");
        assert!(kept.take(&first));
        assert_eq!((kept.bids.len(), kept.asks.len()), (levels, levels));
        let row = &first["data"][0];
        assert!(row["ts"].is_string() && row["seq"].is_u64() && first["ts"].is_i64());
        assert_eq!(row.get("maxdepth").is_some(), generation == 3);
        assert!(row.get("checksum").is_none(), "removed in May 2026");
        for number in 0..20 {
            let frame = client.frame().await;
            assert_eq!(frame["action"], "update");
            assert!(kept.take(&frame), "update {number} does not follow");
            assert!(!kept.crossed());
            assert_eq!((kept.bids.len(), kept.asks.len()), (levels, levels));
        }
    }
}

#[tokio::test]
async fn two_readers_of_one_book_hold_the_same() {
    let venue = venue(|_| {}).await;
    let mut early = reader(&venue, 2, "books").await;
    let mut first = Kept::default();
    for _ in 0..10 {
        assert!(first.take(&early.frame().await));
    }
    let mut late = reader(&venue, 2, "books").await;
    let mut second = Kept::default();
    for _ in 0..5 {
        assert!(second.take(&late.frame().await), "the first update fits the snapshot");
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while first.seq != second.seq {
        let behind = if first.seq < second.seq { (&mut early, &mut first) } else { (&mut late, &mut second) };
        assert!(behind.1.take(&behind.0.frame().await));
        assert!(tokio::time::Instant::now() < deadline, "never at the same number");
    }
    assert_eq!(first, second);
    early.subscribe(&public(2, "books")).await;
    let again = early.until(|f| f["action"] == "snapshot").await;
    assert_eq!(again["data"][0]["bids"].as_array().map(Vec::len), Some(500), "asked again, told again");
}

#[tokio::test]
async fn best_levels_are_always_snapshots_and_agree_with_the_whole_book() {
    let venue = venue(|_| {}).await;
    for (generation, channels) in
        [(2, [("books1", 1), ("books5", 5), ("books15", 15)]), (3, [("books1", 1), ("books5", 5), ("books50", 50)])]
    {
        for (channel, levels) in channels {
            let mut client = reader(&venue, generation, channel).await;
            let mut seq = 0;
            for _ in 0..4 {
                let frame = client.until(is_push).await;
                assert_eq!((&frame["action"], &frame["arg"]), (&json!("snapshot"), &public(generation, channel)));
                let row = &frame["data"][0];
                let bids = row.get("bids").or_else(|| row.get("b")).and_then(Value::as_array).expect("bids");
                assert_eq!(bids.len(), levels, "{channel}");
                assert!(row["seq"].as_u64() > Some(seq), "numbers rise");
                seq = row["seq"].as_u64().expect("seq");
            }
        }
    }
    let mut client = reader(&venue, 2, "books").await;
    client.subscribe(&public(2, "books5")).await;
    let mut kept = Kept::default();
    let mut compared = 0;
    while compared < 5 {
        let frame = client.until(is_push).await;
        if frame["arg"]["channel"] == "books" {
            assert!(kept.take(&frame));
        } else if frame["data"][0]["seq"].as_u64() == Some(kept.seq) {
            let best: Vec<i64> = kept.bids.keys().rev().take(5).copied().collect();
            let told: Vec<i64> =
                frame["data"][0]["bids"].as_array().expect("bids").iter().map(|l| cents(&l[0])).collect();
            assert_eq!(best, told);
            compared += 1;
        }
    }
    for (generation, channel) in [(2, "books50"), (3, "books15"), (2, "books2")] {
        let mut client = Client::connect(&venue, &door(generation, "public")).await;
        client.subscribe(&public(generation, channel)).await;
        assert_eq!(client.frame().await["code"], 30016, "{channel}");
    }
}

#[tokio::test]
async fn faults_of_books() {
    let venue = venue(|_| {}).await;
    for generation in [2, 3] {
        let mut client = reader(&venue, generation, "books").await;
        let mut kept = Kept::default();
        assert!(kept.take(&client.frame().await));
        command(&venue, "fault?name=seq_gap&ms=60000&every=3").await;
        while kept.take(&client.frame().await) {}
        command(&venue, "fault?name=all&stop=1").await;

        client.subscribe(&public(generation, "books")).await;
        assert!(kept.take(&client.until(|f| f["action"] == "snapshot").await), "a new snapshot mends it");
        assert!(kept.take(&client.until(is_push).await));
        command(&venue, "fault?name=book_reset&ms=60000").await;
        assert!(kept.take(&client.until(|f| f["action"] == "snapshot").await), "unasked");
        command(&venue, "fault?name=all&stop=1").await;
        // It may have been begun anew once more before the fault ended.
        let next = loop {
            let frame = client.until(is_push).await;
            let fits = kept.take(&frame);
            if frame["action"] == "update" {
                break fits;
            }
        };
        assert!(next, "and the chain goes on from it");

        command(&venue, "fault?name=book_crossed&ms=60000").await;
        client.subscribe(&public(generation, "books5")).await;
        let topic = if generation == 2 { "channel" } else { "topic" };
        let frame = client.until(|f| is_push(f) && f["arg"][topic] == "books5").await;
        kept.take(&frame);
        assert!(kept.crossed(), "{frame}");
        command(&venue, "fault?name=all&stop=1").await;
    }
}

#[tokio::test]
async fn forced_orders_are_told_market_wide() {
    let venue = venue(|config| config.speed = trapline::venue::Speed::Times(60.0)).await;
    let mut client = Client::connect(&venue, "/v3/ws/public").await;
    let arg = json!({"instType": "usdt-futures", "topic": "liquidation"});
    client.subscribe(&arg).await;
    assert_eq!(client.frame().await["arg"], arg);
    let frame = client.frame().await;
    assert_eq!((&frame["action"], &frame["arg"]), (&json!("update"), &arg));
    let row = &frame["data"][0];
    assert!(["BTCUSDT", "ETHUSDT"].contains(&row["symbol"].as_str().expect("symbol")));
    assert!(["buy", "sell"].contains(&row["side"].as_str().expect("side")));
    for key in ["price", "amount", "ts"] {
        assert!(row[key].as_str().and_then(|text| text.parse::<f64>().ok()).is_some_and(|n| n > 0.0), "{key}: {row}");
    }
}

#[tokio::test]
async fn equity_is_told_with_fills_and_algo_orders_never() {
    let venue = venue(|_| {}).await;
    let mut client = trader(&venue, 2).await;
    let arg = json!({"instType": "USDT-FUTURES", "channel": "equity"});
    client.subscribe(&arg).await;
    assert_eq!(client.frame().await["arg"], arg);
    client.subscribe(&private(2, "orders-algo")).await;
    assert_eq!(client.frame().await["event"], "subscribe");
    client.subscribe(&private(2, "positions-history")).await;
    assert_eq!(client.frame().await["event"], "subscribe");
    assert!(client.silent_for(Duration::from_millis(300)).await, "nothing on subscription");
    command(&venue, "order?symbol=BTCUSDT&side=buy&size=0.01").await;
    let frame = client.frame().await;
    assert_eq!((&frame["action"], &frame["arg"]), (&json!("snapshot"), &arg));
    assert!(frame["data"][0]["usdtEquity"].as_str().is_some_and(|text| text.starts_with("999")), "{frame}");
    assert!(frame["data"][0]["btcEquity"].as_str().is_some_and(|text| text.starts_with("0.1")), "{frame}");
    command(&venue, "order?symbol=BTCUSDT&side=sell&size=0.01").await;
    let closed = client.until(|f| f["arg"]["channel"] == "positions-history").await;
    assert_eq!((&closed["data"][0]["instId"], &closed["data"][0]["openSize"]), (&json!("BTCUSDT"), &json!("0.01")));
}
