//! Every knob of the catalogue has a test in which a plain client sees it, and none lasts longer than it says.

use crate::client::*;
use serde_json::json;
use std::time::{Duration, Instant};
use trapline::venue::faults::CATALOGUE;

const FILES: [(&str, &str); 3] = [
    ("faults", include_str!("faults.rs")),
    ("faults_rest", include_str!("faults_rest.rs")),
    ("books", include_str!("books.rs")),
];

/// Knob, and the test that shows it.
const SHOWN: [(&str, &str); 46] = [
    ("drop_pong", "faults::drop_pong"),
    ("kill", "faults::ends_of_connections"),
    ("kill_after_ms", "faults::kill_after_ms_spares_the_young"),
    ("close", "faults::ends_of_connections"),
    ("half_open", "faults::half_open"),
    ("ack_silent", "faults::ack_silent_and_refused_subscriptions"),
    ("freeze_channel", "faults::freeze_channel"),
    ("lost_close", "faults::positions_that_lie"),
    ("phantom_empty", "faults::positions_that_lie"),
    ("stale_position", "faults::positions_that_lie"),
    ("reorder_ts", "faults::trades_twice_and_frames_out_of_order"),
    ("dup_trades", "faults::trades_twice_and_frames_out_of_order"),
    ("replay_history_on_resub", "faults::replay_history_on_resub"),
    ("seq_gap", "books::faults_of_books"),
    ("book_reset", "books::faults_of_books"),
    ("book_crossed", "books::faults_of_books"),
    ("garbage_frame", "faults::data_frames_are_spoiled_as_named_and_whole_again_afterwards"),
    ("huge_frame", "faults::data_frames_are_spoiled_as_named_and_whole_again_afterwards"),
    ("truncated_frame", "faults::data_frames_are_spoiled_as_named_and_whole_again_afterwards"),
    ("wrong_types", "faults::data_frames_are_spoiled_as_named_and_whole_again_afterwards"),
    ("future_ts", "faults::data_frames_are_spoiled_as_named_and_whole_again_afterwards"),
    ("stale_ts", "faults::data_frames_are_spoiled_as_named_and_whole_again_afterwards"),
    ("unknown_symbol", "faults::data_frames_are_spoiled_as_named_and_whole_again_afterwards"),
    ("out_of_range", "faults::data_frames_are_spoiled_as_named_and_whole_again_afterwards"),
    ("code_as_string", "faults::ack_silent_and_refused_subscriptions"),
    ("empty_numeric", "faults::data_frames_are_spoiled_as_named_and_whole_again_afterwards"),
    ("login_reject_30011", "faults::login_rejections"),
    ("login_reject_30012", "faults::login_rejections"),
    ("login_reject_30014", "faults::login_rejections"),
    ("login_reject_30015", "faults::login_rejections"),
    ("clock_skew_ms", "faults_rest::rest_faults"),
    ("rate_limit_30006", "faults::ack_silent_and_refused_subscriptions"),
    ("subscribe_30001", "faults::ack_silent_and_refused_subscriptions"),
    ("rest_500", "faults_rest::rest_faults"),
    ("rest_429", "faults_rest::rest_faults"),
    ("rest_html", "faults_rest::rest_faults"),
    ("rest_empty_body", "faults_rest::rest_faults"),
    ("rest_list_null", "faults_rest::rest_faults"),
    ("rest_slow", "faults_rest::rest_faults"),
    ("rest_busy", "faults_rest::rest_busy"),
    ("uta_gate_40085", "faults_rest::rest_faults"),
    ("classic_gate_40084", "faults_rest::rest_faults"),
    ("daily_disconnect", "faults::ends_of_connections"),
    ("refuse_connect", "faults::refuse_connect"),
    ("symbol_maintain", "faults_rest::symbol_maintain"),
    ("lost_push", "faults::lost_push"),
];

