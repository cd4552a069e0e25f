//! The contract with every program that reads Redis beside us: one row a key.
//!
//! The writer, `trapline keys`, the generated papers and the tests all come from [`KEYS`]. A key that is not a row
//! here is not written.

pub mod check;
mod kind;
mod market;
mod own;
mod positions;
mod render;
mod schema;
mod traps;

pub use kind::{Field, Kind};
pub use render::{render_json, render_page, render_table};
pub use schema::{schema_of, schemas};

/// Redis type of a key, and for strings what is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A plain string: a word or a number.
    Text,
    /// A string that holds one JSON document.
    Json,
    Hash,
    List,
    Zset,
    Stream,
    /// Not a key: a pub/sub channel.
    Channel,
}

impl Shape {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Json => "string (JSON)",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Zset => "zset",
            Self::Stream => "stream",
            Self::Channel => "channel",
        }
    }

    /// What the `TYPE` command answers for it.
    pub const fn redis_type(self) -> &'static str {
        match self {
            Self::Text | Self::Json => "string",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Zset => "zset",
            Self::Stream => "stream",
            Self::Channel => "none",
        }
    }
}

/// What a reader may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The last value wins and never goes back; marked stale when old; never deleted to say 'flat'.
    State,
    /// Happens once, stands once.
    Event,
    /// Bounded and complete; rewritten after a gap.
    Window,
    /// At most once, first to be shed.
    Metric,
}

impl Class {
    pub const fn label(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Event => "event",
            Self::Window => "window",
            Self::Metric => "metric",
        }
    }
}

/// What keeps a key from growing for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// One value.
    One,
    /// One key per configured symbol (and side).
    PerSymbol,
    /// One key per configured strategy or coin.
    PerName,
    /// Newest so many items.
    Items(u32),
    /// Newest so many items, none older than so many seconds.
    ItemsAndAge { items: u32, age_s: u32 },
    /// Any number of keys, each of which expires.
    Expiring,
}

impl Bound {
    pub fn label(self) -> String {
        match self {
            Self::One => "one".to_owned(),
            Self::PerSymbol => "per symbol".to_owned(),
            Self::PerName => "per name".to_owned(),
            Self::Items(n) => format!("{n} items"),
            Self::ItemsAndAge { items, age_s } => format!("{items} items, {} d", age_s / 86_400),
            Self::Expiring => "expiring keys".to_owned(),
        }
    }
}

/// The release that first writes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    V0_1,
    Later,
}

impl Since {
    pub const fn label(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1",
            Self::Later => "later",
        }
    }
}

/// A second format of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// The setting that chooses it.
    pub setting: &'static str,
    pub shape: Shape,
    pub value: Kind,
}

/// One row of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Exact name, or a pattern whose `{PLACEHOLDERS}` are filled in.
    pub name: &'static str,
    pub shape: Shape,
    pub class: Class,
    pub meaning: &'static str,
    /// Hash and stream: their fields. JSON and text: the value. List and sorted set: one item. Channel: a message.
    pub value: Kind,
    /// Unit of a plain value or of a plain item.
    pub unit: &'static str,
    /// What it is instead where a setting says so.
    pub or: Option<Other>,
    /// Fields of the JSON messages on the channel of the same name, if there is one.
    pub channel: Option<&'static [Field]>,
    pub bound: Bound,
    /// Seconds, renewed by each write; `None`: never expires.
    pub expiry_s: Option<u32>,
    /// The room that decides the content; the Redis writer is the only one that writes.
    pub room: &'static str,
    /// Programs outside that are known to read it.
    pub readers: &'static [&'static str],
    pub since: Since,
}

impl Key {
    const fn new(name: &'static str, shape: Shape, class: Class, room: &'static str, meaning: &'static str) -> Self {
        Self {
            name,
            shape,
            class,
            meaning,
            value: Kind::Text,
            unit: "",
            or: None,
            channel: None,
            bound: Bound::One,
            expiry_s: None,
            room,
            readers: &[],
            since: Since::V0_1,
        }
    }

    const fn fields(mut self, fields: &'static [Field]) -> Self {
        self.value = Kind::Object(fields);
        self
    }

    const fn value(mut self, value: Kind, unit: &'static str) -> Self {
        self.value = value;
        self.unit = unit;
        self
    }

    const fn or(mut self, setting: &'static str, shape: Shape, fields: &'static [Field]) -> Self {
        self.or = Some(Other { setting, shape, value: Kind::Object(fields) });
        self
    }

    const fn channel(mut self, fields: &'static [Field]) -> Self {
        self.channel = Some(fields);
        self
    }

    const fn bound(mut self, bound: Bound) -> Self {
        self.bound = bound;
        self
    }

    const fn expires(mut self, seconds: u32) -> Self {
        self.expiry_s = Some(seconds);
        self
    }

