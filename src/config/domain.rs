//! Settings as the rules of the domain want them.

use super::{Breaker, Config, Ledger, Rules, Traps};
use crate::domain::breaker::Limits;
use crate::domain::ledger::Rule;
use crate::domain::symbol::{Symbol, Symbols};
use crate::domain::trap::TrapSettings;
use crate::domain::validate::MarketRules;

/// Settings are at most a few days, so this never saturates.
fn ms(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl From<&Rules> for MarketRules {
    fn from(rules: &Rules) -> Self {
        Self {
            max_age_ms: ms(rules.market_max_age_ms),
            future_tolerance_ms: ms(rules.future_tolerance_ms),
            price_band: rules.price_band_fraction,
            band_confirmations: rules.price_band_confirmations,
            two_source_band: rules.two_source_fraction,
            two_source_ms: ms(rules.two_source_ms),
            reorder_tolerance_ms: ms(rules.reorder_tolerance_ms),
        }
    }
}

impl From<&Breaker> for Limits {
    fn from(breaker: &Breaker) -> Self {
        Self {
            max_position_size: breaker.max_position_size,
            max_leverage: breaker.max_leverage,
            min_margin: breaker.min_margin,
            max_slippage: breaker.max_slippage,
            cool_down_ms: ms(breaker.cool_down_ms),
        }
    }
}

impl From<&Traps> for TrapSettings {
    fn from(traps: &Traps) -> Self {
        Self {
            min_excursion_sigma: traps.sweep_min_excursion_sigma,
            min_excursion: traps.sweep_min_excursion_fraction,
            retrace: traps.sweep_retrace_fraction,
            volume_ratio: traps.sweep_volume_ratio,
            fake_sigma: traps.fake_min_move_sigma,
            pump_min_rise: traps.pump_min_rise_fraction,
            pump_volume_ratio: traps.pump_volume_ratio,
            pump_min_buy_share: traps.pump_min_buy_fraction,
            ..Self::default()
        }
    }
}

impl Config {
    /// The instruments, in the order of the configuration.
    pub fn symbols(&self) -> Symbols {
        let product = self.exchange.product;
        Symbols::new(self.exchange.symbols.iter().map(|name| Symbol { name: name.clone(), product }))
    }
}

impl Ledger {
    /// Rules in order; a row whose symbol is not configured can never hold and is left out.
    pub fn rules(&self, symbols: &Symbols) -> Vec<Rule> {
        let known = |name: &str| name.is_empty() || symbols.id(name).is_some();
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let rows = self.strategies.iter().filter(|row| known(&row.symbol));
        rows.map(|row| Rule {
            strategy: row.name.clone(),
            client_order_id_prefix: given(&row.client_order_id_prefix),
            symbol: symbols.id(&row.symbol),
            side: row.side,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_domain_s_own() {
        let config = Config::default();
        assert_eq!(MarketRules::from(&config.rules), MarketRules::default());
        assert_eq!(Limits::from(&config.breaker), Limits::default());
        assert_eq!(TrapSettings::from(&config.traps), TrapSettings::default());
    }
}
