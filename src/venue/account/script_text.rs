//! Scripts as text. Every error names the step and the field.

use super::script::{Amount, Instruction, Script, Step};
use crate::domain::account::OrderSide;
use crate::domain::position::{HoldMode, HoldSide, MarginMode};
use rust_decimal::Decimal;
use serde_json::{Map, Value};
use std::str::FromStr;

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    #[error("{place}: {problem}")]
    Unreadable { place: String, problem: String },
    #[error("{place}: field `{field}` {problem}")]
    Field { place: String, field: String, problem: String },
    #[error("the script has more than {0} steps: cut it, or use repeat_every_ms")]
    TooLong(usize),
}

const KNOWN: [&str; 17] = [
    "account",
    "at_ms",
    "do",
    "only_in",
    "symbol",
    "side",
    "size",
    "value",
    "entry",
    "rate",
    "mode",
    "leverage",
    "slip_bps",
    "away_bps",
    "reduce",
    "repeat_every_ms",
    "note",
];

pub(super) fn from_json_lines(text: &str) -> Result<Script, ScriptError> {
    let mut steps: Vec<Step> = Vec::new();
    let mut repeat = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("line {}", index + 1);
        let value: Value = serde_json::from_str(line).map_err(|error| ScriptError::Unreadable {
            place: place.clone(),
            problem: format!("not a JSON object ({error})"),
        })?;
        let fields = Fields::of(place, &value)?;
        if fields.map.contains_key("repeat_every_ms") {
            if !steps.is_empty() || fields.map.len() > 1 {
                return Err(fields.wrong("repeat_every_ms", "must stand alone on the first line"));
            }
            repeat = Some(fields.milliseconds("repeat_every_ms")?);
            continue;
        }
        add(&mut steps, &fields, repeat)?;
    }
    finish(steps, repeat)
}

pub(super) fn from_toml(text: &str) -> Result<Script, ScriptError> {
    let file = || "file".to_owned();
    let whole: Value = toml::from_str(text)
        .map_err(|error| ScriptError::Unreadable { place: file(), problem: format!("not TOML ({error})") })?;
    let Value::Object(table) = &whole else {
        return Err(ScriptError::Unreadable { place: file(), problem: "not a table".to_owned() });
    };
    if let Some(unknown) = table.keys().find(|key| !["repeat_every_ms", "step"].contains(&key.as_str())) {
        let problem = "is unknown: a script has repeat_every_ms and [[step]]".to_owned();
        return Err(ScriptError::Field { place: file(), field: unknown.clone(), problem });
    }
    let head = Fields { place: file(), map: table };
    let repeat = table.contains_key("repeat_every_ms").then(|| head.milliseconds("repeat_every_ms")).transpose()?;
    let list = match table.get("step") {
        None => &[],
        Some(Value::Array(list)) => list.as_slice(),
        Some(_) => return Err(head.wrong("step", "must be a list: write [[step]]")),
    };
    let mut steps = Vec::new();
    for (index, value) in list.iter().enumerate() {
        add(&mut steps, &Fields::of(format!("step {}", index + 1), value)?, repeat)?;
    }
    finish(steps, repeat)
}

fn finish(steps: Vec<Step>, repeat: Option<i64>) -> Result<Script, ScriptError> {
    if steps.is_empty() {
        return Err(ScriptError::Unreadable { place: "file".to_owned(), problem: "has no step".to_owned() });
    }
    Ok(Script::new(steps, repeat))
}

fn add(steps: &mut Vec<Step>, fields: &Fields<'_>, repeat: Option<i64>) -> Result<(), ScriptError> {
    if steps.len() >= Script::MAX_STEPS {
        return Err(ScriptError::TooLong(Script::MAX_STEPS));
    }
    let step = step(fields)?;
    if steps.last().is_some_and(|last| step.at_ms < last.at_ms) {
        return Err(fields.wrong("at_ms", "is earlier than that of the step before"));
    }
    if repeat.is_some_and(|every| step.at_ms >= every) {
        return Err(fields.wrong("at_ms", "is not before repeat_every_ms"));
    }
    steps.push(step);
    Ok(())
}

