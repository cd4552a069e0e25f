//! What the account holds, from everything the exchange said about it. The hard part is 'flat': silence, a failed
//! query and a single empty answer are not flat. A side that was open (or unknown) becomes flat only when two
//! witnesses agree: the socket and REST, or two REST answers some seconds apart, all of them later than the last word
//! that it is open.

use super::picture::{Holding, PositionPicture};
use super::position::{Coverage, HoldSide, Position, PositionStatement};
use super::refusal::{Refusal, Refused};
use super::report::Origin;
use super::symbol::{SymbolId, Symbols};
use rust_decimal::Decimal;
use std::sync::Arc;

/// How long one witness's word for 'flat' waits for the second before it has to be said again.
pub const WITNESS_MS: i64 = 15_000;

/// Two REST answers closer together than this, by exchange time, are one witness: a server that is ill for a moment
/// answers 'nothing' as often as it is asked.
pub const REST_APART_MS: i64 = 5_000;

/// What a statement changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Sides that changed or were proved again.
    pub accepted: Vec<PositionPicture>,
    pub refused: Vec<Refused>,
    /// Symbols where a second witness is needed: ask REST now.
    pub suspicions: Vec<SymbolId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// `None` until the exchange has spoken.
    holding: Option<Holding>,
    update_time_ms: i64,
    seq: u64,
    /// Exchange time of the newest word, whatever it said.
    word_ms: i64,
    /// Exchange time of the newest word that it is open.
    open_ms: i64,
    /// Exchange and local time of an unconfirmed 'flat', by witness.
    flat_socket: Option<(i64, i64)>,
    flat_rest: Option<(i64, i64)>,
}

/// The account's positions, one entry for each configured symbol and side.
#[derive(Clone, Debug)]
pub struct PositionBook {
    symbols: Arc<Symbols>,
    sides: Vec<[Side; 2]>,
    /// Newest socket statement since the private feed was last lost. A connection that relieves another without a gap
    /// continues its order: what it heard before the old one's last word is older than that.
    socket_ms: i64,
}

impl PositionBook {
    /// Sequence numbers count up from `seq_base`, so that a new book's pictures are newer than its predecessor's.
    pub fn new(symbols: Arc<Symbols>, seq_base: u64) -> Self {
        let sides = vec![[Side { seq: seq_base, ..Side::default() }; 2]; symbols.len()];
        Self { symbols, sides, socket_ms: i64::MIN }
    }

    /// What is believed of one side; `None` = unknown.
    pub fn holding(&self, symbol: SymbolId, side: HoldSide) -> Option<Holding> {
        self.sides.get(symbol.index()).and_then(|s| s[side.index()].holding)
    }

    /// The exchange's clock was set: what it said before moves with it, so that words from before and after the step
    /// can be compared. A little is taken off for the measurement's error, except from the last word that a side is
    /// open: a 'flat' has to be later than that beyond doubt.
    pub fn on_clock_step(&mut self, step_ms: i64) {
        const ERROR_MS: i64 = 1_000;
        let moved = |time_ms: i64| time_ms.saturating_add(step_ms);
        if self.socket_ms != i64::MIN {
            self.socket_ms = moved(self.socket_ms) - ERROR_MS;
        }
        for side in self.sides.iter_mut().flatten().filter(|side| side.word_ms != 0) {
            (side.word_ms, side.open_ms) = (moved(side.word_ms) - ERROR_MS, moved(side.open_ms));
            // Half a proof across a step of the clock is none.
            (side.flat_socket, side.flat_rest) = (None, None);
        }
    }

    /// The private feed went away: words of the old connection no longer witness anything.
    pub fn on_feed_lost(&mut self) {
        self.socket_ms = i64::MIN;
        for side in self.sides.iter_mut().flatten() {
            side.flat_socket = None;
        }
    }

    /// Takes in one statement. `received_ms` is local wall time and stamps the proof.
    pub fn apply(&mut self, statement: &PositionStatement, origin: Origin, received_ms: i64) -> Outcome {
        let mut outcome = Outcome::default();
        let at = statement.exchange_time_ms;
        if origin == Origin::Socket {
            if at < self.socket_ms {
                outcome
                    .refused
                    .push(Refused::new(Refusal::Regressed, "positions", received_ms, "older statement").at(at));
                return outcome;
            }
            self.socket_ms = at;
        }
        let mut named = vec![[false; 2]; self.sides.len()];
        for row in &statement.rows {
            if let Some(slot) = named.get_mut(row.symbol.index()) {
                // A refused row still says that the side is not absent.
                slot[row.side.index()] = true;
            }
            match check_row(row) {
                Err(refusal) => outcome
                    .refused
                    .push(Refused::new(refusal, "positions", received_ms, "row").with_symbol(Some(row.symbol)).at(at)),
                Ok(()) if row.size.is_zero() => self.flat(row.symbol, row.side, origin, at, received_ms, &mut outcome),
                Ok(()) => self.open(row, origin, at, received_ms, &mut outcome),
            }
        }
        if let Coverage::Complete { product } = statement.coverage {
            for symbol in self.symbols.ids() {
                if product.is_some_and(|p| p != self.symbols.get(symbol).product) {
                    continue;
                }
                for side in HoldSide::BOTH {
                    if !named[symbol.index()][side.index()] {
                        self.flat(symbol, side, origin, at, received_ms, &mut outcome);
                    }
                }
            }
        }
        outcome.suspicions.dedup();
        outcome
    }

