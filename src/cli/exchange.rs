//! `trapline exchange`: the built-in exchange alone, until Ctrl-C.

use super::{ExchangeArgs, parse_speed};
use crate::error::{Exit, Stop};
use crate::venue::account::script::Script;
use crate::venue::account::shipped;
use crate::venue::faults::CATALOGUE;
use crate::venue::{
    self, AccountKind, Credentials, Firehose, Limits, MarketSource, Scheduled, ScriptChoice, SubAccount, Venue,
    VenueConfig, VenueError,
};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// What `trapline exchange --help` ends with.
pub(super) const TEACH: &str = "\
How to use it:
  trapline exchange --listen 127.0.0.1:7788
      prints `listening http://127.0.0.1:7788`; the four doors are
      ws://127.0.0.1:7788/v2/ws/public, /v2/ws/private, /v3/ws/public and /v3/ws/private, REST is at /api/v2 and /api/v3
  curl 'http://127.0.0.1:7788/api/v3/market/tickers?category=USDT-FUTURES'
  curl 'http://127.0.0.1:7788/_exchange/order?symbol=BTCUSDT&side=buy&size=0.01'
      trades on the account; every private client is told
  curl 'http://127.0.0.1:7788/_exchange/fault?name=half_open&ms=10000'
      lets something go wrong for ten seconds; /_exchange/faults lists what can
  curl 'http://127.0.0.1:7788/_exchange/truth'
      says what is true, whatever faults make clients see
  trapline exchange --fault drop_pong:60000 --fault freeze_channel::ticker --fault-schedule drill.txt

  trapline exchange --sub-account desk-a=random --sub-account desk-b
      three accounts: the key of a login or a signature says whose (desk-a-key, desk-a-secret, desk-a-pass); each has its
      own balance, positions, orders and modes, and hears nothing of the others. At the control door: &account=desk-a

The key is demo-key, the secret demo-secret, the passphrase demo-pass, unless told otherwise; they open nothing else.
docs/exchange.md shows how to point ccxt (JavaScript, Python), bitget-api and trapline at it, and what differs from the
real exchange.";

pub(super) fn run(args: ExchangeArgs) -> Result<Exit, Stop> {
    if args.list_faults {
        list_faults().map_err(|e| Stop::unavailable(format!("cannot print: {e}")))?;
        return Ok(Exit::Ok);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Stop::unavailable(format!("no runtime: {e}")))?;
    runtime.block_on(serve(args))
}

fn list_faults() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (_, name, does, value) in CATALOGUE {
        let value = if value.is_empty() { String::new() } else { format!(" (value: {value})") };
        writeln!(out, "{name:<24} {does}{value}")?;
    }
    Ok(())
}

async fn serve(args: ExchangeArgs) -> Result<Exit, Stop> {
    let length = args.length;
    let venue = venue::start(config(args)?).await.map_err(|e| match e {
        VenueError::Script(_) | VenueError::SubAccount { .. } => Stop::usage(e.to_string()),
        _ => Stop::unavailable(e.to_string()),
    })?;
    // The first line is for programs: it says where.
    println!("listening {}", venue.url());
    let _ = std::io::stdout().flush();
    let end = async {
        match length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|e| Stop::unavailable(format!("cannot watch signals: {e}")))?;
    tokio::select! {
        () = status(&venue) => {}
        () = end => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    let stats = venue.stats();
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    venue.stop().await;
    eprintln!(
        "stopped: {} frames to {} connections, {} of them cut for not reading",
        stats.frames, stats.connects, stats.slow_cut
    );
    Ok(Exit::Ok)
}

/// One calm line, rewritten in place on a terminal; every half minute elsewhere.
async fn status(venue: &Venue) {
    let terminal = std::io::stderr().is_terminal();
    let mut tick = tokio::time::interval(Duration::from_secs(if terminal { 1 } else { 30 }));
    loop {
        tick.tick().await;
        if terminal {
            eprint!("\r\x1b[K{}", venue.status_line());
        } else {
            eprintln!("{}", venue.status_line());
        }
    }
}

fn config(args: ExchangeArgs) -> Result<VenueConfig, Stop> {
    let account = match args.account.as_str() {
        "any" => AccountKind::Any,
        "classic" => AccountKind::Classic,
        "unified" => AccountKind::Unified,
        other => return Err(Stop::usage(format!("--account {other:?}: write any, classic or unified"))),
    };
    let firehose = args.firehose.as_deref().map(parse_firehose).transpose()?;
    let schedule = args.fault_schedule.as_deref().map(read_schedule).transpose()?.unwrap_or_default();
    if !(args.time_scale.is_finite() && args.time_scale >= 1.0) {
        return Err(Stop::usage(format!("--time-scale {}: write 1 or more", args.time_scale)));
    }
    let limits = Limits { ping_kill: args.idle_kill, ..Limits::default() }.scaled(args.time_scale);
    Ok(VenueConfig {
        listen: args.listen,
        credentials: (!args.any_key).then_some(Credentials { key: args.key, secret: args.secret, pass: args.pass }),
        account,
        close_on_bad_login: args.close_on_bad_login,
        symbols: args.symbols,
        market: if args.tape.is_empty() { MarketSource::Seeded } else { MarketSource::Tapes(args.tape) },
        speed: parse_speed(&args.speed)?,
        seed: args.seed,
        script: if args.quiet_account { ScriptChoice::Idle } else { parse_script(&args.script)? },
        sub_accounts: args.sub_account.iter().map(|text| parse_sub_account(text)).collect::<Result<_, _>>()?,
        truth: args.truth,
        firehose,
        faults: args.fault,
        schedule,
        limits: if args.no_limits { unlimited(limits) } else { limits },
        ..VenueConfig::default()
    })
}

/// A name, or a file.
fn parse_script(name: &str) -> Result<ScriptChoice, Stop> {
    match name {
        "tour" => return Ok(ScriptChoice::Tour),
        "idle" => return Ok(ScriptChoice::Idle),
        "random" => return Ok(ScriptChoice::Random),
        _ => {}
    }
    let script = match shipped::named(name) {
        Some(script) => script,
        None => {
            let text = std::fs::read_to_string(name).map_err(|e| {
                let names: Vec<_> = shipped::list().map(|(name, _)| name).collect();
                Stop::usage(format!(
                    "--script {name:?}: neither tour, idle, random, {} nor a file: {e}",
                    names.join(", ")
                ))
            })?;
            let first = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with('#'));
            if first.is_some_and(|line| line.starts_with('{')) {
                Script::from_json_lines(&text)
            } else {
                Script::from_toml(&text)
            }
        }
    };
    script.map(ScriptChoice::Given).map_err(|e| Stop::usage(format!("--script {name}: {e}")))
}

