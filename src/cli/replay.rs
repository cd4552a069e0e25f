//! `trapline replay`: tapes through the daemon's own pure detectors, offline, as fast as they go.

use crate::domain::market::Trade;
use crate::domain::symbol::SymbolId;
use crate::domain::trap::{TrapDetected, TrapEngine, TrapSettings};
use crate::domain::validate::{MarketGate, MarketRules};
use crate::error::Stop;
use crate::tape::{Row, Tape};
use rust_decimal::Decimal;
use rustc_hash::{FxHashMap, FxHasher};
use serde::Serialize;
use std::hash::Hasher;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// The most symbols one replay keeps engines for.
const SYMBOLS_MAX: usize = 1_024;
/// A pause between tapes or trades longer than this is a gap: the windows begin again.
const GAP_MS: i64 = 600_000;

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub tapes: u64,
    pub rows: u64,
    pub trades: u64,
    /// Trades that the daemon's rules refuse: not positive, out of order, twice, beyond the price band.
    pub refused: u64,
    pub traps: u64,
    /// Tapes without a single trade, which therefore cannot have traps.
    pub tapes_without_trades: u64,
}

/// One printed trap; the order of the fields is part of the contract.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    ts: i64,
    symbol: &'a str,
    r#type: &'static str,
    /// The calibrated probability where the detector has one, else the confidence.
    probability: f64,
    price: Plain,
    volume: Plain,
    started_ts: i64,
    id: &'a str,
}

/// A decimal as a JSON number without exponent and without trailing zeros.
struct Plain(Decimal);

impl Serialize for Plain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.normalize().to_string();
        match serde_json::value::RawValue::from_string(text) {
            Ok(raw) => raw.serialize(serializer),
            Err(e) => Err(serde::ser::Error::custom(e)),
        }
    }
}

struct Lane {
    gate: MarketGate,
    engine: TrapEngine,
    newest_ms: Option<i64>,
}

/// Plays the tapes in the given order and prints each trap when it is known. Single-symbol tapes that follow each
/// other continue the symbol's engine; a tape that begins before the symbol's newest trade, or long after it, begins
/// anew.
///
/// # Errors
/// A tape that cannot be opened or read, more than 1 024 symbols, or an output that cannot be written.
pub fn run(tapes: &[PathBuf], json: bool, out: &mut impl Write) -> Result<Summary, Stop> {
    run_with(tapes, &TrapSettings::default(), json, out)
}

/// [`run`] with other thresholds than the default ones.
///
/// # Errors
/// As [`run`].
pub fn run_with(tapes: &[PathBuf], settings: &TrapSettings, json: bool, out: &mut impl Write) -> Result<Summary, Stop> {
    let mut replay = Replay { settings: settings.clone(), ..Replay::default() };
    let progress = std::io::stderr().is_terminal();
    for (n, path) in tapes.iter().enumerate() {
        if progress {
            eprint!("\r\x1b[K[{}/{}] {}", n + 1, tapes.len(), path.display());
        }
        let before = replay.summary.trades;
        let tape = Tape::open(path).map_err(|e| Stop::unavailable(e.to_string()))?;
        let mut first = FxHashMap::default();
        for row in tape {
            let row = row.map_err(|e| Stop::unavailable(e.to_string()))?;
            replay.summary.rows += 1;
            if let Row::Trade { ts_ms, symbol, price, size, side, id } = row {
                let first_of_tape = first.insert(symbol.clone(), ()).is_none();
                let trade = Trade {
                    symbol: SymbolId(0),
                    exchange_time_ms: ts_ms,
                    price,
                    size,
                    side,
                    id: number_of(&id),
                    history: false,
                };
                replay.take(&symbol, trade, first_of_tape, json, out)?;
            }
        }
        replay.summary.tapes += 1;
        if replay.summary.trades == before {
            replay.summary.tapes_without_trades += 1;
            if progress {
                eprint!("\r\x1b[K");
            }
            eprintln!("{}: no trades on this tape, so no traps", path.display());
        }
    }
    replay.finish(json, out)?;
    if progress {
        eprint!("\r\x1b[K");
    }
    if !json {
        let s = &replay.summary;
        writeln!(out, "{} traps in {} trades of {} tapes; {} trades refused", s.traps, s.trades, s.tapes, s.refused)
            .map_err(unwritable)?;
    }
    out.flush().map_err(unwritable)?;
    Ok(replay.summary)
}

fn unwritable(error: std::io::Error) -> Stop {
    Stop::unavailable(format!("the output cannot be written: {error}; is the disk full or the reader gone?"))
}

