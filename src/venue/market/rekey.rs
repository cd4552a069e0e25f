//! Recorded frames of Bitget's first generation, as events. They carry the same facts under other names:
//! `{"action","arg":{"instType":"mc","channel","instId"},"data":[...]}` with trades and candles as arrays.

use super::candles::Bar;
use super::{Event, Quote};
use crate::domain::market::TakerSide;
use rust_decimal::Decimal;
use serde_json::Value;

/// The symbol that a frame speaks of, if it is one that can be played.
pub fn symbol_of(text: &str) -> Option<String> {
    let frame: Value = serde_json::from_str(text).ok()?;
    let channel = frame["arg"]["channel"].as_str()?;
    frame.get("data")?;
    matches!(channel, "ticker" | "trade" | "candle1m").then(|| frame["arg"]["instId"].as_str().map(str::to_owned))?
}

/// The events of one frame, in time order; none for frames of other kinds or exchanges. `index` names the symbol.
pub fn events(text: &str, received_ms: i64, index: impl Fn(&str) -> Option<usize>) -> Vec<Event> {
    let Ok(frame) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let (Some(channel), Some(name)) = (frame["arg"]["channel"].as_str(), frame["arg"]["instId"].as_str()) else {
        return Vec::new();
    };
    let (Some(symbol), Some(rows)) = (index(name), frame["data"].as_array()) else { return Vec::new() };
    // A recorder's clock may be behind the exchange's; arrival is what orders a recording.
    let ts_ms = received_ms;
    match channel {
        "ticker" => rows.iter().map(|row| Event::Quote { ts_ms, symbol, quote: quote(row) }).collect(),
        // Newest first on the wire.
        "trade" => {
            let past = frame["action"] == "snapshot";
            rows.iter().rev().filter_map(|row| print(row, ts_ms, symbol, past)).collect()
        }
        "candle1m" if frame["action"] == "snapshot" => rows
            .iter()
            .filter_map(|row| candle(row).map(|candle| Event::PastCandle { ts_ms, symbol, candle }))
            .collect(),
        _ => Vec::new(),
    }
}

fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => Decimal::from_str_exact(text).ok(),
        Value::Number(number) => Decimal::from_str_exact(&number.to_string()).ok(),
        _ => None,
    }
}

fn quote(row: &Value) -> Quote {
    Quote {
        bid: number(&row["bestBid"]),
        bid_size: number(&row["bidSz"]),
        ask: number(&row["bestAsk"]),
        ask_size: number(&row["askSz"]),
        last: number(&row["last"]),
        mark: number(&row["markPrice"]),
        index: number(&row["indexPrice"]),
        funding_rate: number(&row["capitalRate"]),
        open_interest: number(&row["holding"]),
        volume: number(&row["baseVolume"]),
    }
}

fn print(row: &Value, ts_ms: i64, symbol: usize, past: bool) -> Option<Event> {
    let side = match row[3].as_str()? {
        "buy" => TakerSide::Buy,
        "sell" => TakerSide::Sell,
        _ => return None,
    };
    let (price, size) = (number(&row[1])?, number(&row[2])?);
    Some(if past {
        Event::PastTrade { ts_ms, at_ms: row[0].as_str()?.parse().ok()?, symbol, price, size, side }
    } else {
        Event::Print { ts_ms, symbol, price, size, side }
    })
}

fn candle(row: &Value) -> Option<Bar> {
    let close = number(&row[4])?;
    let base_volume = number(&row[5])?;
    Some(Bar {
        start_ms: row[0].as_str()?.parse().ok()?,
        open: number(&row[1])?,
        high: number(&row[2])?,
        low: number(&row[3])?,
        close,
        base_volume,
        quote_volume: base_volume * close,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_become_events_oldest_first() {
        let index = |name: &str| (name == "DASHUSDT").then_some(3);
        let trades = r#"{"action":"update","arg":{"instType":"mc","channel":"trade","instId":"DASHUSDT"},"data":[["20","113.4","0.94","buy"],["10","113.37","0.49","sell"]]}"#;
        let events = events(trades, 99, index);
        assert_eq!(events.len(), 2);
        assert!(matches!(&events[0], Event::Print { symbol: 3, side: TakerSide::Sell, ts_ms: 99, .. }));
        assert!(matches!(&events[1], Event::Print { side: TakerSide::Buy, .. }));
    }

    #[test]
    fn snapshots_are_history() {
        let trades = r#"{"action":"snapshot","arg":{"instType":"mc","channel":"trade","instId":"X"},"data":[["10","113.37","0.49","sell"]]}"#;
        assert!(events(trades, 99, |_| Some(0)).iter().all(Event::is_past));
    }

    #[test]
    fn what_cannot_be_played_is_passed_over() {
        for text in [
            "pong",
            r#"{"event":"subscribe","arg":{"channel":"trade","instId":"DASHUSDT"}}"#,
            r#"{"arg":{"channel":"books","instId":"DASHUSDT"},"data":[{}]}"#,
            r#"{"arg":{"channel":"trade","instId":"NOPE"},"data":[["1","2","3","buy"]]}"#,
        ] {
            assert!(events(text, 1, |name| (name == "DASHUSDT").then_some(0)).is_empty(), "{text}");
        }
    }
}
