//! Tapes, the seeded market, scripts and the firehose, through the socket.

use crate::client::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trapline::venue::firehose::FRAME_BASE;
use trapline::venue::{Firehose, Hold, MarketSource, ScriptChoice, Speed, VenueConfig, VenueError, start};

fn tape(folder: &Path, name: &str, rows: &[Value]) -> PathBuf {
    let path = folder.join(format!("{name}.jsonl.gz"));
    let mut file = GzEncoder::new(std::fs::File::create(&path).expect("file"), Compression::fast());
    let meta = json!({"kind": "meta", "tape": name, "rows": rows.len(), "first_ts": rows[0]["ts"], "last_ts": rows[rows.len() - 1]["ts"]});
    writeln!(file, "{meta}").expect("writes");
    for row in rows {
        writeln!(file, "{row}").expect("writes");
    }
    file.finish().expect("writes");
    path
}

fn trade(ts: i64, symbol: &str, price: &str) -> Value {
    json!({"ts": ts, "kind": "trade", "symbol": symbol, "price": price, "size": "0.5", "side": "buy", "id": "x"})
}

fn settle() -> Hold {
    Hold::UntilSubscribed { settle: Duration::from_millis(200) }
}

#[tokio::test]
async fn a_tape_plays_in_order_to_its_end_at_every_speed() {
    let folder = tempfile::tempdir().expect("folder");
    let rows: Vec<Value> =
        (0..600).map(|i| trade(1_500_000_000_000 + i / 3 * 10, "XBTUSD", &format!("{}.5", 10_000 + i))).collect();
    let path = tape(folder.path(), "t", &rows);
    for speed in [Speed::Times(10.0), Speed::Max] {
        let venue = venue(|config| {
            config.market = MarketSource::Tapes(vec![path.clone()]);
            config.speed = speed;
            config.hold = settle();
        })
        .await;
        assert_eq!(venue.symbols(), ["BTCUSDT"]);
        let mut client = Client::connect(&venue, "/v2/ws/public").await;
        client.subscribe(&public(2, "trade")).await;
        let mut seen = Vec::new();
        let mut stamps = Vec::new();
        while seen.len() < 600 {
            let frame = client.until(|f| f["action"] == "update").await;
            let rows = frame["data"].as_array().expect("rows");
            assert_eq!(rows.len(), 3, "one source millisecond a frame");
            stamps.push(frame["ts"].as_i64().expect("time"));
            seen.extend(rows.iter().rev().map(|row| row["price"].as_str().expect("price").to_owned()));
        }
        let expected: Vec<String> = (0..600).map(|i| format!("{}.5", 10_000 + i)).collect();
        assert_eq!(seen, expected, "{speed:?}");
        let wall = trapline::clock::Clock::system().now_ms();
        assert!(stamps.iter().all(|ts| (ts - wall).abs() < 20_000), "stamps are fresh");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !venue.tape_finished() {
            assert!(tokio::time::Instant::now() < deadline, "never finished");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let truth = venue.truth();
        assert_eq!((truth[0].last.to_string(), truth[0].trades), ("10599.5".to_owned(), 600));
    }
}

#[tokio::test]
async fn tapes_of_different_years_play_side_by_side() {
    let folder = tempfile::tempdir().expect("folder");
    let row = |start: i64, i: i64, symbol: &str| trade(start + i * 20, symbol, "5");
    let old: Vec<Value> = (0..20).map(|i| row(1_500_000_000_000, i, "XBTUSD")).collect();
    let new: Vec<Value> = (0..20).map(|i| row(1_700_000_000_000, i, "UNI-USDT")).collect();
    let paths = vec![tape(folder.path(), "old", &old), tape(folder.path(), "new", &new)];
    let venue = venue(|config| {
        config.market = MarketSource::Tapes(paths);
        config.hold = settle();
    })
    .await;
    assert_eq!(venue.symbols(), ["BTCUSDT", "UNIUSDT"]);
    let mut client = Client::connect(&venue, "/v3/ws/public").await;
    for symbol in ["BTCUSDT", "UNIUSDT"] {
        client.subscribe(&json!({"instType": "usdt-futures", "topic": "publicTrade", "symbol": symbol})).await;
    }
    let mut order = Vec::new();
    while order.len() < 40 {
        let frame = client.until(|f| f["action"] == "update").await;
        order.push(frame["arg"]["symbol"].as_str().expect("symbol").to_owned());
    }
    let first_half = order[..20].iter().filter(|symbol| *symbol == "BTCUSDT").count();
    assert!((8..=12).contains(&first_half), "{order:?}");
}

#[tokio::test]
async fn candles_without_trades_play_as_a_path_through_them() {
    let folder = tempfile::tempdir().expect("folder");
    let start = 1_700_000_040_000_i64;
    let candle = |i: i64, symbol: &str| {
        json!({"ts": start + i * 60_000, "kind": "candle", "symbol": symbol, "interval": "1m",
            "open": "10", "high": "12", "low": "9", "close": "11", "volume": "40"})
    };
    let rows: Vec<Value> = (0..3).flat_map(|i| [candle(i, "AAAUSDT"), candle(i, "BBBUSDT")]).collect();
    let path = tape(folder.path(), "c", &rows);
    let venue = venue(|config| {
        config.market = MarketSource::Tapes(vec![path]);
        config.speed = Speed::Max;
        config.hold = settle();
    })
    .await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    for symbol in ["AAAUSDT", "BBBUSDT"] {
        client.subscribe(&json!({"instType": "USDT-FUTURES", "channel": "trade", "instId": symbol})).await;
    }
    let mut per_symbol = std::collections::BTreeMap::<String, Vec<String>>::new();
    while per_symbol.values().map(Vec::len).sum::<usize>() < 240 {
        let frame = client.until(|f| f["action"] == "update").await;
        let symbol = frame["arg"]["instId"].as_str().expect("symbol").to_owned();
        let rows = frame["data"].as_array().expect("rows").iter().rev();
        per_symbol.entry(symbol).or_default().extend(rows.map(|r| r["price"].as_str().expect("price").to_owned()));
    }
    for prices in per_symbol.values() {
        assert_eq!(prices.len(), 120);
        assert!(prices.iter().any(|p| p == "12") && prices.iter().any(|p| p == "9"), "both extremes are touched");
        assert_eq!((prices[0].as_str(), prices[119].as_str()), ("10", "11"));
    }
}

/// Where the recordings lie; `None` (said aloud) where they are absent and nobody requires them.
fn recording(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tapes/open").join(name);
    let path = if path.exists() {
        path
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tapes/open").join(name)
    };
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("TRAPLINE_REQUIRE_TAPES").as_deref() != Ok("1"), "recording {name} is required and absent");
    eprintln!("skipped 1: recording {name} is absent");
    None
}

