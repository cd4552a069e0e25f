//! `trapline status`: the live tree of a running daemon, asked over its control socket.

use super::ctl::{StateArgs, ask_stop, printed};
use crate::ctl::Request;
use crate::error::{Exit, Stop};
use crate::supervise::answers::span;
use clap::Args;
use serde_json::Value;
use std::io::Write;

/// Arguments of `trapline status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    pub state: StateArgs,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &StatusArgs) -> Result<Exit, Stop> {
    let status = ask_stop(&args.state.folder()?, &Request::Status)?;
    let mut out = std::io::stdout().lock();
    printed(if args.json { writeln!(out, "{status}") } else { print(&mut out, &status) })
}

fn print(out: &mut impl Write, status: &Value) -> std::io::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let ms = |value: &Value| span(value.as_u64().unwrap_or(0).saturating_mul(1_000));
    let up = status["now_ms"].as_i64().unwrap_or(0) - status["started_ms"].as_i64().unwrap_or(0);
    writeln!(
        out,
        "trapline {} pid {} up {}  boot {}  quarantined {}  abandoned threads {}  drills {}",
        text(&status["version"]),
        status["pid"],
        span(u64::try_from(up).unwrap_or(0).saturating_mul(1_000)),
        text(&status["boot"]),
        status["quarantined"],
        status["zombies"],
        if status["drills_allowed"] == true { "allowed" } else { "not allowed" },
    )?;
    if status["journal"]["degraded"] == true {
        writeln!(out, "the journal is not written: is the disk full?")?;
    }
    writeln!(
        out,
        "\n{:<11} {:<22} {:<10} {:>12} {:>8} {:>12} {:>10} {:>8} {:>9} {:>9}  LAST DEATH",
        "GROUP", "ROOM", "STATE", "UPTIME", "RESTARTS", "MAILBOX", "HANDLED", "REFUSED", "PROGRESS", "p99"
    )?;
    for room in status["rooms"].as_array().into_iter().flatten() {
        let mailbox = format!("{}/{}", room["depth"], room["capacity"]);
        let state = match room["next_try_ms"].as_u64() {
            Some(wait) => format!("{} {}", text(&room["state"]), span(wait * 1_000)),
            None => text(&room["state"]),
        };
        writeln!(
            out,
            "{:<11} {:<22} {:<10} {:>12} {:>8} {:>12} {:>10} {:>8} {:>9} {:>9}  {}",
            text(&room["group"]),
            text(&room["name"]),
            state,
            ms(&room["uptime_ms"]),
            room["restarts_total"].to_string(),
            mailbox,
            room["handled"].to_string(),
            room["refused"].to_string(),
            ms(&room["progress_age_ms"]),
            quantile(&room["handle_times"]["buckets"]),
            room["last_cause"].as_str().unwrap_or(""),
        )?;
    }
    Ok(())
}

/// The upper end of the bucket that holds the 99th percentile of handle times.
fn quantile(buckets: &Value) -> String {
    let mut times = crate::supervise::HandleTimes::default();
    for (mine, theirs) in times.buckets.iter_mut().zip(buckets.as_array().into_iter().flatten()) {
        *mine = theirs.as_u64().unwrap_or(0);
    }
    match times.quantile_us(0.99) {
        0 => "-".to_owned(),
        us => span(us),
    }
}
