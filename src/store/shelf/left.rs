//! Values of an earlier process that this one has nothing newer for: they can only be marked.
//!
//! They were read when the connection was taken over. Since then they may have expired, or somebody has deleted or
//! written them, so each mark looks and writes in one step: it never makes a key, and never brings a document back.

use crate::store::encode::{StaleMark, stale_args};
use crate::store::guard::{JSON_KEYS, Leftovers};
use crate::store::resp::Commands;
use crate::store::tag::Tag;
use serde_json::{Map, Value, json};

/// The three fields go to a hash that is one of ours, never to where none is.
const MARK_HASH: &str = "if redis.pcall('HEXISTS', KEYS[1], 'timestamp') ~= 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1";

/// The first text replaces any of the others, and nothing else. An expiry stays.
const MARK_JSON: &str = "local now = redis.pcall('GET', KEYS[1])
for i = 2, #ARGV do
  if now == ARGV[i] then
    redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
    return 1
  end
end
return 0";

/// Marked documents that are remembered: whether the last ones landed is not known after a lost connection.
const MARKED_MAX: usize = 4;

/// What was left, and what this process has made of the documents.
#[derive(Default)]
pub(super) struct Left {
    found: Leftovers,
    marked: [Vec<String>; JSON_KEYS.len()],
}

impl From<Leftovers> for Left {
    fn from(found: Leftovers) -> Self {
        Self { found, marked: Default::default() }
    }
}

impl Left {
    /// Whether `current_position` (0) or `market_state` (1) was there as a hash.
    pub(super) fn has_hash(&self, which: usize) -> bool {
        self.found.hashes[which]
    }

    /// The document of `JSON_KEYS[which]` as it was found, with the mark in it.
    pub(super) fn mark_json(&mut self, out: &mut Commands, which: usize, stale: Option<StaleMark>) {
        let Some(found) = &self.found.json[which] else { return };
        let Ok(mut document) = serde_json::from_str::<Map<String, Value>>(found) else { return };
        document.insert("stale".to_owned(), json!(u8::from(stale.is_some())));
        document.insert("stale_reason".to_owned(), json!(stale.map_or("", |s| s.reason)));
        document.insert("stale_since".to_owned(), json!(stale.map_or(0, |s| s.since_ms)));
        let text = Value::Object(document).to_string();
        let marked = &mut self.marked[which];
        if marked.last() != Some(&text) {
            if marked.len() == MARKED_MAX {
                marked.remove(0);
            }
            marked.push(text.clone());
        }
        let mut words = vec!["EVAL", MARK_JSON, "1", JSON_KEYS[which], text.as_str(), found.as_str()];
        words.extend(marked.iter().map(String::as_str));
        out.words(Tag::Control, &words);
    }
}

/// The three fields of the mark, the others stay.
pub(super) fn mark_hash(out: &mut Commands, key: &str, stale: Option<StaleMark>) {
    out.begin(Tag::Control, 10);
    for word in ["EVAL", MARK_HASH, "1", key] {
        out.arg(word);
    }
    stale_args(out, stale);
}
