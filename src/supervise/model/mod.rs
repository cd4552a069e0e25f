//! The real mailbox under a model checker: `mailbox.rs`, `cell.rs`, `slot.rs` and what they stand on are compiled a second
//! time, with loom's locks and flags in the place of the system's (`sync`), and run in every order of the steps of two
//! senders, an incarnation, and whoever takes it away from its room. Only actix stands in: a [`house::House`] has an inbox
//! for each incarnation and runs it as [`Shell`](super::shell::Shell) does.
#![allow(
    dead_code,
    unused_imports,
    clippy::duplicate_mod,
    reason = "the real files once more, of which the model uses a part"
)]

mod sync;

use super::{card, crash, fence, journal, judge, message, panic_hook, policy, quarantine, room, starved, status};

#[path = "../bell.rs"]
mod bell;
#[path = "../cell.rs"]
mod cell;
#[path = "../mailbox.rs"]
mod mailbox;
#[path = "../orders.rs"]
mod orders;
#[path = "../outgoing.rs"]
mod outgoing;
#[path = "../queue.rs"]
mod queue;
#[path = "../slot.rs"]
mod slot;
#[path = "../waiters.rs"]
mod waiters;

mod house;
mod tests;
