//! What one life leaves to the next, and how a life may end besides by a message.

use std::sync::Arc;
use std::time::Duration;

use trapline::supervise::{Budgets, Card, Cx, Factory, Fault, Port, Restart, Room, RoomState, Running, Strategy, Tree};

use crate::rooms::*;

/// At birth it says what it was left with, on top of this.
const BORN: u64 = 1_000_000;

/// Adds up, and leaves the sum; a poison is its wish to end.
struct Sum(Seen, u64);

impl Room for Sum {
    type Msg = Job;

    fn handle(&mut self, msg: &Job, cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            Job::Number(n) => {
                self.1 += n;
                cx.checkpoint(Box::new(self.1));
                self.0.see(self.1);
            }
            Job::Poison => cx.finish(),
            _ => {
                // Of a handler that does not return nothing is kept.
                cx.checkpoint(Box::new(BAD));
                panic!("asked to");
            }
        }
        Ok(())
    }
}

fn house(card: Card, seen: &Seen, before: impl Fn(u64, &mut Cx<Sum>) + Send + Sync + 'static) -> (Running, Port<Job>) {
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let port = tree.port(&card);
    let seen = seen.clone();
    let factory: Factory<Sum> = Arc::new(move |birth, cx| {
        let kept = birth.checkpoint.and_then(|kept| kept.downcast::<u64>().ok()).map_or(0, |kept| *kept);
        seen.see(BORN + kept);
        before(birth.epoch, cx);
        Ok(Sum(seen.clone(), kept))
    });
    tree.room(group, card, port.clone(), factory);
    (tree.start(), port)
}

#[actix_rt::test]
async fn a_checkpoint_passes_once_and_only_from_a_message_that_was_handled() {
    let seen = Seen::default();
    let (running, port) = house(card("a"), &seen, |_, _| {});
    for job in [Job::Number(1), Job::Number(2), Job::Panic, Job::Panic, Job::Number(5)] {
        port.send(job).await.expect("sent");
    }
    let expected = [
        ("born with nothing", BORN),
        ("one", 1),
        ("and two", 3),
        ("its successor goes on", BORN + 3),
        ("which died before it left anything: a bad checkpoint kills once", BORN),
        ("from the beginning", 5),
    ];
    until("all", || seen.numbers().len() == expected.len()).await;
    for ((what, expected), is) in expected.into_iter().zip(seen.numbers()) {
        assert_eq!(is, expected, "{what}");
    }
    running.stop(&[], PATIENCE).await;
}

#[actix_rt::test]
async fn a_checkpoint_outlives_births_that_fail_but_not_for_ever() {
    // Births that fail in a row, and what the one after them is born with.
    for (failing, left) in [(1, 3), (2, 3), (3, 0)] {
        let seen = Seen::default();
        let (running, port) = house(card("a"), &seen, move |epoch, _| {
            assert!(!(2..2 + failing).contains(&epoch), "in the factory");
        });
        for job in [Job::Number(3), Job::Panic, Job::Number(5)] {
            port.send(job).await.expect("sent");
        }
        let mut expected = vec![BORN, 3];
        expected.extend((0..failing).map(|_| BORN + 3));
        expected.extend([BORN + left, left + 5]);
        until("all", || seen.numbers().len() == expected.len()).await;
        assert_eq!(seen.numbers(), expected, "after {failing}");
        running.stop(&[], PATIENCE).await;
    }
}

#[actix_rt::test]
async fn whoever_finishes_comes_back_only_if_it_is_permanent() {
    for (restart, comes_back) in [(Restart::Permanent, true), (Restart::Transient, false), (Restart::Temporary, false)]
    {
        let seen = Seen::default();
        let (running, port) = house(Card { restart, ..card("a") }, &seen, |_, _| {});
        port.send(Job::Poison).await.expect("sent");
        if comes_back {
            until("back", || status(&running, "a").epoch == 2).await;
        } else {
            until("ended", || status(&running, "a").state == RoomState::Ended).await;
            assert!(port.try_send(Job::Number(1)).is_err(), "{restart:?}: nobody is there");
        }
        assert_eq!(status(&running, "a").quarantined, 0, "{restart:?}: the message was handled");
        running.stop(&[], PATIENCE).await;
        let told = running.journal().newest_lines().iter().any(|line| line.contains(r#""event":"ended""#));
        assert_eq!(told, !comes_back, "{restart:?}: the journal says that it stays down");
    }
    let seen = Seen::default();
    let (running, port) = house(Card { restart: Restart::Transient, ..card("a") }, &seen, |_, _| {});
    port.send(Job::Panic).await.expect("sent");
    until("a death is no end", || status(&running, "a").epoch == 2).await;
    running.stop(&[], PATIENCE).await;
}

#[actix_rt::test]
async fn a_timer_that_panics_and_a_birth_that_hangs_are_deaths() {
    let seen = Seen::default();
    let (running, port) = house(card("a"), &seen, |epoch, cx| {
        if epoch == 1 {
            cx.every(Duration::from_millis(5), || panic!("in a timer"));
        }
    });
    until("found", || status(&running, "a").restarts == [("timer_panic", 1)]).await;
    port.send(Job::Number(1)).await.expect("sent");
    until("works", || seen.numbers().contains(&1)).await;
    running.stop(&[], PATIENCE).await;

    let seen = Seen::default();
    let card = Card { deadline: Duration::from_millis(300), ..card("a") };
    let (running, port) = house(card, &seen, |epoch, _| {
        if epoch == 1 {
            std::thread::sleep(Duration::from_millis(1_500));
        }
    });
    port.send(Job::Number(1)).await.expect("sent");
    until("found, and another is born", || seen.numbers().contains(&1)).await;
    let room = status(&running, "a");
    assert_eq!((room.restarts.clone(), room.quarantined), (vec![("hang", 1)], 0), "no message was in hand");
    assert_balanced(&room);
    running.stop(&[], PATIENCE).await;
}
