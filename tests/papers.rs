//! The papers against the code, and the layers against each other: what a reader is told is so.

#[path = "papers/faults.rs"]
mod faults;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path below the project, with `/`.
fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// Files below `folder`, hidden ones and build output left out, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut found = Vec::new();
    for path in entries.into_iter().filter(|path| !hidden(path) && *path != root().join("target")) {
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

struct Source {
    name: String,
    /// What is compiled into the program: comments blanked, test modules left out; line numbers kept.
    code: String,
    /// As `code`, with the contents of texts blanked as well.
    bare: String,
    lines: usize,
}

fn sources() -> Vec<Source> {
    let list: Vec<Source> = files(&root().join("src"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file");
            let (code, bare) = strip(&text);
            let cut = tests_begin(&bare);
            let keep = |text: &str| text.lines().take(cut).map(|line| format!("{line}\n")).collect();
            Source { name: name(&path), code: keep(&code), bare: keep(&bare), lines: text.lines().count() }
        })
        .filter(|source| !source.name.ends_with("tests.rs") && !source.name.contains("/tests/"))
        .collect();
    assert!(list.len() > 20, "only {} sources found", list.len());
    list
}

/// Line at which the test module at the end of a file begins.
fn tests_begin(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let is_tests = |i: &usize| {
        lines[*i].starts_with("#[cfg(test)]") && lines.get(i + 1).is_some_and(|next| next.starts_with("mod tests {"))
    };
    (0..lines.len()).find(is_tests).unwrap_or(lines.len())
}

/// The text with comments blanked; and the same with the contents of texts blanked, too. Lines stay where they are.
fn strip(text: &str) -> (String, String) {
    let (mut code, mut bare) = (String::with_capacity(text.len()), String::with_capacity(text.len()));
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        let (in_code, in_bare): (bool, bool) = match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
                (false, false)
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
                (false, false)
            }
            ('r', '"' | '#') if raw_text(&chars, i).is_some() && !word_before(&chars, i) => {
                i = raw_text(&chars, i).unwrap_or(chars.len());
                (true, false)
            }
            ('"', _) => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
                (true, false)
            }
            // A character, not a lifetime.
            ('\'', '\\') => {
                i += 3;
                while i < chars.len() && at(i - 1) != '\'' {
                    i += 1;
                }
                (true, false)
            }
            ('\'', _) if at(i + 2) == '\'' => {
                i += 3;
                (true, false)
            }
            _ => {
                i += 1;
                (true, true)
            }
        };
        for &c in &chars[start..i.min(chars.len())] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            code.push(if in_code { c } else { blank });
            bare.push(if in_bare { c } else { blank });
        }
    }
    (code, bare)
}

fn word_before(chars: &[char], i: usize) -> bool {
    i > 0 && chars.get(i - 1).is_some_and(|c| c.is_alphanumeric() || *c == '_')
}

/// End of the raw text that begins at `i`, if one does.
fn raw_text(chars: &[char], i: usize) -> Option<usize> {
    let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(i + 1 + hashes) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = i + 2 + hashes;
    let end = chars[body..].windows(close.len()).position(|window| window == close)?;
    Some(body + end + close.len())
}

/// Places where `word` stands as a word of its own (`::` counts as part of a path, not of the word).
fn finds<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).filter_map(move |(start, _)| {
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        (!inside(before) && !inside(after)).then(|| 1 + text[..start].matches('\n').count())
    })
}

