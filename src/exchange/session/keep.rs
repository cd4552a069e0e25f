//! One session after the other, for ever: the pause between them doubles with full jitter and never gives up. A session
//! that only grew old is relieved by the next one without a pause.

use super::super::bitget::error::login_fix;
use super::super::bitget::rest::Rest;
use super::heard::Line;
use super::machine::run_shift;
use super::relief::{GRACE, LEAVE_LIMIT, LIMIT, Relay, Shift};
use super::{EndReason, FeedNotice, FeedSettings, Gone, Memory, Outlet, Plan, SessionEnd};
use crate::error::Remedy;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

/// How long to wait before the next session. Told the chance.
#[derive(Clone, Debug)]
pub struct Reconnect {
    min: Duration,
    max: Duration,
    login_retry: Duration,
    failures: u32,
    refusals: u32,
    clock_was_off: bool,
}

impl Reconnect {
    /// A connection that was of use for this long ends a row of failures.
    const STABLE: Duration = Duration::from_secs(10);
    /// Never at once: whatever refused us gets a moment.
    const AT_LEAST: Duration = Duration::from_millis(10);

    pub const fn new(settings: &FeedSettings) -> Self {
        Self {
            min: settings.reconnect_min,
            max: settings.reconnect_max,
            login_retry: settings.login_retry,
            failures: 0,
            refusals: 0,
            clock_was_off: false,
        }
    }

    /// What a session's end means after those before it: a clock that is still off after it was measured is a login
    /// that stays refused, and tried again as slowly.
    #[must_use]
    pub fn judge(&mut self, end: SessionEnd) -> SessionEnd {
        match end.reason {
            EndReason::ClockOff { code } if std::mem::replace(&mut self.clock_was_off, true) => {
                SessionEnd { reason: EndReason::LoginRefused { code }, ..end }
            }
            EndReason::ClockOff { .. } => end,
            _ => {
                self.clock_was_off &= !end.useful;
                end
            }
        }
    }

