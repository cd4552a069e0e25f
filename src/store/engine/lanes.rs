//! Events in a cluster: a batch goes out as one call per lane, and is applied when every lane has it.

use super::serve::Session;
use super::{Broken, End, Engine, Start};
use crate::store::board::Counts;
use crate::store::class::{Class, label_of};
use crate::store::cluster::index::Index;
use crate::store::cluster::lane::{self, Part};
use crate::store::cluster::slot::cursor_of;
use crate::store::guard;
use crate::store::lines::Lines;
use crate::store::outbox::{Batch, Next};
use crate::store::publish::{Answer, CURSOR, Publisher, Sent};
use crate::store::tag::Tag;
use redis::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many records back, what has no cursor is sent once more at the beginning of a session.
const AGAIN_MAX: u64 = 512;
/// Parts of those in one flush.
const AGAIN_AT_ONCE: usize = 64;
/// A disk that takes longer holds nothing else up.
const READ_MAX: Duration = Duration::from_secs(2);
/// A slot that is being moved answers for all of a lane's keys again after a moment.
const MOVING: Duration = Duration::from_millis(50);
/// A cluster that is down for so long is looked at anew: another node may know better.
const DOWN_MAX: Duration = Duration::from_secs(2);
/// Beyond so many keys of events without rights, it is the user that is wrong.
const BLOCKED_MAX: usize = 1_024;

/// A batch on its way.
pub(super) struct Flight {
    sent: Sent,
    /// What the calls were for, by their marks.
    ways: Vec<Way>,
    /// How far events were applied when it went out.
    from: u64,
    /// Calls that were not answered.
    left: usize,
    /// Every answer was good so far.
    is_good: bool,
    /// The first parts of what is sent once more.
    again: usize,
    /// Keys of calls that were not permitted.
    denied: Vec<String>,
}

enum Way {
    Lane(String),
    Loose(String),
    Gap,
}

/// The session's side of the lanes.
#[derive(Default)]
pub(super) struct Lanes {
    pub flight: Option<Flight>,
    /// Lanes that the index in Redis names: nothing is written to others, so that none is forgotten.
    named: BTreeSet<String>,
    /// The index says less than is confirmed.
    index_due: bool,
    /// Lanes and place of the index that is on its way.
    indexing: Option<BTreeSet<String>>,
    again: Vec<Part>,
    /// Keys whose cursors were asked for, by place.
    looked: Vec<String>,
    /// The cluster has said that it is down: first, and last.
    down: Option<(Instant, Instant)>,
}

impl Lanes {
    pub fn new(named: BTreeSet<String>, again: Vec<Part>) -> Self {
        Self { named, again, index_due: true, ..Self::default() }
    }

    /// Something is to be sent, whether or not there are new events.
    pub fn wants(&self) -> bool {
        self.index_due || !self.again.is_empty()
    }

    pub fn is_busy(&self) -> bool {
        self.flight.is_some() || self.indexing.is_some()
    }
}

/// Whether the session holds everything for a while; a slot that is being moved holds up its events alone.
pub(super) fn holds_all(code: &str) -> bool {
    code != "TRYAGAIN" && matches!(Class::of_code(code), Class::Wait | Class::Resource)
}

impl Engine {
    /// Reads how far the lanes are, and what of the last records has no cursor.
    pub(super) async fn meet_lanes(&self, lines: &mut Lines) -> Result<Start, Broken> {
        let remembered: Vec<String> = self.desk.outbox().lanes.keys().cloned().collect();
        let (index, have) = guard::lanes(lines, remembered.into_iter()).await?;
        let (off, generation) = {
            let mut outbox = self.desk.outbox();
            (outbox.meet_lanes(&index, &have), outbox.generation)
        };
        let is_ours = index.cursor.generation == generation;
        let named = if is_ours { index.lanes.into_keys().collect() } else { BTreeSet::new() };
        Ok(Start { off, named, again: self.once_more(off).await, ..Start::default() })
    }

