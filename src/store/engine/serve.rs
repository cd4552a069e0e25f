//! One connection at work.

use super::{Broken, End, Engine};
use crate::fault_points;
use crate::store::board::Counts;
use crate::store::class::Class;
use crate::store::guard;
use crate::store::link::Link;
use crate::store::outbox::{Batch, Next};
use crate::store::publish::{self, How, Publisher, Sent};
use crate::store::resp::Commands;
use crate::store::tag::Tag;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const TICK: Duration = Duration::from_millis(50);
/// After so long a key in quarantine is tried again.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// The publisher's side of a session.
#[derive(Default)]
pub(super) struct Publishing {
    /// How far Redis has applied.
    pub off: u64,
    pub in_flight: Option<Sent>,
    pub hold_until: Option<Instant>,
    /// The server does not know the script: send it whole once.
    pub whole: bool,
    /// The cursor counts in a numbering that has ended.
    pub jump: bool,
    pub reading: Option<oneshot::Receiver<Batch>>,
    pub blocked: FxHashSet<String>,
}

pub(super) struct Session<'a> {
    pub engine: &'a mut Engine,
    link: Link,
    /// Being written to the socket.
    sending: Commands,
    sent: usize,
    pub outstanding: VecDeque<(Tag, u64)>,
    /// Commands of each write, and when it went out.
    flights: VecDeque<(usize, Instant)>,
    strikes: u32,
    /// No state goes out before: Redis is full or busy.
    pub hold_until: Option<Instant>,
    pub publishing: Publishing,
    pub reported: FxHashSet<(Class, Tag)>,
    pub migrated: FxHashMap<String, Instant>,
    /// Commands that settle wants to send.
    pub extra: Commands,
    pub cursor_asked: bool,
    audit_at: Instant,
    refresh_at: Instant,
    probe_at: Instant,
}

impl<'a> Session<'a> {
    pub(super) fn new(engine: &'a mut Engine, link: Link, (off, jump): (u64, bool)) -> Self {
        let now = Instant::now();
        let (audit_at, refresh_at) = (now + engine.settings.audit_every, now + engine.settings.refresh_every);
        Self {
            engine,
            link,
            sending: Commands::new(),
            sent: 0,
            outstanding: VecDeque::new(),
            flights: VecDeque::new(),
            strikes: 0,
            hold_until: None,
            publishing: Publishing { off, jump, ..Publishing::default() },
            reported: FxHashSet::default(),
            migrated: FxHashMap::default(),
            extra: Commands::new(),
            cursor_asked: false,
            audit_at,
            refresh_at,
            probe_at: now + PROBE_EVERY,
        }
    }

    pub(super) async fn run(mut self) -> Broken {
        let broken = match self.work().await {
            Ok(never) => match never {},
            Err(broken) => broken,
        };
        let counts = &self.engine.desk.board().counts;
        Counts::add(&counts.disconnects_total, 1);
        Counts::add(&counts.unknown_outcome_total, self.outstanding.len() as u64);
        broken
    }

    async fn work(&mut self) -> Result<std::convert::Infallible, Broken> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            fault_points::never("redis_writer").await;
            (self.engine.on_beat)();
            self.take_replies()?;
            self.compose();
            let ticked = poll_fn(|cx| {
                let mut ready = false;
                self.engine.desk.spool().state().waker.register(cx.waker());
                if !self.sending.is_empty() {
                    fault_points::hit("redis.write");
                    match self.link.poll_send(cx, self.sending.bytes(), &mut self.sent) {
                        Poll::Ready(Ok(())) => {
                            fault_points::hit("redis.written");
                            self.sending.clear();
                            self.sent = 0;
                            ready = true;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => {}
                    }
                }
                match self.link.poll_fill(cx) {
                    Poll::Ready(Ok(())) => ready = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
                if let Some(reading) = &mut self.publishing.reading
                    && let Poll::Ready(records) = Pin::new(reading).poll(cx)
                {
                    self.publishing.reading = None;
                    self.engine.desk.outbox().has_read(records.unwrap_or_default());
                    ready = true;
                }
                let ticked = tick.poll_tick(cx).is_ready();
                if ready || ticked || self.has_work() { Poll::Ready(Ok(ticked)) } else { Poll::Pending }
            })
            .await?;
            if ticked {
                self.tick()?;
            }
        }
    }

    fn take_replies(&mut self) -> Result<(), Broken> {
        let mut any = false;
        let now = Instant::now();
        let now_ms = self.engine.desk.clock.now_ms();
        let desk = std::sync::Arc::clone(&self.engine.desk);
        let mut shelf = desk.shelf();
        while let Some(reply) = self.link.next_reply()? {
            let Some((tag, mark)) = self.outstanding.pop_front() else {
                return Err(Broken::Class(Class::Bug, "a reply that nothing asked for".to_owned()));
            };
            any = true;
            fault_points::hit("redis.reply");
            if let Some(flight) = self.flights.front_mut() {
                flight.0 -= 1;
                if flight.0 == 0 {
                    self.flights.pop_front();
                }
            }
            self.settle(&mut shelf, tag, mark, reply, now, now_ms)?;
        }
        if any {
            self.strikes = 0;
            desk.board().replied(now_ms);
            shelf.outstanding = self.outstanding.len();
            drop(shelf);
            if desk.has_space() {
                (self.engine.on_space)();
            }
        }
        Ok(())
    }

