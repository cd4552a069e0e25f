//! Every value that a working daemon writes keeps its row of the table, in both formats of `current_position`.

use crate::support::{Exchange, Options, PATIENCE, Redis, World, wait_for};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use trapline::store::keys::{Bound, KEYS, Kind, Shape, Since, check, row_of};
use trapline::venue::{ScriptChoice, Speed, Stamps, VenueConfig};

/// An hour of a lively market within half a minute, and an account that does everything.
pub fn lively(legacy: bool) -> World {
    let venue = VenueConfig {
        script: ScriptChoice::Tour,
        speed: Speed::Times(100.0),
        stamps: Stamps::Market,
        seed: 5,
        start_ms: Some(trapline::clock::Clock::system().now_ms() - 3_300_000),
        ..Exchange::config()
    };
    let mut more = vec![("rules", "market_max_age_ms = 3600000\nfuture_tolerance_ms = 60000".to_owned())];
    if legacy {
        more.push(("redis", "position_key_format = \"legacy-json\"".to_owned()));
    }
    World::start(venue, &Options { more, ..Options::default() })
}

/// What a client library hands out for a key: the shape of `trapline schema`.
pub fn value_of(redis: &Redis, key: &str, kind: &str) -> Value {
    let link = &mut redis.link();
    let texts = |command: &str, link: &mut redis::Connection| -> Vec<String> {
        redis::cmd(command).arg(key).arg(0).arg(-1).query(link).expect("a list")
    };
    let parsed = |text: &String| match serde_json::from_str::<Value>(text) {
        Ok(document @ (Value::Object(_) | Value::Array(_))) => document,
        _ => json!(text),
    };
    match kind {
        "string" => parsed(&redis.text(key).unwrap_or_default()),
        "hash" => json!(redis.hash(key)),
        "list" => json!(texts("LRANGE", link).iter().map(parsed).collect::<Vec<_>>()),
        "zset" => json!(texts("ZRANGE", link).iter().map(parsed).collect::<Vec<_>>()),
        "stream" => {
            let entries: Vec<(String, BTreeMap<String, String>)> =
                redis::cmd("XRANGE").arg(key).arg("-").arg("+").query(link).expect("a stream");
            json!(entries.into_iter().map(|(_, fields)| fields).collect::<Vec<_>>())
        }
        other => panic!("{key} is a {other}"),
    }
}

/// Whether a value of this shape is as its row says.
fn judge(shape: Shape, kind: Kind, value: &Value) -> Result<(), String> {
    let fields = |value: &Value| -> Vec<(String, String)> {
        let map = value.as_object().expect("fields");
        map.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect()
    };
    let hash = |value: &Value| {
        let fields = fields(value);
        check::hash(kind, fields.iter().map(|(k, v)| (k.as_str(), v.as_str()))).map_err(|wrong| wrong.join("; "))
    };
    let item = |value: &Value| match value {
        Value::String(text) => check::text(kind, text),
        document => check::json(kind, document),
    };
    match shape {
        Shape::Text => check::text(kind, value.as_str().unwrap_or_default()),
        Shape::Json | Shape::Channel => check::json(kind, value),
        Shape::Hash => hash(value),
        Shape::List | Shape::Zset => value.as_array().expect("items").iter().try_for_each(item),
        Shape::Stream => value.as_array().expect("entries").iter().try_for_each(hash),
    }
}

/// Compares every key with the table; returns what was found, by name. Faults are listed all at once.
pub fn compare(redis: &Redis, legacy: bool) -> BTreeMap<String, Value> {
    compare_but(redis, legacy, &[])
}

/// The same, without what others left there.
pub fn compare_but(redis: &Redis, legacy: bool, others: &[String]) -> BTreeMap<String, Value> {
    let mut names: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut redis.link()).expect("keys");
    names.retain(|name| !others.contains(name));
    let (mut found, mut wrong) = (BTreeMap::new(), Vec::new());
    for name in names {
        let Some(row) = row_of(&name) else {
            wrong.push(format!("{name} is in no row of the key table"));
            continue;
        };
        let (shape, kind) = match row.or {
            Some(other) if legacy => (other.shape, other.value),
            _ => (row.shape, row.value),
        };
        let actual: String = redis::cmd("TYPE").arg(&name).query(&mut redis.link()).expect("type");
        if actual != shape.redis_type() {
            wrong.push(format!("{name} is a {actual}, the table says {}", shape.redis_type()));
            continue;
        }
        let value = value_of(redis, &name, &actual);
        let verdict = judge(shape, kind, &value);
        if let Err(reason) = verdict {
            wrong.push(format!("{name}: {reason}"));
        }
        if let (Bound::Items(most) | Bound::ItemsAndAge { items: most, .. }, Some(items)) =
            (row.bound, value.as_array())
            && items.len() > most as usize
        {
            wrong.push(format!("{name} holds {} items", items.len()));
        }
        let ttl: i64 = redis::cmd("TTL").arg(&name).query(&mut redis.link()).expect("ttl");
        let expires = row.expiry_s.map(i64::from);
        if expires.is_none_or(|most| !(1..=most).contains(&ttl)) && !(expires.is_none() && ttl == -1) {
            wrong.push(format!("{name} expires in {ttl} s, the table says {expires:?}"));
        }
        found.insert(name, value);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    found
}

