//! Traps.

use super::kind::{Field, Kind, count, field, iso, maybe, ms, number, text, words};
use super::{Bound, Class, Key, Shape};

const RECORDER: &str = "trap_recorder";

const KINDS: &[&str] = &["stop_hunt", "liquidity_grab", "fake_pump", "fake_dump", "bull_trap", "bear_trap", "pump"];
const TITLES: &[&str] = &["Stop Hunt", "Liquidity Grab", "Fake Pump", "Fake Dump", "Bull Trap", "Bear Trap", "Pump"];
const TIMEFRAMES: &[&str] = &["1min", "5min", "15min", "60min"];

const TRAP_HASH: &[Field] = &[
    text("id", "16 hex digits; the same detection has the same id"),
    words("type", KINDS, ""),
    number("confidence", "0..1", "strength of the evidence, uncalibrated"),
    maybe("probability", "0..1", "calibrated; empty where the detector has none"),
    number("price", "quote", "when it was known"),
    number("level", "quote", "what was swept"),
    number("extreme", "quote", ""),
    number("change", "fraction", "excursion against the level, signed"),
    number("price_change", "fraction", "the same"),
    number("volume", "base coin", "from start to detection"),
    iso("timestamp", "when it was known"),
    ms("ts_ms", "the same instant"),
    ms("started_ms", ""),
    text("symbol", "BTCUSDT"),
    words("timeframe", TIMEFRAMES, "the shortest that holds the move"),
    count("detector_version", ""),
    field("evidence", Kind::Map(&Kind::MaybeNumber), "", "JSON text: named inputs and thresholds"),
];

const TRAP_JSON: &[Field] = &[
    text("id", "16 hex digits"),
    text("symbol", "BTCUSDT"),
    words("type", TITLES, "as old readers map it"),
    words("timeframe", TIMEFRAMES, ""),
    number("confidence", "0..1", ""),
    number("price_change", "fraction", ""),
    number("price", "quote", ""),
    number("volume", "base coin", ""),
    field("timestamp", Kind::Seconds, "", "a number, with fraction"),
    iso("time", "the same instant"),
];

const COMPONENT: &[Field] = &[number("value", "0..1", ""), text("description", "")];

const PROBABILITY: &[Field] = &[
    number("probability", "0..1", ""),
    field("trap_type", Kind::MaybeText, "", "the newest trap of the last quarter of an hour, Title Case; null if none"),
    maybe("confidence", "0..1", "of that trap; null if none"),
    words(
        "trend",
        &[
            "stable",
            "slightly_increasing",
            "slightly_decreasing",
            "increasing",
            "decreasing",
            "rapidly_increasing",
            "rapidly_decreasing",
        ],
        "",
    ),
    number("change", "0..1", "since the entry before"),
    field("timestamp", Kind::NaiveIso, "", "old readers compare it with a naive 'now': run them with TZ=UTC"),
    ms("ts_ms", "the same instant"),
    field("components", Kind::Map(&Kind::Object(COMPONENT)), "", "what it is made of"),
];

const HIGH: &[Field] = &[
    words("type", KINDS, ""),
    number("confidence", "0..1", ""),
    text("time_ago", "e.g. 3 minutes ago"),
    words("timeframe", &["5min", "15min"], ""),
    text("id", "16 hex digits"),
];

const ANALYSIS: &[Field] = &[
    count("total_count", "in 30 days"),
    field("trap_types", Kind::Map(&Kind::Count), "", "type → how many"),
    field("dominant_type", Kind::MaybeText, "", "null before the first"),
    number("avg_confidence", "0..1", ""),
    count("high_confidence_count", "above 0.7"),
    field("hour_distribution", Kind::Map(&Kind::Count), "", "hour of the day, UTC → how many"),
    field("day_distribution", Kind::Map(&Kind::Count), "", "weekday → how many"),
    field("recent_high_conf_traps", Kind::List(&Kind::Object(HIGH)), "", "up to five, newest first"),
    iso("timestamp", ""),
];

const PERFORMANCE: &[Field] = &[
    maybe("bear_trap_winrate", "%", "null while n is below n_min"),
    maybe("bull_trap_winrate", "%", "null while n is below n_min"),
    maybe("liquidity_grab_winrate", "%", "null while n is below n_min"),
    maybe("stop_hunt_winrate", "%", "null while n is below n_min"),
    maybe("avg_trade_pnl", "%", "null while n is below n_min"),
    count("n", "outcomes measured"),
    count("n_min", "outcomes needed before anything is claimed"),
    iso("timestamp", ""),
];

const DASHBOARD: &[Field] = &[
    field("analysis", Kind::Object(ANALYSIS), "", "as dashboard:trap_analysis:data"),
    field("performance", Kind::Object(PERFORMANCE), "", "as dashboard:trap_analysis:performance"),
    iso("timestamp", ""),
];

pub(super) const KEYS: &[Key] = &[
    Key::new("trap_events", Shape::Zset, Class::Event, RECORDER, "every trap; score = ms when it was known")
        .fields(&[
            words("type", KINDS, ""),
            number("probability", "0..1", "calibrated, else the confidence"),
            number("price", "quote", ""),
            number("volume", "base coin", ""),
            text("id", "16 hex digits; keeps equal traps apart"),
            text("symbol", "BTCUSDT"),
            ms("ts", "same as the score"),
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
    .fields(DASHBOARD)
    .readers(&["trap dashboards"]),
    Key::new("dashboard:trap_analysis:data", Shape::Json, Class::State, RECORDER, "counts and shares of traps")
        .fields(ANALYSIS)
        .readers(&["trap_dashboard_demo", "dashboard_integration"]),
    Key::new(
        "dashboard:trap_analysis:performance",
        Shape::Json,
        Class::State,
        RECORDER,
        "measured outcomes; null with n where fewer than 30 are known",
    )
    .fields(PERFORMANCE)
    .readers(&["trap_dashboard_demo", "dashboard_integration"]),
    Key::new("current_trap_probability", Shape::Json, Class::State, RECORDER, "probability now, with components")
        .fields(PROBABILITY)
        .readers(&["reggae_dashboard_server", "trap_probability_utils", "enhanced_exit_strategy", "live-dashboard"]),
    Key::new(
        "trap_probability_history",
        Shape::List,
        Class::Window,
        RECORDER,
        "as current_trap_probability, newest first",
    )
    .fields(PROBABILITY)
    .bound(Bound::Items(1_000))
    .readers(&["trap_probability_utils"]),
    Key::new("trap_detections", Shape::Json, Class::Window, RECORDER, "the newest 100 traps")
        .value(Kind::List(&Kind::Object(TRAP_JSON)), "")
        .readers(&["reggae_dashboard_server"])
        .later(),
    Key::new("hf_trap_mode_active", Shape::Text, Class::State, RECORDER, "1 while traps cluster")
        .value(Kind::Flag, "")
        .readers(&["redis_monitor"]),
    Key::new("hf_trap_mode_multiplier", Shape::Text, Class::State, RECORDER, "between 0.5 and 1; 1 when off")
        .value(Kind::Number, "x")
        .readers(&["bots of the seed document"]),
    Key::new("hf_trap_mode_timestamp", Shape::Text, Class::State, RECORDER, "when the two were last confirmed")
        .value(Kind::Iso, ""),
    Key::new("high_frequency_mode", Shape::Text, Class::State, RECORDER, "the same as hf_trap_mode_active")
        .value(Kind::Flag, "")
        .readers(&["mm_trap_detector"]),
];
