//! Timers and tasks of a room.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use trapline::supervise::{Budgets, Card, Cx, Factory, Fault, Room, Strategy, Tree};

use crate::rooms::*;

#[actix_rt::test]
async fn a_panic_in_a_task_is_a_death() {
    let seen = Seen::default();
    let (running, port) = one(&card("a"), &seen);
    port.send(Job::SpawnPanic).await.expect("sent");
    until("restarted", || seen.births().len() == 2).await;
    port.send(Job::Number(1)).await.expect("sent");
    until("works", || seen.numbers() == [1]).await;
    assert_eq!(status(&running, "a").restarts, [("task_panic", 1)]);
    running.stop(&[], PATIENCE).await;
}

/// Counts ticks; each message is a panic.
struct Ticker(Seen, u64);

impl Room for Ticker {
    type Msg = Job;

    fn handle(&mut self, msg: &Job, cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            Job::Number(epoch) => {
                assert_eq!(*epoch, cx.epoch(), "a timer outlived its incarnation");
                self.0.ticks.fetch_add(1, Ordering::SeqCst);
                self.0.see(*epoch);
            }
            _ => panic!("asked to"),
        }
        self.1 += 1;
        Ok(())
    }
}

#[actix_rt::test]
async fn timers_die_with_their_incarnation() {
    let seen = Seen::default();
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let card = card("a");
    let port = tree.port(&card);
    let s = seen.clone();
    let factory: Factory<Ticker> = Arc::new(move |birth, cx| {
        let epoch = birth.epoch;
        cx.every(Duration::from_millis(3), move || Job::Number(epoch));
        cx.after(Duration::from_millis(1), Job::Number(epoch));
        Ok(Ticker(s.clone(), 0))
    });
    tree.room(group, card, port.clone(), factory);
    let running = tree.start();
    for epoch in 1..=4 {
        until("ticks of this life", || seen.numbers().iter().filter(|n| **n == epoch).count() >= 3).await;
        port.send(Job::Panic).await.expect("sent");
        until("next life", || status(&running, "a").epoch == epoch + 1).await;
    }
    assert_eq!(status(&running, "a").restarts, [("panic", 4)], "no other death");
    running.stop(&[], PATIENCE).await;
}

/// Starts a task of the kind that its message says.
struct Tasker(Seen);

impl Room for Tasker {
    type Msg = Job;

    fn handle(&mut self, msg: &Job, cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            // Blocks the arbiter from a task: no handler is in hand.
            Job::Sleep(ms) => {
                let span = Duration::from_millis(*ms);
                cx.task("blocks", async move {
                    tokio::task::yield_now().await;
                    std::thread::sleep(span);
                });
            }
            // Promises to beat and falls silent; the arbiter itself is free.
            Job::Slow(ms) => {
                let progress = cx.progress();
                progress.expect_within(Duration::from_millis(*ms));
                cx.task("silent", async move {
                    for _ in 0..3 {
                        progress.beat();
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    std::future::pending::<()>().await;
                });
            }
            Job::Number(n) => self.0.see(*n),
            _ => {}
        }
        Ok(())
    }
}

#[actix_rt::test]
async fn a_blocked_task_and_a_silent_one_are_found() {
    for (name, job) in [("blocked", Job::Sleep(1_500)), ("silent", Job::Slow(200))] {
        let (seen, other) = (Seen::default(), Seen::default());
        let mut tree = Tree::new(config());
        let group = tree.group("g", Strategy::OneForOne, Budgets::default());
        let (card_a, card_b) = (Card { deadline: Duration::from_millis(300), ..card("a") }, card("b"));
        let (port_a, port_b) = (tree.port(&card_a), tree.port(&card_b));
        let s = seen.clone();
        let factory: Factory<Tasker> = Arc::new(move |_, _| Ok(Tasker(s.clone())));
        tree.room(group, card_a, port_a.clone(), factory);
        tree.room(group, card_b, port_b.clone(), worker("b", &other, None));
        let running = tree.start();
        port_a.send(job).await.expect("sent");
        until("found", || status(&running, "a").restarts == [("hang", 1)]).await;
        port_a.send(Job::Number(1)).await.expect("sent");
        port_b.send(Job::Number(2)).await.expect("sent");
        until("works again", || seen.numbers() == [1] && other.numbers() == [2]).await;
        let room = status(&running, "a");
        assert_eq!((room.quarantined, room.handled), (0, 2), "case: {name}: no message was at fault");
        assert_eq!(status(&running, "b").restarts_total, 0, "case: {name}");
        assert_eq!(other.births(), ["b"], "case: {name}");
        running.stop(&[], PATIENCE).await;
    }
}
