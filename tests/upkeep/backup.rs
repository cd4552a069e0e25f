//! `trapline backup`.

use super::support::{Redis, wait_for};
use super::{Ended, Place, legacy};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use trapline::managed_redis::{ManagedRedis, ManagedRedisSettings};
use trapline::upkeep::backup::{Manifest, Source};

fn made(ended: &Ended) -> (PathBuf, Manifest) {
    let json = ended.json();
    let folder = json["folder"].as_str().expect("folder").into();
    (folder, serde_json::from_value(json["manifest"].clone()).expect("a manifest"))
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("there").permissions().mode() & 0o777
}

/// A server on this copy, its number of keys.
fn restored(file: &Path) -> u64 {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::copy(file, folder.path().join("dump.rdb")).expect("a copy");
    let settings = ManagedRedisSettings {
        folder: folder.path().to_owned(),
        args: ["--appendonly", "no"].map(str::to_owned).to_vec(),
        ..ManagedRedisSettings::default()
    };
    let server = ManagedRedis::start(&settings).expect("it loads");
    let mut link = redis::Client::open(server.url()).and_then(|c| c.get_connection()).expect("it answers");
    redis::cmd("DBSIZE").query(&mut link).expect("DBSIZE")
}

#[test]
fn a_backup_is_dated_private_verified_and_can_be_put_back() {
    let place = Place::start();
    legacy::fill(&mut place.redis.link());
    place.set(&["SET", "about to expire", "x", "PX", "1"]);
    let to = tempfile::tempdir().expect("folder");
    let to_text = to.path().to_string_lossy().into_owned();
    let ended = place.run(&["backup", "--to", &to_text, "--json"]).expect(0);
    let (folder, manifest) = made(&ended);
    assert_eq!(folder.parent(), Some(to.path()));
    assert_eq!(
        (mode(&folder), mode(&folder.join("dump.rdb")), mode(&folder.join("manifest.json"))),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(manifest.source, Source::File);
    assert_eq!(manifest.least, manifest.most, "counted in the moment of saving");
    assert_eq!(manifest.loaded.as_ref(), Some(&manifest.most));
    assert!(manifest.verified_ms.is_some() && manifest.bytes > 100 && manifest.sha256.len() == 64);
    assert!(ended.err.contains("keys saved by the server") && ended.err.contains("bytes copied"), "{}", ended.err);
    assert_eq!(restored(&folder.join("dump.rdb")), place.keys());
    let left: Vec<_> = std::fs::read_dir(&folder).expect("folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 2, "nothing else is left: {left:?}");
    // A second one has its own folder; both are still good.
    place.run(&["backup", "--to", &to_text]).expect(0);
    assert_eq!(std::fs::read_dir(to.path()).expect("folder").count(), 2);
    let again =
        Ended::of(&super::Command::new(super::BIN).args(["backup", "--check"]).arg(&folder).output().expect("runs"));
    assert!(again.expect(0).out.contains("verified by loading"));
}

#[test]
fn a_corrupt_copy_is_found_out() {
    let place = Place::start();
    legacy::fill(&mut place.redis.link());
    let (folder, _) = made(&place.run(&["backup", "--json"]).expect(0));
    let file = folder.join("dump.rdb");
    let whole = std::fs::read(&file).expect("the copy");
    let check = || {
        let mut command = super::Command::new(super::BIN);
        Ended::of(&command.args(["backup", "--check"]).arg(&folder).output().expect("runs"))
    };
    let damages: [(&str, fn(&mut Vec<u8>)); 3] =
        [("one bit", |b| b[200] ^= 4), ("cut short", |b| b.truncate(b.len() / 2)), ("empty", Vec::clear)];
    for (what, damage) in damages {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(&file, &bytes).expect("damage");
        let ended = check().expect(1);
        assert!(ended.err.contains("corrupt"), "{what}: {}", ended.err);
    }
    // A copy that was damaged on its way, before anybody summed it: its own check sum tells.
    let mut bytes = whole.clone();
    bytes[200] ^= 4;
    std::fs::write(&file, &bytes).expect("damage");
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).expect("a manifest");
    let sums = |path: &Path| trapline::upkeep::rdb::facts(path).expect("facts").sha256;
    let mut json: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    let right = std::mem::replace(&mut json["sha256"], sums(&file).into());
    std::fs::write(folder.join("manifest.json"), json.to_string()).expect("a manifest");
    let ended = check().expect(1);
    assert!(ended.err.contains("its own check sum is wrong"), "{}", ended.err);
    assert!(folder.join("dump.rdb.bad").exists() && !file.exists(), "nobody takes it for a backup");
    // A good file of other data: the numbers of keys tell.
    std::fs::write(&file, &whole).expect("whole again");
    json["sha256"] = right;
    json["least"]["0"]["keys"] = 7.into();
    json["most"]["0"]["keys"] = 7.into();
    std::fs::write(folder.join("manifest.json"), json.to_string()).expect("a manifest");
    let ended = check().expect(1);
    assert!(ended.err.contains("where the server had 7"), "{}", ended.err);
}

#[test]
fn what_is_not_on_this_machine_comes_through_the_replication_protocol() {
    let place = Place::start();
    legacy::fill(&mut place.redis.link());
    for diskless in ["no", "yes"] {
        place.set(&["CONFIG", "SET", "repl-diskless-sync", diskless]);
        place.set(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
        let (folder, manifest) = made(&place.run(&["backup", "--fetch", "replication", "--json"]).expect(0));
        assert_eq!((manifest.source, manifest.loaded.is_some()), (Source::Replication, true));
        assert_eq!(restored(&folder.join("dump.rdb")), place.keys(), "diskless {diskless}");
    }
    // A server that does not say where its file is, as most hosted ones.
    let mut pipe = redis::pipe();
    for i in 0..50_000 {
        pipe.cmd("SET").arg(format!("filler:{i}")).arg("0123456789").ignore();
    }
    pipe.query::<()>(&mut place.redis.link()).expect("filled");
    let user = ["ACL", "SETUSER", "backup", "on", ">pass", "~*", "+@all", "-config"];
    place.set(&user);
    let mut command = super::Command::new(super::BIN);
    let url = format!("redis://backup@127.0.0.1:{}", place.redis.server().port());
    command.args(["backup", "--json", "--redis", &url, "--state"]).arg(place.state.path());
    let ended = Ended::of(&command.env("TRAPLINE_REDIS_PASSWORD", "pass").output().expect("runs")).expect(0);
    assert!(ended.err.contains("does not say where its file is"), "{}", ended.err);
    assert_eq!(made(&ended).1.source, Source::Replication);
}

#[test]
fn a_server_that_gives_nothing_away_is_a_refusal_with_a_way_out() {
    let place = Place::start();
    place.set(&["ACL", "SETUSER", "poor", "on", ">pass", "~*", "+@all", "-config", "-sync", "-psync"]);
    let url = format!("redis://poor@127.0.0.1:{}", place.redis.server().port());
    let mut command = super::Command::new(super::BIN);
    command.args(["backup", "--redis", &url, "--state"]).arg(place.state.path());
    let ended = Ended::of(&command.env("TRAPLINE_REDIS_PASSWORD", "pass").output().expect("runs")).expect(69);
    assert!(ended.err.contains("+sync"), "{}", ended.err);
    assert_eq!(std::fs::read_dir(place.state.path().join("backups")).expect("folder").count(), 0, "no empty folder");
    assert_eq!(place.steps(), ["backup begun", "backup failed"]);
    // The file alone was asked for.
    let mut command = super::Command::new(super::BIN);
    command.args(["backup", "--fetch", "file", "--redis", &url, "--state"]).arg(place.state.path());
    Ended::of(&command.env("TRAPLINE_REDIS_PASSWORD", "pass").output().expect("runs")).expect(69);
}

#[test]
fn a_server_that_cannot_save_is_said_to_be_one() {
    let place = Place::start();
    place.set(&["SET", "a", "1"]);
    // The folder under its feet is gone, and its socket with it.
    let url = format!("redis://127.0.0.1:{}", place.redis.server().port());
    std::fs::remove_dir_all(place.config("dir")).expect("removed");
    let mut command = super::Command::new(super::BIN);
    command.args(["backup", "--redis", &url, "--state"]).arg(place.state.path());
    let ended = Ended::of(&command.output().expect("runs"));
    assert!(ended.err.contains("rdb_last_bgsave_status"), "{}", ended.err);
    ended.expect(69);
}

/// Nothing is tried again behind a person's back, and no error is left in the system's own words.
#[test]
fn a_wrong_folder_or_redis_is_told_in_words_with_a_cure() {
    let place = Place::start();
    let file = place.state.path().join("a file");
    std::fs::write(&file, "").expect("file");
    let (inside, none) = (file.join("deeper"), place.state.path().join("none"));
    let shown = |path: &Path| path.to_str().expect("a path").to_owned();
    for (words, said) in [
        (["backup", "--to", &shown(&file)], "something of that name is there; name a folder"),
        (["backup", "--to", &shown(&inside)], "part of the path is a file; name a folder"),
        (["backup", "--check", &shown(&none)], "there is no such file; check the path"),
    ] {
        let ended = place.run(&words).expect(69);
        assert!(ended.err.contains(said) && !ended.err.contains("os error"), "{words:?}: {}", ended.err);
    }
    let url = format!("redis://127.0.0.1:{}", super::support::free_port());
    for (url, code, said) in
        [(url.as_str(), 69, "trapline doctor"), ("http://x", 64, "trapline: --redis: has an unknown scheme")]
    {
        let out =
            std::process::Command::new(super::support::BIN).args(["migrate", "--redis", url]).output().expect("runs");
        let ended = Ended::of(&out).expect(code);
        assert!(ended.err.contains(said), "{}", ended.err);
        assert!(!ended.err.contains("on its own") && !ended.err.contains("nothing was started"), "{}", ended.err);
    }
}

#[test]
fn without_a_server_to_load_it_the_copy_is_not_called_verified() {
    let place = Place::start();
    place.set(&["SET", "a", "1"]);
    let ended = place.run(&["backup", "--redis-bin", "/nowhere/redis-server"]).expect(69);
    let folder = std::fs::read_dir(place.state.path().join("backups")).expect("folder").flatten().next().expect("one");
    assert!(ended.err.contains("--check"), "{}", ended.err);
    // Nothing is lost by that: where there is a server, it is verified later.
    let mut command = super::Command::new(super::BIN);
    Ended::of(&command.args(["backup", "--check"]).arg(folder.path()).output().expect("runs")).expect(0);
    let (_, manifest) = made(&place.run(&["backup", "--no-verify", "--json"]).expect(0));
    assert!(manifest.verified_ms.is_none() && manifest.loaded.is_none());
}

/// Somebody writes all the time: the numbers are still those of the moment of saving.
#[test]
fn a_busy_server_is_counted_in_the_moment_of_saving() {
    let place = Place::start();
    legacy::simulate_much(&mut place.redis.link(), 20_000);
    let url = place.url();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut link = redis::Client::open(url.as_str()).and_then(|c| c.get_connection()).expect("redis");
            let mut i = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                i += 1;
                let _: () = redis::cmd("SET").arg(format!("busy:{i}")).arg("x").query(&mut link).expect("SET");
            }
        });
        wait_for("it writes", || if place.exists("busy:1") { Ok(()) } else { Err("not yet".to_owned()) });
        let ended = place.run(&["backup", "--json"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (_, manifest) = made(&ended.expect(0));
        assert_eq!(manifest.least, manifest.most);
        assert_eq!(manifest.loaded, Some(manifest.most));
    });
}

/// Several databases, each with its own numbers.
#[test]
fn each_database_counts() {
    let redis = Redis::start();
    let place = Place { redis, state: tempfile::tempdir().expect("folder") };
    let mut link = place.redis.link();
    for (db, keys) in [(0, 3), (5, 2)] {
        let mut pipe = redis::pipe();
        pipe.cmd("SELECT").arg(db).ignore();
        for i in 0..keys {
            pipe.cmd("SET").arg(i).arg("x").arg("EX").arg(600).ignore();
        }
        pipe.query::<()>(&mut link).expect("filled");
    }
    let (_, manifest) = made(&place.run(&["backup", "--json"]).expect(0));
    let loaded: Vec<_> =
        manifest.loaded.expect("verified").into_iter().map(|(n, db)| (n, db.keys, db.expires)).collect();
    assert_eq!(loaded, [(0, 3, 3), (5, 2, 2)]);
}
