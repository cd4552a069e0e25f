//! Puts keys of a foreign type aside, so that trapline can write its own: renamed to `legacy:KEY:MS`, without expiry,
//! never deleted.

use super::acts::Act;
use super::beside::Daemons;
use super::legacy;
use super::progress::Progress;
use super::sample::{self, Kind};
use super::server::{Pipe, Server};
use super::{UpkeepError, shown};
use crate::store::encode::PositionFormat;
use crate::store::keys::{KEYS, Key, Shape};
use redis::Value;
use serde::Serialize;
use serde_json::json;
use std::fmt;

/// Keys of patterns that a plan names; the rest comes with the next run.
const MOVES_MAX: usize = 100_000;
/// Rows that the text shows.
const SHOWN: usize = 50;

/// A key of a foreign type.
#[derive(Clone, Debug, Serialize)]
pub struct Move {
    pub key: String,
    #[serde(skip)]
    name: Vec<u8>,
    pub expected: &'static str,
    pub actual: &'static str,
    /// Only the daemon knows which type it writes there: not while one runs.
    pub needs_rest: bool,
}

/// A key of the contract as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub key: &'static str,
    pub expected: &'static str,
    /// `none`: not there, which is right.
    pub actual: &'static str,
}

/// What is there, and what has to go aside.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub redis: String,
    pub looked_at: u64,
    /// Every key of the contract with a name of its own.
    pub rows: Vec<Row>,
    pub moves: Vec<Move>,
    /// More than a plan holds: run it again afterwards.
    pub more: u64,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub renamed: u64,
    /// Of the right type, or gone, by the time it was their turn.
    pub no_longer_wrong: u64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = self.rows.iter().filter(|r| r.actual != Kind::None.label()).count();
        writeln!(
            f,
            "{}: {} keys looked at, {present} of trapline's {} plain keys are there, {} of a foreign type",
            self.redis,
            self.looked_at,
            self.rows.len(),
            self.moves.len() as u64 + self.more,
        )?;
        for row in self.rows.iter().filter(|r| r.actual != Kind::None.label()) {
            let mark = if row.actual == row.expected { "ok    " } else { "wrong " };
            writeln!(f, "  {mark} {:<40} expected {:<7} is {}", row.key, row.expected, row.actual)?;
        }
        for m in self.moves.iter().take(SHOWN) {
            writeln!(f, "  rename {} ({}, expected {}) to legacy:{}:MS", m.key, m.actual, m.expected, m.key)?;
        }
        if self.moves.len() > SHOWN || self.more > 0 {
            writeln!(f, "  … and {} more", (self.moves.len().saturating_sub(SHOWN)) as u64 + self.more)?;
        }
        Ok(())
    }
}

/// The type that `row` has under this setting.
pub fn expected(row: &Key, format: PositionFormat) -> &'static str {
    match (row.name, format) {
        ("current_position", PositionFormat::LegacyJson) => Shape::Json.redis_type(),
        _ => row.shape.redis_type(),
    }
}

/// One list or text below this prefix, and old trap monitors see no trap at all: they read each as a hash.
fn blinds_readers(name: &[u8], kind: Kind) -> bool {
    name.starts_with(b"mm_trap:") && !matches!(kind, Kind::Hash | Kind::None)
}

