//! The contract as a table for people and as JSON for programs.

use super::{Bound, KEYS};
use serde_json::json;

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

/// The whole contract, an array with one object a key.
pub fn render_json() -> String {
    let rows: Vec<_> = KEYS
        .iter()
        .map(|k| {
            let fields: Vec<_> =
                k.fields.iter().map(|f| json!({"name": f.name, "unit": f.unit, "meaning": f.meaning})).collect();
            let (items, age_s) = match k.bound {
                Bound::Items(n) => (Some(n), None),
                Bound::ItemsAndAge { items, age_s } => (Some(items), Some(age_s)),
                Bound::One | Bound::PerSymbol | Bound::PerName | Bound::Expiring => (None, None),
            };
            json!({
                "name": k.name, "shape": k.shape.label(), "type": k.shape.redis_type(), "class": k.class.label(),
                "meaning": k.meaning, "fields": fields, "bound": k.bound.label(), "max_items": items, "max_age_s": age_s,
                "expiry_s": k.expiry_s, "room": k.room, "readers": k.readers, "since": k.since.label(),
            })
        })
        .collect();
    serde_json::to_string_pretty(&rows).unwrap_or_default()
}
