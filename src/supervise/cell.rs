//! A mailbox without its type: what the supervisor, the watchdog and observers do with it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::card::Card;
use super::fence::Fence;
use super::journal::RecentMessage;
use super::judge::{Judgement, Signs, is_doubtful, judge};
use super::mailbox::Mailbox;
use super::message::{Envelope, Message};
use super::orders::Control;
use super::outgoing::{Target, deliver_parked};
use super::panic_hook::PanicNote;
use super::policy::{Fate, InHand};
use super::quarantine::{Quarantine, Quarantined};
use super::queue::lock;
use super::room::DeathCause;
use super::slot::{Busy, Mourned, Pending, Slot};
use super::starved::InLine;
use super::status::{RoomState, RoomStatus};

/// A death as its witness saw it: the shell itself, or the watchdog.
#[derive(Debug)]
pub(crate) struct Obituary {
    pub(crate) epoch: u64,
    pub(crate) cause: DeathCause,
    pub(crate) at: Instant,
    pub(crate) note: PanicNote,
    pub(crate) in_hand: InHand,
    pub(crate) message: (Option<u64>, Option<&'static str>),
    pub(crate) digest: String,
    pub(crate) recent: Vec<RecentMessage>,
    pub(crate) handled: u64,
    pub(crate) lived: Duration,
    pub(crate) drop_ok: bool,
    pub(crate) thread: String,
    pub(crate) thread_state: Option<String>,
    pub(crate) depth: usize,
    pub(crate) parked: usize,
}

pub(crate) enum Verdict {
    Slow {
        epoch: u64,
        busy_ms: u64,
        kind: &'static str,
        seq: u64,
    },
    /// It would hang, had its thread been let run. Told once.
    Starved {
        epoch: u64,
        silent_ms: u64,
        waited_ms: u64,
        ran_ms: u64,
    },
    Hung(Box<Obituary>),
}

pub(crate) trait Cell: Send + Sync {
    fn card(&self) -> &Card;
    /// A new epoch owns the room.
    fn begin(&self, epoch: u64, fence: Fence);
    /// There was no thread for this epoch: nobody owns the room.
    fn miss(&self, epoch: u64);
    fn control(&self, control: Control) -> bool;
    /// Judges what is in hand; a hung incarnation is revoked in the same step. `line` is what is known of its thread.
    fn check(&self, now: Instant, amnesty_from: Instant, line: &mut InLine) -> Option<Verdict>;
    fn settle(&self, fate: Fate, cause: &DeathCause);
    fn set_state(&self, state: RoomState, next_try: Option<Instant>);
    fn count_death(&self, cause: DeathCause);
    /// From now until the next handled message the room counts as not recovered.
    fn mourn(&self, death: Mourned);
    fn status(&self, group: &'static str, now: Instant) -> RoomStatus;
    /// Nothing waits and nothing is outstanding; the number changes with each message handled.
    fn quiet(&self) -> (bool, u64);
    fn left(&self) -> u64;
    /// Messages so far that found the mailbox full.
    fn overflowed(&self) -> u64;
    fn set_suspended(&self, suspended: bool);
    /// Drill: see [`Mailbox::poison_next`].
    fn poison_next(&self);
    fn begin_drain(&self);
    /// The room has ended for good: quarantines a suspect and turns senders away.
    fn close(&self, quarantine: &Quarantine);
    fn reopen(&self);
    /// As [`Cell::readmit`], from [`Message::save`]; `None`: it cannot be read, `Some(false)`: there is no space.
    fn readmit_saved(&self, saved: &str) -> Option<bool>;
    /// Takes a message back from the quarantine; gives it back when there is no space.
    fn readmit(&self, envelope: Arc<dyn Any + Send + Sync>) -> Result<(), Arc<dyn Any + Send + Sync>>;
}

impl<M: Message> Mailbox<M> {
    /// Ends the ownership of `slot` and writes down what is known.
    pub(crate) fn obituary(&self, slot: &mut Slot<M>, cause: DeathCause, note: PanicNote, now: Instant) -> Obituary {
        let epoch = slot.owner;
        slot.owner = 0;
        self.owner.store(0, Ordering::Release);
        self.progress_limit_us.store(0, Ordering::Relaxed);
        Obituary {
            epoch,
            cause,
            at: now,
            note,
            in_hand: match &slot.busy {
                Busy::Data(pending) => InHand::Data { attempts: pending.attempts },
                Busy::Inner(_) => InHand::Inner,
                Busy::Idle | Busy::Step(_) => InHand::Nothing,
            },
            message: slot.busy.describe(),
            digest: String::new(),
            recent: slot.recent.list(),
            handled: slot.handled_since_birth,
            lived: now.saturating_duration_since(slot.born_at),
            drop_ok: true,
            thread: std::thread::current().name().unwrap_or("").to_owned(),
            thread_state: None,
            depth: self.depth() + slot.head.len(),
            parked: slot.parked.len(),
        }
    }

