//! Positions, strategies, account.

use super::kind::{Field, Kind, count, field, flag, iso, maybe, ms, null, number, text, words};
use super::{Bound, Class, Key, Shape};

const LEDGER: &str = "ledger";
const BREAKER: &str = "circuit_breaker";
const SETTING: &str = "position_key_format = \"legacy-json\"";

const SIDES: &[&str] = &["long", "short"];
const MARGIN_MODES: &[&str] = &["crossed", "isolated", ""];
const HOLD_MODES: &[&str] = &["one_way", "hedge", ""];
const SOURCES: &[&str] = &["ws", "rest"];

/// Fields that say whether the rest may be believed.
const HAS: Field = flag("has_position", "0 only after an explicit, confirmed word of the exchange");
const STALE: Field = flag("stale", "1: the exchange has not confirmed this for too long, or trapline stopped");
const STALE_REASON: Field = text("stale_reason", "why it is stale, a word; empty when fresh");
const STALE_SINCE: Field = ms("stale_since", "since when; 0 when fresh");
const EPOCH: Field = count("epoch", "which process wrote it");

const CURRENT: &[Field] = &[
    text("symbol", "primary symbol in the old spelling, BTCUSDT_UMCBL"),
    words("side", &["long", "short", "none"], "the side with the largest notional; ties go to the last changed"),
    number("size", "base coin", "0 when flat"),
    number("entryPrice", "quote", "average entry price; 0 when flat"),
    maybe("markPrice", "quote", "mark price of the same message; empty if it named none"),
    maybe("unrealizedPnL", "margin coin", "without leverage"),
    maybe("leverage", "x", "empty when flat"),
    words("marginMode", MARGIN_MODES, "empty when flat"),
    ms("updateTime", "the exchange's last change of this position"),
    ms("timestamp", "when the exchange last confirmed it; freshness is measured by this"),
    HAS,
    words("holdMode", HOLD_MODES, "empty when flat"),
    flag("hedge", "1: both sides are open; the per-side keys hold the whole truth"),
    maybe("liquidationPrice", "quote", "empty if there is none"),
    maybe("breakEvenPrice", "quote", "empty if unknown"),
    maybe("margin", "margin coin", "occupied"),
    maybe("pnl_percent", "%", "return on the initial margin (size x entry / leverage)"),
    words("source", SOURCES, "what confirmed it last"),
    count("seq", "accepted changes in this process"),
    EPOCH,
    STALE,
    STALE_REASON,
    STALE_SINCE,
];

const LEGACY_JSON: &[Field] = &[
    field("has_position", Kind::Bool, "", "false only after an explicit, confirmed word of the exchange"),
    text("symbol", "BTCUSDT_UMCBL"),
    words("position_side", &["long", "short", "none"], ""),
    words("direction", &["LONG", "SHORT", "NONE"], ""),
    number("entry_price", "quote", "0 when flat"),
    maybe("current_price", "quote", "mark price; null if unknown"),
    number("position_size", "base coin", "same as size"),
    number("size", "base coin", "0 when flat"),
    number("leverage", "x", "0 when flat"),
    maybe("pnl_percent", "%", "return on the initial margin"),
    maybe("pnl_usd", "margin coin", "unrealised, without leverage"),
    maybe("pnl", "margin coin", "same as pnl_usd"),
    null("stop_loss", "not known here"),
    null("take_profit", "not known here"),
    null("take_profit_target", "not known here"),
    field("take_profits", Kind::List(&Kind::Json), "", "empty"),
    null("entry_time", "not known here"),
    ms("update_time", "the exchange's last change"),
    iso("timestamp", "when last confirmed"),
    ms("ts_ms", "the same instant"),
    words("source", &["bitget-ws", "bitget-rest"], ""),
    STALE,
    STALE_REASON,
    STALE_SINCE,
];

const SIDE_JSON: &[Field] = &[
    text("id", "symbol and side"),
    text("symbol", "BTC/USDT:USDT"),
    words("direction", &["LONG", "SHORT"], "the side this key is about, also when flat"),
    field("has_position", Kind::Bool, "", ""),
    words("status", &["OPEN", "FLAT"], ""),
    number("entry_price", "quote", "0 when flat"),
    null("entry_time", "not known here"),
    maybe("current_price", "quote", "null if unknown"),
    number("size", "base coin", "0 when flat"),
    number("leverage", "x", "0 when flat"),
    maybe("unrealized_pnl", "margin coin", ""),
    maybe("pnl_percent", "%", ""),
    field("take_profits", Kind::List(&Kind::Json), "", "empty"),
    null("stop_loss", "not known here"),
    iso("timestamp", "when last confirmed"),
    ms("ts_ms", "the same instant"),
    STALE,
    STALE_REASON,
    STALE_SINCE,
];

const SIDE_HASH: &[Field] = &[
    text("symbol", "BTCUSDT"),
    words("side", SIDES, ""),
    HAS,
    number("size", "base coin", "0 when flat"),
    maybe("available", "base coin", "not bound in closing orders"),
    number("entry_price", "quote", "0 when flat"),
    maybe("mark_price", "quote", ""),
    maybe("leverage", "x", "empty when flat"),
    maybe("unrealized_pnl", "margin coin", ""),
    maybe("pnl_percent", "%", "return on the initial margin"),
    maybe("margin", "margin coin", ""),
    words("margin_mode", MARGIN_MODES, "empty when flat"),
    words("hold_mode", HOLD_MODES, "empty when flat"),
    maybe("liquidation_price", "quote", "empty if there is none"),
    maybe("break_even", "quote", ""),
    maybe("total_fee", "margin coin", "fees and funding so far"),
    ms("update_time", "the exchange's last change"),
    ms("timestamp", "when the exchange last confirmed it"),
    words("source", SOURCES, ""),
    count("seq", ""),
    EPOCH,
    STALE,
    STALE_REASON,
    STALE_SINCE,
];

