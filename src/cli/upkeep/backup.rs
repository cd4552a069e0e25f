//! `trapline backup`: a snapshot of the data, copied and proved.

use super::{LoaderArgs, RedisArgs, wait};
use crate::cli::ctl::{now_ms, printed};
use crate::error::{Exit, Stop};
use crate::upkeep::backup::{Fetch, Manifest, Settings, again, make, summary};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};

pub const TEACH: &str = "\
The server saves in the background (BGSAVE); its file is copied to a dated folder, and the copy is loaded into a private
redis-server whose numbers of keys must be those of the moment of saving (it needs as much memory as the data). A manifest
with sums and numbers stands beside it. Nothing is changed in the data.

  trapline backup --config trapline.toml                  into STATE/backups/2026-11-23T06-33-25Z/
  trapline backup --redis unix:///run/redis.sock --to /var/backups/redis
  trapline backup --redis redis://db.example:6379 --fetch replication   through the replication protocol
  trapline backup --check DIR                             is that backup still good?

To put one back: stop Redis, copy dump.rdb to its dir under its dbfilename, and start it with `appendonly no` (with
appendonly yes it would read its append-only file instead); then CONFIG SET appendonly yes.

Exit codes: 0 made and verified · 1 the copy is corrupt · 64 usage · 69 something is not there · 75 later · 78 login";

/// Arguments of `trapline backup`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = TEACH, after_help = "Examples: trapline help backup")]
pub struct BackupArgs {
    #[command(flatten)]
    pub redis: RedisArgs,
    /// Folder of all backups; default: `backups` in the state folder
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// How the file gets here: auto copies the server's own file if it is on this machine
    #[arg(long, default_value = "auto")]
    pub fetch: FetchWord,
    /// Do not load the copy; such a backup is not enough for acts that ask for one
    #[arg(long)]
    pub no_verify: bool,
    /// Look at a backup made earlier instead: its sums, and whether it loads
    #[arg(long, value_name = "DIR", conflicts_with_all = ["to", "no_verify"])]
    pub check: Option<PathBuf>,
    #[command(flatten)]
    pub loader: LoaderArgs,
    /// For programs: the manifest, and where it is
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FetchWord {
    Auto,
    File,
    Replication,
}

pub(in crate::cli) fn run(args: &BackupArgs) -> Result<Exit, Stop> {
    if let Some(folder) = &args.check {
        let manifest = wait(again(folder, &args.loader.loader(), now_ms()))?;
        return tell(folder, &manifest, args.json);
    }
    let place = args.redis.place()?;
    let settings = Settings {
        to: args.to.clone().unwrap_or_else(|| place.state.join("backups")),
        fetch: match args.fetch {
            FetchWord::Auto => Fetch::Auto,
            FetchWord::File => Fetch::File,
            FetchWord::Replication => Fetch::Replication,
        },
        verify: !args.no_verify,
        loader: args.loader.loader(),
    };
    let (folder, manifest) = wait(async {
        let mut act = place.act("backup", &serde_json::json!({"to": settings.to}))?;
        match make(&place.door, &settings, &place.clock).await {
            Ok((folder, manifest)) => {
                act.step("copied", serde_json::json!({"folder": folder, "sha256": manifest.sha256}))?;
                act.done(serde_json::json!({"verified": manifest.verified_ms.is_some()}))?;
                Ok((folder, manifest))
            }
            Err(error) => Err(act.failed(error)),
        }
    })?;
    tell(&folder, &manifest, args.json)
}

fn tell(folder: &Path, manifest: &Manifest, json: bool) -> Result<Exit, Stop> {
    let text = if json {
        serde_json::json!({"folder": folder, "manifest": manifest}).to_string()
    } else {
        summary(folder, manifest)
    };
    printed(writeln!(std::io::stdout().lock(), "{text}"))
}
