//! Removes what simulations left.
//!
//! Each key is judged twice: for the plan, and again at the moment of its removal, in a transaction that the server
//! breaks off if the key was touched in between. So a key that became something else after the plan stays.

use super::acts::Act;
use super::legacy::{self, Group, Rule, Verdict};
use super::progress::Progress;
use super::sample::{self, Sample};
use super::server::{Pipe, Server, count};
use super::{UpkeepError, bytes_shown, shown};
use crate::store::keys::KEYS;
use redis::Value;
use serde::Serialize;
use serde_json::json;
use std::fmt;

/// Keys of one transaction.
const BATCH: usize = 64;
/// Names that a plan shows of each kind.
const EXAMPLES: usize = 5;
/// Keys that stay and are named; more are counted.
const KEPT: usize = 200;

/// What one rule found.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub pattern: &'static str,
    pub group: Group,
    pub why: &'static str,
    pub keys: u64,
    /// Memory, as the server estimates it; 0 where it does not say.
    pub bytes: u64,
    pub examples: Vec<String>,
    #[serde(skip)]
    rule: usize,
}

/// A key that stays although its name looks as if it should go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub key: String,
    pub why: String,
}

/// What would be removed, and what would not.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub redis: String,
    /// Keys looked at.
    pub looked_at: u64,
    pub entries: Vec<Entry>,
    pub kept: Vec<Kept>,
    pub kept_total: u64,
    /// Keys of trapline whose present value says that it was made up.
    pub made_up: Vec<Kept>,
    #[serde(skip)]
    rules: Vec<Rule>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub removed: u64,
    /// Per pattern.
    pub by_pattern: Vec<(&'static str, u64)>,
    /// Touched by somebody while they were judged: left for the next run.
    pub touched: u64,
}

impl Plan {
    pub fn keys(&self) -> u64 {
        self.entries.iter().map(|e| e.keys).sum()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.entries.iter().map(|e| e.bytes).sum();
        writeln!(
            f,
            "{}: {} keys looked at, {} to remove, {}",
            self.redis,
            self.looked_at,
            self.keys(),
            bytes_shown(bytes)
        )?;
        for e in &self.entries {
            writeln!(f, "  remove {:>9}  {:<24} {:>10}  {}", e.keys, e.pattern, bytes_shown(e.bytes), e.why)?;
            if e.pattern.contains('*') {
                let more = if e.keys > e.examples.len() as u64 { ", …" } else { "" };
                writeln!(f, "                      {}{more}", e.examples.join(", "))?;
            }
        }
        for kept in &self.kept {
            writeln!(f, "  keep   {}: {}", kept.key, kept.why)?;
        }
        if self.kept_total > self.kept.len() as u64 {
            writeln!(f, "  keep   {} more", self.kept_total - self.kept.len() as u64)?;
        }
        for key in &self.made_up {
            writeln!(
                f,
                "  note   {} says it was made up ({}); not removed: trapline writes it anew",
                key.key, key.why
            )?;
        }
        Ok(())
    }
}

/// Walks through all keys and says what would go.
pub async fn plan(server: &mut Server, leftovers: bool, progress: &mut Progress) -> Result<Plan, UpkeepError> {
    let rules: Vec<Rule> =
        legacy::RULES.iter().filter(|r| leftovers || r.group == Group::Simulation).copied().collect();
    let mut found: Vec<Entry> = rules
        .iter()
        .enumerate()
        .map(|(rule, r)| Entry {
            pattern: r.pattern,
            group: r.group,
            why: r.why,
            keys: 0,
            bytes: 0,
            examples: Vec::new(),
            rule,
        })
        .collect();
    let (mut kept, mut kept_total) = (Vec::new(), 0);
    let rules_seen = rules.clone();
    server
        .walk(progress, async |server, mut names| {
            names.retain(|name| legacy::is_candidate(&rules_seen, name));
            let samples = sample::look(server, &names).await?;
            let sizes = memory(server, &names).await?;
            for ((name, sample), bytes) in names.iter().zip(&samples).zip(sizes) {
                match legacy::judge(&rules_seen, name, sample) {
                    Verdict::Remove(rule) => {
                        let entry = &mut found[rule];
                        entry.keys += 1;
                        entry.bytes += bytes;
                        if entry.examples.len() < EXAMPLES {
                            entry.examples.push(shown(name));
                        }
                    }
                    Verdict::Keep { why, .. } => {
                        kept_total += 1;
                        if kept.len() < KEPT {
                            kept.push(Kept { key: shown(name), why });
                        }
                    }
                    Verdict::Unconcerned => {}
                }
            }
            Ok(())
        })
        .await?;
    let entries = found.into_iter().filter(|e| e.keys > 0).collect();
    let made_up = made_up(server).await?;
    Ok(Plan { redis: server.shown.clone(), looked_at: progress.done(), entries, kept, kept_total, made_up, rules })
}

