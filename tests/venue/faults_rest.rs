//! Faults of REST and of what it lists, as a client sees them.

use crate::client::*;
use serde_json::Value;
use std::time::Duration;

fn is_push(frame: &Value) -> bool {
    frame.get("data").is_some()
}

#[tokio::test]
async fn rest_faults() {
    let venue = venue(|_| {}).await;
    command(&venue, "position?symbol=BTCUSDT&side=long&size=0.5").await;
    let v2 = "/api/v2/mix/position/all-position?productType=USDT-FUTURES";
    let v3 = "/api/v3/position/current-position?category=USDT-FUTURES";
    for (fault, path, status, holds) in [
        ("rest_500", v2, 500, "40015"),
        ("rest_429", v2, 429, "429"),
        ("rest_html", v2, 200, "<html>"),
        ("rest_html&value=403", v3, 403, "<html>"),
        ("rest_empty_body", v3, 200, ""),
        ("rest_list_null", v2, 200, r#""data":[]"#),
        ("rest_list_null", v3, 200, r#""list":null"#),
        ("uta_gate_40085", v2, 400, "40085"),
        ("classic_gate_40084", v3, 400, "40084"),
    ] {
        command(&venue, &format!("fault?name={fault}&ms=60000")).await;
        let answer = get(&venue, path).await;
        assert_eq!(answer.status, status, "{fault}");
        assert!(answer.body.contains(holds), "{fault}: {}", answer.body);
        assert!(fault != "rest_empty_body" || answer.body.is_empty());
        command(&venue, "fault?name=all&stop=1").await;
        assert!(get(&venue, path).await.body.contains("0.5"), "{fault} is over");
    }
    command(&venue, "fault?name=rest_slow&ms=60000&value=400").await;
    let begun = std::time::Instant::now();
    get(&venue, v2).await;
    assert!(begun.elapsed() >= Duration::from_millis(400));
    command(&venue, "fault?name=all&stop=1").await;
    command(&venue, "fault?name=clock_skew_ms&ms=60000&value=-100000").await;
    let told: i64 = get(&venue, "/api/v2/public/time").await.json()["data"]["serverTime"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("time");
    let wall = trapline::clock::Clock::system().now_ms();
    assert!((wall - told - 100_000).abs() < 20_000, "{}", wall - told);
}

#[tokio::test]
async fn rest_busy() {
    let venue = venue(|_| {}).await;
    for (value, code) in [("", "45001"), ("&value=40725", "40725"), ("&value=40200", "40200")] {
        command(&venue, &format!("fault?name=rest_busy&ms=60000{value}")).await;
        let answer = get(&venue, "/api/v2/public/time").await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some(code)));
    }
    command(&venue, "fault?name=all&stop=1").await;
    assert_eq!(get(&venue, "/api/v2/public/time").await.status, 200);
}

#[tokio::test]
async fn symbol_maintain() {
    let venue = venue(|_| {}).await;
    let status = |path: &'static str, key: &'static str| {
        let venue = &venue;
        async move { get(venue, path).await.json()["data"][0][key].clone() }
    };
    let v2 = "/api/v2/mix/market/contracts?productType=USDT-FUTURES&symbol=BTCUSDT";
    let v3 = "/api/v3/market/instruments?category=USDT-FUTURES&symbol=BTCUSDT";
    let other = "/api/v2/mix/market/contracts?productType=USDT-FUTURES&symbol=ETHUSDT";
    command(&venue, "fault?name=symbol_maintain&value=BTCUSDT&ms=60000").await;
    assert_eq!(status(v2, "symbolStatus").await, "maintain");
    assert_eq!(status(v3, "status").await, "offline");
    assert_eq!(status(other, "symbolStatus").await, "normal");
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    client.subscribe(&public(2, "trade")).await;
    assert_eq!(client.frame().await["event"], "subscribe");
    assert!(client.silent_for(Duration::from_millis(700)).await, "nothing is traded");
    command(&venue, "fault?name=all&stop=1").await;
    client.until(is_push).await;
    assert_eq!(status(v2, "symbolStatus").await, "normal");
}
