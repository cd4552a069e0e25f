//! What the demo promises, checked against the exchange and Redis themselves: each symbol's newest accepted value is
//! what Redis holds, the account is as the exchange has it, every event is there once, nothing is stale.

use super::market::DemoMarket;
use crate::domain::position::HoldSide;
use crate::store::board::LinkState;
use crate::topology::Daemon;
use rust_decimal::Decimal;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) violations: Vec<String>,
    pub(super) events_in_redis: u64,
    pub(super) keys: u64,
}

/// Waits until everything accepted is written, then compares.
pub(super) async fn verify(daemon: &Daemon, market: &DemoMarket, redis_url: &str, settle: Duration) -> Verdict {
    let deadline = Instant::now() + settle;
    let mut verdict = Verdict::default();
    // Once the exchange is quiet the last values are on their way; the comparison itself says whether they came.
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let settled = is_settled(daemon);
        let late = Instant::now() >= deadline;
        if settled || late {
            verdict.violations.clear();
            match compare(daemon, market, redis_url, &mut verdict) {
                Ok(()) if verdict.violations.is_empty() || late => break,
                Ok(()) => {}
                Err(e) => {
                    verdict.violations.push(format!("redis cannot be read: {e}"));
                    break;
                }
            }
        }
    }
    verdict
}

fn is_settled(daemon: &Daemon) -> bool {
    let written = daemon.symbols.ids().all(|s| {
        let cell = daemon.board.market(s).read();
        cell.accepted_seq == cell.written_seq
    });
    written && daemon.board.counts.events_pending.load(Relaxed) == 0
}

fn compare(daemon: &Daemon, market: &DemoMarket, redis_url: &str, verdict: &mut Verdict) -> redis::RedisResult<()> {
    let mut link = redis::Client::open(redis_url)?.get_connection_with_timeout(Duration::from_secs(2))?;
    if daemon.board.link() != LinkState::Up {
        verdict.violations.push(format!("the writer's link to redis is {}", daemon.board.link().label()));
    }
    let truth: BTreeMap<String, _> = market.truth().into_iter().map(|t| (t.symbol.clone(), t)).collect();
    for (id, symbol) in daemon.symbols.iter() {
        let name = &symbol.name;
        let key = format!("trapline:{name}:market_state");
        let state: BTreeMap<String, String> = redis::cmd("HGETALL").arg(&key).query(&mut link)?;
        let field = |f: &str| state.get(f).map_or("", String::as_str);
        let cell = daemon.board.market(id).read();
        if field("seq") != cell.accepted_seq.to_string() {
            verdict.violations.push(format!("{key}: seq {:?}, accepted {}", field("seq"), cell.accepted_seq));
        }
        if field("stale") != "0" {
            verdict.violations.push(format!("{key} is stale: {}", field("stale_reason")));
        }
        if let Some(t) = truth.get(name) {
            let newest = if t.trade_ms > t.ticker_ms { t.trade_price } else { t.ticker_last };
            let price = field("price").parse::<Decimal>().unwrap_or_default();
            // A trade and a ticker of the same millisecond may differ; either is the newest.
            if price != newest && !(t.trade_ms == t.ticker_ms && price == t.trade_price) {
                verdict.violations.push(format!("{key}: price {price}, the exchange's newest is {newest}"));
            }
        }
    }
    positions(daemon, market, &mut link, verdict)?;
    events(daemon, &mut link, verdict)?;
    verdict.keys = redis::cmd("DBSIZE").query(&mut link)?;
    Ok(())
}

fn positions(
    daemon: &Daemon,
    market: &DemoMarket,
    link: &mut redis::Connection,
    verdict: &mut Verdict,
) -> redis::RedisResult<()> {
    let open: BTreeMap<(String, HoldSide), Decimal> =
        market.positions().into_iter().map(|p| ((p.symbol.clone(), p.side), p.size)).collect();
    for (_, symbol) in daemon.symbols.iter() {
        for side in HoldSide::BOTH {
            let key = format!("trapline:{}:position:{}", symbol.name, side.label());
            let state: BTreeMap<String, String> = redis::cmd("HGETALL").arg(&key).query(link)?;
            let field = |f: &str| state.get(f).map_or("", String::as_str);
            let expected = open.get(&(symbol.name.clone(), side)).copied().unwrap_or_default();
            match field("size").parse::<Decimal>() {
                Ok(size) if size == expected => {}
                _ => verdict.violations.push(format!("{key}: size {:?}, the account holds {expected}", field("size"))),
            }
            if field("stale") != "0" {
                verdict.violations.push(format!("{key} is stale: {}", field("stale_reason")));
            }
        }
    }
    Ok(())
}

/// Every event once, in order, in its stream.
fn events(daemon: &Daemon, link: &mut redis::Connection, verdict: &mut Verdict) -> redis::RedisResult<()> {
    let names = daemon.symbols.iter().map(|(_, s)| format!("trapline:{}:events", s.name));
    let mut count = 0_u64;
    for stream in names.chain(["trapline:alerts".to_owned()]) {
        let reply: redis::streams::StreamRangeReply =
            redis::cmd("XRANGE").arg(&stream).arg("-").arg("+").query(link)?;
        let mut seen = HashSet::new();
        for entry in &reply.ids {
            let id: String = entry.get("id").unwrap_or_else(|| entry.id.clone());
            if !seen.insert(id.clone()) {
                verdict.violations.push(format!("{stream}: event {id} stands twice"));
            }
        }
        count += reply.ids.len() as u64;
    }
    verdict.events_in_redis = count;
    let accepted = daemon.board.counts.events_accepted_total.load(Relaxed)
        - daemon.board.counts.events_duplicate_total.load(Relaxed);
    if count < accepted {
        verdict.violations.push(format!("{accepted} events were accepted, {count} stand in redis"));
    }
    Ok(())
}
