//! What moves the account while the market runs, in market time: its script or its random trader, funding, resting
//! orders, liquidation. And the truth log of all that.

use super::account::liquidation::Touch;
use super::account::record;
use super::account::script::{Instruction, Script, Step, StepError};
use super::account::trader::Trader;
use super::account::{Account, Happened};
use super::config::ScriptChoice;
use super::core::Core;
use super::market::state::FUNDING_EVERY_MS;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::sync::PoisonError;

/// What the account is up to, and where it stands.
#[derive(Debug)]
pub struct Running {
    plan: Plan,
    begun_ms: Option<i64>,
    /// Market time of the last settlement's boundary.
    settled_ms: Option<i64>,
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
    pub fn new(choice: &ScriptChoice, core: &Core, seed: u64) -> Result<Self, StepError> {
        let names: Vec<String> = core
            .market
            .symbols
            .iter()
            .filter(|s| s.instrument.product == core.account.product())
            .map(|s| s.instrument.name.clone())
            .collect();
        let plan = match choice {
            ScriptChoice::Idle => Plan::Idle,
            ScriptChoice::Tour => Plan::Script(Script::default_tour(&names)),
            ScriptChoice::Given(script) => {
                let script = script.clone().with_symbols(&names)?;
                script.rehearse(&core.account, |symbol| {
                    let index = core.by_name.get(symbol).filter(|_| names.iter().any(|name| name == symbol))?;
                    let state = core.state(*index);
                    let price =
                        if state.priced() { state.last } else { state.instrument.price(state.instrument.start_price) };
                    Some((price, state.instrument.step()))
                })?;
                Plan::Script(script)
            }
            ScriptChoice::Random => Plan::Trader(Box::new(Trader::new(&names, 1_500.0, seed))),
        };
        Ok(Self { plan, begun_ms: None, settled_ms: None, refused: 0 })
    }
}

/// Does what has fallen due. Called after every piece of market.
pub fn drive(core: &mut Core) {
    let Some(mut running) = core.script.take() else { return };
    let market_ms = core.market.now_ms();
    settle_funding(core, &mut running);
    meet_orders(core);
    let now_ms = core.now_ms();
    let taken = core.account.liquidate(now_ms);
    core.account_moved(&taken);

    let since_ms = market_ms - *running.begun_ms.get_or_insert(market_ms);
    let steps = match &mut running.plan {
        Plan::Idle => Vec::new(),
        Plan::Script(script) => script.due(since_ms),
        Plan::Trader(trader) => {
            let wanted = trader.due(since_ms, &core.account);
            wanted.into_iter().map(|instruction| Step { at_ms: since_ms, only_in: None, instruction }).collect()
        }
    };
    for step in steps {
        if let Err(why) = follow(core, &step) {
            running.refused += 1;
            tracing::debug!(%why, at_ms = step.at_ms, "script step refused");
            core.tell_truth(json!({
                "at_ms": market_ms, "kind": "refused", "step_ms": step.at_ms,
                "step": format!("{:?}", step.instruction), "why": why,
            }));
        }
    }
    core.script = Some(running);
    core.tell_happenings();
}

/// Every eight hours of market time, at the rate and mark of the moment.
fn settle_funding(core: &mut Core, running: &mut Running) {
    let boundary_ms = core.market.advanced_ms().div_euclid(FUNDING_EVERY_MS) * FUNDING_EVERY_MS;
    if boundary_ms <= *running.settled_ms.get_or_insert(boundary_ms) {
        return;
    }
    running.settled_ms = Some(boundary_ms);
    let (at_ms, now_ms) = (core.market.now_ms(), core.now_ms());
    for symbol in 0..core.market.symbols.len() {
        let state = core.state(symbol);
        let (name, rate, mark) = (state.instrument.name.clone(), state.funding_rate, state.mark);
        core.tell_truth(json!({
            "at_ms": at_ms, "kind": "funding", "symbol": name, "rate": rate.to_string(), "mark": mark.to_string(),
        }));
        core.account.mark(&name, mark);
        let happened = core.account.funding(&name, rate, now_ms);
        core.account_moved(&happened);
    }
}

fn meet_orders(core: &mut Core) {
    if core.account.waiting_orders().next().is_none() {
        return;
    }
    let mut symbols: Vec<usize> =
        core.account.waiting_orders().filter_map(|order| core.by_name.get(&order.symbol).copied()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let now_ms = core.now_ms();
    for symbol in symbols {
        let state = core.state(symbol);
        let touch = Touch { bid: state.bid, bid_size: state.bid_size, ask: state.ask, ask_size: state.ask_size };
        let name = state.instrument.name.clone();
        let happened = core.account.meet(&name, touch, now_ms);
        core.account_moved(&happened);
    }
}

fn follow(core: &mut Core, step: &Step) -> Result<(), String> {
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
    if matches!(step.instruction, Instruction::Close { .. } | Instruction::Flip { .. })
        && step.only_in.is_none_or(|mode| mode == core.account.hold_mode())
        && core.account.positions().iter().any(|row| row.symbol == symbol)
    {
        core.close_order_placed();
    }
    let now_ms = core.now_ms();
    let happened = core.account.follow(step, price, size_step, now_ms).map_err(|e| e.to_string())?;
    core.account_moved(&happened);
    Ok(())
}

impl Core {
    /// Writes what happened to the account into the truth log.
    pub(super) fn record(&mut self, happened: &Happened) {
        let lines = record::lines(&self.account, happened, self.market.now_ms());
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
pub fn first_line(account: &Account, seed: u64, symbols: &[String], at_ms: i64) -> Value {
    json!({
        "at_ms": at_ms, "kind": "start", "seed": seed, "symbols": symbols, "coin": account.coin(),
        "balance": account.balance().to_string(),
    })
}
