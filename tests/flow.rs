//! The main job, end to end: a real tape through real sockets into a real Redis, compared key by key with a model
//! computed from the tape alone; and the account on both sides, in both generations.

mod support;

use rust_decimal::Decimal;
use std::collections::BTreeMap;
use support::{Exchange, Options, World, tape, wait_for};
use trapline::tape::{Row, Tape};
use trapline::venue::{Hold, MarketSource, ScriptChoice, Speed, Stamps, VenueConfig};

fn decimal(hash: &BTreeMap<String, String>, field: &str) -> Decimal {
    hash.get(field).and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{field} in {hash:?}"))
}

/// What the keys must say after the whole tape, from the tape alone.
#[derive(Debug, Default)]
struct Model {
    last: Decimal,
    previous: Decimal,
    last_size: Decimal,
    trades: Vec<(i64, Decimal)>,
}

impl Model {
    /// Traded in the sixty whole seconds up to `exchange_time_ms`, for a tape shown `shift_ms` later than recorded.
    fn volume_1m(&self, exchange_time_ms: i64, shift_ms: i64) -> Decimal {
        let newest = exchange_time_ms.div_euclid(1_000);
        let inside = |(ts, _): &&(i64, Decimal)| (ts + shift_ms).div_euclid(1_000) > newest - 60;
        self.trades.iter().filter(inside).map(|(_, size)| *size).sum()
    }
}

fn model(path: &std::path::Path) -> Model {
    let mut model = Model::default();
    for row in Tape::open(path).expect("tape") {
        if let Row::Trade { ts_ms, price, size, .. } = row.expect("row") {
            if price != model.last {
                model.previous = model.last;
                model.last = price;
            }
            model.last_size = size;
            model.trades.push((ts_ms, size));
        }
    }
    model
}

#[test]
fn a_real_tape_ends_as_the_model_says() {
    let Some(path) = tape("binance-usdm-btcusdt-20240808.jsonl.gz") else { return };
    let expected = model(&path);
    let venue = VenueConfig {
        symbols: vec!["BTCUSDT".to_owned()],
        market: MarketSource::Tapes(vec![path]),
        speed: Speed::Max,
        // The tape keeps its spans, so that a minute of the tape is a minute in the keys.
        stamps: Stamps::Market,
        hold: Hold::UntilSubscribed { settle: std::time::Duration::from_millis(700) },
        ..Exchange::config()
    };
    let options = Options {
        symbols: vec!["BTCUSDT".to_owned()],
        more: vec![
            // Six minutes pass in seconds: stamps run ahead of the clock.
            ("rules", "market_max_age_ms = 3600000\nfuture_tolerance_ms = 60000".to_owned()),
            ("exchange", "private = \"off\"".to_owned()),
        ],
        key: None,
        ..Options::default()
    };
    let venue = VenueConfig { start_ms: Some(now_ms() - 6 * 60_000), ..venue };
    let world = World::start(venue, &options);
    wait_for("the tape's end", || {
        if world.exchange.venue.tape_finished() { Ok(()) } else { Err(world.exchange.venue.status_line()) }
    });
    // Quotes go on after the tape's end; the comparison needs a market that stands still.
    world.exchange.venue.pause();
    let truth = world.exchange.venue.truth().remove(0);
    let shift_ms = truth.trade_ms - expected.trades.last().expect("trades").0;
    let key = "trapline:BTCUSDT:market_state";
    let hash = wait_for("the last price", || {
        let hash = world.redis.hash(key);
        let newest_ms: i64 = hash.get("exchange_time").and_then(|t| t.parse().ok()).unwrap_or_default();
        let volume = expected.volume_1m(newest_ms, shift_ms);
        let settled = newest_ms >= truth.trade_ms.max(truth.ticker_ms);
        match hash.get("price").and_then(|p| p.parse::<Decimal>().ok()) {
            Some(price) if settled && price == expected.last && decimal(&hash, "volume") == volume => Ok(hash),
            _ => Err(format!("{hash:?}, volume {volume}, {truth:?}, {}", world.daemon.statusz()["refused"])),
        }
    });
    let status = world.daemon.statusz();
    assert_eq!(
        status["refused"].as_object().map(|r| r.keys().filter(|k| *k != "duplicate").count()),
        Some(0),
        "{status}"
    );
    let market = &status["symbols"][0]["market"];
    assert!(
        market["accepted_seq"].as_u64().map(|s| s & ((1 << 40) - 1)) > Some(expected.trades.len() as u64),
        "{market}"
    );
    assert_eq!(market["accepted_seq"].as_u64().map(|s| s.to_string()), hash.get("seq").cloned(), "{hash:?}");
    // The seed's keys say the same as ours.
    let seed = world.redis.hash("market_state");
    for field in ["price", "volume", "bid", "ask", "seq"] {
        assert_eq!(seed.get(field), hash.get(field), "{field}");
    }
    assert_eq!(seed.get("symbol").map(String::as_str), Some("BTCUSDT_UMCBL"));
    let text = |key: &str| world.redis.text(key).and_then(|t| t.parse::<Decimal>().ok());
    assert_eq!(text("last_btc_price"), Some(expected.last));
    assert_eq!(text("prev_btc_price"), Some(expected.previous));
    assert_eq!(text("last_btc_volume"), Some(expected.last_size));
    let latencies: i64 = redis::cmd("LLEN").arg("update_latencies").query(&mut world.redis.link()).expect("list");
    assert!((1..=10_000).contains(&latencies), "{latencies} latencies");
    // Every key that is there is in the contract, with the type the contract says.
    let dump: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut world.redis.link()).expect("keys");
    for key in dump {
        let row = trapline::store::keys::row_of(&key).unwrap_or_else(|| panic!("{key} is in no row of the key table"));
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut world.redis.link()).expect("type");
        assert_eq!(kind, row.shape.redis_type(), "{key}");
    }
}

