//! What waits on disk for Redis. Everything is read from a copy: a running daemon holds the file's lock, a starting one
//! must not find it taken, and a damaged file must stay as it is.

use super::UpkeepError;
use crate::store::encode::event::Record;
use crate::store::spool::{SpoolContents, inspect};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The spool's name in its folder.
pub const SPOOL_FILE: &str = "events.redb";
/// Damaged files that the daemon put aside begin so.
const ASIDE: &str = "events.redb.quarantine-";
/// Files that are listed.
const FILES_MAX: usize = 100;
/// A copy of a file that is being written may be torn: the next one is not.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// One spool file.
#[derive(Clone, Debug, Serialize)]
pub struct SpoolFile {
    pub file: PathBuf,
    pub bytes: u64,
    /// `None`: it cannot be read; `trouble` says why.
    pub holds: Option<Holds>,
    /// Empty where all is well.
    pub trouble: Vec<String>,
}

/// What a readable spool holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Holds {
    pub generation: u64,
    pub first: u64,
    pub last: u64,
    pub records: u64,
    pub record_bytes: u64,
    pub first_ms: i64,
    pub last_ms: i64,
    pub kinds: BTreeMap<String, u64>,
}

/// The spool and what was put aside, in the folder. Empty where there is none.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut aside: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(ASIDE)))
        .take(FILES_MAX)
        .collect();
    aside.sort();
    let own = folder.join(SPOOL_FILE);
    own.exists().then_some(own).into_iter().chain(aside).collect()
}

/// Looks at one file and hands each record over.
///
/// # Errors
/// The file cannot be copied. What is wrong inside is no error but `trouble`.
pub fn look(file: &Path, mut each: impl FnMut(&Record)) -> Result<SpoolFile, UpkeepError> {
    let bytes = std::fs::metadata(file).map_err(UpkeepError::file(file))?.len();
    let place = tempfile::Builder::new().prefix("trapline-spool-").tempdir().map_err(UpkeepError::file(file))?;
    let copy = place.path().join("copy.redb");
    let mut why = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        std::fs::copy(file, &copy).map_err(UpkeepError::file(file))?;
        match counted(&copy, |_| {}) {
            Err(reason) => why = reason,
            Ok((contents, _, _)) if !contents.missing.is_empty() && attempt + 1 < TRIES => {}
            Ok(_) => {
                // The second reading of the same copy is the one that is told.
                let (contents, holds, mut trouble) = counted(&copy, &mut each).map_err(UpkeepError::Violated)?;
                trouble.splice(0..0, troubles(&contents));
                return Ok(SpoolFile { file: file.to_owned(), bytes, holds: Some(holds), trouble });
            }
        }
    }
    // The file is named by whoever tells this.
    let why = why.replace(&format!("{}: ", copy.display()), "");
    Ok(SpoolFile { file: file.to_owned(), bytes, holds: None, trouble: vec![why] })
}

fn troubles(contents: &SpoolContents) -> Vec<String> {
    let list = |what: &str, numbers: &[u64]| {
        let first: Vec<String> = numbers.iter().take(10).map(u64::to_string).collect();
        let more = if numbers.len() > first.len() { ", …" } else { "" };
        (!numbers.is_empty()).then(|| format!("{} {what}: {}{more}", numbers.len(), first.join(", ")))
    };
    list("numbers are missing", &contents.missing)
        .into_iter()
        .chain(list("records cannot be read", &contents.unreadable))
        .collect()
}

/// Reads a whole file: what it holds, and what its records say against each other.
fn counted(file: &Path, mut each: impl FnMut(&Record)) -> Result<(SpoolContents, Holds, Vec<String>), String> {
    let mut holds = Holds::default();
    let (mut last_ms, mut last_seq, mut disorder) = (i64::MIN, 0, Vec::new());
    let read = || {
        inspect(file, |record| {
            if record.ms < last_ms || record.seq <= last_seq {
                let told = disorder.len() < 10;
                if told {
                    disorder.push(format!("record {} is out of order", record.seq));
                }
            }
            (last_ms, last_seq) = (record.ms, record.seq);
            if holds.records == 0 {
                holds.first_ms = record.ms;
            }
            holds.last_ms = record.ms;
            holds.records += 1;
            *holds.kinds.entry(record.kind.clone()).or_default() += 1;
            each(record);
        })
    };
    // The database library asserts what a damaged file contradicts; that is told as damage, not as our own fault.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    std::panic::set_hook(hook);
    let contents = read.map_err(|_| format!("{}: the file contradicts itself", file.display()))??;
    holds.generation = contents.generation;
    holds.first = contents.first;
    holds.last = contents.last;
    holds.record_bytes = contents.bytes;
    Ok((contents, holds, disorder))
}
