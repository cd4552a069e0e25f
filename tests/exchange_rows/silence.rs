//! Lines that are dead without saying so, and subscriptions that fall silent.

use crate::support::proxy::{Kind, SOCKETS};
use crate::support::wait_for;
use crate::way::{Row, Way, hasty, with};
use std::time::Instant;

/// X2: nothing comes and nothing says that it will not. The public side is found by its silence, with a ping of its
/// own before; the private one, which may be silent for hours, by a missing pong.
#[test]
fn x02_a_half_open_connection_is_found_and_replaced() {
    let way = Way::ready(&hasty());
    let mut row = Row::begin(&way, "X2", "half-open connection");
    for (kinds, reason) in [(&[Kind::Public][..], "public"), (&[Kind::Private], "private"), (SOCKETS, "both")] {
        let before = way.proxy.connections(kinds);
        let begun = Instant::now();
        way.proxy.stall(kinds);
        way.wait_connections(kinds, before + kinds.len() - 1);
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        way.fresh_again(reason);
        row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
        way.world.daemon.wait_ready();
    }
    let found: f64 = ["no_pong", "nothing_heard"].iter().map(|r| way.metric("trapline_ws_connects_total", r)).sum();
    assert!(found >= 4.0, "each was found for what it is: {found}");
    row.figures.more.insert("silence_limit_ms", 2_000.into());
    row.figures.more.insert("pong_deadline_ms", 1_000.into());
    row.end(&way);
}

/// X2 with the default times, the ones that readers are promised: silence is shown, probed after half the limit, and
/// ends the public connection within six seconds.
#[test]
fn x02_with_default_times_a_dead_public_line_is_found_within_six_seconds() {
    let way = Way::ready(&crate::support::Options::default());
    let mut row = Row::begin(&way, "X2", "half-open public connection, default times");
    let before = way.proxy.connections(&[Kind::Public]);
    let begun = Instant::now();
    way.proxy.stall(&[Kind::Public]);
    way.wait_metric("trapline_ws_silence_seconds", "public", |s| s >= 2.0);
    way.wait_connections(&[Kind::Public], before);
    let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    way.fresh_again("default times");
    row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
    way.wait_metric("trapline_ws_connects_total", "nothing_heard", |n| n >= 1.0);
    row.end(&way);
}

/// The subscribe frames that name both words.
fn asked(way: &Way, kind: Kind, words: &[&str]) -> usize {
    let said = way.proxy.said(&[kind]);
    said.iter().filter(|text| text.contains("\"subscribe\"") && words.iter().all(|w| text.contains(w))).count()
}

/// X12: a channel falls silent while pongs and other channels go on. It is asked for again, then costs the connection.
#[test]
fn x12_a_channel_that_falls_silent_is_asked_for_again() {
    let way = Way::ready(&with(&[("exchange", "trades_silence_ms = 1500"), ("freshness", "market_ms = 1000")]));
    let mut row = Row::begin_within(&way, "X12", "one channel falls silent, pongs go on", 1_000);

    // The ticker of one symbol: its limit is short, as the exchange repeats it.
    let before = asked(&way, Kind::Public, &["ticker", "ETHUSDT"]);
    let begun = Instant::now();
    way.world.exchange.control("fault?name=freeze_channel&ms=120000&value=ticker&symbol=ETHUSDT&scope=public");
    let frozen = asked_again(&way, &["ticker", "ETHUSDT"], before);
    way.wait_metric("trapline_channel_age_seconds", "ticker", |age| age >= 1.0);
    way.world.exchange.control("fault?name=freeze_channel&stop=1");
    let age = wait_for("the ticker speaks again", || match way.metric("trapline_channel_age_seconds", "ticker") {
        age if age < 1.0 => Ok(age),
        age => Err(age.to_string()),
    });
    assert!(age < 1.0);
    row.note(frozen, begun.elapsed().as_secs_f64() * 1_000.0);

    // Trades pause with the market; a ticker whose price moves says that it does not pause.
    let before = asked(&way, Kind::Public, &["publicTrade"]);
    let begun = Instant::now();
    way.world.exchange.control("fault?name=freeze_channel&ms=120000&value=trade&scope=public");
    let frozen = asked_again(&way, &["publicTrade"], before);
    way.world.exchange.control("fault?name=freeze_channel&stop=1");
    wait_for("trades come again", || match way.metric("trapline_channel_age_seconds", "trade") {
        age if age < 1.0 => Ok(()),
        age => Err(age.to_string()),
    });
    row.note(frozen, begun.elapsed().as_secs_f64() * 1_000.0);

    // Everything at once: asking again does not help, so the connection is replaced, and meanwhile the keys say so.
    let connections = way.proxy.connections(&[Kind::Public]);
    let begun = Instant::now();
    way.world.exchange.control("fault?name=freeze_channel&ms=120000&scope=public");
    way.world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |stale| stale == "1");
    let marked_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    way.wait_connections(&[Kind::Public], connections);
    way.wait_metric("trapline_ws_connects_total", "silent", |n| n >= 1.0);
    way.world.exchange.control("fault?name=freeze_channel&stop=1");
    row.note(marked_ms, way.fresh_again("all channels speak again"));
    way.world.daemon.wait_ready();

    // Positions: the socket loses every push, REST says the truth within its round.
    way.world.exchange.control("fault?name=freeze_channel&ms=120000&value=positions&scope=private");
    let begun = Instant::now();
    way.world.exchange.control("position?symbol=BTCUSDT&side=long&size=0.005&entry=60000");
    let key = "trapline:BTCUSDT:position:long";
    way.world.redis.wait_field(key, "size", |size| size.starts_with("0.005"));
    let by_rest = begun.elapsed().as_secs_f64() * 1_000.0;
    row.note(by_rest, by_rest);
    assert_eq!(way.world.redis.hash(key).get("stale").map(String::as_str), Some("0"));
    way.world.exchange.control("fault?name=freeze_channel&stop=1");
    row.end(&way);
}

fn asked_again(way: &Way, words: &[&str], before: usize) -> f64 {
    let begun = Instant::now();
    wait_for(&format!("{words:?} are asked for again"), || match asked(way, Kind::Public, words) {
        now if now > before => Ok(()),
        now => Err(now.to_string()),
    });
    begun.elapsed().as_secs_f64() * 1_000.0
}