#[test]
fn the_reader_of_sources_sees_code_and_only_code() {
    let text = "let a = \"// tokio\"; // tokio\n/* a /* tokio */ b */ let c = '\"'; let l: &'a str = r#\"tokio \"x\" \"#;\ntokio();";
    let (code, bare) = strip(text);
    assert_eq!(finds(&code, "tokio").collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(finds(&bare, "tokio").collect::<Vec<_>>(), [3]);
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(finds("my_tokio tokio_rt tokio::x", "tokio").collect::<Vec<_>>(), [1]);
}

/// Who may not know whom: folder or file below src/, and the words that must not stand in its code.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "src/domain/",
        &[
            "actix",
            "actix_rt",
            "tokio",
            "redis",
            "hyper",
            "reqwest",
            "tracing",
            "tokio_tungstenite",
            "crossbeam_channel",
            "crate::clock",
            "crate::exchange",
            "crate::store",
            "crate::actors",
            "crate::supervise",
            "crate::topology",
            "crate::venue",
            "crate::cli",
            "crate::config",
            "crate::telemetry",
            "SystemTime",
            "Instant::now",
        ],
    ),
    (
        "src/exchange/",
        &[
            "actix",
            "redis",
            "crate::store",
            "crate::actors",
            "crate::topology",
            "crate::venue",
            "crate::cli",
            "crate::config",
        ],
    ),
    (
        "src/store/",
        &[
            "actix",
            "crate::exchange",
            "crate::actors",
            "crate::topology",
            "crate::venue",
            "crate::cli",
            "crate::config",
        ],
    ),
    ("src/actors/", &["crate::topology", "crate::venue", "crate::cli"]),
    (
        "src/supervise/",
        &[
            "redis",
            "crate::domain",
            "crate::exchange",
            "crate::store",
            "crate::actors",
            "crate::topology",
            "crate::venue",
            "crate::cli",
            "crate::config",
        ],
    ),
    (
        "src/venue/",
        &[
            "redis",
            "crate::exchange",
            "crate::store",
            "crate::actors",
            "crate::topology",
            "crate::cli",
            "crate::config",
        ],
    ),
    (
        "src/upkeep/",
        &[
            "actix",
            "crate::exchange",
            "crate::actors",
            "crate::topology",
            "crate::venue",
            "crate::cli",
            "crate::config",
        ],
    ),
    (
        "src/config/",
        &["crate::exchange", "crate::store", "crate::actors", "crate::topology", "crate::venue", "crate::cli"],
    ),
    (
        "src/telemetry/",
        &["crate::exchange", "crate::store", "crate::actors", "crate::topology", "crate::venue", "crate::cli"],
    ),
];

/// Exceptions, each with its reason.
const LAYER_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("src/supervise/policy/mod.rs", "crate::domain", "the backoff is a pure rule"),
    ("src/supervise/tree.rs", "crate::domain", "the backoff is a pure rule"),
];

