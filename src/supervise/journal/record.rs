//! What the journal says: one record a line.

use serde::Serialize;

use crate::supervise::frames::Frames;
use crate::supervise::quarantine::hash;

/// One of the last messages of a dead incarnation.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RecentMessage {
    pub seq: u64,
    pub kind: &'static str,
    pub us: u64,
}

/// Everything known about a death.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CrashReport {
    /// Group and room, `ingest/public-0`.
    pub path: String,
    pub room: &'static str,
    pub epoch: u64,
    /// [`DeathCause::kind`](crate::supervise::DeathCause::kind).
    pub cause: &'static str,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    #[serde(skip)]
    pub(crate) raw_backtrace: Option<Frames>,
    /// Frames of this crate first found, at most 4 KiB; filled on the journal's thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_seq: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message_digest: String,
    /// What became of the message: `back`, `quarantine`, `dropped`; empty when there was none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message_fate: &'static str,
    /// The message of a hung handler may have had its effect all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub uncertain: bool,
    pub last_messages: Vec<RecentMessage>,
    pub depth: usize,
    pub capacity: usize,
    pub parked: usize,
    pub uptime_ms: u64,
    /// Data messages handled by this incarnation.
    pub handled: u64,
    /// Deaths left in the group's window, and in the room's row without progress.
    pub budget_deaths_left: u32,
    pub budget_consecutive_left: u32,
    /// `restart`, `wait`, `escalate`, `end`.
    pub decision: &'static str,
    pub delay_ms: u64,
    /// False when the drop of the state panicked as well.
    pub drop_ok: bool,
    pub thread: String,
    /// `/proc` state and wait channel of a hung thread: a busy loop and a blocked call look different.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_state: Option<String>,
    /// Same room, place and message kind: the same trouble.
    pub fingerprint: String,
}

impl CrashReport {
    pub(crate) fn fingerprint_of(room: &str, cause: &str, location: Option<&str>, kind: Option<&str>) -> String {
        hash([room, cause, location.unwrap_or(""), kind.unwrap_or("")].into_iter())
    }
}

/// A fact of supervision.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Record {
    Boot {
        pid: u32,
        seed: u64,
        rooms: usize,
    },
    /// A first incarnation is ready.
    Ready {
        room: &'static str,
        path: String,
        epoch: u64,
        birth_us: u64,
    },
    Down(Box<CrashReport>),
    /// A later incarnation is ready; `recovery_us` from the death until then.
    Restarted {
        room: &'static str,
        path: String,
        epoch: u64,
        cause: &'static str,
        recovery_us: u64,
        fingerprint: String,
    },
    /// The first message handled after a death; `handled_us` from the death until then, a wait for work included.
    Recovered {
        room: &'static str,
        epoch: u64,
        cause: &'static str,
        handled_us: u64,
        kind: &'static str,
        fingerprint: String,
    },
    /// What was proved too long ago was marked stale.
    KeyStale {
        key: String,
        reason: &'static str,
        age_ms: u64,
    },
    KeyFresh {
        key: String,
        stale_ms: u64,
    },
    /// A frame or a report was refused; at most one line for each reason a minute, `total` counts all.
    Refused {
        reason: &'static str,
        kind: &'static str,
        detail: String,
        total: u64,
    },
    /// Something that people should know began or ended: `redis_unavailable`, `login_refused`, ...
    Trouble {
        problem: &'static str,
        over: bool,
        text: String,
    },
    /// Repetitions of one fingerprint, and of their restarts, that were counted instead of written.
    Repeated {
        room: &'static str,
        cause: &'static str,
        fingerprint: String,
        deaths: u64,
        restarts: u64,
        recovery_us_max: u64,
    },
    Escalate {
        group: &'static str,
        room: &'static str,
        why: &'static str,
        delay_ms: u64,
    },
    /// A room ended and stays down.
    Ended {
        room: &'static str,
        path: String,
        epoch: u64,
        cause: &'static str,
    },
    Quarantined {
        room: String,
        id: u64,
        kind: String,
        seq: u64,
        cause: String,
    },
    HangSuspect {
        room: &'static str,
        epoch: u64,
        busy_ms: u64,
        kind: &'static str,
        seq: u64,
    },
    /// The watchdog itself came late: nobody is judged by that time.
    Amnesty {
        late_ms: u64,
    },
    /// A room is silent past its deadline, but its thread stood in line for a processor: not judged. `waited_ms`, `ran_ms`:
    /// of its thread since it was first in doubt. Told once until it shows life.
    Starved {
        room: &'static str,
        epoch: u64,
        silent_ms: u64,
        waited_ms: u64,
        ran_ms: u64,
    },
    /// An abandoned thread came back.
    ZombieEnded {
        room: &'static str,
        epoch: u64,
    },
    OverflowBegin {
        room: &'static str,
        policy: &'static str,
        capacity: usize,
    },
    OverflowEnd {
        room: &'static str,
        policy: &'static str,
        count: u64,
        ms: u64,
    },
    Operator {
        room: String,
        command: String,
        who: String,
        why: String,
        /// Why it was not done; empty: it was.
        #[serde(skip_serializing_if = "String::is_empty")]
        refused: String,
    },
    Drain {
        group: &'static str,
    },
    Stopped {
        group: &'static str,
        undelivered: u64,
    },
    /// This many records of a lane were lost before this one.
    JournalGap {
        lane: &'static str,
        lost: u64,
    },
    Exit {
        code: i32,
        reason: &'static str,
    },
}

