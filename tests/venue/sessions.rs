//! Login, keepalive, errors and limits.

use crate::client::*;
use serde_json::json;
use std::time::Duration;
use trapline::venue::session::login::sign;
use trapline::venue::{Credentials, Limits};

fn now_s() -> i64 {
    trapline::clock::Clock::system().now_ms() / 1_000
}

#[tokio::test]
async fn login_is_verified() {
    let credentials = Credentials { key: "k".to_owned(), secret: "s".to_owned(), pass: "p".to_owned() };
    let venue = venue(|config| config.credentials = Some(credentials)).await;
    let now = now_s();
    for generation in [2, 3] {
        for (name, key, pass, timestamp, secret, expected) in [
            ("right", "k", "p", json!(now.to_string()), "s", 0),
            ("number", "k", "p", json!(now), "s", 0),
            ("milliseconds", "k", "p", json!((now * 1000).to_string()), "s", 0),
            ("key", "x", "p", json!(now.to_string()), "s", 30011),
            ("passphrase", "k", "x", json!(now.to_string()), "s", 30012),
            ("no time", "k", "p", json!("x"), "s", 30013),
            ("old", "k", "p", json!((now - 60).to_string()), "s", 30014),
            ("secret", "k", "p", json!(now.to_string()), "t", 30015),
        ] {
            let mut client = Client::connect(&venue, &door(generation, "private")).await;
            let text = timestamp.as_str().map_or_else(|| timestamp.to_string(), str::to_owned);
            let sign = sign(secret, &format!("{text}GET/user/verify"));
            let args = json!([{"apiKey": key, "passphrase": pass, "timestamp": timestamp, "sign": sign}]);
            client.say(&json!({"op": "login", "args": args}).to_string()).await;
            let answer = client.frame().await;
            assert_eq!(answer["code"], expected, "{name}: {answer}");
            assert_eq!(answer["event"], if expected == 0 { "login" } else { "error" }, "{name}");
            client.subscribe(&private(generation, "positions")).await;
            let next = client.frame().await;
            if expected == 0 {
                assert_eq!(next["event"], "subscribe", "{name}");
            } else {
                assert_eq!(next["code"], 30004, "{name}: the connection stays, the door is shut");
            }
        }
    }
}

