//! `trapline migrate`: keys of a foreign type are put aside.

use super::{RedisArgs, show, wait};
use crate::cli::ctl::{now_ms, printed};
use crate::error::{Exit, Stop};
use crate::upkeep::beside::daemons;
use crate::upkeep::migrate::{Outcome, apply, is_safe, plan};
use crate::upkeep::progress::Progress;
use clap::Args;
use std::io::Write;

pub const TEACH: &str = "\
Compares the type of each key of the contract (`trapline keys`) with what is there. A key of a foreign type, say a JSON
text where trapline writes a hash, is renamed to legacy:KEY:MS and kept without expiry; nothing is deleted. Doing it
twice does nothing the second time.

  trapline migrate --config trapline.toml            the plan
  trapline migrate --config trapline.toml --check    for scripts: exit 1 if a key has a foreign type
  trapline migrate --config trapline.toml --apply

To put one back: redis-cli RENAME legacy:KEY:MS KEY.

Exit codes: 0 ok · 1 --check found keys of a foreign type · 64 usage · 69 Redis or the journal is not there ·
75 a daemon runs, or another program keeps writing · 78 login";

/// Arguments of `trapline migrate`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = TEACH, after_help = "Examples: trapline help migrate")]
pub struct MigrateArgs {
    #[command(flatten)]
    pub redis: RedisArgs,
    /// Rename what the plan shows
    #[arg(long)]
    pub apply: bool,
    /// Change nothing; exit 1 if there is something to rename
    #[arg(long, conflicts_with = "apply")]
    pub check: bool,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

pub(in crate::cli) fn run(args: &MigrateArgs) -> Result<Exit, Stop> {
    let place = args.redis.place()?;
    wait(async {
        let mut server = place.door.open().await?;
        let plan = plan(&mut server, place.format, &mut Progress::new("keys looked at")).await?;
        let shown = |outcome: Option<&Outcome>| {
            if args.json {
                let whole = serde_json::json!({"plan": plan, "outcome": outcome});
                // A reader that went away does not stop the act.
                let _ = printed(writeln!(std::io::stdout().lock(), "{whole}"));
            }
        };
        if !args.json {
            let _ = show(&plan, false);
        }
        if !args.apply || plan.moves.is_empty() {
            if !args.json && !args.check && !plan.moves.is_empty() {
                println!("nothing was changed: --apply renames them");
            }
            shown(None);
            return Ok(if args.check && !plan.moves.is_empty() { Exit::Violated } else { Exit::Ok });
        }
        is_safe(&plan, &daemons(&mut server).await?, now_ms())?;
        // Each rename is a line of its own.
        let about = serde_json::json!({"keys": plan.moves.len(), "more": plan.more});
        let mut act = place.act("migrate", &about)?;
        let mut progress = Progress::new("keys renamed");
        let outcome = match apply(&mut server, &plan, &mut act, now_ms(), &mut progress).await {
            Ok(outcome) => outcome,
            Err(error) => return Err(act.failed(error)),
        };
        act.done(serde_json::to_value(&outcome).unwrap_or_default())?;
        if !args.json {
            println!("renamed {} keys", outcome.renamed);
        }
        shown(Some(&outcome));
        Ok(Exit::Ok)
    })
}
