//! What an operator asks of a running daemon and of what it left behind: `status`, `ctl`, `drill`, `restarts`, `why`,
//! `quarantine`, over the real socket and the real files.

#[path = "../support/mod.rs"]
mod support;

mod drills;
mod page;
mod quarantine;
mod settings;

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use support::{Options, World, wait_for};

fn drillable() -> World {
    World::ready(&Options { more: vec![("", "allow_drills = true".to_owned())], ..Options::default() })
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn restarts_and_why_tell_what_happened() {
    let mut world = drillable();
    let (code, told, error) = world.daemon.cli(&["drill", "panic:validator", "--why", "to see it", "--json"]);
    assert_eq!(code, 0, "{told}{error}");
    let drill = json(&told);
    assert!(drill["detected_us"].as_u64() > Some(0) && drill["ok"] == true, "{drill}");
    wait_for("the first message after the death is in the journal", || {
        let entries = world.daemon.journal();
        if entries.iter().any(|entry| entry.event == "recovered" && entry.text("room") == "validator") {
            Ok(())
        } else {
            Err(format!("{} records", entries.len()))
        }
    });
    for by in ["actor", "cause", "fingerprint"] {
        let (code, told, _) = world.daemon.cli(&["restarts", "--by", by, "--json"]);
        assert_eq!(code, 0);
        let answer = json(&told)["answer"].clone();
        assert_eq!((answer["deaths"].as_u64(), answer["starts"].as_u64()), (Some(1), Some(1)), "{by}: {answer}");
        let row = &answer["rows"][0];
        assert_eq!((row["causes"]["panic"].as_u64(), row["restarts"].as_u64()), (Some(1), Some(1)), "{by}: {row}");
        for span in ["ready", "works"] {
            assert!(row[span]["max_us"].as_u64() > Some(0), "{by}: {span}: {row}");
        }
    }
    let (code, table, _) = world.daemon.cli(&["restarts"]);
    assert_eq!(code, 0);
    for part in ["validator", "panic 1", "READY p50/max", "last: \"drill\""] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    let (code, story, _) = world.daemon.cli(&["why", "validator"]);
    assert_eq!(code, 0);
    let parts = ["validator ready in", "validator: drill: panic, by", "to see it", "validator down: panic"];
    let mut from = 0;
    for part in parts {
        let at = story[from..].find(part).unwrap_or_else(|| panic!("{part} is missing, or too early, in\n{story}"));
        from += at;
    }
    // Told by two threads, so either may be first.
    for part in ["validator ready again", "handled a message again"] {
        assert!(story[from..].contains(part), "{part} is missing, or too early, in\n{story}");
    }
    let (code, story, error) = world.daemon.cli(&["why", "current_position"]);
    assert!(
        code == 0 && story.contains("no mark that this key was stale"),
        "a key of ours without a story: {code} {story} {error}"
    );
    let (code, story, _) = world.daemon.cli(&["why", "nobody", "--json"]);
    assert!(code == 69 && story.contains("\"known\""), "{code} {story}");
    let (code, _, error) = world.daemon.cli(&["why", "nobody"]);
    assert!(code == 69 && error.contains("validator"), "what can be asked about is named: {error}");

    // What is left behind answers as well.
    assert_eq!(world.daemon.stop(), 0);
    let (code, story, _) = world.daemon.cli(&["why", "trapline:BTCUSDT:market_state"]);
    assert!(
        code == 0 && (story.contains("no mark that this key was stale") || story.contains("market:BTCUSDT")),
        "{story}"
    );
    let (code, table, _) = world.daemon.cli(&["restarts"]);
    assert!(code == 0 && table.contains("starts 1, of them 0 after"), "{table}");
    assert!(!world.daemon.state.path().join("ctl.sock").exists(), "an orderly end leaves no socket");
}

#[test]
fn a_stale_key_has_a_story_and_a_cost() {
    // Sooner than a silent ticker is asked for again: the answer to that would be a proof.
    let more = vec![("freshness", "market_ms = 1000".to_owned())];
    let world = World::ready(&Options { more, ..Options::default() });
    world.exchange.venue.pause();
    world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |v| v == "1");
    world.exchange.venue.resume();
    world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |v| v == "0");
    let answer = wait_for("the end of it is in the journal", || {
        let (_, told, _) = world.daemon.cli(&["restarts", "--json"]);
        let answer = json(&told)["answer"].clone();
        let stale = answer["cost"]["stale"].as_array().cloned().unwrap_or_default();
        match stale.iter().find(|key| key["key"] == "market:BTCUSDT" && key["open"] == false) {
            Some(key) => Ok(key.clone()),
            None => Err(answer.to_string()),
        }
    });
    assert!(answer["times"].as_u64() >= Some(1) && answer["total_ms"].as_u64() > Some(0), "{answer}");
    let (code, story, error) = world.daemon.cli(&["why", "trapline:BTCUSDT:market_state"]);
    assert_eq!(code, 0, "{error}");
    assert!(story.contains("stale (silent)") && story.contains("fresh again after"), "{story}");
    assert!(!story.contains("market:ETHUSDT"), "its own story alone:\n{story}");
}

