//! One incarnation: an actix actor around a room's state. It is poked, takes messages one by one and handles each
//! under a catch.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient};

use super::cell::Obituary;
use super::cx::Cx;
use super::fence::Fence;
use super::incarnation::Incarnation;
use super::journal::Record;
use super::judge::beat_interval;
use super::mailbox::{Mailbox, Next, Poke, Turn};
use super::message::Message as _;
use super::orders::Control;
use super::panic_hook::{PanicNote, catch};
use super::quarantine::Quarantine;
use super::queue::lock;
use super::room::{Birth, DeathCause, Factory, Fault, Room};
use super::slot::{Busy, Recovery};
use super::supervisor::{Born, Died, ZombieEnded};
use crate::clock::Clock;
use crate::fault_points;

/// Messages handled before others on the arbiter get their turn, unless they take long.
const BURST: u32 = 64;

/// What an incarnation is told.
pub(crate) struct Birthright {
    pub(crate) room: usize,
    pub(crate) epoch: u64,
    pub(crate) cause: Option<DeathCause>,
    pub(crate) fence: Fence,
    pub(crate) clock: Clock,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) born: Recipient<Born>,
    pub(crate) died: Recipient<Died>,
    pub(crate) zombie: Recipient<ZombieEnded>,
}

impl Drop for Birthright {
    /// Also where it was never taken up, since the thread was given up before.
    fn drop(&mut self) {
        if self.fence.is_raised() {
            self.fence.zombie_ended();
            self.zombie.do_send(ZombieEnded { room: self.room, epoch: self.epoch });
        }
    }
}

pub(crate) struct Shell<R: Room> {
    right: Birthright,
    cell: Arc<Mailbox<R::Msg>>,
    factory: Factory<R>,
    cx: Cx<R>,
    room: Option<Box<R>>,
    on_drain_told: bool,
}

impl<R: Room> Shell<R> {
    /// On the room's own arbiter.
    pub(crate) fn launch(right: Birthright, cell: Arc<Mailbox<R::Msg>>, factory: Factory<R>) {
        right.fence.adopt();
        let life = Incarnation::new(Arc::clone(&cell), right.epoch);
        let cx = Cx { clock: right.clock.clone(), life, outbox: Vec::new(), checkpoint: None };
        Self { right, cell, factory, cx, room: None, on_drain_told: false }.start();
    }

    fn birth(&mut self) -> Result<Box<R>, (DeathCause, PanicNote)> {
        self.cell.judge_suspect(&self.right.quarantine, true);
        let (mut checkpoint, is_bad) = lock(&self.cell.slot).hand_over();
        if is_bad {
            tracing::error!(room = self.cell.card.name, "no birth outlived the checkpoint, it is given up");
            Incarnation::<R::Msg>::discard(checkpoint.take());
        }
        let birth = Birth { epoch: self.right.epoch, cause: self.right.cause.take(), checkpoint };
        let (factory, cx) = (&self.factory, &mut self.cx);
        match catch(|| {
            fault_points::room(self.cell.card.name, "birth").map_err(Fault::from).and_then(|()| factory(birth, cx))
        }) {
            Ok(Ok(room)) => {
                let taken_over = {
                    let mut slot = lock(&self.cell.slot);
                    let is_owner = slot.owner == self.right.epoch;
                    if is_owner {
                        slot.handed = 0;
                    }
                    is_owner.then(|| slot.checkpoint.take())
                };
                Incarnation::<R::Msg>::discard(taken_over);
                Ok(Box::new(room))
            }
            Ok(Err(Fault::Fatal(text))) => Err((DeathCause::Fatal(text), PanicNote::default())),
            Ok(Err(Fault::Retry(text) | Fault::Poison(text))) => {
                Err((DeathCause::BirthFault(text), PanicNote::default()))
            }
            Err(note) => Err((DeathCause::BirthPanic(note.text.clone()), note)),
        }
    }

