//! What a room is told beside its messages, and reads before each of them.

use std::sync::atomic::Ordering;

use super::sync::AtomicBool;
use super::sync::channel::{Receiver, Sender, bounded};

/// Drills that wait at most; more are refused.
const DRILLS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Stop,
    Panic,
    Hang(u64),
}

pub(crate) struct Orders {
    /// Apart from the drills, which may have filled their lane: a stop is never refused. The supervisor waits for it, and
    /// orders the room nothing else meanwhile.
    stop: AtomicBool,
    drills: (Sender<Control>, Receiver<Control>),
}

impl Orders {
    pub(crate) fn new() -> Self {
        Self { stop: AtomicBool::new(false), drills: bounded(DRILLS) }
    }

    /// False: there is no space.
    pub(crate) fn give(&self, control: Control) -> bool {
        if control != Control::Stop {
            return self.drills.0.try_send(control).is_ok();
        }
        self.stop.store(true, Ordering::SeqCst);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.stop.load(Ordering::SeqCst) && self.drills.1.is_empty()
    }

    pub(crate) fn next(&self) -> Option<Control> {
        if self.stop.swap(false, Ordering::SeqCst) { Some(Control::Stop) } else { self.drills.1.try_recv().ok() }
    }

    /// A stop was for the predecessor; a drill is for whoever lives.
    pub(crate) fn forget_stop(&self) {
        self.stop.store(false, Ordering::SeqCst);
    }
}
