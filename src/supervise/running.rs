//! A started tree: observe it, order it about, stop it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::prelude::Addr;
use actix_rt::Arbiter;
use tokio::sync::watch;

use super::journal::{Journal, Record};
use super::orders::Control;
use super::quarantine::Quarantine;
use super::queue::lock;
use super::shared::{Child, Shared};
use super::status::RoomStatus;
use super::supervisor::{RestartRoom, StopGroup, Supervisor, TakeArbiters};
use super::tree::GroupId;
use crate::error::Exit;

/// What a stage of the end gets even when the deadline is over: enough to write a last mark.
const LEAST_SHARE: Duration = Duration::from_millis(100);

/// An operator's order to one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Restart,
    /// No message is handled until [`Command::Resume`]; restarts do not change that.
    Suspend,
    Resume,
    /// Drill: the room panics.
    Panic,
    /// Drill: the next message of the room kills it, until it is in quarantine.
    Poison,
    /// Drill: the room's thread sleeps this many milliseconds.
    Hang(u64),
}

impl Command {
    /// As the journal keeps it.
    fn words(self) -> String {
        match self {
            Self::Restart => "restart".to_owned(),
            Self::Suspend => "suspend".to_owned(),
            Self::Resume => "resume".to_owned(),
            Self::Panic => "drill: panic".to_owned(),
            Self::Poison => "drill: poison the next message".to_owned(),
            Self::Hang(ms) => format!("drill: hang for {ms} ms"),
        }
    }
}

/// What an operator did with a message in quarantine, as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageAct {
    Replay(u64),
    Drop(u64),
}

impl MessageAct {
    pub(crate) fn words(self) -> String {
        match self {
            Self::Replay(id) => format!("replay message {id}"),
            Self::Drop(id) => format!("drop message {id}"),
        }
    }
}

/// The order was not carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("no room is called {0}; `trapline status` lists them")]
    NoSuchRoom(String),
    #[error("the tree is stopping")]
    Stopping,
    #[error("too many orders wait for {0}; try again")]
    Busy(String),
    #[error("no message {0} in the quarantine; `trapline quarantine ls` lists them")]
    NoSuchMessage(u64),
    #[error(
        "message {id} is from an earlier start and cannot be replayed: {why}; look at it with `trapline quarantine show {id}`, then drop it"
    )]
    NotKept { id: u64, why: String },
    #[error(
        "message {id} must not be handled again: {why}; look at it with `trapline quarantine show {id}`, then drop it"
    )]
    Outdated { id: u64, why: String },
}

impl CommandError {
    /// Whether it names something that is not there: whoever asked has to write another name.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::NoSuchRoom(_) | Self::NoSuchMessage(_) => true,
            Self::Stopping | Self::Busy(_) | Self::NotKept { .. } | Self::Outdated { .. } => false,
        }
    }
}

/// What a stop left undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Room, and how many messages were left in its mailbox or parked with it.
    pub undelivered: Vec<(&'static str, u64)>,
    /// Rooms whose thread did not come back in time.
    pub hung: Vec<&'static str>,
}

impl Leftovers {
    pub fn is_empty(&self) -> bool {
        self.undelivered.is_empty() && self.hung.is_empty()
    }
}

/// A started tree. Clones speak of the same tree.
#[derive(Clone)]
pub struct Running {
    shared: Arc<Shared>,
    supervisor: Addr<Supervisor>,
    control: Arc<Mutex<Option<Arbiter>>>,
    ended: watch::Receiver<Option<Exit>>,
}

impl Running {
    pub(crate) fn new(
        shared: Arc<Shared>,
        supervisor: Addr<Supervisor>,
        control: Arbiter,
        ended: watch::Receiver<Option<Exit>>,
    ) -> Self {
        Self { shared, supervisor, control: Arc::new(Mutex::new(Some(control))), ended }
    }

    #[cfg(test)]
    pub(crate) const fn supervisor(&self) -> &Addr<Supervisor> {
        &self.supervisor
    }

    /// Every room as it is now, in the order of starting.
    pub fn observe(&self) -> Vec<RoomStatus> {
        let now = Instant::now();
        let children = &self.shared.children;
        let of = |child: &Child| {
            let thread = children[child.home].cell.card().name;
            RoomStatus { thread, ..child.cell.status(self.shared.groups[child.group], now) }
        };
        children.iter().map(of).collect()
    }