    fn turn(&mut self, done: bool, last: bool) -> Next<R::Msg> {
        self.turn_at(Instant::now(), done, last)
    }

    fn turn_at(&mut self, now: Instant, done: bool, last: bool) -> Next<R::Msg> {
        let mut recovery = None;
        let next = self.cell.turn(Turn {
            recovery: &mut recovery,
            epoch: self.right.epoch,
            now,
            done,
            outbox: &mut self.cx.outbox,
            checkpoint: &mut self.cx.checkpoint,
            inner: &mut self.cx.life.inner.borrow_mut(),
            gate_closed: self.cx.life.gate_closed.get(),
            last,
        });
        if !last {
            self.cx.life.wake_posters();
        }
        if let Some(Recovery { of, kind, handled_us }) = recovery {
            self.right.quarantine.journal().record(Record::Recovered {
                room: self.cell.card.name,
                epoch: self.right.epoch,
                cause: of.cause,
                handled_us,
                kind,
                fingerprint: of.fingerprint,
            });
        }
        next
    }

    /// Runs something of the author's that has no message, watched as `what`. False: the incarnation is over.
    fn step(&mut self, what: &'static str, ctx: &mut Context<Self>, f: impl FnOnce(&mut R, &mut Cx<R>)) -> bool {
        {
            let mut slot = lock(&self.cell.slot);
            if slot.owner != self.right.epoch {
                drop(slot);
                self.leave(ctx);
                return false;
            }
            slot.take_up(Busy::Step(what), Instant::now());
        }
        let Some(room) = self.room.as_deref_mut() else { return false };
        let cx = &mut self.cx;
        match catch(|| f(room, cx)) {
            Ok(()) => match self.turn(true, true) {
                Next::Revoked => {
                    self.leave(ctx);
                    false
                }
                _ => true,
            },
            Err(note) => {
                self.die(DeathCause::Panic(note.text.clone()), note, ctx);
                false
            }
        }
    }

    /// False: the incarnation is over.
    fn obey(&mut self, ctx: &mut Context<Self>) -> bool {
        while let Some(control) = self.cell.next_control(self.right.epoch) {
            let on = match control {
                Control::Stop => {
                    self.die(DeathCause::Stopped, PanicNote::default(), ctx);
                    false
                }
                Control::Panic => self.step("drill", ctx, |_, _| panic!("drill")),
                Control::Hang(ms) => self.step("drill", ctx, |_, _| std::thread::sleep(Duration::from_millis(ms))),
            };
            if !on {
                return false;
            }
        }
        true
    }

    fn work(&mut self, ctx: &mut Context<Self>) {
        let mut done = false;
        // The beats of all rooms on this thread wait for the end of it.
        let until = Instant::now() + beat_interval(self.cell.card.deadline) / 2;
        for _ in 0..BURST {
            if let Some((cause, note)) = self.cx.life.take_death() {
                if done && matches!(self.turn(true, true), Next::Revoked) {
                    return self.leave(ctx);
                }
                return self.die(cause, note, ctx);
            }
            if self.cx.life.finish.get() && (!done || !matches!(self.turn(true, true), Next::Revoked)) {
                return self.die(DeathCause::Finished, PanicNote::default(), ctx);
            }
            if !self.cell.orders.is_empty() {
                if std::mem::take(&mut done) && matches!(self.turn(true, true), Next::Revoked) {
                    return self.leave(ctx);
                }
                if !self.obey(ctx) {
                    return;
                }
            }
            let now = Instant::now();
            if now > until && done {
                break;
            }
            let next = self.turn_at(now, done, false);
            let env = match next {
                Next::Message(env) => env,
                Next::Poison => {
                    let note = catch(|| -> () { panic!("drill: this message is poison") }).err().unwrap_or_default();
                    return self.die(DeathCause::Panic(note.text.clone()), note, ctx);
                }
                Next::Revoked => return self.leave(ctx),
                Next::Idle | Next::Blocked => {
                    self.drain_step(ctx);
                    if self.room.is_some() && self.cell.rest(matches!(next, Next::Idle)) {
                        self.again(ctx);
                    }
                    return;
                }
            };
            let Some(room) = self.room.as_deref_mut() else { return };
            let cx = &mut self.cx;
            let (name, kind) = (self.cell.card.name, env.msg.kind());
            let handled = catch(|| {
                fault_points::message(name, "handle", kind, env.seq)?;
                room.handle(&env.msg, cx)?;
                Ok(fault_points::message(name, "handled", kind, env.seq)?)
            });
            match handled {
                Ok(Ok(())) => done = true,
                Ok(Err(fault)) => {
                    let cause = match fault {
                        Fault::Retry(text) => DeathCause::Retry(text),
                        Fault::Poison(text) => DeathCause::Poison(text),
                        Fault::Fatal(text) => DeathCause::Fatal(text),
                    };
                    return self.die(cause, PanicNote::default(), ctx);
                }
                Err(note) => return self.die(DeathCause::Panic(note.text.clone()), note, ctx),
            }
            Incarnation::<R::Msg>::discard(env);
        }
        if matches!(self.turn(done, true), Next::Revoked) {
            return self.leave(ctx);
        }
        self.again(ctx);
    }

