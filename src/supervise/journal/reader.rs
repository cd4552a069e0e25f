//! Reads a journal back.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::file::numbered;
use super::{JOURNAL_FILE, KEEP};

/// A journal as it was found.
#[derive(Debug, Default)]
pub struct JournalText {
    /// Oldest first.
    pub entries: Vec<JournalEntry>,
    /// Lines that are not whole records: the last line of a killed process, or a damaged disk.
    pub torn: u64,
}

/// One record as read.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// Gap-free within one boot.
    pub jseq: u64,
    pub at_ms: i64,
    pub boot: String,
    /// The record's name, as in `Record`, in snake case.
    pub event: String,
    /// Everything that the line holds, the fields above included.
    pub fields: Map<String, Value>,
}

impl JournalEntry {
    /// A text field; empty when there is none.
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or("")
    }

    /// A number field; 0 when there is none.
    pub fn number(&self, field: &str) -> u64 {
        self.fields.get(field).and_then(Value::as_u64).unwrap_or(0)
    }
}

/// All records under a state directory from `since_ms` on, old files first.
///
/// # Errors
/// A file is there and cannot be read. A directory without a journal is an empty journal.
pub fn read_journal(state_dir: &Path, since_ms: i64) -> io::Result<JournalText> {
    let newest = state_dir.join(JOURNAL_FILE);
    let mut text = JournalText::default();
    for path in (1..=KEEP).rev().map(|n| numbered(&newest, n)).chain([newest.clone()]) {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            if line.is_empty() {
                continue;
            }
            match parse(&line) {
                Some(entry) if entry.at_ms >= since_ms => text.entries.push(entry),
                Some(_) => {}
                None => text.torn += 1,
            }
        }
    }
    Ok(text)
}

fn parse(line: &[u8]) -> Option<JournalEntry> {
    let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    Some(JournalEntry {
        jseq: fields.get("jseq")?.as_u64()?,
        at_ms: fields.get("at_ms")?.as_i64()?,
        boot: fields.get("boot")?.as_str()?.to_owned(),
        event: fields.get("event")?.as_str()?.to_owned(),
        fields,
    })
}