fn number_of(id: &str) -> u64 {
    id.parse().unwrap_or_else(|_| {
        let mut hasher = FxHasher::default();
        hasher.write(id.as_bytes());
        hasher.finish()
    })
}

#[derive(Default)]
struct Replay {
    settings: TrapSettings,
    rules: MarketRules,
    lanes: FxHashMap<String, usize>,
    list: Vec<(String, Lane)>,
    found: Vec<TrapDetected>,
    summary: Summary,
    heading: bool,
}

impl Replay {
    fn take(
        &mut self,
        symbol: &str,
        mut trade: Trade,
        first_of_tape: bool,
        json: bool,
        out: &mut impl Write,
    ) -> Result<(), Stop> {
        let index = match self.lanes.get(symbol) {
            Some(index) => *index,
            None => self.open_lane(symbol)?,
        };
        trade.symbol = SymbolId(index as u16);
        let lane = &mut self.list[index].1;
        let continues = |newest: i64| (newest..newest.saturating_add(GAP_MS)).contains(&trade.exchange_time_ms);
        if first_of_tape && lane.newest_ms.is_some_and(|newest| !continues(newest)) {
            lane.engine.on_time(i64::MAX / 2, &mut self.found);
            lane.engine.on_gap(trade.exchange_time_ms);
            (lane.gate, lane.newest_ms) = (MarketGate::default(), None);
        }
        // A tape has no receive time: each row comes when it happened.
        if lane.gate.trade(&trade, trade.exchange_time_ms, 0, &self.rules).is_err() {
            self.summary.refused += 1;
            return Ok(());
        }
        lane.newest_ms = lane.newest_ms.max(Some(trade.exchange_time_ms));
        lane.engine.on_trade(&trade, &mut self.found);
        self.summary.trades += 1;
        self.print(index, json, out)
    }

    fn open_lane(&mut self, symbol: &str) -> Result<usize, Stop> {
        let index = self.list.len();
        if index >= SYMBOLS_MAX {
            return Err(Stop::usage(format!("more than {SYMBOLS_MAX} symbols: replay the tapes in smaller groups")));
        }
        let engine = TrapEngine::new(SymbolId(index as u16), symbol, self.settings.clone());
        self.lanes.insert(symbol.to_owned(), index);
        self.list.push((symbol.to_owned(), Lane { gate: MarketGate::default(), engine, newest_ms: None }));
        Ok(index)
    }

    fn finish(&mut self, json: bool, out: &mut impl Write) -> Result<(), Stop> {
        for index in 0..self.list.len() {
            self.list[index].1.engine.on_time(i64::MAX / 2, &mut self.found);
            self.print(index, json, out)?;
        }
        Ok(())
    }

    fn print(&mut self, index: usize, json: bool, out: &mut impl Write) -> Result<(), Stop> {
        for trap in self.found.drain(..) {
            self.summary.traps += 1;
            let symbol = &self.list[index].0;
            let probability = trap.probability.unwrap_or(trap.confidence);
            if json {
                let line = Line {
                    kind: "trap",
                    ts: trap.detected_ms,
                    symbol,
                    r#type: trap.kind.label(),
                    probability: (probability * 10_000.0).round() / 10_000.0,
                    price: Plain(trap.price),
                    volume: Plain(trap.volume),
                    started_ts: trap.started_ms,
                    id: &trap.id,
                };
                let text = serde_json::to_string(&line).map_err(|e| unwritable(e.into()))?;
                writeln!(out, "{text}").map_err(unwritable)?;
                continue;
            }
            if !self.heading {
                self.heading = true;
                writeln!(
                    out,
                    "{:<24} {:<12} {:<15} {:>5} {:>14} {:>9}",
                    "time", "symbol", "type", "prob", "price", "change"
                )
                .map_err(unwritable)?;
            }
            writeln!(
                out,
                "{:<24} {symbol:<12} {:<15} {probability:>5.2} {:>14} {:>+8.2}%",
                utc(trap.detected_ms),
                trap.kind.label(),
                trap.price.normalize().to_string(),
                trap.change * 100.0
            )
            .map_err(unwritable)?;
        }
        Ok(())
    }
}

/// `2018-01-01T02:03:04.005Z`; the number itself where the calendar ends.
fn utc(ms: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| ms.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain() {
        for (text, expected) in
            [("0.00000047", "0.00000047"), ("13645.50", "13645.5"), ("100000000000", "100000000000"), ("-0.10", "-0.1")]
        {
            let number = Plain(text.parse().expect("a decimal"));
            assert_eq!(serde_json::to_string(&number).expect("JSON"), expected);
        }
    }
}