    /// Splits or quarantines the message that killed the predecessor. Runs the author's code: on the room's arbiter.
    pub(crate) fn judge_suspect(&self, quarantine: &Quarantine, may_split: bool) {
        let Some((pending, inner, cause)) = lock(&self.slot).suspect.take() else { return };
        let parts = if inner || !may_split || pending.splits >= 16 {
            Vec::new()
        } else {
            super::panic_hook::catch(|| pending.env.msg.split()).unwrap_or_default()
        };
        let mut slot = lock(&self.slot);
        if parts.len() > 1 {
            slot.split_extra += parts.len() as u64 - 1;
            let Pending { env, splits, .. } = pending;
            for msg in parts.into_iter().rev() {
                let env = Arc::new(Envelope { seq: env.seq, sent_at: env.sent_at, msg });
                slot.head.push_front(Pending { env, attempts: 0, splits: splits + 1 });
            }
            return;
        }
        if inner {
            slot.quarantined_inner += 1;
        } else {
            slot.quarantined += 1;
            self.poison_is_over();
        }
        drop(slot);
        let entry = Quarantined {
            id: 0,
            at_ms: 0,
            boot: String::new(),
            room: self.card.name.to_owned(),
            kind: pending.env.msg.kind().to_owned(),
            seq: pending.env.seq,
            digest: self.digest(&pending.env),
            uncertain: cause.starts_with("hang"),
            cause,
            inner,
            saved: None,
            live_only: String::new(),
            never: String::new(),
            words: String::new(),
            earlier: false,
        };
        quarantine.add(Self::kept(entry, &pending.env.msg), pending.env);
    }

    /// Writes down whether and for how long the message can be replayed.
    fn kept(mut entry: Quarantined, msg: &M) -> Quarantined {
        let asked = super::panic_hook::catch(|| msg.replayable().map(|()| msg.save()));
        match asked {
            Ok(Ok(Ok(saved))) => entry.saved = Some(saved),
            Ok(Ok(Err(why))) => why.clone_into(&mut entry.live_only),
            Ok(Err(why)) => why.clone_into(&mut entry.never),
            Err(_) => "saving it panicked".clone_into(&mut entry.live_only),
        }
        entry
    }

    pub(crate) fn digest(&self, env: &Envelope<M>) -> String {
        super::panic_hook::catch(|| super::panic_hook::cut(&env.msg.digest(), 512).to_owned()).unwrap_or_default()
    }
}

impl<M: Message> Cell for Mailbox<M> {
    fn card(&self) -> &Card {
        &self.card
    }

    fn begin(&self, epoch: u64, fence: Fence) {
        let now = Instant::now();
        self.beat_us.store(self.micros(now), Ordering::Relaxed);
        self.progress_us.store(self.micros(now), Ordering::Relaxed);
        self.drained.store(false, Ordering::Release);
        self.orders.forget_stop();
        let mut slot = lock(&self.slot);
        slot.owner = epoch;
        slot.epoch = epoch;
        slot.fence = fence;
        slot.born_at = now;
        if !self.has_data(&slot) {
            // A birth is no progress while messages wait: one that dies at each start is stuck.
            slot.done_at = now;
        }
        slot.handled_since_birth = 0;
        slot.take_up(Busy::Step("birth"), now);
        self.owner.store(epoch, Ordering::Release);
    }

    fn miss(&self, epoch: u64) {
        lock(&self.slot).epoch = epoch;
    }

