//! Whatever a script says, for whichever accounts: the books of each balance, both generations tell the same of it,
//! and nobody else's account is touched.

use super::identities::{Witness, balanced, views_agree};
use super::*;
use crate::venue::account::script::Script;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NAMES: [&str; 3] = ["main", "desk-a", "desk-b"];

/// One line of a script, as a person might write it.
fn line() -> impl Strategy<Value = Value> {
    let symbol = prop_oneof![3 => Just("AUSDT"), 1 => Just("BUSDT")];
    let amount = prop_oneof![
        (1..2_000_i64).prop_map(|units| json!({ "size": Decimal::new(units, 3).to_string() })),
        (1..9_000_i64).prop_map(|value| json!({ "value": value })),
    ];
    let deed = prop_oneof![
        3 => prop_oneof![Just("buy"), Just("sell")].prop_map(|word| json!({ "do": word })),
        4 => (prop_oneof![Just("open"), Just("close")], prop_oneof![Just("long"), Just("short")])
            .prop_map(|(word, side)| json!({ "do": word, "side": side })),
        2 => (prop_oneof![Just("buy"), Just("sell")], any::<bool>(), 0..40_i64)
            .prop_map(|(side, reduce, away)| json!({ "do": "limit", "side": side, "reduce": reduce, "away_bps": away })),
        1 => Just(json!({ "do": "flip" })),
        1 => Just(json!({ "do": "cancel" })),
        1 => (0..3_000_i64, prop_oneof![Just("long"), Just("short")])
            .prop_map(|(units, side)| json!({ "do": "set", "side": side, "size": Decimal::new(units, 3).to_string() })),
        1 => (-400..400_i64).prop_map(|rate| json!({ "do": "funding", "rate": Decimal::new(rate, 5).to_string() })),
        1 => prop_oneof![Just("hedge"), Just("one_way")].prop_map(|mode| json!({ "do": "hold_mode", "mode": mode })),
        1 => prop_oneof![Just("crossed"), Just("isolated")].prop_map(|mode| json!({ "do": "margin_mode", "mode": mode })),
        1 => (1..126_i64).prop_map(|leverage| json!({ "do": "leverage", "leverage": leverage })),
    ];
    (deed, symbol, amount, proptest::option::of(0..3_usize)).prop_map(|(mut line, symbol, amount, name)| {
        let word = line["do"].as_str().unwrap_or_default().to_owned();
        if !matches!(word.as_str(), "hold_mode" | "margin_mode" | "leverage") {
            line["symbol"] = json!(symbol);
        }
        if let (true, Value::Object(amount)) =
            (matches!(word.as_str(), "buy" | "sell" | "open" | "close" | "limit"), amount)
        {
            amount.into_iter().for_each(|(key, value)| line[key] = value);
        }
        if let Some(name) = name {
            line["account"] = json!(NAMES[name]);
        }
        line
    })
}

proptest! {
    #[test]
    fn any_script_keeps_every_account_balanced_and_both_generations_agree(
        lines in proptest::collection::vec((line(), 9_000..11_000_i64), 1..50), inverse in any::<bool>(),
    ) {
        let mut script = String::new();
        for (turn, (line, _)) in lines.iter().enumerate() {
            let mut line = line.clone();
            line["at_ms"] = json!(turn);
            script.push_str(&format!("{line}\n"));
        }
        let mut script = Script::from_json_lines(&script).expect("every line is a step");
        let product = if inverse { Product::CoinFutures } else { Product::UsdtFutures };
        let coin = if inverse { "A" } else { "USDT" };
        let start = Decimal::from(if inverse { 500 } else { 20_000 });
        let mut accounts: BTreeMap<&str, (Account, Witness)> = NAMES.iter().enumerate().map(|(id, name)| {
            let seed = (id as u64) << 32;
            let config = AccountConfig { product, coin: coin.to_owned(), balance: start, seed, ..AccountConfig::default() };
            (*name, (Account::new(config), Witness::default()))
        }).collect();
        let rate = |maker: bool| if maker { Decimal::new(2, 4) } else { Decimal::new(6, 4) };
        for (turn, (_, price)) in lines.iter().enumerate() {
            let (now_ms, price) = (NOW + turn as i64, Decimal::new(*price, 2));
            for (account, witness) in accounts.values_mut() {
                account.mark("AUSDT", price);
                account.mark("BUSDT", price);
                let touch = liquidation::touch(price, Decimal::new(500, 3));
                witness.see(&account.meet("AUSDT", touch, now_ms), inverse, &rate);
                witness.see(&account.liquidate(now_ms), inverse, &rate);
            }
            for step in script.due(turn as i64) {
                let mover = step.account.clone().unwrap_or_else(|| NAMES[0].to_owned());
                let before: BTreeMap<&str, String> =
                    accounts.iter().map(|(name, (account, _))| (*name, format!("{account:?}"))).collect();
                let (account, witness) = accounts.get_mut(mover.as_str()).expect("an account");
                let refused = match account.follow(&step, Some(price), Decimal::new(1, 3), now_ms) {
                    Ok(happened) => {
                        witness.see(&happened, inverse, &rate);
                        false
                    }
                    Err(_) => true,
                };
                for (name, (account, _)) in &accounts {
                    if *name != mover || refused && step.instruction.symbol().is_none() {
                        prop_assert_eq!(&before[name], &format!("{account:?}"), "{} moved {}", mover, name);
                    }
                }
            }
            for (account, witness) in accounts.values() {
                balanced(account, witness, start)?;
            }
        }
        for (account, witness) in accounts.values() {
            views_agree(account, witness)?;
        }
        let mut ids: Vec<u64> = accounts.values().flat_map(|(account, _)| account.fills().map(|f| f.trade_id)).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), all, "no id twice, over all accounts");
    }
}
