//! What traps and strategies add up to, as keys: the dashboard, the probability, the high-frequency mode, the
//! figures of a strategy.

use super::json::{Object, push_quoted};
use super::stamp::{iso, naive_iso};
use super::state::{TextRefused, TextState, TextValue};
use crate::domain::ledger::Metrics;
use crate::domain::picture::TrapPicture;
use crate::domain::trap::summary::Analysis;

/// Outcomes are published once this many are known; fewer say nothing.
pub const OUTCOMES_MIN: usize = 30;

/// The words of old readers for how the probability moves.
pub fn trend(change: f64) -> &'static str {
    match (change.abs(), change >= 0.0) {
        (size, _) if size < 0.01 => "stable",
        (size, true) if size < 0.05 => "slightly_increasing",
        (size, false) if size < 0.05 => "slightly_decreasing",
        (size, true) if size < 0.15 => "increasing",
        (size, false) if size < 0.15 => "decreasing",
        (_, true) => "rapidly_increasing",
        (_, false) => "rapidly_decreasing",
    }
}

/// `current_trap_probability`, also the entries of `trap_probability_history`.
pub fn probability(p: &TrapPicture) -> String {
    let mut components = Object::new();
    for (name, value, description) in p.probability.components() {
        components = components.raw(name, &Object::new().float("value", value).text("description", description).end());
    }
    let object = Object::new().float("probability", p.probability.value);
    let object = match &p.newest {
        Some(trap) => object.text("trap_type", &title_case(trap.kind.label())).float("confidence", trap.confidence),
        None => object.null("trap_type").null("confidence"),
    };
    object
        .text("trend", trend(p.probability_change))
        .float("change", p.probability_change)
        .text("timestamp", &naive_iso(p.at_ms))
        .int("ts_ms", p.at_ms)
        .raw("components", &components.end())
        .end()
}

/// `stop_hunt` → `Stop Hunt`.
fn title_case(label: &str) -> String {
    let word = |w: &str| {
        let mut letters = w.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    };
    label.split('_').map(word).collect::<Vec<_>>().join(" ")
}

fn counted(pairs: impl Iterator<Item = (String, usize)>) -> String {
    pairs.filter(|(_, n)| *n > 0).fold(Object::new(), |o, (name, n)| o.int(&name, n as i64)).end()
}

fn analysis(a: &Analysis, at_ms: i64, exchange_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let recent: Vec<String> = a
        .recent_high
        .iter()
        .map(|trap| {
            let minutes = (exchange_ms - trap.detected_ms).max(0) / 60_000;
            Object::new()
                .text("type", trap.kind.label())
                .float("confidence", trap.confidence)
                .text("time_ago", &format!("{minutes} minutes ago"))
                .text("timeframe", if trap.span_ms <= 300_000 { "5min" } else { "15min" })
                .text("id", &trap.id)
                .end()
        })
        .collect();
    let object = Object::new()
        .int("total_count", a.total as i64)
        .raw("trap_types", &counted(a.by_kind.iter().map(|(kind, n)| (kind.label().to_owned(), *n))));
    let object = match a.dominant {
        Some(kind) => object.text("dominant_type", kind.label()),
        None => object.null("dominant_type"),
    };
    object
        .float("avg_confidence", a.average_confidence)
        .int("high_confidence_count", a.high_confidence as i64)
        .raw("hour_distribution", &counted(a.by_hour.iter().enumerate().map(|(h, n)| (h.to_string(), *n))))
        .raw("day_distribution", &counted(a.by_weekday.iter().enumerate().map(|(d, n)| (DAYS[d].to_owned(), *n))))
        .raw("recent_high_conf_traps", &format!("[{}]", recent.join(",")))
        .text("timestamp", &iso(at_ms))
        .end()
}

/// No outcome has been measured yet: old readers show constants here, we say that we do not know.
fn performance(at_ms: i64) -> String {
    let mut object = Object::new();
    for name in ["bear_trap", "bull_trap", "liquidity_grab", "stop_hunt"] {
        object = object.null(&format!("{name}_winrate"));
    }
    object.null("avg_trade_pnl").int("n", 0).int("n_min", OUTCOMES_MIN as i64).text("timestamp", &iso(at_ms)).end()
}