fn now_ms() -> i64 {
    trapline::clock::Clock::system().now_ms()
}

/// The tour opens, adds, reduces, flips and closes; whenever the account rests, Redis says what it holds.
#[test]
fn the_account_is_followed_on_both_sides_in_both_generations() {
    for generation in ["v2", "v3", "auto"] {
        let venue = VenueConfig { script: ScriptChoice::Tour, ..Exchange::config() };
        let world = World::start(venue, &Options { generation, ..Options::default() });
        world.daemon.wait_ready();
        let (mut seen_long, mut seen_short) = (false, false);
        wait_for(&format!("{generation}: both sides were seen"), || {
            for side in ["long", "short"] {
                let hash = world.redis.hash(&format!("trapline:BTCUSDT:position:{side}"));
                let open = hash.get("size").is_some_and(|s| !s.trim_matches(['0', '.']).is_empty());
                if side == "long" { seen_long |= open } else { seen_short |= open }
            }
            if seen_long && seen_short { Ok(()) } else { Err(format!("long {seen_long}, short {seen_short}")) }
        });
        world.exchange.venue.pause();
        wait_for(&format!("{generation}: redis equals the account"), || {
            let open: BTreeMap<_, _> = world
                .exchange
                .venue
                .positions()
                .into_iter()
                .map(|p| ((p.symbol.clone(), p.side.label()), p.size))
                .collect();
            for symbol in ["BTCUSDT", "ETHUSDT"] {
                for side in ["long", "short"] {
                    let hash = world.redis.hash(&format!("trapline:{symbol}:position:{side}"));
                    let size =
                        hash.get("size").and_then(|s| s.parse::<Decimal>().ok()).unwrap_or(Decimal::NEGATIVE_ONE);
                    let expected = open.get(&(symbol.to_owned(), side)).copied().unwrap_or_default();
                    if size != expected {
                        return Err(format!("{symbol} {side}: {size}, the account holds {expected}"));
                    }
                }
            }
            Ok(())
        });
        // The fills became trades of the strategy, each once.
        let trades: Vec<String> = redis::cmd("LRANGE")
            .arg("trader:trades:scalper")
            .arg(0)
            .arg(-1)
            .query(&mut world.redis.link())
            .expect("list");
        let unique: std::collections::BTreeSet<_> = trades.iter().collect();
        assert!(!trades.is_empty() && unique.len() == trades.len(), "{generation}: {trades:?}");
        let current = world.redis.hash("current_position");
        assert!(current.contains_key("size") && current.contains_key("timestamp"), "{current:?}");
        let ttl: i64 = redis::cmd("TTL").arg("current_position").query(&mut world.redis.link()).expect("ttl");
        assert!((1..=3_600).contains(&ttl), "the expiry is renewed: {ttl}");
        for key in ["active_position", "long_trader_position", "short_trader_position"] {
            let text = world.redis.text(key).unwrap_or_else(|| panic!("{key}"));
            let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{key}: {e}: {text}"));
            assert!(json.is_object(), "{key}: {text}");
        }
    }
}

/// Exit code 0 means that the demo compared Redis with the exchange and found every promise kept.
#[test]
fn the_demo_keeps_its_promises_on_a_tape_and_on_a_seeded_market() {
    let run = |args: &[&str]| {
        let out = std::process::Command::new(support::BIN).arg("demo").arg("--json").args(args).output().expect("demo");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let log = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(0), "{args:?}: {text}\n{log}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    };
    let summary = run(&["--for", "8s", "--seed", "7"]);
    assert_eq!(summary["ok"], true, "{summary}");
    assert!(summary["events"].as_u64() > Some(0), "the account traded: {summary}");
    if let Some(path) = tape("binance-usdm-btcusdt-20240808.jsonl.gz") {
        let path = path.to_string_lossy().into_owned();
        let summary = run(&["--for", "10s", "--tape", &path, "--speed", "10"]);
        assert_eq!(summary["ok"], true, "{summary}");
        assert!(summary["market_reports_accepted"].as_u64() > Some(1_000), "{summary}");
    }
}

/// Redis goes with the demo, also when nobody could say goodbye.
#[test]
fn a_killed_demo_leaves_no_redis_behind() {
    let state = tempfile::Builder::new().prefix("tl-kill-").tempdir().expect("folder");
    let mut demo = std::process::Command::new(support::BIN)
        .args(["demo", "--json", "--state"])
        .arg(state.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("demo");
    let mark = state.path().canonicalize().expect("folder").join("redis").to_string_lossy().into_owned();
    let is_running = || {
        std::fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("redis-server") && std::fs::read(entry.path().join("environ")).is_ok() && {
                let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
                cwd.to_string_lossy().starts_with(&mark)
            }
        })
    };
    wait_for("redis runs", || if is_running() { Ok(()) } else { Err("not yet".to_owned()) });
    demo.kill().expect("SIGKILL");
    let _ = demo.wait();
    wait_for("redis is gone", || if is_running() { Err("still there".to_owned()) } else { Ok(()) });
}
