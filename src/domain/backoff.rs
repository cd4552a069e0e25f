//! How long to wait before the next try. Pure: the random number is handed in.

use std::time::Duration;

/// Doubling from `base` up to `cap`, with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub cap: Duration,
    /// A life at least this long makes the next failure a first one again.
    pub stable_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), cap: Duration::from_secs(30), stable_after: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The longest wait before try number `tries` (0: at once).
    pub fn ceiling(&self, tries: u32) -> Duration {
        let Some(doublings) = tries.checked_sub(1) else { return Duration::ZERO };
        2_u32.checked_pow(doublings).and_then(|factor| self.base.checked_mul(factor)).unwrap_or(self.cap).min(self.cap)
    }

    /// A wait between zero and the ceiling; `random` is uniform over all of `u64`. Many rooms that failed together
    /// must not come back together, hence the full width.
    pub fn delay(&self, tries: u32, random: u64) -> Duration {
        let ceiling_ns = self.ceiling(tries).as_nanos();
        let share = (ceiling_ns.saturating_add(1)).saturating_mul(u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// Whether a life of `lived` was a stable one.
    pub fn is_stable(&self, lived: Duration) -> bool {
        lived >= self.stable_after
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Backoff = Backoff {
        base: Duration::from_millis(100),
        cap: Duration::from_secs(30),
        stable_after: Duration::from_secs(60),
    };

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let cases = [
            ("first failure", 0, 0),
            ("second", 1, 100),
            ("third", 2, 200),
            ("below the cap", 9, 25_600),
            ("at the cap", 10, 30_000),
            ("far past it", 40, 30_000),
            ("past every integer", u32::MAX, 30_000),
        ];
        for (name, tries, expected_ms) in cases {
            assert_eq!(RULE.ceiling(tries), Duration::from_millis(expected_ms), "case: {name}");
        }
    }

    #[test]
    fn only_a_long_life_is_stable() {
        for (name, lived_ms, expected) in [("long", 60_000, true), ("just short", 59_999, false), ("none", 0, false)] {
            assert_eq!(RULE.is_stable(Duration::from_millis(lived_ms)), expected, "case: {name}");
        }
    }

    #[test]
    fn jitter_uses_the_whole_width() {
        assert_eq!(RULE.delay(1, 0), Duration::ZERO);
        assert_eq!(RULE.delay(1, u64::MAX), Duration::from_millis(100));
        let half = RULE.delay(1, u64::MAX / 2);
        assert!(half > Duration::from_millis(49) && half < Duration::from_millis(51), "{half:?}");
    }

    proptest! {
        #[test]
        fn a_delay_never_passes_its_ceiling(tries: u32, random: u64) {
            prop_assert!(RULE.delay(tries, random) <= RULE.ceiling(tries));
        }
    }
}
