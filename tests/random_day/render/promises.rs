//! Promises of the design, each against the row that shows it.

use super::{Row, Rows, number, quantile, spans};
use std::fmt::Write as _;

/// Which figure of a row is held against which bound. Of several runs the worst one counts.
enum Bound {
    /// 99 % of the recoveries, ms.
    Recovery(f64),
    /// The longest, ms.
    Longest(f64),
    /// The longest detection, ms.
    Detection(f64),
    /// A figure by name, at most.
    Most(&'static str, f64),
    /// A figure by name, less than.
    Below(&'static str, f64),
    /// What the others got done, at least this share.
    Others(f64),
    /// No event lost, twice or out of order, and one run with at least so many.
    Events(u64),
    /// MiB a day, at most, beyond twice the error, from runs that saw an hour.
    Slope(f64),
}

const TARGETS: [(&str, &str, Bound); 22] = [
    ("P16", "events lost / twice / out of order: 0 / 0 / 0 in ≥ 100 000 of one run", Bound::Events(100_000)),
    ("P16", "state regressions: 0", Bound::Most("state regressions", 0.0)),
    ("P16", "secrets in any output: 0", Bound::Most("secrets found", 0.0)),
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
    // Less than a page of memory for each is none.
    ("leaks", "memory per death: 0, that is less than 4 KiB", Bound::Below("RSS KiB per death", 4.0)),
    ("leaks", "resident after many deaths: < 64 MiB", Bound::Below("RSS MiB", 64.0)),
    ("P16", "resident at most in the random day: < 64 MiB", Bound::Below("RSS max MiB", 64.0)),
    (
        "P16",
        "memory per day of the random day, without pages of the program's file: 0, that is at most 1 MiB beyond twice the error",
        Bound::Slope(1.0),
    ),
];

/// What was measured, and whether the promise was kept; `Err` says why nothing is said.
fn judge(row: &Row, bound: &Bound) -> Result<(String, bool), String> {
    let none = || "not measured".to_owned();
    let span = |list: Vec<f64>, share: f64| if list.is_empty() { Err(none()) } else { Ok(quantile(&list, share)) };
    let (value, kept) = match bound {
        Bound::Recovery(ms) => span(row.recovery(), 0.99).map(|v| (v, v <= *ms))?,
        Bound::Longest(ms) => span(row.recovery(), 1.0).map(|v| (v, v <= *ms))?,
        Bound::Detection(ms) => span(row.detection(), 1.0).map(|v| (v, v <= *ms))?,
        Bound::Most(name, most) => row.most(name).map(|v| (v, v <= *most)).ok_or_else(none)?,
        Bound::Below(name, limit) => row.most(name).map(|v| (v, v < *limit)).ok_or_else(none)?,
        Bound::Others(least) => row.others().map(|v| (v, v >= *least)).ok_or_else(none)?,
        Bound::Events(least) => return Ok(events(row, *least)),
        Bound::Slope(most) => return slope(row, *most),
    };
    Ok((number(value), kept))
}

fn events(row: &Row, least: u64) -> (String, bool) {
    let wrong = ["lost", "duplicated", "reordered"].map(|name| row.count(name));
    let largest = row.lines.iter().filter_map(|line| line["events"].as_u64()).max().unwrap_or(0);
    let [lost, twice, disorder] = wrong;
    let told = format!(
        "{lost} / {twice} / {disorder} in {largest} events of the largest run, {} of all {}",
        row.count("events"),
        row.runs()
    );
    (told, wrong == [0; 3] && largest >= least)
}

fn slope(row: &Row, most: f64) -> Result<(String, bool), String> {
    const HOURS_LEAST: f64 = 1.0;
    let mut long = Vec::new();
    let mut longest: f64 = 0.0;
    for line in &row.lines {
        let (kib, hours) = (&line["more"]["own memory slope KiB/h"], &line["more"]["hours the slope was seen over"]);
        let (Some(kib), Some(hours)) = (kib.as_f64(), hours.as_f64()) else { continue };
        longest = longest.max(hours);
        if hours >= HOURS_LEAST {
            let error = line["more"]["error of the slope KiB/h"].as_f64().unwrap_or(0.0);
            let day = |kib: f64| kib * 24.0 / 1_024.0;
            long.push((day(kib), 2.0 * day(error), hours));
        }
    }
    let surely = |run: &(f64, f64, f64)| run.0 - run.1;
    let Some((mib, error, hours)) = long.into_iter().reduce(|a, b| if surely(&a) >= surely(&b) { a } else { b }) else {
        let seen =
            if longest > 0.0 { format!("seen over {} h", number(longest)) } else { "runs were short".to_owned() };
        return Err(format!("not judged: {seen}, an hour of long lives is wanted (`scripts/soak --one-life`)"));
    };
    let told = format!("{} ± {} MiB, seen over {} h", number(mib), number(error), number(hours));
    Ok((told, mib - error <= most))
}

pub fn write(rows: &Rows, text: &mut String) {
    text.push_str(
        "\n## Promises\n\n| promise | times | detection | recovery | measured | kept |\n|---|---|---|---|---|---|\n",
    );
    for (name, promise, bound) in &TARGETS {
        let Some(row) = rows.get(*name) else {
            let _ = writeln!(text, "| {promise} | – | – | – | – | not measured: no line of `{name}` |");
            continue;
        };
        let (value, kept) = match judge(row, bound) {
            Ok((value, kept)) => (value, if kept { "yes" } else { "**no**" }.to_owned()),
            Err(why) => ("–".to_owned(), why),
        };
        // Where no span is held against a bound, the row's spans would only mislead.
        let timed = matches!(bound, Bound::Recovery(_) | Bound::Longest(_) | Bound::Detection(_));
        let told = |list: Vec<f64>| if timed { spans(&list) } else { "–".to_owned() };
        let times = row.count("injected").max(row.runs());
        let (found, back) = (told(row.detection()), told(row.recovery()));
        let _ = writeln!(text, "| {promise} | {times} | {found} | {back} | {value} | {kept} |");
    }
}
