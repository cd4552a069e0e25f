//! Why something the exchange sent is not believed. Refusing is normal business, not an error: it is counted by
//! reason, and the newest are kept for people to look at.

use super::symbol::SymbolId;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $label:literal),+ $(,)?) => {
        /// The reason of a refusal; [`Refusal::label`] is its name in metrics, logs and Redis.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Refusal { $($(#[$doc])* $name),+ }

        impl Refusal {
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }
        }
    };
}

refusals! {
    /// Not JSON, not UTF-8, or nested too deeply.
    Garbage = "garbage",
    /// Longer than the limit for one frame.
    Oversized = "oversized",
    /// JSON, but not a shape the protocol has.
    UnknownShape = "unknown_shape",
    /// A field is missing or has the wrong type.
    BadField = "bad_field",
    /// A number outside what a price, size or time can be.
    OutOfRange = "out_of_range",
    /// A symbol that is not configured.
    UnknownSymbol = "unknown_symbol",
    /// Data for a channel nobody subscribed to.
    UnknownChannel = "unknown_channel",
    NotPositive = "not_positive",
    /// Older than the limit, clock skew corrected.
    Stale = "stale",
    /// From the future by more than the tolerance.
    Future = "future",
    /// Older than what was already accepted.
    Regressed = "regressed",
    Duplicate = "duplicate",
    /// Further from the last accepted price than the band allows, and not confirmed.
    PriceBand = "price_band",
    /// Two sources disagree.
    SourcesDisagree = "sources_disagree",
    /// Bid above ask.
    Crossed = "crossed",
    /// High below low, close outside, or the like.
    Inconsistent = "inconsistent",
    /// A position with size but without a price.
    NoEntryPrice = "no_entry_price",
    /// 'Flat' that a second witness contradicted.
    FlatContradicted = "flat_contradicted",
    /// The report made the room panic and was quarantined.
    Poison = "poison",
}

/// A refused report or frame, as kept for people: bounded, without secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub refusal: Refusal,
    pub symbol: Option<SymbolId>,
    /// Kind of report or channel, a bounded word.
    pub kind: &'static str,
    pub received_ms: i64,
    pub exchange_time_ms: Option<i64>,
    /// At most [`Refused::DETAIL_MAX`] bytes of what was refused or why; never from a login or account-key frame.
    pub detail: String,
}

impl Refused {
    pub const DETAIL_MAX: usize = 256;

    /// Cuts `detail` at a character boundary.
    pub fn new(refusal: Refusal, kind: &'static str, received_ms: i64, detail: &str) -> Self {
        let mut end = detail.len().min(Self::DETAIL_MAX);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        Self { refusal, symbol: None, kind, received_ms, exchange_time_ms: None, detail: detail[..end].to_owned() }
    }

    #[must_use]
    pub fn with_symbol(mut self, symbol: Option<SymbolId>) -> Self {
        self.symbol = symbol;
        self
    }

    #[must_use]
    pub fn at(mut self, exchange_time_ms: i64) -> Self {
        self.exchange_time_ms = Some(exchange_time_ms);
        self
    }
}
