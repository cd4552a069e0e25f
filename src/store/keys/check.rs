//! Whether a live value keeps its row of the table. Used by the tests; says what is wrong, not only that.

use super::{Field, Key, Kind};
use serde_json::Value;

/// Fields of a hash against `kind`.
///
/// # Errors
/// Each missing, unknown or wrong field.
pub fn hash<'a>(kind: Kind, found: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    match kind {
        Kind::Object(fields) => {
            let mut missing: Vec<&str> = fields.iter().map(|f| f.name).collect();
            for (name, value) in found {
                missing.retain(|m| *m != name);
                match fields.iter().find(|f| f.name == name) {
                    Some(field) => note(&mut wrong, name, text(field.kind, value)),
                    None => wrong.push(format!("{name}: unknown field")),
                }
            }
            wrong.extend(missing.iter().map(|name| format!("{name}: missing")));
        }
        Kind::Map(value) => {
            for (name, found) in found {
                note(&mut wrong, name, text(*value, found));
            }
        }
        _ => wrong.push("not a hash in the table".to_owned()),
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn note(wrong: &mut Vec<String>, name: &str, outcome: Result<(), String>) {
    if let Err(reason) = outcome {
        wrong.push(format!("{name}: {reason}"));
    }
}

/// One value as text: a field of a hash, or a string key.
///
/// # Errors
/// What is wrong with it.
pub fn text(kind: Kind, found: &str) -> Result<(), String> {
    let good = match kind {
        Kind::Text => true,
        Kind::Words(words) => words.contains(&found),
        Kind::Number => is_decimal(found),
        Kind::MaybeNumber => found.is_empty() || is_decimal(found),
        Kind::Count | Kind::Ms => !found.is_empty() && found.bytes().all(|b| b.is_ascii_digit()),
        Kind::Seconds => is_decimal(found) && found.split_once('.').is_some_and(|(_, f)| f.len() == 3),
        Kind::Flag => matches!(found, "0" | "1"),
        Kind::Iso => is_iso(found, true),
        Kind::NaiveIso => is_iso(found, false),
        Kind::Json | Kind::Object(_) | Kind::List(_) | Kind::Map(_) => {
            let document = serde_json::from_str(found).map_err(|e| format!("no JSON: {e}"))?;
            return if kind == Kind::Json { Ok(()) } else { json(kind, &document) };
        }
        Kind::MaybeText | Kind::Bool | Kind::Null => false,
    };
    if good { Ok(()) } else { Err(format!("{found:?} is no {}", kind.label())) }
}

/// One value inside of a JSON document.
///
/// # Errors
/// What is wrong with it, and where.
pub fn json(kind: Kind, found: &Value) -> Result<(), String> {
    let whole = || found.as_u64().is_some();
    let good = match kind {
        Kind::Text => found.is_string(),
        Kind::MaybeText => found.is_string() || found.is_null(),
        Kind::Words(words) => found.as_str().is_some_and(|w| words.contains(&w)),
        Kind::Number => found.is_number(),
        Kind::MaybeNumber => found.is_number() || found.is_null(),
        Kind::Count | Kind::Ms => whole(),
        Kind::Seconds => found.as_f64().is_some_and(|s| s >= 0.0),
        Kind::Flag => matches!(found.as_u64(), Some(0 | 1)),
        Kind::Bool => found.is_boolean(),
        Kind::Iso | Kind::NaiveIso => found.as_str().is_some_and(|t| text(kind, t).is_ok()),
        Kind::Null => found.is_null(),
        Kind::Json => true,
        Kind::Object(fields) => return object(fields, found),
        Kind::List(item) => {
            let Some(items) = found.as_array() else { return Err(format!("{found} is no list")) };
            return items.iter().try_for_each(|i| json(*item, i));
        }
        Kind::Map(value) => {
            let Some(map) = found.as_object() else { return Err(format!("{found} is no object")) };
            return map.iter().try_for_each(|(name, v)| json(*value, v).map_err(|e| format!("{name}: {e}")));
        }
    };
    if good { Ok(()) } else { Err(format!("{found} is no {}", kind.label())) }
}

