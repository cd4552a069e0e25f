//! Books and forced orders towards clients: when they move, and who is told.

use super::account::{Happened, HoldSide};
use super::book::{Book, Depth};
use super::config::Generation;
use super::core::Core;
use super::faults::FaultName;
use super::hub::{Feed, Topic};
use super::liquidation::{self, Liquidation};
use super::owners::MAIN;
use super::wire::book;
use crate::domain::market::TakerSide;

/// What made a book move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Every 100 ms or so: both generations.
    Quotes,
    /// A trade: v3 is told at once.
    Trades,
}

impl Core {
    /// Moves the books of a symbol that somebody listens to, and tells them.
    pub fn move_books(&mut self, symbol: usize, now_ms: i64, beat: Beat) {
        if !self.hub.any_depth() {
            return;
        }
        for generation in [Generation::V2, Generation::V3] {
            if beat == Beat::Trades && generation == Generation::V2 {
                continue;
            }
            let topic = |depth: Depth| Topic::public(generation, Feed::Book(depth), symbol);
            let wanted: Vec<Depth> =
                Depth::of(generation).iter().copied().filter(|d| self.hub.wanted(topic(*d))).collect();
            if wanted.is_empty() {
                self.books.remove(&(generation, symbol));
                continue;
            }
            let Some(mut book) = self.books.remove(&(generation, symbol)) else {
                // Listeners that came before the first price had no snapshot yet.
                for depth in wanted {
                    if let Some(text) = self.book_snapshot(generation, depth, symbol, now_ms) {
                        self.publish(topic(depth), text);
                    }
                }
                continue;
            };
            let changes = book.follow(self.state(symbol), now_ms);
            for depth in wanted {
                let state = self.state(symbol);
                let text = match depth {
                    _ if changes.is_empty() => continue,
                    Depth::Full => book::update(generation, state, &book, &changes, now_ms),
                    Depth::Top(_) => book::snapshot(generation, depth, state, &book, now_ms),
                };
                match self.spoil_book(topic(depth), &book, now_ms) {
                    Spoiled::No => self.publish(topic(depth), text),
                    Spoiled::Lost => {}
                    Spoiled::Instead(text) => self.publish(topic(depth), text),
                }
            }
            self.books.insert((generation, symbol), book);
        }
    }

    /// Faults `seq_gap` (an update is lost) and `book_reset` (a snapshot that nobody asked for).
    fn spoil_book(&mut self, topic: Topic, book: &Book, now_ms: i64) -> Spoiled {
        let (Feed::Book(Depth::Full), Some(symbol), true) = (topic.feed, topic.symbol, self.faults.any()) else {
            return Spoiled::No;
        };
        let name = self.state(symbol).instrument.name.clone();
        if self.faults.turn(FaultName::SeqGap, Some(&name), false).is_some() {
            return Spoiled::Lost;
        }
        if self.faults.turn(FaultName::BookReset, Some(&name), false).is_some() {
            let state = self.state(symbol);
            return Spoiled::Instead(book::snapshot(topic.generation, Depth::Full, state, book, now_ms));
        }
        Spoiled::No
    }

    /// The book that a new listener begins with: the one the others hold, so that the next update fits it.
    pub fn book_snapshot(
        &mut self,
        generation: Generation,
        depth: Depth,
        symbol: usize,
        now_ms: i64,
    ) -> Option<String> {
        if !self.state(symbol).priced() {
            return None;
        }
        let held = self.books.remove(&(generation, symbol));
        let book = held.unwrap_or_else(|| Book::new(self.state(symbol), generation, now_ms));
        let text = book::snapshot(generation, depth, self.state(symbol), &book, now_ms);
        self.books.insert((generation, symbol), book);
        Some(text)
    }

    /// Tells of the accounts' own liquidations, which the market sees like all others.
    pub fn tell_own_liquidations(&mut self, happened: &Happened) {
        let forced = happened.fills.iter().filter(|fill| fill.liquidation);
        for fill in forced {
            let Some(&symbol) = self.by_name.get(&fill.symbol) else { continue };
            let side = if fill.hold_side == HoldSide::Long { TakerSide::Buy } else { TakerSide::Sell };
            let (price, amount) = (fill.price, fill.value().round_dp(4).normalize());
            let row = Liquidation { side, price, amount, ts_ms: fill.time_ms };
            self.publish_liquidations(symbol, &[row], fill.time_ms);
        }
    }

    /// Tells of forced orders among the newest trades of a symbol.
    pub fn tell_liquidations(&mut self, symbol: usize, count: usize, now_ms: i64) {
        if !self.hub.any_depth() || !self.hub.wanted(self.liquidation_topic(symbol)) {
            return;
        }
        let recent: Vec<_> = self.state(symbol).recent.iter().copied().collect();
        self.publish_liquidations(symbol, &liquidation::among(&recent, count), now_ms);
    }

    fn liquidation_topic(&self, symbol: usize) -> Topic {
        let product = Some(self.state(symbol).instrument.product);
        Topic { generation: Generation::V3, feed: Feed::Liquidation, symbol: None, product, owner: MAIN }
    }

    fn publish_liquidations(&mut self, symbol: usize, rows: &[Liquidation], now_ms: i64) {
        if !rows.is_empty() {
            let text = book::liquidations(self.state(symbol), rows, now_ms);
            self.publish(self.liquidation_topic(symbol), text);
        }
    }
}

enum Spoiled {
    No,
    Lost,
    Instead(String),
}