fn step(fields: &Fields<'_>) -> Result<Step, ScriptError> {
    if let Some(unknown) = fields.map.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(fields.wrong(unknown, "is unknown"));
    }
    let at_ms = fields.milliseconds("at_ms")?;
    let only_in = if fields.map.contains_key("only_in") { Some(fields.hold_mode("only_in")?) } else { None };
    let account = match fields.map.get("account") {
        None => None,
        Some(_) => match fields.text("account")? {
            "" => return Err(fields.wrong("account", "must not be empty")),
            name => Some(name.to_owned()),
        },
    };
    let (instruction, takes): (Instruction, &[&str]) = match fields.text("do")? {
        "buy" => (fields.trade(OrderSide::Buy)?, &["symbol", "size", "value"]),
        "sell" => (fields.trade(OrderSide::Sell)?, &["symbol", "size", "value"]),
        "open" => {
            let (symbol, side, amount) = (fields.symbol()?, fields.side()?, fields.amount(None)?);
            let slip_bps = fields.bps("slip_bps")?;
            (Instruction::Open { symbol, side, amount, slip_bps }, &["symbol", "side", "size", "value", "slip_bps"])
        }
        "limit" => {
            let (symbol, side, amount) = (fields.symbol()?, fields.order_side()?, fields.amount(None)?);
            let (away_bps, reduce) = (fields.bps("away_bps")?, fields.yes("reduce")?);
            (
                Instruction::Limit { symbol, side, amount, away_bps, reduce },
                &["symbol", "side", "size", "value", "away_bps", "reduce"],
            )
        }
        "cancel" => (Instruction::Cancel { symbol: fields.symbol()? }, &["symbol"]),
        "close" => {
            let (symbol, side, amount) = (fields.symbol()?, fields.side()?, fields.amount(Some(Amount::All))?);
            (Instruction::Close { symbol, side, amount }, &["symbol", "side", "size", "value"])
        }
        "flip" => (Instruction::Flip { symbol: fields.symbol()? }, &["symbol"]),
        "set" => {
            let entry = fields.map.contains_key("entry").then(|| fields.positive("entry")).transpose()?;
            let size = fields.number("size")?;
            if size.is_sign_negative() {
                return Err(fields.wrong("size", "must not be negative"));
            }
            let (symbol, side) = (fields.symbol()?, fields.side()?);
            (Instruction::Set { symbol, side, size, entry }, &["symbol", "side", "size", "entry"])
        }
        "funding" => {
            let rate = fields.number("rate")?;
            if rate.abs() > Decimal::ONE {
                return Err(fields.wrong("rate", "must be a fraction between -1 and 1, for example 0.0001"));
            }
            (Instruction::Funding { symbol: fields.symbol()?, rate }, &["symbol", "rate"])
        }
        "hold_mode" => (Instruction::HoldMode(fields.hold_mode("mode")?), &["mode"]),
        "margin_mode" => (Instruction::MarginMode(fields.margin_mode()?), &["mode"]),
        "leverage" => (Instruction::Leverage(fields.positive("leverage")?), &["leverage"]),
        _ => {
            let words =
                "must be buy, sell, open, close, limit, cancel, flip, set, funding, hold_mode, margin_mode or leverage";
            return Err(fields.wrong("do", words));
        }
    };
    let common = ["at_ms", "do", "account", "only_in", "note"];
    let extra = fields.map.keys().find(|key| !common.contains(&key.as_str()) && !takes.contains(&key.as_str()));
    match extra {
        Some(extra) => Err(fields.wrong(extra, "has no meaning in this step")),
        None => Ok(Step { at_ms, account, only_in, instruction }),
    }
}