    /// Drains and stops group after group in this order; groups not named follow in the reverse order of their start.
    /// All of it takes about `deadline` at most: each stage gets an equal share of what is left of it. Afterwards every
    /// thread of the tree has ended or is named in `hung`.
    pub async fn stop(&self, order: &[GroupId], deadline: Duration) -> Leftovers {
        let until = Instant::now() + deadline;
        self.shared.stopping.store(true, Ordering::SeqCst);
        let mut groups: Vec<usize> = order.iter().map(|group| group.0).collect();
        groups.extend((0..self.shared.groups.len()).rev().filter(|group| !order.contains(&GroupId(*group))));
        // Draining and stopping of each group, and the wait for the threads at the end.
        let mut stages = 2 * u32::try_from(groups.len()).unwrap_or(u32::MAX / 2) + 1;
        let mut share = || {
            let share = until.saturating_duration_since(Instant::now()) / stages.max(1);
            stages -= 1;
            share.max(LEAST_SHARE)
        };
        for group in groups {
            self.shared.journal.record(Record::Drain { group: self.shared.groups[group] });
            self.drain(group, share()).await;
            let limit = share();
            if let Ok(wait) = self.supervisor.send(StopGroup(group)).await {
                let _ = tokio::time::timeout(limit, wait).await;
            }
        }
        let mut left = Leftovers::default();
        for child in &self.shared.children {
            let count = child.cell.left();
            if count > 0 {
                left.undelivered.push((child.cell.card().name, count));
            }
        }
        self.join(share(), &mut left).await;
        left
    }

