//! trapline follows an account that a random trader moves, through connections that break and pushes that lie:
//! whenever the market stands still, Redis says what the exchange knows to be true.
//!
//! By hand, longer or otherwise: `ACCOUNT_SECONDS=180 ACCOUNT_SEED=7 ACCOUNT_GENERATION=v2 ACCOUNT_FAULTS=all cargo
//! test --test exchange_account -- --nocapture`. With `ACCOUNT_DAY=real` the limits are those of `--time-scale 60` to the
//! letter, so that the cut of every 24 hours comes after 24 minutes: `ACCOUNT_SECONDS=3600` sees two. With
//! `ACCOUNT_FAULTS=kept` pushes lie and connections are left alone, so that they live to see that cut.

mod support;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::{Exchange, Options, World, wait_for};
use trapline::domain::position::HoldSide;
use trapline::venue::{Limits, ScriptChoice, VenueConfig};

const SYMBOLS: [&str; 3] = ["BTCUSDT", "ETHUSDT", "SOLUSDT"];
/// Each with the longest it may last, ms; 0 = a moment.
const FAULTS: [(&str, u64); 5] =
    [("kill", 0), ("close", 0), ("half_open", 3_000), ("phantom_empty", 0), ("lost_close", 2_000)];

/// With `ACCOUNT_FAULTS=kept` only these: no connection ends by them.
const KEPT: [&str; 2] = ["phantom_empty", "lost_close"];

/// By hand, with `ACCOUNT_FAULTS=all`, these too.
const MORE: [(&str, u64); 14] = [
    ("daily_disconnect", 0),
    ("garbage_frame", 0),
    ("truncated_frame", 1_500),
    ("wrong_types", 1_500),
    ("empty_numeric", 1_500),
    ("reorder_ts", 1_500),
    ("code_as_string", 2_000),
    ("ack_silent", 2_000),
    ("freeze_channel", 2_000),
    ("rest_500", 3_000),
    ("rest_html", 3_000),
    ("rest_empty_body", 3_000),
    ("rest_slow", 3_000),
    ("rest_list_null", 1_500),
];

/// What both sides must say of a side of a symbol.
type Facts = BTreeMap<String, String>;

fn facts(has: bool, numbers: [Decimal; 3], words: [&str; 2]) -> Facts {
    // A flat side has no modes, leverage or price.
    let mut all = Facts::from([("has_position".to_owned(), if has { "1" } else { "0" }.to_owned())]);
    if has {
        for (name, number) in ["size", "entry_price", "leverage"].iter().zip(numbers) {
            all.insert((*name).to_owned(), number.round_dp(8).normalize().to_string());
        }
        for (name, word) in ["margin_mode", "hold_mode"].iter().zip(words) {
            all.insert((*name).to_owned(), word.to_owned());
        }
    }
    all
}

fn truth(world: &World, symbol: &str, side: HoldSide) -> Facts {
    let rows = world.exchange.venue.positions();
    match rows.iter().find(|row| row.symbol == symbol && row.side == side) {
        Some(row) => {
            facts(true, [row.size, row.entry_price, row.leverage], [row.margin_mode.label(), row.hold_mode.label()])
        }
        None => facts(false, [Decimal::ZERO; 3], ["", ""]),
    }
}

/// What Redis says, and when the exchange last proved it, ms.
fn shown(world: &World, symbol: &str, side: HoldSide) -> (Facts, i64) {
    let hash = world.redis.hash(&format!("trapline:{symbol}:position:{}", side.label()));
    let text = |name: &str| hash.get(name).map_or("", String::as_str);
    let number = |name: &str| text(name).parse().unwrap_or(Decimal::NEGATIVE_ONE);
    let facts = facts(
        text("has_position") == "1",
        ["size", "entry_price", "leverage"].map(number),
        [text("margin_mode"), text("hold_mode")],
    );
    (facts, text("timestamp").parse().unwrap_or(0))
}

/// The first difference between what is true and what Redis says, or the first picture that the exchange last proved
/// before `since_ms`: what was true once and is so again by chance is not what the exchange says now.
fn differs(world: &World, since_ms: i64) -> Option<String> {
    let sides = SYMBOLS.iter().flat_map(|symbol| HoldSide::BOTH.map(|side| (symbol, side)));
    sides.into_iter().find_map(|(symbol, side)| {
        let (truth, (shown, proved_ms)) = (truth(world, symbol, side), shown(world, symbol, side));
        let name = side.label();
        match truth == shown {
            false => Some(format!("{symbol} {name}: true {truth:?}, shown {shown:?}")),
            true if proved_ms < since_ms => Some(format!("{symbol} {name}: proved at {proved_ms}, before {since_ms}")),
            true => None,
        }
    })
}

