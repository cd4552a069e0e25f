//! What is said once about a room: it drives the code and fills the table in `actors.md`.

use std::time::Duration;

/// What happens to a message for a full mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The sender waits: a room's message is parked with it, a task's `send` stays pending. Nothing is lost.
    Block,
    /// The newest message is refused and counted.
    Reject,
    /// The oldest queued message makes room and is counted. Never for positions or events.
    DropOldest,
    /// A queued message with the same [`conflate_key`](super::Message::conflate_key) is replaced and counted; when
    /// nothing can be replaced, as [`Overflow::Block`].
    Conflate,
}

impl Overflow {
    /// For the journal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Reject => "reject",
            Self::DropOldest => "drop_oldest",
            Self::Conflate => "conflate",
        }
    }
}

/// Whether a room comes back after it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// After a death, not after [`Cx::finish`](super::Cx::finish).
    Transient,
    /// Never.
    Temporary,
}

/// The facts of one room.
#[derive(Clone, Debug)]
pub struct Card {
    pub name: &'static str,
    /// One sentence for `actors.md`.
    pub purpose: &'static str,
    /// Most messages that wait in the data lane.
    pub mailbox: usize,
    pub overflow: Overflow,
    /// A handler, a timer closure, a task's poll or a factory that runs longer than this is a hang.
    pub deadline: Duration,
    pub restart: Restart,
    /// How often one message may be tried: 1 when handling it twice would do harm, 2 when not.
    pub attempts: u8,
    /// The service manager's watchdog is fed only while every critical room makes progress.
    pub critical: bool,
    /// Kinds of messages that it takes.
    pub accepts: &'static [&'static str],
    /// `"MessageKind -> room"` for each message that it sends.
    pub emits: &'static [&'static str],
    /// Where a new incarnation gets its state from.
    pub state_at_restart: &'static str,
}

impl Card {
    /// A card with the usual values: 1024 messages, `Block`, 2 s, permanent, one attempt, not critical. Write
    /// `Card { mailbox: 64, ..Card::new("validator", "…") }` for the rest.
    pub const fn new(name: &'static str, purpose: &'static str) -> Self {
        Self {
            name,
            purpose,
            mailbox: 1024,
            overflow: Overflow::Block,
            deadline: Duration::from_secs(2),
            restart: Restart::Permanent,
            attempts: 1,
            critical: false,
            accepts: &[],
            emits: &[],
            state_at_restart: "empty",
        }
    }
}
