//! What looking at our own keys shows: deleted by others, written by others, of another type.

use super::serve::Session;
use super::settle::MIGRATE_EVERY;
use crate::store::board::{Counts, Note};
use crate::store::class::Class;
use crate::store::resp::{fingerprint, fingerprint_all};
use crate::store::shelf::{Replaced, Shelf};
use crate::store::tag::Tag;
use redis::Value;
use std::time::Instant;

/// A foreign value longer than this is not kept aside.
const ASIDE_MAX: usize = 1024 * 1024;

impl Session<'_> {
    fn count(&self) -> &Counts {
        &self.engine.desk.board().counts
    }

    pub(super) fn note_quarantine(&self, key: &str, class: Class) {
        let text = match class {
            Class::Data => format!("{key} holds another type and is left alone: {}", class.remedy()),
            _ => format!("{key} is not written: {}", class.remedy()),
        };
        self.engine.desk.board().note(Note { code: "key_quarantined", key: key.to_owned(), text });
    }

    pub(super) fn note_foreign(&self, key: &str, what: &str) {
        Counts::add(&self.count().foreign_writes_total, 1);
        let text = format!("another program wrote {key}, find it and stop it (CLIENT LIST names it): {what}");
        self.engine.desk.board().note(Note { code: "foreign_writer", key: key.to_owned(), text });
    }

    /// A string of ours was written; what stood there before may be somebody else's.
    pub(super) fn replaced(
        &mut self,
        shelf: &mut Shelf,
        tag: Tag,
        print: u64,
        value: &Value,
        now: Instant,
        now_ms: i64,
    ) {
        let before = match value {
            Value::BulkString(bytes) => Some(bytes.as_slice()),
            _ => None,
        };
        match shelf.replaced(tag, print, before) {
            Replaced::Ours => {}
            Replaced::Missing => Counts::add(&self.count().audit_mismatch_total, 1),
            Replaced::Foreign => self.foreign(tag, &shelf.key_of(tag).unwrap_or_default(), before, now, now_ms),
        }
        shelf.confirmed(tag, print, 0, now, now_ms);
    }

    /// Another program wrote `value` (`None`: fields of a hash) where ours stood, or will stand again in a moment.
    fn foreign(&mut self, tag: Tag, key: &str, value: Option<&[u8]>, now: Instant, now_ms: i64) {
        if matches!(tag, Tag::Mirror(_)) {
            // A feed that somebody forgot writes many prices, each worth nothing a moment later: counted, not kept.
            if self.mirror_told.is_none_or(|at| now.duration_since(at) >= MIGRATE_EVERY) {
                self.mirror_told = Some(now);
                tracing::warn!(%key, "foreign writer: its price is replaced by the true one");
            }
            return self.note_foreign(key, "its value was replaced by the true one");
        }
        let aside = value.and_then(|bytes| self.keep_aside(key, bytes, now, now_ms));
        tracing::warn!(%key, ?aside, "foreign writer: its value is replaced by the true one");
        let what = match aside {
            Some(aside) => format!("its value stands at {aside}"),
            None => "its value is replaced by the true one".to_owned(),
        };
        self.note_foreign(key, &what);
    }

    /// What stands in a key that others are known to write.
    pub(super) fn looked(&mut self, shelf: &mut Shelf, place: u8, value: &Value, now: Instant, now_ms: i64) {
        let Some(&tag) = Tag::LOOKED.get(usize::from(place)) else { return };
        let bytes = |value: &Value| match value {
            Value::BulkString(bytes) => Some(bytes.clone()),
            _ => None,
        };
        let (text, print) = match value {
            Value::Array(fields) => {
                let fields: Vec<_> = fields.iter().map(bytes).collect();
                if fields.iter().all(Option::is_none) {
                    return;
                }
                (None, fingerprint_all(&fields.iter().map(Option::as_deref).collect::<Vec<_>>()))
            }
            _ => match bytes(value) {
                Some(text) => {
                    let print = fingerprint(&text);
                    (Some(text), print)
                }
                None => return,
            },
        };
        if !shelf.looked(tag, print) {
            self.foreign(tag, &shelf.key_of(tag).unwrap_or_default(), text.as_deref(), now, now_ms);
            shelf.refused(tag);
        }
    }

    /// With `migrate`, nothing that others wrote is lost; a writer that keeps coming back is answered now and then.
    fn keep_aside(&mut self, key: &str, bytes: &[u8], now: Instant, now_ms: i64) -> Option<String> {
        if !self.engine.settings.migrate || bytes.len() > ASIDE_MAX || !self.may_migrate(key, now) {
            return None;
        }
        let aside = self.aside_of(key, now_ms);
        self.extra.begin(Tag::Control, 4);
        self.extra.arg("SET");
        self.extra.arg(&aside);
        self.extra.arg(bytes);
        self.extra.arg("NX");
        Some(aside)
    }

    /// Fewer keys than there should be. Which of them, and how many in the end, the writes tell that follow.
    pub(super) fn counted(&mut self, shelf: &mut Shelf, expected: u64, found: i64) {
        let missing = expected.saturating_sub(u64::try_from(found).unwrap_or(0));
        if missing > 0 {
            tracing::warn!(missing, "somebody deleted keys, everything is written again");
            Counts::add(&self.count().audit_repairs_total, 1);
            shelf.write_again();
        }
    }

    /// Counts that were asked for before everything was written again say nothing.
    pub(super) fn forget_counts(&mut self) {
        for (tag, _) in &mut self.outstanding {
            if matches!(tag, Tag::Owned | Tag::OwnedEvents(_)) {
                *tag = Tag::Control;
            }
        }
        self.event_keys.clear();
    }

    /// Events stand once: what others deleted after Redis had it is told, not sent again.
    pub(super) fn counted_event(&mut self, tag: Tag, found: i64) {
        let Tag::OwnedEvents(place) = tag else { return };
        if found > 0 || usize::from(place) >= self.event_keys.len() {
            return;
        }
        let key = std::mem::take(&mut self.event_keys[usize::from(place)]);
        if key.is_empty() {
            return;
        }
        tracing::error!(%key, "somebody deleted events; the cursor says that redis had them");
        Counts::add(&self.count().audit_mismatch_total, 1);
        let text =
            format!("somebody deleted {key}: its events are not written again, trapline spool export shows them");
        self.engine.desk.board().note(Note { code: "events_deleted", key, text });
    }

    /// One of these keys may not be written, and Redis does not say which: each is asked for by a script that does
    /// nothing, since that needs the same right.
    pub(super) fn ask_rights(&mut self, keys: Vec<String>) {
        let last = keys.len();
        for (i, key) in (1..).zip(&keys) {
            self.extra.words(Tag::EventRight((i - 1) as u16), &["EVAL", "return 1", "1", key]);
            self.extra.mark(u64::from(i == last));
        }
        self.publishing.asked = keys;
    }

    pub(super) fn right_known(&mut self, place: u16, is_last: bool, may_write: bool) {
        if !may_write && let Some(key) = self.publishing.asked.get(usize::from(place)).cloned() {
            self.note_quarantine(&key, Class::Config);
            tracing::error!(%key, remedy = Class::Config.remedy(), "key quarantined, events go on without it");
            self.publishing.blocked.insert(key);
            Counts::add(&self.count().quarantined_keys, 1);
        }
        if is_last {
            self.publishing.asked.clear();
        }
    }
}
