//! What the watchdog decides: which room hangs, and whose time does not count. Pure, so that a day can be tried in
//! milliseconds.

use std::time::{Duration, Instant};

use super::starved::Turns;

/// How often an arbiter beats: often enough that a blocked one is found within the deadline and a half.
pub(crate) fn beat_interval(deadline: Duration) -> Duration {
    (deadline / 4).clamp(Duration::from_millis(5), Duration::from_millis(500))
}

/// The signs of life of one room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signs {
    /// Since when something is in hand.
    pub(crate) busy_since: Option<Instant>,
    /// The arbiter's last own beat.
    pub(crate) beat: Instant,
    /// The last word of a task that promised to speak, and how long it may be silent.
    pub(crate) spoke: Option<(Instant, Duration)>,
    /// Its thread was given up because of another room on it.
    pub(crate) given_up: bool,
    /// The watchdog has said already that it is slow.
    pub(crate) warned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Fine,
    /// Busy for longer than a quarter of its deadline, said once.
    Slow(Duration),
    Hung(Duration),
}

/// From an eighth of its deadline on a silent room is in doubt: how its thread spends the time is looked at from then on.
pub(crate) fn is_doubtful(signs: &Signs, deadline: Duration, now: Instant, amnesty_from: Instant) -> bool {
    let since = |from: Instant| now.saturating_duration_since(from.max(amnesty_from));
    let early = deadline / 8;
    signs.busy_since.is_some_and(|busy| since(busy) > early)
        || since(signs.beat) > early + beat_interval(deadline)
        || signs.spoke.is_some_and(|(at, limit)| since(at) > limit / 8)
}

/// A thread that stands in line for a processor, or stood there for half of its silence, and hardly ran had no chance to
/// show life. Once it has run for an eighth of its deadline it had, however long the line was.
pub(crate) fn is_starved(silence: Duration, got: Turns, deadline: Duration) -> bool {
    (got.is_ready || got.waited >= silence / 2) && got.ran < deadline / 8
}

/// Judges by `deadline`; time before `amnesty_from` counts against nobody.
pub(crate) fn judge(signs: &Signs, deadline: Duration, now: Instant, amnesty_from: Instant) -> Judgement {
    let since = |from: Instant| now.saturating_duration_since(from.max(amnesty_from));
    let busy = signs.busy_since.map_or(Duration::ZERO, since);
    let beat = since(signs.beat);
    if busy > deadline {
        return Judgement::Hung(busy);
    }
    if beat > deadline + beat_interval(deadline) || signs.given_up {
        return Judgement::Hung(beat);
    }
    if let Some((at, limit)) = signs.spoke
        && since(at) > limit
    {
        return Judgement::Hung(since(at));
    }
    if busy > deadline / 4 && !signs.warned { Judgement::Slow(busy) } else { Judgement::Fine }
}

/// The watchdog's own lateness. When it wakes late the whole process may have stood still: a stopped process or a
/// starved machine is not a hang of every room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amnesty {
    tick: Duration,
    last: Instant,
    /// Time before this counts against nobody.
    pub(crate) from: Instant,
}

impl Amnesty {
    pub(crate) fn new(tick: Duration, now: Instant) -> Self {
        Self { tick, last: now, from: now }
    }

    /// At each waking; how late it came, if that is too late to judge anybody.
    pub(crate) fn woke(&mut self, now: Instant) -> Option<Duration> {
        let late = now.saturating_duration_since(self.last).saturating_sub(self.tick);
        self.last = now;
        if late <= (self.tick * 4).max(Duration::from_millis(50)) {
            return None;
        }
        self.from = now;
        Some(late)
    }
}
