//! What is in a build and what is not. Fault points are in the debug build and nowhere in the release build: neither their
//! functions, nor the variable's name, nor the names of points. The allocator is in both, with its settings.

use crate::support::BIN;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What only the code of fault points says; `fault_points` is in the names of its functions and in its path.
const WORDS: [&str; 7] = [
    "TRAPLINE_FAULT_POINTS",
    "fault point ",
    "spool.committed",
    "redis.written",
    "clock.wall",
    "fault_points",
    "fault-points",
];

/// Those of some words that stand in a file.
fn found<'a>(binary: &Path, words: &[&'a str]) -> Vec<&'a str> {
    let bytes = std::fs::read(binary).expect("a binary");
    let mut last = 0;
    let mut blocks = Vec::new();
    // One pass: cut at bytes that no text has, keep what may hold a word.
    for (at, byte) in bytes.iter().enumerate() {
        if !(0x20..0x7f).contains(byte) {
            if at - last >= 8 {
                blocks.push(&bytes[last..at]);
            }
            last = at + 1;
        }
    }
    let holds = |word: &&str| blocks.iter().any(|block| block.windows(word.len()).any(|part| part == word.as_bytes()));
    words.iter().copied().filter(|word| holds(word)).collect()
}

/// Of what a release build is made of: tests beside the code are no part of it.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let entries =
        entries.filter(|path| !path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests")));
    entries.filter_map(|path| if path.is_dir() { newest(&path) } else { path.metadata().ok()?.modified().ok() }).max()
}

/// The release build beside the debug build, where there is one of this very code.
fn release() -> Result<PathBuf, String> {
    let target = Path::new(BIN).ancestors().nth(2).ok_or("no target folder")?;
    let binary = target.join("release/trapline");
    let built = binary.metadata().and_then(|data| data.modified()).map_err(|e| format!("{}: {e}", binary.display()))?;
    let source = newest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).ok_or("no sources")?;
    if built < source {
        return Err(format!("{} is older than the sources", binary.display()));
    }
    Ok(binary)
}

#[test]
fn fault_points_are_not_in_the_release_build() {
    if cfg!(debug_assertions) {
        let here = found(Path::new(BIN), &WORDS);
        assert_eq!(here, WORDS, "the debug build has them, or the search finds nothing");
    }
    match release() {
        Ok(binary) => assert_eq!(found(&binary, &WORDS), Vec::<&str>::new(), "in {}", binary.display()),
        Err(why) => {
            assert!(std::env::var_os("TRAPLINE_REQUIRE_RELEASE").is_none_or(|v| v != "1"), "required: {why}");
            let _ = writeln!(std::io::stderr(), "SKIPPED: no release build to look into: {why}");
        }
    }
}

/// Built from another folder than the project's, cargo does not read the project's `.cargo/config.toml`, and the daemon
/// would run with the allocator's defaults.
#[test]
fn the_allocator_is_built_with_its_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo/config.toml");
    let config: toml::Table = std::fs::read_to_string(path).expect("settings").parse().expect("TOML");
    let settings = config["env"]["JEMALLOC_SYS_WITH_MALLOC_CONF"].as_str().expect("settings of the allocator");
    assert_eq!(found(Path::new(BIN), &[settings]), [settings], "built from another folder? then say cargo --config");
}
