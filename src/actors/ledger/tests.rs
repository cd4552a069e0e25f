//! What the ledger knows outlives its deaths, however soon the next one comes.

use super::*;
use crate::actors::testing::House;
use crate::clock::Clock;
use crate::domain::account::{FillEffect, OrderSide, OrderStatus};
use crate::domain::symbol::SymbolId;
use rust_decimal::Decimal;

fn fill(trade_id: &str, order_id: &str) -> LedgerMsg {
    LedgerMsg::Fill(Box::new(Fill {
        symbol: SymbolId(0),
        exchange_time_ms: 1,
        trade_id: trade_id.to_owned(),
        order_id: order_id.to_owned(),
        client_order_id: None,
        side: OrderSide::Buy,
        hold_side: None,
        effect: FillEffect::Open,
        price: Decimal::ONE,
        size: Decimal::ONE,
        fee: Decimal::ONE,
        fee_coin: "USDT".to_owned(),
        profit: Decimal::ZERO,
    }))
}

fn order(order_id: &str, client_order_id: &str) -> LedgerMsg {
    LedgerMsg::Order(Box::new(Order {
        symbol: SymbolId(0),
        exchange_time_ms: 1,
        order_id: order_id.to_owned(),
        client_order_id: Some(client_order_id.to_owned()),
        side: OrderSide::Buy,
        status: OrderStatus::Live,
        price: None,
        size: Decimal::ONE,
        filled: Decimal::ZERO,
        average_price: None,
        update_time_ms: 1,
    }))
}

/// Two fills and an order, deaths, the same again and a new one; (trade, strategy) of each event.
fn told(fails: fn(u64) -> bool, deaths: u64, last_epoch: u64) -> (Vec<(String, String)>, String) {
    let written = actix::System::new().block_on(async move {
        let rule =
            Rule { strategy: "scalper".to_owned(), client_order_id_prefix: Some("sc-".to_owned()), ..Rule::default() };
        let house = House::open(Clock::manual(1_723_075_200_000), card(), fails, |writer| {
            LedgerRoom::factory(vec![rule], "other".to_owned(), writer)
        });
        for msg in [fill("t1", "o1"), fill("t2", "o1"), order("o9", "sc-1")] {
            house.send(msg).await;
        }
        house.until_idle(1).await;
        for death in 1..=deaths {
            house.panic();
            // Nothing is handled between two deaths.
            house.until_idle(1 + death).await;
        }
        house.until_idle(last_epoch).await;
        for msg in [fill("t1", "o1"), fill("t2", "o1"), fill("t3", "o9"), fill("t4", "o1")] {
            house.send(msg).await;
        }
        house.close().await
    });
    let mut events = Vec::new();
    let mut figures = String::new();
    for msg in written {
        match msg {
            WriterMsg::Event(list) => events.extend(list.into_iter().filter_map(|event| match event {
                Event::Fill(fill) => Some((fill.fill.trade_id, fill.strategy)),
                _ => None,
            })),
            WriterMsg::Text(text) => figures = format!("{text:?}"),
            _ => {}
        }
    }
    (events, figures)
}

#[test]
fn no_fill_counts_twice_and_no_order_is_forgotten_however_often_it_dies() {
    let none: fn(u64) -> bool = |_| false;
    let (right, figures) = told(none, 0, 1);
    let of = |trade: &str, strategy: &str| (trade.to_owned(), strategy.to_owned());
    assert_eq!(right, [of("t1", "other"), of("t2", "other"), of("t3", "scalper"), of("t4", "other")]);
    // (case, births that panic, deaths between messages, the epoch that works at last)
    let cases: [(&str, fn(u64) -> bool, u64, u64); 4] = [
        ("one death", none, 1, 2),
        ("a second one right after the birth", none, 2, 3),
        ("a birth that panics", |epoch| epoch == 2, 1, 3),
        ("a birth that panics, and a death right after the next", |epoch| epoch == 2, 2, 4),
    ];
    for (case, fails, deaths, epoch) in cases {
        let (events, after) = told(fails, deaths, epoch);
        assert_eq!(events, right, "{case}");
        assert_eq!(after, figures, "{case}: the strategy's figures");
    }
}
