//! The programs of `docs/keys.md`, cut out of the page and run against a daemon by real client libraries.
//!
//! `scripts/setup --snippets` fetches the libraries. Without them these tests say that they are skipped, and fail where
//! TRAPLINE_REQUIRE_SNIPPETS is 1.

use super::live::{lively, value_of};
use super::page::page;
use crate::support::{Daemon, Exchange, Options, Redis, World, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use trapline::store::keys::{row_of, schemas};

const LANGUAGES: [&str; 2] = ["python", "node"];

/// Where the script puts the client libraries.
fn libraries(language: &str) -> Option<PathBuf> {
    let script = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib.sh")).expect("script");
    let name = script.split("SNIPPETS=\"$CACHE/").nth(1).and_then(|t| t.split('"').next()).expect("a folder's name");
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|h| h.join(".cache"))).unwrap_or_default();
    let folder = cache.join("trapline").join(name).join(language);
    if folder.join(".done").exists() {
        return Some(folder);
    }
    let required = std::env::var_os("TRAPLINE_REQUIRE_SNIPPETS").is_some_and(|v| v == "1");
    assert!(!required, "{} is required: run scripts/setup --snippets", folder.display());
    let _ = writeln!(std::io::stderr(), "SKIPPED: no client libraries for {language}: run scripts/setup --snippets");
    None
}

/// The page's programs as files, with the test's driver beside them.
struct Programs {
    language: &'static str,
    libraries: PathBuf,
    dir: TempDir,
}

impl Programs {
    fn of(language: &'static str) -> Option<Self> {
        let libraries = libraries(language)?;
        let dir = tempfile::tempdir().expect("folder");
        let text = std::fs::read_to_string(page()).expect("docs/keys.md");
        for part in text.split("<!-- file: ").skip(1) {
            let (name, rest) = part.split_once(" -->\n```").expect("a name and a program");
            let code = rest.split_once('\n').and_then(|(_, r)| r.split_once("\n```")).expect("a program").0;
            std::fs::write(dir.path().join(name), format!("{code}\n")).expect("file");
        }
        for (name, code) in
            [("driver.py", include_str!("drivers/driver.py")), ("driver.ts", include_str!("drivers/driver.ts"))]
        {
            std::fs::write(dir.path().join(name), code).expect("file");
        }
        let programs = Self { language, libraries, dir };
        if language == "node" {
            programs.compile();
        }
        Some(programs)
    }

