//! `cargo bench --bench pipeline`: trapline's whole path against a hand-written floor. `--help` tells how to read it.

mod daemon;
mod exchange;
mod floor;
mod measure;
mod options;
mod process;
mod redis;
mod report;
mod ticker;

use clap::Parser;
use measure::Bench;
use options::{Case, Cli, Options, Role};
use report::{Setting, Verdict};
use serde_json::json;
use std::error::Error;
use std::process::ExitCode;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn fail<T>(why: impl Into<String>) -> Fallible<T> {
    Err(why.into().into())
}

/// The key that the floor writes for a symbol.
fn floor_key(symbol: &str) -> String {
    format!("floor:{symbol}")
}

fn main() -> ExitCode {
    let arguments = std::env::args().len();
    let cli = Cli::parse();
    let ended = match cli.role {
        Some(Role::Floor(role)) => floor::run(&role).map(|()| true),
        None if arguments == 1 => {
            // `cargo test --benches` runs this without an argument.
            println!("pipeline: nothing measured; run `cargo bench --bench pipeline`");
            ticker::self_check().map(|()| true)
        }
        None => series(cli.options),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pipeline: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything that was asked for; false when `--check` is on and a goal was missed.
fn series(options: Options) -> Fallible<bool> {
    ticker::self_check()?;
    let trapline = daemon::find_trapline(&options)?;
    let own_redis = if options.redis.is_none() { Some(redis::Server::start(&options)?) } else { None };
    let given = options.redis.as_deref().map(|url| url.trim_start_matches("redis://").trim_end_matches('/').to_owned());
    let address = own_redis.as_ref().map(|server| server.address.clone()).or(given).unwrap_or_default();
    let bench = Bench { options: &options, trapline: &trapline, redis: &address, redis_is_ours: own_redis.is_some() };
    let version = redis::Client::connect(&address)?.version()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let head = format!(
        "pipeline: {}, redis {version}, {cores} cores, load {load} at the start, {} rounds of {} s",
        options.generation.label(),
        options.rounds(),
        options.seconds()
    );
    if !options.json {
        println!("{head}");
    }
    let frames_are_counted = options.exchange.is_none();
    let mut settings = Vec::new();
    for &count in &options.symbols {
        let symbols =
            if options.names.is_empty() { trapline::venue::instrument::names(count) } else { options.names.clone() };
        let setting = measure_setting(&bench, &symbols)?;
        if !options.json {
            setting.print();
        }
        settings.push(setting);
        if !options.names.is_empty() {
            break;
        }
    }
    let verdicts: Vec<Verdict> = settings.iter().flat_map(|s| s.verdicts(frames_are_counted)).collect();
    if options.json {
        let goals = verdicts.iter().map(|v| (v.name.clone(), json!({ "value": v.value, "pass": v.pass })));
        let settings: Vec<_> = settings.iter().map(Setting::json).collect();
        println!(
            "{}",
            json!({ "head": head, "settings": settings, "goals": goals.collect::<serde_json::Map<_, _>>() })
        );
    } else {
        println!();
        for verdict in &verdicts {
            println!("{}  {}", if verdict.pass { "PASS" } else { "FAIL" }, verdict.text);
        }
    }
    Ok(!options.check || verdicts.iter().all(|verdict| verdict.pass))
}

/// All rounds of one number of symbols; the order turns around from round to round, so that none is always first.
fn measure_setting(bench: &Bench<'_>, symbols: &[String]) -> Fallible<Setting> {
    let options = bench.options;
    let mut setting = Setting { symbols: symbols.len(), ..Setting::default() };
    for round in 0..options.rounds() {
        let mut order = options.cases.clone();
        if round % 2 == 1 {
            order.reverse();
        }
        for &case in order.iter().filter(|_| !options.no_throughput) {
            let figures = bench.throughput(case, symbols)?;
            say(
                round,
                symbols.len(),
                case,
                &format!("{:.0} frames/s, {:.2} us/frame", figures.frames_per_s, figures.client_us),
            );
            setting.throughput.entry(case).or_default().push(figures);
        }
        let latency = !options.no_latency && options.exchange.is_none();
        for &case in order.iter().filter(|&&case| latency && case != Case::C) {
            let figures = bench.latency(case, symbols)?;
            say(round, symbols.len(), case, &format!("p50 {:.0} us", figures.p50_us));
            setting.latency.entry(case).or_default().push(figures);
        }
    }
    Ok(setting)
}

/// Progress, on standard error.
fn say(round: u32, symbols: usize, case: Case, text: &str) {
    eprintln!("  round {} · {symbols} symbols · {}: {text}", round + 1, case.label());
}