impl Record {
    /// Whether it goes to the lane with the reserve of its own.
    pub(crate) const fn is_crash(&self) -> bool {
        matches!(self, Self::Down(_) | Self::Escalate { .. } | Self::Exit { .. } | Self::Ended { .. })
    }

    pub(crate) const fn must_reach_disk(&self) -> bool {
        matches!(self, Self::Escalate { .. } | Self::Exit { .. })
    }

    /// The same fact for the log, under the same number and names; the journal's file has the details. What a room has
    /// told in its own words already, and what is no trouble, is told at the level `debug`.
    pub(crate) fn trace(&self, jseq: u64) {
        use tracing::{debug, error, info, warn};
        match self {
            Self::Boot { pid, seed, rooms } => info!(jseq, pid, seed, rooms, "supervision started"),
            Self::Ready { path, epoch, birth_us, .. } => debug!(jseq, %path, epoch, birth_us, "room ready"),
            Self::Down(report) => warn!(jseq, path = %report.path, epoch = report.epoch, cause = report.cause,
                text = %report.text, location = report.location.as_deref().unwrap_or(""),
                message_kind = report.message_kind.unwrap_or(""), message_seq = report.message_seq.unwrap_or(0),
                message_fate = report.message_fate, decision = report.decision, delay_ms = report.delay_ms,
                fingerprint = %report.fingerprint, "room down"),
            Self::Restarted { path, epoch, cause, recovery_us, .. } => {
                info!(jseq, %path, epoch, cause, recovery_us, "room restarted");
            }
            Self::Recovered { room, epoch, cause, handled_us, .. } => {
                debug!(jseq, room, epoch, cause, handled_us, "room works again");
            }
            Self::KeyStale { key, reason, age_ms } => debug!(jseq, %key, reason, age_ms, "key stale"),
            Self::KeyFresh { key, stale_ms } => debug!(jseq, %key, stale_ms, "key fresh"),
            Self::Trouble { problem, over, text } => debug!(jseq, problem, over, %text, "trouble"),
            Self::Refused { reason, kind, detail, total } => debug!(jseq, reason, kind, %detail, total, "refused"),
            Self::Repeated { room, cause, fingerprint, deaths, restarts, .. } => {
                warn!(jseq, room, cause, %fingerprint, deaths, restarts, "same death repeated");
            }
            Self::Escalate { group, room, why, delay_ms } => {
                error!(jseq, group, room, why, delay_ms, "group escalated");
            }
            Self::Ended { path, epoch, cause, .. } => info!(jseq, %path, epoch, cause, "room ended"),
            Self::Quarantined { room, id, kind, seq, cause } => {
                warn!(jseq, %room, id, %kind, seq, %cause, "message quarantined");
            }
            Self::HangSuspect { room, epoch, busy_ms, kind, seq } => {
                warn!(jseq, room, epoch, busy_ms, kind, seq, "room slow");
            }
            Self::Amnesty { late_ms } => warn!(jseq, late_ms, "watchdog late, clocks re-armed"),
            Self::Starved { room, epoch, silent_ms, waited_ms, ran_ms } => {
                warn!(jseq, room, epoch, silent_ms, waited_ms, ran_ms, "room starved of a processor, not judged");
            }
            Self::ZombieEnded { room, epoch } => info!(jseq, room, epoch, "abandoned thread came back"),
            Self::OverflowBegin { room, policy, capacity } => warn!(jseq, room, policy, capacity, "mailbox full"),
            Self::OverflowEnd { room, policy, count, ms } => {
                info!(jseq, room, policy, count, ms, "mailbox has space again");
            }
            Self::Operator { room, command, who, why, refused } if refused.is_empty() => {
                info!(jseq, %room, %command, %who, %why, "operator");
            }
            Self::Operator { room, command, who, why, refused } => {
                info!(jseq, %room, %command, %who, %why, %refused, "operator refused");
            }
            Self::Drain { group } => info!(jseq, group, "draining"),
            Self::Stopped { group, undelivered } => info!(jseq, group, undelivered, "group stopped"),
            Self::JournalGap { lane, lost } => warn!(jseq, lane, lost, "journal records lost"),
            Self::Exit { code: 0, reason } => info!(jseq, code = 0, reason, "supervision ends"),
            Self::Exit { code, reason } => error!(jseq, code, reason, "supervision ends"),
        }
    }
}
