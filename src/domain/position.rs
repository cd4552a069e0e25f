//! Positions as the exchange states them. The identity of a position is (symbol, hold side): in hedge mode both
//! sides may be open at once, ids and creation times are reused by the exchange and identify nothing.

use super::symbol::{Product, SymbolId};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Direction of a holding; its size is always positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HoldSide {
    Long,
    Short,
}

impl HoldSide {
    pub const BOTH: [Self; 2] = [Self::Long, Self::Short];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Short => "short",
        }
    }

    pub const fn index(self) -> usize {
        match self {
            Self::Long => 0,
            Self::Short => 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MarginMode {
    Crossed,
    Isolated,
}

impl MarginMode {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Crossed => "crossed",
            Self::Isolated => "isolated",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HoldMode {
    OneWay,
    Hedge,
}

impl HoldMode {
    pub const fn label(self) -> &'static str {
        match self {
            Self::OneWay => "one_way",
            Self::Hedge => "hedge",
        }
    }
}

/// One side of one symbol, as reported. `size` 0 is the exchange's explicit word that this side is closed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    pub symbol: SymbolId,
    pub side: HoldSide,
    /// Base coin.
    pub size: Decimal,
    pub available: Option<Decimal>,
    pub entry_price: Decimal,
    pub mark_price: Option<Decimal>,
    /// In the margin coin, as of the exchange's message.
    pub unrealised_pnl: Option<Decimal>,
    pub leverage: Decimal,
    pub margin_mode: MarginMode,
    pub hold_mode: HoldMode,
    /// Margin occupied, in the margin coin.
    pub margin: Option<Decimal>,
    /// `None` where the exchange says there is none (zero or negative on the wire).
    pub liquidation_price: Option<Decimal>,
    pub break_even_price: Option<Decimal>,
    /// Accumulated fees and funding, in the margin coin.
    pub total_fee: Option<Decimal>,
    /// The row's own time; may repeat between messages, so it never orders anything.
    pub update_time_ms: i64,
}

/// Whether absence from a statement says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coverage {
    /// All open positions of this product (`None`: of the whole account): what is absent is flat.
    Complete { product: Option<Product> },
    /// Only the rows named; absence means nothing.
    Partial,
}

/// One message of the exchange about positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PositionStatement {
    pub coverage: Coverage,
    /// The envelope's time: what orders statements of one connection.
    pub exchange_time_ms: i64,
    pub rows: Vec<Position>,
}
