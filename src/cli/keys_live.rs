//! `trapline keys --live`: the contract against what is there.

use super::KeysArgs;
use super::ctl::now_ms;
use super::upkeep::{RedisArgs, show, wait};
use crate::error::{Exit, Stop};
use crate::upkeep::live::{Sort, live};
use crate::upkeep::progress::Progress;
use clap::{Args, ValueEnum};

pub const TEACH: &str = "How to use it:
  trapline keys                                   the contract
  trapline keys --json
  trapline keys --live --config trapline.toml     what is there: type, size, ttl, age, owner; strangers; totals
  trapline keys --live --redis redis://127.0.0.1:6379 --sort size

In --live a `!` after the type says that it is a foreign one (trapline migrate); AGE comes from the value's own
timestamp; OWNER is the epoch of the daemon that wrote it. All keys are walked through with SCAN, never with KEYS.";

/// Arguments of `trapline keys` with `--live`.
#[derive(Args, Clone, Debug, Default)]
pub struct LiveArgs {
    /// Compare it with a running Redis: needs --config or --redis
    #[arg(long)]
    pub live: bool,
    /// Order of the rows
    #[arg(long, default_value = "name", requires = "live")]
    pub sort: SortWord,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum SortWord {
    #[default]
    Name,
    /// Largest first
    Size,
    /// Oldest first
    Age,
    /// First to expire first
    Ttl,
}

pub(super) fn run(args: &KeysArgs, redis: &RedisArgs) -> Result<Exit, Stop> {
    let place = redis.place()?;
    let sort = match args.live.sort {
        SortWord::Name => Sort::Name,
        SortWord::Size => Sort::Size,
        SortWord::Age => Sort::Age,
        SortWord::Ttl => Sort::Ttl,
    };
    let found = wait(async {
        let mut server = place.door.open().await?;
        live(&mut server, place.format, sort, now_ms(), &mut Progress::new("keys looked at")).await
    })?;
    show(&found, args.json)
}
