//! Data that are untimely, repeated, missing, refused, or too many.

use crate::frames::{newest_prices, trades, trades_at_rest};
use crate::support::proxy::{Kind, SOCKETS};
use crate::support::{Exchange, Options, wait_for};
use crate::way::{Row, SYMBOLS, Way, hasty, number, seconds, with};
use std::time::{Duration, Instant};
use trapline::venue::firehose::FRAME_BASE;
use trapline::venue::{Firehose, Speed, VenueConfig};

fn equals_the_exchange(way: &Way, what: &str) {
    way.world.exchange.venue.pause();
    wait_for(&format!("{what}: redis equals the exchange"), || {
        for (symbol, last) in newest_prices(way) {
            let shown = way.market(&symbol).get("price").and_then(|p| p.parse::<f64>().ok());
            if shown != Some(last) {
                return Err(format!("{symbol}: {shown:?}, the exchange says {last}"));
            }
        }
        Ok(())
    });
    way.world.exchange.venue.resume();
}

/// X8: the exchange's clock is set, forth and back. Refusals put the clock in doubt, it is measured at once, and from
/// then on everything is judged and signed by the corrected time. A step back is no reason to wait until it has passed.
#[test]
fn x08_a_clock_that_is_off_or_goes_back_is_corrected_at_once() {
    let way = Way::ready(&hasty());
    let mut row = Row::begin(&way, "X8", "the exchange's clock is 60 s ahead, then 60 s behind, then right");
    for (what, skew_ms) in [("ahead", 60_000_i64), ("behind", -60_000), ("right again", 0)] {
        let begun = Instant::now();
        match skew_ms {
            0 => way.world.exchange.control("fault?name=clock_skew_ms&stop=1"),
            ms => way.world.exchange.control(&format!("fault?name=clock_skew_ms&ms=600000&value={ms}")),
        };
        let expected = skew_ms as f64 / 1_000.0;
        way.wait_metric("trapline_clock_skew_seconds", "", |s| (s - expected).abs() < 5.0);
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        way.fresh_again(what);
        row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
        equals_the_exchange(&way, what);
        // A new login is signed by the exchange's clock.
        let connections = way.proxy.connections(SOCKETS);
        way.proxy.cut(SOCKETS);
        way.wait_connections(SOCKETS, connections + 1);
        way.fresh_again("after a new login");
        way.world.daemon.wait_ready();
        // And positions are followed across it.
        let size = if skew_ms == 0 { "0.003" } else { "0.004" };
        way.world.exchange.control(&format!("position?symbol=BTCUSDT&side=long&size={size}&entry=60000"));
        way.world.redis.wait_field("trapline:BTCUSDT:position:long", "size", |s| s.starts_with(size));
    }
    assert_eq!(way.metric("trapline_login_failures_total", ""), 0.0, "no login failed for it");
    row.end(&way);
}

/// X9: repeated trades are taken once, what is late does not go back, and a hole that the history after a reconnect
/// does not close is counted. (Books are not subscribed: they have checksums, these channels do not.)
#[test]
fn x09_repeated_late_and_missing_data_are_told_apart() {
    let venue = VenueConfig { speed: Speed::Times(20.0), ..Exchange::config() };
    let way = Way::start(venue, &hasty());
    way.world.daemon.wait_ready();
    let mut row = Row::begin(&way, "X9", "duplicate, out of order, gap");

    let (first, duplicates) = (trades_at_rest(&way), way.refused("duplicate"));
    let begun = Instant::now();
    way.world.exchange.control("fault?name=dup_trades&ms=120000&scope=public");
    wait_for("repetitions are counted", || match way.refused("duplicate") {
        now if now >= duplicates + 20 => Ok(()),
        now => Err(now.to_string()),
    });
    way.world.exchange.control("fault?name=dup_trades&stop=1");
    row.note(begun.elapsed().as_secs_f64() * 1_000.0, way.fresh_again("dup_trades"));
    let begun = Instant::now();
    let regressed = way.refused("regressed");
    way.world.exchange.control("fault?name=reorder_ts&ms=120000&scope=public");
    wait_for("a ticker that was overtaken is refused", || match way.refused("regressed") {
        now if now > regressed => Ok(()),
        now => Err(now.to_string()),
    });
    way.world.exchange.control("fault?name=reorder_ts&stop=1");
    row.note(begun.elapsed().as_secs_f64() * 1_000.0, way.fresh_again("reorder_ts"));
    way.world.exchange.venue.pause();
    let last = wait_for("every trade was taken once, whatever its place", || match trades(&way) {
        now if now.0 - first.0 == now.1 - first.1 => Ok(now),
        now => Err(format!("{first:?} {now:?}")),
    });
    way.world.exchange.venue.resume();
    row.figures.events = last.0 - first.0;

    // More is missed than the history of the next subscription tells. (X11 asserts the other half: no gap, no count.)
    let gaps = way.metric("trapline_seq_gaps_total", "");
    let _audience = audience(&way);
    let before = trades(&way).0;
    way.proxy.mute(&[Kind::Public]);
    way.proxy.cut(&[Kind::Public]);
    wait_for("more is traded than any history tells", || match trades(&way).0 - before {
        missed if missed > 600 => Ok(()),
        missed => Err(missed.to_string()),
    });
    way.proxy.mute(&[]);
    let begun = Instant::now();
    way.wait_metric("trapline_seq_gaps_total", "", |now| now > gaps);
    row.note(begun.elapsed().as_secs_f64() * 1_000.0, way.fresh_again("a long absence"));
    row.end(&way);
}

