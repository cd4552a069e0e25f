use super::*;
use crate::domain::account::FillEffect;
use crate::domain::position::{HoldMode, MarginMode, Position};
use crate::domain::report::Origin;
use proptest::prelude::*;

const BTC: SymbolId = SymbolId(0);

fn dec(text: &str) -> Decimal {
    text.parse().expect("decimal")
}

fn picture(size: &str, leverage: &str) -> PositionPicture {
    let position = Position {
        symbol: BTC,
        side: HoldSide::Long,
        size: dec(size),
        available: None,
        entry_price: dec("60000"),
        mark_price: None,
        unrealised_pnl: None,
        leverage: dec(leverage),
        margin_mode: MarginMode::Crossed,
        hold_mode: HoldMode::OneWay,
        margin: None,
        liquidation_price: None,
        break_even_price: None,
        total_fee: None,
        update_time_ms: 0,
    };
    let holding = if position.size.is_zero() { Holding::Flat } else { Holding::Open(position) };
    PositionPicture {
        symbol: BTC,
        side: HoldSide::Long,
        holding,
        update_time_ms: 0,
        verified_ms: 0,
        source: Origin::Socket,
        seq: 1,
    }
}

fn account(available: Option<&str>) -> AccountState {
    AccountState {
        coin: "USDT".into(),
        exchange_time_ms: 0,
        equity: None,
        available: available.map(dec),
        frozen: None,
        unrealised_pnl: None,
    }
}

fn fill(side: OrderSide, price: &str) -> Fill {
    Fill {
        symbol: BTC,
        exchange_time_ms: 0,
        trade_id: "1".into(),
        order_id: "1".into(),
        client_order_id: None,
        side,
        hold_side: None,
        effect: FillEffect::Net,
        price: dec(price),
        size: dec("0.001"),
        fee: Decimal::ZERO,
        fee_coin: "USDT".into(),
        profit: Decimal::ZERO,
    }
}

fn closed() -> Breaker {
    let mut breaker = Breaker::new(Limits::default(), 0);
    assert!(breaker.on_position(&picture("0.005", "10"), 1));
    assert_eq!(breaker.state(), State::Closed);
    breaker
}

#[test]
fn it_starts_open_and_one_good_reading_closes_it() {
    let mut breaker = Breaker::new(Limits::default(), 0);
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.cause().map(|c| c.rule), Some(Rule::NoReading));
    breaker.on_time(1_000_000);
    assert_eq!(breaker.state(), State::Open, "time alone is no reading");
    assert!(!breaker.on_account(&account(None), 1_000_001), "an answer without a balance is no reading");
    assert_eq!(breaker.state(), State::Open);
    assert!(breaker.on_account(&account(Some("100")), 1_000_002));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn both_sides_of_each_limit() {
    let cases: [(&str, fn(&mut Breaker) -> bool, Option<Rule>); 12] = [
        ("size at the limit", |b| b.on_position(&picture("0.01", "10"), 10), None),
        ("size past it", |b| b.on_position(&picture("0.0100001", "10"), 10), Some(Rule::PositionSize)),
        ("leverage at the limit", |b| b.on_position(&picture("0.01", "20"), 10), None),
        ("leverage past it", |b| b.on_position(&picture("0.01", "20.1"), 10), Some(Rule::Leverage)),
        ("margin at the limit", |b| b.on_account(&account(Some("100")), 10), None),
        ("margin below it", |b| b.on_account(&account(Some("99.99")), 10), Some(Rule::Margin)),
        ("slippage at the limit", |b| b.on_fill(&fill(OrderSide::Buy, "60120"), dec("60000"), 10), None),
        ("slippage past it", |b| b.on_fill(&fill(OrderSide::Buy, "60120.1"), dec("60000"), 10), Some(Rule::Slippage)),
        ("a sale at the limit", |b| b.on_fill(&fill(OrderSide::Sell, "59880"), dec("60000"), 10), None),
        ("a sale past it", |b| b.on_fill(&fill(OrderSide::Sell, "59879.9"), dec("60000"), 10), Some(Rule::Slippage)),
        ("a better price is no slippage", |b| b.on_fill(&fill(OrderSide::Buy, "50000"), dec("60000"), 10), None),
        ("no market price, no judgement", |b| b.on_fill(&fill(OrderSide::Buy, "70000"), Decimal::ZERO, 10), None),
    ];
    for (name, act, expected) in cases {
        let mut breaker = closed();
        let changed = act(&mut breaker);
        assert_eq!(breaker.cause().map(|c| c.rule), expected, "case: {name}");
        assert_eq!(changed, expected.is_some(), "case: {name}");
        assert_eq!(breaker.opened_total(), u64::from(expected.is_some()), "case: {name}");
    }
}