/// Memory of each key; 0 where the server does not say.
pub(super) async fn memory<T: AsRef<[u8]>>(server: &mut Server, names: &[T]) -> Result<Vec<u64>, UpkeepError> {
    let mut pipe = Pipe::new();
    for name in names {
        pipe.add(&[b"MEMORY".as_slice(), b"USAGE", name.as_ref()]);
    }
    Ok(server.run(pipe).await?.iter().map(|v| count(v).unwrap_or(0)).collect())
}

/// Values in trapline's own keys that a simulation wrote.
async fn made_up(server: &mut Server) -> Result<Vec<Kept>, UpkeepError> {
    let names: Vec<&str> = KEYS.iter().map(|row| row.name).filter(|name| !name.contains('{')).collect();
    let samples = sample::look(server, &names).await?;
    let told = |(name, sample): (&&str, &Sample)| {
        legacy::made_up(sample).map(|word| Kept { key: (*name).to_owned(), why: word })
    };
    Ok(names.iter().zip(&samples).filter_map(told).collect())
}

/// Carries out the plan: the same rules, and of each no more keys than the plan found.
pub async fn apply(
    server: &mut Server,
    plan: &Plan,
    act: &mut Act,
    progress: &mut Progress,
) -> Result<Outcome, UpkeepError> {
    let mut removal = Removal { plan, removed: vec![0; plan.rules.len()], touched: 0 };
    let walked = server
        .walk(progress, async |server, mut names| {
            names.retain(|name| legacy::is_candidate(&plan.rules, name));
            for batch in names.chunks(BATCH) {
                if !removal.batch(server, batch).await? {
                    // Somebody touched one of them: each by itself, so that only that one waits.
                    for name in batch {
                        if !removal.batch(server, std::slice::from_ref(name)).await? {
                            removal.touched += 1;
                        }
                    }
                }
            }
            Ok(())
        })
        .await;
    let outcome = removal.outcome();
    act.step("removed", json!(outcome))?;
    walked.map(|()| outcome)
}

struct Removal<'a> {
    plan: &'a Plan,
    /// By rule.
    removed: Vec<u64>,
    touched: u64,
}

impl Removal<'_> {
    /// Judges and removes in one transaction. False: broken off by the server, nothing was removed.
    async fn batch(&mut self, server: &mut Server, names: &[Vec<u8>]) -> Result<bool, UpkeepError> {
        let mut watch = vec![b"WATCH".as_slice()];
        watch.extend(names.iter().map(Vec::as_slice));
        server.ask(&watch).await?;
        let samples = sample::look(server, names).await?;
        let mut pipe = Pipe::new();
        pipe.add(&["MULTI"]);
        let mut wanted = vec![0; self.removed.len()];
        for (name, sample) in names.iter().zip(&samples) {
            if let Verdict::Remove(rule) = legacy::judge(&self.plan.rules, name, sample) {
                wanted[rule] += 1;
                pipe.add(&[b"UNLINK", name.as_slice()]);
            }
        }
        if wanted.iter().sum::<u64>() == 0 {
            server.ask(&["UNWATCH"]).await?;
            return Ok(true);
        }
        for (rule, count) in wanted.iter().enumerate() {
            let planned = self.plan.entries.iter().find(|e| e.rule == rule).map_or(0, |e| e.keys);
            if self.removed[rule] + count > planned {
                server.ask(&["UNWATCH"]).await?;
                return Err(UpkeepError::Later(format!(
                    "{} has more keys than the plan found: a simulation still writes; stop it, then run this again",
                    self.plan.rules[rule].pattern
                )));
            }
        }
        pipe.add(&["EXEC"]);
        match server.run_all(pipe).await?.pop() {
            Some(Value::Array(_)) => {
                for (sum, count) in self.removed.iter_mut().zip(&wanted) {
                    *sum += count;
                }
                Ok(true)
            }
            Some(Value::Nil) => Ok(false),
            _ => Err(UpkeepError::Odd("EXEC")),
        }
    }

    fn outcome(&self) -> Outcome {
        let by_pattern: Vec<_> = self
            .plan
            .rules
            .iter()
            .zip(&self.removed)
            .filter(|(_, removed)| **removed > 0)
            .map(|(rule, removed)| (rule.pattern, *removed))
            .collect();
        Outcome { removed: self.removed.iter().sum(), by_pattern, touched: self.touched }
    }
}
