//! The control socket: how an operator on the same machine talks to a running daemon. A unix socket in the state
//! folder, mode 0600, and only the daemon's own user and root are heard (the kernel says who calls). One JSON object a
//! line, one answer each. Every act is journalled with who and why.
//!
//! It runs on a thread of its own and asks the tree from outside, so it answers while rooms hang. Drills are here and
//! not on the status pages: a web page can make a browser post to a loopback port, it cannot open a unix socket.

use crate::actors::health::Health;
use crate::clock::Clock;
use crate::drills::{Drills, Outside};
use crate::store::board::Board;
use crate::supervise::{Command, CommandError, Running};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tracing::{info, warn};

/// The socket's name in the state folder.
pub const SOCKET_FILE: &str = "ctl.sock";
/// Callers at once; more wait.
const CALLERS: usize = 16;
/// The longest request.
const REQUEST_BYTES: u64 = 64 * 1024;
/// Time for a caller to say something, and to take an answer.
const IDLE: Duration = Duration::from_secs(10);
/// The longest reason kept.
const WHY_CHARS: usize = 200;
const NO_DRILLS: &str = "drills are not allowed: set allow_drills = true and reload";
/// The longest hang that a drill may ask for.
const HANG_MS: u64 = 60_000;

/// What can be asked of a running daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The live tree.
    Status,
    Restart {
        room: String,
        who: String,
        why: String,
    },
    Suspend {
        room: String,
        who: String,
        why: String,
    },
    Resume {
        room: String,
        who: String,
        why: String,
    },
    /// The messages that can be replayed.
    Quarantine,
    Replay {
        id: u64,
        who: String,
        why: String,
    },
    Drop {
        id: u64,
        who: String,
        why: String,
    },
    /// A room panics; only where drills are allowed.
    Panic {
        room: String,
        who: String,
        why: String,
    },
    /// The next message of a room is poison; only where drills are allowed.
    Poison {
        room: String,
        who: String,
        why: String,
    },
    /// A connection is broken; only where drills are allowed.
    Outside {
        what: Outside,
        who: String,
        why: String,
    },
    /// A room's thread sleeps; only where drills are allowed.
    Hang {
        room: String,
        ms: u64,
        who: String,
        why: String,
    },
}

/// An answer: `error` is empty when what was asked was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The refusal is about the caller's words: a name that is not there, something left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub usage: bool,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

impl Reply {
    fn refused(error: impl ToString) -> Self {
        Self { error: error.to_string(), ..Self::default() }
    }

    fn usage(error: impl ToString) -> Self {
        Self { usage: true, ..Self::refused(error) }
    }

    fn told(body: Value) -> Self {
        Self { body, ..Self::default() }
    }
}

/// What the socket speaks for.
#[derive(Clone)]
pub struct Controlled {
    pub running: Arc<Running>,
    pub clock: Clock,
    /// May change while the daemon runs.
    pub allow_drills: Arc<AtomicBool>,
    pub drills: Drills,
    pub board: Arc<Board>,
    pub health: Health,
    pub started_ms: i64,
}

/// The open socket; it is removed when this is dropped.
pub struct Control {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Control {
    /// Opens the socket in `state`. A daemon without one goes on: it is told in the log.
    ///
    /// # Errors
    /// The folder cannot hold a socket, another daemon listens there, or there is no thread.
    pub fn open(state: &Path, controlled: Controlled) -> std::io::Result<Self> {
        let path = state.join(SOCKET_FILE);
        clear_stale(&path)?;
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        // Between these two lines others could connect at most, and they are turned away by who they are.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("trapline-ctl".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return warn!(%error, "no control socket"),
            };
            runtime.block_on(async {
                match UnixListener::from_std(listener) {
                    Ok(listener) => tokio::select! {
                        () = serve(listener, controlled) => {}
                        _ = stopped => {}
                    },
                    Err(error) => warn!(%error, "no control socket"),
                }
            });
        })?;
        Ok(Self { path, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Removes the socket of a daemon that was killed; never anything else, and never one that is listened on.
fn clear_stale(path: &Path) -> std::io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(std::io::Error::other(format!("{} is no socket: move it away", path.display())));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::other(format!("another daemon listens on {}", path.display())));
    }
    std::fs::remove_file(path)
}

