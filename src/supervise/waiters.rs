//! Who waits for space in a mailbox.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::queue::lock;
use super::sync::{AtomicUsize, Mutex};

/// A room that can be told that there is something to do.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

/// Parked rooms and pending `send`s. Each waits at most once: bounded by the number of rooms and tasks.
#[derive(Default)]
pub(crate) struct Waiters {
    count: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    rooms: Vec<Weak<dyn Wake>>,
    tasks: Vec<Waker>,
}

impl Waiters {
    /// After registering the caller tries once more: a place that came free before it was on the list wakes nobody.
    pub(crate) fn add_room(&self, room: Weak<dyn Wake>) {
        let mut list = lock(&self.list);
        if !list.rooms.iter().any(|known| known.ptr_eq(&room)) {
            list.rooms.push(room);
        }
        self.count.store(list.rooms.len() + list.tasks.len(), Ordering::SeqCst);
    }

    pub(crate) fn add_task(&self, waker: &Waker) {
        let mut list = lock(&self.list);
        if !list.tasks.iter().any(|known| known.will_wake(waker)) {
            list.tasks.push(waker.clone());
        }
        self.count.store(list.rooms.len() + list.tasks.len(), Ordering::SeqCst);
    }

    pub(crate) fn anybody(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Wakes all. Not under a lock of any mailbox: a room that has no incarnation delivers its parked messages here.
    pub(crate) fn wake_all(&self) {
        let List { rooms, tasks } = {
            let mut list = lock(&self.list);
            self.count.store(0, Ordering::SeqCst);
            std::mem::take(&mut *list)
        };
        for task in tasks {
            task.wake();
        }
        for room in rooms.iter().filter_map(Weak::upgrade) {
            room.wake();
        }
    }
}
