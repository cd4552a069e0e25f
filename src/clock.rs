//! The only place that asks the time.
//!
//! Rules in `domain/` are told the time; rooms ask their [`Clock`]. It has two readings of the date. What is *compared*
//! (ages, limits, signatures together with the measured skew) uses [`Clock::now_ms`], which began at the wall clock and
//! never steps; a suspended machine's sleep counts. What people and other programs *read* is stamped with the wall
//! clock: [`Clock::ahead_ms`] says how far it has stepped away meanwhile. So a step of the wall clock changes stamps and
//! nothing else.

use crate::fault_points;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Less is no step: the two clocks are not read at the same moment, and a leap second is more.
const STEP_MS: i64 = 500;
/// How far the wall clock was ahead after its last step.
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);

/// Both clocks at the first question.
struct Anchor {
    wall_ms: i64,
    boot_ms: i64,
}

fn anchor() -> &'static Anchor {
    static ANCHOR: OnceLock<Anchor> = OnceLock::new();
    ANCHOR.get_or_init(|| Anchor { wall_ms: system_ms(), boot_ms: boot_ms() })
}

#[allow(clippy::disallowed_methods, reason = "the one place that asks")]
fn system_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)) + fault_points::shift_ms("clock.wall")
}

/// Since the machine was started, its sleep included.
fn boot_ms() -> i64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    t.tv_sec * 1_000 + t.tv_nsec / 1_000_000 + fault_points::shift_ms("clock.boot")
}

/// Wall and monotonic time; a test can hold a clock that it moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual_ms: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self { manual_ms: None }
    }

    /// A clock that stands at `unix_ms` until [`Clock::set_ms`] moves it.
    pub fn manual(unix_ms: i64) -> Self {
        Self { manual_ms: Some(Arc::new(AtomicI64::new(unix_ms))) }
    }

    /// Milliseconds since 1970-01-01 UTC, on a clock that never steps.
    pub fn now_ms(&self) -> i64 {
        match &self.manual_ms {
            Some(ms) => ms.load(Ordering::Relaxed),
            None => {
                let anchor = anchor();
                anchor.wall_ms + (boot_ms() - anchor.boot_ms)
            }
        }
    }

    /// The wall clock as it stands now, for stamps: what `date` shows.
    pub fn wall_ms(&self) -> i64 {
        match &self.manual_ms {
            Some(ms) => ms.load(Ordering::Relaxed),
            None => system_ms(),
        }
    }

    /// How far the wall clock has stepped ahead of [`Clock::now_ms`]; what is stamped is moved by it.
    pub fn ahead_ms(&self) -> i64 {
        if self.manual_ms.is_some() {
            return 0;
        }
        let (now_ms, known_ms) = (self.wall_ms() - self.now_ms(), AHEAD_MS.load(Ordering::Relaxed));
        if (now_ms - known_ms).abs() < STEP_MS {
            return known_ms;
        }
        AHEAD_MS.store(now_ms, Ordering::Relaxed);
        now_ms
    }

    /// Moves a manual clock; does nothing to the system's.
    pub fn set_ms(&self, unix_ms: i64) {
        if let Some(ms) = &self.manual_ms {
            ms.store(unix_ms, Ordering::Relaxed);
        }
    }

    /// A monotonic reading, for spans only.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }
}
