//! trapline: a supervised daemon between a crypto exchange and the programs that read Redis.
//!
//! The map of the crate, from the inside out; a layer knows only those above it in this list.
//!
//! * [`domain`]: pure rules and values. No actor, no socket, no clock, no wire word: a rule is told the time.
//! * [`exchange`]: the exchange's wire, turned into domain values at the door. One folder per exchange.
//! * [`store`]: domain values turned into Redis keys; the key table; the connection; the spool of events.
//! * [`supervise`]: mailboxes that outlive their actors, restarts, budgets, the journal.
//! * [`actors`]: one room a file: messages, state, handler, card.
//! * [`topology`]: the whole daemon on one screen.
//! * [`venue`]: the built-in exchange, a product of its own that speaks the real protocol.
//! * [`upkeep`]: acts on a Redis that already holds data: backup, removal of simulations, migration, protection.
//! * [`doctor`]: what stands around it: Redis, exchange, machine.
//! * [`cli`]: the command line; [`config`]: every setting, once; [`fault_points`]: what tests break, in debug builds.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[cfg(panic = "abort")]
compile_error!("supervision catches panics: build trapline with panic = \"unwind\"");

pub mod actors;
pub mod alive;
pub mod cli;
pub mod clock;
pub mod config;
pub mod ctl;
pub mod doctor;
pub mod domain;
pub mod drills;
pub mod error;
pub mod exchange;
pub mod fault_points;
pub mod managed_redis;
pub mod memory;
pub mod settings;
pub mod store;
#[allow(clippy::disallowed_methods, reason = "pokes are one message at most, and only supervision may end the process")]
pub mod supervise;
pub mod tape;
pub mod telemetry;
pub mod topology;
pub mod upkeep;
pub mod venue;

/// The examples of STYLE.md compile and pass.
#[cfg(doctest)]
#[doc = include_str!("../STYLE.md")]
pub struct StyleExamples;
