//! How far the exchange's clock is from ours. Measured over REST, read by everything that signs, and by whoever compares
//! the exchange's stamps with now.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Exchange clock minus ours, in ms; shared by clone.
#[derive(Clone, Debug, Default)]
pub struct Skew(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    offset_ms: AtomicI64,
    refused_total: AtomicU64,
}

/// An answer that was longer under way tells nothing: half of its way is the error, and a machine that was suspended
/// meanwhile has slept on that way.
pub const ROUND_TRIP_MAX_MS: i64 = 2_000;

impl Skew {
    pub fn offset_ms(&self) -> i64 {
        self.0.offset_ms.load(Ordering::Relaxed)
    }

    /// What the exchange's clock shows when ours shows `now_ms`: for comparisons with what it has stamped.
    pub fn exchange_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.offset_ms())
    }

    pub fn set(&self, offset_ms: i64) {
        self.0.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// An answer was too long under way.
    pub fn refuse(&self) {
        self.0.refused_total.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers that were too long under way.
    pub fn refused_total(&self) -> u64 {
        self.0.refused_total.load(Ordering::Relaxed)
    }
}

/// The offset that one question tells: the exchange's answer belongs to the middle of the round trip. Both times by the
/// clock that counts sleep; an answer that was too long under way is handed back as the time that it took.
pub const fn offset_ms(asked_ms: i64, exchange_ms: i64, answered_ms: i64) -> Result<i64, i64> {
    let took_ms = answered_ms - asked_ms;
    if took_ms > ROUND_TRIP_MAX_MS {
        return Err(took_ms);
    }
    Ok(exchange_ms - (asked_ms + took_ms / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_belongs_to_the_middle_of_the_round_trip() {
        let cases = [
            ("same clock", 1_000, 1_050, 1_100, Ok(0)),
            ("ahead", 1_000, 2_000, 1_000, Ok(1_000)),
            ("behind", 1_000, 0, 1_200, Ok(-1_100)),
            ("as long as may be", 1_000, 2_000, 3_000, Ok(0)),
            ("slept meanwhile", 1_000, 1_050, 3_601_100, Err(3_600_100)),
        ];
        for (name, asked, exchange, answered, expected) in cases {
            assert_eq!(offset_ms(asked, exchange, answered), expected, "case: {name}");
        }
    }
}