const ACCOUNT: &[Field] = &[
    text("coin", "margin coin, or USD for a unified account"),
    maybe("equity", "coin", ""),
    maybe("available", "coin", ""),
    maybe("unrealized_pnl", "coin", ""),
    ms("exchange_time", ""),
    ms("timestamp", "when it was received"),
    EPOCH,
    STALE,
    STALE_REASON,
    STALE_SINCE,
];

const TRADE: &[Field] = &[
    text("trade_id", "identity of the fill"),
    text("symbol", "BTCUSDT"),
    words("side", &["buy", "sell"], ""),
    words("direction", &["LONG", "SHORT", "NET"], "the side of the position it touched"),
    words("effect", &["open", "close", "net"], ""),
    number("price", "quote", ""),
    number("size", "base coin", ""),
    number("fee", "fee coin", "positive = paid"),
    number("pnl", "margin coin", "realised, net of fee"),
    text("profile_type", "strategy"),
    iso("timestamp", "exchange time"),
    ms("ts_ms", ""),
];

const SNAPSHOT: &[Field] = &[
    text("id", ""),
    words("direction", &["LONG", "SHORT"], ""),
    number("entry_price", "quote", ""),
    number("size", "base coin", ""),
    number("leverage", "x", ""),
    iso("entry_time", ""),
    words("status", &["OPEN", "CLOSED"], ""),
    maybe("realized_pnl", "margin coin", ""),
    maybe("unrealized_pnl", "margin coin", ""),
    text("trader_profile", "strategy"),
];

pub(super) const KEYS: &[Key] = &[
    Key::new("current_position", Shape::Hash, Class::State, BREAKER, "the position of the primary symbol")
        .fields(CURRENT)
        .or(SETTING, Shape::Json, LEGACY_JSON)
        .expires(3_600)
        .readers(&[
            "bots",
            "reggae_dashboard_server (as JSON)",
            "live-api-server (as JSON)",
            "live-dashboard (as JSON)",
        ]),
    Key::new(
        "current_position:hash",
        Shape::Hash,
        Class::State,
        BREAKER,
        "the same hash, where current_position is set to legacy-json",
    )
    .fields(CURRENT)
    .expires(3_600),
    Key::new("active_position", Shape::Json, Class::State, BREAKER, "current_position as old dashboards read it")
        .fields(LEGACY_JSON)
        .readers(&["live-api-server-temp", "live-dashboard", "redis_health_check"]),
    Key::new("long_trader_position", Shape::Json, Class::State, BREAKER, "the long side of the primary symbol")
        .fields(SIDE_JSON)
        .readers(&["reggae_dashboard_server"]),
    Key::new("short_trader_position", Shape::Json, Class::State, BREAKER, "the short side of the primary symbol")
        .fields(SIDE_JSON)
        .readers(&["reggae_dashboard_server"]),
    Key::new("trapline:{SYMBOL}:position:long", Shape::Hash, Class::State, BREAKER, "the long side of a symbol")
        .fields(SIDE_HASH)
        .bound(Bound::PerSymbol),
    Key::new("trapline:{SYMBOL}:position:short", Shape::Hash, Class::State, BREAKER, "the short side of a symbol")
        .fields(SIDE_HASH)
        .bound(Bound::PerSymbol),
    Key::new("trapline:account", Shape::Hash, Class::State, BREAKER, "balance in USDT, or of the unified account")
        .fields(ACCOUNT),
    Key::new("trapline:account:{COIN}", Shape::Hash, Class::State, BREAKER, "balance in each margin coin")
        .fields(ACCOUNT)
        .bound(Bound::PerName),
    Key::new(
        "trader:positions:{STRATEGY}",
        Shape::List,
        Class::State,
        LEDGER,
        "snapshots at open, increase, reduce and close, newest first",
    )
    .fields(SNAPSHOT)
    .bound(Bound::Items(100))
    .readers(&["check_redis_data"])
    .later(),
    Key::new(
        "trader:trades:{STRATEGY}",
        Shape::List,
        Class::Event,
        LEDGER,
        "fills attributed to a strategy, newest first",
    )
    .fields(TRADE)
    .bound(Bound::Items(100))
    .readers(&["check_redis_data"]),
    Key::new("trader:metrics:{STRATEGY}", Shape::Hash, Class::State, LEDGER, "win rate, trades, capital of a strategy")
        .fields(&[
            maybe("win_rate", "0..1", "closing fills with profit after fees; empty before the first"),
            count("total_trades", "closing fills"),
            count("fills", "all fills attributed"),
            number("realised", "margin coin", "net of fees"),
            number("fees", "margin coin", "paid"),
            maybe("capital", "margin coin", "empty: not known here"),
            iso("timestamp", ""),
            words("emotional_state", &["neutral"], "constant, kept for old readers"),
            number("confidence", "0..1", "lower Wilson bound of win_rate"),
        ])
        .bound(Bound::PerName)
        .readers(&["check_redis_data"]),
];
