//! `trapline clean-simulation`: removes what simulations left.

use super::{RedisArgs, show, wait};
use crate::cli::ctl::{now_ms, printed};
use crate::error::{Exit, Stop};
use crate::upkeep::UpkeepError;
use crate::upkeep::backup::fresh;
use crate::upkeep::clean::{apply, plan};
use crate::upkeep::progress::Progress;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

pub const TEACH: &str = "\
Shows what would be removed; --apply removes it. Only keys go whose name, type and content are those of a simulation:
sim_timestamp, sim_last_btc_price and its siblings, sim_price_history:*, sim_grafana_metrics:*, test:*, … A key that is
used for something else under such a name stays and is named, and so is every key that trapline writes. Removal is by
UNLINK, 64 keys a transaction, each judged again at that moment. Killed in the middle: run it again.

  trapline clean-simulation --config trapline.toml            the plan
  trapline backup --config trapline.toml                      first
  trapline clean-simulation --config trapline.toml --apply    then
  trapline clean-simulation --config trapline.toml --leftovers   also old queues that nobody reads

Exit codes: 0 ok · 1 left some keys that others kept touching · 64 usage · 69 Redis or the journal is not there ·
75 no fresh backup, or a simulation still writes · 78 login";

/// Arguments of `trapline clean-simulation`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = TEACH, after_help = "Examples: trapline help clean-simulation")]
pub struct CleanArgs {
    #[command(flatten)]
    pub redis: RedisArgs,
    /// Remove what the plan shows
    #[arg(long)]
    pub apply: bool,
    /// Also what was real once, is read by nobody and grows: mm_trap_queue, trader:positions:*:TIME
    #[arg(long)]
    pub leftovers: bool,
    /// Folder of all backups; default: `backups` in the state folder
    #[arg(long, value_name = "DIR")]
    pub backups: Option<PathBuf>,
    /// How old the backup may be
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = crate::cli::parse_span)]
    pub max_age: Duration,
    /// Remove without one
    #[arg(long)]
    pub without_backup: bool,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

pub(in crate::cli) fn run(args: &CleanArgs) -> Result<Exit, Stop> {
    let place = args.redis.place()?;
    let backups = args.backups.clone().unwrap_or_else(|| place.state.join("backups"));
    wait(async {
        let mut server = place.door.open().await?;
        let mut backup = None;
        if args.apply && !args.without_backup {
            let run_id = server.info("server").await?.text("run_id").to_owned();
            backup = Some(fresh(&backups, &run_id, args.max_age, now_ms())?.0);
        }
        let plan = plan(&mut server, args.leftovers, &mut Progress::new("keys looked at")).await?;
        let shown = |outcome: Option<&crate::upkeep::clean::Outcome>| {
            if args.json {
                let whole = serde_json::json!({"plan": plan, "outcome": outcome, "backup": backup});
                printed(writeln!(std::io::stdout().lock(), "{whole}"))
            } else {
                Ok(Exit::Ok)
            }
        };
        if !args.json {
            // A reader that went away does not stop the act.
            let _ = show(&plan, false);
        }
        if !args.apply {
            if !args.json && plan.keys() > 0 {
                println!("nothing was changed: --apply removes them");
            }
            let _ = shown(None);
            return Ok(Exit::Ok);
        }
        if plan.keys() == 0 {
            let _ = shown(None);
            return Ok(Exit::Ok);
        }
        let about = serde_json::json!({"plan": plan, "backup": backup, "without_backup": args.without_backup});
        let mut act = place.act("clean-simulation", &about)?;
        let outcome = match apply(&mut server, &plan, &mut act, &mut Progress::new("keys looked at")).await {
            Ok(outcome) => outcome,
            Err(error) => return Err(act.failed(error)),
        };
        act.done(serde_json::to_value(&outcome).unwrap_or_default())?;
        if !args.json {
            println!("removed {} keys", outcome.removed);
        }
        let _ = shown(Some(&outcome));
        if outcome.touched > 0 {
            return Err(UpkeepError::Violated(format!(
                "{} keys were touched by somebody while they were judged and stay: stop that program, then run this \
                 again",
                outcome.touched
            )));
        }
        Ok(Exit::Ok)
    })
}
