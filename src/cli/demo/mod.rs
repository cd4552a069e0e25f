//! `trapline demo`: a Redis of its own, the built-in exchange, and the daemon between them, with nothing to set up.

mod faults;
mod market;
mod verify;
mod view;

use super::DemoArgs;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::{Exit, Stop};
use crate::managed_redis::{ManagedRedis, ManagedRedisSettings};
use crate::topology::Daemon;
use market::DemoMarket;
use secrecy::SecretString;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use view::View;

/// The built-in exchange verifies logins against these; they open nothing else.
const KEY: [&str; 3] = ["demo-key", "demo-secret", "demo-pass"];
/// How long what was sent may take to reach Redis before it counts as missing.
const SETTLE: Duration = Duration::from_secs(4);
/// How often a trouble under way is looked at.
const LOOK: Duration = Duration::from_millis(10);
const STOP_DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn run(args: DemoArgs) -> Result<Exit, Stop> {
    let log = super::logging::start(&config::Log {
        level: match (args.verbose, args.json) {
            (true, _) => config::LogLevel::Debug,
            (false, true) => config::LogLevel::Warn,
            (false, false) => config::LogLevel::Info,
        },
        format: config::LogFormat::Text,
    })?;
    let (state, temporary) = state_dir(args.state.as_deref())?;
    // The child dies with the thread that started it: this one lives as long as the program.
    let mut child = faults::Redis::start(ManagedRedisSettings {
        binary: args.redis_bin.clone(),
        folder: state.join("redis"),
        leash: std::env::current_exe().ok(),
        args: Vec::new(),
        ready_limit: None,
    })?;
    let redis = child.server()?;
    let market = DemoMarket::start(&args, KEY)?;
    let config = daemon_config(&args, &market, redis, &state)?;
    if !args.json {
        println!("exchange  {}", market.url());
        println!("look in   redis-cli -s {}", redis.socket().display());
        println!("          redis-cli -p {}", redis.port());
        println!("state     {}{}", state.display(), if temporary.is_some() { " (temporary)" } else { "" });
    }
    let ended = actix_rt::System::new().block_on(show(&args, &config, &market, &mut child, &state));
    market.stop();
    drop(child);
    drop(log);
    drop(temporary);
    ended
}

async fn show(
    args: &DemoArgs,
    config: &Config,
    market: &DemoMarket,
    redis: &mut faults::Redis,
    state: &Path,
) -> Result<Exit, Stop> {
    let on = |kind| signal(kind).map_err(|e| Stop::unavailable(format!("cannot watch signals: {e}")));
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let daemon = Daemon::start(config, Clock::system(), state)?;
    let started = Instant::now();
    let url = redis.server()?.url();
    let mut view = View::new(&daemon, &url, !args.json);
    let mut troubles = args.faults.then(|| faults::Faults::new(args.seed, &daemon));
    let mut look = tokio::time::interval(LOOK);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    let why = loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = look.tick(), if troubles.is_some() => {
                if let Some(troubles) = &mut troubles {
                    troubles.step(&daemon, market, redis)?;
                    if troubles.is_over() && args.length.is_none() {
                        break "the troubles are over";
                    }
                }
                continue;
            }
            _ = terminate.recv() => break "signal",
            _ = interrupt.recv() => break "Ctrl-C",
            exit = daemon.running.ended() => {
                return Err(Stop::new(exit, "the supervisors gave up: see journal.jsonl in the state folder"));
            }
        }
        view.tick(market).await;
        if args.length.is_some_and(|length| started.elapsed() >= length) {
            break "the time is over";
        }
        if market.is_finished() {
            break "the tapes are over";
        }
    };
    // Nothing new from the exchange, then everything that was accepted has to be in Redis.
    market.pause();
    let mut verdict = verify::verify(&daemon, market, &url, SETTLE).await;
    let seconds = started.elapsed().as_secs_f64();
    let told = troubles.as_ref().map(faults::Faults::summary);
    verdict.violations.extend(told.iter().flat_map(|(_, lasting)| lasting.iter().cloned()));
    let mut summary = view.summary(&daemon, market, seconds, why, &verdict);
    if let (Some(summary), Some((told, _))) = (summary.as_object_mut(), told) {
        summary.insert("faults".to_owned(), told);
    }
    let leftovers = daemon.stop(STOP_DEADLINE).await;
    if args.json {
        println!("{summary}");
    } else {
        if let Some(troubles) = &troubles {
            troubles.print();
        }
        view::print_summary(&summary);
    }
    let good = verdict.violations.is_empty() && leftovers.is_empty();
    Ok(if good { Exit::Ok } else { Exit::Violated })
}

/// The given folder, or a temporary one that is removed when the second value is dropped.
fn state_dir(given: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>), Stop> {
    match given {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .map_err(|e| Stop::unavailable(format!("{}: {e}; give another folder with --state", dir.display())))?;
            let dir = dir.canonicalize().map_err(|e| Stop::unavailable(format!("{}: {e}", dir.display())))?;
            Ok((dir, None))
        }
        None => {
            let dir = tempfile::Builder::new()
                .prefix("trapline-demo-")
                .tempdir()
                .map_err(|e| Stop::unavailable(format!("no temporary folder: {e}; give one with --state")))?;
            Ok((dir.path().to_owned(), Some(dir)))
        }
    }
}

/// The daemon's configuration: as for the real exchange, but for where things are and what a demo cannot wait for.
fn daemon_config(args: &DemoArgs, market: &DemoMarket, redis: &ManagedRedis, state: &Path) -> Result<Config, Stop> {
    let mut config = Config::default();
    let ws = market.url().replacen("http://", "ws://", 1);
    config.exchange.generation = match args.generation.as_str() {
        "auto" => config::Generation::Auto,
        "v2" => config::Generation::V2,
        "v3" => config::Generation::V3,
        other => return Err(Stop::usage(format!("--generation {other:?}: write v2, v3 or auto"))),
    };
    config.exchange.public_url = Some(ws.clone());
    config.exchange.private_url = Some(ws);
    config.exchange.rest_url = Some(market.url().to_owned());
    config.exchange.symbols = market.symbols().to_vec();
    // The built-in exchange has the real one's pace limits; these stay well within them.
    config.exchange.subscribe_gap_ms = 200;
    config.redis.url = redis.url();
    config.state.dir = Some(state.to_owned());
    config.status.listen = Some("127.0.0.1:0".to_owned());
    let [key, secret, passphrase] = KEY.map(SecretString::from);
    config.secrets.bitget = Some(config::BitgetCredentials { key, secret, passphrase });
    config.validated().map_err(Stop::from)
}

/// One JSON value of the summary, for tests of this module and for people.
fn rate(count: u64, seconds: f64) -> serde_json::Value {
    json!((count as f64 / seconds.max(0.001)).round())
}
