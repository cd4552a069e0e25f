//! The circuit breaker: tells bots to stop when a limit is passed. It never hides the truth; what is over a limit
//! is published like everything else. Fail closed: open until a reading of the account proved the limits kept.

use super::account::{AccountState, Fill, OrderSide};
use super::picture::{Holding, PositionPicture};
use super::position::HoldSide;
use super::symbol::SymbolId;
use rust_decimal::Decimal;
use rustc_hash::FxHashMap;

/// Limits; the defaults are the seed's.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Base coin, per symbol and side.
    pub max_position_size: Decimal,
    pub max_leverage: Decimal,
    /// Margin coin available in the account.
    pub min_margin: Decimal,
    /// Adverse distance of a fill from the market, as a fraction.
    pub max_slippage: Decimal,
    /// How long all limits must hold before the breaker tries again.
    pub cool_down_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_position_size: Decimal::new(1, 2),
            max_leverage: Decimal::new(20, 0),
            min_margin: Decimal::new(100, 0),
            max_slippage: Decimal::new(2, 3),
            cool_down_ms: 5_000,
        }
    }
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    PositionSize,
    Leverage,
    Margin,
    Slippage,
    /// The account's data is stale: nobody knows whether the limits hold.
    Stale,
    /// No reading of the account since the start.
    NoReading,
}

impl Rule {
    pub const fn label(self) -> &'static str {
        match self {
            Self::PositionSize => "position_size",
            Self::Leverage => "leverage",
            Self::Margin => "margin",
            Self::Slippage => "slippage",
            Self::Stale => "stale",
            Self::NoReading => "no_reading",
        }
    }
}

/// A limit that was passed, with the numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Violation {
    pub rule: Rule,
    pub symbol: Option<SymbolId>,
    pub value: Option<Decimal>,
    pub limit: Option<Decimal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Within limits.
    Closed,
    /// Stop trading.
    Open,
    /// Quiet for the cool-down; the next good reading closes it, a bad one opens it again.
    HalfOpen,
}

impl State {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scope {
    Side(SymbolId, HoldSide, Rule),
    Account,
    Freshness,
}

/// The state machine, told readings and the time.
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: Limits,
    state: State,
    since_ms: i64,
    /// What opened it last; kept while open.
    cause: Violation,
    /// Limits that are passed at this moment.
    standing: FxHashMap<Scope, Violation>,
    last_bad_ms: i64,
    opened_total: u64,
}

impl Breaker {
    pub fn new(limits: Limits, now_ms: i64) -> Self {
        Self {
            limits,
            state: State::Open,
            since_ms: now_ms,
            cause: Violation { rule: Rule::NoReading, symbol: None, value: None, limit: None },
            standing: FxHashMap::default(),
            // A start is not a violation: the first good reading may close at once.
            last_bad_ms: i64::MIN / 2,
            opened_total: 0,
        }
    }

    pub const fn state(&self) -> State {
        self.state
    }

    pub const fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// Why it is not closed; `None` when closed.
    pub fn cause(&self) -> Option<Violation> {
        (self.state != State::Closed).then_some(self.cause)
    }

    pub const fn opened_total(&self) -> u64 {
        self.opened_total
    }

    /// Reads a position. True when the state changed.
    pub fn on_position(&mut self, picture: &PositionPicture, now_ms: i64) -> bool {
        let side = |rule| Scope::Side(picture.symbol, picture.side, rule);
        let (size, leverage) = match picture.holding {
            Holding::Flat => (None, None),
            Holding::Open(p) => (
                (p.size > self.limits.max_position_size).then_some(p.size),
                (p.leverage > self.limits.max_leverage).then_some(p.leverage),
            ),
        };
        let symbol = Some(picture.symbol);
        let size = size.map(|v| self.violation(Rule::PositionSize, symbol, v, self.limits.max_position_size));
        let leverage = leverage.map(|v| self.violation(Rule::Leverage, symbol, v, self.limits.max_leverage));
        self.stand(side(Rule::PositionSize), size, now_ms);
        self.stand(side(Rule::Leverage), leverage, now_ms);
        self.settle(now_ms, true)
    }

