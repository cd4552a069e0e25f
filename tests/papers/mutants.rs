//! The mutants of `scripts/mutants` against the sources.

use crate::{files, name, root};
use std::fs;
use std::path::PathBuf;

/// A safeguard's mutant whose text has changed would be found only by whoever tries all of them, an hour later.
#[test]
fn every_mutant_fits_its_source_and_names_a_test() {
    let mutants = files(&root().join("tests/mutants"));
    assert!(mutants.len() > 30, "{} mutants", mutants.len());
    for file in mutants {
        let text = fs::read_to_string(&file).expect("a mutant");
        let field = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            found.unwrap_or_else(|| panic!("{}: no {key}", name(&file)))
        };
        let source = fs::read_to_string(root().join(field("file"))).expect("its source");
        let from = text.split_once("--- from\n").and_then(|(_, rest)| rest.split_once("\n--- to\n"));
        let (from, to) = from.unwrap_or_else(|| panic!("{}: no text to replace", name(&file)));
        assert_eq!(source.matches(from).count(), 1, "{}: its text has to stand once in {}", name(&file), field("file"));
        assert_ne!(from.trim(), to.trim(), "{}", name(&file));
        let test = field("test").rsplit([':', ' ']).next().unwrap_or_default().to_owned();
        let is_there = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|s| s.contains(&format!("fn {test}(")));
        let sources = ["src", "tests"].map(|folder| files(&root().join(folder)));
        assert!(sources.iter().flatten().any(is_there), "{}: no test {test}", name(&file));
    }
}
