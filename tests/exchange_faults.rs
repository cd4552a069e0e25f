//! Rows X1-X16 of the fault matrix that the exchange or the network between causes, on the whole daemon. In each the
//! picture is fresh again by itself, no room is restarted (a trouble outside is no death), no value goes back.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::proxy::Proxy;
use support::{Exchange, Options, World, wait_for};

/// The times of the protocol, short enough for a test.
fn hasty() -> Options {
    let exchange = "ping_ms = 500\npong_deadline_ms = 1000\nsilence_ms = 2000\nfirst_data_ms = 3000\nconnect_timeout_ms = 1500\nlogin_timeout_ms = 1500";
    Options { more: vec![("exchange", exchange.to_owned())], ..Options::default() }
}

struct Way {
    world: World,
    proxy: Proxy,
}

/// Exchange and daemon with the proxy between them, ready.
fn through_a_proxy() -> Way {
    let exchange = Exchange::start(Exchange::config());
    let redis = support::Redis::start();
    let proxy = Proxy::start(exchange.venue.addr().port());
    let daemon = support::Daemon::start(proxy.port(), &redis.server().url(), &hasty());
    daemon.wait_ready();
    Way { world: World { daemon, exchange, redis }, proxy }
}

fn state(world: &World, symbol: &str) -> BTreeMap<String, String> {
    world.redis.hash(&format!("trapline:{symbol}:market_state"))
}

fn order(hash: &BTreeMap<String, String>) -> (u64, u64) {
    let number = |field: &str| hash.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
    (number("epoch"), number("seq"))
}

/// Newer values of both symbols, unmarked; never an older one on the way. How long it took.
fn fresh_again(world: &World, what: &str) -> Duration {
    let begun = Instant::now();
    for symbol in ["BTCUSDT", "ETHUSDT"] {
        let mut newest = order(&state(world, symbol));
        let first = newest;
        wait_for(&format!("{what}: {symbol} is fresh"), || {
            let hash = state(world, symbol);
            let now = order(&hash);
            assert!(now >= newest, "{what}: {symbol} went back from {newest:?} to {now:?}");
            newest = now;
            if now > first && hash.get("stale").is_some_and(|stale| stale == "0") {
                Ok(())
            } else {
                Err(format!("{hash:?}"))
            }
        });
    }
    begun.elapsed()
}

/// I4 and I6: whatever is outside, nobody died of it, and everybody moves.
fn nobody_died(world: &World, what: &str) {
    let status = world.daemon.statusz();
    for room in status["rooms"].as_array().expect("rooms") {
        assert_eq!(room["restarts_total"], 0, "{what}: {room}");
    }
    assert_eq!(support::http_get(world.daemon.status_port, "/livez").0, 200, "{what}");
}

fn connects(world: &World) -> u64 {
    world.exchange.venue.stats().connects
}

fn reconnected(world: &World, what: &str, before: u64) {
    wait_for(&format!("{what}: a new connection"), || match connects(world) {
        now if now > before => Ok(()),
        now => Err(now.to_string()),
    });
}

#[test]
fn x1_closed_reset_or_cut_connections_come_back() {
    let way = through_a_proxy();
    let world = &way.world;
    for (what, fault) in [
        ("close 1000", "fault?name=close&ms=0&value=1000"),
        ("close 1006", "fault?name=kill&ms=0"),
        ("close 1012", "fault?name=close&ms=0&value=1012"),
    ] {
        let before = connects(world);
        world.exchange.control(fault);
        reconnected(world, what, before);
        println!("X1 {what}: fresh after {:?}", fresh_again(world, what));
    }
    let before = connects(world);
    way.proxy.cut();
    reconnected(world, "cut", before);
    fresh_again(world, "cut");
    nobody_died(world, "X1");
}

#[test]
fn x2_a_half_open_connection_is_found() {
    let way = through_a_proxy();
    let world = &way.world;
    let before = connects(world);
    let begun = Instant::now();
    way.proxy.stall();
    reconnected(world, "half open", before);
    fresh_again(world, "half open");
    println!("X2: found and fresh after {:?}", begun.elapsed());
    nobody_died(world, "X2");
}