/// Stops the market and waits until Redis says what is true, for every side of every symbol.
fn check(world: &World, round: u32, story: &[String]) {
    world.exchange.venue.pause();
    // What was begun is finished first.
    wait_for(
        "the market stands still",
        || if world.exchange.venue.stands_still() { Ok(()) } else { Err(String::new()) },
    );
    let (begun, still_ms) = (Instant::now(), trapline::clock::Clock::system().now_ms());
    wait_for(&format!("check {round} after {story:?}"), || differs(world, still_ms).map_or(Ok(()), Err));
    let equal_after = begun.elapsed();
    // And stays so: nothing true is taken back.
    let rest = Instant::now();
    while rest.elapsed() < Duration::from_millis(400) {
        if let Some(difference) = differs(world, still_ms) {
            panic!("check {round} after {story:?}: was equal, and then {difference}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("check {round}: equal after {equal_after:?}, {} open", world.exchange.venue.positions().len());
    world.exchange.venue.resume();
}

/// An hour of limits is a minute; the cut of every 24 hours comes every 13 seconds, or (`ACCOUNT_DAY=real`) every 24
/// minutes.
fn limits() -> Limits {
    let scaled = Limits::default().scaled(60.0);
    match given::<String>("ACCOUNT_DAY").as_deref() {
        Some("real") => scaled,
        _ => Limits { day: Duration::from_secs(13), ..scaled },
    }
}

fn follow(generation: &'static str, seed: u64, length: Duration) {
    eprintln!("generation {generation}, seed {seed}, {length:?}");
    let folder = tempfile::tempdir().expect("folder");
    let truth_file = folder.path().join("truth.jsonl");
    let venue = VenueConfig {
        symbols: SYMBOLS.map(str::to_owned).to_vec(),
        script: ScriptChoice::Random,
        seed,
        truth: Some(truth_file.clone()),
        limits: limits(),
        ..Exchange::config()
    };
    let options = Options {
        symbols: SYMBOLS.map(str::to_owned).to_vec(),
        generation,
        // A check waits for a proof of every side.
        more: vec![("reconcile", "every_ms = 1000".to_owned())],
        ..Options::default()
    };
    let world = World::start(venue, &options);
    world.daemon.wait_ready();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (begun, mut round, mut story) = (Instant::now(), 0, Vec::new());
    // At least as many rounds as there are faults, so that each had its turn.
    let mut order: Vec<(&str, u64)> = Vec::new();
    while begun.elapsed() < length || round < 5 {
        if order.is_empty() {
            order = FAULTS.to_vec();
            match given::<String>("ACCOUNT_FAULTS").as_deref() {
                Some("all") => order.extend(MORE),
                Some("kept") => order.retain(|(name, _)| KEPT.contains(name)),
                _ => {}
            }
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(300..2_000)));
        let (fault, longest_ms) = order.swap_remove(rng.random_range(0..order.len()));
        let ms = if longest_ms == 0 { 0 } else { rng.random_range(500..longest_ms) };
        story.push(format!("{fault} {ms} ms"));
        world.exchange.fault(fault, ms);
        std::thread::sleep(Duration::from_millis(rng.random_range(300..2_000)));
        round += 1;
        check(&world, round, &story[story.len().saturating_sub(5)..]);
    }
    let text = std::fs::read_to_string(&truth_file).expect("a truth log");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect();
    let count = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!(lines[0]["kind"], "start");
    assert!(count("fill") > 3 && count("position") > 3 && count("balance") > 3, "{} lines", lines.len());
    let status = world.daemon.statusz();
    eprintln!(
        "{round} checks, {} orders, {} fills, {} refused steps; refused by the daemon: {}",
        count("order"),
        count("fill"),
        count("refused"),
        status["refused"]
    );
    let stats = world.exchange.venue.stats();
    let limits = limits();
    eprintln!(
        "a day of {:?}, five minutes of {:?}: {} connects, {} of them again; limits met: {:?}; {} cut for not reading",
        limits.day,
        limits.connect_span,
        stats.connects,
        stats.connects.saturating_sub(2),
        stats.met.list(),
        stats.slow_cut,
    );
    // Connections that outlive a day are cut; the other faults end them earlier.
    let kept = given::<String>("ACCOUNT_FAULTS").as_deref() == Some("kept");
    if kept && begun.elapsed() > limits.day + Duration::from_secs(10) {
        assert!(stats.met.day > 0, "the day was over, and no connection was cut for it: {stats:?}");
    }
    assert_eq!(stats.met.ping, 0, "trapline pings in time");
    for (name, count) in [("messages", stats.met.messages), ("subscribes", stats.met.subscribes)] {
        assert_eq!(count, 0, "trapline stays below the limit of {name}");
    }
}

fn given<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn redis_says_what_is_true_whenever_the_market_stands_still() {
    let generation: Option<String> = given("ACCOUNT_GENERATION");
    let length = Duration::from_secs(given("ACCOUNT_SECONDS").unwrap_or(20));
    for (known, seed) in [("v3", 3), ("v2", 2)] {
        if generation.as_deref().is_none_or(|wanted| wanted == known) {
            follow(known, given("ACCOUNT_SEED").unwrap_or(seed), length);
        }
    }
}
