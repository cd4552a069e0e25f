//! The spool's thread: group commits, trimming, and what happens when the disk refuses.

use super::disk::Disk;
use super::{Found, Order, SpoolSettings, SpoolState, Stored, VOLATILE_MAX};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const GROUP_RECORDS: usize = 64;
const GROUP_WAIT: Duration = Duration::from_millis(2);
const TRIM_EVERY: Duration = Duration::from_secs(60);
const RETRY_EVERY: Duration = Duration::from_secs(5);
const TRIES: u32 = 3;

pub(super) struct Worker {
    settings: SpoolSettings,
    disk: Option<Disk>,
    state: Arc<SpoolState>,
    /// Waits for a disk that refuses; published from here all the same.
    memory: VecDeque<Stored>,
    generation: u64,
    applied: u64,
    newest_ms: i64,
    retry_at: Instant,
    #[cfg(test)]
    failing: bool,
}

impl Worker {
    pub(super) fn new(settings: SpoolSettings, disk: Option<Disk>, state: Arc<SpoolState>, found: &Found) -> Self {
        let durable = disk.is_some() && settings.file.is_some();
        state.durable.store(durable, SeqCst);
        let worker = Self {
            settings,
            disk,
            state,
            memory: VecDeque::new(),
            generation: found.generation,
            applied: 0,
            newest_ms: found.last_ms,
            retry_at: Instant::now(),
            #[cfg(test)]
            failing: false,
        };
        worker.measure();
        worker
    }

    fn measure(&self) {
        let (mut first, bytes) = self.disk.as_ref().map_or((0, 0), Disk::extent);
        if first == 0 {
            first = self.memory.front().map_or(0, |r| r.seq);
        }
        self.state.first.store(first, SeqCst);
        self.state.bytes.store(bytes, SeqCst);
    }

    pub(super) fn run(mut self, inbox: &Receiver<Order>) {
        let mut trim_at = Instant::now() + TRIM_EVERY;
        loop {
            match inbox.recv_timeout(RETRY_EVERY) {
                Ok(order) => self.obey(order, inbox),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !self.memory.is_empty() && Instant::now() >= self.retry_at {
                self.recover();
            }
            if Instant::now() >= trim_at {
                trim_at = Instant::now() + TRIM_EVERY;
                self.trim();
            }
        }
    }

    fn trim(&mut self) {
        let keep_ms = i64::try_from(self.settings.keep.as_millis()).unwrap_or(i64::MAX);
        if let Some(disk) = &self.disk
            && let Err(error) =
                disk.trim(self.applied, self.newest_ms.saturating_sub(keep_ms), self.settings.keep_bytes)
        {
            tracing::warn!(%error, "spool trim failed");
        }
        self.measure();
    }

    fn obey(&mut self, order: Order, inbox: &Receiver<Order>) {
        match order {
            Order::Append(record) => {
                let (group, after) = gather(record, inbox);
                self.append(group);
                if let Some(order) = after {
                    self.obey(order, inbox);
                }
            }
            Order::Read { first, count, bytes, reply } => {
                let _ = reply.send(self.read(first, count, bytes));
                self.state.waker.wake();
            }
            // What memory holds stays there, applied or not, until the disk takes it: the spool's records are also what
            // a later process knows events by, so that none comes a second time.
            Order::Applied(seq) => self.applied = self.applied.max(seq),
            Order::Generation(generation) => {
                self.generation = generation;
                if let Some(disk) = &self.disk
                    && let Err(error) = disk.set_generation(generation)
                {
                    tracing::warn!(%error, "spool generation not stored");
                }
            }
            Order::Trim => self.trim(),
            #[cfg(test)]
            Order::Fail(failing) => self.failing = failing,
        }
    }

    fn read(&self, first: u64, count: usize, bytes: usize) -> Vec<(u64, Arc<[u8]>)> {
        let mut found = self.disk.as_ref().map(|d| d.read(first, count, bytes)).unwrap_or_default();
        let next = found.last().map_or(first, |(seq, _)| seq + 1);
        if found.len() < count {
            let more = self.memory.iter().filter(|r| r.seq >= next).take(count - found.len());
            found.extend(more.map(|r| (r.seq, Arc::clone(&r.bytes))));
        }
        found
    }

    fn append(&mut self, group: Vec<Stored>) {
        let last = group.last().map_or(0, |r| r.seq);
        self.newest_ms = group.last().map_or(self.newest_ms, |r| r.ms.max(self.newest_ms));
        if self.state.first.load(SeqCst) == 0 {
            self.state.first.store(group.first().map_or(0, |r| r.seq), SeqCst);
        }
        if !self.memory.is_empty() || !self.store(&group) {
            self.keep_in_memory(group);
        }
        self.state.safe.store(last, SeqCst);
        self.state.waker.wake();
    }

    /// After a failed commit nothing is known about the pages: the file is opened again and asked what it holds.
    fn store(&mut self, group: &[Stored]) -> bool {
        for _ in 0..TRIES {
            #[cfg(test)]
            if self.failing {
                self.disk = None;
            }
            if let Some(disk) = &self.disk {
                match disk.append(group) {
                    Ok(()) => {
                        self.state.commits.fetch_add(1, SeqCst);
                        let size: usize = group.iter().map(|r| r.bytes.len()).sum();
                        self.state.bytes.fetch_add(size as u64, SeqCst);
                        self.state.durable.store(self.settings.file.is_some(), SeqCst);
                        return true;
                    }
                    Err(error) => {
                        self.state.failures.fetch_add(1, SeqCst);
                        tracing::warn!(%error, "spool commit failed");
                    }
                }
            }
            self.disk = None;
            let Some(file) = self.settings.file.clone() else { return false };
            #[cfg(test)]
            if self.failing {
                continue;
            }
            match Disk::reopen(&file, self.generation) {
                Ok((disk, last)) => {
                    self.disk = Some(disk);
                    if group.last().is_some_and(|r| r.seq <= last) {
                        return true;
                    }
                }
                Err(error) => tracing::warn!(%error, "spool cannot be opened"),
            }
        }
        false
    }

    fn keep_in_memory(&mut self, group: Vec<Stored>) {
        if self.state.durable.swap(false, SeqCst) {
            tracing::error!("spool is volatile: events wait in memory only; free or repair the disk");
        }
        if self.memory.is_empty() {
            // Only then: events that keep coming must not put the next try off for ever.
            self.retry_at = Instant::now() + RETRY_EVERY;
        }
        self.memory.extend(group);
        while self.memory.len() > VOLATILE_MAX {
            if self.memory.pop_front().is_some_and(|r| r.seq > self.applied) {
                self.state.dropped.fetch_add(1, SeqCst);
            }
        }
        if self.disk.is_none() {
            self.state.first.store(self.memory.front().map_or(0, |r| r.seq), SeqCst);
        }
    }

    fn recover(&mut self) {
        let waiting: Vec<Stored> = self.memory.iter().cloned().collect();
        if self.store(&waiting) {
            self.memory.clear();
            self.measure();
            tracing::info!(records = waiting.len(), "spool is durable again");
        } else {
            self.retry_at = Instant::now() + RETRY_EVERY;
        }
    }
}

/// The first record and those that come within a moment: one commit for all.
fn gather(first: Stored, inbox: &Receiver<Order>) -> (Vec<Stored>, Option<Order>) {
    let mut group = vec![first];
    let until = Instant::now() + GROUP_WAIT;
    while group.len() < GROUP_RECORDS {
        match inbox.recv_deadline(until) {
            Ok(Order::Append(record)) => group.push(record),
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}
