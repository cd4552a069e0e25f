//! Keeps an abandoned thread from sending: a hung handler or task may come back long after it was replaced.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

thread_local! {
    static FENCE: RefCell<Option<Fence>> = const { RefCell::new(None) };
}

/// One per arbiter of a room. Raised once, when the watchdog gives the arbiter up.
#[derive(Clone, Default)]
pub(crate) struct Fence {
    raised: Arc<AtomicBool>,
    /// It was given up and came back.
    ended: Arc<AtomicBool>,
    zombies: Arc<AtomicUsize>,
}

impl Fence {
    pub(crate) fn new(zombies: Arc<AtomicUsize>) -> Self {
        Self { raised: Arc::default(), ended: Arc::default(), zombies }
    }

    /// Gives the arbiter up; returns how many abandoned arbiters have not come back, this one included.
    pub(crate) fn raise(&self) -> usize {
        if self.raised.swap(true, Ordering::SeqCst) {
            return self.zombies.load(Ordering::SeqCst);
        }
        self.zombies.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// The abandoned thread came back and ends; each of the rooms on it says so.
    pub(crate) fn zombie_ended(&self) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        let _ = self.zombies.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    }

    /// Makes this the fence of the current thread.
    pub(crate) fn adopt(&self) {
        FENCE.set(Some(self.clone()));
    }
}

/// Whether the current thread was given up.
pub(crate) fn current_is_raised() -> bool {
    FENCE
        .try_with(|fence| fence.try_borrow().is_ok_and(|fence| fence.as_ref().is_some_and(Fence::is_raised)))
        .unwrap_or(false)
}