struct Fields<'a> {
    place: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(place: String, value: &'a Value) -> Result<Self, ScriptError> {
        match value {
            Value::Object(map) => Ok(Self { place, map }),
            _ => Err(ScriptError::Unreadable { place, problem: "a step must be an object".to_owned() }),
        }
    }

    fn wrong(&self, field: &str, problem: &str) -> ScriptError {
        ScriptError::Field { place: self.place.clone(), field: field.to_owned(), problem: problem.to_owned() }
    }

    fn text(&self, field: &str) -> Result<&'a str, ScriptError> {
        match self.map.get(field) {
            None => Err(self.wrong(field, "is missing")),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.wrong(field, "must be text")),
        }
    }

    fn milliseconds(&self, field: &str) -> Result<i64, ScriptError> {
        // A year: later steps are a mistake of units.
        const LONGEST_MS: i64 = 366 * 86_400_000;
        let number = self.map.get(field).ok_or_else(|| self.wrong(field, "is missing"))?;
        match number.as_i64() {
            Some(ms) if (0..=LONGEST_MS).contains(&ms) && (ms > 0 || field == "at_ms") => Ok(ms),
            _ => Err(self.wrong(field, "must be a whole number of milliseconds, at most a year")),
        }
    }

    fn number(&self, field: &str) -> Result<Decimal, ScriptError> {
        let text = match self.map.get(field) {
            None => return Err(self.wrong(field, "is missing")),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(self.wrong(field, "must be a number")),
        };
        Decimal::from_str(&text)
            .or_else(|_| Decimal::from_scientific(&text))
            .map_err(|_| self.wrong(field, "must be a number"))
    }

    fn positive(&self, field: &str) -> Result<Decimal, ScriptError> {
        let number = self.number(field)?;
        if number > Decimal::ZERO { Ok(number) } else { Err(self.wrong(field, "must be above 0")) }
    }

    fn symbol(&self) -> Result<String, ScriptError> {
        match self.text("symbol")? {
            "" => Err(self.wrong("symbol", "must not be empty")),
            symbol => Ok(symbol.to_owned()),
        }
    }

    fn order_side(&self) -> Result<OrderSide, ScriptError> {
        match self.text("side")? {
            "buy" => Ok(OrderSide::Buy),
            "sell" => Ok(OrderSide::Sell),
            _ => Err(self.wrong("side", "must be buy or sell")),
        }
    }

    /// Hundredths of a per cent; 0 where there are none.
    fn bps(&self, field: &str) -> Result<Decimal, ScriptError> {
        if !self.map.contains_key(field) {
            return Ok(Decimal::ZERO);
        }
        let number = self.number(field)?;
        let sane = (Decimal::ZERO..=Decimal::from(5_000)).contains(&number);
        if sane { Ok(number) } else { Err(self.wrong(field, "must be between 0 and 5000 (hundredths of a per cent)")) }
    }

    fn yes(&self, field: &str) -> Result<bool, ScriptError> {
        match self.map.get(field) {
            None => Ok(false),
            Some(Value::Bool(yes)) => Ok(*yes),
            Some(_) => Err(self.wrong(field, "must be true or false")),
        }
    }

    fn side(&self) -> Result<HoldSide, ScriptError> {
        let side = self.text("side")?;
        let known = HoldSide::BOTH.into_iter().find(|known| known.label() == side);
        known.ok_or_else(|| self.wrong("side", "must be long or short"))
    }

    fn amount(&self, default: Option<Amount>) -> Result<Amount, ScriptError> {
        match (self.map.contains_key("size"), self.map.contains_key("value"), default) {
            (true, true, _) => Err(self.wrong("value", "and `size` exclude each other")),
            (true, false, _) => self.positive("size").map(Amount::Size),
            (false, true, _) => self.positive("value").map(Amount::Value),
            (false, false, Some(default)) => Ok(default),
            (false, false, None) => Err(self.wrong("size", "(base coin) or `value` (margin coin) is missing")),
        }
    }

    fn trade(&self, side: OrderSide) -> Result<Instruction, ScriptError> {
        Ok(Instruction::Trade { symbol: self.symbol()?, side, amount: self.amount(None)? })
    }

    fn hold_mode(&self, field: &str) -> Result<HoldMode, ScriptError> {
        let mode = self.text(field)?;
        let known = [HoldMode::OneWay, HoldMode::Hedge].into_iter().find(|known| known.label() == mode);
        known.ok_or_else(|| self.wrong(field, "must be one_way or hedge"))
    }

    fn margin_mode(&self) -> Result<MarginMode, ScriptError> {
        let mode = self.text("mode")?;
        let known = [MarginMode::Crossed, MarginMode::Isolated].into_iter().find(|known| known.label() == mode);
        known.ok_or_else(|| self.wrong("mode", "must be crossed or isolated"))
    }
}
