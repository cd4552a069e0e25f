//! Panics, faults and hangs of one room.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use trapline::error::Exit;
use trapline::supervise::{Budgets, Card, Cx, Factory, Fault, Port, Room, Strategy, Tree, TreeConfig};

use crate::rooms::*;

#[actix_rt::test]
async fn a_panic_costs_one_message_and_disturbs_nobody() {
    let (a, b) = (Seen::default(), Seen::default());
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let (card_a, card_b) = (card("a"), card("b"));
    let (port_a, port_b) = (tree.port(&card_a), tree.port(&card_b));
    tree.room(group, card_a, port_a.clone(), worker("a", &a, Some(port_b.clone())));
    tree.room(group, card_b, port_b.clone(), worker("b", &b, None));
    let running = tree.start();
    for msg in [Job::Number(1), Job::Panic, Job::Number(2)] {
        port_a.send(msg).await.expect("sent");
    }
    until("b has both", || b.numbers() == [1, 2]).await;
    assert_eq!(a.numbers(), [1, 2]);
    assert_eq!(a.births(), ["a", "a"]);
    assert_eq!(b.births(), ["b"], "the sibling lives on");
    let room = status(&running, "a");
    assert_eq!((room.restarts.clone(), room.quarantined), (vec![("panic", 1)], 1));
    assert_eq!(running.quarantine().list()[0].digest, "Panic");
    assert_balanced(&room);
    running.stop(&[], PATIENCE).await;
    let down = running.journal().newest_lines().into_iter().find(|l| l.contains("\"event\":\"down\"")).expect("down");
    for part in [
        "asked to",
        "tests/supervision/rooms.rs",
        "\"message_kind\":\"panic\"",
        "\"backtrace\":",
        "\"last_messages\":[{",
    ] {
        assert!(down.contains(part), "{part} is missing in {down}");
    }
}

#[actix_rt::test]
async fn a_burst_of_poison_does_not_take_the_tree_down() {
    let seen = Seen::default();
    for (attempts, births) in [(1, 1001), (2, 2001)] {
        let before = seen.births().len();
        let card = Card { attempts, mailbox: 2048, ..card("a") };
        let (running, port) = one(&card, &seen);
        for _ in 0..1000 {
            port.send(Job::Panic).await.expect("sent");
        }
        port.send(Job::Number(attempts.into())).await.expect("sent");
        until("the message behind the burst", || seen.numbers().contains(&attempts.into())).await;
        assert_eq!(status(&running, "a").quarantined, 1000);
        assert_eq!(seen.births().len() - before, births, "attempts {attempts}");
        assert!(running.stop(&[], PATIENCE).await.is_empty());
    }
}

#[actix_rt::test]
async fn a_factory_that_always_fails_ends_with_70() {
    let faults: [fn() -> Result<Worker, Fault>; 4] = [
        || panic!("no"),
        || Err(Fault::Retry("no".to_owned())),
        || Err(Fault::Poison("no".to_owned())),
        || Err(Fault::Fatal("no".to_owned())),
    ];
    for fail in faults {
        let mut tree = Tree::new(config());
        let group = tree.group("g", Strategy::OneForOne, Budgets::default());
        let card = card("a");
        let port = tree.port::<Job>(&card);
        let factory: Factory<Worker> = Arc::new(move |_, _| fail());
        tree.room(group, card, port, factory);
        let running = tree.start();
        let exit = tokio::time::timeout(PATIENCE, running.ended()).await.expect("gives up");
        assert_eq!(exit, Exit::GaveUp);
        running.stop(&[], PATIENCE).await;
        let lines = running.journal().newest_lines();
        assert!(lines.iter().any(|line| line.contains("\"event\":\"exit\"") && line.contains("70")));
    }
}

