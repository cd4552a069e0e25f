//! What the tests are made of: a worker that does what its messages say, and ways to watch it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use trapline::clock::Clock;
use trapline::domain::backoff::Backoff;
use trapline::supervise::{
    Birth, Budgets, Card, Cx, Factory, Fault, Message, Port, Room, RoomStatus, Running, Strategy, Tree, TreeConfig,
};

pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub enum Job {
    Number(u64),
    Panic,
    Poison,
    RetryOnce,
    Sleep(u64),
    Batch(Vec<u64>),
    SpawnPanic,
    Fatal,
    Keyed(u64, u64),
    Slow(u64),
    /// Poison where it was sent; saved, it loads as a number.
    PoisonOnce(u64),
}

impl Message for Job {
    fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Panic => "panic",
            Self::Poison => "poison",
            Self::RetryOnce => "retry_once",
            Self::Sleep(_) => "sleep",
            Self::Batch(_) => "batch",
            Self::SpawnPanic => "task_panic",
            Self::Fatal => "fatal",
            Self::Keyed(..) => "keyed",
            Self::Slow(_) => "slow",
            Self::PoisonOnce(_) => "poison_once",
        }
    }

    fn conflate_key(&self) -> Option<u64> {
        if let Self::Keyed(key, _) = self { Some(*key) } else { None }
    }

    fn split(&self) -> Vec<Self> {
        if let Self::Batch(parts) = self { parts.iter().map(|n| Self::Batch(vec![*n])).collect() } else { Vec::new() }
    }

    fn digest(&self) -> String {
        format!("{self:?}")
    }

    fn save(&self) -> Result<String, &'static str> {
        if let Self::PoisonOnce(n) = self { Ok(n.to_string()) } else { Err("only numbers are kept whole") }
    }

    fn load(saved: &str) -> Option<Self> {
        saved.parse().ok().map(Self::Number)
    }
}

/// In a batch this number panics.
pub const BAD: u64 = 666;

#[derive(Clone, Default)]
pub struct Seen {
    pub numbers: Arc<Mutex<Vec<u64>>>,
    pub births: Arc<Mutex<Vec<&'static str>>>,
    pub retried: Arc<AtomicBool>,
    pub ticks: Arc<AtomicU64>,
}

impl Seen {
    pub fn numbers(&self) -> Vec<u64> {
        self.numbers.lock().expect("no panic under this lock").clone()
    }

    pub fn births(&self) -> Vec<&'static str> {
        self.births.lock().expect("no panic under this lock").clone()
    }

    pub fn see(&self, n: u64) {
        self.numbers.lock().expect("no panic under this lock").push(n);
    }
}

pub struct Worker {
    seen: Seen,
    next: Option<Port<Job>>,
    in_this_life: u64,
}

impl Room for Worker {
    type Msg = Job;

    fn handle(&mut self, msg: &Job, cx: &mut Cx<Self>) -> Result<(), Fault> {
        self.in_this_life += 1;
        match msg {
            Job::Number(n) | Job::Keyed(_, n) => {
                if let Some(next) = &self.next {
                    cx.send(next, Job::Number(*n));
                }
                self.seen.see(*n);
            }
            Job::Panic => {
                if let Some(next) = &self.next {
                    cx.send(next, Job::Number(BAD));
                }
                panic!("asked to");
            }
            Job::Poison | Job::PoisonOnce(_) => return Err(Fault::Poison("bad".to_owned())),
            Job::Fatal => return Err(Fault::Fatal("cannot".to_owned())),
            Job::RetryOnce => {
                if !self.seen.retried.swap(true, Ordering::SeqCst) {
                    return Err(Fault::Retry("down".to_owned()));
                }
                self.seen.see(1000);
            }
            Job::Sleep(ms) => {
                if let Some(next) = &self.next {
                    cx.send(next, Job::Number(BAD));
                }
                std::thread::sleep(Duration::from_millis(*ms));
                self.seen.see(BAD);
            }
            Job::Slow(ms) => std::thread::sleep(Duration::from_millis(*ms)),
            Job::Batch(parts) => {
                assert!(!parts.contains(&BAD), "bad part");
                for n in parts {
                    self.seen.see(*n);
                }
            }
            Job::SpawnPanic => {
                cx.task("doomed", async { panic!("in a task") });
            }
        }
        Ok(())
    }
}

pub fn worker(name: &'static str, seen: &Seen, next: Option<Port<Job>>) -> Factory<Worker> {
    let seen = seen.clone();
    Arc::new(move |_: Birth, _: &mut Cx<Worker>| {
        seen.births.lock().expect("no panic under this lock").push(name);
        Ok(Worker { seen: seen.clone(), next: next.clone(), in_this_life: 0 })
    })
}

pub fn config() -> TreeConfig {
    TreeConfig {
        backoff: Backoff {
            base: Duration::from_millis(5),
            cap: Duration::from_millis(50),
            stable_after: Duration::from_secs(60),
        },
        on_exit: Arc::new(|_| {}),
        ..TreeConfig::new(Clock::system(), 7)
    }
}

pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn status(running: &Running, name: &str) -> RoomStatus {
    running.observe().into_iter().find(|room| room.name == name).expect("a room of this name")
}

pub fn one(card: &Card, seen: &Seen) -> (Running, Port<Job>) {
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let port = tree.port(card);
    tree.room(group, card.clone(), port.clone(), worker(card.name, seen, None));
    (tree.start(), port)
}

/// The equation of no loss.
pub fn assert_balanced(room: &RoomStatus) {
    let gone = room.handled + room.quarantined + room.conflated + room.dropped_oldest + room.depth as u64;
    assert_eq!(room.sent + room.split_extra, gone, "{room:?}");
}

pub fn card(name: &'static str) -> Card {
    Card { deadline: Duration::from_secs(10), ..Card::new(name, "test") }
}
