//! P13: files and keys of another version. What this version can read it reads; what it cannot is set aside whole, said
//! aloud, and never a reason to start over and over. A record of an unknown kind costs itself.

use crate::common::{Trading, events, goes_on, ms, with};
use crate::support::figures::Figures;
use crate::support::{Exchange, World, wait_for};
use redb::{Database, TableDefinition};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trapline::venue::{ScriptChoice, VenueConfig};

const RECORDS: TableDefinition<'static, u64, (i64, &[u8])> = TableDefinition::new("records");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

fn files(state: &Path) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(state.join("spool")).expect("the spool's folder");
    folder.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect()
}

/// The spool's file in a state folder.
fn spool(state: &Path) -> PathBuf {
    let mut found = files(state).into_iter().filter(|path| !path.to_string_lossy().contains(".quarantine-"));
    found.next().expect("a spool")
}

fn set_aside(state: &Path) -> Vec<PathBuf> {
    files(state).into_iter().filter(|path| path.to_string_lossy().contains(".quarantine-")).collect()
}

fn change_spool(file: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let db = Database::create(file).expect("a spool");
    let write = db.begin_write().expect("write");
    change(&write);
    write.commit().expect("commit");
}

#[test]
fn p13_files_and_keys_of_another_version() {
    let folder = tempfile::tempdir().expect("folder");
    let truth = folder.path().join("truth.jsonl");
    let venue = VenueConfig { script: ScriptChoice::Idle, truth: Some(truth.clone()), ..Exchange::config() };
    let options = with(vec![], &[("rates", "trades_per_minute = 1000000")]);
    let mut world = World::start(venue, &options);
    world.daemon.wait_ready();
    let mut trading = Trading::start(&world.exchange, truth, Duration::from_millis(50));
    wait_for("some fills", || {
        let count = events(&world).len();
        if count > 20 { Ok(()) } else { Err(format!("{count}")) }
    });
    let state = world.daemon.state.path().to_owned();
    let mut recovery = Vec::new();
    let mut restart = |world: &mut World, what: &str, change: &dyn Fn(&World)| {
        assert_eq!(world.daemon.stop(), 0, "{what}");
        let deaths = world.daemon.journal().iter().filter(|entry| entry.event == "down").count();
        change(world);
        let begun = Instant::now();
        world.daemon.start_again(&options);
        goes_on(world, "BTCUSDT");
        recovery.push(ms(begun.elapsed()));
        world.daemon.wait_ready();
        let now = world.daemon.journal().iter().filter(|entry| entry.event == "down").count();
        assert_eq!(now, deaths, "{what}: nobody died of it");
    };

    // The spool of this version with a record that only a later one can read: it alone is left out.
    let unreadable = |world: &World| {
        change_spool(&spool(world.daemon.state.path()), |write| {
            let mut records = write.open_table(RECORDS).expect("records");
            let last = redb::ReadableTable::last(&records).expect("last").map_or(0, |(seq, _)| seq.value());
            records.insert(last + 1, (1, &b"{\"v\":99,\"new\":true}"[..])).expect("a record of tomorrow");
        });
    };
    restart(&mut world, "a record of tomorrow", &unreadable);
    assert!(set_aside(&state).is_empty(), "the file itself is ours");
    let refused = world.daemon.statusz()["counts"]["event_ops_refused_total"].as_u64();
    wait_for("the strange record is counted", || {
        let now = world.daemon.statusz()["counts"]["event_ops_refused_total"].as_u64();
        if now >= Some(1) { Ok(()) } else { Err(format!("{refused:?} {now:?}")) }
    });

    // A spool of a later version, of none, and one that is no spool at all: each set aside whole, under a name of its own.
    let later = |world: &World| {
        change_spool(&spool(world.daemon.state.path()), |write| {
            write.open_table(META).expect("meta").insert("format", 2).expect("format");
        });
    };
    restart(&mut world, "a spool of a later version", &later);
    assert_eq!(set_aside(&state).len(), 1);
    let kept = Database::open(&set_aside(&state)[0]).expect("whole, for the version that wrote it");
    let read = redb::ReadableDatabase::begin_read(&kept).expect("read");
    assert!(redb::ReadableTableMetadata::len(&read.open_table(RECORDS).expect("records")).expect("length") > 20);
    drop(read);
    drop(kept);
    let garbage = |world: &World| std::fs::write(spool(world.daemon.state.path()), vec![7; 100_000]).expect("garbage");
    restart(&mut world, "no spool at all", &garbage);
    assert_eq!(set_aside(&state).len(), 2);
    assert!(world.daemon.log().contains("set aside"), "and said");

    // Journal and quarantine with records of tomorrow and of yesterday, and a torn end: all that can be read is.
    let lines = |world: &World| {
        let state = world.daemon.state.path();
        let mut journal = std::fs::File::options().append(true).open(state.join("journal.jsonl")).expect("journal");
        let tomorrow = "{\"jseq\":1,\"at_ms\":1,\"mono_ms\":1,\"boot\":\"z\",\"event\":\"teleported\",\"room\":\"analyst\",\"far\":[1]}\n";
        journal.write_all(tomorrow.as_bytes()).and_then(|()| journal.write_all(b"{\"jseq\":2,\"at_")).expect("lines");
        let mut quarantine = std::fs::File::options()
            .create(true)
            .append(true)
            .open(state.join("quarantine.jsonl"))
            .expect("quarantine");
        let old = "{\"id\":7,\"at_ms\":1,\"boot\":\"z\",\"room\":\"validator\",\"kind\":\"Bygone\",\"seq\":1,\"digest\":\"d\",\
                   \"cause\":\"panic: x\",\"inner\":false,\"uncertain\":false,\"field_of_tomorrow\":1}\n";
        quarantine.write_all(old.as_bytes()).and_then(|()| quarantine.write_all(b"{\"id\":8,\"to")).expect("lines");
    };
    restart(&mut world, "lines of other versions", &lines);
    assert!(world.daemon.journal().iter().any(|entry| entry.event == "teleported"), "kept for whoever asks");
    let (code, listed, error) = world.daemon.cli(&["quarantine", "ls"]);
    assert!(code == 0 && listed.contains("Bygone"), "{listed}{error}");
    assert_eq!(world.daemon.cli(&["restarts"]).0, 0);
    assert_eq!(world.daemon.cli(&["why", "analyst"]).0, 0);

    // Keys of another version: fields that nobody knows, a cursor and an epoch that are no numbers.
    let keys = |world: &World| {
        let mut link = world.redis.link();
        let mut run = |words: &[&str]| {
            let mut command = redis::cmd(words[0]);
            words[1..].iter().for_each(|word| {
                command.arg(word);
            });
            command.query::<redis::Value>(&mut link).expect("redis")
        };
        run(&[
            "HSET",
            "trapline:BTCUSDT:market_state",
            "field_of_tomorrow",
            "1",
            "exchange_time",
            "soon",
            "schema",
            "9",
        ]);
        run(&["HSET", "trapline:BTCUSDT:position:long", "timestamp", "yesterday"]);
        run(&["SET", "trapline:epoch", "v2:17"]);
        // A new epoch is the wall clock's seconds at least, and the starts of this test came faster than that.
        std::thread::sleep(Duration::from_secs(3));
    };
    restart(&mut world, "keys of another version", &keys);
    let hash = world.redis.hash("trapline:BTCUSDT:market_state");
    assert!(hash["exchange_time"].parse::<u64>().is_ok(), "{hash:?}");

    // Whatever was set aside, each fill is there, and none of this numbering twice.
    let made = trading.end();
    wait_for("every fill", || {
        let there: std::collections::BTreeSet<String> = events(&world).into_iter().map(|e| e.id).collect();
        let missing = made.iter().filter(|id| !there.contains(*id)).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} of {}", made.len())) }
    });
    assert_eq!(world.daemon.stop(), 0);
    Figures {
        row: "P13",
        fault: "spool, journal, quarantine and keys of another version",
        injected: 5,
        detected: 5,
        survived: 5,
        recovery_ms: recovery,
        events: made.len() as u64,
        ..Figures::default()
    }
    .publish();
}
