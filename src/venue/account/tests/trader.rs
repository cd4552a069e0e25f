//! The random trader and the shipped scripts, through hours of market, in both kinds of arithmetic.

use super::*;
use crate::venue::account::liquidation::Touch;
use crate::venue::account::script::{Amount, Instruction, Script, Step};
use crate::venue::account::trader::Trader;
use crate::venue::account::{record, shipped};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};

/// What one run did, and what its truth log says.
#[derive(Default)]
struct Run {
    seen: BTreeSet<String>,
    refused: usize,
    done: usize,
    lines: Vec<serde_json::Value>,
}

fn run(seed: u64, product: Product, seconds: i64) -> (Run, Account) {
    let symbols: Vec<String> = ["AUSD", "BUSD", "CUSD"].map(str::to_owned).to_vec();
    let (balance, usual) = if product == Product::CoinFutures { ("50", 1_500.0) } else { ("50000", 1_500.0) };
    let coin = if product == Product::CoinFutures { "A" } else { "USDT" }.to_owned();
    let mut account =
        Account::new(AccountConfig { product, coin, balance: dec(balance), seed, ..AccountConfig::default() });
    let mut trader = Trader::new(&symbols, usual, seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut prices: Vec<Decimal> = vec![dec("1000.00"), dec("20.000"), dec("0.5000")];
    let mut out = Run::default();
    for now_ms in (0..seconds * 1_000).step_by(100) {
        let mut happened = Vec::new();
        for (symbol, price) in symbols.iter().zip(&mut prices) {
            let moved = *price * (Decimal::ONE + Decimal::new(rng.random_range(-40..=40), 5));
            *price = moved.round_dp(price.scale()).max(Decimal::new(100, 4));
            price.rescale(4);
            account.mark(symbol, *price);
            let tick = Decimal::new(1, 4);
            let there = Decimal::from(rng.random_range(1..400_i64)) / *price;
            let there = there.round_dp(3).max(dec("0.001"));
            let touch = Touch { bid: *price - tick, bid_size: there, ask: *price + tick, ask_size: there };
            happened.push(account.meet(symbol, touch, NOW + now_ms));
        }
        if now_ms % 30_000 == 0 {
            happened.extend(symbols.iter().map(|symbol| account.funding(symbol, dec("0.0003"), NOW + now_ms)));
        }
        happened.push(account.liquidate(NOW + now_ms));
        for instruction in trader.due(now_ms, &account) {
            let price = instruction.symbol().and_then(|s| symbols.iter().position(|n| n == s)).map(|i| prices[i]);
            out.seen.insert(format!("{instruction:?}").split([' ', '(']).next().unwrap_or_default().to_owned());
            let step = Step { at_ms: now_ms, account: None, only_in: None, instruction };
            match account.follow(&step, price, dec("0.001"), NOW + now_ms) {
                Ok(done) => {
                    out.done += 1;
                    happened.push(done);
                }
                Err(_) => out.refused += 1,
            }
        }
        for happened in happened.iter().filter(|h| !h.is_empty()) {
            out.lines.extend(record::lines("main", &account, happened, NOW + now_ms));
        }
    }
    (out, account)
}

fn number(line: &serde_json::Value, field: &str) -> Decimal {
    dec(line[field].as_str().unwrap_or_else(|| panic!("{field} in {line}")))
}

#[test]
fn whatever_the_random_trader_does_the_truth_log_alone_gives_the_account_back() {
    for product in [Product::UsdtFutures, Product::CoinFutures] {
        for seed in 0..6 {
            let (run, account) = run(seed, product, 900);
            let place = format!("seed {seed}, {product:?}");
            let (mut sizes, mut shown) = (BTreeMap::new(), BTreeMap::new());
            let (mut fees, mut profit) = (Decimal::ZERO, Decimal::ZERO);
            let (mut liquidated, mut partial) = (0, 0);
            for line in &run.lines {
                let key = |side: &str| format!("{} {}", line["symbol"], line[side]);
                match line["kind"].as_str().expect("a kind") {
                    "fill" => {
                        let size: &mut Decimal = sizes.entry(key("hold_side")).or_default();
                        let change = number(line, "size");
                        *size += if line["effect"] == "close" { -change } else { change };
                        fees += number(line, "fee");
                        profit += number(line, "profit");
                        liquidated += usize::from(line["liquidation"] == true);
                    }
                    "position" => {
                        shown.insert(key("side"), number(line, "size"));
                    }
                    "order" => partial += usize::from(line["status"] == "partially_filled"),
                    _ => {}
                }
            }
            sizes.retain(|_, size| !size.is_zero());
            shown.retain(|_, size| !size.is_zero());
            let truth: BTreeMap<String, Decimal> =
                account.positions().iter().map(|p| (format!("{:?} {:?}", p.symbol, p.side.label()), p.size)).collect();
            assert_eq!(sizes, truth, "{place}: fills");
            assert_eq!(shown, truth, "{place}: positions");
            assert_eq!((fees, profit), (account.fees(), account.realised()), "{place}");
            let start = account.config().balance;
            assert_eq!(account.balance(), start + profit - fees + account.funding_received(), "{place}");
            assert!(run.done > 200 && run.refused < run.done, "{place}: {} done, {} refused", run.done, run.refused);
            assert!(liquidated > 0 && partial > 0, "{place}: {liquidated} liquidated, {partial} partial fills");
            for deed in ["Open", "Close", "Limit", "Cancel", "Flip", "HoldMode", "MarginMode", "Leverage"] {
                assert!(run.seen.contains(deed), "{place}: never {deed}: {:?}", run.seen);
            }
        }
    }
}

#[test]
fn the_same_seed_is_the_same_trader() {
    let lines = |seed| run(seed, Product::UsdtFutures, 60).0.lines;
    assert_eq!(lines(4), lines(4));
    assert_ne!(lines(4), lines(5));
}

#[test]
fn every_shipped_script_can_be_followed_and_does_what_its_name_says() {
    let symbols = vec!["XUSDT".to_owned()];
    let market = |symbol: &str| (symbol == "XUSDT").then(|| (dec("2000.00"), dec("0.01")));
    for (name, _) in shipped::list() {
        let script = shipped::named(name).expect(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut script = script.with_symbols(&symbols).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut accounts: BTreeMap<String, Account> = [""]
            .into_iter()
            .chain(script.accounts())
            .map(|name| (name.to_owned(), account(HoldMode::OneWay)))
            .collect();
        let named: Vec<(&str, &Account)> = accounts.iter().map(|(name, account)| (name.as_str(), account)).collect();
        script.rehearse(&named, market).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (mut rows_at_once, mut flips, mut liquidations, mut switches) = (0, 0, 0, 0);
        for now_ms in (0..40_000).step_by(100) {
            for account in accounts.values_mut() {
                account.mark("XUSDT", dec("2000"));
                liquidations += account.liquidate(NOW).fills.len();
            }
            let price = Some(dec("2000.00"));
            for step in script.due(now_ms) {
                let account = accounts.get_mut(step.account.as_deref().unwrap_or("")).expect("an account");
                let before = account.hold_mode();
                let done = account.follow(&step, price, dec("0.01"), NOW + now_ms);
                let done = done.unwrap_or_else(|e| panic!("{name} {step:?}: {e}"));
                flips += usize::from(done.positions.len() == 2);
                switches += usize::from(account.hold_mode() != before);
                rows_at_once = rows_at_once.max(account.positions().len());
            }
        }
        let fills: usize = accounts.values().map(|account| account.fills().count()).sum();
        let account = &accounts[""];
        match name {
            "quiet-holder" => assert_eq!((fills, account.positions().len()), (1, 1)),
            "scalper" => assert!(fills >= 12, "{fills}"),
            "hedge-pair" => assert_eq!(rows_at_once, 2),
            "flip-flop" => assert!(flips >= 9, "{flips}"),
            "liquidation" => assert_eq!((liquidations, account.is_flat()), (2, true)),
            "mode-switch" => assert!(switches >= 4, "{switches}"),
            "sub-accounts" => {
                let each: Vec<usize> = accounts.values().map(|account| account.fills().count()).collect();
                assert!(each.len() == 3 && each.iter().all(|fills| *fills >= 4), "{each:?}");
                assert_eq!((rows_at_once, switches), (2, 1), "one of them is hedged");
            }
            other => panic!("{other}: say here what it does"),
        }
    }
}

#[test]
fn an_impossible_script_names_its_step() {
    let symbols = vec!["XUSDT".to_owned()];
    let market = |symbol: &str| (symbol == "XUSDT").then(|| (dec("2000"), dec("0.01")));
    let open = r#"{"at_ms": 0, "do": "open", "symbol": "$1", "side": "long", "size": 1}"#;
    for (name, second, wanted) in [
        ("no such symbol", r#"{"at_ms":7,"do":"flip","symbol":"$2"}"#, "step 2 (at 7 ms): there is no symbol $2"),
        ("not traded", r#"{"at_ms":7,"do":"flip","symbol":"YUSDT"}"#, "step 2 (at 7 ms): the market does not trade"),
        ("nothing to close", r#"{"at_ms":7,"do":"close","symbol":"$1","side":"short"}"#, "step 2 (at 7 ms): no short"),
        ("too large", r#"{"at_ms":7,"do":"buy","symbol":"$1","size":5000}"#, "step 2 (at 7 ms): needs"),
        (
            "not flat",
            r#"{"at_ms":7,"do":"hold_mode","mode":"hedge"}"#,
            "step 2 (at 7 ms): positions or orders are open",
        ),
        (
            "nobody's",
            r#"{"at_ms":7,"do":"cancel","symbol":"$1","account":"desk-z"}"#,
            "step 2 (at 7 ms): there is no account \"desk-z\"",
        ),
    ] {
        let script = Script::from_json_lines(&format!(
            "{open}
{second}"
        ))
        .expect(name);
        let done = script.with_symbols(&symbols).and_then(|s| s.rehearse(&[("", &account(HoldMode::OneWay))], market));
        let error = done.expect_err(name).to_string();
        assert!(error.starts_with(wanted), "{name}: {error}");
    }
}

#[test]
fn a_limit_order_of_a_script_rests_behind_its_side() {
    let mut account = account(HoldMode::OneWay);
    let limit = |side, away: &str| Step {
        at_ms: 0,
        account: None,
        only_in: None,
        instruction: Instruction::Limit {
            symbol: "XUSDT".to_owned(),
            side,
            amount: Amount::Size(dec("1")),
            away_bps: dec(away),
            reduce: false,
        },
    };
    account.follow(&limit(OrderSide::Buy, "5"), Some(dec("2000.0")), dec("0.1"), NOW).unwrap();
    account.follow(&limit(OrderSide::Sell, "5"), Some(dec("2000.0")), dec("0.1"), NOW).unwrap();
    let limits: Vec<_> = account.waiting_orders().filter_map(|o| o.limit_price).collect();
    assert_eq!(limits, [dec("1999.0"), dec("2001.0")]);
}
