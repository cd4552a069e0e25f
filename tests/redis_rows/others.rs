//! Other programs and people at the same Redis: R17, R18, R19, and who else writes our keys.

use crate::scene::{BTC, ETH, STRINGS, Scene, figures, more, ms, options};
use crate::server::skip;
use crate::support::{Daemon, Options, wait_for};
use redis::Commands;
use std::time::{Duration, Instant};

/// The audit's period, and what a busy machine adds.
const AUDIT_LIMIT_MS: f64 = 5_000.0 + 5_000.0;

/// A daemon that is whole and has made so many events; `None` without a Redis.
fn traded(orders: u64) -> Option<Scene> {
    if skip() {
        return None;
    }
    let mut scene = Scene::ready();
    scene.trade(orders);
    scene.events_are_whole();
    Some(scene)
}

/// The first daemon ends because a newer one took its keys, and says so.
fn ends_fenced(first: &mut Daemon) {
    let code = wait_for("the first ends", || match first.child.try_wait() {
        Ok(Some(status)) => Ok(status.code()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(code, Some(75), "log:\n{}", first.log());
    assert!(first.log().contains("fenced by a newer daemon"), "log:\n{}", first.log());
}

#[test]
fn r17_what_others_delete_is_written_again() {
    let Some(mut scene) = traded(20) else { return };
    // The market stands still, so that nothing but the audit can find out.
    scene.exchange.venue.pause();
    let mut f = figures("R17", "FLUSHALL, and DEL of one key after the other, by another client", 0);
    let before = scene.count("cursor_rewind_events_total");
    let flushed = Instant::now();
    scene.server.run(&["FLUSHALL"]);
    scene.wait_all();
    let flush_ms = ms(flushed);
    f.recovery_ms.push(flush_ms);
    scene.events_are_whole();
    f.injected += 1;
    wait_for("events are sent again", || match scene.count("cursor_rewind_events_total") {
        n if n >= before + 20 => Ok(()),
        n => Err(n.to_string()),
    });
    // Replies are handled in order: with the second pulse from now, all answers to what was written again are in.
    for _ in 0..2 {
        let seen = scene.server.field("trapline:health", "timestamp");
        wait_for("the next pulse", || match scene.server.field("trapline:health", "timestamp") {
            next if next.is_some() && next != seen => Ok(()),
            next => Err(format!("{next:?}")),
        });
    }
    let mismatches = scene.metric("trapline_audit_mismatch_total");
    for key in ["trapline:ETHUSDT:position:long", "current_position", "trapline:BTCUSDT:market_state"]
        .into_iter()
        .chain(STRINGS)
    {
        let deleted = Instant::now();
        assert_eq!(scene.server.run(&["DEL", key]), redis::Value::Int(1), "{key} was there");
        wait_for(key, || match scene.server.run(&["EXISTS", key]) {
            redis::Value::Int(1) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        f.recovery_ms.push(ms(deleted));
        f.injected += 1;
    }
    let slowest = f.recovery_ms.iter().copied().fold(0.0, f64::max);
    assert!(slowest < AUDIT_LIMIT_MS, "within the audit's period: {:?}", f.recovery_ms);
    scene.wait_metric("trapline_audit_mismatch_total", mismatches + 7.0);
    f.more = more([("flushall_all_state_ms", flush_ms)]);
    // Events whose cursor is still there are not sent again: it is told.
    scene.server.run(&["DEL", "trader:trades:scalper"]);
    scene.wait_alert("events_deleted");
    f.injected += 1;
    scene.wait_metric("trapline_audit_mismatch_total", mismatches + 8.0);
    assert_eq!(scene.metric("trapline_audit_mismatch_total"), mismatches + 8.0, "each deletion is counted once");
    f.detected = f.injected;
    scene.exchange.venue.resume();
    scene.trade(5);
    scene.check(f);
}

#[test]
fn r18_a_lost_script_cache_is_not_noticed_by_anybody() {
    let Some(mut scene) = traded(0) else { return };
    let mut f = figures("R18", "SCRIPT FLUSH by another client, ten times between events", 10);
    let connects = scene.count("connects_total");
    for _ in 0..f.injected {
        scene.trade(1);
        scene.events_are_whole();
        scene.server.run(&["SCRIPT", "FLUSH"]);
        let flushed = Instant::now();
        scene.trade(1);
        scene.events_are_whole();
        f.recovery_ms.push(ms(flushed));
    }
    scene.wait_metric("trapline_redis_errors_total{code=\"noscript\"}", 1.0);
    assert_eq!(scene.count("connects_total"), connects, "on the same connection");
    scene.check(f);
}

fn second(scene: &Scene, line: &str) -> Daemon {
    beside(scene, "", &[("redis", line)])
}

/// Another daemon on the same Redis; `place` says which database.
fn beside(scene: &Scene, place: &str, lines: &[(&'static str, &str)]) -> Daemon {
    let url = format!("{}{place}", scene.server.url());
    Daemon::start(scene.exchange.venue.addr().port(), &url, &options(lines))
}

#[test]
fn r19_of_two_daemons_one_writes() {
    let Some(mut scene) = traded(5) else { return };
    let mut f = figures("R19", "A second daemon with the same keys: it takes over, or waits", 2);
    // The polite one waits for as long as the other writes.
    let mut polite = second(&scene, "second_daemon = \"wait\"");
    wait_for("it waits", || match polite.statusz()["redis"]["link"].as_str() {
        Some("refused") => Ok(()),
        other => Err(format!("{other:?}; {}", polite.log())),
    });
    wait_for("and says for whom", || {
        if polite.log().contains("waiting for it to end") { Ok(()) } else { Err(polite.log()) }
    });
    scene.goes_on(BTC);
    assert_eq!(scene.link(), "up");
    assert_eq!(polite.stop(), 0, "log:\n{}", polite.log());

    let taken = Instant::now();
    let newer = second(&scene, "second_daemon = \"take-over\"");
    ends_fenced(&mut scene.daemon);
    f.detection_ms.push(ms(taken));
    let text = crate::support::http_get(newer.status_port, "/metrics").1;
    assert!(text.contains("trapline_fenced_total 0"), "the newer one was not fenced");
    newer.wait_ready();
    // The fenced one is started again: polite this time, it takes over when the other has gone.
    scene.daemon.start_again(&Options::default());
    drop(newer);
    let freed = Instant::now();
    wait_for("it writes again", || match scene.link().as_str() {
        "up" => Ok(()),
        other => Err(format!("{other}; {}", scene.daemon.log())),
    });
    scene.goes_on(BTC);
    scene.goes_on(ETH);
    f.recovery_ms.push(ms(freed));
    f.escalated = 1;
    scene.check(f);
}

#[test]
fn two_databases_have_two_writers_and_one_has_one_whatever_they_are_called() {
    let Some(mut scene) = traded(0) else { return };
    let connects = scene.count("connects_total");
    let mut f = figures("R19-names", "A second daemon of another name: on another database, then on the same one", 2);
    let far = beside(&scene, "?db=1", &[("redis", "instance = \"far\"")]);
    far.wait_ready();
    let far_seq = || {
        let mut eyes = scene.server.eyes();
        let _: () = redis::cmd("SELECT").arg(1).query(&mut eyes).expect("a database");
        eyes.hget::<_, _, Option<i64>>(BTC, "seq").expect("a field").unwrap_or(-1)
    };
    let before = far_seq();
    wait_for("the far one goes on", || if far_seq() > before { Ok(()) } else { Err(far.log()) });
    scene.goes_on(BTC);
    assert_eq!(scene.count("connects_total"), connects, "nobody ended the first one's connection");

    let taken = Instant::now();
    let near = beside(&scene, "", &[("redis", "instance = \"near\"")]);
    ends_fenced(&mut scene.daemon);
    f.detection_ms.push(ms(taken));
    near.wait_ready();
    scene.goes_on(BTC);
    f.recovery_ms.push(ms(taken));
    let before = far_seq();
    wait_for("the far one goes on", || if far_seq() > before { Ok(()) } else { Err(far.log()) });
    assert_eq!(far.statusz()["counts"]["connects_total"].as_u64(), Some(1), "nobody ended the far one's connection");
    (f.survived, f.escalated) = (2, 1);
    f.publish();
}

#[test]
fn another_programs_value_is_noticed_and_kept_aside() {
    if skip() {
        return;
    }
    let more = [("redis", "position_key_format = \"legacy-json\""), ("redis", "migrate = true")];
    let server = crate::server::Server::start(&[]);
    // Left by an older system: the same type, not our words.
    server.run(&["SET", "current_position", "{\"has_position\":true,\"size\":1}"]);
    let url = server.url();
    let scene = Scene::at(server, &url, &options(&more));
    scene.daemon.wait_ready();
    let aside = || -> Vec<String> {
        let mut eyes = scene.server.eyes();
        let names: Vec<String> = eyes.keys("legacy:current_position:*").expect("keys");
        names.iter().filter_map(|name| eyes.get(name).ok()).collect()
    };
    wait_for("the old value is kept", || match aside().as_slice() {
        [one] if one == "{\"has_position\":true,\"size\":1}" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    scene.wait_alert("foreign_writer");
    scene.wait_metric("trapline_foreign_writes_total", 1.0);
    let mut f =
        figures("foreign-writer", "Another program SETs current_position (legacy-json) while the daemon runs", 1);
    let foreign = Instant::now();
    let before = scene.metric("trapline_foreign_writes_total");
    scene.server.run(&["SET", "current_position", "{\"has_position\":true,\"size\":99}"]);
    scene.wait_metric("trapline_foreign_writes_total", before + 1.0);
    f.detection_ms.push(ms(foreign));
    let text: String = scene.server.eyes().get("current_position").expect("there");
    assert!(text.contains("\"stale_reason\"") && !text.contains("\"size\":99"), "the true value stands again: {text}");
    f.recovery_ms.push(ms(foreign));
    scene.log_says(&["foreign writer", "current_position"]);
    // A foreign type is never replaced either.
    scene.server.run(&["DEL", "active_position"]);
    scene.server.run(&["LPUSH", "active_position", "x"]);
    wait_for("put aside", || match scene.server.run(&["KEYS", "legacy:active_position:*"]) {
        redis::Value::Array(found) if found.len() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // A price feed that somebody forgot to stop.
    let before = scene.metric("trapline_foreign_writes_total");
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until && scene.metric("trapline_foreign_writes_total") <= before {
        scene.exchange.venue.pause();
        std::thread::sleep(Duration::from_millis(100));
        scene.server.run(&["SET", "last_btc_price", "1"]);
        std::thread::sleep(Duration::from_millis(1_500));
        scene.exchange.venue.resume();
    }
    assert!(scene.metric("trapline_foreign_writes_total") > before, "a foreign price is noticed");
    f.survived = 1;
    f.publish();
}
