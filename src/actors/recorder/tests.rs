//! Traps carry the exchange's time: how old they are is asked of its clock, not of ours. And what was told once stays
//! told once, however often the recorder dies.

use super::*;
use crate::actors::testing::House;
use crate::clock::Clock;
use crate::domain::trap::TrapKind;
use crate::store::encode::state::TextValue;
use rust_decimal::Decimal;

const NOW_MS: i64 = 1_723_075_200_000;

fn house(skew: Skew, fails: fn(u64) -> bool) -> House<RecorderMsg> {
    let symbols = Arc::new(Symbols::usdt(["BTCUSDT"]));
    House::open(Clock::manual(NOW_MS), card(), fails, |writer| {
        TrapRecorder::factory(symbols, skew, Metrics::default(), writer)
    })
}

fn trap(detected_ms: i64) -> TrapDetected {
    TrapDetected {
        id: "00ff".to_owned(),
        symbol: SymbolId(0),
        kind: TrapKind::StopHunt,
        detected_ms,
        started_ms: detected_ms - 1_000,
        extreme_ms: detected_ms,
        price: Decimal::ONE,
        level: Decimal::ONE,
        extreme: Decimal::ONE,
        change: 0.01,
        volume: Decimal::ONE,
        confidence: 0.8,
        probability: None,
        evidence: Vec::new(),
        detector_version: 1,
    }
}

/// What stands at last in a key that holds a text.
fn text(written: &[WriterMsg], key: &str) -> Option<String> {
    written.iter().rev().find_map(|msg| match msg {
        WriterMsg::Text(state) if *state.name == *key => match &state.value {
            TextValue::Whole(text) => Some(text.to_string()),
            _ => None,
        },
        _ => None,
    })
}

/// What is published right after a trap that the exchange stamped with now, by its own clock.
fn published(skew_ms: i64) -> serde_json::Value {
    let written = actix::System::new().block_on(async move {
        let skew = Skew::default();
        skew.set(skew_ms);
        let house = house(skew, |_| false);
        house.send(RecorderMsg::TrapDetected(Box::new(trap(NOW_MS + skew_ms)))).await;
        house.close().await
    });
    let found = text(&written, "current_trap_probability").expect("published");
    serde_json::from_str(&found).expect("JSON")
}

#[test]
fn a_traps_age_is_told_by_the_exchanges_clock() {
    let right = published(0);
    assert!(right["trap_type"].is_string() && right["probability"].as_f64() > Some(0.1), "{right}");
    // Further apart than a trap counts as current.
    for skew_ms in [-2 * CURRENT_MS, 2 * CURRENT_MS] {
        let skewed = published(skew_ms);
        assert_eq!(skewed["trap_type"], right["trap_type"], "skew {skew_ms} ms: {skewed}");
        assert_eq!(skewed["probability"], right["probability"], "skew {skew_ms} ms: {skewed}");
    }
}

/// Three traps, deaths, the same again and a fourth: ids of the events, and the analysis at the end.
fn told(fails: fn(u64) -> bool, deaths: u64, last_epoch: u64) -> (Vec<String>, Option<String>) {
    let written = actix::System::new().block_on(async move {
        let house = house(Skew::default(), fails);
        let found = |n: i64| {
            let trap = TrapDetected { id: format!("{n:04x}"), ..trap(NOW_MS - 60_000 + n) };
            RecorderMsg::TrapDetected(Box::new(trap))
        };
        for n in 1..=3 {
            house.send(found(n)).await;
        }
        house.until_idle(1).await;
        for death in 1..=deaths {
            house.panic();
            // Nothing is handled between two deaths.
            house.until_idle(1 + death).await;
        }
        house.until_idle(last_epoch).await;
        for n in 1..=4 {
            house.send(found(n)).await;
        }
        house.close().await
    });
    let events = written.iter().filter_map(|msg| match msg {
        WriterMsg::Event(events) => Some(events),
        _ => None,
    });
    let ids = events.flatten().filter_map(|event| match event {
        Event::Trap(trap) => Some(trap.id.clone()),
        _ => None,
    });
    (ids.collect(), text(&written, "dashboard:trap_analysis"))
}

#[test]
fn a_trap_stays_one_event_and_the_sums_go_on_however_often_it_dies() {
    let none: fn(u64) -> bool = |_| false;
    let right = told(none, 0, 1);
    assert_eq!(right.0, ["0001", "0002", "0003", "0004"]);
    assert!(right.1.is_some(), "the analysis is published");
    // (case, births that panic, deaths between messages, the epoch that works at last)
    let cases: [(&str, fn(u64) -> bool, u64, u64); 4] = [
        ("one death", none, 1, 2),
        ("a second one right after the birth", none, 2, 3),
        ("a birth that panics", |epoch| epoch == 2, 1, 3),
        ("a birth that panics, and a death right after the next", |epoch| epoch == 2, 2, 4),
    ];
    for (case, fails, deaths, epoch) in cases {
        assert_eq!(told(fails, deaths, epoch), right, "{case}");
    }
}
