//! What the old programs left in a Redis, in each of their dialects.

use redis::{Connection, Pipeline};

const A: &str = r#"{"has_position":true,"position_side":"short","entry_price":84200.0,"current_price":84150.5,"position_size":0.015,"leverage":20,"pnl_percent":1.2,"pnl_usd":15.0,"stop_loss":85000,"take_profit":82000,"entry_time":"2025-03-29T18:00:00","source":"redis_simulator","timestamp":"2025-03-29T19:30:45.386000"}"#;
const C: &str = r#"{"id":"mock-1","symbol":"BTC/USDT:USDT","direction":"LONG","entry_price":84000,"entry_time":"2025-03-29T18:00:00","current_price":84100,"size":0.01,"leverage":10,"status":"OPEN","unrealized_pnl":10.0,"pnl_percent":1.2,"take_profits":[{"percentage":50,"price":85000}],"stop_loss":83000}"#;
const PROBABILITY: &str = r#"{"probability":0.42,"trap_type":"Stop Hunt","confidence":0.5,"trend":"stable","timestamp":"2025-03-29T20:30:43.120000","components":{"price_pattern":{"value":0.2,"description":"x"}}}"#;
const FIBONACCI: &str = r#"{"0.0":"83000.00","0.618":"84236.00","1.0":"85000.00"}"#;

/// Every simulation key, of the type that its writer used.
pub const SIMULATION: &[&[&str]] = &[
    &["SET", "sim_timestamp", "2025-03-29 20:09:50"],
    &["SET", "sim_last_btc_price", "84211.35"],
    &["SET", "sim_prev_btc_price", "84199.1"],
    &["SET", "sim_running", "1"],
    &["SET", "sim_start_time", "2025-03-29T20:00:00.123456"],
    &["SET", "sim_market_regime", "High Volatility Bullish"],
    &["SET", "sim_price_change_pct", "-0.42"],
    &["RPUSH", "sim_trap_history", r#"{"type":"Fake Pump","confidence":0.7}"#],
    &["SET", "sim_hf_activations", "17"],
    &["HSET", "sim_statistics", "traps", "4", "started", "now"],
    &["RPUSH", "sim_price_history:2025-03-29", "84211.35,0.01", "84212.00,0.02"],
    &["ZADD", "sim_price_history:zset", "1743276645", "84211.35"],
    &["RPUSH", "sim_ml_training_data", r#"{"x":[1,2,3],"y":0}"#],
    &["HSET", "sim_grafana_metrics:traps", "count", "4"],
    &["SADD", "test:symbols", "BTC"],
    &["RPUSH", "test:btc:history", "1", "2"],
];

/// Same names, used by somebody for something else: these stay.
pub const CONFUSING: &[&[&str]] = &[
    &["HSET", "sim_timestamp:notes", "a", "b"],
    &["SET", "simulation_plan", "buy low"],
    &["SET", "sim_grafana_metrics:owner", "please keep: this is Ann's dashboard"],
    &["XADD", "test:orders", "*", "order", "7"],
    &["HSET", "sim_price_change_pct_by_day", "monday", "1"],
];

/// Keys whose type is not the one that trapline writes there.
pub const FOREIGN: &[&str] = &[
    "current_position",
    "market_state",
    "trader:trades:aggressive",
    "trap_events",
    "mm_trap:recent_detections",
    "mm_trap:detection:4711",
];

/// The old system's Redis, without simulations.
pub fn fill(link: &mut Connection) {
    let commands: &[&[&str]] = &[
        &["SET", "current_position", A],
        &["SET", "short_trader_position", C],
        &["SET", "long_trader_position", C],
        &["SET", "last_btc_price", "82285.61"],
        &["SET", "prev_btc_price", "87418.48"],
        &["SET", "last_btc_volume", "0.00418"],
        &["SET", "last_btc_update_time", "1743276645.386"],
        &["SET", "market_regime", "trending"],
        &["SET", "market_state", r#"{"price":82285.61}"#],
        &["SET", "current_trap_probability", PROBABILITY],
        &["SET", "fibonacci_levels", FIBONACCI],
        &["HSET", "realtime_fibonacci_levels", "0.618", "84236.0", "timestamp", "1743276645"],
        &["HSET", "mm_trap:1743276645", "type", "liquidity_grab", "confidence", "0.82", "price", "82285.61"],
        &["RPUSH", "mm_trap:recent_detections", "{}"],
        &["SET", "mm_trap:detection:4711", "{}"],
        &["RPUSH", "trap_events", "{}"],
        &["HSET", "organic_move:1743276645", "type", "Organic", "confidence", "0.8"],
        &["LPUSH", "trader:positions:scalper", r#"{"id":"p1","status":"OPEN"}"#],
        &["SET", "trader:positions:scalper:1743276645.386", r#"{"id":"p1","status":"OPEN"}"#],
        &["SET", "trader:trades:aggressive", "[]"],
        &["HSET", "trader:metrics:strategic", "win_rate", "0.6", "total_trades", "12"],
        &["RPUSH", "abs_price_change_history", "324848", "0.2"],
        &["SET", "mm_trap_detector_warning_shown", "1"],
        &["SET", "news_service_health_check", "OK"],
        &["SET", "omega:shutdown_state", r#"{"shutdown_time":1743276645,"clean_shutdown":true}"#],
        &["SET", "session:42", "a web shop's"],
        &["SET", "short lived", "x", "PX", "60000"],
    ];
    let mut pipe = Pipeline::new();
    for words in commands.iter().chain(CONFUSING) {
        pipe.cmd(words[0]).arg(&words[1..]).ignore();
    }
    for i in 0..1_000 {
        pipe.cmd("LPUSH").arg("trap_probability_history").arg(PROBABILITY).ignore();
        pipe.cmd("LPUSH")
            .arg("mm_trap_queue")
            .arg(format!(r#"{{"btc_price":{}.25,"volume":7e-05}}"#, 86_258 + i % 300))
            .ignore();
        pipe.cmd("LPUSH").arg("btc_movement_history").arg(format!("{}.5", 86_600 + i)).ignore();
    }
    pipe.query::<()>(link).expect("the old data");
}

/// What simulations leave beside.
pub fn simulate(link: &mut Connection) {
    let mut pipe = Pipeline::new();
    for words in SIMULATION {
        pipe.cmd(words[0]).arg(&words[1..]).ignore();
    }
    pipe.query::<()>(link).expect("the simulation");
}

/// Many of them.
pub fn simulate_much(link: &mut Connection, count: usize) {
    for from in (0..count).step_by(5_000) {
        let mut pipe = Pipeline::new();
        for i in from..(from + 5_000).min(count) {
            pipe.cmd("SET").arg(format!("sim_price_history:{i}")).arg("84211.35,0.01").ignore();
        }
        pipe.query::<()>(link).expect("the simulation");
    }
}
