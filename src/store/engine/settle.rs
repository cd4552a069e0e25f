//! What a reply means: confirmed, refused, and what follows from it.

use super::serve::Session;
use super::{Broken, End};
use crate::store::board::{Counts, LinkState};
use crate::store::class::Class;
use crate::store::guard;
use crate::store::publish::Answer;
use crate::store::reply::{self, Reply};
use crate::store::shelf::Shelf;
use crate::store::tag::Tag;
use redis::Value;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A foreign writer that keeps coming back is answered once in so long.
const MIGRATE_EVERY: Duration = Duration::from_secs(10);

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
            Reply::Int(answer) => shelf.confirmed(tag, mark, answer, now, now_ms),
            Reply::Ok => shelf.confirmed(tag, mark, 0, now, now_ms),
            Reply::Other(Value::ServerError(error)) => {
                return self.refused(shelf, tag, error.code(), error.details().unwrap_or(""), now, now_ms);
            }
            Reply::Other(value) => match tag {
                Tag::Events => self.answered(&value, now, now_ms)?,
                Tag::Audit => self.audited(shelf, mark, &value)?,
                Tag::Control if self.cursor_asked && matches!(value, Value::Array(_)) => self.cursor_read(&value),
                _ => shelf.confirmed(tag, mark, 0, now, now_ms),
            },
        }
        if tag != Tag::Control && self.hold_until.is_none() {
            self.engine.desk.board().set_link(LinkState::Up, now_ms);
        }
        Ok(())
    }

    /// Whether this is news, so that the log says it once.
    fn is_news(&mut self, class: Class, tag: Tag) -> bool {
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
        Counts::add(&self.engine.desk.board().counts.errors_total, 1);
        if tag == Tag::Events {
            self.publishing.in_flight = None;
        }
        if class.drops_connection() || matches!(code, "NOAUTH" | "WRONGPASS") {
            return Err(Broken::Class(class, code.to_owned()));
        }
        let (least, most) = class.pause();
        match class {
            Class::Reload => self.publishing.whole = true,
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
            Class::Data if self.engine.settings.migrate && self.migrate(shelf.key_of(tag), now, now_ms) => {
                shelf.refused(tag);
            }
            _ if tag == Tag::Events => {
                self.publishing.hold_until = Some(now + most);
                if self.is_news(class, tag) {
                    tracing::error!(code, detail, remedy = class.remedy(), "events refused, they wait in the spool");
                }
            }
            _ if tag == Tag::Control => tracing::debug!(code, detail, "command refused"),
            _ => {
                shelf.refused(tag);
                shelf.out.set_blocked(tag, true);
                self.count_quarantine(shelf);
                if self.is_news(class, tag) {
                    let key = shelf.key_of(tag).unwrap_or_default();
                    tracing::error!(code, %key, remedy = class.remedy(), "key quarantined, the others go on");
                }
            }
        }
        Ok(())
    }

    fn count_quarantine(&self, shelf: &Shelf) {
        let keys = shelf.out.blocked().len() + self.publishing.blocked.len();
        self.engine.desk.board().counts.quarantined_keys.store(keys as u64, Relaxed);
    }

    /// Puts a key of a foreign type aside. False: it was put aside a moment ago, somebody keeps writing it.
    fn migrate(&mut self, key: Option<String>, now: Instant, now_ms: i64) -> bool {
        let Some(key) = key else { return false };
        if self.migrated.get(&key).is_some_and(|at| now.duration_since(*at) < MIGRATE_EVERY) {
            return false;
        }
        let aside = format!("legacy:{key}:{now_ms}");
        self.extra.words(Tag::Control, &["RENAME", &key, &aside]);
        self.extra.words(Tag::Control, &["PERSIST", &aside]);
        tracing::warn!(%key, %aside, "foreign writer: key of another type put aside");
        Counts::add(&self.engine.desk.board().counts.migrated_keys_total, 1);
        self.migrated.insert(key, now);
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
                if self.engine.settings.migrate && self.migrate(Some(key.clone()), now, now_ms) {
                    return Ok(());
                }
                tracing::error!(%key, %have, remedy = Class::Data.remedy(), "key quarantined, events go on without it");
                self.publishing.blocked.insert(key);
                Counts::add(&counts.errors_total, 1);
                Counts::add(&counts.quarantined_keys, 1);
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
        Counts::add(&self.engine.desk.board().counts.audit_repairs_total, 1);
        guard::restore(&mut self.extra, ours);
        self.extra.words(Tag::Control, &guard::CURSOR_FIELDS);
        self.cursor_asked = true;
        shelf.republish();
        Ok(())
    }

    fn cursor_read(&mut self, value: &Value) {
        self.cursor_asked = false;
        let cursor = guard::cursor_of(value);
        (self.publishing.off, self.publishing.jump) = self.engine.desk.outbox().meet(cursor, false);
    }
}
