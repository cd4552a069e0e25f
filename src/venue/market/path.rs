//! A price path through a candle: enough trades to give exactly this candle back when folded again.

use super::Event;
use super::candles::Bar;
use crate::domain::market::TakerSide;
use rust_decimal::Decimal;

/// Trades per candle; a fortieth of a decimal number has three digits more.
const TRADES: u32 = 40;

/// Trades through open, the nearer extreme, the other extreme and close, spread over `span_ms`.
pub fn through(symbol: usize, start_ms: i64, span_ms: i64, bar: &Bar) -> Vec<Event> {
    let rising = bar.close >= bar.open;
    let corners =
        if rising { [bar.open, bar.low, bar.high, bar.close] } else { [bar.open, bar.high, bar.low, bar.close] };
    let scale = bar.open.scale().max(bar.high.scale()).max(bar.low.scale()).max(bar.close.scale());
    let count = if bar.base_volume.is_zero() { 1 } else { TRADES };
    let share = (bar.base_volume / Decimal::from(TRADES)).round_dp(bar.base_volume.scale() + 3);
    let mut left = bar.base_volume;
    let mut before = bar.open;
    (0..count)
        .map(|i| {
            let leg = (i * 3 / TRADES).min(2) as usize;
            let within = Decimal::from(i * 3 - leg as u32 * TRADES) / Decimal::from(TRADES);
            let price = match i {
                0 => bar.open,
                i if i == TRADES - 1 => bar.close,
                // The first trade of a leg stands exactly on its corner.
                i if (i * 3) % TRADES < 3 => corners[leg],
                _ => (corners[leg] + (corners[leg + 1] - corners[leg]) * within).round_dp(scale),
            };
            let side = if price > before || (price == before && rising) { TakerSide::Buy } else { TakerSide::Sell };
            before = price;
            let size = if i + 1 == count { left } else { share };
            left -= size;
            Event::Print { ts_ms: start_ms + i64::from(i) * span_ms / i64::from(TRADES), symbol, price, size, side }
        })
        .filter(|event| matches!(event, Event::Print { size, .. } if !size.is_zero()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::market::candles::{Series, Span};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn folding_the_path_gives_the_candle_back(
            a in 1_i64..100_000, b in 1_i64..100_000, up in 0_i64..5_000, down in 0_i64..5_000, volume in 1_i64..1_000_000_000,
        ) {
            let (open, close) = (Decimal::new(a + 5_000, 2), Decimal::new(b + 5_000, 2));
            let bar = Bar {
                start_ms: 60_000,
                open,
                high: open.max(close) + Decimal::new(up, 2),
                low: open.min(close) - Decimal::new(down, 2),
                close,
                base_volume: Decimal::new(volume, 3),
                quote_volume: Decimal::ZERO,
            };
            let mut series = Series::new(Span::M1);
            let mut last_ms = 0;
            for event in through(0, 60_000, 60_000, &bar) {
                if let Event::Print { ts_ms, price, size, .. } = event {
                    prop_assert!(ts_ms >= last_ms && (60_000..120_000).contains(&ts_ms));
                    last_ms = ts_ms;
                    series.print(ts_ms, price, size);
                }
            }
            let folded = series.bars.back().expect("a bar");
            prop_assert_eq!((folded.open, folded.high, folded.low, folded.close), (bar.open, bar.high, bar.low, bar.close));
            prop_assert_eq!(folded.base_volume, bar.base_volume);
        }
    }
}
