//! Faults as text: `NAME[:ms[:value]]` on the command line, and a file of them by time.

use super::core::Shared;
use super::faults::{FaultName, FaultSpec};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A fault and when it begins, ms after the exchange did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    pub at_ms: u64,
    pub spec: FaultSpec,
}

/// What is wrong with a fault's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultTextError {
    #[error("no fault {0:?}{hint}; `trapline exchange --list-faults` shows them all", hint = hint(.0))]
    Unknown(String),
    #[error("{field} {text:?} is no whole number of milliseconds")]
    Number { field: &'static str, text: String },
    #[error("{0:?}: after the value come symbol=NAME, scope=public|private or every=N")]
    Option(String),
    #[error("write `at_ms name [ms [value [symbol=…] [scope=…] [every=…]]]`, e.g. `5000 half_open 10000`")]
    Shape,
    #[error("more than {0} lines with faults")]
    TooMany(usize),
    #[error("line {line}: {source}")]
    Line { line: usize, source: Box<FaultTextError> },
}

/// The known name nearest to a mistyped one: one that holds it, or begins like it.
fn hint(name: &str) -> String {
    let alike = |known: &str| {
        let begin = known.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        if known.contains(name) { begin + 100 } else { begin }
    };
    let near = super::faults::CATALOGUE
        .iter()
        .map(|(_, known, ..)| *known)
        .max_by_key(|known| (alike(known), Reverse(known.len())));
    match near.filter(|known| name.len() >= 3 && alike(known) >= 3) {
        Some(known) => format!(", did you mean {known:?}?"),
        None => String::new(),
    }
}

/// Without a duration, a fault lasts as long as the exchange.
const ALWAYS_MS: u64 = u64::MAX;

fn named(name: &str) -> Result<FaultName, FaultTextError> {
    FaultName::parse(name).ok_or_else(|| FaultTextError::Unknown(name.to_owned()))
}

fn number(field: &'static str, text: &str) -> Result<u64, FaultTextError> {
    text.parse().map_err(|_| FaultTextError::Number { field, text: text.to_owned() })
}

/// Reads `NAME[:ms[:value]]`; the value may hold colons.
pub fn parse_fault(text: &str) -> Result<FaultSpec, FaultTextError> {
    let mut parts = text.splitn(3, ':');
    let name = named(parts.next().unwrap_or_default())?;
    let ms = match parts.next().filter(|ms| !ms.is_empty()) {
        Some(ms) => number("duration", ms)?,
        None => ALWAYS_MS,
    };
    let value = parts.next().filter(|value| !value.is_empty()).map(str::to_owned);
    Ok(FaultSpec { value, ..FaultSpec::new(name, ms) })
}

/// The most lines of a schedule.
pub const LINES_MAX: usize = 10_000;

/// Reads a schedule: a fault a line, `#` begins a comment. Sorted by time.
pub fn parse_schedule(text: &str) -> Result<Vec<Scheduled>, FaultTextError> {
    let mut list = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if list.len() == LINES_MAX {
            return Err(FaultTextError::TooMany(LINES_MAX));
        }
        let fault = parse_line(line);
        list.push(fault.map_err(|source| FaultTextError::Line { line: number + 1, source: Box::new(source) })?);
    }
    list.sort_by_key(|fault| fault.at_ms);
    Ok(list)
}

fn parse_line(line: &str) -> Result<Scheduled, FaultTextError> {
    let mut words = line.split_whitespace();
    let (Some(at), Some(name)) = (words.next(), words.next()) else { return Err(FaultTextError::Shape) };
    let at_ms = number("time", at)?;
    let name = named(name)?;
    let ms = words.next().map_or(Ok(ALWAYS_MS), |ms| number("duration", ms))?;
    let mut spec = FaultSpec::new(name, ms);
    for word in words {
        match word.split_once('=') {
            Some(("symbol", symbol)) => spec.symbol = Some(symbol.to_uppercase()),
            Some(("scope", scope @ ("public" | "private"))) => spec.scope = Some(scope.to_owned()),
            Some(("every", every)) => spec.every = number("every", every)?.max(1),
            _ if spec.value.is_none() => spec.value = Some(word.to_owned()),
            _ => return Err(FaultTextError::Option(word.to_owned())),
        }
    }
    Ok(Scheduled { at_ms, spec })
}

/// Starts each fault at its time.
pub async fn run(shared: Arc<Shared>) {
    let begun = Instant::now();
    let due = shared.config.schedule.clone();
    for Scheduled { at_ms, spec } in due {
        tokio::select! {
            () = tokio::time::sleep_until(begun + Duration::from_millis(at_ms)) => shared.core().start_fault(spec),
            () = shared.stopped() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_command_line() {
        let always = |name| FaultSpec::new(name, u64::MAX);
        for (text, expected) in [
            ("drop_pong", always(FaultName::DropPong)),
            ("drop_pong:500", FaultSpec::new(FaultName::DropPong, 500)),
            ("rest_html:500:403", FaultSpec::new(FaultName::RestHtml, 500).with_value("403")),
            ("freeze_channel::ticker", always(FaultName::FreezeChannel).with_value("ticker")),
            ("garbage_frame:0:{\"a\":1}", FaultSpec::new(FaultName::GarbageFrame, 0).with_value("{\"a\":1}")),
        ] {
            assert_eq!(parse_fault(text), Ok(expected), "{text}");
        }
        for (text, holds) in
            [("nope", "--list-faults"), ("pong", "drop_pong"), ("kill:soon", "\"soon\""), ("", "no fault")]
        {
            let error = parse_fault(text).expect_err(text).to_string();
            assert!(error.contains(holds), "{text}: {error}");
        }
    }

    #[test]
    fn a_schedule_is_read_sorted_and_its_errors_name_the_line() {
        let text =
            "# drill\n5000 half_open 10000\n\n0 stale_ts 100 60000 symbol=btcusdt scope=public every=3 # x\n7 kill";
        let list = parse_schedule(text).expect("reads");
        let times: Vec<u64> = list.iter().map(|fault| fault.at_ms).collect();
        assert_eq!(times, [0, 7, 5000]);
        let first = &list[0].spec;
        assert_eq!(
            (first.symbol.as_deref(), first.scope.as_deref(), first.every),
            (Some("BTCUSDT"), Some("public"), 3)
        );
        assert_eq!((first.value.as_deref(), list[1].spec.ms), (Some("60000"), u64::MAX));
        for (text, holds) in [
            ("0 kill\n5", "line 2: write `at_ms"),
            ("x kill", "line 1: time \"x\""),
            ("0 kil", "did you mean \"kill\""),
            ("0 half_opne", "did you mean \"half_open\""),
            ("0 kill soon", "duration"),
            ("0 kill 5 a b", "symbol=NAME"),
            ("0 kill 5 scope=nowhere b", "symbol=NAME"),
        ] {
            let error = parse_schedule(text).expect_err(text).to_string();
            assert!(error.contains(holds), "{text}: {error}");
        }
        let long = "0 kill\n".repeat(LINES_MAX + 1);
        assert_eq!(parse_schedule(&long), Err(FaultTextError::TooMany(LINES_MAX)));
    }
}
