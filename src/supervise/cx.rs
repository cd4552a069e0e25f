//! What a room may do while it handles a message.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::incarnation::{Incarnation, Task};
use super::mailbox::Mailbox;
use super::message::Message;
use super::outgoing::Outgoing;
use super::panic_hook::catch;
use super::port::Port;
use super::room::{DeathCause, Room};
use crate::clock::Clock;

/// Messages that one call of a handler, a factory or a drain may send.
pub const SENDS_PER_CALL: usize = 65_536;

/// A room's means. Nothing here blocks.
pub struct Cx<R: Room> {
    pub(crate) clock: Clock,
    pub(crate) life: Rc<Incarnation<R::Msg>>,
    pub(crate) outbox: Vec<Outgoing>,
    pub(crate) checkpoint: Option<Arc<dyn Any + Send + Sync>>,
}

impl<R: Room> Cx<R> {
    /// Sends when the handler returns `Ok`. Never blocks. To a full mailbox under `Block` or `Conflate` the message is
    /// parked with this room, survives its restart, and no further data message is handled until it is delivered;
    /// under `Reject` it is dropped and counted at the target.
    ///
    /// # Panics
    /// When one call sends more than [`SENDS_PER_CALL`] messages: a loop without an end would take all memory. The
    /// panic is a death like any other: counted, its message quarantined, nothing of its output leaves.
    #[track_caller]
    pub fn send<M: Message>(&mut self, port: &Port<M>, msg: M) {
        assert!(self.outbox.len() < SENDS_PER_CALL, "one call sent more than {SENDS_PER_CALL} messages");
        crate::fault_points::send(self.life.cell.card.name);
        let target = Arc::clone(&port.mailbox);
        let envelope = target.envelope(msg);
        self.outbox.push(Outgoing { target, envelope });
    }

    /// Sends itself a message each `period`, first after one `period`. A tick whose predecessor still waits is left
    /// out. Ends with the incarnation; a panic of `make` is a death of the room.
    pub fn every(&mut self, period: Duration, mut make: impl FnMut() -> R::Msg + 'static) -> TaskHandle {
        let life = Rc::downgrade(&self.life);
        let period = period.max(Duration::from_millis(1));
        let future = async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            // While the last tick waits the lane holds its envelope as well.
            let mut last = std::sync::Weak::new();
            loop {
                ticks.tick().await;
                let Some(life) = life.upgrade() else { return };
                if last.strong_count() > 0 {
                    continue;
                }
                if life.post(make()).is_ok() {
                    last = life.inner.borrow().back().map(Arc::downgrade).unwrap_or_default();
                }
            }
        };
        TaskHandle { task: self.life.spawn("timer", true, Box::pin(future)) }
    }

    /// Sends itself a message after `delay`, unless the incarnation ends before.
    pub fn after(&mut self, delay: Duration, msg: R::Msg) -> TaskHandle {
        let life = Rc::downgrade(&self.life);
        let future = async move {
            tokio::time::sleep(delay).await;
            if let Some(life) = life.upgrade() {
                let _ = Myself { life }.post_wait(msg).await;
            }
        };
        TaskHandle { task: self.life.spawn("timer", true, Box::pin(future)) }
    }

    /// Runs a future on this room's arbiter. Its panic is a death of the room; it is aborted when the incarnation
    /// ends. It must not block: a poll longer than the card's deadline is a hang.
    pub fn task(&mut self, name: &'static str, future: impl Future<Output = ()> + 'static) -> TaskHandle {
        TaskHandle { task: self.life.spawn(name, false, Box::pin(future)) }
    }

    /// For tasks: a way to post messages to this room.
    pub fn myself(&self) -> Myself<R::Msg> {
        Myself { life: Rc::clone(&self.life) }
    }

    /// While the gate is closed no message of the data lane is handled.
    pub fn gate(&self) -> Gate {
        let life = Rc::clone(&self.life);
        Gate { closed: Rc::new(move |set| life.turn_gate(set)) }
    }

    /// For tasks: a way to prove that they live.
    pub fn progress(&self) -> Progress {
        let cell: Arc<dyn Beating> = self.life.cell.clone();
        Progress { cell }
    }

    /// Leaves a value for the next incarnation; it counts from the moment that the handler returns `Ok`.
    pub fn checkpoint(&mut self, value: Box<dyn Any + Send + Sync>) {
        self.checkpoint = Some(value.into());
    }

    /// Ends the room in order after this message.
    pub fn finish(&mut self) {
        self.life.finish.set(true);
    }

    /// For stamps that people and other programs read, milliseconds since 1970 UTC.
    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// For ages and limits: milliseconds since 1970 UTC on a clock that never steps.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn epoch(&self) -> u64 {
        self.life.epoch
    }

    /// Whether this incarnation has been given up. A long handler may ask before it does something that counts.
    pub fn fenced(&self) -> bool {
        self.life.cell.owner.load(Ordering::Acquire) != self.life.epoch
    }
}

