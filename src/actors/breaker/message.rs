//! The breaker's messages, and which of them still mean something later.

use super::super::saved::{self, SavedBatch};
use crate::domain::picture::PositionPicture;
use crate::domain::report::Batch;
use crate::supervise::Message;

/// What the breaker accepts.
#[derive(Clone, Debug)]
pub enum BreakerMsg {
    Accepted(Batch),
    Positions(Vec<PositionPicture>),
    FeedState {
        private: bool,
        live: bool,
        at_ms: i64,
    },
    /// The watchdog's judgement about the account's data.
    AccountFreshness {
        stale: bool,
    },
    /// The exchange's clock was set, by this much.
    ClockStep {
        by_ms: i64,
    },
    /// A slot came for something that waits, or the cool-down may be over.
    Slot,
}

impl Message for BreakerMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "Accepted",
            Self::Positions(_) => "Positions",
            Self::FeedState { .. } => "FeedState",
            Self::AccountFreshness { .. } => "AccountFreshness",
            Self::ClockStep { .. } => "ClockStep",
            Self::Slot => "Slot",
        }
    }

    fn split(&self) -> Vec<Self> {
        match self {
            Self::Accepted(batch) => batch.singles().map(Self::Accepted).collect(),
            Self::Positions(all) if all.len() > 1 => all.iter().map(|p| Self::Positions(vec![*p])).collect(),
            _ => Vec::new(),
        }
    }

    fn digest(&self) -> String {
        match self {
            Self::Accepted(batch) => batch.digest(),
            other => format!("{other:?}"),
        }
    }

    fn replayable(&self) -> Result<(), &'static str> {
        match self {
            Self::Accepted(batch) if saved::only_executions(batch) => Ok(()),
            Self::Accepted(_) | Self::Positions(_) => Err(saved::REPLACED),
            Self::FeedState { .. } | Self::AccountFreshness { .. } | Self::ClockStep { .. } | Self::Slot => {
                Err(saved::PASSED)
            }
        }
    }

    fn save(&self) -> Result<String, &'static str> {
        match self {
            Self::Accepted(batch) => saved::save(&SavedBatch::of(batch)),
            _ => Err(saved::PASSED),
        }
    }

    fn load(saved: &str) -> Option<Self> {
        saved::load(saved).map(|kept: SavedBatch| Self::Accepted(kept.batch()))
    }
}
