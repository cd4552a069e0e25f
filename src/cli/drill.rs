//! `trapline drill`: breaks a part of a running daemon on purpose, waits until it works again, and says what happened
//! and that nothing was lost. Only where the daemon's configuration says `allow_drills = true`.

use super::ctl::{StateArgs, ask_stop, who};
use crate::ctl::Request;
use crate::drills::Outside;
use crate::error::{Exit, Stop};
use crate::supervise::answers::span;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

mod outcome;

use outcome::{Outcome, number, room};

/// How often the tree is asked while the drill runs.
const LOOK: Duration = Duration::from_millis(20);
/// How long everything may take to be accounted for once the part works again.
const SETTLE: Duration = Duration::from_secs(10);

/// Arguments of `trapline drill`.
#[derive(Args, Clone, Debug)]
pub struct DrillArgs {
    /// panic:ROOM, hang:ROOM[:TIME], poison:ROOM, redis-kill, feed-blackhole or feed-close; see --list
    #[arg(value_name = "WHAT", required_unless_present = "list")]
    pub what: Option<String>,
    /// What can be broken; with a running daemon also its rooms
    #[arg(long)]
    pub list: bool,
    /// Why; the journal keeps it
    #[arg(long, value_name = "TEXT", default_value = "drill")]
    pub why: String,
    /// How long to wait for everything to work again
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = super::parse_span)]
    pub within: Duration,
    #[command(flatten)]
    pub state: StateArgs,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// What is broken, and so what to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Drill {
    Panic(String),
    Hang(String, Duration),
    Poison(String),
    Outside(Outside),
}

pub(super) fn run(args: &DrillArgs) -> Result<Exit, Stop> {
    let Some(what) = args.what.as_deref().filter(|_| !args.list) else {
        return super::ctl::printed(list(args));
    };
    let drill = Drill::parse(what)?;
    let state = args.state.folder()?;
    let before = look(&state)?;
    if let Some(name) = drill.room()
        && room(&before, name).is_none()
    {
        return Err(Stop::usage(format!("no room is called {name}; `trapline status` lists them")));
    }
    ask_stop(&state, &drill.request(&args.why))?;
    let asked = Instant::now();
    if !args.json {
        println!("injected  {what}: {}", drill.tell());
        println!("waiting   until it works again, at most {}", span(micros(args.within)));
    }
    let mut found: Option<(Duration, Value)> = None;
    let (now, back) = loop {
        std::thread::sleep(LOOK);
        let now = look(&state)?;
        if found.is_none() && drill.is_found(&before, &now) {
            found = Some((asked.elapsed(), now.clone()));
        }
        let over = found.as_ref().is_some_and(|(_, then)| drill.is_over(&before, then, &now));
        if over || asked.elapsed() > args.within {
            break (now, over.then(|| asked.elapsed()));
        }
    };
    let settled = settle(&state, &drill, &before, now)?;
    let found = found.map(|(after, _)| after);
    super::ctl::printed(report(args, what, &drill, found, back, &settled))?;
    Ok(if back.is_some() && settled.is_good() { Exit::Ok } else { Exit::Violated })
}

impl Drill {
    fn parse(what: &str) -> Result<Self, Stop> {
        if let Some(outside) = Outside::ALL.into_iter().find(|outside| outside.word() == what) {
            return Ok(Self::Outside(outside));
        }
        let wrong = || {
            let words: Vec<_> = Outside::ALL.map(Outside::word).to_vec();
            Stop::usage(format!(
                "{what:?}: write panic:ROOM, hang:ROOM, hang:ROOM:10s, poison:ROOM, {}",
                words.join(", ")
            ))
        };
        let (kind, rest) = what.split_once(':').ok_or_else(wrong)?;
        let (room, length) = rest.split_once(':').map_or((rest, None), |(room, length)| (room, Some(length)));
        match (kind, room, length) {
            (_, "", _) => Err(wrong()),
            ("panic", room, None) => Ok(Self::Panic(room.to_owned())),
            ("poison", room, None) => Ok(Self::Poison(room.to_owned())),
            ("hang", room, length) => {
                let length = super::parse_span(length.unwrap_or("8s")).map_err(Stop::usage)?;
                Ok(Self::Hang(room.to_owned(), length))
            }
            _ => Err(wrong()),
        }
    }

    fn room(&self) -> Option<&str> {
        match self {
            Self::Panic(room) | Self::Hang(room, _) | Self::Poison(room) => Some(room),
            Self::Outside(_) => None,
        }
    }

