//! Breaker, account, regime, health and other state.

use super::json::Object;
use super::{Layout, StaleMark, stale_args};
use crate::domain::picture::{AccountPicture, BreakerPicture};
use crate::domain::symbol::SymbolId;
use crate::store::keys::{Key, Shape};
use crate::store::resp::Commands;
use crate::store::tag::Tag;

/// `trapline:breaker`.
pub fn breaker(out: &mut Commands, layout: &Layout, b: &BreakerPicture, now_ms: i64) {
    out.begin(Tag::Breaker, 2 + 2 * 9);
    out.arg("HSET");
    out.arg("trapline:breaker");
    for (name, value) in [("state", b.state), ("reason", &b.reason), ("symbol", layout.name_or_empty(b.symbol))] {
        out.arg(name);
        out.arg(value);
    }
    for (name, value) in [("value", b.value), ("limit", b.limit)] {
        out.arg(name);
        out.decimal_or_empty(value);
    }
    for (name, value) in [("since", layout.stamp(b.since_ms)), ("timestamp", layout.stamp(now_ms))] {
        out.arg(name);
        out.int(value);
    }
    for (name, value) in [("opened_total", b.opened_total), ("epoch", layout.epoch)] {
        out.arg(name);
        out.count(value);
    }
}

/// The breaker's change, told to those who listen on the channel `trapline:breaker`.
pub fn breaker_change(out: &mut Commands, layout: &Layout, b: &BreakerPicture) {
    let json = Object::new()
        .text("state", b.state)
        .text("reason", &b.reason)
        .text("symbol", layout.name_or_empty(b.symbol))
        .decimal_or_null("value", b.value)
        .decimal_or_null("limit", b.limit)
        .int("since", layout.stamp(b.since_ms))
        .end();
    out.words(Tag::BreakerChannel, &["PUBLISH", "trapline:breaker", &json]);
}

/// Whether its balance is also the plain `trapline:account`.
pub fn is_main_coin(coin: &str) -> bool {
    matches!(coin, "USDT" | "USD")
}

/// `trapline:account:{COIN}` with `slot` as its place among the coins, and `trapline:account` for the main coin.
pub fn account(out: &mut Commands, layout: &Layout, a: &AccountPicture, slot: u8, stale: Option<StaleMark>) {
    let own = format!("trapline:account:{}", a.coin);
    let main = is_main_coin(&a.coin);
    for (key, tag) in [(own.as_str(), Tag::Account(slot)), ("trapline:account", Tag::MainAccount)] {
        if tag == Tag::MainAccount && !main {
            continue;
        }
        out.begin(tag, 2 + 2 * 10);
        out.arg("HSET");
        out.arg(key);
        out.arg("coin");
        out.arg(&a.coin);
        for (name, value) in [("equity", a.equity), ("available", a.available), ("unrealized_pnl", a.unrealised_pnl)] {
            out.arg(name);
            out.decimal_or_empty(value);
        }
        for (name, value) in [("exchange_time", a.exchange_time_ms), ("timestamp", layout.stamp(a.received_ms))] {
            out.arg(name);
            out.int(value);
        }
        out.arg("epoch");
        out.count(layout.epoch);
        stale_args(out, layout.mark(stale));
    }
}

/// `current_market_regime` has the words trending and ranging: much movement without a direction is the latter.
const fn old_regime(regime: &str) -> &str {
    match regime.as_bytes() {
        b"volatile" => "ranging",
        _ => regime,
    }
}

/// The old names of the primary symbol's regime: in our words, and in those that old readers know.
pub const REGIME_MIRRORS: [&str; 2] = ["market_regime", "current_market_regime"];

/// `trapline:{SYMBOL}:market_regime`, and the two old names for the primary symbol.
pub fn regime(out: &mut Commands, layout: &Layout, symbol: SymbolId, regime: &str) {
    out.set(Tag::Regime(symbol), &layout.of(symbol).regime, regime, None);
    if layout.is_primary(symbol) {
        for (i, (key, word)) in (0..).zip(REGIME_MIRRORS.into_iter().zip([regime, old_regime(regime)])) {
            out.set(Tag::RegimeMirror(i), key, word, None);
        }
    }
}

/// What the watchdog says about the whole: `trapline:health`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthPicture {
    pub ready: bool,
    /// More fields, bounded by the caller's vocabulary.
    pub fields: Vec<(&'static str, String)>,
}

