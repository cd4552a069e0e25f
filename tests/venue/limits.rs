//! The limits by their literal numbers, and requests that are slow or huge on purpose: their own connection ends, all
//! others go on.

use crate::client::*;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trapline::venue::Limits;
use trapline::venue::instrument::names;

/// Everything until the end, however it comes.
async fn rest_of(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = async {
        let mut part = vec![0; 65_536];
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            all.extend_from_slice(&part[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the connection ends");
    all
}

#[tokio::test]
async fn slow_requests_end_their_own_connection_and_no_other() {
    let venue = venue(|config| config.limits.request_time = Duration::from_millis(600)).await;
    let mut good = Client::connect(&venue, "/v2/ws/public").await;
    good.subscribe(&public(2, "ticker")).await;
    let post = "POST /_exchange/position HTTP/1.1\r\nhost: x\r\n";
    for (name, begin) in [
        ("a body byte by byte", format!("{post}content-length: 60000\r\n\r\n")),
        ("a chunked body without an end", format!("{post}transfer-encoding: chunked\r\n\r\n")),
        ("a head byte by byte", "GET /api/v2/public/time HTTP/1.1\r\nx-long: ".to_owned()),
    ] {
        let mut stream = TcpStream::connect(venue.addr()).await.expect("connects");
        stream.write_all(begin.as_bytes()).await.expect("writes");
        let chunk: &[u8] = if name.contains("chunked") { b"1\r\nx\r\n" } else { b"x" };
        let mut sent = 0;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        // It drips until the exchange has had enough.
        let answer = loop {
            let mut part = [0; 4_096];
            let wait = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut part)).await;
            match wait {
                Ok(Ok(0) | Err(_)) => break String::new(),
                Ok(Ok(count)) => break String::from_utf8_lossy(&part[..count]).into_owned(),
                Err(_) if stream.write_all(chunk).await.is_err() => break String::new(),
                Err(_) => sent += 1,
            }
            assert_eq!(get(&venue, "/api/v2/public/time").await.status, 200, "{name}: others are answered");
            assert!(tokio::time::Instant::now() < deadline, "{name}: still waited for after {sent} pieces");
        };
        assert!(answer.is_empty() || answer.contains("408"), "{name}: {answer}");
        good.until(|f| f["arg"]["channel"] == "ticker").await;
    }
}

#[tokio::test]
async fn huge_bodies_are_refused_before_they_are_read() {
    let venue = venue(|_| {}).await;
    let post = "POST /_exchange/position HTTP/1.1\r\nhost: x\r\n";
    for (name, begin, piece) in [
        ("declared", format!("{post}content-length: 10000000000\r\n\r\n"), "x".repeat(65_536)),
        (
            "chunked",
            format!("{post}transfer-encoding: chunked\r\n\r\n"),
            format!("10000\r\n{}\r\n", "x".repeat(65_536)),
        ),
    ] {
        let mut stream = TcpStream::connect(venue.addr()).await.expect("connects");
        stream.write_all(begin.as_bytes()).await.expect("writes");
        let mut written = 0;
        while written < 64 * 1024 * 1024 && stream.write_all(piece.as_bytes()).await.is_ok() {
            written += piece.len();
        }
        assert!(written < 64 * 1024 * 1024, "{name}: all of it was taken");
        drop(stream);
        assert_eq!(get(&venue, "/api/v2/public/time").await.status, 200, "{name}");
    }
    let mut stream = TcpStream::connect(venue.addr()).await.expect("connects");
    let heads: String = (0..2_000).map(|n| format!("x-{n}: {}\r\n", "y".repeat(500))).collect();
    let _ = stream.write_all(format!("GET /api/v2/public/time HTTP/1.1\r\n{heads}\r\n").as_bytes()).await;
    let answer = String::from_utf8_lossy(&rest_of(stream).await).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "a head of a megabyte: {answer}");
    assert_eq!(get(&venue, "/api/v2/public/time").await.status, 200);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let venue = venue(|config| {
        config.symbols = names(600);
        config.limits.request_time = Duration::from_millis(600);
    })
    .await;
    let path = "/api/v2/mix/market/contracts?productType=USDT-FUTURES";
    let whole = get(&venue, path).await.body.len();
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    socket.set_recv_buffer_size(4_096).expect("buffer");
    let mut stream = socket.connect(venue.addr()).await.expect("connects");
    // A hundred answers ahead of what is read.
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(100);
    stream.write_all(request.as_bytes()).await.expect("writes");
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(get(&venue, "/api/v2/public/time").await.status, 200, "others are answered");
    }
    let read = rest_of(stream).await.len();
    assert!(read < 20 * whole, "{read} bytes of {} were kept for it", 100 * whole);
}

