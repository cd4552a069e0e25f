//! What is traded: names, decimals, where prices begin.

use super::config::Generation;
use crate::domain::symbol::Product;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use std::borrow::Cow;

/// One contract.
#[derive(Clone, Debug, PartialEq)]
pub struct Instrument {
    /// Bitget's name today, e.g. `BTCUSDT`.
    pub name: String,
    pub base: String,
    pub quote: String,
    pub product: Product,
    /// Decimals of a price; the tick is one of the last.
    pub price_scale: u32,
    /// Decimals of a size.
    pub size_scale: u32,
    /// Where a seeded market begins, quote currency.
    pub start_price: f64,
}

/// Well-known contracts: name, price near which a seeded market begins, decimals of price and of size.
const KNOWN: &[(&str, f64, u32, u32)] = &[
    ("BTC", 86_500.0, 1, 4),
    ("ETH", 2_850.0, 2, 2),
    ("SOL", 131.0, 3, 1),
    ("XRP", 2.08, 4, 0),
    ("BNB", 845.0, 2, 2),
    ("DOGE", 0.1460, 5, 0),
    ("ADA", 0.4110, 4, 0),
    ("AVAX", 13.25, 3, 1),
    ("LINK", 12.44, 3, 1),
    ("LTC", 83.1, 2, 1),
    ("DOT", 2.31, 4, 1),
    ("UNI", 6.12, 3, 1),
    ("NEAR", 1.86, 4, 1),
    ("ATOM", 2.51, 4, 1),
    ("FIL", 1.62, 4, 1),
    ("APT", 2.35, 4, 1),
    ("ARB", 0.2080, 4, 0),
    ("OP", 0.3090, 4, 0),
    ("SUI", 1.54, 4, 1),
    ("TRX", 0.2750, 5, 0),
];

/// How a generation spells a contract, in public and private frames alike: v3 marks coin-margined ones with `_CM`.
pub fn wire_name(generation: Generation, product: Product, name: &str) -> Cow<'_, str> {
    match (generation, product) {
        (Generation::V3, Product::CoinFutures) => Cow::Owned(format!("{name}_CM")),
        _ => Cow::Borrowed(name),
    }
}

impl Instrument {
    /// The contract of this name: known decimals, or some that fit a price drawn from the name.
    pub fn named(name: &str) -> Self {
        let (base, quote, product) = split_name(name);
        let plain = base.trim_start_matches("1000");
        let known = KNOWN.iter().find(|(coin, ..)| *coin == base);
        let (start_price, price_scale, size_scale) = match known {
            Some((_, price, price_scale, size_scale)) => (*price, *price_scale, *size_scale),
            None => {
                // Log-uniform between 0.02 and 200, always the same for a name.
                let hash = plain
                    .bytes()
                    .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
                let unit = (hash >> 11) as f64 / (1_u64 << 53) as f64;
                let price = 0.02 * 10_000_f64.powf(unit);
                let (price_scale, size_scale) = scales_for(price);
                (price, price_scale, size_scale)
            }
        };
        Self { name: name.to_owned(), base, quote, product, price_scale, size_scale, start_price }
    }

    /// The name on the wire: v3 marks coin-margined contracts with `_CM`.
    pub fn wire_name(&self, generation: Generation) -> Cow<'_, str> {
        wire_name(generation, self.product, &self.name)
    }

    /// A price from a number, on the tick; never below one tick.
    pub fn price(&self, value: f64) -> Decimal {
        let ticks = (value * pow10(self.price_scale)).round().max(1.0);
        Decimal::new(ticks as i64, self.price_scale)
    }

    /// A size from a number, on the step; never below one step.
    pub fn size(&self, value: f64) -> Decimal {
        let steps = (value * pow10(self.size_scale)).round().clamp(1.0, 9e15);
        Decimal::new(steps as i64, self.size_scale)
    }

    pub fn tick(&self) -> Decimal {
        Decimal::new(1, self.price_scale)
    }

    pub fn step(&self) -> Decimal {
        Decimal::new(1, self.size_scale)
    }
}