/// Rows that a healthy daemon has no reason to write, or not in this format.
fn unexpected(name: &str, legacy: bool) -> bool {
    // Of a cluster only; R16 looks at those.
    name == "{{KEY}}:cursor" || name == "trapline:gaps" || (name == "current_position:hash" && !legacy)
}

pub fn wait_complete(world: &World, legacy: bool) {
    wait_for("every promised key", || {
        let names: Vec<String> =
            redis::cmd("KEYS").arg("*").query(&mut world.redis.link()).map_err(|e| e.to_string())?;
        let seen: BTreeSet<&str> = names.iter().filter_map(|n| row_of(n)).map(|row| row.name).collect();
        let missing: Vec<_> = KEYS
            .iter()
            .filter(|k| k.since == Since::V0_1 && k.shape != Shape::Channel && !unexpected(k.name, legacy))
            .filter(|k| !seen.contains(k.name))
            .map(|k| k.name)
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing")) }
    });
}

/// Traps of the primary symbol and fills have arrived.
pub fn wait_events(world: &World) {
    wait_for("traps and fills", || {
        let there = ["recent_mm_traps", "mm_trap_detections:5min", "trader:trades:scalper", "trader:metrics:scalper"]
            .map(|key| redis::cmd("EXISTS").arg(key).query::<bool>(&mut world.redis.link()).unwrap_or(false));
        if there == [true; 4] { Ok(()) } else { Err(format!("{there:?}")) }
    });
}

fn keeps_the_table(legacy: bool) {
    let world = lively(legacy);
    world.daemon.wait_ready();
    // Another program writes one of our keys: an alert, and ours stands there again.
    let key = if legacy { "current_position" } else { "active_position" };
    wait_for("a foreign writer is noticed", || {
        let _: () = redis::cmd("SET").arg(key).arg("{}").query(&mut world.redis.link()).map_err(|e| e.to_string())?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        let alerts = value_of(&world.redis, "trapline:alerts", "stream").to_string();
        if alerts.contains("foreign_writer") && alerts.contains(key) { Ok(()) } else { Err(alerts) }
    });
    wait_for("ours stands there again", || match world.redis.text(key).as_deref() {
        Some("{}") | None => Err("the foreign value".to_owned()),
        Some(_) => Ok(()),
    });
    wait_complete(&world, legacy);
    // The account opens, flips and closes meanwhile: each look sees another moment.
    let mut looks = 0;
    wait_for("an open position was seen", || {
        let found = compare(&world.redis, legacy);
        looks += 1;
        let open = found["active_position"]["has_position"] == true;
        if open && looks >= 5 { Ok(()) } else { Err(format!("{looks} looks")) }
    });
    super::snippets::validate(&compare(&world.redis, legacy));
    world.exchange.venue.pause();
    wait_for("flat was seen", || {
        for side in ["long", "short"] {
            world.exchange.control(&format!("position?symbol=BTCUSDT&side={side}&size=0"));
        }
        let found = compare(&world.redis, legacy);
        let flat = found["active_position"]["has_position"] == false;
        if flat { Ok(()) } else { Err(found["active_position"].to_string()) }
    });
    let found = compare(&world.redis, legacy);
    super::snippets::validate(&found);
}

#[test]
fn what_a_daemon_writes_keeps_the_table_and_the_schema() {
    keeps_the_table(false);
}

#[test]
fn in_the_old_format_as_well() {
    keeps_the_table(true);
}

#[test]
fn channels_carry_what_the_table_says() {
    let world = World::ready(&Options::default());
    let mut link = world.redis.link();
    let mut listening = link.as_pubsub();
    listening.set_read_timeout(Some(PATIENCE)).expect("timeout");
    for channel in ["btc_price", "trapline:breaker", "trapline:alerts"] {
        listening.subscribe(channel).expect("subscribed");
    }
    world.exchange.control("position?symbol=BTCUSDT&side=long&size=0.5&entry=60000");
    let (mut seen, mut prices) = (BTreeSet::new(), Vec::new());
    while seen.len() < 3 || prices.len() < 3 {
        let message = listening.get_message().expect("a message on each channel");
        let (channel, text): (String, String) =
            (message.get_channel_name().to_owned(), message.get_payload().expect("text"));
        let row = row_of(&channel).expect("a row");
        let kind = if row.shape == Shape::Channel { row.value } else { Kind::Object(row.channel.expect("a channel")) };
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{channel}: {e}: {text}"));
        check::json(kind, &value).unwrap_or_else(|e| panic!("{channel}: {e}: {text}"));
        if channel == "btc_price" {
            prices.push(value["price"].clone());
            // Somebody else writes one of our keys, which is an alert.
            let _: () = redis::cmd("SET").arg("active_position").arg("{}").query(&mut world.redis.link()).expect("set");
        }
        seen.insert(channel);
    }
}
