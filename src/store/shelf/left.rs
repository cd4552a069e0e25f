//! Values of an earlier process that this one has nothing newer for: they can only be marked.

use crate::store::encode::{StaleMark, stale_args};
use crate::store::guard::{JSON_KEYS, Leftovers};
use crate::store::resp::Commands;
use crate::store::tag::Tag;
use serde_json::{Map, Value, json};

/// The three fields of the mark, the others stay.
pub(super) fn mark_hash(out: &mut Commands, key: &str, stale: Option<StaleMark>) {
    out.begin(Tag::Control, 8);
    out.arg("HSET");
    out.arg(key);
    stale_args(out, stale);
}

/// The document of `JSON_KEYS[which]` as it was found, with the mark in it.
pub(super) fn mark_json(out: &mut Commands, leftovers: &Leftovers, which: usize, stale: Option<StaleMark>) {
    let Some(text) = &leftovers.json[which] else { return };
    let Ok(mut document) = serde_json::from_str::<Map<String, Value>>(text) else { return };
    document.insert("stale".to_owned(), json!(u8::from(stale.is_some())));
    document.insert("stale_reason".to_owned(), json!(stale.map_or("", |s| s.reason)));
    document.insert("stale_since".to_owned(), json!(stale.map_or(0, |s| s.since_ms)));
    out.words(Tag::Control, &["SET", JSON_KEYS[which], &Value::Object(document).to_string()]);
}
