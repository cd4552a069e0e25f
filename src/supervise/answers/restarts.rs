//! What restarted, how often, why, how long it took, what it cost, and whether that is more than before.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::supervise::journal::JournalEntry;

/// What the rows stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Cause,
    Actor,
    /// Same room, place and message kind: the same trouble.
    Fingerprint,
}

/// Spans in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spans {
    pub count: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    #[serde(skip)]
    all: Vec<u64>,
    /// The largest of those that were only counted.
    #[serde(skip)]
    folded_max: u64,
}

impl Spans {
    fn add(&mut self, us: u64) {
        self.all.push(us);
    }

    fn close(&mut self) {
        self.all.sort_unstable();
        self.count = self.all.len() as u64;
        let at = |percent: usize| {
            let rank = (self.all.len() * percent).div_ceil(100).max(1);
            self.all.get(rank - 1).copied().unwrap_or(0)
        };
        (self.p50_us, self.p99_us) = (at(50), at(99));
        self.max_us = self.all.last().copied().unwrap_or(0).max(self.folded_max);
    }
}

/// One cause, actor or fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    pub name: String,
    pub deaths: u64,
    /// In the period of the same length before.
    pub deaths_before: u64,
    pub restarts: u64,
    pub causes: BTreeMap<String, u64>,
    pub rooms: BTreeSet<String>,
    pub fingerprints: BTreeSet<String>,
    /// From the death until the new incarnation was ready.
    pub ready: Spans,
    /// From the death until the next message was handled; a wait for work included.
    pub works: Spans,
    pub quarantined: u64,
    pub last_ms: i64,
    /// Text and place of the newest death.
    pub last_text: String,
    pub last_location: String,
}

/// A key that was stale.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StaleKey {
    pub key: String,
    pub times: u64,
    pub total_ms: u64,
    pub longest_ms: u64,
    /// It is stale still, as far as the journal knows.
    pub open: bool,
}

/// What the troubles of the period cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    pub quarantined: u64,
    pub uncertain: u64,
    pub stale: Vec<StaleKey>,
    pub escalations: u64,
    pub undelivered: u64,
    /// Journal records that were lost; each loss is stated there.
    pub records_lost: u64,
}

/// The answer to `trapline restarts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restarts {
    pub from_ms: i64,
    pub until_ms: i64,
    pub deaths: u64,
    pub deaths_before: u64,
    pub restarts: u64,
    pub by_operator: u64,
    /// Starts of the program, and how many of them followed a program that ended without a word.
    pub starts: u64,
    pub starts_after_kill: u64,
    /// The journal does not reach back over the whole period before: the trend is not to be trusted.
    pub before_is_partial: bool,
    pub rows: Vec<Row>,
    pub cost: Cost,
}

/// Answers for `from_ms..until_ms` from all records at hand, those of the period before included.
pub fn restarts(entries: &[JournalEntry], from_ms: i64, until_ms: i64, by: By) -> Restarts {
    let before_ms = from_ms - (until_ms - from_ms);
    let mut answer = Restarts { from_ms, until_ms, ..Restarts::default() };
    answer.before_is_partial = entries.first().is_none_or(|first| first.at_ms > before_ms);
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    // Which row the newest death of a room belongs to: its quarantined message does as well.
    let mut newest: FxHashMap<(String, String), (String, bool)> = FxHashMap::default();
    let mut stale: BTreeMap<String, (StaleKey, Option<i64>)> = BTreeMap::new();
    // The end of one that was taken over stands behind the start of the one that took over.
    let ended: FxHashSet<&str> = entries.iter().filter(|e| e.event == "exit").map(|e| e.boot.as_str()).collect();
    let mut last_boot: Option<&str> = None;
    for entry in entries {
        let now = (from_ms..until_ms).contains(&entry.at_ms);
        let before = (before_ms..from_ms).contains(&entry.at_ms);
        if entry.event == "boot" {
            if now {
                answer.starts += 1;
                answer.starts_after_kill += u64::from(last_boot.is_some_and(|boot| !ended.contains(boot)));
            }
            last_boot = Some(&entry.boot);
        }
        if !now && !before {
            continue;
        }
        death(entry, now, by, &mut answer, &mut rows, &mut newest);
        if now {
            consequence(entry, by, &mut answer, &mut rows, &newest);
            staleness(entry, &mut stale);
        }
    }
    for row in rows.values_mut() {
        row.ready.close();
        row.works.close();
    }
    answer.rows = rows.into_values().collect();
    answer.rows.sort_by(|a, b| b.deaths.cmp(&a.deaths).then_with(|| a.name.cmp(&b.name)));
    answer.cost.stale = stale
        .into_values()
        .map(|(mut key, since)| {
            if let Some(since) = since {
                let ms = u64::try_from(until_ms - since).unwrap_or(0);
                key.total_ms += ms;
                key.longest_ms = key.longest_ms.max(ms);
                key.open = true;
            }
            key
        })
        .collect();
    answer
}

