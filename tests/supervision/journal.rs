//! The journal as supervision writes it: every event, every field, on a slow disk, and in the log as well.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use trapline::supervise::journal::{JournalEntry, read_journal};
use trapline::supervise::{Budgets, Card, Command, Overflow, Restart, Running, Strategy, Tree, TreeConfig};

use crate::rooms::*;

/// Everything that can be seen without stopping the process or filling the journal's lanes.
const EVENTS: [&str; 17] = [
    "boot",
    "ready",
    "hang_suspect",
    "down",
    "restarted",
    "recovered",
    "escalate",
    "ended",
    "quarantined",
    "overflow_begin",
    "overflow_end",
    "zombie_ended",
    "operator",
    "drain",
    "stopped",
    "repeated",
    "exit",
];
/// On every line; its number, wall and monotonic time, which start of the program, which version.
const ON_ALL: [&str; 6] = ["jseq", "at_ms", "mono_ms", "boot", "version", "event"];
/// A crash report.
const OF_DEATHS: [&str; 22] = [
    "path",
    "room",
    "epoch",
    "cause",
    "text",
    "location",
    "backtrace",
    "message_kind",
    "message_seq",
    "message_digest",
    "message_fate",
    "last_messages",
    "depth",
    "capacity",
    "uptime_ms",
    "handled",
    "budget_deaths_left",
    "budget_consecutive_left",
    "decision",
    "delay_ms",
    "thread",
    "fingerprint",
];

