//! What one lock of a room guards: who may act, what is in hand, what comes first, what waits to go out.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::fence::Fence;
use super::journal::RecentMessage;
use super::message::{Envelope, Message};
use super::outgoing::Outgoing;
use super::room::DeathCause;
use super::status::{HandleTimes, RoomState};

const RECENT: usize = 16;

/// A message that was put back, or waits to be split.
pub(crate) struct Pending<M> {
    pub(crate) env: Arc<Envelope<M>>,
    /// Tries so far.
    pub(crate) attempts: u8,
    /// How often it was split off; bounds a `split` that never gets smaller.
    pub(crate) splits: u8,
}

/// What the incarnation is doing.
pub(crate) enum Busy<M> {
    Idle,
    Data(Pending<M>),
    Inner(Arc<Envelope<M>>),
    /// Something without a message: `birth`, `drain`, `drop`, `drill`.
    Step(&'static str),
}

impl<M: Message> Busy<M> {
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Sequence number and kind, for reports.
    pub(crate) fn describe(&self) -> (Option<u64>, Option<&'static str>) {
        match self {
            Self::Idle => (None, None),
            Self::Data(pending) => (Some(pending.env.seq), Some(pending.env.msg.kind())),
            Self::Inner(env) => (Some(env.seq), Some(env.msg.kind())),
            Self::Step(what) => (None, Some(what)),
        }
    }
}

/// The last messages, for crash reports.
#[derive(Clone, Copy)]
pub(crate) struct Recent {
    ring: [(u64, &'static str, u64); RECENT],
    next: usize,
}

impl Recent {
    const EMPTY: Self = Self { ring: [(0, "", 0); RECENT], next: 0 };

    pub(crate) fn push(&mut self, seq: u64, kind: &'static str, us: u64) {
        self.ring[self.next % RECENT] = (seq, kind, us);
        // Past the first round it counts on from RECENT, so that "not full yet" stays visible.
        self.next = if self.next + 1 == 2 * RECENT { RECENT } else { self.next + 1 };
    }

    /// Oldest first.
    pub(crate) fn list(&self) -> Vec<RecentMessage> {
        let first = if self.next < RECENT { 0 } else { self.next };
        (first..first + RECENT)
            .map(|i| self.ring[i % RECENT])
            .filter(|(_, kind, _)| !kind.is_empty())
            .map(|(seq, kind, us)| RecentMessage { seq, kind, us })
            .collect()
    }
}

/// A death whose room has not handled anything since.
#[derive(Clone, Debug)]
pub(crate) struct Mourned {
    pub(crate) at: Instant,
    pub(crate) cause: &'static str,
    pub(crate) fingerprint: String,
}

/// The end of a [`Mourned`] time.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) of: Mourned,
    pub(crate) kind: &'static str,
    pub(crate) handled_us: u64,
}

/// Births in a row that may fail with one checkpoint in hand. Fewer than a group's budget of deaths: a bad checkpoint is
/// no reason to escalate.
const HANDED_MAX: u32 = 3;

pub(crate) struct Slot<M> {
    /// The epoch that may act; 0: nobody.
    pub(crate) owner: u64,
    /// The newest epoch, alive or not.
    pub(crate) epoch: u64,
    pub(crate) fence: Fence,
    pub(crate) busy: Busy<M>,
    pub(crate) busy_since: Instant,
    /// The watchdog has said that this message is slow.
    pub(crate) warned: bool,
    /// Handled before the queue: put back, or split.
    pub(crate) head: VecDeque<Pending<M>>,
    /// Killed its incarnation for the last time allowed; the next birth splits or quarantines it.
    pub(crate) suspect: Option<(Pending<M>, bool, String)>,
    pub(crate) parked: VecDeque<Outgoing>,
    /// Stays here until somebody was born with it.
    pub(crate) checkpoint: Option<Arc<dyn Any + Send + Sync>>,
    /// Births in a row that it was handed to.
    pub(crate) handed: u32,
    pub(crate) recent: Recent,
    pub(crate) times: HandleTimes,
    pub(crate) handled: u64,
    pub(crate) handled_inner: u64,
    pub(crate) inner_dropped: u64,
    pub(crate) quarantined: u64,
    pub(crate) quarantined_inner: u64,
    pub(crate) split_extra: u64,
    /// Data messages handled by this incarnation.
    pub(crate) handled_since_birth: u64,
    pub(crate) born_at: Instant,
    pub(crate) done_at: Instant,
    pub(crate) tid: Option<String>,
    /// Told by the supervisor.
    pub(crate) state: RoomState,
    pub(crate) deaths: Vec<(&'static str, u64)>,
    pub(crate) last_cause: Option<DeathCause>,
    pub(crate) next_try: Option<Instant>,
    pub(crate) mourned: Option<Mourned>,
}

impl<M: Message> Slot<M> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            owner: 0,
            epoch: 0,
            fence: Fence::default(),
            busy: Busy::Idle,
            busy_since: now,
            warned: false,
            head: VecDeque::new(),
            suspect: None,
            parked: VecDeque::new(),
            checkpoint: None,
            handed: 0,
            recent: Recent::EMPTY,
            times: HandleTimes::default(),
            handled: 0,
            handled_inner: 0,
            inner_dropped: 0,
            quarantined: 0,
            quarantined_inner: 0,
            split_extra: 0,
            handled_since_birth: 0,
            born_at: now,
            done_at: now,
            tid: None,
            state: RoomState::Idle,
            deaths: Vec::new(),
            last_cause: None,
            next_try: None,
            mourned: None,
        }
    }

