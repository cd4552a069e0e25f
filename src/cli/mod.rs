//! The command line: parsing does nothing else; each command is a file.

mod acl;
mod ctl;
mod demo;
mod doctor;
mod drill;
mod exchange;
mod validate;

mod keys;
mod keys_live;
mod logging;
mod quarantine;
mod reload;

pub mod replay;
mod restarts;
mod run;
mod schema;
mod status_cmd;
mod upkeep;
mod why;

use crate::error::{Exit, Stop};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Keeps a true, fresh, explained picture of a Bitget account and its market in Redis.
///
/// Try it without setting anything up: `trapline demo`. Run it for real: copy trapline.example.toml to
/// trapline.toml, then `trapline validate trapline.toml` and `trapline run --config trapline.toml`.
#[derive(Debug, Parser)]
#[command(name = "trapline", version, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 ok · 1 an invariant did not hold · 64 wrong usage · 69 something needed is not there · \
70 the supervisors gave up, 71 or hung, 72 or left too many hung parts behind (start again) · 75 fenced by another daemon, or something was left undone · 78 wrong configuration"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show everything at work: a Redis of its own, the built-in exchange, and the daemon between them
    Demo(DemoArgs),
    /// Run the daemon against the real exchange and a given Redis
    Run(RunArgs),
    /// Run the built-in exchange alone: Bitget's protocol, v2 and v3, public and private, with faults on demand
    Exchange(Box<ExchangeArgs>),
    /// Play recorded tapes through the trap detectors, offline, as fast as it goes
    Replay(ReplayArgs),
    /// Print the Redis contract: every key, its type, bound, expiry, writer and readers; --live: what is there
    Keys(KeysArgs),
    /// Print what changes in one key now, without the cost of MONITOR
    Tap(upkeep::tap::TapArgs),
    /// Save the data, copy them to a dated folder, and prove the copy by loading it
    Backup(upkeep::backup::BackupArgs),
    /// Remove what simulations left in Redis (a plan, until --apply)
    CleanSimulation(upkeep::clean::CleanArgs),
    /// Put keys of a foreign type aside, so that trapline can write its own (a plan, until --apply)
    Migrate(upkeep::migrate::MigrateArgs),
    /// Settings of the server that keep data from vanishing (a table, until --apply)
    Protect(upkeep::protect::ProtectArgs),
    /// Events on disk: list, verify, export
    Spool(upkeep::spool::SpoolArgs),
    /// Print the Redis contract as JSON Schema (2020-12), of every key or of one
    Schema(SchemaArgs),
    /// Look whether Redis, exchange and machine are as trapline needs them; exit 69 if something is in the way
    Doctor(DoctorArgs),
    /// Print the least that Redis has to allow the daemon, as one ACL line
    Acl(AclArgs),
    /// Show the live tree of a running daemon: state, uptime, restarts, mailboxes
    Status(status_cmd::StatusArgs),
    /// Restart, suspend or resume one room of a running daemon
    Ctl(ctl::CtlArgs),
    /// What restarted, how often, why, how long it took, what it cost
    Restarts(restarts::RestartsArgs),
    /// The one story behind a restart, a stale key, a quarantined message or a refused frame
    Why(why::WhyArgs),
    /// Messages that killed their room: list, show, replay, drop
    Quarantine(quarantine::QuarantineArgs),
    /// Break a part of a running daemon on purpose and see it recover (where its configuration allows drills)
    Drill(drill::DrillArgs),
    /// Read a configuration, with all its errors at once
    Validate(ValidateArgs),
    /// Start a child that dies with its parent (used by the demo; needs no one to call it)
    #[command(hide = true)]
    Leash(LeashArgs),
}

/// Arguments of `trapline demo`.
#[derive(Args, Clone, Debug, Default)]
pub struct DemoArgs {
    /// A recorded tape (gzip JSON lines) to play; may be given several times. Without one, a seeded market
    #[arg(long, value_name = "FILE")]
    pub tape: Vec<PathBuf>,
    /// Speed of the tapes: 1, 10, or max
    #[arg(long, default_value = "1", value_name = "FACTOR")]
    pub speed: String,
    /// Seed of the market: the same seed, the same market
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Symbols of the seeded market; the first is the primary one
    #[arg(long, value_delimiter = ',', default_value = "BTCUSDT,ETHUSDT,SOLUSDT")]
    pub symbols: Vec<String>,
    /// End after this long, e.g. 30s, 5m, 1h; without it, at Ctrl-C or when the tapes end
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    pub length: Option<std::time::Duration>,
    /// Break things on purpose, one after the other by --seed: rooms panic and hang, the exchange closes, Redis is killed
    #[arg(long)]
    pub faults: bool,
    /// Print one JSON object at the end instead of text
    #[arg(long)]
    pub json: bool,
    /// Folder for Redis data, spool and journal; default: a temporary one, removed at the end
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Which generation of the protocol to speak: v2, v3 or auto
    #[arg(long, default_value = "auto")]
    pub generation: String,
    /// redis-server or valkey-server to start; default: found on PATH
    #[arg(long, value_name = "FILE")]
    pub redis_bin: Option<PathBuf>,
    /// More detail in the log
    #[arg(long, short)]
    pub verbose: bool,
}

