//! The contract against what is there: each of trapline's keys with type, size, expiry, age and owner, and who else
//! lives under its names.

use super::UpkeepError;
use super::beside::{Daemons, daemons};
use super::clean::memory;
use super::legacy;
use super::migrate::expected;
use super::progress::Progress;
use super::sample::{self, Kind, Sample};
use super::server::{Db, Pipe, Server};
use super::{bytes_shown, shown};
use crate::store::encode::PositionFormat;
use crate::store::keys::{KEYS, Key, Shape, Since};
use crate::store::reply;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Strangers that are named; more are counted.
const STRANGERS: usize = 1_000;
/// Lines of strangers in the text.
const STRANGERS_SHOWN: usize = 40;

/// What the rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Name,
    /// Largest first.
    Size,
    /// Oldest first.
    Age,
    /// First to expire first.
    Ttl,
}

/// One key, or all keys of one pattern.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub key: String,
    /// 1, or how many fit the pattern.
    pub keys: u64,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub expected: &'static str,
    /// Keys of a foreign type among them.
    pub wrong: u64,
    pub bytes: u64,
    /// Bytes of a text, items of everything else.
    pub items: u64,
    /// Shortest time to live, s; `None`: none expires.
    pub ttl_s: Option<i64>,
    /// Age of the newest by its own timestamp, ms.
    pub age_ms: Option<i64>,
    pub stale: bool,
    pub owner: String,
    pub room: &'static str,
}

/// A key under trapline's prefixes, or of the old system, that is nobody's.
#[derive(Clone, Debug, Serialize)]
pub struct Stranger {
    pub key: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub bytes: u64,
    pub what: &'static str,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Live {
    pub redis: String,
    pub databases: BTreeMap<u32, Db>,
    pub daemons: Daemons,
    pub rows: Vec<Row>,
    /// Keys of the contract that this release writes and that are not there.
    pub absent: Vec<&'static str>,
    pub owned_keys: u64,
    pub owned_bytes: u64,
    pub strangers: Vec<Stranger>,
    pub strangers_total: u64,
    /// Keys that have nothing to do with trapline.
    pub other_keys: u64,
}

struct Seen<'a> {
    now_ms: i64,
    format: PositionFormat,
    daemons: &'a Daemons,
}

/// Walks through all keys.
pub async fn live(
    server: &mut Server,
    format: PositionFormat,
    sort: Sort,
    now_ms: i64,
    progress: &mut Progress,
) -> Result<Live, UpkeepError> {
    let databases = server.info("keyspace").await?.dbs();
    let daemons = daemons(server).await?;
    let seen = Seen { now_ms, format, daemons: &daemons };
    let mut rows: BTreeMap<&'static str, Row> = BTreeMap::new();
    let (mut strangers, mut strangers_total, mut other_keys) = (Vec::new(), 0, 0);
    server
        .walk(progress, async |server, names| {
            let (mut own, mut strange) = (Vec::new(), Vec::new());
            for name in names {
                match (legacy::owned(&name), stranger(&name)) {
                    (Some(row), _) => own.push((row, name)),
                    (None, Some(what)) => strange.push((what, name)),
                    (None, None) => other_keys += 1,
                }
            }
            for ((contract, _), row) in own.iter().zip(look(server, &own, &seen).await?) {
                rows.entry(contract.name).or_default().merge(row);
            }
            strangers_total += strange.len() as u64;
            strange.truncate(STRANGERS.saturating_sub(strangers.len()));
            let names: Vec<&[u8]> = strange.iter().map(|(_, name)| name.as_slice()).collect();
            let (kinds, sizes) = (sample::kinds(server, &names).await?, memory(server, &names).await?);
            for (((what, name), kind), bytes) in strange.iter().zip(kinds).zip(sizes) {
                strangers.push(Stranger { key: shown(name), kind: kind.label(), bytes, what });
            }
            Ok(())
        })
        .await?;
    let absent = KEYS
        .iter()
        .filter(|k| k.since == Since::V0_1 && k.shape != Shape::Channel && !rows.contains_key(k.name))
        .map(|k| k.name)
        .collect();
    let mut rows: Vec<Row> = rows.into_values().collect();
    order(&mut rows, sort);
    strangers.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.key.cmp(&b.key)));
    Ok(Live {
        redis: server.shown.clone(),
        databases,
        owned_keys: rows.iter().map(|r| r.keys).sum(),
        owned_bytes: rows.iter().map(|r| r.bytes).sum(),
        daemons,
        rows,
        absent,
        strangers,
        strangers_total,
        other_keys,
    })
}

