//! A backup: a snapshot made by the server in the background, copied to a dated folder, and proved by loading it.
//!
//! The numbers of keys are asked in the same breath as BGSAVE (the server executes what one connection sends at once
//! without anything in between), so a copy of the file has to hold exactly that many. A snapshot that comes through
//! the replication protocol is made a moment later; there the numbers before and after are the limits.

mod manifest;
mod verify;

pub use manifest::{FILE, MANIFEST, Manifest, Source, fresh, read as read_manifest};
pub use verify::{Loaded, again, load};

use super::progress::Progress;
use super::rdb::{self, Facts};
use super::server::{Db, Door, Info, Pipe, Server, checked, count, info_of};
use super::{UpkeepError, shown};
use crate::clock::Clock;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the file gets here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The server's own file if it is on this machine, else through the replication protocol.
    Auto,
    File,
    Replication,
}

/// What a backup is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of all backups; each makes one below it.
    pub to: PathBuf,
    pub fetch: Fetch,
    /// Load the copy afterwards.
    pub verify: bool,
    pub loader: Loader,
}

/// The private server that loads copies.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    /// `None`: found on the path.
    pub binary: Option<PathBuf>,
    /// The trapline program, so that the private server never outlives it.
    pub leash: Option<PathBuf>,
}

/// Keys of each database.
pub type Dbs = BTreeMap<u32, Db>;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Somebody else's save may come first this often.
const TRIES: usize = 5;
/// A file of this server was last written when the server says that it saved.
const SAME_SAVE_S: i64 = 2;

/// Makes a backup; tells each step on standard error.
pub async fn make(door: &Door, settings: &Settings, clock: &Clock) -> Result<(PathBuf, Manifest), UpkeepError> {
    let mut server = door.open().await?;
    let about = server.info("server").await?;
    let folder = new_folder(&settings.to, clock.now_ms())?;
    let made = into(door, &mut server, &about, settings, &folder, clock).await;
    if made.is_err() && !folder.join(MANIFEST).exists() {
        // Nothing came, or half of it: that is no backup. A corrupt copy has another name and stays for a look.
        let _ = std::fs::remove_file(folder.join(FILE));
        let _ = std::fs::remove_dir(&folder);
    }
    made.map(|manifest| (folder, manifest))
}

async fn into(
    door: &Door,
    server: &mut Server,
    about: &Info,
    settings: &Settings,
    folder: &Path,
    clock: &Clock,
) -> Result<Manifest, UpkeepError> {
    let file = folder.join(FILE);
    let (source, facts, limits) = match settings.fetch {
        Fetch::Replication => replicate(door, server, &file).await?,
        Fetch::File | Fetch::Auto => {
            let saved = save(server).await?;
            match own_file(server, &saved).await? {
                Ok((from, path)) => {
                    let facts = copy(from, &path, &file)?;
                    (Source::File, facts, [saved.dbs.clone(), saved.dbs])
                }
                Err(why) if settings.fetch == Fetch::File => return Err(UpkeepError::Missing(why)),
                Err(why) => {
                    eprintln!("{why}\nasking for the data through the replication protocol instead");
                    replicate(door, server, &file).await.map_err(|error| way_out(error, &server.shown))?
                }
            }
        }
    };
    if facts.sum_is_right == Some(false) {
        return Err(verify::spoiled(&file, "its own check sum is wrong"));
    }
    let mut manifest = Manifest {
        format: manifest::FORMAT,
        at_ms: clock.now_ms(),
        redis: server.shown.clone(),
        run_id: about.text("run_id").to_owned(),
        redis_version: about.text("redis_version").to_owned(),
        source,
        bytes: facts.bytes,
        sha256: facts.sha256,
        rdb_version: facts.version,
        least: limits[0].clone(),
        most: limits[1].clone(),
        loaded: None,
        verified_ms: None,
        verified_with: String::new(),
    };
    // A folder without it is no backup. One that is not verified yet can be looked at again.
    manifest::write(folder, &manifest)?;
    if settings.verify {
        let proved = match load(&file, &settings.loader).await {
            Ok(loaded) => verify::compare(&file, &manifest, &loaded).map(|()| loaded),
            Err(error) => Err(error),
        };
        match proved {
            Ok(loaded) => {
                manifest.verified_ms = Some(clock.now_ms());
                manifest.verified_with = loaded.version;
                manifest.loaded = Some(loaded.dbs);
                manifest::write(folder, &manifest)?;
            }
            Err(UpkeepError::Violated(why)) => {
                let _ = std::fs::remove_file(folder.join(MANIFEST));
                return Err(UpkeepError::Violated(why));
            }
            Err(error) => {
                return Err(UpkeepError::Missing(format!(
                    "{error}\nthe copy stays in {}, not verified: trapline backup --check {} --redis-bin FILE",
                    folder.display(),
                    folder.display()
                )));
            }
        }
    }
    Ok(manifest)
}

