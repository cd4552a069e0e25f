//! How an error ends: what to do next, and the exit code when the program has to stop.

use std::fmt;
use std::io;
use std::time::Duration;

/// What the holder of an error does next. Every error type of the crate maps onto this by an exhaustive match,
/// never by the text of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Try the same thing again, not before this long.
    Retry { after: Duration },
    /// Throw away the connection or the state and begin again.
    Restart,
    /// Nothing a program can do: a person has to change something.
    GiveUp,
}

/// What the system said, in words that a person can act on; its own are "entity not found" and "uncategorized error".
pub fn words(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::NotADirectory => "part of the path is a file".to_owned(),
        io::ErrorKind::AlreadyExists => "something of that name is there".to_owned(),
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        io::ErrorKind::QuotaExceeded => "this user's share of the disk is used up".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the disk can only be read".to_owned(),
        other => other.to_string(),
    }
}

/// Why the program ends, as the exit code that systemd and people see (BSD sysexits where one fits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// An invariant that the command promised did not hold.
    Violated = 1,
    /// The command line was wrong.
    Usage = 64,
    /// Something the command needs (Redis, the exchange, a file) is not there.
    Unavailable = 69,
    /// The supervision tree gave up; the service manager should start the process again.
    GaveUp = 70,
    /// The supervisor itself hung.
    SupervisorHung = 71,
    /// Too many abandoned (hung) incarnations.
    TooManyZombies = 72,
    /// Another daemon took over, or something was left undone; try later.
    Fenced = 75,
    /// The configuration is wrong; starting again will not help.
    Config = 78,
}

/// The end of a command that did not do what it should: an exit code and a text that names the next step.
#[derive(Debug)]
pub struct Stop {
    pub exit: Exit,
    pub message: String,
}

impl Stop {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Stop {}
