//! The journal's promises.

use std::io::Write;

use super::*;

fn ready(epoch: u64) -> Record {
    Record::Ready { room: "a", path: "g/a".to_owned(), epoch, birth_us: 1 }
}

#[test]
fn numbers_have_no_gap_and_losses_are_stated() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::start(Clock::manual(5), Some(dir.path().to_owned()));
    let sent = 20_000;
    for epoch in 0..sent {
        journal.record(ready(epoch));
    }
    assert!(journal.flush(Duration::from_secs(10)));
    let text = read_journal(dir.path(), 0).expect("readable");
    assert!(text.entries.iter().enumerate().all(|(i, entry)| entry.jseq == i as u64 + 1));
    let written = text.entries.iter().filter(|entry| entry.event == "ready").count() as u64;
    let lost: u64 = text.entries.iter().filter(|entry| entry.event == "journal_gap").map(|e| e.number("lost")).sum();
    assert!(lost > 0, "the burst was to overrun the lane");
    assert_eq!(written + lost, sent);
    assert_eq!(journal.status().lost, lost);
}

#[test]
fn crashes_survive_a_storm_of_lifecycle_records() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::start(Clock::manual(5), Some(dir.path().to_owned()));
    for epoch in 0..5_000 {
        journal.record(ready(epoch));
        if epoch % 100 == 0 {
            journal.record(Record::Escalate { group: "g", room: "a", why: "fatal", delay_ms: 0 });
        }
    }
    assert!(journal.flush(Duration::from_secs(10)));
    let text = read_journal(dir.path(), 0).expect("readable");
    assert_eq!(text.entries.iter().filter(|entry| entry.event == "escalate").count(), 50);
}

#[test]
fn a_torn_last_line_costs_itself_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(JOURNAL_FILE);
    let journal = Journal::start(Clock::manual(5), Some(dir.path().to_owned()));
    journal.record(ready(1));
    assert!(journal.flush(Duration::from_secs(10)));
    drop(journal);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("the file");
    file.write_all(b"{\"jseq\":2,\"at_ms\":").expect("torn line");
    let journal = Journal::start(Clock::manual(6), Some(dir.path().to_owned()));
    journal.record(ready(2));
    assert!(journal.flush(Duration::from_secs(10)));
    let text = read_journal(dir.path(), 0).expect("readable");
    assert_eq!((text.entries.len(), text.torn), (2, 1));
    assert_eq!(text.entries[1].number("epoch"), 2);
    assert_eq!(read_journal(dir.path(), 6).expect("readable").entries.len(), 1);
}

#[test]
fn a_full_disk_is_counted_and_the_newest_lines_stay_in_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    // A directory in the place of the file: every write fails, also for root.
    std::fs::create_dir(dir.path().join(JOURNAL_FILE)).expect("a directory");
    let journal = Journal::start(Clock::manual(5), Some(dir.path().to_owned()));
    journal.record(ready(1));
    assert!(journal.flush(Duration::from_secs(10)));
    assert!(journal.status().degraded);
    assert_eq!(journal.status().write_errors, 1);
    assert!(journal.newest_lines()[0].contains("\"event\":\"ready\""));
}

#[test]
fn a_storm_of_one_fingerprint_is_counted_not_written() {
    let journal = Journal::start(Clock::manual(5), None);
    let report = CrashReport { room: "a", cause: "panic", fingerprint: "f".to_owned(), ..CrashReport::default() };
    for _ in 0..200 {
        journal.record(Record::Down(Box::new(report.clone())));
    }
    assert!(journal.flush(Duration::from_secs(10)));
    let lines = journal.newest_lines();
    let down = lines.iter().filter(|line| line.contains("\"event\":\"down\"")).count() as u64;
    let counted: u64 = lines
        .iter()
        .filter(|line| line.contains("\"event\":\"repeated\""))
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["deaths"].as_u64().expect("deaths"))
        .sum();
    assert_eq!(down + counted, 200);
    assert!(down < 100, "{down} written in full");
}

#[test]
fn files_rotate_by_size_and_are_read_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut file = LineFile::new(dir.path().join(JOURNAL_FILE), 400, KEEP);
    for jseq in 1..=12_u64 {
        let line =
            format!("{{\"jseq\":{jseq},\"at_ms\":1,\"boot\":\"b\",\"event\":\"ready\",\"pad\":\"{:60}\"}}\n", "");
        file.append(line.as_bytes(), false).expect("written");
    }
    let text = read_journal(dir.path(), 0).expect("readable");
    assert_eq!(text.entries.iter().map(|entry| entry.jseq).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
}

/// Somebody makes room by hand: the journal goes on in a new file, also where the old one was full.
#[test]
fn a_file_that_was_deleted_is_begun_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(JOURNAL_FILE);
    let mut file = LineFile::new(path.clone(), 100, 2);
    let (line, long) = (format!("{}\n", "a".repeat(30)), format!("{}\n", "b".repeat(90)));
    file.append(line.as_bytes(), false).expect("written");
    std::fs::remove_file(&path).expect("deleted");
    file.append(line.as_bytes(), false).expect("written");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), line);
    std::fs::remove_file(&path).expect("deleted");
    file.append(long.as_bytes(), false).expect("nothing to rename");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), long);
    file.append(line.as_bytes(), true).expect("written");
    assert_eq!(std::fs::read_to_string(numbered(&path, 1)).expect("it is there"), long);
}
