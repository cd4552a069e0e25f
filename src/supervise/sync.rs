//! What the mailbox is made of. Named in one place, so that the model checker can compile the same files with its own
//! (`model`).

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize};
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use actix::prelude::Recipient;
pub(crate) use crossbeam_channel as channel;
