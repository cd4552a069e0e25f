//! `trapline tap`: what changes in a key now.

use super::{RedisArgs, wait};
use crate::cli::ctl::{clock, now_ms};
use crate::error::{Exit, Stop};
use crate::upkeep::UpkeepError;
use crate::upkeep::tap::{Change, How, Tap};
use clap::Args;
use std::io::{ErrorKind, Write};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub const TEACH: &str = "\
Prints each change of one key: fields of a hash, fields of a JSON text, items pushed to a list, members of a set, scores
of a sorted set, entries of a stream. The key is read and compared --rate times a second; if the server announces
changes (notify-keyspace-events has KA) it is read only after an announcement. Two changes between two readings are one.
MONITOR would show every command of everybody and cost more than half of the server's speed; a reading here is three short commands, four for a list.

  trapline tap current_position --config trapline.toml --for 30s
  trapline tap trapline:BTCUSDT:events --redis redis://127.0.0.1:6379 --json | jq .
  trapline tap market_state --config trapline.toml --rate 20

Exit codes: 0 ended as asked · 64 usage · 69 Redis is not there · 78 login";

/// Arguments of `trapline tap`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = TEACH, after_help = "Examples: trapline help tap")]
pub struct TapArgs {
    /// The key, exactly
    #[arg(value_name = "KEY")]
    pub key: String,
    #[command(flatten)]
    pub redis: RedisArgs,
    /// End after this long; without it, at Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = crate::cli::parse_span)]
    pub length: Option<Duration>,
    /// Readings a second, at most
    #[arg(long, default_value_t = 5.0, value_name = "RATE", value_parser = parse_rate)]
    pub rate: f64,
    /// One JSON object a change
    #[arg(long)]
    pub json: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=100.0).contains(&rate) => Ok(rate),
        _ => Err(format!("{text:?}: write a number from 0.1 to 100")),
    }
}

/// Characters of a value that a line shows.
const SHOWN: usize = 200;

pub(in crate::cli) fn run(args: &TapArgs) -> Result<Exit, Stop> {
    let place = args.redis.place()?;
    // Without an end: a year is as good as none.
    let length = args.length.unwrap_or(Duration::from_secs(366 * 86_400)).min(Duration::from_secs(366 * 86_400));
    wait(async {
        let until = Instant::now() + length;
        let mut tap = Tap::open(&place.door, args.key.as_bytes(), args.rate).await?;
        let how = match tap.how() {
            How::Announced => "as the server announces changes".to_owned(),
            How::Polled => format!("read {} times a second", args.rate),
        };
        eprintln!("{}: {}, {} {how}", args.key, tap.seen().kind(), tap.seen().length());
        loop {
            let Ok(changes) = timeout_at(until, tap.next()).await else { return Ok(Exit::Ok) };
            let at_ms = now_ms();
            for change in changes? {
                let line = if args.json { json(&args.key, at_ms, &change) } else { text(at_ms, &change) };
                match writeln!(std::io::stdout().lock(), "{line}") {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Ok),
                    Err(error) => return Err(UpkeepError::Missing(format!("cannot print: {error}"))),
                    Ok(()) => {}
                }
            }
        }
    })
}

fn json(key: &str, at_ms: i64, change: &Change) -> String {
    serde_json::json!({"at_ms": at_ms, "key": key, "what": change.what, "old": change.old, "new": change.new})
        .to_string()
}

fn text(at_ms: i64, change: &Change) -> String {
    let at = clock(at_ms);
    let time = at.split(' ').nth(1).unwrap_or(&at);
    let value = |value: &Option<String>| match value {
        None => "-".to_owned(),
        Some(text) if text.is_empty() => "\"\"".to_owned(),
        Some(text) => text.chars().take(SHOWN).flat_map(char::escape_debug).collect(),
    };
    format!("{time}  {:<20} {} → {}", change.what, value(&change.old), value(&change.new))
}
