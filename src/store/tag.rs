//! What a command on the wire was for: the reply that comes back in order is booked on this.

use crate::domain::position::HoldSide;
use crate::domain::symbol::SymbolId;

/// One command's purpose. Small and `Copy`: one stands in the queue of outstanding replies for each command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tag {
    /// `trapline:{SYMBOL}:market_state`, every field.
    Market(SymbolId),
    /// The same, only the fields that changed: adding a field means that somebody deleted the key.
    MarketLean(SymbolId),
    /// `market_state`.
    PrimaryMarket,
    /// `last_btc_price` and its siblings, by place.
    Mirror(u8),
    /// Messages on the channel `btc_price`.
    PriceChannel,
    /// `trapline:{SYMBOL}:position:{side}`.
    Position(SymbolId, HoldSide),
    /// `long_trader_position`, `short_trader_position`.
    SideJson(HoldSide),
    /// `current_position`, or `current_position:hash` in the old format.
    CurrentHash,
    /// `current_position` as JSON.
    CurrentJson,
    /// The expiry of `current_position`.
    CurrentExpiry,
    /// `active_position`.
    Active,
    Breaker,
    BreakerChannel,
    /// `trapline:account`.
    MainAccount,
    /// `trapline:account:{COIN}`, by slot.
    Account(u8),
    /// `trapline:{SYMBOL}:market_regime`.
    Regime(SymbolId),
    /// `market_regime` (0) and `current_market_regime` (1).
    RegimeMirror(u8),
    Health,
    /// Other state, by slot.
    Text(u16),
    /// `update_latencies`.
    Latency,
    /// A batch of events; in a cluster one lane's part of it, by place.
    Events,
    /// How far the lanes of a cluster are.
    Index,
    /// Where the cursor of a lane stands, by place.
    LaneLook(u16),
    /// The marker that shows whether somebody emptied Redis.
    Audit,
    /// How many of some keys are there: fewer, and somebody deleted one.
    Owned,
    /// The same for the keys of events, by place.
    OwnedEvents(u16),
    /// Whether a key of events may be written, by place; the last one asked for has the mark 1.
    EventRight(u16),
    /// What stands behind one of [`Tag::LOOKED`], by place, compared with what was confirmed last.
    Look(u8),
    /// Part of the hand-shake or of a repair; its reply is only checked for errors.
    Control,
}

impl Tag {
    /// Keys that other programs are known to write, while ours rest: looked at with each audit.
    pub const LOOKED: [Self; 8] = [
        Self::Mirror(0),
        Self::CurrentHash,
        Self::CurrentJson,
        Self::Active,
        Self::SideJson(HoldSide::Long),
        Self::SideJson(HoldSide::Short),
        Self::RegimeMirror(0),
        Self::RegimeMirror(1),
    ];

    /// Written with `SET … GET`: the reply is what stood there before.
    pub const fn is_text(self) -> bool {
        matches!(
            self,
            Self::SideJson(_)
                | Self::CurrentJson
                | Self::Active
                | Self::Regime(_)
                | Self::Mirror(_)
                | Self::RegimeMirror(_)
                | Self::Text(_)
        )
    }

    /// A position as JSON, which names its own staleness.
    pub const fn is_document(self) -> bool {
        matches!(self, Self::SideJson(_) | Self::CurrentJson | Self::Active)
    }

    /// Looks only: its reply says nothing about whether writes are taken.
    pub const fn is_look(self) -> bool {
        matches!(
            self,
            Self::Control
                | Self::Audit
                | Self::Owned
                | Self::OwnedEvents(_)
                | Self::EventRight(_)
                | Self::LaneLook(_)
                | Self::Look(_)
        )
    }

    /// The tag that stands for the same key in the quarantine.
    pub const fn key(self) -> Self {
        match self {
            Self::MarketLean(symbol) => Self::Market(symbol),
            Self::CurrentExpiry => Self::CurrentHash,
            other => other,
        }
    }
}
