//! A room's mailbox, its incarnations, and what became of each message.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use loom::sync::Mutex;

use super::cell::{Cell, Verdict};
use super::fence::Fence;
use super::mailbox::{Mailbox, Next, Offered, Poke, Turn};
use super::message::Envelope;
use super::outgoing::{Outgoing, Target};
use super::policy::Fate;
use super::quarantine::Quarantine;
use super::sync::Recipient;
use super::waiters::Wake;
use crate::clock::Clock;
use crate::supervise::card::{Card, Overflow};
use crate::supervise::journal::Journal;
use crate::supervise::starved::InLine;
use crate::supervise::testing::Number;

/// One for all runs: its thread is a real one and takes no part.
fn quarantine() -> &'static Quarantine {
    static QUARANTINE: OnceLock<Quarantine> = OnceLock::new();
    QUARANTINE.get_or_init(|| {
        let clock = Clock::manual(0);
        Quarantine::new(clock.clone(), Journal::start(clock, None), (1, Default::default()), None)
    })
}

/// Pokes of one incarnation, handled one after the other by whoever finds it idle.
#[derive(Default)]
struct Inbox {
    busy: bool,
    pokes: u32,
    /// The actor has stopped: pokes that still come are for nobody.
    gone: bool,
}

/// What became of messages, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fates {
    pub(super) handled: Vec<u64>,
    pub(super) quarantined: Vec<u64>,
    pub(super) refused: Vec<u64>,
}

/// Where the room's own messages go; every delivery is booked.
#[derive(Default)]
struct Sink(std::sync::Mutex<Vec<u64>>);

impl Target for Sink {
    fn deliver(&self, envelope: Arc<dyn Any + Send + Sync>) -> Result<(), Arc<dyn Any + Send + Sync>> {
        let seq = envelope.downcast::<u64>().expect("what the model sends");
        self.0.lock().expect("one at a time").push(*seq);
        Ok(())
    }

    fn wake_when_space(&self, _: Weak<dyn Wake>) {}
}

pub(super) struct House {
    me: Weak<Self>,
    pub(super) mailbox: Arc<Mailbox<Number>>,
    inboxes: [Mutex<Inbox>; 2],
    fates: std::sync::Mutex<Fates>,
    sink: Arc<Sink>,
}

impl House {
    pub(super) fn new(overflow: Overflow, capacity: usize) -> Arc<Self> {
        let card = Card { mailbox: capacity, overflow, deadline: Duration::from_secs(1), ..Card::new("a", "test") };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            mailbox: Mailbox::new(&card),
            inboxes: [Mutex::default(), Mutex::default()],
            fates: std::sync::Mutex::default(),
            sink: Arc::default(),
        })
    }

    fn book(&self, book: impl FnOnce(&mut Fates)) {
        book(&mut self.fates.lock().expect("one at a time"));
    }

    /// As `Port::try_send`; then this thread is whatever arbiter is free.
    pub(super) fn send(&self, n: u64) {
        let env = Arc::new(Envelope { seq: n, sent_at: Instant::now(), msg: Number(n) });
        match self.mailbox.offer(env) {
            Offered::Taken => {}
            Offered::Full(_) | Offered::Closed(_) | Offered::Fenced(_) => self.book(|fates| fates.refused.push(n)),
        }
        self.run();
    }

    /// As the supervisor's start of an epoch and the shell's own.
    pub(super) fn begin(&self, epoch: u64) {
        Cell::begin(&*self.mailbox, epoch, Fence::default());
        let me = self.me.clone();
        self.mailbox.set_wake(Some(Recipient::new(move || {
            if let Some(me) = me.upgrade() {
                me.inbox(epoch).lock().expect("lock").pokes += 1;
            }
        })));
        self.mailbox.judge_suspect(quarantine(), true);
        if !matches!(self.turn(epoch, true, true, &mut Vec::new()), Next::Revoked) {
            self.inbox(epoch).lock().expect("lock").pokes += 1;
        }
    }

    fn inbox(&self, epoch: u64) -> &Mutex<Inbox> {
        &self.inboxes[epoch as usize - 1]
    }

    /// Runs whoever was poked and is idle.
    pub(super) fn run(&self) {
        for epoch in 1..=2 {
            loop {
                {
                    let mut inbox = self.inbox(epoch).lock().expect("lock");
                    if inbox.busy || inbox.gone || inbox.pokes == 0 {
                        break;
                    }
                    (inbox.busy, inbox.pokes) = (true, inbox.pokes - 1);
                }
                self.work(epoch);
                self.inbox(epoch).lock().expect("lock").busy = false;
            }
        }
    }

    fn turn(&self, epoch: u64, done: bool, last: bool, outbox: &mut Vec<Outgoing>) -> Next<Number> {
        self.mailbox.turn(Turn {
            epoch,
            now: Instant::now(),
            done,
            outbox,
            checkpoint: &mut None,
            inner: &mut VecDeque::new(),
            gate_closed: false,
            last,
            recovery: &mut None,
        })
    }

    /// As `Shell::work`: acknowledge and take up, rest when there is nothing, leave when it was given up.
    fn work(&self, epoch: u64) {
        let mut in_hand: Option<u64> = None;
        let mut outbox = Vec::new();
        loop {
            let next = self.turn(epoch, in_hand.is_some(), false, &mut outbox);
            if matches!(next, Next::Revoked) {
                self.inbox(epoch).lock().expect("lock").gone = true;
                // As the shell's drop, which may have answered the bell just before.
                return self.mailbox.pass_on();
            }
            if let Some(done) = in_hand.take() {
                self.book(|fates| fates.handled.push(done));
            }
            match next {
                Next::Message(env) => {
                    // What a handler sends leaves only when it is acknowledged.
                    outbox.push(Outgoing { target: self.sink.clone(), envelope: Arc::new(env.seq) });
                    in_hand = Some(env.seq);
                }
                other => {
                    if !self.mailbox.rest(matches!(other, Next::Idle)) {
                        return;
                    }
                }
            }
        }
    }

    /// As the watchdog that gives the incarnation up, and the supervisor that lets the next one take over.
    pub(super) fn replace(&self, fate: Fate) {
        let now = Instant::now() + Duration::from_secs(3_600);
        if let Some(Verdict::Hung(obituary)) = self.mailbox.check(now, self.mailbox.base, &mut InLine::default()) {
            self.mailbox.settle(fate, &obituary.cause);
            if let Some((pending, ..)) = &super::queue::lock(&self.mailbox.slot).suspect {
                let seq = pending.env.seq;
                self.book(|fates| fates.quarantined.push(seq));
            }
            self.begin(2);
            self.run();
        }
    }

    /// At the end: nothing waits, nothing is in hand, each message is in one place, and what was sent for it was sent
    /// once.
    pub(super) fn assert_each_once(&self, sent: u64) -> Fates {
        assert!(self.mailbox.depth() == 0, "a message waits and nobody was told");
        let slot = super::queue::lock(&self.mailbox.slot);
        assert!(slot.busy.is_idle() && slot.head.is_empty() && slot.suspect.is_none(), "a message stays in hand");
        let fates = self.fates.lock().expect("one at a time").clone();
        let mut all: Vec<u64> = [&fates.handled[..], &fates.quarantined, &fates.refused].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=sent).collect::<Vec<_>>(), "each exactly once: {fates:?}");
        assert_eq!(*self.sink.0.lock().expect("one at a time"), fates.handled, "what a handler sent leaves once");
        assert_eq!((slot.handled, slot.quarantined), (fates.handled.len() as u64, fates.quarantined.len() as u64));
        fates
    }
}
