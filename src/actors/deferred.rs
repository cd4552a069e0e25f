//! Fills on their way from the breaker to the ledger: each leaves at its slot, in order, and none is lost with the
//! room. A pace that stays above the rate must not stop what is more urgent than fills, the positions: beyond a bound
//! the oldest leave early.

use crate::domain::account::Fill;
use crate::domain::rate::{RateLimit, RateState};
use std::collections::VecDeque;
use std::sync::Arc;

/// Fills that wait at most; at the usual 50 a minute the last of them would wait for ten minutes.
pub(super) const WAITING_MAX: usize = 500;

/// What passes from one incarnation to the next.
pub(super) type Kept = VecDeque<Arc<Fill>>;

pub(super) struct DeferredFills {
    limit: RateLimit,
    rate: RateState,
    waiting: Kept,
    changed: bool,
}

/// What left, and when the next one may, ms on the monotonic clock.
#[derive(Default)]
pub(super) struct Released {
    pub fills: Vec<Arc<Fill>>,
    /// How many of them left before their slot.
    pub early: u64,
    pub next_ms: Option<i64>,
}

impl DeferredFills {
    pub fn new(limit: RateLimit, kept: Option<Kept>) -> Self {
        Self { limit, rate: RateState::default(), waiting: kept.unwrap_or_default(), changed: false }
    }

    pub fn push(&mut self, fill: &Fill) {
        self.waiting.push_back(Arc::new(fill.clone()));
        self.changed = true;
    }

    /// Takes out whatever has its slot at `mono_ms`, oldest first, and what is too much to wait.
    pub fn release(&mut self, mono_ms: i64) -> Released {
        let mut released = Released::default();
        while !self.waiting.is_empty() {
            if let Err(next_ms) = self.rate.take(self.limit, mono_ms) {
                if self.waiting.len() <= WAITING_MAX {
                    released.next_ms = Some(next_ms);
                    break;
                }
                released.early += 1;
            }
            released.fills.extend(self.waiting.pop_front());
            self.changed = true;
        }
        released
    }

    /// Everything that waits: there is no later slot.
    pub fn take_all(&mut self) -> Kept {
        self.changed = true;
        std::mem::take(&mut self.waiting)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits, if it is not what it was at the last question.
    pub fn changes(&mut self) -> Option<Kept> {
        std::mem::take(&mut self.changed).then(|| self.waiting.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::{FillEffect, OrderSide};
    use crate::domain::symbol::SymbolId;
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    fn fill(id: usize) -> Fill {
        Fill {
            symbol: SymbolId(0),
            exchange_time_ms: 1,
            trade_id: id.to_string(),
            order_id: "o".to_owned(),
            client_order_id: None,
            side: OrderSide::Buy,
            hold_side: None,
            effect: FillEffect::Net,
            price: Decimal::ONE,
            size: Decimal::ONE,
            fee: Decimal::ZERO,
            fee_coin: "USDT".to_owned(),
            profit: Decimal::ZERO,
        }
    }

    proptest! {
        /// Whenever fills come and slots are looked at, and wherever a death falls: each leaves once, in order, no more
        /// wait than may, and none leaves early while there is room.
        #[test]
        fn each_leaves_once_and_in_order(
            steps in prop::collection::vec((0_usize..120, 0_i64..20_000, prop::bool::weighted(0.1)), 1..40)
        ) {
            let limit = RateLimit::per_minute(50);
            let mut deferred = DeferredFills::new(limit, None);
            let (mut mono_ms, mut came, mut left) = (120_000, 0, Vec::new());
            for (count, later_ms, dies) in steps {
                mono_ms += later_ms;
                for _ in 0..count {
                    deferred.push(&fill(came));
                    came += 1;
                }
                let waiting = came - left.len();
                let released = deferred.release(mono_ms);
                prop_assert!(released.early == 0 || waiting > WAITING_MAX, "{} early of {waiting}", released.early);
                left.extend(released.fills.iter().map(|fill| fill.trade_id.clone()));
                prop_assert!(came - left.len() <= WAITING_MAX);
                prop_assert_eq!(released.next_ms.is_some(), came > left.len());
                if dies {
                    deferred = DeferredFills::new(limit, deferred.changes().or_else(|| Some(deferred.take_all())));
                }
            }
            left.extend(deferred.take_all().iter().map(|fill| fill.trade_id.clone()));
            prop_assert_eq!(left, (0..came).map(|id| id.to_string()).collect::<Vec<_>>());
        }
    }
}
