//! Three relays in a row, two senders, dooms of every kind by a seed: the equation of messages to the last one.

use crate::rooms::{self, Arrived, Doom, Job, card, relay, send};
use crate::support::figures::Figures;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const NAMES: [&str; 3] = ["first", "second", "third"];
const DEADLINE: Duration = Duration::from_millis(1_000);
/// Messages without a fault that take this long show that something is stuck.
const LIMIT: Duration = Duration::from_secs(180);

/// What was seen; what is wrong is in the list.
pub struct Told {
    pub numbers: u64,
    pub faults: u64,
    pub quarantined: u64,
    pub restarts: u64,
    pub span: Duration,
    pub wrong: Vec<String>,
}

struct Sender {
    jobs: Vec<Job>,
    /// Numbers that must not arrive.
    doomed: FxHashSet<u64>,
    faults: u64,
}

/// Numbers of one sender, in tens at times, about one of 150 with a doom.
fn draw(seed: u64, sender: u64, count: u64) -> Sender {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(31) + sender);
    let (mut jobs, mut doomed, mut faults, mut n) = (Vec::new(), FxHashSet::default(), 0, 0);
    let mut hangs = 2;
    while n < count {
        let size = if rng.random_bool(0.05) { 10 } else { 1 };
        let numbers: Vec<u64> = (n..n + size).map(|n| n * 2 + sender).collect();
        n += size;
        let mut job = Job { doomed: None, numbers };
        if rng.random_bool(1.0 / 150.0) {
            let bad = job.numbers[rng.random_range(0..job.numbers.len())];
            let place = rng.random_range(0..NAMES.len());
            let doom = match rng.random_range(0..100) {
                0..40 => Doom::Panic,
                40..70 => Doom::Poison,
                // Few: each costs its deadline.
                70 if hangs > 0 => {
                    hangs -= 1;
                    Doom::Hang(2_500)
                }
                _ => Doom::Retry(Arc::new(AtomicBool::new(false))),
            };
            faults += 1;
            if !matches!(doom, Doom::Retry(_)) {
                doomed.insert(bad);
            }
            job.doomed = Some((bad, place, doom));
        }
        jobs.push(job);
    }
    Sender { jobs, doomed, faults }
}

pub fn run(seed: u64, count: u64) -> Told {
    let system = actix::System::new();
    system.block_on(storm(seed, count))
}

async fn storm(seed: u64, count: u64) -> Told {
    let begun = Instant::now();
    let arrived = Arrived::default();
    let mut tree = rooms::tree(seed);
    let group = rooms::group(&mut tree);
    let cards = NAMES.map(|name| card(name, DEADLINE));
    let ports: Vec<_> = cards.iter().map(|card| tree.port(card)).collect();
    for (place, card) in cards.into_iter().enumerate() {
        tree.room(group, card, ports[place].clone(), relay(place, ports.get(place + 1).cloned(), &arrived));
    }
    let running = tree.start();
    let senders = [draw(seed, 0, count / 2), draw(seed, 1, count / 2)];
    let faults = senders.iter().map(|s| s.faults).sum();
    let doomed: FxHashSet<u64> = senders.iter().flat_map(|s| s.doomed.iter().copied()).collect();
    let sent: Vec<u64> = senders.iter().flat_map(|s| s.jobs.iter().flat_map(|job| job.numbers.clone())).collect();
    let expected = sent.len() - doomed.len();
    let threads: Vec<_> = senders
        .into_iter()
        .map(|sender| {
            let port = ports[0].clone();
            std::thread::spawn(move || sender.jobs.into_iter().for_each(|job| send(&port, job)))
        })
        .collect();
    while arrived.count() < expected && begun.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for thread in threads {
        let _ = thread.join();
    }
    // A late one too many would come now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let numbers = arrived.numbers();
    let mut wrong = Vec::new();
    let once: FxHashSet<u64> = numbers.iter().copied().collect();
    let lost = sent.iter().filter(|n| !doomed.contains(n) && !once.contains(n)).count();
    let risen = doomed.iter().filter(|n| once.contains(n)).count();
    let twice = numbers.len() - once.len();
    for sender in 0..2 {
        let mine: Vec<u64> = numbers.iter().copied().filter(|n| n % 2 == sender).collect();
        let turned = mine.windows(2).filter(|pair| pair[0] >= pair[1]).count();
        if turned > 0 {
            wrong.push(format!("{turned} numbers of sender {sender} out of order"));
        }
    }
    if (lost, risen, twice) != (0, 0, 0) {
        wrong.push(format!("{lost} lost, {risen} came although quarantined, {twice} twice"));
    }
    let mut told =
        Told { numbers: sent.len() as u64, faults, quarantined: 0, restarts: 0, span: begun.elapsed(), wrong };
    for name in NAMES {
        let room = rooms::status(&running, name);
        let gone = room.handled + room.quarantined + room.conflated + room.dropped_oldest + room.depth as u64;
        if room.sent + room.split_extra != gone {
            told.wrong.push(format!("messages do not add up: {room:?}"));
        }
        told.quarantined += room.quarantined;
        told.restarts += room.restarts_total;
    }
    if told.restarts < faults {
        told.wrong.push(format!("{} restarts for {faults} faults", told.restarts));
    }
    let left = running.stop(&[group], Duration::from_secs(10)).await;
    if !left.is_empty() {
        told.wrong.push(format!("left behind: {left:?}"));
    }
    told
}

impl Told {
    pub fn publish(&self, seed: u64) {
        let mut more: BTreeMap<&'static str, serde_json::Value> = BTreeMap::new();
        more.insert("seed", seed.into());
        more.insert("span s", ((self.span.as_secs_f64() * 10.0).round() / 10.0).into());
        more.insert("quarantined", self.quarantined.into());
        more.insert("restarts", self.restarts.into());
        Figures {
            row: "storm",
            fault: "panic, poison, retry and hang of three rooms in a row",
            injected: self.faults,
            detected: self.restarts.min(self.faults),
            survived: self.faults,
            events: self.numbers,
            more,
            ..Figures::default()
        }
        .publish();
    }
}
