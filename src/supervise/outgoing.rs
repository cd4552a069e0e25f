//! Messages on their way out of a room: held back until its handler returned, parked when their target is full.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::waiters::Wake;

/// A mailbox without its type. The envelope passes as `Any`, which costs no allocation.
pub(crate) trait Target: Send + Sync {
    /// `Err` gives the envelope back: no space, and the target's card says to wait.
    fn deliver(&self, envelope: Arc<dyn Any + Send + Sync>) -> Result<(), Arc<dyn Any + Send + Sync>>;
    fn wake_when_space(&self, room: Weak<dyn Wake>);
}

pub(crate) struct Outgoing {
    pub(crate) target: Arc<dyn Target>,
    pub(crate) envelope: Arc<dyn Any + Send + Sync>,
}

/// Delivers the parked messages that can be, in order per target; leaves the others. Registers `room` with the full
/// targets.
pub(crate) fn deliver_parked(parked: &mut VecDeque<Outgoing>, room: &Weak<dyn Wake>) {
    let mut blocked: Vec<Arc<dyn Target>> = Vec::new();
    for _ in 0..parked.len() {
        let Some(Outgoing { target, mut envelope }) = parked.pop_front() else { return };
        if !blocked.iter().any(|full| Arc::ptr_eq(full, &target)) {
            match target.deliver(envelope) {
                Ok(()) => continue,
                Err(back) => envelope = back,
            }
            target.wake_when_space(room.clone());
            match target.deliver(envelope) {
                Ok(()) => continue,
                Err(back) => envelope = back,
            }
            blocked.push(Arc::clone(&target));
        }
        parked.push_back(Outgoing { target, envelope });
    }
}

/// Sends what a handler left in its outbox; what finds no space is parked behind what is parked already.
pub(crate) fn deliver_outbox(outbox: &mut Vec<Outgoing>, parked: &mut VecDeque<Outgoing>, room: &Weak<dyn Wake>) {
    for Outgoing { target, mut envelope } in outbox.drain(..) {
        if !parked.iter().any(|waiting| Arc::ptr_eq(&waiting.target, &target)) {
            match target.deliver(envelope) {
                Ok(()) => continue,
                Err(back) => envelope = back,
            }
            target.wake_when_space(room.clone());
            match target.deliver(envelope) {
                Ok(()) => continue,
                Err(back) => envelope = back,
            }
        }
        parked.push_back(Outgoing { target, envelope });
    }
}
