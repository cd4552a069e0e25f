//! Traps carry the exchange's time: how old they are is asked of its clock, not of ours.

use super::*;
use crate::clock::Clock;
use crate::domain::trap::TrapKind;
use crate::store::encode::state::TextValue;
use crate::supervise::{Budgets, Strategy, Tree, TreeConfig};
use rust_decimal::Decimal;
use std::sync::mpsc::{Sender, channel};

/// Hands on each text that is to be written.
struct Ear(Sender<(String, String)>);

impl Room for Ear {
    type Msg = WriterMsg;

    fn handle(&mut self, msg: &WriterMsg, _cx: &mut Cx<Self>) -> Result<(), Fault> {
        if let WriterMsg::Text(state) = msg
            && let TextValue::Whole(text) = &state.value
        {
            let _ = self.0.send((state.name.to_string(), text.to_string()));
        }
        Ok(())
    }
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

/// What is published right after a trap that the exchange stamped with now, by its own clock.
fn published(skew_ms: i64) -> serde_json::Value {
    const NOW_MS: i64 = 1_723_075_200_000;
    let (said, heard) = channel();
    actix::System::new().block_on(async move {
        let mut tree = Tree::new(TreeConfig::new(Clock::manual(NOW_MS), 1));
        let group = tree.group("all", Strategy::OneForOne, Budgets::default());
        let (to_writer, to_recorder) = (tree.port(&crate::actors::writer::CARD), tree.port(&card()));
        let ear: Factory<Ear> = Arc::new(move |_, _| Ok(Ear(said.clone())));
        tree.room(group, crate::actors::writer::CARD, to_writer.clone(), ear);
        let (symbols, skew) = (Arc::new(Symbols::usdt(["BTCUSDT"])), Skew::default());
        skew.set(skew_ms);
        let recorder = TrapRecorder::factory(symbols, skew, Metrics::default(), to_writer);
        tree.room(group, card(), to_recorder.clone(), recorder);
        let running = tree.start();
        let sent = to_recorder.send(RecorderMsg::TrapDetected(Box::new(trap(NOW_MS + skew_ms)))).await;
        assert!(sent.is_ok());
        // Ordered: what was sent is handled before the rooms end.
        running.stop(&[group], Duration::from_secs(30)).await;
    });
    let texts: Vec<(String, String)> = heard.try_iter().collect();
    let found = texts.iter().rfind(|(name, _)| name == "current_trap_probability").expect("published");
    serde_json::from_str(&found.1).expect("JSON")
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
