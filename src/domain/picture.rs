//! The picture: what trapline believes right now, one value per key family. All fields of one Redis key come from
//! one picture, so a reader never sees halves of two moments.

use super::position::{HoldSide, Position};
use super::report::Origin;
use super::symbol::SymbolId;
use super::trap::summary::{Analysis, Brief, TrapProbability};
use rust_decimal::Decimal;
use std::time::Instant;

/// The market of one symbol, folded from accepted tickers and trades.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarketPicture {
    pub symbol: SymbolId,
    /// Last traded price.
    pub price: Decimal,
    /// The last price that differed from `price`.
    pub previous_price: Option<Decimal>,
    /// Size of the last trade seen, base coin.
    pub last_size: Option<Decimal>,
    pub bid: Option<Decimal>,
    pub bid_size: Option<Decimal>,
    pub ask: Option<Decimal>,
    pub ask_size: Option<Decimal>,
    pub mark: Option<Decimal>,
    pub index: Option<Decimal>,
    pub funding_rate: Option<Decimal>,
    pub open_interest: Option<Decimal>,
    /// Base coin traded in the running minute window; 0 is a valid, idle window.
    pub volume_1m: Decimal,
    pub exchange_time_ms: i64,
    pub received_ms: i64,
    pub received: Instant,
    /// Counts accepted reports of this symbol without gaps; grows over restarts of the rooms, too.
    pub seq: u64,
}

/// What is known of one side of one symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "copied between rooms; a box per picture would cost more")]
pub enum Holding {
    /// Only after an explicit statement of the exchange, confirmed by a second witness.
    Flat,
    Open(Position),
}

/// One side of one symbol, with the proof behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PositionPicture {
    pub symbol: SymbolId,
    pub side: HoldSide,
    pub holding: Holding,
    /// Time of the exchange's last change of this position; stays as long as nothing changes.
    pub update_time_ms: i64,
    /// When the exchange last proved that this is still so (push or REST answer): what freshness is measured by.
    pub verified_ms: i64,
    pub source: Origin,
    /// Counts accepted changes of this side in this process.
    pub seq: u64,
}

/// Open, closed or trying again, and why; what bots look at before they trade.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerPicture {
    pub state: &'static str,
    /// The limit that opened it, empty when closed.
    pub reason: String,
    pub symbol: Option<SymbolId>,
    pub value: Option<Decimal>,
    pub limit: Option<Decimal>,
    pub since_ms: i64,
    pub opened_total: u64,
}

/// Balance, as last accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountPicture {
    pub coin: String,
    pub equity: Option<Decimal>,
    pub available: Option<Decimal>,
    pub unrealised_pnl: Option<Decimal>,
    pub exchange_time_ms: i64,
    pub received_ms: i64,
}

/// What the traps of one symbol add up to right now.
#[derive(Clone, Debug, PartialEq)]
pub struct TrapPicture {
    pub symbol: SymbolId,
    pub analysis: Analysis,
    pub probability: TrapProbability,
    /// Change of the probability since the last picture.
    pub probability_change: f64,
    /// Kind of the newest trap of the last quarter of an hour, if any.
    pub newest: Option<Brief>,
    pub high_frequency: bool,
    /// 0.6 while the high-frequency mode is on, else 1.0.
    pub multiplier: f64,
    pub at_ms: i64,
    /// The same moment on the exchange's clock, which traps are stamped by.
    pub exchange_ms: i64,
}
