//! What can be seen of a room from outside.

use serde::Serialize;

/// Where a room stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomState {
    /// Not started yet.
    Idle,
    /// Its factory runs.
    Starting,
    Running,
    /// An operator suspended it: messages wait.
    Suspended,
    /// It finishes what it has and takes no new work from outside.
    Draining,
    /// Told to stop, still busy with its last message.
    Stopping,
    /// Dead, the next try is due.
    Waiting,
    /// Ended for good.
    Ended,
}

/// Handle times in powers of two: bucket `i` counts spans below `2^i` microseconds, the last one all the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HandleTimes {
    pub buckets: [u64; 24],
}

impl HandleTimes {
    /// Counts one span.
    pub fn record_us(&mut self, us: u64) {
        let bits = (u64::BITS - us.leading_zeros()) as usize;
        self.buckets[bits.min(self.buckets.len() - 1)] += 1;
    }

    /// The upper end, in microseconds, of the bucket that holds the quantile `q` in 0..=1; 0 when empty.
    pub fn quantile_us(&self, q: f64) -> u64 {
        let total: u64 = self.buckets.iter().sum();
        if total == 0 {
            return 0;
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rank = ((total as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (bits, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return 1 << bits;
            }
        }
        1 << (self.buckets.len() - 1)
    }
}

/// One room as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct RoomStatus {
    pub name: &'static str,
    pub group: &'static str,
    /// The first of the rooms that share its thread; its own name when it has one for itself.
    pub thread: &'static str,
    pub critical: bool,
    pub state: RoomState,
    pub epoch: u64,
    /// Age of the incarnation.
    pub uptime_ms: u64,
    /// Deaths by [`DeathCause::kind`](super::DeathCause::kind), those without a death left out.
    pub restarts: Vec<(&'static str, u64)>,
    pub restarts_total: u64,
    /// Why the last incarnation ended.
    pub last_cause: Option<String>,
    /// Messages that wait in the data lane (those put back included).
    pub depth: usize,
    pub capacity: usize,
    /// Outgoing messages that wait for space elsewhere.
    pub parked: usize,
    /// Messages that entered the data lane.
    pub sent: u64,
    /// Data messages handled.
    pub handled: u64,
    /// Timer and self-posted messages handled.
    pub handled_inner: u64,
    pub refused: u64,
    pub dropped_oldest: u64,
    pub conflated: u64,
    pub quarantined: u64,
    /// Data messages being handled, or waiting to be split or quarantined: with `depth` all that are on their way.
    pub in_hand: u64,
    /// Messages that came into being because a batch was split.
    pub split_extra: u64,
    /// Self-posted messages that died with their incarnation or found their lane full.
    pub inner_dropped: u64,
    /// Since the room last finished a message, was idle by its own beat, or a task said so.
    pub progress_age_ms: u64,
    /// How long the message in hand has been in hand; 0 when idle.
    pub busy_ms: u64,
    /// Until the next try, when waiting.
    pub next_try_ms: Option<u64>,
    pub handle_times: HandleTimes,
}
