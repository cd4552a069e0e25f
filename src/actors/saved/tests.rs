//! What is kept comes back as it was, and what is not kept says why.

use super::*;
use crate::actors::analyst::AnalystMsg;
use crate::actors::breaker::BreakerMsg;
use crate::actors::ledger::LedgerMsg;
use crate::actors::recorder::RecorderMsg;
use crate::actors::validator::ValidatorMsg;
use crate::actors::writer::WriterMsg;
use crate::domain::account::{AccountState, Fill, FillEffect, Order, OrderSide, OrderStatus};
use crate::domain::event::{Alert, AttributedFill, Event, Severity};
use crate::domain::market::{Candle, Interval, TakerSide, Ticker, Trade};
use crate::domain::position::{Coverage, HoldSide, PositionStatement};
use crate::domain::symbol::SymbolId;
use crate::domain::trap::{TrapDetected, TrapKind};
use crate::supervise::Message;
use rust_decimal::Decimal;

const SYMBOL: SymbolId = SymbolId(1);

/// With more digits than a float has.
fn number() -> Decimal {
    Decimal::from_str_exact("64000.1234567890123456789").expect("a number")
}

fn fill() -> Fill {
    Fill {
        symbol: SYMBOL,
        exchange_time_ms: 1_000,
        trade_id: "t1".to_owned(),
        order_id: "o1".to_owned(),
        client_order_id: Some("c1".to_owned()),
        side: OrderSide::Buy,
        hold_side: Some(HoldSide::Long),
        effect: FillEffect::Open,
        price: number(),
        size: Decimal::ONE,
        fee: Decimal::ZERO,
        fee_coin: "USDT".to_owned(),
        profit: Decimal::NEGATIVE_ONE,
    }
}

fn order() -> Order {
    Order {
        symbol: SYMBOL,
        exchange_time_ms: 1_000,
        order_id: "o1".to_owned(),
        client_order_id: None,
        side: OrderSide::Sell,
        status: OrderStatus::PartiallyFilled,
        price: None,
        size: Decimal::TWO,
        filled: Decimal::ONE,
        average_price: Some(number()),
        update_time_ms: 999,
    }
}

fn trade(history: bool) -> Trade {
    let (price, size, side) = (number(), Decimal::ONE, TakerSide::Sell);
    Trade { symbol: SYMBOL, exchange_time_ms: 1_000, price, size, side, id: u64::MAX, history }
}

fn candle(history: bool) -> Candle {
    let n = number();
    Candle {
        symbol: SYMBOL,
        exchange_time_ms: 1_000,
        interval: Interval::M5,
        start_ms: 0,
        open: n,
        high: n,
        low: n,
        close: n,
        base_volume: n,
        quote_volume: None,
        history,
    }
}

