//! What a value may be. The same kind is spelled as text in a hash or a string key, and as JSON inside a document.

/// Kind of a field, of an item or of a whole value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A word or a sentence; may be empty.
    Text,
    /// The same; `null` in JSON where there is none.
    MaybeText,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Decimal number without exponent.
    Number,
    /// The same; empty (in JSON: `null`) where it is not known.
    MaybeNumber,
    /// Whole number from 0.
    Count,
    /// Milliseconds since 1970, UTC.
    Ms,
    /// Seconds since 1970, UTC, with three decimals.
    Seconds,
    /// 0 or 1; in JSON a number, too.
    Flag,
    /// `true` or `false`, in JSON only.
    Bool,
    /// `2024-08-08T00:00:00.123+00:00`.
    Iso,
    /// The same instant without its offset: UTC for readers that compare it with a naive 'now'.
    NaiveIso,
    /// `null`: kept for old readers, not known here.
    Null,
    /// A JSON document as text within a field.
    Json,
    /// Exactly these fields.
    Object(&'static [Field]),
    /// Any number of these.
    List(&'static Kind),
    /// Any names, each with one of these.
    Map(&'static Kind),
}

/// One field of a hash or of a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// `base coin`, `quote`, `x`, …; empty where the kind says it all.
    pub unit: &'static str,
    pub meaning: &'static str,
}

impl Kind {
    /// For people: the type in a word, with its choices.
    pub fn label(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::MaybeText => "text or null".to_owned(),
            Self::Words(words) => words.join(", "),
            Self::Number => "number".to_owned(),
            Self::MaybeNumber => "number or nothing".to_owned(),
            Self::Count => "count".to_owned(),
            Self::Ms => "epoch ms".to_owned(),
            Self::Seconds => "epoch s".to_owned(),
            Self::Flag => "0, 1".to_owned(),
            Self::Bool => "true, false".to_owned(),
            Self::Iso => "ISO, UTC".to_owned(),
            Self::NaiveIso => "ISO without zone, UTC".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Json => "JSON text".to_owned(),
            Self::Object(_) => "object".to_owned(),
            Self::List(item) => format!("list of {}", item.label()),
            Self::Map(value) => format!("name → {}", value.label()),
        }
    }

    /// The fields, if it has fixed ones; a list has those of its items.
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Object(fields) => fields,
            Self::List(item) | Self::Map(item) => item.fields(),
            _ => &[],
        }
    }
}

pub(super) const fn field(name: &'static str, kind: Kind, unit: &'static str, meaning: &'static str) -> Field {
    Field { name, kind, unit, meaning }
}

pub(super) const fn number(name: &'static str, unit: &'static str, meaning: &'static str) -> Field {
    field(name, Kind::Number, unit, meaning)
}

pub(super) const fn maybe(name: &'static str, unit: &'static str, meaning: &'static str) -> Field {
    field(name, Kind::MaybeNumber, unit, meaning)
}

pub(super) const fn text(name: &'static str, meaning: &'static str) -> Field {
    field(name, Kind::Text, "", meaning)
}

pub(super) const fn words(name: &'static str, words: &'static [&'static str], meaning: &'static str) -> Field {
    field(name, Kind::Words(words), "", meaning)
}

pub(super) const fn count(name: &'static str, meaning: &'static str) -> Field {
    field(name, Kind::Count, "", meaning)
}

pub(super) const fn ms(name: &'static str, meaning: &'static str) -> Field {
    field(name, Kind::Ms, "", meaning)
}

pub(super) const fn flag(name: &'static str, meaning: &'static str) -> Field {
    field(name, Kind::Flag, "", meaning)
}

pub(super) const fn iso(name: &'static str, meaning: &'static str) -> Field {
    field(name, Kind::Iso, "", meaning)
}

pub(super) const fn null(name: &'static str, meaning: &'static str) -> Field {
    field(name, Kind::Null, "", meaning)
}