async fn serve(listener: UnixListener, controlled: Controlled) {
    // Polled here and nowhere else: no task that nobody watches.
    let mut conversations = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if conversations.len() < CALLERS => match accepted {
                Ok((stream, _)) => conversations.push(converse(stream, &controlled)),
                Err(error) => {
                    warn!(%error, "control socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
            // A caller that hangs up is no news.
            Some(_) = conversations.next() => {}
        }
    }
}

async fn converse(stream: UnixStream, controlled: &Controlled) -> std::io::Result<()> {
    let caller = stream.peer_cred()?;
    let uid = rustix::process::geteuid().as_raw();
    let (read, mut write) = stream.into_split();
    if caller.uid() != uid && caller.uid() != 0 {
        warn!(uid = caller.uid(), "control socket: stranger turned away");
        return Ok(());
    }
    let mut read = tokio::io::BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut read).take(REQUEST_BYTES);
        let count = match tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await {
            Ok(count) => count?,
            Err(_) => return Ok(()),
        };
        if count == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        let reply = match serde_json::from_slice::<Request>(&line) {
            _ if !whole => Reply::refused(format!("a request is one line of at most {REQUEST_BYTES} bytes")),
            Ok(request) => {
                let who = |name: &str| match clean(name) {
                    name if name.is_empty() => format!("uid {}", caller.uid()),
                    name => format!("{name} (uid {})", caller.uid()),
                };
                obey(request, controlled, &who).await
            }
            Err(error) => Reply::refused(format!("not understood: {error}")),
        };
        let mut text = serde_json::to_vec(&reply).unwrap_or_default();
        text.push(b'\n');
        // Who does not listen may not hold a place either.
        let Ok(written) = tokio::time::timeout(IDLE, write.write_all(&text)).await else { return Ok(()) };
        written?;
        if !whole {
            return Ok(());
        }
    }
}

async fn obey(request: Request, controlled: &Controlled, by: &(dyn Fn(&str) -> String + Sync)) -> Reply {
    let running = &controlled.running;
    let act = |command: Command, room: &str, who: &str, why: &str| {
        let why = clean(why);
        if why.is_empty() {
            return Reply::usage("say why: the journal keeps it");
        }
        done(running.command(command, room, &by(who), &why))
    };
    let drill = |command: Command, room: &str, who: &str, why: &str| {
        if controlled.allow_drills.load(Ordering::Relaxed) {
            act(command, room, who, why)
        } else {
            Reply::refused(NO_DRILLS)
        }
    };
    match request {
        Request::Status => Reply::told(status(controlled)),
        Request::Restart { room, who, why } => act(Command::Restart, &room, &who, &why),
        Request::Suspend { room, who, why } => act(Command::Suspend, &room, &who, &why),
        Request::Resume { room, who, why } => act(Command::Resume, &room, &who, &why),
        Request::Panic { room, who, why } => drill(Command::Panic, &room, &who, &why),
        Request::Poison { room, who, why } => drill(Command::Poison, &room, &who, &why),
        Request::Outside { .. } if !controlled.allow_drills.load(Ordering::Relaxed) => Reply::refused(NO_DRILLS),
        Request::Outside { what, who, why } => {
            // Written down first: what follows in the journal is its consequence.
            let (by, why) = (by(&who), clean(&why));
            running.operator(what.word(), "drill", &by, &why);
            match controlled.drills.inject(what).await {
                Ok(hit) => Reply::told(json!({"hit": hit})),
                Err(refused) => {
                    running.operator_refused(what.word(), "drill", &by, &why, &refused);
                    Reply::refused(refused)
                }
            }
        }
        Request::Hang { room, ms, who, why } => drill(Command::Hang(ms.min(HANG_MS)), &room, &who, &why),
        Request::Quarantine => {
            let held: Vec<_> = running.quarantine().list().iter().map(|entry| json!(entry)).collect();
            Reply::told(json!({"held": held, "forgotten": running.quarantine().forgotten()}))
        }
        Request::Replay { id, who, why } => done(running.replay(id, &by(&who), &clean(&why))),
        Request::Drop { id, who, why } => done(running.discard(id, &by(&who), &clean(&why))),
    }
}

