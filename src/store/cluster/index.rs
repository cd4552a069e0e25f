//! `trapline:cursor` in a cluster: how far all lanes are, and how far each of them was seen, so that a lane that went
//! back by itself is noticed, also by a later process.

use crate::store::guard::Cursor;
use crate::store::publish::{CURSOR, Publisher};
use crate::store::reply;
use crate::store::resp::Commands;
use crate::store::tag::Tag;
use redis::Value;
use std::collections::BTreeMap;

/// Before the key's name in the field of a lane.
const LANE: &str = "lane:";

/// The index as it was read; missing, and it is that of an empty Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub cursor: Cursor,
    /// The last record that each lane confirmed, with the spool that it counts in.
    pub lanes: BTreeMap<String, (u64, u64)>,
}

impl Index {
    /// Out of the answer to HGETALL.
    pub fn of(value: &Value) -> Self {
        let mut index = Self::default();
        let Value::Array(items) = value else { return index };
        for pair in items.chunks_exact(2) {
            let number = reply::number(&pair[1]).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            let place = || {
                let (spool, seq) = reply::text(&pair[1])?.split_once('-')?;
                Some((spool.parse().ok()?, seq.parse().ok()?))
            };
            match reply::text(&pair[0]) {
                Some("epoch") => index.cursor.epoch = number,
                Some("spool") => index.cursor.generation = number,
                Some("off") => index.cursor.off = number,
                Some(field) => {
                    if let Some(key) = field.strip_prefix(LANE) {
                        index.lanes.insert(key.to_owned(), place().unwrap_or_default());
                    }
                }
                None => {}
            }
        }
        index
    }

    /// Encodes the index as it should stand there.
    pub fn encode(out: &mut Commands, who: Publisher, off: u64, lanes: &BTreeMap<String, u64>) {
        out.begin(Tag::Index, 8 + 2 * lanes.len());
        out.arg("HSET");
        out.arg(CURSOR);
        for (field, number) in [("epoch", who.epoch), ("spool", who.generation), ("off", off)] {
            out.arg(field);
            out.count(number);
        }
        for (key, seq) in lanes {
            out.arg(format!("{LANE}{key}"));
            out.arg(format!("{}-{seq}", who.generation));
        }
        out.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::resp::as_words;

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let lanes = BTreeMap::from([("trap_events".to_owned(), 7), ("trapline:alerts".to_owned(), 0)]);
        let mut out = Commands::new();
        Index::encode(&mut out, Publisher { epoch: 3, generation: 5 }, 9, &lanes);
        let words = as_words(out.bytes()).remove(0);
        let items = words[2..].iter().map(|word| Value::BulkString(word.clone().into_bytes())).collect();
        let lanes = lanes.into_iter().map(|(key, seq)| (key, (5, seq))).collect();
        let expected = Index { cursor: Cursor { epoch: 3, generation: 5, off: 9 }, lanes };
        assert_eq!(Index::of(&Value::Array(items)), expected);
        assert_eq!(Index::of(&Value::Array(vec![])), Index::default());
    }
}
