//! Rooms that share a thread.

use std::time::Duration;

use trapline::supervise::{Budgets, Card, Strategy, Tree};

use crate::rooms::*;

#[actix_rt::test]
async fn rooms_on_one_thread_panic_alone_and_hang_together() {
    let (a, b, other) = (Seen::default(), Seen::default(), Seen::default());
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let (card_a, card_b, card_other) =
        (Card { deadline: Duration::from_millis(400), ..card("a") }, card("b"), card("c"));
    let (port_a, port_b, port_other) = (tree.port(&card_a), tree.port(&card_b), tree.port(&card_other));
    tree.room(group, card_a, port_a.clone(), worker("a", &a, Some(port_b.clone())));
    tree.room(group, card_other, port_other.clone(), worker("c", &other, None));
    tree.room(group, card_b, port_b.clone(), worker("b", &b, None));
    tree.share_thread(&["a", "b"]);
    let running = tree.start();
    for msg in [Job::Number(1), Job::Panic, Job::Number(2)] {
        port_a.send(msg).await.expect("sent");
    }
    until("both numbers", || b.numbers() == [1, 2]).await;
    assert_eq!((a.births().len(), b.births().len()), (2, 1), "a panic is a room's own");
    port_a.send(Job::Sleep(2_000)).await.expect("sent");
    port_a.send(Job::Number(3)).await.expect("sent");
    port_b.send(Job::Number(4)).await.expect("sent");
    until("what waited for both", || b.numbers().contains(&3) && b.numbers().contains(&4)).await;
    assert!(!a.numbers().contains(&BAD), "before the handler returned");
    assert_eq!((a.births().len(), b.births().len(), other.births().len()), (3, 2, 1));
    assert_eq!(running.zombies(), 1, "one thread was given up");
    until("the zombie came back", || running.zombies() == 0 && a.numbers().contains(&BAD)).await;
    assert!(!b.numbers().contains(&BAD), "what the zombie sent went nowhere");
    assert_eq!(status(&running, "b").restarts, vec![("hang", 1)]);
    for room in running.observe() {
        assert_balanced(&room);
    }
    port_a.send(Job::Number(5)).await.expect("sent");
    until("the new thread works", || b.numbers().contains(&5)).await;
    assert!(running.stop(&[], PATIENCE).await.is_empty());
}

/// However much there is to do: each message is well within the deadline, and so nobody hangs, neither the room that is
/// never idle nor one beside it on the same thread.
#[actix_rt::test]
async fn a_room_that_is_never_idle_is_not_taken_to_hang() {
    for (ms, count) in [(2, 1_500), (30, 100)] {
        let (busy, idle) = (Seen::default(), Seen::default());
        let mut tree = Tree::new(config());
        let group = tree.group("g", Strategy::OneForOne, Budgets::default());
        let deadline = Duration::from_millis(500);
        let (card_busy, card_idle) =
            (Card { deadline, mailbox: 2_000, ..card("busy") }, Card { deadline, ..card("idle") });
        let (port, port_idle) = (tree.port(&card_busy), tree.port(&card_idle));
        tree.room(group, card_busy, port.clone(), worker("busy", &busy, None));
        tree.room(group, card_idle, port_idle.clone(), worker("idle", &idle, None));
        tree.share_thread(&["busy", "idle"]);
        let running = tree.start();
        for _ in 0..count {
            port.send(Job::Sleep(ms)).await.expect("sent");
        }
        port.send(Job::Number(1)).await.expect("sent");
        until("all is handled", || busy.numbers().contains(&1)).await;
        assert_eq!((busy.births().len(), idle.births().len()), (1, 1), "{count} times {ms} ms");
        assert!(running.stop(&[], PATIENCE).await.is_empty());
    }
}

/// Sleeps past its deadline, then sends past its means: straight to a port.
struct Straight(trapline::supervise::Port<Job>, Seen);

impl trapline::supervise::Room for Straight {
    type Msg = Job;

    fn handle(&mut self, msg: &Job, _: &mut trapline::supervise::Cx<Self>) -> Result<(), trapline::supervise::Fault> {
        if let Job::Sleep(ms) = msg {
            std::thread::sleep(Duration::from_millis(*ms));
            let refused = self.0.try_send(Job::Number(BAD)).is_err();
            self.1.see(refused.into());
        }
        Ok(())
    }
}

#[actix_rt::test]
async fn what_an_abandoned_thread_sends_by_itself_is_refused() {
    let (told, sink) = (Seen::default(), Seen::default());
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let (card_a, card_b) = (Card { deadline: Duration::from_millis(300), ..card("a") }, card("b"));
    let (port_a, port_b) = (tree.port(&card_a), tree.port(&card_b));
    let (to_b, seen) = (port_b.clone(), told.clone());
    let factory: trapline::supervise::Factory<Straight> =
        std::sync::Arc::new(move |_, _| Ok(Straight(to_b.clone(), seen.clone())));
    tree.room(group, card_a, port_a.clone(), factory);
    tree.room(group, card_b, port_b.clone(), worker("b", &sink, None));
    let running = tree.start();
    port_a.send(Job::Sleep(1)).await.expect("sent");
    until("a living one may", || told.numbers() == [0] && sink.numbers() == [BAD]).await;
    port_a.send(Job::Sleep(1_500)).await.expect("sent");
    until("it was replaced, and came back", || told.numbers().len() == 2).await;
    assert_eq!(status(&running, "a").restarts, [("hang", 1)]);
    assert_eq!((told.numbers(), sink.numbers()), (vec![0, 1], vec![BAD]), "refused, and the sender is told");
    running.stop(&[], PATIENCE).await;
}