#[tokio::test]
async fn a_bad_login_can_end_the_connection() {
    let credentials = Credentials { key: "k".to_owned(), secret: "s".to_owned(), pass: "p".to_owned() };
    let venue = venue(|config| {
        config.credentials = Some(credentials);
        config.close_on_bad_login = true;
    })
    .await;
    let mut client = Client::connect(&venue, "/v2/ws/private").await;
    client.say(r#"{"op":"login","args":[{"apiKey":"x"}]}"#).await;
    assert_eq!(client.frame().await["code"], 30011);
    assert_eq!(client.end().await, Ended::Abnormal);
}

#[tokio::test]
async fn errors_have_the_real_shapes() {
    let venue = venue(|_| {}).await;
    let subscribe = |arg: serde_json::Value| json!({"op": "subscribe", "args": [arg]}).to_string();
    let v2 = json!({"instType": "USDT-FUTURES", "channel": "ticker", "instId": "NOPEUSDT"});
    let v3 = json!({"instType": "usdt-futures", "topic": "ticker", "symbol": "NOPEUSDT"});
    for (path, say, code) in [
        ("/v2/ws/public", subscribe(v2.clone()), 30001),
        ("/v3/ws/public", subscribe(v3), 30001),
        (
            "/v2/ws/public",
            subscribe(json!({"instType": "USDT-FUTURES", "channel": "nope", "instId": "BTCUSDT"})),
            30016,
        ),
        ("/v2/ws/public", r#"{"op":"ping"}"#.to_owned(), 30002),
        ("/v3/ws/public", "not json".to_owned(), 30002),
        ("/v2/ws/public", r#"{"op":"login","args":[{}]}"#.to_owned(), 30003),
        ("/v3/ws/public", r#"{"op":"login","args":[{}]}"#.to_owned(), 30003),
        ("/v2/ws/private", subscribe(private(2, "positions")), 30004),
        ("/v3/ws/private", subscribe(private(3, "positions")), 30004),
        ("/v3/ws/private", r#"{"op":"login"}"#.to_owned(), 30005),
        ("/v2/ws/public", r#"{"op":"subscribe","args":[]}"#.to_owned(), 30016),
    ] {
        let mut client = Client::connect(&venue, path).await;
        client.say(&say).await;
        let error = client.frame().await;
        assert_eq!((&error["event"], &error["code"]), (&json!("error"), &json!(code)), "{say}");
        assert!(error["msg"].is_string());
        assert_eq!(error["connId"].is_string(), path.starts_with("/v3"), "{error}");
        if path.starts_with("/v3") {
            assert!(error.get("arg").is_none() && error.get("op").is_none(), "{error}");
        }
        client.say("ping").await;
        assert_eq!(client.text().await, "pong", "the connection stays open after {code}");
    }
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    client.subscribe(&v2).await;
    let error = client.frame().await;
    assert_eq!((&error["arg"], &error["op"]), (&v2, &json!("subscribe")));
}

#[tokio::test]
async fn one_request_is_answered_argument_by_argument() {
    let venue = venue(|_| {}).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    let nope = json!({"instType": "USDT-FUTURES", "channel": "ticker", "instId": "NOPEUSDT"});
    let lower = json!({"instType": "USDT-FUTURES", "channel": "trade", "instId": "ethusdt"});
    client.say(&json!({"op": "subscribe", "args": [public(2, "trade"), nope, lower], "id": 5}).to_string()).await;
    client.until(|f| f["event"] == "subscribe" && f["arg"]["instId"] == "BTCUSDT").await;
    client.until(|f| f["event"] == "error" && f["code"] == 30001).await;
    client.until(|f| f["event"] == "subscribe" && f["arg"]["instId"] == "ETHUSDT").await;
    client.until(|f| f["action"] == "update" && f["arg"]["instId"] == "ETHUSDT").await;
}

#[tokio::test]
async fn a_wrong_type_is_acknowledged_and_silent() {
    let venue = venue(|_| {}).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    client.subscribe(&json!({"instType": "COIN-FUTURES", "channel": "ticker", "instId": "BTCUSDT"})).await;
    assert_eq!(client.frame().await["event"], "subscribe");
    assert!(client.silent_for(Duration::from_millis(700)).await);
}

#[tokio::test]
async fn without_ping_a_client_is_cut_while_data_flows_and_with_ping_it_is_not() {
    let limits = Limits { ping_kill: Duration::from_millis(900), messages_per_second: 1_000, ..Limits::default() };
    let venue = venue(|config| config.limits = limits).await;
    let mut silent = Client::connect(&venue, "/v2/ws/public").await;
    silent.subscribe(&public(2, "ticker")).await;
    assert_eq!(silent.end().await, Ended::Abnormal);
    let mut alive = Client::connect(&venue, "/v2/ws/public").await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        alive.say("ping").await;
        assert_eq!(alive.text().await, "pong");
    }
}

#[tokio::test]
async fn the_day_is_over_for_a_client_that_pings() {
    let limits = Limits { day: Duration::from_millis(600), ..Limits::default() };
    let venue = venue(|config| config.limits = limits).await;
    let mut client = Client::connect(&venue, "/v3/ws/public").await;
    client.say("ping").await;
    assert_eq!(client.end().await, Ended::Abnormal);
}

#[tokio::test]
async fn the_eleventh_message_of_a_second_is_refused() {
    let venue = venue(|config| config.limits = Limits::default()).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    for _ in 0..10 {
        client.say("ping").await;
    }
    client.say("ping").await;
    for _ in 0..10 {
        assert_eq!(client.text().await, "pong");
    }
    assert_eq!(client.frame().await["code"], 30006);
    assert_eq!(client.end().await, Ended::Abnormal);
}

#[tokio::test]
async fn large_requests_end_the_connection() {
    let venue = venue(|_| {}).await;
    let many = |count: usize| json!({"op": "subscribe", "args": vec![public(3, "ticker"); count]}).to_string();
    let mut client = Client::connect(&venue, "/v3/ws/public").await;
    client.say(&many(25)).await;
    assert_eq!(client.end().await, Ended::Abnormal, "25 arguments, no error said");
    let mut client = Client::connect(&venue, "/v3/ws/public").await;
    client.say(&many(20)).await;
    assert_eq!(client.frame().await["event"], "subscribe");
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    let padded = json!({"op": "subscribe", "args": [public(2, "ticker")], "x": "x".repeat(4096)});
    client.say(&padded.to_string()).await;
    assert_eq!(client.frame().await["code"], 30007);
    assert_eq!(client.end().await, Ended::Abnormal);
}

#[tokio::test]
async fn channels_and_subscriptions_are_counted() {
    let limits = Limits { channels: 2, subscribes_per_hour: 4, messages_per_second: 100, ..Limits::default() };
    let venue = venue(|config| config.limits = limits).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    let silent = json!({"instType": "SPOT", "channel": "books", "instId": "BTCUSDT"});
    for _ in 0..5 {
        client.subscribe(&silent).await;
    }
    for _ in 0..4 {
        assert_eq!(client.frame().await["event"], "subscribe");
    }
    assert_eq!(client.frame().await["code"], 30006, "the fifth subscribe request of the hour");
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    for channel in ["books", "books5", "books15"] {
        client.subscribe(&public(2, channel)).await;
    }
    let mut acks = 0;
    loop {
        let frame = client.frame().await;
        acks += usize::from(frame["event"] == "subscribe");
        if frame["event"] == "error" {
            assert_eq!((&frame["code"], acks), (&json!(30007), 2), "the third channel of two");
            break;
        }
    }
    assert_eq!(client.end().await, Ended::Abnormal);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_others_are_unharmed() {
    let names: Vec<String> = trapline::venue::instrument::names(40);
    let venue = venue(|config| {
        config.symbols = names.clone();
        config.speed = trapline::venue::Speed::Times(30.0);
        config.limits.backlog_bytes = 64 * 1024;
    })
    .await;
    let mut slow = Client::connect(&venue, "/v2/ws/public").await;
    for chunk in names.chunks(10) {
        let arg = |name: &String| json!({"instType": "USDT-FUTURES", "channel": "ticker", "instId": name});
        slow.say(&json!({"op": "subscribe", "args": chunk.iter().map(arg).collect::<Vec<_>>()}).to_string()).await;
    }
    let mut quick = Client::connect(&venue, "/v2/ws/public").await;
    quick.subscribe(&public(2, "ticker")).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while venue.stats().slow_cut == 0 {
        quick.frame().await;
        assert!(tokio::time::Instant::now() < deadline, "never cut: {:?}", venue.stats());
    }
    quick.until(|f| f["arg"]["channel"] == "ticker").await;
    assert_eq!(slow.end().await, Ended::Abnormal);
}

#[tokio::test]
async fn the_hour_of_subscriptions_passes_faster_at_a_time_scale() {
    let limits = Limits { subscribes_per_hour: 2, messages_per_second: 100, ..Limits::default() }.scaled(3_600.0);
    assert_eq!(limits.ping_kill, Limits::default().ping_kill, "a client keeps its pings by its own clock");
    let venue = venue(|config| config.limits = limits).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    let silent = json!({"instType": "SPOT", "channel": "books", "instId": "BTCUSDT"});
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let (mut refused, mut accepted_again) = (false, false);
    while !accepted_again {
        client.subscribe(&silent).await;
        let answer = client.frame().await;
        refused |= answer["code"] == 30006;
        accepted_again = refused && answer["event"] == "subscribe";
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(tokio::time::Instant::now() < deadline, "refused: {refused}");
    }
}

#[tokio::test]
async fn connects_are_counted_by_address() {
    let limits = Limits { connects: 3, connections: 2, connect_span: Duration::from_secs(3_600), ..Limits::default() };
    let venue = venue(|config| config.limits = limits).await;
    let first = Client::connect(&venue, "/v2/ws/public").await;
    let _second = Client::connect(&venue, "/v3/ws/public").await;
    assert!(Client::try_connect(&venue, "/v2/ws/public").await.is_err(), "a third open one");
    drop(first);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while venue.stats().clients > 1 {
        assert!(tokio::time::Instant::now() < deadline, "never gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _third = Client::connect(&venue, "/v2/ws/public").await;
    drop(_third);
    while venue.stats().clients > 1 {
        assert!(tokio::time::Instant::now() < deadline, "never gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(Client::try_connect(&venue, "/v2/ws/public").await.is_err(), "a fourth connect within the span");
    assert_eq!(get(&venue, "/api/v2/public/time").await.status, 200, "REST is not concerned");
}

#[tokio::test]
async fn hostile_bytes_end_their_own_connection_and_no_other() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let venue = venue(|_| {}).await;
    let mut good = Client::connect(&venue, "/v2/ws/public").await;
    good.subscribe(&public(2, "ticker")).await;
    let hello = "GET /v2/ws/public HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (name, bytes) in [
        ("an unmasked frame", vec![0x81, 4, b'p', b'i', b'n', b'g']),
        ("a frame of 2^63 bytes", vec![0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]),
        ("an unknown opcode", vec![0x83, 0x80, 1, 2, 3, 4]),
        ("text that is not UTF-8", vec![0x81, 0x81, 0, 0, 0, 0, 0xff]),
    ] {
        let mut stream = tokio::net::TcpStream::connect(venue.addr()).await.expect("connects");
        stream.write_all(hello.as_bytes()).await.expect("writes");
        stream.write_all(&bytes).await.expect("writes");
        let mut all = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
        assert!(read.is_ok(), "{name}: still open");
        assert!(all.windows(2).any(|w| w == 1002_u16.to_be_bytes()), "{name}: told why");
    }
    let mut stream = tokio::net::TcpStream::connect(venue.addr()).await.expect("connects");
    stream.write_all(b"\x00\x01 nonsense\r\n\r\n").await.expect("writes");
    let mut all = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("ends");
    for path in ["/mix/v1/stream", "/v4/ws/public", "/v2/ws/nowhere"] {
        assert!(Client::try_connect(&venue, path).await.is_err(), "{path} is no door");
    }
    let deep = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
    for text in ["[]", "null", "1", "\"x\"", deep.as_str(), r#"{"op":7}"#, r#"{"op":"subscribe","args":"x"}"#] {
        good.say(text).await;
        good.until(|f| f["event"] == "error").await;
    }
    for arg in [json!(1), json!(null), json!({}), json!({"instType": 5}), json!({"channel": ["ticker"]})] {
        good.say(&json!({"op": "subscribe", "args": [arg]}).to_string()).await;
        good.until(|f| f["event"] == "error").await;
    }
    good.until(|f| f["arg"]["channel"] == "ticker").await;
}
