//! The ledger: which strategy a fill belongs to, and how each strategy does. Rules are tried in order; what no rule
//! takes belongs to the default strategy. A fill counts once, by its trade id.

use super::account::{Fill, FillEffect, Order, OrderSide};
use super::event::AttributedFill;
use super::remembered::Remembered;
use super::symbol::SymbolId;
use rust_decimal::Decimal;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// One attribution rule; every condition that is given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    pub strategy: String,
    pub client_order_id_prefix: Option<String>,
    pub symbol: Option<SymbolId>,
    pub side: Option<OrderSide>,
}

/// How a strategy does, from its closing fills.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    pub fills: u64,
    /// Fills that closed something.
    pub total_trades: u64,
    pub wins: u64,
    /// Net of fees, in the margin coin.
    pub realised: Decimal,
    pub fees: Decimal,
}

impl Metrics {
    /// Wins over closing fills; `None` before the first.
    pub fn win_rate(&self) -> Option<Decimal> {
        (self.total_trades > 0).then(|| (Decimal::from(self.wins) / Decimal::from(self.total_trades)).round_dp(4))
    }

    /// Lower bound of the win rate at 95 % (Wilson score): what the small sample allows to believe.
    pub fn confidence(&self) -> f64 {
        if self.total_trades == 0 {
            return 0.0;
        }
        let (n, p, z) = (self.total_trades as f64, self.wins as f64 / self.total_trades as f64, 1.96_f64);
        let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        ((p + z * z / (2.0 * n) - spread) / (1.0 + z * z / n)).clamp(0.0, 1.0)
    }
}

/// Fills that are known again. REST tells each fill that the connection told once more, after an outage of REST all of
/// them.
const FILLS: usize = 50_000;
/// Orders whose client ids are remembered.
const ORDERS: usize = 10_000;

/// The fold over orders and fills. A copy of it, one after each fill, is cheap: see [`Remembered`].
#[derive(Clone, Debug)]
pub struct Ledger {
    rules: Arc<[Rule]>,
    default_strategy: Arc<str>,
    seen: Remembered<()>,
    client_ids: Remembered<Arc<str>>,
    metrics: FxHashMap<String, Metrics>,
}

impl Ledger {
    pub fn new(rules: Vec<Rule>, default_strategy: impl Into<Arc<str>>) -> Self {
        Self {
            rules: rules.into(),
            default_strategy: default_strategy.into(),
            seen: Remembered::new(FILLS),
            client_ids: Remembered::new(ORDERS),
            metrics: FxHashMap::default(),
        }
    }

    /// Remembers an order's client id: fills do not always carry it. Whether it was not known yet.
    pub fn on_order(&mut self, order: &Order) -> bool {
        let Some(client_id) = &order.client_order_id else { return false };
        self.client_ids.insert(&order.order_id, client_id.as_str().into())
    }

    /// Takes a fill in; `None` when it was counted before.
    pub fn on_fill(&mut self, fill: &Fill) -> Option<AttributedFill> {
        if !self.seen.insert(&fill.trade_id, ()) {
            return None;
        }
        let strategy = self.attribute(fill).to_owned();
        let net_profit = fill.profit - fill.fee;
        let metrics = self.metrics.entry(strategy.clone()).or_default();
        metrics.fills += 1;
        metrics.fees += fill.fee;
        metrics.realised += net_profit;
        if fill.effect == FillEffect::Close || !fill.profit.is_zero() {
            metrics.total_trades += 1;
            metrics.wins += u64::from(net_profit > Decimal::ZERO);
        }
        Some(AttributedFill { strategy, fill: fill.clone(), net_profit })
    }

    pub fn metrics(&self, strategy: &str) -> Metrics {
        self.metrics.get(strategy).cloned().unwrap_or_default()
    }

    fn attribute(&self, fill: &Fill) -> &str {
        let remembered = || self.client_ids.get(fill.order_id.as_str()).map(AsRef::as_ref);
        let client_id = fill.client_order_id.as_deref().or_else(remembered);
        let holds = |rule: &&Rule| {
            rule.symbol.is_none_or(|s| s == fill.symbol)
                && rule.side.is_none_or(|s| s == fill.side)
                && rule
                    .client_order_id_prefix
                    .as_ref()
                    .is_none_or(|prefix| client_id.is_some_and(|id| id.starts_with(prefix.as_str())))
        };
        self.rules.iter().find(holds).map_or(&self.default_strategy, |rule| &rule.strategy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::OrderStatus;

    fn fill(trade_id: &str, order_id: &str, effect: FillEffect, profit: i64) -> Fill {
        Fill {
            symbol: SymbolId(0),
            exchange_time_ms: 1,
            trade_id: trade_id.into(),
            order_id: order_id.into(),
            client_order_id: None,
            side: OrderSide::Buy,
            hold_side: None,
            effect,
            price: Decimal::TEN,
            size: Decimal::ONE,
            fee: Decimal::new(1, 1),
            fee_coin: "USDT".into(),
            profit: Decimal::new(profit, 0),
        }
    }

    fn ledger() -> Ledger {
        let strategic =
            Rule { strategy: "strategic".into(), client_order_id_prefix: Some("st-".into()), ..Rule::default() };
        Ledger::new(vec![strategic], "scalper")
    }

    #[test]
    fn a_fill_counts_once() {
        let mut ledger = ledger();
        assert!(ledger.on_fill(&fill("1", "a", FillEffect::Open, 0)).is_some());
        assert!(ledger.on_fill(&fill("1", "a", FillEffect::Open, 0)).is_none());
        assert_eq!(ledger.metrics("scalper").fills, 1);
    }

    #[test]
    fn the_client_id_of_the_order_attributes_its_fills() {
        let mut ledger = ledger();
        ledger.on_order(&Order {
            symbol: SymbolId(0),
            exchange_time_ms: 0,
            order_id: "a".into(),
            client_order_id: Some("st-1".into()),
            side: OrderSide::Buy,
            status: OrderStatus::Live,
            price: None,
            size: Decimal::ONE,
            filled: Decimal::ZERO,
            average_price: None,
            update_time_ms: 0,
        });
        assert_eq!(
            ledger.on_fill(&fill("1", "a", FillEffect::Open, 0)).map(|f| f.strategy).as_deref(),
            Some("strategic")
        );
        assert_eq!(
            ledger.on_fill(&fill("2", "b", FillEffect::Open, 0)).map(|f| f.strategy).as_deref(),
            Some("scalper")
        );
    }

    #[test]
    fn metrics_come_from_what_was_closed_net_of_fees() {
        let mut ledger = ledger();
        ledger.on_fill(&fill("1", "a", FillEffect::Open, 0));
        ledger.on_fill(&fill("2", "a", FillEffect::Close, 5));
        ledger.on_fill(&fill("3", "a", FillEffect::Close, -2));
        ledger.on_fill(&fill("4", "a", FillEffect::Close, 0));
        let m = ledger.metrics("scalper");
        assert_eq!((m.fills, m.total_trades, m.wins), (4, 3, 1));
        assert_eq!(m.realised, Decimal::new(26, 1));
        assert_eq!(m.win_rate(), Some(Decimal::new(3333, 4)));
        assert!(m.confidence() > 0.0 && m.confidence() < 0.3333);
    }

    #[test]
    fn memory_is_bounded() {
        let mut ledger = ledger();
        for i in 0..FILLS * 2 {
            ledger.on_fill(&fill(&i.to_string(), "a", FillEffect::Open, 0));
        }
        assert!((FILLS..FILLS + 1_024).contains(&ledger.seen.len()), "{}", ledger.seen.len());
    }
}
