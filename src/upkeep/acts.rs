//! What people did with the data, and what came of it: one JSON line a step, in the state folder.
//!
//! An act is written down before it happens. Where that is not possible it does not happen.

use super::UpkeepError;
use crate::clock::Clock;
use crate::supervise::journal::LineFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The journal's name in the state folder.
pub const ACTS_FILE: &str = "acts.jsonl";
const FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Old files kept beside the newest.
const KEEP: u32 = 4;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActLine {
    pub at_ms: i64,
    pub who: String,
    pub pid: u32,
    /// `clean-simulation`.
    pub act: String,
    /// `begun`, a step such as `removed` or `renamed`, then `done` or `failed`. `begun` alone: it was killed.
    pub step: String,
    /// The server's address without login.
    pub redis: String,
    pub detail: Value,
}

/// An act that has begun. Ends as `failed` unless [`Act::done`] was reached.
pub struct Act {
    file: LineFile,
    path: PathBuf,
    clock: Clock,
    head: ActLine,
    ended: bool,
}

impl Act {
    /// Writes the line that says what is about to happen.
    ///
    /// # Errors
    /// The journal cannot be written: nothing may be changed then.
    pub fn begin(
        state: &Path,
        who: &str,
        act: &str,
        redis: &str,
        clock: &Clock,
        plan: Value,
    ) -> Result<Self, UpkeepError> {
        std::fs::create_dir_all(state).map_err(UpkeepError::file(state))?;
        let path = state.join(ACTS_FILE);
        let head = ActLine {
            at_ms: 0,
            who: who.to_owned(),
            pid: std::process::id(),
            act: act.to_owned(),
            step: String::new(),
            redis: redis.to_owned(),
            detail: Value::Null,
        };
        let file = LineFile::new(path.clone(), FILE_BYTES, KEEP);
        let mut begun = Self { file, path, clock: clock.clone(), head, ended: false };
        begun.step("begun", plan)?;
        Ok(begun)
    }

    pub fn step(&mut self, step: &str, detail: Value) -> Result<(), UpkeepError> {
        let line = ActLine { at_ms: self.clock.now_ms(), step: step.to_owned(), detail, ..self.head.clone() };
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        self.file.append(&text, true).map_err(UpkeepError::file(&self.path))
    }

    pub fn done(mut self, detail: Value) -> Result<(), UpkeepError> {
        self.ended = true;
        self.step("done", detail)
    }

    /// Ends with the error, which is given back.
    pub fn failed(mut self, error: UpkeepError) -> UpkeepError {
        self.ended = true;
        // The act's own error counts, not that it could not be written down.
        let _ = self.step("failed", serde_json::json!({"why": error.to_string()}));
        error
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.step("failed", serde_json::json!({"why": "given up"}));
        }
    }
}

/// Every line of the newest file that can be read.
pub fn read(state: &Path) -> Result<Vec<ActLine>, UpkeepError> {
    let path = state.join(ACTS_FILE);
    let text = std::fs::read_to_string(&path).map_err(UpkeepError::file(&path))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_act_is_written_before_and_after() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(7);
        let mut act = Act::begin(folder.path(), "ann", "migrate", "redis://h:1/0", &clock, json!({"keys": 2})).unwrap();
        act.step("renamed", json!({"key": "a"})).unwrap();
        act.done(json!({"renamed": 1})).unwrap();
        let act = Act::begin(folder.path(), "ann", "migrate", "redis://h:1/0", &clock, json!({})).unwrap();
        drop(act);
        let steps: Vec<_> = read(folder.path()).unwrap().into_iter().map(|l| (l.step, l.who, l.at_ms)).collect();
        let names: Vec<&str> = steps.iter().map(|s| s.0.as_str()).collect();
        assert_eq!(names, ["begun", "renamed", "done", "begun", "failed"]);
        assert!(steps.iter().all(|s| s.1 == "ann" && s.2 == 7));
    }

    #[test]
    fn no_journal_no_act() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Act::begin(&file, "ann", "migrate", "r", &Clock::manual(1), json!({})).is_err());
    }
}
