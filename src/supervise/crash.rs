//! From a death and what was decided to the record in the journal.

use std::time::Duration;

use super::card::Card;
use super::cell::Obituary;
use super::journal::CrashReport;
use super::policy::{Decision, Fate, InHand};
use super::room::DeathCause;

/// `budget_left`: of the group's window, and of the room's row without progress.
pub(crate) fn crash_report(
    path: String,
    card: &Card,
    obituary: &mut Obituary,
    fate: Fate,
    decisions: &[Decision],
    (deaths_left, consecutive_left): (u32, u32),
) -> CrashReport {
    let (mut decision, mut delay) = ("restart", Duration::ZERO);
    for known in decisions {
        match known {
            Decision::Wait { delay: after, .. } | Decision::WaitGroup { delay: after, .. } => {
                delay = *after;
                if decision == "restart" {
                    decision = "wait";
                }
            }
            Decision::Escalate { .. } => decision = "escalate",
            Decision::GiveUp => decision = "give_up",
            Decision::Ended { .. } => decision = "end",
            _ => {}
        }
    }
    let (message_seq, message_kind) = obituary.message;
    let note = std::mem::take(&mut obituary.note);
    let cause = obituary.cause.kind();
    CrashReport {
        path,
        room: card.name,
        epoch: obituary.epoch,
        cause,
        text: if note.text.is_empty() { obituary.cause.to_string() } else { note.text },
        task: match &obituary.cause {
            DeathCause::TaskPanic { task, .. } => Some(task),
            _ => None,
        },
        fingerprint: CrashReport::fingerprint_of(card.name, cause, note.location.as_deref(), message_kind),
        location: note.location,
        raw_backtrace: note.backtrace,
        backtrace: None,
        message_kind,
        message_seq,
        message_digest: std::mem::take(&mut obituary.digest),
        message_fate: fate.word(),
        uncertain: matches!(obituary.cause, DeathCause::Hang { .. }) && obituary.in_hand != InHand::Nothing,
        last_messages: std::mem::take(&mut obituary.recent),
        depth: obituary.depth,
        capacity: card.mailbox,
        parked: obituary.parked,
        uptime_ms: millis(obituary.lived),
        handled: obituary.handled,
        budget_deaths_left: deaths_left,
        budget_consecutive_left: consecutive_left,
        decision,
        delay_ms: millis(delay),
        drop_ok: obituary.drop_ok,
        thread: std::mem::take(&mut obituary.thread),
        thread_state: obituary.thread_state.take(),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A busy loop and a blocked call look different here: the cheapest stack of a stuck thread.
pub(crate) fn thread_state(tid: &str) -> String {
    let waits = std::fs::read_to_string(format!("/proc/self/task/{tid}/wchan")).unwrap_or_default();
    let state = super::starved::state_of(tid).unwrap_or_else(|| "?".to_owned());
    format!("state {state}, waits in {}", waits.trim())
}
