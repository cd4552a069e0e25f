//! The contract as a table for people, as JSON for programs, and as the reference part of docs/keys.md.

use super::{Bound, Field, KEYS, Key, Kind};
use serde_json::{Value, json};
use std::fmt::Write;

/// One line a key, fields below each other are left to `--json` and the papers.
pub fn render_table() -> String {
    let mut rows = vec![["key", "shape", "class", "bound", "expiry", "room", "since", "meaning"].map(str::to_owned)];
    rows.extend(KEYS.iter().map(|k| {
        [
            k.name.to_owned(),
            k.shape.label().to_owned(),
            k.class.label().to_owned(),
            k.bound.label(),
            k.expiry_s.map_or_else(|| "-".to_owned(), |s| format!("{s} s")),
            k.room.to_owned(),
            k.since.label().to_owned(),
            k.meaning.to_owned(),
        ]
    }));
    let widths: Vec<usize> = (0..8).map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths).take(7) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        out.push_str(&row[7]);
        out.push('\n');
    }
    out
}

fn fields_json(fields: &[Field]) -> Vec<Value> {
    fields
        .iter()
        .map(|f| json!({"name": f.name, "kind": f.kind.label(), "unit": f.unit, "meaning": f.meaning}))
        .collect()
}

/// The whole contract, an array with one object a key.
pub fn render_json() -> String {
    let rows: Vec<_> = KEYS
        .iter()
        .map(|k| {
            let (items, age_s) = match k.bound {
                Bound::Items(n) => (Some(n), None),
                Bound::ItemsAndAge { items, age_s } => (Some(items), Some(age_s)),
                Bound::One | Bound::PerSymbol | Bound::PerName | Bound::Expiring => (None, None),
            };
            json!({
                "name": k.name, "shape": k.shape.label(), "type": k.shape.redis_type(), "class": k.class.label(),
                "meaning": k.meaning, "kind": k.value.label(), "unit": k.unit, "fields": fields_json(k.fields_of()),
                "channel": k.channel.map(fields_json),
                "or": k.or.map(|o| json!({
                    "setting": o.setting, "type": o.shape.redis_type(), "fields": fields_json(o.value.fields()),
                })),
                "bound": k.bound.label(), "max_items": items, "max_age_s": age_s,
                "expiry_s": k.expiry_s, "room": k.room, "readers": k.readers, "since": k.since.label(),
            })
        })
        .collect();
    serde_json::to_string_pretty(&rows).unwrap_or_default()
}

/// The reference part of docs/keys.md: an overview, then every key with its fields. Keys with the same fields share
/// one table.
pub fn render_page() -> String {
    let mut out = String::new();
    out.push_str(
        "| key | type | class | bound | expiry | decided by | since | what |\n|---|---|---|---|---|---|---|---|\n",
    );
    for k in KEYS {
        let expiry = k.expiry_s.map_or_else(|| "none".to_owned(), |s| format!("{s} s"));
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {expiry} | {} | {} | {} |",
            k.name,
            k.shape.label(),
            k.class.label(),
            k.bound.label(),
            k.room,
            k.since.label(),
            k.meaning
        );
    }
    let mut done: Vec<&[Field]> = Vec::new();
    for key in KEYS {
        let fields = key.fields_of();
        if done.contains(&fields) && !fields.is_empty() {
            continue;
        }
        done.push(fields);
        let same: Vec<&Key> =
            KEYS.iter().filter(|k| k.name == key.name || (!fields.is_empty() && k.fields_of() == fields)).collect();
        let names: Vec<_> = same.iter().map(|k| format!("`{}`", k.name)).collect();
        let _ = write!(out, "\n### {}\n\n", names.join(", "));
        for k in same {
            let _ = writeln!(out, "{}{}.{}", opening(k), k.meaning, readers(k));
        }
        section(&mut out, fields);
        if let Some(other) = key.or {
            let _ = write!(out, "\nWith `{}` it is a {} instead:\n", other.setting, other.shape.label());
            section(&mut out, other.value.fields());
        }
        if let Some(fields) = key.channel {
            out.push_str("\nOn the channel of the same name, as JSON:\n");
            section(&mut out, fields);
        }
    }
    out
}

fn opening(k: &Key) -> String {
    let each = match k.value {
        Kind::Object(_) => String::new(),
        plain if k.unit.is_empty() => format!(" of {}", plain.label()),
        plain => format!(" of {}, {}", plain.label(), k.unit),
    };
    format!("- `{}`, a {}{each}: ", k.name, k.shape.label())
}

fn readers(k: &Key) -> String {
    if k.readers.is_empty() { String::new() } else { format!(" Read by {}.", k.readers.join(", ")) }
}

fn section(out: &mut String, fields: &[Field]) {
    if fields.is_empty() {
        return;
    }
    out.push_str("\n| field | kind | unit | meaning |\n|---|---|---|---|\n");
    for f in fields {
        let _ = writeln!(out, "| `{}` | {} | {} | {} |", f.name, f.kind.label(), f.unit, f.meaning);
    }
}
