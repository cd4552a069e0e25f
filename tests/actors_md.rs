//! `actors.md` is held to the code, in both directions.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use trapline::topology::{cards, table};

const BEGIN: &str = "<!-- table:begin -->\n";
const END: &str = "<!-- table:end -->";

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// `UPDATE_DOCS=1 cargo test --test actors_md` rewrites the table.
#[test]
fn the_table_is_rendered_from_the_cards() {
    let text = read("actors.md");
    let (head, rest) = text.split_once(BEGIN).expect("the table's beginning is marked");
    let (old, tail) = rest.split_once(END).expect("the table's end is marked");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors.md");
        fs::write(path, format!("{head}{BEGIN}{}{END}{tail}", table())).expect("actors.md can be written");
        return;
    }
    assert_eq!(old, table(), "stale: run UPDATE_DOCS=1 cargo test --test actors_md");
}

#[test]
fn every_room_has_a_section_and_every_section_a_room() {
    let text = read("actors.md");
    let sections: BTreeSet<&str> = text.lines().filter_map(|l| l.strip_prefix("### ")).collect();
    let rooms: BTreeSet<&str> = cards().iter().map(|c| c.name).collect();
    assert_eq!(sections, rooms);
}

#[test]
fn every_section_answers_the_same_questions() {
    let text = read("actors.md");
    for section in text.split("\n### ").skip(1) {
        let section = section.split("\n## ").next().unwrap_or(section);
        let name = section.lines().next().unwrap_or_default();
        for question in
            ["Purpose:", "Accepts:", "Emits:", "Mailbox:", "State:", "Supervision:", "Failure modes:", "Seen by:"]
        {
            assert!(section.contains(&format!("**{question}**")), "{name} does not say {question}");
        }
    }
}

#[test]
fn what_a_room_emits_another_accepts() {
    let cards = cards();
    for card in &cards {
        for edge in card.emits {
            let (kind, to) = edge.split_once(" -> ").unwrap_or_else(|| panic!("{}: {edge} has no target", card.name));
            let target = cards.iter().find(|c| c.name == to).unwrap_or_else(|| panic!("{}: nobody is {to}", card.name));
            assert!(target.accepts.contains(&kind), "{} sends {kind} to {to}, which does not take it", card.name);
        }
    }
}

/// Kinds are spelled in the `Message` implementations; a kind that no card names is a door nobody documented.
#[test]
fn every_kind_of_message_is_on_a_card() {
    let known: BTreeSet<&str> = cards().iter().flat_map(|c| c.accepts.iter().copied()).collect();
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/actors")).expect("src/actors") {
        let path = entry.expect("entry").path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        for body in text.split("fn kind(&self) -> &'static str {").skip(1) {
            let body = body.split("\n    }").next().unwrap_or_default();
            for kind in body.split('"').skip(1).step_by(2) {
                seen += 1;
                assert!(known.contains(kind), "{}: {kind} stands on no card", path.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} kinds found: the scan is broken");
}

/// Each promise names the test that shows it: `tests/file.rs::name` or `src/file.rs::name`.
#[test]
fn the_tests_that_are_named_exist() {
    let text = read("actors.md");
    let mut named = 0;
    for token in text.split(|c: char| c.is_whitespace() || "`|,;()".contains(c)) {
        let Some((file, name)) = token.split_once("::").filter(|(file, _)| file.ends_with(".rs")) else { continue };
        named += 1;
        assert!(read(file).contains(&format!("fn {name}(")), "{token}: no such test");
    }
    assert!(named >= 14, "only {named} tests are named");
}

/// The key table's rooms are the rooms of this page; those that are not built yet own only keys marked as later.
#[test]
fn every_key_of_today_belongs_to_a_room() {
    use trapline::store::keys::{KEYS, Since};
    let rooms: BTreeSet<&str> = cards().iter().map(|c| c.name).collect();
    for key in KEYS {
        let later = matches!(key.since, Since::Later);
        assert!(later || rooms.contains(key.room), "{} is decided by {}, which is no room", key.name, key.room);
    }
}

/// The page of figures (`scripts/faults`) may lack a measurement, but it says so: no row of the fault matrix is left
/// out.
#[test]
fn every_row_of_the_fault_matrix_is_on_the_page_of_figures() {
    let page = read("docs/faults.md");
    let rows = [("X", 16), ("P", 16), ("R", 20)];
    for row in rows.into_iter().flat_map(|(group, last)| (1..=last).map(move |n| format!("{group}{n}"))) {
        let line = page.lines().find(|line| line.starts_with(&format!("| {row} | ")));
        let cells: Vec<&str> = line.unwrap_or_else(|| panic!("no line of {row}")).split('|').map(str::trim).collect();
        let told = |cell: &&str| cell.parse::<u64>().is_ok() || cell.starts_with("not measured: ");
        assert!(cells.get(3).is_some_and(told), "{row} has neither a count nor a reason: {cells:?}");
    }
    assert!(page.contains("## Promises") && page.contains("## Chaos, in total") && page.contains("plain actix"));
}