fn order(rows: &mut [Row], sort: Sort) {
    rows.sort_by(|a, b| {
        let by = match sort {
            Sort::Name => std::cmp::Ordering::Equal,
            Sort::Size => b.bytes.cmp(&a.bytes),
            Sort::Age => b.age_ms.cmp(&a.age_ms),
            Sort::Ttl => a.ttl_s.unwrap_or(i64::MAX).cmp(&b.ttl_s.unwrap_or(i64::MAX)),
        };
        by.then_with(|| a.key.cmp(&b.key))
    });
}

/// Why a name that is not trapline's is worth telling.
fn stranger(name: &[u8]) -> Option<&'static str> {
    if let Some(what) = legacy::known(name) {
        return Some(what);
    }
    // Prefixes that end in a colon are trapline's own; `btc_movements_5min` has none.
    let prefixes = KEYS.iter().filter_map(|k| k.name.split_once(':').map(|(first, _)| first));
    let first = name.split(|c| *c == b':').next().filter(|first| first.len() < name.len())?;
    prefixes.into_iter().any(|p| p.as_bytes() == first).then_some("under a prefix of trapline's, and not its own")
}

async fn look(server: &mut Server, own: &[(&'static Key, Vec<u8>)], seen: &Seen<'_>) -> Result<Vec<Row>, UpkeepError> {
    let names: Vec<&[u8]> = own.iter().map(|(_, name)| name.as_slice()).collect();
    let samples = sample::look(server, &names).await?;
    let sizes = memory(server, &names).await?;
    let mut pipe = Pipe::new();
    for name in &names {
        pipe.add(&[b"TTL", *name]);
    }
    let ttls = server.run(pipe).await?;
    let rows = own.iter().zip(samples).zip(sizes).zip(&ttls).map(|((((contract, _), sample), bytes), ttl)| {
        let expected = expected(contract, seen.format);
        let wrong = sample.kind.label() != expected;
        Row {
            key: contract.name.to_owned(),
            keys: 1,
            kind: sample.kind.label(),
            expected,
            wrong: u64::from(wrong),
            bytes,
            items: sample.length,
            ttl_s: reply::number(ttl).filter(|s| *s >= 0),
            age_ms: own_time(&sample).map(|at| seen.now_ms - at),
            stale: field(&sample, "stale").is_some_and(|v| v == "1"),
            owner: owner(&sample, wrong, seen.daemons),
            room: contract.room,
        }
    });
    Ok(rows.collect())
}

impl Row {
    /// Several keys of one pattern become one row.
    fn merge(&mut self, other: Self) {
        if self.keys == 0 {
            *self = other;
            return;
        }
        let least = |a: Option<i64>, b: Option<i64>| a.into_iter().chain(b).min();
        self.ttl_s = least(self.ttl_s, other.ttl_s);
        if least(self.age_ms, other.age_ms) == other.age_ms && other.age_ms.is_some() {
            self.owner = other.owner;
        }
        self.age_ms = least(self.age_ms, other.age_ms);
        if other.wrong > 0 {
            self.kind = other.kind;
        }
        self.keys += other.keys;
        self.wrong += other.wrong;
        self.bytes += other.bytes;
        self.items += other.items;
        self.stale |= other.stale;
    }
}

/// A field of a hash, or of a JSON object.
fn field(sample: &Sample, name: &str) -> Option<String> {
    match sample.kind {
        Kind::Hash => {
            let pair = sample.pieces.chunks_exact(2).find(|pair| pair[0] == name.as_bytes())?;
            Some(String::from_utf8_lossy(&pair[1]).into_owned())
        }
        Kind::String | Kind::List => {
            let Ok(Value::Object(fields)) = serde_json::from_slice(sample.pieces.first()?) else { return None };
            match fields.get(name)? {
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            }
        }
        _ => None,
    }
}

/// When the value says it is from, ms.
fn own_time(sample: &Sample) -> Option<i64> {
    match sample.kind {
        // The highest score is the newest: scores are ms.
        Kind::Zset => instant(&String::from_utf8_lossy(sample.pieces.get(1)?)),
        Kind::Stream => instant(String::from_utf8_lossy(sample.pieces.first()?).split('-').next()?),
        _ => ["ts_ms", "timestamp", "ts", "time"].iter().find_map(|name| instant(&field(sample, name)?)),
    }
}

/// Milliseconds out of ms, seconds or ISO with or without a zone (then UTC).
fn instant(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        let ms = if number > 1e11 { number } else { number * 1_000.0 };
        return (ms > 1e11 && ms < 1e14).then_some(ms as i64);
    }
    let iso = text.replace(' ', "T");
    let at = OffsetDateTime::parse(&iso, &Rfc3339).or_else(|_| OffsetDateTime::parse(&format!("{iso}Z"), &Rfc3339));
    i64::try_from(at.ok()?.unix_timestamp_nanos() / 1_000_000).ok()
}

fn owner(sample: &Sample, wrong: bool, daemons: &Daemons) -> String {
    if wrong {
        return "foreign".to_owned();
    }
    if let Some(word) = legacy::made_up(sample) {
        return format!("made up ({word})");
    }
    let epoch = field(sample, "epoch").and_then(|e| e.parse::<u64>().ok());
    let runs = daemons.writers.as_ref().is_none_or(|w| !w.is_empty());
    match (epoch, daemons.epoch) {
        (Some(epoch), Some(now)) if epoch == now && runs => format!("trapline {epoch}"),
        (Some(epoch), Some(now)) if epoch == now => format!("trapline {epoch}, gone"),
        (Some(epoch), _) => format!("trapline {epoch}, before"),
        (None, _) => field(sample, "source").unwrap_or_else(|| "-".to_owned()),
    }
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.redis)?;
        for (n, db) in &self.databases {
            writeln!(f, "  db{n}: {} keys, {} expiring", db.keys, db.expires)?;
        }
        let who = match &self.daemons.writers {
            Some(writers) if writers.is_empty() => "no daemon writes now".to_owned(),
            Some(writers) => format!("written by {}", writers.join(", ")),
            None => "the server does not say who is connected".to_owned(),
        };
        writeln!(f, "  {who}; epoch {}", self.daemons.epoch.map_or_else(|| "-".to_owned(), |e| e.to_string()))?;
        writeln!(
            f,
            "\n{:<42} {:>7} {:<8} {:>10} {:>8} {:>9} {:>9}  {:<24} ROOM",
            "KEY", "KEYS", "TYPE", "SIZE", "ITEMS", "TTL", "AGE", "OWNER"
        )?;
        for row in &self.rows {
            let kind = if row.wrong > 0 { format!("{}!", row.kind) } else { row.kind.to_owned() };
            let ttl = row.ttl_s.map_or_else(|| "-".to_owned(), |s| format!("{s} s"));
            let age = row.age_ms.map_or_else(|| "-".to_owned(), age_shown);
            let stale = if row.stale { "  STALE" } else { "" };
            writeln!(
                f,
                "{:<42} {:>7} {kind:<8} {:>10} {:>8} {ttl:>9} {age:>9}  {:<24} {}{stale}",
                row.key,
                row.keys,
                bytes_shown(row.bytes),
                row.items,
                row.owner,
                row.room
            )?;
        }
        let wrong: u64 = self.rows.iter().map(|r| r.wrong).sum();
        writeln!(
            f,
            "{} of trapline's keys, {}, {wrong} of a foreign type (!)",
            self.owned_keys,
            bytes_shown(self.owned_bytes)
        )?;
        writeln!(f, "{} of the contract are not there: {}", self.absent.len(), self.absent.join(" "))?;
        writeln!(f, "\n{} strangers, {} other keys", self.strangers_total, self.other_keys)?;
        for s in self.strangers.iter().take(STRANGERS_SHOWN) {
            writeln!(f, "  {:<42} {:<8} {:>10}  {}", s.key, s.kind, bytes_shown(s.bytes), s.what)?;
        }
        let more = self.strangers_total.saturating_sub(STRANGERS_SHOWN.min(self.strangers.len()) as u64);
        if more > 0 { writeln!(f, "  … and {more} more (--json names {STRANGERS})") } else { Ok(()) }
    }
}

