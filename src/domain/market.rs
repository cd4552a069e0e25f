//! What the public side of the exchange says: tickers, trades, candles.

use super::symbol::SymbolId;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Which side took liquidity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TakerSide {
    Buy,
    Sell,
}

/// The market's state in one row. Prices in quote currency, sizes in base coin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ticker {
    pub symbol: SymbolId,
    pub exchange_time_ms: i64,
    pub last: Decimal,
    pub bid: Option<Decimal>,
    pub bid_size: Option<Decimal>,
    pub ask: Option<Decimal>,
    pub ask_size: Option<Decimal>,
    pub mark: Option<Decimal>,
    pub index: Option<Decimal>,
    /// Fraction per funding interval.
    pub funding_rate: Option<Decimal>,
    pub next_funding_time_ms: Option<i64>,
    /// Contracts outstanding, in base coin.
    pub open_interest: Option<Decimal>,
    /// Base coin traded in the last 24 hours.
    pub volume_24h: Option<Decimal>,
}

/// One public trade.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    pub symbol: SymbolId,
    pub exchange_time_ms: i64,
    pub price: Decimal,
    pub size: Decimal,
    pub side: TakerSide,
    /// The exchange's id as a number (all of Bitget's fit), or a hash of its text.
    pub id: u64,
    /// From the history that a subscription begins with: fills a gap, never counts as new flow.
    pub history: bool,
}

/// Candle length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Interval {
    M1,
    M5,
    M15,
    H1,
}

impl Interval {
    pub const fn span_ms(self) -> i64 {
        match self {
            Self::M1 => 60_000,
            Self::M5 => 300_000,
            Self::M15 => 900_000,
            Self::H1 => 3_600_000,
        }
    }
}

/// One candle, possibly still open: a candle is closed when one with a later start appears.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candle {
    pub symbol: SymbolId,
    pub exchange_time_ms: i64,
    pub interval: Interval,
    pub start_ms: i64,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    pub base_volume: Decimal,
    pub quote_volume: Option<Decimal>,
    pub history: bool,
}
