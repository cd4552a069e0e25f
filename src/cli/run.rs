//! `trapline run`: the daemon against the configured exchange and Redis, until a signal or until it gives up.

use super::RunArgs;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Exit, Stop};
use crate::telemetry::log::LogHandle;
use crate::topology::Daemon;
use sd_notify::NotifyState;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

pub(super) fn run(args: &RunArgs) -> Result<Exit, Stop> {
    crate::fault_points::start();
    let config = super::validate::load(&args.config)
        .map_err(|stop| Stop::new(stop.exit, format!("{stop}; nothing was started")))?;
    let log = super::logging::start(&config.log)?;
    let state = state_dir(&config)?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %args.config.display(), state = %state.display(), "trapline");
    let exit = actix_rt::System::new().block_on(serve(config, &args.config, &state, &log))?;
    info!(exit = exit as u8, "ended");
    drop(log);
    Ok(exit)
}

async fn serve(mut config: Config, file: &Path, state: &Path, log: &LogHandle) -> Result<Exit, Stop> {
    let on = |kind| signal(kind).map_err(|e| Stop::unavailable(format!("cannot watch signals: {e}")));
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let mut hangup = on(SignalKind::hangup())?;
    let daemon = Daemon::start(&config, Clock::system(), state)?;
    let gave_up = loop {
        tokio::select! {
            exit = daemon.running.ended() => break Some(exit),
            () = daemon.fenced() => {
                warn!("another daemon on this database has taken over: stop one of the two, or give it another database in [redis] url");
                break Some(Exit::Fenced);
            }
            () = daemon.exhausted() => {
                error!("memory is used up: ending in order, before the kernel ends it in the middle of a write");
                break Some(Exit::GaveUp);
            }
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            _ = hangup.recv() => super::reload::reload(&mut config, file, &daemon, log),
        }
    };
    // Without a service manager there is nobody to tell.
    let status = if gave_up.is_some() { "given up, stopping" } else { "stopping" };
    let _ = sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
    if let Some(exit) = gave_up {
        warn!(exit = exit as u8, "given up: journal.jsonl in the state folder says why");
        // In order all the same: state keys are marked, and the journal's last lines reach the disk.
        tokio::select! {
            leftovers = daemon.stop(Duration::from_millis(config.supervision.stop_deadline_ms)) => {
                if !leftovers.is_empty() {
                    warn!(?leftovers, "left undone");
                }
            }
            _ = terminate.recv() => daemon.leave(SECOND),
            _ = interrupt.recv() => daemon.leave(SECOND),
        }
        return Ok(exit);
    }
    info!("stopping: sources first, the writer last; a second signal ends at once");
    let deadline = Duration::from_millis(config.supervision.stop_deadline_ms);
    tokio::select! {
        leftovers = daemon.stop(deadline) => {
            if leftovers.is_empty() {
                Ok(Exit::Ok)
            } else {
                warn!(?leftovers, "left undone");
                Ok(Exit::Fenced)
            }
        }
        _ = terminate.recv() => {
            daemon.leave(SECOND);
            Ok(Exit::Fenced)
        }
        _ = interrupt.recv() => {
            daemon.leave(SECOND);
            Ok(Exit::Fenced)
        }
    }
}

/// Why it ended before all was done.
const SECOND: &str = "a second signal";

/// The folder for journal, quarantine and spool: the setting, the service manager's, or the user's.
pub(super) fn state_path(config: &Config) -> Result<PathBuf, Stop> {
    let from_env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    config
        .state
        .dir
        .clone()
        .or_else(|| from_env("STATE_DIRECTORY"))
        .or_else(|| from_env("XDG_STATE_HOME").map(|d| d.join("trapline")))
        .or_else(|| from_env("HOME").map(|d| d.join(".local/state/trapline")))
        .ok_or_else(|| Stop::new(Exit::Config, "no folder for the state: set dir in [state]"))
}

/// The same, made if it is missing.
fn state_dir(config: &Config) -> Result<PathBuf, Stop> {
    let dir = state_path(config)?;
    std::fs::create_dir_all(&dir).map_err(|e| {
        Stop::new(
            Exit::Config,
            format!("{}: cannot be made: {e}; set dir in [state] to a folder that can", dir.display()),
        )
    })?;
    Ok(dir)
}