    /// What a birth is handed; the flag: it failed too many of them and is given up.
    pub(crate) fn hand_over(&mut self) -> (Option<Arc<dyn Any + Send + Sync>>, bool) {
        if self.handed >= HANDED_MAX {
            self.handed = 0;
            return (self.checkpoint.take(), true);
        }
        self.handed += u32::from(self.checkpoint.is_some());
        (self.checkpoint.clone(), false)
    }

    /// Counts what was in hand as handled and returns it, to be dropped outside the lock.
    pub(crate) fn acknowledge(&mut self, now: Instant) -> Busy<M> {
        let busy = std::mem::replace(&mut self.busy, Busy::Idle);
        if busy.is_idle() {
            return busy;
        }
        let us = u64::try_from(now.saturating_duration_since(self.busy_since).as_micros()).unwrap_or(u64::MAX);
        if let (seq, Some(kind)) = busy.describe() {
            self.recent.push(seq.unwrap_or(0), kind, us);
        }
        match &busy {
            Busy::Data(_) => {
                self.handled += 1;
                self.handled_since_birth += 1;
                self.times.record_us(us);
            }
            Busy::Inner(_) => {
                self.handled_inner += 1;
                self.times.record_us(us);
            }
            Busy::Step(_) | Busy::Idle => {}
        }
        self.done_at = now;
        busy
    }

    /// The end of a death's consequences, if what is in hand is the first message since.
    pub(crate) fn recovery(&mut self, now: Instant) -> Option<Recovery> {
        if self.mourned.is_none() || !matches!(self.busy, Busy::Data(_) | Busy::Inner(_)) {
            return None;
        }
        let of = self.mourned.take()?;
        let handled_us = u64::try_from(now.saturating_duration_since(of.at).as_micros()).unwrap_or(u64::MAX);
        Some(Recovery { kind: self.busy.describe().1.unwrap_or(""), of, handled_us })
    }

    pub(crate) fn take_up(&mut self, busy: Busy<M>, now: Instant) {
        self.busy = busy;
        self.busy_since = now;
        self.warned = false;
    }

    pub(crate) fn count_death(&mut self, cause: DeathCause) {
        let kind = cause.kind();
        match self.deaths.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.deaths.push((kind, 1)),
        }
        self.last_cause = Some(cause);
    }

    /// Data messages that are neither handled, refused nor quarantined.
    pub(crate) fn held(&self) -> usize {
        self.head.len()
            + usize::from(self.suspect.as_ref().is_some_and(|(_, inner, _)| !inner))
            + usize::from(matches!(self.busy, Busy::Data(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_last_sixteen_are_kept_oldest_first() {
        for (name, pushed, first, count) in [
            ("none", 0_u64, 0, 0),
            ("few", 3, 1, 3),
            ("full", 16, 1, 16),
            ("over", 17, 2, 16),
            ("far over", 100, 85, 16),
        ] {
            let mut recent = Recent::EMPTY;
            for seq in 1..=pushed {
                recent.push(seq, "tick", 5);
            }
            let list = recent.list();
            assert_eq!(list.len(), count, "case: {name}");
            assert_eq!(list.first().map_or(0, |m| m.seq), first, "case: {name}");
            assert!(list.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq), "case: {name}");
        }
    }
}
