//! What the guarantees cost: state writes with and without a guard, Redis' work per write, the spool's commits, disk per
//! event. Small by default, so that the code is run; `TRAPLINE_COST=1` for figures worth publishing, in release.

use crate::bench::*;
use crate::figures::Figures;
use std::time::{Duration, Instant};
use trapline::clock::Clock;
use trapline::store::board::Board;
use trapline::store::cluster::door::{Known, Limits};
use trapline::store::desk::Desk;
use trapline::store::encode::market::{MIRRORS, MarketExtra, market_full};
use trapline::store::encode::{Layout, Settings};
use trapline::store::guard::{TakeOver, take_over};
use trapline::store::lines::Lines;
use trapline::store::link::{Link, Target};
use trapline::store::resp::Commands;
use trapline::store::spool::SpoolSettings;
use trapline::store::tag::Tag;

/// What a compare-and-set per write would send: the newer exchange time wins.
const SCRIPT: &str = "local t = redis.call('HGET', KEYS[1], 'exchange_time')
if t and tonumber(t) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1";

const PIPELINE: u64 = 16;

fn is_long() -> bool {
    std::env::var_os("TRAPLINE_COST").is_some_and(|v| v == "1")
}

/// Seconds of processor that the server has used.
fn redis_cpu(server: &Server) -> f64 {
    let info: String = redis::cmd("INFO").arg("cpu").query(&mut server.eyes()).expect("info");
    let field = |name: &str| info.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap_or(0.0);
    field("used_cpu_sys:") + field("used_cpu_user:")
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Bare,
    Connection,
    Script,
}

/// Writes a second, and microseconds of Redis per write.
fn writes(way: Way, count: u64) -> (f64, f64) {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let symbols = std::sync::Arc::new(trapline::domain::symbol::Symbols::usdt(["BTCUSDT"]));
    let layout = Layout::new(symbols, Settings::default());
    runtime.block_on(async {
        let limit = Duration::from_secs(5);
        let mut link =
            Lines::open(&Target::unix(server.socket()), &mut Known::default(), Limits { connect: limit, reply: limit })
                .await
                .expect("redis");
        if matches!(way, Way::Connection) {
            take_over(&mut link, "main", None, TakeOver::Take, 1_700_000_000_000).await.expect("taken");
        }
        let sha = match link.call(&["SCRIPT", "LOAD", SCRIPT]).await.expect("loaded") {
            redis::Value::BulkString(sha) => String::from_utf8(sha).expect("text"),
            other => panic!("{other:?}"),
        };
        let (cpu, from) = (redis_cpu(&server), Instant::now());
        let mut seq = 0;
        while seq < count {
            let mut out = Commands::new();
            for _ in 0..PIPELINE {
                seq += 1;
                let p = picture(seq);
                if matches!(way, Way::Script) {
                    let mut words: Vec<String> = vec!["EVALSHA".into(), sha.clone(), "1".into(), "k".into()];
                    words.push(p.exchange_time_ms.to_string());
                    for i in 0..25 {
                        words.push(format!("field_{i}"));
                        words.push(if i == 0 { p.exchange_time_ms.to_string() } else { p.price.to_string() });
                    }
                    words[5] = "exchange_time".into();
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    out.words(Tag::Control, &words);
                } else {
                    market_full(&mut out, &layout, &p, &MarketExtra::default());
                }
            }
            link.exchange(&mut out).await.expect("answered");
        }
        let seconds = from.elapsed().as_secs_f64();
        (count as f64 / seconds, (redis_cpu(&server) - cpu) * 1e6 / count as f64)
    })
}

