//! `trapline restarts`: what restarted, how often, why, how long it took, what it cost; from the journal alone.

use super::ctl::{StateArgs, clock, now_ms};
use crate::error::{Exit, Stop};
use crate::supervise::answers::{By, Restarts, Spans, restarts, span};
use crate::supervise::journal::read_journal;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::time::Duration;

/// Arguments of `trapline restarts`.
#[derive(Args, Clone, Debug)]
pub struct RestartsArgs {
    #[command(flatten)]
    pub state: StateArgs,
    /// How far back, e.g. 1h, 24h; compared with as long a time before
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = super::parse_span)]
    pub since: Duration,
    /// What a row stands for
    #[arg(long, default_value = "actor")]
    pub by: ByWord,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ByWord {
    Cause,
    Actor,
    /// Same room, place and message kind: the same trouble
    Fingerprint,
}

pub(super) fn run(args: &RestartsArgs) -> Result<Exit, Stop> {
    let state = args.state.folder()?;
    let until_ms = now_ms();
    let length = i64::try_from(args.since.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    let from_ms = until_ms - length;
    let journal = read_journal(&state, i64::MIN)
        .map_err(|e| Stop::unavailable(format!("{}: the journal cannot be read: {e}", state.display())))?;
    let by = match args.by {
        ByWord::Cause => By::Cause,
        ByWord::Actor => By::Actor,
        ByWord::Fingerprint => By::Fingerprint,
    };
    // The period ends with this very moment.
    let answer = restarts(&journal.entries, from_ms, until_ms + 1, by);
    let mut out = std::io::stdout().lock();
    let printed = if args.json {
        serde_json::to_writer(&mut out, &serde_json::json!({"answer": answer, "torn_lines": journal.torn}))
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
    } else if journal.entries.is_empty() {
        writeln!(out, "no journal in {}: has a daemon run with this state folder?", state.display())
    } else {
        print(&mut out, &answer, args.since, journal.torn)
    };
    super::ctl::printed(printed)
}

fn print(out: &mut impl Write, a: &Restarts, since: Duration, torn: u64) -> std::io::Result<()> {
    let length = span(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
    writeln!(out, "the last {length}, since {} UTC", clock(a.from_ms))?;
    let trend = match (a.before_is_partial, a.deaths_before) {
        (true, _) => format!("the journal does not reach back over the {length} before: no trend"),
        (false, before) => {
            let trend = match a.deaths.cmp(&before) {
                std::cmp::Ordering::Less => "fewer than",
                std::cmp::Ordering::Equal => "as many as",
                std::cmp::Ordering::Greater => "more than",
            };
            format!("{trend} the {before} of the {length} before")
        }
    };
    writeln!(out, "  deaths        {} ({trend}), {} restarts", a.deaths, a.restarts)?;
    writeln!(
        out,
        "  program       starts {}, of them {} after it ended without a word",
        a.starts, a.starts_after_kill
    )?;
    writeln!(out, "  escalations   {}; restarts by operators {}", a.cost.escalations, a.by_operator)?;
    writeln!(
        out,
        "  cost          {} messages quarantined ({} of them uncertain), {} left at a stop",
        a.cost.quarantined, a.cost.uncertain, a.cost.undelivered
    )?;
    if a.cost.records_lost + torn > 0 {
        writeln!(out, "  journal       {} records lost (each loss is stated), {torn} torn lines", a.cost.records_lost)?;
    }
    if !a.rows.is_empty() {
        writeln!(
            out,
            "\n{:<22} {:>6} {:>6} {:>8}  {:<19} {:<19} {:>5}  {:<23} WHY",
            "NAME", "DEATHS", "BEFORE", "RESTARTS", "READY p50/max", "WORKS p50/max", "QUAR.", "LAST (UTC)"
        )?;
    }
    for row in &a.rows {
        let causes: Vec<_> = row.causes.iter().map(|(cause, n)| format!("{cause} {n}")).collect();
        writeln!(
            out,
            "{:<22} {:>6} {:>6} {:>8}  {:<19} {:<19} {:>5}  {:<23} {}",
            row.name,
            row.deaths,
            row.deaths_before,
            row.restarts,
            pair(&row.ready),
            pair(&row.works),
            row.quarantined,
            if row.last_ms > 0 { clock(row.last_ms) } else { "-".to_owned() },
            causes.join(", "),
        )?;
        if !row.last_text.is_empty() {
            let at = if row.last_location.is_empty() { String::new() } else { format!(" at {}", row.last_location) };
            // A row by cause or fingerprint does not say whose deaths these were.
            let rooms =
                if row.rooms.contains(&row.name) { String::new() } else { format!(" in {}", list(row.rooms.iter())) };
            writeln!(out, "    last: {:?}{rooms}{at}  [{}]", row.last_text, list(row.fingerprints.iter()))?;
        }
    }
    if !a.cost.stale.is_empty() {
        writeln!(out, "\n{:<32} {:>5}  {:<14} {:<14}", "STALE KEY", "TIMES", "TOTAL", "LONGEST")?;
        for key in &a.cost.stale {
            let open = if key.open { "  still" } else { "" };
            let (total, longest) = (span(key.total_ms * 1_000), span(key.longest_ms * 1_000));
            writeln!(out, "{:<32} {:>5}  {total:<14} {longest:<14}{open}", key.key, key.times)?;
        }
    }
    writeln!(out, "\nmore: trapline why NAME (a room, a key, a fingerprint, a number of the quarantine)")
}

fn pair(spans: &Spans) -> String {
    if spans.max_us == 0 { "-".to_owned() } else { format!("{} / {}", span(spans.p50_us), span(spans.max_us)) }
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.take(4).cloned().collect::<Vec<_>>().join(" ")
}
