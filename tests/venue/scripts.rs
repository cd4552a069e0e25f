//! The account moves by scripts, trades coin-margined contracts, pays funding in market time, and everything that
//! happens is in the truth log.

use crate::client::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use trapline::venue::account::script::Script;
use trapline::venue::account::shipped;
use trapline::venue::{ScriptChoice, Speed, VenueConfig, start};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a truth log");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// Waits until the truth log says enough.
async fn until(path: &Path, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let lines = lines(path);
        if enough(&lines) {
            return lines;
        }
        assert!(tokio::time::Instant::now() < deadline, "the newest of {}: {:?}", lines.len(), lines.last());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn script(name: &str) -> ScriptChoice {
    ScriptChoice::Given(shipped::named(name).expect("shipped").expect("readable"))
}

#[tokio::test]
async fn a_liquidation_is_seen_by_clients_and_is_in_the_truth_log() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("truth.jsonl");
    let venue = venue(|config| {
        config.script = script("liquidation");
        config.truth = Some(file.clone());
    })
    .await;
    let mut client = trader(&venue, 2).await;
    client.subscribe(&private(2, "orders")).await;
    let mut market = Client::connect(&venue, "/v3/ws/public").await;
    market.subscribe(&json!({"instType": "usdt-futures", "topic": "liquidation"})).await;
    let frame = client.until(|f| f["data"][0]["tradeSide"] == "burst_sell_single").await;
    let filled = |f: &Value| f["data"][0]["tradeSide"] == "burst_sell_single" && f["data"][0]["fillPrice"].is_string();
    let price = client.until(filled).await["data"][0]["fillPrice"].clone();
    let told = market.until(|f| f["data"][0]["price"] == price).await;
    assert_eq!((&told["arg"]["topic"], &told["data"][0]["symbol"]), (&json!("liquidation"), &json!("BTCUSDT")));
    assert_eq!(told["data"][0]["side"], "buy", "a long was liquidated");
    assert_eq!(frame["data"][0]["orderType"], "market");
    let all = until(&file, |lines| lines.iter().any(|l| l["kind"] == "fill" && l["liquidation"] == true)).await;
    assert_eq!((&all[0]["kind"], &all[0]["symbols"]), (&json!("start"), &json!(["BTCUSDT", "ETHUSDT"])));
    assert!(all.iter().all(|line| line["at_ms"].is_i64()));
    let closed = all.iter().find(|l| l["kind"] == "closed").expect("closed");
    assert_eq!((&closed["symbol"], &closed["side"]), (&json!("BTCUSDT"), &json!("long")));
    let door = command(&venue, "truth").await;
    let shown = door["account"].as_array().expect("lines of the account");
    assert!(shown.iter().any(|line| line == closed), "the control door says the same");
}

#[tokio::test]
async fn an_impossible_script_or_file_is_told_before_anything_listens() {
    let impossible = Script::from_json_lines(
        r#"{"at_ms": 0, "do": "open", "symbol": "$1", "side": "long", "value": 100}
           {"at_ms": 9, "do": "flip", "symbol": "DOGEUSDT"}"#,
    );
    let script = ScriptChoice::Given(impossible.expect("readable"));
    let Err(error) = start(VenueConfig { script, ..VenueConfig::default() }).await else { panic!("started") };
    let text = error.to_string();
    assert!(text.contains("step 2 (at 9 ms)") && text.contains("DOGEUSDT"), "{text}");
    let truth = Some("/nowhere/at/all.jsonl".into());
    let Err(error) = start(VenueConfig { truth, ..VenueConfig::default() }).await else { panic!("started") };
    assert!(error.to_string().contains("/nowhere/at/all.jsonl"), "{error}");
}

#[tokio::test]
async fn coin_margined_contracts_are_margined_in_their_coin_in_both_generations() {
    let venue = venue(|config| config.symbols = vec!["BTCUSD".to_owned()]).await;
    command(&venue, "order?symbol=BTCUSD&side=buy&size=0.1&price=80000").await;
    let row = get(&venue, "/api/v2/mix/position/all-position?productType=COIN-FUTURES&marginCoin=BTC").await;
    let row = row.json()["data"][0].clone();
    assert_eq!((&row["symbol"], &row["marginCoin"], &row["total"]), (&json!("BTCUSD"), &json!("BTC"), &json!("0.1")));
    // 0.1 coins at 20x; profit is below 0.1 coins whatever the price.
    assert_eq!((&row["marginSize"], &row["openPriceAvg"]), (&json!("0.005"), &json!("80000")));
    let number = |text: &Value| text.as_str().and_then(|t| t.parse::<Decimal>().ok()).expect("a number");
    let mark = number(&row["markPrice"]);
    let expected = (Decimal::new(1, 1) * (mark - Decimal::from(80_000)) / mark).round_dp(8);
    assert_eq!(number(&row["unrealizedPL"]), expected, "{row}");
    let row = get(&venue, "/api/v3/position/current-position?category=COIN-FUTURES").await;
    let row = row.json()["data"]["list"][0].clone();
    assert_eq!((&row["total"], &row["avgPrice"], &row["marginCoin"]), (&json!("0.1"), &json!("80000"), &json!("BTC")));
    let none = get(&venue, "/api/v2/mix/position/all-position?productType=USDT-FUTURES&marginCoin=USDT").await;
    assert_eq!(none.json()["data"], json!([]));
}