fn way_out(error: UpkeepError, redis: &str) -> UpkeepError {
    match error {
        UpkeepError::Refused { code, detail, .. } => UpkeepError::Missing(format!(
            "{redis} gives its data to no other machine either ({code} {detail}): run this on the server's own machine \
             with --to, allow the user +sync +replconf +psync for this, or make a snapshot by the means of whoever \
             hosts it"
        )),
        other => other,
    }
}

/// `2026-11-23T06-33-25Z` below `all`, only for its owner.
fn new_folder(all: &Path, now_ms: i64) -> Result<PathBuf, UpkeepError> {
    let mut maker = std::fs::DirBuilder::new();
    maker.mode(0o700);
    maker.recursive(true).create(all).map_err(UpkeepError::file(all))?;
    maker.recursive(false);
    let stamp = crate::store::encode::stamp::naive_iso(now_ms).replace(':', "-");
    let name = format!("{}Z", stamp.split('.').next().unwrap_or(&stamp));
    for n in 1..100 {
        let folder = all.join(if n == 1 { name.clone() } else { format!("{name}-{n:02}") });
        match maker.create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(UpkeepError::file(&folder)(error)),
        }
    }
    Err(UpkeepError::Later(format!("{}: a hundred backups in one second", all.display())))
}

/// What the server saved.
struct Saved {
    dbs: Dbs,
    /// When, by the server's clock, seconds.
    at_s: i64,
}