#[tokio::test]
async fn recorded_first_generation_frames_play_under_todays_names() {
    let Some(path) = recording("bitget-v1-mix-frames.jsonl.gz") else { return };
    let venue = venue(|config| {
        config.market = MarketSource::Tapes(vec![path]);
        config.hold = settle();
        config.speed = Speed::Times(5.0);
    })
    .await;
    let mut names = venue.symbols();
    names.sort();
    assert_eq!(names, ["DASHUSDT", "UNIUSDT"]);
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    for channel in ["ticker", "trade", "candle1m"] {
        client.subscribe(&json!({"instType": "USDT-FUTURES", "channel": channel, "instId": "DASHUSDT"})).await;
    }
    let ticker = client.until(|f| f["arg"]["channel"] == "ticker" && f.get("data").is_some()).await;
    let row = &ticker["data"][0];
    assert!(row["markPrice"].as_str().is_some_and(|price| price.starts_with("113")), "{row}");
    assert!(row["holdingAmount"].as_str().is_some_and(|open| open.starts_with("219")), "{row}");
    let trade = client.until(|f| f["arg"]["channel"] == "trade" && f["action"] == "update").await;
    assert!(trade["data"][0]["price"].as_str().is_some_and(|price| price.starts_with("113")), "{trade}");
    client.subscribe(&json!({"instType": "USDT-FUTURES", "channel": "candle1m", "instId": "DASHUSDT"})).await;
    let history = client
        .until(|f| {
            f["arg"]["channel"] == "candle1m"
                && f["action"] == "snapshot"
                && f["data"].as_array().is_some_and(|rows| rows.len() > 100)
        })
        .await;
    assert_eq!(history["data"][0].as_array().map(Vec::len), Some(8));
}