fn age_shown(ms: i64) -> String {
    let span = Duration::from_millis(ms.unsigned_abs());
    let sign = if ms < 0 { "-" } else { "" };
    match span.as_secs() {
        0..=9 => format!("{sign}{} ms", span.as_millis()),
        s @ 10..=599 => format!("{sign}{s} s"),
        s @ 600..=35_999 => format!("{sign}{} min", s / 60),
        s => format!("{sign}{} h", s / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_dialect() {
        let ms = 1_743_276_645_386;
        for text in [
            "1743276645386",
            "1743276645.386",
            "2025-03-29T19:30:45.386Z",
            "2025-03-29 19:30:45.386",
            "2025-03-29T19:30:45.386+00:00",
        ] {
            assert_eq!(instant(text), Some(ms), "{text}");
        }
        for text in ["", "84500.5", "none", "0", "-1", "nan", "1e300"] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn strangers_are_those_under_our_names_and_of_the_old_system() {
        for name in ["trapline:foo", "mm_trap:detection:7", "trader:positions:scalper:17.5", "sim_running", "omega:x"] {
            assert!(legacy::owned(name.as_bytes()).is_none() && stranger(name.as_bytes()).is_some(), "{name}");
        }
        for name in ["session:42", "user", "trap"] {
            assert!(stranger(name.as_bytes()).is_none(), "{name}");
        }
    }
}
