//! Recordings as a source: any number of them merged by time, their symbols under Bitget's names.
//!
//! Tapes whose spans touch (gaps below an hour) keep their places in time; others begin together, so that a
//! recording of 2018 plays beside one of 2024. Candles play as price paths where a symbol has no trades, and are
//! history where it has.

use super::candles::{Bar, Span};
use super::state::SymbolState;
use super::{Event, Quote, Source, path, rekey};
use crate::tape::{Row, Tape, TapeError};
use crate::venue::config::VenueError;
use crate::venue::instrument::{Instrument, bitget_name, scale_of};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Rows read ahead to learn symbols, decimals, and which symbols have trades.
const SCOUT_ROWS: usize = 20_000;
/// Spans closer than this belong together.
const TOUCH_MS: i64 = 3_600_000;
/// Events read ahead of a tape whose candles spread over time.
const AHEAD_MAX: usize = 100_000;

/// Several tapes as one source.
#[derive(Debug)]
pub struct Tapes {
    decks: Vec<Deck>,
    /// Rows that could not be read; the tape they belong to ends there.
    pub errors: Vec<TapeError>,
}

/// One tape, with what is read of it and not yet played.
#[derive(Debug)]
struct Deck {
    tape: Tape,
    shift_ms: i64,
    /// In time order.
    ready: VecDeque<Event>,
    ended: bool,
    index: FxHashMap<String, usize>,
    traded: Vec<bool>,
    last_ms: i64,
    newest_row_ms: i64,
    /// Has candles that play as paths.
    paths: bool,
}

#[derive(Debug, Default)]
struct Scouted {
    traded: bool,
    price_scale: u32,
    size_scale: u32,
    price: f64,
}

/// Opens the tapes; returns the source, the symbols it plays, and the source time at which it begins.
pub fn open(paths: &[PathBuf], configured: &[String]) -> Result<(Tapes, Vec<SymbolState>, i64), VenueError> {
    let mut scouted: Vec<(String, Scouted)> = Vec::new();
    let mut names: Vec<FxHashMap<String, usize>> = Vec::new();
    for path in paths {
        names.push(scout(path, configured, &mut scouted)?);
    }
    if scouted.is_empty() {
        let names = paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(VenueError::EmptyTapes { names });
    }
    let symbols = scouted
        .iter()
        .enumerate()
        .map(|(number, (name, facts))| {
            let mut instrument = Instrument::named(name);
            instrument.price_scale = facts.price_scale;
            instrument.size_scale = facts.size_scale;
            instrument.start_price = facts.price;
            SymbolState::new(instrument, number, None)
        })
        .collect();
    let traded: Vec<bool> = scouted.iter().map(|(_, facts)| facts.traded).collect();
    let mut decks = Vec::new();
    for (path, index) in paths.iter().zip(names) {
        decks.push(Deck {
            tape: Tape::open(path)?,
            shift_ms: 0,
            ready: VecDeque::new(),
            ended: false,
            index,
            traded: traded.clone(),
            last_ms: i64::MIN,
            newest_row_ms: i64::MIN,
            paths: false,
        });
    }
    let mut tapes = Tapes { decks, errors: Vec::new() };
    tapes.align();
    let start_ms = tapes.first_live_ms();
    Ok((tapes, symbols, start_ms))
}

