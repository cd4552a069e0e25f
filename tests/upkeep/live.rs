//! `trapline keys --live`.

use super::support::{Options, World, wait_for};
use super::{Ended, Place, legacy};
use std::collections::BTreeMap;

fn rows(live: &serde_json::Value) -> BTreeMap<String, serde_json::Value> {
    let rows = live["rows"].as_array().cloned().unwrap_or_default();
    rows.into_iter().map(|row| (row["key"].as_str().unwrap_or_default().to_owned(), row)).collect()
}

#[test]
fn an_old_redis_shows_foreign_types_strangers_and_totals() {
    let place = Place::start();
    legacy::fill(&mut place.redis.link());
    legacy::simulate(&mut place.redis.link());
    legacy::simulate_much(&mut place.redis.link(), 100_000);
    let ended = place.run(&["keys", "--live", "--json"]).expect(0);
    assert!(ended.err.contains("keys looked at") && ended.err.contains("/s"), "{}", ended.err);
    let live = ended.json();
    let rows = rows(&live);
    let current = &rows["current_position"];
    assert_eq!((current["type"].as_str(), current["wrong"].as_u64()), (Some("string"), Some(1)));
    assert_eq!(current["owner"], "foreign");
    assert!(current["age_ms"].as_i64().is_some_and(|ms| ms > 0) && current["bytes"].as_u64().is_some_and(|b| b > 300));
    assert_eq!(rows["trap_probability_history"]["items"], 1_000);
    assert_eq!(rows["long_trader_position"]["owner"], "made up (mock-1)");
    assert_eq!(live["databases"]["0"]["keys"], place.keys());
    let total = live["owned_keys"].as_u64().unwrap_or(0)
        + live["strangers_total"].as_u64().unwrap_or(0)
        + live["other_keys"].as_u64().unwrap_or(0);
    assert_eq!(total, place.keys(), "each key is counted once");
    assert_eq!(live["strangers"].as_array().map(Vec::len), Some(1_000), "bounded");
    assert!(live["other_keys"].as_u64() == Some(3), "session:42, short lived, simulation_plan: {}", live["other_keys"]);
    // Sorted as asked.
    let by_size = place.run(&["keys", "--live", "--json", "--sort", "size"]).expect(0).json();
    let sizes: Vec<u64> =
        by_size["rows"].as_array().expect("rows").iter().filter_map(|r| r["bytes"].as_u64()).collect();
    assert!(sizes.windows(2).all(|w| w[0] >= w[1]) && sizes.len() > 10);
    let text = place.run(&["keys", "--live"]).expect(0).out;
    for words in ["string!", "no daemon writes now", "strangers", "of the contract are not there"] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
}

#[test]
fn beside_a_daemon_each_key_has_its_age_and_its_epoch() {
    let world = World::ready(&Options::default());
    let url = world.redis.server().url();
    wait_for("every key of the daemon", || {
        let mut command = super::Command::new(super::BIN);
        let live =
            Ended::of(&command.args(["keys", "--live", "--json", "--redis", &url]).output().expect("runs")).json();
        let rows = rows(&live);
        let epoch = live["daemons"]["epoch"].as_u64().unwrap_or(0);
        let row = rows.get("trapline:{SYMBOL}:market_state").cloned().unwrap_or_default();
        let fresh = row["age_ms"].as_i64().is_some_and(|ms| (-1_000..30_000).contains(&ms));
        let expiry = rows.get("current_position").is_some_and(|r| r["ttl_s"].as_i64().is_some_and(|s| s > 3_000));
        let good = row["keys"] == 2
            && row["owner"] == format!("trapline {epoch}")
            && fresh
            && expiry
            && live["daemons"]["writers"][0].as_str().is_some_and(|w| w.starts_with("trapline-writer-"))
            && rows.values().all(|r| r["wrong"] == 0);
        if good { Ok(()) } else { Err(live.to_string()) }
    });
    // What the daemon wrote needs no migration, and its expiry is as protect wants it.
    let state = world.daemon.state.path().join("trapline.toml");
    let run = |words: &[&str]| {
        Ended::of(&super::Command::new(super::BIN).args(words).arg("--config").arg(&state).output().expect("runs"))
    };
    run(&["migrate", "--check"]).expect(0);
    run(&["protect", "--apply"]).expect(0);
    run(&["protect", "--check"]).expect(0);
}