fn object(fields: &[Field], found: &Value) -> Result<(), String> {
    let Some(map) = found.as_object() else { return Err(format!("{found} is no object")) };
    if let Some(name) = map.keys().find(|name| !fields.iter().any(|f| f.name == name.as_str())) {
        return Err(format!("{name}: unknown field"));
    }
    for field in fields {
        let value = map.get(field.name).ok_or_else(|| format!("{}: missing", field.name))?;
        json(field.kind, value).map_err(|e| format!("{}: {e}", field.name))?;
    }
    Ok(())
}

/// Digits, perhaps with a sign and a fraction; no exponent.
fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let plain = text.strip_prefix('-').unwrap_or(text);
    match plain.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(plain),
    }
}

fn is_iso(text: &str, with_offset: bool) -> bool {
    let naive = match text.strip_suffix("+00:00") {
        Some(naive) if with_offset => naive,
        None if !with_offset => text,
        _ => return false,
    };
    let shape = "0000-00-00T00:00:00.000";
    naive.len() == shape.len()
        && naive.bytes().zip(shape.bytes()).all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { b == s })
}

/// The kinds a key's value may have: its own, and the other format that a setting chooses.
pub fn kinds(key: &Key) -> impl Iterator<Item = (super::Shape, Kind)> {
    std::iter::once((key.shape, key.value)).chain(key.or.map(|o| (o.shape, o.value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as j;

    #[test]
    fn each_kind_takes_its_own_spelling_and_no_other() {
        const W: Kind = Kind::Words(&["long", "short"]);
        let cases: [(Kind, &[&str], &[&str]); 10] = [
            (Kind::Number, &["0", "-1.50", "64000.10"], &["", "1e5", "+1", "1.", ".5", "NaN", "0x1"]),
            (Kind::MaybeNumber, &["", "1"], &["null", "1e-7"]),
            (Kind::Count, &["0", "17"], &["", "-1", "1.0"]),
            (Kind::Seconds, &["1723075200.123"], &["1723075200", "1723075200123", "1.12"]),
            (Kind::Flag, &["0", "1"], &["", "true", "2"]),
            (W, &["long"], &["LONG", ""]),
            (Kind::Iso, &["2024-08-08T00:00:00.123+00:00"], &["2024-08-08T00:00:00.123", "2024-08-08T00:00:00.123Z"]),
            (
                Kind::NaiveIso,
                &["2024-08-08T00:00:00.123"],
                &["2024-08-08T00:00:00.123+00:00", "2024-08-08 00:00:00.123"],
            ),
            (Kind::Json, &["{}", "[1]"], &["", "{"]),
            (Kind::Null, &[], &["", "null"]),
        ];
        for (kind, good, bad) in cases {
            for found in good {
                assert_eq!(text(kind, found), Ok(()), "{kind:?} {found}");
            }
            for found in bad {
                assert!(text(kind, found).is_err(), "{kind:?} {found}");
            }
        }
    }

    #[test]
    fn a_document_has_exactly_its_fields() {
        const F: &[Field] = &[super::super::kind::number("price", "quote", ""), super::super::kind::null("stop", "")];
        let kind = Kind::List(&Kind::Object(F));
        assert_eq!(json(kind, &j!([{"price": 1.5, "stop": null}])), Ok(()));
        for (wrong, why) in [
            (j!([{"price": "1.5", "stop": null}]), "text for a number"),
            (j!([{"price": 1.5}]), "a field is missing"),
            (j!([{"price": 1.5, "stop": null, "more": 1}]), "a field nobody promised"),
            (j!({"price": 1.5, "stop": null}), "no list"),
        ] {
            assert!(json(kind, &wrong).is_err(), "{why}");
        }
        let found = [("price", "x"), ("more", "1")];
        let wrong = hash(Kind::Object(F), found).unwrap_err();
        assert_eq!(wrong.len(), 3, "{wrong:?}");
    }
}
