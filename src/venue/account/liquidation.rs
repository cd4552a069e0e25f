//! What the market does to orders that rest and to holdings that can no longer bear their loss.

use super::Account;
use super::engine::order_side;
use super::values::{Effect, Happened, MarketOrder};
use crate::domain::account::OrderSide;
use crate::domain::position::HoldSide;
use rust_decimal::{Decimal, RoundingStrategy};

/// The best prices of a symbol and what is there, base coin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Touch {
    pub bid: Decimal,
    pub bid_size: Decimal,
    pub ask: Decimal,
    pub ask_size: Decimal,
}

impl Account {
    /// Fills resting orders that the market has reached, at their own price, by at most what is there.
    pub fn meet(&mut self, symbol: &str, touch: Touch, now_ms: i64) -> Happened {
        let reached: Vec<(u64, Decimal, Decimal)> = self
            .waiting
            .values()
            .filter(|order| order.symbol == symbol)
            .filter_map(|order| {
                let limit = order.limit_price?;
                let (meets, there) = match order.side {
                    OrderSide::Buy => (touch.ask <= limit, touch.ask_size),
                    OrderSide::Sell => (touch.bid >= limit, touch.bid_size),
                };
                (meets && there > Decimal::ZERO).then_some((order.order_id, limit, there))
            })
            .collect();
        let mut happened = Happened::default();
        for (order_id, limit, there) in reached {
            // An order that an earlier one made pointless is cancelled by its own fill; nothing else can refuse.
            if let Ok(filled) = self.fill(order_id, limit, there, now_ms) {
                happened.then(filled);
            }
        }
        if happened.is_empty() { happened } else { self.finished(happened) }
    }

    /// Takes over every holding for which `cushion + profit <= (maintenance rate + taker fee) × value` at its mark
    /// price (the condition that [`super::PositionRow::liquidation_price`] solves), the largest one first. It is sold
    /// at the mark price, or at the price at which nothing of the cushion is left where that is better: what is
    /// missing then is the insurance fund's.
    pub fn liquidate(&mut self, now_ms: i64) -> Happened {
        let mut happened = Happened::default();
        // Each turn ends a holding.
        for _ in 0..self.holdings.len() {
            let Some((symbol, side, price)) = self.doomed() else { break };
            self.cancel_waiting(&symbol, now_ms, &mut happened);
            let Some(held) = self.holdings.get(&(symbol.clone(), side)) else { break };
            let order = MarketOrder {
                symbol,
                side: order_side(side, Effect::Close),
                effect: Effect::Close,
                hold_side: None,
                size: held.size,
                client_order_id: None,
            };
            let Ok(mut order) = self.accept(order, None, price, now_ms, false) else { break };
            order.liquidation = true;
            let mut taken = Happened { orders: vec![order.clone()], ..Happened::default() };
            let size = order.size;
            self.fill_order(order, price, size, now_ms, &mut taken);
            happened.then(taken);
        }
        if happened.is_empty() { happened } else { self.finished(happened) }
    }

    fn doomed(&self) -> Option<(String, HoldSide, Decimal)> {
        let totals = self.totals();
        let (rate, fee) = (self.config.maintenance_rate, self.config.taker_fee);
        let mut worst: Option<(Decimal, String, HoldSide, Decimal)> = None;
        for ((symbol, side), held) in &self.holdings {
            let mark = self.mark_of(symbol, held);
            let value = held.value(mark);
            let left = self.cushion(held, mark, &totals, true) + held.unrealised(mark);
            if left > (rate + fee) * value || worst.as_ref().is_some_and(|(most, ..)| *most >= value) {
                continue;
            }
            let bankrupt = held.liquidation_price(self.cushion(held, mark, &totals, false), Decimal::ZERO, fee);
            let round = |strategy| bankrupt.round_dp_with_strategy(8, strategy);
            let price = match side {
                _ if bankrupt <= Decimal::ZERO => mark,
                HoldSide::Long => mark.max(round(RoundingStrategy::ToPositiveInfinity)),
                HoldSide::Short => mark.min(round(RoundingStrategy::ToNegativeInfinity)),
            };
            worst = Some((value, symbol.clone(), *side, price));
        }
        worst.map(|(_, symbol, side, price)| (symbol, side, price))
    }
}