/// What a client does that subscribes and counts its answers.
async fn acks(client: &mut Client, args: &[Value]) -> (usize, Value) {
    client.say(&json!({"op": "subscribe", "args": args}).to_string()).await;
    let mut acks = 0;
    loop {
        let frame = client.until(|f| f.get("event").is_some()).await;
        if frame["event"] == "error" {
            return (acks, frame);
        }
        acks += 1;
        if acks == args.len() {
            return (acks, Value::Null);
        }
    }
}

#[tokio::test]
async fn two_hundred_and_forty_subscriptions_an_hour() {
    let limits = Limits { messages_per_second: 10_000, ..Limits::default() };
    let venue = venue(|config| config.limits = limits).await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    let silent = json!({"instType": "SPOT", "channel": "books", "instId": "BTCUSDT"});
    for number in 1..=240 {
        client.subscribe(&silent).await;
        assert_eq!(client.frame().await["event"], "subscribe", "request {number}");
    }
    client.subscribe(&silent).await;
    assert_eq!(client.frame().await["code"], 30006, "request 241");
    client.say("ping").await;
    assert_eq!(client.text().await, "pong", "the connection stays");
    let mut other = Client::connect(&venue, "/v2/ws/public").await;
    other.subscribe(&silent).await;
    assert_eq!(other.frame().await["event"], "subscribe", "each connection has its own hour");
}

#[tokio::test]
async fn a_thousand_channels_of_a_connection() {
    let limits = Limits { messages_per_second: 10_000, ..Limits::default() };
    let venue = venue(|config| {
        config.limits = limits;
        config.symbols = names(600);
        config.hold = trapline::venue::Hold::UntilTold;
    })
    .await;
    let mut client = Client::connect(&venue, "/v2/ws/public").await;
    let arg = |channel: &str, name: &String| json!({"instType": "SPOT", "channel": channel, "instId": name});
    let all: Vec<Value> =
        ["ticker", "trade"].iter().flat_map(|c| names(600).iter().map(|n| arg(c, n)).collect::<Vec<_>>()).collect();
    for (number, args) in all[..1_000].chunks(20).enumerate() {
        assert_eq!(acks(&mut client, args).await, (args.len(), Value::Null), "request {number}");
    }
    assert_eq!(acks(&mut client, &all[..1]).await.1["code"], 30007, "the thousand and first, though it is known");
    assert_eq!(client.end().await, Ended::Abnormal);
}

#[tokio::test]
async fn four_kilobytes_and_twenty_four_arguments_of_a_request() {
    let venue = venue(|_| {}).await;
    let request = |generation: u8, count: usize, bytes: usize| {
        let mut text =
            json!({"op": "subscribe", "args": vec![public(generation, "ticker"); count], "x": ""}).to_string();
        let room = bytes.saturating_sub(text.len());
        text = text.replace("\"x\":\"\"", &format!("\"x\":\"{}\"", "x".repeat(room)));
        text
    };
    for generation in [2, 3] {
        for (count, bytes, fits) in [(24, 0, true), (25, 0, false), (1, 4_096, true), (1, 4_097, false)] {
            let text = request(generation, count, bytes);
            assert!(bytes == 0 || text.len() == bytes);
            let mut client = Client::connect(&venue, &door(generation, "public")).await;
            client.say(&text).await;
            if fits {
                assert_eq!(client.frame().await["event"], "subscribe", "v{generation} {count} {bytes}");
            } else {
                assert_eq!(client.end().await, Ended::Abnormal, "v{generation} {count} {bytes}");
            }
        }
    }
}

#[tokio::test]
async fn three_hundred_connects_in_five_minutes() {
    let venue = venue(|config| config.limits = Limits::default()).await;
    for number in 1..=300 {
        assert!(Client::try_connect(&venue, "/v2/ws/public").await.is_ok(), "connect {number}");
        // The hundred open ones are another limit.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while venue.stats().clients > 50 {
            assert!(tokio::time::Instant::now() < deadline, "never gone");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(Client::try_connect(&venue, "/v2/ws/public").await.is_err(), "connect 301");
}

#[tokio::test]
async fn private_rest_is_limited_by_account_and_public_by_address() {
    let venue = venue(|config| config.limits = Limits::default()).await;
    let path = "/api/v2/mix/position/all-position?productType=USDT-FUTURES";
    for name in ["a", "b"] {
        let headers = format!("ACCESS-KEY: {name}\r\n");
        let mut statuses = Vec::new();
        for _ in 0..6 {
            statuses.push(http(venue.addr(), "GET", path, &headers, "").await.status);
        }
        assert_eq!(statuses, [200, 200, 200, 200, 200, 429], "{name}");
    }
}
