//! One session after the other, for ever: the pause between them doubles with jitter and never gives up.

use super::super::bitget::rest::Rest;
use super::{EndReason, FeedNotice, FeedSettings, Gone, Memory, Outlet, Plan, SessionEnd, run};
use crate::error::Remedy;
use std::time::Duration;

/// How long to wait before the next session. Told the chance.
#[derive(Clone, Debug)]
pub struct Reconnect {
    min: Duration,
    max: Duration,
    login_retry: Duration,
    failures: u32,
    refusals: u32,
}

impl Reconnect {
    /// A connection that was of use for this long ends a row of failures.
    const STABLE: Duration = Duration::from_secs(10);

    pub const fn new(settings: &FeedSettings) -> Self {
        Self {
            min: settings.reconnect_min,
            max: settings.reconnect_max,
            login_retry: settings.login_retry,
            failures: 0,
            refusals: 0,
        }
    }

    /// The pause after `end`; `chance` is between 0 and 1.
    pub fn pause(&mut self, end: &SessionEnd, chance: f64) -> Duration {
        // Between half and the whole of the step: never at once, never all together.
        let jittered = |step: Duration| step / 2 + (step / 2).mul_f64(chance);
        let doubled = |base: Duration, times: u32, most: Duration| {
            base.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1))).min(most)
        };
        if end.useful && end.lived >= Self::STABLE {
            self.failures = 0;
        }
        match end.reason.remedy() {
            Remedy::GiveUp => {
                self.refusals = self.refusals.saturating_add(1);
                let most = self.login_retry * 10;
                // The whole step at least: a refused login that spins gets the address blocked.
                doubled(self.login_retry, self.refusals, most) + self.login_retry.mul_f64(chance / 10.0)
            }
            Remedy::Retry { after } => {
                self.failures = self.failures.saturating_add(1);
                after + jittered(after / 2)
            }
            Remedy::Restart if matches!(end.reason, EndReason::Planned) => jittered(self.min),
            Remedy::Restart => {
                self.refusals = 0;
                self.failures = self.failures.saturating_add(1);
                jittered(doubled(self.min, self.failures, self.max))
            }
        }
    }
}

/// Keeps the connection of `plan` up until nobody listens. `rest` is asked for the exchange's clock when a login is
/// refused because of ours.
pub async fn keep_connected<O: Outlet>(plan: &Plan, rest: Option<&Rest>, outlet: &mut O) -> Gone {
    let mut memory = Memory::default();
    let mut policy = Reconnect::new(&plan.settings);
    let mut random = plan.seed;
    loop {
        let end = run(plan, &mut memory, outlet).await;
        if end.reason == EndReason::Stopped {
            return Gone;
        }
        let pause = policy.pause(&end, unit(&mut random));
        let waiting = FeedNotice::Waiting { reason: end.reason.clone(), retry_in: pause };
        if outlet.notice(waiting).await.is_err() {
            return Gone;
        }
        if let (EndReason::ClockOff { .. }, Some(rest)) = (&end.reason, rest) {
            // An answer sets the skew; without one the old skew is as good as any.
            let _ = rest.measure_skew().await;
        }
        tokio::time::sleep(pause).await;
    }
}

/// The next of a row of chances between 0 and 1 (splitmix64).
pub(super) fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(reason: EndReason, useful: bool, lived_s: u64) -> SessionEnd {
        SessionEnd { reason, useful, lived: Duration::from_secs(lived_s) }
    }

    fn broken() -> EndReason {
        EndReason::Closed { code: None }
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_never_end() {
        let mut policy = Reconnect::new(&FeedSettings::default());
        let pauses: Vec<u128> = (0..10).map(|_| policy.pause(&end(broken(), false, 0), 1.0).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        for _ in 0..1_000 {
            assert_eq!(policy.pause(&end(broken(), false, 0), 0.0), Duration::from_secs(15));
        }
        assert_eq!(policy.pause(&end(broken(), true, 10), 1.0), Duration::from_millis(250), "it had worked");
        assert_eq!(policy.pause(&end(broken(), true, 9), 1.0), Duration::from_millis(500), "too short to count");
    }

    #[test]
    fn a_refused_login_is_tried_again_slowly_and_a_planned_end_at_once() {
        let mut policy = Reconnect::new(&FeedSettings::default());
        let refused = end(EndReason::LoginRefused { code: 30011 }, false, 0);
        let pauses: Vec<u64> = (0..6).map(|_| policy.pause(&refused, 0.0).as_secs()).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 300, 300]);
        assert_eq!(policy.pause(&end(EndReason::Planned, true, 80_000), 1.0), Duration::from_millis(250));
        let asked_too_much = end(EndReason::BackOff { code: 30006 }, false, 1);
        assert!(policy.pause(&asked_too_much, 0.0) >= Duration::from_secs(60));
    }

    proptest::proptest! {
        #[test]
        fn every_pause_is_between_half_the_first_and_the_longest(failures in 1_u32..60, chance in 0.0..1.0_f64) {
            let mut policy = Reconnect::new(&FeedSettings::default());
            for _ in 0..failures {
                let pause = policy.pause(&end(broken(), false, 0), chance);
                proptest::prop_assert!(pause >= Duration::from_millis(125) && pause <= Duration::from_secs(30));
            }
        }
    }
}