    fn control(&self, control: Control) -> bool {
        Self::control(self, control)
    }

    fn check(&self, now: Instant, amnesty_from: Instant, line: &mut InLine) -> Option<Verdict> {
        let mut slot = lock(&self.slot);
        if slot.owner == 0 {
            line.clear();
            return None;
        }
        let silent_limit = self.progress_limit_us.load(Ordering::Acquire);
        let spoke = self.at(self.progress_us.load(Ordering::Relaxed));
        let signs = Signs {
            busy_since: (!slot.busy.is_idle()).then_some(slot.busy_since),
            beat: self.at(self.beat_us.load(Ordering::Relaxed)),
            spoke: (silent_limit > 0).then(|| (spoke, Duration::from_micros(silent_limit))),
            given_up: slot.fence.is_raised(),
            warned: slot.warned,
        };
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        if is_doubtful(&signs, self.card.deadline, now, amnesty_from) {
            line.doubt(slot.tid.as_deref(), now);
        } else {
            line.clear();
        }
        match judge(&signs, self.card.deadline, now, amnesty_from) {
            Judgement::Fine => None,
            Judgement::Slow(busy) => {
                slot.warned = true;
                let (seq, kind) = slot.busy.describe();
                let busy_ms = millis(busy);
                Some(Verdict::Slow { epoch: slot.owner, busy_ms, kind: kind.unwrap_or(""), seq: seq.unwrap_or(0) })
            }
            Judgement::Hung(since) => {
                // Whose thread was given up because of another room has to leave it, starved or not.
                let excuse = line.excuse(self.card.deadline, now).filter(|_| !signs.given_up);
                if let Some(got) = excuse {
                    let (epoch, silent_ms) = (slot.owner, millis(since));
                    let (waited_ms, ran_ms) = (millis(got.waited), millis(got.ran));
                    return line.tell_once().then_some(Verdict::Starved { epoch, silent_ms, waited_ms, ran_ms });
                }
                let tid = slot.tid.clone();
                slot.fence.raise();
                let cause = DeathCause::Hang { ms: millis(since) };
                let mut obituary = self.obituary(&mut slot, cause, PanicNote::default(), now);
                drop(slot);
                obituary.thread_state = tid.map(|tid| super::crash::thread_state(&tid));
                self.set_wake(None);
                Some(Verdict::Hung(Box::new(obituary)))
            }
        }
    }

    fn settle(&self, fate: Fate, cause: &DeathCause) {
        let mut slot = lock(&self.slot);
        match (fate, std::mem::replace(&mut slot.busy, Busy::Idle)) {
            (Fate::Back | Fate::BackUncounted, Busy::Data(mut pending)) => {
                pending.attempts = pending.attempts.saturating_add(u8::from(fate == Fate::Back));
                if self.is_outdated(&pending.env.msg) {
                    self.counters.conflated.fetch_add(1, Ordering::Relaxed);
                } else {
                    slot.head.push_front(pending);
                }
            }
            (Fate::Quarantine, Busy::Data(pending)) => slot.suspect = Some((pending, false, cause.to_string())),
            (Fate::Quarantine, Busy::Inner(env)) => {
                slot.suspect = Some((Pending { env, attempts: 0, splits: 0 }, true, cause.to_string()));
            }
            (_, Busy::Inner(_)) => slot.inner_dropped += 1,
            (_, Busy::Data(pending)) => slot.head.push_front(pending),
            (_, Busy::Idle | Busy::Step(_)) => {}
        }
    }

    fn set_state(&self, state: RoomState, next_try: Option<Instant>) {
        let mut slot = lock(&self.slot);
        slot.state = state;
        slot.next_try = next_try;
    }

    fn count_death(&self, cause: DeathCause) {
        lock(&self.slot).count_death(cause);
    }

    fn mourn(&self, death: Mourned) {
        // The first of several deaths in a row: what counts is how long nothing was handled.
        lock(&self.slot).mourned.get_or_insert(death);
    }

