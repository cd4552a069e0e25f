//! What a person sees: one calm line a second, and a summary.

use super::market::DemoMarket;
use super::verify::Verdict;
use crate::domain::position::HoldSide;
use crate::topology::Daemon;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

pub(super) struct View<'a> {
    daemon: &'a Daemon,
    link: Option<redis::aio::MultiplexedConnection>,
    url: String,
    shown: bool,
    started: Instant,
    frames: u64,
    told_status: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(daemon: &'a Daemon, url: &str, shown: bool) -> Self {
        Self { daemon, link: None, url: url.to_owned(), shown, started: Instant::now(), frames: 0, told_status: false }
    }

    /// One line from what Redis itself says: a person sees what a bot would read.
    pub(super) async fn tick(&mut self, market: &DemoMarket) {
        if !self.shown {
            return;
        }
        if !self.told_status
            && let Some(address) = *self.daemon.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            println!("status    http://{address}/  (for programs: /statusz /readyz /livez /metrics)");
            self.told_status = true;
        }
        let frames = market.stats().frames;
        let per_second = frames.saturating_sub(self.frames);
        self.frames = frames;
        let rooms = self.daemon.running.observe();
        let restarts: u64 = rooms.iter().map(|r| r.restarts_total).sum();
        let read = self.read().await;
        if read.is_none() {
            // Redis may have been killed on purpose: another link the next time.
            self.link = None;
        }
        let (prices, positions, age_ms, traps) = read.unwrap_or_default();
        let line = format!(
            "{:>4} s  {prices}  |  {positions}  |  age {age_ms} ms  {per_second} frames/s  traps {traps}  restarts {restarts}",
            self.started.elapsed().as_secs(),
        );
        let mut out = std::io::stdout().lock();
        let end = if out.is_terminal() { "\x1b[K\r" } else { "\n" };
        let _ = write!(out, "{line}{end}");
        let _ = out.flush();
    }

    async fn read(&mut self) -> Option<(String, String, i64, u64)> {
        if self.link.is_none() {
            let client = redis::Client::open(self.url.as_str()).ok()?;
            self.link = client.get_multiplexed_async_connection().await.ok();
        }
        let link = self.link.as_mut()?;
        let (mut prices, mut positions, mut oldest) = (Vec::new(), Vec::new(), 0);
        let now_ms = crate::clock::Clock::system().now_ms();
        for (_, symbol) in self.daemon.symbols.iter().take(3) {
            let name = &symbol.name;
            let key = format!("trapline:{name}:market_state");
            let state: BTreeMap<String, String> = redis::cmd("HGETALL").arg(key).query_async(link).await.ok()?;
            if let Some(price) = state.get("price") {
                let mark = if state.get("stale").is_some_and(|s| s == "1") { " STALE" } else { "" };
                prices.push(format!("{} {price}{mark}", name.trim_end_matches("USDT")));
            }
            let verified: i64 = state.get("timestamp").and_then(|t| t.parse().ok()).unwrap_or(now_ms);
            oldest = oldest.max(now_ms - verified);
            for side in HoldSide::BOTH {
                let key = format!("trapline:{name}:position:{}", side.label());
                let (size, pnl): (Option<String>, Option<String>) =
                    redis::cmd("HMGET").arg(key).arg("size").arg("unrealized_pnl").query_async(link).await.ok()?;
                if let Some(size) = size.filter(|s| !s.trim_matches(['0', '.']).is_empty()) {
                    let pnl = pnl.unwrap_or_default();
                    positions.push(format!("{} {} {size} ({pnl})", name.trim_end_matches("USDT"), side.label()));
                }
            }
        }
        let traps: u64 = redis::cmd("ZCARD").arg("trap_events").query_async(link).await.ok()?;
        let positions = if positions.is_empty() { "flat".to_owned() } else { positions.join(" ") };
        Some((prices.join("  "), positions, oldest, traps))
    }

    pub(super) fn summary(
        &self,
        daemon: &Daemon,
        market: &DemoMarket,
        seconds: f64,
        why: &str,
        verdict: &Verdict,
    ) -> Value {
        let counts: BTreeMap<_, _> = daemon.board.counts.read().into_iter().collect();
        let refused: BTreeMap<_, _> = daemon.rejects.counts().into_iter().map(|(r, n)| (r.label(), n)).collect();
        let rooms: BTreeMap<_, _> = daemon
            .running
            .observe()
            .into_iter()
            .map(|r| (r.name, json!({"handled": r.handled, "restarts": r.restarts_total})))
            .collect();
        let accepted: u64 =
            daemon.symbols.ids().map(|s| daemon.board.market(s).read().accepted_seq & ((1 << 40) - 1)).sum();
        let frames = market.stats().frames;
        json!({
            "ended": why,
            "seconds": (seconds * 10.0).round() / 10.0,
            "symbols": daemon.symbols.len(),
            "frames": frames,
            "frames_per_second": super::rate(frames, seconds),
            "market_reports_accepted": accepted,
            "state_writes": counts.get("state_writes_total"),
            "events": daemon.board.counts.events_accepted_total.load(Relaxed),
            "events_in_redis": verdict.events_in_redis,
            "redis_keys": verdict.keys,
            "refused": refused,
            "restarts": daemon.running.observe().iter().map(|r| r.restarts_total).sum::<u64>(),
            "rooms": rooms,
            "violations": verdict.violations,
            "ok": verdict.violations.is_empty(),
        })
    }
}

/// The summary for people.
pub(super) fn print_summary(summary: &Value) {
    let text = |name: &str| summary[name].as_str().map_or_else(|| summary[name].to_string(), str::to_owned);
    println!();
    println!("ended after {} s: {}", text("seconds"), text("ended"));
    println!("  frames          {} ({}/s)", text("frames"), text("frames_per_second"));
    println!("  accepted        {} market reports of {} symbols", text("market_reports_accepted"), text("symbols"));
    println!("  refused         {}", text("refused"));
    println!(
        "  written         {} state values, {} events ({} in redis)",
        text("state_writes"),
        text("events"),
        text("events_in_redis")
    );
    println!("  restarts        {}", text("restarts"));
    match summary["violations"].as_array() {
        Some(list) if !list.is_empty() => {
            println!("  NOT as promised:");
            list.iter().for_each(|v| println!("    {}", v.as_str().unwrap_or_default()));
        }
        _ => println!("  as promised: newest values in redis, every event once, nothing stale"),
    }
}
