//! The promises of supervision, on real arbiters. Each waits for a condition, with a generous deadline.

mod deaths;
mod groups;
mod mailboxes;
mod mutants;
mod quarantine;
mod rooms;
mod tasks;
mod threads;