#[test]
fn a_refused_frame_has_a_story() {
    let world = World::ready(&Options::default());
    world.exchange.control("fault?name=garbage_frame&ms=1000&every=8&scope=public");
    wait_for("the refusal is in the journal", || {
        let (code, story, error) = world.daemon.cli(&["why", "garbage"]);
        if code == 0 && story.contains("refused: garbage") { Ok(()) } else { Err(error) }
    });
}

#[test]
fn status_shows_the_live_tree() {
    let world = World::ready(&Options::default());
    let (code, table, error) = world.daemon.cli(&["status"]);
    assert_eq!(code, 0, "{error}");
    for part in ["redis_writer", "validator", "exchange_feed", "running", "MAILBOX", "PROGRESS", "drills not allowed"] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    let writer = world.daemon.room("redis_writer");
    assert!(writer["handled"].as_u64() > Some(0) && writer["state"] == "running", "{writer}");
    assert!(writer["uptime_ms"].as_u64() > Some(0) && writer["capacity"].as_u64() > Some(0), "{writer}");
}

#[test]
fn an_operator_restarts_suspends_and_resumes_a_room() {
    let world = World::ready(&Options::default());
    let (code, _, error) = world.daemon.cli(&["ctl", "restart", "analyst", "--why", "after the update"]);
    assert_eq!(code, 0, "{error}");
    let is = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        wait_for(what, || {
            let room = world.daemon.room("analyst");
            if wanted(&room) { Ok(()) } else { Err(room.to_string()) }
        });
    };
    is("a new incarnation, no death", &|room| room["epoch"] == 2 && room["restarts_total"] == 0);
    assert_eq!(world.daemon.cli(&["ctl", "suspend", "analyst", "--why", "quiet"]).0, 0);
    is("suspended", &|room| room["state"] == "suspended");
    assert_eq!(world.daemon.cli(&["ctl", "resume", "analyst", "--why", "go on"]).0, 0);
    is("goes on", &|room| room["state"] == "running");
    let (code, _, error) = world.daemon.cli(&["ctl", "restart", "nobody", "--why", "x"]);
    assert!(code == 64 && error.contains("nobody"), "as drill has it: {code} {error}");
    let (code, _, error) = world.daemon.cli(&["ctl", "restart", "analyst", "--why", "  "]);
    assert!(code == 64 && error.contains("say why"), "{code} {error}");
    let (code, _, error) = world.daemon.cli(&["drill", "panic:analyst"]);
    assert!(code == 1 && error.contains("allow_drills"), "not where drills are not allowed: {code} {error}");
    assert_eq!(world.daemon.room("analyst")["restarts_total"], 0);
    let acts: Vec<_> = wait_for("every act is in the journal", || {
        let acts: Vec<_> = world.daemon.journal().into_iter().filter(|entry| entry.event == "operator").collect();
        if acts.len() >= 3 { Ok(acts) } else { Err(format!("{acts:?}")) }
    });
    let told: Vec<_> = acts.iter().map(|act| (act.text("command"), act.text("why"))).collect();
    assert_eq!(told, [("restart", "after the update"), ("suspend", "quiet"), ("resume", "go on")]);
    assert!(acts.iter().all(|act| act.text("who").contains("uid ")), "the kernel's word on who it was: {acts:?}");
}

