//! What simulations and the old system left behind, and what proves that a key is that and not something else.
//!
//! A key goes only if its name, its type *and* its content fit a rule; whoever uses one of these names for something
//! of their own keeps it.

use super::sample::{Kind, Sample};
use crate::store::keys::{Key, row_of};
use serde::Serialize;
use serde_json::Value;

/// What the content has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The name is proof enough.
    Name,
    /// `2025-03-29 20:09:50`, ISO, or seconds since 1970.
    Time,
    Number,
    /// 0, 1, true, false.
    Flag,
    /// A few words of plain text.
    Words,
    /// Numbers, `price,volume` pairs or JSON.
    Data,
    /// JSON objects of a price and a volume and nothing else.
    Ticks,
    /// A JSON object, and a name that ends in seconds since 1970.
    StampedObject,
}

/// Which keys a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Written by simulators and tests.
    Simulation,
    /// Real once, read by nobody, grows without bound.
    Leftover,
}

/// One rule of removal.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// A name; `*` stands for anything.
    pub pattern: &'static str,
    pub kinds: &'static [Kind],
    pub proof: Proof,
    pub group: Group,
    pub why: &'static str,
}

const TEXT: &[Kind] = &[Kind::String];
const SERIES: &[Kind] = &[Kind::String, Kind::List, Kind::Zset, Kind::Set, Kind::Hash];

const fn sim(pattern: &'static str, kinds: &'static [Kind], proof: Proof, why: &'static str) -> Rule {
    Rule { pattern, kinds, proof, group: Group::Simulation, why }
}

/// Everything that goes.
pub const RULES: &[Rule] = &[
    sim("sim_timestamp", TEXT, Proof::Time, "the simulation's clock"),
    sim("sim_last_btc_price", TEXT, Proof::Number, "an invented price that dashboards fall back to"),
    sim("sim_prev_btc_price", TEXT, Proof::Number, "an invented price"),
    sim("sim_running", TEXT, Proof::Flag, "whether a simulation runs"),
    sim("sim_start_time", TEXT, Proof::Time, "when a simulation began"),
    sim("sim_market_regime", TEXT, Proof::Words, "an invented regime"),
    sim("sim_price_change_pct", TEXT, Proof::Number, "an invented change"),
    sim("sim_trap_history", SERIES, Proof::Data, "invented traps"),
    sim("sim_hf_activations", SERIES, Proof::Data, "invented activations"),
    sim("sim_statistics", SERIES, Proof::Data, "a simulation's statistics"),
    sim("sim_price_history:*", SERIES, Proof::Data, "invented prices"),
    sim("sim_ml_training_data", SERIES, Proof::Data, "training data out of invented prices"),
    sim("sim_grafana_metrics:*", SERIES, Proof::Data, "a simulation's metrics"),
    sim("test:*", SERIES, Proof::Name, "written by tests, test:btc:history among them"),
    Rule {
        pattern: "mm_trap_queue",
        kinds: &[Kind::List],
        proof: Proof::Ticks,
        group: Group::Leftover,
        why: "raw ticks that nobody takes out",
    },
    Rule {
        pattern: "trader:positions:*:*",
        kinds: TEXT,
        proof: Proof::StampedObject,
        group: Group::Leftover,
        why: "one immortal key a position, beside the list of the same name",
    },
];

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Index of the rule that it fits.
    Remove(usize),
    /// The name fits a rule, the rest does not: it stays.
    Keep { rule: usize, why: String },
    /// No rule is about it.
    Unconcerned,
}

/// The row of the contract that this name fills in. Placeholders hold no colon: `trader:positions:x:17` is no row's.
pub fn owned(name: &[u8]) -> Option<&'static Key> {
    let name = std::str::from_utf8(name).ok()?;
    let colons = |text: &str| text.matches(':').count();
    row_of(name).filter(|row| colons(row.name) == colons(name))
}

/// Whether a rule is about this name, without a look at the key.
pub fn is_candidate(rules: &[Rule], name: &[u8]) -> bool {
    rules.iter().any(|rule| fits(rule.pattern.as_bytes(), name))
}

/// The first rule whose pattern fits decides.
pub fn judge(rules: &[Rule], name: &[u8], sample: &Sample) -> Verdict {
    let Some((index, rule)) = rules.iter().enumerate().find(|(_, rule)| fits(rule.pattern.as_bytes(), name)) else {
        return Verdict::Unconcerned;
    };
    let keep = |why: String| Verdict::Keep { rule: index, why };
    if let Some(row) = owned(name)
        && row.shape.redis_type() == sample.kind.label()
    {
        return keep(format!("trapline writes {} with real data", row.name));
    }
    if sample.kind == Kind::None {
        return Verdict::Unconcerned;
    }
    if !rule.kinds.contains(&sample.kind) {
        return keep(format!("is a {}, which no simulation writes there", sample.kind.label()));
    }
    if !proves(rule.proof, name, sample) {
        return keep("holds something that no simulation writes there".to_owned());
    }
    Verdict::Remove(index)
}

