//! Messages that killed their room: kept, listed, replayed or dropped by an operator. The list outlives the program in
//! `quarantine.jsonl`: one line when a message comes in, one when it is gone.

use std::any::Any;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::journal::{Journal, KEEP, QUARANTINE_FILE, Record, numbered};
use super::queue::lock;
use crate::clock::Clock;

/// Messages kept for replay unless the tree says otherwise; beyond it the oldest leave memory (they stay in the file)
/// and are counted.
pub const QUARANTINE_CAPACITY: usize = 1024;
/// A longer saved message is not kept whole.
const SAVED_BYTES: usize = 256 * 1024;

/// One message in the quarantine, as listed and as written to the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Never given twice under one state folder.
    pub id: u64,
    pub at_ms: i64,
    pub boot: String,
    pub room: String,
    pub kind: String,
    pub seq: u64,
    pub digest: String,
    pub cause: String,
    /// A timer or self-posted message, not one from the data lane.
    pub inner: bool,
    /// The message of a hung handler may have had its effect all the same.
    pub uncertain: bool,
    /// The whole message, where its kind can be saved: it can be replayed after a restart of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<String>,
    /// Why it can be replayed only by the program that quarantined it; empty where that is not so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub live_only: String,
    /// Why it must not be handled again at all; empty where it may.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub never: String,
    /// Stamp of the [`Vocabulary`] that `saved` was written with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
    /// From an earlier start of the program.
    #[serde(skip)]
    pub earlier: bool,
}

/// Names that saved messages refer to by their place in a list, as symbols do in the order of the configuration. A
/// message can be read back only while its names stand where they stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary(pub Vec<String>);

impl Vocabulary {
    /// How many names there are and a hash of them.
    pub fn stamp(&self) -> String {
        self.stamp_of(self.0.len()).unwrap_or_default()
    }

    fn stamp_of(&self, count: usize) -> Option<String> {
        let names = self.0.get(..count)?;
        Some(format!("{count}:{}", hash(names.iter().map(String::as_str))))
    }

    /// Whether the names of a stamp still stand at the same places; more may have come behind them.
    pub fn understands(&self, stamp: &str) -> bool {
        let count = stamp.split_once(':').and_then(|(count, _)| count.parse().ok());
        count.is_some_and(|count| self.stamp_of(count).as_deref() == Some(stamp))
    }
}

/// FNV-1a as text: compared between runs and versions, so the standard hasher will not do.
pub(crate) fn hash<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// A message that left the quarantine.
#[derive(Serialize, Deserialize)]
struct Gone {
    id: u64,
    at_ms: i64,
    gone: String,
}

pub(crate) struct Held {
    pub(crate) entry: Quarantined,
    /// `None`: read from the file.
    pub(crate) envelope: Option<Arc<dyn Any + Send + Sync>>,
}

/// The quarantine as its file has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct QuarantineText {
    /// Oldest first, without those that are gone.
    pub entries: Vec<Quarantined>,
    /// The largest number ever given.
    pub last_id: u64,
    /// Lines that could not be read.
    pub torn: u64,
}

/// Reads the quarantine of a state folder; what cannot be read is counted and left out.
pub fn read_quarantine(state_dir: &Path) -> QuarantineText {
    let newest = state_dir.join(QUARANTINE_FILE);
    let mut text = QuarantineText::default();
    for path in (1..=KEEP).rev().map(|n| numbered(&newest, n)).chain([newest.clone()]) {
        let Ok(file) = File::open(&path) else { continue };
        for line in BufReader::new(file).split(b'\n') {
            let Ok(line) = line else { break };
            fold(&line, &mut text);
        }
    }
    text
}

fn fold(line: &[u8], text: &mut QuarantineText) {
    if line.is_empty() {
        return;
    }
    if let Ok(gone) = serde_json::from_slice::<Gone>(line) {
        text.last_id = text.last_id.max(gone.id);
        text.entries.retain(|entry| entry.id != gone.id);
    } else if let Ok(entry) = serde_json::from_slice::<Quarantined>(line) {
        text.last_id = text.last_id.max(entry.id);
        text.entries.push(Quarantined { earlier: true, ..entry });
    } else {
        text.torn += 1;
    }
}

/// The quarantine of a tree.
pub struct Quarantine {
    clock: Clock,
    journal: Journal,
    capacity: usize,
    words: Vocabulary,
    next_id: AtomicU64,
    forgotten: AtomicU64,
    ring: Mutex<VecDeque<Held>>,
}

impl Quarantine {
    pub(crate) fn new(
        clock: Clock,
        journal: Journal,
        (capacity, words): (usize, Vocabulary),
        earlier: Option<QuarantineText>,
    ) -> Self {
        let QuarantineText { entries, last_id, .. } = earlier.unwrap_or_default();
        let capacity = capacity.max(1);
        let skip = entries.len().saturating_sub(capacity);
        let ring = entries.into_iter().skip(skip).map(|entry| Held { entry, envelope: None }).collect();
        Self {
            clock,
            journal,
            capacity,
            words,
            next_id: AtomicU64::new(last_id + 1),
            forgotten: AtomicU64::new(skip as u64),
            ring: Mutex::new(ring),
        }
    }