#[actix_rt::test]
async fn a_hang_is_replaced_and_its_late_result_is_fenced() {
    let (seen, sink) = (Seen::default(), Seen::default());
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let deadline = Duration::from_millis(400);
    let (card_a, card_b) = (Card { deadline, ..card("a") }, card("b"));
    let (port_a, port_b) = (tree.port(&card_a), tree.port(&card_b));
    tree.room(group, card_a, port_a.clone(), worker("a", &seen, Some(port_b.clone())));
    tree.room(group, card_b, port_b, worker("b", &sink, None));
    let running = tree.start();
    port_a.send(Job::Number(1)).await.expect("sent");
    until("the first", || sink.numbers() == [1]).await;
    let start = Instant::now();
    port_a.send(Job::Sleep(2_000)).await.expect("sent");
    port_a.send(Job::Number(2)).await.expect("sent");
    until("the message behind the hang", || sink.numbers() == [1, 2]).await;
    assert!(start.elapsed() < Duration::from_millis(1_900), "before the handler returned: {:?}", start.elapsed());
    assert_eq!(running.zombies(), 1);
    until("the zombie came back", || running.zombies() == 0 && seen.numbers().contains(&BAD)).await;
    assert_eq!(sink.numbers(), [1, 2], "what the zombie sent went nowhere");
    let room = status(&running, "a");
    assert_eq!((room.restarts.clone(), room.quarantined), (vec![("hang", 1)], 1));
    assert!(running.quarantine().list()[0].uncertain);
    assert_balanced(&room);
    assert!(running.stop(&[], PATIENCE).await.is_empty());
}

#[actix_rt::test]
async fn too_many_abandoned_threads_end_with_72() {
    let exits = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&exits);
    let mut tree = Tree::new(TreeConfig {
        zombies: 1,
        on_exit: Arc::new(move |exit| told.lock().expect("lock").push(exit)),
        ..config()
    });
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let card = Card { deadline: Duration::from_millis(100), ..card("a") };
    let port = tree.port(&card);
    tree.room(group, card, port.clone(), worker("a", &Seen::default(), None));
    let running = tree.start();
    port.send(Job::Sleep(1_500)).await.expect("sent");
    port.send(Job::Sleep(1_500)).await.expect("sent");
    assert_eq!(tokio::time::timeout(PATIENCE, running.ended()).await.expect("in time"), Exit::TooManyZombies);
    until("the callback", || *exits.lock().expect("lock") == [Exit::TooManyZombies]).await;
    running.stop(&[], PATIENCE).await;
}

#[actix_rt::test]
async fn a_retry_keeps_the_order() {
    let seen = Seen::default();
    let (running, port) = one(&card("a"), &seen);
    for msg in [Job::Number(1), Job::RetryOnce, Job::Number(2), Job::Number(3)] {
        port.send(msg).await.expect("sent");
    }
    until("all", || seen.numbers() == [1, 1000, 2, 3]).await;
    let room = status(&running, "a");
    assert_eq!((room.restarts.clone(), room.quarantined), (vec![("retry", 1)], 0));
    assert_balanced(&room);
    running.stop(&[], PATIENCE).await;
}

#[actix_rt::test]
async fn only_the_guilty_part_of_a_batch_goes() {
    let seen = Seen::default();
    let (running, port) = one(&card("a"), &seen);
    port.send(Job::Batch(vec![1, 2, BAD, 3])).await.expect("sent");
    port.send(Job::Number(4)).await.expect("sent");
    until("the rest in order", || seen.numbers() == [1, 2, 3, 4]).await;
    let listed = running.quarantine().list();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].digest, "Batch([666])");
    let room = status(&running, "a");
    assert_eq!(room.split_extra, 3);
    assert_balanced(&room);
    running.stop(&[], PATIENCE).await;
}

/// Its drop panics as well: while the panic of its handler is dealt with, and at the end.
struct BadDrop(Seen);

impl Room for BadDrop {
    type Msg = Job;

    fn handle(&mut self, msg: &Job, _: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            Job::Number(n) => self.0.see(*n),
            Job::Poison => return Err(Fault::Poison("asked to".to_owned())),
            _ => panic!("asked to"),
        }
        Ok(())
    }
}

