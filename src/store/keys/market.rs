//! Market, organic share, Fibonacci, Schumann.

use super::kind::{Field, Kind, count, field, flag, iso, maybe, ms, number, text, words};
use super::{Bound, Class, Key, Shape};

const ANALYST: &str = "analyst";
const BREAKER: &str = "circuit_breaker";
const RESONANCE: &str = "resonance";
const WRITER: &str = "redis_writer";

const REGIMES: &[&str] = &["trending", "volatile", "normal", "unknown"];

const MARKET: &[Field] = &[
    text("symbol", "BTCUSDT; in market_state BTCUSDT_UMCBL"),
    number("price", "quote", "last traded price"),
    number("volume", "base coin", "traded in the running minute; 0 is a valid, idle minute"),
    words("regime", REGIMES, ""),
    ms("timestamp", "when trapline received the message behind this value"),
    ms("exchange_time", "the exchange's time of that message"),
    maybe("bid", "quote", "empty if unknown"),
    maybe("bid_size", "base coin", ""),
    maybe("ask", "quote", ""),
    maybe("ask_size", "base coin", ""),
    maybe("mark", "quote", ""),
    maybe("index", "quote", ""),
    maybe("funding_rate", "fraction", "per funding interval"),
    maybe("open_interest", "base coin", ""),
    maybe("previous_price", "quote", "the last price that differed"),
    maybe("last_size", "base coin", "size of the last trade"),
    count("seq", "accepted reports of this symbol in this process"),
    count("epoch", "which process wrote it"),
    flag("stale", "1: nothing came for too long, or trapline stopped"),
    text("stale_reason", "a word; empty when fresh"),
    ms("stale_since", "0 when fresh"),
];

const PRICE_MESSAGE: &[Field] = &[
    number("price", "quote", "last traded price"),
    iso("timestamp", "when it was received"),
    number("volume", "base coin", "size of the last trade; 0 where it is not known"),
];

const BAR: &[Field] = &[
    number("price", "quote", "same as close"),
    number("open", "quote", ""),
    number("high", "quote", ""),
    number("low", "quote", ""),
    number("close", "quote", ""),
    number("volume", "base coin", ""),
    count("trades", ""),
    number("buy_volume", "base coin", "taker buys"),
    number("sell_volume", "base coin", "taker sells"),
    iso("timestamp", "start of the bar"),
    ms("ts_ms", ""),
];

const CONFLUENCE: &[Field] = &[
    text("level", "ratios that meet, e.g. 0.618/0.5"),
    number("price", "quote", ""),
    field("timeframes", Kind::List(&Kind::Text), "", ""),
    count("strength", "how many meet"),
];