    pub(crate) const fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn add(&self, mut entry: Quarantined, envelope: Arc<dyn Any + Send + Sync>) {
        entry.id = self.next_id.fetch_add(1, Ordering::Relaxed);
        entry.at_ms = self.clock.wall_ms();
        self.journal.boot_id().clone_into(&mut entry.boot);
        if entry.saved.as_ref().is_some_and(|saved| saved.len() > SAVED_BYTES) {
            entry.saved = None;
            entry.live_only = format!("longer than {SAVED_BYTES} bytes");
        }
        if entry.saved.is_some() {
            entry.words = self.words.stamp();
        }
        if let Ok(line) = serde_json::to_string(&entry) {
            self.journal.quarantine_line(line);
        }
        self.journal.record(Record::Quarantined {
            room: entry.room.clone(),
            id: entry.id,
            kind: entry.kind.clone(),
            seq: entry.seq,
            cause: entry.cause.clone(),
        });
        let mut ring = lock(&self.ring);
        let oldest = if ring.len() >= self.capacity { ring.pop_front() } else { None };
        ring.push_back(Held { entry, envelope: Some(envelope) });
        drop(ring);
        self.forgotten.fetch_add(u64::from(oldest.is_some()), Ordering::Relaxed);
    }

    /// Whether this program can read what another one saved.
    pub(crate) fn understands(&self, entry: &Quarantined) -> bool {
        self.words.understands(&entry.words)
    }

    /// Oldest first.
    pub fn list(&self) -> Vec<Quarantined> {
        lock(&self.ring).iter().map(|held| held.entry.clone()).collect()
    }

    pub(crate) fn take(&self, id: u64) -> Option<Held> {
        let mut ring = lock(&self.ring);
        let index = ring.iter().position(|held| held.entry.id == id)?;
        ring.remove(index)
    }

    /// Where it was, so that the list stays in order.
    pub(crate) fn put_back(&self, held: Held) {
        let mut ring = lock(&self.ring);
        let index = ring.iter().position(|known| known.entry.id > held.entry.id).unwrap_or(ring.len());
        ring.insert(index, held);
    }

    /// Writes down that a message has left for good.
    pub(crate) fn gone(&self, id: u64, how: &str) {
        let line = Gone { id, at_ms: self.clock.wall_ms(), gone: how.to_owned() };
        if let Ok(line) = serde_json::to_string(&line) {
            self.journal.quarantine_line(line);
        }
    }

    /// Messages that left memory because the quarantine was full.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64) -> String {
        format!(
            r#"{{"id":{id},"at_ms":1,"boot":"b","room":"a","kind":"k","seq":{id},"digest":"","cause":"panic: x","inner":false,"uncertain":false}}"#
        )
    }

    #[test]
    fn a_saved_message_is_read_only_where_its_names_stand() {
        let words = |names: &[&str]| Vocabulary(names.iter().map(ToString::to_string).collect());
        let stamp = words(&["BTCUSDT", "ETHUSDT"]).stamp();
        for (name, now, expected) in [
            ("the same", vec!["BTCUSDT", "ETHUSDT"], true),
            ("one more behind", vec!["BTCUSDT", "ETHUSDT", "SOLUSDT"], true),
            ("one more before", vec!["SOLUSDT", "BTCUSDT", "ETHUSDT"], false),
            ("another order", vec!["ETHUSDT", "BTCUSDT"], false),
            ("one less", vec!["BTCUSDT"], false),
            ("names that run together", vec!["BTCUSDTETHUSDT", ""], false),
        ] {
            assert_eq!(words(&now).understands(&stamp), expected, "case: {name}");
        }
        assert!(!words(&[]).understands(""), "no stamp");
        assert!(words(&["A"]).understands(&words(&[]).stamp()), "a message without names");
    }

    #[test]
    fn the_file_says_what_is_still_held() {
        let gone = |id| format!(r#"{{"id":{id},"at_ms":2,"gone":"dropped"}}"#);
        for (name, lines, held, last_id, torn) in [
            ("nothing", vec![], vec![], 0, 0),
            ("two", vec![entry(1), entry(2)], vec![1, 2], 2, 0),
            ("one is gone", vec![entry(1), entry(2), gone(1)], vec![2], 2, 0),
            ("the last is gone: its number is not given again", vec![entry(1), entry(2), gone(2)], vec![1], 2, 0),
            ("a torn line", vec![entry(1), entry(2)[..40].to_owned(), entry(3)], vec![1, 3], 3, 1),
            ("gone, its entry rotated away", vec![gone(9)], vec![], 9, 0),
        ] {
            let mut text = QuarantineText::default();
            lines.iter().for_each(|line| fold(line.as_bytes(), &mut text));
            let ids: Vec<u64> = text.entries.iter().map(|entry| entry.id).collect();
            assert_eq!((ids, text.last_id, text.torn), (held, last_id, torn), "case: {name}");
        }
    }
}
