//! The connection of the tools: one question, one answer, every error with the command that met it.

use super::UpkeepError;
use super::progress::Progress;
use crate::store::class::Class;
use crate::store::link::{Link, LinkError, Target};
use crate::store::reply;
use crate::store::resp::Commands;
use crate::store::tag::Tag;
use redis::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Keys that one SCAN step looks at.
const SCAN_STEP: &str = "1000";
/// A fork of a large process, or a slow disk under `CONFIG SET`, takes its time.
const REPLY_LEAST: Duration = Duration::from_secs(15);

/// Where Redis is and how long it may take to answer: opens any number of connections.
#[derive(Clone, Debug)]
pub struct Door {
    pub target: Target,
    pub connect: Duration,
    pub reply: Duration,
}

impl Door {
    /// Connects and logs in.
    pub async fn open(&self) -> Result<Server, UpkeepError> {
        let shown = self.target.to_string();
        match Link::open(&self.target, self.connect, self.reply.max(REPLY_LEAST)).await {
            Ok(link) => Ok(Server { link, shown }),
            Err(error) => Err(UpkeepError::Link { target: shown, error }),
        }
    }
}

/// An open connection of a tool.
pub struct Server {
    link: Link,
    /// The address without login.
    pub shown: String,
}

/// Several commands that go out together and are executed one after the other.
#[derive(Default)]
pub struct Pipe(Commands, Vec<String>);

impl Pipe {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add<T: AsRef<[u8]>>(&mut self, words: &[T]) {
        self.0.begin(Tag::Control, words.len());
        for word in words {
            self.0.arg(word);
        }
        self.1.push(words.first().map_or_else(String::new, |word| super::shown(word.as_ref())));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Keys of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Db {
    pub keys: u64,
    pub expires: u64,
}

/// The answer to INFO.
#[derive(Clone, Debug, Default)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    /// Empty where the server does not say.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.text(name) == "1"
    }

    /// Keys per database; a database without keys is not listed.
    pub fn dbs(&self) -> BTreeMap<u32, Db> {
        let entry = |(name, value): (&String, &String)| {
            let number = name.strip_prefix("db")?.parse().ok()?;
            let part = |wanted: &str| {
                value.split(',').find_map(|p| p.strip_prefix(wanted)?.strip_prefix('=')?.parse::<u64>().ok())
            };
            Some((number, Db { keys: part("keys")?, expires: part("expires")? }))
        };
        self.0.iter().filter_map(entry).collect()
    }
}

impl Server {
    /// The database that the commands go to.
    pub fn db(&self) -> i64 {
        self.link.db()
    }

    fn broken(&self, error: LinkError) -> UpkeepError {
        UpkeepError::Link { target: self.shown.clone(), error }
    }

    /// Several commands; error replies stand among the values.
    pub async fn run(&mut self, mut pipe: Pipe) -> Result<Vec<Value>, UpkeepError> {
        if pipe.is_empty() {
            return Ok(Vec::new());
        }
        self.link.exchange(&mut pipe.0).await.map_err(|e| self.broken(e))
    }

    /// As [`Server::run`]; the first error reply is an error.
    pub async fn run_all(&mut self, pipe: Pipe) -> Result<Vec<Value>, UpkeepError> {
        let names = pipe.1.clone();
        let values = self.run(pipe).await?;
        for (value, name) in values.iter().zip(&names) {
            checked(name, value)?;
        }
        Ok(values)
    }

    pub async fn ask<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Result<Value, UpkeepError> {
        let mut pipe = Pipe::new();
        pipe.add(words);
        let value = self.run(pipe).await?.pop().unwrap_or(Value::Nil);
        // The first two words: the rest may be data.
        let name: Vec<String> = words.iter().take(2).map(|w| super::shown(w.as_ref())).collect();
        checked(&name.join(" "), &value)?;
        Ok(value)
    }

    pub async fn info(&mut self, section: &str) -> Result<Info, UpkeepError> {
        info_of(&self.ask(&["INFO", section]).await?)
    }