    /// Whether state may go out now.
    fn may_flush(&self, conflated: bool) -> bool {
        self.hold_until.is_none() && (!conflated || self.outstanding.is_empty())
    }

    fn has_work(&self) -> bool {
        if !self.sending.is_empty() {
            return false;
        }
        let shelf = self.engine.desk.shelf();
        let state = shelf.wants() && self.may_flush(shelf.conflates());
        drop(shelf);
        state || !self.extra.is_empty() || self.may_publish()
    }

    fn may_publish(&self) -> bool {
        let p = &self.publishing;
        p.in_flight.is_none()
            && p.reading.is_none()
            && p.hold_until.is_none()
            && !self.cursor_asked
            && self.engine.desk.spool().safe() > p.off
    }

    /// Takes what waits into the send buffer.
    fn compose(&mut self) {
        if !self.sending.is_empty() {
            return;
        }
        let now = Instant::now();
        let desk = std::sync::Arc::clone(&self.engine.desk);
        // Repairs before the values that wait for them.
        self.sending.take_from(&mut self.extra);
        let mut shelf = desk.shelf();
        if self.may_flush(shelf.conflates()) && shelf.wants() {
            let ahead_ms = desk.clock.ahead_ms();
            if std::mem::replace(&mut shelf.layout.ahead_ms, ahead_ms) != ahead_ms {
                // The wall clock stepped: what rests in Redis would look too old, or from the future.
                shelf.refresh_quiet();
            }
            shelf.fill(now, desk.clock.now_ms());
            Counts::add(&desk.board().counts.state_flushes_total, 1);
            Counts::add(&desk.board().counts.state_writes_total, shelf.out.len() as u64);
            if self.sending.is_empty() {
                shelf.out.trade(&mut self.sending);
            } else {
                self.sending.take_from(&mut shelf.out);
            }
        }
        drop(shelf);
        if self.may_publish() {
            self.publish();
        }
        if self.sending.is_empty() {
            return;
        }
        self.flights.push_back((self.sending.len(), now));
        self.outstanding.extend(self.sending.tags().iter().copied().zip(self.sending.marks().iter().copied()));
        desk.shelf().outstanding = self.outstanding.len();
    }

    fn publish(&mut self) {
        let desk = std::sync::Arc::clone(&self.engine.desk);
        let mut outbox = desk.outbox();
        let who = Publisher { epoch: desk.board().epoch(), generation: outbox.generation };
        let p = &mut self.publishing;
        let whole = std::mem::take(&mut p.whole);
        match outbox.next(p.off) {
            Next::Nothing => {}
            Next::Publish(batch) => {
                p.in_flight =
                    Some(publish::encode(&mut self.sending, who, &batch, &p.blocked, How { jump: p.jump, whole }));
            }
            Next::Read(first) => p.reading = outbox.read(first),
            Next::Lost { first, last } => {
                tracing::error!(first, last, "events can no longer be recovered, the gap is stated in redis");
                let now_ms = desk.clock.now_ms();
                p.in_flight = Some(publish::encode_gap(&mut self.sending, who, first, last, now_ms, whole));
            }
        }
    }

    fn tick(&mut self) -> Result<(), Broken> {
        let desk = std::sync::Arc::clone(&self.engine.desk);
        if !desk.is_turn(self.engine.turn) {
            return Err(Broken::End(End::Superseded));
        }
        let now = Instant::now();
        let limit = self.engine.settings.reply_limit * (self.strikes + 1);
        if self.flights.front().is_some_and(|(_, at)| now.duration_since(*at) >= limit) {
            self.strikes += 1;
            Counts::add(&desk.board().counts.timeouts_total, 1);
            if self.strikes >= 2 {
                return Err(Broken::Class(Class::Unknown, "no reply in time, twice in a row".to_owned()));
            }
        }
        if self.hold_until.is_some_and(|at| now >= at) {
            self.hold_until = None;
        }
        if self.publishing.hold_until.is_some_and(|at| now >= at) {
            self.publishing.hold_until = None;
        }
        if now >= self.audit_at {
            self.audit_at = now + self.engine.settings.audit_every;
            if self.strikes == 0 {
                guard::audit(&mut self.extra, desk.board().epoch());
            }
        }
        if now >= self.refresh_at {
            self.refresh_at = now + self.engine.settings.refresh_every;
            desk.shelf().refresh_quiet();
        }
        if now >= self.probe_at {
            self.probe_at = now + PROBE_EVERY;
            self.publishing.blocked.clear();
            let mut shelf = desk.shelf();
            for tag in shelf.out.blocked().to_vec() {
                shelf.refused(tag);
            }
            shelf.out.unblock_all();
            desk.board().counts.quarantined_keys.store(0, std::sync::atomic::Ordering::Relaxed);
        }
        let mut outbox = desk.outbox();
        outbox.pump();
        outbox.report();
        drop(outbox);
        if desk.has_space() {
            (self.engine.on_space)();
        }
        Ok(())
    }
}
