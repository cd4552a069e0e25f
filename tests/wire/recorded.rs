//! Real frames of the exchange's first generation, re-keyed to the living ones: cadence, numbers and order are real.

use crate::fixtures::{decoder, read};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::path::PathBuf;
use trapline::domain::report::Report;
use trapline::exchange::bitget::consts::Generation;
use trapline::exchange::bitget::parse::{Decoded, Frame};
use trapline::tape::{Row, Tape};

/// The recording, or `None` where it is not at hand (then the test says so, or fails if tapes are required).
fn tape() -> Option<PathBuf> {
    let folder = std::env::var_os("TRAPLINE_TAPES").map_or_else(|| PathBuf::from("../shared/tapes"), PathBuf::from);
    let name = "bitget-v1-mix-frames.jsonl.gz";
    let found = [folder.join("open").join(name), folder.join(name)].into_iter().find(|path| path.exists());
    if found.is_none() {
        let required = std::env::var("TRAPLINE_REQUIRE_TAPES").is_ok_and(|v| v == "1");
        assert!(!required, "{name} is required but not in {}", folder.display());
        println!("skipped: {name} is not in {}", folder.display());
    }
    found
}

/// The frame as the living generations would send it; `None` for channels that trapline does not read.
fn rekeyed(generation: Generation, old: &Value) -> Option<Value> {
    let channel = old["arg"]["channel"].as_str()?;
    let rows = old["data"].as_array()?;
    let symbol = &old["arg"]["instId"];
    let v2 = generation == Generation::Classic;
    let stamp = |v: &Value| Value::String(v.as_i64().unwrap().to_string());
    let (topic, rows): (&str, Vec<Value>) = match channel {
        "ticker" if v2 => ("ticker", rows.iter().map(|r| json!({
            "instId": symbol, "symbol": symbol, "lastPr": r["last"], "bidPr": r["bestBid"], "askPr": r["bestAsk"],
            "high24h": r["high24h"], "low24h": r["low24h"], "fundingRate": r["capitalRate"],
            "nextFundingTime": stamp(&r["nextSettleTime"]), "markPrice": r["markPrice"], "indexPrice": r["indexPrice"],
            "holdingAmount": r["holding"], "baseVolume": r["baseVolume"], "ts": stamp(&r["systemTime"]),
        })).collect()),
        "ticker" => ("ticker", rows.iter().map(|r| json!({
            "lastPrice": r["last"], "bid1Price": r["bestBid"], "ask1Price": r["bestAsk"], "fundingRate": r["capitalRate"],
            "nextFundingTime": stamp(&r["nextSettleTime"]), "markPrice": r["markPrice"], "indexPrice": r["indexPrice"],
            "openInterest": r["holding"], "volume24h": r["baseVolume"],
        })).collect()),
        "trade" => (if v2 { "trade" } else { "publicTrade" }, rows.iter().enumerate().map(|(i, r)| {
            let id = (r[0].as_str().unwrap().parse::<u64>().unwrap() * 1_000 + 999 - i as u64).to_string();
            if v2 { json!({"ts": r[0], "price": r[1], "size": r[2], "side": r[3], "tradeId": id}) }
            else { json!({"i": id, "L": id, "p": r[1], "v": r[2], "S": r[3], "T": r[0], "isRPI": "no"}) }
        }).collect()),
        "candle1m" if v2 => ("candle1m", rows.iter().map(|r| {
            let mut row = r.as_array().unwrap().clone();
            row.resize(8, json!("0"));
            Value::Array(row)
        }).collect()),
        "candle1m" => ("kline", rows.iter().map(|r| json!({"start": r[0], "open": r[1], "high": r[2], "low": r[3],
            "close": r[4], "volume": r[5], "turnover": "0"})).collect()),
        _ => return None,
    };
    let arg = if v2 {
        json!({"instType": "USDT-FUTURES", "channel": topic, "instId": symbol})
    } else if topic == "kline" {
        json!({"instType": "usdt-futures", "topic": topic, "symbol": symbol, "interval": "1m"})
    } else {
        json!({"instType": "usdt-futures", "topic": topic, "symbol": symbol})
    };
    Some(json!({"action": old["action"], "arg": arg, "data": rows, "ts": 1_649_290_077_600_i64}))
}

#[test]
fn real_frames_are_understood_to_the_last_digit() {
    let Some(path) = tape() else { return };
    for generation in [Generation::Classic, Generation::Unified] {
        let (mut frames, mut tickers, mut trades, mut candles) = (0, 0, 0, 0);
        for row in Tape::open(&path).unwrap() {
            let Row::Raw { text: raw, incoming: true, .. } = row.unwrap() else { continue };
            let Ok(old) = serde_json::from_str::<Value>(&raw) else { continue };
            let Some(frame) = rekeyed(generation, &old) else { continue };
            let (what, decoded) = read(generation, &frame.to_string());
            assert!(matches!(what, Frame::Data(_)), "{frame}: {decoded:?}");
            assert_eq!(decoded.refused, [], "{frame}");
            let rows = old["data"].as_array().unwrap();
            assert_eq!(decoded.reports.len(), rows.len(), "{frame}");
            frames += 1;
            let exact = |value: &Value| value.as_str().unwrap().parse::<Decimal>().unwrap();
            for report in &decoded.reports {
                match report {
                    Report::Ticker(t) => {
                        tickers += 1;
                        assert_eq!(t.last, exact(&rows[0]["last"]));
                        assert_eq!(t.mark, Some(exact(&rows[0]["markPrice"])));
                    }
                    Report::Trade(t) => {
                        trades += 1;
                        let same = |r: &&Value| {
                            (exact(&r[1]), exact(&r[2])) == (t.price, t.size)
                                && r[0].as_str() == Some(t.exchange_time_ms.to_string().as_str())
                        };
                        assert!(rows.iter().find(same).is_some(), "{t:?}");
                    }
                    Report::Candle(c) => {
                        candles += 1;
                        assert!(c.low <= c.high);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        println!("{}: {frames} frames, {tickers} tickers, {trades} trades, {candles} candles", generation.label());
        assert!(tickers >= 200 && trades >= 100 && candles >= 30, "{tickers} {trades} {candles}");
    }
}

#[test]
fn frames_as_they_were_recorded_belong_to_a_dead_generation() {
    let Some(path) = tape() else { return };
    let mut refused = 0;
    for row in Tape::open(&path).unwrap() {
        let Row::Raw { text: raw, incoming: true, .. } = row.unwrap() else { continue };
        let mut out = Decoded::default();
        if decoder(Generation::Classic).decode(&raw, 0, &mut out) == Frame::Refused {
            refused += 1;
        }
        assert_eq!(out.reports, []);
    }
    assert!(refused > 400, "{refused}");
}
