//! Acts on a Redis that already holds data: the way over from an older system, and looking inside.
//!
//! Each act is a *plan*, a value that is printed, and an *apply* that carries out that same value and nothing beyond
//! it. Every walk through the keys is a SCAN in bounded steps with progress; nothing here grows with the number of
//! keys. What was done is written to a journal of acts in the state folder ([`acts`]).
//!
//! * [`backup`]: a snapshot, copied, and proved by loading it; [`rdb`]: the file's own check sum and its way here.
//! * [`clean`]: removes what simulations left; [`legacy`]: which keys those are, and what proves it.
//! * [`migrate`]: puts keys of a foreign type aside.
//! * [`protect`]: server settings that keep the picture from vanishing.
//! * [`live`], [`tap`], [`spool`]: what is there, what changes, what waits on disk.
//! * [`server`]: the connection of all of these; [`beside`]: whether a daemon runs on it.

pub mod acts;
pub mod backup;
pub mod beside;
pub mod clean;
pub mod legacy;
pub mod live;
pub mod migrate;
pub mod progress;
pub mod protect;
pub mod rdb;
pub mod sample;
pub mod server;
pub mod spool;
pub mod tap;

use crate::error::{Exit, Stop, words};
use crate::store::class::Class;
use crate::store::link::LinkError;
use std::io;
use std::path::{Path, PathBuf};

/// Why an act did not happen, or not wholly. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    #[error("{target}: {error}: {}", link_remedy(error))]
    Link { target: String, error: LinkError },
    #[error("redis refused {command}: {code} {detail}; {}", remedy(code))]
    Refused { command: String, code: String, detail: String },
    #[error("redis answered {0} in a way that no redis does")]
    Odd(&'static str),
    #[error("{}: {}; {}", path.display(), words(error.kind()), file_remedy(error.kind()))]
    File { path: PathBuf, error: io::Error },
    /// What was promised does not hold, e.g. a copy is corrupt.
    #[error("{0}")]
    Violated(String),
    /// Not now: something else is at work, or a condition has to be met first.
    #[error("{0}")]
    Later(String),
    /// Something that the act needs is not there.
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Usage(String),
}

/// These commands try once: unlike the daemon they do not go on by themselves.
fn link_remedy(error: &LinkError) -> &'static str {
    match error.class() {
        Class::Unknown | Class::Transient => "is redis running, and the url right? `trapline doctor` says more",
        other => other.remedy(),
    }
}

fn file_remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room, or name another folder",
        io::ErrorKind::PermissionDenied => "run this as the user who owns it, or name another folder",
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => "name a folder",
        _ => "check the path",
    }
}

/// What a person should do about a refusal that is no matter of the connection.
fn remedy(code: &str) -> &'static str {
    match Class::of_code(code) {
        Class::Config => "this act needs a user with more rights than the daemon: name one in the url (redis://USER@…)",
        Class::Bug => "this server does not offer it: many hosted ones keep such commands to themselves",
        other => other.remedy(),
    }
}

impl UpkeepError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |error| Self::File { path: path.to_owned(), error }
    }

    /// The exit code of the command.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Link { error, .. } if error.class() == Class::Config => Exit::Config,
            Self::Refused { code, .. } if Class::of_code(code) == Class::Config => Exit::Config,
            Self::Link { .. } | Self::Refused { .. } | Self::Odd(_) | Self::File { .. } | Self::Missing(_) => {
                Exit::Unavailable
            }
            Self::Violated(_) => Exit::Violated,
            Self::Later(_) => Exit::Fenced,
            Self::Usage(_) => Exit::Usage,
        }
    }
}

impl From<UpkeepError> for Stop {
    fn from(error: UpkeepError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

/// A name as people read it: keys may hold any bytes.
pub fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

/// `1.5 GiB`, `12.0 KiB`, `7 B`.
pub fn bytes_shown(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in UNITS {
        if value < 1_024.0 {
            break;
        }
        (value, unit) = (value / 1_024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_names_are_readable() {
        let cases = [(7, "7 B"), (1_024, "1.0 KiB"), (1_610_612_736, "1.5 GiB"), (u64::MAX, "16777216.0 TiB")];
        for (bytes, text) in cases {
            assert_eq!(bytes_shown(bytes), text);
        }
        assert_eq!(shown(b"mm_trap:\xff\n"), "mm_trap:\\xff\\n");
    }

    #[test]
    fn each_trouble_has_its_exit_code() {
        let refused = |code: &str| UpkeepError::Refused {
            command: "CONFIG".to_owned(),
            code: code.to_owned(),
            detail: String::new(),
        };
        let cases = [
            (refused("NOPERM"), Exit::Config),
            (refused("ERR"), Exit::Unavailable),
            (refused("LOADING"), Exit::Unavailable),
            (UpkeepError::Violated("corrupt".to_owned()), Exit::Violated),
            (UpkeepError::Later("a daemon runs".to_owned()), Exit::Fenced),
        ];
        for (error, exit) in cases {
            assert_eq!(error.exit(), exit, "{error}");
        }
    }
}
