//! The spool's file.

use super::{Found, SpoolSettings, Stored};
use crate::fault_points;
use crate::store::encode::event::Record;
use crate::store::ids::{FOUND, print};
use crate::store::outbox::Batch;
use redb::backends::InMemoryBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// seq → (ms, record bytes).
const RECORDS: TableDefinition<'static, u64, (i64, &[u8])> = TableDefinition::new("records");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;

/// Pages of the file that are kept in memory. The library's own choice, 1 GiB, would hold the whole spool there.
const PAGES_MAX: usize = 4 * 1024 * 1024;

fn create(file: &Path) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(PAGES_MAX).create(file)
}

/// An open spool file.
pub(super) struct Disk {
    db: Database,
}

/// How long a file may be held by a process that is ending.
const HELD_LIMIT: Duration = Duration::from_secs(5);

/// A damaged page may make the database panic: that is the same as an error of its file.
fn guarded<T>(work: impl FnOnce() -> Result<T, Box<redb::Error>>) -> Result<T, Box<redb::Error>> {
    // What a panic leaves half done is dropped: every caller opens the file anew after an error.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Box::new(redb::Error::Corrupted("a damaged page".to_owned()))))
}

/// Whether the file itself is bad, and not the way to it.
fn is_damaged(error: &redb::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match error {
        redb::Error::Io(error) => matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof),
        redb::Error::DatabaseAlreadyOpen | redb::Error::PreviousIo | redb::Error::LockPoisoned(_) => false,
        _ => true,
    }
}

fn set_aside(file: &Path, now_ms: i64) -> Option<PathBuf> {
    let name = |n: i64| PathBuf::from(format!("{}.quarantine-{}", file.display(), now_ms + n));
    // Never over one that was set aside before.
    let aside = (0..1_000).map(name).find(|path| !path.exists())?;
    std::fs::rename(file, &aside).ok()?;
    tracing::error!(file = %file.display(), aside = %aside.display(), "spool unreadable, set aside; a new one begins");
    Some(aside)
}

fn generation_at(now_ms: i64) -> u64 {
    u64::try_from(now_ms).unwrap_or(1).max(1)
}