    fn open(&mut self, row: &Position, origin: Origin, at: i64, received_ms: i64, outcome: &mut Outcome) {
        let Some(side) = self.sides.get_mut(row.symbol.index()).map(|s| &mut s[row.side.index()]) else { return };
        if origin == Origin::Rest && at < side.word_ms {
            // REST lags behind the socket: not a word about now.
            return;
        }
        if let Some((flat_ms, _)) = side.flat_socket.or(side.flat_rest)
            && at >= flat_ms
            && matches!(side.holding, Some(Holding::Open(_)))
        {
            outcome.refused.push(
                Refused::new(Refusal::FlatContradicted, "positions", received_ms, "said flat, but it is open")
                    .with_symbol(Some(row.symbol))
                    .at(flat_ms),
            );
        }
        (side.flat_socket, side.flat_rest) = (None, None);
        (side.word_ms, side.open_ms) = (at, at);
        let changed = match side.holding {
            Some(Holding::Open(before)) => !same_holding(&before, row),
            Some(Holding::Flat) | None => true,
        };
        if changed {
            side.seq += 1;
            side.update_time_ms = row.update_time_ms.max(side.update_time_ms);
        }
        side.holding = Some(Holding::Open(*row));
        outcome.accepted.push(side.picture(row.symbol, row.side, received_ms, origin));
    }

    fn flat(
        &mut self,
        symbol: SymbolId,
        hold_side: HoldSide,
        origin: Origin,
        at: i64,
        received_ms: i64,
        outcome: &mut Outcome,
    ) {
        let Some(side) = self.sides.get_mut(symbol.index()).map(|s| &mut s[hold_side.index()]) else { return };
        if at < side.open_ms || (origin == Origin::Rest && at < side.word_ms && side.flat_socket.is_none()) {
            return;
        }
        side.word_ms = side.word_ms.max(at);
        if side.holding == Some(Holding::Flat) {
            outcome.accepted.push(side.picture(symbol, hold_side, received_ms, origin));
            return;
        }
        let recent = |witness: Option<(i64, i64)>| witness.filter(|(_, seen)| received_ms - seen <= WITNESS_MS);
        let confirmed = match origin {
            Origin::Socket => recent(side.flat_rest).is_some(),
            Origin::Rest => {
                recent(side.flat_socket).is_some()
                    || recent(side.flat_rest).is_some_and(|(first, _)| at - first >= REST_APART_MS)
            }
        };
        if confirmed {
            (side.flat_socket, side.flat_rest) = (None, None);
            side.holding = Some(Holding::Flat);
            side.seq += 1;
            side.update_time_ms = side.update_time_ms.max(at);
            outcome.accepted.push(side.picture(symbol, hold_side, received_ms, origin));
        } else {
            match origin {
                Origin::Socket => side.flat_socket = Some((at, received_ms)),
                // The first of them waits for one that is far enough from it.
                Origin::Rest => side.flat_rest = recent(side.flat_rest).or(Some((at, received_ms))),
            }
            outcome.suspicions.push(symbol);
        }
    }
}

impl Side {
    fn picture(&self, symbol: SymbolId, side: HoldSide, verified_ms: i64, source: Origin) -> PositionPicture {
        PositionPicture {
            symbol,
            side,
            holding: self.holding.unwrap_or(Holding::Flat),
            update_time_ms: self.update_time_ms,
            verified_ms,
            source,
            seq: self.seq,
        }
    }
}

/// Whether two rows describe the same holding; what moves with the price is left out.
fn same_holding(a: &Position, b: &Position) -> bool {
    a.size == b.size && a.entry_price == b.entry_price && a.leverage == b.leverage && a.margin_mode == b.margin_mode
}

fn check_row(row: &Position) -> Result<(), Refusal> {
    const SIZE_MAX: Decimal = Decimal::from_parts(0x6fc1_0000, 0x0023_86f2, 0, false, 0); // 10^16
    if row.size < Decimal::ZERO || row.size > SIZE_MAX || row.entry_price > SIZE_MAX {
        return Err(Refusal::OutOfRange);
    }
    if row.size.is_zero() {
        return Ok(());
    }
    if row.entry_price <= Decimal::ZERO {
        return Err(Refusal::NoEntryPrice);
    }
    if row.leverage <= Decimal::ZERO {
        return Err(Refusal::BadField);
    }
    Ok(())
}

#[cfg(test)]
#[path = "position_book_tests.rs"]
mod tests;
