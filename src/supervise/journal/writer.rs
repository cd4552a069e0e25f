//! The journal's thread: numbers, folds repetitions, symbolises, writes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{TryRecvError, select};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::file::LineFile;
use super::{Counts, JOURNAL_FILE, KEEP, KEPT_LINES, Lanes, Order, QUARANTINE_BYTES, QUARANTINE_FILE, Record, Stamped};
use crate::clock::Clock;
use crate::supervise::panic_hook::cut;
use crate::supervise::queue::lock;

/// Deaths of one fingerprint written in full per second; the rest is counted.
const FULL_PER_SECOND: u64 = 10;
/// Fingerprints followed at once; beyond it every death is written in full.
const FINGERPRINTS: usize = 256;

#[derive(Serialize)]
struct Line<'a> {
    jseq: u64,
    at_ms: i64,
    mono_ms: u64,
    boot: &'a str,
    version: &'static str,
    #[serde(flatten)]
    record: &'a Record,
}

/// One fingerprint in the running second.
struct Storm {
    room: &'static str,
    cause: &'static str,
    seen: u64,
    deaths: u64,
    restarts: u64,
    recovery_us_max: u64,
}

pub(super) struct Writer {
    clock: Clock,
    boot: String,
    journal: Option<LineFile>,
    quarantine: Option<LineFile>,
    counts: Arc<Counts>,
    kept: Arc<Mutex<VecDeque<String>>>,
    jseq: u64,
    started: Instant,
    storms: FxHashMap<String, Storm>,
    storm_began: Instant,
    told_degraded: bool,
}

impl Writer {
    pub(super) fn new(
        clock: Clock,
        state_dir: Option<PathBuf>,
        max_bytes: u64,
        boot: String,
        counts: Arc<Counts>,
        kept: Arc<Mutex<VecDeque<String>>>,
    ) -> Self {
        if let Some(dir) = &state_dir {
            // A failure shows up with the first write, where it is counted and told.
            let _ = std::fs::create_dir_all(dir);
        }
        let open = |name: &str, bytes: u64| state_dir.as_ref().map(|dir| LineFile::new(dir.join(name), bytes, KEEP));
        Self {
            journal: open(JOURNAL_FILE, max_bytes),
            quarantine: open(QUARANTINE_FILE, QUARANTINE_BYTES),
            clock,
            boot,
            counts,
            kept,
            jseq: 0,
            started: Instant::now(),
            storms: FxHashMap::default(),
            storm_began: Instant::now(),
            told_degraded: false,
        }
    }

    pub(super) fn run(mut self, lanes: &Lanes) {
        loop {
            if self.storm_began.elapsed() >= Duration::from_secs(1) {
                self.end_storms();
            }
            self.state_gaps();
            match lanes.crash.try_recv() {
                Ok(order) => {
                    self.obey(order, lanes);
                    continue;
                }
                Err(TryRecvError::Disconnected) => return self.finish(lanes),
                Err(TryRecvError::Empty) => {}
            }
            select! {
                recv(lanes.crash) -> order => match order {
                    Ok(order) => self.obey(order, lanes),
                    Err(_) => return self.finish(lanes),
                },
                recv(lanes.life) -> stamped => if let Ok(stamped) = stamped { self.take(stamped) },
                recv(lanes.quarantine) -> line => if let Ok(line) = line { self.quarantine(&line) },
                default(Duration::from_millis(250)) => {}
            }
        }
    }

    fn obey(&mut self, order: Order, lanes: &Lanes) {
        match order {
            Order::Write(stamped) => self.take(stamped),
            Order::Flush(done) => {
                self.drain(lanes);
                let _ = done.try_send(());
            }
        }
    }

    fn drain(&mut self, lanes: &Lanes) {
        while let Ok(stamped) = lanes.life.try_recv() {
            self.take(stamped);
        }
        while let Ok(line) = lanes.quarantine.try_recv() {
            self.quarantine(&line);
        }
        self.end_storms();
        self.state_gaps();
    }

    fn finish(&mut self, lanes: &Lanes) {
        self.drain(lanes);
    }

