//! `trapline drill`: breaks a room of a running daemon on purpose, waits until it works again, and says what happened.
//! Only where the daemon's configuration says `allow_drills = true`.

use super::ctl::{StateArgs, ask_stop, who};
use crate::ctl::Request;
use crate::error::{Exit, Stop};
use crate::supervise::answers::span;
use clap::Args;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the tree is asked while the drill runs.
const LOOK: Duration = Duration::from_millis(20);

/// Arguments of `trapline drill`.
#[derive(Args, Clone, Debug)]
pub struct DrillArgs {
    /// panic:ROOM or hang:ROOM[:TIME]
    #[arg(value_name = "WHAT")]
    pub what: String,
    /// Why; the journal keeps it
    #[arg(long, value_name = "TEXT", default_value = "drill")]
    pub why: String,
    /// How long to wait for the room to work again
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = super::parse_span)]
    pub within: Duration,
    #[command(flatten)]
    pub state: StateArgs,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &DrillArgs) -> Result<Exit, Stop> {
    let state = args.state.folder()?;
    let (room, request) = parse(&args.what, &args.why)?;
    let before = look(&state)?;
    let had = of(&before, &room)
        .ok_or_else(|| Stop::usage(format!("no room is called {room}; `trapline status` lists them")))?;
    ask_stop(&state, &request)?;
    let asked = Instant::now();
    let mut detected = None;
    // Others are alive if they handled something, or had nothing to do.
    loop {
        std::thread::sleep(LOOK);
        let now = look(&state)?;
        let Some(is) = of(&now, &room) else { continue };
        if detected.is_none() && is["restarts_total"].as_u64() > had["restarts_total"].as_u64() {
            detected = Some(asked.elapsed());
        }
        let back = detected.is_some() && is["state"] == "running" && is["epoch"].as_u64() > had["epoch"].as_u64();
        if back {
            return Ok(report(args, &room, &before, &now, detected, Some(asked.elapsed())));
        }
        if asked.elapsed() > args.within {
            return Ok(report(args, &room, &before, &now, detected, None));
        }
    }
}

fn parse(what: &str, why: &str) -> Result<(String, Request), Stop> {
    let wrong = || Stop::usage(format!("{what:?}: write panic:ROOM or hang:ROOM or hang:ROOM:10s"));
    let (kind, rest) = what.split_once(':').ok_or_else(wrong)?;
    let (room, length) = rest.split_once(':').map_or((rest, None), |(room, length)| (room, Some(length)));
    if room.is_empty() {
        return Err(wrong());
    }
    let (name, who, why) = (room.to_owned(), who(), why.to_owned());
    let request = match (kind, length) {
        ("panic", None) => Request::Panic { room: name, who, why },
        ("hang", length) => {
            let span = super::parse_span(length.unwrap_or("8s")).map_err(Stop::usage)?;
            Request::Hang { room: name, ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX), who, why }
        }
        _ => return Err(wrong()),
    };
    Ok((room.to_owned(), request))
}

fn look(state: &Path) -> Result<Value, Stop> {
    ask_stop(state, &Request::Status)
}

fn of<'a>(status: &'a Value, room: &str) -> Option<&'a Value> {
    status["rooms"].as_array()?.iter().find(|known| known["name"] == room)
}

fn report(
    args: &DrillArgs,
    room: &str,
    before: &Value,
    now: &Value,
    detected: Option<Duration>,
    back: Option<Duration>,
) -> Exit {
    let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let number = |status: &Value, field: &str| of(status, room).and_then(|room| room[field].as_u64()).unwrap_or(0);
    // Everything that came in is handled, waits, was replaced by something newer, refused or put into quarantine.
    let waiting = number(now, "depth") + u64::from(number(now, "busy_ms") > 0);
    let quarantined = number(now, "quarantined") - number(before, "quarantined");
    let others: Vec<_> = now["rooms"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|other| other["name"] != room)
        .filter(|other| {
            let name = other["name"].as_str().unwrap_or_default();
            of(before, name).is_some_and(|had| had["restarts_total"] != other["restarts_total"])
        })
        .filter_map(|other| other["name"].as_str())
        .collect();
    let good = back.is_some() && others.is_empty();
    if args.json {
        let summary = json!({
            "injected": args.what, "room": room, "detected_us": detected.map(us), "recovered_us": back.map(us),
            "waiting": waiting, "quarantined": quarantined, "others_restarted": others, "ok": good,
        });
        println!("{summary}");
    } else {
        println!("injected    {}", args.what);
        match detected {
            Some(after) => println!("detected    after {}", span(us(after))),
            None => println!("detected    not within {}", span(us(args.within))),
        }
        match back {
            Some(after) => println!("back        after {} (looked every {} ms)", span(us(after)), LOOK.as_millis()),
            None => println!("back        not within {}", span(us(args.within))),
        }
        println!("quarantined {quarantined}; {waiting} waiting");
        println!("others      {}", if others.is_empty() { "none restarted".to_owned() } else { others.join(", ") });
        println!("more        trapline why {room}");
    }
    if good { Exit::Ok } else { Exit::Violated }
}