/// Arguments of `trapline run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The configuration (see trapline.example.toml)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Arguments of `trapline exchange`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = exchange::TEACH)]
pub struct ExchangeArgs {
    /// Address and port; port 0 takes a free one and prints it
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// API key that private logins must show
    #[arg(long, default_value = "demo-key")]
    pub key: String,
    /// Secret that signatures are verified against
    #[arg(long, default_value = "demo-secret")]
    pub secret: String,
    /// Passphrase of the key
    #[arg(long, default_value = "demo-pass")]
    pub pass: String,
    /// Let every key and every signature in
    #[arg(long)]
    pub any_key: bool,
    /// End a connection whose login was refused
    #[arg(long)]
    pub close_on_bad_login: bool,
    /// A recorded tape to play; may be given several times. Without one, a seeded market
    #[arg(long, value_name = "FILE")]
    pub tape: Vec<PathBuf>,
    /// Speed of the market: 1, 10, or max
    #[arg(long, default_value = "1", value_name = "FACTOR")]
    pub speed: String,
    /// Seed of the market: the same seed, the same market
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Symbols of the seeded market, at most 600
    #[arg(long, value_delimiter = ',', default_value = "BTCUSDT,ETHUSDT,SOLUSDT")]
    pub symbols: Vec<String>,
    /// Account type: any (both generations answer), classic (v2 only) or unified (v3 only)
    #[arg(long, default_value = "any")]
    pub account: String,
    /// Leave the account alone instead of trading on it
    #[arg(long, conflicts_with = "script")]
    pub quiet_account: bool,
    /// What the account does: tour, idle, random, quiet-holder, scalper, hedge-pair, flip-flop, liquidation,
    /// mode-switch, sub-accounts, or a script of your own (TOML or JSON lines; $1 is the first symbol)
    #[arg(long, default_value = "tour", value_name = "NAME|FILE")]
    pub script: String,
    /// One more account, opened by NAME-key, NAME-secret, NAME-pass; =SCRIPT is what it does by itself (default: idle).
    /// May be given several times; accounts that only the steps of --script name are opened as well
    #[arg(long, value_name = "NAME[=SCRIPT]")]
    pub sub_account: Vec<String>,
    /// Write what really happens, market and account, to this file as JSON lines
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// A fault that begins with the exchange; without ms it lasts. May be given several times
    #[arg(long, value_name = "NAME[:ms[:value]]", value_parser = parse_fault)]
    pub fault: Vec<crate::venue::FaultSpec>,
    /// Faults by time, a line each: at_ms name [ms [value [symbol=.. scope=.. every=..]]]
    #[arg(long, value_name = "FILE")]
    pub fault_schedule: Option<PathBuf>,
    /// Show every fault and what it does, then end
    #[arg(long)]
    pub list_faults: bool,
    /// Let days, hours and five minutes of the limits pass this many times as fast (24 h cut: at 60 after 24 min)
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub time_scale: f64,
    /// Cut a client that sent no ping for this long
    #[arg(long, default_value = "2m", value_name = "TIME", value_parser = parse_span)]
    pub idle_kill: std::time::Duration,
    /// No limits on messages, subscriptions, connects and REST requests
    #[arg(long)]
    pub no_limits: bool,
    /// Send ticker frames as fast as clients read (max) or at this rate per second, for measurements
    #[arg(long, value_name = "RATE")]
    pub firehose: Option<String>,
    /// End after this long
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    pub length: Option<std::time::Duration>,
}

/// Arguments of `trapline replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Tapes, played in this order
    #[arg(required = true, value_name = "TAPE")]
    pub tapes: Vec<PathBuf>,
    /// One JSON line per trap
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `trapline keys`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = keys_live::TEACH)]
pub struct KeysArgs {
    /// For programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub live: keys_live::LiveArgs,
    #[command(flatten)]
    pub redis: upkeep::RedisArgs,
}

/// Arguments of `trapline schema`.
#[derive(Args, Clone, Debug)]
pub struct SchemaArgs {
    /// A key as it stands in Redis, or as `trapline keys` shows it; without one, all of them
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
}

