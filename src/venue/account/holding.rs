//! The arithmetic of one holding. Sizes are base coin for all contracts, as Bitget states them.
//!
//! | | USDT- and USDC-margined | coin-margined (margin coin = base coin) |
//! |---|---|---|
//! | value at `p` | size × p | size |
//! | profit at `p` | ±(size × p − cost) | ±(size × p − cost) ÷ p |
//! | fee | size × p × rate | size × rate |
//! | initial margin | cost ÷ leverage | size ÷ leverage |
//! | maintenance margin | value × rate | value × rate |
//! | funding paid by a long | value × rate | value × rate |
//!
//! `cost` is the sum of price × size of what is held, in the quote currency, so the entry price is cost ÷ size for
//! both. Coin-margined profit is the linear one, in dollars, turned into coins at the price of the moment. Sources:
//! a recorded coin-margined row in ccxt #16779 (0.001 coins at 22918, 20x: margin 0.00005 coins, profit 0.001 ×
//! (1 − 22918/22894)), and Bitget's page on the estimated liquidation price (support article 12560603808759), whose
//! formula multiplies the coin's margin by its index price. Everything booked is rounded once, to 8 decimals, half
//! away from zero.

use crate::domain::position::{HoldSide, MarginMode};
use rust_decimal::{Decimal, RoundingStrategy};

/// Money to 8 decimals, half away from zero.
pub(super) fn money(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(8, RoundingStrategy::MidpointAwayFromZero).normalize()
}

/// A computed price to 12 decimals; only shown, never booked.
pub(super) fn price(value: Decimal) -> Decimal {
    value.round_dp_with_strategy(12, RoundingStrategy::MidpointAwayFromZero).normalize()
}

/// What `size` is worth in the margin coin.
pub(super) fn notional(inverse: bool, size: Decimal, price: Decimal) -> Decimal {
    if inverse { size } else { size * price }
}

/// One open side of one symbol.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Holding {
    pub(super) side: HoldSide,
    /// Margin and profit are in the base coin.
    pub(super) inverse: bool,
    pub(super) size: Decimal,
    /// What the present size was bought (sold) for, in the quote currency.
    pub(super) cost: Decimal,
    pub(super) leverage: Decimal,
    pub(super) margin_mode: MarginMode,
    pub(super) realised: Decimal,
    pub(super) open_fee: Decimal,
    pub(super) close_fee: Decimal,
    pub(super) funding: Option<Decimal>,
    pub(super) opened_size: Decimal,
    pub(super) opened_value: Decimal,
    pub(super) closed_size: Decimal,
    pub(super) closed_value: Decimal,
    pub(super) opened_ms: i64,
    pub(super) updated_ms: i64,
}

impl Holding {
    pub(super) fn new(side: HoldSide, inverse: bool, leverage: Decimal, margin_mode: MarginMode, now_ms: i64) -> Self {
        Self {
            side,
            inverse,
            size: Decimal::ZERO,
            cost: Decimal::ZERO,
            leverage,
            margin_mode,
            realised: Decimal::ZERO,
            open_fee: Decimal::ZERO,
            close_fee: Decimal::ZERO,
            funding: None,
            opened_size: Decimal::ZERO,
            opened_value: Decimal::ZERO,
            closed_size: Decimal::ZERO,
            closed_value: Decimal::ZERO,
            opened_ms: now_ms,
            updated_ms: now_ms,
        }
    }

    pub(super) fn open(&mut self, at: Decimal, size: Decimal, fee: Decimal, now_ms: i64) {
        self.size += size;
        self.cost += at * size;
        self.opened_size += size;
        self.opened_value += at * size;
        self.open_fee += fee;
        self.updated_ms = now_ms;
    }

    /// Closes `size` (at most what there is) and returns the profit without the fee.
    pub(super) fn close(&mut self, at: Decimal, size: Decimal, fee: Decimal, now_ms: i64) -> Decimal {
        let size = size.min(self.size);
        let cost = if size == self.size { self.cost } else { money(self.cost * size / self.size) };
        let profit = self.in_coin(self.signed(at * size - cost), at);
        self.size -= size;
        self.cost -= cost;
        self.closed_size += size;
        self.closed_value += at * size;
        self.realised += profit;
        self.close_fee += fee;
        self.updated_ms = now_ms;
        profit
    }

    /// `amount` for a long, its opposite for a short.
    pub(super) fn signed(&self, amount: Decimal) -> Decimal {
        match self.side {
            HoldSide::Long => amount,
            HoldSide::Short => -amount,
        }
    }

    /// An amount of quote currency as margin coin, at this price.
    fn in_coin(&self, amount: Decimal, at: Decimal) -> Decimal {
        if self.inverse { money(amount.checked_div(at).unwrap_or_default()) } else { amount }
    }

    /// In the margin coin.
    pub(super) fn value(&self, mark: Decimal) -> Decimal {
        notional(self.inverse, self.size, mark)
    }

    pub(super) fn entry_price(&self) -> Decimal {
        if self.size.is_zero() { Decimal::ZERO } else { price(self.cost / self.size) }
    }

    pub(super) fn unrealised(&self, mark: Decimal) -> Decimal {
        self.in_coin(self.signed(self.size * mark - self.cost), mark)
    }

    /// Initial margin, fixed by the cost.
    pub(super) fn margin(&self) -> Decimal {
        money(if self.inverse { self.size } else { self.cost } / self.leverage)
    }

    /// The price at which `cushion + profit = (maintenance + closing fee) × value`. The cushion is the holding's own
    /// margin (isolated) or what the rest of the account could add (crossed). With a cushion above the cost a long
    /// gets a negative price: no fall can liquidate it.
    pub(super) fn liquidation_price(&self, cushion: Decimal, maintenance_rate: Decimal, fee_rate: Decimal) -> Decimal {
        if self.size.is_zero() {
            return Decimal::ZERO;
        }
        let burden = maintenance_rate + fee_rate;
        let (value, size) = match (self.inverse, self.side) {
            (false, HoldSide::Long) => (self.cost - cushion, self.size * (Decimal::ONE - burden)),
            (false, HoldSide::Short) => (self.cost + cushion, self.size * (Decimal::ONE + burden)),
            (true, HoldSide::Long) => (self.cost, self.size * (Decimal::ONE - burden) + cushion),
            (true, HoldSide::Short) => (self.cost, self.size * (Decimal::ONE + burden) - cushion),
        };
        // Settings without a sensible price (a burden of 100 %) have none; nor has a short whose coins cover it.
        price(value.checked_div(size).unwrap_or_default())
    }

    /// Where closing now would just pay both fees.
    pub(super) fn break_even_price(&self, fee_rate: Decimal) -> Decimal {
        if self.size.is_zero() {
            return Decimal::ZERO;
        }
        let (up, down) = (Decimal::ONE + fee_rate, Decimal::ONE - fee_rate);
        let factor = match (self.inverse, self.side) {
            (false, HoldSide::Long) => up.checked_div(down),
            (false, HoldSide::Short) => down.checked_div(up),
            (true, HoldSide::Long) => Decimal::ONE.checked_div(down - fee_rate),
            (true, HoldSide::Short) => Decimal::ONE.checked_div(up + fee_rate),
        };
        price(self.cost / self.size * factor.unwrap_or(Decimal::ONE))
    }
}
