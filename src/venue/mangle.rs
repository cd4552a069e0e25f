//! What faults do to a data frame. The fast path (no fault) never comes here.

use super::faults::{FaultName, Faults};
use super::hub::{Feed, Topic};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

/// Frames held back by `reorder_ts`, one per topic.
#[derive(Debug, Default)]
pub struct Held(FxHashMap<Topic, String>);

impl Held {
    /// Topics held back now are few: those that publish.
    const MAX: usize = 4_096;

    pub fn drain(&mut self) -> Vec<(Topic, String)> {
        self.0.drain().collect()
    }
}

/// The texts to send in place of `text`, in order.
pub fn apply(faults: &mut Faults, held: &mut Held, topic: Topic, symbol: Option<&str>, text: String) -> Vec<String> {
    let private = topic.feed.is_private();
    if let Some(spec) = faults.get(FaultName::FreezeChannel) {
        let named = spec.value.as_deref().is_none_or(|channel| channel == topic.feed.label());
        if named && faults.turn(FaultName::FreezeChannel, symbol, private).is_some() {
            return Vec::new();
        }
    }
    if private && let Some(spec) = faults.get(FaultName::LostPush) {
        let named = spec.value.as_deref().is_none_or(|channel| channel == topic.feed.label());
        if named && faults.turn(FaultName::LostPush, symbol, private).is_some() {
            return Vec::new();
        }
    }
    if let (Some(name), Some(spec)) = (symbol, faults.get(FaultName::SymbolMaintain))
        && !private
        && topic.feed != Feed::Ticker
        && spec.means(name)
    {
        faults.hit(FaultName::SymbolMaintain);
        return Vec::new();
    }
    let mut text = text;
    for (name, change) in CHANGES {
        if faults.get(*name).is_none() || (*name == FaultName::BookCrossed && !matches!(topic.feed, Feed::Book(_))) {
            continue;
        }
        if let Some(spec) = faults.turn(*name, symbol, private)
            && let Ok(mut frame) = serde_json::from_str::<Value>(&text)
        {
            change(&mut frame, spec.value.as_deref());
            text = frame.to_string();
        }
    }
    if faults.get(FaultName::TruncatedFrame).is_some()
        && faults.turn(FaultName::TruncatedFrame, symbol, private).is_some()
    {
        let mut middle = text.len() / 2;
        while !text.is_char_boundary(middle) {
            middle -= 1;
        }
        text.truncate(middle);
    }
    let mut texts = vec![text];
    if topic.feed == Feed::Trade
        && faults.get(FaultName::DupTrades).is_some()
        && faults.turn(FaultName::DupTrades, symbol, private).is_some()
    {
        texts.push(texts[0].clone());
    }
    if faults.get(FaultName::ReorderTs).is_some() && held.0.len() < Held::MAX {
        match held.0.remove(&topic) {
            Some(earlier) => texts.push(earlier),
            None => {
                if faults.turn(FaultName::ReorderTs, symbol, private).is_some()
                    && let Some(last) = texts.pop()
                {
                    held.0.insert(topic, last);
                }
            }
        }
    } else if let Some(earlier) = held.0.remove(&topic) {
        texts.push(earlier);
    }
    texts
}

type Change = fn(&mut Value, Option<&str>);

const CHANGES: &[(FaultName, Change)] = &[
    (FaultName::FutureTs, |frame, value| shift_times(frame, number(value, 60_000))),
    (FaultName::StaleTs, |frame, value| shift_times(frame, -number(value, 60_000))),
    (FaultName::UnknownSymbol, |frame, _| rename(frame, "NOPEUSDT")),
    (FaultName::BookCrossed, |frame, _| {
        for row in frame["data"].as_array_mut().into_iter().flatten() {
            for [bids, asks] in [["bids", "asks"], ["b", "a"]] {
                if row.get(bids).is_some() {
                    let bought = row[bids].take();
                    row[bids] = row[asks].take();
                    row[asks] = bought;
                }
            }
        }
    }),
    (FaultName::OutOfRange, |frame, value| {
        let value = value.unwrap_or("-1").to_owned();
        each_number(frame, &mut |cell| *cell = Value::String(value.clone()));
    }),
    (FaultName::EmptyNumeric, |frame, _| each_number(frame, &mut |cell| *cell = json!(""))),
    (FaultName::WrongTypes, |frame, _| {
        let mut odd = false;
        each_number(frame, &mut |cell| {
            odd = !odd;
            *cell = if odd { json!({ "value": cell.clone() }) } else { json!(true) };
        });
    }),
];

fn number(value: Option<&str>, default: i64) -> i64 {
    value.and_then(|v| v.parse().ok()).unwrap_or(default)
}

const TIMES: [&str; 8] = ["ts", "T", "uTime", "updatedTime", "cTime", "createdTime", "execTime", "fillTime"];

fn shift_times(frame: &mut Value, by_ms: i64) {
    fn shift(cell: &mut Value, by_ms: i64) {
        match cell {
            Value::String(text) => {
                if let Ok(ms) = text.parse::<i64>() {
                    *text = (ms + by_ms).to_string();
                }
            }
            Value::Number(ms) => {
                if let Some(ms) = ms.as_i64() {
                    *cell = json!(ms + by_ms);
                }
            }
            _ => {}
        }
    }
    shift(&mut frame["ts"], by_ms);
    for row in frame["data"].as_array_mut().into_iter().flatten() {
        match row {
            Value::Object(fields) => {
                fields.iter_mut().filter(|(name, _)| TIMES.contains(&name.as_str())).for_each(|(_, v)| shift(v, by_ms));
            }
            Value::Array(cells) => cells.first_mut().into_iter().for_each(|cell| shift(cell, by_ms)),
            _ => {}
        }
    }
}