#[tokio::test]
async fn the_tour_goes_through_open_add_reduce_flip_and_close() {
    let venue = venue(|config| {
        config.script = ScriptChoice::Tour;
        config.speed = Speed::Times(20.0);
    })
    .await;
    let mut client = trader(&venue, 3).await;
    client.subscribe(&private(3, "positions")).await;
    let mut seen = std::collections::BTreeSet::new();
    while !["long opening", "short opening", "long ended", "short ended"].iter().all(|s| seen.contains(*s)) {
        let frame = client.until(|f| f["action"] == "update").await;
        for row in frame["data"].as_array().expect("rows") {
            let (side, status) =
                (row["posSide"].as_str().expect("side"), row["positionStatus"].as_str().expect("status"));
            seen.insert(format!("{side} {status}"));
        }
    }
}

#[tokio::test]
async fn pausing_makes_the_market_stand_still() {
    let venue = venue(|_| {}).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    client.subscribe(&public(2, "ticker")).await;
    client.until(|f| f.get("data").is_some()).await;
    venue.pause();
    while !client.silent_for(Duration::from_millis(500)).await {}
    let shown = venue.truth()[0].clone();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(venue.truth()[0], shown);
    venue.resume();
    let frame = client.until(|f| f.get("data").is_some()).await;
    assert!(frame["ts"].as_i64() >= Some(shown.ticker_ms));
    assert!(venue.status_line().contains("BTCUSDT"));
}

#[tokio::test]
async fn the_firehose_numbers_its_frames_without_a_gap_and_remembers_when_it_sent_them() {
    for generation in [2, 3] {
        let size = if generation == 2 { "bidSz" } else { "bid1Size" };
        for rate in [None, Some(2_000.0)] {
            let venue = venue(|config| {
                config.firehose = Some(Firehose { rate, frames: Some(1_000) });
            })
            .await;
            let mut client = Client::connect(&venue, &door(generation, "public")).await;
            for symbol in ["BTCUSDT", "ETHUSDT"] {
                let arg = if generation == 2 {
                    json!({"instType": "USDT-FUTURES", "channel": "ticker", "instId": symbol})
                } else {
                    json!({"instType": "usdt-futures", "topic": "ticker", "symbol": symbol})
                };
                client.subscribe(&arg).await;
            }
            for expected in 0..1_000_u64 {
                let frame = client.until(|f| f.get("data").is_some()).await;
                let number: u64 = frame["data"][0][size].as_str().expect("size").parse().expect("number");
                assert_eq!(number - FRAME_BASE, expected, "{rate:?}");
            }
            assert_eq!(venue.fired(), 1_000);
            assert!(venue.send_time_us(999) >= venue.send_time_us(0) && venue.send_time_us(0).is_some());
            assert_eq!(command(&venue, "stamps?from=10&count=5").await["stamps_us"].as_array().map(Vec::len), Some(5));
        }
    }
}

#[tokio::test]
async fn a_start_that_cannot_work_says_why() {
    let says = async |change: &dyn Fn(&mut VenueConfig)| {
        let mut config = VenueConfig::default();
        change(&mut config);
        start(config).await.err().map(|error: VenueError| error.to_string()).unwrap_or_default()
    };
    assert!(says(&|c| c.symbols.clear()).await.contains("name at least one"));
    assert!(says(&|c| c.symbols = trapline::venue::instrument::names(601)).await.contains("601"));
    assert!(says(&|c| c.speed = Speed::Times(0.0)).await.contains("above 0"));
    assert!(says(&|c| c.market = MarketSource::Tapes(vec!["/nowhere.gz".into()])).await.contains("/nowhere.gz"));
    let other = start(VenueConfig::default()).await.expect("starts");
    assert!(says(&|c| c.listen = other.addr()).await.contains("port 0"));
}

#[tokio::test]
async fn six_hundred_symbols_start_and_run() {
    let names = trapline::venue::instrument::names(600);
    let venue = venue(|config| config.symbols = names).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    client.subscribe(&json!({"instType": "USDT-FUTURES", "channel": "ticker", "instId": "COIN599USDT"})).await;
    for _ in 0..5 {
        client.until(|f| f["arg"]["instId"] == "COIN599USDT" && f.get("data").is_some()).await;
    }
}
