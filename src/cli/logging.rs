//! Starts the log for a command.

use crate::config::Log;
use crate::error::Stop;
use crate::telemetry::log::{LogHandle, init};

/// Starts the log; keep the handle until the end.
pub(super) fn start(settings: &Log) -> Result<LogHandle, Stop> {
    init(settings).map_err(|e| Stop::unavailable(format!("the log cannot start: {e}")))
}