fn pow10(scale: u32) -> f64 {
    10_f64.powi(i32::try_from(scale).unwrap_or(0))
}

/// Decimals for a price that nobody told: five significant digits of price, steps worth about one unit of quote.
pub fn scales_for(price: f64) -> (u32, u32) {
    let magnitude = price.max(1e-9).log10().floor() as i32;
    let price_scale = (4 - magnitude).clamp(0, 10) as u32;
    let size_scale = magnitude.clamp(0, 4) as u32;
    (price_scale, size_scale)
}

/// Base coin, quote coin and product of a contract's name.
fn split_name(name: &str) -> (String, String, Product) {
    if let Some(base) = name.strip_suffix("USDT") {
        return (base.to_owned(), "USDT".to_owned(), Product::UsdtFutures);
    }
    if let Some(base) = name.strip_suffix("PERP") {
        return (base.to_owned(), "USDC".to_owned(), Product::UsdcFutures);
    }
    if let Some(base) = name.strip_suffix("USD") {
        return (base.to_owned(), "USD".to_owned(), Product::CoinFutures);
    }
    // A tape's own pair, e.g. APPCBTC: listed with the USDT contracts so that every client finds it.
    for quote in ["BTC", "ETH", "BNB"] {
        if let Some(base) = name.strip_suffix(quote).filter(|base| !base.is_empty()) {
            return (base.to_owned(), quote.to_owned(), Product::UsdtFutures);
        }
    }
    (name.to_owned(), "USDT".to_owned(), Product::UsdtFutures)
}

/// `count` contract names: the well-known ones, then made-up ones.
pub fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|i| match KNOWN.get(i) {
            Some((coin, ..)) => format!("{coin}USDT"),
            None => format!("COIN{i:03}USDT"),
        })
        .collect()
}

/// A tape's spelling as Bitget's: `XBTUSD`, `BTC-USD` and `BTC-PERP` are `BTCUSDT`; a configured name wins.
pub fn bitget_name(tape: &str, configured: &[String]) -> String {
    let plain: String = tape.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect();
    if configured.contains(&plain) {
        return plain;
    }
    let coin = match plain.strip_prefix("XBT") {
        Some(rest) => format!("BTC{rest}"),
        None => plain,
    };
    for (ending, product) in [("PERP", "USDT"), ("USDT", "USDT"), ("USDC", "USDT"), ("USD", "USDT")] {
        if let Some(base) = coin.strip_suffix(ending).filter(|base| !base.is_empty()) {
            return format!("{base}{product}");
        }
    }
    coin
}

/// Decimals of a number as written.
pub fn scale_of(value: &Decimal) -> u32 {
    value.normalize().scale()
}

/// A number for statistics; money stays decimal.
pub fn as_f64(value: Decimal) -> f64 {
    value.to_f64().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tape_names_become_bitget_names() {
        let none: [String; 0] = [];
        for (tape, expected) in [
            ("XBTUSD", "BTCUSDT"),
            ("BTC-USD", "BTCUSDT"),
            ("BTC-PERP", "BTCUSDT"),
            ("BTCUSDT", "BTCUSDT"),
            ("btcusdt", "BTCUSDT"),
            ("APPCBTC", "APPCBTC"),
            ("UNIUSDT", "UNIUSDT"),
        ] {
            assert_eq!(bitget_name(tape, &none), expected, "{tape}");
        }
        assert_eq!(bitget_name("BTC-PERP", &["BTCPERP".to_owned()]), "BTCPERP", "a configured name wins");
    }

    #[test]
    fn prices_stand_on_the_tick() {
        let btc = Instrument::named("BTCUSDT");
        assert_eq!(btc.price(86_500.26).to_string(), "86500.3");
        assert_eq!(btc.size(0.000_01).to_string(), "0.0001");
        assert_eq!(Instrument::named("COIN123USDT"), Instrument::named("COIN123USDT"));
    }

    #[test]
    fn six_hundred_names_differ() {
        let mut all = names(600);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 600);
    }
}
