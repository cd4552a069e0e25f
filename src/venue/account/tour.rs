//! The tour that a demonstration makes: every kind of change a position can go through, on both sides.

use super::script::{Amount, Instruction, Script, Step};
use crate::domain::position::{HoldMode, HoldSide};
use rust_decimal::Decimal;

const ROUND_MS: i64 = 20_000;
/// Symbols follow each other by this much, so that frames with several positions in different states occur.
const STAGGER_MS: i64 = 130;

pub(super) fn default_tour(symbols: &[String]) -> Script {
    let mut steps = Vec::new();
    for (place, symbol) in symbols.iter().take(Script::TOUR_SYMBOLS).enumerate() {
        let late_ms = STAGGER_MS * i64::try_from(place).unwrap_or_default();
        // Every other symbol begins on the short side.
        let (first, second) =
            if place % 2 == 0 { (HoldSide::Long, HoldSide::Short) } else { (HoldSide::Short, HoldSide::Long) };
        let mut at = |at_ms: i64, only_in: HoldMode, instruction: Instruction| {
            steps.push(Step { at_ms: at_ms + late_ms, account: None, only_in: Some(only_in), instruction });
        };
        let open = |side, value| Instruction::Open {
            symbol: symbol.clone(),
            side,
            amount: worth(value),
            slip_bps: Decimal::ZERO,
        };
        let reduce = |side, value| Instruction::Close { symbol: symbol.clone(), side, amount: worth(value) };
        let close = |side| Instruction::Close { symbol: symbol.clone(), side, amount: Amount::All };

        at(500, HoldMode::OneWay, open(first, 1_000));
        at(2_000, HoldMode::OneWay, open(first, 500));
        at(3_000, HoldMode::OneWay, Instruction::Funding { symbol: symbol.clone(), rate: Decimal::new(1, 4) });
        at(4_000, HoldMode::OneWay, reduce(first, 600));
        at(6_000, HoldMode::OneWay, Instruction::Flip { symbol: symbol.clone() });
        at(8_000, HoldMode::OneWay, open(second, 400));
        at(9_500, HoldMode::OneWay, reduce(second, 700));
        at(11_000, HoldMode::OneWay, close(second));

        at(13_500, HoldMode::Hedge, open(HoldSide::Long, 800));
        at(14_000, HoldMode::Hedge, open(HoldSide::Short, 600));
        at(15_000, HoldMode::Hedge, reduce(HoldSide::Long, 300));
        at(16_000, HoldMode::Hedge, close(HoldSide::Short));
        at(17_000, HoldMode::Hedge, close(HoldSide::Long));
    }
    if !steps.is_empty() {
        // Refused while anything is open, for example by the control door: then the hedge steps are skipped.
        let switch = |at_ms, from, to| Step {
            at_ms,
            account: None,
            only_in: Some(from),
            instruction: Instruction::HoldMode(to),
        };
        steps.push(switch(13_000, HoldMode::OneWay, HoldMode::Hedge));
        steps.push(switch(19_000, HoldMode::Hedge, HoldMode::OneWay));
        steps.sort_by_key(|step| step.at_ms);
    }
    Script::new(steps, Some(ROUND_MS))
}

fn worth(value: i64) -> Amount {
    Amount::Value(Decimal::from(value))
}
