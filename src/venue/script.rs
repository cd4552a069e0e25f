//! What moves the accounts while the market runs, in market time: scripts and random traders, funding, resting
//! orders, liquidation. And the truth log of all that.

use super::account::liquidation::Touch;
use super::account::record;
use super::account::script::{Instruction, Script, Step, StepError};
use super::account::trader::Trader;
use super::account::{Account, Happened, HoldSide};
use super::config::ScriptChoice;
use super::core::Core;
use super::market::state::FUNDING_EVERY_MS;
use super::owners::{MAIN, OwnerId};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::sync::PoisonError;

/// What somebody is up to, and how far it got.
#[derive(Debug)]
pub struct Running {
    plan: Plan,
    /// Whose account steps without a name of their own move.
    owner: OwnerId,
    begun_ms: Option<i64>,
    /// Steps that could not be done, for example for want of margin.
    pub refused: u64,
}

#[derive(Debug)]
enum Plan {
    Idle,
    Script(Script),
    Trader(Box<Trader>),
}

impl Running {
    /// An impossible script is told which of its steps cannot be.
    pub fn new(choice: &ScriptChoice, core: &Core, owner: OwnerId, seed: u64) -> Result<Self, StepError> {
        let product = core.account(owner).product();
        let names: Vec<String> = core
            .market
            .symbols
            .iter()
            .filter(|s| s.instrument.product == product)
            .map(|s| s.instrument.name.clone())
            .collect();
        let plan = match choice {
            ScriptChoice::Idle => Plan::Idle,
            ScriptChoice::Tour => Plan::Script(Script::default_tour(&names)),
            ScriptChoice::Given(script) => {
                let script = script.clone().with_symbols(&names)?;
                let own = core.owners.get(owner).into_iter();
                let others = core.owners.iter().enumerate().filter(|(id, _)| *id != owner).map(|(_, other)| other);
                let accounts: Vec<(&str, &Account)> =
                    own.chain(others).map(|owner| (owner.name.as_str(), &owner.account)).collect();
                script.rehearse(&accounts, |symbol| {
                    let index = core.by_name.get(symbol).filter(|_| names.iter().any(|name| name == symbol))?;
                    let state = core.state(*index);
                    let price =
                        if state.priced() { state.last } else { state.instrument.price(state.instrument.start_price) };
                    Some((price, state.instrument.step()))
                })?;
                Plan::Script(script)
            }
            ScriptChoice::Random => Plan::Trader(Box::new(Trader::new(&names, 1_500.0, seed ^ (owner as u64) << 48))),
        };
        Ok(Self { plan, owner, begun_ms: None, refused: 0 })
    }

    /// The steps that have fallen due.
    fn due(&mut self, market_ms: i64, core: &Core) -> Vec<Step> {
        let since_ms = market_ms - *self.begun_ms.get_or_insert(market_ms);
        match &mut self.plan {
            Plan::Idle => Vec::new(),
            Plan::Script(script) => script.due(since_ms),
            Plan::Trader(trader) => {
                let wanted = trader.due(since_ms, core.account(self.owner)).into_iter();
                wanted.map(|instruction| Step { at_ms: since_ms, account: None, only_in: None, instruction }).collect()
            }
        }
    }
}

/// Does what has fallen due. Called after every piece of market.
pub fn drive(core: &mut Core) {
    let market_ms = core.market.now_ms();
    settle_funding(core);
    for owner in 0..core.owners.len() {
        meet_orders(core, owner);
        let now_ms = core.now_ms();
        let taken = core.account_mut(owner).liquidate(now_ms);
        core.account_moved(owner, &taken);
    }
    let mut scripts = std::mem::take(&mut core.scripts);
    for running in &mut scripts {
        for step in running.due(market_ms, core) {
            let owner = step.account.as_deref().and_then(|name| core.owner_named(name)).unwrap_or(running.owner);
            if let Err(why) = follow(core, owner, &step) {
                running.refused += 1;
                tracing::debug!(%why, at_ms = step.at_ms, "script step refused");
                core.tell_truth(json!({
                    "at_ms": market_ms, "kind": "refused", "account": core.owners[owner].name, "step_ms": step.at_ms,
                    "step": format!("{:?}", step.instruction), "why": why,
                }));
            }
        }
    }
    core.scripts = scripts;
    core.tell_happenings();
}

