//! One connection at work.

use super::lanes::Lanes;
use super::{Broken, End, Engine, Start};
use crate::fault_points;
use crate::store::board::Counts;
use crate::store::class::Class;
use crate::store::guard;
use crate::store::lines::Lines;
use crate::store::link::LinkError;
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
/// After so long the spool is asked again when it had nothing to give.
const READ_AGAIN: Duration = Duration::from_millis(50);
/// Keys of events that are looked after; keys that expire are not among them.
const EVENT_KEYS_MAX: usize = 256;

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
    /// Keys whose rights are asked for one by one, since one of them was refused.
    pub asked: Vec<String>,
}

/// The sentinels are being asked for the primary.
type Asking = Pin<Box<dyn Future<Output = Result<(String, u16), LinkError>>>>;

pub(super) struct Session<'a> {
    pub engine: &'a mut Engine,
    lines: Lines,
    /// Being written to the socket.
    pub sending: Commands,
    sent: usize,
    pub outstanding: VecDeque<(Tag, u64)>,
    /// Commands of each write, and when it went out.
    flights: VecDeque<(usize, Instant)>,
    strikes: u32,
    /// No state goes out before: Redis is full or busy.
    pub hold_until: Option<Instant>,
    pub publishing: Publishing,
    pub lanes: Lanes,
    pub reported: FxHashSet<(Class, Tag)>,
    pub migrated: FxHashMap<String, Instant>,
    /// Commands that settle wants to send.
    pub extra: Commands,
    pub cursor_asked: bool,
    audit_at: Instant,
    /// Our keys are to be counted; after what waits has been encoded.
    count_keys: bool,
    audits: usize,
    /// When the log last said that somebody writes the mirrors of the price.
    pub mirror_told: Option<Instant>,
    /// Keys of events that are there, as far as we know.
    pub event_keys: Vec<String>,
    refresh_at: Instant,
    probe_at: Instant,
    sentinel_at: Instant,
    asking: Option<Asking>,
}

