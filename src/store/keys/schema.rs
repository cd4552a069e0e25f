//! The contract as JSON Schema (2020-12), for programs that check what they read.
//!
//! A schema describes the value as a client library hands it out: a hash is an object of texts, a list an array, a
//! stream an array of its entries' fields, a sorted set an array of its members; JSON texts are meant parsed.

use super::{Bound, Field, KEYS, Key, Kind, Shape};
use serde_json::{Map, Value, json};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const DECIMAL: &str = r"^-?[0-9]+(\.[0-9]+)?$";
const MAYBE_DECIMAL: &str = r"^(-?[0-9]+(\.[0-9]+)?)?$";
const WHOLE: &str = "^[0-9]+$";
const SECONDS: &str = r"^[0-9]+\.[0-9]{3}$";
const ISO: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}\+00:00$";
const NAIVE_ISO: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}$";

/// How a kind is spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// As text: a field of a hash, a string key, an item of a list.
    Text,
    /// Within a JSON document.
    Json,
}

fn pattern(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

fn kind(kind: Kind, spelling: Spelling) -> Value {
    let text = spelling == Spelling::Text;
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::MaybeText => json!({"type": ["string", "null"]}),
        Kind::Words(words) => json!({"type": "string", "enum": words}),
        Kind::Number if text => pattern(DECIMAL),
        Kind::Number => json!({"type": "number"}),
        Kind::MaybeNumber if text => pattern(MAYBE_DECIMAL),
        Kind::MaybeNumber => json!({"type": ["number", "null"]}),
        Kind::Count | Kind::Ms if text => pattern(WHOLE),
        Kind::Count | Kind::Ms => json!({"type": "integer", "minimum": 0}),
        Kind::Seconds if text => pattern(SECONDS),
        Kind::Seconds => json!({"type": "number", "minimum": 0}),
        Kind::Flag if text => json!({"type": "string", "enum": ["0", "1"]}),
        Kind::Flag => json!({"type": "integer", "enum": [0, 1]}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Iso => pattern(ISO),
        Kind::NaiveIso => pattern(NAIVE_ISO),
        Kind::Null => json!({"type": "null"}),
        Kind::Json if text => json!({"type": "string", "contentMediaType": "application/json"}),
        Kind::Json => json!(true),
        // A document within a field of a hash stays a text there.
        Kind::Object(_) | Kind::List(_) | Kind::Map(_) if text => {
            json!({"type": "string", "contentMediaType": "application/json", "contentSchema": self::kind(kind, Spelling::Json)})
        }
        Kind::Object(fields) => object(fields, Spelling::Json),
        Kind::List(item) => json!({"type": "array", "items": self::kind(*item, Spelling::Json)}),
        Kind::Map(value) => json!({"type": "object", "additionalProperties": self::kind(*value, Spelling::Json)}),
    }
}

fn object(fields: &[Field], spelling: Spelling) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = kind(field.kind, spelling);
        if let Some(map) = schema.as_object_mut() {
            let about = [field.unit, field.meaning].iter().filter(|t| !t.is_empty()).copied().collect::<Vec<_>>();
            if !about.is_empty() {
                map.insert("description".to_owned(), json!(about.join(": ")));
            }
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<_> = fields.iter().map(|f| f.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// Fields as texts: of a hash, of an entry of a stream.
fn texts(value: Kind) -> Value {
    match value {
        Kind::Object(fields) => object(fields, Spelling::Text),
        Kind::Map(value) => json!({"type": "object", "additionalProperties": kind(*value, Spelling::Text)}),
        _ => json!({"type": "object", "additionalProperties": {"type": "string"}}),
    }
}

/// An item of a list or a member of a sorted set: a parsed document, or a plain text.
fn item(value: Kind) -> Value {
    match value {
        Kind::Object(_) | Kind::List(_) | Kind::Map(_) => kind(value, Spelling::Json),
        plain => kind(plain, Spelling::Text),
    }
}

fn shaped(shape: Shape, value: Kind, bound: Bound) -> Value {
    match shape {
        Shape::Text => kind(value, Spelling::Text),
        Shape::Json | Shape::Channel => kind(value, Spelling::Json),
        Shape::Hash => texts(value),
        Shape::List | Shape::Zset | Shape::Stream => {
            let items = if shape == Shape::Stream { texts(value) } else { item(value) };
            match bound {
                // A stream is trimmed in whole blocks.
                Bound::Items(n) | Bound::ItemsAndAge { items: n, .. } if shape != Shape::Stream => {
                    json!({"type": "array", "items": items, "maxItems": n})
                }
                _ => json!({"type": "array", "items": items}),
            }
        }
    }
}

fn of(key: &Key) -> Value {
    let own = shaped(key.shape, key.value, key.bound);
    let mut schema = match key.or {
        Some(other) => json!({"anyOf": [own, shaped(other.shape, other.value, key.bound)]}),
        None => own,
    };
    if key.name == crate::store::publish::CURSOR
        && let Some(map) = schema.as_object_mut()
    {
        map.insert("patternProperties".to_owned(), json!({"^lane:": pattern("^[0-9]+-[0-9]+$")}));
    }
    if let Some(map) = schema.as_object_mut() {
        map.insert("title".to_owned(), json!(key.name));
        map.insert("description".to_owned(), json!(key.meaning));
        let mut redis = json!({
            "type": key.shape.redis_type(), "shape": key.shape.label(), "class": key.class.label(),
            "bound": key.bound.label(), "expiry_s": key.expiry_s, "since": key.since.label(),
        });
        if let (Some(redis), false) = (redis.as_object_mut(), key.unit.is_empty()) {
            redis.insert("unit".to_owned(), json!(key.unit));
        }
        if let (Some(redis), Some(other)) = (redis.as_object_mut(), key.or) {
            redis.insert("or".to_owned(), json!({"setting": other.setting, "type": other.shape.redis_type()}));
        }
        map.insert("x-redis".to_owned(), redis);
        if let Some(fields) = key.channel {
            // Beside the key, not of it: the messages of the channel that has the same name.
            map.insert("$defs".to_owned(), json!({"message": object(fields, Spelling::Json)}));
        }
    }
    schema
}

/// The schema of one key; `name` may be a row's pattern or a concrete key. `None`: not a key of the table.
pub fn schema_of(name: &str) -> Option<Value> {
    let key = super::row_of(name)?;
    let mut schema = of(key);
    if let Some(map) = schema.as_object_mut() {
        map.insert("$schema".to_owned(), json!(DIALECT));
    }
    Some(schema)
}

/// Every key's schema under `$defs`, by its name in the table.
pub fn schemas() -> Value {
    let all: Map<String, Value> = KEYS.iter().map(|key| (key.name.to_owned(), of(key))).collect();
    json!({
        "$schema": DIALECT,
        "title": "What trapline keeps in Redis",
        "description": concat!("trapline ", env!("CARGO_PKG_VERSION")),
        "$defs": all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_schema_with_its_fields() {
        let all = schemas();
        for key in KEYS {
            let schema = &all["$defs"][key.name];
            assert_eq!(schema["title"], key.name);
            let text = schema.to_string();
            for field in key.fields_of() {
                assert!(text.contains(&format!("{:?}:", field.name)), "{} lacks {}", key.name, field.name);
            }
        }
    }

    #[test]
    fn a_concrete_name_finds_the_schema_of_its_pattern() {
        let schema = schema_of("trapline:BTCUSDT:position:long").unwrap();
        assert_eq!(schema["title"], "trapline:{SYMBOL}:position:long");
        assert_eq!(schema["properties"]["size"]["pattern"], DECIMAL);
        assert_eq!(schema["properties"]["has_position"]["enum"], json!(["0", "1"]));
        assert_eq!(schema["required"].as_array().unwrap().len(), schema["properties"].as_object().unwrap().len());
        assert_eq!(schema_of("recent_mm_traps").unwrap()["maxItems"], 50);
        assert!(schema_of("nobody:knows").is_none());
        assert_eq!(schema_of("current_position").unwrap()["anyOf"].as_array().unwrap().len(), 2);
    }
}
