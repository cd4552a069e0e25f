//! Tables: a journal by hand, and what is answered from it.

use serde_json::{Value, json};

use super::{By, restarts, span, why};
use crate::supervise::journal::JournalEntry;

fn entry(at_ms: i64, boot: &str, mut fields: Value) -> JournalEntry {
    let Some(map) = fields.as_object_mut() else { panic!("an object") };
    let event = map["event"].as_str().expect("event").to_owned();
    JournalEntry {
        jseq: u64::try_from(at_ms).expect("positive"),
        at_ms,
        boot: boot.to_owned(),
        event,
        fields: map.clone(),
    }
}

fn down(at_ms: i64, room: &str, cause: &str, seq: u64) -> JournalEntry {
    let print = format!("{room}-{cause}");
    entry(
        at_ms,
        "b",
        json!({"event": "down", "room": room, "path": format!("g/{room}"), "cause": cause, "text": "x",
        "location": "src/a.rs:1", "message_seq": seq, "message_kind": "tick", "fingerprint": print,
        "uncertain": cause == "hang", "decision": "restart"}),
    )
}

fn back(at_ms: i64, room: &str, cause: &str, ready_us: u64, works_us: u64) -> [JournalEntry; 2] {
    let print = format!("{room}-{cause}");
    [
        entry(
            at_ms,
            "b",
            json!({"event": "restarted", "room": room, "cause": cause, "recovery_us": ready_us, "fingerprint": print}),
        ),
        entry(
            at_ms,
            "b",
            json!({"event": "recovered", "room": room, "cause": cause, "handled_us": works_us, "fingerprint": print}),
        ),
    ]
}

fn quarantined(at_ms: i64, room: &str, id: u64, seq: u64) -> JournalEntry {
    entry(
        at_ms,
        "b",
        json!({"event": "quarantined", "room": room, "id": id, "kind": "tick", "seq": seq, "cause": "panic: x"}),
    )
}

fn boot(at_ms: i64, id: &str) -> JournalEntry {
    entry(at_ms, id, json!({"event": "boot", "version": "1", "pid": 7, "rooms": 2}))
}

fn exit(at_ms: i64, id: &str) -> JournalEntry {
    entry(at_ms, id, json!({"event": "exit", "code": 0, "reason": "stopped"}))
}

fn stale(at_ms: i64, key: &str, age_ms: u64) -> JournalEntry {
    entry(at_ms, "b", json!({"event": "key_stale", "key": key, "reason": "silent", "age_ms": age_ms}))
}

fn fresh(at_ms: i64, key: &str, stale_ms: u64) -> JournalEntry {
    entry(at_ms, "b", json!({"event": "key_fresh", "key": key, "stale_ms": stale_ms}))
}

/// One day of two rooms: the period is 1000..2000, the one before 0..1000.
fn day() -> Vec<JournalEntry> {
    let mut day = vec![boot(0, "b"), down(500, "a", "panic", 1)];
    day.extend(back(501, "a", "panic", 900, 2_000));
    day.extend([down(1_100, "a", "panic", 2), quarantined(1_101, "a", 4, 2)]);
    day.extend(back(1_102, "a", "panic", 100, 300));
    day.push(down(1_200, "a", "hang", 3));
    day.extend(back(1_201, "a", "hang", 9_000, 9_500));
    day.push(down(1_300, "w", "panic", 1));
    day.extend(back(1_301, "w", "panic", 200, 400));
    let repeated = json!({"event": "repeated", "room": "w", "cause": "panic", "fingerprint": "w-panic", "deaths": 5,
        "restarts": 5, "recovery_us_max": 7_777});
    day.push(entry(1_400, "b", repeated));
    day
}

#[test]
fn rows_are_counted_by_what_was_asked() {
    for (name, by, expected) in [
        ("actor", By::Actor, vec![("w", 6, 0, 6, 0), ("a", 2, 1, 2, 1)]),
        ("cause", By::Cause, vec![("panic", 7, 1, 7, 1), ("hang", 1, 0, 1, 0)]),
        (
            "fingerprint",
            By::Fingerprint,
            vec![("w-panic", 6, 0, 6, 0), ("a-hang", 1, 0, 1, 0), ("a-panic", 1, 1, 1, 1)],
        ),
    ] {
        let answer = restarts(&day(), 1_000, 2_000, by);
        let rows: Vec<_> = answer
            .rows
            .iter()
            .map(|row| (row.name.as_str(), row.deaths, row.deaths_before, row.restarts, row.quarantined))
            .collect();
        assert_eq!(rows, expected, "case: {name}");
        assert_eq!((answer.deaths, answer.deaths_before, answer.restarts), (8, 1, 8), "case: {name}");
        assert_eq!(answer.cost.quarantined, 1, "case: {name}");
    }
}

#[test]
fn recovery_is_told_by_median_and_worst_of_the_period_alone() {
    let answer = restarts(&day(), 1_000, 2_000, By::Actor);
    let of = |name: &str| answer.rows.iter().find(|row| row.name == name).expect("row").clone();
    let (a, w) = (of("a"), of("w"));
    assert_eq!((a.ready.count, a.ready.p50_us, a.ready.max_us), (2, 100, 9_000));
    assert_eq!((a.works.p50_us, a.works.p99_us, a.works.max_us), (300, 9_500, 9_500));
    assert_eq!(w.ready.max_us, 7_777, "those that were only counted as well");
}

