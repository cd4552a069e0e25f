//! docs/faults.md, made of what the tests published: one line a run and fault class, by row.

use crate::measure::quantile;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
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

/// Which figure of a row is held against which bound.
enum Bound {
    /// 99 % of the recoveries, ms.
    Recovery(f64),
    /// The longest, ms.
    Longest(f64),
    /// The longest detection, ms.
    Detection(f64),
    /// A figure by name, at most.
    Most(&'static str, f64),
    /// What the others got done, at least this share.
    Others(f64),
}

/// Promises of the design, by the row that shows each.
const TARGETS: [(&str, &str, Bound); 17] = [
    ("recovery-panic", "panic → next message handled: p99 ≤ 100 ms", Bound::Recovery(100.0)),
    ("recovery-panic-fresh", "panic → fresh in Redis: p99 ≤ 1 s", Bound::Recovery(1_000.0)),
    ("recovery-hang", "hang → replaced: ≤ 1.5 × its deadline", Bound::Most("multiple of the deadline p99", 1.5)),
    ("recovery-hang-fresh", "hang in the daemon → replaced: ≤ 3 s", Bound::Detection(3_000.0)),
    ("recovery-kill", "SIGKILL, started → fresh: ≤ 2 s", Bound::Recovery(2_000.0)),
    ("recovery-redis-first", "Redis back → first write: ≤ 1 s", Bound::Recovery(1_000.0)),
    ("recovery-redis-all", "Redis back → all state: ≤ 2 s", Bound::Recovery(2_000.0)),
    ("recovery-half-open-redis", "half-open Redis found: ≤ 1.5 s", Bound::Detection(1_500.0)),
    ("recovery-close", "exchange close → fresh: ≤ 1 s", Bound::Recovery(1_000.0)),
    ("recovery-half-open-exchange", "half-open exchange → fresh: ≤ 40 s", Bound::Longest(40_000.0)),
    ("siblings-panic", "others while rooms panic: ≥ 0.9", Bound::Others(0.9)),
    ("siblings-hang", "others while rooms hang: ≥ 0.9", Bound::Others(0.9)),
    ("stops", "false hang verdicts: 0", Bound::Most("false hang verdicts", 0.0)),
    ("leaks", "threads left behind: 0", Bound::Most("threads more", 0.0)),
    ("leaks", "descriptors left behind: 0", Bound::Most("fds more", 0.0)),
    ("P16", "state regressions: 0", Bound::Most("state regressions", 0.0)),
    ("P16", "secrets in any output: 0", Bound::Most("secrets found", 0.0)),
];

/// All lines of one row as one: counts added, spans put together.
#[derive(Default)]
struct Row {
    faults: Vec<String>,
    runs: u64,
    counts: BTreeMap<&'static str, u64>,
    detection: Vec<f64>,
    recovery: Vec<f64>,
    others: Vec<f64>,
    more: BTreeMap<String, Value>,
}

const COUNTS: [&str; 8] =
    ["injected", "detected", "survived", "escalated", "events", "lost", "duplicated", "reordered"];

fn read(folder: &Path) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut files: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "jsonl")) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let name = line["row"].as_str().unwrap_or("?");
            // Cases of the baseline stand beside each other.
            let key = if name == "baseline" {
                format!("{name} {}", line["fault"].as_str().unwrap_or(""))
            } else {
                name.into()
            };
            rows.entry(key).or_default().add(&line);
        }
    }
    rows
}

