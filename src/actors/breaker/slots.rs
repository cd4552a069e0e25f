//! Pictures on their way out: the newest of each, its rate, and whether it waits for its slot.

use crate::domain::market_view::MarketView;
use crate::domain::picture::PositionPicture;
use crate::domain::position::HoldSide;
use crate::domain::rate::RateState;
use rust_decimal::Decimal;

/// One symbol's picture on its way out.
#[derive(Default)]
pub(super) struct MarketSlot {
    pub view: Option<MarketView>,
    pub rate: RateState,
    pub waits: bool,
}

/// One side's picture on its way out.
#[derive(Clone, Copy, Default)]
pub(super) struct PositionSlot {
    pub picture: Option<PositionPicture>,
    pub rate: RateState,
    pub waits: bool,
}

/// Profit of a linear contract at a mark price, in quote currency; leverage plays no part in it.
pub(super) fn profit_at(mark: Decimal, entry: Decimal, size: Decimal, side: HoldSide) -> Decimal {
    match side {
        HoldSide::Long => (mark - entry) * size,
        HoldSide::Short => (entry - mark) * size,
    }
}