/// The keys of the primary symbol. `history`: entries of `trap_probability_history`, newest first, when it is due.
///
/// # Errors
/// Only if a key is missing from the key table: a bug.
pub fn traps(p: &TrapPicture, history: Option<Vec<String>>) -> Result<Vec<TextState>, TextRefused> {
    let whole = |name: &str, value: String| TextState::new(name, TextValue::Whole(value));
    let (data, outcomes) = (analysis(&p.analysis, p.at_ms, p.exchange_ms), performance(p.at_ms));
    let mut dashboard = String::from("{\"analysis\":");
    dashboard.push_str(&data);
    dashboard.push_str(",\"performance\":");
    dashboard.push_str(&outcomes);
    dashboard.push_str(",\"timestamp\":");
    push_quoted(&mut dashboard, &iso(p.at_ms));
    dashboard.push('}');
    let active = if p.high_frequency { "1" } else { "0" };
    let mut keys = vec![
        whole("dashboard:trap_analysis", dashboard)?,
        whole("dashboard:trap_analysis:data", data)?,
        whole("dashboard:trap_analysis:performance", outcomes)?,
        whole("current_trap_probability", probability(p))?,
        whole("hf_trap_mode_active", active.to_owned())?,
        whole("high_frequency_mode", active.to_owned())?,
        whole("hf_trap_mode_multiplier", super::json::float(p.multiplier))?,
        whole("hf_trap_mode_timestamp", iso(p.at_ms))?,
    ];
    if let Some(items) = history {
        keys.push(TextState::new("trap_probability_history", TextValue::Items(items))?);
    }
    Ok(keys)
}

/// `trader:metrics:{STRATEGY}`.
///
/// # Errors
/// Only if the key is missing from the key table: a bug.
pub fn strategy(name: &str, m: &Metrics, at_ms: i64) -> Result<TextState, TextRefused> {
    let fields = [
        ("win_rate", m.win_rate().map_or(String::new(), |rate| rate.normalize().to_string())),
        ("total_trades", m.total_trades.to_string()),
        ("fills", m.fills.to_string()),
        ("realised", m.realised.normalize().to_string()),
        ("fees", m.fees.normalize().to_string()),
        ("capital", String::new()),
        ("timestamp", iso(at_ms)),
        // A constant: old readers want the field, and a program has no mood.
        ("emotional_state", "neutral".to_owned()),
        ("confidence", super::json::float(m.confidence())),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value)).to_vec();
    TextState::new(format!("trader:metrics:{name}"), TextValue::Fields(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::symbol::SymbolId;
    use crate::domain::trap::TrapKind;
    use crate::domain::trap::summary::{Brief, TrapSummary};

    fn picture() -> TrapPicture {
        let mut summary = TrapSummary::default();
        let analysis = summary.analysis(1_723_075_200_000);
        TrapPicture {
            symbol: SymbolId(0),
            analysis,
            probability: summary.probability(1_723_075_200_000, 0.5),
            probability_change: 0.02,
            newest: None,
            high_frequency: false,
            multiplier: 1.0,
            at_ms: 1_723_075_200_000,
            exchange_ms: 1_723_075_200_000,
        }
    }

    fn value_of(keys: &[TextState], name: &str) -> serde_json::Value {
        let key = keys.iter().find(|k| k.name == name).expect("key");
        let TextValue::Whole(text) = &key.value else { panic!("{name} is no text") };
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn a_quiet_market_says_so_and_claims_no_outcome() {
        let keys = traps(&picture(), Some(vec!["{}".to_owned()])).expect("in the table");
        assert_eq!(keys.len(), 9);
        let dashboard = value_of(&keys, "dashboard:trap_analysis");
        assert_eq!(dashboard["analysis"]["total_count"], 0);
        assert_eq!(dashboard["performance"]["bear_trap_winrate"], serde_json::Value::Null);
        let now = value_of(&keys, "current_trap_probability");
        assert_eq!(now["probability"], 0.3);
        assert_eq!(
            (now["trend"].as_str(), now["timestamp"].as_str()),
            (Some("slightly_increasing"), Some("2024-08-08T00:00:00.000"))
        );
        assert_eq!(now["trap_type"], serde_json::Value::Null);
        assert_eq!(value_of(&keys, "hf_trap_mode_multiplier"), 1);
    }

    #[test]
    fn the_newest_trap_speaks_as_old_readers_expect() {
        let mut p = picture();
        p.newest = Some(Brief {
            id: "00ff".into(),
            kind: TrapKind::StopHunt,
            detected_ms: p.at_ms,
            confidence: 0.75,
            span_ms: 1_000,
            change: 0.01,
        });
        let json: serde_json::Value = serde_json::from_str(&probability(&p)).expect("JSON");
        assert_eq!((json["trap_type"].as_str(), json["confidence"].as_f64()), (Some("Stop Hunt"), Some(0.75)));
    }

    #[test]
    fn trends_on_both_sides_of_each_limit() {
        let cases = [
            (0.009, "stable"),
            (-0.009, "stable"),
            (0.01, "slightly_increasing"),
            (-0.049, "slightly_decreasing"),
            (0.05, "increasing"),
            (-0.149, "decreasing"),
            (0.15, "rapidly_increasing"),
            (-0.15, "rapidly_decreasing"),
        ];
        for (change, expected) in cases {
            assert_eq!(trend(change), expected, "case: {change}");
        }
    }

    #[test]
    fn a_strategy_without_closed_trades_has_no_win_rate() {
        let state = strategy("scalper", &Metrics::default(), 0).expect("in the table");
        let TextValue::Fields(fields) = state.value else { panic!("fields") };
        assert!(fields.contains(&("win_rate".to_owned(), String::new())));
    }
}
