//! `trapline migrate`.

use super::Place;
use super::legacy::{self, FOREIGN};
use super::support::{Daemon, Exchange, Options};
use std::collections::BTreeSet;

#[test]
fn foreign_types_go_aside_without_expiry_and_only_once() {
    let place = Place::start();
    legacy::fill(&mut place.redis.link());
    place.set(&["EXPIRE", "market_state", "500"]);
    let before = place.keys();
    let old: String = redis::cmd("GET").arg("current_position").query(&mut place.redis.link()).expect("GET");

    let check = place.run(&["migrate", "--check", "--json"]).expect(1).json();
    let moves: BTreeSet<&str> =
        check["plan"]["moves"].as_array().expect("moves").iter().filter_map(|m| m["key"].as_str()).collect();
    assert_eq!(moves, FOREIGN.iter().copied().collect());
    let plan = place.run(&["migrate"]).expect(0);
    assert!(plan.out.contains("rename current_position (string, expected hash)"), "{}", plan.out);
    assert_eq!(place.kind("current_position"), "string", "a plan changes nothing");

    place.run(&["migrate", "--apply"]).expect(0);
    assert_eq!(place.keys(), before, "nothing is deleted");
    for key in FOREIGN {
        assert!(!place.exists(key), "{key}");
        let aside: Vec<String> =
            redis::cmd("KEYS").arg(format!("legacy:{key}:*")).query(&mut place.redis.link()).expect("KEYS");
        assert_eq!(aside.len(), 1, "{key}: {aside:?}");
        let ttl: i64 = redis::cmd("TTL").arg(&aside[0]).query(&mut place.redis.link()).expect("TTL");
        assert_eq!(ttl, -1, "{key} is kept for ever");
        if *key == "current_position" {
            assert_eq!(place.redis.text(&aside[0]).as_deref(), Some(old.as_str()));
        }
    }
    assert_eq!(place.kind("last_btc_price"), "string", "what is right stays");
    place.run(&["migrate", "--check"]).expect(0);
    let acts = place.acts().len();
    place.run(&["migrate", "--apply"]).expect(0);
    assert_eq!((place.keys(), place.acts().len()), (before, acts), "the second time does nothing");
    assert_eq!(place.steps().iter().filter(|s| *s == "migrate renamed").count(), FOREIGN.len());
}

#[test]
fn the_format_decides_what_current_position_is() {
    let place = Place::start();
    place.set(&["HSET", "current_position", "size", "0"]);
    place.run(&["migrate", "--check"]).expect(0);
    let plan = place.run(&["migrate", "--check", "--format", "legacy-json"]).expect(1);
    assert!(plan.out.contains("(hash, expected string)"), "{}", plan.out);
}

#[test]
fn beside_a_daemon_only_what_is_safe_is_moved() {
    let place = Place::start();
    legacy::fill(&mut place.redis.link());
    let exchange = Exchange::start(Exchange::config());
    let _daemon = Daemon::start(exchange.venue.addr().port(), &place.url(), &Options::default());
    super::support::wait_for("the daemon writes", || match place.exists("trapline:health") {
        true => Ok(()),
        false => Err("no health".to_owned()),
    });
    let refused = place.run(&["migrate", "--apply"]).expect(75);
    assert!(refused.err.contains("a daemon runs"), "{}", refused.err);
    assert_eq!(place.kind("current_position"), "string");
    assert!(place.exists("trap_events"), "refused as a whole");
    // Without the one key of which only the daemon knows the type, the rest is safe.
    place.set(&["RENAME", "current_position", "legacy:current_position:1"]);
    place.run(&["migrate", "--apply"]).expect(0);
    // The daemon writes its own in their places.
    super::support::wait_for("market_state", || match place.kind("market_state").as_str() {
        "hash" => Ok(()),
        other => Err(other.to_owned()),
    });
    place.run(&["migrate", "--check"]).expect(0);
}