impl<'a> Session<'a> {
    pub(super) fn new(engine: &'a mut Engine, lines: Lines, start: Start) -> Self {
        let now = Instant::now();
        let (audit_at, refresh_at) = (now + engine.settings.audit_every, now + engine.settings.refresh_every);
        let probe_at = now + engine.settings.probe_every;
        Self {
            engine,
            lines,
            sending: Commands::new(),
            sent: 0,
            outstanding: VecDeque::new(),
            flights: VecDeque::new(),
            strikes: 0,
            hold_until: None,
            publishing: Publishing { off: start.off, jump: start.jump, ..Publishing::default() },
            lanes: Lanes::new(start.named, start.again),
            reported: FxHashSet::default(),
            migrated: FxHashMap::default(),
            extra: Commands::new(),
            cursor_asked: false,
            audit_at,
            count_keys: false,
            audits: 0,
            mirror_told: None,
            event_keys: Vec::new(),
            refresh_at,
            probe_at,
            sentinel_at: now,
            asking: None,
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
                    match self.lines.poll_send(cx, &self.sending, &mut self.sent) {
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
                match self.lines.poll_fill(cx) {
                    Poll::Ready(Ok(())) => ready = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
                if let Some(reading) = &mut self.publishing.reading
                    && let Poll::Ready(records) = Pin::new(reading).poll(cx)
                {
                    self.publishing.reading = None;
                    let off = self.publishing.off;
                    if !self.engine.desk.outbox().has_read(off, records.unwrap_or_default()) {
                        self.publishing.hold_until = Some(Instant::now() + READ_AGAIN);
                    }
                    ready = true;
                }
                if let Some(asking) = &mut self.asking
                    && let Poll::Ready(answer) = asking.as_mut().poll(cx)
                {
                    self.asking = None;
                    // A sentinel that does not answer says nothing about the primary.
                    if answer.is_ok_and(|found| self.lines.peer().is_some_and(|peer| *peer != found)) {
                        return Poll::Ready(Err(LinkError::Replica));
                    }
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
        while let Some(reply) = self.lines.next_reply()? {
            let Some((tag, mark)) = self.outstanding.pop_front() else {
                return Err(Broken::lost(Class::Bug, "garbled", "a reply that nothing asked for"));
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
        for _ in 0..self.lines.take_redirected() {
            desk.board().failed("moved");
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

    pub(super) fn is_cluster(&self) -> bool {
        self.lines.is_many()
    }

    /// To a cluster one flush is sent at a time.
    fn is_waiting(&self) -> bool {
        !self.sending.is_empty() || (self.is_cluster() && !self.outstanding.is_empty())
    }

    fn has_work(&self) -> bool {
        if self.is_waiting() {
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
            && p.asked.is_empty()
            && !self.cursor_asked
            && !self.lanes.is_busy()
            && (self.engine.desk.spool().safe() > p.off || (self.is_cluster() && self.lanes.wants()))
    }

    /// Takes what waits into the send buffer.
    fn compose(&mut self) {
        if self.is_waiting() {
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
            shelf.hand_over(&mut self.sending);
        }
        if std::mem::take(&mut self.count_keys) && self.hold_until.is_none() {
            shelf.ask_owned(&mut self.sending, self.audits);
            shelf.ask_looked(&mut self.sending);
            for (i, key) in (0..).zip(&self.event_keys) {
                self.sending.words(Tag::OwnedEvents(i), &["EXISTS", key]);
            }
        }
        // Before the lock goes: what was just taken out of the shelf is not settled.
        shelf.outstanding = self.outstanding.len() + self.sending.len();
        drop(shelf);
        if self.may_publish() {
            if self.is_cluster() {
                self.publish_lanes();
            } else {
                self.publish();
            }
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
                let (how, now_ms) = (How { jump: p.jump, whole }, desk.clock.now_ms());
                p.in_flight = Some(publish::encode(&mut self.sending, who, &batch, &p.blocked, how, now_ms));
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
                Counts::add(&desk.board().counts.half_open_total, 1);
                return Err(Broken::lost(Class::Unknown, "timeout", "no reply in time, twice in a row"));
            }
            desk.board().failed("timeout");
        }
        if self.hold_until.is_some_and(|at| now >= at) {
            self.hold_until = None;
        }
        if self.publishing.hold_until.is_some_and(|at| now >= at) {
            self.publishing.hold_until = None;
        }
        if now >= self.audit_at {
            self.audit_at = now + self.engine.settings.audit_every;
            self.audits += 1;
            if self.strikes == 0 && self.extra.is_empty() {
                guard::audit(&mut self.extra, desk.board().epoch());
                if self.is_cluster() {
                    self.look_at_lanes();
                }
                self.count_keys = true;
            }
        }
        if now >= self.refresh_at {
            self.refresh_at = now + self.engine.settings.refresh_every;
            desk.shelf().refresh_quiet();
        }
        if now >= self.probe_at {
            self.probe_at = now + self.engine.settings.probe_every;
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
        self.ask_sentinels(now);
        Ok(())
    }

    /// The old primary may go on answering us while the sentinels have made another: it would be a picture that no
    /// reader sees.
    fn ask_sentinels(&mut self, now: Instant) {
        if self.asking.is_none()
            && now >= self.sentinel_at
            && let Some(sentinels) = self.engine.settings.target.sentinels().cloned()
        {
            self.sentinel_at = now + self.engine.settings.sentinel_every;
            let limit = self.engine.settings.connect_limit;
            self.asking = Some(Box::pin(async move { sentinels.primary(limit).await }));
        }
    }

    /// Keys of events that Redis has taken, to be missed when they go.
    pub(super) fn remember(&mut self, keys: Vec<String>) {
        for key in keys {
            if self.event_keys.len() < EVENT_KEYS_MAX && !self.event_keys.contains(&key) {
                self.event_keys.push(key);
            }
        }
    }
}
