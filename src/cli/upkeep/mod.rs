//! Commands that act on a Redis with data in it. What they share: which Redis, which state folder, the journal of acts.

pub(super) mod backup;
pub(super) mod clean;
pub(super) mod migrate;
pub(super) mod protect;
pub(super) mod spool;
pub(super) mod tap;

use super::ctl::{printed, who};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Env, PositionKeyFormat};
use crate::error::{Exit, Stop};
use crate::settings;
use crate::store::encode::PositionFormat;
use crate::upkeep::UpkeepError;
use crate::upkeep::acts::Act;
use crate::upkeep::backup::Loader;
use crate::upkeep::server::Door;
use clap::Args;
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which Redis.
#[derive(Args, Clone, Debug, Default)]
pub struct RedisArgs {
    /// The daemon's configuration: its [redis] section, its password, its state folder
    #[arg(long, value_name = "FILE", conflicts_with = "redis")]
    pub config: Option<PathBuf>,
    /// redis://[USER@]HOST[:PORT][/DB], rediss://… or unix:///path; the password comes from --password-file or
    /// TRAPLINE_REDIS_PASSWORD
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// With --redis: file with the password, mode 0600
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub password_file: Option<PathBuf>,
    /// With --redis: certificates to trust for rediss://, PEM
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub ca_file: Option<PathBuf>,
    /// With --redis: what current_position is, "hash" or "legacy-json"
    #[arg(long, value_name = "FORMAT", default_value = "hash", value_parser = ["hash", "legacy-json"])]
    pub format: String,
    /// State folder, for backups and the journal of acts; default: the daemon's
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// A Redis and the place for what is written about it.
pub(super) struct Place {
    pub door: Door,
    pub format: PositionFormat,
    pub state: PathBuf,
    pub clock: Clock,
}

impl RedisArgs {
    /// Reads the configuration, or the arguments as one: the same rules, the same sources of the password.
    pub(super) fn place(&self) -> Result<Place, Stop> {
        let env = Env::from_process();
        let config = match &self.config {
            Some(file) => super::validate::load(file)?,
            None if self.redis.is_none() => {
                return Err(Stop::usage("which redis? --config FILE, or --redis URL"));
            }
            None => self.as_config(&env)?,
        };
        let state = self.state.clone().unwrap_or_else(|| config.state_dir(&env));
        let format = match config.redis.position_key_format {
            PositionKeyFormat::Hash => PositionFormat::Hash,
            PositionKeyFormat::LegacyJson => PositionFormat::LegacyJson,
        };
        let door = Door {
            target: settings::redis_target(&config)?,
            connect: Duration::from_millis(config.redis.connect_timeout_ms),
            reply: Duration::from_millis(config.redis.reply_timeout_ms),
        };
        Ok(Place { door, format, state, clock: Clock::system() })
    }

    fn as_config(&self, env: &Env) -> Result<Config, Stop> {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path = |path: &Option<PathBuf>| quoted(&path.as_deref().unwrap_or(Path::new("")).to_string_lossy());
        let text = format!(
            "[redis]\nurl = {}\npassword_file = {}\nca_file = {}\nposition_key_format = {}\n",
            quoted(self.redis.as_deref().unwrap_or_default()),
            path(&self.password_file),
            path(&self.ca_file),
            quoted(&self.format),
        );
        // What was given on the command line is not to be overridden, and the exchange's key is of no concern here.
        let wanted = ["TRAPLINE_REDIS_PASSWORD", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"];
        let env = Env::from_pairs(wanted.into_iter().filter_map(|name| Some((name, env.given(name)?))));
        Config::parse(&text, "--redis", &env).map_err(|errors| {
            // The person wrote no file, so neither lines nor settings: the option, what is wrong with it, the cure.
            let tell = |e: &ConfigError| {
                let option = match e.setting.as_str() {
                    "redis.password_file" => "--password-file",
                    "redis.ca_file" => "--ca-file",
                    _ => "--redis",
                };
                format!("{option}: {}\n    {}", e.wrong.problem, e.wrong.remedy)
            };
            Stop::usage(errors.list.iter().map(tell).collect::<Vec<_>>().join("\n"))
        })
    }
}

/// Which program loads copies of the data.
#[derive(Args, Clone, Debug, Default)]
pub struct LoaderArgs {
    /// redis-server or valkey-server that loads the copy; default: found on PATH
    #[arg(long, value_name = "FILE")]
    pub redis_bin: Option<PathBuf>,
}

impl LoaderArgs {
    pub(super) fn loader(&self) -> Loader {
        Loader { binary: self.redis_bin.clone(), leash: std::env::current_exe().ok() }
    }
}

/// Runs a command's questions and answers on this thread.
pub(super) fn wait<T>(work: impl Future<Output = Result<T, UpkeepError>>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Stop::unavailable(format!("no runtime: {e}")))?;
    Ok(runtime.block_on(work)?)
}

impl Place {
    /// The line that says what is about to happen; without it nothing does.
    pub(super) fn act(&self, name: &str, plan: &impl Serialize) -> Result<Act, UpkeepError> {
        let plan = serde_json::to_value(plan).unwrap_or_default();
        Act::begin(&self.state, &who(), name, &self.door.target.to_string(), &self.clock, plan)
    }
}

/// Text for people, or one JSON object.
pub(super) fn show(value: &(impl Serialize + Display), json: bool) -> Result<Exit, Stop> {
    let mut out = std::io::stdout().lock();
    printed(if json {
        serde_json::to_writer(&mut out, value).map_err(std::io::Error::from).and_then(|()| out.write_all(b"\n"))
    } else {
        write!(out, "{value}")
    })
}
