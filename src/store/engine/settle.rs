//! What a reply means: confirmed, refused, and what follows from it.

use super::lanes::holds_all;
use super::serve::Session;
use super::{Broken, End};
use crate::store::board::{Counts, LinkState};
use crate::store::class::{Class, label_of};
use crate::store::cluster::slot;
use crate::store::guard;
use crate::store::publish::Answer;
use crate::store::reply::{self, Reply};
use crate::store::shelf::Shelf;
use crate::store::tag::Tag;
use redis::Value;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Beyond so many keys of events without rights, it is the user that is wrong.
const BLOCKED_MAX: usize = 1_024;
/// A foreign writer that keeps coming back is answered once in so long.
pub(super) const MIGRATE_EVERY: Duration = Duration::from_secs(10);
/// Answers to commands sent before a key was put aside arrive within this.
const IN_FLIGHT: Duration = Duration::from_secs(1);

impl Session<'_> {
    pub(super) fn settle(
        &mut self,
        shelf: &mut Shelf,
        tag: Tag,
        mark: u64,
        reply: Reply,
        now: Instant,
        now_ms: i64,
    ) -> Result<(), Broken> {
        match reply {
            Reply::Int(_) if matches!(tag, Tag::EventRight(_)) => {
                if let Tag::EventRight(place) = tag {
                    self.right_known(place, mark == 1, true);
                }
            }
            Reply::Int(_) if tag == Tag::Index => self.index_confirmed(),
            Reply::Int(found) if tag == Tag::Owned => self.counted(shelf, mark, found),
            Reply::Int(found) if matches!(tag, Tag::OwnedEvents(_)) => self.counted_event(tag, found),
            Reply::Int(answer) => shelf.confirmed(tag, mark, answer, now, now_ms),
            Reply::Ok => shelf.confirmed(tag, mark, 0, now, now_ms),
            Reply::Other(Value::ServerError(error)) => {
                if tag == Tag::Latency {
                    Counts::add(&self.engine.desk.board().counts.latencies_shed_total, mark);
                }
                if let Tag::EventRight(place) = tag {
                    self.right_known(place, mark == 1, error.code() != "NOPERM");
                    return Ok(());
                }
                if let Tag::Look(place) = tag
                    && error.code() == "WRONGTYPE"
                    && let Some(key) = Tag::LOOKED.get(usize::from(place))
                {
                    // The next write of it is refused, and decides what happens to a foreign type.
                    shelf.refused(*key);
                    return Ok(());
                }
                let (code, detail) = (error.code(), error.details().unwrap_or(""));
                if self.is_cluster() {
                    if code == "CLUSTERDOWN" {
                        self.is_down(now)?;
                    }
                    if matches!(tag, Tag::Events | Tag::Index) {
                        self.lane_refused(tag, mark, code, detail, now)?;
                        if !holds_all(code) {
                            return Ok(());
                        }
                    }
                }
                return self.refused(shelf, tag, code, detail, now, now_ms);
            }
            Reply::Other(value) => match tag {
                _ if tag.is_text() && mark != 0 => self.replaced(shelf, tag, mark, &value, now, now_ms),
                Tag::Text(_) => return self.executed(shelf, tag, &value, now, now_ms),
                Tag::Look(place) => self.looked(shelf, place, &value, now, now_ms),
                Tag::Events if self.is_cluster() => self.lane_answered(mark, &value, now, now_ms)?,
                Tag::Events => self.answered(&value, now, now_ms)?,
                Tag::LaneLook(place) => self.lane_looked(place, &value),
                Tag::Audit => self.audited(shelf, mark, &value)?,
                Tag::Control if self.cursor_asked && matches!(value, Value::Array(_)) => self.cursor_read(&value),
                _ => shelf.confirmed(tag, mark, 0, now, now_ms),
            },
        }
        if !tag.is_look() && self.hold_until.is_none() {
            self.engine.desk.board().set_link(LinkState::Up, now_ms);
        }
        Ok(())
    }

    /// A transaction's answer, or a step's on the way there: errors of single commands stand inside it.
    fn executed(
        &mut self,
        shelf: &mut Shelf,
        tag: Tag,
        value: &Value,
        now: Instant,
        now_ms: i64,
    ) -> Result<(), Broken> {
        let Value::Array(items) = value else { return Ok(()) };
        let refused = items.iter().find_map(|item| match item {
            Value::ServerError(error) => Some(error),
            _ => None,
        });
        if let Some(error) = refused {
            return self.refused(shelf, tag, error.code(), error.details().unwrap_or(""), now, now_ms);
        }
        if let Some(Value::Int(were)) = items.first() {
            // EXISTS, LTRIM, and RPUSH unless it is empty now.
            shelf.window_replaced(tag, *were, items.len() > 2);
        }
        Ok(())
    }

    /// Whether this is news, so that the log says it once.
    pub(super) fn is_news(&mut self, class: Class, tag: Tag) -> bool {
        self.reported.insert((class, tag.key()))
    }

    fn refused(
        &mut self,
        shelf: &mut Shelf,
        tag: Tag,
        code: &str,
        detail: &str,
        now: Instant,
        now_ms: i64,
    ) -> Result<(), Broken> {
        let class = Class::of_code(code);
        let label = label_of(code);
        let sent = if tag == Tag::Events { self.publishing.in_flight.take() } else { None };
        if code == "EXECABORT" {
            // What the transaction was ended for has been told by the command before.
            shelf.refused(tag);
            return Ok(());
        }
        if class.drops_connection() || matches!(code, "NOAUTH" | "WRONGPASS") {
            return Err(Broken::lost(class, label, code));
        }
        if code == "CROSSSLOT" && !self.is_cluster() {
            // A cluster whose door could not be asked: it would take no event.
            return Err(Broken::lost(Class::Route, label, code));
        }
        self.engine.desk.board().failed(label);
        if class == Class::Data {
            shelf.not_ours(tag);
        }
        let (least, most) = class.pause();
        match class {
            Class::Reload => self.publishing.whole = true,
            // What only looks may be refused where writes are not.
            _ if tag.is_look() && !matches!(class, Class::Wait | Class::Resource) => {
                tracing::debug!(code, detail, "command refused");
            }
            Class::Wait | Class::Resource => {
                if self.hold_until.is_none() {
                    let key = if class == Class::Wait { Tag::Control } else { Tag::Audit };
                    if self.is_news(class, key) {
                        tracing::warn!(code, remedy = class.remedy(), "redis refuses writes");
                    }
                }
                self.hold_until = Some(now + least.max(most / 4));
                self.publishing.hold_until = self.hold_until;
                self.engine.desk.board().set_link(LinkState::Refused, now_ms);
                shelf.shed();
                shelf.refused(tag);
            }
            Class::Data if self.engine.settings.migrate && self.migrate_state(shelf, tag, now, now_ms) => {
                shelf.refused(tag);
            }
            Class::Config if tag == Tag::Events && self.publishing.blocked.len() < BLOCKED_MAX => {
                self.ask_rights(sent.map(|sent| sent.touched).unwrap_or_default());
            }
            _ if tag == Tag::Events => {
                self.publishing.hold_until = Some(now + most);
                if self.is_news(class, tag) {
                    tracing::error!(code, detail, remedy = class.remedy(), "events refused, they wait in the spool");
                }
            }
            _ => {
                shelf.refused(tag);
                shelf.out.set_blocked(tag, true);
                self.count_quarantine(shelf);
                if self.is_news(class, tag) {
                    let key = shelf.key_of(tag).unwrap_or_default();
                    tracing::error!(code, %key, remedy = class.remedy(), "key quarantined, the others go on");
                    self.note_quarantine(&key, class);
                }
            }
        }
        Ok(())
    }

    pub(super) fn count_quarantine(&self, shelf: &Shelf) {
        let keys = shelf.out.blocked().len() + self.publishing.blocked.len();
        self.engine.desk.board().counts.quarantined_keys.store(keys as u64, Relaxed);
    }

    /// A key of events holds `have`, another type: it is put aside, or events go on without it.
    pub(super) fn foreign_type(&mut self, key: String, have: &str, now: Instant, now_ms: i64) {
        if self.engine.settings.migrate && self.migrate(&key, now, now_ms) {
            return;
        }
        tracing::error!(%key, have, remedy = Class::Data.remedy(), "key quarantined, events go on without it");
        self.note_quarantine(&key, Class::Data);
        self.publishing.blocked.insert(key);
        let board = self.engine.desk.board();
        board.failed("wrong_type");
        Counts::add(&board.counts.quarantined_keys, 1);
    }

    /// Puts a key of a foreign type aside. False: it was put aside a moment ago, somebody keeps writing it.
    fn migrate(&mut self, key: &str, now: Instant, now_ms: i64) -> bool {
        self.migrate_by(key, now, now_ms, |session, key, aside| {
            session.extra.words(Tag::Control, &["RENAME", &key, &aside]);
            session.extra.words(Tag::Control, &["PERSIST", &aside]);
        })
    }

    /// The same for state, of which parts may be encoded already.
    fn migrate_state(&mut self, shelf: &mut Shelf, tag: Tag, now: Instant, now_ms: i64) -> bool {
        let Some(key) = shelf.key_of(tag) else { return false };
        self.migrate_by(&key, now, now_ms, |_, key, aside| shelf.put_aside(key, aside))
    }

    fn migrate_by(
        &mut self,
        key: &str,
        now: Instant,
        now_ms: i64,
        rename: impl FnOnce(&mut Self, String, String),
    ) -> bool {
        if self.migrated.get(key).is_some_and(|at| now.duration_since(*at) < IN_FLIGHT) {
            // Refusals of commands that were on their way when the key was put aside.
            return true;
        }
        if !self.may_migrate(key, now) {
            return false;
        }
        let aside = self.aside_of(key, now_ms);
        tracing::warn!(%key, %aside, "foreign writer: key of another type put aside");
        self.note_foreign(key, &format!("{key} held another type: put aside as {aside}"));
        rename(self, key.to_owned(), aside);
        Counts::add(&self.engine.desk.board().counts.migrated_keys_total, 1);
        true
    }

    /// The name under which a key's foreign value is kept.
    pub(super) fn aside_of(&self, key: &str, now_ms: i64) -> String {
        if self.is_cluster() { slot::aside_of(key, now_ms) } else { format!("legacy:{key}:{now_ms}") }
    }

    pub(super) fn may_migrate(&mut self, key: &str, now: Instant) -> bool {
        if self.migrated.get(key).is_some_and(|at| now.duration_since(*at) < MIGRATE_EVERY) {
            return false;
        }
        self.migrated.insert(key.to_owned(), now);
        true
    }

    fn answered(&mut self, value: &Value, now: Instant, now_ms: i64) -> Result<(), Broken> {
        let sent = self.publishing.in_flight.take().unwrap_or_default();
        let desk = std::sync::Arc::clone(&self.engine.desk);
        let counts = &desk.board().counts;
        match Answer::of(value) {
            Some(Answer::Applied { off, refused }) => {
                Counts::add(&counts.event_ops_refused_total, refused.len() as u64 + sent.left_out + sent.unreadable);
                for text in &refused {
                    tracing::error!(%text, "operation of an event refused");
                }
                Counts::add(&counts.events_unrecoverable_total, sent.lost);
                self.publishing.off = off;
                self.publishing.jump = false;
                self.remember(sent.keys);
                desk.outbox().confirmed(off);
            }
            Some(Answer::Gap { off }) => {
                self.publishing.off = off;
                desk.outbox().cursor_at(off);
            }
            Some(Answer::Fenced) => return Err(Broken::End(End::Fenced)),
            Some(Answer::NewerSpool(generation)) => {
                desk.outbox().begin_anew(generation);
                self.publishing.off = 0;
            }
            Some(Answer::WrongType { key, have }) => {
                self.foreign_type(key, &have, now, now_ms);
            }
            None => {
                tracing::error!("the event script answered something unknown");
                self.publishing.hold_until = Some(now + Duration::from_secs(1));
            }
        }
        Ok(())
    }

    /// The marker is the epoch: missing, and somebody emptied Redis; lower, and an older copy was put back; higher, and
    /// this daemon is no longer the writer.
    fn audited(&mut self, shelf: &mut Shelf, ours: u64, value: &Value) -> Result<(), Broken> {
        let stored = reply::number(value).and_then(|n| u64::try_from(n).ok());
        match stored {
            Some(stored) if stored == ours => return Ok(()),
            Some(stored) if stored > ours => return Err(Broken::End(End::Fenced)),
            _ => {}
        }
        tracing::warn!("redis was emptied or an older copy was put back, everything is written again");
        self.forget_counts();
        Counts::add(&self.engine.desk.board().counts.audit_repairs_total, 1);
        if self.is_cluster() {
            // Which of the nodes, and what of the lanes: a new session finds out.
            return Err(Broken::lost(Class::Transient, "other", "a node was emptied or put back"));
        }
        guard::restore(&mut self.extra, ours);
        self.extra.words(Tag::Control, &guard::CURSOR_FIELDS);
        self.cursor_asked = true;
        shelf.republish();
        Ok(())
    }

    fn cursor_read(&mut self, value: &Value) {
        self.cursor_asked = false;
        // What is being read may lie behind what is needed first.
        self.publishing.reading = None;
        let cursor = guard::cursor_of(value);
        (self.publishing.off, self.publishing.jump) = self.engine.desk.outbox().meet(cursor, false);
    }
}
