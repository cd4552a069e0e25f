//! The wake-up protocol of a mailbox: one poke per idle phase, and none lost. `model` tries every order of its steps.

use std::sync::atomic::Ordering;

use super::sync::AtomicBool;

/// Up: somebody works, or was told to. Sequentially consistent: either a sender sees it down, or the one who rests sees
/// the sender's message.
pub(crate) struct Bell {
    up: AtomicBool,
}

impl Bell {
    /// Nobody has to be woken: who comes first looks at everything.
    pub(crate) fn new() -> Self {
        Self { up: AtomicBool::new(true) }
    }

    /// After a message was queued. True: the caller wakes the one who rests.
    pub(crate) fn ring(&self) -> bool {
        !self.up.load(Ordering::SeqCst) && !self.up.swap(true, Ordering::SeqCst)
    }

    /// There is nothing to do. `look` looks once more, after the bell is down; true: something came in the meantime
    /// and nobody else was told, go on.
    pub(crate) fn rest(&self, look: impl FnOnce() -> bool) -> bool {
        self.up.store(false, Ordering::SeqCst);
        look() && !self.up.swap(true, Ordering::SeqCst)
    }

    /// Somebody else takes over, who looks at everything first.
    pub(crate) fn hush(&self) {
        self.up.store(true, Ordering::SeqCst);
    }
}
