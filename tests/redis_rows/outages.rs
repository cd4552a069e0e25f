//! Redis is away, still, empty or slow: R1 to R5, R11, R14.

use crate::scene::{ETH, Scene, figures, is_long, more, ms, options};
use crate::server::{Server, skip};
use crate::support::relay::{Place, Relay};
use crate::support::{free_port, http_get, wait_for};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Others are not slowed down: on a machine that does more than this test they never keep their pace to the percent.
const OTHERS_LEAST: f64 = 0.3;

#[test]
fn r01_redis_killed_comes_back_complete() {
    if skip() {
        return;
    }
    let mut scene = Scene::ready();
    let mut f = figures("R1", "Redis killed (SIGKILL) and started again, append-only file kept", 0);
    let before_rate = scene.others_rate(Duration::from_millis(700));
    let outages: &[u64] = if is_long() { &[100, 2_000, 60_000] } else { &[100, 2_000] };
    let (mut first_ms, mut all_ms) = (Vec::new(), Vec::new());
    for outage in outages {
        scene.trade(5);
        scene.mark();
        let killed = Instant::now();
        scene.server.kill();
        f.detection_ms.push(scene.wait_noticed(killed));
        scene.trade(5);
        if *outage >= 2_000 {
            let during = scene.others_rate(Duration::from_millis(700));
            f.others_ratio = Some(during / before_rate);
            scene.wait_metric("trapline_redis_unavailable_seconds", 0.5);
        }
        std::thread::sleep(Duration::from_millis(*outage).saturating_sub(killed.elapsed()));
        scene.server.up();
        let (first, all) = scene.recovered(Instant::now());
        first_ms.push(first);
        all_ms.push(all);
        f.injected += 1;
    }
    f.detected = f.injected;
    assert!(f.others_ratio > Some(OTHERS_LEAST), "the other rooms go on: {:?}", f.others_ratio);
    scene.wait_metric("trapline_redis_reconnects_total", f.injected as f64);
    assert_eq!(scene.metric("trapline_redis_unavailable_seconds"), 0.0);
    f.more = more([("longest_outage_ms", outages.iter().copied().max().unwrap_or(0) as f64)]);
    f.more.insert("first_write_ms", first_ms.into());
    f.recovery_ms = all_ms;
    scene.check(f);
}

#[test]
fn r02_a_stopped_redis_is_left_and_late_writes_do_no_harm() {
    if skip() {
        return;
    }
    let mut scene = Scene::ready();
    let mut f = figures("R2", "Redis stopped (SIGSTOP), then continued", 1);
    scene.trade(5);
    scene.mark();
    let stopped = Instant::now();
    scene.server.signal(Signal::STOP);
    f.detection_ms.push(scene.wait_noticed(stopped));
    scene.trade(5);
    let length = Duration::from_secs(if is_long() { 30 } else { 3 });
    std::thread::sleep(length.saturating_sub(stopped.elapsed()));
    scene.server.signal(Signal::CONT);
    let (first, all) = scene.recovered(Instant::now());
    f.recovery_ms.push(all);
    f.more = more([("first_write_ms", first), ("stopped_ms", length.as_millis() as f64)]);
    scene.wait_metric("trapline_redis_unknown_outcome_total", 1.0);
    scene.wait_metric("trapline_redis_errors_total{code=\"timeout\"}", 2.0);
    scene.check(f);
}

/// Redis behind a relay, and everything there.
fn behind_a_relay() -> (Relay, Scene) {
    let port = free_port();
    let server = Server::start(&["--port", &port.to_string()]);
    let proxy = Relay::start(Place::Port(port));
    let scene = Scene::at(server, &format!("redis://127.0.0.1:{}", proxy.port()), &options(&[]));
    scene.wait_whole();
    (proxy, scene)
}

#[test]
fn r03_a_half_open_connection_is_left_for_a_new_one() {
    if skip() {
        return;
    }
    let (proxy, mut scene) = behind_a_relay();
    let mut f = figures("R3", "Connection half-open: a proxy holds it and pumps no more", 3);
    let mut first_ms = Vec::new();
    for round in 1..=f.injected {
        scene.trade(5);
        scene.mark();
        let stalled = Instant::now();
        proxy.hold();
        wait_for("given up", || match scene.count("half_open_total") {
            n if n >= round => Ok(()),
            n => Err(n.to_string()),
        });
        f.detection_ms.push(ms(stalled));
        scene.trade(5);
        let (first, all) = scene.recovered(stalled);
        first_ms.push(first);
        f.recovery_ms.push(all);
    }
    f.more.insert("first_write_ms", first_ms.into());
    scene.wait_metric("trapline_redis_half_open_total", f.injected as f64);
    assert!(scene.daemon.statusz()["redis"]["link"] == "up");
    scene.check(f);
}

