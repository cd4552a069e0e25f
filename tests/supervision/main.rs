//! The promises of supervision, on real arbiters. Each waits for a condition, with a generous deadline.

mod deaths;
mod groups;
mod journal;
mod lives;
mod mailboxes;
mod mutants;
mod quarantine;
mod rooms;
mod storm;
mod tasks;
mod threads;
