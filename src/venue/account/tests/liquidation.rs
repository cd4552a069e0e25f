//! When a holding is taken over, at what price, and what is left.

use super::*;
use crate::venue::account::liquidation::Touch;

pub(super) fn touch(bid: Decimal, there: Decimal) -> Touch {
    Touch { bid, bid_size: there, ask: bid + Decimal::new(1, 2), ask_size: there }
}

fn with(product: Product, margin_mode: MarginMode, hold_mode: HoldMode, balance: &str) -> Account {
    Account::new(AccountConfig {
        coin: if product == Product::CoinFutures { "X" } else { "USDT" }.to_owned(),
        product,
        balance: dec(balance),
        margin_mode,
        hold_mode,
        leverage: dec("10"),
        maintenance_rate: dec("0.0094"),
        ..AccountConfig::default()
    })
}

/// Entry 1000, size 10, 10x, maintenance 0.94 %, fee 0.06 %: a burden of 1 %.
#[test]
fn the_price_of_liquidation_is_exact_and_one_tick_before_it_nothing_happens() {
    use Product::{CoinFutures, UsdtFutures};
    for (name, product, side, price, before, at) in [
        // (10000 - 1000) / (10 × 0.99)
        ("linear long", UsdtFutures, OrderSide::Buy, "909.090909090909", "909.091", "909.09"),
        // (10000 + 1000) / (10 × 1.01)
        ("linear short", UsdtFutures, OrderSide::Sell, "1089.108910891089", "1089.108", "1089.109"),
        // 10000 / (10 × 0.99 + 1)
        ("coin long", CoinFutures, OrderSide::Buy, "917.43119266055", "917.44", "917.43"),
        // 10000 / (10 × 1.01 - 1)
        ("coin short", CoinFutures, OrderSide::Sell, "1098.901098901099", "1098.901", "1098.902"),
    ] {
        let mut account = with(product, MarginMode::Isolated, HoldMode::OneWay, "5000");
        account.execute(order("XUSDT", side, Effect::Net, "10"), dec("1000"), NOW).unwrap();
        let row = &account.positions()[0];
        assert_eq!(row.liquidation_price, dec(price), "{name}");
        account.mark("XUSDT", dec(before));
        assert!(account.liquidate(NOW).is_empty(), "{name} at {before}");
        account.mark("XUSDT", dec(at));
        let taken = account.liquidate(NOW + 1);
        assert!(account.is_flat(), "{name} at {at}");
        assert!(taken.orders.iter().all(|o| o.liquidation) && taken.fills.len() == 1, "{name}: {taken:?}");
        assert_eq!((taken.fills[0].price, taken.fills[0].maker), (dec(at), false), "{name}");
        assert_eq!(taken.history.len(), 1, "{name}");
    }
}

#[test]
fn an_isolated_loss_ends_at_its_margin_however_far_the_price_jumps() {
    for (side, jump) in [(OrderSide::Buy, "200"), (OrderSide::Sell, "9000")] {
        let mut account = with(Product::UsdtFutures, MarginMode::Isolated, HoldMode::OneWay, "5000");
        account.execute(order("XUSDT", side, Effect::Net, "10"), dec("1000"), NOW).unwrap();
        let before = account.balance();
        account.mark("XUSDT", dec(jump));
        account.liquidate(NOW);
        let lost = before - account.balance();
        assert!(lost <= dec("1000") && lost > dec("999.99"), "{side:?}: {lost} of a margin of 1000");
    }
}

#[test]
fn a_crossed_account_is_taken_over_the_largest_first_and_never_owes() {
    let mut account = with(Product::UsdtFutures, MarginMode::Crossed, HoldMode::OneWay, "1500");
    account.execute(order("AUSDT", OrderSide::Buy, Effect::Net, "2"), dec("1000"), NOW).unwrap();
    account.execute(order("BUSDT", OrderSide::Buy, Effect::Net, "8"), dec("1000"), NOW).unwrap();
    account.place_limit(order("BUSDT", OrderSide::Buy, Effect::Net, "1"), dec("900"), NOW).unwrap();
    account.mark("BUSDT", dec("500"));
    let taken = account.liquidate(NOW);
    assert_eq!(taken.fills[0].symbol, "BUSDT", "{taken:?}");
    assert_eq!(account.waiting_orders().count(), 0, "its resting orders went first");
    assert!(account.balance() >= dec("-0.00000001"), "{}", account.balance());
}

#[test]
fn both_sides_of_a_hedge_stand_for_themselves() {
    let mut account = with(Product::UsdtFutures, MarginMode::Isolated, HoldMode::Hedge, "5000");
    account.execute(order("XUSDT", OrderSide::Buy, Effect::Open, "10"), dec("1000"), NOW).unwrap();
    account.execute(order("XUSDT", OrderSide::Sell, Effect::Open, "10"), dec("1000"), NOW).unwrap();
    account.mark("XUSDT", dec("900"));
    account.liquidate(NOW);
    assert_eq!(account.positions().iter().map(|p| p.side).collect::<Vec<_>>(), [HoldSide::Short]);
}

#[test]
fn resting_orders_fill_in_parts_at_their_own_price_when_the_market_comes() {
    let mut account = account(HoldMode::OneWay);
    account.place_limit(order("XUSDT", OrderSide::Buy, Effect::Net, "5"), dec("99"), NOW).unwrap();
    let at = |ask: &str, there: &str| Touch { bid: dec("1"), bid_size: dec("9"), ask: dec(ask), ask_size: dec(there) };
    assert!(account.meet("XUSDT", at("99.01", "9"), NOW).is_empty(), "not reached");
    assert!(account.meet("YUSDT", at("98", "9"), NOW).is_empty(), "another symbol");
    let part = account.meet("XUSDT", at("98", "2"), NOW);
    assert_eq!((part.fills[0].price, part.fills[0].size, part.fills[0].maker), (dec("99"), dec("2"), true));
    assert_eq!(part.orders.last().unwrap().status, OrderStatus::PartiallyFilled);
    let rest = account.meet("XUSDT", at("99", "7"), NOW);
    assert_eq!((rest.fills[0].size, rest.orders.last().unwrap().status), (dec("3"), OrderStatus::Filled));
    // 5 × 99 × 0.0002
    assert_eq!(account.fees(), dec("0.099"));
}
