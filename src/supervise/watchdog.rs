//! A plain thread that sees what hangs: rooms, their arbiters, the supervisor itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::prelude::Recipient;

use super::cell::{Cell, Verdict};
use super::journal::Record;
use super::judge::Amnesty;
use super::shared::Shared;
use super::starved::InLine;
use super::supervisor::Died;
use crate::error::Exit;

/// What the watchdog is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) supervisor_deadline: Duration,
    pub(crate) zombies: usize,
}

/// Returns false when the system gives no thread.
pub(crate) fn start(shared: Arc<Shared>, died: Recipient<Died>, limits: Limits) -> bool {
    let shortest =
        shared.children.iter().map(|child| child.cell.card().deadline).min().unwrap_or(Duration::from_secs(2));
    let tick = (shortest / 10).clamp(Duration::from_millis(2), Duration::from_millis(100));
    std::thread::Builder::new()
        .name("trapline-watchdog".to_owned())
        .spawn(move || watch(&shared, &died, limits, tick))
        .is_ok()
}

fn watch(shared: &Shared, died: &Recipient<Died>, limits: Limits, tick: Duration) {
    let mut amnesty = Amnesty::new(tick, Instant::now());
    let mut episodes: Vec<Episode> = shared.children.iter().map(|_| Episode::default()).collect();
    let mut lines: Vec<InLine> = shared.children.iter().map(|_| InLine::default()).collect();
    let mut own_line = InLine::default();
    while !shared.over.load(Ordering::SeqCst) {
        std::thread::sleep(tick);
        let now = Instant::now();
        if let Some(late) = amnesty.woke(now) {
            let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            shared.journal.record(Record::Amnesty { late_ms });
        }
        for ((room, child), line) in shared.children.iter().enumerate().zip(&mut lines) {
            let name = child.cell.card().name;
            if let Some(episode) = episodes.get_mut(room) {
                episode.follow(&*child.cell, now, shared);
            }
            match child.cell.check(now, amnesty.from, line) {
                None => {}
                Some(Verdict::Slow { epoch, busy_ms, kind, seq }) => {
                    shared.journal.record(Record::HangSuspect { room: name, epoch, busy_ms, kind, seq });
                }
                Some(Verdict::Starved { epoch, silent_ms, waited_ms, ran_ms }) => {
                    shared.journal.record(Record::Starved { room: name, epoch, silent_ms, waited_ms, ran_ms });
                }
                Some(Verdict::Hung(obituary)) => {
                    died.do_send(Died { room, obituary });
                    if shared.zombies.load(Ordering::SeqCst) > limits.zombies {
                        shared.end(Exit::TooManyZombies, "too many abandoned threads");
                    }
                }
            }
        }
        let beat = shared.base + Duration::from_millis(shared.beat_ms.load(Ordering::Relaxed));
        let silence = now.saturating_duration_since(beat.max(amnesty.from));
        if silence > limits.supervisor_deadline / 4 {
            own_line.doubt(shared.supervisor_tid.get().map(String::as_str), now);
        } else {
            own_line.clear();
        }
        if silence > limits.supervisor_deadline && own_line.excuse(limits.supervisor_deadline, now).is_none() {
            shared.end(Exit::SupervisorHung, "the supervisor hung");
            return;
        }
    }
}

/// A time in which a mailbox was full, from the first message that found it so until a second without one.
#[derive(Default)]
struct Episode {
    seen: u64,
    open: Option<(Instant, u64)>,
    last: Option<Instant>,
}

impl Episode {
    fn follow(&mut self, cell: &dyn Cell, now: Instant, shared: &Shared) {
        let total = cell.overflowed();
        if total == self.seen {
            let quiet = self.last.is_none_or(|last| now.saturating_duration_since(last) >= Duration::from_secs(1));
            if quiet && let Some((since, before)) = self.open.take() {
                let card = cell.card();
                shared.journal.record(Record::OverflowEnd {
                    room: card.name,
                    policy: card.overflow.word(),
                    count: total - before,
                    ms: u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX),
                });
            }
            return;
        }
        if self.open.is_none() {
            self.open = Some((now, self.seen));
            let card = cell.card();
            shared.journal.record(Record::OverflowBegin {
                room: card.name,
                policy: card.overflow.word(),
                capacity: card.mailbox,
            });
        }
        self.seen = total;
        self.last = Some(now);
    }
}
