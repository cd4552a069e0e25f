//! A bounded look at a key: its type, its length and the beginning of its content.

use super::UpkeepError;
use super::server::{Pipe, Server, bytes, count, list};
use redis::Value;
use serde::Serialize;

/// Bytes of a text that are read.
const TEXT_BYTES: &str = "8191";
/// Items of a list, set or sorted set that are read.
const ITEMS: &str = "3";

/// What `TYPE` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// There is no such key.
    #[default]
    None,
    String,
    List,
    Set,
    Zset,
    Hash,
    Stream,
    /// A type of a module.
    Module,
}

impl Kind {
    pub fn of(word: &str) -> Self {
        match word {
            "none" => Self::None,
            "string" => Self::String,
            "list" => Self::List,
            "set" => Self::Set,
            "zset" => Self::Zset,
            "hash" => Self::Hash,
            "stream" => Self::Stream,
            _ => Self::Module,
        }
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Module => "module type",
        }
    }

    /// The command that answers how many items there are.
    pub const fn length_command(self) -> Option<&'static str> {
        match self {
            Self::String => Some("STRLEN"),
            Self::List => Some("LLEN"),
            Self::Set => Some("SCARD"),
            Self::Zset => Some("ZCARD"),
            Self::Hash => Some("HLEN"),
            Self::Stream => Some("XLEN"),
            Self::None | Self::Module => None,
        }
    }
}

/// The look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub kind: Kind,
    /// Bytes of a text, items of everything else.
    pub length: u64,
    /// The text's beginning, or some items: a list's first, a sorted set's highest with their scores in turn, a hash's
    /// fields with their values in turn, the last id of a stream.
    pub pieces: Vec<Vec<u8>>,
}

impl Sample {
    pub fn text(kind: Kind, pieces: &[&str]) -> Self {
        Self { kind, length: pieces.len() as u64, pieces: pieces.iter().map(|p| p.as_bytes().to_vec()).collect() }
    }
}

/// The types of many keys, in their order.
pub async fn kinds<T: AsRef<[u8]>>(server: &mut Server, names: &[T]) -> Result<Vec<Kind>, UpkeepError> {
    let mut pipe = Pipe::new();
    for name in names {
        pipe.add(&[b"TYPE", name.as_ref()]);
    }
    let values = server.run_all(pipe).await?;
    Ok(values.into_iter().map(|v| Kind::of(&String::from_utf8_lossy(&bytes(v).unwrap_or_default()))).collect())
}

/// Looks at many keys, in their order. A key that changes its type meanwhile reads as an empty one.
pub async fn look<T: AsRef<[u8]>>(server: &mut Server, names: &[T]) -> Result<Vec<Sample>, UpkeepError> {
    let kinds = kinds(server, names).await?;
    let mut pipe = Pipe::new();
    for (name, kind) in names.iter().zip(&kinds) {
        let name = name.as_ref();
        if let Some(length) = kind.length_command() {
            pipe.add(&[length.as_bytes(), name]);
            match kind {
                Kind::String => pipe.add(&[b"GETRANGE", name, b"0", TEXT_BYTES.as_bytes()]),
                Kind::List => pipe.add(&[b"LRANGE", name, b"0", b"2"]),
                Kind::Set => pipe.add(&[b"SRANDMEMBER", name, ITEMS.as_bytes()]),
                Kind::Zset => pipe.add(&[b"ZREVRANGE", name, b"0", b"2", b"WITHSCORES"]),
                Kind::Hash => pipe.add(&[b"HSCAN", name, b"0", b"COUNT", b"16"]),
                _ => pipe.add(&[b"XREVRANGE", name, b"+", b"-", b"COUNT", b"1"]),
            }
        }
    }
    let mut values = server.run(pipe).await?.into_iter();
    let sampled = kinds.into_iter().map(|kind| {
        if kind.length_command().is_none() {
            return Sample { kind, ..Sample::default() };
        }
        let length = values.next().as_ref().and_then(count).unwrap_or(0);
        let content = values.next().unwrap_or(Value::Nil);
        let pieces = match (kind, content) {
            (Kind::String, value) => bytes(value).into_iter().collect(),
            // HSCAN: a cursor, then the fields.
            (Kind::Hash, Value::Array(mut parts)) => parts.pop().map(list).unwrap_or_default(),
            // Entries: an id and its fields each.
            (Kind::Stream, Value::Array(mut entries)) => match entries.pop() {
                Some(Value::Array(entry)) => entry.into_iter().next().and_then(bytes).into_iter().collect(),
                _ => Vec::new(),
            },
            (_, value) => list(value),
        };
        Sample { kind, length, pieces }
    });
    Ok(sampled.collect())
}