fn ticker() -> Ticker {
    Ticker {
        symbol: SYMBOL,
        exchange_time_ms: 1,
        last: number(),
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

fn account() -> AccountState {
    let coin = "USDT".to_owned();
    AccountState { coin, exchange_time_ms: 1, equity: None, available: None, frozen: None, unrealised_pnl: None }
}

fn trap() -> TrapDetected {
    TrapDetected {
        id: "00ff".to_owned(),
        symbol: SYMBOL,
        kind: TrapKind::StopHunt,
        detected_ms: 3,
        started_ms: 1,
        extreme_ms: 2,
        price: number(),
        level: number(),
        extreme: number(),
        change: -0.012_345_678_901_234_5,
        volume: number(),
        confidence: 0.1 + 0.2,
        probability: None,
        evidence: vec![("retrace".into(), 0.7)],
        detector_version: 1,
    }
}

fn alert() -> Alert {
    Alert {
        code: "market_stale".into(),
        severity: Severity::Warning,
        symbol: None,
        text: "\"quoted\"\n".to_owned(),
        at_ms: 5,
        recovered: true,
    }
}

fn batch(reports: Vec<Report>) -> Batch {
    let (origin, reports) = (Origin::Socket, Arc::new(reports));
    Batch { origin, connection: 7, received_ms: 42, received: Instant::now(), reports }
}

/// Through the file and back.
fn round<M: Message>(message: &M) -> M {
    assert_eq!(message.replayable(), Ok(()), "{}", message.kind());
    let text = message.save().expect("kept");
    assert!(text.starts_with(r#"{"v":1,"#), "{text}");
    assert!(M::load(&text.replacen(r#""v":1"#, r#""v":2"#, 1)).is_none(), "another version is not guessed at");
    assert!(M::load(&text[..text.len() - 1]).is_none(), "a torn text is not guessed at");
    M::load(&text).expect("read")
}

#[test]
fn what_is_kept_comes_back_as_it_was() {
    let executions = vec![Report::Fill(Box::new(fill())), Report::Order(Box::new(order()))];
    let BreakerMsg::Accepted(back) = round(&BreakerMsg::Accepted(batch(executions.clone()))) else { panic!("kind") };
    assert_eq!((&*back.reports, back.received_ms, back.origin), (&executions, 42, Origin::Socket));
    let LedgerMsg::Fill(back) = round(&LedgerMsg::Fill(Box::new(fill()))) else { panic!("kind") };
    assert_eq!(*back, fill());
    let LedgerMsg::Order(back) = round(&LedgerMsg::Order(Box::new(order()))) else { panic!("kind") };
    assert_eq!(*back, order());
    let RecorderMsg::TrapDetected(back) = round(&RecorderMsg::TrapDetected(Box::new(trap()))) else { panic!("kind") };
    assert_eq!(*back, trap());
    let attributed = AttributedFill { strategy: "scalper".to_owned(), fill: fill(), net_profit: number() };
    let events = vec![Event::Trap(trap()), Event::Fill(attributed), Event::Alert(alert())];
    let WriterMsg::Event(back) = round(&WriterMsg::Event(events.clone())) else { panic!("kind") };
    assert_eq!(back, events);
}

#[test]
fn market_data_come_back_as_history_over_no_connection() {
    let reports = vec![Report::Trade(trade(false)), Report::Candle(candle(false)), Report::Fill(Box::new(fill()))];
    let ValidatorMsg::Reports(back) = round(&ValidatorMsg::Reports(batch(reports))) else { panic!("kind") };
    let expected = vec![Report::Trade(trade(true)), Report::Candle(candle(true)), Report::Fill(Box::new(fill()))];
    assert_eq!((&*back.reports, back.connection), (&expected, 0));
}

#[test]
fn state_and_moments_are_not_handled_again_and_say_why() {
    let positions =
        PositionStatement { coverage: Coverage::Complete { product: None }, exchange_time_ms: 1, rows: Vec::new() };
    let state =
        [Report::Ticker(ticker()), Report::Positions(Box::new(positions)), Report::Account(Box::new(account()))];
    for report in state {
        let kind = report.kind();
        // One is enough: the others of its batch were split off, or cannot be.
        let mixed = batch(vec![Report::Trade(trade(false)), report]);
        assert_eq!(ValidatorMsg::Reports(mixed.clone()).replayable(), Err(REPLACED), "{kind}");
        assert_eq!(BreakerMsg::Accepted(mixed).replayable(), Err(REPLACED), "{kind}");
    }
    let trades = batch(vec![Report::Trade(trade(false))]);
    assert_eq!(BreakerMsg::Accepted(trades.clone()).replayable(), Err(REPLACED), "a price is state");
    assert_eq!(AnalystMsg::Market(trades).replayable(), Err(PASSED));
    assert_eq!(ValidatorMsg::ClockOffset { offset_ms: 1 }.replayable(), Err(PASSED));
    assert_eq!(WriterMsg::Market(Vec::new()).replayable(), Err(REPLACED));
    assert_eq!(RecorderMsg::Outlook { symbol: SYMBOL, forming: 0.5 }.replayable(), Err(PASSED));
}