/// `NAME` or `NAME=SCRIPT`.
fn parse_sub_account(text: &str) -> Result<SubAccount, Stop> {
    match text.split_once('=') {
        None => Ok(SubAccount::named(text)),
        Some((name, script)) => Ok(SubAccount { script: parse_script(script)?, ..SubAccount::named(name) }),
    }
}

/// Counts without a bound; sizes stay bounded.
fn unlimited(limits: Limits) -> Limits {
    Limits {
        messages_per_second: u32::MAX,
        subscribes_per_hour: u32::MAX,
        connects: u32::MAX,
        // What is counted within them is remembered as long.
        hour: Duration::from_secs(1),
        connect_span: Duration::from_secs(1),
        connections: 4_096,
        rest_rates: false,
        ..limits
    }
}

fn read_schedule(path: &Path) -> Result<Vec<Scheduled>, Stop> {
    let text =
        std::fs::read_to_string(path).map_err(|e| Stop::usage(format!("--fault-schedule {}: {e}", path.display())))?;
    venue::parse_schedule(&text).map_err(|e| Stop::usage(format!("--fault-schedule {}: {e}", path.display())))
}

fn parse_firehose(text: &str) -> Result<Firehose, Stop> {
    let rate = match text {
        "max" => None,
        number => match number.parse::<f64>() {
            Ok(rate) if rate > 0.0 && rate.is_finite() => Some(rate),
            _ => return Err(Stop::usage(format!("--firehose {text:?}: write frames per second, or max"))),
        },
    };
    Ok(Firehose { rate, frames: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn read(words: &[&str]) -> Result<VenueConfig, String> {
        let all = ["trapline", "exchange"].iter().chain(words);
        match Cli::try_parse_from(all).map_err(|e| e.to_string())?.command {
            Command::Exchange(args) => config(*args).map_err(|e| e.to_string()),
            _ => Err("another command".to_owned()),
        }
    }

    #[test]
    fn what_is_asked_for_is_set() {
        let plain = read(&[]).expect("reads");
        assert_eq!((plain.limits, plain.credentials.is_some()), (Limits::default(), true));
        let asked =
            ["--time-scale", "60", "--idle-kill", "90s", "--any-key", "--fault", "kill", "--fault", "rest_500:9"];
        let config = read(&asked).expect("reads");
        assert_eq!(config.limits.day, Duration::from_secs(24 * 60));
        assert_eq!(config.limits.ping_kill, Duration::from_secs(90), "a client's own clock does not run faster");
        assert!(config.credentials.is_none());
        let faults: Vec<_> = config.faults.iter().map(|spec| (spec.name.label(), spec.ms)).collect();
        assert_eq!(faults, [("kill", u64::MAX), ("rest_500", 9)]);
        assert!(!read(&["--no-limits"]).expect("reads").limits.rest_rates);
        let subs = read(&["--sub-account", "a=random", "--sub-account", "b"]).expect("reads").sub_accounts;
        let told: Vec<_> = subs.iter().map(|sub| (sub.name.as_str(), &sub.script)).collect();
        assert_eq!(told, [("a", &ScriptChoice::Random), ("b", &ScriptChoice::Idle)]);
    }

    #[test]
    fn what_cannot_be_is_refused_and_named() {
        for (words, holds) in [
            (["--fault", "nope"], "--list-faults"),
            (["--fault-schedule", "/nowhere/at/all"], "/nowhere/at/all"),
            (["--time-scale", "0.5"], "--time-scale"),
            (["--account", "gold"], "classic"),
            (["--speed", "0"], "--speed"),
            (["--firehose", "0"], "--firehose"),
            (["--sub-account", "a=nothing-like-it"], "nothing-like-it"),
        ] {
            let error = read(&words).map(|_| ()).expect_err("refused");
            assert!(error.contains(holds), "{words:?}: {error}");
        }
    }
}
