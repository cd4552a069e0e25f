//! `trapline replay` on the recorded tapes, held to floors: found traps and announced pumps against the labels that were
//! made with hindsight. The tapes lie in `../shared/tapes` or in `TRAPLINE_TAPES`; without them the tests say that they
//! were skipped, and fail where `TRAPLINE_REQUIRE_TAPES=1`.

use rust_decimal::Decimal;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use trapline::cli::replay::{self, Summary};
use trapline::domain::trap::TrapSettings;

const MINUTE_MS: i64 = 60_000;
/// Alarms closer than this are one, as in the scorer of the labels.
const DEDUPE_MS: i64 = 300_000;

fn tapes_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("TRAPLINE_TAPES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tapes"), PathBuf::from);
    if dir.join("open").is_dir() {
        return Some(dir);
    }
    let required = std::env::var("TRAPLINE_REQUIRE_TAPES").is_ok_and(|v| v == "1");
    assert!(!required, "no tapes in {}, but TRAPLINE_REQUIRE_TAPES=1: set TRAPLINE_TAPES", dir.display());
    // Past the test harness's capture, so that it is seen in a green run.
    let _ = writeln!(std::io::stderr(), "SKIPPED: no tapes in {} (set TRAPLINE_TAPES)", dir.display());
    None
}

fn tapes(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut list: Vec<_> = std::fs::read_dir(dir.join("open"))
        .expect("tapes folder")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect();
    list.sort();
    assert!(!list.is_empty(), "no tape begins with {prefix}");
    list
}

