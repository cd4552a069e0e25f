//! A copy is good when a server loads it and holds the keys that it should.

use super::super::UpkeepError;
use super::super::rdb;
use super::super::server::Door;
use super::{Dbs, FILE, Loader, Manifest, manifest};
use crate::managed_redis::{ManagedRedis, ManagedRedisError, ManagedRedisSettings};
use crate::store::link::Target;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Loading a snapshot of any size that fits into memory.
const LOAD_LIMIT: Duration = Duration::from_secs(4 * 3_600);
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What the private server held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub dbs: Dbs,
    /// Its version.
    pub version: String,
}

/// Loads a copy into a private server. Blocks this thread for as long as that takes.
///
/// The private server has no port, only a socket; it is told to be somebody's replica, as only the owner of data
/// throws expired keys away while loading, and then the numbers could not be compared.
pub async fn load(file: &Path, loader: &Loader) -> Result<Loaded, UpkeepError> {
    let facts = rdb::facts(file)?;
    if facts.sum_is_right == Some(false) {
        return Err(spoiled(file, "its own check sum is wrong"));
    }
    let beside = file.parent().unwrap_or(Path::new("."));
    let place = tempfile::Builder::new().prefix(".loading-").tempdir_in(beside).map_err(UpkeepError::file(beside))?;
    std::fs::hard_link(file, place.path().join(FILE)).map_err(UpkeepError::file(place.path()))?;
    let args = "--appendonly no --port 0 --sanitize-dump-payload yes --replicaof 127.0.0.1 1";
    let settings = ManagedRedisSettings {
        binary: loader.binary.clone(),
        folder: place.path().to_owned(),
        leash: loader.leash.clone(),
        args: args.split(' ').map(str::to_owned).collect(),
        ready_limit: Some(LOAD_LIMIT),
    };
    let managed = told(|| ManagedRedis::start(&settings)).map_err(|error| unloadable(file, &facts, error))?;
    let limit = Duration::from_secs(30);
    let door = Door { target: Target::unix(managed.socket()), connect: limit, reply: limit };
    let mut server = door.open().await?;
    let version = server.info("server").await?.text("redis_version").to_owned();
    let dbs = server.info("keyspace").await?.dbs();
    managed.stop();
    Ok(Loaded { dbs, version })
}

/// Says now and then that the private server is still loading.
fn told<T>(work: impl FnOnce() -> T) -> T {
    eprintln!("loading the copy into a private redis-server");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            let mut next = TELL_EVERY;
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                if begun.elapsed() >= next {
                    eprintln!("still loading, {} s", begun.elapsed().as_secs());
                    next += TELL_EVERY;
                }
            }
        });
        let value = work();
        done.store(true, Ordering::Relaxed);
        value
    })
}

fn unloadable(file: &Path, facts: &rdb::Facts, error: ManagedRedisError) -> UpkeepError {
    match error {
        ManagedRedisError::Ended { tail, .. } if facts.sum_is_right == Some(true) => UpkeepError::Missing(format!(
            "{} has the right check sum, but the redis-server of this machine does not load it (format {}; does the \
             server that wrote it have a newer version or modules?): name a fitting one with --redis-bin, or say \
             --no-verify\n{tail}",
            file.display(),
            facts.version
        )),
        ManagedRedisError::Ended { tail, .. } => spoiled(file, &format!("redis-server does not load it:\n{tail}")),
        other => UpkeepError::Missing(other.to_string()),
    }
}

/// Puts a copy aside under a name that nobody takes for a backup.
pub(super) fn spoiled(file: &Path, why: &str) -> UpkeepError {
    let aside = file.with_extension("rdb.bad");
    let shown = if std::fs::rename(file, &aside).is_ok() { &aside } else { file };
    UpkeepError::Violated(format!("the copy is corrupt: {}: {why}; make another one", shown.display()))
}

/// The keys that the copy holds against those that it should.
pub(super) fn compare(file: &Path, manifest: &Manifest, loaded: &Loaded) -> Result<(), UpkeepError> {
    let numbers = manifest.most.keys().chain(loaded.dbs.keys());
    for &n in numbers {
        let of = |dbs: &Dbs| dbs.get(&n).copied().unwrap_or_default();
        let (least, most, found) = (of(&manifest.least), of(&manifest.most), of(&loaded.dbs));
        let fits =
            (least.keys..=most.keys).contains(&found.keys) && (least.expires..=most.expires).contains(&found.expires);
        if !fits {
            let should =
                if least == most { least.keys.to_string() } else { format!("{} to {}", least.keys, most.keys) };
            return Err(spoiled(
                file,
                &format!(
                    "database {n} has {} keys ({} expiring) where the server had {should} ({})",
                    found.keys, found.expires, most.expires
                ),
            ));
        }
    }
    Ok(())
}

/// Looks at an older backup again: its file, its sums, its keys.
pub async fn again(folder: &Path, loader: &Loader, now_ms: i64) -> Result<Manifest, UpkeepError> {
    let mut manifest = manifest::read(folder)?;
    let file = folder.join(FILE);
    let facts = rdb::facts(&file)?;
    if facts.sha256 != manifest.sha256 {
        return Err(UpkeepError::Violated(format!(
            "the copy is corrupt: {}: sha256 is {}, was {} when it was made; take another backup",
            file.display(),
            facts.sha256,
            manifest.sha256
        )));
    }
    let loaded = load(&file, loader).await?;
    compare(&file, &manifest, &loaded)?;
    manifest.verified_ms = Some(now_ms);
    manifest.verified_with = loaded.version;
    manifest.loaded = Some(loaded.dbs);
    manifest::write(folder, &manifest)?;
    Ok(manifest)
}