/// A timer or a task of an incarnation. Dropping the handle changes nothing.
#[derive(Clone)]
pub struct TaskHandle {
    task: Rc<Task>,
}

impl TaskHandle {
    /// Ends it; the one that runs just now ends at its next await.
    pub fn abort(&self) {
        self.task.abort();
    }

    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

/// A task's way to its own room: messages that are read before data and die with the incarnation.
pub struct Myself<M> {
    life: Rc<Incarnation<M>>,
}

impl<M> Clone for Myself<M> {
    fn clone(&self) -> Self {
        Self { life: Rc::clone(&self.life) }
    }
}

impl<M: Message> Myself<M> {
    /// Posts at once.
    ///
    /// # Errors
    /// The message, when 1024 wait already or the incarnation has ended.
    pub fn post(&self, msg: M) -> Result<(), M> {
        self.life.post(msg)
    }

    /// Waits for space; the way for a task that reads a socket, so that a slow room slows its source.
    ///
    /// # Errors
    /// The message, when the incarnation has ended.
    pub async fn post_wait(&self, msg: M) -> Result<(), M> {
        let mut waiting = Some(msg);
        poll_fn(|cx| match waiting.take().map(|msg| self.life.post(msg)) {
            None | Some(Ok(())) => Poll::Ready(Ok(())),
            Some(Err(msg)) if self.life.ended.get() => Poll::Ready(Err(msg)),
            Some(Err(msg)) => {
                waiting = Some(msg);
                self.life.wait_for_space(cx.waker());
                Poll::Pending
            }
        })
        .await
    }

    /// Opens or closes the room's data lane.
    pub fn set_gate(&self, closed: bool) {
        self.life.turn_gate(Some(closed));
    }
}

impl<M: Message> Incarnation<M> {
    fn turn_gate(&self, set: Option<bool>) -> bool {
        if let Some(closed) = set {
            self.gate_closed.set(closed);
            if !closed {
                self.cell.poke();
            }
        }
        self.gate_closed.get()
    }

    /// Runs what a timer or task would, for the shell.
    pub(crate) fn take_death(&self) -> Option<(DeathCause, super::panic_hook::PanicNote)> {
        self.death.borrow_mut().take()
    }

    /// Drops a value of the room's author; false when its drop panicked.
    pub(crate) fn discard<T>(value: T) -> bool {
        catch(|| drop(value)).is_ok()
    }
}

/// Opens and closes a room's data lane, also from its tasks.
#[derive(Clone)]
pub struct Gate {
    closed: Rc<dyn Fn(Option<bool>) -> bool>,
}

impl Gate {
    pub fn close(&self) {
        (self.closed)(Some(true));
    }

    pub fn open(&self) {
        (self.closed)(Some(false));
    }

    pub fn is_closed(&self) -> bool {
        (self.closed)(None)
    }
}

trait Beating: Send + Sync {
    fn beat(&self);
    fn expect_within(&self, limit: Duration);
}

impl<M: Message> Beating for Mailbox<M> {
    fn beat(&self) {
        self.progress_us.store(self.micros(Instant::now()), Ordering::Relaxed);
    }

    fn expect_within(&self, limit: Duration) {
        self.beat();
        self.progress_limit_us.store(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX), Ordering::Release);
    }
}

/// Proves from any thread that a room's task makes progress.
#[derive(Clone)]
pub struct Progress {
    cell: Arc<dyn Beating>,
}

impl Progress {
    /// Progress now.
    pub fn beat(&self) {
        self.cell.beat();
    }

    /// From now on a silence longer than `limit` is a hang of the room, until the incarnation ends; zero ends the
    /// watch.
    pub fn expect_within(&self, limit: Duration) {
        self.cell.expect_within(limit);
    }
}