    async fn once_more(&self, off: u64) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut next = off.saturating_sub(AGAIN_MAX) + 1;
        while next <= off {
            let asked = self.desk.outbox().read(next);
            let Some(asked) = asked else { break };
            let Ok(batch) = tokio::time::timeout(READ_MAX, asked).await else {
                tracing::warn!(
                    from = next,
                    to = off,
                    "the spool does not answer: what has no cursor is not sent again"
                );
                break;
            };
            let batch: Batch = batch.unwrap_or_default();
            let Some((last, _)) = batch.last() else { break };
            next = last + 1;
            parts.extend(lane::loose(&batch.into_iter().filter(|(seq, _)| *seq <= off).collect()));
        }
        parts
    }
}

impl Session<'_> {
    /// What the lanes have to send now. One batch is on its way at a time.
    pub(super) fn publish_lanes(&mut self) {
        let desk = Arc::clone(&self.engine.desk);
        let mut outbox = desk.outbox();
        let who = Publisher { epoch: desk.board().epoch(), generation: outbox.generation };
        let now_ms = desk.clock.now_ms();
        if std::mem::take(&mut self.lanes.index_due) {
            self.index(&outbox.lanes, who);
            return;
        }
        let whole = std::mem::take(&mut self.publishing.whole);
        if !self.lanes.again.is_empty() {
            let again = self.lanes.again.len().min(AGAIN_AT_ONCE);
            let blocked = &self.publishing.blocked;
            let parts: Vec<Part> =
                self.lanes.again[..again].iter().filter(|part| !blocked.contains(&part.key)).cloned().collect();
            let sent = Sent { last: self.publishing.off, ..Sent::default() };
            return self.launch(parts, sent, again, who, whole, &outbox.lanes);
        }
        match outbox.next(self.publishing.off) {
            Next::Nothing => {}
            Next::Publish(batch) => {
                let (parts, sent) = lane::cut(&batch, &self.publishing.blocked, now_ms);
                let mut is_new = false;
                for part in parts.iter().filter(|part| !part.is_loose && !self.lanes.named.contains(&part.key)) {
                    outbox.lanes.entry(part.key.clone()).or_default();
                    is_new = true;
                }
                if is_new {
                    self.publishing.whole = whole;
                    return self.index(&outbox.lanes, who);
                }
                self.launch(parts, sent, 0, who, whole, &outbox.lanes);
            }
            Next::Read(first) => self.publishing.reading = outbox.read(first),
            Next::Lost { first, last } => {
                tracing::error!(first, last, "events can no longer be recovered, the gap is stated in redis");
                lane::encode_gap(&mut self.sending, first, last, now_ms);
                self.sending.mark(0);
                let sent = Sent { last, lost: last + 1 - first, ..Sent::default() };
                let from = self.publishing.off;
                self.lanes.flight = Some(Flight {
                    sent,
                    ways: vec![Way::Gap],
                    from,
                    left: 1,
                    is_good: true,
                    again: 0,
                    denied: Vec::new(),
                });
            }
        }
    }

    fn index(&mut self, lanes: &std::collections::BTreeMap<String, u64>, who: Publisher) {
        Index::encode(&mut self.sending, who, self.publishing.off, lanes);
        self.lanes.indexing = Some(lanes.keys().cloned().collect());
    }

    fn launch(
        &mut self,
        parts: Vec<Part>,
        sent: Sent,
        again: usize,
        who: Publisher,
        whole: bool,
        had: &std::collections::BTreeMap<String, u64>,
    ) {
        for (i, part) in (0..).zip(&parts) {
            let had = had.get(&part.key).copied().unwrap_or(0);
            part.encode(&mut self.sending, who, had, whole);
            self.sending.mark(i);
        }
        let left = parts.len();
        let way = |part: Part| if part.is_loose { Way::Loose(part.key) } else { Way::Lane(part.key) };
        let ways = parts.into_iter().map(way).collect();
        let from = self.publishing.off;
        self.lanes.flight = Some(Flight { sent, ways, from, left, is_good: true, again, denied: Vec::new() });
        if left == 0 {
            // Every key of it is blocked.
            self.landed();
        }
    }

    /// One lane's answer.
    pub(super) fn lane_answered(&mut self, mark: u64, value: &Value, now: Instant, now_ms: i64) -> Result<(), Broken> {
        let Some(flight) = &self.lanes.flight else { return Ok(()) };
        let Some(way) = usize::try_from(mark).ok().and_then(|i| flight.ways.get(i)) else { return Ok(()) };
        let desk = Arc::clone(&self.engine.desk);
        let counts = &desk.board().counts;
        let lane = match way {
            Way::Gap => {
                self.answered_one(true);
                return Ok(());
            }
            Way::Lane(key) => Some(key.clone()),
            Way::Loose(_) => None,
        };
        let mut is_good = false;
        match Answer::of(value) {
            Some(Answer::Applied { off, refused }) => {
                Counts::add(&counts.event_ops_refused_total, refused.len() as u64);
                for text in &refused {
                    tracing::error!(%text, "operation of an event refused");
                }
                if let Some(key) = lane {
                    desk.outbox().lanes.insert(key, off);
                }
                is_good = true;
            }
            Some(Answer::Gap { off }) => {
                if let Some(key) = lane {
                    self.lane_went_back(&key, off);
                }
            }
            Some(Answer::Fenced) => return Err(Broken::End(End::Fenced)),
            Some(Answer::NewerSpool(generation)) => {
                desk.outbox().begin_anew(generation);
                let why = "a key's cursor counts in a newer spool";
                return Err(Broken::lost(Class::Transient, "other", why));
            }
            Some(Answer::WrongType { key, have }) => {
                self.foreign_type(key, &have, now, now_ms);
            }
            None => {
                tracing::error!("the event script answered something unknown");
                self.publishing.hold_until = Some(now + Duration::from_secs(1));
            }
        }
        self.answered_one(is_good);
        Ok(())
    }

    /// What this lane had is sent again; the others skip it.
    fn lane_went_back(&mut self, key: &str, off: u64) {
        tracing::warn!(%key, has = off, "this key went back, its events are sent again");
        // What is missing of it is on its way back: nobody has to be told that it is gone.
        self.event_keys.iter_mut().filter(|known| *known == key).for_each(String::clear);
        let desk = Arc::clone(&self.engine.desk);
        let mut outbox = desk.outbox();
        outbox.lanes.insert(key.to_owned(), off);
        if off < self.publishing.off {
            self.publishing.off = off;
            // What is being read lies behind what is needed first.
            self.publishing.reading = None;
            outbox.cursor_at(off);
        }
    }

    fn answered_one(&mut self, is_good: bool) {
        let Some(flight) = &mut self.lanes.flight else { return };
        flight.is_good &= is_good;
        flight.left = flight.left.saturating_sub(1);
        if flight.left == 0 {
            self.landed();
        }
    }

    /// Every lane has answered. What is not good everywhere is sent again to all: who has it skips it.
    fn landed(&mut self) {
        let Some(flight) = self.lanes.flight.take() else { return };
        if !flight.denied.is_empty() {
            self.ask_rights(flight.denied);
        }
        if !flight.is_good {
            return;
        }
        self.lanes.again.drain(..flight.again);
        let sent = flight.sent;
        let desk = Arc::clone(&self.engine.desk);
        let counts = &desk.board().counts;
        Counts::add(&counts.event_ops_refused_total, sent.left_out + sent.unreadable);
        Counts::add(&counts.events_unrecoverable_total, sent.lost);
        // Where a lane was found to have gone back meanwhile, what it lacks comes first.
        if flight.again == 0 && flight.from == self.publishing.off {
            self.publishing.off = sent.last;
            self.lanes.index_due = true;
            self.remember(sent.keys);
            desk.outbox().confirmed(sent.last);
        }
    }

    /// A lane, or the index, was refused.
    pub(super) fn lane_refused(
        &mut self,
        tag: Tag,
        mark: u64,
        code: &str,
        detail: &str,
        now: Instant,
    ) -> Result<(), Broken> {
        let class = Class::of_code(code);
        if class.drops_connection() || matches!(code, "NOAUTH" | "WRONGPASS") {
            return Err(Broken::lost(class, label_of(code), code));
        }
        let keys = match (&self.lanes.flight, usize::try_from(mark)) {
            (Some(flight), Ok(i)) if tag == Tag::Events => match flight.ways.get(i) {
                Some(Way::Lane(key)) => vec![key.clone(), cursor_of(key)],
                Some(Way::Loose(key)) => vec![key.clone()],
                Some(Way::Gap) | None => Vec::new(),
            },
            _ => Vec::new(),
        };
        let may_ask = !keys.is_empty() && self.publishing.blocked.len() < BLOCKED_MAX;
        let pause = match class {
            Class::Reload => {
                self.publishing.whole = true;
                Duration::ZERO
            }
            Class::Wait if code == "TRYAGAIN" => {
                if self.is_news(class, Tag::Events) {
                    tracing::info!("a slot is being moved, its events wait for it");
                }
                MOVING
            }
            Class::Config if may_ask => {
                if let Some(flight) = &mut self.lanes.flight {
                    flight.denied.extend(keys);
                }
                Duration::from_secs(1)
            }
            // The session itself waits.
            Class::Wait | Class::Resource => Duration::ZERO,
            _ => {
                if self.is_news(class, tag) {
                    tracing::error!(code, detail, remedy = class.remedy(), "events refused, they wait in the spool");
                }
                class.pause().1
            }
        };
        if !holds_all(code) {
            self.engine.desk.board().failed(label_of(code));
        }
        let until = now + pause;
        self.publishing.hold_until = Some(self.publishing.hold_until.map_or(until, |at| at.max(until)));
        if tag == Tag::Index {
            self.lanes.indexing = None;
            self.lanes.index_due = true;
        } else {
            self.answered_one(false);
        }
        Ok(())
    }

    pub(super) fn index_confirmed(&mut self) {
        if let Some(named) = self.lanes.indexing.take() {
            self.lanes.named = named;
        }
    }

    /// A cluster may be down for one node only: after a while the others are asked.
    pub(super) fn is_down(&mut self, now: Instant) -> Result<(), Broken> {
        let first = match self.lanes.down {
            Some((first, last)) if now.duration_since(last) < DOWN_MAX => first,
            _ => now,
        };
        self.lanes.down = Some((first, now));
        if now.duration_since(first) < DOWN_MAX {
            return Ok(());
        }
        Err(Broken::lost(Class::Wait, "clusterdown", "this part of the cluster is down"))
    }

    /// Asks where all cursors stand: a node that was emptied, or put back, says so by them.
    pub(super) fn look_at_lanes(&mut self) {
        self.lanes.looked.clear();
        self.lanes.looked.push(CURSOR.to_owned());
        self.lanes.looked.extend(self.engine.desk.outbox().lanes.keys().cloned());
        for (i, key) in (0..).zip(&self.lanes.looked) {
            let cursor = if i == 0 { CURSOR.to_owned() } else { cursor_of(key) };
            self.extra.words(Tag::LaneLook(i), &["HMGET", &cursor, "epoch", "spool", "off"]);
        }
    }

    pub(super) fn lane_looked(&mut self, place: u16, value: &Value) {
        let Some(key) = self.lanes.looked.get(usize::from(place)).cloned() else { return };
        let found = guard::cursor_of(value);
        let desk = Arc::clone(&self.engine.desk);
        let (ours, had) = {
            let outbox = desk.outbox();
            (outbox.generation, outbox.lanes.get(&key).copied().unwrap_or(0))
        };
        let off = if found.generation == ours { found.off } else { 0 };
        if place == 0 {
            self.lanes.index_due |= off != self.publishing.off;
        } else if off < had && found.generation <= ours {
            Counts::add(&desk.board().counts.audit_mismatch_total, 1);
            self.lane_went_back(&key, off);
        }
    }
}
