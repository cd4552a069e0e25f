//! The scripts that come with the exchange, by name. `$1` is the market's first symbol.

use super::script::{Script, ScriptError};

/// Name, what it shows, text.
const SHIPPED: [(&str, &str, &str); 7] = [
    ("quiet-holder", "opens one position and holds it", include_str!("scripts/quiet-holder.toml")),
    ("scalper", "many short trades, resting orders, partial fills", include_str!("scripts/scalper.toml")),
    ("hedge-pair", "hedge mode: long and short at once", include_str!("scripts/hedge-pair.toml")),
    ("flip-flop", "one-way mode: long to short and back", include_str!("scripts/flip-flop.toml")),
    ("liquidation", "isolated at 125x: liquidated long, then short", include_str!("scripts/liquidation.toml")),
    ("mode-switch", "one-way, hedge, isolated and back, over and over", include_str!("scripts/mode-switch.toml")),
    ("sub-accounts", "the main account and two others, each its own way", include_str!("scripts/sub-accounts.toml")),
];

/// Name and what it shows, of every shipped script.
pub fn list() -> impl Iterator<Item = (&'static str, &'static str)> {
    SHIPPED.iter().map(|(name, shows, _)| (*name, *shows))
}

/// The shipped script of this name, its symbols still `$1`, `$2`.
pub fn named(name: &str) -> Option<Result<Script, ScriptError>> {
    SHIPPED.iter().find(|(known, ..)| *known == name).map(|(.., text)| Script::from_toml(text))
}
