//! `trapline demo --faults`: a seeded schedule of troubles. Each is injected into the running daemon, its exchange or
//! its Redis, watched until fresh values are written again, and told: what, found after, over after.

use super::market::DemoMarket;
use crate::domain::refusal::Refusal;
use crate::error::Stop;
use crate::managed_redis::{ManagedRedis, ManagedRedisSettings};
use crate::store::board::LinkState;
use crate::supervise::answers::span;
use crate::supervise::{Command, RoomState, RoomStatus};
use crate::topology::Daemon;
use crate::venue::{FaultName, FaultSpec};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Calm between two troubles: a room's budget of deaths is for real ones.
const CALM: Duration = Duration::from_millis(2_000);
/// A trouble that is not over by then counts as not survived.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a hung room would sleep: longer than its deadline.
const HANG_MS: u64 = 5_000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    Panic(&'static str),
    Hang(&'static str),
    Exchange(FaultName),
    RedisKill,
}

impl Trouble {
    fn label(&self) -> String {
        match self {
            Self::Panic(room) => format!("panic:{room}"),
            Self::Hang(room) => format!("hang:{room}"),
            Self::Exchange(name) => format!("exchange:{}", name.label()),
            Self::RedisKill => "redis:kill".to_owned(),
        }
    }
}

/// The schedule of a seed over these rooms: the same seed, the same troubles in the same order.
fn schedule(seed: u64, rooms: &[&'static str]) -> Vec<Trouble> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pick = |below: usize| usize::try_from(rng.next_u64() % below.max(1) as u64).unwrap_or(0);
    let mut panics = rooms.to_vec();
    let mut plan: Vec<Trouble> =
        (0..5.min(panics.len())).map(|_| Trouble::Panic(panics.swap_remove(pick(panics.len())))).collect();
    let mut hangs = rooms.to_vec();
    plan.extend((0..2.min(hangs.len())).map(|_| Trouble::Hang(hangs.swap_remove(pick(hangs.len())))));
    let exchange = [FaultName::Close, FaultName::Kill, FaultName::GarbageFrame, FaultName::DailyDisconnect];
    plan.extend(exchange.map(Trouble::Exchange));
    plan.push(Trouble::RedisKill);
    for i in (1..plan.len()).rev() {
        plan.swap(i, pick(i + 1));
    }
    plan
}

/// What was seen when a trouble was injected.
struct Running {
    trouble: Trouble,
    at: Instant,
    found: Option<(Duration, u64)>,
    room: Option<RoomStatus>,
    connects: u64,
    garbage: u64,
}

#[derive(Clone, Debug)]
struct Outcome {
    what: String,
    found: Option<Duration>,
    over: Option<Duration>,
}

/// A schedule under way.
pub(super) struct Faults {
    seed: u64,
    plan: std::vec::IntoIter<Trouble>,
    next_at: Instant,
    running: Option<Running>,
    told: Vec<Outcome>,
}

impl Faults {
    pub(super) fn new(seed: u64, daemon: &Daemon) -> Self {
        let rooms: Vec<_> = daemon.running.observe().iter().map(|room| room.name).collect();
        let plan = schedule(seed, &rooms).into_iter();
        Self { seed, plan, next_at: Instant::now() + CALM, running: None, told: Vec::new() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.running.is_none() && self.plan.len() == 0 && Instant::now() >= self.next_at
    }

    /// Looks at the trouble under way, or begins the next one. Restarts Redis itself when that is the trouble.
    pub(super) fn step(&mut self, daemon: &Daemon, market: &DemoMarket, redis: &mut Redis) -> Result<(), Stop> {
        let now = Instant::now();
        if let Some(running) = &mut self.running {
            let after = now.saturating_duration_since(running.at);
            if running.found.is_none() && is_found(running, daemon, market) {
                running.found = Some((after, written(daemon)));
                redis.raise_again()?;
            }
            let over = is_over(running, daemon);
            if over || after > LIMIT {
                let found = running.found.map(|(found, _)| found);
                self.told.push(Outcome { what: running.trouble.label(), found, over: over.then_some(after) });
                self.running = None;
                self.next_at = now + CALM;
            }
        } else if now >= self.next_at
            && let Some(trouble) = self.plan.next()
        {
            self.running = Some(self.inject(trouble, daemon, market, redis)?);
        }
        Ok(())
    }

    fn inject(
        &self,
        trouble: Trouble,
        daemon: &Daemon,
        market: &DemoMarket,
        redis: &mut Redis,
    ) -> Result<Running, Stop> {
        let room = match &trouble {
            Trouble::Panic(name) | Trouble::Hang(name) => room(daemon, name),
            Trouble::Exchange(_) | Trouble::RedisKill => None,
        };
        let (connects, garbage) = (market.stats().connects, daemon.rejects.total(Refusal::Garbage));
        let why = format!("demo --faults --seed {}", self.seed);
        let ordered = match &trouble {
            Trouble::Panic(name) => daemon.running.command(Command::Panic, name, "demo", &why),
            Trouble::Hang(name) => daemon.running.command(Command::Hang(HANG_MS), name, "demo", &why),
            Trouble::Exchange(name) => {
                // Rare enough that the connection itself is not in doubt.
                let ms = if *name == FaultName::GarbageFrame { 300 } else { 0 };
                market.fault(FaultSpec::new(*name, ms));
                Ok(())
            }
            Trouble::RedisKill => {
                redis.kill();
                Ok(())
            }
        };
        ordered.map_err(|error| Stop::unavailable(error.to_string()))?;
        Ok(Running { trouble, at: Instant::now(), found: None, room, connects, garbage })
    }

    /// For the summary; and what was not survived.
    pub(super) fn summary(&self) -> (Value, Vec<String>) {
        let us = |span: Option<Duration>| span.map(|span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        let rows: Vec<_> = self
            .told
            .iter()
            .map(|row| json!({"injected": row.what, "found_us": us(row.found), "over_us": us(row.over)}))
            .collect();
        let lasting = self.told.iter().filter(|row| row.over.is_none());
        let violations = lasting.map(|row| format!("{} was not over within {} s", row.what, LIMIT.as_secs())).collect();
        (json!({"seed": self.seed, "left_out": self.plan.len(), "troubles": rows}), violations)
    }

    pub(super) fn print(&self) {
        let text = |time: Option<Duration>| {
            time.map_or_else(|| "never".to_owned(), |time| span(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
        };
        println!("\n{:<32} {:>12} {:>12}", format!("TROUBLE (seed {})", self.seed), "FOUND AFTER", "OVER AFTER");
        for row in &self.told {
            println!("{:<32} {:>12} {:>12}", row.what, text(row.found), text(row.over));
        }
        println!("  over: fresh values are written to redis again; looked every {} ms", super::LOOK.as_millis());
    }
}

fn room(daemon: &Daemon, name: &str) -> Option<RoomStatus> {
    daemon.running.observe().into_iter().find(|room| room.name == name)
}

/// Of the primary symbol.
fn written(daemon: &Daemon) -> u64 {
    daemon.symbols.ids().next().map_or(0, |symbol| daemon.board.market(symbol).read().written_seq)
}

fn is_found(running: &Running, daemon: &Daemon, market: &DemoMarket) -> bool {
    match &running.trouble {
        Trouble::Panic(name) | Trouble::Hang(name) => room(daemon, name)
            .is_some_and(|now| running.room.as_ref().is_some_and(|had| now.restarts_total > had.restarts_total)),
        Trouble::Exchange(FaultName::GarbageFrame) => daemon.rejects.total(Refusal::Garbage) > running.garbage,
        Trouble::Exchange(_) => market.stats().connects > running.connects,
        Trouble::RedisKill => daemon.board.link() != LinkState::Up,
    }
}

/// Found, repaired, and a newer value than at that moment is in Redis.
fn is_over(running: &Running, daemon: &Daemon) -> bool {
    let Some((_, seq)) = running.found else { return false };
    let repaired = match &running.trouble {
        Trouble::Panic(name) | Trouble::Hang(name) => room(daemon, name).is_some_and(|now| {
            let newer = running.room.as_ref().is_some_and(|had| now.epoch > had.epoch);
            newer && now.state == RoomState::Running
        }),
        Trouble::Exchange(_) | Trouble::RedisKill => daemon.board.link() == LinkState::Up,
    };
    repaired && written(daemon) > seq
}

/// The demo's Redis, which may be killed and raised again at the same place.
pub(super) struct Redis {
    settings: ManagedRedisSettings,
    server: Option<ManagedRedis>,
    killed: bool,
}

impl Redis {
    pub(super) fn start(settings: ManagedRedisSettings) -> Result<Self, Stop> {
        let server = ManagedRedis::start(&settings).map_err(|e| Stop::unavailable(e.to_string()))?;
        Ok(Self { settings, server: Some(server), killed: false })
    }

    pub(super) fn server(&self) -> Result<&ManagedRedis, Stop> {
        self.server.as_ref().ok_or_else(|| Stop::unavailable("redis-server could not be started again"))
    }

    /// SIGKILL, as the kernel does it to a process that took too much memory.
    fn kill(&mut self) {
        let pid = self.server.as_ref().and_then(|server| i32::try_from(server.pid()).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            self.killed = true;
        }
    }

    /// In the same folder, so behind the same socket, with what its append-only file kept.
    fn raise_again(&mut self) -> Result<(), Stop> {
        if std::mem::take(&mut self.killed) {
            drop(self.server.take());
            self.server = Some(ManagedRedis::start(&self.settings).map_err(|e| Stop::unavailable(e.to_string()))?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule() {
        let rooms = ["a", "b", "c", "d", "e", "f", "g"];
        let one = schedule(1, &rooms);
        assert_eq!(one, schedule(1, &rooms), "the same seed, the same troubles");
        assert_ne!(one, schedule(2, &rooms));
        for seed in 0..50 {
            let plan = schedule(seed, &rooms);
            assert_eq!(plan.len(), 12, "seed {seed}");
            let count = |wanted: fn(&Trouble) -> bool| plan.iter().filter(|t| wanted(t)).count();
            assert_eq!(count(|t| matches!(t, Trouble::Panic(_))), 5, "seed {seed}");
            assert_eq!(count(|t| matches!(t, Trouble::Hang(_))), 2, "seed {seed}");
            assert_eq!(count(|t| *t == Trouble::RedisKill), 1, "seed {seed}");
        }
        assert_eq!(schedule(1, &[]).len(), 5, "without rooms only the outside fails");
    }
}
