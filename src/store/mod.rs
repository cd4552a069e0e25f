//! Domain values turned into Redis keys, and the way they get there.
//!
//! * [`keys`]: the contract: every key, its shape, fields, bound, expiry, writer and readers.
//! * [`encode`]: one picture or event → commands; pure, golden-tested.
//! * [`board`]: what is accepted and what is written, readable by everybody without a message.
//! * [`resp`], [`reply`], [`link`], [`sentinel`]: the writer's own connection; [`class`]: what its errors mean.
//! * [`lines`]: that connection, or one to each master of a [`cluster`].
//! * [`guard`]: why nothing can land after something newer.
//! * [`shelf`]: the newest state; [`ids`], [`outbox`], [`spool`], [`publish`]: events, exactly once.
//! * [`desk`]: what outlives a dead room; [`engine`]: all of it in one task, testable without an actor.

pub mod board;
pub mod class;
pub mod cluster;
pub mod desk;
pub mod encode;
pub mod engine;
pub mod guard;
pub mod ids;
pub mod keys;
pub mod lines;
pub mod link;
pub mod outbox;
pub mod publish;
pub mod reply;
pub mod resp;
pub mod sentinel;
pub mod shelf;
pub mod spool;
pub mod tag;
mod wire;
