//! Strategies, escalation, operators.

use trapline::error::Exit;
use trapline::supervise::{Budgets, Card, Command, Port, Restart, RoomState, Strategy, Tree};

use crate::rooms::*;

#[actix_rt::test]
async fn strategies_share_a_death_as_they_say() {
    for (strategy, expected) in [
        (Strategy::OneForOne, vec!["b"]),
        (Strategy::RestForOne, vec!["b", "c"]),
        (Strategy::OneForAll, vec!["a", "b", "c"]),
    ] {
        let seen = Seen::default();
        let mut tree = Tree::new(config());
        let group = tree.group("g", strategy, Budgets::default());
        let cards = [card("a"), card("b"), card("c")];
        let ports: Vec<Port<Job>> = cards.iter().map(|card| tree.port(card)).collect();
        for (card, port) in cards.iter().zip(&ports) {
            tree.room(group, card.clone(), port.clone(), worker(card.name, &seen, None));
        }
        let running = tree.start();
        until("all up", || running.observe().iter().all(|room| room.state == RoomState::Running)).await;
        let before = seen.births().len();
        ports[1].send(Job::Poison).await.expect("sent");
        until("all back", || seen.births().len() == before + expected.len()).await;
        assert_eq!(seen.births()[before..], expected, "{strategy:?}");
        until("all up", || running.observe().iter().all(|room| room.state == RoomState::Running)).await;
        ports[2].send(Job::Number(5)).await.expect("sent");
        until("works", || seen.numbers() == [5]).await;
        running.stop(&[], PATIENCE).await;
    }
}

#[actix_rt::test]
async fn fatal_restarts_the_group_and_restart_types_hold() {
    let seen = Seen::default();
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let cards = [card("a"), Card { restart: Restart::Temporary, ..card("b") }];
    let ports: Vec<Port<Job>> = cards.iter().map(|card| tree.port(card)).collect();
    for (card, port) in cards.iter().zip(&ports) {
        tree.room(group, card.clone(), port.clone(), worker(card.name, &seen, None));
    }
    let running = tree.start();
    until("all up", || seen.births().len() == 2).await;
    ports[1].send(Job::Panic).await.expect("sent");
    until("b has ended", || status(&running, "b").state == RoomState::Ended).await;
    assert!(ports[1].try_send(Job::Number(1)).is_err());
    ports[0].send(Job::Fatal).await.expect("sent");
    until("a is back, its message first", || status(&running, "a").epoch >= 3).await;
    assert_eq!(status(&running, "b").epoch, 1, "a temporary room stays down");
    let exit = tokio::time::timeout(PATIENCE, running.ended()).await.expect("the root gives up");
    assert_eq!(exit, Exit::GaveUp);
    let left = running.stop(&[], PATIENCE).await;
    assert_eq!(left.undelivered, [("a", 1)], "the message was not at fault, so it is left, not quarantined");
}

#[actix_rt::test]
async fn an_operator_restarts_a_room_without_a_death() {
    let seen = Seen::default();
    let (running, port) = one(&card("a"), &seen);
    port.send(Job::Number(1)).await.expect("sent");
    until("up", || seen.numbers() == [1]).await;
    running.command(Command::Restart, "a", "test", "by hand").expect("known");
    until("a restarted", || status(&running, "a").epoch == 2).await;
    assert_eq!(status(&running, "a").restarts_total, 0, "an operator's restart is no death");
    running.stop(&[], PATIENCE).await;
}

/// A room that cannot be helped takes its group down in reverse, up in order, and in the end the whole tree, on real
/// arbiters; a neighbour group is not touched before.
#[actix_rt::test]
async fn escalation_restarts_the_group_in_order_and_ends_with_70() {
    for strategy in [Strategy::OneForOne, Strategy::RestForOne, Strategy::OneForAll] {
        let (seen, other) = (Seen::default(), Seen::default());
        let mut tree = Tree::new(config());
        let group = tree.group("g", strategy, Budgets { consecutive: 2, ..Budgets::default() });
        let quiet = tree.group("quiet", Strategy::OneForOne, Budgets::default());
        let cards = [card("a"), card("b"), card("c")];
        let ports: Vec<Port<Job>> = cards.iter().map(|card| tree.port(card)).collect();
        for (card, port) in cards.iter().zip(&ports) {
            tree.room(group, card.clone(), port.clone(), worker(card.name, &seen, None));
        }
        let card_q = card("q");
        let port_q = tree.port(&card_q);
        tree.room(quiet, card_q, port_q.clone(), worker("q", &other, None));
        let running = tree.start();
        until("all up", || running.observe().iter().all(|room| room.state == RoomState::Running)).await;
        let before = seen.births().len();
        ports[1].send(Job::Fatal).await.expect("sent");
        until("the group came back", || seen.births().len() >= before + 3).await;
        let mut births = seen.births()[before..before + 3].to_vec();
        if strategy == Strategy::OneForOne {
            // Rooms that do not need each other start together.
            births.sort_unstable();
        }
        assert_eq!(births, ["a", "b", "c"], "{strategy:?}: in the order of starting");
        port_q.send(Job::Number(1)).await.expect("sent");
        until("the neighbour works", || other.numbers() == [1]).await;
        assert_eq!(other.births(), ["q"], "{strategy:?}");
        // The message was not at fault by its own word, so it stays at the head and is tried until the root gives up.
        let exit = tokio::time::timeout(PATIENCE, running.ended()).await.expect("the root gives up");
        assert_eq!(exit, Exit::GaveUp, "{strategy:?}");
        let left = running.stop(&[], PATIENCE).await;
        assert_eq!(left.undelivered, [("b", 1)], "{strategy:?}");
        let lines = running.journal().newest_lines();
        assert!(lines.iter().any(|line| line.contains(r#""event":"escalate""#)), "{strategy:?}");
    }
}
