//! The one story behind a restart, a stale key, a quarantined message or a refused frame, in order of time.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::tell::tell;
use crate::supervise::journal::JournalEntry;
use crate::supervise::running::MessageAct;

/// How long before a key was last proved a trouble may have begun that explains it, ms.
const LEAD_MS: i64 = 2_000;
/// Lines of one story at most; the oldest are left out.
const LINES: usize = 500;

/// A story.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Story {
    /// What was understood: `room`, `key`, `fingerprint`, `quarantine`, `boot`, `refusal`, `trouble`; empty: nothing.
    pub about: &'static str,
    /// Time in ms since 1970 UTC, and what happened.
    pub lines: Vec<(i64, String)>,
    /// Older lines that are left out.
    pub left_out: usize,
    /// When nothing was found: what could be asked about.
    pub known: Vec<String>,
}

/// Tells about a room, a key (ours or its Redis name), a fingerprint, a number of the quarantine (`12` or `q12`), a
/// boot, a reason of refusal, or a trouble.
pub fn why(entries: &[JournalEntry], asked: &str) -> Story {
    let asked = asked.trim();
    let label = key_label(asked);
    let quarantine = asked.trim_start_matches('q').parse::<u64>().ok();
    let named = |field: &str, value: &str| entries.iter().any(|entry| entry.text(field) == value);
    let (about, mut chosen): (_, BTreeSet<usize>) = if named("room", asked) {
        ("room", of_room(entries, asked))
    } else if named("key", &label) {
        ("key", of_key(entries, &|key| key == label))
    } else if let Some(family) = family(asked).filter(|family| entries.iter().any(|e| family(e.text("key")))) {
        ("key", of_key(entries, &family))
    } else if named("fingerprint", asked) {
        ("fingerprint", of_fingerprint(entries, asked))
    } else if let Some(id) = quarantine.filter(|id| holds(entries, *id)) {
        ("quarantine", of_quarantine(entries, id))
    } else if entries.iter().any(|entry| entry.boot == asked) {
        ("boot", matching(entries, |entry| entry.boot == asked))
    } else if named("reason", asked) {
        ("refusal", matching(entries, |entry| entry.event == "refused" && entry.text("reason") == asked))
    } else if named("problem", asked) {
        ("trouble", matching(entries, |entry| entry.text("problem") == asked))
    } else {
        return Story { known: known(entries), ..Story::default() };
    };
    // What the reader must know about every story: when the program itself was not there, and what is missing.
    let span = chosen.first().copied().zip(chosen.last().copied());
    if let Some((first, last)) = span {
        let frame = ["boot", "exit", "journal_gap", "amnesty"];
        chosen.extend((first..=last).filter(|i| frame.contains(&entries[*i].event.as_str())));
    }
    let mut lines: Vec<_> =
        chosen.into_iter().map(|i| (entries[i].at_ms, entries[i].jseq, tell(&entries[i]))).collect();
    lines.sort_by_key(|(at_ms, ..)| *at_ms);
    let left_out = lines.len().saturating_sub(LINES);
    Story {
        about,
        lines: lines.into_iter().skip(left_out).map(|(at, _, text)| (at, text)).collect(),
        left_out,
        known: Vec::new(),
    }
}

fn matching(entries: &[JournalEntry], wanted: impl Fn(&JournalEntry) -> bool) -> BTreeSet<usize> {
    entries.iter().enumerate().filter(|(_, entry)| wanted(entry)).map(|(i, _)| i).collect()
}

/// The room's own records, and the escalations of its group.
fn of_room(entries: &[JournalEntry], room: &str) -> BTreeSet<usize> {
    let groups: BTreeSet<&str> = entries
        .iter()
        .filter(|entry| entry.text("room") == room)
        .filter_map(|entry| entry.text("path").split_once('/').map(|(group, _)| group))
        .collect();
    matching(entries, |entry| {
        entry.text("room") == room || (!entry.text("group").is_empty() && groups.contains(entry.text("group")))
    })
}

