//! Coin-margined contracts: sizes, margin, profit and fees in the base coin.

use super::*;

fn coins(margin_mode: MarginMode) -> Account {
    Account::new(AccountConfig {
        coin: "BTC".to_owned(),
        product: Product::CoinFutures,
        balance: dec("1"),
        margin_mode,
        ..AccountConfig::default()
    })
}

/// The recorded coin-margined row of ccxt #16779: 0.001 at 22918, 20x, mark 22894.21.
#[test]
fn a_recorded_row_is_reproduced() {
    let mut account = coins(MarginMode::Crossed);
    account.execute(order("BTCUSD", OrderSide::Buy, Effect::Net, "0.001"), dec("22918"), NOW).unwrap();
    account.mark("BTCUSD", dec("22894.21"));
    let row = account.position("BTCUSD", HoldSide::Long).unwrap();
    assert_eq!((row.entry_price, row.margin), (dec("22918"), dec("0.00005")));
    // The recording says -0.000001038121 with two digits more of its entry price than it shows.
    assert_eq!(row.unrealised_pnl, dec("-0.00000104"));
    // 0.001 × 0.0006, and 0.001 × 0.004.
    assert_eq!((row.open_fee, row.maintenance_margin), (dec("0.0000006"), dec("0.000004")));
}

#[test]
fn profit_is_the_dollar_profit_in_coins_at_the_exit() {
    for (side, exit, profit) in [
        // 0.5 × (1 - 50000/62500) = 0.1, and 0.5 × (1 - 50000/40000) = -0.125.
        (OrderSide::Buy, "62500", "0.1"),
        (OrderSide::Buy, "40000", "-0.125"),
        (OrderSide::Sell, "62500", "-0.1"),
        (OrderSide::Sell, "40000", "0.125"),
    ] {
        let mut account = coins(MarginMode::Crossed);
        account.execute(order("BTCUSD", side, Effect::Net, "0.5"), dec("50000"), NOW).unwrap();
        let back = if side == OrderSide::Buy { OrderSide::Sell } else { OrderSide::Buy };
        let closed = account.execute(order("BTCUSD", back, Effect::Close, "0.5"), dec(exit), NOW).unwrap();
        assert_eq!(closed.fills[0].profit, dec(profit), "{side:?} {exit}");
        // Both fees are 0.5 × 0.0006 coins, whatever the price.
        assert_eq!(account.balance(), dec("1") + dec(profit) - dec("0.0006"), "{side:?} {exit}");
    }
}

#[test]
fn the_average_of_adds_is_weighted_by_size() {
    let mut account = coins(MarginMode::Crossed);
    account.execute(order("BTCUSD", OrderSide::Buy, Effect::Net, "1"), dec("40000"), NOW).unwrap();
    account.execute(order("BTCUSD", OrderSide::Buy, Effect::Net, "3"), dec("60000"), NOW).unwrap();
    let row = account.position("BTCUSD", HoldSide::Long).unwrap();
    assert_eq!((row.entry_price, row.margin), (dec("55000"), dec("0.2")));
}

#[test]
fn funding_is_paid_in_coins_on_the_size() {
    let mut account = coins(MarginMode::Crossed);
    account.execute(order("BTCUSD", OrderSide::Sell, Effect::Net, "2"), dec("50000"), NOW).unwrap();
    account.mark("BTCUSD", dec("70000"));
    account.funding("BTCUSD", dec("0.0001"), NOW);
    assert_eq!(account.funding_received(), dec("0.0002"), "shorts receive 2 × 0.0001");
}

#[test]
fn margin_is_asked_for_in_coins() {
    let mut account = coins(MarginMode::Crossed);
    // 1 coin at 20x carries 20 less the fee: 20/20 + 20 × 0.0006 > 1.
    let refused = account.execute(order("BTCUSD", OrderSide::Buy, Effect::Net, "20"), dec("50000"), NOW);
    assert!(matches!(refused, Err(OrderRefused::Balance { needed, .. }) if needed == dec("1.012")), "{refused:?}");
    assert!(account.execute(order("BTCUSD", OrderSide::Buy, Effect::Net, "19"), dec("50000"), NOW).is_ok());
}