fn name(entry: &JournalEntry, by: By) -> String {
    entry
        .text(match by {
            By::Cause => "cause",
            By::Actor => "room",
            By::Fingerprint => "fingerprint",
        })
        .to_owned()
}

fn row<'a>(rows: &'a mut BTreeMap<String, Row>, name: &str) -> &'a mut Row {
    rows.entry(name.to_owned()).or_insert_with(|| Row { name: name.to_owned(), ..Row::default() })
}

fn death(
    entry: &JournalEntry,
    now: bool,
    by: By,
    answer: &mut Restarts,
    rows: &mut BTreeMap<String, Row>,
    newest: &mut FxHashMap<(String, String), (String, bool)>,
) {
    let count = match entry.event.as_str() {
        "down" => 1,
        "repeated" => entry.number("deaths"),
        _ => return,
    };
    let name = name(entry, by);
    let known = row(rows, &name);
    if !now {
        answer.deaths_before += count;
        known.deaths_before += count;
        return;
    }
    answer.deaths += count;
    known.deaths += count;
    *known.causes.entry(entry.text("cause").to_owned()).or_default() += count;
    known.rooms.insert(entry.text("room").to_owned());
    known.fingerprints.insert(entry.text("fingerprint").to_owned());
    known.last_ms = known.last_ms.max(entry.at_ms);
    if entry.event == "down" {
        entry.text("text").clone_into(&mut known.last_text);
        entry.text("location").clone_into(&mut known.last_location);
    }
    let uncertain = entry.fields.get("uncertain").and_then(serde_json::Value::as_bool).unwrap_or(false);
    newest.insert((entry.boot.clone(), entry.text("room").to_owned()), (name, uncertain));
}

fn consequence(
    entry: &JournalEntry,
    by: By,
    answer: &mut Restarts,
    rows: &mut BTreeMap<String, Row>,
    newest: &FxHashMap<(String, String), (String, bool)>,
) {
    match entry.event.as_str() {
        "restarted" => {
            answer.restarts += 1;
            let row = row(rows, &name(entry, by));
            row.restarts += 1;
            row.ready.add(entry.number("recovery_us"));
        }
        "repeated" => {
            answer.restarts += entry.number("restarts");
            let row = row(rows, &name(entry, by));
            row.restarts += entry.number("restarts");
            row.ready.folded_max = row.ready.folded_max.max(entry.number("recovery_us_max"));
        }
        "recovered" => row(rows, &name(entry, by)).works.add(entry.number("handled_us")),
        "quarantined" => {
            answer.cost.quarantined += 1;
            if let Some((name, uncertain)) = newest.get(&(entry.boot.clone(), entry.text("room").to_owned())) {
                answer.cost.uncertain += u64::from(*uncertain);
                row(rows, name).quarantined += 1;
            }
        }
        "escalate" => answer.cost.escalations += 1,
        "stopped" => answer.cost.undelivered += entry.number("undelivered"),
        "journal_gap" => answer.cost.records_lost += entry.number("lost"),
        "operator" => {
            answer.by_operator += u64::from(entry.text("command") == "restart" && entry.text("refused").is_empty());
        }
        _ => {}
    }
}

fn staleness(entry: &JournalEntry, stale: &mut BTreeMap<String, (StaleKey, Option<i64>)>) {
    let name = entry.text("key");
    let slot = |stale: &mut BTreeMap<String, (StaleKey, Option<i64>)>| {
        stale
            .entry(name.to_owned())
            .or_insert_with(|| (StaleKey { key: name.to_owned(), ..StaleKey::default() }, None));
    };
    match entry.event.as_str() {
        "key_stale" => {
            slot(stale);
            if let Some((key, since)) = stale.get_mut(name) {
                // Marked again by a later program without a word of the end: one time, still open.
                key.times += u64::from(since.is_none());
                since.get_or_insert(entry.at_ms - i64::try_from(entry.number("age_ms")).unwrap_or(0));
            }
        }
        "key_fresh" => {
            slot(stale);
            if let Some((key, since)) = stale.get_mut(name) {
                key.times += u64::from(since.take().is_none());
                key.total_ms += entry.number("stale_ms");
                key.longest_ms = key.longest_ms.max(entry.number("stale_ms"));
            }
        }
        _ => {}
    }
}
