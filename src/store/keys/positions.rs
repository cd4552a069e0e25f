//! Positions, strategies, account.

use super::{Bound, Class, Field, Key, Shape, field};

const LEDGER: &str = "ledger";
const BREAKER: &str = "circuit_breaker";

/// Fields that say whether the rest may be believed.
const HAS: Field = field("has_position", "0/1", "0 only after an explicit, confirmed word of the exchange");
const STALE: Field = field("stale", "0/1", "1: the exchange has not confirmed this for too long, or trapline stopped");
const STALE_REASON: Field = field("stale_reason", "word", "why it is stale; empty when fresh");
const STALE_SINCE: Field = field("stale_since", "ms", "since when; 0 when fresh");

const CURRENT: &[Field] = &[
    field("symbol", "BTCUSDT_UMCBL", "primary symbol in the old spelling"),
    field("side", "long|short|none", "side with the largest notional; ties go to the last changed"),
    field("size", "base coin", "0 when flat"),
    field("entryPrice", "quote", "average entry price"),
    field("markPrice", "quote", "mark price of the same message; empty if it named none"),
    field("unrealizedPnL", "margin coin", "without leverage"),
    field("leverage", "x", ""),
    field("marginMode", "crossed|isolated", ""),
    field("updateTime", "ms", "the exchange's last change of this position"),
    field("timestamp", "ms", "when the exchange last confirmed it; freshness is measured by this"),
    HAS,
    field("holdMode", "one_way|hedge", ""),
    field("hedge", "0/1", "1: both sides are open; the per-side keys hold the whole truth"),
    field("liquidationPrice", "quote", "empty if there is none"),
    field("breakEvenPrice", "quote", "empty if unknown"),
    field("margin", "margin coin", "occupied"),
    field("pnl_percent", "%", "return on the initial margin (size x entry / leverage)"),
    field("source", "ws|rest", "what confirmed it last"),
    field("seq", "count", "accepted changes in this process"),
    field("epoch", "count", "which process wrote it"),
    STALE,
    STALE_REASON,
    STALE_SINCE,
];

const LEGACY_JSON: &[Field] = &[
    field("has_position", "bool", "false only after an explicit, confirmed word of the exchange"),
    field("symbol", "BTCUSDT_UMCBL", ""),
    field("position_side", "long|short|none", ""),
    field("direction", "LONG|SHORT|NONE", ""),
    field("entry_price", "quote", ""),
    field("current_price", "quote", "mark price; null if unknown"),
    field("position_size", "base coin", "same as size"),
    field("size", "base coin", ""),
    field("leverage", "x", ""),
    field("pnl_percent", "%", "return on the initial margin"),
    field("pnl_usd", "margin coin", "unrealised, without leverage"),
    field("pnl", "margin coin", "same as pnl_usd"),
    field("stop_loss", "quote", "null: not known here"),
    field("take_profit", "quote", "null"),
    field("take_profit_target", "quote", "null"),
    field("take_profits", "list", "empty"),
    field("entry_time", "ISO", "null: the exchange does not say"),
    field("update_time", "ms", "the exchange's last change"),
    field("timestamp", "ISO UTC", "when last confirmed"),
    field("ts_ms", "ms", "the same instant"),
    field("source", "word", "bitget-ws or bitget-rest"),
    field("stale", "0/1", ""),
    STALE_REASON,
    STALE_SINCE,
];

const SIDE_JSON: &[Field] = &[
    field("id", "text", "symbol and side"),
    field("symbol", "BTC/USDT:USDT", ""),
    field("direction", "LONG|SHORT", "the side this key is about, also when flat"),
    field("has_position", "bool", ""),
    field("status", "OPEN|FLAT", ""),
    field("entry_price", "quote", ""),
    field("entry_time", "ISO", "null"),
    field("current_price", "quote", "null if unknown"),
    field("size", "base coin", "0 when flat"),
    field("leverage", "x", ""),
    field("unrealized_pnl", "margin coin", ""),
    field("pnl_percent", "%", ""),
    field("take_profits", "list", "empty"),
    field("stop_loss", "quote", "null"),
    field("timestamp", "ISO UTC", "when last confirmed"),
    field("ts_ms", "ms", "the same instant"),
    field("stale", "0/1", ""),
    STALE_REASON,
    STALE_SINCE,
];

const SIDE_HASH: &[Field] = &[
    field("symbol", "BTCUSDT", ""),
    field("side", "long|short", ""),
    HAS,
    field("size", "base coin", "0 when flat"),
    field("available", "base coin", "not bound in closing orders"),
    field("entry_price", "quote", ""),
    field("mark_price", "quote", ""),
    field("leverage", "x", ""),
    field("unrealized_pnl", "margin coin", ""),
    field("pnl_percent", "%", "return on the initial margin"),
    field("margin", "margin coin", ""),
    field("margin_mode", "crossed|isolated", ""),
    field("hold_mode", "one_way|hedge", ""),
    field("liquidation_price", "quote", "empty if there is none"),
    field("break_even", "quote", ""),
    field("total_fee", "margin coin", "fees and funding so far"),
    field("update_time", "ms", "the exchange's last change"),
    field("timestamp", "ms", "when the exchange last confirmed it"),
    field("source", "ws|rest", ""),
    field("seq", "count", ""),
    field("epoch", "count", ""),
    STALE,
    STALE_REASON,
    STALE_SINCE,
];

const ACCOUNT: &[Field] = &[
    field("coin", "word", "margin coin, or USD for a unified account"),
    field("equity", "coin", ""),
    field("available", "coin", ""),
    field("unrealized_pnl", "coin", ""),
    field("exchange_time", "ms", ""),
    field("timestamp", "ms", "when it was received"),
    field("epoch", "count", ""),
    STALE,
    STALE_REASON,
    STALE_SINCE,
];

const TRADE: &[Field] = &[
    field("trade_id", "text", "identity of the fill"),
    field("symbol", "BTCUSDT", ""),
    field("side", "buy|sell", ""),
    field("direction", "LONG|SHORT|NET", "the side of the position it touched"),
    field("effect", "open|close|net", ""),
    field("price", "quote", ""),
    field("size", "base coin", ""),
    field("fee", "fee_coin", "positive = paid"),
    field("pnl", "margin coin", "realised, net of fee"),
    field("profile_type", "word", "strategy"),
    field("timestamp", "ISO UTC", "exchange time"),
    field("ts_ms", "ms", ""),
];

pub(super) const KEYS: &[Key] = &[
    Key::new("current_position", Shape::Hash, Class::State, BREAKER, "the position of the primary symbol")
        .fields(CURRENT)
        .expires(3_600)
        .readers(&["bots of the seed document"]),
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
            field("win_rate", "0..1", "closing fills with profit after fees; empty before the first"),
            field("total_trades", "count", "closing fills"),
            field("fills", "count", "all fills attributed"),
            field("realised", "margin coin", "net of fees"),
            field("fees", "margin coin", "paid"),
            field("capital", "margin coin", ""),
            field("timestamp", "ISO UTC", ""),
            field("emotional_state", "neutral", "constant, kept for old readers"),
            field("confidence", "0..1", "lower Wilson bound of win_rate"),
        ])
        .bound(Bound::PerName)
        .readers(&["check_redis_data"]),
];