#[test]
fn each_knob_has_a_test_that_names_it() {
    for (_, name, ..) in CATALOGUE {
        assert_eq!(SHOWN.iter().filter(|(knob, _)| *knob == name).count(), 1, "{name} needs one row");
    }
    for (knob, test) in SHOWN {
        let (file, function) = test.split_once("::").expect("file::function");
        let text = FILES.iter().find(|(name, _)| *name == file).unwrap_or_else(|| panic!("{knob}: no file {file}")).1;
        let begin = text.find(&format!("async fn {function}()")).unwrap_or_else(|| panic!("{knob}: no test {test}"));
        let body = &text[begin..begin + text[begin..].find("\n}\n").expect("an end")];
        let word = |at: usize| {
            let after = body[at + knob.len()..].chars().next();
            !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        assert!(body.match_indices(knob).any(|(at, _)| word(at)), "{test} does not speak of {knob}");
    }
}

#[tokio::test]
async fn a_knob_lasts_as_long_as_it_says_and_then_everything_is_as_before() {
    const SPAN: Duration = Duration::from_millis(1_200);
    let venue = venue(|_| {}).await;
    command(&venue, "position?symbol=BTCUSDT&side=long&size=0.5").await;
    let begun = Instant::now();
    let mut last = begun;
    for (_, name, ..) in CATALOGUE {
        // Before it is asked for: the answer may come late.
        last = Instant::now();
        command(&venue, &format!("fault?name={name}&ms={}", SPAN.as_millis())).await;
    }
    let active = || async { command(&venue, "faults").await["active"].as_array().map_or(0, Vec::len) };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = active().await;
        assert!(count == CATALOGUE.len() || begun.elapsed() >= SPAN, "one of {count} ended early");
        if count == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{count} never end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(last.elapsed() >= SPAN, "the last began later and lasts as long");
    for generation in [2, 3] {
        let mut client = trader(&venue, generation).await;
        client.subscribe(&private(generation, "positions")).await;
        assert_eq!(client.frame().await["event"], "subscribe");
        let size = if generation == 2 { "total" } else { "size" };
        assert_eq!(client.frame().await["data"][0][size], "0.5");
        client.say("ping").await;
        assert_eq!(client.text().await, "pong");
        let mut client = Client::connect(&venue, &door(generation, "public")).await;
        for channel in ["ticker", "trade", "books"] {
            client.subscribe(&public(generation, channel)).await;
            let ack = client.until(|f| f.get("event").is_some()).await;
            assert_eq!(ack["event"], "subscribe", "{ack}");
            let key = if generation == 2 { "channel" } else { "topic" };
            let wanted = public(generation, channel)[key].clone();
            client.until(|f| f["arg"][key] == wanted && f["action"] == "snapshot" && f["ts"].is_i64()).await;
        }
    }
    let v2 = get(&venue, "/api/v2/mix/position/all-position?productType=USDT-FUTURES").await;
    assert_eq!((v2.status, &v2.json()["data"][0]["total"]), (200, &json!("0.5")));
    let contracts = get(&venue, "/api/v2/mix/market/contracts?productType=USDT-FUTURES").await.json();
    assert_eq!(contracts["data"][0]["symbolStatus"], "normal");
}

#[tokio::test]
async fn a_knob_keeps_to_its_scope_and_symbol() {
    let venue = venue(|_| {}).await;
    let mut public_client = Client::connect(&venue, "/v2/ws/public").await;
    let mut private_client = trader(&venue, 2).await;
    command(&venue, "fault?name=drop_pong&ms=60000&scope=private").await;
    public_client.say("ping").await;
    assert_eq!(public_client.text().await, "pong", "the public side is spared");
    private_client.say("ping").await;
    assert!(private_client.silent_for(Duration::from_millis(400)).await);
    command(&venue, "fault?name=subscribe_30001&ms=60000&symbol=ETHUSDT").await;
    let eth = json!({"instType": "USDT-FUTURES", "channel": "trade", "instId": "ethusdt"});
    public_client.subscribe(&eth).await;
    assert_eq!(public_client.frame().await["code"], 30001);
    public_client.subscribe(&public(2, "trade")).await;
    assert_eq!(public_client.frame().await["event"], "subscribe", "another symbol is spared");
    command(&venue, "fault?name=refuse_connect&ms=60000&scope=private").await;
    assert!(Client::try_connect(&venue, "/v3/ws/private").await.is_err());
    assert!(Client::try_connect(&venue, "/v3/ws/public").await.is_ok());
}