    /// With every check of the language on: what stands on the page compiles as it stands.
    fn compile(&self) {
        let modules = self.libraries.join("node_modules");
        std::os::unix::fs::symlink(&modules, self.dir.path().join("node_modules")).expect("link");
        let output = Command::new("node")
            .arg(modules.join("typescript/bin/tsc"))
            .args("--strict --noUnusedLocals --target es2022 --module commonjs --moduleResolution node10".split(' '))
            .args("--skipLibCheck --types node driver.ts position.ts market.ts events.ts".split(' '))
            .current_dir(self.dir.path())
            .output()
            .expect("node");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// Exit code and one JSON value a line.
    fn run(&self, words: &[&str]) -> (Option<i32>, Vec<Value>) {
        let mut command = match self.language {
            "python" => {
                let mut command = Command::new("python3");
                command.arg("driver.py").env("PYTHONPATH", &self.libraries).env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            _ => {
                let mut command = Command::new("node");
                command.arg("driver.js");
                command
            }
        };
        let output = command.args(words).current_dir(self.dir.path()).output().expect("an interpreter");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.is_empty(), "{} {words:?}: {error}", self.language);
        (output.status.code(), lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect())
    }

    fn ask(&self, words: &[&str]) -> Value {
        let (code, mut lines) = self.run(words);
        assert_eq!((code, lines.len()), (Some(0), 1), "{} {words:?}: {lines:?}", self.language);
        lines.remove(0)
    }
}

fn all() -> Vec<Programs> {
    LANGUAGES.into_iter().filter_map(Programs::of).collect()
}

/// A user as the page recommends it.
fn reader(redis: &Redis) -> String {
    let text = std::fs::read_to_string(page()).expect("docs/keys.md");
    let line = text.split("```\nACL ").nth(1).and_then(|t| t.lines().next()).expect("the reader's line");
    let mut command = redis::cmd("ACL");
    line.split(' ').for_each(|word| {
        command.arg(word.replace("SECRET", "s3cret"));
    });
    let more = ["+xgroup", "+xreadgroup", "+xack"];
    assert!(more.iter().all(|right| text.contains(right)));
    command.arg(&more).query::<()>(&mut redis.link()).expect("the page's line is good");
    format!("redis://bot:s3cret@127.0.0.1:{}", redis.server().port())
}

/// What read_position answers: usable, may open, why, size, entry price.
fn position(programs: &Programs, url: &str, symbol: &str) -> (bool, bool, String, f64, f64) {
    let answer = programs.ask(&[url, "position", symbol, "long", "60000"]);
    let number = |i: usize| answer[i].as_str().and_then(|t| t.parse().ok()).expect("a number");
    let [usable, may_open] = [0, 1].map(|i| answer[i].as_bool().expect("a bool"));
    (usable, may_open, answer[2].as_str().unwrap_or_default().to_owned(), number(3), number(4))
}

#[test]
fn a_position_is_read_rightly_in_every_case() {
    let all = all();
    let redis = Redis::start();
    let url = reader(&redis);
    for p in &all {
        let (usable, may_open, why, ..) = position(p, &url, "BTCUSDT");
        assert!(!usable && !may_open && why.contains("not running"), "{}: empty redis: {why}", p.language);
        assert_eq!(p.ask(&[&url, "market", "BTCUSDT", "5000"]), Value::Null, "{}: empty redis", p.language);
    }
    let exchange = Exchange::start(Exchange::config());
    let options = Options {
        more: vec![
            ("freshness", "position_ms = 2000".to_owned()),
            ("reconcile", "every_ms = 300".to_owned()),
            ("breaker", "cool_down_ms = 100".to_owned()),
        ],
        ..Options::default()
    };
    let daemon = Daemon::start(exchange.venue.addr().port(), &redis.server().url(), &options);
    let mut world = World { daemon, exchange, redis };
    world.daemon.wait_ready();
    let key = "trapline:BTCUSDT:position:long";
    let breaker = |wanted: &'static str| world.redis.wait_field("trapline:breaker", "state", |v| v == wanted);
    // Each case: how it comes about, then what both languages have to say.
    let expect = |case: &str, wanted: (bool, bool, &str, f64)| {
        for p in &all {
            let seen = wait_for(&format!("{}: {case}", p.language), || {
                let (usable, may_open, why, size, entry) = position(p, &url, "BTCUSDT");
                let right = (usable, may_open) == (wanted.0, wanted.1) && why.contains(wanted.2) && size == wanted.3;
                if right { Ok((size, entry)) } else { Err(format!("{usable} {may_open} {why} {size} {entry}")) }
            });
            assert_eq!(seen.1 > 0.0, wanted.3 > 0.0, "{}: {case}: an entry price belongs to a size", p.language);
        }
    };
    world.exchange.control("position?symbol=BTCUSDT&side=long&size=0.005&entry=60000");
    world.redis.wait_field(key, "size", |v| v == "0.005");
    breaker("closed");
    expect("open and fresh", (true, true, "", 0.005));
    for p in &all {
        let market = p.ask(&[&url, "market", "BTCUSDT", "60000"]);
        assert!(market[0].as_str().and_then(|t| t.parse::<f64>().ok()) > Some(1.0), "{}: {market}", p.language);
        let (usable, .., why, _, _) = position(p, &url, "XRPUSDT");
        assert!(!usable && why.contains("unknown"), "{}: an absent key is not flat: {why}", p.language);
    }

    world.exchange.control("position?symbol=BTCUSDT&side=long&size=0.5&entry=60000");
    breaker("open");
    expect("over a limit: shown, and no more of it", (true, false, "breaker open: position_size", 0.5));

    world.exchange.control("position?symbol=BTCUSDT&side=long&size=0");
    world.redis.wait_field(key, "has_position", |v| v == "0");
    breaker("closed");
    expect("flat", (true, true, "", 0.0));

    world.exchange.control("fault?name=rest_500&ms=600000");
    world.exchange.control("fault?name=half_open&ms=600000&scope=private");
    world.redis.wait_field(key, "stale", |v| v == "1");
    expect("stale", (false, false, "stale since", 0.0));

    world.exchange.control("fault?name=all&stop=1");
    world.redis.wait_field(key, "stale", |v| v == "0");
    breaker("closed");
    expect("fresh again", (true, true, "", 0.0));
    world.daemon.child.kill().expect("killed");
    expect("the daemon is gone, the key is not", (false, false, "trapline is not running", 0.0));
    let left = world.redis.hash(key);
    assert_eq!(left.get("stale").map(String::as_str), Some("0"), "nobody was there to mark it: {left:?}");
}

#[test]
fn events_are_followed_by_a_group_and_survive_a_crash_of_the_reader() {
    let all = all();
    if all.is_empty() {
        return;
    }
    let world = lively(false);
    let url = reader(&world.redis);
    let stream = "trapline:BTCUSDT:events";
    let entries = || value_of(&world.redis, stream, "stream").as_array().cloned().unwrap_or_default();
    wait_for("traps and fills", || {
        let kinds: std::collections::BTreeSet<_> =
            entries().iter().filter_map(|e| e["kind"].as_str().map(str::to_owned)).collect();
        if kinds.contains("trap") && kinds.contains("fill") { Ok(()) } else { Err(format!("{kinds:?}")) }
    });
    world.exchange.venue.pause();
    for p in &all {
        let run = |die_after: &str| p.run(&[&url, "events", "BTCUSDT", p.language, "4", die_after]);
        let (code, mut seen) = run("2");
        assert_eq!((code, seen.len()), (Some(9), 2), "{}: died with one taken and not acknowledged", p.language);
        // Deferred fills may still come in: until all that is there was seen.
        wait_for("all events were followed", || {
            let (code, more) = run("-1");
            assert_eq!(code, Some(0), "{}", p.language);
            seen.extend(more);
            let expected: Vec<Value> = entries().iter().map(|e| json!([e["kind"], e["id"], true])).collect();
            assert_eq!(seen, expected[..seen.len()], "{}: in order, each once", p.language);
            if seen.len() == expected.len() { Ok(()) } else { Err(format!("{} of {}", seen.len(), expected.len())) }
        });
        let pending: redis::Value =
            redis::cmd("XPENDING").arg(stream).arg(p.language).query(&mut world.redis.link()).expect("pending");
        assert!(format!("{pending:?}").contains("int(0)"), "{}: all acknowledged: {pending:?}", p.language);
    }
}

/// Live values against the published schema, by an implementation of JSON Schema that nobody here wrote.
pub fn validate(found: &BTreeMap<String, Value>) {
    let Some(programs) = Programs::of("python") else { return };
    let rows: BTreeMap<_, _> =
        found.iter().map(|(key, value)| (key, json!([row_of(key).expect("a row").name, value]))).collect();
    let write = |name: &str, value: &Value| {
        std::fs::write(programs.dir.path().join(name), value.to_string()).expect("file");
    };
    write("schemas.json", &schemas());
    write("found.json", &json!(rows));
    let answer = programs.ask(&["redis://localhost", "schema", "schemas.json", "found.json"]);
    assert_eq!(answer, json!([found.len(), []]));
}
