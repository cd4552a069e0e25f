//! Programs of the older system, as they parse: every access of theirs that is known, on what a daemon writes.
//!
//! None of their code is here, only what they do with a value: which command, which field, which conversion, and what
//! would have thrown.

use super::live::lively;
use crate::support::{Redis, World, wait_for};
use serde_json::Value;

/// `GET` + `json.loads`, as every old position reader begins. A hash would be WRONGTYPE.
fn loads(redis: &Redis, key: &str) -> Value {
    let text: Option<String> =
        redis::cmd("GET").arg(key).query(&mut redis.link()).unwrap_or_else(|e| panic!("{key}: {e}"));
    let text = text.unwrap_or_else(|| panic!("{key}: absent, which old pages fill with invented numbers"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{key}: {e}: {text}"))
}

/// Python's `float(x)`: numbers and decimal text, but no None.
fn float(value: &Value, what: &str) -> f64 {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number.unwrap_or_else(|| panic!("float({what}) throws on {value}"))
}

/// Python's `datetime.fromisoformat` before 3.11: date, `T`, time with 3 or 6 decimals, perhaps `±HH:MM`. True: aware.
fn fromisoformat(value: &Value, what: &str) -> bool {
    let text = value.as_str().unwrap_or_else(|| panic!("fromisoformat({what}) throws on {value}"));
    let (naive, aware) = match text.len() {
        23 | 26 => (text, false),
        29 | 32 => (&text[..text.len() - 6], true),
        _ => panic!("fromisoformat({what}) throws on {text}"),
    };
    let digits = |range: std::ops::Range<usize>| naive[range].bytes().all(|b| b.is_ascii_digit());
    assert!(digits(0..4) && digits(5..7) && digits(8..10) && digits(11..13) && digits(20..23), "{what}: {text}");
    assert!(!aware || text.ends_with("+00:00"), "{what}: {text}");
    aware
}

fn now_s() -> f64 {
    trapline::clock::Clock::system().now_ms() as f64 / 1_000.0
}

fn list(redis: &Redis, key: &str) -> Vec<Value> {
    let items: Vec<String> =
        redis::cmd("LRANGE").arg(key).arg(0).arg(-1).query(&mut redis.link()).unwrap_or_else(|e| panic!("{key}: {e}"));
    items.iter().map(|t| serde_json::from_str(t).unwrap_or_else(|e| panic!("{key}: {e}: {t}"))).collect()
}

/// The dashboard's server and both live servers: dialects A and B of one position.
fn dashboards_read_a_position(p: &Value, what: &str) {
    let open = p["has_position"].as_bool().unwrap_or_else(|| panic!("{what}: `if not data['has_position']` on {p}"));
    for field in ["entry_price", "position_size", "size", "leverage", "pnl_percent", "pnl_usd", "pnl"] {
        let number = float(&p[field], &format!("{what}.{field}"));
        assert!(number.is_finite(), "{what}.{field}");
        assert!(open || number == 0.0, "{what}.{field} of a flat position is {number}");
    }
    // JavaScript: parseInt(position.leverage), position.take_profits.length
    assert!(p["leverage"].as_f64().is_some_and(|l| if open { l >= 1.0 } else { l == 0.0 }), "{what}: {p}");
    assert!(p["take_profits"].is_array() && p.get("take_profit").is_some(), "{what}: both spellings: {p}");
    let words = (p["position_side"].as_str(), p["direction"].as_str());
    assert!(matches!(
        words,
        (Some("long"), Some("LONG")) | (Some("short"), Some("SHORT")) | (Some("none"), Some("NONE"))
    ));
    assert_eq!(open, words.0 != Some("none"), "{what}: {p}");
    fromisoformat(&p["timestamp"], &format!("{what}.timestamp"));
    assert_eq!(p["symbol"], "BTCUSDT_UMCBL", "{what}");
    for field in ["stop_loss", "entry_time", "source", "current_price"] {
        assert!(p.get(field).is_some(), "{what}.{field} is a KeyError");
    }
    if open {
        assert!(float(&p["entry_price"], what) > 0.0 && float(&p["current_price"], what) > 0.0, "{what}: {p}");
    }
}

/// Dialect C: `short_trader_position`, `long_trader_position`.
fn dashboards_read_a_side(redis: &Redis, side: &str) {
    let what = format!("{side}_trader_position");
    let p = loads(redis, &what);
    assert_eq!(p["direction"].as_str(), Some(side.to_uppercase().as_str()), "{what}");
    assert_eq!(p["symbol"], "BTC/USDT:USDT", "{what}");
    let open = p["status"] == "OPEN";
    assert!(open || p["status"] == "FLAT", "{what}: {p}");
    assert_eq!(p["has_position"].as_bool(), Some(open), "{what}");
    for field in ["entry_price", "size", "leverage", "unrealized_pnl", "pnl_percent"] {
        float(&p[field], &format!("{what}.{field}"));
    }
    assert!(p["id"].is_string() && p["take_profits"].is_array() && p.get("stop_loss").is_some(), "{what}: {p}");
    fromisoformat(&p["timestamp"], &what);
    assert_eq!(float(&p["size"], &what) > 0.0, open, "{what}");
}

/// redis_trap_monitor: `keys('mm_trap:*')`, `hgetall`, `int(key.split(':')[1])`; one other type ends its loop.
fn the_trap_monitor(redis: &Redis) {
    let keys: Vec<String> = redis::cmd("KEYS").arg("mm_trap:*").query(&mut redis.link()).expect("keys");
    assert!(!keys.is_empty());
    for key in keys {
        let hash: std::collections::BTreeMap<String, String> = redis::cmd("HGETALL")
            .arg(&key)
            .query(&mut redis.link())
            .unwrap_or_else(|e| panic!("{key}: one key of another type hides all traps: {e}"));
        let second: i64 =
            key.split(':').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("int() of {key}"));
        assert!((now_s() - second as f64).abs() < 7_200.0, "{key}: seconds, not milliseconds");
        let confidence: f64 = hash["confidence"].parse().expect("float(confidence)");
        let change: f64 = hash["change"].parse().expect("float(change): an empty one drops the alert");
        assert!((0.0..=1.0).contains(&confidence) && change.abs() < 1.0, "{key}: a fraction, printed as .2%: {hash:?}");
        assert!(hash["price"].parse::<f64>().is_ok_and(|p| p > 0.0), "{key}");
        assert!(hash["type"].bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{key}: {}", hash["type"]);
        // telegram_market_report sorts by this text.
        fromisoformat(&Value::String(hash["timestamp"].clone()), &key);
        let ttl: i64 = redis::cmd("TTL").arg(&key).query(&mut redis.link()).expect("ttl");
        assert!(ttl > 0, "{key} never goes away");
    }
}

/// trading_analyzer: `time.time() - trap['timestamp']`, which throws on text.
fn the_newest_trap(redis: &Redis) {
    let check = |trap: &Value, what: &str| {
        let seconds =
            trap["timestamp"].as_f64().unwrap_or_else(|| panic!("{what}: time.time() - {}", trap["timestamp"]));
        assert!((now_s() - seconds).abs() < 7_200.0, "{what}: epoch seconds: {seconds}");
        assert!(trap["type"].as_str().is_some_and(|t| t.starts_with(char::is_uppercase)), "{what}: Title Case: {trap}");
        for field in ["confidence", "price_change", "price"] {
            float(&trap[field], &format!("{what}.{field}"));
        }
        assert!(trap["id"].is_string(), "{what}");
        assert!(["1min", "5min", "15min", "60min"].contains(&trap["timeframe"].as_str().unwrap_or_default()), "{what}");
        fromisoformat(&trap["time"], what);
        seconds
    };
    check(&loads(redis, "latest_mm_trap"), "latest_mm_trap");
    // trap_probability_meter takes the first ten; redis_mapping takes the suffix for the timeframe.
    for (key, most) in [("recent_mm_traps", 50), ("mm_trap_detections:5min", 1_000)] {
        let items = list(redis, key);
        assert!(!items.is_empty() && items.len() <= most, "{key}: {}", items.len());
        let times: Vec<f64> = items.iter().map(|i| check(i, key)).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{key}: newest first: {times:?}");
    }
    assert_eq!(loads(redis, "latest_mm_trap"), list(redis, "recent_mm_traps")[0]);
}

/// trap_probability_utils: `datetime.now() - datetime.fromisoformat(x)`, which throws on an offset.
fn the_probability(redis: &Redis) {
    let check = |p: &Value, what: &str| {
        let value = float(&p["probability"], what);
        assert!((0.0..=1.0).contains(&value), "{what}: {p}");
        assert!(!fromisoformat(&p["timestamp"], what), "{what}: naive minus aware throws: {}", p["timestamp"]);
        let words = ["stable", "increasing", "decreasing"];
        assert!(p["trend"].as_str().is_some_and(|t| words.iter().any(|w| t.ends_with(w))), "{what}: {p}");
        float(&p["change"], what);
        for (name, component) in p["components"].as_object().unwrap_or_else(|| panic!("{what}: components: {p}")) {
            float(&component["value"], &format!("{what}.{name}"));
            assert!(component["description"].is_string(), "{what}.{name}");
        }
        assert!(p["trap_type"].is_null() || p["trap_type"].as_str().is_some_and(|t| t.contains(char::is_uppercase)));
        p["ts_ms"].as_i64().unwrap_or_else(|| panic!("{what}: {p}"))
    };
    let now = check(&loads(redis, "current_trap_probability"), "current_trap_probability");
    let history = list(redis, "trap_probability_history");
    let times: Vec<i64> = history.iter().map(|p| check(p, "trap_probability_history")).collect();
    assert!(!times.is_empty() && times.len() <= 1_000 && times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    assert!(times[0] <= now);
}

/// trap_dashboard_demo and dashboard_integration.
fn the_trap_dashboard(redis: &Redis) {
    let whole = loads(redis, "dashboard:trap_analysis");
    for (part, key) in
        [("analysis", "dashboard:trap_analysis:data"), ("performance", "dashboard:trap_analysis:performance")]
    {
        let alone = loads(redis, key);
        let names = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        assert!(!names(&alone).is_empty(), "{key}");
        assert_eq!(names(&whole[part]), names(&alone), "{key}");
    }
    let analysis = &whole["analysis"];
    assert!(analysis["total_count"].as_u64() >= Some(1), "{analysis}");
    let sum: u64 = analysis["trap_types"].as_object().expect("types").values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(sum), analysis["total_count"].as_u64());
    for field in ["hour_distribution", "day_distribution"] {
        assert!(analysis[field].is_object(), "{field}");
    }
    for trap in analysis["recent_high_conf_traps"].as_array().expect("a list") {
        assert!(["type", "time_ago", "timeframe"].iter().all(|f| trap[*f].is_string()), "{trap}");
        assert!(float(&trap["confidence"], "confidence") > 0.7, "{trap}");
    }
    for name in
        ["bear_trap_winrate", "bull_trap_winrate", "liquidity_grab_winrate", "stop_hunt_winrate", "avg_trade_pnl"]
    {
        assert!(whole["performance"][name].is_null(), "{name}: nothing measured, nothing claimed");
    }
}

/// health_check, check_redis_data, the ~40 readers of the price.
fn the_price(redis: &Redis) {
    let text = |key: &str| redis.text(key).unwrap_or_else(|| panic!("{key} is absent: old pages invent a price"));
    for key in ["last_btc_price", "prev_btc_price", "last_btc_volume"] {
        let value: f64 = text(key).parse().unwrap_or_else(|e| panic!("float({key}): {e}"));
        assert!(value > 0.0 && !text(key).contains(['e', 'E']), "{key}");
    }
    let age = now_s() - text("last_btc_update_time").parse::<f64>().expect("float(last_btc_update_time)");
    assert!((-5.0..300.0).contains(&age), "health_check: stale after 300 s, this is {age}");
    // /api/btc-price wants JSON there and falls back to last_btc_price where nothing is.
    let there: bool = redis::cmd("EXISTS").arg("btc_price").query(&mut redis.link()).expect("exists");
    assert!(!there, "btc_price stays unset as a key");
    let words = [
        ("market_regime", ["trending", "volatile", "normal", "unknown"]),
        ("current_market_regime", ["trending", "ranging", "normal", "unknown"]),
    ];
    for (key, words) in words {
        assert!(words.contains(&text(key).as_str()), "{key}: {}", text(key));
    }
}

/// redis_monitor and the old detector; multipliers never stick.
fn the_fast_mode(redis: &Redis) {
    let text = |key: &str| redis.text(key).unwrap_or_else(|| panic!("{key}"));
    let active = text("hf_trap_mode_active");
    assert_eq!(active, text("high_frequency_mode"));
    let multiplier: f64 = text("hf_trap_mode_multiplier").parse().expect("float");
    assert!((0.5..=1.0).contains(&multiplier) && (active == "1" || multiplier == 1.0), "{active} {multiplier}");
    fromisoformat(&Value::String(text("hf_trap_mode_timestamp")), "hf_trap_mode_timestamp");
}

/// check_redis_data: lists of trades, hashes of figures.
fn the_strategies(redis: &Redis) {
    let trades = list(redis, "trader:trades:scalper");
    assert!(!trades.is_empty() && trades.len() <= 100);
    for trade in &trades {
        float(&trade["pnl"], "pnl");
        float(&trade["size"], "size");
        assert!(["LONG", "SHORT", "NET"].contains(&trade["direction"].as_str().unwrap_or_default()), "{trade}");
        assert_eq!(trade["profile_type"], "scalper");
    }
    let figures = redis.hash("trader:metrics:scalper");
    assert!(
        figures["total_trades"].parse::<u64>().is_ok() && figures["confidence"].parse::<f64>().is_ok(),
        "{figures:?}"
    );
    assert_eq!(figures["emotional_state"], "neutral");
    fromisoformat(&Value::String(figures["timestamp"].clone()), "trader:metrics");
}

/// The seed document's own lines: hget + parseInt, zset members.
fn the_seeds_bots(redis: &Redis, hash_key: &str) {
    let position = redis.hash(hash_key);
    for field in [
        "symbol",
        "side",
        "size",
        "entryPrice",
        "markPrice",
        "unrealizedPnL",
        "leverage",
        "marginMode",
        "updateTime",
        "timestamp",
    ] {
        assert!(position.contains_key(field), "{hash_key}.{field}");
    }
    let age_ms = now_s() * 1_000.0 - position["timestamp"].parse::<f64>().expect("parseInt(timestamp)");
    assert!(age_ms < 60_000.0, "older than 60 s calls for notifyStaleData: {age_ms}");
    let market = redis.hash("market_state");
    assert!(["price", "volume", "regime", "timestamp"].iter().all(|f| market.contains_key(*f)), "{market:?}");
    let members: Vec<(String, f64)> = redis::cmd("ZRANGE")
        .arg("trap_events")
        .arg(0)
        .arg(-1)
        .arg("WITHSCORES")
        .query(&mut redis.link())
        .expect("a sorted set");
    for (member, score) in members {
        let event: Value = serde_json::from_str(&member).expect("JSON");
        assert!(["type", "probability", "price", "volume"].iter().all(|f| !event[*f].is_null()), "{member}");
        assert_eq!(event["ts"].as_f64(), Some(score), "score = ms");
    }
}

fn everything(world: &World, legacy: bool) {
    world.daemon.wait_ready();
    super::live::wait_events(world);
    let redis = &world.redis;
    let mut seen = std::collections::BTreeSet::new();
    let look = |seen: &mut std::collections::BTreeSet<bool>| {
        for key in ["active_position"].into_iter().chain(legacy.then_some("current_position")) {
            let position = loads(redis, key);
            dashboards_read_a_position(&position, key);
            seen.insert(position["has_position"] == true);
        }
        ["long", "short"].into_iter().for_each(|side| dashboards_read_a_side(redis, side));
        the_seeds_bots(redis, if legacy { "current_position:hash" } else { "current_position" });
    };
    wait_for("an open position", || {
        look(&mut seen);
        if seen.contains(&true) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    the_trap_monitor(redis);
    the_newest_trap(redis);
    the_probability(redis);
    the_trap_dashboard(redis);
    the_price(redis);
    the_fast_mode(redis);
    the_strategies(redis);
    world.exchange.venue.pause();
    wait_for("flat", || {
        for side in ["long", "short"] {
            world.exchange.control(&format!("position?symbol=BTCUSDT&side={side}&size=0"));
        }
        look(&mut seen);
        if seen.contains(&false) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn old_programs_read_what_they_expect() {
    everything(&lively(false), false);
}

#[test]
fn old_dashboards_read_current_position_in_their_format() {
    everything(&lively(true), true);
}

/// Both directions of a changed mind, and a program that will not stop: aside, never deleted, said once.
#[test]
fn a_foreign_type_is_put_aside_at_the_start_and_while_running() {
    for legacy in [false, true] {
        let options = || {
            let mut more = vec![("redis", "migrate = true".to_owned())];
            if legacy {
                more.push(("redis", "position_key_format = \"legacy-json\"".to_owned()));
            }
            crate::support::Options { more, ..Default::default() }
        };
        let exchange = crate::support::Exchange::start(crate::support::Exchange::config());
        let redis = Redis::start();
        let set = |words: &[&str]| {
            let _: () = redis::cmd(words[0]).arg(&words[1..]).query(&mut redis.link()).expect("set");
        };
        // What the other format, and worse, has left.
        let keys = [
            "current_position",
            "active_position",
            "long_trader_position",
            "last_btc_price",
            "dashboard:trap_analysis",
            "trap_probability_history",
            "market_regime",
        ];
        let ours: Vec<&str> = keys
            .into_iter()
            .map(|key| {
                let hash = key == "current_position" && !legacy;
                if hash || key == "trap_probability_history" {
                    set(&["SET", key, "foreign"]);
                } else {
                    set(&["HSET", key, "foreign", "1"]);
                }
                let row = trapline::store::keys::row_of(key).expect("a row");
                if key == "current_position" && legacy { "string" } else { row.shape.redis_type() }
            })
            .collect();
        let daemon = crate::support::Daemon::start(exchange.venue.addr().port(), &redis.server().url(), &options());
        let world = World { daemon, exchange, redis };
        world.daemon.wait_ready();
        let kind = |key: &str| -> String { redis::cmd("TYPE").arg(key).query(&mut world.redis.link()).expect("type") };
        let aside = |key: &str| -> Vec<String> {
            redis::cmd("KEYS").arg(format!("legacy:{key}:*")).query(&mut world.redis.link()).expect("keys")
        };
        for (key, ours) in keys.iter().zip(&ours) {
            wait_for(&format!("{key} is ours again"), || {
                let (now, saved) = (kind(key), aside(key).len());
                if now == *ours && saved == 1 {
                    Ok(())
                } else {
                    Err(format!("{now}, {saved} aside; {}", world.daemon.log()))
                }
            });
            let saved = aside(key).remove(0);
            let ttl: i64 = redis::cmd("TTL").arg(&saved).query(&mut world.redis.link()).expect("ttl");
            let there = kind(&saved) == "hash" || world.redis.text(&saved).as_deref() == Some("foreign");
            assert!(ttl == -1 && there, "{saved} is kept as it was, for good");
        }
        // And while it runs.
        std::thread::sleep(std::time::Duration::from_secs(11));
        let _: () = redis::pipe()
            .cmd("DEL")
            .arg("current_position")
            .ignore()
            .cmd("RPUSH")
            .arg("current_position")
            .arg("foreign")
            .ignore()
            .query(&mut world.redis.link())
            .expect("written");
        world.exchange.control("position?symbol=BTCUSDT&side=long&size=0.005&entry=60000");
        wait_for("current_position is ours again", || {
            let (now, saved) = (kind("current_position"), aside("current_position").len());
            if now == ours[0] && saved == 2 { Ok(()) } else { Err(format!("{now}, {saved} aside")) }
        });
        let alerts = super::live::value_of(&world.redis, "trapline:alerts", "stream");
        let told: Vec<_> = alerts.as_array().expect("alerts").iter().filter(|a| a["id"] == "foreign_writer").collect();
        for key in keys {
            let about = told
                .iter()
                .filter(|a| a["data"].as_str().is_some_and(|d| d.contains(&format!("{key} held another type"))))
                .count();
            assert_eq!(about, 1, "{key}: said once a minute: {told:?}");
        }
    }
}

/// Without leave to rename, nothing of others is touched, whatever type it is.
#[test]
fn without_leave_a_foreign_type_is_left_alone() {
    let exchange = crate::support::Exchange::start(crate::support::Exchange::config());
    let redis = Redis::start();
    let foreign =
        ["active_position", "last_btc_price", "market_regime", "dashboard:trap_analysis", "trap_probability_history"];
    for key in foreign {
        let _: () = redis::cmd("SADD").arg(key).arg("foreign").query(&mut redis.link()).expect("set");
    }
    let daemon = crate::support::Daemon::start(
        exchange.venue.addr().port(),
        &redis.server().url(),
        &crate::support::Options::default(),
    );
    let world = World { daemon, exchange, redis };
    world.daemon.wait_ready();
    wait_for("all of it is reported", || {
        let alerts = super::live::value_of(&world.redis, "trapline:alerts", "stream").to_string();
        let missing: Vec<_> = foreign.iter().filter(|k| !alerts.contains(&format!("{k} holds another type"))).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} in {alerts}; {}", world.daemon.log())) }
    });
    for key in foreign {
        let members: Vec<String> = redis::cmd("SMEMBERS").arg(key).query(&mut world.redis.link()).expect("a set");
        assert_eq!(members, ["foreign"], "{key}");
    }
    world.redis.wait_field("market_state", "stale", |v| v == "0");
    assert!(world.redis.text("prev_btc_price").is_some() && world.redis.text("long_trader_position").is_some());
}
