//! `trapline why`: the one story behind a restart, a stale key, a quarantined message or a refused frame.

use super::ctl::{StateArgs, clock};
use crate::error::{Exit, Stop};
use crate::supervise::answers::{Story, why};
use crate::supervise::journal::read_journal;
use crate::upkeep::legacy::owned;
use clap::Args;
use std::io::Write;

/// Arguments of `trapline why`.
#[derive(Args, Clone, Debug)]
pub struct WhyArgs {
    /// A room, a key (trapline:BTCUSDT:market_state), a fingerprint, a number of the quarantine, a boot, a reason
    #[arg(value_name = "ACTOR|KEY|ID")]
    pub about: String,
    #[command(flatten)]
    pub state: StateArgs,
    /// How far back; default: as far as the journal goes
    #[arg(long, value_name = "TIME", value_parser = super::parse_span)]
    pub since: Option<std::time::Duration>,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &WhyArgs) -> Result<Exit, Stop> {
    let state = args.state.folder()?;
    let since = args.since.and_then(|since| i64::try_from(since.as_millis()).ok());
    let from_ms = since.map_or(i64::MIN, |since| super::ctl::now_ms().saturating_sub(since));
    let journal = read_journal(&state, from_ms)
        .map_err(|e| Stop::unavailable(format!("{}: the journal cannot be read: {e}", state.display())))?;
    let mut story = why(&journal.entries, &args.about);
    if story.about.is_empty() && owned(args.about.as_bytes()).is_some() {
        // A key of ours of which nothing is written: that is an answer, too.
        story = Story { about: "key", ..Story::default() };
        let first = journal.entries.first().map_or_else(super::ctl::now_ms, |entry| entry.at_ms);
        story.lines.push((first, "from here on the journal has no mark that this key was stale".to_owned()));
    }
    if story.about.is_empty() {
        if args.json {
            let text = serde_json::to_string(&story).unwrap_or_default();
            super::ctl::printed(writeln!(std::io::stdout(), "{text}"))?;
        }
        let known = if story.known.is_empty() { "the journal is empty".to_owned() } else { story.known.join(", ") };
        return Err(Stop::unavailable(format!("nothing is known about {:?}; known: {known}", args.about)));
    }
    let mut out = std::io::stdout().lock();
    let printed = if args.json {
        serde_json::to_writer(&mut out, &story).map_err(std::io::Error::from).and_then(|()| out.write_all(b"\n"))
    } else {
        let mut told = writeln!(out, "{} {}", story.about, args.about);
        if story.left_out > 0 {
            told = told
                .and_then(|()| writeln!(out, "  ({} older lines left out: narrow it with --since)", story.left_out));
        }
        story
            .lines
            .iter()
            .fold(told, |told, (at_ms, text)| told.and_then(|()| writeln!(out, "  {}  {text}", clock(*at_ms))))
    };
    super::ctl::printed(printed)
}
