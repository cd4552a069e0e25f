//! Rates: how many writes of one kind per minute. State above its limit waits for the next slot (and is then the
//! newest value), events above theirs wait in order. Nothing is dropped.

/// The window that every limit is stated for.
pub const WINDOW_MS: i64 = 60_000;

/// A limit of `per_minute` in any window of 60 s, spread so that a burst cannot starve the rest of the minute:
/// a tenth of the budget may come at once, the rest is paced.
///
/// This is the generic cell rate algorithm: one number of state, told the time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    spacing_us: i64,
    tolerance_us: i64,
}

impl RateLimit {
    /// At most `per_minute` in any half-open window of 60 s; 0 counts as 1.
    pub fn per_minute(per_minute: u32) -> Self {
        let budget = i64::from(per_minute.max(1));
        let burst = (budget / 10).max(1);
        let paced = (budget - burst).max(1);
        // Rounded up, so that rounding never lets one more through.
        let spacing_us = (WINDOW_MS * 1_000 + paced - 1) / paced;
        Self { spacing_us, tolerance_us: (burst - 1) * spacing_us }
    }
}

/// What is left of one key's budget.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateState {
    /// When the bucket would be empty again, microseconds on the caller's clock.
    due_us: i64,
}

impl RateState {
    /// Takes a slot at `now_ms`, or says when the next one comes (ms, later than `now_ms`).
    ///
    /// `now_ms` is a monotonic reading; one that steps back freezes the budget and takes nothing.
    pub fn take(&mut self, limit: RateLimit, now_ms: i64) -> Result<(), i64> {
        let now_us = now_ms.saturating_mul(1_000);
        let earliest_us = self.due_us - limit.tolerance_us;
        if now_us < earliest_us {
            return Err((earliest_us + 999) / 1_000);
        }
        self.due_us = self.due_us.max(now_us) + limit.spacing_us;
        Ok(())
    }

    /// Takes a slot only if the whole burst is there: for what may be left out, so that it never delays what may not.
    pub fn take_idle(&mut self, limit: RateLimit, now_ms: i64) -> bool {
        self.due_us <= now_ms.saturating_mul(1_000) && self.take(limit, now_ms).is_ok()
    }
}

/// Rates per minute: the seed's are 100, 600 and 50.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Position state, per symbol and side.
    pub positions: u32,
    /// Market state, per symbol.
    pub market_data: u32,
    /// Fills, per account.
    pub trades: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { positions: 100, market_data: 600, trades: 50 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tenth_may_come_at_once_and_not_one_more() {
        for (name, per_minute, burst) in [
            ("positions", 100, 10),
            ("market data", 600, 60),
            ("trades", 50, 5),
            ("one", 1, 1),
            ("zero counts as one", 0, 1),
        ] {
            let limit = RateLimit::per_minute(per_minute);
            let mut state = RateState::default();
            let now = 1_000_000;
            let taken = (0..per_minute.max(1) + 1).take_while(|_| state.take(limit, now).is_ok()).count();
            assert_eq!(taken, burst, "case: {name}");
        }
    }

    #[test]
    fn the_promised_slot_is_free_and_the_moment_before_is_not() {
        for per_minute in [1, 7, 50, 100, 600] {
            let limit = RateLimit::per_minute(per_minute);
            let mut state = RateState::default();
            let slot = loop {
                if let Err(slot) = state.take(limit, 500_000) {
                    break slot;
                }
            };
            assert!(slot > 500_000, "{per_minute}/min: the slot lies ahead");
            let mut early = state;
            assert!(early.take(limit, slot - 1).is_err(), "{per_minute}/min: one ms early");
            assert_eq!(state.take(limit, slot), Ok(()), "{per_minute}/min: at the slot");
        }
    }

    #[test]
    fn a_clock_that_steps_back_takes_nothing() {
        let limit = RateLimit::per_minute(600);
        let mut state = RateState::default();
        while state.take(limit, 10_000_000).is_ok() {}
        assert!(state.take(limit, 1_000).is_err());
    }

    #[test]
    fn what_may_be_left_out_never_delays_what_may_not() {
        let limit = RateLimit::per_minute(100);
        let mut state = RateState::default();
        let offered = (0..60_000).filter(|ms| state.take_idle(limit, 1_000_000 + ms)).count();
        assert!((80..=100).contains(&offered), "{offered} of them got through");
        assert_eq!(state.take(limit, 1_060_000), Ok(()), "a change finds a slot at once");
        assert!(!state.take_idle(limit, 1_060_000), "the rest waits for an idle moment");
    }

    proptest! {
        #[test]
        fn no_window_of_a_minute_holds_more_than_the_limit(
            per_minute in 1_u32..700,
            gaps in prop::collection::vec(0_i64..400, 1..1_500),
        ) {
            let limit = RateLimit::per_minute(per_minute);
            let mut state = RateState::default();
            let mut now = 5_000_000;
            let mut taken = Vec::new();
            for gap in gaps {
                now += gap;
                if state.take(limit, now).is_ok() { taken.push(now); }
            }
            for (i, &from) in taken.iter().enumerate() {
                let inside = taken[i..].iter().take_while(|&&t| t < from + WINDOW_MS).count();
                prop_assert!(inside <= per_minute as usize, "{inside} > {per_minute}");
            }
        }

        #[test]
        fn a_waiting_value_gets_out_within_two_spacings(per_minute in 2_u32..700) {
            let limit = RateLimit::per_minute(per_minute);
            let mut state = RateState::default();
            let now = 5_000_000;
            let mut slot = now;
            for _ in 0..3 * per_minute {
                slot = match state.take(limit, slot) { Ok(()) => slot, Err(next) => next };
            }
            let next = state.take(limit, slot).err().unwrap_or(slot);
            prop_assert!(next - slot <= 2 * (WINDOW_MS / i64::from(per_minute.div_ceil(2)) + 1));
        }
    }
}