impl Disk {
    /// `None` where the disk refuses altogether.
    pub(super) fn open(settings: &SpoolSettings, now_ms: i64) -> (Option<Self>, Found) {
        let fresh = || Found { generation: generation_at(now_ms), ..Found::default() };
        let Some(file) = &settings.file else { return (Self::volatile(), fresh()) };
        if let Some(folder) = file.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let mut tried = guarded(|| Self::try_open(file, now_ms));
        // A daemon that is just ending still holds the file.
        let until = Instant::now() + HELD_LIMIT;
        while matches!(&tried, Err(error) if matches!(**error, redb::Error::DatabaseAlreadyOpen))
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(20));
            tried = guarded(|| Self::try_open(file, now_ms));
        }
        let error = match tried {
            Ok((disk, found)) => return (Some(disk), found),
            Err(error) => error,
        };
        if !is_damaged(&error) {
            tracing::error!(file = %file.display(), %error, "spool cannot be opened: events wait in memory only");
            return (None, fresh());
        }
        let aside = set_aside(file, now_ms);
        match guarded(|| Self::try_open(file, now_ms)) {
            Ok((disk, found)) => (Some(disk), Found { set_aside: aside, ..found }),
            Err(_) => (None, Found { set_aside: aside, ..fresh() }),
        }
    }

    fn volatile() -> Option<Self> {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).ok()?;
        let disk = Self { db };
        disk.prepare(1).ok()?;
        Some(disk)
    }

    /// Opens the file again after a disk error. A file of another spool, e.g. one that could not be opened at the start,
    /// is set aside: its numbers are not ours.
    pub(super) fn reopen(file: &Path, generation: u64) -> Result<(Self, u64), Box<redb::Error>> {
        guarded(|| Self::open_again(file, generation))
    }

    fn open_again(file: &Path, generation: u64) -> Result<(Self, u64), Box<redb::Error>> {
        fault_points::io("spool", "open").map_err(redb::Error::Io)?;
        let db = match create(file).map_err(boxed) {
            Err(error) if is_damaged(&error) => {
                // Half made on a full disk, or broken under us: what it held cannot be had, what comes next can.
                set_aside(file, i64::try_from(generation).unwrap_or(0));
                create(file).map_err(boxed)?
            }
            other => other?,
        };
        let mut disk = Self { db };
        if disk.prepare(generation)? != generation {
            drop(disk);
            set_aside(file, i64::try_from(generation).unwrap_or(0));
            disk = Self { db: create(file).map_err(boxed)? };
            disk.prepare(generation)?;
        }
        let last = disk.last()?.map_or(0, |(seq, _)| seq);
        Ok((disk, last))
    }

    fn try_open(file: &Path, now_ms: i64) -> Result<(Self, Found), Box<redb::Error>> {
        fault_points::io("spool", "open").map_err(redb::Error::Io)?;
        let db = create(file).map_err(boxed)?;
        let disk = Self { db };
        let generation = disk.prepare(generation_at(now_ms))?;
        let (last_seq, last_ms) = disk.last()?.unwrap_or((0, 0));
        let mut ids = Vec::new();
        let read = disk.db.begin_read().map_err(boxed)?;
        let table = read.open_table(RECORDS).map_err(boxed)?;
        for row in table.iter().map_err(boxed)?.rev().take(FOUND) {
            let (_, value) = row.map_err(boxed)?;
            ids.extend(Record::id_in(value.value().1).map(|id| print(&id)));
        }
        drop(table);
        drop(read);
        Ok((disk, Found { generation, last_seq, last_ms, ids, set_aside: None }))
    }

    /// Makes the tables, checks the format, reads or sets the generation.
    fn prepare(&self, generation: u64) -> Result<u64, Box<redb::Error>> {
        let mut write = self.db.begin_write().map_err(boxed)?;
        write.set_durability(Durability::Immediate).map_err(boxed)?;
        let generation = {
            write.open_table(RECORDS).map_err(boxed)?;
            let mut meta = write.open_table(META).map_err(boxed)?;
            let format = meta.get("format").map_err(boxed)?.map(|v| v.value());
            if format.is_some_and(|f| f != FORMAT) {
                return Err(Box::new(redb::Error::Corrupted("a spool of another version".to_owned())));
            }
            meta.insert("format", FORMAT).map_err(boxed)?;
            let stored = meta.get("generation").map_err(boxed)?.map(|v| v.value());
            match stored {
                Some(stored) => stored,
                None => {
                    meta.insert("generation", generation).map_err(boxed)?;
                    generation
                }
            }
        };
        write.commit().map_err(boxed)?;
        Ok(generation)
    }

    fn last(&self) -> Result<Option<(u64, i64)>, Box<redb::Error>> {
        let read = self.db.begin_read().map_err(boxed)?;
        let table = read.open_table(RECORDS).map_err(boxed)?;
        Ok(table.last().map_err(boxed)?.map(|(seq, value)| (seq.value(), value.value().0)))
    }

    /// First retained number and bytes of all records.
    pub(super) fn extent(&self) -> (u64, u64) {
        let read = || -> Result<(u64, u64), Box<redb::Error>> {
            let read = self.db.begin_read().map_err(boxed)?;
            let table = read.open_table(RECORDS).map_err(boxed)?;
            let first = table.first().map_err(boxed)?.map_or(0, |(seq, _)| seq.value());
            Ok((first, table.stats().map_err(boxed)?.stored_bytes()))
        };
        guarded(read).unwrap_or((0, 0))
    }

    pub(super) fn append(&self, records: &[Stored]) -> Result<(), Box<redb::Error>> {
        guarded(|| self.insert(records))
    }

    fn insert(&self, records: &[Stored]) -> Result<(), Box<redb::Error>> {
        fault_points::io("spool", "append").map_err(redb::Error::Io)?;
        let mut write = self.db.begin_write().map_err(boxed)?;
        write.set_durability(Durability::Immediate).map_err(boxed)?;
        {
            let mut table = write.open_table(RECORDS).map_err(boxed)?;
            for record in records {
                table.insert(record.seq, (record.ms, &record.bytes[..])).map_err(boxed)?;
            }
        }
        fault_points::hit("spool.inserted");
        write.commit().map_err(boxed)?;
        fault_points::hit("spool.committed");
        Ok(())
    }

    pub(super) fn set_generation(&self, generation: u64) -> Result<(), Box<redb::Error>> {
        guarded(|| self.store_generation(generation))
    }

    fn store_generation(&self, generation: u64) -> Result<(), Box<redb::Error>> {
        let mut write = self.db.begin_write().map_err(boxed)?;
        write.set_durability(Durability::Immediate).map_err(boxed)?;
        write.open_table(META).map_err(boxed)?.insert("generation", generation).map_err(boxed)?;
        write.commit().map_err(boxed)
    }

    pub(super) fn read(&self, first: u64, count: usize, bytes: usize) -> Batch {
        let read = || -> Result<Batch, Box<redb::Error>> {
            let read = self.db.begin_read().map_err(boxed)?;
            let table = read.open_table(RECORDS).map_err(boxed)?;
            let mut out = Vec::new();
            let mut size = 0;
            for row in table.range(first..).map_err(boxed)?.take(count) {
                let (seq, value) = row.map_err(boxed)?;
                let record: Arc<[u8]> = value.value().1.into();
                size += record.len();
                out.push((seq.value(), record));
                if size >= bytes {
                    break;
                }
            }
            Ok(out)
        };
        guarded(read).unwrap_or_default()
    }

    /// Removes what is applied and older than `before_ms`, and the oldest beyond `keep_bytes`.
    pub(super) fn trim(&self, applied: u64, before_ms: i64, keep_bytes: u64) -> Result<(), Box<redb::Error>> {
        guarded(|| self.cut(applied, before_ms, keep_bytes))
    }

    fn cut(&self, applied: u64, before_ms: i64, keep_bytes: u64) -> Result<(), Box<redb::Error>> {
        let (_, bytes) = self.extent();
        let mut excess = bytes.saturating_sub(keep_bytes);
        let cut = {
            let read = self.db.begin_read().map_err(boxed)?;
            let table = read.open_table(RECORDS).map_err(boxed)?;
            let mut cut = None;
            for row in table.iter().map_err(boxed)? {
                let (seq, value) = row.map_err(boxed)?;
                let (ms, record) = value.value();
                if excess == 0 && (seq.value() > applied || ms >= before_ms) {
                    break;
                }
                excess = excess.saturating_sub(record.len() as u64 + 24);
                cut = Some(seq.value());
            }
            cut
        };
        let Some(cut) = cut else { return Ok(()) };
        let write = self.db.begin_write().map_err(boxed)?;
        write.open_table(RECORDS).map_err(boxed)?.retain_in(..=cut, |_, _| false).map_err(boxed)?;
        write.commit().map_err(boxed)
    }
}

fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

/// What a spool file holds, for people. The daemon must not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolContents {
    pub generation: u64,
    pub first: u64,
    pub last: u64,
    pub bytes: u64,
    /// Numbers that are missing between first and last, the first thousand of them: must be empty.
    pub missing: Vec<u64>,
    /// Numbers whose bytes no known version wrote: must be empty.
    pub unreadable: Vec<u64>,
}

const MISSING_MAX: usize = 1_000;

/// Reads a whole spool file and hands each record to `each`.
pub fn inspect(file: &Path, mut each: impl FnMut(&Record)) -> Result<SpoolContents, String> {
    if !file.exists() {
        return Err(format!("there is no spool at {}", file.display()));
    }
    let (disk, found) = guarded(|| Disk::try_open(file, 1)).map_err(|e| format!("{}: {e}", file.display()))?;
    let (first, bytes) = disk.extent();
    let mut contents = SpoolContents {
        generation: found.generation,
        first,
        last: found.last_seq,
        bytes,
        missing: vec![],
        unreadable: vec![],
    };
    let mut next = first;
    while next <= found.last_seq && next > 0 {
        let rows = disk.read(next, 1_000, 8 * 1024 * 1024);
        let Some((last, _)) = rows.last() else {
            // A damaged page answers nothing; what lies behind it may be well.
            if contents.missing.len() < MISSING_MAX {
                contents.missing.push(next);
            }
            next += 1;
            continue;
        };
        let after = last + 1;
        for (seq, record) in &rows {
            let room = MISSING_MAX.saturating_sub(contents.missing.len());
            contents.missing.extend((next..*seq).take(room));
            next = seq + 1;
            match Record::from_bytes(record) {
                Some(record) => each(&record),
                None => contents.unreadable.push(*seq),
            }
        }
        next = after;
    }
    Ok(contents)
}