impl Drop for BadDrop {
    fn drop(&mut self) {
        panic!("drop as well");
    }
}

#[actix_rt::test]
async fn a_panic_in_drop_is_contained_and_told() {
    let seen = Seen::default();
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let card = card("a");
    let port = tree.port(&card);
    let s = seen.clone();
    let factory: Factory<BadDrop> = Arc::new(move |_, _| Ok(BadDrop(s.clone())));
    tree.room(group, card, port.clone(), factory);
    let running = tree.start();
    for msg in [Job::Number(1), Job::Panic, Job::Number(2), Job::Poison, Job::Number(3)] {
        port.send(msg).await.expect("sent");
    }
    until("all good ones", || seen.numbers() == [1, 2, 3]).await;
    assert_balanced(&status(&running, "a"));
    running.stop(&[], PATIENCE).await;
    let lines = running.journal().newest_lines();
    let told = lines.iter().filter(|line| line.contains(r#""event":"down""#) && line.contains(r#""drop_ok":false"#));
    assert_eq!(told.count(), 2, "{lines:#?}");
}

#[actix_rt::test]
async fn the_journal_tells_how_long_a_death_lasted() {
    let seen = Seen::default();
    let (running, port) = one(&card("a"), &seen);
    for msg in [Job::Number(1), Job::Panic, Job::Number(2)] {
        port.send(msg).await.expect("sent");
    }
    until("behind the panic", || seen.numbers() == [1, 2]).await;
    running.stop(&[], PATIENCE).await;
    let lines = running.journal().newest_lines();
    let field = |event: &str, name: &str| {
        let line = lines.iter().find(|line| line.contains(&format!(r#""event":"{event}""#))).expect(event);
        serde_json::from_str::<serde_json::Value>(line).expect("json")[name].as_u64().expect(name)
    };
    let (ready, works) = (field("restarted", "recovery_us"), field("recovered", "handled_us"));
    assert!(ready > 0 && works > 0, "ready {ready} us, works {works} us");
    assert!(Duration::from_micros(works) < PATIENCE, "{works} us");
    assert_eq!(lines.iter().filter(|line| line.contains(r#""event":"recovered""#)).count(), 1, "once for each death");
    assert!(lines.iter().any(|line| line.contains(r#""event":"exit","code":0"#)), "an orderly end is told: {lines:#?}");
}

/// Sends without an end.
struct Flood(Port<Job>);

impl Room for Flood {
    type Msg = Job;

    fn handle(&mut self, msg: &Job, cx: &mut Cx<Self>) -> Result<(), Fault> {
        if let Job::Number(n) = msg {
            (0..*n).for_each(|n| cx.send(&self.0, Job::Number(n)));
        }
        Ok(())
    }
}

#[actix_rt::test]
async fn the_output_of_one_call_is_bounded() {
    let sink = Seen::default();
    let mut tree = Tree::new(config());
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let most = trapline::supervise::SENDS_PER_CALL as u64;
    let (card_a, card_b) = (card("a"), Card { mailbox: 1 << 17, ..card("b") });
    let (port_a, port_b) = (tree.port(&card_a), tree.port(&card_b));
    let to_b = port_b.clone();
    let factory: Factory<Flood> = Arc::new(move |_, _| Ok(Flood(to_b.clone())));
    tree.room(group, card_a, port_a.clone(), factory);
    tree.room(group, card_b, port_b, worker("b", &sink, None));
    let running = tree.start();
    port_a.send(Job::Number(most + 1)).await.expect("sent");
    until("one too many is a fault", || status(&running, "a").quarantined == 1).await;
    assert_eq!(status(&running, "b").sent, 0, "nothing of it left");
    port_a.send(Job::Number(most)).await.expect("sent");
    until("the most that is allowed", || sink.numbers().len() as u64 == most).await;
    assert_eq!(status(&running, "a").restarts, [("panic", 1)]);
    assert!(running.stop(&[], PATIENCE).await.is_empty());
}
