//! Troubles are started, last, and end; what excludes itself waits its turn.

use crate::eyes::Shared;
use crate::plan::{Place, Trouble, What};
use crate::scene::{Scene, signal};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Faults of the exchange that may be on at once.
const KNOBS_AT_ONCE: usize = 3;

/// What is on now, and what was.
pub struct Chaos {
    on: Vec<(Instant, What)>,
    pub injected: BTreeMap<String, u64>,
    pub total: u64,
    /// Exit codes of the daemon that nobody asked for.
    pub escalated: Vec<i32>,
    /// Exit codes after SIGTERM.
    pub ended: BTreeMap<i32, u64>,
    /// Kills, ends and escalations: how often it was started again.
    pub starts: u64,
}

impl Chaos {
    pub fn new() -> Self {
        Self {
            on: Vec::new(),
            injected: BTreeMap::new(),
            total: 0,
            escalated: Vec::new(),
            ended: BTreeMap::new(),
            starts: 1,
        }
    }

    /// Ends what is over; starts a daemon that ended by itself again, as a service manager does.
    pub fn step(&mut self, scene: &mut Scene, shared: &Shared) {
        let now = Instant::now();
        let (over, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.on).into_iter().partition(|(until, _)| *until <= now);
        self.on = on;
        for (_, what) in over {
            self.end(&what, scene, shared);
        }
        let down = self.on.iter().any(|(_, what)| what.ends_daemon());
        if !down && let Ok(Some(status)) = scene.daemon.child.try_wait() {
            self.escalated.push(status.code().unwrap_or(-1));
            self.start_again(scene);
        }
    }

    pub fn can(&self, what: &What) -> bool {
        let place = what.place();
        let there = self.on.iter().filter(|(_, other)| other.place() == place).count();
        match place {
            Place::Exchange => there < KNOBS_AT_ONCE && !self.on.iter().any(|(_, other)| same_knob(other, what)),
            // Rooms can be broken beside each other, processes cannot.
            Place::Daemon => self.on.iter().all(|(_, other)| {
                other.place() != place
                    || (matches!(other, What::Hang(_)) && matches!(what, What::Panic(_) | What::Hang(_)))
            }),
            _ => there == 0,
        }
    }

    pub fn start(&mut self, trouble: &Trouble, scene: &mut Scene, shared: &Shared) {
        let what = &trouble.what;
        if what.loses_data() {
            shared.era.fetch_add(1, SeqCst);
        }
        let redis = &mut scene.redis;
        match what {
            What::Exchange(name, order) => {
                scene.exchange.control(&format!("fault?name={}&ms={}{order}", name.label(), trouble.ms));
            }
            What::ExchangeWire(fault) => fault.start(&scene.exchange_wire),
            What::RedisWire(fault) => fault.start(&scene.redis_wire),
            What::RedisKill => redis.kill(),
            What::RedisPowerLoss(bytes) => {
                redis.kill();
                redis.cut_tail(*bytes);
            }
            What::RedisStop => redis.signal("STOP"),
            What::RedisFlush => drop(redis.run(&["FLUSHALL"])),
            What::RedisFull => drop(redis.run(&["CONFIG", "SET", "maxmemory", "1"])),
            What::RedisReadOnly => drop(redis.run(&["REPLICAOF", "127.0.0.1", "1"])),
            What::RedisClientKill => drop(redis.run(&["CLIENT", "KILL", "TYPE", "normal"])),
            What::RedisScriptFlush => drop(redis.run(&["SCRIPT", "FLUSH"])),
            What::RedisDelete(key) => drop(redis.run(&["DEL", key])),
            What::DaemonKill => {
                scene.daemon.signal("KILL");
                let _ = scene.daemon.child.wait();
            }
            What::DaemonTerm => {
                let code = scene.daemon.stop();
                *self.ended.entry(code).or_default() += 1;
            }
            What::DaemonStop => signal(scene.daemon.child.id(), "STOP"),
            What::DaemonReload => signal(scene.daemon.child.id(), "HUP"),
            What::Panic(room) => drop(scene.drill("panic", room, None)),
            What::Hang(room) => drop(scene.drill("hang", room, Some(trouble.ms))),
        }
        self.total += 1;
        let label = match what {
            What::Exchange(name, _) => format!("exchange {}", name.label()),
            What::ExchangeWire(fault) | What::RedisWire(fault) => {
                let name = format!("{fault:?}");
                format!("{} {}", what.class(), name.split('(').next().unwrap_or_default().to_lowercase())
            }
            other => other.class().to_owned(),
        };
        *self.injected.entry(label).or_default() += 1;
        if what.loses_data() && !what.loses_until_its_end() {
            shared.era.fetch_add(1, SeqCst);
        }
        self.on.push((Instant::now() + Duration::from_millis(trouble.ms), what.clone()));
    }

    fn end(&mut self, what: &What, scene: &mut Scene, shared: &Shared) {
        match what {
            What::ExchangeWire(_) => scene.exchange_wire.mend(),
            What::RedisWire(_) => scene.redis_wire.mend(),
            What::RedisKill | What::RedisPowerLoss(_) => {
                scene.redis.raise();
                shared.era.fetch_add(1, SeqCst);
            }
            What::RedisStop => scene.redis.signal("CONT"),
            What::RedisFull => drop(scene.redis.run(&["CONFIG", "SET", "maxmemory", "0"])),
            What::RedisReadOnly => drop(scene.redis.run(&["REPLICAOF", "NO", "ONE"])),
            What::DaemonKill | What::DaemonTerm => self.start_again(scene),
            What::DaemonStop => signal(scene.daemon.child.id(), "CONT"),
            _ => {}
        }
        shared.fault_over(what.class());
    }

    fn start_again(&mut self, scene: &mut Scene) {
        self.starts += 1;
        scene.daemon.start_again(&scene.options);
    }

    /// Ends everything that is on.
    pub fn calm(&mut self, scene: &mut Scene, shared: &Shared) {
        for (_, what) in std::mem::take(&mut self.on) {
            self.end(&what, scene, shared);
        }
        scene.exchange.control("fault?name=all&stop=1");
        self.step(scene, shared);
    }
}

fn same_knob(a: &What, b: &What) -> bool {
    matches!((a, b), (What::Exchange(a, _), What::Exchange(b, _)) if a == b)
}