#[test]
fn limits_of_the_period_belong_to_one_side_only() {
    for (name, at_ms, now, before) in [
        ("first of the period", 1_000, 1, 0),
        ("last before it", 999, 0, 1),
        ("first of the one before", 0, 0, 1),
        ("older", -1, 0, 0),
        ("at the end", 2_000, 0, 0),
        ("last of it", 1_999, 1, 0),
    ] {
        let mut only = down(1, "a", "panic", 1);
        only.at_ms = at_ms;
        let answer = restarts(&[only], 1_000, 2_000, By::Actor);
        assert_eq!((answer.deaths, answer.deaths_before), (now, before), "case: {name}");
    }
}

#[test]
fn a_program_that_ended_without_a_word_was_killed() {
    for (name, entries, starts, killed) in [
        ("first start", vec![boot(1_100, "x")], 1, 0),
        ("after an orderly end", vec![boot(1_100, "x"), exit(1_200, "x"), boot(1_300, "y")], 2, 0),
        ("after a kill", vec![boot(1_100, "x"), boot(1_300, "y")], 2, 1),
        ("taken over", vec![boot(1_100, "x"), boot(1_300, "y"), exit(1_301, "x")], 2, 0),
        ("killed before the period", vec![boot(100, "x"), boot(1_300, "y")], 1, 1),
        ("nothing", vec![], 0, 0),
    ] {
        let answer = restarts(&entries, 1_000, 2_000, By::Actor);
        assert_eq!((answer.starts, answer.starts_after_kill), (starts, killed), "case: {name}");
    }
}

#[test]
fn staleness_is_added_up_and_an_open_end_counts_until_now() {
    for (name, entries, times, total_ms, open) in [
        ("closed", vec![stale(1_100, "k", 50), fresh(1_300, "k", 250)], 1, 250, false),
        ("open", vec![stale(1_100, "k", 50)], 1, 950, true),
        ("began before", vec![fresh(1_300, "k", 700)], 1, 700, false),
        ("twice", vec![stale(1_100, "k", 0), fresh(1_200, "k", 100), stale(1_900, "k", 0)], 2, 200, true),
        ("marked again by the next program", vec![stale(1_100, "k", 0), stale(1_500, "k", 0)], 1, 900, true),
    ] {
        let cost = restarts(&entries, 1_000, 2_000, By::Actor).cost;
        let key = &cost.stale[0];
        assert_eq!((key.times, key.total_ms, key.open), (times, total_ms, open), "case: {name}");
    }
}

#[test]
fn the_trend_says_when_the_journal_is_too_short_for_it() {
    assert!(restarts(&[down(1_100, "a", "panic", 1)], 1_000, 2_000, By::Actor).before_is_partial);
    assert!(!restarts(&[boot(0, "b"), down(1_100, "a", "panic", 1)], 1_000, 2_000, By::Actor).before_is_partial);
    assert!(restarts(&[], 1_000, 2_000, By::Actor).before_is_partial);
}

#[test]
fn a_story_holds_what_belongs_to_it_and_nothing_else() {
    let mut entries = day();
    let operator =
        json!({"event": "operator", "room": "a", "command": "replay message 4", "who": "me", "why": "fixed"});
    entries.push(entry(1_500, "b", operator));
    let refused = json!({"event": "operator", "room": "a", "command": "drop message 4", "who": "uid 7", "why": "",
        "refused": "no message 4"});
    entries.push(entry(1_501, "b", refused));
    entries.push(stale(1_250, "market:BTCUSDT", 60));
    entries.push(fresh(1_305, "market:BTCUSDT", 115));
    entries.push(stale(1_600, "market:ETHUSDT", 1));
    entries.sort_by_key(|entry| entry.at_ms);
    for (name, asked, about, holds, lacks) in [
        ("room", "w", "room", "w down", "a down"),
        ("key", "market:BTCUSDT", "key", "a down: hang", "ETHUSDT"),
        ("key by its redis name", "trapline:BTCUSDT:market_state", "key", "fresh again", "ETHUSDT"),
        ("an old key without a symbol", "last_btc_price", "key", "market:ETHUSDT stale", "\u{0}"),
        ("fingerprint", "a-panic", "fingerprint", "quarantine as 4", "hang"),
        ("quarantine", "q4", "quarantine", "by me: fixed", "hang"),
        ("quarantine, refused", "q4", "quarantine", "a: drop message 4, by uid 7; refused: no message 4", "hang"),
        ("quarantine by number", "4", "quarantine", "a down: panic", "w down"),
        ("boot", "b", "boot", "trapline 1 started", "\u{0}"),
    ] {
        let story = why(&entries, asked);
        let text: Vec<_> = story.lines.iter().map(|(_, text)| text.as_str()).collect();
        let text = text.join("\n");
        assert_eq!(story.about, about, "case: {name}");
        assert!(text.contains(holds), "case: {name}: {text}");
        assert!(!text.contains(lacks), "case: {name}: {text}");
        assert!(story.lines.windows(2).all(|pair| pair[0].0 <= pair[1].0), "case: {name}: in order of time");
    }
    let nothing = why(&entries, "nobody");
    assert!(nothing.about.is_empty() && nothing.known.contains(&"a".to_owned()), "{nothing:?}");
}

#[test]
fn spans_have_the_unit_that_fits() {
    for (us, text) in [
        (0, "0 us"),
        (999, "999 us"),
        (1_000, "1.0 ms"),
        (10_000, "10 ms"),
        (999_999, "999 ms"),
        (1_000_000, "1.0 s"),
        (60_000_000, "1 min"),
        (61_000_000, "1 min 1 s"),
        (3_600_000_000, "1 h"),
        (5_460_000_000, "1 h 31 min"),
        (172_800_000_000, "2 d"),
        (176_400_000_000, "2 d 1 h"),
    ] {
        assert_eq!(span(us), text);
    }
}
