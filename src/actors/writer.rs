//! The Redis writer room: the only one with a Redis data connection.
//!
//! The room only lays things on the desk; the engine, a task of this incarnation, writes them. The desk outlives the
//! room, so a restart forgets no accepted value and no event.

use super::saved;
use crate::alive::SILENCE;
use crate::domain::event::Event;
use crate::domain::picture::{AccountPicture, BreakerPicture, MarketPicture, PositionPicture};
use crate::domain::position::HoldSide;
use crate::domain::symbol::SymbolId;
use crate::store::desk::Desk;
use crate::store::encode::StaleMark;
use crate::store::encode::state::{HealthPicture, TextState};
use crate::store::engine::{End, Engine, EngineSettings};
use crate::supervise::{Card, Cx, Factory, Fault, Gate, Message, Overflow, Restart, Room};
use std::sync::Arc;
use std::time::Duration;
use tracing::error;

/// What can be stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Market(SymbolId),
    Position(SymbolId, HoldSide),
    /// Both sides of every symbol: the private feed as a whole.
    Positions,
    Account,
    /// All of it: what the last word of a stopping daemon says.
    Everything,
}

/// What the writer accepts.
#[derive(Clone, Debug)]
pub enum WriterMsg {
    Market(Vec<MarketPicture>),
    Position(Vec<PositionPicture>),
    Breaker(BreakerPicture),
    Account(AccountPicture),
    Regime {
        symbol: SymbolId,
        regime: &'static str,
    },
    /// State that has no encoder of its own, by its row of the key table.
    Text(TextState),
    /// Marks a value as not to be trusted; a newer picture of the same subject takes the mark away.
    Stale {
        what: Subject,
        mark: StaleMark,
    },
    /// Takes the mark away without a newer picture.
    Fresh {
        what: Subject,
    },
    Event(Vec<Event>),
    Health(HealthPicture),
    /// From the engine: it has ended for good.
    Ended(End),
}

impl Message for WriterMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Market(_) => "Market",
            Self::Position(_) => "Position",
            Self::Breaker(_) => "Breaker",
            Self::Account(_) => "Account",
            Self::Regime { .. } => "Regime",
            Self::Text(_) => "Text",
            Self::Stale { .. } => "Stale",
            Self::Fresh { .. } => "Fresh",
            Self::Event(_) => "Event",
            Self::Health(_) => "Health",
            Self::Ended(_) => "Ended",
        }
    }

    fn split(&self) -> Vec<Self> {
        match self {
            Self::Market(list) if list.len() > 1 => list.iter().map(|p| Self::Market(vec![*p])).collect(),
            Self::Position(list) if list.len() > 1 => list.iter().map(|p| Self::Position(vec![*p])).collect(),
            Self::Event(list) if list.len() > 1 => list.iter().map(|e| Self::Event(vec![e.clone()])).collect(),
            _ => Vec::new(),
        }
    }

    fn digest(&self) -> String {
        match self {
            Self::Market(list) => {
                format!("{} market pictures, first {:?}", list.len(), list.first().map(|p| (p.symbol, p.seq)))
            }
            Self::Position(list) => {
                format!("{} positions, first {:?}", list.len(), list.first().map(|p| (p.symbol, p.side, p.seq)))
            }
            Self::Event(list) => format!("{} events", list.len()),
            Self::Text(text) => text.name.clone(),
            Self::Stale { what, .. } | Self::Fresh { what } => format!("{what:?}"),
            other => other.kind().to_owned(),
        }
    }

    fn replayable(&self) -> Result<(), &'static str> {
        match self {
            Self::Event(_) => Ok(()),
            Self::Market(_)
            | Self::Position(_)
            | Self::Breaker(_)
            | Self::Account(_)
            | Self::Regime { .. }
            | Self::Text(_)
            | Self::Health(_) => Err(saved::REPLACED),
            Self::Stale { .. } | Self::Fresh { .. } | Self::Ended(_) => Err(saved::PASSED),
        }
    }

    fn save(&self) -> Result<String, &'static str> {
        match self {
            Self::Event(list) => saved::save(list),
            _ => Err(saved::PASSED),
        }
    }

    fn load(saved: &str) -> Option<Self> {
        saved::load(saved).map(Self::Event)
    }
}