#[test]
fn it_tries_again_after_the_cool_down_and_needs_a_good_reading() {
    let mut breaker = closed();
    assert!(breaker.on_position(&picture("1", "10"), 100));
    assert!(!breaker.on_time(100_000), "the position is still too large");
    assert_eq!(breaker.state(), State::Open);
    assert!(!breaker.on_position(&picture("0", "10"), 200_000), "flat now, but not yet quiet for the cool-down");
    assert!(!breaker.on_time(204_999), "one ms before the cool-down ends");
    assert_eq!(breaker.state(), State::Open);
    assert!(breaker.on_time(205_000), "cooled down");
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(!breaker.on_time(900_000), "time alone does not close it");
    assert!(breaker.on_position(&picture("0.001", "10"), 900_001));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.cause(), None);
}

#[test]
fn a_bad_reading_while_trying_opens_it_again() {
    let mut breaker = closed();
    breaker.on_account(&account(Some("1")), 100);
    breaker.on_account(&account(Some("1000")), 200);
    breaker.on_time(6_000);
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.on_account(&account(Some("1")), 6_001));
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.opened_total(), 2);
}

#[test]
fn stale_account_data_opens_it() {
    let mut breaker = closed();
    assert!(breaker.on_freshness(true, 10));
    assert_eq!(breaker.cause().map(|c| c.rule), Some(Rule::Stale));
    assert!(!breaker.on_freshness(false, 20), "fresh again, not yet cool");
    assert!(breaker.on_time(6_000));
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[derive(Clone, Debug)]
enum Step {
    Position(u32, u32),
    Account(u32),
    Fill(u32),
    Stale(bool),
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u32..20, 1_u32..40).prop_map(|(size, leverage)| Step::Position(size, leverage)),
        (0_u32..200).prop_map(Step::Account),
        (59_000_u32..61_000).prop_map(Step::Fill),
        any::<bool>().prop_map(Step::Stale),
        (0_i64..9_000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Closed only while every standing reading keeps its limit, and never sooner than the cool-down after a bad one.
    #[test]
    fn closed_means_within_limits(steps in prop::collection::vec(step(), 1..80)) {
        let mut breaker = Breaker::new(Limits::default(), 0);
        let (mut now, mut last_bad) = (0_i64, i64::MIN / 2);
        let (mut position_ok, mut margin_ok, mut fresh, mut read) = (true, true, true, false);
        for step in steps {
            now += 1;
            match step {
                Step::Position(size, leverage) => {
                    position_ok = size == 0 || (size <= 10 && leverage <= 20);
                    read = true;
                    breaker.on_position(&picture(&Decimal::new(size.into(), 3).to_string(), &leverage.to_string()), now);
                }
                Step::Account(available) => {
                    margin_ok = available >= 100;
                    read = true;
                    breaker.on_account(&account(Some(&available.to_string())), now);
                }
                Step::Fill(price) => {
                    if price > 60_120 { last_bad = now; }
                    breaker.on_fill(&fill(OrderSide::Buy, &price.to_string()), dec("60000"), now);
                }
                Step::Stale(stale) => { fresh = !stale; breaker.on_freshness(stale, now); }
                Step::Wait(ms) => { now += ms; breaker.on_time(now); }
            }
            if !(position_ok && margin_ok && fresh) { last_bad = now; }
            if breaker.state() == State::Closed {
                prop_assert!(read && position_ok && margin_ok && fresh);
                prop_assert!(now - last_bad >= Limits::default().cool_down_ms);
            }
            if !(position_ok && margin_ok && fresh) { prop_assert_eq!(breaker.state(), State::Open); }
        }
    }
}