fn done(result: Result<(), CommandError>) -> Reply {
    match result {
        Ok(()) => Reply::default(),
        Err(error) if error.is_unknown() => Reply::usage(error),
        Err(error) => Reply::refused(error),
    }
}

fn status(controlled: &Controlled) -> Value {
    let running = &controlled.running;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "boot": running.journal().boot_id(),
        "started_ms": controlled.started_ms,
        "now_ms": controlled.clock.wall_ms(),
        "drills_allowed": controlled.allow_drills.load(Ordering::Relaxed),
        "zombies": running.zombies(),
        "journal": running.journal().status(),
        "quarantined": running.quarantine().list().len(),
        "connections": controlled.drills.connections.total(),
        "redis": controlled.board.link().label(),
        "counts": controlled.board.counts.read().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "stale_keys": controlled.health.readiness().stale_keys,
        "problems": controlled.health.readiness().problems,
        "rooms": running.observe(),
    })
}

/// A caller's words as the journal keeps them: one line, bounded.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WHY_CHARS).collect::<String>().trim().to_owned()
}

/// Why a daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no daemon listens on {path}: start it, or name its state folder with --state ({error})")]
    NotThere { path: PathBuf, error: std::io::Error },
    #[error("the daemon did not answer: {0}")]
    Silent(std::io::Error),
    #[error("the daemon's answer was not understood: {0}; is it another version?")]
    Garbled(serde_json::Error),
    #[error("{0}")]
    Refused(String),
    /// What was asked for names something that is not there, or leaves something out.
    #[error("{0}")]
    Usage(String),
}

/// Asks the daemon of a state folder; blocks.
///
/// # Errors
/// [`AskError`].
pub fn ask(state: &Path, request: &Request) -> Result<Value, AskError> {
    let path = state.join(SOCKET_FILE);
    let mut stream =
        std::os::unix::net::UnixStream::connect(&path).map_err(|error| AskError::NotThere { path, error })?;
    stream.set_read_timeout(Some(IDLE)).map_err(AskError::Silent)?;
    stream.set_write_timeout(Some(IDLE)).map_err(AskError::Silent)?;
    let mut text = serde_json::to_vec(request).map_err(AskError::Garbled)?;
    text.push(b'\n');
    stream.write_all(&text).map_err(AskError::Silent)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(AskError::Silent)?;
    let reply: Reply = serde_json::from_str(&line).map_err(AskError::Garbled)?;
    match reply {
        Reply { error, body, .. } if error.is_empty() => Ok(body),
        Reply { error, usage: true, .. } => Err(AskError::Usage(error)),
        Reply { error, .. } => Err(AskError::Refused(error)),
    }
}

/// Opens the socket, or says in the log why there is none.
pub fn open_or_warn(state: &Path, controlled: Controlled) -> Option<Control> {
    match Control::open(state, controlled) {
        Ok(control) => {
            info!(socket = %control.path.display(), "control socket");
            Some(control)
        }
        Err(error) => {
            warn!(%error, state = %state.display(), "no control socket: `trapline status` will not work");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_say_is_kept_as_one_bounded_line() {
        for (name, text, expected) in [
            ("plain", "deploy of v2", "deploy of v2".to_owned()),
            (
                "a line break cannot forge a second record",
                "x\n{\"event\":\"exit\"}",
                "x {\"event\":\"exit\"}".to_owned(),
            ),
            ("spaces only", " \t ", String::new()),
            ("long", &"é".repeat(500), "é".repeat(WHY_CHARS)),
        ] {
            assert_eq!(clean(text), expected, "case: {name}");
        }
    }

    #[test]
    fn only_a_dead_daemons_socket_is_cleared_away() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join(SOCKET_FILE);
        assert!(clear_stale(&path).is_ok(), "nothing there");
        std::fs::write(&path, "mine").expect("file");
        assert!(clear_stale(&path).is_err(), "a file of somebody's");
        assert!(path.exists());
        std::fs::remove_file(&path).expect("remove");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        assert!(clear_stale(&path).is_err(), "somebody listens");
        drop(listener);
        assert!(clear_stale(&path).is_ok() && !path.exists(), "left behind");
    }
}