/// Redis loses something while the daemon lives; what it lost is written again.
fn lost(row: &'static str, fault: &'static str, lose: impl Fn(&mut Server)) {
    let mut scene = Scene::ready();
    let mut f = figures(row, fault, 1);
    scene.trade(40);
    scene.events_are_whole();
    scene.mark();
    let killed = Instant::now();
    scene.server.kill();
    f.detection_ms.push(scene.wait_noticed(killed));
    lose(&mut scene.server);
    scene.server.up();
    let up = Instant::now();
    let (first, all) = scene.recovered(up);
    f.recovery_ms.push(all);
    scene.events_are_whole();
    let events_ms = ms(up);
    scene.wait_metric("trapline_cursor_rewind_events_total", 1.0);
    let again = scene.metric("trapline_cursor_rewind_events_total");
    f.more = more([("first_write_ms", first), ("events_sent_again", again), ("all_events_ms", events_ms)]);
    scene.trade(5);
    scene.check(f);
}

#[test]
fn r04_a_redis_that_comes_back_empty_is_filled() {
    if skip() {
        return;
    }
    lost("R4", "Redis killed, its data deleted, started again", |server| server.forget_everything());
}

#[test]
fn r05_a_redis_that_lost_its_tail_gets_it_again() {
    if skip() {
        return;
    }
    lost("R5", "Redis killed and 20 kB of its append-only file cut off, as a power loss does", |server| {
        server.cut_tail(20_000);
    });
}

#[test]
fn r11_a_loading_redis_is_waited_for_and_not_ready_is_said() {
    if skip() {
        return;
    }
    let mut scene = Scene::ready();
    let mut f = figures("R11", "Redis loads for seconds after its start (key-load-delay)", 1);
    scene.trade(5);
    // Redis looks at its sockets once in 1024 commands while it loads.
    for part in 0..20 {
        let mut fill = redis::pipe();
        (0..2_000).for_each(|i| {
            fill.set(format!("ballast:{part}:{i}"), i).ignore();
        });
        let _: () = fill.query(&mut scene.server.eyes()).expect("ballast");
    }
    scene.events_are_whole();
    scene.mark();
    let killed = Instant::now();
    scene.server.kill();
    scene.server.set_args(&["--key-load-delay", "100"]);
    scene.server.launch();
    f.detection_ms.push(scene.wait_noticed(killed));
    scene.trade(5);
    wait_for("loading is seen", || match scene.metric("trapline_redis_errors_total{code=\"loading\"}") {
        n if n >= 1.0 => Ok(()),
        n => Err(format!("{n}, link {}", scene.link())),
    });
    // Between two tries it connects.
    wait_for("it is refused", || match scene.link().as_str() {
        "refused" => Ok(()),
        link => Err(link.to_owned()),
    });
    scene.says_unavailable();
    assert_eq!(http_get(scene.daemon.status_port, "/livez").0, 200, "alive while Redis loads");
    wait_for("loaded", || match scene.server.try_eyes().map(|mut c| redis::cmd("PING").query::<String>(&mut c)) {
        Some(Ok(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let up = Instant::now();
    let (first, all) = scene.recovered(up);
    f.recovery_ms.push(all);
    f.more = more([("first_write_ms", first), ("loaded_after_ms", ms(killed))]);
    scene.check(f);
}

#[test]
fn r14_a_slow_redis_is_conflated_and_slows_nobody() {
    if skip() {
        return;
    }
    let (proxy, mut scene) = behind_a_relay();
    let mut f = figures("R14", "Redis answers 50 to 400 ms late (proxy delay)", 3);
    let share = |scene: &Scene| {
        let (conflated, writes) = (scene.count("conflated_total"), scene.count("state_flushes_total"));
        std::thread::sleep(Duration::from_secs(1));
        let (conflated, writes) =
            (scene.count("conflated_total") - conflated, scene.count("state_flushes_total") - writes);
        conflated as f64 / (writes.max(1)) as f64
    };
    let (usual, rate, connects) =
        (share(&scene), scene.others_rate(Duration::from_secs(1)), scene.count("connects_total"));
    let mut lags = Vec::new();
    // Each way, so that an answer takes twice as long.
    for delay in [25, 100, 200] {
        proxy.delay(delay);
        let slowed = Instant::now();
        scene.trade(3);
        wait_for("it is slow", || match scene.metric("trapline_write_lag_seconds") {
            lag if lag >= 0.002 * delay as f64 * 0.9 => Ok(()),
            lag => Err(format!("lag {lag} s")),
        });
        f.detection_ms.push(ms(slowed));
        lags.push(scene.metric("trapline_write_lag_seconds"));
        scene.goes_on(ETH);
    }
    let (slow, during) = (share(&scene), scene.others_rate(Duration::from_secs(1)));
    f.others_ratio = Some(during / rate);
    assert!(slow > usual, "conflated per flush: {usual} -> {slow}");
    assert!(during / rate > OTHERS_LEAST, "the other rooms go on: {rate} -> {during}");
    assert_eq!(scene.count("connects_total"), connects, "slow is not dead");
    let depth = scene.daemon.room("redis_writer")["depth"].as_u64();
    assert!(depth < Some(128), "no queue grows: {depth:?}");
    proxy.delay(0);
    let healed = Instant::now();
    wait_for("quick again", || match scene.metric("trapline_write_lag_seconds") {
        lag if lag < 0.1 => Ok(()),
        lag => Err(format!("lag {lag} s")),
    });
    f.recovery_ms.push(ms(healed));
    f.more = more([("conflated_per_flush", usual), ("conflated_per_flush_slow", slow)]);
    f.more.insert("write_lag_s_at_50_200_400_ms", lags.into());
    scene.check(f);
}
