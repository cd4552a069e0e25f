//! A report is what the exchange said, parsed but not yet believed. Reports travel in batches: one hop per
//! socket read, not one per message.

use super::account::{AccountState, Fill, Order};
use super::market::{Candle, Ticker, Trade};
use super::position::PositionStatement;
use super::symbol::SymbolId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// Where a report came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    Socket,
    Rest,
}

impl Origin {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Socket => "ws",
            Self::Rest => "rest",
        }
    }
}

/// One thing the exchange said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    Ticker(Ticker),
    Trade(Trade),
    Candle(Candle),
    Positions(Box<PositionStatement>),
    Account(Box<AccountState>),
    Order(Box<Order>),
    Fill(Box<Fill>),
}

impl Report {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ticker(_) => "ticker",
            Self::Trade(_) => "trade",
            Self::Candle(_) => "candle",
            Self::Positions(_) => "positions",
            Self::Account(_) => "account",
            Self::Order(_) => "order",
            Self::Fill(_) => "fill",
        }
    }

    pub fn symbol(&self) -> Option<SymbolId> {
        match self {
            Self::Ticker(t) => Some(t.symbol),
            Self::Trade(t) => Some(t.symbol),
            Self::Candle(c) => Some(c.symbol),
            Self::Order(o) => Some(o.symbol),
            Self::Fill(f) => Some(f.symbol),
            Self::Positions(_) | Self::Account(_) => None,
        }
    }

    pub fn exchange_time_ms(&self) -> i64 {
        match self {
            Self::Ticker(t) => t.exchange_time_ms,
            Self::Trade(t) => t.exchange_time_ms,
            Self::Candle(c) => c.exchange_time_ms,
            Self::Positions(p) => p.exchange_time_ms,
            Self::Account(a) => a.exchange_time_ms,
            Self::Order(o) => o.exchange_time_ms,
            Self::Fill(f) => f.exchange_time_ms,
        }
    }
}

/// Reports of one socket read or one REST answer.
#[derive(Clone, Debug)]
pub struct Batch {
    pub origin: Origin,
    /// Which connection it came over, counted from 1 in this process; 0 for REST.
    pub connection: u32,
    /// Local wall clock at receipt.
    pub received_ms: i64,
    /// Monotonic twin of `received_ms`, for latency.
    pub received: Instant,
    /// Shared: what passes every rule goes on without being copied.
    pub reports: Arc<Vec<Report>>,
}

impl Batch {
    /// One batch per report, for the case that the whole cannot be handled; none when there is nothing to split.
    pub fn singles(&self) -> impl Iterator<Item = Self> {
        let split = self.reports.len() > 1;
        let single = |report: &Report| self.with(vec![report.clone()]);
        self.reports.iter().filter(move |_| split).map(single)
    }

    /// A line for crash reports.
    pub fn digest(&self) -> String {
        format!("{} reports, first {:?}", self.reports.len(), self.reports.first())
    }

    /// The same envelope around other reports.
    pub fn with(&self, reports: Vec<Report>) -> Self {
        Self { reports: Arc::new(reports), ..self.clone() }
    }
}
