//! The mutants of `scripts/mutants` still fit the code: a text that is not there any more switches nothing off.

use std::path::{Path, PathBuf};

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

/// Files below `folder` that have this test.
fn with_test(folder: &Path, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let has = |path: &PathBuf| {
        path.extension().is_some_and(|ext| ext == "rs")
            && std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("fn {name}(")))
    };
    entries
        .flat_map(
            |path| if path.is_dir() { with_test(&path, name) } else { Vec::from_iter(has(&path).then_some(path)) },
        )
        .collect()
}

/// Whether the file is that of one of the modules: a test that moved is run under its old name by nobody.
fn is_module(file: &Path, modules: &str) -> bool {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    modules.split("::").any(|module| stem == module || stem == format!("{module}_tests"))
}

#[test]
fn every_mutant_still_fits_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("tests/mutants")).expect("mutants").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mutant = std::fs::read_to_string(entry.path()).expect("a mutant");
        let (_, texts) = mutant.split_once("--- from\n").unwrap_or_else(|| panic!("{name}: no text"));
        let (from, to) = texts.split_once("--- to\n").unwrap_or_else(|| panic!("{name}: no other text"));
        assert!(from != to && !from.trim().is_empty(), "{name} changes nothing");
        let file = field(&mutant, "file");
        let code = std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{name}: {file}: {e}"));
        assert_eq!(code.matches(from.trim_end_matches('\n')).count(), 1, "{name}: in {file}, exactly once:\n{from}");
        let (kind, test) = field(&mutant, "test").rsplit_once(' ').unwrap_or_else(|| panic!("{name}: no test"));
        assert!(kind == "--lib" || kind.starts_with("--test "), "{name}: {kind}");
        let (modules, function) = test.rsplit_once("::").unwrap_or_else(|| panic!("{name}: no module"));
        let folder = if kind == "--lib" { "src" } else { "tests" };
        let files = with_test(&root.join(folder), function);
        assert!(files.iter().any(|file| is_module(file, modules)), "{name}: no test {test}, but in {files:?}");
        assert!(!field(&mutant, "what").is_empty(), "{name} does not say what it switches off");
        names.push(name.trim_end_matches(".txt").to_owned());
    }
    let safeguards = [
        "catch",
        "revoke-lock",
        "fence",
        "intensity",
        "amnesty",
        "wake-up",
        "spool",
        "guard",
        "deferred",
        "slow-retry",
        "hurry",
        "birth",
    ];
    for safeguard in safeguards {
        assert!(names.iter().any(|name| name == safeguard), "{safeguard} is not among {names:?}");
    }
}