    /// Reads the account's available margin; an answer without it says nothing.
    pub fn on_account(&mut self, account: &AccountState, now_ms: i64) -> bool {
        let Some(available) = account.available else { return false };
        let low = (available < self.limits.min_margin)
            .then(|| self.violation(Rule::Margin, None, available, self.limits.min_margin));
        self.stand(Scope::Account, low, now_ms);
        self.settle(now_ms, true)
    }

    /// Reads a fill against the market's price at that moment. Slippage is the adverse distance only.
    pub fn on_fill(&mut self, fill: &Fill, market_price: Decimal, now_ms: i64) -> bool {
        if market_price <= Decimal::ZERO {
            return false;
        }
        let adverse = match fill.side {
            OrderSide::Buy => fill.price - market_price,
            OrderSide::Sell => market_price - fill.price,
        };
        let slippage = adverse / market_price;
        if slippage <= self.limits.max_slippage {
            return false;
        }
        self.cause = self.violation(Rule::Slippage, Some(fill.symbol), slippage.round_dp(6), self.limits.max_slippage);
        self.last_bad_ms = now_ms;
        self.open(now_ms)
    }

    /// Told by the health watchdog whether the account's data can be trusted.
    pub fn on_freshness(&mut self, stale: bool, now_ms: i64) -> bool {
        let bad = stale.then_some(Violation { rule: Rule::Stale, symbol: None, value: None, limit: None });
        self.stand(Scope::Freshness, bad, now_ms);
        // Fresh again is not yet a good reading: the next position or balance is.
        self.settle(now_ms, false)
    }

    /// Lets time pass. True when the state changed.
    pub fn on_time(&mut self, now_ms: i64) -> bool {
        self.settle(now_ms, false)
    }

    fn violation(&self, rule: Rule, symbol: Option<SymbolId>, value: Decimal, limit: Decimal) -> Violation {
        Violation { rule, symbol, value: Some(value), limit: Some(limit) }
    }

    fn stand(&mut self, scope: Scope, violation: Option<Violation>, now_ms: i64) {
        match violation {
            Some(v) => {
                self.standing.insert(scope, v);
            }
            // It was passed until now: the cool-down begins with its end, not with its last reading.
            None if self.standing.remove(&scope).is_some() => self.last_bad_ms = now_ms,
            None => {}
        }
    }

    fn settle(&mut self, now_ms: i64, good_reading: bool) -> bool {
        if !self.standing.is_empty() {
            self.last_bad_ms = now_ms;
            let cause_stands = self.state == State::Open && self.standing.values().any(|v| v.rule == self.cause.rule);
            if !cause_stands && let Some(worst) = self.standing.values().min_by_key(|v| v.rule.label()) {
                self.cause = *worst;
            }
            return self.open(now_ms);
        }
        let cooled = now_ms - self.last_bad_ms >= self.limits.cool_down_ms;
        match self.state {
            State::Open if cooled && self.cause.rule == Rule::NoReading && good_reading => {
                self.enter(State::Closed, now_ms)
            }
            State::Open if cooled && self.cause.rule != Rule::NoReading => self.enter(State::HalfOpen, now_ms),
            State::HalfOpen if good_reading => self.enter(State::Closed, now_ms),
            State::Closed | State::Open | State::HalfOpen => false,
        }
    }

    fn open(&mut self, now_ms: i64) -> bool {
        if self.state == State::Open && self.cause.rule != Rule::NoReading && self.opened_total > 0 {
            return false;
        }
        self.opened_total += 1;
        self.state = State::Open;
        self.since_ms = now_ms;
        true
    }

    fn enter(&mut self, state: State, now_ms: i64) -> bool {
        self.state = state;
        self.since_ms = now_ms;
        true
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
