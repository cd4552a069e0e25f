//! Forced orders of other traders, made from the trades that a market shows: a large trade that runs with a fast move
//! is taken for one. Pure; the v3 channel `liquidation` is told of them.

use super::market::state::PublicTrade;
use crate::domain::market::TakerSide;
use rust_decimal::Decimal;

/// One forced order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Liquidation {
    /// `Buy` = a long was liquidated, as the vendor's pages say.
    pub side: TakerSide,
    pub price: Decimal,
    /// Quote currency.
    pub amount: Decimal,
    pub ts_ms: i64,
}

/// A move this large within [`WITHIN_MS`] forces somebody out: 5 basis points.
const MOVE: Decimal = Decimal::from_parts(5, 0, 0, false, 4);
const WITHIN_MS: i64 = 3_000;
/// Times the mean size of the trades before.
const LARGE: u64 = 4;

/// The forced orders among the newest `count` trades of `recent` (oldest first).
pub fn among(recent: &[PublicTrade], count: usize) -> Vec<Liquidation> {
    let new = recent.len().saturating_sub(count);
    (new..recent.len()).filter_map(|place| at(recent, place)).collect()
}

fn at(recent: &[PublicTrade], place: usize) -> Option<Liquidation> {
    let trade = recent.get(place)?;
    let before: Vec<&PublicTrade> =
        recent[..place].iter().rev().take(64).take_while(|t| trade.ts_ms - t.ts_ms <= WITHIN_MS).collect();
    let first = before.last()?;
    let moved = (trade.price - first.price).checked_div(first.price)?;
    let with_the_move = match trade.side {
        TakerSide::Sell => moved <= -MOVE,
        TakerSide::Buy => moved >= MOVE,
    };
    let total: Decimal = before.iter().map(|t| t.size).sum();
    let large = trade.size * Decimal::from(before.len() as u64) >= total * Decimal::from(LARGE);
    // A forced sale ends a long, which the channel calls `buy`.
    let side = if trade.side == TakerSide::Sell { TakerSide::Buy } else { TakerSide::Sell };
    let amount = (trade.price * trade.size).round_dp(4).normalize();
    (with_the_move && large).then_some(Liquidation { side, price: trade.price, amount, ts_ms: trade.ts_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trades(last: i64, size: i64, side: TakerSide) -> Vec<PublicTrade> {
        let trade = |ts_ms, price, size, side| PublicTrade {
            ts_ms,
            price: Decimal::new(price, 1),
            size: Decimal::from(size),
            side,
            id: 0,
        };
        let mut list: Vec<_> = (0..10).map(|i| trade(i * 100, 10_000, 1, TakerSide::Buy)).collect();
        list.push(trade(1_500, last, size, side));
        list
    }

    #[test]
    fn a_large_trade_with_a_fast_move_is_forced() {
        use TakerSide::{Buy, Sell};
        for (name, last, size, side, expected) in [
            ("long out", 9_995, 4, Sell, Some(Buy)),
            ("short out", 10_005, 4, Buy, Some(Sell)),
            ("move too small", 9_996, 4, Sell, None),
            ("trade too small", 9_995, 3, Sell, None),
            ("against the move", 9_995, 4, Buy, None),
        ] {
            let found = among(&trades(last, size, side), 1);
            assert_eq!(found.first().map(|l| l.side), expected, "{name}");
        }
        assert_eq!(among(&trades(9_995, 4, Sell), 1)[0].amount, Decimal::from(3_998));
        assert!(among(&[], 3).is_empty());
    }
}
