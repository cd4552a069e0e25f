//! What concerns the account: logins that fail, and what an empty answer means.

use crate::connections::field;
use crate::support::proxy::{Kind, SOCKETS};
use crate::support::{Exchange, KEY, Options, http_get, wait_for};
use crate::way::{Row, Way, with};
use std::time::{Duration, Instant};

fn alerts(way: &Way) -> String {
    let mut link = way.world.redis.link();
    let reply: redis::Value =
        redis::cmd("XRANGE").arg("trapline:alerts").arg("-").arg("+").query(&mut link).expect("alerts");
    format!("{reply:?}")
}

/// X10: each refusal of a login is told with its remedy, costs no public data, and is not hammered. When the exchange
/// takes the key again, so do we.
#[test]
fn x10_a_refused_login_leaves_the_public_side_alive_and_is_tried_slowly() {
    let way = Way::ready(&with(&[("exchange", "login_retry_ms = 1000"), ("freshness", "position_ms = 1500")]));
    let mut row = Row::begin(&way, "X10", "login refused: key, signature, time");
    for (fault, remedy) in [
        ("login_reject_30011", "check the key"),
        ("login_reject_30015", "check the secret"),
        ("login_reject_30014", "time synchronisation"),
    ] {
        let failures = way.metric("trapline_login_failures_total", "");
        way.world.exchange.control(&format!("fault?name={fault}&ms=120000"));
        let begun = Instant::now();
        way.proxy.cut(&[Kind::Private]);
        way.wait_metric("trapline_login_failures_total", "", |n| n > failures);
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        wait_for("an alert that names the remedy", || {
            let alerts = alerts(&way);
            if alerts.contains("login_refused") && alerts.contains(remedy) { Ok(()) } else { Err(alerts) }
        });
        wait_for("not ready", || match http_get(way.world.daemon.status_port, "/readyz") {
            (503, _) => Ok(()),
            (code, body) => Err(format!("{code} {body}")),
        });
        // At most the tries that the pauses allow.
        let tries = way.proxy.connections(&[Kind::Private]);
        std::thread::sleep(Duration::from_millis(900));
        assert!(way.proxy.connections(&[Kind::Private]) <= tries + 1, "{fault}: hammered");
        way.fresh_again("the market goes on");
        let begun = Instant::now();
        way.world.exchange.control(&format!("fault?name={fault}&stop=1"));
        way.world.daemon.wait_ready();
        row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
    }
    row.end(&way);
}

/// X10 with the default pauses, a secret that is wrong from the start, and an address that is not on the key's list:
/// at least thirty seconds lie between two tries, positions are unknown and never flat, no secret is told.
#[test]
fn x10_a_wrong_secret_and_a_foreign_address_wait_for_a_person() {
    let wrong = Options {
        key: Some([KEY[0].to_owned(), "CANARY-not-the-secret".to_owned(), KEY[2].to_owned()]),
        ..with(&[("freshness", "position_ms = 1000")])
    };
    let way = Way::start(Exchange::config(), &wrong);
    way.world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |stale| stale == "0");
    let begun = Instant::now();
    let mut row = Row::begin(&way, "X10", "wrong secret; address not on the key's list");
    let line = way.wait_log(&["no connection", "login refused"]);
    let retry_ms = field(&line, "retry_ms");
    assert!((30_000..=330_000).contains(&retry_ms), "{line}");
    row.note(begun.elapsed().as_secs_f64() * 1_000.0, way.fresh_again("the market goes on"));
    let tries = way.proxy.connections(&[Kind::Private]);
    let begun = Instant::now();
    let refused = r#"{"code":"40018","msg":"Invalid IP","requestTime":1790133569757,"data":null}"#;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{refused}",
        refused.len()
    );
    // A daemon that starts from an address which is not on the list is told so by REST.
    way.proxy.answer(&[Kind::Rest], Some(&answer));
    let elsewhere = crate::support::Redis::start();
    let second = crate::support::Daemon::start(way.proxy.port(), &elsewhere.server().url(), &with(&[]));
    wait_for("the remedy for the address is told", || {
        let log = second.log();
        if log.contains("IP address is not on the API key's list") { Ok(()) } else { Err(log) }
    });
    let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    drop(second);
    way.proxy.answer(&[Kind::Rest], None);
    row.note(detected_ms, way.fresh_again("the market goes on"));
    // Nobody knows the positions: nothing says flat, and bots are told to stop.
    wait_for("positions are stale", || {
        let status = way.world.daemon.statusz();
        match status["symbols"][0]["long"]["stale"].as_bool() {
            Some(true) => Ok(()),
            _ => Err(status["symbols"][0].to_string()),
        }
    });
    assert!(!way.world.redis.hash("trapline:BTCUSDT:position:long").contains_key("size"));
    assert_eq!(way.world.redis.hash("trapline:breaker").get("state").map(String::as_str), Some("open"));
    assert_eq!(way.proxy.connections(&[Kind::Private]), tries + 1, "only the other daemon tried");
    let told = format!("{}{}", way.world.daemon.log(), alerts(&way));
    assert!(!told.contains("CANARY"), "a secret was told");
    assert_eq!(http_get(way.world.daemon.status_port, "/livez").0, 200);
    row.end(&way);
}

