//! Messages that killed their room: listed, shown, replayed also by the next process, or dropped.

use super::json;
use crate::support::{Exchange, Options, World, wait_for};
use serde_json::Value;
use trapline::venue::{ScriptChoice, VenueConfig};

fn held(world: &World) -> Vec<Value> {
    let (code, told, error) = world.daemon.cli(&["quarantine", "ls", "--json"]);
    assert_eq!(code, 0, "{error}");
    told.lines().map(json).collect()
}

/// A message dies with its room; the program ends; the next one handles it, by an operator's word.
#[test]
fn a_message_is_replayed_by_the_next_process() {
    let options = Options { more: vec![("", "allow_drills = true".to_owned())], ..Options::default() };
    let venue = VenueConfig { script: ScriptChoice::Tour, ..Exchange::config() };
    let mut world = World::start(venue, &options);
    world.daemon.wait_ready();
    let (code, told, error) = world.daemon.cli(&["drill", "poison:ledger", "--json"]);
    assert_eq!(code, 0, "{told}{error}");
    let (code, told, error) = world.daemon.cli(&["drill", "poison:analyst", "--json"]);
    assert_eq!(code, 0, "{told}{error}");
    let entries = wait_for("both are listed", || {
        let entries = held(&world);
        if entries.len() == 2 { Ok(entries) } else { Err(format!("{entries:?}")) }
    });
    let (kept, lost) = (&entries[0], &entries[1]);
    assert_eq!((&kept["room"], &lost["room"]), (&"ledger".into(), &"analyst".into()));
    let (kept, lost) = (kept["id"].to_string(), lost["id"].to_string());
    let (_, table, _) = world.daemon.cli(&["quarantine", "ls"]);
    assert!(table.contains(" always ") && table.contains(" no "), "{table}");
    let (code, shown, _) = world.daemon.cli(&["quarantine", "show", &kept]);
    assert!(code == 0 && json(&shown)["saved"].as_str().is_some_and(|saved| saved.contains("\"v\":1")), "{shown}");
    let (code, shown, _) = world.daemon.cli(&["quarantine", "show", &lost]);
    assert!(code == 0 && shown.contains("its moment has passed"), "{shown}");
    let (code, _, error) = world.daemon.cli(&["quarantine", "replay", &lost, "--why", "try"]);
    assert!(code == 1 && error.contains("its moment has passed"), "a windowed trade is never handled late: {error}");

    // The next process has the symbols in another order, so it must not guess what the numbers mean.
    assert_eq!(world.daemon.stop(), 0);
    let file = world.daemon.state.path().join("trapline.toml");
    let good = std::fs::read_to_string(&file).expect("configuration");
    let turned = good.replace("\"BTCUSDT\", \"ETHUSDT\"", "\"ETHUSDT\", \"BTCUSDT\"");
    assert_ne!(good, turned);
    std::fs::write(&file, turned).expect("configuration");
    world.daemon.start_again(&options);
    world.daemon.wait_ready();
    let (code, _, error) = world.daemon.cli(&["quarantine", "replay", &kept, "--why", "try"]);
    assert!(code == 1 && error.contains("another order"), "{error}");
    assert_eq!(held(&world).len(), 2, "it stays");

    assert_eq!(world.daemon.stop(), 0);
    std::fs::write(&file, good).expect("configuration");
    world.exchange.venue.pause();
    world.daemon.start_again(&options);
    let before = wait_for("the ledger runs and is idle", || {
        let ledger = world.daemon.room("ledger");
        let idle = ledger["state"] == "running" && ledger["depth"] == 0 && ledger["in_hand"] == 0;
        if idle { Ok(ledger) } else { Err(ledger.to_string()) }
    });
    assert_eq!(before["quarantined"], 0, "by the process before, not by this one");
    let (code, told, error) = world.daemon.cli(&["quarantine", "replay", &kept, "--why", "mended"]);
    assert_eq!(code, 0, "{told}{error}");
    wait_for("it is handled", || {
        let ledger = world.daemon.room("ledger");
        let handled = |room: &Value| room["handled"].as_u64().unwrap_or(0);
        if handled(&ledger) > handled(&before) { Ok(()) } else { Err(ledger.to_string()) }
    });
    assert_eq!(world.daemon.room("ledger")["restarts_total"], 0);
    wait_for("it has left the quarantine", || {
        let ids: Vec<_> = held(&world).iter().map(|entry| entry["id"].to_string()).collect();
        if ids == [lost.clone()] { Ok(()) } else { Err(format!("{ids:?}")) }
    });
    let (code, _, error) = world.daemon.cli(&["quarantine", "replay", &kept, "--why", "again"]);
    assert!(code == 64 && error.contains("no message"), "once: {code} {error}");
    // A number that is not there is wrong usage, whoever is asked for it.
    for act in [&["show"][..], &["replay", "--why", "x"], &["drop", "--why", "x"]] {
        let words = [&["quarantine", act[0], "99"], &act[1..]].concat();
        let (code, told, error) = world.daemon.cli(&words);
        assert!(code == 64 && error.contains("no message 99"), "case: {words:?}: {code} {told}{error}");
    }
    assert_eq!(world.daemon.cli(&["quarantine", "drop", &lost, "--why", "not needed"]).0, 0);
    let (code, story, error) = world.daemon.cli(&["why", &format!("q{kept}")]);
    assert_eq!(code, 0, "{error}");
    let uid = rustix::process::getuid().as_raw();
    for part in ["drill: this message is poison", "put into quarantine", "uid "] {
        assert!(story.contains(part), "{part} is missing in\n{story}");
    }
    // What was refused stands there as refused, what was done as done.
    let acts: Vec<&str> = story
        .lines()
        .filter_map(|line| line.split_once(&format!("ledger: replay message {kept}, by ")))
        .map(|(_, act)| act)
        .collect();
    let [refused, done] = acts.as_slice() else { panic!("{acts:?} in\n{story}") };
    assert!(refused.contains("try; refused: ") && refused.contains("another order"), "{refused}");
    assert!(done.ends_with(&format!("uid {uid}): mended")) || done.ends_with(&format!("uid {uid}: mended")), "{done}");
    let (_, story, _) = world.daemon.cli(&["why", &format!("q{lost}")]);
    let of_lost = |act: &str| {
        story.lines().filter(|line| line.contains(&format!("analyst: {act} message {lost}, by "))).collect::<Vec<_>>()
    };
    assert!(
        matches!(of_lost("replay")[..], [one] if one.contains("; refused: ") && one.contains("its moment")),
        "{story}"
    );
    assert!(matches!(of_lost("drop")[..], [one] if one.ends_with("not needed")), "{story}");
    assert_eq!(world.daemon.stop(), 0);
    assert_eq!(held(&world), Vec::<Value>::new(), "the files say the same");
}
