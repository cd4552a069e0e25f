//! Everything that can go wrong at once, and what it costs: the random day (row P16), how fast things recover, the same
//! faults on plain actix, and the page that all figures make. A program of its own, because these are measurements with
//! arguments: `cargo test --release --test random_day -- --help`.

mod support;

#[path = "random_day/baseline.rs"]
mod baseline;
#[path = "random_day/chaos.rs"]
mod chaos;
#[path = "random_day/day.rs"]
mod day;
#[path = "random_day/eyes.rs"]
mod eyes;
#[path = "random_day/measure.rs"]
mod measure;
#[path = "random_day/plan.rs"]
mod plan;
#[path = "random_day/quantile.rs"]
mod quantile;
#[path = "random_day/recovery/mod.rs"]
mod recovery;
#[path = "random_day/render/mod.rs"]
mod render;
#[path = "random_day/rooms.rs"]
mod rooms;
#[path = "random_day/scene.rs"]
mod scene;
#[path = "random_day/storm.rs"]
mod storm;
#[path = "random_day/truth.rs"]
mod truth;
#[path = "random_day/verdict.rs"]
mod verdict;

use std::process::ExitCode;

const HELP: &str = "\
Mixes all faults by a seed: processes killed, stopped and restarted, Redis full, read-only, emptied and rolled back, a
network that stalls, resets and garbles, every fault of the built-in exchange, rooms that panic and hang. Asserts that
every event is in Redis once and in order, that no state goes back, and that Redis says what the exchange says.

  cargo test --release --test random_day -- --seed 7               until 100000 events
  cargo test --release --test random_day -- --seed 7 --seconds 600
  cargo test --test random_day                                     a short one, as the whole suite runs it

  --seed N       also TRAPLINE_DAY_SEED; 1 unless given
  --seconds S    also TRAPLINE_DAY_SECONDS: at least this long
  --events E     also TRAPLINE_DAY_EVENTS: at least as many
  --fills N      fills a second that the account makes
  --one-life     never ends the daemon's process: what it takes over time can be seen only in a long life
  --report FILE  writes what was seen
  --keep         keeps logs and data although all went well

A first word chooses: day, storm (rooms in one process), recovery [--times N] (how fast things recover), baseline (the
same faults on plain actix), render --figures DIR --head TEXT --out FILE (docs/faults.md).
";

/// What is asked for.
pub struct Wanted {
    pub seed: u64,
    pub seconds: Option<u64>,
    pub events: Option<u64>,
    pub fills: u64,
    pub one_life: bool,
    pub report: Option<std::path::PathBuf>,
    pub keep: bool,
    pub chosen: bool,
    pub times: usize,
}

const SHORT_S: u64 = 60;

impl Wanted {
    /// Words that are not ours are the test harness's, and mean nothing here.
    fn parse(words: &[String]) -> Self {
        let given = |name: &str, variable: &str| {
            let at = words.iter().position(|word| word == name);
            let word = at.and_then(|at| words.get(at + 1)).cloned();
            let text = word.or_else(|| std::env::var(variable).ok())?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}: {text:?} is no whole number")))
        };
        let (seed, seconds) = (given("--seed", "TRAPLINE_DAY_SEED"), given("--seconds", "TRAPLINE_DAY_SECONDS"));
        let events = given("--events", "TRAPLINE_DAY_EVENTS");
        let chosen = seed.is_some() || seconds.is_some() || events.is_some();
        let events = if seconds.is_none() && chosen { events.or(Some(100_000)) } else { events };
        let report = words.iter().position(|word| word == "--report").and_then(|at| words.get(at + 1));
        Self {
            seed: seed.unwrap_or(1),
            seconds: seconds.or((!chosen).then_some(SHORT_S)),
            events,
            fills: given("--fills", "TRAPLINE_DAY_FILLS").unwrap_or(if cfg!(debug_assertions) { 40 } else { 200 }),
            one_life: words.iter().any(|word| word == "--one-life"),
            report: report.map(Into::into),
            keep: words.iter().any(|word| word == "--keep"),
            chosen,
            times: given("--times", "TRAPLINE_RECOVERY_TIMES").and_then(|n| usize::try_from(n).ok()).unwrap_or(40),
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| words.iter().any(|word| word == name);
    if has("--help") || has("-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if has("--list") {
        println!("random_day: test");
        return ExitCode::SUCCESS;
    }
    if let [first, world, case, ..] = words.as_slice()
        && first == "baseline-child"
    {
        baseline::child(world, case);
        return ExitCode::SUCCESS;
    }
    if words.first().is_some_and(|word| word == "render") {
        let after = |name: &str| {
            let at = words.iter().position(|word| word == name);
            at.and_then(|at| words.get(at + 1)).unwrap_or_else(|| panic!("{name} is missing"))
        };
        let figures: &std::path::Path = after("--figures").as_ref();
        assert!(figures.is_dir(), "{}: no folder with figures", figures.display());
        let page = render::page(figures, after("--head"));
        std::fs::write(after("--out"), page).expect("the page");
        return ExitCode::SUCCESS;
    }
    let wanted = Wanted::parse(&words);
    let failed = match words.first().map(String::as_str) {
        Some("storm") => storm(&wanted),
        Some("day") => day(&wanted),
        Some("baseline") => {
            let wrong = baseline::run();
            wrong.iter().for_each(|wrong| println!("not as promised: {wrong}"));
            wrong.len()
        }
        Some("recovery") => {
            recovery::run(wanted.times);
            0
        }
        _ => storm(&wanted) + day(&wanted),
    };
    let (verdict, passed) = if failed == 0 { ("ok", 1) } else { ("FAILED", 0) };
    println!("test random_day ... {verdict}\n");
    println!("test result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; 0 filtered out", 1 - passed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many promises were not kept.
fn storm(wanted: &Wanted) -> usize {
    let count = if wanted.chosen { 200_000 } else { 60_000 };
    let told = storm::run(wanted.seed, count);
    println!(
        "storm: seed {}: {} messages, {} faults, {} quarantined, {} restarts in {:.1?}",
        wanted.seed, told.numbers, told.faults, told.quarantined, told.restarts, told.span
    );
    told.wrong.iter().for_each(|wrong| println!("storm, seed {}: {wrong}", wanted.seed));
    if told.wrong.is_empty() {
        told.publish(wanted.seed);
    }
    told.wrong.len()
}

fn day(wanted: &Wanted) -> usize {
    println!("random day: seed {}", wanted.seed);
    let told = day::run(wanted);
    let report = told.report();
    if let Some(file) = &wanted.report {
        std::fs::write(file, &report).expect("the report");
    }
    println!("{report}");
    if told.wrong.is_empty() {
        told.publish();
    } else {
        println!("random day: seed {} FAILED", wanted.seed);
    }
    told.wrong.len()
}