    /// Comes back after whatever else is ready on this arbiter, timers included: a room that always has work would else
    /// keep the thread from looking at them, and every room on it would seem to hang.
    fn again(&self, ctx: &mut Context<Self>) {
        let me = ctx.address();
        actix_rt::spawn(async move {
            tokio::task::yield_now().await;
            me.do_send(Poke);
        });
    }

    fn drain_step(&mut self, ctx: &mut Context<Self>) {
        if !self.cell.draining.load(Ordering::Acquire) {
            return;
        }
        if !std::mem::replace(&mut self.on_drain_told, true) && !self.step("drain", ctx, R::on_drain) {
            return;
        }
        let Some(room) = self.room.as_deref() else { return };
        match catch(|| room.is_drained()) {
            Ok(drained) => {
                let drained = drained && self.cx.life.inner.borrow().is_empty();
                self.cell.drained.store(drained, Ordering::Release);
            }
            Err(note) => self.die(DeathCause::Panic(note.text.clone()), note, ctx),
        }
    }

    /// Ends this incarnation: what it owns is dropped first, so that the next one never runs beside it.
    fn die(&mut self, cause: DeathCause, mut note: PanicNote, ctx: &mut Context<Self>) {
        // A slow drop is watched like a handler, with the message still in hand.
        {
            let mut slot = lock(&self.cell.slot);
            if slot.owner == self.right.epoch {
                slot.busy_since = Instant::now();
                if slot.busy.is_idle() {
                    slot.busy = Busy::Step("drop");
                }
            }
        }
        let at = Instant::now();
        let inner_dropped = self.cx.life.end();
        // A closure that gives nothing back: a release build must not even have the glue to drop what it would give.
        let _ = catch(|| {
            let _ = fault_points::room(self.cell.card.name, "drop");
        });
        let drop_ok = {
            let (room, outbox, checkpoint) =
                (self.room.take(), std::mem::take(&mut self.cx.outbox), self.cx.checkpoint.take());
            // One by one: two panics in one unwinding would end the process.
            let (a, b, c) = (
                Incarnation::<R::Msg>::discard(room),
                Incarnation::<R::Msg>::discard(outbox),
                Incarnation::<R::Msg>::discard(checkpoint),
            );
            a && b && c
        };
        let env = match &lock(&self.cell.slot).busy {
            Busy::Data(pending) => Some(Arc::clone(&pending.env)),
            Busy::Inner(env) => Some(Arc::clone(env)),
            Busy::Idle | Busy::Step(_) => None,
        };
        let digest = env.as_ref().map(|env| self.cell.digest(env)).unwrap_or_default();
        let mut slot = lock(&self.cell.slot);
        slot.inner_dropped += inner_dropped;
        if slot.owner != self.right.epoch {
            drop(slot);
            return self.leave(ctx);
        }
        if matches!(slot.busy, Busy::Step("drop")) {
            slot.busy = Busy::Idle;
        }
        if note.text.is_empty() {
            cause.text().clone_into(&mut note.text);
        }
        let mut obituary = self.cell.obituary(&mut slot, cause, note, at);
        drop(slot);
        self.cell.set_wake(None);
        obituary.digest = digest;
        obituary.drop_ok = drop_ok;
        self.right.died.do_send(Died { room: self.right.room, obituary: Box::new(obituary) });
        ctx.stop();
    }

