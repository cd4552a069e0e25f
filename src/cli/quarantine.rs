//! `trapline quarantine`: the messages that killed their room: list and show them from the files, replay or drop them
//! in the running daemon.

use super::ctl::{StateArgs, ask_stop, clock, printed, who};
use crate::ctl::Request;
use crate::error::{Exit, Stop};
use crate::supervise::{Quarantined, read_quarantine};
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::Path;

/// Arguments of `trapline quarantine`.
#[derive(Args, Clone, Debug)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    pub act: Act,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Act {
    /// List what is held; needs no running daemon
    Ls {
        #[command(flatten)]
        state: StateArgs,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one message with everything known about it
    Show {
        id: u64,
        #[command(flatten)]
        state: StateArgs,
    },
    /// Send one to its room once more, at the end of its queue (running daemon)
    Replay(ActArgs),
    /// Throw one away (running daemon)
    Drop(ActArgs),
}

#[derive(Args, Clone, Debug)]
pub struct ActArgs {
    pub id: u64,
    /// Why; the journal keeps it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
    #[command(flatten)]
    pub state: StateArgs,
}

pub(super) fn run(args: &QuarantineArgs) -> Result<Exit, Stop> {
    match &args.act {
        Act::Ls { state, json } => printed(list(&state.folder()?, *json)),
        Act::Show { id, state } => show(&state.folder()?, *id),
        Act::Replay(act) => {
            let request = Request::Replay { id: act.id, who: who(), why: act.why.clone() };
            ask_stop(&act.state.folder()?, &request)?;
            println!("{} replayed: see `trapline why q{}`", act.id, act.id);
            Ok(Exit::Ok)
        }
        Act::Drop(act) => {
            let request = Request::Drop { id: act.id, who: who(), why: act.why.clone() };
            ask_stop(&act.state.folder()?, &request)?;
            println!("{} dropped", act.id);
            Ok(Exit::Ok)
        }
    }
}

fn list(state: &Path, json: bool) -> std::io::Result<()> {
    let held = read_quarantine(state);
    let mut out = std::io::stdout().lock();
    if json {
        for entry in &held.entries {
            serde_json::to_writer(&mut out, entry)?;
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    if held.entries.is_empty() {
        return writeln!(out, "nothing in quarantine");
    }
    writeln!(out, "{:>6}  {:<23}  {:<18} {:<14} {:<7} CAUSE", "ID", "SINCE (UTC)", "ROOM", "KIND", "REPLAY")?;
    // What only lives in memory can be replayed only while its daemon runs.
    let running =
        crate::ctl::ask(state, &Request::Status).ok().and_then(|status| Some(status["boot"].as_str()?.to_owned()));
    for entry in &held.entries {
        let cause: String = entry.cause.chars().take(80).collect();
        let replay = match entry {
            Quarantined { never, .. } if !never.is_empty() => "no",
            Quarantined { saved: Some(_), .. } => "always",
            Quarantined { boot, .. } if running.as_ref() != Some(boot) => "no",
            _ => "live",
        };
        let (since, room, kind) = (clock(entry.at_ms), &entry.room, &entry.kind);
        writeln!(out, "{:>6}  {since:<23}  {room:<18} {kind:<14} {replay:<7} {cause}", entry.id)?;
    }
    writeln!(
        out,
        "REPLAY always: after a restart as well; live: only in the daemon that put it here; no: `show` says why"
    )
}

fn show(state: &Path, id: u64) -> Result<Exit, Stop> {
    let held = read_quarantine(state);
    let entry: &Quarantined =
        held.entries.iter().find(|entry| entry.id == id).ok_or_else(|| {
            Stop::usage(format!("no message {id} in quarantine; `trapline quarantine ls` lists them"))
        })?;
    let text = serde_json::to_string_pretty(entry).map_err(|e| Stop::unavailable(e.to_string()))?;
    println!("{text}");
    Ok(Exit::Ok)
}
