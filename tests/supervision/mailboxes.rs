//! What happens to messages.

use std::time::{Duration, Instant};

use trapline::supervise::{Budgets, Card, Command, GroupId, Overflow, RoomState, Strategy, Tree};

use crate::rooms::*;

#[actix_rt::test]
async fn block_parks_and_loses_nothing_over_a_restart_of_the_sender() {
    let (seen, sink) = (Seen::default(), Seen::default());
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let (card_a, card_b) = (card("a"), Card { mailbox: 2, ..card("b") });
    let (port_a, port_b) = (tree.port(&card_a), tree.port(&card_b));
    tree.room(group, card_a, port_a.clone(), worker("a", &seen, Some(port_b.clone())));
    tree.room(group, card_b, port_b.clone(), worker("b", &sink, None));
    let running = tree.start();
    running.command(Command::Suspend, "b", "test", "to fill it").expect("known");
    for n in 1..=20 {
        port_a.send(Job::Number(n)).await.expect("sent");
    }
    until("one is parked", || status(&running, "a").parked == 1).await;
    assert_eq!(status(&running, "a").handled, 3, "two fill the mailbox, the third is parked, then it waits");
    running.command(Command::Panic, "a", "test", "drill").expect("known");
    until("a restarted with its parked message", || status(&running, "a").epoch == 2).await;
    assert_eq!(status(&running, "a").parked, 1);
    running.command(Command::Resume, "b", "test", "go on").expect("known");
    until("all arrived in order", || sink.numbers() == (1..=20).collect::<Vec<_>>()).await;
    assert!(running.stop(&[], PATIENCE).await.is_empty());
}

#[actix_rt::test]
async fn what_overflows_is_counted() {
    for (overflow, expected) in [
        (Overflow::DropOldest, vec![6, 7, 8, 9]),
        (Overflow::Conflate, vec![8, 9]),
        (Overflow::Reject, vec![0, 1, 2, 3]),
    ] {
        let seen = Seen::default();
        let card = Card { mailbox: 4, overflow, ..card("a") };
        let (running, port) = one(&card, &seen);
        running.command(Command::Suspend, "a", "test", "to fill it").expect("known");
        until("up", || status(&running, "a").state == RoomState::Suspended).await;
        let refused = (0..10).filter(|n| port.try_send(Job::Keyed(n % 2, *n)).is_err()).count();
        running.command(Command::Resume, "a", "test", "go on").expect("known");
        until("the survivors", || seen.numbers() == expected).await;
        let room = status(&running, "a");
        let counts = (refused as u64, room.refused, room.dropped_oldest, room.conflated);
        match overflow {
            Overflow::DropOldest => assert_eq!(counts, (0, 0, 6, 0)),
            Overflow::Conflate => assert_eq!(counts, (0, 0, 0, 8)),
            _ => assert_eq!(counts, (6, 6, 0, 0)),
        }
        assert_balanced(&room);
        running.stop(&[], PATIENCE).await;
    }
}

#[actix_rt::test]
async fn control_passes_a_full_mailbox() {
    let seen = Seen::default();
    let (running, port) = one(&Card { mailbox: 500, ..card("a") }, &seen);
    for _ in 0..500 {
        port.send(Job::Slow(2)).await.expect("sent");
    }
    running.command(Command::Panic, "a", "test", "drill").expect("known");
    until("the drill came first", || status(&running, "a").epoch == 2).await;
    assert!(status(&running, "a").depth > 100, "most of the data still waits");
    until("all handled", || status(&running, "a").handled == 500).await;
    running.stop(&[], PATIENCE).await;
}

#[actix_rt::test]
async fn drain_empties_the_queue_and_counts_what_is_left() {
    let seen = Seen::default();
    let (running, port) = one(&card("a"), &seen);
    for n in 0..100 {
        port.send(Job::Number(n)).await.expect("sent");
    }
    assert!(running.stop(&[GroupId::clone(&group_zero())], PATIENCE).await.is_empty());
    assert_eq!(seen.numbers().len(), 100);
    assert!(port.try_send(Job::Number(1)).is_err(), "a stopped room takes nothing");

    let (running, port) = one(&card("a"), &seen);
    running.command(Command::Suspend, "a", "test", "so that nothing is handled").expect("known");
    for n in 0..7 {
        port.send(Job::Number(n)).await.expect("sent");
    }
    let left = running.stop(&[], Duration::from_millis(300)).await;
    assert_eq!(left.undelivered, [("a", 7)]);
}

fn group_zero() -> GroupId {
    Tree::new(config()).group("g", Strategy::OneForOne, Budgets::default())
}

/// Two senders, one room that dies about every two hundredth message: nothing is lost, doubled or reordered.
#[actix_rt::test]
async fn two_hundred_thousand_messages_with_a_thousand_faults() {
    const PER_SENDER: u64 = 100_000;
    let seen = Seen::default();
    let (running, port) = one(&card("a"), &seen);
    let start = Instant::now();
    let senders: Vec<_> = (0..2_u64)
        .map(|sender| {
            let port = port.clone();
            std::thread::spawn(move || {
                for n in 0..PER_SENDER {
                    let mut msg = match n % 400 {
                        199 => Job::Panic,
                        399 => Job::Poison,
                        _ => Job::Number(n * 2 + sender),
                    };
                    while let Err(error) = port.try_send(msg) {
                        msg = error.into_inner();
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let done = || {
        let room = status(&running, "a");
        room.handled + room.quarantined == 2 * PER_SENDER
    };
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "not in time: {:?}", status(&running, "a"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("200000 messages, 1000 faults: {:?}", start.elapsed());
    for sender in senders {
        sender.join().expect("sender");
    }
    let room = status(&running, "a");
    assert_eq!(room.quarantined, 1000);
    assert_balanced(&room);
    let numbers = seen.numbers();
    assert_eq!(numbers.len() as u64, 2 * PER_SENDER - 1000);
    for sender in 0..2 {
        let mine: Vec<u64> = numbers.iter().copied().filter(|n| n % 2 == sender).collect();
        assert!(mine.windows(2).all(|pair| pair[0] < pair[1]), "order of sender {sender}");
    }
    assert!(running.stop(&[], PATIENCE).await.is_empty());
}
