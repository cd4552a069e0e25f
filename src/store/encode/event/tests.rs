use super::*;
use crate::domain::account::Fill;
use crate::domain::event::Severity;
use crate::domain::symbol::{SymbolId, Symbols};
use rust_decimal::Decimal;
use std::sync::Arc;

pub(crate) fn layout() -> Layout {
    Layout::new(Arc::new(Symbols::usdt(["BTCUSDT", "ETHUSDT"])), crate::store::encode::Settings::default())
}

pub(crate) fn trap(id: &str, symbol: u16, detected_ms: i64) -> TrapDetected {
    TrapDetected {
        id: id.to_owned(),
        symbol: SymbolId(symbol),
        kind: TrapKind::StopHunt,
        detected_ms,
        started_ms: detected_ms - 45_000,
        extreme_ms: detected_ms - 9_000,
        price: Decimal::new(6_400_010, 2),
        level: Decimal::new(63_900, 0),
        extreme: Decimal::new(63_800, 0),
        change: -0.0015625,
        volume: Decimal::new(1_234, 2),
        confidence: 0.875,
        probability: None,
        evidence: vec![("volume_z".into(), 3.5)],
        detector_version: 1,
    }
}

fn words(ops: &[Op]) -> Vec<String> {
    ops.iter().map(|o| format!("{} {} {}", o.c, o.k, o.a.join(" "))).collect()
}

#[test]
fn a_trap_reaches_every_key_of_its_readers() {
    let r = record(&layout(), &Event::Trap(trap("00ff", 0, 1_723_075_200_123)), 17, 1_723_075_200_200);
    let lines = words(&r.ops);
    assert_eq!(r.id, "trap:00ff");
    assert!(lines[0].starts_with(
        "XADD trapline:BTCUSDT:events MAXLEN ~ 10000 1723075200200-17 kind trap id 00ff symbol BTCUSDT ts 1723075200123 data {"
    ));
    assert_eq!(
        lines[1],
        r#"ZADD trap_events 1723075200123 {"type":"stop_hunt","probability":0.875,"price":64000.10,"volume":12.34,"id":"00ff","symbol":"BTCUSDT","ts":1723075200123}"#
    );
    assert!(lines[4].starts_with(
        "HSET mm_trap:1723075200:BTCUSDT:17 id 00ff type stop_hunt confidence 0.875 probability  price 64000.10"
    ));
    assert!(
        lines[4].contains(
            " change -0.0015625 price_change -0.0015625 volume 12.34 timestamp 2024-08-08T00:00:00.123+00:00 "
        )
    );
    assert_eq!(lines[5], "EXPIRE mm_trap:1723075200:BTCUSDT:17 604800");
    let old = r#"{"id":"00ff","symbol":"BTCUSDT","type":"Stop Hunt","timeframe":"1min","confidence":0.875,"price_change":-0.0015625,"price":64000.10,"volume":12.34,"timestamp":1723075200.123,"time":"2024-08-08T00:00:00.123+00:00"}"#;
    assert_eq!(lines[6], format!("SET latest_mm_trap {old}"));
    assert_eq!(lines[7], format!("LPUSH recent_mm_traps {old}"));
    assert_eq!(lines[8], "LTRIM recent_mm_traps 0 49");
    assert_eq!(lines[9], format!("LPUSH mm_trap_detections:5min {old}"));
    assert_eq!(lines.len(), 11);
}

#[test]
fn old_lists_hold_the_primary_symbol_and_moves_that_fit() {
    let r = record(&layout(), &Event::Trap(trap("a", 1, 5_000_000)), 1, 1);
    assert!(r.ops.iter().all(|o| !o.k.ends_with("_mm_traps") && o.k != "latest_mm_trap"));
    let cases = [("fits", 300_000, "5min", true), ("too long", 300_001, "15min", false)];
    for (name, span_ms, frame, listed) in cases {
        let mut t = trap("a", 0, 5_000_000);
        t.started_ms = t.detected_ms - span_ms;
        assert_eq!(timeframe(&t), frame, "case: {name}");
        let r = record(&layout(), &Event::Trap(t), 1, 1);
        assert_eq!(r.ops.iter().any(|o| o.k == "mm_trap_detections:5min"), listed, "case: {name}");
    }
}

#[test]
fn fills_and_alerts_have_their_keys() {
    let fill = AttributedFill {
        strategy: "scalper".to_owned(),
        fill: Fill {
            symbol: SymbolId(0),
            exchange_time_ms: 1_000,
            trade_id: "t1".to_owned(),
            order_id: "o1".to_owned(),
            client_order_id: None,
            side: OrderSide::Buy,
            hold_side: None,
            effect: FillEffect::Net,
            price: Decimal::new(64_000, 0),
            size: Decimal::new(1, 2),
            fee: Decimal::new(5, 1),
            fee_coin: "USDT".to_owned(),
            profit: Decimal::ZERO,
        },
        net_profit: Decimal::new(-5, 1),
    };
    let lines = words(&record(&layout(), &Event::Fill(fill), 2, 1_001).ops);
    assert_eq!(
        lines[1],
        r#"LPUSH trader:trades:scalper {"trade_id":"t1","symbol":"BTCUSDT","side":"buy","direction":"NET","effect":"net","price":64000,"size":0.01,"fee":0.5,"pnl":-0.5,"profile_type":"scalper","timestamp":"1970-01-01T00:00:01.000+00:00","ts_ms":1000}"#
    );
    assert_eq!(lines[2], "LTRIM trader:trades:scalper 0 99");

    let alert = Alert {
        code: "position_stale".into(),
        severity: Severity::Warning,
        symbol: None,
        text: "x".to_owned(),
        at_ms: 9,
        recovered: false,
    };
    let r = record(&layout(), &Event::Alert(alert), 3, 10);
    assert_eq!(r.id, "alert:position_stale::9:0");
    assert_eq!(
        words(&r.ops)[1],
        r#"PUBLISH trapline:alerts {"code":"position_stale","severity":"warning","symbol":"","text":"x","at_ms":9,"recovered":false}"#
    );
}

#[test]
fn every_key_of_a_record_is_in_the_table() {
    let r = record(&layout(), &Event::Trap(trap("a", 0, 5_000_000)), 1, 1);
    for op in r.ops.iter().chain([&gap_op(1, 2, 3, "x")]) {
        let row = crate::store::keys::row_of(&op.k).unwrap_or_else(|| panic!("{} is not in the table", op.k));
        if !op.key_type().is_empty() {
            assert_eq!(row.shape.redis_type(), op.key_type(), "{}", op.k);
        }
    }
}

#[test]
fn the_same_event_has_the_same_bytes() {
    let make = || record(&layout(), &Event::Trap(trap("a", 0, 5_000_000)), 4, 5).to_bytes();
    assert_eq!(make(), make());
    assert_eq!(Record::from_bytes(&make()).unwrap().to_bytes(), make());
    assert_eq!(Record::from_bytes(b"{}"), None);
    let other = String::from_utf8(make()).unwrap().replacen("\"v\":1", "\"v\":2", 1);
    assert_eq!(Record::from_bytes(other.as_bytes()), None, "another version is not guessed at");
}
