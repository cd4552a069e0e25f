//! Everything at once, by a seed: rooms on one thread that panic and hang, operators in the middle of it, under each
//! strategy. Afterwards everybody hears, each message has passed through all of them once and in order, and no thread is
//! left.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use trapline::supervise::{Budgets, Card, Command, Running, Strategy, Tree, TreeConfig};

use crate::rooms::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const STEPS: u64 = 150;
/// The last message of each room.
const END: u64 = 1_000_000;

async fn storm(strategy: Strategy, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = move |n: u64| rng.next_u64() % n;
    let mut tree = Tree::new(TreeConfig { zombies: 1_000, seed, ..config() });
    let budgets = Budgets { consecutive: 10_000, deaths: 10_000, ..Budgets::default() };
    let group = tree.group("g", strategy, budgets);
    // Small mailboxes: who is behind one that is down has to keep what it sends.
    let cards = NAMES.map(|name| Card { deadline: Duration::from_millis(100), attempts: 2, mailbox: 8, ..card(name) });
    let ports = cards.each_ref().map(|card| tree.port(card));
    let seen = NAMES.map(|_| Seen::default());
    for (at, card) in cards.into_iter().enumerate() {
        tree.room(group, card, ports[at].clone(), worker(NAMES[at], &seen[at], ports.get(at + 1).cloned()));
    }
    tree.share_thread(&NAMES[..3]);
    let running = tree.start();
    let order = |running: &Running, command, room: u64| {
        // Too many drills may wait already.
        let _ = running.command(command, NAMES[room as usize], "storm", "storm");
    };
    let mut sent = Vec::new();
    for n in 0..STEPS {
        let bad = match below(8) {
            0 => Some(Job::Panic),
            1 => Some(Job::Poison),
            2 => Some(Job::SpawnPanic),
            3 | 4 => Some(Job::Sleep(below(300))),
            _ => None,
        };
        // A room that is down or suspended may be full: that is no news here.
        if let Some(bad) = bad {
            let _ = ports[below(4) as usize].try_send(bad);
        }
        if ports[0].try_send(Job::Number(n)).is_ok() {
            sent.push(n);
        }
        let who = below(4);
        match below(12) {
            0 => order(&running, Command::Restart, who),
            1 => order(&running, Command::Suspend, who),
            2 | 3 => order(&running, Command::Resume, who),
            4 => order(&running, Command::Panic, who),
            5 => order(&running, Command::Hang(below(300)), who),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(below(30))).await;
    }
    for room in 0..4 {
        order(&running, Command::Resume, room);
    }
    ports[0].send(Job::Number(END)).await.expect("sent");
    sent.push(END);
    for (name, seen) in NAMES.iter().zip(&seen) {
        until(&format!("{name} hears, {strategy:?}, seed {seed}"), || seen.numbers().contains(&END)).await;
    }
    // What handlers sent that did not end well went nowhere; those that did have a number that is no message's.
    let heard: Vec<_> = seen[3].numbers().into_iter().filter(|n| *n != BAD).collect();
    assert_eq!(heard, sent, "each once and in order, {strategy:?}, seed {seed}");
    until("all threads came back", || running.zombies() == 0).await;
    let left = running.stop(&[], PATIENCE).await;
    assert!(left.is_empty(), "{strategy:?}, seed {seed}: {left:?}");
    for room in running.observe() {
        assert_balanced(&room);
    }
}

/// `TRAPLINE_STORM_SEED` is another one; what comes together then is told by the machine, too.
#[actix_rt::test]
async fn whatever_comes_together_everybody_hears_afterwards() {
    let seed = std::env::var("TRAPLINE_STORM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4);
    for strategy in [Strategy::OneForOne, Strategy::RestForOne, Strategy::OneForAll] {
        println!("{strategy:?}, seed {seed}");
        storm(strategy, seed).await;
    }
}
