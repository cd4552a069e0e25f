//! What a backup says about itself, and whether one is good enough to act on.

use super::super::UpkeepError;
use super::super::rdb;
use super::Dbs;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The data, in each backup's folder.
pub const FILE: &str = "dump.rdb";
/// Beside it; written last.
pub const MANIFEST: &str = "manifest.json";
pub(super) const FORMAT: u32 = 1;
/// The longest manifest that is read.
const BYTES_MAX: u64 = 1_048_576;
/// Folders that are looked at, newest first.
const FOLDERS_MAX: usize = 1_000;

/// How the file came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    File,
    Replication,
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub at_ms: i64,
    /// The server's address without login.
    pub redis: String,
    /// Names one run of one server.
    pub run_id: String,
    pub redis_version: String,
    pub source: Source,
    pub bytes: u64,
    pub sha256: String,
    pub rdb_version: u32,
    /// Keys per database when the snapshot was made: `least` and `most` are the same where they are known exactly.
    pub least: Dbs,
    pub most: Dbs,
    /// Keys per database after loading the copy.
    pub loaded: Option<Dbs>,
    pub verified_ms: Option<i64>,
    /// Version of the server that loaded it.
    pub verified_with: String,
}

pub(super) fn write(folder: &Path, manifest: &Manifest) -> Result<(), UpkeepError> {
    let path = folder.join(MANIFEST);
    let part = folder.join("manifest.part");
    let _ = std::fs::remove_file(&part);
    let mut text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
    text.push(b'\n');
    let mut file = rdb::create(&part)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(UpkeepError::file(&part))?;
    std::fs::rename(&part, &path).map_err(UpkeepError::file(&path))
}

/// Reads the manifest of one backup.
pub fn read(folder: &Path) -> Result<Manifest, UpkeepError> {
    let path = folder.join(MANIFEST);
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
        .map_err(UpkeepError::file(&path))?;
    match serde_json::from_str::<Manifest>(&text) {
        Ok(manifest) if manifest.format == FORMAT => Ok(manifest),
        _ => Err(UpkeepError::Violated(format!("{}: no manifest that this version wrote", path.display()))),
    }
}

/// The newest backup below `all` of this very server that is verified, young enough, and still what it was.
pub fn fresh(all: &Path, run_id: &str, max_age: Duration, now_ms: i64) -> Result<(PathBuf, Manifest), UpkeepError> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(all)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    // What is wrong with the newest is what counts.
    let mut why = None;
    for folder in folders.iter().rev().take(FOLDERS_MAX) {
        let manifest = match read(folder) {
            Ok(manifest) => manifest,
            Err(error) => {
                why.get_or_insert(error.to_string());
                continue;
            }
        };
        match unfit(folder, &manifest, run_id, max_age, now_ms)? {
            None => return Ok((folder.clone(), manifest)),
            Some(reason) => _ = why.get_or_insert(format!("{}: {reason}", folder.display())),
        }
    }
    let why = why.unwrap_or_else(|| format!("there is no backup in {}", all.display()));
    Err(UpkeepError::Later(format!(
        "no fresh, verified backup of this server ({why}): run `trapline backup` first, or say --without-backup"
    )))
}

fn unfit(
    folder: &Path,
    manifest: &Manifest,
    run_id: &str,
    max_age: Duration,
    now_ms: i64,
) -> Result<Option<String>, UpkeepError> {
    let age_ms = now_ms - manifest.at_ms;
    let limit_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
    Ok(if manifest.verified_ms.is_none() {
        Some("was not verified".to_owned())
    } else if manifest.run_id != run_id || run_id.is_empty() {
        Some("is of another server, or of this one before it was started anew".to_owned())
    } else if !(-60_000..=limit_ms).contains(&age_ms) {
        Some(format!("is {} s old, more than {} s", age_ms / 1_000, limit_ms / 1_000))
    } else if rdb::facts(&folder.join(FILE)).map(|facts| facts.sha256).ok().as_ref() != Some(&manifest.sha256) {
        Some("is damaged: its file is no longer what was copied".to_owned())
    } else {
        None
    })
}