/// Reads the beginning of a tape: its symbols (by their name on the tape) get numbers.
fn scout(
    path: &Path,
    configured: &[String],
    scouted: &mut Vec<(String, Scouted)>,
) -> Result<FxHashMap<String, usize>, VenueError> {
    let mut index = FxHashMap::default();
    let mut number = |name: &str, scouted: &mut Vec<(String, Scouted)>| {
        *index.entry(name.to_owned()).or_insert_with(|| {
            let ours = bitget_name(name, configured);
            scouted.iter().position(|(n, _)| *n == ours).unwrap_or_else(|| {
                scouted.push((ours, Scouted::default()));
                scouted.len() - 1
            })
        })
    };
    let tape = Tape::open(path)?;
    for name in tape.meta.symbols.iter().flatten() {
        number(name, scouted);
    }
    for row in tape.take(SCOUT_ROWS) {
        match row? {
            Row::Trade { symbol, price, size, .. } => {
                let i = number(&symbol, scouted);
                let facts = &mut scouted[i].1;
                facts.traded = true;
                learn(facts, price, Some(size));
            }
            Row::Ticker { symbol, bid, ask, .. } => {
                let i = number(&symbol, scouted);
                learn(&mut scouted[i].1, bid, None);
                learn(&mut scouted[i].1, ask, None);
            }
            Row::Candle { symbol, high, low, volume, .. } => {
                let i = number(&symbol, scouted);
                learn(&mut scouted[i].1, high, Some(volume));
                learn(&mut scouted[i].1, low, None);
            }
            Row::Raw { incoming: true, text, received_ms } => {
                let Some(name) = rekey::symbol_of(&text) else { continue };
                let i = number(&name, scouted);
                for event in rekey::events(&text, received_ms, |_| Some(i)) {
                    let facts = &mut scouted[i].1;
                    match event {
                        Event::Print { price, size, .. } | Event::PastTrade { price, size, .. } => {
                            facts.traded = true;
                            learn(facts, price, Some(size));
                        }
                        Event::Quote { quote, .. } => {
                            if let Some(bid) = quote.bid {
                                learn(facts, bid, None);
                            }
                        }
                        Event::PastCandle { candle, .. } => learn(facts, candle.close, None),
                    }
                }
            }
            Row::Raw { .. } => {}
        }
    }
    Ok(index)
}

fn learn(facts: &mut Scouted, price: rust_decimal::Decimal, size: Option<rust_decimal::Decimal>) {
    facts.price_scale = facts.price_scale.max(scale_of(&price));
    facts.price = crate::venue::instrument::as_f64(price);
    if let Some(size) = size {
        facts.size_scale = facts.size_scale.max(scale_of(&size)).min(8);
    }
}

impl Tapes {
    /// Moves groups of tapes that do not touch to one common beginning, the earliest.
    fn align(&mut self) {
        let mut spans: Vec<(usize, i64, i64)> = Vec::new();
        for (i, deck) in self.decks.iter_mut().enumerate() {
            let first = deck.first_live_ms();
            spans.push((i, first, deck.tape.meta.last_ts.max(first)));
        }
        spans.sort_by_key(|(_, first, _)| *first);
        let Some(&(_, beginning, _)) = spans.first() else { return };
        let (mut shift, mut reach) = (0, i64::MIN);
        for (i, first, last) in spans {
            if reach != i64::MIN && first > reach.saturating_add(TOUCH_MS) {
                shift = beginning - first;
                reach = last;
            }
            reach = reach.max(last);
            self.decks[i].move_by(shift);
        }
    }

    fn first_live_ms(&mut self) -> i64 {
        self.decks.iter_mut().map(Deck::first_live_ms).min().unwrap_or(0)
    }

    fn earliest(&mut self) -> Option<usize> {
        for deck in &mut self.decks {
            if let Some(error) = deck.fill() {
                tracing::warn!(%error, "tape cut short");
                self.errors.push(error);
            }
        }
        (0..self.decks.len()).filter_map(|i| self.decks[i].ready.front().map(|e| (e.ts_ms(), i))).min().map(|(_, i)| i)
    }
}

impl Source for Tapes {
    fn peek_ms(&mut self) -> Option<i64> {
        let deck = self.earliest()?;
        self.decks[deck].ready.front().map(Event::ts_ms)
    }

    fn next(&mut self) -> Option<Event> {
        let deck = self.earliest()?;
        self.decks[deck].ready.pop_front()
    }
}

impl Deck {
    fn move_by(&mut self, shift_ms: i64) {
        self.shift_ms = shift_ms;
        self.ready.iter_mut().for_each(|event| event.move_by(shift_ms));
        self.last_ms = self.last_ms.saturating_add(shift_ms);
        self.newest_row_ms = self.newest_row_ms.saturating_add(shift_ms);
    }