/// `*` stands for anything, also for nothing.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|i| fits(rest, &name[i..])),
        Some((c, rest)) => name.split_first().is_some_and(|(n, tail)| n == c && fits(rest, tail)),
    }
}

fn proves(proof: Proof, name: &[u8], sample: &Sample) -> bool {
    let texts = || sample.pieces.iter().map(|piece| String::from_utf8_lossy(piece));
    match proof {
        Proof::Name => true,
        Proof::Time => texts().all(|t| is_time(&t)),
        Proof::Number => texts().all(|t| is_number(&t)),
        Proof::Flag => texts().all(|t| matches!(t.trim().to_lowercase().as_str(), "0" | "1" | "true" | "false")),
        Proof::Words => texts().all(|t| t.len() <= 64 && !t.contains(['{', '[']) && !t.contains(char::is_control)),
        // A hash's fields are its own business.
        Proof::Data => sample.kind == Kind::Hash || texts().all(|t| is_data(&t, sample.length)),
        Proof::Ticks => !sample.pieces.is_empty() && texts().all(|t| is_tick(&t)),
        Proof::StampedObject => {
            let last = name.rsplit(|c| *c == b':').next().map(String::from_utf8_lossy);
            last.is_some_and(|t| t.parse::<f64>().is_ok_and(|s| s > 1e9))
                && texts().all(|t| matches!(serde_json::from_str(&t), Ok(Value::Object(_))))
        }
    }
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

fn is_time(text: &str) -> bool {
    let text = text.trim();
    let date = text.as_bytes().get(..10).is_some_and(|d| {
        d.iter().enumerate().all(|(i, c)| if i == 4 || i == 7 { *c == b'-' } else { c.is_ascii_digit() })
    });
    let rest = text.get(10..).unwrap_or("");
    (date && rest.len() <= 22 && rest.chars().all(|c| c.is_ascii_digit() || " T:.+-Z".contains(c)))
        || text.parse::<f64>().is_ok_and(|s| s > 1e9)
}

fn is_data(text: &str, length: u64) -> bool {
    let whole = text.len() as u64 >= length || length <= 3;
    text.split(',').all(|part| is_number(part) || is_time(part))
        || serde_json::from_str::<Value>(text).is_ok()
        // Only the beginning of a long document was read.
        || (!whole && text.starts_with(['{', '[']))
}

fn is_tick(text: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else { return false };
    fields.contains_key("btc_price")
        && fields.keys().all(|k| matches!(k.as_str(), "btc_price" | "volume" | "timestamp"))
}

/// The word by which a value in one of trapline's keys admits that it was made up: its `source`, or its id.
pub fn made_up(sample: &Sample) -> Option<String> {
    let admits = |text: &str| {
        let lower = text.to_lowercase();
        ["sim", "mock", "test", "demo", "fake", "random"].iter().any(|w| lower.contains(w)).then(|| text.to_owned())
    };
    let of_source =
        |name: &str, value: &str| matches!(name, "source" | "_source" | "id").then(|| admits(value)).flatten();
    match sample.kind {
        Kind::String => {
            let Ok(Value::Object(fields)) = serde_json::from_slice(sample.pieces.first()?) else { return None };
            fields.iter().find_map(|(name, value)| of_source(name, value.as_str()?))
        }
        Kind::Hash => sample
            .pieces
            .chunks_exact(2)
            .find_map(|pair| of_source(&String::from_utf8_lossy(&pair[0]), &String::from_utf8_lossy(&pair[1]))),
        _ => None,
    }
}

/// Keys of the old system that trapline neither writes nor removes: who finds them knows what they are.
pub const KNOWN: &[(&str, &str)] = &[
    ("position_data", "read by live-dashboard, written by nobody"),
    ("trader_statistics", "mock data of the old dashboards"),
    ("elite_exit_signals", "mock data of the old dashboards"),
    ("position_targets", "mock data of the old dashboards"),
    ("dual_trader_status", "mock data of the old dashboards"),
    ("abs_price_change_history", "price changes in two units"),
    ("btc_candles", "one-minute candles of the old feed"),
    ("btc_trend_*", "trends of the old feed"),
    ("latest_trend_*", "trends of the old feed"),
    ("market_volatility", "old feed"),
    ("volatility_*", "old feed"),
    ("rolling_*", "old feed"),
    ("directional_strength", "old feed"),
    ("current_dynamic_threshold", "old detector"),
    ("hf_trap_count", "old detector"),
    ("mm_trap_count_*", "old detector"),
    ("mm_trap_queue*", "old queue of traps"),
    ("mm_trap_detector_*", "old detector"),
    ("trap_metrics", "old dashboard"),
    ("trap_timeline", "old dashboard"),
    ("grafana:*", "old dashboard"),
    ("fibonacci_*", "old feed"),
    ("gamon_trinity_*", "old analysis"),
    ("trinity_*", "old analysis"),
    ("btc_recent_high_low", "input of the old probability meter"),
    ("btc_order_book_summary", "input of the old probability meter"),
    ("btc_historical_matches", "input of the old probability meter"),
    ("news_service_*", "old news service"),
    ("omega:*", "old system"),
    ("legacy:*", "put aside by trapline"),
    ("sim_*", "a simulation: trapline clean-simulation"),
    ("test:*", "a test: trapline clean-simulation"),
];

/// What is known of a name that is not trapline's.
pub fn known(name: &[u8]) -> Option<&'static str> {
    KNOWN.iter().find(|(pattern, _)| fits(pattern.as_bytes(), name)).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fits_in_name_type_and_content_goes() {
        use Kind::{Hash, List, Stream, String as Text, Zset};
        let cases: &[(&str, Kind, &[&str], bool)] = &[
            ("sim_timestamp", Text, &["2025-03-29 20:09:50"], true),
            ("sim_timestamp", Text, &["2025-03-29T20:09:50.120+00:00"], true),
            ("sim_timestamp", Text, &["1743276645.386"], true),
            ("sim_timestamp", Text, &["my own notes"], false),
            ("sim_timestamp", Hash, &["a", "b"], false),
            ("sim_last_btc_price", Text, &["84500.5"], true),
            ("sim_last_btc_price", Text, &["{\"price\":1}"], false),
            ("sim_running", Text, &["True"], true),
            ("sim_running", Text, &["2"], false),
            ("sim_market_regime", Text, &["High Volatility Bullish"], true),
            ("sim_market_regime", Text, &["{\"a\":1}"], false),
            ("sim_price_history:2025-03-29", List, &["84500,0.1", "84501"], true),
            ("sim_price_history:x", Zset, &["{\"p\":1}"], true),
            ("sim_price_history:x", Zset, &["a love letter"], false),
            ("sim_grafana_metrics:cpu", Hash, &["a", "b"], true),
            ("test:btc:history", List, &["anything"], true),
            ("test:btc:history", Stream, &[], false),
            ("testing", Text, &["1"], false),
            ("simulation_notes", Text, &["1"], false),
            ("mm_trap_queue", List, &["{\"btc_price\":86258.85,\"volume\":7e-05}"], true),
            ("mm_trap_queue", List, &["{\"order\":1}"], false),
            ("trader:positions:scalper:1743276645.386", Text, &["{\"id\":1}"], true),
            ("trader:positions:scalper:notes", Text, &["{\"id\":1}"], false),
            ("trader:positions:scalper", List, &["{\"id\":1}"], false),
        ];
        for (name, kind, pieces, goes) in cases {
            let verdict = judge(RULES, name.as_bytes(), &Sample::text(*kind, pieces));
            assert_eq!(matches!(verdict, Verdict::Remove(_)), *goes, "{name} {kind:?} {pieces:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_key_with_real_data_stays_whatever_a_rule_says() {
        let rule = Rule { pattern: "market_*", kinds: SERIES, proof: Proof::Name, group: Group::Simulation, why: "" };
        let real = judge(&[rule], b"market_state", &Sample::text(Kind::Hash, &["price", "1"]));
        assert!(matches!(&real, Verdict::Keep { why, .. } if why.contains("market_state")), "{real:?}");
        let foreign = judge(&[rule], b"market_state", &Sample::text(Kind::String, &["x"]));
        assert_eq!(foreign, Verdict::Remove(0), "of another type it is not trapline's");
    }

    #[test]
    fn no_rule_is_about_a_key_of_the_contract() {
        for row in crate::store::keys::KEYS {
            let name = row.name.replace(['{', '}'], "");
            assert!(!is_candidate(RULES, name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn made_up_values_are_recognised_by_what_they_say() {
        let text = |json: &str| made_up(&Sample::text(Kind::String, &[json]));
        assert_eq!(text(r#"{"source":"redis_simulator","size":1}"#).as_deref(), Some("redis_simulator"));
        assert_eq!(text(r#"{"_source":"mock:error"}"#).as_deref(), Some("mock:error"));
        assert_eq!(text(r#"{"source":"bitget-ws"}"#), None);
        assert_eq!(made_up(&Sample::text(Kind::Hash, &["source", "ws"])), None);
    }

    #[test]
    fn placeholders_hold_no_colon() {
        assert!(owned(b"trader:positions:scalper").is_some());
        assert!(owned(b"trader:positions:scalper:17").is_none());
        assert!(owned(b"mm_trap:1723075200:BTCUSDT:17").is_some());
    }
}
