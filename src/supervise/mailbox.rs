//! The cell of a room: its mailbox and everything else that outlives an incarnation.
//!
//! Every data message is at each moment in exactly one of: the queue (or its head), in hand of one epoch, handled,
//! quarantined. The slot's lock makes the steps between these linear: an incarnation that was revoked can neither pop
//! nor acknowledge nor send.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::card::{Card, Overflow};
use super::fence;
use super::message::{Envelope, Message};
use super::orders::{Control, Orders};
use super::outgoing::{Outgoing, Target, deliver_outbox, deliver_parked};
use super::queue::{Pushed, Queue, lock};
use super::slot::{Busy, Pending, Recovery, Slot};
use super::sync::{AtomicBool, Mutex, Recipient};
use super::waiters::{Waiters, Wake};

/// With this many outgoing messages parked even timers and self-posted messages wait.
const PARKED_SOFT: usize = 64;

/// Tells a shell that there is something to do.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Poke;

/// Drill: the next data message is poison.
const POISON_NEXT: u64 = u64::MAX;

/// How an offer to a mailbox ended.
pub(crate) enum Offered<M> {
    Taken,
    Full(Arc<Envelope<M>>),
    Closed(Arc<Envelope<M>>),
    Fenced(Arc<Envelope<M>>),
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) refused: AtomicU64,
    pub(crate) dropped_oldest: AtomicU64,
    pub(crate) conflated: AtomicU64,
    pub(crate) closed: AtomicU64,
    /// Offers that found no space, each try of a waiting sender counted.
    pub(crate) full: AtomicU64,
}

pub(crate) struct Mailbox<M> {
    pub(crate) card: Card,
    me: Weak<Self>,
    queue: Queue<M>,
    next_seq: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) counters: Counters,
    pub(crate) closed: AtomicBool,
    pub(crate) suspended: AtomicBool,
    /// Drill: [`POISON_NEXT`], or the number of the message that is poison until it has been quarantined; 0: none.
    poison: AtomicU64,
    pub(crate) draining: AtomicBool,
    pub(crate) drained: AtomicBool,
    /// Copy of the slot's owner, to be read without its lock.
    pub(crate) owner: AtomicU64,
    bell: Bell,
    /// What kept data waiting may be over since the last look: a full target, or a suspension.
    space: AtomicBool,
    wake: Mutex<Option<Recipient<Poke>>>,
    waiters: Waiters,
    pub(crate) orders: Orders,
    pub(crate) slot: Mutex<Slot<M>>,
    /// Everything below in microseconds since this.
    pub(crate) base: Instant,
    /// The arbiter's own beat: it stands still while anything blocks the thread.
    pub(crate) beat_us: AtomicU64,
    pub(crate) progress_us: AtomicU64,
    /// A silence of tasks that is a hang; 0: not watched.
    pub(crate) progress_limit_us: AtomicU64,
}

/// What an incarnation brings to a turn.
pub(crate) struct Turn<'a, M> {
    pub(crate) epoch: u64,
    pub(crate) now: Instant,
    /// Whether what was in hand ended well.
    pub(crate) done: bool,
    pub(crate) outbox: &'a mut Vec<Outgoing>,
    pub(crate) checkpoint: &'a mut Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) inner: &'a mut VecDeque<Arc<Envelope<M>>>,
    pub(crate) gate_closed: bool,
    /// Only acknowledge.
    pub(crate) last: bool,
    /// Out: what was in hand was the first message handled since a death.
    pub(crate) recovery: &'a mut Option<Recovery>,
}

pub(crate) enum Next<M> {
    Message(Arc<Envelope<M>>),
    /// Drill: it is in hand, and handling it is a panic.
    Poison,
    /// Nothing waits.
    Idle,
    /// Something may wait, but it is not its time: suspended, gate closed, or outgoing messages parked.
    Blocked,
    Revoked,
}

