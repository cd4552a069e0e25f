//! `trapline spool`.

use super::support::{Exchange, Options, World, wait_for};
use super::{BIN, Command, Ended};
use std::path::Path;
use trapline::venue::{ScriptChoice, VenueConfig};

fn spool(state: &Path, words: &[&str]) -> Ended {
    let mut command = Command::new(BIN);
    Ended::of(&command.arg("spool").args(words).arg("--state").arg(state).output().expect("the command runs"))
}

#[test]
fn a_spool_is_listed_verified_and_exported_beside_the_daemon_and_after_it() {
    let venue = VenueConfig { script: ScriptChoice::Tour, ..Exchange::config() };
    let mut world = World::start(venue, &Options::default());
    world.daemon.wait_ready();
    let state = world.daemon.state.path().to_owned();
    // Fills of an account that trades are events.
    wait_for("events in the spool", || {
        let ls = spool(&state, &["ls", "--json"]);
        let found: serde_json::Value = serde_json::from_str(&ls.out).unwrap_or_default();
        match found["holds"]["records"].as_u64() {
            Some(records) if records > 0 && ls.code == 0 => Ok(()),
            _ => Err(format!("{} {}", ls.out, ls.err)),
        }
    });
    spool(&state, &["verify"]).expect(0);
    assert_eq!(world.daemon.stop(), 0);
    let ls = spool(&state, &["ls"]).expect(0);
    assert!(ls.out.contains("generation"), "{}", ls.out);
    let listed: serde_json::Value = spool(&state, &["ls", "--json"]).expect(0).json();
    let export = spool(&state, &["export"]).expect(0);
    let records: Vec<serde_json::Value> =
        export.out.lines().map(|l| serde_json::from_str(l).expect("a record a line")).collect();
    assert_eq!(listed["holds"]["records"], records.len());
    let numbers: Vec<u64> = records.iter().filter_map(|r| r["seq"].as_u64()).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
    // What is exported is what stands in Redis.
    for record in &records {
        let (op, id) = (&record["ops"][0], format!("{}-{}", record["ms"], record["seq"]));
        let key = op["k"].as_str().expect("a key");
        let entries: Vec<redis::Value> =
            redis::cmd("XRANGE").arg(key).arg(&id).arg(&id).query(&mut world.redis.link()).expect("XRANGE");
        assert_eq!(entries.len(), 1, "{key} {id}");
    }
    let last = numbers.last().expect("one at least");
    let one = spool(&state, &["export", "--since", &last.to_string()]).expect(0);
    assert_eq!(one.out.lines().count(), 1);
    corrupt(&state);
}

/// A damaged spool is told by file and reason, and stays as it is.
fn corrupt(state: &Path) {
    let file = state.join("spool/events.redb");
    let whole = std::fs::read(&file).expect("the spool");
    let damages: [(&str, fn(&mut Vec<u8>)); 3] = [
        ("not a spool", |b| b[..64].fill(0x55)),
        ("cut short", |b| b.truncate(5_000)),
        ("all but its head", |b| b[4_096..].fill(0xa5)),
    ];
    for (what, damage) in damages {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(&file, &bytes).expect("damage");
        let ended = spool(state, &["verify"]).expect(1);
        assert!(ended.err.contains("events.redb"), "{what}: {}", ended.err);
        assert!(!ended.err.contains("panicked"), "{what}: {}", ended.err);
        assert_eq!(std::fs::read(&file).expect("the spool"), bytes, "{what}: looked at, not changed");
        spool(state, &["export"]).expect(1);
    }
    std::fs::remove_file(&file).expect("removed");
    let gone = spool(state, &["ls"]).expect(69);
    assert!(gone.err.contains("spool"), "{}", gone.err);
    spool(state, &["export"]).expect(69);
}
