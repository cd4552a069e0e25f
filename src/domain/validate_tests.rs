use super::*;
use crate::domain::market::{Interval, TakerSide};
use crate::domain::symbol::SymbolId;
use proptest::prelude::*;

const NOW: i64 = 1_800_000_000_000;
const BTC: SymbolId = SymbolId(0);

fn dec(text: &str) -> Decimal {
    text.parse().expect("decimal")
}

fn ticker(last: &str, at_ms: i64) -> Ticker {
    Ticker {
        symbol: BTC,
        exchange_time_ms: at_ms,
        last: dec(last),
        bid: None,
        bid_size: None,
        ask: None,
        ask_size: None,
        mark: None,
        index: None,
        funding_rate: None,
        next_funding_time_ms: None,
        open_interest: None,
        volume_24h: None,
    }
}

fn trade(price: &str, id: u64, at_ms: i64) -> Trade {
    Trade {
        symbol: BTC,
        exchange_time_ms: at_ms,
        price: dec(price),
        size: dec("0.01"),
        side: TakerSide::Buy,
        id,
        history: false,
    }
}

#[test]
fn age_is_judged_on_both_sides_of_each_limit() {
    let rules = MarketRules::default();
    let cases = [
        ("new", 0, 0, Ok(())),
        ("at the limit", 5_000, 0, Ok(())),
        ("past it", 5_001, 0, Err(Refusal::Stale)),
        ("as far ahead as may be", -1_000, 0, Ok(())),
        ("further ahead", -1_001, 0, Err(Refusal::Future)),
        ("our clock is a minute slow", -60_000, 60_000, Ok(())),
        ("our clock is a minute fast", 60_000, -60_000, Ok(())),
        ("skewed and stale", 65_001, -60_000, Err(Refusal::Stale)),
    ];
    for (name, age_ms, offset_ms, expected) in cases {
        assert_eq!(check_age(NOW - age_ms, NOW, offset_ms, &rules), expected, "case: {name}");
    }
    assert_eq!(check_age(i64::MIN, NOW, 0, &rules), Err(Refusal::Stale), "no overflow");
    assert_eq!(check_age(i64::MAX, NOW, 0, &rules), Err(Refusal::Future), "no overflow");
}

#[test]
fn a_ticker_that_cannot_be_true_is_refused() {
    let cases: [(&str, fn(&mut Ticker), Result<(), Refusal>); 10] = [
        ("plain", |_| {}, Ok(())),
        ("zero price", |t| t.last = Decimal::ZERO, Err(Refusal::NotPositive)),
        ("negative price", |t| t.last = dec("-1"), Err(Refusal::NotPositive)),
        ("the largest price", |t| t.last = dec("10000000000000000"), Ok(())),
        ("beyond it", |t| t.last = dec("10000000000000001"), Err(Refusal::OutOfRange)),
        ("zero bid", |t| t.bid = Some(Decimal::ZERO), Err(Refusal::NotPositive)),
        ("negative size", |t| t.bid_size = Some(dec("-0.1")), Err(Refusal::OutOfRange)),
        ("locked book", |t| (t.bid, t.ask) = (Some(dec("5")), Some(dec("5"))), Ok(())),
        ("crossed book", |t| (t.bid, t.ask) = (Some(dec("5.01")), Some(dec("5"))), Err(Refusal::Crossed)),
        ("stale", |t| t.exchange_time_ms -= 5_001, Err(Refusal::Stale)),
    ];
    for (name, change, expected) in cases {
        let mut t = ticker("5", NOW);
        change(&mut t);
        assert_eq!(MarketGate::default().ticker(&t, NOW, 0, &MarketRules::default()), expected, "case: {name}");
    }
}

#[test]
fn time_never_goes_back() {
    let (mut gate, rules) = (MarketGate::default(), MarketRules::default());
    assert_eq!(gate.ticker(&ticker("5", NOW - 10), NOW, 0, &rules), Ok(()));
    assert_eq!(gate.ticker(&ticker("5", NOW - 10), NOW, 0, &rules), Ok(()), "the same moment may speak twice");
    assert_eq!(gate.ticker(&ticker("5", NOW - 11), NOW, 0, &rules), Err(Refusal::Regressed));
    assert_eq!(gate.trade(&trade("5", 1, NOW), NOW, 0, &rules), Ok(()));
    assert_eq!(gate.trade(&trade("5", 2, NOW - 1_000), NOW, 0, &rules), Ok(()), "within the reorder tolerance");
    assert_eq!(gate.trade(&trade("5", 3, NOW - 1_001), NOW, 0, &rules), Err(Refusal::Regressed));
}

#[test]
fn a_trade_counts_once() {
    let (mut gate, rules) = (MarketGate::default(), MarketRules::default());
    assert_eq!(gate.trade(&trade("5", 7, NOW), NOW, 0, &rules), Ok(()));
    assert_eq!(gate.trade(&trade("5", 7, NOW), NOW, 0, &rules), Err(Refusal::Duplicate));
    let replayed = Trade { history: true, ..trade("5", 7, NOW - 600_000) };
    assert_eq!(gate.trade(&replayed, NOW, 0, &rules), Err(Refusal::Duplicate), "history after a resubscription");
    let older = Trade { history: true, ..trade("5", 6, NOW - 600_000) };
    assert_eq!(gate.trade(&older, NOW, 0, &rules), Ok(()), "old history is not stale data");
    for id in 100..100 + TRADE_IDS as u64 {
        assert_eq!(gate.trade(&trade("5", id, NOW), NOW, 0, &rules), Ok(()));
    }
    assert!(gate.ids.len() == TRADE_IDS && gate.id_set.len() == TRADE_IDS, "the memory of ids is bounded");
}

