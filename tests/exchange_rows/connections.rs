//! Connections that end, that do not begin, and that are refused.

use crate::support::http_get;
use crate::support::proxy::{Kind, SOCKETS};
use crate::way::{Row, Way, hasty, with};
use std::time::{Duration, Instant};

/// X1: fresh within a second of the first try, whatever the end looked like; never given up; fills are not lost.
#[test]
fn x01_whatever_ends_a_connection_it_comes_back_with_the_picture() {
    let way = Way::ready(&hasty());
    let mut row = Row::begin(&way, "X1", "connection ends: close 1000/1006/1012, reset, end of file");
    type End = fn(&Way);
    let ends: [(&str, &str, End); 5] = [
        ("close 1000", "closed", |way| drop(way.world.exchange.control("fault?name=close&ms=0&value=1000"))),
        ("close 1006", "broken", |way| drop(way.world.exchange.control("fault?name=kill&ms=0"))),
        ("close 1012", "closed", |way| drop(way.world.exchange.control("fault?name=close&ms=0&value=1012"))),
        ("reset", "broken", |way| way.proxy.reset(SOCKETS)),
        ("end of file", "broken", |way| way.proxy.cut(SOCKETS)),
    ];
    let mut fills = 0;
    for (what, reason, end) in ends {
        let connections = way.proxy.connections(SOCKETS);
        // A close frame says why; without one the line just ends, which may be seen as either.
        let counted = |way: &Way| -> f64 {
            let reasons = if reason == "closed" { &["closed"][..] } else { &["closed", "broken"] };
            reasons.iter().map(|reason| way.metric("trapline_ws_connects_total", reason)).sum()
        };
        let before = counted(&way);
        let begun = Instant::now();
        end(&way);
        way.order(fills);
        fills += 1;
        let detected_ms = way.wait_connections(SOCKETS, connections + 1);
        way.fresh_again(what);
        row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
        assert!(counted(&way) >= before + 2.0, "{what}: both sockets were made anew for this reason");
        way.world.daemon.wait_ready();
    }
    row.figures.events = way.each_fill_once(fills);
    row.end(&way);
}

/// X1: a venue that is away is tried again and again, at growing pauses, and found when it is back.
#[test]
fn x01_a_venue_that_stays_away_is_never_given_up() {
    let way = Way::ready(&with(&[
        ("exchange", "reconnect_min_ms = 20\nreconnect_max_ms = 200"),
        ("freshness", "market_ms = 1000"),
    ]));
    let mut row = Row::begin_within(&way, "X1", "every connection attempt is dropped for a time", 1_000);
    way.world.exchange.control("fault?name=refuse_connect&ms=120000");
    let before = way.proxy.connections(SOCKETS);
    let begun = Instant::now();
    way.world.exchange.fault("kill", 0);
    let marked = way.world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |stale| stale == "1");
    let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    assert!(marked.contains_key("price"), "the last value stays, marked: {marked:?}");
    way.wait_connections(SOCKETS, before + 20);
    assert_eq!(http_get(way.world.daemon.status_port, "/readyz").0, 503);
    way.world.exchange.control("fault?name=refuse_connect&stop=1");
    row.note(detected_ms, way.fresh_again("the venue is back"));
    way.world.daemon.wait_ready();
    assert!(way.metric("trapline_ws_connects_total", "connect") >= 2.0, "made anew after tries that failed");
    row.end(&way);
}

/// X7: a handshake has a limit, a refused one is tried again, and `Retry-After` is kept.
#[test]
fn x07_a_handshake_that_never_ends_or_is_refused_costs_a_try_and_no_more() {
    let way = Way::ready(&with(&[("exchange", "reconnect_max_ms = 400"), ("freshness", "market_ms = 1000")]));
    let mut row =
        Row::begin_within(&way, "X7", "handshake: no answer, slow-loris, 502, HTML, redirect, 403, 429", 1_000);
    type Order<'a> = (&'a str, &'a str, fn(&Way, bool));
    let slow: [Order<'_>; 2] = [
        ("no answer", "no handshake within", |way, on| way.proxy.mute(if on { &[Kind::Public] } else { &[] })),
        ("one byte at a time", "no handshake within", |way, on| {
            way.proxy.loris(if on { &[Kind::Public] } else { &[] });
        }),
    ];
    for (what, said, order) in slow {
        let before = way.proxy.connections(&[Kind::Public]);
        order(&way, true);
        let begun = Instant::now();
        way.proxy.cut(&[Kind::Public]);
        way.wait_connections(&[Kind::Public], before + 1);
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        way.wait_log(&[said]);
        order(&way, false);
        row.note(detected_ms, way.fresh_again(what));
    }
    let reset = "Content-Length: 0\r\nConnection: close\r\n\r\n";
    let page = "<html><body>Bad gateway</body></html>";
    let html = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len());
    let answers = [
        ("http 502", format!("HTTP/1.1 502 Bad Gateway\r\nContent-Length: {}\r\n\r\n{page}", page.len())),
        ("http 200", html),
        ("http 302", format!("HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\n{reset}")),
    ];
    for (status, answer) in answers {
        let before = way.proxy.connections(&[Kind::Public]);
        let begun = Instant::now();
        way.proxy.answer(&[Kind::Public], Some(&answer));
        way.wait_connections(&[Kind::Public], before + 2);
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        way.wait_log(&["no connection", status]);
        way.proxy.answer(&[Kind::Public], None);
        row.note(detected_ms, way.fresh_again(status));
    }
    way.wait_metric("trapline_ws_connects_total", "http", |n| n >= 1.0);
    // Whoever says how long is kept to it; the private socket and REST have nothing to do with it.
    let wait = Duration::from_secs(1);
    for (status, words) in [("http 429", "429 Too Many Requests"), ("http 403", "403 Forbidden")] {
        let before = way.proxy.connections(&[Kind::Public]);
        let answer = format!("HTTP/1.1 {words}\r\nRetry-After: {}\r\n{reset}", wait.as_secs());
        way.proxy.answer(&[Kind::Public], Some(&answer));
        way.wait_connections(&[Kind::Public], before);
        let refused = Instant::now();
        let line = way.wait_log(&["no connection", status]);
        let retry_ms: u64 = field(&line, "retry_ms");
        assert!(retry_ms >= wait.as_millis() as u64, "{line}");
        way.proxy.answer(&[Kind::Public], None);
        way.wait_connections(&[Kind::Public], before + 1);
        let waited = refused.elapsed();
        // The answer was on its way for a moment before we saw the connection.
        assert!(waited >= wait - Duration::from_millis(500), "{status}: asked again after {waited:?}");
        row.note(0.0, way.fresh_again(status));
    }
    way.world.daemon.wait_ready();
    assert!(row.end(&way).marked, "without a socket the market was stale, and said so");
}

/// The number after `name=` in a line of the log.
pub fn field(line: &str, name: &str) -> u64 {
    let rest = line.split(&format!("{name}=")).nth(1).unwrap_or_else(|| panic!("no {name} in {line}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number after {name} in {line}"))
}