impl<M: Message> Mailbox<M> {
    pub(crate) fn new(card: &Card) -> Arc<Self> {
        let base = Instant::now();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            queue: Queue::new(card.mailbox, card.overflow),
            card: card.clone(),
            next_seq: AtomicU64::new(1),
            accepted: AtomicU64::new(0),
            counters: Counters::default(),
            closed: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            poison: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            owner: AtomicU64::new(0),
            bell: Bell::new(),
            space: AtomicBool::new(false),
            wake: Mutex::new(None),
            waiters: Waiters::default(),
            orders: Orders::new(),
            slot: Mutex::new(Slot::new(base)),
            base,
            beat_us: AtomicU64::new(0),
            progress_us: AtomicU64::new(0),
            progress_limit_us: AtomicU64::new(0),
        })
    }

    pub(crate) fn envelope(&self, msg: M) -> Arc<Envelope<M>> {
        Arc::new(Envelope { seq: self.next_seq.fetch_add(1, Ordering::Relaxed), sent_at: Instant::now(), msg })
    }

    pub(crate) fn offer(&self, env: Arc<Envelope<M>>) -> Offered<M> {
        if fence::current_is_raised() {
            return Offered::Fenced(env);
        }
        self.offer_unfenced(env)
    }

    fn offer_unfenced(&self, env: Arc<Envelope<M>>) -> Offered<M> {
        if self.closed.load(Ordering::Acquire) {
            self.counters.closed.fetch_add(1, Ordering::Relaxed);
            return Offered::Closed(env);
        }
        match self.queue.push(env) {
            Pushed::Queued => {}
            Pushed::Replaced => {
                self.counters.conflated.fetch_add(1, Ordering::Relaxed);
            }
            Pushed::Displaced(count) => {
                self.counters.dropped_oldest.fetch_add(count, Ordering::Relaxed);
            }
            Pushed::Full(env) => {
                self.counters.full.fetch_add(1, Ordering::Relaxed);
                return Offered::Full(env);
            }
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.poke();
        Offered::Taken
    }

    pub(crate) fn count_refused(&self) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) const fn waits_when_full(&self) -> bool {
        !matches!(self.card.overflow, Overflow::Reject)
    }

    pub(crate) fn wake_task_when_space(&self, waker: &std::task::Waker) {
        self.waiters.add_task(waker);
    }

    /// Messages in the queue and before it, those in hand left out.
    pub(crate) fn depth(&self) -> usize {
        self.queue.len()
    }

    /// Sends one wake-up per idle phase of the shell: actix' own mailbox never holds more than a few.
    pub(crate) fn poke(&self) {
        if self.bell.ring() {
            self.send_poke();
        }
    }

    /// What kept the shell from its data is gone: also one that goes to rest just now looks again.
    pub(crate) fn look_again(&self) {
        // Before the poke: a shell that rests with its way blocked looks at this after its flag went down.
        self.space.store(true, Ordering::SeqCst);
        self.poke();
    }

    /// Wakes whoever owns the room now, whatever the bell says.
    pub(crate) fn pass_on(&self) {
        self.send_poke();
    }

    fn send_poke(&self) -> bool {
        let wake = lock(&self.wake);
        wake.as_ref().map(|shell| shell.do_send(Poke)).is_some()
    }

    /// The shell has nothing to do. True: something came in the meantime, it must look again.
    pub(crate) fn rest(&self, open: bool) -> bool {
        self.bell.rest(|| {
            (open && !self.queue.is_empty())
                || !self.orders.is_empty()
                || (!open && self.space.swap(false, Ordering::SeqCst))
        })
    }

    /// An incarnation begins. False: it was given up before its thread came to it, and nothing is its own.
    pub(crate) fn take_over(&self, epoch: u64, shell: Recipient<Poke>) -> bool {
        let mut slot = lock(&self.slot);
        if slot.owner != epoch {
            return false;
        }
        slot.tid = super::starved::this_thread();
        self.set_wake(Some(shell));
        true
    }

    /// Who is told from now on; it will look at everything itself first.
    pub(crate) fn set_wake(&self, shell: Option<Recipient<Poke>>) {
        self.bell.hush();
        *lock(&self.wake) = shell;
    }

    pub(crate) fn control(&self, control: Control) -> bool {
        let given = self.orders.give(control);
        self.poke();
        given
    }

    /// Only for who owns the room: one that was given up, and has not noticed it yet, would take its successor's orders.
    pub(crate) fn next_control(&self, epoch: u64) -> Option<Control> {
        let slot = lock(&self.slot);
        if slot.owner == epoch { self.orders.next() } else { None }
    }

    /// Acknowledges what was in hand, sends what it left, takes up the next: all under one lock.
    pub(crate) fn turn(&self, turn: Turn<'_, M>) -> Next<M> {
        let mut slot = lock(&self.slot);
        if slot.owner != turn.epoch {
            return Next::Revoked;
        }
        if turn.done && slot.mourned.is_some() {
            *turn.recovery = slot.recovery(turn.now);
        }
        let finished = if turn.done { slot.acknowledge(turn.now) } else { Busy::Idle };
        if turn.done {
            if !turn.outbox.is_empty() {
                deliver_outbox(turn.outbox, &mut slot.parked, &self.weak());
            }
            if turn.checkpoint.is_some() {
                slot.checkpoint = turn.checkpoint.take();
            }
        }
        if turn.last {
            drop(slot);
            return Next::Idle;
        }
        if !slot.parked.is_empty() {
            deliver_parked(&mut slot.parked, &self.weak());
        }
        let (next, from_queue) = self.pick(&mut slot, turn.inner, turn.gate_closed, turn.now);
        drop(slot);
        drop(finished);
        if from_queue && self.waiters.anybody() && self.queue.len() <= self.card.mailbox / 2 {
            // Not at each place that comes free: a sender that may send one message per wake-up is slow.
            self.waiters.wake_all();
        }
        next
    }

    fn pick(
        &self,
        slot: &mut Slot<M>,
        inner: &mut VecDeque<Arc<Envelope<M>>>,
        gate_closed: bool,
        now: Instant,
    ) -> (Next<M>, bool) {
        if self.suspended.load(Ordering::Acquire) {
            return (Next::Blocked, false);
        }
        if slot.parked.len() < PARKED_SOFT
            && let Some(env) = inner.pop_front()
        {
            slot.take_up(Busy::Inner(Arc::clone(&env)), now);
            return (Next::Message(env), false);
        }
        if gate_closed || !slot.parked.is_empty() {
            return (Next::Blocked, false);
        }
        let (pending, from_queue) = match slot.head.pop_front() {
            Some(pending) => (Some(pending), false),
            None => (self.queue.pop().map(|env| Pending { env, attempts: 0, splits: 0 }), true),
        };
        let Some(pending) = pending else { return (Next::Idle, false) };
        let env = Arc::clone(&pending.env);
        slot.take_up(Busy::Data(pending), now);
        if self.poison.load(Ordering::Relaxed) != 0 && self.is_poison(env.seq) {
            return (Next::Poison, from_queue);
        }
        (Next::Message(env), from_queue)
    }

    /// The first message asked about after [`Mailbox::poison_next`] is the one, at each of its tries.
    fn is_poison(&self, seq: u64) -> bool {
        let marked = self.poison.compare_exchange(POISON_NEXT, seq, Ordering::Relaxed, Ordering::Relaxed);
        marked.is_ok() || marked == Err(seq)
    }

    /// Drill: the next data message kills whoever handles it, until it is in quarantine.
    pub(crate) fn poison_next(&self) {
        self.poison.store(POISON_NEXT, Ordering::Relaxed);
    }

    /// It is in quarantine: what was split off with it has its number and is well.
    pub(crate) fn poison_is_over(&self) {
        self.poison.store(0, Ordering::Relaxed);
    }

    /// Whether a newer message with the same key waits.
    pub(crate) fn is_outdated(&self, msg: &M) -> bool {
        msg.conflate_key().is_some_and(|key| self.queue.holds_key(key))
    }

    /// The arbiter's own beat; a room with nothing to do has done all there was.
    pub(crate) fn beat_of_arbiter(&self, now: Instant) {
        self.beat_us.store(self.micros(now), Ordering::Relaxed);
        let mut slot = lock(&self.slot);
        if slot.busy.is_idle() && !self.has_data(&slot) {
            slot.done_at = now;
        }
    }

    /// Whether there is anything that an open and running room would take up.
    pub(crate) fn has_data(&self, slot: &Slot<M>) -> bool {
        !slot.head.is_empty() || !self.queue.is_empty()
    }

    pub(crate) fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn at(&self, micros: u64) -> Instant {
        self.base + Duration::from_micros(micros)
    }

    pub(crate) fn arc(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    fn weak(&self) -> Weak<dyn Wake> {
        self.me.clone()
    }

    /// Wakes everybody who waits for space: nobody will make any.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waiters.wake_all();
    }
}

impl<M: Message> Wake for Mailbox<M> {
    fn wake(&self) {
        if lock(&self.wake).is_some() {
            return self.look_again();
        }
        self.space.store(true, Ordering::SeqCst);
        // No incarnation, as in a backoff: what it left behind goes out all the same.
        let weak = self.weak();
        deliver_parked(&mut lock(&self.slot).parked, &weak);
    }
}

impl<M: Message> Target for Mailbox<M> {
    fn deliver(&self, envelope: Arc<dyn Any + Send + Sync>) -> Result<(), Arc<dyn Any + Send + Sync>> {
        let Ok(env) = envelope.downcast::<Envelope<M>>() else { return Ok(()) };
        match self.offer_unfenced(env) {
            Offered::Full(env) if self.waits_when_full() => Err(env),
            Offered::Full(_) => {
                self.count_refused();
                Ok(())
            }
            Offered::Taken | Offered::Closed(_) | Offered::Fenced(_) => Ok(()),
        }
    }

    fn wake_when_space(&self, room: Weak<dyn Wake>) {
        self.waiters.add_room(room);
    }
}