const MOVE: &[Field] = &[
    words("type", &["Organic"], ""),
    number("confidence", "0..1", ""),
    number("price", "quote", ""),
    number("change", "fraction", ""),
    iso("timestamp", ""),
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
    Key::new("last_btc_price", Shape::Text, Class::State, BREAKER, "last traded price of the primary symbol")
        .value(Kind::Number, "quote")
        .readers(&["about forty old programs"]),
    Key::new("prev_btc_price", Shape::Text, Class::State, BREAKER, "the last price that differed")
        .value(Kind::Number, "quote"),
    Key::new("last_btc_volume", Shape::Text, Class::State, BREAKER, "size of the last trade")
        .value(Kind::Number, "base coin"),
    Key::new("last_btc_update_time", Shape::Text, Class::State, BREAKER, "when last_btc_price was received")
        .value(Kind::Seconds, "")
        .readers(&["health_check", "check_redis_data"]),
    Key::new("btc_price", Shape::Channel, Class::Metric, WRITER, "prices of the primary symbol, at most one a second")
        .fields(PRICE_MESSAGE)
        .readers(&["subscribers of the old live feed"]),
    Key::new("market_regime", Shape::Text, Class::State, ANALYST, "what kind of market it is")
        .value(Kind::Words(REGIMES), "")
        .readers(&["market_trends_monitor", "live-dashboard"]),
    Key::new(
        "current_market_regime",
        Shape::Text,
        Class::State,
        ANALYST,
        "the same; ranging for volatile, as old readers say",
    )
    .value(Kind::Words(&["trending", "ranging", "normal", "unknown"]), "")
    .readers(&["trading_analyzer", "telegram_market_report"]),
    Key::new(
        "btc_market_regime",
        Shape::Json,
        Class::State,
        ANALYST,
        "regime in the words of the trap probability meter",
    )
    .fields(&[words(
        "regime",
        &["high_volatility", "accumulation", "distribution", "bullish_trend", "bearish_trend", "sideways"],
        "",
    )])
    .readers(&["trap_probability_meter"])
    .later(),
    Key::new("trapline:{SYMBOL}:market_regime", Shape::Text, Class::State, ANALYST, "regime of a symbol")
        .value(Kind::Words(REGIMES), "")
        .bound(Bound::PerSymbol),
    Key::new(
        "btc_price_patterns",
        Shape::Json,
        Class::State,
        ANALYST,
        "pattern → score 0..1; absent detectors are left out",
    )
    .value(Kind::Map(&Kind::Number), "0..1")
    .readers(&["reggae_dashboard_server", "live-dashboard"])
    .later(),
    Key::new("btc_price_changes", Shape::Json, Class::State, ANALYST, "changes over three spans")
        .fields(&[
            maybe("short_term", "%", "5 minutes"),
            maybe("medium_term", "%", "1 hour"),
            maybe("long_term", "%", "24 hours"),
        ])
        .later(),
    Key::new("btc_volume_history", Shape::List, Class::Window, ANALYST, "volume per closed minute, newest last")
        .value(Kind::Number, "base coin")
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
    Key::new(
        "latest_volume_metrics",
        Shape::Hash,
        Class::State,
        ANALYST,
        "volume of the running window against the usual",
    )
    .fields(&[
        number("current_volume", "base coin", ""),
        number("avg_volume", "base coin", ""),
        number("volume_z_score", "sigma", ""),
        iso("timestamp", ""),
    ])
    .later(),
    Key::new("fibonacci_levels", Shape::Json, Class::State, ANALYST, "ratio → price, both as text with two decimals")
        .value(Kind::Map(&Kind::Text), "quote")
        .later(),
    Key::new("fibonacci_high", Shape::Text, Class::State, ANALYST, "upper end of the range")
        .value(Kind::Number, "quote")
        .later(),
    Key::new("fibonacci_low", Shape::Text, Class::State, ANALYST, "lower end of the range")
        .value(Kind::Number, "quote")
        .later(),
    Key::new("fibonacci_update_time", Shape::Text, Class::State, ANALYST, "when the range was taken")
        .value(Kind::Seconds, "")
        .later(),
    Key::new("realtime_fibonacci_levels", Shape::Hash, Class::State, ANALYST, "ratio → price, and timestamp")
        .value(Kind::Map(&Kind::Text), "quote")
        .readers(&["trading_analyzer"])
        .later(),
    Key::new("current_fibonacci_levels", Shape::Hash, Class::State, ANALYST, "ratio → price, and timestamp")
        .value(Kind::Map(&Kind::Text), "quote")
        .readers(&["telegram_market_report"])
        .later(),
    Key::new("latest_fibonacci_confluence", Shape::Json, Class::State, ANALYST, "up to 20 levels by strength")
        .value(Kind::List(&Kind::Object(CONFLUENCE)), "")
        .later(),
    Key::new(
        "organic_move:{EPOCH_S}:{SYMBOL}:{SEQ}",
        Shape::Hash,
        Class::Event,
        ANALYST,
        "a move with no sign of a trap",
    )
    .fields(MOVE)
    .bound(Bound::Expiring)
    .expires(86_400)
    .later(),
    Key::new(
        "latest_organic_analysis",
        Shape::Json,
        Class::State,
        ANALYST,
        "how much of the movement bears no sign of a trap",
    )
    .fields(&[
        words("state", &["organic", "suspect", "insufficient"], ""),
        maybe("organic_pct_1h", "%", ""),
        count("n", "moves counted"),
        text("reason", ""),
        iso("timestamp", ""),
    ])
    .later(),
    Key::new("schumann_resonance", Shape::Text, Class::State, RESONANCE, "value of the source; absent without one")
        .value(Kind::Number, "Hz")
        .later(),
    Key::new("schumann_is_fallback", Shape::Text, Class::State, RESONANCE, "1 unless a real source is configured")
        .value(Kind::Flag, "")
        .later(),
    Key::new("schumann_timestamp", Shape::Text, Class::State, RESONANCE, "when it was read")
        .value(Kind::Seconds, "")
        .later(),
    Key::new("schumann_history", Shape::List, Class::Window, RESONANCE, "\"epoch:value\", newest last")
        .bound(Bound::Items(1_000))
        .later(),
    Key::new("schumann_spike:{EPOCH_S}", Shape::Hash, Class::Event, RESONANCE, "a value of eight or more")
        .fields(&[number("value", "Hz", ""), words("intensity", &["HIGH", "EXTREME"], ""), iso("timestamp", "")])
        .bound(Bound::Expiring)
        .expires(604_800)
        .later(),
];
