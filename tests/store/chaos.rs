//! Random kills of Redis and of the daemon, cut tails, stops, half-open connections: no event lost, doubled or out of
//! order, no state that goes back. The same harness against the usual way shows its losses, so that it is known to bite.

use crate::bench::*;
use crate::figures::Figures;
use crate::relay::{Place, Relay};
use crate::usual::Usual;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Somebody who writes events and state, and may die.
pub trait Party: Sized {
    /// Begins, or begins again after a crash. `socket` is the way to Redis, `folder` is what outlives the crash.
    fn start(socket: &Path, folder: &Path, seed: u64) -> Self;
    fn event(&self, n: u64);
    fn price(&self, n: u64);
    /// The last event that a restart does not need to be told again.
    fn remembered(&self) -> u64;
    fn crash(self);
    /// Waits until it holds everything to be written, up to `last`.
    fn settle(&self, last: u64);
}

impl Party for Daemon {
    fn start(socket: &Path, folder: &Path, seed: u64) -> Self {
        let mut setup = Setup::at(socket).spool(&folder.join("spool.redb"));
        setup.settings.seed = seed;
        setup.settings.reply_limit = Duration::from_millis(200);
        setup.start()
    }

    fn event(&self, n: u64) {
        Self::event(self, n);
    }

    fn price(&self, n: u64) {
        Self::price(self, n);
    }

    fn remembered(&self) -> u64 {
        self.desk.outbox().last_seq()
    }

    fn crash(self) {
        Self::crash(self);
    }

    fn settle(&self, last: u64) {
        self.wait_written(last + 1);
        self.wait_settled();
    }
}

/// What was done to Redis and to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Kill,
    CutTail,
    Crash,
    Stop,
    HalfOpen,
}

const FAULTS: [Fault; 5] = [Fault::Kill, Fault::CutTail, Fault::Crash, Fault::Stop, Fault::HalfOpen];

#[derive(Debug, Default)]
struct Totals {
    events: u64,
    missing: u64,
    duplicated: u64,
    reordered: u64,
    regressions: u64,
    faults: BTreeMap<String, u64>,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.missing += other.missing;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.regressions += other.regressions;
        for (name, count) in other.faults {
            *self.faults.entry(name).or_default() += count;
        }
    }
}

struct Chaos<P: Party> {
    rng: StdRng,
    seed: u64,
    server: Server,
    relay: Relay,
    party: Option<P>,
    sent: u64,
    events: u64,
    faults: BTreeMap<String, u64>,
}

/// Where the relay to this Redis listens.
fn way(server: &Server) -> PathBuf {
    server.folder().join("relay.sock")
}

impl<P: Party> Chaos<P> {
    fn run(seed: u64, events: u64) -> (Totals, Server) {
        let server = Server::start(&[]);
        let relay = Relay::start_at(&way(&server), Place::Socket(server.socket()));
        let party = Some(P::start(&way(&server), server.folder(), seed));
        let rng = StdRng::seed_from_u64(seed);
        let mut chaos = Self { rng, seed, server, relay, party, sent: 0, events, faults: BTreeMap::new() };
        let watching = Arc::new(AtomicBool::new(true));
        let watcher = watch(&chaos.server, Arc::clone(&watching));
        // Each fault once, whatever the seed says; then as it falls.
        for fault in FAULTS {
            chaos.offer(5..60);
            chaos.strike(fault);
        }
        while chaos.sent < events {
            chaos.offer(5..60);
            let fault = match chaos.rng.random_range(0..12) {
                0 => Fault::Kill,
                1 => Fault::CutTail,
                2 | 3 => Fault::Crash,
                4 => Fault::Stop,
                5 => Fault::HalfOpen,
                _ => {
                    chaos.pause(0..30);
                    continue;
                }
            };
            chaos.strike(fault);
        }
        let party = chaos.party.take().expect("a party");
        party.price(events + 1);
        party.settle(events);
        watching.store(false, SeqCst);
        let regressions = watcher.join().expect("the watch ended");
        if !regressions.is_empty() {
            eprintln!("seed {seed}: {regressions:?}");
        }
        drop(party);
        let found = stream(&chaos.server);
        let unique: std::collections::BTreeSet<u64> = found.iter().copied().collect();
        let totals = Totals {
            events,
            missing: (1..=events).filter(|n| !unique.contains(n)).count() as u64,
            duplicated: (found.len() - unique.len()) as u64,
            reordered: found.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64,
            regressions: regressions.len() as u64,
            faults: chaos.faults,
        };
        (totals, chaos.server)
    }

    fn party(&self) -> &P {
        self.party.as_ref().expect("a party")
    }

