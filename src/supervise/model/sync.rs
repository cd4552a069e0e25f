//! Loom's primitives under the names of `supervise::sync`.

use std::marker::PhantomData;
use std::sync::Arc;

pub(crate) use loom::sync::atomic::AtomicUsize;
pub(crate) use loom::sync::{Mutex, MutexGuard};
use std::sync::atomic::Ordering;

/// Loom takes a sequentially consistent store for a release only, and may then order it before a swap that read what it
/// overwrote, which no machine does; a swap is what it models fully.
pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(up: bool) -> Self {
        Self(loom::sync::atomic::AtomicBool::new(up))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> bool {
        self.0.load(ordering)
    }

    pub(crate) fn store(&self, up: bool, _: Ordering) {
        self.0.swap(up, Ordering::SeqCst);
    }

    pub(crate) fn swap(&self, up: bool, ordering: Ordering) -> bool {
        self.0.swap(up, ordering)
    }
}

/// An actor's address: a message only reaches its inbox.
pub(crate) struct Recipient<M> {
    deliver: Arc<dyn Fn() + Send + Sync>,
    kind: PhantomData<fn(M)>,
}

impl<M> Recipient<M> {
    pub(super) fn new(deliver: impl Fn() + Send + Sync + 'static) -> Self {
        Self { deliver: Arc::new(deliver), kind: PhantomData }
    }

    pub(crate) fn do_send(&self, _: M) {
        (self.deliver)();
    }
}

/// Crossbeam's bounded channel, as far as the mailbox uses it; every operation of it is one step.
pub(crate) mod channel {
    use std::collections::VecDeque;
    use std::sync::Arc;

    pub(crate) use crossbeam_channel::{TryRecvError, TrySendError};
    use loom::sync::Mutex;

    struct Shared<T> {
        queue: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    pub(crate) struct Sender<T>(Arc<Shared<T>>);
    pub(crate) struct Receiver<T>(Arc<Shared<T>>);

    pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared { queue: Mutex::new(VecDeque::new()), capacity });
        (Sender(Arc::clone(&shared)), Receiver(shared))
    }

    impl<T> Sender<T> {
        pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
            let mut queue = self.0.queue.lock().expect("no panic under this lock");
            if queue.len() >= self.0.capacity {
                return Err(TrySendError::Full(value));
            }
            queue.push_back(value);
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
            self.0.queue.lock().expect("no panic under this lock").pop_front().ok_or(TryRecvError::Empty)
        }

        pub(crate) fn len(&self) -> usize {
            self.0.queue.lock().expect("no panic under this lock").len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }
}
