//! What frames hold, and how they are cut.

use crate::support::frames::{BINARY, TEXT, frame, text};
use crate::support::proxy::{Kind, SOCKETS, Shape};
use crate::support::wait_for;
use crate::way::{Row, Way, hasty, seconds, with};
use std::time::Instant;

fn ticker(row: &str) -> String {
    let arg = r#"{"instType":"usdt-futures","topic":"ticker","symbol":"BTCUSDT"}"#;
    format!(r#"{{"action":"snapshot","arg":{arg},"data":[{row}],"ts":1790133569757}}"#)
}

fn refused_total(way: &Way) -> u64 {
    let status = way.world.daemon.statusz();
    status["refused"].as_object().map_or(0, |counts| counts.values().filter_map(serde_json::Value::as_u64).sum())
}

/// Waits until one more was refused than before; ms.
fn counted(way: &Way, what: &str, before: u64) -> f64 {
    let begun = Instant::now();
    wait_for(&format!("{what} is counted"), || match refused_total(way) {
        now if now > before => Ok(()),
        now => Err(now.to_string()),
    });
    begun.elapsed().as_secs_f64() * 1_000.0
}

/// X3: each odd frame is counted and kept to look at, and costs nothing else. A connection that brings mostly such
/// frames is replaced. Text that is not UTF-8 ends the connection, as the protocol demands.
#[test]
fn x03_garbage_is_counted_and_only_a_flood_of_it_costs_the_connection() {
    let way = Way::ready(&with(&[("exchange", "bad_frames_window_ms = 6000")]));
    let mut row = Row::begin(&way, "X3", "garbage: bytes, JSON, types, numbers, nesting, repeated fields");
    let connections = way.proxy.connections(SOCKETS);
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let odd = [
        ("bad JSON", text(r#"}{"data":[{"lastPrice":"#)),
        ("not JSON", text("<html><body>503</body></html>")),
        ("binary", frame(true, BINARY, &[0xff, 0x00, 0x17])),
        ("wrong types", text(&ticker(r#"{"lastPrice":{"a":true},"bid1Price":[1]}"#))),
        ("NaN", text(&ticker(r#"{"lastPrice":"NaN"}"#))),
        ("a bare NaN", text(&ticker(r#"{"lastPrice":NaN}"#))),
        ("1e400", text(&ticker(r#"{"lastPrice":1e400}"#))),
        ("1e400 as text", text(&ticker(r#"{"lastPrice":"1e400"}"#))),
        ("a huge integer", text(&ticker(&format!(r#"{{"lastPrice":"{}"}}"#, "9".repeat(400))))),
        ("a huge time", text(&ticker(r#"{"lastPrice":"1"}"#).replace("1790133569757", &"9".repeat(40)))),
        ("deep nesting", text(&ticker(&deep))),
        ("a field twice", text(&ticker("").replace("\"ts\"", "\"data\":[],\"ts\""))),
        ("a lone number", text("17")),
    ];
    for (what, bytes) in odd {
        let before = refused_total(&way);
        way.proxy.inject(&[Kind::Public], &bytes);
        let detected_ms = counted(&way, what, before);
        row.note(detected_ms, way.fresh_again(what));
    }
    // What the exchange itself can spoil, in a part of its frames.
    for fault in
        ["wrong_types", "empty_numeric", "out_of_range", "truncated_frame", "unknown_symbol", "stale_ts", "future_ts"]
    {
        let before = refused_total(&way);
        way.world.exchange.control(&format!("fault?name={fault}&ms=20000&every=19&scope=public"));
        let detected_ms = counted(&way, fault, before);
        way.world.exchange.control(&format!("fault?name={fault}&stop=1"));
        row.note(detected_ms, way.fresh_again(fault));
    }
    assert_eq!(way.proxy.connections(SOCKETS), connections, "every connection was kept");
    let newest = way.world.daemon.statusz()["refused_newest"].clone();
    assert!(
        newest
            .as_array()
            .is_some_and(|list| list.iter().any(|r| r["detail"].as_str().is_some_and(|d| d.contains("lastPrice"))))
    );

    // Not UTF-8: the protocol wants the connection ended; it is counted all the same.
    let before = refused_total(&way);
    let begun = Instant::now();
    way.proxy.inject(&[Kind::Public], &frame(true, TEXT, &[b'{', 0xff, 0xfe, b'}']));
    let detected_ms = counted(&way, "not UTF-8", before);
    way.wait_connections(&[Kind::Public], 1);
    way.fresh_again("not UTF-8");
    row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);

    // More than a fifth of the frames within the window.
    let connections = way.proxy.connections(&[Kind::Public]);
    let begun = Instant::now();
    let flood: Vec<u8> = (0..2_000).flat_map(|_| text("}{")).collect();
    way.proxy.inject(&[Kind::Public], &flood);
    way.wait_connections(&[Kind::Public], connections);
    way.wait_metric("trapline_ws_connects_total", "bad_frames", |n| n >= 1.0);
    let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    row.note(detected_ms, way.fresh_again("a flood of garbage"));
    way.wait_metric("trapline_rejects_total", "garbage", |n| n >= 2_000.0);

    // I6: the counters on the page, in the metrics and in the journal tell of the same reasons.
    for reason in ["garbage", "bad_field", "out_of_range"] {
        let (page, metric) = (way.refused(reason) as f64, way.metric("trapline_rejects_total", reason));
        assert!(page > 0.0 && metric >= page - 50.0, "{reason}: {page} on the page, {metric} in the metrics");
        let journal = std::fs::read_to_string(way.world.daemon.state.path().join("journal.jsonl")).expect("a journal");
        assert!(journal.contains(&format!("\"{reason}\"")), "the journal tells of {reason}");
    }
    row.end(&way);
}

/// X4: nothing longer than 1 MiB is put together, in one frame or in many; the connection ends with 1009.
#[test]
fn x04_what_is_too_long_ends_its_connection_and_nothing_grows() {
    let way = Way::ready(&hasty());
    let mut row = Row::begin(&way, "X4", "frame above 1 MiB, message in fragments without an end");
    let resident = || way.metric("trapline_resident_memory_bytes", "") / 1_048_576.0;
    let (before_mib, mut most_mib) = (resident(), 0.0_f64);
    let piece = vec![b'x'; 64 * 1024];
    let endless: Vec<u8> = (0..80).flat_map(|n| frame(false, if n == 0 { TEXT } else { 0 }, &piece)).collect();
    let interleaved = frame(false, TEXT, b"{\"action\":");
    let cases = [
        ("one frame", frame(true, TEXT, &vec![b'x'; 1_048_577]), Some(1009)),
        ("fragments without an end", endless, Some(1009)),
        // The exchange's next text may not stand inside another one.
        ("a message that is not ended", interleaved, None),
    ];
    for (what, bytes, code) in cases {
        let (connections, closes) = (way.proxy.connections(&[Kind::Public]), way.proxy.closes().len());
        let begun = Instant::now();
        way.proxy.inject(&[Kind::Public], &bytes);
        way.wait_connections(&[Kind::Public], connections);
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        way.fresh_again(what);
        row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
        most_mib = most_mib.max(resident());
        if let Some(code) = code {
            assert_eq!(way.proxy.closes().get(closes), Some(&code), "{what}: {:?}", way.proxy.closes());
        }
    }
    assert_eq!(way.metric("trapline_ws_connects_total", "oversized"), 2.0);
    assert!(way.refused("oversized") >= 2);
    // At the limit it is read, refused, and costs nothing.
    let connections = way.proxy.connections(&[Kind::Public]);
    let before = refused_total(&way);
    way.proxy.inject(&[Kind::Public], &frame(true, TEXT, &vec![b'x'; 1_048_576]));
    counted(&way, "at the limit", before);
    way.fresh_again("at the limit");
    assert_eq!(way.proxy.connections(&[Kind::Public]), connections);
    assert!(most_mib < before_mib + 16.0, "I5: from {before_mib} MiB to {most_mib} MiB");
    row.figures.more.insert("rss_growth_mib", (most_mib - before_mib).into());
    row.end(&way);
}

/// X5: however frames are cut on the way, what comes of them is the same: every trade taken once, the newest price in
/// Redis, nothing refused, no connection lost.
#[test]
fn x05_however_frames_are_cut_the_picture_is_the_same() {
    let way = Way::ready(&hasty());
    let mut row =
        Row::begin(&way, "X5", "frames whole, one byte a write, in fragments with pings between, together, late");
    let connections = way.proxy.connections(SOCKETS);
    let mut known = trades_at_rest(&way);
    let shapes = [
        ("whole", Shape::Whole, 0),
        ("one byte a write", Shape::Trickle, 0),
        ("fragments with pings between", Shape::Fragments, 0),
        ("together", Shape::Together(250), 0),
        ("late", Shape::Whole, 60),
    ];
    for (what, shape, delay_ms) in shapes {
        way.proxy.shape(shape);
        way.proxy.delay(delay_ms);
        std::thread::sleep(seconds(1.0));
        way.world.exchange.venue.pause();
        let begun = Instant::now();
        let (from, to) = wait_for(&format!("{what}: redis equals the exchange"), || {
            let now = trades(&way);
            for (symbol, last) in newest_prices(&way) {
                let shown = way.market(&symbol).get("price").and_then(|p| p.parse::<f64>().ok());
                if shown != Some(last) {
                    return Err(format!("{symbol}: {shown:?}, the exchange says {last}"));
                }
            }
            // What was traded, and what was taken.
            if now.0 - known.0 == now.1 - known.1 { Ok((known, now)) } else { Err(format!("{known:?} {now:?}")) }
        });
        row.note(0.0, begun.elapsed().as_secs_f64() * 1_000.0);
        row.figures.events += to.0 - from.0;
        assert!(to.0 > from.0, "{what}: nothing was traded");
        known = to;
        way.world.exchange.venue.resume();
    }
    way.proxy.shape(Shape::Whole);
    way.proxy.delay(0);
    assert_eq!(way.proxy.connections(SOCKETS), connections, "slow is not broken: the connections were kept");
    row.end(&way);
}

/// What was traded on the exchange, and what the daemon took (the past that a subscription begins with is constant).
pub fn trades(way: &Way) -> (u64, u64) {
    let truth: serde_json::Value = serde_json::from_str(&way.world.exchange.control("truth")).unwrap_or_default();
    let traded = truth["symbols"].as_array().map_or(0, |all| all.iter().filter_map(|s| s["trades"].as_u64()).sum());
    (traded, way.metric("trapline_accepted_total", "trade") as u64)
}

/// The same while nothing is under way.
pub fn trades_at_rest(way: &Way) -> (u64, u64) {
    way.world.exchange.venue.pause();
    let mut before = trades(way);
    let now = wait_for("nothing is under way", || {
        std::thread::sleep(std::time::Duration::from_millis(150));
        let now = trades(way);
        if std::mem::replace(&mut before, now) == now { Ok(now) } else { Err(format!("{now:?}")) }
    });
    way.world.exchange.venue.resume();
    now
}

pub fn newest_prices(way: &Way) -> Vec<(String, f64)> {
    let truth: serde_json::Value = serde_json::from_str(&way.world.exchange.control("truth")).unwrap_or_default();
    let symbols = truth["symbols"].as_array().cloned().unwrap_or_default();
    let price = |s: &serde_json::Value| s["last"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    symbols.iter().map(|s| (s["symbol"].as_str().unwrap_or_default().to_owned(), price(s))).collect()
}

/// X6: compression is neither asked for nor taken, and a frame that claims it ends the connection.
#[test]
fn x06_compression_is_not_negotiated_and_ends_the_connection() {
    let way = Way::ready(&hasty());
    let mut row = Row::begin(&way, "X6", "permessage-deflate offered, reserved bit set");
    let heads = way.proxy.heads(SOCKETS);
    assert!(heads.len() >= 2 && heads.iter().all(|head| !head.to_lowercase().contains("extensions")), "{heads:?}");
    // The exchange speaks of it unasked: what follows is plain all the same.
    way.proxy.offer(Some("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"));
    let connections = way.proxy.connections(SOCKETS);
    way.proxy.cut(SOCKETS);
    way.wait_connections(SOCKETS, connections + 1);
    way.fresh_again("an offer that nobody asked for");
    way.proxy.offer(None);
    for bit in [0x40, 0x20, 0x10] {
        let connections = way.proxy.connections(&[Kind::Public]);
        let broken = way.metric("trapline_ws_connects_total", "broken");
        let mut compressed = text("anything");
        compressed[0] |= bit;
        let begun = Instant::now();
        way.proxy.inject(&[Kind::Public], &compressed);
        way.wait_connections(&[Kind::Public], connections);
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        way.fresh_again("a reserved bit");
        row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
        assert!(way.metric("trapline_ws_connects_total", "broken") > broken);
    }
    row.end(&way);
}
