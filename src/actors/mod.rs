//! Rooms: one file an actor, with its messages, state, handler and card. `health`, `rejects` are boards that rooms
//! write and people read.

pub mod analyst;
pub mod breaker;
mod deferred;
pub mod feed;
pub mod health;
pub mod ledger;
mod observe;
pub mod reconciler;
pub mod recorder;
pub mod rejects;
mod saved;
pub mod status;
#[cfg(test)]
mod testing;
pub mod validator;
pub mod watchdog;
pub mod writer;
