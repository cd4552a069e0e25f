//! Market, organic share, Fibonacci, Schumann.

use super::{Bound, Class, Field, Key, Shape, field};

const ANALYST: &str = "analyst";
const BREAKER: &str = "circuit_breaker";
const RESONANCE: &str = "resonance";

const MARKET: &[Field] = &[
    field("symbol", "BTCUSDT", "in market_state: BTCUSDT_UMCBL"),
    field("price", "quote", "last traded price"),
    field("volume", "base coin", "traded in the running minute; 0 is a valid, idle minute"),
    field("regime", "trending|volatile|normal|unknown", ""),
    field("timestamp", "ms", "when trapline received the message behind this value"),
    field("exchange_time", "ms", "the exchange's time of that message"),
    field("bid", "quote", "empty if unknown"),
    field("bid_size", "base coin", ""),
    field("ask", "quote", ""),
    field("ask_size", "base coin", ""),
    field("mark", "quote", ""),
    field("index", "quote", ""),
    field("funding_rate", "fraction", "per funding interval"),
    field("open_interest", "base coin", ""),
    field("previous_price", "quote", "the last price that differed"),
    field("last_size", "base coin", "size of the last trade"),
    field("seq", "count", "accepted reports of this symbol in this process"),
    field("epoch", "count", "which process wrote it"),
    field("stale", "0/1", ""),
    field("stale_reason", "word", ""),
    field("stale_since", "ms", ""),
];

const BAR: &[Field] = &[
    field("price", "quote", "same as close"),
    field("open", "quote", ""),
    field("high", "quote", ""),
    field("low", "quote", ""),
    field("close", "quote", ""),
    field("volume", "base coin", ""),
    field("trades", "count", ""),
    field("buy_volume", "base coin", "taker buys"),
    field("sell_volume", "base coin", "taker sells"),
    field("timestamp", "ISO UTC", "start of the bar"),
    field("ts_ms", "ms", ""),
];

const fn movements(name: &'static str) -> Key {
    Key::new(name, Shape::List, Class::Window, ANALYST, "closed bars of this length, newest first")
        .fields(BAR)
        .bound(Bound::Items(100))
        .readers(&["update_fibonacci_levels", "check_redis_data"])
        .later()
}

pub(super) const KEYS: &[Key] = &[
    Key::new("market_state", Shape::Hash, Class::State, BREAKER, "the market of the primary symbol")
        .fields(MARKET)
        .readers(&["bots of the seed document"]),
    Key::new("trapline:{SYMBOL}:market_state", Shape::Hash, Class::State, BREAKER, "the market of a symbol")
        .fields(MARKET)
        .bound(Bound::PerSymbol),
    Key::new("last_btc_price", Shape::Text, Class::State, BREAKER, "last traded price of the primary symbol, quote")
        .readers(&["about forty old programs"]),
    Key::new("prev_btc_price", Shape::Text, Class::State, BREAKER, "the last price that differed, quote"),
    Key::new("last_btc_volume", Shape::Text, Class::State, BREAKER, "size of the last trade, base coin"),
    Key::new(
        "last_btc_update_time",
        Shape::Text,
        Class::State,
        BREAKER,
        "epoch seconds with fraction, of last_btc_price",
    )
    .readers(&["health_check", "check_redis_data"]),
    Key::new("btc_price", Shape::Channel, Class::Metric, BREAKER, "published {price, timestamp, volume}, throttled")
        .later(),
    Key::new("market_regime", Shape::Text, Class::State, ANALYST, "trending, volatile, normal or unknown")
        .readers(&["market_trends_monitor", "live-dashboard"]),
    Key::new("current_market_regime", Shape::Text, Class::State, ANALYST, "the same; ranging where old readers say so")
        .readers(&["trading_analyzer", "telegram_market_report"]),
    Key::new(
        "btc_market_regime",
        Shape::Json,
        Class::State,
        ANALYST,
        "regime in the words of the trap probability meter",
    )
    .readers(&["trap_probability_meter"])
    .later(),
    Key::new("trapline:{SYMBOL}:market_regime", Shape::Text, Class::State, ANALYST, "regime of a symbol")
        .bound(Bound::PerSymbol),
    Key::new(
        "btc_price_patterns",
        Shape::Json,
        Class::State,
        ANALYST,
        "pattern → score 0..1; absent detectors are left out",
    )
    .readers(&["reggae_dashboard_server", "live-dashboard"])
    .later(),
    Key::new(
        "btc_price_changes",
        Shape::Json,
        Class::State,
        ANALYST,
        "short (5 min), medium (1 h), long term (24 h), %",
    )
    .later(),
    Key::new("btc_volume_history", Shape::List, Class::Window, ANALYST, "volume per closed minute, newest last")
        .bound(Bound::Items(1_000))
        .readers(&["trap_probability_meter"])
        .later(),
    Key::new(
        "btc_movement_history",
        Shape::List,
        Class::Window,
        ANALYST,
        "\"price,volume\" per closed minute, newest first",
    )
    .bound(Bound::Items(1_000))
    .later(),
    movements("btc_movements_1min"),
    movements("btc_movements_5min"),
    movements("btc_movements_15min"),
    movements("btc_movements_60min"),
    Key::new("latest_volume_metrics", Shape::Hash, Class::State, ANALYST, "current and average volume, z score")
        .later(),
    Key::new("fibonacci_levels", Shape::Json, Class::State, ANALYST, "ratio → price, both as text with two decimals")
        .later(),
    Key::new("fibonacci_high", Shape::Text, Class::State, ANALYST, "upper end of the range, quote").later(),
    Key::new("fibonacci_low", Shape::Text, Class::State, ANALYST, "lower end of the range, quote").later(),
    Key::new("fibonacci_update_time", Shape::Text, Class::State, ANALYST, "epoch seconds").later(),
    Key::new("realtime_fibonacci_levels", Shape::Hash, Class::State, ANALYST, "ratio → price, and timestamp")
        .readers(&["trading_analyzer"])
        .later(),
    Key::new("current_fibonacci_levels", Shape::Hash, Class::State, ANALYST, "ratio → price, and timestamp")
        .readers(&["telegram_market_report"])
        .later(),
    Key::new("latest_fibonacci_confluence", Shape::Json, Class::State, ANALYST, "up to 20 levels by strength").later(),
    Key::new(
        "organic_move:{EPOCH_S}:{SYMBOL}:{SEQ}",
        Shape::Hash,
        Class::Event,
        ANALYST,
        "a move with no sign of a trap",
    )
    .bound(Bound::Expiring)
    .expires(86_400)
    .later(),
    Key::new(
        "latest_organic_analysis",
        Shape::Json,
        Class::State,
        ANALYST,
        "organic, suspect or insufficient, and the share",
    )
    .later(),
    Key::new("schumann_resonance", Shape::Text, Class::State, RESONANCE, "value of the source; absent without one")
        .later(),
    Key::new("schumann_is_fallback", Shape::Text, Class::State, RESONANCE, "1 unless a real source is configured")
        .later(),
    Key::new("schumann_timestamp", Shape::Text, Class::State, RESONANCE, "epoch seconds").later(),
    Key::new("schumann_history", Shape::List, Class::Window, RESONANCE, "\"epoch:value\", newest last")
        .bound(Bound::Items(1_000))
        .later(),
    Key::new("schumann_spike:{EPOCH_S}", Shape::Hash, Class::Event, RESONANCE, "value, intensity, timestamp")
        .bound(Bound::Expiring)
        .expires(604_800)
        .later(),
];
