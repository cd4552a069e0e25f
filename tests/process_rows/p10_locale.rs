//! P10: another time zone and language change no byte of what is written for programs.

use crate::common::{drillable, goes_on, order_room};
use crate::support::figures::Figures;
use crate::support::{BIN, Options, World};
use std::process::Command;

#[test]
fn p10_time_zone_and_language_change_no_byte() {
    let env = vec![("TZ", "Asia/Kolkata".into()), ("LANG", "C".into()), ("LC_ALL", "de_DE.UTF-8".into())];
    let mut world = World::ready(&Options { env, ..drillable(&[]) });
    order_room(&world.daemon, "panic", "analyst");
    goes_on(&world, "BTCUSDT");
    let now_ms = trapline::clock::Clock::system().wall_ms();
    for entry in world.daemon.journal() {
        assert!((now_ms - 120_000..=now_ms + 1_000).contains(&entry.at_ms), "{:?} at {now_ms}", entry.fields);
    }
    let hash = world.redis.hash("trapline:BTCUSDT:market_state");
    let price = hash.get("price").expect("a price");
    assert!(price.parse::<f64>().is_ok_and(|price| price > 0.0), "{price}");
    let stamp = hash.get("timestamp").and_then(|text| text.parse::<i64>().ok()).expect("a time");
    assert!((now_ms - 60_000..=now_ms + 60_000).contains(&stamp), "{stamp} at {now_ms}");
    // Texts with a date say their zone: UTC.
    let side = world.redis.text("long_trader_position").expect("a side");
    assert!(side.contains("+00:00"), "{side}");

    // The same questions about the same files, asked in different places of the world.
    let state = world.daemon.state.path().to_str().expect("a path").to_owned();
    let config = format!("{state}/trapline.toml");
    assert_eq!(world.daemon.stop(), 0, "nothing is added any more");
    let questions: [&[&str]; 7] = [
        &["restarts", "--since", "48h", "--json", "--state", &state],
        &["why", "analyst", "--state", &state],
        &["quarantine", "ls", "--state", &state],
        &["keys", "--json"],
        &["keys"],
        &["validate", &config],
        &["help", "run"],
    ];
    let ask = |words: &[&str], zone: &str, language: &str| {
        let mut command = Command::new(BIN);
        command.args(words).env("TZ", zone).env("LANG", language).env("LC_ALL", language).env("LC_NUMERIC", language);
        let output = command.output().expect("runs");
        (output.status.code(), output.stdout, output.stderr)
    };
    let mut compared = 0;
    for words in questions {
        let stable = |(code, out, error): (Option<i32>, Vec<u8>, Vec<u8>)| {
            // `restarts --json` says from when until when it looked.
            let text = String::from_utf8_lossy(&out).into_owned();
            let value = serde_json::from_str::<serde_json::Value>(&text).ok().filter(|_| words[0] == "restarts");
            let text = value.map_or(text, |mut value| {
                value["answer"]["from_ms"] = 0.into();
                value["answer"]["until_ms"] = 0.into();
                value["from_ms"] = 0.into();
                value["until_ms"] = 0.into();
                value.to_string()
            });
            (code, text, error)
        };
        let here = stable(ask(words, "UTC", "C"));
        for (zone, language) in [("Asia/Kolkata", "de_DE.UTF-8"), ("America/St_Johns", "tr_TR.UTF-8")] {
            let there = stable(ask(words, zone, language));
            assert_eq!(here, there, "{words:?} in {zone}, {language}");
            compared += 1;
        }
        assert_eq!(here.0, Some(0), "{words:?}: {here:?}");
    }
    Figures {
        row: "P10",
        fault: "another time zone and language",
        injected: compared,
        survived: compared,
        ..Figures::default()
    }
    .publish();
}
