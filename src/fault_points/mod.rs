//! Fault points: places in the code where a test makes something go wrong on purpose, at the worst moment. They exist
//! in debug builds only: in a release build every function here is empty and every name is gone (`tests/release.rs`
//! looks into the binary).
//!
//! One variable of the environment says what happens where, or names a file that says it (`@/path`), which is read
//! again whenever it changes:
//!
//! ```text
//! TRAPLINE_FAULT_POINTS="seed=7; spool.committed=kill@3; redis_writer.handle:Health=panic; journal.write=full@2+"
//! ```
//!
//! Entries are parted by `;` or a line's end: `point=action[@when][%chance]`. A point may end in `*`.
//!
//! | action | does |
//! |---|---|
//! | `panic`, `abort` | what they say |
//! | `poison` | panics for the first message that comes here, and for this one each time it comes again |
//! | `kill` | SIGKILL of the own process |
//! | `torn` | writes half of what should be written, then as `kill` |
//! | `hang` | blocks the thread until the file says otherwise |
//! | `sleep:MS` | blocks the thread for so long |
//! | `never` | in a task: awaits what never comes |
//! | `error`, `retry`, `fatal` | a room's fault: poison, retry or fatal; elsewhere an error of the system |
//! | `full`, `eio`, `rofs` | the disk's errors: no space, broken, read-only |
//! | `shift:MS` | at `clock.wall`, `clock.boot`: the clock stands so much ahead |
//!
//! When: `@3` the third time, `@3+` from the third on, `@3-5` these three, nothing: each time. `%10`: one in ten of
//! them, by the seed.
//!
//! | point | where |
//! |---|---|
//! | `ROOM.birth`, `ROOM.handle[:KIND]`, `ROOM.handled[:KIND]`, `ROOM.send`, `ROOM.drop` | factory; before and after a message; each message that it sends; the end of an incarnation |
//! | `ROOM.task` | a task of feeds, reconciler, writer and status, at each turn of its loop |
//! | `spool.open`, `spool.append`, `spool.inserted`, `spool.committed` | the spool's file |
//! | `journal.write`, `journal.line`, and the same of `quarantine` | before a line is written; in the middle of it (`torn`) |
//! | `redis.write`, `redis.written`, `redis.reply` | around a flush to Redis; before its replies are booked |
//! | `ws.frame`, `rest.answer` | what the exchange said, before it is read |

use std::fmt;

#[cfg(debug_assertions)]
mod armed;
#[cfg(debug_assertions)]
pub use armed::{hit, io, message, never, room, send, shift_ms, start, torn};

/// An error that a fault point made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    Error,
    Retry,
    Fatal,
    Full,
    Eio,
    ReadOnly,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("injected")
    }
}

impl From<Injected> for std::io::Error {
    fn from(injected: Injected) -> Self {
        // ENOSPC, EROFS and EIO of Linux.
        Self::from_raw_os_error(match injected {
            Injected::Full => 28,
            Injected::ReadOnly => 30,
            Injected::Eio | Injected::Error | Injected::Retry | Injected::Fatal => 5,
        })
    }
}

/// What a release build has instead: nothing.
#[cfg(not(debug_assertions))]
mod off {
    use super::Injected;
    use std::io;
    use std::path::Path;

    #[inline(always)]
    pub const fn start() {}

    #[inline(always)]
    pub const fn hit(_point: &str) {}

    #[inline(always)]
    pub const fn send(_room: &str) {}

    #[inline(always)]
    pub const fn room(_room: &str, _step: &str) -> Result<(), Injected> {
        Ok(())
    }

    #[inline(always)]
    pub const fn message(_room: &str, _step: &str, _kind: &str, _seq: u64) -> Result<(), Injected> {
        Ok(())
    }

    #[inline(always)]
    pub const fn io(_thing: &str, _step: &str) -> io::Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub const fn torn(_thing: &str, _path: &Path, _bytes: &[u8]) {}

    #[inline(always)]
    pub fn never(_room: &str) -> std::future::Ready<()> {
        std::future::ready(())
    }

    #[inline(always)]
    pub const fn shift_ms(_clock: &str) -> i64 {
        0
    }
}
#[cfg(not(debug_assertions))]
pub use off::{hit, io, message, never, room, send, shift_ms, start, torn};
