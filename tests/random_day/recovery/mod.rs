//! How fast things recover, each fault alone and often: a room in this process, and the whole daemon with an exchange
//! that sends a thousand frames a second, so that what is measured is the recovery and not the wait for news.

mod bench;
mod leaks;

use crate::quantile::quantile;
use crate::rooms::{self, Arrived, Doom, Job, card, relay, send};
use crate::scene::signal;
use crate::support::figures::Figures;
use crate::support::{PATIENCE, wait_for};
use bench::{Bench, KEY, ON_THE_WAY, ms, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Adds to `more` and publishes; the renderer compares with the target.
fn publish(row: &'static str, fault: &'static str, times: &[f64], detection: &[f64], more: &[(&'static str, Value)]) {
    let n = times.len() as u64;
    println!(
        "{row}: {fault}: {n} times, p50 {:.2} p99 {:.2} max {:.2}",
        quantile(times, 0.5),
        quantile(times, 0.99),
        quantile(times, 1.0)
    );
    Figures {
        row,
        fault,
        injected: n,
        detected: n,
        survived: n,
        detection_ms: detection.to_vec(),
        recovery_ms: times.to_vec(),
        more: more.iter().cloned().collect(),
        ..Figures::default()
    }
    .publish();
}

/// `times`: how often each is repeated.
pub fn run(times: usize) {
    rooms_in_process(times);
    let mut bench = Bench::start();
    bench.first_panics(times);
    bench.panics_again(times);
    bench.hangs(times.div_ceil(10));
    bench.siblings();
    bench.stops();
    bench.exchange_closes(times.div_ceil(5));
    bench.exchange_half_open(times.div_ceil(40));
    bench.redis_half_open(times.div_ceil(5));
    bench.redis_back(times.div_ceil(4));
    bench.kills(times.div_ceil(4));
    drop(bench);
    leaks::leaks(times);
}

/// Panic and hang of one room among idle ones, to the next message handled.
fn rooms_in_process(times: usize) {
    let (panics, hangs) = actix::System::new().block_on(in_process(times));
    publish("recovery-panic", "a handler panics: to the next message handled", &panics, &[], &[]);
    let deadline_ms = HANG_DEADLINE.as_secs_f64() * 1_000.0;
    let ratios: Vec<f64> = hangs.iter().map(|ms| ms / deadline_ms).collect();
    let more = [
        ("deadline ms", json!(deadline_ms)),
        ("multiple of the deadline p50", json!(round(quantile(&ratios, 0.5)))),
        ("multiple of the deadline p99", json!(round(quantile(&ratios, 0.99)))),
        ("multiple of the deadline max", json!(round(quantile(&ratios, 1.0)))),
    ];
    publish("recovery-hang", "a handler blocks its thread: to the next message handled", &hangs, &[], &more);
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

const HANG_DEADLINE: Duration = Duration::from_millis(500);

async fn in_process(times: usize) -> (Vec<f64>, Vec<f64>) {
    let arrived = Arrived::default();
    let mut tree = rooms::tree(1);
    let group = rooms::group(&mut tree);
    let card = card("worker", HANG_DEADLINE);
    let port = tree.port(&card);
    tree.room(group, card, port.clone(), relay(0, None, &arrived));
    let running = tree.start();
    let (mut panics, mut hangs) = (Vec::new(), Vec::new());
    let repeat = [(times * 10, true), (times.div_ceil(4), false)];
    for (count, is_panic) in repeat {
        for n in 0..count as u64 {
            let doom = if is_panic { Doom::Panic } else { Doom::Hang(1_000) };
            let had = arrived.count();
            let begun = Instant::now();
            send(&port, Job { numbers: vec![n], doomed: Some((n, 0, doom)) });
            send(&port, Job::number(n));
            while arrived.count() == had {
                assert!(begun.elapsed() < PATIENCE, "not handled");
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            let at = arrived.newest_at().expect("it came");
            let span = at.saturating_duration_since(begun).as_secs_f64() * 1_000.0;
            if is_panic { panics.push(span) } else { hangs.push(span) }
        }
    }
    running.stop(&[group], Duration::from_secs(10)).await;
    (panics, hangs)
}

impl Bench {
    /// A panic in each room that a price passes through, to the first price in Redis that is younger than the panic.
    /// Each is the first of its room: after every room's turn the daemon is started anew.
    fn first_panics(&mut self, times: usize) {
        let (mut spans, mut rooms) = (Vec::new(), BTreeMap::<&str, Vec<f64>>::new());
        for n in 0..times {
            let room = ON_THE_WAY[n % ON_THE_WAY.len()];
            if n > 0 && n % ON_THE_WAY.len() == 0 {
                assert_eq!(self.daemon.stop(), 0);
                self.daemon.start_again(&self.options);
                self.wait_ready();
                // What a process does in its first moments is not what is measured.
                std::thread::sleep(Duration::from_secs(1));
            }
            let span = self.die(&mut self.eyes(), room);
            spans.push(span);
            rooms.entry(room).or_default().push(span);
            std::thread::sleep(Duration::from_millis(50));
        }
        let fault = "a room of the daemon panics: to a younger price in Redis";
        let p50: BTreeMap<&str, f64> = rooms.iter().map(|(room, ms)| (*room, round(quantile(ms, 0.5)))).collect();
        println!("{p50:?}");
        publish("recovery-panic-fresh", fault, &spans, &[], &[("p50 by room, ms", json!(p50))]);
    }

    /// The same rooms again and again: each waits out its backoff, which grows.
    fn panics_again(&self, times: usize) {
        let mut link = self.eyes();
        let room = |n: usize| ON_THE_WAY[n % ON_THE_WAY.len()];
        let spans: Vec<f64> = (0..times.div_ceil(2)).map(|n| self.die(&mut link, room(n))).collect();
        let fault = "the same rooms panic again and again, held back by their backoff: to a younger price in Redis";
        publish("recovery-panic-again", fault, &spans, &[], &[]);
    }

    fn hangs(&self, times: usize) {
        let mut link = self.eyes();
        let (mut spans, mut found) = (Vec::new(), Vec::new());
        for n in 0..times {
            let room = ON_THE_WAY[n % ON_THE_WAY.len()];
            let before = self.restarts();
            let begun = Instant::now();
            self.drill("hang", room, Some(5_000));
            until("it was replaced", || self.restarts()[room] > before[room]);
            found.push(ms(begun));
            let replaced_ms = crate::eyes::now_ms();
            self.fresh(&mut link, replaced_ms);
            spans.push(ms(begun));
            std::thread::sleep(Duration::from_millis(3_500));
        }
        let ratio = round(quantile(&found, 1.0) / 2_000.0);
        let more = [("deadline ms", json!(2_000)), ("replaced, multiple of the deadline max", json!(ratio))];
        publish(
            "recovery-hang-fresh",
            "a room of the daemon hangs: to a younger price in Redis",
            &spans,
            &found,
            &more,
        );
    }

    /// Prices written in a second: the sequence number counts each one accepted.
    fn writes(&self, link: &mut redis::Connection, span: Duration) -> f64 {
        let seq = |link: &mut redis::Connection| {
            let status = redis::cmd("HGET").arg(KEY).arg("seq").query::<Option<u64>>(link);
            // Above these bits is the number of the room's incarnation.
            status.ok().flatten().unwrap_or(0) & ((1 << 40) - 1)
        };
        let (first, begun) = (seq(link), Instant::now());
        std::thread::sleep(span);
        seq(link).saturating_sub(first) as f64 / begun.elapsed().as_secs_f64()
    }

    /// What the way of prices gets done while rooms beside it panic and hang, each once: a room that dies again and
    /// again with nothing to do is held back by its backoff, and would disturb nobody.
    fn siblings(&self) {
        let mut link = self.eyes();
        let span = Duration::from_secs(4);
        let beside = ["analyst", "ledger", "trap_recorder", "reconciler", "status"];
        let mut told = Vec::new();
        for (row, kind, hang_ms) in [("siblings-panic", "panic", None), ("siblings-hang", "hang", Some(3_000))] {
            let calm = self.writes(&mut link, span);
            let had: u64 = self.restarts().values().sum();
            let ratio = std::thread::scope(|scope| {
                scope.spawn(|| {
                    for room in beside {
                        std::thread::sleep(Duration::from_millis(300));
                        self.drill(kind, room, hang_ms);
                    }
                });
                self.writes(&mut link, span) / calm.max(1.0)
            });
            let deaths = || self.restarts().values().sum::<u64>() - had;
            until("all died", || deaths() >= beside.len() as u64);
            told.push(ratio);
            let fault = "five rooms beside the way of prices die: prices written, of those before";
            let n = beside.len() as u64;
            let others_ratio = Some(round(ratio));
            Figures { row, fault, injected: n, detected: n, survived: n, others_ratio, ..Figures::default() }.publish();
            // Threads that hang come back before the next figure is taken.
            std::thread::sleep(Duration::from_millis(3_500));
        }
        println!("siblings: {told:?}");
        self.wait_ready();
    }

    /// The whole process stands still: nobody may be called hung for it.
    fn stops(&self) {
        let deaths = || self.restarts().values().sum::<u64>();
        let before = deaths();
        let stops = [300, 700, 1_500, 2_600, 4_000, 200, 2_100, 900];
        for pause_ms in stops {
            signal(self.daemon.child.id(), "STOP");
            std::thread::sleep(Duration::from_millis(pause_ms));
            signal(self.daemon.child.id(), "CONT");
            std::thread::sleep(Duration::from_millis(400));
        }
        let false_verdicts = deaths() - before;
        println!("false hang verdicts: {false_verdicts}");
        let more = BTreeMap::from([("false hang verdicts", json!(false_verdicts))]);
        let n = stops.len() as u64;
        let fault = "SIGSTOP and SIGCONT of the whole process";
        Figures { row: "stops", fault, injected: n, detected: n, survived: n, more, ..Figures::default() }.publish();
        self.wait_ready();
    }

    /// Until every connection has been well for long enough that its end is a first failure again: what is measured is
    /// one close, not a backoff that grew over the closes before it.
    fn wait_steady(&self) {
        const STEADY_MS: i64 = 10_500;
        wait_for("steady connections", || {
            let told = self.exchange.control("clients");
            let rows: Vec<Value> = serde_json::from_str(&told).map_err(|e| format!("{e}: {told}"))?;
            let born = |row: &Value| row["since_ms"].as_i64().unwrap_or(i64::MAX);
            let limit_ms = crate::eyes::now_ms() - STEADY_MS;
            let kinds = [true, false].iter().all(|kind| rows.iter().any(|row| row["private"] == *kind));
            if kinds && rows.iter().all(|row| born(row) <= limit_ms) { Ok(()) } else { Err(told) }
        });
    }

    fn exchange_closes(&self, times: usize) {
        let mut link = self.eyes();
        let mut spans = Vec::new();
        for n in 0..times {
            self.wait_steady();
            let code = [1000, 1001, 1006, 1012, 0][n % 5];
            let begun = (Instant::now(), crate::eyes::now_ms());
            // Code 0: cut without a close frame.
            let code = if code == 1006 { 0 } else { code };
            self.exchange.control(&format!("close?code={code}"));
            self.fresh(&mut link, begun.1 + 5);
            spans.push(ms(begun.0));
        }
        let fault = "the exchange closes connections that were well for 10 s: to a younger price in Redis";
        publish("recovery-close", fault, &spans, &[], &[]);
    }

    fn exchange_half_open(&self, times: usize) {
        let mut link = self.eyes();
        let mut spans = Vec::new();
        for _ in 0..times {
            self.wait_steady();
            let begun = (Instant::now(), crate::eyes::now_ms());
            self.exchange_wire.hold();
            self.fresh(&mut link, begun.1 + 100);
            spans.push(ms(begun.0));
        }
        let fault = "the connections to the exchange are half-open: to a younger price in Redis";
        publish("recovery-half-open-exchange", fault, &spans, &[], &[]);
    }

    fn redis_half_open(&self, times: usize) {
        let mut link = self.eyes();
        let (mut spans, mut found) = (Vec::new(), Vec::new());
        for _ in 0..times {
            let begun = Instant::now();
            let had = self.redis_wire.connections();
            self.redis_wire.hold();
            until("another connection", || self.redis_wire.connections() > had);
            found.push(ms(begun));
            self.fresh(&mut link, crate::eyes::now_ms() - 100);
            spans.push(ms(begun));
            std::thread::sleep(Duration::from_millis(500));
        }
        println!("half-open redis found: p50 {:.0} max {:.0} ms", quantile(&found, 0.5), quantile(&found, 1.0));
        let fault = "the connection to Redis is half-open: to a younger price in Redis";
        publish("recovery-half-open-redis", fault, &spans, &found, &[]);
    }

    /// Killed, emptied, started: when the first key stands there again, and when all do.
    fn redis_back(&mut self, times: usize) {
        let all = self.keys();
        let (mut first, mut whole) = (Vec::new(), Vec::new());
        for n in 0..times {
            self.redis.kill();
            self.redis.forget();
            // Long enough for the backoff to have grown.
            std::thread::sleep(Duration::from_millis(200 + (n as u64 % 4) * 700));
            self.redis.raise();
            let begun = Instant::now();
            let mut link = self.eyes();
            let count = |link: &mut redis::Connection| redis::cmd("DBSIZE").query::<u64>(link).unwrap_or(0);
            until("a first key", || count(&mut link) > 0);
            first.push(ms(begun));
            until("all state keys", || {
                let mut command = redis::cmd("EXISTS");
                command.arg(&all).query::<usize>(&mut link).is_ok_and(|n| n == all.len())
            });
            whole.push(ms(begun));
            std::thread::sleep(Duration::from_millis(300));
        }
        let more = [("state keys", json!(all.len()))];
        publish("recovery-redis-first", "Redis is back, empty: to the first key", &first, &[], &more);
        publish("recovery-redis-all", "Redis is back, empty: to all state keys", &whole, &[], &more);
    }

    /// State keys that stand in Redis now; what events and windows leave is not state.
    fn keys(&self) -> Vec<String> {
        let mut link = self.eyes();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut link).expect("keys");
        let is_state = |key: &String| {
            key.contains("position")
                || key.contains("market_state")
                || key.ends_with(":health")
                || key.ends_with(":breaker")
                || key.starts_with("trapline:account")
                || key.starts_with("last_btc_p")
        };
        keys.into_iter().filter(is_state).collect()
    }

    /// SIGKILL, start, to a younger price.
    fn kills(&mut self, times: usize) {
        let mut spans = Vec::new();
        for _ in 0..times {
            self.daemon.signal("KILL");
            let _ = self.daemon.child.wait();
            let begun = (Instant::now(), crate::eyes::now_ms());
            self.daemon.start_again(&self.options);
            let mut link = self.eyes();
            self.fresh(&mut link, begun.1 + 1);
            spans.push(ms(begun.0));
            std::thread::sleep(Duration::from_millis(200));
        }
        publish("recovery-kill", "SIGKILL of the daemon, started again: to a younger price in Redis", &spans, &[], &[]);
    }
}
