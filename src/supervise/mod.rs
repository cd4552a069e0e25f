//! Supervision: mailboxes that outlive their rooms, restarts, budgets, the journal.
//!
//! * [`Card`], [`Message`], [`Room`], [`Cx`]: what the author of a room sees.
//! * `mailbox`, `slot`, `queue`, `orders`: the cell of a room; one lock makes every step of a message linear.
//! * `shell`: one incarnation, an actix actor on the room's arbiter. `incarnation`: what dies with it.
//! * `policy`: what is decided, pure. `supervisor`: carries it out. `watchdog`: sees what hangs.
//! * `journal`, `quarantine`: what can be read afterwards. `answers`: what people ask of it.

pub mod answers;
mod bell;
mod card;
mod cell;
#[cfg(test)]
mod cell_tests;
mod crash;
mod cx;
mod fence;
mod frames;
mod incarnation;
pub mod journal;
mod judge;
#[cfg(test)]
mod judge_tests;
mod mailbox;
mod message;
#[cfg(test)]
mod model;
mod orders;
mod outgoing;
mod panic_hook;
mod policy;
mod port;
mod quarantine;
mod queue;
#[cfg(test)]
mod queue_tests;
mod room;
mod running;
mod shared;
mod shell;
#[cfg(test)]
mod shell_tests;
mod slot;
mod starved;
mod status;
mod supervisor;
mod sync;
#[cfg(test)]
mod testing;
mod tree;
mod waiters;
mod watchdog;

pub use card::{Card, Overflow, Restart};
pub use cx::{Cx, Gate, Myself, Progress, SENDS_PER_CALL, TaskHandle};
pub use journal::Journal;
pub use message::Message;
pub use policy::{Budgets, Strategy};
pub use port::{Port, SendError};
pub use quarantine::{QUARANTINE_CAPACITY, Quarantine, QuarantineText, Quarantined, Vocabulary, read_quarantine};
pub use room::{Birth, DeathCause, Factory, Fault, Room};
pub use running::{Command, CommandError, Leftovers, Running};
pub use status::{HandleTimes, RoomState, RoomStatus};
pub use tree::{GroupId, Tree, TreeConfig};