fn rename(frame: &mut Value, name: &str) {
    let rows = frame["data"].as_array_mut().map(std::mem::take);
    for key in ["instId", "symbol"] {
        if frame["arg"].get(key).is_some_and(|old| old != "default") {
            frame["arg"][key] = json!(name);
        }
    }
    if let Some(mut rows) = rows {
        for row in &mut rows {
            for key in ["instId", "symbol"] {
                if row.get(key).is_some() {
                    row[key] = json!(name);
                }
            }
        }
        frame["data"] = Value::Array(rows);
    }
}

/// Every decimal in the data rows, times, ids and names aside.
fn each_number(frame: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    const KEPT: [&str; 8] = ["tradeId", "posId", "orderId", "execId", "i", "L", "clientOid", "nextFundingTime"];
    for row in frame["data"].as_array_mut().into_iter().flatten() {
        match row {
            Value::Object(fields) => {
                for (name, cell) in fields.iter_mut() {
                    if let Value::Array(levels) = cell {
                        // The levels of a book.
                        let cells = levels.iter_mut().filter_map(Value::as_array_mut).flatten();
                        cells.filter(|cell| is_decimal(cell)).for_each(&mut *change);
                    } else if !TIMES.contains(&name.as_str()) && !KEPT.contains(&name.as_str()) && is_decimal(cell) {
                        change(cell);
                    }
                }
            }
            Value::Array(cells) => cells.iter_mut().skip(1).filter(|cell| is_decimal(cell)).for_each(&mut *change),
            _ => {}
        }
    }
}

fn is_decimal(cell: &Value) -> bool {
    cell.as_str().is_some_and(|text| text.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::config::Generation;
    use super::super::faults::FaultSpec;
    use super::*;

    const TICKER: &str = r#"{"action":"snapshot","arg":{"instType":"USDT-FUTURES","channel":"ticker","instId":"BTCUSDT"},"data":[{"instId":"BTCUSDT","lastPr":"10","ts":"1000","nextFundingTime":"5"}],"ts":1000}"#;

    fn through(spec: FaultSpec, feed: Feed, texts: &[&str]) -> Vec<String> {
        let (mut faults, mut held) = (Faults::default(), Held::default());
        faults.start(spec, 0);
        let topic = Topic::public(Generation::V2, feed, 0);
        texts.iter().flat_map(|t| apply(&mut faults, &mut held, topic, Some("BTCUSDT"), (*t).to_owned())).collect()
    }

    #[test]
    fn each_change_does_what_it_says() {
        let of = |name, value: &str| {
            let texts = through(FaultSpec::new(name, 9).with_value(value), Feed::Ticker, &[TICKER]);
            serde_json::from_str::<Value>(&texts[0]).expect("still JSON")
        };
        let future = of(FaultName::FutureTs, "500");
        assert_eq!((&future["ts"], &future["data"][0]["ts"]), (&json!(1500), &json!("1500")));
        assert_eq!(of(FaultName::StaleTs, "400")["ts"], 600);
        let renamed = of(FaultName::UnknownSymbol, "");
        assert_eq!(
            (&renamed["arg"]["instId"], &renamed["data"][0]["instId"]),
            (&json!("NOPEUSDT"), &json!("NOPEUSDT"))
        );
        assert_eq!(of(FaultName::OutOfRange, "1e99")["data"][0]["lastPr"], "1e99");
        assert_eq!(of(FaultName::EmptyNumeric, "")["data"][0]["lastPr"], "");
        assert!(of(FaultName::WrongTypes, "")["data"][0]["lastPr"].is_object());
        assert_eq!(of(FaultName::WrongTypes, "")["data"][0]["nextFundingTime"], "5");
    }

    #[test]
    fn a_held_frame_comes_after_the_next() {
        assert_eq!(
            through(FaultSpec::new(FaultName::ReorderTs, 9), Feed::Ticker, &["1", "2", "3", "4"]),
            ["2", "1", "4", "3"]
        );
    }

    #[test]
    fn trades_come_twice_and_tickers_do_not() {
        for (feed, count) in [(Feed::Trade, 2), (Feed::Ticker, 1)] {
            assert_eq!(through(FaultSpec::new(FaultName::DupTrades, 9), feed, &["x"]).len(), count);
        }
    }

    #[test]
    fn only_the_named_channel_freezes() {
        for (channel, count) in [("ticker", 0), ("trade", 1)] {
            let spec = FaultSpec::new(FaultName::FreezeChannel, 9).with_value(channel);
            assert_eq!(through(spec, Feed::Ticker, &["x"]).len(), count, "{channel}");
        }
    }

    #[test]
    fn a_truncated_frame_is_no_json() {
        let texts = through(FaultSpec::new(FaultName::TruncatedFrame, 9), Feed::Ticker, &[TICKER]);
        assert!(serde_json::from_str::<Value>(&texts[0]).is_err());
    }
}
