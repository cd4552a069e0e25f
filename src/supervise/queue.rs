//! The data lane: a bounded queue that any thread may push to and any incarnation may pop from.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;

use super::card::Overflow;
use super::message::{Envelope, Message};
use super::sync::channel::{Receiver, Sender, TrySendError, bounded};
use super::sync::{Mutex, MutexGuard};

/// A lock that a panic cannot take away: what it guards is kept consistent by its users between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a push ended.
pub(crate) enum Pushed<M> {
    Queued,
    /// Queued in the place of an older message with the same key.
    Replaced,
    /// Queued after this many of the oldest messages were thrown out (more than one only if senders race).
    Displaced(u64),
    Full(Arc<Envelope<M>>),
}

pub(crate) enum Queue<M> {
    Channel { tx: Sender<Arc<Envelope<M>>>, rx: Receiver<Arc<Envelope<M>>>, drop_oldest: bool },
    Conflating { inner: Mutex<Conflating<M>>, capacity: usize },
}

/// A queue in which a message may be replaced where it stands, so that a busy key cannot push itself to the back.
pub(crate) struct Conflating<M> {
    order: VecDeque<Arc<Envelope<M>>>,
    /// Key to position, counted from the first message ever queued.
    places: FxHashMap<u64, u64>,
    popped: u64,
}

impl<M: Message> Queue<M> {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        let capacity = capacity.max(1);
        match overflow {
            Overflow::Conflate => Self::Conflating {
                inner: Mutex::new(Conflating { order: VecDeque::new(), places: FxHashMap::default(), popped: 0 }),
                capacity,
            },
            Overflow::Block | Overflow::Reject | Overflow::DropOldest => {
                let (tx, rx) = bounded(capacity);
                Self::Channel { tx, rx, drop_oldest: overflow == Overflow::DropOldest }
            }
        }
    }

    pub(crate) fn push(&self, env: Arc<Envelope<M>>) -> Pushed<M> {
        match self {
            Self::Channel { tx, rx, drop_oldest } => {
                let mut env = env;
                let mut displaced = 0;
                loop {
                    match tx.try_send(env) {
                        Ok(()) if displaced == 0 => return Pushed::Queued,
                        Ok(()) => return Pushed::Displaced(displaced),
                        Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => env = back,
                    }
                    if !*drop_oldest {
                        return Pushed::Full(env);
                    }
                    displaced += u64::from(rx.try_recv().is_ok());
                }
            }
            Self::Conflating { inner, capacity } => lock(inner).push(env, *capacity),
        }
    }

    pub(crate) fn pop(&self) -> Option<Arc<Envelope<M>>> {
        match self {
            Self::Channel { rx, .. } => rx.try_recv().ok(),
            Self::Conflating { inner, .. } => lock(inner).pop(),
        }
    }

    /// Whether a message with this key waits: an older one that comes back must not overtake it.
    pub(crate) fn holds_key(&self, key: u64) -> bool {
        match self {
            Self::Channel { .. } => false,
            Self::Conflating { inner, .. } => lock(inner).places.contains_key(&key),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Channel { rx, .. } => rx.len(),
            Self::Conflating { inner, .. } => lock(inner).order.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Channel { rx, .. } => rx.is_empty(),
            Self::Conflating { inner, .. } => lock(inner).order.is_empty(),
        }
    }
}

impl<M: Message> Conflating<M> {
    fn push(&mut self, env: Arc<Envelope<M>>, capacity: usize) -> Pushed<M> {
        let key = env.msg.conflate_key();
        if let Some(place) = key.and_then(|key| self.places.get(&key)) {
            let index = usize::try_from(place - self.popped).unwrap_or(usize::MAX);
            if let Some(old) = self.order.get_mut(index) {
                *old = env;
                return Pushed::Replaced;
            }
        }
        if self.order.len() >= capacity {
            return Pushed::Full(env);
        }
        if let Some(key) = key {
            self.places.insert(key, self.popped + self.order.len() as u64);
        }
        self.order.push_back(env);
        Pushed::Queued
    }

    fn pop(&mut self) -> Option<Arc<Envelope<M>>> {
        let env = self.order.pop_front()?;
        self.popped += 1;
        if let Some(key) = env.msg.conflate_key() {
            self.places.remove(&key);
        }
        Some(env)
    }
}