/// Each time that it was stale, with everything that happened to anybody from shortly before its last proof until it
/// was fresh again.
fn of_key(entries: &[JournalEntry], is_asked: &dyn Fn(&str) -> bool) -> BTreeSet<usize> {
    let named = |entry: &&JournalEntry| !entry.text("key").is_empty() && is_asked(entry.text("key"));
    let mut windows = Vec::new();
    let mut open: Option<i64> = None;
    for entry in entries.iter().filter(named) {
        if entry.event == "key_stale" {
            let age = i64::try_from(entry.number("age_ms")).unwrap_or(0);
            open.get_or_insert(entry.at_ms - age - LEAD_MS);
        } else {
            let stale = i64::try_from(entry.number("stale_ms")).unwrap_or(0);
            windows.push(open.take().unwrap_or(entry.at_ms - stale - LEAD_MS)..=entry.at_ms);
        }
    }
    if let Some(from) = open {
        windows.push(from..=i64::MAX);
    }
    let others = ["key_stale", "key_fresh", "ready", "drain", "stopped", "recovered"];
    matching(entries, |entry| {
        named(&entry)
            || (!others.contains(&entry.event.as_str()) && windows.iter().any(|window| window.contains(&entry.at_ms)))
    })
}

/// The deaths of this fingerprint, their restarts, and the messages that they put into quarantine.
fn of_fingerprint(entries: &[JournalEntry], fingerprint: &str) -> BTreeSet<usize> {
    let mut newest: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut chosen = BTreeSet::new();
    for (i, entry) in entries.iter().enumerate() {
        let place = (entry.boot.as_str(), entry.text("room"));
        match entry.event.as_str() {
            "down" => {
                newest.insert(place, entry.text("fingerprint"));
            }
            "quarantined" if newest.get(&place) == Some(&fingerprint) => {
                chosen.insert(i);
            }
            _ => {}
        }
        if entry.text("fingerprint") == fingerprint {
            chosen.insert(i);
        }
    }
    chosen
}

fn holds(entries: &[JournalEntry], id: u64) -> bool {
    entries.iter().any(|entry| entry.event == "quarantined" && entry.number("id") == id)
}

/// The death that put it there, and what operators did with it.
fn of_quarantine(entries: &[JournalEntry], id: u64) -> BTreeSet<usize> {
    let acts = [MessageAct::Replay(id).words(), MessageAct::Drop(id).words()];
    let mut chosen = matching(entries, |entry| {
        (entry.event == "quarantined" && entry.number("id") == id)
            || (entry.event == "operator" && acts.iter().any(|act| entry.text("command") == act))
    });
    let entered = entries.iter().position(|entry| entry.event == "quarantined" && entry.number("id") == id);
    if let Some(at) = entered {
        let entry = &entries[at];
        // All deaths with this message in hand: it may have been tried more than once.
        chosen.extend(entries[..at].iter().enumerate().filter_map(|(i, known)| {
            let same = known.event == "down"
                && known.boot == entry.boot
                && known.text("room") == entry.text("room")
                && known.number("message_seq") == entry.number("seq");
            same.then_some(i)
        }));
    }
    chosen
}

/// `trapline:BTCUSDT:market_state` is `market:BTCUSDT` here, `trapline:BTCUSDT:position:long` is
/// `position:BTCUSDT:long`.
fn key_label(asked: &str) -> String {
    let parts: Vec<&str> = asked.split(':').collect();
    match parts.as_slice() {
        [.., symbol, "market_state"] => format!("market:{symbol}"),
        [_, .., symbol, "position", side] => format!("position:{symbol}:{side}"),
        _ => asked.to_owned(),
    }
}

/// Keys without a symbol in their name stand for all that they may be made of.
fn family(asked: &str) -> Option<impl Fn(&str) -> bool + use<>> {
    let side = ["long", "short"].into_iter().find(|side| asked.contains(side));
    let prefix = match asked {
        _ if asked.contains("position") => "position:",
        _ if asked.contains("price") || asked.contains("market") || asked.contains("volume") => "market:",
        _ => return None,
    };
    Some(move |key: &str| {
        // All positions at once, when the private feed was away.
        let whole = key == "positions" && prefix == "position:";
        whole || key.starts_with(prefix) && side.is_none_or(|side| key.ends_with(side))
    })
}

fn known(entries: &[JournalEntry]) -> Vec<String> {
    let mut known = BTreeSet::new();
    for entry in entries {
        for field in ["room", "key", "problem"] {
            if !entry.text(field).is_empty() {
                known.insert(entry.text(field).to_owned());
            }
        }
        if entry.event == "refused" {
            known.insert(entry.text("reason").to_owned());
        }
    }
    known.into_iter().take(100).collect()
}
