//! `trapline tap`.

use super::Place;
use super::support::wait_for;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

/// A tap that has read its key once.
fn tap(place: &Place, key: &str, more: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let words = [&["tap", key, "--for", "60s"], more].concat();
    let mut child =
        place.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tap starts");
    let mut err = BufReader::new(child.stderr.take().expect("standard error"));
    let mut head = String::new();
    err.read_line(&mut head).expect("its first line");
    assert!(head.starts_with(key), "{head}");
    (child, err)
}

/// Reads lines until `wanted` have come; what follows them stays for the next call.
fn lines(child: &mut Child, wanted: usize) -> Vec<String> {
    let out = child.stdout.as_mut().expect("standard output");
    let one = |_| {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            assert_eq!(out.read(&mut byte).expect("standard output"), 1, "the tap has ended");
            if byte[0] == b'\n' {
                break;
            }
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    };
    (0..wanted).map(one).collect()
}

fn end(mut child: Child) {
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn each_type_is_told_as_it_changes() {
    let place = Place::start();
    place.set(&["HSET", "h", "size", "0.01", "side", "long"]);
    place.set(&["SET", "s", r#"{"a":1,"b":2}"#]);
    place.set(&["LPUSH", "l", "one"]);
    place.set(&["ZADD", "z", "1", "m"]);
    place.set(&["XADD", "x", "1-1", "kind", "trap"]);
    let cases: &[(&str, &[&[&str]], &[(&str, Option<&str>, Option<&str>)])] = &[
        ("h", &[&["HSET", "h", "size", "0.02"]], &[("size", Some("0.01"), Some("0.02"))]),
        ("s", &[&["SET", "s", r#"{"a":1,"b":3}"#]], &[("b", Some("2"), Some("3"))]),
        ("l", &[&["LPUSH", "l", "two"]], &[("(head)", None, Some("two"))]),
        ("z", &[&["ZADD", "z", "5", "m"]], &[("m", Some("1"), Some("5"))]),
        ("x", &[&["XADD", "x", "2-1", "kind", "fill"]], &[("2-1", None, Some("kind=fill"))]),
        ("none", &[&["SADD", "none", "a"]], &[("(type)", None, Some("set"))]),
    ];
    let mut taps: Vec<_> = cases.iter().map(|(key, _, _)| tap(&place, key, &["--json", "--rate", "20"])).collect();
    for ((key, writes, expected), (child, _)) in cases.iter().zip(&mut taps) {
        for write in *writes {
            place.set(write);
        }
        for (line, (what, old, new)) in lines(child, expected.len()).iter().zip(*expected) {
            let told: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!((told["key"].as_str(), told["what"].as_str()), (Some(*key), Some(*what)));
            assert_eq!((told["old"].as_str(), told["new"].as_str()), (*old, *new), "{key}");
        }
    }
    taps.into_iter().for_each(|(child, _)| end(child));
}

fn commands(place: &Place) -> u64 {
    let info: String = redis::cmd("INFO").arg("stats").query(&mut place.redis.link()).expect("INFO");
    let line = info.lines().find_map(|l| l.strip_prefix("total_commands_processed:"));
    line.and_then(|l| l.trim().parse().ok()).expect("a number")
}

#[test]
fn what_the_server_announces_is_read_only_then_and_nothing_is_switched_on() {
    let place = Place::start();
    let flags = place.config("notify-keyspace-events");
    place.set(&["HSET", "h", "n", "0"]);
    let (polled, _) = tap(&place, "h", &[]);
    assert_eq!(place.config("notify-keyspace-events"), flags, "a tap switches nothing on");
    end(polled);

    place.set(&["CONFIG", "SET", "notify-keyspace-events", "KA"]);
    let words = ["tap", "h", "--for", "60s", "--rate", "100"];
    let mut child = place.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut err = BufReader::new(child.stderr.take().expect("standard error"));
    let mut head = String::new();
    err.read_line(&mut head).expect("its first line");
    assert!(head.contains("announces"), "{head}");
    // Nothing happens, so nothing is read: at a rate of 100 it would be hundreds of readings.
    let before = commands(&place);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let spent = commands(&place) - before;
    assert!(spent < 60, "{spent} commands while nothing happened");
    place.set(&["HSET", "h", "n", "1"]);
    let line = lines(&mut child, 1);
    assert!(line[0].contains("n ") && line[0].ends_with("0 → 1"), "{line:?}");
    end(child);
}

/// Ten thousands of changes cost as many readings as the rate allows, and nobody is cut off.
#[test]
fn a_flood_of_changes_costs_no_more_than_the_rate() {
    let place = Place::start();
    place.set(&["CONFIG", "SET", "notify-keyspace-events", "KA"]);
    // Small, so that a listener that does not keep up would be cut off at once.
    place.set(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1"]);
    place.set(&["HSET", "h", "n", "0"]);
    let (mut child, _err) = tap(&place, "h", &["--json"]);
    let begun = std::time::Instant::now();
    let mut link = place.redis.link();
    for from in (1..=60_000).step_by(1_000) {
        let mut pipe = redis::pipe();
        (from..from + 1_000).for_each(|n| _ = pipe.cmd("HSET").arg("h").arg("n").arg(n).ignore());
        pipe.query::<()>(&mut link).expect("HSET");
    }
    let mut told = 0;
    loop {
        let line = lines(&mut child, 1).pop().expect("the tap goes on");
        told += 1;
        if line.contains("\"60000\"") {
            break;
        }
    }
    let most = begun.elapsed().as_secs() * 5 + 6;
    assert!(told <= most, "{told} readings, at most {most} at five a second");
    end(child);
}

#[test]
fn a_tap_ends_when_it_should_and_when_its_reader_or_redis_goes() {
    let place = Place::start();
    place.set(&["SET", "s", "1"]);
    let ended = place.run(&["tap", "s", "--for", "300ms"]).expect(0);
    assert_eq!(ended.out, "");
    place.run(&["tap", "s", "--rate", "0"]).expect(64);
    let (mut child, _err) = tap(&place, "s", &["--rate", "50"]);
    drop(child.stdout.take());
    place.set(&["SET", "s", "2"]);
    let code = wait_for("the tap ends", || child.try_wait().expect("the child").ok_or_else(|| "runs".to_owned()));
    assert_eq!(code.code(), Some(0), "a reader that goes away is no error");

    let mut place = place;
    let (mut child, mut err) = tap(&place, "s", &["--rate", "50"]);
    place.redis.restart_empty();
    let code = wait_for("the tap ends", || child.try_wait().expect("the child").ok_or_else(|| "runs".to_owned()));
    let mut text = String::new();
    err.read_to_string(&mut text).expect("standard error");
    assert_eq!(code.code(), Some(69), "{text}");
}