/// Compares every key of the contract that is there with the type it should have.
pub async fn plan(server: &mut Server, format: PositionFormat, progress: &mut Progress) -> Result<Plan, UpkeepError> {
    let plain: Vec<&'static Key> = KEYS.iter().filter(|k| !k.name.contains('{') && k.shape != Shape::Channel).collect();
    let names: Vec<&str> = plain.iter().map(|k| k.name).collect();
    let kinds = sample::kinds(server, &names).await?;
    let rows: Vec<Row> = plain
        .iter()
        .zip(&kinds)
        .map(|(row, kind)| Row { key: row.name, expected: expected(row, format), actual: kind.label() })
        .collect();
    let wrong = |row: &Key, kind: Kind| kind != Kind::None && kind.label() != expected(row, format);
    let mut moves: Vec<Move> = plain
        .iter()
        .zip(&kinds)
        .filter(|(row, kind)| wrong(row, **kind))
        .map(|(row, kind)| to_move(row.name.as_bytes(), expected(row, format), *kind))
        .collect();
    let mut more = 0;
    server
        .walk(progress, async |server, mut names| {
            let of_pattern = |name: &[u8]| legacy::owned(name).filter(|row| row.name.contains('{'));
            names.retain(|name| of_pattern(name).is_some() || name.starts_with(b"mm_trap:"));
            let kinds = sample::kinds(server, &names).await?;
            for (name, kind) in names.iter().zip(kinds) {
                let found = match of_pattern(name) {
                    Some(row) if wrong(row, kind) => to_move(name, expected(row, format), kind),
                    None if blinds_readers(name, kind) => to_move(name, Kind::Hash.label(), kind),
                    _ => continue,
                };
                if moves.len() < MOVES_MAX {
                    moves.push(found);
                } else {
                    more += 1;
                }
            }
            Ok(())
        })
        .await?;
    Ok(Plan { redis: server.shown.clone(), looked_at: progress.done(), rows, moves, more })
}

fn to_move(name: &[u8], expected: &'static str, kind: Kind) -> Move {
    Move {
        key: shown(name),
        name: name.to_vec(),
        expected,
        actual: kind.label(),
        needs_rest: name.starts_with(b"current_position"),
    }
}

/// A daemon writes its keys with the right types: whatever stands in their place is not its own, except where the type
/// is a setting that only the daemon knows.
pub fn is_safe(plan: &Plan, daemons: &Daemons, now_ms: i64) -> Result<(), UpkeepError> {
    match (daemons.running(now_ms), plan.moves.iter().find(|m| m.needs_rest)) {
        (Some(how), Some(m)) => Err(UpkeepError::Later(format!(
            "a daemon runs ({how}), and only it knows the type of {}: stop it first, or let it do this itself with \
             migrate = true in [redis]",
            m.key
        ))),
        _ => Ok(()),
    }
}

/// Carries out the plan. Each key is renamed only if it still has the foreign type.
pub async fn apply(
    server: &mut Server,
    plan: &Plan,
    act: &mut Act,
    now_ms: i64,
    progress: &mut Progress,
) -> Result<Outcome, UpkeepError> {
    let mut outcome = Outcome::default();
    progress.of(plan.moves.len() as u64);
    for m in &plan.moves {
        match rename(server, m, now_ms).await? {
            Some(aside) => {
                act.step("renamed", json!({"key": m.key, "type": m.actual, "to": shown(&aside)}))?;
                outcome.renamed += 1;
            }
            None => outcome.no_longer_wrong += 1,
        }
        progress.add(1);
    }
    progress.end();
    Ok(outcome)
}

/// The new name; `None`: the key is not what the plan saw.
async fn rename(server: &mut Server, m: &Move, now_ms: i64) -> Result<Option<Vec<u8>>, UpkeepError> {
    // A second is long enough for a name that is free.
    for ms in now_ms..now_ms + 1_000 {
        let aside = [b"legacy:", m.name.as_slice(), b":", ms.to_string().as_bytes()].concat();
        server.ask(&[b"WATCH", m.name.as_slice(), aside.as_slice()]).await?;
        let kinds = sample::kinds(server, &[m.name.as_slice(), aside.as_slice()]).await?;
        let taken = kinds.get(1).is_some_and(|k| *k != Kind::None);
        if kinds.first().is_none_or(|k| k.label() != m.actual) || taken {
            server.ask(&["UNWATCH"]).await?;
            if taken {
                continue;
            }
            return Ok(None);
        }
        let mut pipe = Pipe::new();
        pipe.add(&["MULTI"]);
        pipe.add(&[b"RENAMENX", m.name.as_slice(), aside.as_slice()]);
        pipe.add(&[b"PERSIST", aside.as_slice()]);
        pipe.add(&["EXEC"]);
        match server.run_all(pipe).await?.pop() {
            Some(Value::Array(_)) => return Ok(Some(aside)),
            // Touched in between: look again.
            Some(Value::Nil) => {}
            _ => return Err(UpkeepError::Odd("EXEC")),
        }
    }
    Err(UpkeepError::Later(format!("somebody keeps writing {}: stop that program first", m.key)))
}
