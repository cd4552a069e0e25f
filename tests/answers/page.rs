//! The page for people at `/`, and what it is made of.

use crate::support::{Options, World, http_get, wait_for};
use crate::{drillable, json};

/// Who looks at the page or at `/readyz` is told that a person has stopped a room: without that, all that is seen are
/// stale keys, and a search for a fault that nobody made.
#[test]
fn a_suspended_room_is_a_reason_until_it_goes_on() {
    let world = World::ready(&Options::default());
    let port = world.daemon.status_port;
    let problems = || json(&http_get(port, "/readyz").1)["problems"].to_string();
    assert_eq!(problems(), "[]");
    assert_eq!(world.daemon.cli(&["ctl", "suspend", "validator", "--why", "to look"]).0, 0);
    wait_for("the reason", || match (http_get(port, "/readyz").0, problems()) {
        (503, told) if told.contains("suspended:validator") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let status = world.daemon.statusz();
    assert!(status["ready"] == false && status["problems"].to_string().contains("suspended:validator"), "{status}");
    assert_eq!(world.daemon.cli(&["ctl", "resume", "validator", "--why", "looked"]).0, 0);
    world.daemon.wait_ready();
}

#[test]
fn the_page_reads_what_is_there_and_explains_each_problem() {
    let world = World::ready(&Options::default());
    let port = world.daemon.status_port;
    let (code, page) = http_get(port, "/");
    assert!(code == 200 && page.contains("<title>trapline</title>"), "{code}: {page}");
    let status = world.daemon.statusz();
    // What its script reads of /statusz, one name behind the other.
    for whole in ["seen.", "c."] {
        let place = if whole == "c." { &status["counts"] } else { &status };
        let mut read = 0;
        for part in page.split(whole).skip(1) {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(0);
            if whole == "c." && !part[..end].ends_with("_total") && !part[..end].starts_with("events_") {
                continue;
            }
            assert!(!place[&part[..end]].is_null(), "{whole}{} is not told by /statusz: {place}", &part[..end]);
            read += 1;
        }
        assert!(read >= 5, "{whole}: only {read}");
    }
    // Every problem that the watchdog knows has words.
    let source = include_str!("../../src/actors/health.rs");
    let labels = source.split_once("fn label").expect("labels").1.split_once("\n    }\n").expect("an end").0;
    let mut known = 0;
    for label in labels.split('"').skip(1).step_by(2) {
        assert!(page.contains(&format!("\n  {label}: \"")), "{label} is not explained");
        known += 1;
    }
    assert!(known >= 7, "only {known}");
    assert_eq!(http_get(port, "/nowhere").0, 404);
}

/// A drill may take half a minute: what it did is said before, not after.
#[test]
fn a_drill_says_at_once_what_it_did_and_how_long_it_waits() {
    let world = drillable();
    let (code, told, error) = world.daemon.cli(&["drill", "panic:validator"]);
    assert_eq!(code, 0, "{told}{error}");
    let lines: Vec<_> = told.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(lines[..4], ["injected", "waiting", "found", "back"], "{told}");
}