impl HealthPicture {
    pub const FIELDS_MAX: usize = 64;
}

pub fn health(out: &mut Commands, layout: &Layout, h: &HealthPicture, own: &[(&str, String)], now_ms: i64) {
    let fields = h.fields.iter().map(|(n, v)| (*n, v)).take(HealthPicture::FIELDS_MAX);
    let own_fields = own.iter().map(|(n, v)| (*n, v));
    let count = fields.clone().count() + own.len();
    out.begin(Tag::Health, 2 + 2 * (3 + count));
    out.mark(3 + count as u64);
    out.arg("HSET");
    out.arg("trapline:health");
    out.arg("ready");
    out.arg(if h.ready { "1" } else { "0" });
    out.arg("timestamp");
    out.int(layout.stamp(now_ms));
    out.arg("epoch");
    out.count(layout.epoch);
    for (name, value) in fields.chain(own_fields) {
        out.arg(name);
        out.arg(value);
    }
}

/// Content of a state key that has no encoder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextValue {
    /// A whole string, JSON or a word.
    Whole(String),
    /// Every field of a hash.
    Fields(Vec<(String, String)>),
    /// Every item of a window, head of the list first; replaces what was there in one step.
    Items(Vec<String>),
}

/// State by its row of the key table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextState {
    pub row: &'static Key,
    /// The concrete name: the row's, placeholders filled in.
    pub name: String,
    pub value: TextValue,
}

/// Why a [`TextState`] cannot be written: a bug of the room that sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextRefused {
    #[error("{0} is not a key of the table: add a row to store/keys")]
    UnknownKey(String),
    #[error("{0} has another shape in the table")]
    WrongShape(String),
}

impl TextState {
    /// Finds the row, checks the shape.
    pub fn new(name: impl Into<String>, value: TextValue) -> Result<Self, TextRefused> {
        let name = name.into();
        let row = crate::store::keys::row_of(&name).ok_or_else(|| TextRefused::UnknownKey(name.clone()))?;
        let fits = match value {
            TextValue::Whole(_) => matches!(row.shape, Shape::Text | Shape::Json),
            TextValue::Fields(_) => row.shape == Shape::Hash,
            TextValue::Items(_) => row.shape == Shape::List,
        };
        if fits { Ok(Self { row, name, value }) } else { Err(TextRefused::WrongShape(name)) }
    }
}

