//! The ledger: attributes fills to strategies and keeps each strategy's figures.

use super::saved;
use super::writer::WriterMsg;
use crate::domain::account::{Fill, Order};
use crate::domain::event::Event;
use crate::domain::ledger::{Ledger, Rule};
use crate::store::encode::summary;
use crate::supervise::{Card, Cx, Factory, Fault, Message, Overflow, Port, Restart, Room};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tracing::error;

/// What the ledger accepts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum LedgerMsg {
    Fill(Box<Fill>),
    Order(Box<Order>),
}

impl Message for LedgerMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Fill(_) => "Fill",
            Self::Order(_) => "Order",
        }
    }

    fn digest(&self) -> String {
        format!("{self:?}")
    }

    fn save(&self) -> Result<String, &'static str> {
        saved::save(self)
    }

    fn load(saved: &str) -> Option<Self> {
        saved::load(saved)
    }
}

pub fn card() -> Card {
    Card {
        name: "ledger",
        purpose: "Attributes fills to strategies, once each, and keeps each strategy's figures.",
        mailbox: 1_024,
        overflow: Overflow::Block,
        deadline: Duration::from_secs(2),
        restart: Restart::Permanent,
        attempts: 1,
        critical: false,
        accepts: &["Fill", "Order"],
        emits: &["Event -> redis_writer", "Text -> redis_writer"],
        state_at_restart: "kept: trade ids, orders' client ids and figures pass as a checkpoint taken between messages",
    }
}

pub struct LedgerRoom {
    ledger: Ledger,
    writer: Port<WriterMsg>,
}

impl LedgerRoom {
    pub fn factory(rules: Vec<Rule>, default_strategy: String, writer: Port<WriterMsg>) -> Factory<Self> {
        Arc::new(move |birth, cx| {
            let kept = birth.checkpoint.and_then(|c| c.downcast::<Ledger>().ok());
            let ledger = kept.map_or_else(
                || Ledger::new(rules.clone(), default_strategy.clone()),
                |kept| {
                    // Left again at once: a death before the next fill is to lose nothing either.
                    cx.checkpoint(Box::new(Ledger::clone(&kept)));
                    Ledger::clone(&kept)
                },
            );
            Ok(Self { ledger, writer: writer.clone() })
        })
    }
}

impl Room for LedgerRoom {
    type Msg = LedgerMsg;

    fn handle(&mut self, msg: &LedgerMsg, cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            LedgerMsg::Order(order) => {
                // Once an order: whose it is may be said here only, and its fills come later.
                if self.ledger.on_order(order) {
                    cx.checkpoint(Box::new(self.ledger.clone()));
                }
            }
            LedgerMsg::Fill(fill) => {
                let Some(attributed) = self.ledger.on_fill(fill) else { return Ok(()) };
                let strategy = attributed.strategy.clone();
                let metrics = self.ledger.metrics(&strategy);
                cx.send(&self.writer, WriterMsg::Event(vec![Event::Fill(attributed)]));
                let at_ms = cx.wall_ms();
                match summary::strategy(&strategy, &metrics, at_ms) {
                    Ok(key) => cx.send(&self.writer, WriterMsg::Text(key)),
                    Err(error) => error!(%error, %strategy, "strategy figures not published"),
                }
                // Fills are rare; a copy per fill is cheap, and a fill counted twice after a restart is not.
                cx.checkpoint(Box::new(self.ledger.clone()));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for LedgerRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerRoom").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