/// X16: 'nothing is there', 'it was closed' and 'nobody answered' are three different things.
#[test]
fn x16_empty_closed_and_unanswered_are_three_outcomes() {
    let key = "trapline:BTCUSDT:position:long";
    let way = Way::ready(&Options { generation: "v2", ..with(&[("freshness", "position_ms = 900")]) });
    let mut row = Row::begin(&way, "X16", "positions: phantom empty, closed, query failed");
    let size = |way: &Way| way.world.redis.hash(key).get("size").cloned().unwrap_or_default();
    way.world.exchange.control("position?symbol=BTCUSDT&side=long&size=0.005&entry=60000");
    way.world.redis.wait_field(key, "size", |s| s.starts_with("0.005"));

    // Empty: the socket says so, REST does not: a contradiction, counted, and the position stands.
    let before = way.refused("flat_contradicted");
    let begun = Instant::now();
    way.world.exchange.control("fault?name=phantom_empty&ms=0");
    wait_for("the contradiction is counted", || match way.refused("flat_contradicted") {
        now if now > before => Ok(()),
        now => {
            assert!(size(&way).starts_with("0.005"), "{}", size(&way));
            Err(now.to_string())
        }
    });
    row.note(begun.elapsed().as_secs_f64() * 1_000.0, 0.0);
    assert!(size(&way).starts_with("0.005"));

    // Unanswered, in every way that an answer can be none: unknown after a while, and marked so; never flat.
    let html =
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>";
    let nulls = r#"{"code":"00000","msg":"success","requestTime":1790133569757,"data":null}"#;
    let null = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{nulls}", nulls.len());
    let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answers = [
        ("http 500", "HTTP/1.1 500 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()),
        ("html", html.to_owned()),
        ("no body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()),
        ("null", null),
        ("http 429", busy.to_owned()),
    ];
    for (what, answer) in answers {
        let failed = way.metric("trapline_reconcile_failed_total", "");
        let begun = Instant::now();
        way.proxy.answer(&[Kind::Rest], Some(&answer));
        // And the socket cannot help: its private side is away.
        way.proxy.mute(&[Kind::Private]);
        way.proxy.cut(&[Kind::Private]);
        way.wait_metric("trapline_reconcile_failed_total", "", |n| n > failed);
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        let hash = way.world.redis.wait_field(key, "stale", |stale| stale == "1");
        assert!(hash.get("size").is_some_and(|s| s.starts_with("0.005")), "{what}: {hash:?}");
        assert_ne!(hash.get("has_position").map(String::as_str), Some("0"), "{what}: {hash:?}");
        let asked = way.proxy.connections(&[Kind::Rest]);
        if what == "http 429" {
            std::thread::sleep(Duration::from_millis(1_000));
            let more = way.proxy.connections(&[Kind::Rest]) - asked;
            assert!(more <= 2, "asked {more} times although told to wait two seconds");
        }
        let begun = Instant::now();
        way.proxy.answer(&[Kind::Rest], None);
        way.proxy.mute(&[]);
        let hash = way.world.redis.wait_field(key, "stale", |stale| stale == "0");
        assert!(hash.get("size").is_some_and(|s| s.starts_with("0.005")), "{what}: {hash:?}");
        row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
        way.world.daemon.wait_ready();
    }

    // Closed: both witnesses say so.
    let begun = Instant::now();
    way.world.exchange.control("position?symbol=BTCUSDT&side=long&size=0");
    let hash = way.world.redis.wait_field(key, "size", |s| s.trim_matches(['0', '.']).is_empty());
    assert_eq!(hash.get("has_position").map(String::as_str), Some("0"), "{hash:?}");
    row.note(0.0, begun.elapsed().as_secs_f64() * 1_000.0);
    assert_eq!(way.proxy.open(SOCKETS), 2);
    row.end(&way);
}