    fn status(&self, group: &'static str, now: Instant) -> RoomStatus {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let slot = lock(&self.slot);
        let running = slot.state == RoomState::Running;
        let state = match slot.state {
            RoomState::Running if self.suspended.load(Ordering::Relaxed) => RoomState::Suspended,
            RoomState::Running if self.draining.load(Ordering::Relaxed) => RoomState::Draining,
            state => state,
        };
        let waits = self.has_data(&slot) || !slot.busy.is_idle();
        let limited = self.progress_limit_us.load(Ordering::Relaxed) > 0;
        // An idle room progresses as long as its arbiter beats; a room whose tasks are watched as long as they say so.
        let last = match (waits, limited) {
            (true, _) => slot.done_at,
            (false, true) => self.at(count(&self.progress_us)),
            (false, false) if running => self.at(count(&self.beat_us)).max(slot.done_at),
            (false, false) => slot.done_at,
        };
        RoomStatus {
            name: self.card.name,
            group,
            thread: self.card.name,
            critical: self.card.critical,
            state,
            epoch: slot.epoch,
            uptime_ms: if slot.owner == 0 { 0 } else { millis(now.saturating_duration_since(slot.born_at)) },
            restarts_total: slot.deaths.iter().map(|(_, count)| count).sum(),
            restarts: slot.deaths.clone(),
            last_cause: slot.last_cause.as_ref().map(ToString::to_string),
            depth: self.depth() + slot.head.len(),
            capacity: self.card.mailbox,
            parked: slot.parked.len(),
            sent: count(&self.accepted),
            handled: slot.handled,
            handled_inner: slot.handled_inner,
            refused: count(&self.counters.refused) + count(&self.counters.closed),
            dropped_oldest: count(&self.counters.dropped_oldest),
            conflated: count(&self.counters.conflated),
            quarantined: slot.quarantined,
            in_hand: (slot.held() - slot.head.len()) as u64,
            split_extra: slot.split_extra,
            inner_dropped: slot.inner_dropped,
            progress_age_ms: millis(now.saturating_duration_since(last)),
            busy_ms: if slot.busy.is_idle() { 0 } else { millis(now.saturating_duration_since(slot.busy_since)) },
            next_try_ms: slot.next_try.map(|at| millis(at.saturating_duration_since(now))),
            handle_times: slot.times,
        }
    }

    fn quiet(&self) -> (bool, u64) {
        let slot = lock(&self.slot);
        let empty = !self.has_data(&slot) && slot.busy.is_idle() && slot.parked.is_empty() && slot.suspect.is_none();
        let ended = match slot.state {
            RoomState::Ended => true,
            // Not started yet: what waits for it is not to be left behind.
            RoomState::Idle => !self.has_data(&slot),
            _ => false,
        };
        let calm = ended || (empty && self.drained.load(Ordering::Acquire));
        let count = slot.handled + slot.handled_inner;
        drop(slot);
        if !calm {
            self.poke();
        }
        (calm, count)
    }

    fn left(&self) -> u64 {
        let mut slot = lock(&self.slot);
        if let Some(me) = self.arc() {
            let me: Arc<dyn super::waiters::Wake> = me;
            deliver_parked(&mut slot.parked, &Arc::downgrade(&me));
        }
        (self.depth() + slot.held() + slot.parked.len()) as u64
    }

    fn overflowed(&self) -> u64 {
        self.counters.full.load(Ordering::Relaxed) + self.counters.dropped_oldest.load(Ordering::Relaxed)
    }

    fn set_suspended(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Release);
        self.look_again();
    }

    fn poison_next(&self) {
        Self::poison_next(self);
    }

    fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.poke();
    }

    fn close(&self, quarantine: &Quarantine) {
        // No author's code from here but `digest`, under catch: there is no arbiter left to run it on.
        self.judge_suspect(quarantine, false);
        Self::close(self);
    }

    fn reopen(&self) {
        self.closed.store(false, Ordering::Release);
    }

    fn readmit_saved(&self, saved: &str) -> Option<bool> {
        let msg = super::panic_hook::catch(|| M::load(saved)).ok().flatten()?;
        Some(Target::deliver(self, self.envelope(msg)).is_ok())
    }

    fn readmit(&self, envelope: Arc<dyn Any + Send + Sync>) -> Result<(), Arc<dyn Any + Send + Sync>> {
        Target::deliver(self, envelope)
    }
}
