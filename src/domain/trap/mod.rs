//! Traps: what market makers set, and how we know.

pub mod bars;
pub mod engine;
pub mod pump;
pub mod scale;
pub mod settings;
pub mod summary;
pub mod sweep;
pub mod windows;

pub use engine::TrapEngine;
pub use settings::TrapSettings;

use super::symbol::SymbolId;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Version of the rules, part of every finding's id: raised when the same trades would give other traps.
pub const DETECTOR_VERSION: u32 = 1;

/// Kind of trap; [`TrapKind::label`] is the published word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TrapKind {
    /// A prior extreme was swept and given back fast.
    StopHunt,
    /// A sweep with unusual volume.
    LiquidityGrab,
    FakePump,
    FakeDump,
    /// The break upward held for a while, then failed.
    BullTrap,
    BearTrap,
    /// A burst of aggressive buying that lifts a thin market: a pump, seen while it rises.
    Pump,
}

impl TrapKind {
    pub const ALL: [Self; 7] = [
        Self::StopHunt,
        Self::LiquidityGrab,
        Self::FakePump,
        Self::FakeDump,
        Self::BullTrap,
        Self::BearTrap,
        Self::Pump,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::StopHunt => "stop_hunt",
            Self::LiquidityGrab => "liquidity_grab",
            Self::FakePump => "fake_pump",
            Self::FakeDump => "fake_dump",
            Self::BullTrap => "bull_trap",
            Self::BearTrap => "bear_trap",
            Self::Pump => "pump",
        }
    }
}

/// Evidence from a list of names and values.
fn named<const N: usize>(list: [(&'static str, f64); N]) -> Vec<(Cow<'static, str>, f64)> {
    list.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect()
}

/// A detector's finding, complete and deterministic: the same trades give the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrapDetected {
    /// 16 hex digits: hash of kind, symbol name, start, detection time and detector version.
    pub id: String,
    pub symbol: SymbolId,
    pub kind: TrapKind,
    /// Exchange time at which the detector knew.
    pub detected_ms: i64,
    /// Exchange time at which the move began.
    pub started_ms: i64,
    pub extreme_ms: i64,
    /// Last price when it was known.
    pub price: Decimal,
    /// The level that was swept, or the price before the burst.
    pub level: Decimal,
    pub extreme: Decimal,
    /// Excursion as a signed fraction of the level.
    pub change: f64,
    /// Base coin traded from start to detection.
    pub volume: Decimal,
    /// 0..1, uncalibrated strength of the evidence.
    pub confidence: f64,
    /// Calibrated probability, where the detector has one.
    pub probability: Option<f64>,
    /// Named inputs and thresholds, for people.
    pub evidence: Vec<(Cow<'static, str>, f64)>,
    pub detector_version: u32,
}
