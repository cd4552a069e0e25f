//! Whatever is done to an account, its books balance.

use super::*;
use crate::venue::account::encode::{Query, v2, v2_rest, v3, v3_rest};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

const SYMBOLS: [&str; 2] = ["AUSDT", "BUSDT"];

#[derive(Clone, Debug)]
enum Deed {
    Execute { symbol: usize, buy: bool, close: bool, size: i64, price: i64 },
    Place { symbol: usize, buy: bool, close: bool, size: i64, price: i64 },
    FillOldest { size: i64, price: i64 },
    CancelOldest,
    Mark { symbol: usize, price: i64 },
    Fund { symbol: usize, rate: i64 },
    Set { symbol: usize, long: bool, size: i64, entry: Option<i64> },
    Switch(bool),
    Isolate(bool),
    Lever(i64),
    Meet { symbol: usize, bid: i64, there: i64 },
    Liquidate,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let trade = || (0..2_usize, any::<bool>(), any::<bool>(), 1..5_000_i64, 1..900_000_i64);
    let deed = prop_oneof![
        6 => trade().prop_map(|(symbol, buy, close, size, price)| Deed::Execute { symbol, buy, close, size, price }),
        2 => trade().prop_map(|(symbol, buy, close, size, price)| Deed::Place { symbol, buy, close, size, price }),
        3 => (1..5_000_i64, 1..900_000_i64).prop_map(|(size, price)| Deed::FillOldest { size, price }),
        1 => Just(Deed::CancelOldest),
        2 => (0..2_usize, 1..900_000_i64).prop_map(|(symbol, price)| Deed::Mark { symbol, price }),
        1 => (0..2_usize, -500..500_i64).prop_map(|(symbol, rate)| Deed::Fund { symbol, rate }),
        1 => (0..2_usize, any::<bool>(), 0..3_000_i64, proptest::option::of(1..900_000_i64))
            .prop_map(|(symbol, long, size, entry)| Deed::Set { symbol, long, size, entry }),
        1 => any::<bool>().prop_map(Deed::Switch),
        1 => any::<bool>().prop_map(Deed::Isolate),
        1 => (1..125_i64).prop_map(Deed::Lever),
        2 => (0..2_usize, 1..900_000_i64, 1..3_000_i64)
            .prop_map(|(symbol, bid, there)| Deed::Meet { symbol, bid, there }),
        2 => Just(Deed::Liquidate),
    ];
    proptest::collection::vec(deed, 1..60)
}

/// What fills alone say.
#[derive(Default)]
pub(super) struct Witness {
    sizes: BTreeMap<(String, HoldSide), Decimal>,
    /// Sum of all payments for contracts: sells bring, buys cost.
    cash: Decimal,
    fees: Decimal,
    profit: Decimal,
    fills: usize,
    ended: usize,
    /// Cost by holding, and the largest error of a profit against exact arithmetic.
    costs: BTreeMap<(String, HoldSide), Decimal>,
    error: Decimal,
}

impl Witness {
    pub(super) fn see(&mut self, happened: &Happened, inverse: bool, rate: &dyn Fn(bool) -> Decimal) {
        for fill in &happened.fills {
            let key = (fill.symbol.clone(), fill.hold_side);
            let held = self.sizes.get(&key).copied().unwrap_or_default();
            let cost = self.costs.entry(key).or_default();
            let expected = if fill.effect == Effect::Close {
                let part = *cost * fill.size / held;
                *cost -= part;
                let gain = if fill.hold_side == HoldSide::Long { fill.value() - part } else { part - fill.value() };
                if inverse { gain / fill.price } else { gain }
            } else {
                *cost += fill.value();
                Decimal::ZERO
            };
            self.error = self.error.max((fill.profit - expected).abs());
            let value = if inverse { fill.size } else { fill.value() };
            self.error = self.error.max((fill.fee - value * rate(fill.maker)).abs());
            let size = self.sizes.entry((fill.symbol.clone(), fill.hold_side)).or_default();
            match fill.effect {
                Effect::Close => *size -= fill.size,
                Effect::Open | Effect::Net => *size += fill.size,
            }
            match fill.side {
                OrderSide::Buy => self.cash -= fill.value(),
                OrderSide::Sell => self.cash += fill.value(),
            }
            self.fees += fill.fee;
            self.profit += fill.profit;
        }
        self.fills += happened.fills.len();
        self.ended += happened.history.len();
        self.sizes.retain(|_, size| !size.is_zero());
    }
}

