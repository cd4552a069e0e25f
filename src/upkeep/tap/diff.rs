//! Two readings of a key compared: what a person would say has changed.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What was read of a key, within bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    None,
    Text(String),
    Hash(BTreeMap<String, String>),
    Set(BTreeSet<String>),
    /// Both ends: programs push at either.
    List {
        length: u64,
        head: Vec<String>,
        tail: Vec<String>,
    },
    /// Members with their scores, highest first.
    Zset {
        length: u64,
        highest: Vec<(String, String)>,
    },
    /// Entries since the last reading.
    Stream {
        length: u64,
        last: String,
        new: Vec<Entry>,
    },
    /// Too large to be compared, or of a module.
    Other {
        kind: &'static str,
        length: u64,
    },
}

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    pub fields: Vec<(String, String)>,
}

impl View {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Text(_) => "string",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
            Self::List { .. } => "list",
            Self::Zset { .. } => "zset",
            Self::Stream { .. } => "stream",
            Self::Other { kind, .. } => kind,
        }
    }

    /// Bytes of a text, items of everything else.
    pub fn length(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Text(text) => text.len() as u64,
            Self::Hash(fields) => fields.len() as u64,
            Self::Set(members) => members.len() as u64,
            Self::List { length, .. }
            | Self::Zset { length, .. }
            | Self::Stream { length, .. }
            | Self::Other { length, .. } => *length,
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A field, a member, an id; `(type)`, `(text)`, `(length)`, `(head)`, `(tail)` for the key itself.
    pub what: String,
    /// `None`: it was not there.
    pub old: Option<String>,
    /// `None`: it is gone.
    pub new: Option<String>,
}

fn change(what: impl Into<String>, old: Option<&str>, new: Option<&str>) -> Change {
    Change { what: what.into(), old: old.map(str::to_owned), new: new.map(str::to_owned) }
}

/// What changed from one reading to the next, in the order of the fields.
pub fn diff(old: &View, new: &View) -> Vec<Change> {
    match (old, new) {
        _ if old == new && !matches!(new, View::Stream { .. }) => Vec::new(),
        (View::Text(a), View::Text(b)) => texts(a, b),
        (View::Hash(a), View::Hash(b)) => maps(a, b),
        (View::Set(a), View::Set(b)) => {
            let gone = a.difference(b).map(|m| change(m, Some(m), None));
            gone.chain(b.difference(a).map(|m| change(m, None, Some(m)))).collect()
        }
        (View::List { length: was, head, tail }, View::List { length: is, head: new_head, tail: new_tail }) => {
            lists((*was, head, tail), (*is, new_head, new_tail))
        }
        (View::Zset { length: was, highest: a }, View::Zset { length: is, highest: b }) => zsets((*was, a), (*is, b)),
        (View::Stream { length: was, .. }, View::Stream { length: is, new, .. }) => {
            let shown = |e: &Entry| e.fields.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
            let mut changes: Vec<_> = new.iter().map(|e| change(&e.id, None, Some(&shown(e)))).collect();
            if is < was {
                changes.push(length(*was, *is));
            }
            changes
        }
        (View::Other { kind: a, length: was }, View::Other { kind: b, length: is }) if a == b => {
            vec![length(*was, *is)]
        }
        // Made, deleted, or of another type.
        _ => {
            let kind = |view: &View| (!matches!(view, View::None)).then(|| view.kind());
            let mut changes = vec![change("(type)", kind(old), kind(new))];
            if let View::Hash(fields) = new {
                changes.extend(fields.iter().map(|(k, v)| change(k, None, Some(v))));
            } else if let View::Text(text) = new {
                changes.push(change("(text)", None, Some(text)));
            }
            changes
        }
    }
}

fn length(was: u64, is: u64) -> Change {
    change("(length)", Some(&was.to_string()), Some(&is.to_string()))
}

fn maps(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Vec<Change> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differs = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
    differs.map(|name| change(name, a.get(name).map(String::as_str), b.get(name).map(String::as_str))).collect()
}

/// JSON objects are compared by their fields, other texts as a whole.
fn texts(a: &str, b: &str) -> Vec<Change> {
    let fields = |text: &str| -> Option<BTreeMap<String, String>> {
        let serde_json::Value::Object(object) = serde_json::from_str(text).ok()? else { return None };
        let plain = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Some(object.into_iter().map(|(name, value)| (name, plain(value))).collect())
    };
    match (fields(a), fields(b)) {
        (Some(a), Some(b)) => maps(&a, &b),
        _ => vec![change("(text)", Some(a), Some(b))],
    }
}

/// How many items stand before the old ones; `None`: the old ones cannot be found.
fn pushed(old: &[String], new: &[String]) -> Option<usize> {
    if old.is_empty() {
        return Some(new.len());
    }
    (0..new.len()).find(|&k| new[k..].iter().zip(old).all(|(n, o)| n == o))
}