#[test]
fn x4_x9_odd_frames_are_counted_and_harm_nobody() {
    let way = through_a_proxy();
    let world = &way.world;
    for name in ["huge_frame", "reorder_ts", "dup_trades", "wrong_types", "empty_numeric", "out_of_range"] {
        let before: u64 = refused(world);
        // A part of the frames only: mostly garbage is another row.
        world.exchange.control(&format!("fault?name={name}&ms=800&every=9&scope=public"));
        std::thread::sleep(Duration::from_millis(900));
        fresh_again(world, name);
        if matches!(name, "wrong_types" | "empty_numeric" | "out_of_range") {
            wait_for(&format!("{name} is counted"), || match refused(world) {
                now if now > before => Ok(()),
                now => Err(now.to_string()),
            });
        }
    }
    nobody_died(world, "X4, X9");
}

fn refused(world: &World) -> u64 {
    let status = world.daemon.statusz();
    status["refused"].as_object().map_or(0, |counts| counts.values().filter_map(serde_json::Value::as_u64).sum())
}

#[test]
fn x5_one_byte_at_a_time_is_the_same_picture() {
    let way = through_a_proxy();
    let world = &way.world;
    let before = connects(world);
    way.proxy.trickle(true);
    for _ in 0..3 {
        fresh_again(world, "trickle");
    }
    assert_eq!(connects(world), before, "slow is not broken: the connections are kept");
    way.proxy.trickle(false);
    way.proxy.delay(60);
    fresh_again(world, "delay");
    way.proxy.delay(0);
    nobody_died(world, "X5");
}

#[test]
fn x7_a_handshake_that_never_comes_is_given_up_and_tried_again() {
    let way = through_a_proxy();
    let world = &way.world;
    way.proxy.mute(true);
    way.proxy.cut();
    let mute = way.proxy.connections();
    wait_for("it tries more than once", || match way.proxy.connections() {
        now if now >= mute + 2 => Ok(()),
        now => Err(now.to_string()),
    });
    let hash = world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |stale| stale == "1");
    assert!(hash.contains_key("price"), "the last value stays, marked: {hash:?}");
    assert_eq!(support::http_get(world.daemon.status_port, "/readyz").0, 503);
    way.proxy.mute(false);
    fresh_again(world, "the handshake comes again");
    nobody_died(world, "X7");
}

#[test]
fn x11_the_daily_disconnect_is_no_news() {
    let way = through_a_proxy();
    let world = &way.world;
    for _ in 0..3 {
        let before = connects(world);
        world.exchange.fault("daily_disconnect", 0);
        reconnected(world, "daily disconnect", before);
        fresh_again(world, "daily disconnect");
    }
    world.daemon.wait_ready();
    nobody_died(world, "X11");
}

#[test]
fn x12_a_subscription_that_fell_silent_is_found_although_pongs_come() {
    let way = through_a_proxy();
    let world = &way.world;
    world.exchange.control("fault?name=freeze_channel&ms=6000&scope=public");
    wait_for("the silence is marked in the key", || {
        let hash = state(world, "BTCUSDT");
        if hash.get("stale").is_some_and(|stale| stale == "1") { Ok(()) } else { Err(format!("{hash:?}")) }
    });
    fresh_again(world, "the channel speaks again");
    nobody_died(world, "X12");
}

#[test]
fn x8_a_clock_that_is_off_is_corrected_and_nothing_is_refused_for_it() {
    let way = through_a_proxy();
    let world = &way.world;
    for skew in ["60000", "-60000"] {
        world.exchange.control(&format!("fault?name=clock_skew_ms&ms=4000&value={skew}"));
        // New connections have to log in by the exchange's clock.
        world.exchange.fault("close", 0);
        std::thread::sleep(Duration::from_millis(4_500));
        fresh_again(world, skew);
        world.daemon.wait_ready();
    }
    nobody_died(world, "X8");
}

/// A refusal of everything at once, as a fault of the exchange may say it, is remembered for a quarter of an hour and
/// not asked again on the open connection: the picture stays stale until then, marked and alerted.
#[test]
fn x13_refused_subscriptions_are_tried_again() {
    let way = through_a_proxy();
    let world = &way.world;
    world.exchange.control("fault?name=subscribe_30001&ms=2500");
    let before = connects(world);
    world.exchange.fault("close", 0);
    reconnected(world, "30001", before);
    fresh_again(world, "after refused subscriptions");
    world.daemon.wait_ready();
    nobody_died(world, "X13");
}