fn replay_json(tapes: &[PathBuf], settings: &TrapSettings) -> (Summary, String) {
    let mut out = Vec::new();
    let summary = replay::run_with(tapes, settings, true, &mut out).expect("replay");
    (summary, String::from_utf8(out).expect("text"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn number(row: &Value, field: &str) -> i64 {
    row[field].as_i64().unwrap_or_else(|| panic!("{field} in {row}"))
}

fn word<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field} in {row}"))
}

fn labels(dir: &Path, file: &str) -> Vec<Value> {
    lines(&std::fs::read_to_string(dir.join("labels/open").join(file)).expect("labels"))
}

/// Times of the alarms of a symbol, in order, without those that follow another within five minutes.
fn alarms(rows: &[Value], wanted: impl Fn(&Value) -> bool) -> Vec<i64> {
    let mut times: Vec<i64> = rows.iter().filter(|row| wanted(row)).map(|row| number(row, "ts")).collect();
    times.sort_unstable();
    let mut kept: Vec<i64> = Vec::new();
    for time in times {
        if kept.last().is_none_or(|last| time - last >= DEDUPE_MS) {
            kept.push(time);
        }
    }
    kept
}

#[derive(Debug, Default)]
struct Score {
    alarms: usize,
    good_alarms: usize,
    labels: usize,
    hit: usize,
    /// Seconds before the peak, of the labels that were hit.
    lead_s: Vec<f64>,
}

impl Score {
    fn precision(&self) -> f64 {
        self.good_alarms as f64 / self.alarms.max(1) as f64
    }

    fn recall(&self) -> f64 {
        self.hit as f64 / self.labels.max(1) as f64
    }

    fn f1(&self) -> f64 {
        let (p, r) = (self.precision(), self.recall());
        if p + r > 0.0 { 2.0 * p * r / (p + r) } else { 0.0 }
    }

    fn median_lead_s(&self) -> f64 {
        let mut lead = self.lead_s.clone();
        lead.sort_by(f64::total_cmp);
        lead.get(lead.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn score_sweeps(dir: &Path, settings: &TrapSettings) -> Score {
    let (_, text) = replay_json(&tapes(dir, "bitmex"), settings);
    let found = alarms(&lines(&text), |row| word(row, "type") != "pump");
    let labels = labels(dir, "labels-open-bitmex.jsonl");
    let inside =
        |time: i64, label: &Value| (number(label, "t_start")..=number(label, "t_end") + MINUTE_MS).contains(&time);
    Score {
        alarms: found.len(),
        good_alarms: found.iter().filter(|t| labels.iter().any(|label| inside(**t, label))).count(),
        labels: labels.len(),
        hit: labels.iter().filter(|label| found.iter().any(|t| inside(*t, label))).count(),
        lead_s: Vec::new(),
    }
}

fn score_pumps(dir: &Path, settings: &TrapSettings) -> Score {
    let mut score = Score::default();
    let labels: HashMap<String, Value> = labels(dir, "labels-open-pumps.jsonl")
        .into_iter()
        .filter(|label| word(label, "type") == "pump_dump")
        .map(|label| (word(&label, "tape").to_owned(), label))
        .collect();
    assert!(!labels.is_empty());
    for tape in tapes(dir, "pump-") {
        let name = tape.file_name().expect("name").to_string_lossy().into_owned();
        // One tape a replay: they are four days around one event each.
        let (_, text) = replay_json(&[tape], settings);
        let found = alarms(&lines(&text), |row| word(row, "type") == "pump");
        let Some(label) = labels.get(&name) else {
            score.alarms += found.len();
            continue;
        };
        score.labels += 1;
        let (announced, peak) = (number(label, "announced"), number(label, "t_ext"));
        let event = announced - MINUTE_MS..=peak.max(announced) + MINUTE_MS;
        // What the pump does to the market around it is neither right nor wrong.
        let around = announced - 10 * MINUTE_MS..=number(label, "t_end") + 60 * MINUTE_MS;
        score.alarms += found.iter().filter(|t| event.contains(t) || !around.contains(t)).count();
        score.good_alarms += found.iter().filter(|t| event.contains(t)).count();
        if let Some(first) = found.iter().find(|t| event.contains(t)) {
            score.hit += 1;
            score.lead_s.push((peak - first) as f64 / 1_000.0);
        }
    }
    score
}

#[test]
fn failed_sweeps_are_found_on_the_recorded_days() {
    let Some(dir) = tapes_dir() else { return };
    let score = score_sweeps(&dir, &TrapSettings::default());
    println!("sweeps: precision {:.3}, recall {:.3}, F1 {:.3}", score.precision(), score.recall(), score.f1());
    assert!(score.labels >= 20, "{score:?}");
    assert!(score.f1() >= 0.90, "{score:?}");
    assert!(score.precision() >= 0.85 && score.recall() >= 0.85, "{score:?}");
}

#[test]
fn announced_pumps_are_found_before_their_peak() {
    let Some(dir) = tapes_dir() else { return };
    let score = score_pumps(&dir, &TrapSettings::default());
    println!(
        "pumps: precision {:.3}, recall {:.3}, median lead {:.1} s",
        score.precision(),
        score.recall(),
        score.median_lead_s()
    );
    assert!(score.recall() >= 0.95, "{score:?}");
    assert!(score.precision() >= 0.70, "{score:?}");
    assert!(score.median_lead_s() >= 25.0, "{score:?}");
}

#[test]
fn no_threshold_is_a_needle() {
    let Some(dir) = tapes_dir() else { return };
    type Turn = fn(&mut TrapSettings, f64);
    let sweeps: [(&str, Turn); 3] = [
        ("excursion", |s, by| s.min_excursion_sigma *= by),
        ("volume", |s, by| s.volume_ratio *= by),
        ("range", |s, by| s.range_window_s = (s.range_window_s as f64 * by) as i64),
    ];
    for (name, turn) in sweeps {
        for by in [0.8, 1.2] {
            let mut settings = TrapSettings::default();
            turn(&mut settings, by);
            let score = score_sweeps(&dir, &settings);
            println!("{name} x {by}: F1 {:.3}", score.f1());
            assert!(score.f1() >= 0.65, "{name} x {by}: {score:?}");
        }
    }
}

#[test]
fn a_replay_is_the_same_to_the_byte_and_carries_state_over_tapes() {
    let Some(dir) = tapes_dir() else { return };
    let both = tapes(&dir, "bitmex");
    let settings = TrapSettings::default();
    let (summary, first) = replay_json(&both, &settings);
    assert_eq!(first, replay_json(&both, &settings).1);
    assert_eq!(summary.traps as usize, first.lines().count());
    assert_eq!(summary.trades, summary.rows - summary.refused);
    let mut ids: Vec<_> = lines(&first).iter().map(|row| word(row, "id").to_owned()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), first.lines().count(), "each trap has its own id");

    // The second day alone has to warm up for an hour; after the first day it does not.
    let starts = |text: &str| lines(text).iter().map(|row| number(row, "started_ts")).collect::<Vec<_>>();
    let alone = starts(&replay_json(&both[1..], &settings).1);
    let joined = starts(&first);
    assert!(alone.iter().all(|start| joined.contains(start)) && joined.len() > alone.len());

    // A tape from before begins anew instead of mixing the days.
    let backward = starts(&replay_json(&[both[1].clone(), both[0].clone()], &settings).1);
    let one_by_one = [alone, starts(&replay_json(&both[..1], &settings).1)].concat();
    assert_eq!(backward, one_by_one);
}

#[test]
fn tapes_without_trades_give_no_traps_and_no_error() {
    let Some(dir) = tapes_dir() else { return };
    let list = [tapes(&dir, "candles-btcperp"), tapes(&dir, "frames-")].concat();
    let (summary, text) = replay_json(&list, &TrapSettings::default());
    assert_eq!((text.as_str(), summary.trades, summary.traps), ("", 0, 0));
    assert_eq!(summary.tapes_without_trades as usize, list.len());
    assert!(summary.rows > 0);
}

fn made_tape(rows: &[String]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    let count = rows.len();
    writeln!(file, r#"{{"kind":"meta","tape":"made","rows":{count},"symbols":["X"],"first_ts":0,"last_ts":1}}"#)
        .expect("write");
    for row in rows {
        writeln!(file, "{row}").expect("write");
    }
    file
}

/// A calm market for seventy minutes, a sweep above it, and the way back.
fn swept() -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = |sec: i64, price: Decimal, size: i64| {
        let ts = sec * 1_000;
        rows.push(format!(
            r#"{{"ts":{ts},"kind":"trade","symbol":"X","price":"{price}","size":"{size}","side":"buy","id":"{sec}"}}"#
        ));
    };
    for sec in 0..4_200 {
        row(sec, Decimal::new(10_000 + sec * 7_919 % 11 - 5, 2), 1);
    }
    for n in 1..=20 {
        row(4_200 + n, Decimal::new(10_000 + 2 * n, 2), 8);
        row(4_220 + n, Decimal::new(10_040 - 3 * n, 2), 1);
    }
    row(4_250, Decimal::new(10_000, 2), 1);
    rows.sort_by_key(|row| number(&serde_json::from_str(row).expect("JSON"), "ts"));
    rows
}

#[test]
fn a_line_has_its_fields_in_order_and_plain_numbers() {
    let tape = made_tape(&swept());
    let (summary, text) = replay_json(&[tape.path().to_owned()], &TrapSettings::default());
    assert_eq!(summary.traps, 1, "{text}");
    let trap = &lines(&text)[0];
    let expected = format!(
        "{{\"kind\":\"trap\",\"ts\":{},\"symbol\":\"X\",\"type\":\"{}\",\"probability\":{},\"price\":{},\"volume\":{},\
         \"started_ts\":{},\"id\":\"{}\"}}\n",
        trap["ts"],
        word(trap, "type"),
        trap["probability"],
        trap["price"],
        trap["volume"],
        trap["started_ts"],
        word(trap, "id")
    );
    assert_eq!(text, expected);
    let mut table = Vec::new();
    replay::run(&[tape.path().to_owned()], false, &mut table).expect("replay");
    let table = String::from_utf8(table).expect("text");
    assert!(table.starts_with("time") && table.contains("1970-01-01T01:10") && table.contains("1 traps"), "{table}");
}

#[test]
fn what_cannot_be_true_is_refused_and_counted() {
    let mut rows = swept();
    let bad = |ts: i64, price: &str, size: &str, id: &str| {
        format!(
            r#"{{"ts":{ts},"kind":"trade","symbol":"X","price":"{price}","size":"{size}","side":"buy","id":"{id}"}}"#
        )
    };
    let clean = made_tape(&rows);
    rows.insert(100, bad(99_000, "0", "1", "a"));
    rows.insert(101, bad(99_000, "100", "-1", "b"));
    rows.insert(102, bad(99_000, "900", "1", "c"));
    rows.insert(103, bad(1_000, "100", "1", "d"));
    rows.insert(104, rows[99].clone());
    let dirty = made_tape(&rows);
    let settings = TrapSettings::default();
    let (summary, text) = replay_json(&[dirty.path().to_owned()], &settings);
    assert_eq!(summary.refused, 5, "{summary:?}");
    assert_eq!(text, replay_json(&[clean.path().to_owned()], &settings).1, "refused rows change nothing");
}

#[test]
fn a_tape_that_is_not_there_says_what_to_do() {
    let error = replay::run(&["/nowhere/tape.gz".into()], true, &mut Vec::new()).expect_err("no such tape");
    assert!(error.message.contains("/nowhere/tape.gz") && error.message.contains("check the path"), "{error}");
    let bad = made_tape(&["{".to_owned()]);
    let error = replay::run(&[bad.path().to_owned()], true, &mut Vec::new()).expect_err("a broken row");
    assert!(error.message.contains("line 2"), "{error}");
}