fn lists(old: (u64, &[String], &[String]), new: (u64, &[String], &[String])) -> Vec<Change> {
    let reversed = |items: &[String]| -> Vec<String> { items.iter().rev().cloned().collect() };
    let (old_tail, new_tail) = (reversed(old.2), reversed(new.2));
    let mut changes = Vec::new();
    let head = if old.1 == new.1 { Some(0) } else { pushed(old.1, new.1) };
    let tail = if old_tail == new_tail { Some(0) } else { pushed(&old_tail, &new_tail) };
    match (head, tail) {
        // A short list stands in both windows: what was pushed at one end is not told at the other.
        (Some(k), tail) if k > 0 && (tail != Some(k) || old.0 + k as u64 >= new.0) => {
            changes.extend(new.1[..k].iter().rev().map(|item| change("(head)", None, Some(item))));
        }
        (_, Some(k)) if k > 0 => {
            changes.extend(new_tail[..k].iter().rev().map(|item| change("(tail)", None, Some(item))));
        }
        (Some(_), _) | (_, Some(_)) => {}
        (None, None) => {
            changes.push(change("(items)", old.1.first().map(String::as_str), new.1.first().map(String::as_str)));
        }
    }
    if new.0 < old.0 || (changes.is_empty() && new.0 != old.0) {
        changes.push(length(old.0, new.0));
    }
    changes
}

fn zsets(old: (u64, &[(String, String)]), new: (u64, &[(String, String)])) -> Vec<Change> {
    let map = |pairs: &[(String, String)]| -> BTreeMap<String, String> { pairs.iter().cloned().collect() };
    let (a, b) = (map(old.1), map(new.1));
    // A member that only left the window is not gone: fewer members than fill it would all be seen.
    let all_seen = new.1.len() as u64 == new.0;
    let mut changes: Vec<Change> = maps(&a, &b).into_iter().filter(|c| c.new.is_some() || all_seen).collect();
    if changes.is_empty() && old.0 != new.0 {
        changes.push(length(old.0, new.0));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(old: &View, new: &View) -> Vec<String> {
        let part = |p: &Option<String>| p.clone().unwrap_or_else(|| "-".to_owned());
        diff(old, new).iter().map(|c| format!("{} {}>{}", c.what, part(&c.old), part(&c.new))).collect()
    }

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|i| (*i).to_owned()).collect()
    }

    fn list(items: &[&str]) -> View {
        View::List { length: items.len() as u64, head: strings(items), tail: strings(items) }
    }

    fn hash(pairs: &[(&str, &str)]) -> View {
        View::Hash(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn each_type_tells_its_changes() {
        let text = |t: &str| View::Text(t.to_owned());
        let zset = |length, pairs: &[(&str, &str)]| View::Zset {
            length,
            highest: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let cases: Vec<(&str, View, View, Vec<&str>)> = vec![
            ("nothing", hash(&[("a", "1")]), hash(&[("a", "1")]), vec![]),
            (
                "a field each way",
                hash(&[("a", "1"), ("b", "2"), ("c", "3")]),
                hash(&[("a", "9"), ("c", "3"), ("d", "4")]),
                vec!["a 1>9", "b 2>-", "d ->4"],
            ),
            ("made", View::None, hash(&[("a", "1")]), vec!["(type) ->hash", "a ->1"]),
            ("deleted", hash(&[("a", "1")]), View::None, vec!["(type) hash>-"]),
            ("of another type", text("x"), list(&["a"]), vec!["(type) string>list"]),
            ("plain text", text("1"), text("2"), vec!["(text) 1>2"]),
            ("JSON", text(r#"{"a":1,"b":"x"}"#), text(r#"{"a":2,"b":"x"}"#), vec!["a 1>2"]),
            ("pushed at the head", list(&["b", "a"]), list(&["d", "c", "b", "a"]), vec!["(head) ->c", "(head) ->d"]),
            ("pushed at the tail", list(&["a", "b"]), list(&["a", "b", "c"]), vec!["(tail) ->c"]),
            ("pushed and trimmed", list(&["c", "b", "a"]), list(&["d", "c", "b"]), vec!["(head) ->d"]),
            ("popped at the tail", list(&["b", "a"]), list(&["b"]), vec!["(length) 2>1"]),
            ("replaced", list(&["a"]), list(&["z"]), vec!["(items) a>z"]),
            ("scored", zset(1, &[("m", "1")]), zset(2, &[("n", "5"), ("m", "2")]), vec!["m 1>2", "n ->5"]),
            ("left the window", zset(9, &[("m", "1")]), zset(10, &[("n", "5")]), vec!["n ->5"]),
        ];
        for (case, old, new, expected) in cases {
            assert_eq!(told(&old, &new), expected, "case: {case}");
        }
    }

    #[test]
    fn a_stream_tells_each_new_entry() {
        let entry = |id: &str| Entry { id: id.to_owned(), fields: vec![("kind".to_owned(), "trap".to_owned())] };
        let old = View::Stream { length: 2, last: "2-0".to_owned(), new: vec![entry("2-0")] };
        let new = View::Stream { length: 3, last: "3-0".to_owned(), new: vec![entry("3-0")] };
        assert_eq!(told(&old, &new), ["3-0 ->kind=trap"]);
        let trimmed = View::Stream { length: 1, last: "3-0".to_owned(), new: vec![] };
        assert_eq!(told(&new, &trimmed), ["(length) 3>1"]);
    }
}