/// BGSAVE, from its start to its proven end.
async fn save(server: &mut Server) -> Result<Saved, UpkeepError> {
    for _ in 0..TRIES {
        idle(server).await?;
        let before = last_save(server).await?;
        // LASTSAVE counts in seconds: a save within the second of the last one could not be told from it.
        while server_seconds(server).await? <= before {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let mut pipe = Pipe::new();
        pipe.add(&["INFO", "keyspace"]);
        pipe.add(&["BGSAVE"]);
        pipe.add(&["INFO", "persistence"]);
        let values = server.run(pipe).await?;
        let [keyspace, answer, state] = values.as_slice() else { return Err(UpkeepError::Odd("BGSAVE")) };
        let dbs = info_of(keyspace)?.dbs();
        if let Err(refused) = checked("BGSAVE", answer) {
            // Another save began in this very moment.
            if info_of(state)?.is_on("rdb_bgsave_in_progress") {
                continue;
            }
            return Err(refused);
        }
        let state = saved(server, &dbs).await?;
        let at_s = last_save(server).await?;
        if state.text("rdb_last_bgsave_status") != "ok" || at_s <= before {
            return Err(UpkeepError::Missing(format!(
                "{} could not save (rdb_last_bgsave_status is {:?}): its log says why; is its disk full, may it write \
                 to its folder, has it memory for a fork?",
                server.shown,
                state.text("rdb_last_bgsave_status")
            )));
        }
        return Ok(Saved { dbs, at_s });
    }
    Err(UpkeepError::Later(format!("{} is being saved by others all the time: try later", server.shown)))
}

/// Waits until no other save or rewrite is at work.
async fn idle(server: &mut Server) -> Result<(), UpkeepError> {
    let mut told = false;
    loop {
        let info = server.info("persistence").await?;
        if info.is_on("loading") {
            return Err(UpkeepError::Later(format!("{} is still loading its data: try later", server.shown)));
        }
        if !info.is_on("rdb_bgsave_in_progress") && !info.is_on("aof_rewrite_in_progress") {
            return Ok(());
        }
        if !std::mem::replace(&mut told, true) {
            eprintln!("waiting for a save that is already at work");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits for the end of the save, with progress.
async fn saved(server: &mut Server, dbs: &Dbs) -> Result<Info, UpkeepError> {
    let total = dbs.values().map(|db| db.keys).sum();
    let mut progress = Progress::new("keys saved by the server");
    progress.of(total);
    loop {
        let info = server.info("persistence").await?;
        if !info.is_on("rdb_bgsave_in_progress") {
            progress.set(total);
            progress.end();
            return Ok(info);
        }
        // Redis 6.2 does not say how far it is.
        progress.set(info.number("current_save_keys_processed").unwrap_or(0));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn last_save(server: &mut Server) -> Result<i64, UpkeepError> {
    crate::store::reply::number(&server.ask(&["LASTSAVE"]).await?).ok_or(UpkeepError::Odd("LASTSAVE"))
}

async fn server_seconds(server: &mut Server) -> Result<i64, UpkeepError> {
    let redis::Value::Array(parts) = server.ask(&["TIME"]).await? else { return Err(UpkeepError::Odd("TIME")) };
    let seconds = parts.first().and_then(count).and_then(|s| i64::try_from(s).ok());
    seconds.ok_or(UpkeepError::Odd("TIME"))
}

/// The server's own file, opened, if it is on this machine; else why not and what to do. Once open it stays the same
/// file, whatever the server renames over it.
async fn own_file(server: &mut Server, saved: &Saved) -> Result<Result<(File, PathBuf), String>, UpkeepError> {
    let Some(config) = server.config(&["dir", "dbfilename"]).await? else {
        return Ok(Err(format!("{} does not say where its file is (CONFIG GET dir)", server.shown)));
    };
    let part = |name: &str| config.get(name).map_or("", String::as_str);
    let path = Path::new(part("dir")).join(part("dbfilename"));
    let hint = "run this on the server's own machine as a user who may read it, or use --fetch replication";
    Ok(match File::open(&path).and_then(|file| Ok((file.metadata()?.mtime(), file))) {
        Err(error) => Err(format!("{}: {error}: {hint}", path.display())),
        Ok((at_s, _)) if (at_s - saved.at_s).abs() > SAME_SAVE_S => Err(format!(
            "{} was last written {} s from when {} saved: it is another server's; {hint}",
            path.display(),
            (at_s - saved.at_s).abs(),
            server.shown
        )),
        Ok((_, file)) => Ok((file, path)),
    })
}

fn copy(mut from: File, path: &Path, to: &Path) -> Result<Facts, UpkeepError> {
    let mut progress = Progress::new("bytes copied");
    progress.of(from.metadata().map_err(UpkeepError::file(path))?.len());
    rdb::copy(&mut from, path, Some(to), &mut progress)
}

/// A snapshot through the replication protocol, and the least and most keys that it may hold.
async fn replicate(door: &Door, server: &mut Server, to: &Path) -> Result<(Source, Facts, [Dbs; 2]), UpkeepError> {
    let before = server.info("keyspace").await?.dbs();
    let mut progress = Progress::new("bytes received");
    let facts = match rdb::fetch(door.open().await?, to, &mut progress).await {
        Ok(facts) => facts,
        Err(error) => {
            let _ = std::fs::remove_file(to);
            return Err(error);
        }
    };
    let after = server.info("keyspace").await?.dbs();
    Ok((Source::Replication, facts, limits(&before, &after)))
}

/// While others write, a snapshot from between two countings may lie as far outside of them as they are apart.
fn limits(before: &Dbs, after: &Dbs) -> [Dbs; 2] {
    let numbers: std::collections::BTreeSet<u32> = before.keys().chain(after.keys()).copied().collect();
    let of = |dbs: &Dbs, n: u32| dbs.get(&n).copied().unwrap_or_default();
    let bound = |pick: fn(u64, u64) -> u64| -> Dbs {
        numbers
            .iter()
            .map(|&n| {
                let (b, a) = (of(before, n), of(after, n));
                (n, Db { keys: pick(b.keys, a.keys), expires: pick(b.expires, a.expires) })
            })
            .collect()
    };
    [bound(|b, a| b.min(a).saturating_sub(b.abs_diff(a))), bound(|b, a| b.max(a) + b.abs_diff(a))]
}

/// What a person reads at the end.
pub fn summary(folder: &Path, manifest: &Manifest) -> String {
    let keys: u64 = manifest.most.values().map(|db| db.keys).sum();
    let proof = match &manifest.loaded {
        Some(_) => format!("verified by loading it into redis {}", manifest.verified_with),
        None => "NOT verified".to_owned(),
    };
    format!(
        "{}\n  {} keys of {}, {}, format {}, sha256 {}\n  {proof}",
        shown(folder.as_os_str().as_encoded_bytes()),
        manifest.loaded.as_ref().map_or(keys, |dbs| dbs.values().map(|db| db.keys).sum()),
        manifest.redis,
        super::bytes_shown(manifest.bytes),
        manifest.rdb_version,
        manifest.sha256,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_server_leaves_no_leeway_and_a_busy_one_as_much_as_it_moved() {
        let dbs = |keys| Dbs::from([(0, Db { keys, expires: 0 })]);
        assert_eq!(limits(&dbs(7), &dbs(7)), [dbs(7), dbs(7)]);
        assert_eq!(limits(&dbs(10), &dbs(13)), [dbs(7), dbs(16)]);
        assert_eq!(limits(&Dbs::new(), &dbs(2))[0], dbs(0));
    }

    #[test]
    fn each_backup_has_a_folder_of_its_own_that_only_its_owner_reads() {
        let all = tempfile::tempdir().unwrap();
        let below = all.path().join("backups");
        let first = new_folder(&below, 1_795_415_605_000).unwrap();
        let second = new_folder(&below, 1_795_415_605_999).unwrap();
        assert_eq!(first.file_name().unwrap(), "2026-11-23T06-33-25Z");
        assert_eq!(second.file_name().unwrap(), "2026-11-23T06-33-25Z-02");
        assert_eq!(first.metadata().unwrap().mode() & 0o777, 0o700);
    }
}
