//! How far the exchange's clock is from ours. Measured over REST, read by everything that signs, and by whoever compares
//! the exchange's stamps with now.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Exchange clock minus ours, in ms; shared by clone.
#[derive(Clone, Debug, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    pub fn offset_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// What the exchange's clock shows when ours shows `now_ms`: for comparisons with what it has stamped.
    pub fn exchange_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.offset_ms())
    }

    pub fn set(&self, offset_ms: i64) {
        self.0.store(offset_ms, Ordering::Relaxed);
    }
}

/// The offset that one question tells: the exchange's answer belongs to the middle of the round trip.
pub const fn offset_ms(asked_ms: i64, exchange_ms: i64, answered_ms: i64) -> i64 {
    exchange_ms - (asked_ms + (answered_ms - asked_ms) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_belongs_to_the_middle_of_the_round_trip() {
        let cases = [
            ("same clock", 1_000, 1_050, 1_100, 0),
            ("ahead", 1_000, 2_000, 1_000, 1_000),
            ("behind", 1_000, 0, 1_200, -1_100),
        ];
        for (name, asked, exchange, answered, expected) in cases {
            assert_eq!(offset_ms(asked, exchange, answered), expected, "case: {name}");
        }
    }
}