    fn offer(&mut self, burst: std::ops::Range<u64>) {
        for _ in 0..self.rng.random_range(burst) {
            if self.sent < self.events {
                self.sent += 1;
                self.party().event(self.sent);
                self.party().price(self.sent);
            }
        }
    }

    fn pause(&mut self, ms: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.rng.random_range(ms)));
    }

    fn strike(&mut self, fault: Fault) {
        *self.faults.entry(format!("{fault:?}")).or_default() += 1;
        match fault {
            Fault::Kill => {
                self.server.kill();
                self.offer(0..10);
                self.server.up();
            }
            Fault::CutTail => {
                self.pause(5..60);
                self.server.kill();
                self.server.cut_tail(self.rng.random_range(1..20_000));
                self.server.up();
            }
            Fault::Crash => {
                self.party.take().expect("a party").crash();
                let party = P::start(&way(&self.server), self.server.folder(), self.seed);
                // What was not kept yet was never promised: the detector finds it again after the restart.
                (party.remembered() + 1..=self.sent).for_each(|n| party.event(n));
                self.party = Some(party);
            }
            Fault::Stop => {
                self.server.signal(rustix::process::Signal::STOP);
                self.offer(1..20);
                self.pause(50..1_300);
                self.offer(1..20);
                self.server.signal(rustix::process::Signal::CONT);
                self.pause(5..40);
            }
            Fault::HalfOpen => {
                // What is on its way arrives first, so that something is held.
                self.pause(10..40);
                self.relay.hold();
                self.offer(1..20);
                self.pause(1_200..1_700);
                self.offer(1..20);
                self.pause(20..200);
                // The old connection lets go of what it held.
                self.relay.release();
                self.pause(10..60);
            }
        }
    }
}

fn given(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// All seeds, some at a time.
fn all<P: Party>(seeds: u64, events: u64, check: impl Fn(&Server, u64, &Totals) + Sync) -> Totals {
    let (next, totals) = (AtomicU64::new(1), Mutex::new(Totals::default()));
    std::thread::scope(|scope| {
        for _ in 0..given("TRAPLINE_CHAOS_JOBS", 3) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed > seeds {
                        return;
                    }
                    let (one, server) = Chaos::<P>::run(seed, events);
                    println!("seed {seed}: {one:?}");
                    check(&server, seed, &one);
                    totals.lock().expect("not poisoned").add(one);
                }
            });
        }
    });
    totals.into_inner().expect("not poisoned")
}

fn publish(row: &'static str, fault: &'static str, seeds: u64, totals: &Totals) {
    let injected = totals.faults.values().sum();
    let mut f = Figures { row, fault, injected, detected: injected, survived: injected, ..Figures::default() };
    (f.events, f.lost, f.duplicated, f.reordered) =
        (totals.events, totals.missing, totals.duplicated, totals.reordered);
    f.more.insert("state_regressions", totals.regressions.into());
    f.more.insert("seeds", format!("1 to {seeds}").into());
    f.more.insert("faults", serde_json::json!(totals.faults));
    f.publish();
}

#[test]
fn random_kills_lose_and_double_nothing() {
    if skip() {
        return;
    }
    let (seeds, events) = (given("TRAPLINE_CHAOS_SEEDS", 3), given("TRAPLINE_CHAOS_EVENTS", 800));
    let totals = all::<Daemon>(seeds, events, |server, seed, totals| {
        assert_eq!(totals.regressions, 0, "seed {seed}: state went back");
        assert_exactly_once(server, events, &format!("seed {seed}"));
        let seq = server.field("trapline:BTCUSDT:market_state", "seq");
        assert_eq!(seq, Some((events + 1).to_string()), "seed {seed}");
    });
    publish("chaos", "random kills of writer and Redis, cut tails, stops, half-open connections", seeds, &totals);
}

#[test]
fn the_usual_way_loses_doubles_and_goes_back_in_the_same_harness() {
    if skip() {
        return;
    }
    let (seeds, events) = (given("TRAPLINE_CHAOS_USUAL_SEEDS", 2), given("TRAPLINE_CHAOS_EVENTS", 800));
    let totals = all::<Usual>(seeds, events, |_, _, _| {});
    publish(
        "chaos-usual-way",
        "the same faults against an offset kept beside Redis after the reply, and plain HSET",
        seeds,
        &totals,
    );
    assert!(totals.missing > 0, "a harness that bites: {totals:?}");
    assert!(totals.duplicated > 0, "a harness that bites: {totals:?}");
    assert!(totals.regressions > 0, "a harness that bites: {totals:?}");
}

/// Where a party keeps what outlives it.
pub fn offset_file(folder: &Path) -> PathBuf {
    folder.join("offset")
}