/// Somebody else who listens: what nobody listens to is not counted as traded.
fn audience(way: &Way) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let port = way.world.exchange.venue.addr().port();
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the exchange");
    write!(
        socket,
        "GET /v3/ws/public HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .expect("a handshake");
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 101");
    let arg = |symbol| format!(r#"{{"instType":"usdt-futures","topic":"publicTrade","symbol":"{symbol}"}}"#);
    let text = format!(r#"{{"op":"subscribe","args":[{}]}}"#, SYMBOLS.map(arg).join(","));
    // A client's frame has a mask; one of zeros changes nothing.
    let mut bytes = vec![0x81, 0xfe];
    bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(text.as_bytes());
    socket.write_all(&bytes).expect("a subscription");
    socket
}

/// X13: a refused subscription costs its own symbol; it is asked for again after a pause. One that is acknowledged and
/// brings nothing is asked for again, too.
#[test]
fn x13_a_refused_or_half_acknowledged_subscription_costs_its_symbol_alone() {
    let way = Way::ready(&with(&[("freshness", "market_ms = 1000")]));
    for (fault, said) in [("subscribe_30001", "subscription gives no data"), ("ack_silent", "")] {
        let mut row = Row::begin_within(
            &way,
            "X13",
            if said.is_empty() { "acknowledged, silent" } else { "subscription refused" },
            1_000,
        );
        way.world.exchange.control(&format!("fault?name={fault}&ms=120000&symbol=ETHUSDT&scope=public"));
        let connections = way.proxy.connections(&[Kind::Public]);
        let begun = Instant::now();
        way.proxy.cut(&[Kind::Public]);
        way.wait_connections(&[Kind::Public], connections);
        if !said.is_empty() {
            way.wait_log(&[said, "ETHUSDT"]);
        }
        way.world.redis.wait_field("trapline:ETHUSDT:market_state", "stale", |stale| stale == "1");
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        let before = number(&way.market("BTCUSDT"), "seq");
        way.world.redis.wait_field("trapline:BTCUSDT:market_state", "seq", |seq| {
            seq.parse().is_ok_and(|seq: u64| seq > before + 5)
        });
        assert_eq!(way.market("BTCUSDT").get("stale").map(String::as_str), Some("0"), "the other symbol is live");
        way.world.exchange.control(&format!("fault?name={fault}&stop=1"));
        row.note(detected_ms, way.fresh_again(fault));
        way.world.daemon.wait_ready();
        row.end(&way);
    }
}

/// X14: more than can be written. State is conflated, no event is lost, memory stays where it was.
#[test]
fn x14_a_burst_is_conflated_and_no_event_is_lost() {
    let rate = 10_000.0;
    let frames = (rate * seconds(3.0).as_secs_f64()) as u64;
    // The first subscriptions start it; they have to wait until everything stands.
    let venue =
        VenueConfig { firehose: Some(Firehose { rate: Some(rate), frames: Some(frames) }), ..Exchange::config() };
    let options = Options { symbols: SYMBOLS.map(str::to_owned).to_vec(), ..with(&[("exchange", "candles = [ ]")]) };
    let way = Way::start(venue, &options);
    wait_for("it began", || match way.metric("trapline_accepted_total", "ticker") {
        n if n > 0.0 => Ok(()),
        n => Err(n.to_string()),
    });
    let mut row = Row::begin(&way, "X14", "10 000 frames a second");
    let resident = || way.metric("trapline_resident_memory_bytes", "") / 1_048_576.0;
    let (first_mib, mut most_mib, mut fills) = (resident(), 0.0_f64, 0);
    let begun = Instant::now();
    let fired = || {
        let truth: serde_json::Value = serde_json::from_str(&way.world.exchange.control("truth")).unwrap_or_default();
        truth["fired"].as_u64().unwrap_or(0)
    };
    while fired() < frames {
        assert!(begun.elapsed() < 20 * seconds(3.0), "{} of {frames} frames", fired());
        if fills < 10 {
            way.order(fills);
            fills += 1;
        }
        most_mib = most_mib.max(resident());
        way.nobody_died();
        std::thread::sleep(Duration::from_millis(150));
    }
    let took = begun.elapsed().as_secs_f64();
    let back = Instant::now();
    wait_for("the newest frame is in redis", || {
        let newest = SYMBOLS.map(|symbol| {
            let size = way.market(symbol).get("bid_size").and_then(|s| s.parse::<f64>().ok()).unwrap_or(0.0);
            (size as u64).saturating_sub(FRAME_BASE)
        });
        if newest.contains(&(frames - 1)) { Ok(()) } else { Err(format!("{newest:?} of {frames}")) }
    });
    row.note(0.0, back.elapsed().as_secs_f64() * 1_000.0);
    row.figures.events = way.each_fill_once(fills);
    // Every frame was judged, none was thrown away on the way; what reaches Redis is the newest.
    let accepted = way.metric("trapline_accepted_total", "ticker");
    assert!(accepted >= frames as f64 * 0.99, "{accepted} of {frames}");
    assert!(most_mib < first_mib + 32.0, "I5: from {first_mib} MiB to {most_mib} MiB");
    row.figures.more.insert("frames_per_s", (frames as f64 / took).into());
    row.figures.more.insert("frames", frames.into());
    row.figures.more.insert("redis_pipelines", way.metric("trapline_redis_pipelines_total", "").into());
    row.figures.more.insert("rss_growth_mib", (most_mib - first_mib).into());
    assert_eq!(way.metric("trapline_shed_total", "market"), 0.0, "state is conflated, not shed");
    row.end(&way);
}