fn act(account: &mut Account, deed: &Deed, now_ms: i64) -> Result<Happened, OrderRefused> {
    let size = |units: i64| Decimal::new(units, 3);
    let price = |units: i64| Decimal::new(units, 2);
    let order = |account: &Account, symbol: usize, buy: bool, close: bool, units: i64| MarketOrder {
        symbol: SYMBOLS[symbol].to_owned(),
        side: if buy { OrderSide::Buy } else { OrderSide::Sell },
        effect: match (close, account.hold_mode()) {
            (true, _) => Effect::Close,
            (false, HoldMode::OneWay) => Effect::Net,
            (false, HoldMode::Hedge) => Effect::Open,
        },
        hold_side: None,
        size: size(units),
        client_order_id: None,
    };
    match *deed {
        Deed::Execute { symbol, buy, close, size, price: at } => {
            account.execute(order(account, symbol, buy, close, size), price(at), now_ms)
        }
        Deed::Place { symbol, buy, close, size, price: at } => {
            account.place_limit(order(account, symbol, buy, close, size), price(at), now_ms)
        }
        Deed::FillOldest { size: units, price: at } => {
            let oldest = account.waiting_orders().next().map_or(0, |o| o.order_id);
            account.fill(oldest, price(at), size(units), now_ms)
        }
        Deed::CancelOldest => {
            let oldest = account.waiting_orders().next().map_or(0, |o| o.order_id);
            account.cancel(oldest, now_ms)
        }
        Deed::Mark { symbol, price: at } => {
            account.mark(SYMBOLS[symbol], price(at));
            Ok(Happened::default())
        }
        Deed::Fund { symbol, rate } => Ok(account.funding(SYMBOLS[symbol], Decimal::new(rate, 5), now_ms)),
        Deed::Set { symbol, long, size: units, entry } => {
            let side = if long { HoldSide::Long } else { HoldSide::Short };
            account.set_position(SYMBOLS[symbol], side, size(units), entry.map(price), now_ms)
        }
        Deed::Isolate(isolated) => {
            let mode = if isolated { MarginMode::Isolated } else { MarginMode::Crossed };
            account.set_margin_mode(mode).map(|()| Happened::default())
        }
        Deed::Lever(leverage) => account.set_leverage(Decimal::from(leverage)).map(|()| Happened::default()),
        Deed::Meet { symbol, bid, there } => {
            let (bid, there) = (price(bid), size(there));
            let touch = liquidation::touch(bid, there);
            Ok(account.meet(SYMBOLS[symbol], touch, now_ms))
        }
        Deed::Liquidate => {
            let happened = account.liquidate(now_ms);
            assert!(account.liquidate(now_ms).is_empty(), "one look takes over all that is due");
            Ok(happened)
        }
        Deed::Switch(hedge) => {
            let mode = if hedge { HoldMode::Hedge } else { HoldMode::OneWay };
            account.set_hold_mode(mode).map(|()| Happened::default())
        }
    }
}

fn rows(text: &str, path: &[&str]) -> Vec<Value> {
    let mut value: Value = serde_json::from_str(text).unwrap();
    for key in path {
        value = value[*key].take();
    }
    value.as_array().cloned().unwrap_or_default()
}

/// The same five facts of each position, by the names that this answer uses.
fn facts(rows: &[Value], names: [&str; 6]) -> Vec<String> {
    rows.iter().map(|row| names.map(|name| row[name].as_str().expect(name).to_owned()).join(" ")).collect()
}

/// What must hold of an account after everything that is done to it, given what its fills alone say.
pub(super) fn balanced(account: &Account, witness: &Witness, start: Decimal) -> Result<(), TestCaseError> {
    let positions = account.positions();
    let sizes: BTreeMap<_, _> = positions.iter().map(|p| ((p.symbol.clone(), p.side), p.size)).collect();
    prop_assert_eq!(&sizes, &witness.sizes, "sum of fills = position");
    prop_assert!(account.hold_mode() == HoldMode::Hedge || positions.windows(2).all(|p| p[0].symbol != p[1].symbol));
    prop_assert_eq!(account.fees(), witness.fees);
    prop_assert_eq!(account.realised(), witness.profit);
    prop_assert_eq!(account.balance(), start + account.realised() - account.fees() + account.funding_received());
    // From payments alone, without any average: what was paid and got, and what is held at the mark.
    let held: Decimal = positions
        .iter()
        .map(|p| match p.side {
            HoldSide::Long => p.size * p.mark_price,
            HoldSide::Short => -(p.size * p.mark_price),
        })
        .sum();
    if !account.is_inverse() {
        let equity = start + witness.cash - witness.fees + account.funding_received() + held;
        prop_assert_eq!(account.account_row().equity, equity);
    }
    // Each close rounds once, to the eighth decimal; what that leaves in the cost comes out with later ones.
    let bound = Decimal::new(1, 8) * Decimal::from(witness.fills.max(2) as u64);
    prop_assert!(witness.error <= bound, "profits and fees are off by {}", witness.error);
    for p in &positions {
        prop_assert!(p.frozen <= p.size && p.size > Decimal::ZERO);
    }
    Ok(())
}

/// Rows of v3 with the name that v2 uses: coin-margined ones must have their mark, others none.
fn plain(account: &Account, rows: Vec<String>) -> Result<Vec<String>, TestCaseError> {
    let mark = if account.is_inverse() { "_CM " } else { " " };
    let renamed = rows.iter().map(|row| row.replacen(mark, " ", 1)).collect();
    prop_assert!(rows.iter().all(|row| row.contains("_CM ") == account.is_inverse()), "{rows:?}");
    Ok(renamed)
}

