//! `docs/keys.md` is held to the table.

use std::fs;
use std::path::{Path, PathBuf};
use trapline::store::keys::{KEYS, Since, render_page, schemas};

const BEGIN: &str = "<!-- table:begin -->\n";
const END: &str = "<!-- table:end -->";

pub fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/keys.md")
}

/// `UPDATE_DOCS=1 cargo test --test contract` rewrites the reference.
#[test]
fn the_reference_is_rendered_from_the_table() {
    let text = fs::read_to_string(page()).expect("docs/keys.md");
    let (head, rest) = text.split_once(BEGIN).expect("the reference's beginning is marked");
    let (old, tail) = rest.split_once(END).expect("the reference's end is marked");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page(), format!("{head}{BEGIN}{}{END}{tail}", render_page())).expect("docs/keys.md can be written");
        return;
    }
    assert_eq!(old, render_page(), "stale: run UPDATE_DOCS=1 cargo test --test contract");
}

/// A key that the page's own text names must be one.
#[test]
fn every_key_that_the_text_names_is_in_the_table() {
    let text = fs::read_to_string(page()).expect("docs/keys.md");
    let own = text.split_once(BEGIN).map_or("", |(head, _)| head);
    let mut named = 0;
    for word in own.split('`').skip(1).step_by(2).filter(|w| w.starts_with("trapline:") && !w.contains(' ')) {
        named += 1;
        let concrete = word.replace('…', "x");
        assert!(trapline::store::keys::row_of(&concrete).is_some(), "{word} is in no row of the key table");
    }
    assert!(named >= 5, "only {named} keys are named");
}

/// Whoever promises a key for later says what it waits for, and what is written does not stand there any more.
#[test]
fn every_key_that_waits_has_its_reason() {
    let text = fs::read_to_string(page()).expect("docs/keys.md");
    let (_, section) = text.split_once("## Names that wait\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another follows");
    let mut waiting: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').filter(|name| !name.is_empty() && *name != ", "))
        .collect();
    let mut later: Vec<&str> = KEYS.iter().filter(|key| key.since == Since::Later).map(|key| key.name).collect();
    waiting.sort_unstable();
    later.sort_unstable();
    assert_eq!(waiting, later);
}

#[test]
fn the_schema_of_a_key_comes_from_the_command() {
    let run = |words: &[&str]| {
        let out = std::process::Command::new(super::support::BIN).args(words).output().expect("the command runs");
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (code, text) = run(&["schema"]);
    let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &all), (Some(0), &schemas()));
    assert_eq!(all["$defs"].as_object().map(serde_json::Map::len), Some(KEYS.len()));
    let (code, text) = run(&["schema", "trapline:ETHUSDT:position:short"]);
    let one: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, one["title"].as_str()), (Some(0), Some("trapline:{SYMBOL}:position:short")));
    assert_eq!(run(&["schema", "sim_timestamp"]).0, Some(64));
    for (words, said) in [
        (&["schema", "curent_position"][..], "did you mean current_position?"),
        (&["acl", "--for-version", "seven"][..], "write a version of Redis"),
    ] {
        let out = std::process::Command::new(super::support::BIN).args(words).output().expect("the command runs");
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(64) && told.contains(said), "{words:?}: {told}");
    }
}