#[test]
fn a_layer_knows_only_those_below_it() {
    let mut faults = Vec::new();
    for source in sources() {
        for (layer, words) in LAYERS.iter().filter(|(layer, _)| source.name.starts_with(layer)) {
            for word in *words {
                if LAYER_EXCEPTIONS.iter().any(|(file, allowed, _)| *file == source.name && allowed == word) {
                    continue;
                }
                faults.extend(
                    finds(&source.bare, word)
                        .map(|line| format!("{}:{line}: {layer} must not know {word}", source.name)),
                );
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Words of the exchange's wire. The published keys have words of their own, of which some are the same
/// (`unrealizedPnL` is none of these).
const WIRE_WORDS: &[&str] = &[
    "holdSide",
    "posSide",
    "instId",
    "instType",
    "openPriceAvg",
    "avgPrice",
    "marginCoin",
    "posMode",
    "lastPr",
    "markPx",
    "liqPrice",
    "positionStatus",
    "productType",
    "entrustedList",
    "fillList",
    "ACCESS-KEY",
    "ACCESS-SIGN",
];

#[test]
fn wire_words_stop_at_the_door() {
    let mut faults = Vec::new();
    // A tape is a recording of the wire, so its reader speaks the wire's words.
    let at_home = ["src/exchange/", "src/venue/", "src/tape.rs"];
    for source in sources().iter().filter(|source| !at_home.iter().any(|home| source.name.starts_with(home))) {
        for word in WIRE_WORDS {
            faults.extend(finds(&source.code, word).map(|line| format!("{}:{line}: {word}", source.name)));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn what_has_one_place_stands_in_one_place() {
    // (words, where they may stand, reason)
    let rules: &[(&[&str], &[&str], &str)] = &[
        (
            &["SystemTime::now", "OffsetDateTime::now_utc"],
            &["src/clock.rs", "src/venue/firehose.rs"],
            "only the clock asks the time",
        ),
        (
            &["tokio::spawn", "actix_rt::spawn", "actix::spawn", "spawn_local", "tokio::task::spawn"],
            &["src/supervise/", "src/venue/", "src/managed_redis.rs", "src/cli/", "src/actors/status"],
            "a detached task's panic is seen by nobody: use Cx::task",
        ),
        (
            &["process::exit"],
            &["src/supervise/", "src/main.rs", "src/cli/"],
            "an exit skips destructors: return an Exit",
        ),
        (&["set_var", "remove_var"], &[], "the environment is handed in"),
        (&["todo!", "unimplemented!", "dbg!"], &[], "unfinished"),
        (
            &["active_position", "trap_events", "mm_trap_detections"],
            &["src/store/", "src/config/", "src/cli/"],
            "key names stand in store/keys",
        ),
    ];
    let mut faults = Vec::new();
    for source in sources() {
        let is_home = |homes: &[&str]| homes.iter().any(|home| source.name.starts_with(home));
        for (words, _, reason) in rules.iter().filter(|(_, homes, _)| !is_home(homes)) {
            for word in *words {
                let lines = finds(&source.code, word).map(|line| format!("{}:{line}: {word}: {reason}", source.name));
                faults.extend(lines);
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Longest file, lines.
const LINES_MAX: usize = 500;
/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn no_file_grows_beyond_what_is_read_in_one_go() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.lines > LINES_MAX && !LONG_FILES.iter().any(|(file, _)| *file == source.name))
        .map(|source| format!("{}: {} lines, more than {LINES_MAX}", source.name, source.lines))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
    for (file, _) in LONG_FILES {
        assert!(root().join(file).exists(), "{file} is gone: take it out of the list");
    }
}

#[test]
fn links_in_papers_lead_somewhere() {
    let mut faults = Vec::new();
    for path in files(root()).into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(&path).expect("a paper");
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            let outside = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !outside && !path.parent().unwrap_or(root()).join(target).exists() {
                faults.push(format!("{}: {target} does not exist", name(&path)));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn nothing_speaks_of_one_machine_or_how_the_work_was_done() {
    // Put together here, so that this file does not find itself.
    let words = [
        ["/wo", "rk/"].concat(),
        ["/ho", "me/"].concat(),
        ["/ro", "ot/"].concat(),
        ["/Us", "ers/"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X:"].concat(),
    ];
    let mut faults = Vec::new();
    let mut all = files(root());
    all.extend(files(&root().join(".ci")));
    for path in all {
        // Recordings and pictures are not text; the lock file is made by a program.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for word in &words {
            for (line, _) in text.lines().enumerate().filter(|(_, line)| line.contains(word.as_str())) {
                faults.push(format!("{}:{}: {word}", name(&path), line + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn exit_codes_in_the_readme_are_those_of_the_code() {
    use trapline::error::Exit;
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let row_of = |code: i32| {
        let is_row = |line: &&str| {
            line.strip_prefix("| ")
                .and_then(|l| l.split(" |").next())
                .is_some_and(|cell| cell.split(", ").any(|c| c == code.to_string()))
        };
        readme.lines().find(is_row)
    };
    let all = [
        Exit::Ok,
        Exit::Violated,
        Exit::Usage,
        Exit::Unavailable,
        Exit::GaveUp,
        Exit::SupervisorHung,
        Exit::TooManyZombies,
        Exit::Fenced,
        Exit::Config,
    ];
    for exit in all {
        assert!(row_of(exit as i32).is_some(), "README.md does not name exit code {}", exit as i32);
    }
}

#[test]
fn variables_and_settings_in_the_papers_exist() {
    let known: Vec<String> =
        trapline::config::Config::default().described().into_iter().map(|line| line.path).collect();
    for paper in ["README.md", "SECURITY.md", "STYLE.md", "deploy/trapline.service"] {
        let text = fs::read_to_string(root().join(paper)).unwrap_or_else(|_| panic!("{paper} exists"));
        for rest in text.split(trapline::config::ENV_PREFIX).skip(1) {
            let end =
                rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_').unwrap_or(rest.len());
            let path = rest[..end].to_ascii_lowercase().replace("__", ".");
            assert!(known.contains(&path), "{paper} names the setting {path}");
        }
        for rest in text.split("`[").skip(1) {
            let section = rest.split(']').next().unwrap_or_default();
            assert!(known.iter().any(|path| path == section), "{paper} names the section [{section}]");
        }
    }
}

#[test]
fn scripts_are_strict_run_from_anywhere_and_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for script in ["scripts/setup", "scripts/demo", "scripts/test", "scripts/clients", ".ci/run"] {
        let path = root().join(script);
        let text = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{script} exists"));
        assert!(text.starts_with("#!/usr/bin/env bash\n"), "{script}");
        assert!(text.contains("set -euo pipefail"), "{script} is not strict");
        assert!(text.contains("dirname -- \"${BASH_SOURCE[0]}\""), "{script} depends on the folder it is called from");
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} cannot be run");
    }
    let ci = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    assert!(
        ci.contains("TRAPLINE_REQUIRE_TAPES=1")
            && ci.contains("TRAPLINE_REQUIRE_REDIS=1")
            && ci.contains("/scripts/test")
    );
}
