//! Public frames in both generations, as text. One place per generation; no JSON tree is built.

pub mod book;
mod digits;
pub mod v2;
pub mod v3;

use super::config::Generation;
use super::hub::{Feed, Topic};
use super::market::candles::Bar;
use super::market::state::{PublicTrade, SymbolState};
use crate::domain::market::TakerSide;

/// Whether a push states everything or what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Snapshot,
    Update,
}

impl Action {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Update => "update",
        }
    }
}

pub const fn side(side: TakerSide) -> &'static str {
    match side {
        TakerSide::Buy => "buy",
        TakerSide::Sell => "sell",
    }
}

/// A ticker frame.
pub fn ticker(topic: Topic, state: &SymbolState, now_ms: i64) -> String {
    match topic.generation {
        Generation::V2 => v2::ticker(state, now_ms),
        Generation::V3 => v3::ticker(state, now_ms),
    }
}

/// A trade frame; `newest_first` in the order in which the wire has them.
pub fn trades<'a>(
    topic: Topic,
    state: &SymbolState,
    action: Action,
    newest_first: impl Iterator<Item = &'a PublicTrade>,
    now_ms: i64,
) -> String {
    match topic.generation {
        Generation::V2 => v2::trades(state, action, newest_first, now_ms),
        Generation::V3 => v3::trades(state, action, newest_first, now_ms),
    }
}

/// A candle frame, oldest first; empty for a topic that is none.
pub fn candles<'a>(
    topic: Topic,
    state: &SymbolState,
    action: Action,
    oldest_first: impl Iterator<Item = &'a Bar>,
    now_ms: i64,
) -> String {
    let Feed::Candle(span) = topic.feed else { return String::new() };
    match topic.generation {
        Generation::V2 => v2::candles(state, span, action, oldest_first, now_ms),
        Generation::V3 => v3::candles(state, span, action, oldest_first, now_ms),
    }
}
