//! Health as others see it: liveness, readiness and the service manager's keepalive. An observation board written by
//! the watchdog and read by the status room and the command line.

use super::writer::Subject;
use crate::supervise::journal::Record;
use crate::supervise::{Journal, RoomState, RoomStatus};
use rustc_hash::FxHashMap;
use sd_notify::NotifyState;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Troubles that are not about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    Redis,
    Spool,
    Login,
    PublicFeed,
    PrivateFeed,
    Reconcile,
    Memory,
}

impl Problem {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Redis => "redis_unavailable",
            Self::Spool => "spool_volatile",
            Self::Login => "login_refused",
            Self::PublicFeed => "public_feed_lost",
            Self::PrivateFeed => "private_feed_lost",
            Self::Reconcile => "reconcile_failed",
            Self::Memory => "memory_short",
        }
    }
}

/// What `/readyz` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readiness {
    pub judged_ms: i64,
    pub stale_keys: usize,
    pub problems: Vec<String>,
    /// Symbols without a single value in Redis.
    pub unwritten_symbols: usize,
}

/// Where the health comes from; shared by clone.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

struct Progress {
    handled: u64,
    since: Instant,
    /// Whether it had nothing in hand at the last look.
    rested: bool,
}

type Observe = Box<dyn Fn() -> Vec<RoomStatus> + Send + Sync>;

struct Shared {
    readiness: Mutex<Readiness>,
    /// Set once the tree runs.
    observe: Mutex<Option<Observe>>,
    /// Where changes of freshness are written down.
    journal: OnceLock<Journal>,
    told_ready: Mutex<bool>,
    /// What each critical room had done at its last progress.
    progress: Mutex<FxHashMap<&'static str, Progress>>,
}

/// A critical room without progress for this long is stuck: the process is not alive.
pub const STUCK_MS: u64 = 10_000;
/// The service manager hears nothing while a critical room hangs for longer than this: half of the rooms' deadline.
pub const HANGING_MS: u64 = 1_000;

impl Default for Health {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                readiness: Mutex::default(),
                observe: Mutex::default(),
                journal: OnceLock::new(),
                told_ready: Mutex::new(false),
                progress: Mutex::default(),
            }),
        }
    }
}

impl Health {
    /// Tells where the rooms' states come from.
    pub fn observe_with(&self, observe: impl Fn() -> Vec<RoomStatus> + Send + Sync + 'static) {
        *self.shared.observe.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(observe));
    }

    /// Tells where changes of freshness are written down.
    pub fn journal_with(&self, journal: Journal) {
        let _ = self.shared.journal.set(journal);
    }

    /// One fact for `trapline why`.
    pub(super) fn write_down(&self, record: Record) {
        if let Some(journal) = self.shared.journal.get() {
            journal.record(record);
        }
    }

    pub fn rooms(&self) -> Vec<RoomStatus> {
        self.shared.observe.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|f| f()).unwrap_or_default()
    }

    pub(super) fn set_readiness(
        &self,
        judged_ms: i64,
        stale: &FxHashMap<Subject, i64>,
        problems: Vec<String>,
        unwritten_symbols: usize,
    ) {
        let readiness = Readiness { judged_ms, stale_keys: stale.len(), problems, unwritten_symbols };
        *self.shared.readiness.lock().unwrap_or_else(PoisonError::into_inner) = readiness;
    }

    pub fn readiness(&self) -> Readiness {
        self.shared.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fresh, written, without trouble.
    pub fn is_ready(&self) -> bool {
        let r = self.readiness();
        r.judged_ms > 0 && r.stale_keys == 0 && r.problems.is_empty() && r.unwritten_symbols == 0
    }

    /// Critical rooms that a person has suspended: nothing passes them, and that is no fault of theirs.
    pub(super) fn suspended(&self) -> Vec<String> {
        let rooms = self.rooms().into_iter();
        let suspended = rooms.filter(|room| room.critical && room.state == RoomState::Suspended);
        suspended.map(|room| format!("suspended:{}", room.name)).collect()
    }

    /// Rooms that keep the process from being alive: critical, with work, without progress. Neither Redis nor the
    /// exchange is part of it: restarting would not bring them back.
    pub fn stuck(&self) -> Vec<&'static str> {
        self.rooms().iter().filter(|room| is_stuck(room)).map(|room| room.name).collect()
    }

    /// Critical rooms that are dead or at work on one message for more than [`HANGING_MS`], over however many
    /// incarnations. Told sooner than [`Health::stuck`]: such a room is being replaced, and if that does not help the
    /// service manager's own time runs from here.
    pub fn hanging(&self) -> Vec<&'static str> {
        let (rooms, now) = (self.rooms(), Instant::now());
        let mut known = self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hangs = |room: &RoomStatus| {
            let handled = room.handled + room.handled_inner;
            let progress = known.entry(room.name).or_insert(Progress { handled, since: now, rested: true });
            let rests = room.busy_ms == 0 && room.state == RoomState::Running;
            // At rest twice in a row: once may be the moment between two incarnations that hang.
            let at_rest = std::mem::replace(&mut progress.rested, rests) && rests;
            if progress.handled != handled || at_rest || !should_run(room) {
                (progress.handled, progress.since) = (handled, now);
            }
            now.saturating_duration_since(progress.since).as_millis() > u128::from(HANGING_MS)
        };
        rooms.iter().filter(|room| room.critical && hangs(room)).map(|room| room.name).collect()
    }

    /// `READY=1` once the picture is complete, then `WATCHDOG=1` only while every critical room progresses.
    pub(super) fn feed_service_manager(&self, ready: bool, stale_keys: usize) {
        let mut stuck = self.hanging();
        stuck.extend(self.stuck().into_iter().filter(|name| !stuck.contains(name)).collect::<Vec<_>>());
        let status = match (stuck.is_empty(), ready) {
            (false, _) => format!("stuck: {}", stuck.join(", ")),
            (true, true) => "ready".to_owned(),
            (true, false) => format!("running, not ready: {stale_keys} stale keys"),
        };
        let mut states = vec![NotifyState::Status(&status)];
        let mut told = self.shared.told_ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !*told {
            // Ready to the service manager means started: data may come later, and that is what /readyz says.
            states.push(NotifyState::Ready);
            *told = true;
        }
        if stuck.is_empty() {
            states.push(NotifyState::Watchdog);
        }
        // Without a service manager there is nobody to tell.
        let _ = sd_notify::notify(&states);
    }
}

const fn should_run(room: &RoomStatus) -> bool {
    !matches!(room.state, RoomState::Suspended | RoomState::Ended)
}

fn is_stuck(room: &RoomStatus) -> bool {
    let waiting = room.depth > 0 || room.busy_ms > 0;
    room.critical && should_run(room) && waiting && room.progress_age_ms > STUCK_MS
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").field("readiness", &self.readiness()).finish_non_exhaustive()
    }
}