/// The room's card.
pub const CARD: Card = Card {
    name: "redis_writer",
    purpose: "Keeps Redis equal to what was accepted: state conflated and guarded, events exactly once.",
    mailbox: 128,
    overflow: Overflow::Block,
    deadline: Duration::from_secs(2),
    restart: Restart::Permanent,
    attempts: 2,
    critical: true,
    accepts: &[
        "Market", "Position", "Breaker", "Account", "Regime", "Text", "Stale", "Fresh", "Event", "Health", "Ended",
    ],
    emits: &[],
    state_at_restart: "values and events wait on the desk, which outlives the room; the connection is made anew and takes over",
};

/// See the module's text.
pub struct RedisWriter {
    desk: Arc<Desk>,
    gate: Gate,
}

impl RedisWriter {
    /// Makes incarnations that share `desk`.
    pub fn factory(desk: Arc<Desk>, settings: EngineSettings) -> Factory<Self> {
        Arc::new(move |_birth, cx: &mut Cx<Self>| {
            let (gate, opener, myself) = (cx.gate(), cx.gate(), cx.myself());
            let (progress, beating) = (cx.progress(), cx.progress());
            progress.expect_within(SILENCE);
            let engine = Engine::new(Arc::clone(&desk), settings.clone(), Box::new(move || opener.open()))
                .watched_by(Box::new(move || beating.beat()));
            cx.task("redis", async move {
                let end = engine.run().await;
                progress.expect_within(Duration::ZERO);
                // The inner lane is full only if nobody reads it any more.
                let _ = myself.post(WriterMsg::Ended(end));
            });
            Ok(Self { desk: Arc::clone(&desk), gate })
        })
    }

    fn set_stale(&self, what: Subject, mark: Option<StaleMark>) {
        let symbols = || self.desk.layout().symbols.ids();
        let mut shelf = self.desk.shelf();
        let (market, positions, account) = match what {
            Subject::Market(symbol) => return shelf.stale_market(symbol, mark),
            Subject::Position(symbol, side) => return shelf.stale_position(symbol, side, mark),
            Subject::Positions => (false, true, false),
            Subject::Account => (false, false, true),
            Subject::Everything => (true, true, true),
        };
        for symbol in symbols() {
            if market {
                shelf.stale_market(symbol, mark);
            }
            if positions {
                HoldSide::BOTH.into_iter().for_each(|side| shelf.stale_position(symbol, side, mark));
            }
        }
        if account {
            shelf.stale_account(mark);
        }
    }
}

impl Room for RedisWriter {
    type Msg = WriterMsg;

    fn handle(&mut self, msg: &WriterMsg, _cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            WriterMsg::Market(pictures) => self.desk.shelf().market(pictures),
            WriterMsg::Position(pictures) => self.desk.shelf().positions(pictures),
            WriterMsg::Breaker(picture) => self.desk.shelf().breaker(picture.clone()),
            WriterMsg::Account(picture) => self.desk.shelf().account(picture.clone()),
            WriterMsg::Regime { symbol, regime } => self.desk.shelf().regime(*symbol, regime),
            WriterMsg::Text(text) => self.desk.shelf().text(text.clone()),
            WriterMsg::Stale { what, mark } => self.set_stale(*what, Some(*mark)),
            WriterMsg::Fresh { what } => self.set_stale(*what, None),
            WriterMsg::Event(events) => {
                let mut outbox = self.desk.outbox();
                events.iter().for_each(|event| outbox.accept(self.desk.layout(), event));
            }
            WriterMsg::Health(picture) => self.desk.shelf().health(picture.clone()),
            // No fault: a new incarnation would take the keys back. The board says it, and the program ends.
            WriterMsg::Ended(End::Fenced) => error!("a newer daemon writes these keys: this one ends"),
            WriterMsg::Ended(End::Superseded) => {
                return Err(Fault::Retry("another incarnation has taken the desk".to_owned()));
            }
        }
        self.desk.wake();
        if self.desk.is_congested() {
            self.gate.close();
        }
        Ok(())
    }

    fn is_drained(&self) -> bool {
        self.desk.is_drained()
    }

    /// The last word in Redis: nothing here is kept up to date any more.
    fn on_drain(&mut self, cx: &mut Cx<Self>) {
        let mark = StaleMark { since_ms: cx.now_ms(), reason: "stopped" };
        self.set_stale(Subject::Everything, Some(mark));
        self.desk.wake();
    }
}
