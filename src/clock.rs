//! The only place that asks the time.
//!
//! Rules in `domain/` are told the time; rooms ask their [`Clock`]. Wall time stamps data, monotonic time measures
//! spans: a step of the wall clock changes stamps and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

    /// Milliseconds since 1970-01-01 UTC.
    #[allow(clippy::disallowed_methods, reason = "the one place that asks")]
    pub fn now_ms(&self) -> i64 {
        match &self.manual_ms {
            Some(ms) => ms.load(Ordering::Relaxed),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        }
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