    /// `CONFIG GET` of exact names; `None` where the server keeps CONFIG to itself.
    pub async fn config(&mut self, names: &[&str]) -> Result<Option<BTreeMap<String, String>>, UpkeepError> {
        let mut pipe = Pipe::new();
        for name in names {
            // One name each: several at once are Redis 7.
            pipe.add(&["CONFIG", "GET", name]);
        }
        let mut found = BTreeMap::new();
        for value in self.run(pipe).await? {
            match value {
                Value::ServerError(error) if matches!(Class::of_code(error.code()), Class::Config | Class::Bug) => {
                    return Ok(None);
                }
                other => found.extend(pairs(checked("CONFIG GET", &other)?)),
            }
        }
        Ok(Some(found))
    }

    /// Number of keys in the selected database.
    pub async fn db_size(&mut self) -> Result<u64, UpkeepError> {
        count(&self.ask(&["DBSIZE"]).await?).ok_or(UpkeepError::Odd("DBSIZE"))
    }

    /// The next step of a walk through all keys: `cursor` begins and ends as `0`. A name may come twice.
    pub async fn scan(&mut self, cursor: &mut String) -> Result<Vec<Vec<u8>>, UpkeepError> {
        let answer = self.ask(&["SCAN", cursor.as_str(), "COUNT", SCAN_STEP]).await?;
        let Value::Array(mut parts) = answer else { return Err(UpkeepError::Odd("SCAN")) };
        let (Some(Value::Array(names)), Some(next)) = (parts.pop(), parts.pop()) else {
            return Err(UpkeepError::Odd("SCAN"));
        };
        *cursor = reply::text(&next).ok_or(UpkeepError::Odd("SCAN"))?.to_owned();
        Ok(names.into_iter().filter_map(bytes).collect())
    }

    /// Walks through all names; `each` decides about a step's names before the next step is asked for.
    pub async fn walk(
        &mut self,
        progress: &mut Progress,
        mut each: impl AsyncFnMut(&mut Self, Vec<Vec<u8>>) -> Result<(), UpkeepError>,
    ) -> Result<(), UpkeepError> {
        progress.of(self.db_size().await?);
        let mut cursor = "0".to_owned();
        loop {
            let names = self.scan(&mut cursor).await?;
            progress.add(names.len() as u64);
            each(self, names).await?;
            if cursor == "0" {
                progress.end();
                return Ok(());
            }
        }
    }

    pub(super) fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// The value, or its error with the command that met it.
pub(super) fn checked<'a>(command: &str, value: &'a Value) -> Result<&'a Value, UpkeepError> {
    match value {
        Value::ServerError(error) => Err(UpkeepError::Refused {
            command: command.to_owned(),
            code: error.code().to_owned(),
            detail: error.details().unwrap_or("").to_owned(),
        }),
        value => Ok(value),
    }
}

pub(super) fn info_of(value: &Value) -> Result<Info, UpkeepError> {
    let text = match checked("INFO", value)? {
        Value::VerbatimString { text, .. } => text.as_str(),
        other => reply::text(other).ok_or(UpkeepError::Odd("INFO"))?,
    };
    Ok(Info::parse(text))
}

/// The bytes of a text of any kind.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        Value::Int(n) => Some(n.to_string().into_bytes()),
        _ => None,
    }
}

pub(super) fn list(value: Value) -> Vec<Vec<u8>> {
    match value {
        Value::Array(items) => items.into_iter().filter_map(bytes).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn count(value: &Value) -> Option<u64> {
    reply::number(value).and_then(|n| u64::try_from(n).ok())
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let Value::Array(items) = value else { return Vec::new() };
    let text = |value: &Value| reply::text(value).unwrap_or_default().to_owned();
    items.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_as_every_version_writes_it() {
        let info = Info::parse(
            "# Keyspace\r\ndb0:keys=12,expires=3,avg_ttl=9\r\ndb11:keys=1,expires=0,avg_ttl=0,subexpiry=0\r\nloading:0\r\n",
        );
        let dbs: Vec<_> = info.dbs().into_iter().collect();
        assert_eq!(dbs, [(0, Db { keys: 12, expires: 3 }), (11, Db { keys: 1, expires: 0 })]);
        assert!(!info.is_on("loading") && info.number("absent").is_none());
    }
}