impl Row {
    fn add(&mut self, line: &Value) {
        self.runs += 1;
        let fault = line["fault"].as_str().unwrap_or_default().to_owned();
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
        for name in COUNTS {
            *self.counts.entry(name).or_default() += line[name].as_u64().unwrap_or(0);
        }
        let list =
            |name: &str| line[name].as_array().into_iter().flatten().filter_map(Value::as_f64).collect::<Vec<_>>();
        self.detection.extend(list("detection_ms"));
        self.recovery.extend(list("recovery_ms"));
        self.others.extend(line["others_ratio"].as_f64());
        for (name, value) in line["more"].as_object().into_iter().flatten() {
            self.more.insert(name.clone(), value.clone());
        }
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    fn is_met(&self, bound: &Bound) -> Option<(f64, bool)> {
        let spans = |list: &[f64], share: f64| (!list.is_empty()).then(|| quantile(list, share));
        let (value, met) = match bound {
            Bound::Recovery(ms) => (spans(&self.recovery, 0.99)?, *ms),
            Bound::Longest(ms) => (spans(&self.recovery, 1.0)?, *ms),
            Bound::Detection(ms) => (spans(&self.detection, 1.0)?, *ms),
            Bound::Most(name, most) => (self.more.get(*name)?.as_f64()?, *most),
            Bound::Others(least) => {
                let worst = self.others.iter().copied().reduce(f64::min)?;
                return Some((worst, worst >= *least));
            }
        };
        Some((value, value <= met))
    }
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

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('|', "/"),
        Value::Number(n) => {
            n.as_f64().map_or_else(|| n.to_string(), |v| if v.fract() == 0.0 { n.to_string() } else { number(v) })
        }
        Value::Object(map) => map.iter().map(|(k, v)| format!("{k} {}", plain(v))).collect::<Vec<_>>().join(", "),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The page. `head` says where, when and from what it was made.
pub fn page(folder: &Path, head: &str) -> String {
    let rows = read(folder);
    let mut text = format!(
        "# Faults: what was broken, and what it cost\n\n\
         Made by `scripts/faults` from what the tests themselves saw; do not edit. Spans are p50 / p99 / max in milliseconds.\n\n{head}\n"
    );
    targets(&rows, &mut text);
    matrix(&rows, &mut text);
    totals(&rows, &mut text);
    baseline(&rows, &mut text);
    others(&rows, &mut text);
    text.push_str(
        "\n## Doing it again\n\n\
         `scripts/faults --quick` takes some ten minutes, `scripts/faults` longer with more seeds and repetitions. One random\n\
         day: `cargo test --release --test random_day -- --seed 7`; for hours, with a report: `scripts/soak --hours 6`.\n",
    );
    text
}

fn targets(rows: &BTreeMap<String, Row>, text: &mut String) {
    text.push_str(
        "\n## Promises\n\n| promise | times | detection | recovery | measured | kept |\n|---|---|---|---|---|---|\n",
    );
    for (name, promise, bound) in &TARGETS {
        let line = match rows.get(*name) {
            None => format!("| {promise} | – | – | – | – | not measured: no line of `{name}` |"),
            Some(row) => {
                let (value, kept) = row.is_met(bound).map_or_else(
                    || ("–".to_owned(), "not measured"),
                    |(value, met)| (number(value), if met { "yes" } else { "**no**" }),
                );
                let times = row.count("injected").max(row.runs);
                format!(
                    "| {promise} | {times} | {} | {} | {value} | {kept} |",
                    spans(&row.detection),
                    spans(&row.recovery)
                )
            }
        };
        let _ = writeln!(text, "{line}");
    }
}

fn matrix(rows: &BTreeMap<String, Row>, text: &mut String) {
    text.push_str(
        "\n## The matrix\n\nX: the exchange and the network. P: the process. R: Redis.\n\n\
         | row | fault | injected | detected | survived | escalated | detection | recovery | events | lost / twice / disorder | others |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, fault) in ROWS {
        let Some(row) = rows.get(name) else {
            let _ = writeln!(
                text,
                "| {name} | {fault} | not measured: its test published no figure in this run | | | | | | | | |"
            );
            continue;
        };
        let ratio = row.others.iter().copied().reduce(f64::min).map_or_else(|| "–".to_owned(), number);
        let count = |what: &str| row.count(what);
        let _ = writeln!(
            text,
            "| {name} | {fault} | {} | {} | {} | {} | {} | {} | {} | {} / {} / {} | {ratio} |",
            count("injected"),
            count("detected"),
            count("survived"),
            count("escalated"),
            spans(&row.detection),
            spans(&row.recovery),
            count("events"),
            count("lost"),
            count("duplicated"),
            count("reordered"),
        );
    }
    text.push_str("\nDetected: by a counter or a record of the journal. Others: what the other rooms got done during the fault, over before it.\n");
    let told: Vec<_> = ROWS.iter().filter_map(|(name, _)| rows.get(*name).map(|row| (name, row))).collect();
    if told.iter().any(|(_, row)| !row.more.is_empty()) {
        text.push_str("\n### More of these rows\n\n");
        for (name, row) in told.iter().filter(|(name, row)| !row.more.is_empty() && **name != "P16") {
            let _ = writeln!(text, "- **{name}** {}", told_more(row));
        }
    }
}

fn told_more(row: &Row) -> String {
    let parts: Vec<String> = row.more.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect();
    parts.join("; ")
}

fn totals(rows: &BTreeMap<String, Row>, text: &mut String) {
    text.push_str("\n## Chaos, in total\n\n| | runs | faults | events | lost | twice | out of order |\n|---|---|---|---|---|---|---|\n");
    let chaos = ["P16", "storm", "chaos", "redis-chaos", "P1"];
    for name in chaos {
        let Some(row) = rows.get(name) else { continue };
        let c = |what: &str| row.count(what);
        let fault = row.faults.first().cloned().unwrap_or_default();
        let _ = writeln!(
            text,
            "| {name}: {fault} | {} | {} | {} | {} | {} | {} |",
            row.runs,
            c("injected"),
            c("events"),
            c("lost"),
            c("duplicated"),
            c("reordered"),
        );
    }
    for name in ["P16", "storm"] {
        if let Some(row) = rows.get(name) {
            let _ = writeln!(text, "\nThe newest run of {name}:\n");
            for (what, value) in &row.more {
                let _ = writeln!(text, "- {what}: {}", plain(value));
            }
        }
    }
}

fn baseline(rows: &BTreeMap<String, Row>, text: &mut String) {
    text.push_str(
        "\n## The same faults on plain actix\n\n`actix::Supervisor` as it comes, against the rooms of this crate; each case in a process of its own.\n\n\
         | fault | | sent | handled | set aside | refused | lost | restarts | longest queue | process |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut any = false;
    for row in rows.iter().filter(|(name, _)| name.starts_with("baseline")).map(|(_, row)| row) {
        any = true;
        for (world, title) in [("plain", "plain actix"), ("trapline", "trapline")] {
            let told = row.more.get(world).cloned().unwrap_or_default();
            let cell = |field: &str| told[field].as_u64().map_or_else(|| "–".to_owned(), |n| n.to_string());
            let process = if told["aborted"] == true { "**aborted**" } else { "lived" };
            let fault = if world == "plain" { row.faults.first().map_or("", String::as_str) } else { "" };
            let _ = writeln!(
                text,
                "| {fault} | {title} | {} | {} | {} | {} | {} | {} | {} | {process} |",
                cell("sent"),
                cell("handled"),
                cell("quarantined"),
                cell("refused"),
                cell("lost"),
                cell("restarts"),
                cell("waiting at most"),
            );
        }
    }
    if !any {
        text.push_str("| not measured in this run | | | | | | | | | |\n");
    }
}

/// Rows that are neither in the matrix nor shown above: costs and the like.
fn others(rows: &BTreeMap<String, Row>, text: &mut String) {
    let known =
        |name: &str| ROWS.iter().any(|(row, _)| *row == name) || name.starts_with("baseline") || name == "storm";
    let rest: Vec<_> = rows.iter().filter(|(name, _)| !known(name)).collect();
    if rest.is_empty() {
        return;
    }
    text.push_str("\n## Other figures\n\n");
    for (name, row) in rest {
        let mut parts = Vec::new();
        for (title, list) in [("detection", &row.detection), ("recovery", &row.recovery)] {
            if !list.is_empty() {
                parts.push(format!("{title} {} ms ({} times)", spans(list), list.len()));
            }
        }
        if !row.more.is_empty() {
            parts.push(told_more(row));
        }
        let _ = writeln!(text, "- **{name}**, {}: {}", row.faults.join("; "), parts.join("; "));
    }
}