    fn take(&mut self, stamped: Stamped) {
        let Stamped { at_ms, mut record } = stamped;
        match &mut record {
            Record::Down(report) => {
                let storms = self.storms.len();
                let storm = self.storms.entry(report.fingerprint.clone()).or_insert_with(|| Storm {
                    room: report.room,
                    cause: report.cause,
                    seen: 0,
                    deaths: 0,
                    restarts: 0,
                    recovery_us_max: 0,
                });
                storm.seen += 1;
                if storm.seen > FULL_PER_SECOND && storms <= FINGERPRINTS {
                    storm.deaths += 1;
                    return;
                }
                if storms > FINGERPRINTS {
                    self.end_storms();
                }
                report.backtrace = report.raw_backtrace.take().map(|frames| cut(&frames.named(), 4096).to_owned());
            }
            Record::Restarted { fingerprint, recovery_us, .. } => {
                if let Some(storm) = self.storms.get_mut(fingerprint)
                    && storm.seen > FULL_PER_SECOND
                {
                    storm.restarts += 1;
                    storm.recovery_us_max = storm.recovery_us_max.max(*recovery_us);
                    return;
                }
            }
            Record::Recovered { fingerprint, .. }
                if self.storms.get(fingerprint).is_some_and(|storm| storm.seen > FULL_PER_SECOND) =>
            {
                return;
            }
            _ => {}
        }
        self.write(at_ms, &record);
    }

    fn end_storms(&mut self) {
        self.storm_began = Instant::now();
        let storms = std::mem::take(&mut self.storms);
        for (fingerprint, storm) in storms {
            if storm.deaths + storm.restarts > 0 {
                let Storm { room, cause, deaths, restarts, recovery_us_max, .. } = storm;
                let record = Record::Repeated { room, cause, fingerprint, deaths, restarts, recovery_us_max };
                self.write(self.clock.wall_ms(), &record);
            }
        }
    }

    fn state_gaps(&mut self) {
        let counts = Arc::clone(&self.counts);
        for (lane, lost) in
            [("crash", &counts.lost_crash), ("lifecycle", &counts.lost_life), ("quarantine", &counts.lost_quarantine)]
        {
            self.state_gap(lane, lost);
        }
    }

    fn state_gap(&mut self, lane: &'static str, lost: &AtomicU64) {
        // Stated as the difference to what was stated before, so that the counter itself stays a total.
        let total = lost.load(Ordering::Relaxed);
        let stated = self.counts.stated(lane);
        let new = total.saturating_sub(stated.load(Ordering::Relaxed));
        if new > 0 {
            stated.store(total, Ordering::Relaxed);
            self.write(self.clock.wall_ms(), &Record::JournalGap { lane, lost: new });
        }
    }

    fn write(&mut self, at_ms: i64, record: &Record) {
        self.jseq += 1;
        record.trace(self.jseq);
        let mono_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line =
            Line { jseq: self.jseq, at_ms, mono_ms, boot: &self.boot, version: env!("CARGO_PKG_VERSION"), record };
        // The records are our own plain types: if one did not serialise, the gap in the numbers would show it.
        let Ok(mut text) = serde_json::to_string(&line) else { return };
        let mut kept = lock(&self.kept);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(text.clone());
        drop(kept);
        text.push('\n');
        let result =
            self.journal.as_mut().map_or(Ok(()), |file| file.append(text.as_bytes(), record.must_reach_disk()));
        self.account(result);
    }

    fn quarantine(&mut self, line: &str) {
        let result = self.quarantine.as_mut().map_or(Ok(()), |file| file.append(format!("{line}\n").as_bytes(), false));
        self.account(result);
    }

    fn account(&mut self, result: std::io::Result<()>) {
        match result {
            Ok(()) => {
                self.counts.written.fetch_add(1, Ordering::Relaxed);
                self.counts.degraded.store(false, Ordering::Relaxed);
                self.told_degraded = false;
            }
            Err(error) => {
                self.counts.write_errors.fetch_add(1, Ordering::Relaxed);
                self.counts.degraded.store(true, Ordering::Relaxed);
                if !self.told_degraded {
                    self.told_degraded = true;
                    tracing::error!(%error, "journal not written, newest lines kept in memory");
                }
            }
        }
    }
}
