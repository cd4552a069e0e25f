//! What the author of a room writes: a state, a handler, a factory.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::cx::Cx;
use super::message::Message;

/// Why a handler or a factory gives up its incarnation. An ordinary disconnect is not a fault but a transition inside
/// the room; a fault costs the room's budget of deaths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something that the room needs is down: a new incarnation after a backoff; the message goes back to the head.
    Retry(String),
    /// The message is bad: it goes to the quarantine, a new incarnation follows at once.
    Poison(String),
    /// The room cannot help itself: its whole group is restarted, and the parent counts it.
    Fatal(String),
}

impl From<crate::fault_points::Injected> for Fault {
    fn from(injected: crate::fault_points::Injected) -> Self {
        use crate::fault_points::Injected;
        let text = injected.to_string();
        match injected {
            Injected::Retry => Self::Retry(text),
            Injected::Fatal => Self::Fatal(text),
            Injected::Error | Injected::Full | Injected::Eio | Injected::ReadOnly => Self::Poison(text),
        }
    }
}

/// Why an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeathCause {
    /// The handler panicked.
    Panic(String),
    Retry(String),
    Poison(String),
    Fatal(String),
    /// Handler, timer, task or factory ran past the card's deadline.
    Hang {
        ms: u64,
    },
    TaskPanic {
        task: &'static str,
        text: String,
    },
    TimerPanic(String),
    /// The factory panicked.
    BirthPanic(String),
    /// The factory returned a fault.
    BirthFault(String),
    /// The room said [`Cx::finish`](super::Cx::finish).
    Finished,
    /// Stopped in order: by the strategy of its group, by an escalation, by an operator or at the end.
    Stopped,
}

impl DeathCause {
    /// A constant word for counters and the journal.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Panic(_) => "panic",
            Self::Retry(_) => "retry",
            Self::Poison(_) => "poison",
            Self::Fatal(_) => "fatal",
            Self::Hang { .. } => "hang",
            Self::TaskPanic { .. } => "task_panic",
            Self::TimerPanic(_) => "timer_panic",
            Self::BirthPanic(_) => "birth_panic",
            Self::BirthFault(_) => "birth_fault",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }

    /// The panic text or the fault's reason; empty when there is none.
    pub fn text(&self) -> &str {
        match self {
            Self::Panic(text)
            | Self::Retry(text)
            | Self::Poison(text)
            | Self::Fatal(text)
            | Self::TaskPanic { text, .. }
            | Self::TimerPanic(text)
            | Self::BirthPanic(text)
            | Self::BirthFault(text) => text,
            Self::Hang { .. } | Self::Finished | Self::Stopped => "",
        }
    }
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hang { ms } => write!(f, "hang of {ms} ms"),
            Self::TaskPanic { task, text } => write!(f, "task {task} panicked: {text}"),
            other if other.text().is_empty() => f.write_str(other.kind()),
            other => write!(f, "{}: {}", other.kind(), other.text()),
        }
    }
}

/// What a factory is told.
pub struct Birth {
    /// Grows with each incarnation of the room; the first is 1.
    pub epoch: u64,
    /// Why the predecessor ended; `None` for the first.
    pub cause: Option<DeathCause>,
    /// What the predecessor left with [`Cx::checkpoint`](super::Cx::checkpoint). A birth that
    /// fails has taken nothing over, so the next one is handed the same, three in a row at most. Whoever is born has
    /// it: if it dies before it leaves its own, it passes nothing on, so that a bad checkpoint does not kill for ever.
    pub checkpoint: Option<Arc<dyn Any + Send + Sync>>,
}

/// Makes the state of an incarnation. Runs on the room's own arbiter; its panic is a death.
pub type Factory<R> = Arc<dyn Fn(Birth, &mut Cx<R>) -> Result<R, Fault> + Send + Sync>;

/// The state of one incarnation and what it does with a message. After a panic the state is thrown away.
pub trait Room: Sized + 'static {
    type Msg: Message;

    /// Handles one message. What it sent with [`Cx::send`] leaves when it returns `Ok`, and not at all when it panics,
    /// returns a fault or comes back after its deadline: a message that is tried again leaves no doubles.
    fn handle(&mut self, msg: &Self::Msg, cx: &mut Cx<Self>) -> Result<(), Fault>;

    /// Draining asks: nothing outstanding any more?
    fn is_drained(&self) -> bool {
        true
    }

    /// Told once per incarnation when draining begins.
    fn on_drain(&mut self, _cx: &mut Cx<Self>) {}
}
