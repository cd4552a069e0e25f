//! docs/faults.md, made of what the tests published: one line a run and fault class, by row.

mod promises;
mod tables;

use super::quantile::quantile;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Every row of the fault matrix, and what it is.
pub const ROWS: [(&str, &str); 52] = [
    ("X1", "the exchange closes, resets or cuts the connection"),
    ("X2", "half-open connection to the exchange"),
    ("X3", "garbage: broken text, wrong types, absurd numbers"),
    ("X4", "oversized frames, endless fragments"),
    ("X5", "fragments, single bytes, pings in between"),
    ("X6", "compression offered, reserved bits set"),
    ("X7", "slow handshake, 429, 403, 502, HTML, redirect"),
    ("X8", "clock skew, the exchange's time goes back"),
    ("X9", "duplicates, disorder, gaps"),
    ("X10", "login refused"),
    ("X11", "maintenance, the daily disconnect"),
    ("X12", "a subscription goes silent"),
    ("X13", "a subscription is refused or acknowledged in part"),
    ("X14", "10 000 messages a second"),
    ("X15", "no name resolution, dead addresses"),
    ("X16", "empty, closed and failed told apart"),
    ("P1", "SIGKILL of the daemon"),
    ("P2", "panic in each room"),
    ("P3", "panic storm"),
    ("P4", "a room awaits for ever"),
    ("P5", "a room blocks its thread"),
    ("P6", "memory pressure"),
    ("P7", "full or read-only disk"),
    ("P8", "no file descriptors left"),
    ("P9", "the clock steps"),
    ("P10", "time zone and locale"),
    ("P11", "SIGTERM under load, twice; SIGHUP"),
    ("P12", "wrong configuration"),
    ("P13", "spool and keys of another version"),
    ("P14", "a stuck log"),
    ("P15", "a flooded mailbox"),
    ("P16", "all faults mixed by a seed"),
    ("R1", "Redis killed and started again"),
    ("R2", "Redis stopped for a while"),
    ("R3", "half-open connection to Redis"),
    ("R4", "Redis comes back empty"),
    ("R5", "power loss: the end of the append-only file is gone"),
    ("R6", "Redis is full"),
    ("R7", "Redis is read-only"),
    ("R8", "password asked for or changed"),
    ("R9", "one key not permitted"),
    ("R10", "keys of a foreign type"),
    ("R11", "Redis is loading"),
    ("R12", "Redis is busy with a script"),
    ("R13", "Redis cannot save"),
    ("R14", "slow Redis"),
    ("R15", "Sentinel failover"),
    ("R16", "a cluster: slot moved, master killed"),
    ("R17", "FLUSHALL, or a key of ours deleted"),
    ("R18", "scripts forgotten"),
    ("R19", "two daemons"),
    ("R20", "too many clients, TLS error, wrong database"),
];

/// All lines of one row: counts added, spans put together.
#[derive(Default)]
pub struct Row {
    lines: Vec<Value>,
}

type Rows = BTreeMap<String, Row>;

/// Files by name, their lines in the order in which they were written.
fn read(folder: &Path) -> Rows {
    let mut rows = Rows::new();
    let mut files: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "jsonl")) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for (at, line) in text.lines().enumerate() {
            // A figure that is left out unnoticed would make the page better than the runs were.
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{}:{}: {e}: {line}", file.display(), at + 1));
            let name = line["row"].as_str().unwrap_or("?");
            // Cases of the baseline stand beside each other.
            let key = if name == "baseline" {
                format!("{name} {}", line["fault"].as_str().unwrap_or(""))
            } else {
                name.to_owned()
            };
            rows.entry(key).or_default().lines.push(line);
        }
    }
    rows
}

impl Row {
    fn runs(&self) -> u64 {
        self.lines.len() as u64
    }

