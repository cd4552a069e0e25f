//! Key names of the configured symbols, computed once.

use crate::domain::position::HoldSide;
use crate::domain::symbol::{Product, Symbol, SymbolId, Symbols};
use std::sync::Arc;

/// What `current_position` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PositionFormat {
    /// A hash, as the seed writes it.
    #[default]
    Hash,
    /// The old JSON string; the hash then stands at `current_position:hash`.
    LegacyJson,
}

/// What the encoders need to be told by the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub position_format: PositionFormat,
}

/// Names of one symbol, and the fixed beginnings of its commands.
#[derive(Clone, Debug)]
pub struct SymbolKeys {
    /// `BTCUSDT`.
    pub name: String,
    /// `BTCUSDT_UMCBL`, as the old exchange interface spelled it.
    pub seed_name: String,
    /// `BTC/USDT:USDT`, as ccxt spells it.
    pub ccxt_name: String,
    pub market_state: String,
    pub regime: String,
    pub events: String,
    pub position: [String; 2],
    /// `$4 HSET $n <market_state>`, ready to send.
    pub(super) market_head: Box<[u8]>,
}

impl SymbolKeys {
    fn new(symbol: &Symbol) -> Self {
        let name = &symbol.name;
        let market_state = format!("trapline:{name}:market_state");
        Self {
            seed_name: seed_name(symbol),
            ccxt_name: ccxt_name(symbol),
            regime: format!("trapline:{name}:market_regime"),
            events: format!("trapline:{name}:events"),
            position: HoldSide::BOTH.map(|side| format!("trapline:{name}:position:{}", side.label())),
            market_head: format!("$4\r\nHSET\r\n${}\r\n{market_state}\r\n", market_state.len()).into_bytes().into(),
            market_state,
            name: name.clone(),
        }
    }
}

fn seed_name(symbol: &Symbol) -> String {
    let suffix = match symbol.product {
        Product::UsdtFutures => "UMCBL",
        Product::UsdcFutures => "CMCBL",
        Product::CoinFutures => "DMCBL",
    };
    format!("{}_{suffix}", symbol.name)
}

fn ccxt_name(symbol: &Symbol) -> String {
    let name = symbol.name.as_str();
    match symbol.product {
        Product::UsdtFutures => name.strip_suffix("USDT").map(|base| format!("{base}/USDT:USDT")),
        Product::UsdcFutures => name.strip_suffix("PERP").map(|base| format!("{base}/USDC:USDC")),
        Product::CoinFutures => name.strip_suffix("USD").map(|base| format!("{base}/USD:{base}")),
    }
    .unwrap_or_else(|| name.to_owned())
}

/// Every name that the encoders use, and what they are told about this process.
#[derive(Clone, Debug)]
pub struct Layout {
    pub symbols: Arc<Symbols>,
    pub settings: Settings,
    /// Number of the process among all that wrote these keys; set when the connection has taken over.
    pub epoch: u64,
    /// How far the wall clock is ahead of the clock that values carry: see [`Layout::stamp`].
    pub ahead_ms: i64,
    keys: Vec<SymbolKeys>,
}

impl Layout {
    pub fn new(symbols: Arc<Symbols>, settings: Settings) -> Self {
        let keys = symbols.iter().map(|(_, s)| SymbolKeys::new(s)).collect();
        Self { symbols, settings, epoch: 0, ahead_ms: 0, keys }
    }

    /// A time of our own clock as readers see it: by the wall clock of now, whatever steps it made.
    pub const fn stamp(&self, ms: i64) -> i64 {
        ms + self.ahead_ms
    }

    /// A mark with its time stamped.
    pub fn mark(&self, stale: Option<super::StaleMark>) -> Option<super::StaleMark> {
        stale.map(|mark| super::StaleMark { since_ms: self.stamp(mark.since_ms), ..mark })
    }

    pub fn of(&self, symbol: SymbolId) -> &SymbolKeys {
        &self.keys[symbol.index()]
    }

    pub fn is_primary(&self, symbol: SymbolId) -> bool {
        self.symbols.primary() == Some(symbol)
    }

    pub fn is_known(&self, symbol: SymbolId) -> bool {
        symbol.index() < self.keys.len()
    }

    /// Name for events; empty where they concern no symbol.
    pub fn name_or_empty(&self, symbol: Option<SymbolId>) -> &str {
        symbol.filter(|&s| self.is_known(s)).map_or("", |s| &self.of(s).name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_spells_the_symbol_its_own_way() {
        let cases = [
            ("BTCUSDT", Product::UsdtFutures, "BTCUSDT_UMCBL", "BTC/USDT:USDT"),
            ("BTCPERP", Product::UsdcFutures, "BTCPERP_CMCBL", "BTC/USDC:USDC"),
            ("BTCUSD", Product::CoinFutures, "BTCUSD_DMCBL", "BTC/USD:BTC"),
            ("ODD", Product::UsdtFutures, "ODD_UMCBL", "ODD"),
        ];
        for (name, product, seed, ccxt) in cases {
            let keys = SymbolKeys::new(&Symbol { name: name.to_owned(), product });
            assert_eq!((keys.seed_name.as_str(), keys.ccxt_name.as_str()), (seed, ccxt), "case: {name}");
        }
    }
}