/// Arguments of `trapline doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// The configuration whose Redis, exchange and folders are looked at
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A Redis to look at, instead of the configured one or without a configuration
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `trapline acl`.
#[derive(Args, Clone, Debug)]
pub struct AclArgs {
    /// The configuration whose Redis is asked for its version
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The Redis that is asked for its version
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    pub redis: Option<String>,
    /// Asks nobody: the line for this version, e.g. 6.2
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["config", "redis"])]
    pub for_version: Option<String>,
    /// Name of the user
    #[arg(long, default_value = "trapline")]
    pub user: String,
}

/// Arguments of `trapline validate`.
#[derive(Args, Clone, Debug)]
pub struct ValidateArgs {
    /// The configuration
    #[arg(value_name = "FILE")]
    pub config: PathBuf,
    /// Print every setting as it stands, without secrets
    #[arg(long)]
    pub dump: bool,
}

#[derive(Args, Clone, Debug)]
struct LeashArgs {
    /// Process id of the parent
    parent: u32,
    /// Program and arguments
    #[arg(last = true, required = true)]
    command: Vec<std::ffi::OsString>,
}

/// Runs the command line and says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // Nothing can be done when even this cannot be printed.
            let _ = error.print();
            return code(if usage { Exit::Usage } else { Exit::Ok });
        }
    };
    // Two crypto providers could be compiled in one day: choose before the first TLS handshake.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ended = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => run::run(&args),
        Command::Exchange(args) => exchange::run(*args),
        Command::Leash(args) => Err(leash(args)),
        Command::Replay(args) => replay_command(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Tap(args) => upkeep::tap::run(&args),
        Command::Backup(args) => upkeep::backup::run(&args),
        Command::CleanSimulation(args) => upkeep::clean::run(&args),
        Command::Migrate(args) => upkeep::migrate::run(&args),
        Command::Protect(args) => upkeep::protect::run(&args),
        Command::Spool(args) => upkeep::spool::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Acl(args) => acl::run(&args),
        Command::Status(args) => status_cmd::run(&args),
        Command::Ctl(args) => ctl::run(&args),
        Command::Restarts(args) => restarts::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Quarantine(args) => quarantine::run(&args),
        Command::Drill(args) => drill::run(&args),
        Command::Validate(args) => validate::run(&args),
    };
    match ended {
        Ok(exit) => code(exit),
        Err(stop) => {
            eprintln!("trapline: {stop}");
            code(stop.exit)
        }
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

/// Becomes the child; comes back only when that is not possible.
fn leash(args: LeashArgs) -> Stop {
    let head = [args.parent.to_string().into(), "--".into()];
    let words: Vec<std::ffi::OsString> = head.into_iter().chain(args.command).collect();
    Stop::unavailable(crate::managed_redis::leash(&words).to_string())
}

fn replay_command(args: &ReplayArgs) -> Result<Exit, Stop> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    replay::run(&args.tapes, args.json, &mut out).map(|_| Exit::Ok)
}

/// Reads `30s`, `5m`, `1h`, `500ms` or plain seconds.
fn parse_span(text: &str) -> Result<std::time::Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a time: write e.g. 30s, 5m or 1h"))?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3_600.0,
        other => return Err(format!("{other:?} is not a unit: write ms, s, m or h")),
    };
    std::time::Duration::try_from_secs_f64(seconds).map_err(|e| format!("{text:?}: {e}"))
}

fn parse_fault(text: &str) -> Result<crate::venue::FaultSpec, String> {
    crate::venue::parse_fault(text).map_err(|e| e.to_string())
}

/// Reads the speed of tapes.
fn parse_speed(text: &str) -> Result<crate::venue::Speed, Stop> {
    match text {
        "max" => Ok(crate::venue::Speed::Max),
        number => match number.parse::<f64>() {
            Ok(factor) if factor > 0.0 && factor.is_finite() => Ok(crate::venue::Speed::Times(factor)),
            _ => Err(Stop::usage(format!("--speed {text:?}: write a number like 1 or 10, or max"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::time::Duration;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_are_read_with_their_units() {
        let cases = [
            ("30s", Ok(Duration::from_secs(30))),
            ("30", Ok(Duration::from_secs(30))),
            ("1.5m", Ok(Duration::from_secs(90))),
            ("2h", Ok(Duration::from_secs(7_200))),
            ("250ms", Ok(Duration::from_millis(250))),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_span(text), expected, "case: {text}");
        }
        for text in ["", "s", "-5s", "5 weeks", "1e999h"] {
            assert!(parse_span(text).is_err(), "case: {text}");
        }
    }
}
