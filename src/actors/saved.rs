//! How messages are kept in the quarantine's file, so that a later program can handle them: JSON with a version.
//!
//! Only what still means something later is kept: trades and candles, which come back as history and pass every rule
//! anew, and executions and events, which have an identity and count once. State is not: what it said has been said
//! again since, and an old value must not come back as new.

use crate::domain::report::{Batch, Origin, Report};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// Raised when the shape of anything that is kept changes.
const VERSION: u32 = 1;

/// Why state is not handled again.
pub(super) const REPLACED: &str = "state: a newer value may have replaced it, and it is said again by itself";
/// Why a message about a moment is not handled again.
pub(super) const PASSED: &str = "its moment has passed";

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    message: T,
}

/// The text that [`load`] reads.
pub(super) fn save<T: Serialize>(message: &T) -> Result<String, &'static str> {
    serde_json::to_string(&Versioned { v: VERSION, message }).map_err(|_| "it cannot be written as JSON")
}

/// What [`save`] wrote, by this version.
pub(super) fn load<T: DeserializeOwned>(text: &str) -> Option<T> {
    let read: Versioned<T> = serde_json::from_str(text).ok()?;
    (read.v == VERSION).then_some(read.message)
}

/// A batch without what only its own process understands.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedBatch {
    origin: Origin,
    received_ms: i64,
    reports: Vec<Report>,
}

impl SavedBatch {
    pub(super) fn of(batch: &Batch) -> Self {
        Self { origin: batch.origin, received_ms: batch.received_ms, reports: batch.reports.to_vec() }
    }

    /// Over no connection of this process. Market data are history now: they fill a gap and are never the newest word.
    pub(super) fn batch(mut self) -> Batch {
        for report in &mut self.reports {
            match report {
                Report::Trade(trade) => trade.history = true,
                Report::Candle(candle) => candle.history = true,
                _ => {}
            }
        }
        Batch {
            origin: self.origin,
            connection: 0,
            received_ms: self.received_ms,
            received: Instant::now(),
            reports: Arc::new(self.reports),
        }
    }
}

/// Whether all of a batch has an identity that makes it count once, whenever it is handled.
pub(super) fn only_executions(batch: &Batch) -> bool {
    batch.reports.iter().all(|report| matches!(report, Report::Fill(_) | Report::Order(_)))
}

/// Whether a batch holds state, of which only the newest word may be believed.
pub(super) fn states_something(batch: &Batch) -> bool {
    let is_state = |report: &Report| matches!(report, Report::Ticker(_) | Report::Positions(_) | Report::Account(_));
    batch.reports.iter().any(is_state)
}

#[cfg(test)]
mod tests;
