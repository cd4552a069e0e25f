//! P2: the circuit breaker dies while fills wait for their slot. None is lost, none comes twice, and they leave in the
//! order in which the exchange made them.

use crate::common::{Faults, PATIENT, assert_each_fill_once, events, have_fault_points, ms, order_room, rooms, with};
use crate::support::figures::Figures;
use crate::support::{Exchange, World, http_get, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;
use trapline::venue::{ScriptChoice, VenueConfig};

const BREAKER: &str = "circuit_breaker";

/// Identities of the fills that the exchange made, in its order.
fn made(truth: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(truth).expect("the truth log");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["kind"] == "fill").filter_map(|l| Some(l["trade_id"].as_str()?.to_owned())).collect()
}

/// The same in Redis, by their numbers there.
fn told(world: &World) -> Vec<String> {
    events(world).into_iter().filter(|event| event.kind == "fill").map(|event| event.id).collect()
}

fn order(world: &World, turn: usize) {
    let side = ["buy", "sell"][turn % 2];
    http_get(world.exchange.venue.addr().port(), &format!("/_exchange/order?symbol=BTCUSDT&side={side}&size=0.001"));
}

#[test]
fn p02_fills_that_wait_outlive_the_breaker() {
    if !have_fault_points() {
        return;
    }
    let (faults, folder) = (Faults::new(), tempfile::tempdir().expect("folder"));
    let truth = folder.path().join("truth.jsonl");
    let venue = VenueConfig { script: ScriptChoice::Idle, truth: Some(truth.clone()), ..Exchange::config() };
    let mut more = PATIENT.to_vec();
    // Six at once, then one in 1.1 s. REST is not to tell them too: their order would be another.
    more.extend([("rates", "trades_per_minute = 60"), ("reconcile", "every_ms = 60000"), ("", "allow_drills = true")]);
    let world = World::start(venue, &with(vec![faults.env()], &more));
    world.daemon.wait_ready();
    (0..36).for_each(|turn| order(&world, turn));
    wait_for("the first fills", || if told(&world).len() >= 6 { Ok(()) } else { Err(format!("{:?}", told(&world))) });

    // Between two messages; and three times in a row after a slot let fills out, which takes that back.
    let (mut deaths, mut recovery) = (0, Vec::new());
    for (how, count) in [("drill", 1), ("slot", 3), ("drill", 1)] {
        let waiting = made(&truth).len() - told(&world).len();
        assert!(waiting > 0, "nothing waits any more before {how}");
        let had = rooms(&world.daemon)[BREAKER].restarts;
        let begun = Instant::now();
        match how {
            "drill" => {
                let (code, _, error) = world.daemon.cli(&["drill", &format!("panic:{BREAKER}")]);
                assert_eq!(code, 0, "{error}");
            }
            _ => faults.arm(&format!("{BREAKER}.handled:Slot=panic@1-{count}")),
        }
        wait_for(&format!("{BREAKER} is back after {how}"), || {
            let now = rooms(&world.daemon)[BREAKER].clone();
            if now.restarts >= had + count && now.state == "running" { Ok(()) } else { Err(format!("{now:?}")) }
        });
        recovery.push(ms(begun.elapsed()));
        faults.disarm();
        deaths += count;
        order(&world, deaths as usize);
    }
    // A restart that somebody ordered passes them on, too.
    order_room(&world.daemon, "restart", BREAKER);
    let made = made(&truth);
    let fills = assert_each_fill_once(&world, &made.iter().cloned().collect::<BTreeSet<_>>());
    assert_eq!(told(&world), made, "in the exchange's order");
    Figures {
        row: "P2",
        fault: "the circuit breaker dies while fills wait",
        injected: deaths,
        detected: deaths,
        survived: deaths,
        recovery_ms: recovery,
        events: fills,
        ..Figures::default()
    }
    .publish();
}