    const fn readers(mut self, readers: &'static [&'static str]) -> Self {
        self.readers = readers;
        self
    }

    const fn later(mut self) -> Self {
        self.since = Since::Later;
        self
    }

    /// Fields of the hash, of the document, or of each item.
    pub const fn fields_of(&self) -> &'static [Field] {
        self.value.fields()
    }

    /// Whether `name` is this row, placeholders filled in with anything but nothing.
    pub fn matches(&self, name: &str) -> bool {
        fn rest(pattern: &str, name: &str) -> bool {
            match pattern.find('{') {
                None => pattern == name,
                Some(open) => {
                    let Some(close) = pattern[open..].find('}').map(|i| open + i) else { return pattern == name };
                    let Some(after) = name.strip_prefix(&pattern[..open]) else { return false };
                    let tail = &pattern[close + 1..];
                    (1..=after.len()).filter(|&i| after.is_char_boundary(i)).any(|i| rest(tail, &after[i..]))
                }
            }
        }
        rest(self.name, name)
    }
}

const PARTS: [&[Key]; 4] = [positions::KEYS, market::KEYS, traps::KEYS, own::KEYS];

const COUNT: usize = {
    let mut count = 0;
    let mut part = 0;
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

static ALL: [Key; COUNT] = {
    let mut all = [PARTS[0][0]; COUNT];
    let (mut at, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut row = 0;
        while row < PARTS[part].len() {
            all[at] = PARTS[part][row];
            at += 1;
            row += 1;
        }
        part += 1;
    }
    all
};

/// Every key trapline writes now or has promised.
pub static KEYS: &[Key] = &ALL;

/// The row of a concrete key name; exact names win over patterns.
pub fn row_of(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name).or_else(|| KEYS.iter().find(|k| k.matches(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_stands_twice() {
        let mut seen = BTreeSet::new();
        for key in KEYS {
            assert!(seen.insert(key.name), "twice: {}", key.name);
            let mut fields = BTreeSet::new();
            for f in key.fields_of() {
                assert!(fields.insert(f.name), "field twice: {} {}", key.name, f.name);
            }
        }
    }

    #[test]
    fn what_can_grow_has_a_bound() {
        for key in KEYS {
            if matches!(key.shape, Shape::List | Shape::Zset | Shape::Stream) {
                assert!(matches!(key.bound, Bound::Items(_) | Bound::ItemsAndAge { .. }), "no bound: {}", key.name);
            }
            if key.bound == Bound::Expiring {
                assert!(key.expiry_s.is_some(), "expiring without expiry: {}", key.name);
            }
        }
    }

    #[test]
    fn the_names_of_the_contract_are_exact() {
        let names = [
            "current_position",
            "short_trader_position",
            "long_trader_position",
            "active_position",
            "trader:positions:scalper",
            "trader:metrics:strategic",
            "trader:trades:newbie",
            "trader:trades:aggressive",
            "btc_price_patterns",
            "btc_volume_history",
            "btc_movements_1min",
            "btc_movements_5min",
            "btc_movements_15min",
            "btc_movements_60min",
            "market_regime",
            "market_state",
            "last_btc_price",
            "prev_btc_price",
            "last_btc_volume",
            "last_btc_update_time",
            "dashboard:trap_analysis",
            "dashboard:trap_analysis:data",
            "dashboard:trap_analysis:performance",
            "mm_trap_detections:5min",
            "hf_trap_mode_multiplier",
            "mm_trap:1723075200:BTCUSDT:17",
            "trap_events",
            "latest_mm_trap",
            "recent_mm_traps",
            "current_trap_probability",
            "trap_probability_history",
            "organic_move:1723075200:BTCUSDT:3",
            "latest_organic_analysis",
            "latest_fibonacci_confluence",
            "fibonacci_levels",
            "schumann_spike:1723075200",
            "schumann_is_fallback",
            "schumann_resonance",
            "update_latencies",
            "trapline:BTCUSDT:market_state",
            "trapline:BTCUSDT:position:long",
            "trapline:BTCUSDT:events",
            "trapline:breaker",
            "trapline:account",
            "trapline:health",
            "trapline:alerts",
            "trapline:epoch",
            "trapline:cursor",
            "{trap_events}:cursor",
            "current_position:hash",
        ];
        for name in names {
            assert!(row_of(name).is_some(), "not in the table: {name}");
        }
        assert!(row_of("sim_timestamp").is_none());
        assert!(row_of("trapline::market_state").is_none(), "a placeholder is never empty");
        assert_eq!(row_of("{trapline:alerts}:cursor").map(|key| key.name), Some("{{KEY}}:cursor"));
        assert!(row_of("their:cursor").is_none(), "only what stands in braces is ours");
    }

    #[test]
    fn nothing_but_trap_hashes_lives_under_their_prefix() {
        let below: Vec<_> = KEYS.iter().filter(|k| k.name.starts_with("mm_trap:")).collect();
        assert_eq!(below.len(), 1, "one list or string under mm_trap: blinds old readers");
        assert_eq!(below[0].shape, Shape::Hash);
    }

    #[test]
    fn the_table_names_every_key_once() {
        let table = render_table();
        let json: serde_json::Value = serde_json::from_str(&render_json()).unwrap();
        assert_eq!(json.as_array().unwrap().len(), KEYS.len());
        for key in KEYS {
            assert_eq!(
                table.lines().filter(|l| l.split_whitespace().next() == Some(key.name)).count(),
                1,
                "{}",
                key.name
            );
        }
    }
}