    /// Time of the first event that is not history; history before it is played at once.
    fn first_live_ms(&mut self) -> i64 {
        while !self.ready.iter().any(|e| !e.is_past()) && !self.ended {
            if self.ready.len() > AHEAD_MAX || self.read_one().is_some() {
                break;
            }
        }
        let live = self.ready.iter().find(|e| !e.is_past()).map(Event::ts_ms);
        live.unwrap_or(self.tape.meta.first_ts + self.shift_ms)
    }

    /// Makes sure that the front event is the next in time; returns why the tape ended early.
    fn fill(&mut self) -> Option<TapeError> {
        // A candle spreads over time, so rows that begin before its next trade have to be read first.
        while !self.ended
            && self.ready.front().is_none_or(|next| self.paths && self.newest_row_ms <= next.ts_ms())
            && self.ready.len() < AHEAD_MAX
        {
            let error = self.read_one();
            if error.is_some() {
                return error;
            }
        }
        None
    }

    /// Reads one row of the tape (all candles of one start together).
    fn read_one(&mut self) -> Option<TapeError> {
        let row = match self.tape.next() {
            None => {
                self.ended = true;
                return None;
            }
            Some(Err(error)) => {
                self.ended = true;
                return Some(error);
            }
            Some(Ok(row)) => row,
        };
        let shift = self.shift_ms;
        self.newest_row_ms = row.ts_ms() + shift;
        match row {
            Row::Trade { ts_ms, symbol, price, size, side, .. } => {
                if let Some(&symbol) = self.index.get(&symbol) {
                    self.push(Event::Print { ts_ms: ts_ms + shift, symbol, price, size, side });
                }
            }
            Row::Ticker { ts_ms, symbol, bid, bid_size, ask, ask_size, last, mark } => {
                if let Some(&symbol) = self.index.get(&symbol) {
                    let quote = Quote {
                        bid: Some(bid),
                        bid_size: Some(bid_size).filter(|size| !size.is_zero()),
                        ask: Some(ask),
                        ask_size: Some(ask_size).filter(|size| !size.is_zero()),
                        last,
                        mark,
                        ..Quote::default()
                    };
                    self.push(Event::Quote { ts_ms: ts_ms + shift, symbol, quote });
                }
            }
            Row::Candle { ts_ms, symbol, interval, open, high, low, close, volume } => {
                let &symbol = self.index.get(&symbol)?;
                let span = Span::v2(&interval)?;
                let bar = Bar {
                    start_ms: ts_ms + shift,
                    open,
                    high,
                    low,
                    close,
                    base_volume: volume,
                    quote_volume: volume * close,
                };
                if self.traded[symbol] {
                    self.push(Event::PastCandle { ts_ms: ts_ms + shift, symbol, candle: bar });
                } else {
                    self.merge(path::through(symbol, ts_ms + shift, span.length.span_ms(), &bar));
                }
            }
            Row::Raw { received_ms, incoming: true, text } => {
                let index = &self.index;
                for mut event in rekey::events(&text, received_ms, |name| index.get(name).copied()) {
                    event.move_by(shift);
                    self.push(event);
                }
            }
            Row::Raw { .. } => {}
        }
        None
    }

    /// Recordings are in time order but for small slips of a recorder; a slip plays at once.
    fn push(&mut self, mut event: Event) {
        match &mut event {
            Event::PastCandle { .. } | Event::PastTrade { .. } => {}
            Event::Print { ts_ms, .. } | Event::Quote { ts_ms, .. } => {
                *ts_ms = (*ts_ms).max(self.last_ms);
                self.last_ms = *ts_ms;
            }
        }
        self.ready.push_back(event);
    }

    /// Puts a candle's path among those of other symbols.
    fn merge(&mut self, path: Vec<Event>) {
        self.ready.extend(path);
        self.ready.make_contiguous().sort_by_key(Event::ts_ms);
        self.paths = true;
    }
}
