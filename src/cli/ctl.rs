//! `trapline ctl`: restart, suspend, resume one room of a running daemon. And what all commands for a running daemon
//! share: where its state folder is, how times are printed.

use crate::config::{Config, Env};
use crate::ctl::{AskError, Request, ask};
use crate::error::{Exit, Stop};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Which daemon.
#[derive(Args, Clone, Debug, Default)]
pub struct StateArgs {
    /// The daemon's state folder; default: that of --config, else the user's
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The daemon's configuration, to find its state folder
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    pub config: Option<PathBuf>,
}

impl StateArgs {
    pub(super) fn folder(&self) -> Result<PathBuf, Stop> {
        if let Some(dir) = &self.state {
            return if dir.is_dir() {
                Ok(dir.clone())
            } else {
                Err(Stop::usage(format!("{}: no such folder", dir.display())))
            };
        }
        let config = match &self.config {
            Some(file) => super::validate::load(file)?,
            None => Config::default(),
        };
        Ok(config.state_dir(&Env::from_process()))
    }
}

/// Arguments of `trapline ctl`.
#[derive(Args, Clone, Debug)]
pub struct CtlArgs {
    #[command(subcommand)]
    pub act: Act,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Act {
    /// A fresh incarnation; what waits in its mailbox stays
    Restart(RoomArgs),
    /// No message is handled until `resume`; restarts do not change that
    Suspend(RoomArgs),
    /// Goes on after `suspend`
    Resume(RoomArgs),
}

#[derive(Args, Clone, Debug)]
pub struct RoomArgs {
    /// The room, as `trapline status` names it
    pub room: String,
    /// Why; the journal keeps it
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    #[command(flatten)]
    pub state: StateArgs,
}

pub(super) fn run(args: &CtlArgs) -> Result<Exit, Stop> {
    let (room, word) = match &args.act {
        Act::Restart(room) => (room, "restarts"),
        Act::Suspend(room) => (room, "is suspended"),
        Act::Resume(room) => (room, "goes on"),
    };
    let (name, who, why) = (room.room.clone(), who(), room.why.clone());
    let request = match &args.act {
        Act::Restart(_) => Request::Restart { room: name, who, why },
        Act::Suspend(_) => Request::Suspend { room: name, who, why },
        Act::Resume(_) => Request::Resume { room: name, who, why },
    };
    ask_stop(&room.state.folder()?, &request)?;
    println!("{} {word}", room.room);
    Ok(Exit::Ok)
}

/// Asks the daemon; what it refuses is a violated wish, not a missing daemon. A name that it does not know is wrong
/// usage, as it is where the name is looked up in files.
pub(super) fn ask_stop(state: &Path, request: &Request) -> Result<serde_json::Value, Stop> {
    ask(state, request).map_err(|error| match error {
        AskError::Usage(_) => Stop::usage(error.to_string()),
        AskError::Refused(_) => Stop::new(Exit::Violated, error.to_string()),
        AskError::NotThere { .. } | AskError::Silent(_) | AskError::Garbled(_) => Stop::unavailable(error.to_string()),
    })
}

/// Who asks, by their own word, if there is one; the daemon adds what the kernel says.
pub(super) fn who() -> String {
    let name = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    name("SUDO_USER").or_else(|| name("USER")).unwrap_or_default()
}

pub(super) fn now_ms() -> i64 {
    crate::clock::Clock::system().now_ms()
}

/// A time as people read it, UTC.
pub(super) fn clock(at_ms: i64) -> String {
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000) else {
        return format!("{at_ms} ms");
    };
    let (day, time) = (at.date(), at.time());
    format!("{day} {:02}:{:02}:{:02}.{:03}", time.hour(), time.minute(), time.second(), time.millisecond())
}

/// A reader that went away (`| head`) is no error.
pub(super) fn printed(result: std::io::Result<()>) -> Result<Exit, Stop> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Stop::unavailable(format!("cannot print: {error}")))
        }
        _ => Ok(Exit::Ok),
    }
}
