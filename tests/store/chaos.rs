//! Random kills of Redis and of the daemon: no event lost, doubled or out of order, no state that goes back.

use crate::bench::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn run(seed: u64, events: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = Server::start(&[]);
    let file = server.folder().join("spool.redb");
    let start = |server: &Server| {
        let mut setup = Setup::at(&server.socket()).spool(&file);
        setup.settings.seed = seed;
        setup.start()
    };
    let mut daemon = start(&server);
    let watching = Arc::new(AtomicBool::new(true));
    let watcher = watch(&server, Arc::clone(&watching));
    let mut sent = 0;
    while sent < events {
        for _ in 0..rng.random_range(5..60) {
            if sent < events {
                sent += 1;
                daemon.event(sent);
                daemon.price(sent);
            }
        }
        match rng.random_range(0..10) {
            0 => {
                server.kill();
                server.up();
            }
            1 => {
                server.kill();
                server.cut_tail(rng.random_range(1..20_000));
                server.up();
            }
            2 | 3 => {
                // What was not in the spool yet was never promised: the detector finds it again after the restart.
                daemon.crash();
                daemon = start(&server);
                let safe = daemon.desk.outbox().last_seq();
                (safe + 1..=sent).for_each(|n| daemon.event(n));
            }
            4 => {
                server.signal(rustix::process::Signal::STOP);
                std::thread::sleep(std::time::Duration::from_millis(rng.random_range(50..1_300)));
                server.signal(rustix::process::Signal::CONT);
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(rng.random_range(0..30))),
        }
    }
    daemon.price(events + 1);
    daemon.wait_written(events + 1);
    daemon.wait_settled();
    watching.store(false, SeqCst);
    let regressions = watcher.join().unwrap();
    assert_exactly_once(&server, events, &format!("seed {seed}"));
    assert_eq!(server.field("trapline:BTCUSDT:market_state", "seq"), Some((events + 1).to_string()), "seed {seed}");
    assert_eq!(regressions, Vec::<String>::new(), "seed {seed}");
}

/// Reads the state again and again; a value below one seen before, in the same life of Redis' data, is a regression.
fn watch(server: &Server, watching: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<String>> {
    let url = format!("unix:{}", server.socket().display());
    std::thread::spawn(move || {
        let mut regressions = Vec::new();
        while watching.load(SeqCst) {
            let Some(mut eyes) = redis::Client::open(url.as_str()).ok().and_then(|c| c.get_connection().ok()) else {
                std::thread::sleep(std::time::Duration::from_millis(5));
                continue;
            };
            let _ = eyes.set_read_timeout(Some(std::time::Duration::from_secs(5)));
            // A killed Redis with a cut tail comes back older by itself, so each connection starts afresh.
            let mut highest = 0_i64;
            while watching.load(SeqCst) {
                let time: redis::RedisResult<Option<i64>> =
                    redis::cmd("HGET").arg("trapline:BTCUSDT:market_state").arg("exchange_time").query(&mut eyes);
                match time {
                    Ok(Some(time)) if time < highest => {
                        regressions.push(format!("{highest} -> {time}"));
                        highest = time;
                    }
                    Ok(Some(time)) => highest = time,
                    Ok(None) => {}
                    Err(_) => break,
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        regressions
    })
}

#[test]
fn random_kills_lose_and_double_nothing() {
    if skip() {
        return;
    }
    let seeds = std::env::var("TRAPLINE_CHAOS_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let events = std::env::var("TRAPLINE_CHAOS_EVENTS").ok().and_then(|s| s.parse().ok()).unwrap_or(800);
    for seed in 1..=seeds {
        println!("seed {seed}");
        run(seed, events);
    }
}
