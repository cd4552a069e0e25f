//! `trapline protect`: server settings that keep the picture from vanishing.

use super::{RedisArgs, show, wait};
use crate::error::{Exit, Stop};
use crate::upkeep::UpkeepError;
use crate::upkeep::protect::{State, Wishes, apply, parse_memory, plan};
use clap::Args;

pub const TEACH: &str = "\
Shows a table of what is set and what should be; --apply sets it, in this order:
  maxmemory-policy noeviction   an evicted position would look like none
  maxmemory 1gb                 a bound; refused where more than nine tenths of it are in use
  appendonly yes                a crash costs a second at most; waits until the file is built
  appendfsync everysec          unless it is always
  EXPIRE current_position 3600  only where the daemon wrote the key: it renews this with each write. On a key that
                                nobody renews an expiry would show old dashboards a flat position that is none
and then CONFIG REWRITE, so that it holds after a restart; where that is not possible the lines are printed.

  trapline protect --config trapline.toml            the table
  trapline protect --config trapline.toml --check    for scripts: exit 1 if something is not as it should be
  trapline protect --config trapline.toml --apply --maxmemory 2gb

Exit codes: 0 ok · 1 something is not as it should be · 64 usage · 69 the server does not let itself be set · 78 login";

/// Arguments of `trapline protect`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = TEACH, after_help = "Examples: trapline help protect")]
pub struct ProtectArgs {
    #[command(flatten)]
    pub redis: RedisArgs,
    /// Set what the table wants
    #[arg(long)]
    pub apply: bool,
    /// Change nothing; exit 1 if something is not as it should be
    #[arg(long, conflicts_with = "apply")]
    pub check: bool,
    /// Bound on the server's memory, as Redis writes it
    #[arg(long, default_value = "1gb", value_name = "SIZE", value_parser = parse_memory)]
    pub maxmemory: u64,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

pub(in crate::cli) fn run(args: &ProtectArgs) -> Result<Exit, Stop> {
    let place = args.redis.place()?;
    let wishes = Wishes { maxmemory: args.maxmemory, format: place.format };
    wait(async {
        let mut server = place.door.open().await?;
        let mut table = plan(&mut server, &wishes).await?;
        let something = table.rows.iter().any(|row| row.state == State::Set);
        if args.apply && something {
            let mut act = place.act("protect", &table)?;
            table = match apply(&mut server, &table, &wishes, &mut act).await {
                Ok(table) => table,
                Err(error) => return Err(act.failed(error)),
            };
            act.done(serde_json::to_value(&table).unwrap_or_default())?;
        }
        // A reader that went away does not change what holds.
        let _ = show(&table, args.json);
        if args.apply && !table.is_right() {
            let left: Vec<_> = table.rows.iter().filter(|r| r.state != State::Right).map(|r| r.setting).collect();
            return Err(UpkeepError::Violated(format!("not as it should be: {}", left.join(", "))));
        }
        if !args.apply && !args.check && something && !args.json {
            println!("nothing was changed: --apply sets them");
        }
        Ok(if args.check && !table.is_right() { Exit::Violated } else { Exit::Ok })
    })
}