/// Lists are replaced in one transaction: a reader never sees half a window. All of it carries the key's tag, so that
/// a quarantined key leaves out the whole transaction, and it is emptied by LTRIM, which refuses a foreign type where
/// DEL would take it away. Its first answer says whether the key was there.
pub fn text(out: &mut Commands, state: &TextState, slot: u16) {
    let tag = Tag::Text(slot);
    match &state.value {
        TextValue::Whole(value) => out.set(tag, &state.name, value, None),
        TextValue::Fields(fields) => {
            if fields.is_empty() {
                return;
            }
            out.begin(tag, 2 + 2 * fields.len());
            if state.row.expiry_s.is_none() {
                out.mark(fields.len() as u64);
            }
            out.arg("HSET");
            out.arg(&state.name);
            for (name, value) in fields {
                out.arg(name);
                out.arg(value);
            }
        }
        TextValue::Items(items) => {
            let cap = match state.row.bound {
                crate::store::keys::Bound::Items(n) | crate::store::keys::Bound::ItemsAndAge { items: n, .. } => {
                    n as usize
                }
                _ => usize::MAX,
            };
            out.words(tag, &["MULTI"]);
            out.words(tag, &["EXISTS", &state.name]);
            out.words(tag, &["LTRIM", &state.name, "1", "0"]);
            if !items.is_empty() {
                let kept = items.len().min(cap);
                out.begin(tag, 2 + kept);
                out.arg("RPUSH");
                out.arg(&state.name);
                for item in &items[..kept] {
                    out.arg(item);
                }
            }
            out.words(tag, &["EXEC"]);
            return;
        }
    }
    if let Some(seconds) = state.row.expiry_s {
        out.words(tag, &["EXPIRE", &state.name, &seconds.to_string()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::symbol::Symbols;
    use crate::store::resp::as_words;
    use rust_decimal::Decimal;
    use std::sync::Arc;

    fn layout() -> Layout {
        let mut layout =
            Layout::new(Arc::new(Symbols::usdt(["BTCUSDT", "ETHUSDT"])), super::super::Settings::default());
        layout.epoch = 2;
        layout
    }

    fn lines(out: &Commands) -> Vec<String> {
        as_words(out.bytes()).iter().map(|w| w.join(" ")).collect()
    }

    #[test]
    fn the_breaker_says_what_it_saw_and_what_is_allowed() {
        let b = BreakerPicture {
            state: "open",
            reason: "position_size".to_owned(),
            symbol: Some(SymbolId(0)),
            value: Some(Decimal::new(2, 2)),
            limit: Some(Decimal::new(1, 2)),
            since_ms: 5,
            opened_total: 1,
        };
        let mut out = Commands::new();
        breaker(&mut out, &layout(), &b, 9);
        breaker_change(&mut out, &layout(), &b);
        assert_eq!(
            lines(&out),
            [
                "HSET trapline:breaker state open reason position_size symbol BTCUSDT value 0.02 limit 0.01 since 5 timestamp 9 opened_total 1 epoch 2",
                r#"PUBLISH trapline:breaker {"state":"open","reason":"position_size","symbol":"BTCUSDT","value":0.02,"limit":0.01,"since":5}"#,
            ]
        );
    }

    #[test]
    fn the_main_coin_also_fills_the_plain_key() {
        for (coin, keys) in [("USDT", 2), ("BTC", 1), ("USD", 2)] {
            let a = AccountPicture {
                coin: coin.to_owned(),
                equity: Some(Decimal::ONE),
                available: None,
                unrealised_pnl: None,
                exchange_time_ms: 1,
                received_ms: 2,
            };
            let mut out = Commands::new();
            account(&mut out, &layout(), &a, 0, None);
            assert_eq!(out.len(), keys, "coin {coin}");
            assert!(
                lines(&out)[0].starts_with(&format!("HSET trapline:account:{coin} coin {coin} equity 1 available  "))
            );
        }
    }

    #[test]
    fn the_old_regime_names_speak_their_own_words() {
        for (word, old) in
            [("volatile", "ranging"), ("normal", "normal"), ("trending", "trending"), ("unknown", "unknown")]
        {
            let mut out = Commands::new();
            regime(&mut out, &layout(), SymbolId(0), word);
            assert_eq!(
                lines(&out),
                [
                    format!("SET trapline:BTCUSDT:market_regime {word} GET"),
                    format!("SET market_regime {word} GET"),
                    format!("SET current_market_regime {old} GET")
                ]
            );
        }
        let mut out = Commands::new();
        regime(&mut out, &layout(), SymbolId(1), "volatile");
        assert_eq!(lines(&out), ["SET trapline:ETHUSDT:market_regime volatile GET"]);
    }

    #[test]
    fn other_state_has_to_be_in_the_table_and_of_its_shape() {
        let whole = || TextValue::Whole("{}".to_owned());
        assert!(TextState::new("dashboard:trap_analysis", whole()).is_ok());
        assert_eq!(TextState::new("nobody:knows", whole()), Err(TextRefused::UnknownKey("nobody:knows".to_owned())));
        assert_eq!(TextState::new("market_state", whole()), Err(TextRefused::WrongShape("market_state".to_owned())));
        let items = (0..120).map(|i| i.to_string()).collect();
        let window = TextState::new("btc_movements_5min", TextValue::Items(items)).unwrap();
        let mut out = Commands::new();
        text(&mut out, &window, 3);
        let words = as_words(out.bytes());
        assert_eq!(
            words.iter().map(|w| w[0].as_str()).collect::<Vec<_>>(),
            ["MULTI", "EXISTS", "LTRIM", "RPUSH", "EXEC"]
        );
        assert_eq!(words[3].len(), 102, "cut at the row's bound");
        assert_eq!(out.tags(), [Tag::Text(3); 5], "a quarantined key leaves out all of it");
    }

    #[test]
    fn health_carries_the_watchdogs_and_the_writers_fields() {
        let mut out = Commands::new();
        let h = HealthPicture { ready: true, fields: vec![("feeds", "2".to_owned())] };
        health(&mut out, &layout(), &h, &[("spool_durable", "1".to_owned())], 11);
        assert_eq!(lines(&out), ["HSET trapline:health ready 1 timestamp 11 epoch 2 feeds 2 spool_durable 1"]);
    }
}