#[test]
fn a_step_beyond_the_band_needs_confirmation() {
    let (mut gate, rules) = (MarketGate::default(), MarketRules::default());
    let mut id = 0;
    let mut offer = |gate: &mut MarketGate, price: &str| {
        id += 1;
        gate.trade(&trade(price, id, NOW), NOW, 0, &rules)
    };
    assert_eq!(offer(&mut gate, "100"), Ok(()));
    assert_eq!(offer(&mut gate, "110"), Ok(()), "at the band");
    assert_eq!(offer(&mut gate, "121.01"), Err(Refusal::PriceBand), "past it");
    assert_eq!(offer(&mut gate, "110"), Ok(()), "the old level goes on");
    assert_eq!(offer(&mut gate, "150"), Err(Refusal::PriceBand), "first");
    assert_eq!(offer(&mut gate, "250"), Err(Refusal::PriceBand), "not the same level: first again");
    assert_eq!(offer(&mut gate, "251"), Err(Refusal::PriceBand), "second");
    assert_eq!(offer(&mut gate, "252"), Ok(()), "third in a row: the market moved");
    assert_eq!(offer(&mut gate, "110"), Err(Refusal::PriceBand), "and the old level is now far away");
    gate.on_gap();
    assert_eq!(offer(&mut gate, "110"), Ok(()), "after a gap any level may be the first");
}

#[test]
fn a_ticker_that_contradicts_a_fresh_trade_is_refused() {
    let rules = MarketRules::default();
    let cases = [
        ("in agreement", "100", NOW, Ok(())),
        ("at the band", "103", NOW, Ok(())),
        ("past it", "103.01", NOW, Err(Refusal::SourcesDisagree)),
        ("the trade is old by now", "103.01", NOW + 1_001, Ok(())),
    ];
    for (name, last, at_ms, expected) in cases {
        let mut gate = MarketGate::default();
        gate.trade(&trade("100", 1, NOW), NOW, 0, &rules).expect("trade");
        assert_eq!(gate.ticker(&ticker(last, at_ms), at_ms, 0, &rules), expected, "case: {name}");
    }
}

#[test]
fn the_accounts_words_may_not_come_from_far_ahead() {
    for (case, at_ms, offset_ms, expected) in [
        ("now", 0, 0, Ok(())),
        ("old news are news", -3_600_000, 0, Ok(())),
        ("at the limit", PRIVATE_FUTURE_MS, 0, Ok(())),
        ("beyond it", PRIVATE_FUTURE_MS + 1, 0, Err(Refusal::Future)),
        ("the exchange's clock is ahead, and we know it", 60_000, 60_000, Ok(())),
        ("it is behind", 60_000, -60_000, Err(Refusal::Future)),
    ] {
        assert_eq!(check_private_time(at_ms, 0, offset_ms), expected, "case: {case}");
    }
}

#[test]
fn a_candle_must_hold_together() {
    let good = Candle {
        symbol: BTC,
        exchange_time_ms: NOW,
        interval: Interval::M1,
        start_ms: NOW - 60_000,
        open: dec("10"),
        high: dec("12"),
        low: dec("9"),
        close: dec("11"),
        base_volume: Decimal::ZERO,
        quote_volume: None,
        history: false,
    };
    let cases: [(&str, fn(&mut Candle), Result<(), Refusal>); 7] = [
        ("plain, without volume", |_| {}, Ok(())),
        ("high below close", |c| c.high = dec("10.5"), Err(Refusal::Inconsistent)),
        ("low above open", |c| c.low = dec("10.5"), Err(Refusal::Inconsistent)),
        ("zero low", |c| c.low = Decimal::ZERO, Err(Refusal::NotPositive)),
        ("negative volume", |c| c.base_volume = dec("-1"), Err(Refusal::OutOfRange)),
        ("begins now", |c| c.start_ms = NOW + 1_000, Ok(())),
        ("begins later", |c| c.start_ms = NOW + 1_001, Err(Refusal::Future)),
    ];
    for (name, change, expected) in cases {
        let mut candle = good;
        change(&mut candle);
        assert_eq!(check_candle(&candle, NOW, 0, &MarketRules::default()), expected, "case: {name}");
    }
}

proptest! {
    /// Whatever comes, what is accepted is positive, fresh, in order and new.
    #[test]
    fn accepted_trades_keep_every_rule(
        rows in prop::collection::vec((-5_i64..2_000, 0_u64..400, -9_000_i64..3_000), 1..400)
    ) {
        let (mut gate, rules) = (MarketGate::default(), MarketRules::default());
        let (mut newest, mut seen) = (i64::MIN, VecDeque::new());
        for (price, id, at) in rows {
            let t = trade(&price.to_string(), id, NOW + at);
            if gate.trade(&t, NOW, 0, &rules).is_ok() {
                prop_assert!(t.price > Decimal::ZERO);
                prop_assert!((-rules.future_tolerance_ms..=rules.max_age_ms).contains(&(NOW - t.exchange_time_ms)));
                prop_assert!(newest == i64::MIN || t.exchange_time_ms >= newest - rules.reorder_tolerance_ms);
                prop_assert!(!seen.contains(&id));
                newest = newest.max(t.exchange_time_ms);
                seen.push_back(id);
                if seen.len() > TRADE_IDS { seen.pop_front(); }
            }
        }
    }
}
