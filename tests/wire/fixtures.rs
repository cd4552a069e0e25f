//! What each fixture means, field by field where a mistake would cost money.

use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::sync::Arc;
use trapline::domain::account::{FillEffect, OrderSide, OrderStatus};
use trapline::domain::market::{Interval, TakerSide};
use trapline::domain::position::{Coverage, HoldMode, HoldSide, MarginMode, PositionStatement};
use trapline::domain::refusal::Refusal;
use trapline::domain::report::Report;
use trapline::domain::symbol::{Product, Symbols};
use trapline::exchange::bitget::consts::Generation;
use trapline::exchange::bitget::parse::{Control, Decoded, Decoder, Frame};
use trapline::exchange::bitget::subscribe::{Channel, Stream};

pub const NOW_MS: i64 = 1_790_133_569_800;

pub fn decoder(generation: Generation) -> Decoder {
    Decoder::new(generation, Arc::new(Symbols::usdt(["BTCUSDT", "DASHUSDT", "UNIUSDT"])))
}

/// Every fixture of a generation by its name without `ws_` and `.json`.
pub fn all(generation: Generation) -> BTreeMap<String, String> {
    let folder = match generation {
        Generation::Classic => "tests/fixtures/bitget/v2",
        Generation::Unified => "tests/fixtures/bitget/v3",
    };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = files.map(|path| {
        let name = path.file_stem().unwrap().to_str().unwrap().trim_start_matches("ws_").to_owned();
        (name, std::fs::read_to_string(path).unwrap().trim_end().to_owned())
    });
    named.collect()
}

pub fn read(generation: Generation, text: &str) -> (Frame, Decoded) {
    let mut out = Decoded::default();
    let frame = decoder(generation).decode(text, NOW_MS, &mut out);
    (frame, out)
}

fn fixture(generation: Generation, name: &str) -> (Frame, Decoded) {
    let all = all(generation);
    let text = all.get(name).unwrap_or_else(|| panic!("no fixture {name}"));
    read(generation, text)
}

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn some(text: &str) -> Option<Decimal> {
    Some(d(text))
}

fn statement(decoded: &Decoded) -> &PositionStatement {
    let [Report::Positions(statement)] = decoded.reports.as_slice() else { panic!("{decoded:?}") };
    statement
}

#[test]
fn every_fixture_is_understood() {
    for generation in [Generation::Classic, Generation::Unified] {
        for (name, text) in all(generation) {
            let (frame, decoded) = read(generation, &text);
            assert_ne!(frame, Frame::Refused, "case: {generation:?} {name}: {decoded:?}");
            assert_eq!(frame_is_control(&frame), name.starts_with("control"), "case: {generation:?} {name}");
            if !name.contains("foreign") {
                assert_eq!(decoded.refused, [], "case: {generation:?} {name}");
            }
        }
    }
}

fn frame_is_control(frame: &Frame) -> bool {
    matches!(frame, Frame::Control(_))
}

#[test]
fn tickers_mean_the_same_in_both_generations() {
    for generation in [Generation::Classic, Generation::Unified] {
        let (frame, decoded) = fixture(generation, "ticker_snapshot");
        assert!(matches!(frame, Frame::Data(Stream { channel: Channel::Ticker, .. })));
        let [Report::Ticker(ticker)] = decoded.reports.as_slice() else { panic!("{decoded:?}") };
        let time = if generation == Generation::Classic { 1_790_133_569_755 } else { 1_790_133_569_757 };
        assert_eq!(ticker.exchange_time_ms, time, "the row's time, else the envelope's");
        assert_eq!(ticker.last, d("86586.7"));
        assert_eq!((ticker.bid, ticker.bid_size), (some("86586.6"), some("4.1173")));
        assert_eq!((ticker.ask, ticker.ask_size), (some("86586.7"), some("9.6211")));
        assert_eq!(ticker.mark, some("86585.9"));
        assert_eq!(ticker.index.map(|p| p.round_dp(2)), some("86622.47"));
        assert_eq!(ticker.funding_rate, some("0.000046"));
        assert_eq!(ticker.next_funding_time_ms, Some(1_790_150_400_000));
        assert_eq!(ticker.open_interest.map(|p| p.round_dp(4)), some("31840.1462"));
        assert_eq!(ticker.volume_24h, some("48120.4417"));
    }
}

#[test]
fn an_empty_number_is_absent_and_a_bare_one_is_a_number() {
    let (_, decoded) = fixture(Generation::Classic, "ticker_empty_numbers");
    let [Report::Ticker(ticker)] = decoded.reports.as_slice() else { panic!("{decoded:?}") };
    assert_eq!((ticker.bid, ticker.ask, ticker.index, ticker.funding_rate), (None, None, None, None));
    assert_eq!((ticker.bid_size, ticker.ask_size, ticker.next_funding_time_ms), (None, None, None));
    assert_eq!(ticker.mark, some("86585.9"));
    assert_eq!(ticker.open_interest, some("31840.146200000003"));
    assert_eq!(ticker.exchange_time_ms, 1_790_133_569_755);
}

