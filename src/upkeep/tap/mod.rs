//! What changes in a key now, without MONITOR: the key is read and compared, a few times a second at most.
//!
//! Where the server already announces changes (keyspace notifications), a reading follows an announcement; else the
//! key is read at the given rate. Nothing is switched on in the server for this.

mod diff;

pub use diff::{Change, Entry, View, diff};

use super::UpkeepError;
use super::sample::{self, Kind};
use super::server::{Door, Pipe, Server, bytes, count, list};
use redis::Value;
use std::future::poll_fn;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Items of a list, set or sorted set that are watched, from the end that is written.
const WINDOW: usize = 64;
/// Fields of a hash, members of a set: larger ones are watched by their number only.
const WHOLE_MAX: u64 = 4_096;
/// Bytes of a text.
const TEXT_BYTES: &str = "65535";
/// While nothing is announced, a reading comes all the same: an announcement may be lost.
const QUIET: Duration = Duration::from_secs(5);

/// How a key is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The server announces changes.
    Announced,
    Polled,
}

/// One key under watch.
pub struct Tap {
    server: Server,
    ears: Option<Server>,
    key: Vec<u8>,
    /// At least so long between two readings.
    pause: Duration,
    seen: View,
    due: Instant,
}

impl Tap {
    /// Reads the key once; what is there now is no change.
    pub async fn open(door: &Door, key: &[u8], rate_per_s: f64) -> Result<Self, UpkeepError> {
        let mut server = door.open().await?;
        let ears = match server.config(&["notify-keyspace-events"]).await? {
            Some(config) if config.get("notify-keyspace-events").is_some_and(|flags| announces(flags)) => {
                listen(door, key).await?
            }
            _ => None,
        };
        let seen = read(&mut server, key, &View::None).await?;
        let pause = Duration::from_secs_f64(1.0 / rate_per_s.clamp(0.01, 100.0));
        Ok(Self { server, ears, key: key.to_vec(), pause, seen, due: Instant::now() + pause })
    }

    pub fn how(&self) -> How {
        if self.ears.is_some() { How::Announced } else { How::Polled }
    }

    pub fn seen(&self) -> &View {
        &self.seen
    }