    async fn drain(&self, group: usize, deadline: Duration) {
        let cells: Vec<_> = self.shared.children.iter().filter(|child| child.group == group).collect();
        for child in &cells {
            child.cell.begin_drain();
        }
        let until = Instant::now() + deadline;
        let mut calm_at = None;
        while Instant::now() < until {
            let mut calm = true;
            let mut handled = 0;
            for child in &cells {
                let (quiet, count) = child.cell.quiet();
                calm &= quiet;
                handled += count;
            }
            // Twice with nothing handled between: a message may pass from one room to another while they are asked.
            if calm && calm_at == Some(handled) {
                return;
            }
            calm_at = calm.then_some(handled);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn join(&self, deadline: Duration, left: &mut Leftovers) {
        let mut arbiters = self.supervisor.send(TakeArbiters).await.unwrap_or_default();
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(control) = lock(&self.control).take() {
            control.stop();
            arbiters.push((usize::MAX, control));
        }
        let (done, mut joined) = tokio::sync::mpsc::channel(arbiters.len().max(1));
        let mut missing: Vec<usize> = arbiters.iter().map(|(room, _)| *room).collect();
        // `join` blocks, and a hung thread never joins: each is waited for by a thread of its own.
        for (room, arbiter) in arbiters {
            let done = done.clone();
            let _ = std::thread::Builder::new().name("trapline-join".to_owned()).spawn(move || {
                let _ = arbiter.join();
                let _ = done.try_send(room);
            });
        }
        drop(done);
        let _ = tokio::time::timeout(deadline, async {
            while let Some(room) = joined.recv().await {
                missing.retain(|known| *known != room);
            }
        })
        .await;
        left.hung.extend(missing.iter().filter_map(|room| Some(self.shared.children.get(*room)?.cell.card().name)));
        let journal = self.shared.journal.clone();
        if self.ended.borrow().is_none() {
            journal.record(if left.is_empty() {
                Record::Exit { code: Exit::Ok as i32, reason: "stopped" }
            } else {
                Record::Exit { code: Exit::Fenced as i32, reason: "stopped, something was left" }
            });
        }
        let (done, flushed) = tokio::sync::oneshot::channel();
        let _ = std::thread::Builder::new().name("trapline-flush".to_owned()).spawn(move || {
            let _ = done.send(journal.flush(Duration::from_millis(500)));
        });
        let _ = flushed.await;
    }

    /// Somebody does not want to wait for the orderly end: it is written down, as far as the disk takes it in half a
    /// second.
    pub fn leave(&self, reason: &'static str) {
        self.shared.journal.record(Record::Exit { code: Exit::Fenced as i32, reason });
        self.shared.journal.flush(Duration::from_millis(500));
    }

    /// Waits until the tree gives up: 70 when escalation reached the root too often, 71, 72.
    pub async fn ended(&self) -> Exit {
        let mut ended = self.ended.clone();
        // The sender lives in `shared`, which this handle holds.
        let exit = ended.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        exit.unwrap_or(Exit::GaveUp)
    }

    /// Gives an order; it is journalled with who and why.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn command(&self, command: Command, room: &str, who: &str, why: &str) -> Result<(), CommandError> {
        if self.shared.stopping.load(Ordering::SeqCst) {
            return Err(CommandError::Stopping);
        }
        let index = self.shared.room(room).ok_or_else(|| CommandError::NoSuchRoom(room.to_owned()))?;
        self.journal_operator(room, command.words(), who, why);
        let cell = &self.shared.children[index].cell;
        let taken = match command {
            Command::Restart => {
                self.supervisor.do_send(RestartRoom(index));
                true
            }
            Command::Suspend | Command::Resume => {
                cell.set_suspended(command == Command::Suspend);
                true
            }
            Command::Poison => {
                cell.poison_next();
                true
            }
            Command::Panic => cell.control(Control::Panic),
            Command::Hang(ms) => cell.control(Control::Hang(ms)),
        };
        if taken {
            return Ok(());
        }
        let busy = CommandError::Busy(room.to_owned());
        self.operator_refused(room, &command.words(), who, why, &busy);
        Err(busy)
    }

    /// Sends a quarantined message to its room once more, at the end of its queue.
    ///
    /// # Errors
    /// [`CommandError`]; the message stays in the quarantine then.
    pub fn replay(&self, id: u64, who: &str, why: &str) -> Result<(), CommandError> {
        let mut held = self.shared.quarantine.take(id).ok_or(CommandError::NoSuchMessage(id))?;
        let room = held.entry.room.clone();
        let Some(index) = self.shared.room(&room) else {
            self.shared.quarantine.put_back(held);
            return Err(CommandError::NoSuchRoom(room));
        };
        let act = MessageAct::Replay(id).words();
        let cell = &self.shared.children[index].cell;
        let not_kept = |why: &str| CommandError::NotKept { id, why: why.to_owned() };
        let hopeless = match (&held.envelope, &held.entry.saved) {
            _ if !held.entry.never.is_empty() => Some(CommandError::Outdated { id, why: held.entry.never.clone() }),
            (_, Some(_)) if !self.shared.quarantine.understands(&held.entry) => {
                Some(not_kept("the configured symbols stand in another order now"))
            }
            (None, None) => Some(not_kept(&held.entry.live_only)),
            _ => None,
        };
        if let Some(refused) = hopeless {
            self.operator_refused(&room, &act, who, why, &refused);
            self.shared.quarantine.put_back(held);
            return Err(refused);
        }
        // Written down first: what follows in the journal is its consequence.
        self.journal_operator(&room, act.clone(), who, why);
        let refused = match (held.envelope.take(), &held.entry.saved) {
            // What can be saved goes the same way as after a restart: one way is tested by the other.
            (Some(envelope), None) => cell.readmit(envelope).map_err(|back| {
                held.envelope = Some(back);
                CommandError::Busy(room.clone())
            }),
            (_, Some(saved)) => match cell.readmit_saved(saved) {
                Some(true) => Ok(()),
                Some(false) => Err(CommandError::Busy(room.clone())),
                None => Err(not_kept("it was saved by another version")),
            },
            (None, None) => Err(not_kept(&held.entry.live_only)),
        };
        match refused {
            Ok(()) => self.shared.quarantine.gone(id, "replayed"),
            Err(ref refused) => {
                self.operator_refused(&room, &act, who, why, refused);
                self.shared.quarantine.put_back(held);
            }
        }
        refused
    }

    /// Throws a quarantined message away.
    ///
    /// # Errors
    /// [`CommandError::NoSuchMessage`].
    pub fn discard(&self, id: u64, who: &str, why: &str) -> Result<(), CommandError> {
        let held = self.shared.quarantine.take(id).ok_or(CommandError::NoSuchMessage(id))?;
        self.journal_operator(&held.entry.room, MessageAct::Drop(id).words(), who, why);
        self.shared.quarantine.gone(id, "dropped");
        Ok(())
    }

    /// Writes down what an operator did to something that is no room.
    pub fn operator(&self, what: &str, command: &str, who: &str, why: &str) {
        self.journal_operator(what, command.to_owned(), who, why);
    }

    /// Writes down what an operator asked for and did not get.
    pub fn operator_refused(&self, what: &str, command: &str, who: &str, why: &str, refused: &impl ToString) {
        let (room, command, who, why) = (what.to_owned(), command.to_owned(), who.to_owned(), why.to_owned());
        self.shared.journal.record(Record::Operator { room, command, who, why, refused: refused.to_string() });
    }

    fn journal_operator(&self, room: &str, command: String, who: &str, why: &str) {
        let (room, who, why) = (room.to_owned(), who.to_owned(), why.to_owned());
        self.shared.journal.record(Record::Operator { room, command, who, why, refused: String::new() });
    }

    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    pub fn quarantine(&self) -> &Quarantine {
        &self.shared.quarantine
    }

    /// Threads that were given up as hung and have not come back.
    pub fn zombies(&self) -> usize {
        self.shared.zombies.load(Ordering::SeqCst)
    }
}