/// Every eight hours of market time, at the rate and mark of the moment.
fn settle_funding(core: &mut Core) {
    let boundary_ms = core.market.advanced_ms().div_euclid(FUNDING_EVERY_MS) * FUNDING_EVERY_MS;
    if boundary_ms <= *core.settled_ms.get_or_insert(boundary_ms) {
        return;
    }
    core.settled_ms = Some(boundary_ms);
    let (at_ms, now_ms) = (core.market.now_ms(), core.now_ms());
    for symbol in 0..core.market.symbols.len() {
        let state = core.state(symbol);
        let (name, rate, mark) = (state.instrument.name.clone(), state.funding_rate, state.mark);
        core.tell_truth(json!({
            "at_ms": at_ms, "kind": "funding", "symbol": name, "rate": rate.to_string(), "mark": mark.to_string(),
        }));
        core.mark_accounts(symbol);
        for owner in 0..core.owners.len() {
            let happened = core.account_mut(owner).funding(&name, rate, now_ms);
            core.account_moved(owner, &happened);
        }
    }
}

fn meet_orders(core: &mut Core, owner: OwnerId) {
    let account = core.account(owner);
    if account.waiting_orders().next().is_none() {
        return;
    }
    let mut symbols: Vec<usize> =
        account.waiting_orders().filter_map(|order| core.by_name.get(&order.symbol).copied()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let now_ms = core.now_ms();
    for symbol in symbols {
        let state = core.state(symbol);
        let touch = Touch { bid: state.bid, bid_size: state.bid_size, ask: state.ask, ask_size: state.ask_size };
        let name = state.instrument.name.clone();
        let happened = core.account_mut(owner).meet(&name, touch, now_ms);
        core.account_moved(owner, &happened);
    }
}

fn follow(core: &mut Core, owner: OwnerId, step: &Step) -> Result<(), String> {
    let symbol = step.instruction.symbol().unwrap_or_default();
    let (price, size_step) = match core.by_name.get(symbol) {
        Some(&index) => {
            let state = core.state(index);
            let price = match &step.instruction {
                // Rests: it joins its own side of the book.
                Instruction::Limit { side: crate::domain::account::OrderSide::Buy, .. } => state.bid,
                Instruction::Limit { .. } => state.ask,
                _ => state.last,
            };
            ((state.priced() && price > Decimal::ZERO).then_some(price), state.instrument.step())
        }
        None => (None, Decimal::ONE),
    };
    let now_ms = core.now_ms();
    let before = closed_side(&step.instruction).map(|_| core.account(owner).without_past());
    let happened = core.account_mut(owner).follow(step, price, size_step, now_ms).map_err(|e| e.to_string())?;
    if let (Some(before), Some(side), Some(order)) = (before, closed_side(&step.instruction), happened.orders.first())
        && let Some(row) = before.position(symbol, side)
    {
        core.close_order_placed(owner, &before, row, order.size);
    }
    core.account_moved(owner, &happened);
    Ok(())
}

/// The side that an instruction closes at once.
fn closed_side(instruction: &Instruction) -> Option<HoldSide> {
    if let Instruction::Close { side, .. } = instruction { Some(*side) } else { None }
}

impl Core {
    /// Writes what happened to an account into the truth log.
    pub(super) fn record(&mut self, owner: OwnerId, happened: &Happened) {
        let lines = record::lines(&self.owners[owner].name, self.account(owner), happened, self.market.now_ms());
        let mut log = self.happenings.lock().unwrap_or_else(PoisonError::into_inner);
        log.account(lines);
        log.flush();
    }

    /// One line of the truth log's file.
    pub(super) fn tell_truth(&mut self, line: Value) {
        let mut log = self.happenings.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(&line);
        log.flush();
    }

    /// What the market did on purpose and is over now.
    fn tell_happenings(&mut self) {
        let (time, at_ms) = (self.market.time(), self.market.now_ms());
        let mut log = self.happenings.lock().unwrap_or_else(PoisonError::into_inner);
        let over = log.over_by(self.market.advanced_ms());
        for h in &over {
            log.write(&json!({
                "at_ms": at_ms, "kind": h.kind.label(), "symbol": self.market.symbols[h.symbol].instrument.name,
                "start_ms": time.shown(h.start_ms), "end_ms": time.shown(h.end_ms),
                "source_start_ms": h.start_ms, "source_end_ms": h.end_ms,
                "from_price": h.from_price, "extreme_price": h.extreme_price,
            }));
        }
        if !over.is_empty() {
            log.flush();
        }
    }
}

/// The first line of the truth log.
pub fn first_line(core: &Core, seed: u64, symbols: &[String], at_ms: i64) -> Value {
    let main = core.account(MAIN);
    json!({
        "at_ms": at_ms, "kind": "start", "seed": seed, "symbols": symbols, "coin": main.coin(),
        "balance": main.balance().to_string(), "accounts": core.owners_told(),
    })
}