    /// Waits for an announcement, and until a reading is due.
    async fn wait(&mut self) -> Result<(), UpkeepError> {
        let Some(ears) = &mut self.ears else { return Ok(()) };
        // Nothing announced for long: look all the same.
        if let Ok(heard) = timeout(QUIET, announced(ears)).await {
            heard?;
        }
        // What is announced meanwhile is in the reading that follows. It is taken out as it comes: a server cuts a
        // listener off that leaves too much lying.
        while Instant::now() < self.due {
            match timeout_at(self.due, announced(ears)).await {
                Ok(heard) => heard?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// What changed by the next reading; often nothing.
    pub async fn next(&mut self) -> Result<Vec<Change>, UpkeepError> {
        if self.wait().await.is_err() {
            // Cut off, perhaps for listening too slowly: from now on the key is read at the rate. If the server itself
            // is gone the reading says so.
            self.ears = None;
        }
        sleep_until(self.due).await;
        self.due = Instant::now() + self.pause;
        let now = read(&mut self.server, &self.key, &self.seen).await?;
        let changes = diff(&self.seen, &now);
        self.seen = now;
        Ok(changes)
    }
}

/// Whether these flags of `notify-keyspace-events` announce every change of a key on its own channel.
fn announces(flags: &str) -> bool {
    flags.contains('K') && (flags.contains('A') || "g$lshztx".chars().all(|class| flags.contains(class)))
}

async fn listen(door: &Door, key: &[u8]) -> Result<Option<Server>, UpkeepError> {
    let mut ears = door.open().await?;
    let channel = [format!("__keyspace@{}__:", door.target.db()).as_bytes(), key].concat();
    match ears.ask(&[b"SUBSCRIBE".as_slice(), &channel]).await {
        Ok(_) => Ok(Some(ears)),
        // Without the right to listen, the key is read at the rate.
        Err(UpkeepError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn announced(ears: &mut Server) -> Result<(), UpkeepError> {
    let shown = ears.shown.clone();
    let broken = |error| UpkeepError::Link { target: shown.clone(), error };
    let link = ears.link();
    loop {
        if link.next_reply().map_err(&broken)?.is_some() {
            return Ok(());
        }
        poll_fn(|cx| link.poll_fill(cx)).await.map_err(&broken)?;
    }
}

/// Reads what a key holds, within bounds. `before` says from where a stream is read on.
async fn read(server: &mut Server, key: &[u8], before: &View) -> Result<View, UpkeepError> {
    let kind = sample::kinds(server, &[key]).await?.pop().unwrap_or_default();
    let Some(length) = kind.length_command() else {
        return Ok(if kind == Kind::None { View::None } else { View::Other { kind: kind.label(), length: 0 } });
    };
    let window = (WINDOW - 1).to_string();
    let mut pipe = Pipe::new();
    pipe.add(&[length.as_bytes(), key]);
    match kind {
        Kind::String => pipe.add(&[b"GETRANGE", key, b"0", TEXT_BYTES.as_bytes()]),
        Kind::List => {
            pipe.add(&[b"LRANGE", key, b"0", window.as_bytes()]);
            pipe.add(&[b"LRANGE", key, format!("-{WINDOW}").as_bytes(), b"-1"]);
        }
        Kind::Zset => pipe.add(&[b"ZREVRANGE", key, b"0", window.as_bytes(), b"WITHSCORES"]),
        Kind::Stream => match before {
            View::Stream { last, .. } if !last.is_empty() => {
                let from = format!("({last}");
                pipe.add(&[b"XRANGE", key, from.as_bytes(), b"+", b"COUNT", b"100"]);
            }
            _ => pipe.add(&[b"XREVRANGE", key, b"+", b"-", b"COUNT", b"1"]),
        },
        _ => {}
    }
    let mut values = server.run(pipe).await?.into_iter();
    let length = values.next().as_ref().and_then(count).unwrap_or(0);
    let texts =
        |value: Option<Value>| -> Vec<String> { value.map(list).unwrap_or_default().iter().map(|b| text(b)).collect() };
    Ok(match kind {
        Kind::String => View::Text(values.next().and_then(bytes).map_or_else(String::new, |b| text(&b))),
        Kind::List => {
            let head = texts(values.next());
            View::List { length, head, tail: texts(values.next()) }
        }
        Kind::Zset => {
            let pairs = texts(values.next());
            let pair = |p: &[String]| (p[0].clone(), p[1].clone());
            View::Zset { length, highest: pairs.chunks_exact(2).map(pair).collect() }
        }
        Kind::Stream => {
            let new = entries(values.next());
            let last = new.last().map(|e| e.id.clone());
            let first_look = !matches!(before, View::Stream { last, .. } if !last.is_empty());
            let kept = match before {
                View::Stream { last, .. } => last.clone(),
                _ => String::new(),
            };
            View::Stream { length, last: last.unwrap_or(kept), new: if first_look { Vec::new() } else { new } }
        }
        Kind::Hash | Kind::Set if length > WHOLE_MAX => View::Other { kind: kind.label(), length },
        Kind::Hash => {
            let pairs = texts(Some(server.ask(&[b"HGETALL", key]).await?));
            View::Hash(pairs.chunks_exact(2).map(|p| (p[0].clone(), p[1].clone())).collect())
        }
        Kind::Set => View::Set(texts(Some(server.ask(&[b"SMEMBERS", key]).await?)).into_iter().collect()),
        Kind::None | Kind::Module => View::None,
    })
}

fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| super::shown(bytes), str::to_owned)
}

fn entries(value: Option<Value>) -> Vec<Entry> {
    let Some(Value::Array(items)) = value else { return Vec::new() };
    let entry = |item: Value| {
        let Value::Array(parts) = item else { return None };
        let mut parts = parts.into_iter();
        let id = text(&bytes(parts.next()?)?);
        let fields: Vec<String> = list(parts.next()?).iter().map(|b| text(b)).collect();
        Some(Entry { id, fields: fields.chunks_exact(2).map(|p| (p[0].clone(), p[1].clone())).collect() })
    };
    items.into_iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_announcements_are_relied_on() {
        for (flags, enough) in
            [("KA", true), ("AKE", true), ("EA", false), ("Kg$", false), ("", false), ("Kg$lshztx", true)]
        {
            assert_eq!(announces(flags), enough, "{flags}");
        }
    }
}
