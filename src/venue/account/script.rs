//! A timetable that moves an account: what to do, how many milliseconds after the start.
//!
//! ```
//! use trapline::venue::account::script::Script;
//! let mut script = Script::from_json_lines(
//!     r#"{"repeat_every_ms": 60000}
//!        {"at_ms": 0, "do": "open", "symbol": "BTCUSDT", "side": "long", "value": "1000"}
//!        {"at_ms": 5000, "do": "flip", "symbol": "BTCUSDT"}
//!        {"at_ms": 9000, "do": "close", "symbol": "BTCUSDT", "side": "short"}"#,
//! )?;
//! assert_eq!(script.due(5_000).len(), 2);
//! # Ok::<(), trapline::venue::account::script::ScriptError>(())
//! ```

use super::engine::order_side;
use super::values::{Effect, Happened, MarketOrder, OrderRefused};
use super::{Account, tour};
use crate::domain::account::OrderSide;
use crate::domain::position::{HoldMode, HoldSide, MarginMode};
use rust_decimal::Decimal;

pub use super::script_text::ScriptError;

/// How much of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Base coin.
    Size(Decimal),
    /// Notional in the margin coin; becomes a size at the price of the moment.
    Value(Decimal),
    /// All there is.
    All,
}

/// One thing to do to an account.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// One-way mode: buy or sell, whatever that does to the position.
    Trade {
        symbol: String,
        side: OrderSide,
        amount: Amount,
    },
    /// Opens or adds. In one-way mode it first reduces the opposite side.
    Open {
        symbol: String,
        side: HoldSide,
        amount: Amount,
        /// How much worse than the market's its price is, in hundredths of a per cent: a slipped order.
        slip_bps: Decimal,
    },
    /// An order that rests `away_bps` behind the best price and fills when the market comes; `reduce` only closes.
    Limit {
        symbol: String,
        side: OrderSide,
        amount: Amount,
        away_bps: Decimal,
        reduce: bool,
    },
    /// Takes back all resting orders of the symbol.
    Cancel {
        symbol: String,
    },
    /// Reduces or closes.
    Close {
        symbol: String,
        side: HoldSide,
        amount: Amount,
    },
    /// One-way mode: turns the position into one of the same size on the other side.
    Flip {
        symbol: String,
    },
    /// What the control door does.
    Set {
        symbol: String,
        side: HoldSide,
        size: Decimal,
        entry: Option<Decimal>,
    },
    Funding {
        symbol: String,
        rate: Decimal,
    },
    HoldMode(HoldMode),
    MarginMode(MarginMode),
    Leverage(Decimal),
}

impl Instruction {
    fn symbol_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Trade { symbol, .. }
            | Self::Open { symbol, .. }
            | Self::Close { symbol, .. }
            | Self::Limit { symbol, .. }
            | Self::Cancel { symbol }
            | Self::Flip { symbol }
            | Self::Set { symbol, .. }
            | Self::Funding { symbol, .. } => Some(symbol),
            Self::HoldMode(_) | Self::MarginMode(_) | Self::Leverage(_) => None,
        }
    }

    /// Whose price [`Account::follow`] needs.
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::Trade { symbol, .. }
            | Self::Open { symbol, .. }
            | Self::Close { symbol, .. }
            | Self::Limit { symbol, .. }
            | Self::Cancel { symbol }
            | Self::Flip { symbol }
            | Self::Set { symbol, .. }
            | Self::Funding { symbol, .. } => Some(symbol),
            Self::HoldMode(_) | Self::MarginMode(_) | Self::Leverage(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Since the start of the script; of a repeated step that of this round.
    pub at_ms: i64,
    /// Whose account; `None`: that of whoever runs the script.
    pub account: Option<String>,
    /// Skipped silently while the account is in another mode.
    pub only_in: Option<HoldMode>,
    pub instruction: Instruction,
}

/// A step that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {number} (at {at_ms} ms): {problem}")]
pub struct StepError {
    /// From 1.
    pub number: usize,
    pub at_ms: i64,
    pub problem: String,
}

/// Steps in the order of their times, once or over and over.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    steps: Vec<Step>,
    repeat_every_ms: Option<i64>,
    next: usize,
    round_began_ms: i64,
}

impl Script {
    pub const MAX_STEPS: usize = 10_000;
    /// What one call of [`Script::due`] hands out at most; the rest stays due.
    pub const MAX_DUE: usize = 256;

    /// `steps` must be in the order of their times and, if repeated, end before the next round.
    pub(super) fn new(steps: Vec<Step>, repeat_every_ms: Option<i64>) -> Self {
        Self { steps, repeat_every_ms, next: 0, round_began_ms: 0 }
    }

    /// Opens, adds, reduces, flips and closes on both sides of up to [`Script::TOUR_SYMBOLS`] symbols within 20 s, a
    /// hedge-mode phase included, over and over.
    pub fn default_tour(symbols: &[String]) -> Self {
        tour::default_tour(symbols)
    }