    /// It was given up while it was busy: nothing it did counts any more.
    fn leave(&mut self, ctx: &mut Context<Self>) {
        let inner_dropped = self.cx.life.end();
        lock(&self.cell.slot).inner_dropped += inner_dropped;
        Incarnation::<R::Msg>::discard(self.room.take());
        Incarnation::<R::Msg>::discard(std::mem::take(&mut self.cx.outbox));
        Incarnation::<R::Msg>::discard(self.cx.checkpoint.take());
        ctx.stop();
    }
}

impl<R: Room> Actor for Shell<R> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if !self.cell.take_over(self.right.epoch, ctx.address().recipient()) {
            return self.leave(ctx);
        }
        let beat = Arc::downgrade(&self.cell);
        let period = beat_interval(self.cell.card.deadline);
        let beating = async move {
            loop {
                let Some(cell) = beat.upgrade() else { return };
                cell.beat_of_arbiter(Instant::now());
                drop(cell);
                tokio::time::sleep(period).await;
            }
        };
        self.cx.life.spawn("beat", true, Box::pin(beating));
        match self.birth() {
            Ok(room) => {
                self.room = Some(room);
                if matches!(self.turn(true, true), Next::Revoked) {
                    return self.leave(ctx);
                }
                self.right.born.do_send(Born { room: self.right.room, epoch: self.right.epoch });
                self.again(ctx);
            }
            Err((cause, note)) => self.die(cause, note, ctx),
        }
    }
}

impl<R: Room> Handler<Poke> for Shell<R> {
    type Result = ();

    fn handle(&mut self, _: Poke, ctx: &mut Self::Context) {
        if self.room.is_some() {
            self.work(ctx);
        }
    }
}

impl<R: Room> Drop for Shell<R> {
    fn drop(&mut self) {
        self.cx.life.end();
        // It may have answered the bell just before it was revoked: the wake-up is its successor's.
        self.cell.pass_on();
    }
}

/// Builds incarnations of one room: a factory without its type.
pub(crate) trait Nursery: Send {
    fn launch(&self, right: Birthright) -> Box<dyn FnOnce() + Send>;
}

pub(crate) struct NurseryOf<R: Room> {
    pub(crate) cell: Arc<Mailbox<R::Msg>>,
    pub(crate) factory: Factory<R>,
}

impl<R: Room> Nursery for NurseryOf<R> {
    fn launch(&self, right: Birthright) -> Box<dyn FnOnce() + Send> {
        let (cell, factory) = (Arc::clone(&self.cell), Arc::clone(&self.factory));
        Box::new(move || Shell::<R>::launch(right, cell, factory))
    }
}

/// A stand-in for a death that no shell could witness.
pub(crate) fn unborn(epoch: u64, text: String) -> Obituary {
    Obituary {
        epoch,
        cause: DeathCause::BirthFault(text),
        at: Instant::now(),
        note: PanicNote::default(),
        in_hand: super::policy::InHand::Nothing,
        message: (None, None),
        digest: String::new(),
        recent: Vec::new(),
        handled: 0,
        lived: Duration::ZERO,
        drop_ok: true,
        thread: String::new(),
        thread_state: None,
        depth: 0,
        parked: 0,
    }
}