/// A day in a few seconds: a bit of everything that can happen.
async fn troubles(state: &Path) -> Running {
    let (seen, other) = (Seen::default(), Seen::default());
    let mut tree = Tree::new(TreeConfig { state_dir: Some(state.to_owned()), ..config() });
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let (card_a, card_b) = (
        Card { deadline: Duration::from_millis(300), mailbox: 4, overflow: Overflow::Reject, ..card("a") },
        Card { restart: Restart::Temporary, ..card("b") },
    );
    let (port_a, port_b) = (tree.port(&card_a), tree.port(&card_b));
    tree.room(group, card_a, port_a.clone(), worker("a", &seen, None));
    tree.room(group, card_b, port_b.clone(), worker("b", &other, None));
    let running = tree.start();
    let send = async |job| {
        port_a.send(job).await.expect("sent");
    };
    for n in 1..=3 {
        send(Job::Number(n)).await;
    }
    until("handled", || seen.numbers().len() == 3).await;
    send(Job::Panic).await;
    until("back", || status(&running, "a").epoch == 2).await;
    send(Job::Number(4)).await;
    until("recovered", || seen.numbers().len() == 4).await;
    send(Job::Sleep(700)).await;
    until("replaced, and the old thread came back", || running.zombies() == 0 && seen.numbers().contains(&BAD)).await;
    running.command(Command::Suspend, "a", "somebody", "to fill it").expect("known");
    let refused = (0..20).filter(|n| port_a.try_send(Job::Number(*n)).is_err()).count();
    assert_eq!(refused, 16);
    running.command(Command::Resume, "a", "somebody", "go on").expect("known");
    until("empty", || status(&running, "a").depth == 0).await;
    for _ in 0..40 {
        while port_a.try_send(Job::Panic).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    until("the storm is over", || status(&running, "a").quarantined == 42).await;
    port_b.send(Job::Panic).await.expect("sent");
    until("b has ended", || port_b.try_send(Job::Number(1)).is_err()).await;
    send(Job::Fatal).await;
    until("escalated", || status(&running, "a").epoch >= 45).await;
    let told =
        || read_journal(state, i64::MIN).is_ok_and(|text| text.entries.iter().any(|e| e.event == "overflow_end"));
    until("the end of the full mailbox is told", told).await;
    running.stop(&[], Duration::from_secs(2)).await;
    running
}

fn has(entry: &JournalEntry, field: &str) -> bool {
    entry.fields.get(field).is_some_and(|value| !value.is_null())
}

#[actix_rt::test]
async fn every_event_is_there_with_every_field() {
    let dir = tempfile::tempdir().expect("folder");
    let running = troubles(dir.path()).await;
    let entries = read_journal(dir.path(), i64::MIN).expect("readable").entries;
    for event in EVENTS {
        let entry = entries.iter().find(|entry| entry.event == event).unwrap_or_else(|| panic!("{event} is not told"));
        for field in ON_ALL {
            assert!(has(entry, field), "{event} without {field}: {:?}", entry.fields);
        }
    }
    assert!(entries.iter().enumerate().all(|(i, entry)| entry.jseq == i as u64 + 1), "numbers without a gap");
    assert!(entries.iter().all(|entry| entry.boot == running.journal().boot_id()));
    let death = |cause: &str| entries.iter().find(|e| e.event == "down" && e.text("cause") == cause).expect("told");
    let panic = death("panic");
    for field in OF_DEATHS {
        assert!(has(panic, field), "no {field} in {:?}", panic.fields);
    }
    assert_eq!(
        (panic.text("path"), panic.text("message_fate"), panic.text("decision")),
        ("g/a", "quarantine", "restart")
    );
    assert!(panic.text("backtrace").contains("rooms"), "frames of the room: {}", panic.text("backtrace"));
    let last: Vec<_> = panic.fields["last_messages"].as_array().expect("a list").iter().map(|m| &m["kind"]).collect();
    assert_eq!(last, ["birth", "number", "number", "number"]);
    let hang = death("hang");
    for field in ["thread_state", "uncertain", "message_kind"] {
        assert!(has(hang, field), "no {field} in {:?}", hang.fields);
    }
    let operator = entries.iter().find(|entry| entry.event == "operator").expect("told");
    assert_eq!((operator.text("who"), operator.text("why")), ("somebody", "to fill it"));
    // Told in full are the first of a storm; the rest is counted, and nothing is left out.
    let downs = entries.iter().filter(|e| e.event == "down" && e.text("room") == "a").count() as u64;
    let counted: u64 = entries.iter().filter(|e| e.event == "repeated").map(|e| e.number("deaths")).sum();
    assert_eq!(downs + counted, status(&running, "a").restarts_total);
}

/// The disk takes nothing for a while: rooms do not notice, and what could not be kept is stated to the last record.
#[actix_rt::test]
async fn a_slow_disk_holds_nobody_up_and_every_loss_is_stated() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("journal.jsonl");
    // A pipe that nobody reads takes 64 KiB and then blocks whoever writes.
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let seen = Seen::default();
    let mut tree = Tree::new(TreeConfig { state_dir: Some(dir.path().to_owned()), ..config() });
    let group = tree.group("g", Strategy::OneForOne, Budgets::default());
    let cards = [card("a"), card("b")];
    let ports = [tree.port(&cards[0]), tree.port(&cards[1])];
    for (card, port) in cards.iter().zip(&ports) {
        tree.room(group, card.clone(), port.clone(), worker(card.name, &seen, None));
    }
    let running = tree.start();
    for n in 1..=4_000 {
        running.command(Command::Resume, "a", "a very busy operator", &"again ".repeat(20)).expect("known");
        if n % 100 == 0 {
            ports[0].send(Job::Panic).await.expect("sent");
            ports[1].send(Job::Number(n)).await.expect("sent");
        }
    }
    until("everything is handled while the disk stands still", || {
        status(&running, "a").quarantined == 40 && seen.numbers().len() == 40
    })
    .await;
    assert!(running.journal().status().lost > 0, "the lane was overrun, or this shows nothing");
    // Slow, not dead: now it is read, a little at a time.
    let mut pipe = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("the pipe");
    let mut end = pipe.try_clone().expect("the pipe");
    let reader = std::thread::spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 8_192]);
        while !text.ends_with(b"END") {
            let n = pipe.read(&mut buffer).expect("a pipe");
            text.extend_from_slice(&buffer[..n]);
            std::thread::sleep(Duration::from_millis(1));
        }
        text
    });
    assert!(running.journal().flush(PATIENCE), "it catches up");
    running.stop(&[], PATIENCE).await;
    assert!(running.journal().flush(PATIENCE));
    end.write_all(b"END").expect("the pipe");
    let text = reader.join().expect("the reader");
    let entries: Vec<Value> =
        text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert!(entries.iter().enumerate().all(|(i, entry)| entry["jseq"] == i as u64 + 1), "no number is missing");
    let count = |event: &str| entries.iter().filter(|entry| entry["event"] == event).count() as u64;
    let lost: u64 =
        entries.iter().filter(|entry| entry["event"] == "journal_gap").filter_map(|e| e["lost"].as_u64()).sum();
    assert_eq!(lost, running.journal().status().lost, "every loss is stated");
    assert!(count("operator") < 4_000 && count("operator") + lost >= 4_000, "what is missing is among the stated");
    let repeated: u64 = entries.iter().filter(|e| e["event"] == "repeated").filter_map(|e| e["deaths"].as_u64()).sum();
    assert_eq!(count("down") + repeated, 40, "deaths have a lane of their own: none is lost");
}

#[test]
fn the_files_stay_below_their_size() {
    let dir = tempfile::tempdir().expect("folder");
    let most = 512 * 1024;
    let clock = trapline::clock::Clock::system();
    let journal = trapline::supervise::Journal::start_sized(clock, Some(dir.path().to_owned()), most);
    for n in 0..20_000_u32 {
        let why = "x".repeat(100);
        let (room, command, who) = ("a".to_owned(), n.to_string(), "test".to_owned());
        journal.record(trapline::supervise::journal::Record::Operator {
            room,
            command,
            who,
            why,
            refused: String::new(),
        });
        if n % 500 == 0 {
            assert!(journal.flush(PATIENCE));
        }
    }
    assert!(journal.flush(PATIENCE));
    let files: Vec<_> = std::fs::read_dir(dir.path()).expect("files").flatten().collect();
    let bytes: u64 = files.iter().map(|file| file.metadata().expect("metadata").len()).sum();
    assert!(files.len() == 5 && bytes <= most, "{} files, {bytes} bytes", files.len());
    assert!(bytes > most / 2, "{bytes} bytes");
    let entries = read_journal(dir.path(), i64::MIN).expect("readable").entries;
    assert!(entries.windows(2).all(|pair| pair[0].jseq + 1 == pair[1].jseq), "the newest, without a gap");
    assert_eq!(entries.last().map(|entry| entry.text("command").to_owned()), Some("19999".to_owned()));
}