/// Sockets and REST of both generations say the same of an account.
pub(super) fn views_agree(account: &Account, witness: &Witness) -> Result<(), TestCaseError> {
    let product = account.product();
    prop_assert_eq!(account.history().count(), witness.ended.min(500));

    let socket2 = rows(&v2::position_rows(account, product), &[]);
    let socket2 = facts(&socket2, ["instId", "holdSide", "total", "openPriceAvg", "unrealizedPL", "frozen"]);
    let rest2 = rows(&v2_rest::positions(account, product, None, NOW), &["data"]);
    prop_assert_eq!(
        &facts(&rest2, ["symbol", "holdSide", "total", "openPriceAvg", "unrealizedPL", "locked"]),
        &socket2
    );
    let socket3 = rows(&v3::positions_snapshot(account, NOW), &["data"]);
    let socket3 = facts(&socket3, ["symbol", "posSide", "size", "avgPrice", "unrealisedPnl", "frozen"]);
    prop_assert_eq!(&plain(account, socket3)?, &socket2);
    let rest3 = rows(&v3_rest::current_position(account, product, None, NOW), &["data", "list"]);
    let rest3 = facts(&rest3, ["symbol", "posSide", "total", "avgPrice", "unrealisedPnl", "frozen"]);
    prop_assert_eq!(&plain(account, rest3)?, &socket2);
    let query = Query::default();
    let fills2 = rows(&v2_rest::fills(account, product, &query, NOW), &["data", "fillList"]);
    let fills3 = rows(&v3_rest::fills(account, product, &query, NOW), &["data", "list"]);
    prop_assert_eq!(fills2.len(), witness.fills.min(Query::MAX_LIMIT));
    prop_assert_eq!(
        facts(&fills2, ["symbol", "tradeId", "orderId", "price", "baseVolume", "profit"]),
        plain(account, facts(&fills3, ["symbol", "execId", "orderId", "execPrice", "execQty", "execPnl"]))?
    );
    let orders2 = [v2_rest::orders_pending, v2_rest::orders_history].map(|page| page(account, product, &query, NOW));
    let orders3 = [v3_rest::unfilled_orders, v3_rest::history_orders].map(|page| page(account, product, &query, NOW));
    for (two, three) in orders2.iter().zip(&orders3) {
        prop_assert_eq!(
            facts(
                &rows(two, &["data", "entrustedList"]),
                ["symbol", "orderId", "size", "baseVolume", "clientOid", "price"]
            ),
            plain(
                account,
                facts(
                    &rows(three, &["data", "list"]),
                    ["symbol", "orderId", "qty", "cumExecQty", "clientOid", "price"]
                )
            )?
        );
    }
    let closed2 = rows(&v2_rest::history_position(account, product, &query, NOW), &["data", "list"]);
    let closed3 = rows(&v3_rest::history_position(account, product, &query, NOW), &["data", "list"]);
    prop_assert_eq!(
        facts(&closed2, ["symbol", "positionId", "holdSide", "pnl", "netProfit", "openFee"]),
        plain(
            account,
            facts(&closed3, ["symbol", "positionId", "posSide", "cumRealisedPnl", "netProfit", "openFeeTotal"])
        )?
    );
    let money2 = rows(&v2_rest::accounts(account, product, NOW), &["data"]);
    let money3: Value = serde_json::from_str(&v3_rest::assets(account, NOW)).expect("an answer");
    prop_assert_eq!(&money2[0]["accountEquity"], &money3["data"]["accountEquity"]);
    prop_assert_eq!(&money2[0]["unrealizedPL"], &money3["data"]["unrealisedPnl"]);
    Ok(())
}

proptest! {
    #[test]
    fn books_balance_and_all_views_agree(
        deeds in deeds(), hedge in any::<bool>(), inverse in any::<bool>(), fills_per_order in 1..4_u32,
    ) {
        let hold_mode = if hedge { HoldMode::Hedge } else { HoldMode::OneWay };
        let start = Decimal::from(50_000);
        let product = if inverse { Product::CoinFutures } else { Product::UsdtFutures };
        let coin = if inverse { "A" } else { "USDT" }.to_owned();
        let usual = AccountConfig::default();
        let rate = move |maker: bool| if maker { Decimal::new(2, 4) } else { Decimal::new(6, 4) };
        let config = AccountConfig { hold_mode, fills_per_order, balance: start, product, coin, ..usual };
        let mut account = Account::new(config);
        let mut witness = Witness::default();
        for (turn, deed) in deeds.iter().enumerate() {
            let before = format!("{account:?}");
            match act(&mut account, deed, NOW + turn as i64) {
                Ok(happened) => {
                    witness.see(&happened, inverse, &rate);
                    if let Some(row) = &happened.account {
                        prop_assert_eq!(row, &account.account_row());
                    }
                    for row in happened.positions.iter().filter(|row| !row.has_ended()) {
                        prop_assert_eq!(Some(row.clone()), account.position(&row.symbol, row.side));
                    }
                }
                Err(_) => prop_assert_eq!(before, format!("{account:?}"), "a refusal changes nothing"),
            }
            balanced(&account, &witness, start)?;
        }
        views_agree(&account, &witness)?;
    }
}