    /// The pause after `end`; `chance` is between 0 and 1.
    pub fn pause(&mut self, end: &SessionEnd, chance: f64) -> Duration {
        // Full jitter: those who lost their connections together do not come back together.
        let jittered = |step: Duration| step.mul_f64(chance).max(Self::AT_LEAST);
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
                after + jittered((after / 2).min(self.max))
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
    let line = plan.heard.line(plan.is_private(), &plan.streams);
    let outlet = Mutex::new(outlet);
    let mut keeper = Keeper {
        plan,
        line,
        outlet: &outlet,
        memory: Memory::default(),
        policy: Reconnect::new(&plan.settings),
        random: plan.seed,
    };
    loop {
        let end = match keeper.shifts().await {
            Ok(end) => end,
            Err(gone) => return gone,
        };
        if end.reason == EndReason::Stopped {
            return Gone;
        }
        let clock_off = matches!(end.reason, EndReason::ClockOff { .. });
        let judged = keeper.policy.judge(end);
        if let (true, EndReason::LoginRefused { code }) = (clock_off, &judged.reason) {
            let refused = FeedNotice::LoginRefused { code: *code, fix: login_fix(*code) };
            if keeper.tell(refused).await.is_err() {
                return Gone;
            }
        }
        let pause = keeper.pause(&judged);
        let waiting = FeedNotice::Waiting { reason: judged.reason, retry_in: pause };
        if keeper.tell(waiting).await.is_err() {
            return Gone;
        }
        if let (true, Some(rest)) = (clock_off, rest) {
            // An answer sets the skew; without one the old skew is as good as any.
            let _ = rest.measure_skew().await;
        }
        sleep(pause).await;
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = (SessionEnd, Memory)> + 'a>>;

struct Keeper<'a, 'o, O> {
    plan: &'a Plan,
    line: Arc<Line>,
    outlet: &'a Mutex<&'o mut O>,
    memory: Memory,
    policy: Reconnect,
    random: u64,
}

/// How an attempt to relieve a session went.
enum Relief {
    /// The successor speaks.
    Done,
    /// The successor did not come to work; the old one goes on.
    Failed(SessionEnd),
    /// The old one ended meanwhile; the successor speaks, whatever it has come to.
    Overtaken,
}

impl<'a, O: Outlet> Keeper<'a, '_, O> {
    /// Sessions that relieve each other, until one ends for another reason than its age.
    async fn shifts(&mut self) -> Result<SessionEnd, Gone> {
        let mut shift = Rc::new(Shift::speaking());
        let mut now = self.session(&shift);
        loop {
            tokio::select! {
                biased;
                (end, memory) = &mut now => {
                    self.memory = memory;
                    return Ok(end);
                }
                () = shift.until_due() => {}
            }
            let successor = Rc::new(Shift::default());
            let mut next = self.session(&successor);
            match self.relieve(&mut now, &shift, &mut next, &successor).await? {
                Relief::Done | Relief::Overtaken => (now, shift) = (next, successor),
                Relief::Failed(end) => {
                    let pause = self.pause(&end);
                    let notice = FeedNotice::NotRelieved { reason: end.reason, retry_in: pause };
                    // The old one goes on meanwhile: it may have the outlet in hand, and would never give it back.
                    let told = async {
                        self.tell(notice).await?;
                        sleep(pause).await;
                        Ok::<_, Gone>(())
                    };
                    tokio::select! {
                        biased;
                        (end, memory) = &mut now => {
                            self.memory = memory;
                            return Ok(end);
                        }
                        told = told => told?,
                    }
                }
            }
        }
    }

    async fn relieve(
        &self,
        now: &mut Running<'a>,
        shift: &Shift,
        next: &mut Running<'a>,
        successor: &Shift,
    ) -> Result<Relief, Gone> {
        let late = sleep(LIMIT);
        tokio::select! {
            biased;
            _ = &mut *now => {
                successor.open(self.outlet).await?;
                return Ok(Relief::Overtaken);
            }
            (end, _) = &mut *next => return Ok(Relief::Failed(end)),
            () = successor.until_settled() => {}
            () = late => {
                let reason = EndReason::ConnectTimeout(LIMIT);
                return Ok(Relief::Failed(SessionEnd { reason, useful: false, lived: LIMIT }));
            }
        }
        // Both run for a moment; then the old one leaves as soon as it has nothing more to read.
        let settled = Instant::now();
        let (mut leave_at, drop_at) = (Some(settled + GRACE), settled + GRACE + LEAVE_LIMIT);
        loop {
            tokio::select! {
                biased;
                _ = &mut *now => break,
                (end, _) = &mut *next => {
                    shift.let_go(false);
                    return Ok(Relief::Failed(end));
                }
                () = sleep_until(leave_at.unwrap_or(drop_at)) => match leave_at.take() {
                    Some(_) => shift.let_go(true),
                    None => {
                        // What it is just handing on is handed on; then it ends, or it would keep the outlet.
                        tokio::select! {
                            biased;
                            _ = &mut *now => {}
                            outlet = self.outlet.lock() => drop(outlet),
                        }
                        *now = Box::pin(std::future::pending());
                        break;
                    }
                },
            }
        }
        successor.open(self.outlet).await?;
        Ok(Relief::Done)
    }

    fn session(&self, shift: &Rc<Shift>) -> Running<'a> {
        let (plan, outlet, line, shift) = (self.plan, self.outlet, self.line.clone(), shift.clone());
        let mut memory = self.memory.clone();
        Box::pin(async move {
            let mut relay = Relay { to: outlet, shift: shift.clone(), public: !plan.is_private() };
            let end = run_shift(plan, &mut memory, &mut relay, line, Some(shift)).await;
            (end, memory)
        })
    }

    fn pause(&mut self, end: &SessionEnd) -> Duration {
        self.policy.pause(end, unit(&mut self.random))
    }

    async fn tell(&self, notice: FeedNotice) -> Result<(), Gone> {
        self.outlet.lock().await.notice(notice).await
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
            assert_eq!(policy.pause(&end(broken(), false, 0), 0.5), Duration::from_secs(15), "full jitter");
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
        let (status, after) = (503, Some(Duration::from_secs(90)));
        let later = end(EndReason::Refused { status, after }, false, 0);
        assert!(policy.pause(&later, 0.0) >= Duration::from_secs(90), "the exchange said when");
        let off = || end(EndReason::ClockOff { code: 30014 }, false, 0);
        assert_eq!(policy.judge(off()), off(), "measured, then tried at once");
        assert_eq!(policy.judge(off()).reason, EndReason::LoginRefused { code: 30014 }, "measuring did not help");
        let asked_too_much = end(EndReason::BackOff { code: 30006 }, false, 1);
        assert!(policy.pause(&asked_too_much, 0.0) >= Duration::from_secs(60));
    }

    proptest::proptest! {
        #[test]
        fn every_pause_is_within_its_step(failures in 1_u32..60, chance in 0.0..1.0_f64) {
            let mut policy = Reconnect::new(&FeedSettings::default());
            for _ in 0..failures {
                let pause = policy.pause(&end(broken(), false, 0), chance);
                proptest::prop_assert!(pause >= Reconnect::AT_LEAST && pause <= Duration::from_secs(30));
            }
        }
    }
}
