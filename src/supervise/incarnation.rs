//! What lives and dies with one incarnation: its inner lane, timers and tasks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::mailbox::Mailbox;
use super::message::{Envelope, Message};
use super::panic_hook::{PanicNote, catch};
use super::room::DeathCause;

/// Self-posted messages that wait at most.
const INNER_LANE: usize = 1024;
/// Live timers and tasks of one incarnation; a room that needs more has a leak.
const TASKS: usize = 4096;

pub(crate) struct Incarnation<M> {
    pub(crate) cell: Arc<Mailbox<M>>,
    pub(crate) epoch: u64,
    pub(crate) inner: RefCell<VecDeque<Arc<Envelope<M>>>>,
    pub(crate) gate_closed: Cell<bool>,
    pub(crate) finish: Cell<bool>,
    pub(crate) ended: Cell<bool>,
    /// A task or a timer panicked.
    pub(crate) death: RefCell<Option<(DeathCause, PanicNote)>>,
    tasks: RefCell<Vec<Rc<Task>>>,
    posters: RefCell<Vec<Waker>>,
    inner_seq: Cell<u64>,
}

impl<M: Message> Incarnation<M> {
    pub(crate) fn new(cell: Arc<Mailbox<M>>, epoch: u64) -> Rc<Self> {
        Rc::new(Self {
            cell,
            epoch,
            inner: RefCell::default(),
            gate_closed: Cell::new(false),
            finish: Cell::new(false),
            ended: Cell::new(false),
            death: RefCell::default(),
            tasks: RefCell::default(),
            posters: RefCell::default(),
            inner_seq: Cell::new(0),
        })
    }

    pub(crate) fn post(&self, msg: M) -> Result<(), M> {
        let mut inner = self.inner.borrow_mut();
        if self.ended.get() || inner.len() >= INNER_LANE {
            return Err(msg);
        }
        self.inner_seq.set(self.inner_seq.get() + 1);
        inner.push_back(Arc::new(Envelope { seq: self.inner_seq.get(), sent_at: std::time::Instant::now(), msg }));
        drop(inner);
        self.cell.poke();
        Ok(())
    }

    pub(crate) fn wait_for_space(&self, waker: &Waker) {
        let mut posters = self.posters.borrow_mut();
        if !posters.iter().any(|known| known.will_wake(waker)) {
            posters.push(waker.clone());
        }
    }

    /// Called after the inner lane was read from.
    pub(crate) fn wake_posters(&self) {
        if !self.posters.borrow().is_empty() && self.inner.borrow().len() <= INNER_LANE / 2 {
            for poster in self.posters.take() {
                poster.wake();
            }
        }
    }

    pub(crate) fn spawn(
        self: &Rc<Self>,
        name: &'static str,
        timer: bool,
        future: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Rc<Task> {
        let task = Rc::new(Task { future: RefCell::new(Some(future)), handle: RefCell::default() });
        let mut tasks = self.tasks.borrow_mut();
        if tasks.len() >= 64 {
            tasks.retain(|task| !task.is_finished());
        }
        assert!(tasks.len() < TASKS, "room {} has {TASKS} live timers and tasks: it leaks them", self.cell.card.name);
        tasks.push(Rc::clone(&task));
        let (polled, owner) = (Rc::clone(&task), Rc::downgrade(self));
        let handle = actix_rt::spawn(poll_fn(move |cx| polled.poll(cx, name, timer, &owner)));
        task.handle.replace(Some(handle));
        task
    }

    /// Ends everything that belongs to it; returns how many self-posted messages died with it.
    pub(crate) fn end(&self) -> u64 {
        self.ended.set(true);
        for task in self.tasks.take() {
            task.abort();
        }
        for poster in self.posters.take() {
            poster.wake();
        }
        let inner = self.inner.take();
        let dropped = inner.len() as u64;
        let _ = catch(|| drop(inner));
        dropped
    }
}

pub(crate) struct Task {
    future: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    handle: RefCell<Option<actix_rt::task::JoinHandle<()>>>,
}

impl Task {
    fn poll<M: Message>(
        &self,
        cx: &mut Context<'_>,
        name: &'static str,
        timer: bool,
        owner: &Weak<Incarnation<M>>,
    ) -> Poll<()> {
        let Ok(mut slot) = self.future.try_borrow_mut() else { return Poll::Ready(()) };
        let Some(future) = slot.as_mut() else { return Poll::Ready(()) };
        let result = catch(|| future.as_mut().poll(cx));
        if matches!(result, Ok(Poll::Pending)) {
            return Poll::Pending;
        }
        let spent = slot.take();
        drop(slot);
        let dropped = catch(|| drop(spent));
        if let Some(note) = result.err().or(dropped.err())
            && let Some(owner) = owner.upgrade()
        {
            let text = note.text.clone();
            let cause = if timer { DeathCause::TimerPanic(text) } else { DeathCause::TaskPanic { task: name, text } };
            owner.death.borrow_mut().get_or_insert((cause, note));
            owner.cell.poke();
        }
        Poll::Ready(())
    }

    /// Drops the future at once, unless it is the one that runs just now.
    pub(crate) fn abort(&self) {
        if let Ok(mut slot) = self.future.try_borrow_mut() {
            let future = slot.take();
            drop(slot);
            let _ = catch(|| drop(future));
        }
        if let Some(handle) = &*self.handle.borrow() {
            handle.abort();
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.future.try_borrow().is_ok_and(|future| future.is_none())
    }
}
