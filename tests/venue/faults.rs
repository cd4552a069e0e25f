//! Each fault, as a client sees it.

use crate::client::*;
use serde_json::{Value, json};
use std::time::Duration;
use trapline::venue::faults::CATALOGUE;

async fn listener(venue: &trapline::venue::Venue, channel: &str) -> Client {
    let mut client = Client::connect(venue, "/v2/ws/public").await;
    client.subscribe(&public(2, channel)).await;
    client.until(|f| f["action"] == "snapshot").await;
    client
}

fn is_push(frame: &Value) -> bool {
    frame.get("data").is_some()
}

#[tokio::test]
async fn faults_are_listed_while_they_last_and_only_then() {
    let venue = venue(|_| {}).await;
    let listed = command(&venue, "faults").await;
    assert_eq!(listed["known"].as_array().map(Vec::len), Some(CATALOGUE.len()));
    assert_eq!(listed["active"], json!([]));
    for (_, name, ..) in CATALOGUE {
        let listed = command(&venue, &format!("fault?name={name}&ms=60000")).await;
        let active = listed["active"].as_array().expect("list");
        assert!(active.iter().any(|fault| fault["name"] == *name), "{name}");
        command(&venue, &format!("fault?name={name}&stop=1")).await;
    }
    assert_eq!(command(&venue, "faults").await["active"], json!([]));
    command(&venue, "fault?name=drop_pong&ms=300").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while command(&venue, "faults").await["active"] != json!([]) {
        assert!(tokio::time::Instant::now() < deadline, "never over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(get(&venue, "/_exchange/fault?name=nonsense").await.status, 400);
}

#[tokio::test]
async fn drop_pong() {
    let venue = venue(|_| {}).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    command(&venue, "fault?name=drop_pong&ms=60000").await;
    client.say("ping").await;
    assert!(client.silent_for(Duration::from_millis(400)).await);
    command(&venue, "fault?name=drop_pong&stop=1").await;
    client.say("ping").await;
    assert_eq!(client.text().await, "pong");
}

#[tokio::test]
async fn ends_of_connections() {
    for (fault, expected) in [
        ("kill", Ended::Abnormal),
        ("daily_disconnect", Ended::Abnormal),
        ("close", Ended::Close(1001)),
        ("close&value=1012", Ended::Close(1012)),
    ] {
        let venue = venue(|_| {}).await;
        let mut client = listener(&venue, "ticker").await;
        command(&venue, &format!("fault?name={fault}")).await;
        assert_eq!(client.end().await, expected, "{fault}");
        listener(&venue, "ticker").await;
    }
}

#[tokio::test]
async fn half_open() {
    let venue = venue(|_| {}).await;
    let mut client = listener(&venue, "ticker").await;
    command(&venue, "fault?name=half_open&ms=60000").await;
    while !client.silent_for(Duration::from_millis(400)).await {}
    client.say("ping").await;
    assert!(client.silent_for(Duration::from_millis(400)).await, "no pong either");
    listener(&venue, "ticker").await;
}

#[tokio::test]
async fn refuse_connect() {
    let venue = venue(|_| {}).await;
    command(&venue, "fault?name=refuse_connect&ms=60000").await;
    assert!(Client::try_connect(&venue, "/v2/ws/public").await.is_err());
    command(&venue, "fault?name=all&stop=1").await;
    Client::connect(&venue, "/v2/ws/public").await;
}

#[tokio::test]
async fn ack_silent_and_refused_subscriptions() {
    let venue = venue(|_| {}).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    command(&venue, "fault?name=ack_silent&ms=60000").await;
    client.subscribe(&public(2, "ticker")).await;
    assert_eq!(client.frame().await["event"], "subscribe");
    assert!(client.silent_for(Duration::from_millis(500)).await);
    command(&venue, "fault?name=all&stop=1").await;
    for (fault, code) in [("subscribe_30001", json!(30001)), ("rate_limit_30006", json!(30006))] {
        command(&venue, &format!("fault?name={fault}&ms=60000")).await;
        client.subscribe(&public(2, "ticker")).await;
        assert_eq!(client.frame().await["code"], code);
        command(&venue, "fault?name=code_as_string&ms=60000").await;
        client.subscribe(&public(2, "ticker")).await;
        assert_eq!(client.frame().await["code"], code.to_string());
        command(&venue, "fault?name=all&stop=1").await;
    }
}

#[tokio::test]
async fn freeze_channel() {
    let venue = venue(|_| {}).await;
    let mut client = listener(&venue, "ticker").await;
    client.subscribe(&public(2, "trade")).await;
    client.until(|f| f["event"] == "subscribe").await;
    command(&venue, "fault?name=freeze_channel&value=ticker&ms=60000").await;
    client.until(|f| f["arg"]["channel"] == "trade" && f["action"] == "update").await;
    for _ in 0..5 {
        assert_eq!(client.until(is_push).await["arg"]["channel"], "trade");
    }
    command(&venue, "fault?name=all&stop=1").await;
    client.until(|f| f["arg"]["channel"] == "ticker").await;
}

#[tokio::test]
async fn data_frames_are_spoiled_as_named_and_whole_again_afterwards() {
    let venue = venue(|_| {}).await;
    let mut client = listener(&venue, "ticker").await;
    let last = |f: &Value| f["data"][0]["lastPr"].clone();
    let now_ms = |f: &Value| f["ts"].as_i64().unwrap_or(0);
    let wall = || trapline::clock::Clock::system().now_ms();
    type Seen<'a> = &'a dyn Fn(&Value) -> bool;
    let cases: [(&str, Seen<'_>); 8] = [
        ("unknown_symbol", &|f| f["arg"]["instId"] == "NOPEUSDT" && f["data"][0]["instId"] == "NOPEUSDT"),
        ("out_of_range", &|f| last(f) == "-1"),
        ("out_of_range&value=1e400", &|f| last(f) == "1e400"),
        ("empty_numeric", &|f| last(f) == ""),
        ("wrong_types", &|f| !last(f).is_string()),
        ("future_ts&value=600000", &|f| now_ms(f) > wall() + 300_000),
        ("stale_ts&value=600000", &|f| now_ms(f) > 0 && now_ms(f) < wall() - 300_000),
        ("clock_skew_ms&value=-600000", &|f| now_ms(f) > 0 && now_ms(f) < wall() - 300_000),
    ];
    let whole = |f: &Value| {
        let fresh = (now_ms(f) - wall()).abs() < 100_000 && f["arg"]["instId"] == "BTCUSDT";
        fresh && last(f).as_str().is_some_and(|text| text.parse::<f64>().is_ok_and(|price| price > 0.0 && price < 1e9))
    };
    for (fault, seen) in cases {
        command(&venue, &format!("fault?name={fault}&ms=60000")).await;
        client.until(seen).await;
        command(&venue, "fault?name=all&stop=1").await;
        client.until(whole).await;
    }
    command(&venue, "fault?name=truncated_frame&ms=60000").await;
    client.until_text(|text| serde_json::from_str::<Value>(text).is_err()).await;
    command(&venue, "fault?name=all&stop=1").await;
    client.until(whole).await;
    command(&venue, "fault?name=garbage_frame&value=%7Bnot%20json").await;
    client.until_text(|text| text == "{not json").await;
    command(&venue, "fault?name=huge_frame&value=9000000").await;
    client.until_text(|text| text.len() > 9_000_000).await;
    client.until(whole).await;
}

#[tokio::test]
async fn every_third_frame_only() {
    let venue = venue(|_| {}).await;
    let mut client = listener(&venue, "ticker").await;
    command(&venue, "fault?name=empty_numeric&ms=60000&every=3").await;
    client.until(|f| f["data"][0]["lastPr"] == "").await;
    let spoiled = |f: &Value| f["data"][0]["lastPr"] == "";
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(spoiled(&client.frame().await));
    }
    assert_eq!(seen, [false, false, true, false, false, true]);
}

#[tokio::test]
async fn trades_twice_and_frames_out_of_order() {
    let venue = venue(|_| {}).await;
    let mut client = listener(&venue, "trade").await;
    command(&venue, "fault?name=dup_trades&ms=60000").await;
    let mut before = client.until(is_push).await;
    loop {
        let frame = client.until(is_push).await;
        if frame == before {
            break;
        }
        before = frame;
    }
    command(&venue, "fault?name=all&stop=1").await;
    command(&venue, "fault?name=reorder_ts&ms=60000").await;
    let mut ts = 0;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let next = client.until(is_push).await["ts"].as_i64().expect("time");
        if next < ts {
            break;
        }
        ts = next;
        assert!(tokio::time::Instant::now() < deadline, "always in order");
    }
}

#[tokio::test]
async fn positions_that_lie() {
    for generation in [2, 3] {
        let venue = venue(|_| {}).await;
        let mut client = trader(&venue, generation).await;
        client.subscribe(&private(generation, "positions")).await;
        client.until(is_push).await;
        let set = |size: &str| format!("position?symbol=BTCUSDT&side=long&size={size}");
        let size = if generation == 2 { "total" } else { "size" };
        command(&venue, &set("0.5")).await;
        client.until(|f| f["data"][0][size] == "0.5").await;

        command(&venue, "fault?name=phantom_empty").await;
        let phantom = client.until(is_push).await;
        assert_eq!((&phantom["action"], &phantom["data"]), (&json!("snapshot"), &json!([])));

        command(&venue, "fault?name=stale_position&ms=60000").await;
        command(&venue, &set("0.9")).await;
        let path = "/api/v2/mix/position/all-position?productType=USDT-FUTURES";
        assert_eq!(get(&venue, path).await.json()["data"][0]["total"], "0.5");
        client.subscribe(&private(generation, "positions")).await;
        let shown = client.until(is_push).await;
        assert_eq!(shown["data"][0][size], "0.5", "push and REST agree on the past");
        assert_eq!(command(&venue, "truth").await["positions"][0]["size"], "0.9");
        command(&venue, "fault?name=all&stop=1").await;
        client.until(|f| f["data"][0][size] == "0.9").await;

        command(&venue, "fault?name=lost_close&ms=60000").await;
        command(&venue, &set("0")).await;
        assert!(client.silent_for(Duration::from_millis(400)).await, "the end was not told");
        assert_eq!(get(&venue, path).await.json()["data"], json!([]), "REST knows");
    }
}

#[tokio::test]
async fn login_rejections() {
    let venue = venue(|_| {}).await;
    for (fault, code) in [
        ("login_reject_30011", 30011),
        ("login_reject_30012", 30012),
        ("login_reject_30014", 30014),
        ("login_reject_30015", 30015),
    ] {
        for (value, closes) in [("", false), ("&value=close", true)] {
            command(&venue, &format!("fault?name={fault}&ms=60000{value}")).await;
            let mut client = Client::connect(&venue, "/v3/ws/private").await;
            client.say(r#"{"op":"login","args":[{"apiKey":"k"}]}"#).await;
            assert_eq!(client.frame().await["code"], code);
            if closes {
                assert_eq!(client.end().await, Ended::Abnormal);
            } else {
                client.say("ping").await;
                assert_eq!(client.text().await, "pong");
            }
            command(&venue, "fault?name=all&stop=1").await;
        }
    }
}

#[tokio::test]
async fn kill_after_ms_spares_the_young() {
    let venue = venue(|_| {}).await;
    let mut old = listener(&venue, "ticker").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    command(&venue, "fault?name=kill_after_ms&value=60000&ms=60000").await;
    old.until(is_push).await;
    command(&venue, "fault?name=kill_after_ms&value=200&ms=60000").await;
    assert_eq!(old.end().await, Ended::Abnormal);
    let mut young = listener(&venue, "ticker").await;
    assert_eq!(young.end().await, Ended::Abnormal, "in its turn");
}

#[tokio::test]
async fn replay_history_on_resub() {
    let venue = venue(|_| {}).await;
    command(&venue, "fault?name=replay_history_on_resub&ms=60000").await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    client.subscribe(&public(2, "trade")).await;
    let snapshot = client.until(|f| f["action"] == "snapshot").await;
    let again = client.until(|f| f["action"] == "update").await;
    assert_eq!(again["data"], snapshot["data"], "old trades as if they were new");
}

#[tokio::test]
async fn lost_push() {
    let venue = venue(|_| {}).await;
    let mut client = trader(&venue, 2).await;
    for channel in ["fill", "account"] {
        client.subscribe(&private(2, channel)).await;
        client.until(|f| f["event"] == "subscribe").await;
    }
    command(&venue, "fault?name=lost_push&value=fill&ms=60000").await;
    command(&venue, "order?symbol=BTCUSDT&side=buy&size=0.01").await;
    command(&venue, "fault?name=all&stop=1").await;
    command(&venue, "order?symbol=BTCUSDT&side=buy&size=0.02").await;
    let fill = client.until(|f| f["arg"]["channel"] == "fill" && is_push(f)).await;
    assert_eq!(fill["data"][0]["baseVolume"], "0.02", "the one before is lost");
}

#[tokio::test]
async fn faults_begin_with_the_exchange_and_by_schedule() {
    let schedule = "300 close 0 1012 # goodbye\n0 drop_pong 60000";
    let venue = venue(|config| {
        config.faults = vec![trapline::venue::parse_fault("code_as_string").expect("reads")];
        config.schedule = trapline::venue::parse_schedule(schedule).expect("reads");
    })
    .await;
    let mut client = trader_of_any_code(&venue).await;
    client.say("ping").await;
    assert_eq!(client.end().await, Ended::Close(1012), "no pong before");
    let active = command(&venue, "faults").await["active"].clone();
    let names: Vec<_> = active.as_array().expect("list").iter().map(|fault| fault["name"].clone()).collect();
    assert!(names.contains(&json!("code_as_string")) && names.contains(&json!("drop_pong")), "{names:?}");
}

async fn trader_of_any_code(venue: &trapline::venue::Venue) -> Client {
    let mut client = Client::connect(venue, "/v2/ws/private").await;
    client.say(r#"{"op":"login","args":[{"apiKey":"k"}]}"#).await;
    assert_eq!(client.frame().await["code"], "0");
    client
}

#[test]
fn the_guide_names_every_fault() {
    let guide = include_str!("../../docs/exchange.md");
    for (_, name, ..) in CATALOGUE {
        assert!(guide.contains(&format!("`{name}`")), "docs/exchange.md does not name {name}");
    }
}