#[test]
fn trades_come_oldest_first_and_a_snapshot_is_history() {
    for generation in [Generation::Classic, Generation::Unified] {
        for (name, history) in [("trade_snapshot", true), ("trade_update", false)] {
            let (_, decoded) = fixture(generation, name);
            let trades: Vec<_> = decoded
                .reports
                .iter()
                .map(|report| match report {
                    Report::Trade(trade) => trade,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(trades.iter().all(|t| t.history == history), "case: {generation:?} {name}");
            assert!(trades.is_sorted_by_key(|t| (t.exchange_time_ms, t.id)), "case: {generation:?} {name}");
        }
        let (_, decoded) = fixture(generation, "trade_snapshot");
        let Some(Report::Trade(last)) = decoded.reports.last() else { panic!() };
        assert_eq!((last.price, last.size, last.side), (d("86586.73"), d("0.0001"), TakerSide::Buy));
        assert_eq!(last.id, 1_486_493_420_166_930_434);
    }
}

#[test]
fn candles_are_rows_of_text_or_objects() {
    let cases = [
        (Generation::Classic, "candle_snapshot", Interval::M1, 2, true),
        (Generation::Classic, "candle_update", Interval::H1, 1, false),
        (Generation::Unified, "candle_snapshot", Interval::M1, 1, true),
        (Generation::Unified, "candle_update", Interval::M5, 1, false),
    ];
    for (generation, name, interval, rows, history) in cases {
        let (_, decoded) = fixture(generation, name);
        assert_eq!(decoded.reports.len(), rows);
        for report in &decoded.reports {
            let Report::Candle(candle) = report else { panic!("{report:?}") };
            assert_eq!((candle.interval, candle.history), (interval, history), "case: {generation:?} {name}");
            assert_eq!(candle.exchange_time_ms, 1_790_133_569_757);
            assert!(candle.low <= candle.open && candle.close <= candle.high);
        }
    }
}

#[test]
fn classic_snapshots_cover_their_product() {
    let complete = Coverage::Complete { product: Some(Product::UsdtFutures) };
    let (_, decoded) = fixture(Generation::Classic, "positions_flat");
    assert_eq!((statement(&decoded).coverage, statement(&decoded).rows.len()), (complete, 0));
    let (_, decoded) = fixture(Generation::Classic, "positions_open");
    let said = statement(&decoded);
    assert_eq!((said.coverage, said.exchange_time_ms), (complete, 1_790_133_569_757));
    let [row] = said.rows.as_slice() else { panic!() };
    assert_eq!((row.side, row.size, row.available), (HoldSide::Long, d("0.005"), some("0.005")));
    assert_eq!((row.entry_price, row.mark_price), (d("86586.4"), some("86586.7")));
    assert_eq!((row.leverage, row.margin_mode, row.hold_mode), (d("20"), MarginMode::Crossed, HoldMode::OneWay));
    assert_eq!((row.margin, row.unrealised_pnl), (some("21.6466"), some("0.0015")));
    assert_eq!((row.liquidation_price, row.total_fee), (None, None), "negative and empty are none");
    assert_eq!((row.break_even_price, row.update_time_ms), (some("86690.3"), 1_790_133_569_700));
}

#[test]
fn both_sides_of_a_hedged_symbol_stand_beside_each_other() {
    let (_, decoded) = fixture(Generation::Classic, "positions_hedge");
    let [long, short] = statement(&decoded).rows.as_slice() else { panic!() };
    assert_eq!((long.side, short.side), (HoldSide::Long, HoldSide::Short));
    assert_eq!((short.leverage, short.margin_mode), (d("10"), MarginMode::Isolated));
    assert_eq!((short.liquidation_price, short.total_fee), (some("99120.4"), some("-0.0123")));
    assert_eq!(short.hold_mode, HoldMode::Hedge);
}

#[test]
fn a_symbol_that_is_not_configured_is_counted_and_the_statement_stands() {
    let (_, decoded) = fixture(Generation::Classic, "positions_foreign_symbol");
    assert_eq!(statement(&decoded).rows.len(), 1);
    let [refused] = decoded.refused.as_slice() else { panic!() };
    assert_eq!((refused.refusal, refused.kind), (Refusal::UnknownSymbol, "positions"));
}

#[test]
fn unified_snapshots_cover_the_account_and_updates_only_their_rows() {
    let cases = [
        ("positions_snapshot", Coverage::Complete { product: None }, Some("0.005")),
        ("positions_flat", Coverage::Complete { product: None }, None),
        ("positions_update", Coverage::Partial, Some("0.005")),
        ("positions_ended", Coverage::Partial, Some("0")),
        ("positions_old_entry_name", Coverage::Complete { product: None }, Some("0.005")),
    ];
    for (name, coverage, size) in cases {
        let (_, decoded) = fixture(Generation::Unified, name);
        let said = statement(&decoded);
        assert_eq!(said.coverage, coverage, "case: {name}");
        assert_eq!(said.rows.first().map(|row| row.size), size.map(d), "case: {name}");
        if let Some(row) = said.rows.first().filter(|row| !row.size.is_zero()) {
            assert_eq!((row.side, row.entry_price), (HoldSide::Short, d("86586.4")), "case: {name}");
            assert_eq!(row.liquidation_price, some("168120.55"), "case: {name}");
        }
    }
}

#[test]
fn accounts_orders_and_fills() {
    let (_, decoded) = fixture(Generation::Classic, "account_snapshot");
    let [Report::Account(account)] = decoded.reports.as_slice() else { panic!() };
    assert_eq!(
        (account.coin.as_str(), account.equity, account.available),
        ("USDT", some("1013.1715"), some("1013.17"))
    );
    let (_, decoded) = fixture(Generation::Unified, "account_snapshot");
    let [Report::Account(account)] = decoded.reports.as_slice() else { panic!() };
    assert_eq!(
        (account.coin.as_str(), account.equity, account.unrealised_pnl),
        ("USD", some("1013.17"), some("-0.0015"))
    );

    let cases = [
        (Generation::Classic, "order_filled", OrderSide::Buy, OrderStatus::Filled, None, Some("scalper-17")),
        (Generation::Classic, "order_live", OrderSide::Sell, OrderStatus::Live, Some("90000"), None),
        (Generation::Unified, "order_live", OrderSide::Sell, OrderStatus::Live, Some("90000"), Some("strategic-4")),
    ];
    for (generation, name, side, status, price, client) in cases {
        let (_, decoded) = fixture(generation, name);
        let [Report::Order(order)] = decoded.reports.as_slice() else { panic!("{decoded:?}") };
        assert_eq!((order.side, order.status, order.price), (side, status, price.map(d)), "case: {name}");
        assert_eq!(order.client_order_id.as_deref(), client, "case: {name}");
        assert_eq!(order.size, d("0.005"), "case: {name}");
    }

    let cases = [
        (Generation::Classic, "fill_one_way", OrderSide::Buy, None, FillEffect::Net, "0.259759", "0"),
        (
            Generation::Classic,
            "fill_hedge_close",
            OrderSide::Sell,
            Some(HoldSide::Long),
            FillEffect::Close,
            "0.259759",
            "1.25",
        ),
        (
            Generation::Unified,
            "fill_hedge_close",
            OrderSide::Sell,
            Some(HoldSide::Long),
            FillEffect::Close,
            "0.09",
            "17.068",
        ),
    ];
    for (generation, name, side, hold, effect, fee, profit) in cases {
        let (_, decoded) = fixture(generation, name);
        let [Report::Fill(fill)] = decoded.reports.as_slice() else { panic!("{decoded:?}") };
        assert_eq!((fill.side, fill.hold_side, fill.effect), (side, hold, effect), "case: {generation:?} {name}");
        assert_eq!((fill.fee, fill.profit), (d(fee), d(profit)), "fee paid is positive, case: {generation:?} {name}");
        assert_eq!((fill.exchange_time_ms, fill.fee_coin.as_str()), (1_790_133_569_690, "USDT"));
    }
}

#[test]
fn control_frames_are_events() {
    let btc = decoder(Generation::Classic).symbols().id("BTCUSDT").unwrap();
    let ticker = Stream::public(Channel::Ticker, btc);
    for generation in [Generation::Classic, Generation::Unified] {
        assert_eq!(read(generation, "pong").0, Frame::Control(Control::Pong));
        let (frame, _) = fixture(generation, "control_unknown_instrument");
        let Frame::Control(Control::Error { code, stream, .. }) = frame else { panic!("{frame:?}") };
        assert_eq!((code, stream), (Some(30001), Some(ticker)), "case: {generation:?}");
    }
    assert_eq!(fixture(Generation::Classic, "control_subscribed").0, Frame::Control(Control::Subscribed(Some(ticker))));
    assert_eq!(fixture(Generation::Classic, "control_login").0, Frame::Control(Control::LoggedIn));
    assert_eq!(fixture(Generation::Unified, "control_login_text_code").0, Frame::Control(Control::LoggedIn));
    let (frame, _) = fixture(Generation::Unified, "control_login_refused");
    assert!(matches!(frame, Frame::Control(Control::Error { code: Some(30015), .. })), "{frame:?}");
    // A login answer without success is no login.
    let (frame, _) = read(Generation::Classic, r#"{"event":"login","code":"30005","msg":"no"}"#);
    assert!(matches!(frame, Frame::Control(Control::Error { code: Some(30005), .. })), "{frame:?}");
    let (frame, _) = read(Generation::Classic, r#"{"event":"error","code":null,"msg":"?"}"#);
    assert!(matches!(frame, Frame::Control(Control::Error { code: None, .. })), "{frame:?}");
}
