//! Messages that killed their room.

use trapline::supervise::{Budgets, Strategy, Tree, TreeConfig};

use crate::rooms::*;

#[actix_rt::test]
async fn a_quarantined_message_can_be_replayed() {
    let seen = Seen::default();
    let (running, port) = one(&card("a"), &seen);
    port.send(Job::Poison).await.expect("sent");
    until("quarantined", || running.quarantine().list().len() == 1).await;
    let id = running.quarantine().list()[0].id;
    running.replay(id, "test", "once more").expect("known");
    until("quarantined again", || running.quarantine().list().iter().any(|known| known.id > id)).await;
    assert!(running.replay(id, "test", "gone").is_err());
    running.stop(&[], PATIENCE).await;
}

async fn poisoned(state: &std::path::Path, jobs: Vec<Job>) -> (trapline::supervise::Running, Seen) {
    let seen = Seen::default();
    let mut tree = Tree::new(TreeConfig { state_dir: Some(state.to_owned()), quarantine: 3, ..config() });
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let card = card("a");
    let port = tree.port(&card);
    tree.room(group, card, port.clone(), worker("a", &seen, None));
    let running = tree.start();
    let count = jobs.len() as u64;
    for job in jobs {
        port.send(job).await.expect("sent");
    }
    until("quarantined", || status(&running, "a").quarantined == count).await;
    (running, seen)
}

/// The list outlives the program; what a kind can save can be replayed by the next one, what is gone stays gone, and no
/// number is given twice.
#[actix_rt::test]
async fn the_quarantine_is_read_back_at_start() {
    let dir = tempfile::tempdir().expect("folder");
    let (running, _) = poisoned(dir.path(), vec![Job::Poison, Job::Panic, Job::PoisonOnce(7)]).await;
    let ids: Vec<u64> = running.quarantine().list().iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [1, 2, 3]);
    running.discard(1, "test", "not needed").expect("held");
    assert!(running.discard(1, "test", "again").is_err());
    running.stop(&[], PATIENCE).await;

    let (running, seen) = poisoned(dir.path(), vec![]).await;
    let held = running.quarantine().list();
    assert_eq!(held.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2, 3]);
    assert!(held.iter().all(|entry| entry.earlier && entry.room == "a"));
    let refused = running.replay(2, "test", "its kind is not kept").expect_err("only digest and cause are known");
    assert!(refused.to_string().contains("earlier start"), "{refused}");
    assert_eq!(running.quarantine().list().len(), 2, "it stays");
    running.replay(3, "test", "fixed since").expect("kept whole");
    until("handled by the next program", || seen.numbers() == [7]).await;
    running.stop(&[], PATIENCE).await;

    let (running, _) = poisoned(dir.path(), vec![Job::Poison]).await;
    let ids: Vec<u64> = running.quarantine().list().iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [2, 4], "what was replayed is gone, and its number is not given again");
    running.stop(&[], PATIENCE).await;
    let read = trapline::supervise::read_quarantine(dir.path());
    assert_eq!(read.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2, 4], "the files say the same");
}

#[actix_rt::test]
async fn the_quarantine_is_bounded_and_says_what_it_forgot() {
    let dir = tempfile::tempdir().expect("folder");
    let (running, _) = poisoned(dir.path(), (0..5).map(|_| Job::Poison).collect()).await;
    let ids: Vec<u64> = running.quarantine().list().iter().map(|entry| entry.id).collect();
    assert_eq!((ids, running.quarantine().forgotten()), (vec![3, 4, 5], 2));
    running.stop(&[], PATIENCE).await;
}
