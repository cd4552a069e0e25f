//! Traps.

use super::{Bound, Class, Field, Key, Shape, field};

const RECORDER: &str = "trap_recorder";

const TRAP_HASH: &[Field] = &[
    field("id", "16 hex digits", "the same detection has the same id"),
    field("type", "word", "stop_hunt, liquidity_grab, fake_pump, fake_dump, bull_trap, bear_trap, pump"),
    field("confidence", "0..1", "strength of the evidence, uncalibrated"),
    field("probability", "0..1", "calibrated; empty where the detector has none"),
    field("price", "quote", "when it was known"),
    field("level", "quote", "what was swept"),
    field("extreme", "quote", ""),
    field("change", "fraction", "excursion against the level, signed"),
    field("price_change", "fraction", "the same"),
    field("volume", "base coin", "from start to detection"),
    field("timestamp", "ISO UTC", "when it was known"),
    field("ts_ms", "ms", ""),
    field("started_ms", "ms", ""),
    field("symbol", "BTCUSDT", ""),
    field("timeframe", "1min|5min|15min|60min", "the shortest that holds the move"),
    field("detector_version", "count", ""),
    field("evidence", "JSON", "named inputs and thresholds"),
];

const TRAP_JSON: &[Field] = &[
    field("id", "16 hex digits", ""),
    field("symbol", "BTCUSDT", ""),
    field("type", "Title Case", "as old readers map it"),
    field("timeframe", "1min|5min|15min|60min", ""),
    field("confidence", "0..1", ""),
    field("price_change", "fraction", ""),
    field("price", "quote", ""),
    field("volume", "base coin", ""),
    field("timestamp", "epoch s", "number with fraction"),
    field("time", "ISO UTC", "the same instant"),
];

pub(super) const KEYS: &[Key] = &[
    Key::new("trap_events", Shape::Zset, Class::Event, RECORDER, "every trap; score = ms when it was known")
        .fields(&[
            field("type", "word", ""),
            field("probability", "0..1", "calibrated, else the confidence"),
            field("price", "quote", ""),
            field("volume", "base coin", ""),
            field("id", "16 hex digits", "keeps equal traps apart"),
            field("symbol", "BTCUSDT", ""),
            field("ts", "ms", ""),
        ])
        .bound(Bound::ItemsAndAge { items: 10_000, age_s: 2_592_000 })
        .readers(&["bots of the seed document"]),
    Key::new("mm_trap:{EPOCH_S}:{SYMBOL}:{SEQ}", Shape::Hash, Class::Event, RECORDER, "one trap")
        .fields(TRAP_HASH)
        .bound(Bound::Expiring)
        .expires(604_800)
        .readers(&["redis_trap_monitor", "telegram_market_report"]),
    Key::new("latest_mm_trap", Shape::Json, Class::Event, RECORDER, "the newest trap")
        .fields(TRAP_JSON)
        .readers(&["trading_analyzer", "btc_futures_trader"]),
    Key::new("recent_mm_traps", Shape::List, Class::Event, RECORDER, "as latest_mm_trap, newest first")
        .fields(TRAP_JSON)
        .bound(Bound::Items(50))
        .readers(&["trap_probability_meter", "database"]),
    Key::new(
        "mm_trap_detections:5min",
        Shape::List,
        Class::Event,
        RECORDER,
        "traps whose move fits five minutes, newest first",
    )
    .fields(TRAP_JSON)
    .bound(Bound::Items(1_000))
    .readers(&["redis_mapping"]),
    Key::new(
        "dashboard:trap_analysis",
        Shape::Json,
        Class::State,
        RECORDER,
        "counts and shares of traps, and outcomes",
    )
    .readers(&["trap dashboards"]),
    Key::new("dashboard:trap_analysis:data", Shape::Json, Class::State, RECORDER, "counts and shares of traps")
        .readers(&["trap_dashboard_demo", "dashboard_integration"]),
    Key::new(
        "dashboard:trap_analysis:performance",
        Shape::Json,
        Class::State,
        RECORDER,
        "measured outcomes; null with n where fewer than 30 are known",
    )
    .readers(&["trap_dashboard_demo", "dashboard_integration"]),
    Key::new("current_trap_probability", Shape::Json, Class::State, RECORDER, "probability now, with components")
        .fields(&[
            field("probability", "0..1", ""),
            field("trap_type", "word", "null if none"),
            field("confidence", "0..1", ""),
            field("trend", "word", "stable, (slightly_|rapidly_)increasing or decreasing"),
            field("change", "0..1", ""),
            field("timestamp", "naive ISO, UTC", "old readers compare it with naive now: run them with TZ=UTC"),
            field("ts_ms", "ms", ""),
            field("components", "object", "name → {value, description}"),
        ])
        .readers(&["reggae_dashboard_server", "trap_probability_utils", "enhanced_exit_strategy", "live-dashboard"]),
    Key::new(
        "trap_probability_history",
        Shape::List,
        Class::Window,
        RECORDER,
        "as current_trap_probability, newest first",
    )
    .bound(Bound::Items(1_000))
    .readers(&["trap_probability_utils"]),
    Key::new("trap_detections", Shape::Json, Class::Window, RECORDER, "array of the newest 100 traps")
        .readers(&["reggae_dashboard_server"])
        .later(),
    Key::new("hf_trap_mode_active", Shape::Text, Class::State, RECORDER, "1 while traps cluster")
        .readers(&["redis_monitor"]),
    Key::new("hf_trap_mode_multiplier", Shape::Text, Class::State, RECORDER, "0.5..1; 1.0 when off")
        .readers(&["bots of the seed document"]),
    Key::new("hf_trap_mode_timestamp", Shape::Text, Class::State, RECORDER, "ISO UTC of the last change"),
    Key::new("high_frequency_mode", Shape::Text, Class::State, RECORDER, "the same as hf_trap_mode_active")
        .readers(&["mm_trap_detector"]),
];
