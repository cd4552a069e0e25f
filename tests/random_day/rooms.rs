//! Rooms in this process, where a hundred thousand messages take seconds: relays that do what each message is doomed to.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use trapline::clock::Clock;
use trapline::domain::backoff::Backoff;
use trapline::supervise::{
    Birth, Budgets, Card, Cx, Factory, Fault, GroupId, Message, Port, Room, RoomStatus, Running, Strategy, Tree,
    TreeConfig,
};

/// What happens to a message, and in which relay.
#[derive(Clone, Debug)]
pub enum Doom {
    Panic,
    Poison,
    /// The first time only: then it goes on.
    Retry(Arc<AtomicBool>),
    Hang(u64),
}

#[derive(Clone, Debug)]
pub struct Job {
    pub numbers: Vec<u64>,
    /// Of these numbers this one brings its doom; the others of a batch go on.
    pub doomed: Option<(u64, usize, Doom)>,
}

impl Job {
    pub fn number(n: u64) -> Self {
        Self { numbers: vec![n], doomed: None }
    }
}

impl Message for Job {
    fn kind(&self) -> &'static str {
        if self.doomed.is_some() { "doomed" } else { "number" }
    }

    fn split(&self) -> Vec<Self> {
        if self.numbers.len() < 2 {
            return Vec::new();
        }
        let part = |n: &u64| Self { numbers: vec![*n], doomed: self.doomed.clone().filter(|(doomed, ..)| doomed == n) };
        self.numbers.iter().map(part).collect()
    }

    fn digest(&self) -> String {
        format!("{:?}", self.numbers)
    }
}

/// What arrived at the end, and when.
#[derive(Clone, Default)]
pub struct Arrived(Arc<Mutex<(Vec<u64>, Option<Instant>)>>);

impl Arrived {
    pub fn numbers(&self) -> Vec<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.len()
    }

    /// When the newest came.
    pub fn newest_at(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

pub struct Relay {
    place: usize,
    next: Option<Port<Job>>,
    arrived: Arrived,
}

impl Room for Relay {
    type Msg = Job;

    fn handle(&mut self, job: &Job, cx: &mut Cx<Self>) -> Result<(), Fault> {
        // Sent before the death: it must not leave all the same.
        if let Some(next) = &self.next {
            cx.send(next, job.clone());
        }
        if let Some((n, _, doom)) = job.doomed.as_ref().filter(|(_, place, _)| *place == self.place) {
            match doom {
                Doom::Panic => panic!("doomed: {n}"),
                Doom::Poison => return Err(Fault::Poison(format!("doomed: {n}"))),
                Doom::Retry(done) => {
                    if !done.swap(true, SeqCst) {
                        return Err(Fault::Retry("something is down".to_owned()));
                    }
                }
                Doom::Hang(ms) => {
                    std::thread::sleep(Duration::from_millis(*ms));
                    return Ok(());
                }
            }
        }
        if self.next.is_none() {
            let mut arrived = self.arrived.0.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.0.extend(&job.numbers);
            arrived.1 = Some(Instant::now());
        }
        Ok(())
    }
}

pub fn relay(place: usize, next: Option<Port<Job>>, arrived: &Arrived) -> Factory<Relay> {
    let arrived = arrived.clone();
    Arc::new(move |_: Birth, _: &mut Cx<Relay>| Ok(Relay { place, next: next.clone(), arrived: arrived.clone() }))
}

/// Deaths without an end: what is counted is what they cost.
pub fn budgets() -> Budgets {
    Budgets { consecutive: 100_000, deaths: 1_000_000, ..Budgets::default() }
}

pub fn tree(seed: u64) -> Tree {
    Tree::new(TreeConfig {
        backoff: Backoff {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(20),
            stable_after: Duration::from_secs(60),
        },
        zombies: 64,
        on_exit: Arc::new(|_| {}),
        ..TreeConfig::new(Clock::system(), seed)
    })
}

pub fn group(tree: &mut Tree) -> GroupId {
    tree.group("relays", Strategy::OneForOne, budgets())
}

pub fn card(name: &'static str, deadline: Duration) -> Card {
    Card { deadline, mailbox: 1_024, ..Card::new(name, "passes on what comes") }
}

pub fn status(running: &Running, name: &str) -> RoomStatus {
    running.observe().into_iter().find(|room| room.name == name).expect("a room of this name")
}

/// Sends, waiting for space.
pub fn send(port: &Port<Job>, mut job: Job) {
    while let Err(error) = port.try_send(job) {
        job = error.into_inner();
        std::thread::sleep(Duration::from_micros(50));
    }
}
