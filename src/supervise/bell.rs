//! The wake-up protocol of a mailbox: one poke per idle phase, and none lost. Small and generic over its flag, so that a
//! model checker can try every order of its steps.

use std::sync::atomic::{AtomicBool, Ordering};

/// A sequentially consistent flag: either a sender sees it down, or the one who rests sees the sender's message.
pub(crate) trait Flag {
    fn raised() -> Self;
    fn is_up(&self) -> bool;
    fn set(&self, up: bool);
    /// Sets it up; whether it was.
    fn raise(&self) -> bool;
}

impl Flag for AtomicBool {
    fn raised() -> Self {
        Self::new(true)
    }

    fn is_up(&self) -> bool {
        self.load(Ordering::SeqCst)
    }

    fn set(&self, up: bool) {
        self.store(up, Ordering::SeqCst);
    }

    fn raise(&self) -> bool {
        self.swap(true, Ordering::SeqCst)
    }
}

/// Up: somebody works, or was told to.
pub(crate) struct Bell<F = AtomicBool> {
    flag: F,
}

impl<F: Flag> Bell<F> {
    /// Nobody has to be woken: who comes first looks at everything.
    pub(crate) fn new() -> Self {
        Self { flag: F::raised() }
    }

    /// After a message was queued. True: the caller wakes the one who rests.
    pub(crate) fn ring(&self) -> bool {
        !self.flag.is_up() && !self.flag.raise()
    }

    /// There is nothing to do. `look` looks once more, after the bell is down; true: something came in the meantime
    /// and nobody else was told, go on.
    pub(crate) fn rest(&self, look: impl FnOnce() -> bool) -> bool {
        self.flag.set(false);
        look() && !self.flag.raise()
    }

    /// Somebody else takes over, who looks at everything first.
    pub(crate) fn hush(&self) {
        self.flag.set(true);
    }
}

#[cfg(test)]
mod tests {
    //! Every order of steps of two senders, an incarnation and a watchdog that revokes it, by loom. The bell is the real
    //! one; the slot (who owns, what is in hand) and the serial inbox of an actor stand in for `Mailbox::turn` and actix.

    use std::collections::VecDeque;

    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::sync::{Arc, Mutex};

    use super::{Bell, Flag};

    impl Flag for AtomicBool {
        fn raised() -> Self {
            Self::new(true)
        }

        fn is_up(&self) -> bool {
            self.load(Ordering::SeqCst)
        }

        /// Loom takes a sequentially consistent store for a release only, and may then order it before a swap that
        /// read what it overwrote, which no machine does; a swap is what it models fully.
        fn set(&self, up: bool) {
            self.swap(up, Ordering::SeqCst);
        }

        fn raise(&self) -> bool {
            self.swap(true, Ordering::SeqCst)
        }
    }

    const CAPACITY: usize = 1;

    #[derive(Default)]
    struct Slot {
        owner: u32,
        in_hand: Option<u32>,
        handled: Vec<u32>,
        quarantined: Vec<u32>,
    }

    /// Pokes of one actor, handled one after the other.
    #[derive(Default)]
    struct Inbox {
        busy: bool,
        pokes: u32,
    }

    struct Room {
        bell: Bell<AtomicBool>,
        queue: Mutex<VecDeque<u32>>,
        refused: Mutex<Vec<u32>>,
        slot: Mutex<Slot>,
        /// Whom a poke reaches, as the mailbox's recipient.
        wake: Mutex<Option<u32>>,
        inboxes: [Mutex<Inbox>; 2],
        /// The safeguard under test: whether one who rests looks once more.
        looks_again: bool,
        /// And the other: whether one who was revoked passes on the wake-up that it may have taken.
        passes_on: bool,
    }

    impl Room {
        fn new(looks_again: bool, passes_on: bool) -> Self {
            Self {
                bell: Bell::new(),
                queue: Mutex::default(),
                refused: Mutex::default(),
                slot: Mutex::new(Slot { owner: 1, ..Slot::default() }),
                wake: Mutex::new(Some(1)),
                inboxes: [Mutex::default(), Mutex::default()],
                looks_again,
                passes_on,
            }
        }

        fn send(&self, message: u32) {
            let full = {
                let mut queue = self.queue.lock().expect("lock");
                let full = queue.len() >= CAPACITY;
                if !full {
                    queue.push_back(message);
                }
                full
            };
            if full {
                return self.refused.lock().expect("lock").push(message);
            }
            if self.bell.ring() {
                let target = *self.wake.lock().expect("lock");
                if let Some(epoch) = target {
                    self.poke(epoch);
                }
            }
        }

