//! A trader with a seed and no plan: everything that a person can do to an account, in no particular order. Pure: it
//! is told the time and shown the account, and says what it wants.

use super::Account;
use super::script::{Amount, Instruction};
use super::values::PositionRow;
use crate::domain::account::OrderSide;
use crate::domain::position::{HoldMode, HoldSide, MarginMode};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;

/// The random trader. With the same seed, symbols and refusals it wants the same.
#[derive(Clone, Debug)]
pub struct Trader {
    rng: ChaCha8Rng,
    symbols: Vec<String>,
    /// What a usual trade is worth, quote currency.
    usual: f64,
    next_ms: i64,
    /// Deeds until it closes everything, to change its modes.
    deeds_left: u32,
}

impl Trader {
    /// Symbols that it trades at most.
    pub const SYMBOLS: usize = 8;
    /// Deeds of one moment at most; after a long sleep it does not catch up.
    pub const AT_ONCE: usize = 8;

    /// `usual`: what a usual trade is worth, quote currency.
    pub fn new(symbols: &[String], usual: f64, seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x7472_6164_6572),
            symbols: symbols.iter().take(Self::SYMBOLS).cloned().collect(),
            usual,
            next_ms: 300,
            deeds_left: 12,
        }
    }

    /// What it wants now, `since_start_ms` after it began.
    pub fn due(&mut self, since_start_ms: i64, account: &Account) -> Vec<Instruction> {
        if since_start_ms < self.next_ms || self.symbols.is_empty() {
            return Vec::new();
        }
        // Mostly seconds apart, at times several within a tenth of one.
        let gap = if self.rng.random_bool(0.3) { 20..150 } else { 200..2_500 };
        self.next_ms = since_start_ms + self.rng.random_range(gap);
        self.deeds_left = self.deeds_left.saturating_sub(1);
        if self.deeds_left == 0 {
            self.deeds_left = self.rng.random_range(8..30);
            return self.go_home(account);
        }
        if account.is_flat() && account.waiting_orders().next().is_none() && self.rng.random_bool(0.15) {
            // Into the arms of the liquidation engine.
            let symbol = self.symbol();
            let side = self.side();
            let slip_bps = Decimal::from(self.rng.random_range(25..60));
            return vec![
                Instruction::MarginMode(MarginMode::Isolated),
                Instruction::Leverage(Decimal::from(125)),
                Instruction::Open { symbol, side, amount: self.value(), slip_bps },
            ];
        }
        vec![self.deed(account)]
    }

    /// Everything closed, everything taken back, then perhaps other modes.
    fn go_home(&mut self, account: &Account) -> Vec<Instruction> {
        let mut all: Vec<Instruction> = Vec::new();
        for order in account.waiting_orders() {
            if !all.iter().any(|i| i.symbol() == Some(&order.symbol)) {
                all.push(Instruction::Cancel { symbol: order.symbol.clone() });
            }
        }
        for row in account.positions() {
            all.push(Instruction::Close { symbol: row.symbol, side: row.side, amount: Amount::All });
        }
        let hedge = self.rng.random_bool(0.5);
        all.push(Instruction::HoldMode(if hedge { HoldMode::Hedge } else { HoldMode::OneWay }));
        let isolated = self.rng.random_bool(0.3);
        all.push(Instruction::MarginMode(if isolated { MarginMode::Isolated } else { MarginMode::Crossed }));
        let leverage = [5, 10, 20, 50][self.rng.random_range(0..4_usize)];
        all.push(Instruction::Leverage(Decimal::from(leverage)));
        all
    }

    fn deed(&mut self, account: &Account) -> Instruction {
        let symbol = self.symbol();
        let rows: Vec<PositionRow> = account.positions().into_iter().filter(|row| row.symbol == symbol).collect();
        let hedge = account.hold_mode() == HoldMode::Hedge;
        let dice: f64 = self.rng.random();
        let Some(row) = rows.get(self.rng.random_range(0..rows.len().max(1))) else {
            return match dice {
                dice if dice < 0.75 => self.open(symbol),
                dice if dice < 0.95 => self.limit(symbol, false, None),
                _ => Instruction::Cancel { symbol },
            };
        };
        let part = (row.available() / Decimal::from(self.rng.random_range(2..5_i64))).round_dp(row.size.scale());
        match dice {
            dice if dice < 0.22 => self.open(symbol),
            dice if dice < 0.44 && part > Decimal::ZERO => {
                Instruction::Close { symbol, side: row.side, amount: Amount::Size(part) }
            }
            dice if dice < 0.68 => Instruction::Close { symbol, side: row.side, amount: Amount::All },
            dice if dice < 0.78 && !hedge => Instruction::Flip { symbol },
            dice if dice < 0.88 => self.limit(symbol, false, None),
            dice if dice < 0.95 => self.limit(symbol, true, Some(row.side)),
            _ => Instruction::Cancel { symbol },
        }
    }

    fn open(&mut self, symbol: String) -> Instruction {
        Instruction::Open { symbol, side: self.side(), amount: self.value(), slip_bps: Decimal::ZERO }
    }

    fn limit(&mut self, symbol: String, reduce: bool, held: Option<HoldSide>) -> Instruction {
        let side = match held {
            Some(HoldSide::Long) => OrderSide::Sell,
            Some(HoldSide::Short) => OrderSide::Buy,
            None if self.rng.random_bool(0.5) => OrderSide::Buy,
            None => OrderSide::Sell,
        };
        let away_bps = Decimal::new(self.rng.random_range(0..30), 1);
        Instruction::Limit { symbol, side, amount: self.value(), away_bps, reduce }
    }

    fn symbol(&mut self) -> String {
        let place = self.rng.random_range(0..self.symbols.len());
        self.symbols[place].clone()
    }

    fn side(&mut self) -> HoldSide {
        if self.rng.random_bool(0.5) { HoldSide::Long } else { HoldSide::Short }
    }

    fn value(&mut self) -> Amount {
        let times: f64 = self.rng.random_range(-2.0_f64..1.5).exp();
        Amount::Value(Decimal::from((self.usual * times).max(1.0) as i64))
    }
}
