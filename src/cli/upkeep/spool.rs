//! `trapline spool`: events on disk on their way to Redis.

use crate::cli::ctl::{StateArgs, clock, printed};
use crate::config::{Config, Env};
use crate::error::{Exit, Stop};
use crate::upkeep::spool::{SPOOL_FILE, SpoolFile, files, look};
use crate::upkeep::{UpkeepError, bytes_shown};
use clap::{Args, Subcommand};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

pub const TEACH: &str = "\
Every event is on disk before Redis hears of it, and stays there for a day. These commands read a copy, so they may run
beside the daemon, and a damaged file stays as it is.

  trapline spool ls                          what each file holds
  trapline spool verify --config trapline.toml     exit 1 if a number is missing or a record cannot be read
  trapline spool export --state DIR > events.jsonl  each record with the commands that it stands for
  trapline spool export --since 1200 --kind trap

Exit codes: 0 ok · 1 a spool is damaged · 64 usage · 69 there is none";

/// Arguments of `trapline spool`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = TEACH)]
pub struct SpoolArgs {
    #[command(subcommand)]
    pub act: Act,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Act {
    /// What each file holds, those that were put aside included
    Ls(LookArgs),
    /// Reads everything; exit 1 if a number is missing or a record cannot be read
    Verify(LookArgs),
    /// Records as JSON lines
    Export(ExportArgs),
}

#[derive(Args, Clone, Debug)]
pub struct LookArgs {
    #[command(flatten)]
    pub state: StateArgs,
    /// One JSON object a file
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    pub state: StateArgs,
    /// Another file than the daemon's, e.g. one that was put aside
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// From this number on
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub since: u64,
    /// Up to this number
    #[arg(long, value_name = "NUMBER", default_value_t = u64::MAX)]
    pub until: u64,
    /// Only these: trap, fill or alert
    #[arg(long, value_name = "WORD")]
    pub kind: Option<String>,
}

pub(in crate::cli) fn run(args: &SpoolArgs) -> Result<Exit, Stop> {
    match &args.act {
        Act::Ls(look) => list(look, false),
        Act::Verify(look) => list(look, true),
        Act::Export(export) => self::export(export),
    }
}

/// The folder that the daemon of this state or configuration uses.
fn folder(args: &StateArgs) -> Result<PathBuf, Stop> {
    match &args.config {
        Some(file) => Ok(crate::cli::validate::load(file)?.spool_dir(&Env::from_process())),
        None if args.state.is_none() => Ok(Config::default().spool_dir(&Env::from_process())),
        None => Ok(args.folder()?.join("spool")),
    }
}

fn list(args: &LookArgs, verify: bool) -> Result<Exit, Stop> {
    let folder = folder(&args.state)?;
    let files = files(&folder);
    if files.is_empty() {
        return Err(Stop::unavailable(format!("no spool in {}: has a daemon run with this state?", folder.display())));
    }
    let mut bad = Vec::new();
    for file in files {
        let found = look(&file, |_| {}).map_err(Stop::from)?;
        let line = if args.json { serde_json::to_string(&found).unwrap_or_default() } else { text(&found) };
        printed(writeln!(std::io::stdout().lock(), "{line}"))?;
        // What was put aside is known to be damaged: it is listed, and counts against nobody.
        if !found.trouble.is_empty() && file.ends_with(SPOOL_FILE) {
            bad.push(format!("{}: {}", file.display(), found.trouble.join("; ")));
        }
    }
    if bad.is_empty() || !verify {
        return Ok(Exit::Ok);
    }
    Err(UpkeepError::Violated(format!("{}; the daemon puts such a file aside and goes on", bad.join("\n"))).into())
}

fn text(found: &SpoolFile) -> String {
    let head = format!("{}  {} on disk", found.file.display(), bytes_shown(found.bytes));
    let holds = match &found.holds {
        None => "\n  cannot be read".to_owned(),
        Some(h) if h.records == 0 => format!("\n  generation {}, empty, last number {}", h.generation, h.last),
        Some(h) => {
            let kinds: Vec<String> = h.kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            format!(
                "\n  generation {}, {} records {} to {}, {}\n  {} to {} UTC\n  {}",
                h.generation,
                h.records,
                h.first,
                h.last,
                bytes_shown(h.record_bytes),
                clock(h.first_ms),
                clock(h.last_ms),
                kinds.join(", ")
            )
        }
    };
    let trouble: String = found.trouble.iter().map(|t| format!("\n  TROUBLE {t}")).collect();
    format!("{head}{holds}{trouble}")
}

fn export(args: &ExportArgs) -> Result<Exit, Stop> {
    let file = match &args.file {
        Some(file) => file.clone(),
        None => folder(&args.state)?.join(SPOOL_FILE),
    };
    if !file.exists() {
        return Err(Stop::unavailable(format!("there is no spool at {}", file.display())));
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    let found = look(&file, |record| {
        let wanted = (args.since..=args.until).contains(&record.seq)
            && args.kind.as_ref().is_none_or(|kind| *kind == record.kind);
        if wanted && written.is_ok() {
            written = serde_json::to_writer(&mut out, record)
                .map_err(std::io::Error::from)
                .and_then(|()| out.write_all(b"\n"));
        }
    })?;
    printed(written.and_then(|()| out.flush()))?;
    if found.trouble.is_empty() {
        return Ok(Exit::Ok);
    }
    Err(UpkeepError::Violated(format!("{}: {}", file.display(), found.trouble.join("; "))).into())
}
