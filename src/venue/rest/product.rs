//! The product that a request names: `productType` on v2, `category` on v3.

use super::Refusal;
use super::query::Query;
use crate::domain::symbol::Product;
use crate::venue::account::encode::product_named;

/// A product that the exchange knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Traded(Product),
    /// It exists and nothing is traded in it here: simulated contracts, spot, margin.
    Untraded,
}

impl Asked {
    pub const fn traded(self) -> Option<Product> {
        match self {
            Self::Traded(product) => Some(product),
            Self::Untraded => None,
        }
    }
}

/// Both generations know these; clients name them in either where they are set to simulated trading.
const SIMULATED: [&str; 3] = ["SUSDT-FUTURES", "SUSDC-FUTURES", "SCOIN-FUTURES"];

/// Categories of v3 alone: a v2 `productType` is always one of contracts.
const NO_CONTRACTS: [&str; 2] = ["SPOT", "MARGIN"];

/// The product under `key`, `None` where the request names none. One that nobody knows is refused.
pub fn asked(query: &Query, key: &str) -> Result<Option<Asked>, Refusal> {
    let Some(name) = query.get(key) else { return Ok(None) };
    let among = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    match product_named(name) {
        Some(product) => Ok(Some(Asked::Traded(product))),
        None if among(&SIMULATED) || (key == "category" && among(&NO_CONTRACTS)) => Ok(Some(Asked::Untraded)),
        None => Err(Refusal::parameter(key)),
    }
}