    /// What was broken, each wording once.
    fn faults(&self) -> Vec<&str> {
        let mut faults = Vec::new();
        for fault in self.lines.iter().filter_map(|line| line["fault"].as_str()) {
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        faults
    }

    fn count(&self, name: &str) -> u64 {
        self.lines.iter().filter_map(|line| line[name].as_u64()).sum()
    }

    /// `None` where a run did not count it.
    fn told_count(&self, name: &str) -> Option<u64> {
        self.lines.iter().map(|line| line[name].as_u64()).sum()
    }

    fn list(&self, name: &str) -> Vec<f64> {
        self.lines.iter().filter_map(|line| line[name].as_array()).flatten().filter_map(Value::as_f64).collect()
    }

    fn detection(&self) -> Vec<f64> {
        self.list("detection_ms")
    }

    fn recovery(&self) -> Vec<f64> {
        self.list("recovery_ms")
    }

    /// The worst of what the others got done.
    fn others(&self) -> Option<f64> {
        self.lines.iter().filter_map(|line| line["others_ratio"].as_f64()).reduce(f64::min)
    }

    /// Figures by name, each with what every run said of it.
    fn more(&self) -> BTreeMap<&str, Vec<&Value>> {
        let mut more: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for (name, value) in self.lines.iter().filter_map(|line| line["more"].as_object()).flatten() {
            more.entry(name).or_default().push(value);
        }
        more
    }

    /// A figure by name, of all runs; lists of them as one list.
    fn numbers(&self, name: &str) -> Vec<f64> {
        let told = self.lines.iter().map(|line| &line["more"][name]);
        let flat = told.flat_map(|value| value.as_array().map_or_else(|| vec![value], |list| list.iter().collect()));
        flat.filter_map(Value::as_f64).collect()
    }

    fn most(&self, name: &str) -> Option<f64> {
        self.numbers(name).into_iter().reduce(f64::max)
    }

    fn seeds(&self) -> String {
        let mut seeds: Vec<String> = Vec::new();
        for value in self.lines.iter().flat_map(|line| [&line["more"]["seed"], &line["more"]["seeds"]]) {
            let seed = plain(value);
            if !value.is_null() && !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
        or_dash(seeds.join(", "))
    }
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "–".to_owned() } else { text }
}

fn spans(list: &[f64]) -> String {
    if list.is_empty() {
        return "–".to_owned();
    }
    let at = |share| number(quantile(list, share));
    format!("{} / {} / {}", at(0.5), at(0.99), at(1.0))
}

fn number(value: f64) -> String {
    let text = match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A cell of a table must not end it.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => cell(text),
        Value::Number(n) if n.is_f64() => n.as_f64().map_or_else(|| n.to_string(), number),
        Value::Number(n) => n.to_string(),
        Value::Object(map) => map.iter().map(|(k, v)| format!("{k} {}", plain(v))).collect::<Vec<_>>().join(", "),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Named figures; of several runs all of them, unless they say the same.
fn told_more(row: &Row, but: &[&str]) -> String {
    let mut parts = Vec::new();
    for (name, values) in row.more().into_iter().filter(|(name, _)| !but.contains(name)) {
        let mut told: Vec<String> = values.into_iter().map(plain).collect();
        told.dedup();
        parts.push(format!("{name}: {}", told.join(" · ")));
    }
    parts.join("; ")
}

/// The page. `head` says where, when and from what it was made.
pub fn page(folder: &Path, head: &str) -> String {
    let rows = read(folder);
    let mut text = format!(
        "# Faults: what was broken, and what it cost\n\n\
         Made by `scripts/faults` from what the tests themselves saw; do not edit. Spans are p50 / p99 / max in milliseconds.\n\n{head}\n"
    );
    promises::write(&rows, &mut text);
    tables::write(&rows, &mut text);
    text.push_str(
        "\n## Doing it again\n\n\
         `scripts/faults --quick` takes some ten minutes, `scripts/faults` longer with more seeds and repetitions. One random\n\
         day: `cargo test --release --test random_day -- --seed 7`; for hours, with a report: `scripts/soak --hours 6`.\n",
    );
    text
}
