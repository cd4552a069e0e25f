//! Events: facts that happen once and must reach Redis once.

use super::account::Fill;
use super::symbol::SymbolId;
use super::trap::TrapDetected;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Severity of an alert, by consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Something a person or a bot should know: stale data, an open breaker, a refused login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Bounded word, e.g. `position_stale`.
    pub code: Cow<'static, str>,
    pub severity: Severity,
    pub symbol: Option<SymbolId>,
    /// What is wrong and what to do; no secrets.
    pub text: String,
    pub at_ms: i64,
    /// True when the condition ended.
    pub recovered: bool,
}

/// A fill with the strategy it was attributed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttributedFill {
    pub strategy: String,
    pub fill: Fill,
    /// Realised profit net of fee, in the margin coin.
    pub net_profit: rust_decimal::Decimal,
}

/// One event on its way to Redis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Trap(TrapDetected),
    Fill(AttributedFill),
    Alert(Alert),
}