#[tokio::test]
async fn v3_calls_a_coin_margined_contract_the_same_in_public_and_private() {
    let venue = venue(|config| config.symbols = vec!["BTCUSD".to_owned()]).await;
    let mut client = trader(&venue, 3).await;
    for channel in ["positions", "orders", "fill"] {
        client.subscribe(&private(3, channel)).await;
        client.until(|f| f["event"] == "subscribe").await;
    }
    command(&venue, "order?symbol=BTCUSD&side=buy&size=0.1").await;
    for topic in ["order", "fill", "position"] {
        let frame = client.until(|f| f["arg"]["topic"] == topic && f["data"][0].is_object()).await;
        assert_eq!(frame["data"][0]["symbol"], "BTCUSD_CM", "{topic}");
    }
    command(&venue, "order?symbol=BTCUSD&side=sell&size=0.1").await;
    for path in ["position/history-position", "trade/fills", "trade/history-orders"] {
        for (symbol, rows) in [("BTCUSD_CM", true), ("BTCUSD", false)] {
            let path = format!("/api/v3/{path}?category=COIN-FUTURES&symbol={symbol}");
            let list = get(&venue, &path).await.json()["data"]["list"].clone();
            assert_eq!(list[0].is_object(), rows, "{path}: {list}");
            assert!(!rows || list[0]["symbol"] == "BTCUSD_CM", "{path}: {list}");
        }
    }
    let v2 = get(&venue, "/api/v2/mix/order/fills?productType=COIN-FUTURES&symbol=BTCUSD").await.json();
    assert_eq!(v2["data"]["fillList"][0]["symbol"], "BTCUSD", "v2 knows no mark");
}

#[tokio::test]
async fn a_scripted_close_is_shown_before_it_fills_in_both_generations() {
    let script = r#"{"at_ms": 300, "do": "open", "symbol": "$1", "side": "long", "size": "0.5"}
                    {"at_ms": 1500, "do": "close", "symbol": "$1", "side": "long"}"#;
    let venue = venue(|config| {
        config.script = ScriptChoice::Given(Script::from_json_lines(script).expect("readable"));
        config.hold = trapline::venue::Hold::UntilTold;
    })
    .await;
    let mut clients = [trader(&venue, 2).await, trader(&venue, 3).await];
    for (client, generation) in clients.iter_mut().zip([2, 3]) {
        client.subscribe(&private(generation, "positions")).await;
        client.until(|f| f["action"] == "snapshot").await;
    }
    venue.resume();
    let [two, three] = &mut clients;
    let row =
        |frame: &Value, keys: [&str; 2]| keys.map(|key| frame["data"][0][key].as_str().unwrap_or("none").to_owned());
    let v2 = ["total", "frozen"];
    assert_eq!(row(&two.frame().await, v2), ["0.5", "0"]);
    assert_eq!(row(&two.frame().await, v2), ["0.5", "0"], "as it was, once more");
    assert_eq!(two.frame().await["data"], json!([]));
    let v3 = ["size", "frozen"];
    assert_eq!(row(&three.frame().await, v3), ["0.5", "0"]);
    assert_eq!(row(&three.frame().await, v3), ["0.5", "0.5"], "the closing order holds it");
    assert_eq!(row(&three.frame().await, v3), ["0", "0"]);
}

#[tokio::test]
async fn funding_is_settled_at_the_boundaries_of_market_time() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("truth.jsonl");
    let venue = venue(|config| {
        config.script = script("quiet-holder");
        config.truth = Some(file.clone());
        // Eight hours pass in eight seconds at the most.
        config.symbols = vec!["BTCUSDT".to_owned()];
        config.speed = Speed::Times(3_600.0);
    })
    .await;
    let all = until(&file, |lines| lines.iter().any(|l| l["kind"] == "funding")).await;
    let settled = all.iter().position(|l| l["kind"] == "funding").expect("a settlement");
    let rate: Decimal = all[settled]["rate"].as_str().and_then(|r| r.parse().ok()).expect("a rate");
    let mark: Decimal = all[settled]["mark"].as_str().and_then(|r| r.parse().ok()).expect("a mark");
    let held = all[..settled].iter().rev().find(|l| l["kind"] == "position");
    let size: Decimal = held.and_then(|l| l["size"].as_str()?.parse().ok()).unwrap_or_default();
    let all = until(&file, |lines| size.is_zero() || lines[settled..].iter().any(|l| l["kind"] == "balance")).await;
    if let Some(after) = all[settled..].iter().find(|l| l["kind"] == "balance") {
        let paid: Decimal = after["funding"].as_str().and_then(|f| f.parse().ok()).expect("funding");
        let strategy = rust_decimal::RoundingStrategy::MidpointAwayFromZero;
        assert_eq!(paid, -(size * mark * rate).round_dp_with_strategy(8, strategy), "{after}");
    }
    drop(venue);
}

#[tokio::test]
async fn sweeps_and_pumps_are_written_once_they_are_over() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("truth.jsonl");
    let _venue = venue(|config| {
        config.truth = Some(file.clone());
        config.symbols = vec!["BTCUSDT".to_owned()];
        config.speed = Speed::Times(200.0);
    })
    .await;
    let sweep = |line: &Value| line["kind"].as_str().is_some_and(|kind| kind.starts_with("sweep_"));
    let all = until(&file, |lines| lines.iter().any(sweep)).await;
    let found = all.iter().find(|line| sweep(line)).expect("a sweep");
    let time = |name: &str| found[name].as_i64().unwrap_or_else(|| panic!("{name} in {found}"));
    assert!(time("source_start_ms") < time("source_end_ms") && time("end_ms") <= time("at_ms"), "{found}");
    assert!(found["from_price"].is_number() && found["extreme_price"].is_number() && found["symbol"] == "BTCUSDT");
}