    pub const TOUR_SYMBOLS: usize = 8;

    /// One JSON object a line; empty lines and lines that begin with `#` are skipped. A line with only
    /// `repeat_every_ms` may come first.
    pub fn from_json_lines(text: &str) -> Result<Self, ScriptError> {
        super::script_text::from_json_lines(text)
    }

    /// `repeat_every_ms` (optional) and a list of `[[step]]`.
    pub fn from_toml(text: &str) -> Result<Self, ScriptError> {
        super::script_text::from_toml(text)
    }

    /// Writes the market's symbols in place of `$1`, `$2` and so on; says which step asks for more than there are.
    pub fn with_symbols(mut self, symbols: &[String]) -> Result<Self, StepError> {
        for (index, step) in self.steps.iter_mut().enumerate() {
            let Some(symbol) = step.instruction.symbol_mut() else { continue };
            let Some(number) = symbol.strip_prefix('$') else { continue };
            let place = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            match place.and_then(|place| symbols.get(place)) {
                Some(name) => symbol.clone_from(name),
                None => {
                    let problem = format!("there is no symbol {symbol}: the market has {}", symbols.len());
                    return Err(StepError { number: index + 1, at_ms: step.at_ms, problem });
                }
            }
        }
        Ok(self)
    }

    /// The accounts that steps name, each once.
    pub fn accounts(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.steps.iter().filter_map(|step| step.account.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Walks through one round on copies of the accounts (the first is that of whoever runs it) at the prices that `market` knows (price and size step of a
    /// symbol), resting orders filled at once, and says which step cannot be.
    pub fn rehearse(
        &self,
        accounts: &[(&str, &Account)],
        market: impl Fn(&str) -> Option<(Decimal, Decimal)>,
    ) -> Result<(), StepError> {
        let mut accounts: Vec<(&str, Account)> =
            accounts.iter().map(|(name, account)| (*name, (*account).clone())).collect();
        for (index, step) in self.steps.iter().enumerate() {
            let wrong = |problem: String| StepError { number: index + 1, at_ms: step.at_ms, problem };
            let name = step.account.as_deref();
            let found = accounts.iter_mut().find(|(known, _)| name.is_none_or(|name| name == *known));
            let Some((_, account)) = found else {
                return Err(wrong(format!("there is no account {:?}", name.unwrap_or_default())));
            };
            let known = step.instruction.symbol().map(|symbol| (symbol, market(symbol)));
            if let Some((symbol, None)) = known {
                return Err(wrong(format!("the market does not trade {symbol} (or has no price for it)")));
            }
            let (price, size_step) = known.and_then(|(_, at)| at).unzip();
            let followed = account.follow(step, price, size_step.unwrap_or(Decimal::ONE), 0);
            followed.map_err(|refused| wrong(refused.to_string()))?;
            if matches!(step.instruction, Instruction::Limit { .. }) {
                let newest = account.waiting_orders().next_back().map(|o| (o.order_id, o.reference_price, o.size));
                if let Some((id, price, size)) = newest {
                    account.fill(id, price, size, 0).map_err(|refused| wrong(refused.to_string()))?;
                }
            }
        }
        Ok(())
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub fn repeat_every_ms(&self) -> Option<i64> {
        self.repeat_every_ms
    }

    /// Takes the steps whose time has come, oldest first, [`Script::MAX_DUE`] at most.
    pub fn due(&mut self, since_start_ms: i64) -> Vec<Step> {
        let mut due = Vec::new();
        while due.len() < Self::MAX_DUE {
            let Some(step) = self.steps.get(self.next) else {
                let Some(every) = self.repeat_every_ms.filter(|_| !self.steps.is_empty()) else { break };
                self.next = 0;
                self.round_began_ms += every;
                continue;
            };
            let at_ms = self.round_began_ms + step.at_ms;
            if at_ms > since_start_ms {
                break;
            }
            due.push(Step { at_ms, ..step.clone() });
            self.next += 1;
        }
        due
    }

    /// True when nothing will ever be due again.
    pub fn is_over(&self) -> bool {
        self.steps.is_empty() || (self.repeat_every_ms.is_none() && self.next >= self.steps.len())
    }
}

impl Account {
    /// Does what a step says, at `price` (of the instruction's symbol), with sizes in whole `size_step`s.
    pub fn follow(
        &mut self,
        step: &Step,
        price: Option<Decimal>,
        size_step: Decimal,
        now_ms: i64,
    ) -> Result<Happened, OrderRefused> {
        if step.only_in.is_some_and(|mode| mode != self.hold_mode()) {
            return Ok(Happened::default());
        }
        let nothing = |()| Happened::default();
        match &step.instruction {
            Instruction::Set { symbol, side, size, entry } => {
                if let Some(price) = price {
                    self.mark(symbol, price);
                }
                self.set_position(symbol, *side, *size, *entry, now_ms)
            }
            Instruction::Cancel { symbol } => {
                let mut happened = Happened::default();
                self.cancel_waiting(symbol, now_ms, &mut happened);
                Ok(happened)
            }
            Instruction::Funding { symbol, rate } => Ok(self.funding(symbol, *rate, now_ms)),
            Instruction::HoldMode(mode) => self.set_hold_mode(*mode).map(nothing),
            Instruction::MarginMode(mode) => self.set_margin_mode(*mode).map(nothing),
            Instruction::Leverage(leverage) => self.set_leverage(*leverage).map(nothing),
            trade => {
                let symbol = trade.symbol().unwrap_or_default();
                let price = price.or_else(|| self.mark_price(symbol));
                let price = price.ok_or_else(|| OrderRefused::NoPrice(symbol.to_owned()))?;
                match (self.order_for(trade, price, size_step)?, trade) {
                    (Some(order), Instruction::Limit { side, away_bps, .. }) => {
                        let limit = moved(price, *side, -*away_bps);
                        self.place_limit(order, limit, now_ms)
                    }
                    (Some(order), Instruction::Open { slip_bps, .. }) if !slip_bps.is_zero() => {
                        let worse = moved(price, order.side, *slip_bps);
                        self.execute(order, worse, now_ms)
                    }
                    (Some(order), _) => self.execute(order, price, now_ms),
                    (None, _) => Ok(Happened::default()),
                }
            }
        }
    }

    /// The order that a trading instruction amounts to now, for a server that wants to place and fill it in its own
    /// time; `None` for instructions that are no trade.
    pub fn order_for(
        &self,
        instruction: &Instruction,
        price: Decimal,
        size_step: Decimal,
    ) -> Result<Option<MarketOrder>, OrderRefused> {
        let opens = match self.hold_mode() {
            HoldMode::OneWay => Effect::Net,
            HoldMode::Hedge => Effect::Open,
        };
        let (symbol, side, effect, size) = match instruction {
            Instruction::Trade { symbol, side, amount } => {
                (symbol, *side, Effect::Net, size_of(*amount, None, price, size_step))
            }
            Instruction::Limit { symbol, side, amount, reduce, .. } => {
                let effect = if *reduce { Effect::Close } else { opens };
                (symbol, *side, effect, size_of(*amount, None, price, size_step))
            }
            Instruction::Open { symbol, side, amount, .. } => {
                (symbol, order_side(*side, Effect::Open), opens, size_of(*amount, None, price, size_step))
            }
            Instruction::Close { symbol, side, amount } => {
                let Some(held) = self.position(symbol, *side).map(|row| row.available()) else {
                    return Err(OrderRefused::NothingToClose { symbol: symbol.clone(), side: side.label() });
                };
                let size = size_of(*amount, Some(held), price, size_step);
                (symbol, order_side(*side, Effect::Close), Effect::Close, size)
            }
            Instruction::Flip { symbol } => {
                let held = HoldSide::BOTH.into_iter().find_map(|side| self.position(symbol, side));
                let Some(held) = held.filter(|_| self.hold_mode() == HoldMode::OneWay) else {
                    return Err(OrderRefused::NothingToClose { symbol: symbol.clone(), side: "one-way" });
                };
                (symbol, order_side(held.side, Effect::Close), Effect::Net, held.size * Decimal::TWO)
            }
            Instruction::Set { .. }
            | Instruction::Funding { .. }
            | Instruction::Cancel { .. }
            | Instruction::HoldMode(_)
            | Instruction::MarginMode(_)
            | Instruction::Leverage(_) => return Ok(None),
        };
        let symbol = symbol.clone();
        Ok(Some(MarketOrder { symbol, side, effect, hold_side: None, size, client_order_id: None }))
    }
}

/// `price`, `bps` worse for this side (better where negative), with the decimals it has.
fn moved(price: Decimal, side: OrderSide, bps: Decimal) -> Decimal {
    let by = price * bps / Decimal::from(10_000);
    let moved = match side {
        OrderSide::Buy => price + by,
        OrderSide::Sell => price - by,
    };
    moved.round_dp(price.scale())
}

/// A value becomes the nearest lower number of steps, at least one; `All` of nothing is 0, which no order accepts.
fn size_of(amount: Amount, held: Option<Decimal>, price: Decimal, size_step: Decimal) -> Decimal {
    match amount {
        Amount::Size(size) => size,
        Amount::All => held.unwrap_or_default(),
        Amount::Value(value) => {
            let steps = value.checked_div(price).and_then(|size| size.checked_div(size_step)).unwrap_or_default();
            steps.floor().max(Decimal::ONE) * size_step
        }
    }
}
