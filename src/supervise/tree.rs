//! Builds the tree of groups and rooms, and starts it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::{Actor, Context};
use actix_rt::Arbiter;
use tokio::sync::watch;

use super::card::Card;
use super::journal::{JOURNAL_BYTES, Journal, Record};
use super::mailbox::Mailbox;
use super::message::Message;
use super::panic_hook;
use super::policy::{Budgets, Policy, Strategy};
use super::port::Port;
use super::quarantine::{QUARANTINE_CAPACITY, Quarantine, Vocabulary, read_quarantine};
use super::room::{Factory, Room};
use super::running::Running;
use super::shared::{Child, Shared};
use super::shell::{Nursery, NurseryOf};
use super::supervisor::Supervisor;
use super::watchdog::Limits;
use crate::clock::Clock;
use crate::domain::backoff::Backoff;
use crate::error::Exit;

/// What the whole tree is told.
#[derive(Clone)]
pub struct TreeConfig {
    pub clock: Clock,
    /// For the jitter of backoffs.
    pub seed: u64,
    /// Where the journal and the quarantine are written; `None` keeps both in memory.
    pub state_dir: Option<PathBuf>,
    pub backoff: Backoff,
    /// The supervisor itself is taken to hang after this silence: exit 71.
    pub supervisor_deadline: Duration,
    /// Abandoned threads that may be there at once; one more is exit 72.
    pub zombies: usize,
    /// Messages that the quarantine keeps for replay.
    pub quarantine: usize,
    /// What saved messages refer to by number.
    pub vocabulary: Vocabulary,
    /// All files of the journal together.
    pub journal_bytes: u64,
    /// Called from any thread for 71 and 72, which cannot wait for an orderly way. For 70 see [`Running::ended`].
    pub on_exit: Arc<dyn Fn(Exit) + Send + Sync>,
}

impl TreeConfig {
    /// The usual values; `on_exit` ends the process.
    pub fn new(clock: Clock, seed: u64) -> Self {
        Self {
            clock,
            seed,
            state_dir: None,
            backoff: Backoff::default(),
            supervisor_deadline: Duration::from_secs(5),
            zombies: 4,
            quarantine: QUARANTINE_CAPACITY,
            vocabulary: Vocabulary::default(),
            journal_bytes: JOURNAL_BYTES,
            on_exit: Arc::new(|exit| std::process::exit(exit as i32)),
        }
    }
}

/// A group of rooms under one strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(pub(crate) usize);

/// The tree while it is built. Rooms start in the order in which they were added.
pub struct Tree {
    config: TreeConfig,
    policy: Policy,
    groups: Vec<&'static str>,
    children: Vec<Child>,
    /// With the index of the room whose thread it lives on.
    nurseries: Vec<(Box<dyn Nursery>, usize)>,
}

impl Tree {
    pub fn new(config: TreeConfig) -> Self {
        let policy = Policy::new(config.backoff, config.seed);
        Self { config, policy, groups: Vec::new(), children: Vec::new(), nurseries: Vec::new() }
    }

    pub fn group(&mut self, name: &'static str, strategy: Strategy, budgets: Budgets) -> GroupId {
        self.groups.push(name);
        GroupId(self.policy.add_group(strategy, budgets))
    }

    /// A mailbox, made before its room, so that rooms may know each other in a circle.
    pub fn port<M: Message>(&mut self, card: &Card) -> Port<M> {
        Port::new(card)
    }

    /// Adds a room. The card is the one that `port` was made with: bounds and overflow are the mailbox's already.
    pub fn room<R: Room>(&mut self, group: GroupId, card: Card, port: Port<R::Msg>, factory: Factory<R>) {
        debug_assert_eq!(card.name, port.name(), "a room and its port have one card");
        self.policy.add_room(group.0, card.restart, card.attempts);
        let own_thread = self.nurseries.len();
        self.children.push(Child { cell: port.mailbox.clone(), group: group.0, home: own_thread });
        self.nurseries.push((Box::new(NurseryOf { cell: port.mailbox, factory }), own_thread));
    }

    /// Lets rooms that were added live on one thread. A message from one to the next then wakes no thread, which is
    /// most of what a hop costs. They panic, restart and are stopped one by one as ever; when one of them hangs, all
    /// of them are replaced, since none of them can go on.
    pub fn share_thread(&mut self, rooms: &[&str]) {
        let shares = |child: &Child| rooms.contains(&child.cell.card().name);
        let Some(first) = self.children.iter().position(shares) else { return };
        for (child, (_, home)) in self.children.iter_mut().zip(&mut self.nurseries) {
            if shares(child) {
                child.home = first;
                *home = first;
            }
        }
    }

    /// Starts every room. Call inside an actix `System`.
    ///
    /// # Panics
    /// When the system gives no thread for the supervisor: nothing has begun yet.
    pub fn start(self) -> Running {
        panic_hook::install();
        let Self { config, policy, groups, children, nurseries } = self;
        // Before the journal's thread may write to the same files.
        let earlier = config.state_dir.as_deref().map(read_quarantine);
        let journal = Journal::start_sized(config.clock.clone(), config.state_dir.clone(), config.journal_bytes);
        journal.record(Record::Boot { pid: std::process::id(), seed: config.seed, rooms: children.len() });
        let (ended, ended_rx) = watch::channel(None);
        let shared = Arc::new(Shared {
            children,
            groups,
            quarantine: Arc::new(Quarantine::new(
                config.clock.clone(),
                journal.clone(),
                (config.quarantine, config.vocabulary),
                earlier,
            )),
            journal,
            base: Instant::now(),
            beat_ms: AtomicU64::new(0),
            supervisor_tid: OnceLock::new(),
            zombies: Arc::new(AtomicUsize::new(0)),
            stopping: AtomicBool::new(false),
            over: AtomicBool::new(false),
            ended,
            on_exit: config.on_exit,
        });
        let limits = Limits { supervisor_deadline: config.supervisor_deadline, zombies: config.zombies };
        let supervisor = Supervisor::new(policy, Arc::clone(&shared), config.clock, limits, nurseries);
        let control = Arbiter::new();
        let address = Supervisor::start_in_arbiter(&control.handle(), move |_: &mut Context<Supervisor>| supervisor);
        Running::new(shared, address, control, ended_rx)
    }
}

impl<M: Message> Port<M> {
    /// A mailbox without a tree, for tests of one room.
    pub fn new(card: &Card) -> Self {
        Self { mailbox: Mailbox::new(card) }
    }
}