    fn request(&self, why: &str) -> Request {
        let (who, why) = (who(), why.to_owned());
        match self.clone() {
            Self::Panic(room) => Request::Panic { room, who, why },
            Self::Poison(room) => Request::Poison { room, who, why },
            Self::Hang(room, length) => {
                Request::Hang { room, ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX), who, why }
            }
            Self::Outside(what) => Request::Outside { what, who, why },
        }
    }

    fn tell(&self) -> String {
        match self {
            Self::Panic(_) => "the room panics".to_owned(),
            Self::Hang(_, length) => format!("the room's thread sleeps for {} ms", length.as_millis()),
            Self::Poison(_) => "the room's next message kills it at each of its tries".to_owned(),
            Self::Outside(what) => what.tell().to_owned(),
        }
    }

    /// The first sign of it.
    fn is_found(&self, before: &Value, now: &Value) -> bool {
        let more = |name: &str| number(now, name) > number(before, name);
        match self {
            Self::Panic(name) | Self::Hang(name, _) | Self::Poison(name) => {
                of(now, name, "restarts_total") > of(before, name, "restarts_total")
            }
            Self::Outside(Outside::RedisKill) => more("/counts/connects_total") || now["redis"] != "up",
            Self::Outside(_) => more("/connections") || more("/stale_keys"),
        }
    }

    /// Everything works as before; `then` is when it was found.
    fn is_over(&self, before: &Value, then: &Value, now: &Value) -> bool {
        let writes = number(now, "/counts/state_writes_total") > number(then, "/counts/state_writes_total");
        match self {
            Self::Panic(name) => is_back(before, now, name),
            // The thread is given up, so all who live on it come back on another.
            Self::Hang(name, _) => {
                let thread = room(now, name).map(|room| &room["thread"]);
                let mut with_it = outcome::rooms(now).filter(|room| Some(&room["thread"]) == thread);
                with_it.all(|room| room["name"].as_str().is_some_and(|name| is_back(before, now, name)))
            }
            Self::Poison(name) => {
                is_back(before, now, name) && of(now, name, "quarantined") > of(before, name, "quarantined")
            }
            Self::Outside(Outside::RedisKill) => {
                let again = number(now, "/counts/connects_total") > number(before, "/counts/connects_total");
                writes && again && now["redis"] == "up"
            }
            Self::Outside(_) => {
                let feeds = outcome::rooms(now).filter(|room| is_feed(room)).count() as u64;
                let again = number(now, "/connections") >= number(before, "/connections") + feeds;
                writes && again && number(now, "/stale_keys") <= number(before, "/stale_keys")
            }
        }
    }
}

fn is_feed(room: &Value) -> bool {
    room["name"].as_str().is_some_and(|name| name.starts_with("exchange_feed"))
}

fn is_back(before: &Value, now: &Value, name: &str) -> bool {
    let running = room(now, name).is_some_and(|room| room["state"] == "running");
    running && of(now, name, "epoch") > of(before, name, "epoch")
}

fn of(status: &Value, name: &str, field: &str) -> u64 {
    room(status, name).and_then(|room| room[field].as_u64()).unwrap_or(0)
}

fn look(state: &Path) -> Result<Value, Stop> {
    ask_stop(state, &Request::Status)
}

/// Messages are on their way at each moment: looks until the books are even.
fn settle(state: &Path, drill: &Drill, before: &Value, mut now: Value) -> Result<Outcome, Stop> {
    let until = Instant::now() + SETTLE;
    loop {
        let outcome = Outcome::of(drill.room(), before, &now);
        if outcome.is_even() || Instant::now() >= until {
            return Ok(outcome);
        }
        std::thread::sleep(LOOK);
        now = look(state)?;
    }
}

fn list(args: &DrillArgs) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "panic:ROOM        the room panics: a fresh incarnation at once")?;
    writeln!(out, "hang:ROOM[:TIME]  the room's thread sleeps (8s): it is given up, another takes the mailbox over")?;
    writeln!(out, "poison:ROOM       the room's next message kills it at each of its tries: it goes into quarantine")?;
    for outside in Outside::ALL {
        writeln!(out, "{:<16}  {}", outside.word(), outside.tell())?;
    }
    let status = args.state.folder().ok().and_then(|state| look(&state).ok());
    let Some(status) = status else {
        return writeln!(out, "\nno daemon is running here: name its state folder with --state to see its rooms");
    };
    let names: Vec<_> = outcome::rooms(&status).filter_map(|room| room["name"].as_str()).collect();
    writeln!(out, "\nrooms: {}", names.join(", "))?;
    let allowed = if status["drills_allowed"] == true { "allowed" } else { "not allowed: set allow_drills = true" };
    writeln!(out, "drills are {allowed}")
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn report(
    args: &DrillArgs,
    what: &str,
    drill: &Drill,
    found: Option<Duration>,
    back: Option<Duration>,
    outcome: &Outcome,
) -> std::io::Result<()> {
    let us = micros;
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut summary = json!(outcome);
        summary["injected"] = json!(what);
        summary["what"] = json!(drill.tell());
        summary["room"] = json!(drill.room());
        summary["detected_us"] = json!(found.map(us));
        summary["recovered_us"] = json!(back.map(us));
        summary["ok"] = json!(back.is_some() && outcome.is_good());
        return writeln!(out, "{summary}");
    }
    let after = |time: Option<Duration>| {
        time.map_or_else(
            || format!("not within {}", span(us(args.within))),
            |after| format!("after {}", span(us(after))),
        )
    };
    writeln!(out, "found     {}", after(found))?;
    writeln!(out, "back      {} (looked every {} ms)", after(back), LOOK.as_millis())?;
    outcome.print(&mut out)?;
    writeln!(out, "more      trapline why {}", drill.room().unwrap_or(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drills_are_read_and_what_is_none_is_refused() {
        for (text, expected) in [
            ("panic:a", Some(Drill::Panic("a".to_owned()))),
            ("poison:a", Some(Drill::Poison("a".to_owned()))),
            ("hang:a", Some(Drill::Hang("a".to_owned(), Duration::from_secs(8)))),
            ("hang:a:100ms", Some(Drill::Hang("a".to_owned(), Duration::from_millis(100)))),
            ("redis-kill", Some(Drill::Outside(Outside::RedisKill))),
            ("feed-blackhole", Some(Drill::Outside(Outside::FeedBlackhole))),
            ("feed-close", Some(Drill::Outside(Outside::FeedClose))),
            ("panic:", None),
            ("panic:a:1s", None),
            ("hang:a:soon", None),
            ("rain:a", None),
            ("rain", None),
        ] {
            assert_eq!(Drill::parse(text).ok(), expected, "case: {text}");
        }
    }
}