#[test]
fn the_socket_is_private_and_bears_any_words() {
    let world = World::ready(&Options::default());
    let path = world.daemon.state.path().join("ctl.sock");
    let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let ask = |line: &[u8]| {
        let mut stream = UnixStream::connect(&path).expect("connect");
        stream.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
        let _ = stream.write_all(line);
        let mut answer = String::new();
        let _ = BufReader::new(stream).read_line(&mut answer);
        answer
    };
    for (name, line) in [
        ("no JSON", b"hello\n".to_vec()),
        ("another act", b"{\"do\":\"shutdown\"}\n".to_vec()),
        (
            "an unknown field",
            b"{\"do\":\"restart\",\"room\":\"analyst\",\"who\":\"x\",\"why\":\"y\",\"force\":true}\n".to_vec(),
        ),
        ("no UTF-8", b"\xff\xfe\n".to_vec()),
        ("deep", [vec![b'['; 60_000], vec![b'\n']].concat()),
        ("endless", vec![b'x'; 200_000]),
    ] {
        let answer = ask(&line);
        assert!(answer.contains("\"error\"") || answer.is_empty(), "case: {name}: {answer}");
    }
    // Silent callers, and deaf ones whose answers nobody takes, hold all places for a while only.
    let deaf = || {
        let mut stream = UnixStream::connect(&path).expect("connect");
        stream.write_all(&b"{\"do\":\"status\"}\n".repeat(500)).expect("more than a socket holds answers to");
        stream
    };
    let _deaf: Vec<_> = (0..16).map(|_| deaf()).collect();
    let _silent: Vec<_> = (0..8).map(|_| UnixStream::connect(&path).expect("connect")).collect();
    assert!(ask(b"{\"do\":\"status\"}\n").contains("redis_writer"));
    assert_eq!(support::http_get(world.daemon.status_port, "/livez").0, 200);
    let (code, body) = support::http_post(world.daemon.status_port, "/drill/panic?room=validator");
    assert_eq!(code, 405, "no web page can reach a drill: {body}");
}

#[test]
fn commands_without_a_daemon_say_so() {
    let dir = tempfile::tempdir().expect("folder");
    let run = |words: &[&str]| {
        let output = std::process::Command::new(support::BIN).args(words).arg("--state").arg(dir.path()).output();
        let output = output.expect("runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    for (words, code, part) in [
        (vec!["status"], 69, "no daemon listens"),
        (vec!["ctl", "restart", "analyst", "--why", "x"], 69, "no daemon listens"),
        (vec!["drill", "panic:analyst"], 69, "no daemon listens"),
        (vec!["drill", "rain:analyst"], 64, "write panic:ROOM"),
        (vec!["quarantine", "replay", "1"], 69, "no daemon listens"),
        (vec!["quarantine", "ls"], 0, "nothing in quarantine"),
        (vec!["quarantine", "show", "1"], 64, "no message 1"),
        (vec!["restarts"], 0, "no journal"),
        (vec!["why", "analyst"], 69, "the journal is empty"),
    ] {
        let (is, text) = run(&words);
        assert!(is == Some(code) && text.contains(part), "case: {words:?}: {is:?} {text}");
    }
}