        /// Delivers a poke: whoever finds the actor idle is its thread for a while.
        fn poke(&self, epoch: u32) {
            let inbox = &self.inboxes[epoch as usize - 1];
            {
                let mut inbox = inbox.lock().expect("lock");
                inbox.pokes += 1;
                if std::mem::replace(&mut inbox.busy, true) {
                    return;
                }
            }
            loop {
                {
                    let mut inbox = inbox.lock().expect("lock");
                    if inbox.pokes == 0 {
                        inbox.busy = false;
                        return;
                    }
                    inbox.pokes -= 1;
                }
                self.work(epoch);
            }
        }

        /// As a shell: acknowledge and take up under one lock, rest when there is nothing.
        fn work(&self, epoch: u32) {
            let mut done = false;
            loop {
                let taken = {
                    let mut slot = self.slot.lock().expect("lock");
                    if slot.owner != epoch {
                        drop(slot);
                        return self.leave(epoch);
                    }
                    if done && let Some(message) = slot.in_hand.take() {
                        slot.handled.push(message);
                    }
                    slot.in_hand = self.queue.lock().expect("lock").pop_front();
                    slot.in_hand.is_some()
                };
                if taken {
                    done = true;
                } else if !self.bell.rest(|| self.looks_again && !self.queue.lock().expect("lock").is_empty()) {
                    return;
                } else {
                    done = false;
                }
            }
        }

        /// As `Shell`'s drop: it may have answered the bell just before it learnt that it was revoked.
        fn leave(&self, epoch: u32) {
            let target = *self.wake.lock().expect("lock");
            if let Some(other) = target.filter(|other| self.passes_on && *other != epoch) {
                self.poke(other);
            }
        }

        /// As the watchdog and the supervisor: gives up what is in hand, and the next incarnation takes over.
        fn revoke(&self) {
            {
                let mut slot = self.slot.lock().expect("lock");
                slot.owner = 0;
                if let Some(message) = slot.in_hand.take() {
                    slot.quarantined.push(message);
                }
            }
            self.bell.hush();
            *self.wake.lock().expect("lock") = None;
            self.slot.lock().expect("lock").owner = 2;
            self.bell.hush();
            *self.wake.lock().expect("lock") = Some(2);
            self.poke(2);
        }

        fn assert_each_once(&self, sent: u32) {
            let slot = self.slot.lock().expect("lock");
            assert!(self.queue.lock().expect("lock").is_empty(), "a message waits and nobody was told");
            assert!(slot.in_hand.is_none(), "a message stays in hand");
            let mut all: Vec<u32> = slot.handled.iter().chain(&slot.quarantined).copied().collect();
            all.extend(self.refused.lock().expect("lock").iter());
            all.sort_unstable();
            assert_eq!(all, (1..=sent).collect::<Vec<_>>(), "each exactly once");
        }
    }

    fn check(looks_again: bool, passes_on: bool, revoked: bool) {
        let mut model = loom::model::Builder::new();
        // Two find both mutants below; `LOOM_MAX_PREEMPTIONS=3` tries every order in a minute.
        model.preemption_bound = model.preemption_bound.or(Some(2));
        model.check(move || {
            let room = Arc::new(Room::new(looks_again, passes_on));
            let mut threads: Vec<_> = (1..=2)
                .map(|message| {
                    let room = Arc::clone(&room);
                    loom::thread::spawn(move || room.send(message))
                })
                .collect();
            if revoked {
                let room = Arc::clone(&room);
                threads.push(loom::thread::spawn(move || room.revoke()));
            }
            // The first incarnation, born.
            room.poke(1);
            for thread in threads {
                thread.join().expect("thread");
            }
            room.assert_each_once(2);
        });
    }

    #[test]
    fn no_wake_up_is_lost_and_each_message_ends_once() {
        check(true, true, false);
    }

    #[test]
    fn nor_when_the_incarnation_is_revoked_at_any_moment() {
        check(true, true, true);
    }

    /// The check itself can fail: without the second look it finds the lost wake-up.
    #[test]
    #[should_panic(expected = "a message waits and nobody was told")]
    fn without_the_second_look_one_is_lost() {
        check(false, true, false);
    }

    #[test]
    #[should_panic(expected = "a message waits and nobody was told")]
    fn without_passing_on_one_is_lost_with_a_revoked_incarnation() {
        check(true, false, true);
    }
}