/// Microseconds of Redis for the four mirrors of one price, by one MSET or by `SET … GET` each, which tells a foreign type.
fn mirrors(count: u64, by_mset: bool) -> f64 {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let limit = Duration::from_secs(5);
        let mut link = Link::open(&Target::unix(server.socket()), limit, limit).await.expect("redis");
        let cpu = redis_cpu(&server);
        for round in 0..count / PIPELINE {
            let mut out = Commands::new();
            for n in 0..PIPELINE {
                let value = format!("6{:07}.10", (round * PIPELINE + n) % 10_000_000);
                if by_mset {
                    let words: Vec<&str> =
                        ["MSET"].into_iter().chain(MIRRORS.iter().flat_map(|key| [*key, &value])).collect();
                    out.words(Tag::Control, &words);
                } else {
                    MIRRORS.iter().for_each(|key| out.set(Tag::Control, key, &value, None));
                }
            }
            link.exchange(&mut out).await.expect("answered");
        }
        (redis_cpu(&server) - cpu) * 1e6 / count as f64
    })
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

#[test]
fn what_the_guarantees_cost() {
    if skip() {
        return;
    }
    let (count, commits, events) = if is_long() { (400_000, 1_500, 200_000) } else { (800, 40, 1_000) };
    let round = |x: f64| (x * 100.0).round() / 100.0;
    let mut f = Figures { row: "redis-cost", fault: "no fault: what the guarantees cost", ..Figures::default() };
    for (way, rate, cpu) in [
        (Way::Bare, "state_writes_per_s_without_guard", "redis_cpu_us_per_write_without_guard"),
        (Way::Connection, "state_writes_per_s_guarded_connection", "redis_cpu_us_per_write_guarded_connection"),
        (Way::Script, "state_writes_per_s_guarded_by_script", "redis_cpu_us_per_write_guarded_by_script"),
    ] {
        let (per_s, us) = writes(way, count);
        assert!(per_s > 0.0);
        f.more.insert(rate, per_s.round().into());
        f.more.insert(cpu, round(us).into());
    }

    for (by_mset, cpu) in [(true, "redis_cpu_us_per_price_mirrors_by_mset"), (false, "redis_cpu_us_per_price_mirrors")]
    {
        f.more.insert(cpu, round(mirrors(count, by_mset)).into());
    }

    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("spool.redb");
    let symbols = std::sync::Arc::new(trapline::domain::symbol::Symbols::usdt(["BTCUSDT"]));
    let layout = Layout::new(symbols, Settings::default());
    let spool = SpoolSettings { file: Some(file.clone()), ..SpoolSettings::default() };
    let desk = Desk::open(layout.clone(), Board::new(1), true, spool, Clock::system());
    let offer = |n: u64| {
        let mut outbox = desk.outbox();
        outbox.accept(&layout, &trapline::domain::event::Event::Trap(trap(n)));
    };
    let mut waits = Vec::new();
    let from = Instant::now();
    for n in 1..=commits {
        let began = Instant::now();
        offer(n);
        while desk.spool().safe() < n {
            std::thread::yield_now();
        }
        waits.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let per_s = commits as f64 / from.elapsed().as_secs_f64();
    waits.sort_by(f64::total_cmp);
    f.more.insert("spool_commits_per_s_one_event_each", per_s.round().into());
    f.more.insert("spool_commit_p50_ms", round(percentile(&waits, 0.5)).into());
    f.more.insert("spool_commit_p99_ms", round(percentile(&waits, 0.99)).into());
    let from = Instant::now();
    for n in commits + 1..=commits + events {
        // No more on the way than the spool's thread has room for.
        while n > desk.spool().safe() + 2_000 {
            std::thread::sleep(Duration::from_micros(200));
        }
        offer(n);
    }
    wait_for("all are on disk", || desk.spool().safe() == commits + events);
    f.more.insert("spool_events_per_s_grouped", (events as f64 / from.elapsed().as_secs_f64()).round().into());
    let bytes = std::fs::metadata(&file).expect("there").len() as f64;
    f.more
        .insert("disk_mib_per_million_events", (bytes / (commits + events) as f64 * 1e6 / 1_048_576.0).round().into());
    f.events = commits + events;
    f.publish();
}
