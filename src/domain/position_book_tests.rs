use super::*;
use crate::domain::position::{HoldMode, MarginMode};
use crate::domain::symbol::Product;
use proptest::prelude::*;

const BTC: SymbolId = SymbolId(0);
const ETH: SymbolId = SymbolId(1);
const ALL: Coverage = Coverage::Complete { product: Some(Product::UsdtFutures) };

fn book() -> PositionBook {
    PositionBook::new(Arc::new(Symbols::usdt(["BTCUSDT", "ETHUSDT"])), 0)
}

fn row(symbol: SymbolId, side: HoldSide, size: i64, entry: i64) -> Position {
    Position {
        symbol,
        side,
        size: Decimal::new(size, 3),
        available: None,
        entry_price: Decimal::new(entry, 0),
        mark_price: None,
        unrealised_pnl: None,
        leverage: Decimal::TEN,
        margin_mode: MarginMode::Crossed,
        hold_mode: HoldMode::OneWay,
        margin: None,
        liquidation_price: None,
        break_even_price: None,
        total_fee: None,
        update_time_ms: 1,
    }
}

fn say(at: i64, coverage: Coverage, rows: Vec<Position>) -> PositionStatement {
    PositionStatement { coverage, exchange_time_ms: at, rows }
}

fn open_book() -> PositionBook {
    let mut book = book();
    let outcome = book.apply(&say(100, ALL, vec![row(BTC, HoldSide::Long, 3, 60_000)]), Origin::Socket, 100);
    assert!(outcome.accepted.iter().any(|p| p.symbol == BTC && matches!(p.holding, Holding::Open(_))));
    book
}

fn is_flat(book: &PositionBook) -> bool {
    book.holding(BTC, HoldSide::Long) == Some(Holding::Flat)
}

#[test]
fn an_empty_snapshot_alone_is_not_flat_and_asks_for_a_witness() {
    let mut book = open_book();
    let outcome = book.apply(&say(200, ALL, vec![]), Origin::Socket, 200);
    assert!(!is_flat(&book));
    assert!(outcome.suspicions.contains(&BTC));
    let outcome = book.apply(&say(250, ALL, vec![]), Origin::Rest, 260);
    assert!(is_flat(&book), "socket and REST agree");
    assert!(outcome.accepted.iter().any(|p| p.symbol == BTC && p.side == HoldSide::Long && p.holding == Holding::Flat));
}

#[test]
fn a_phantom_empty_snapshot_is_contradicted_by_rest() {
    let mut book = open_book();
    book.apply(&say(200, ALL, vec![]), Origin::Socket, 200);
    let outcome = book.apply(&say(250, ALL, vec![row(BTC, HoldSide::Long, 3, 60_000)]), Origin::Rest, 260);
    assert!(!is_flat(&book));
    assert_eq!(outcome.refused.iter().filter(|r| r.refusal == Refusal::FlatContradicted).count(), 1);
    book.apply(&say(300, ALL, vec![]), Origin::Rest, 300);
    assert!(!is_flat(&book), "the contradicted word does not witness any more");
}

#[test]
fn one_empty_rest_answer_after_a_push_needs_a_second_read() {
    let mut book = open_book();
    let outcome = book.apply(&say(200, ALL, vec![]), Origin::Rest, 200);
    assert!(!is_flat(&book) && outcome.suspicions.contains(&BTC));
    book.apply(&say(200, ALL, vec![]), Origin::Rest, 210);
    assert!(!is_flat(&book), "the same answer twice is one witness");
    let outcome = book.apply(&say(199 + REST_APART_MS, ALL, vec![]), Origin::Rest, 200 + REST_APART_MS);
    assert!(!is_flat(&book), "one illness of the server is one witness");
    assert!(outcome.suspicions.contains(&BTC), "so it is asked again");
    book.apply(&say(200 + REST_APART_MS, ALL, vec![]), Origin::Rest, 210 + REST_APART_MS);
    assert!(is_flat(&book));
}

#[test]
fn an_open_word_between_two_empty_answers_ends_the_first() {
    let mut book = open_book();
    book.apply(&say(200, ALL, vec![]), Origin::Rest, 200);
    book.apply(&say(2_000, ALL, vec![row(BTC, HoldSide::Long, 3, 60_000)]), Origin::Rest, 2_000);
    book.apply(&say(200 + REST_APART_MS, ALL, vec![]), Origin::Rest, 200 + REST_APART_MS);
    assert!(!is_flat(&book));
}

#[test]
fn a_witness_waits_only_so_long() {
    let cases = [("in time", WITNESS_MS, true), ("too late", WITNESS_MS + 1, false)];
    for (name, wait_ms, expected) in cases {
        let mut book = open_book();
        book.apply(&say(200, ALL, vec![]), Origin::Socket, 200);
        book.apply(&say(200 + wait_ms, ALL, vec![]), Origin::Rest, 200 + wait_ms);
        assert_eq!(is_flat(&book), expected, "case: {name}");
    }
}

#[test]
fn a_late_rest_answer_says_nothing_about_now() {
    let mut book = open_book();
    let outcome = book.apply(&say(99, ALL, vec![]), Origin::Rest, 120);
    assert!(outcome.accepted.iter().all(|p| !(p.symbol == BTC && p.side == HoldSide::Long)));
    assert!(!outcome.suspicions.contains(&BTC) || !is_flat(&book));
    let outcome = book.apply(&say(99, ALL, vec![row(BTC, HoldSide::Long, 9, 60_000)]), Origin::Rest, 120);
    assert!(outcome.accepted.iter().all(|p| p.symbol != BTC || p.side != HoldSide::Long));
    assert!(matches!(book.holding(BTC, HoldSide::Long), Some(Holding::Open(p)) if p.size == Decimal::new(3, 3)));
}

#[test]
fn an_update_says_nothing_about_what_it_does_not_name() {
    let mut book = open_book();
    book.apply(&say(200, Coverage::Partial, vec![row(ETH, HoldSide::Short, 5, 3_000)]), Origin::Socket, 200);
    assert!(matches!(book.holding(BTC, HoldSide::Long), Some(Holding::Open(_))));
    let ended = say(300, Coverage::Partial, vec![row(BTC, HoldSide::Long, 0, 0)]);
    book.apply(&ended, Origin::Socket, 300);
    assert!(!is_flat(&book), "an ended row waits for its witness too");
    book.apply(&say(310, ALL, vec![row(ETH, HoldSide::Short, 5, 3_000)]), Origin::Rest, 320);
    assert!(is_flat(&book));
}

#[test]
fn a_snapshot_of_another_product_leaves_ours_alone() {
    let mut book = open_book();
    let coins = Coverage::Complete { product: Some(Product::CoinFutures) };
    for at in [200, 300, 400] {
        let outcome = book.apply(&say(at, coins, vec![]), Origin::Rest, at);
        assert_eq!(outcome, Outcome::default());
    }
    assert!(!is_flat(&book));
}

#[test]
fn older_statements_are_refused_until_the_feed_was_lost() {
    let mut book = open_book();
    let outcome = book.apply(&say(99, ALL, vec![row(BTC, HoldSide::Long, 9, 60_000)]), Origin::Socket, 130);
    assert_eq!(outcome.refused[0].refusal, Refusal::Regressed);
    assert!(matches!(book.holding(BTC, HoldSide::Long), Some(Holding::Open(p)) if p.size == Decimal::new(3, 3)));
    // A connection that relieved the one before it without a gap may have kept what is older by now.
    book.on_feed_lost();
    let outcome = book.apply(&say(99, ALL, vec![row(BTC, HoldSide::Long, 9, 60_000)]), Origin::Socket, 160);
    assert!(outcome.refused.is_empty(), "another server's clock may be behind");
}

#[test]
fn rows_that_cannot_be_true_are_refused_and_are_not_absence() {
    let cases = [
        ("no entry price", row(BTC, HoldSide::Long, 3, 0), Refusal::NoEntryPrice),
        ("negative size", row(BTC, HoldSide::Long, -3, 60_000), Refusal::OutOfRange),
        ("no leverage", Position { leverage: Decimal::ZERO, ..row(BTC, HoldSide::Long, 3, 60_000) }, Refusal::BadField),
    ];
    for (name, bad, expected) in cases {
        let mut book = open_book();
        for (origin, at) in [(Origin::Socket, 200), (Origin::Rest, 300), (Origin::Rest, 400)] {
            let outcome = book.apply(&say(at, ALL, vec![bad]), origin, at);
            assert_eq!(outcome.refused[0].refusal, expected, "case: {name}");
        }
        assert!(!is_flat(&book), "case: {name}");
    }
}

#[test]
fn an_unchanged_position_is_proved_again_without_a_new_number() {
    let mut book = open_book();
    let again = book.apply(&say(900, ALL, vec![row(BTC, HoldSide::Long, 3, 60_000)]), Origin::Rest, 950);
    let picture = again.accepted.iter().find(|p| p.symbol == BTC && p.side == HoldSide::Long).expect("proved");
    assert_eq!((picture.seq, picture.verified_ms, picture.update_time_ms), (1, 950, 1));
}

/// Both ways that the exchange's clock may be set.
const STEPS_MS: [i64; 2] = [-600_000, 600_000];

/// When [`stepped_book`] heard that a side is open.
const THEN_MS: i64 = 10_000_000;

/// Open since [`THEN_MS`]; then the exchange's clock was set.
fn stepped_book(step_ms: i64) -> PositionBook {
    let mut book = book();
    book.apply(&say(THEN_MS, ALL, vec![row(BTC, HoldSide::Long, 3, 60_000)]), Origin::Socket, 0);
    book.on_clock_step(step_ms);
    book
}

fn size(book: &PositionBook) -> Option<Decimal> {
    match book.holding(BTC, HoldSide::Long) {
        Some(Holding::Open(position)) => Some(position.size),
        _ => None,
    }
}

#[test]
fn after_a_step_of_the_exchanges_clock_new_words_are_believed_and_older_ones_are_not() {
    for step_ms in STEPS_MS {
        for origin in [Origin::Socket, Origin::Rest] {
            let mut book = stepped_book(step_ms);
            let before = say(THEN_MS + step_ms - 2_000, ALL, vec![row(BTC, HoldSide::Long, 8, 60_000)]);
            book.apply(&before, origin, 50);
            assert_eq!(size(&book), Some(Decimal::new(3, 3)), "of before, {origin:?}, step {step_ms} ms");
            let after = say(THEN_MS + step_ms + 50, ALL, vec![row(BTC, HoldSide::Long, 9, 60_000)]);
            let outcome = book.apply(&after, origin, 100);
            assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
            assert_eq!(size(&book), Some(Decimal::new(9, 3)), "of now, {origin:?}, step {step_ms} ms");
        }
    }
}

#[test]
fn after_a_step_of_the_exchanges_clock_flat_is_later_than_open_beyond_doubt() {
    let ended = |at| say(at, Coverage::Partial, vec![row(BTC, HoldSide::Long, 0, 0)]);
    for step_ms in STEPS_MS {
        let mut book = stepped_book(step_ms);
        // Within the error of what was measured: it may be of before.
        let outcome = book.apply(&ended(THEN_MS + step_ms - 500), Origin::Rest, 100);
        assert!(!outcome.suspicions.contains(&BTC), "no witness, step {step_ms} ms");
        let outcome = book.apply(&ended(THEN_MS + step_ms + 100), Origin::Rest, 200);
        assert!(outcome.suspicions.contains(&BTC), "a witness, step {step_ms} ms");
        book.apply(&ended(THEN_MS + step_ms + 200), Origin::Socket, 300);
        assert!(is_flat(&book), "step {step_ms} ms");
    }
}

#[test]
fn half_a_proof_of_flat_does_not_pass_a_step_of_the_clock() {
    for (first, second) in [(Origin::Socket, Origin::Rest), (Origin::Rest, Origin::Socket)] {
        for step_ms in STEPS_MS {
            let mut book = stepped_book(0);
            book.apply(&say(THEN_MS + 100, ALL, vec![]), first, 100);
            book.on_clock_step(step_ms);
            book.apply(&say(THEN_MS + step_ms + 200, ALL, vec![]), second, 200);
            assert!(!is_flat(&book), "{first:?} before and {second:?} after a step of {step_ms} ms");
        }
    }
}

proptest! {
    /// However words arrive, a side never becomes flat while the newest word that it is open is newer than both witnesses.
    #[test]
    fn flat_needs_two_witnesses_after_the_last_open_word(
        words in prop::collection::vec((any::<bool>(), any::<bool>(), 0_i64..40), 1..60)
    ) {
        let mut book = open_book();
        let (mut now, mut flat_words, mut last_rest_flat, mut socket_flat) = (1_000_i64, 0, i64::MIN, false);
        for (rest, open, lag) in words {
            now += 50;
            let (origin, at) = if rest { (Origin::Rest, now - lag) } else { (Origin::Socket, now) };
            let rows = if open { vec![row(BTC, HoldSide::Long, 3, 60_000)] } else { vec![] };
            book.apply(&say(at, ALL, rows), origin, now);
            if open { (flat_words, socket_flat) = (0, false); }
            else { flat_words += 1; if rest { last_rest_flat = now; } else { socket_flat = true; } }
            if flat_words < 2 { prop_assert!(open || !is_flat(&book) ); }
            if is_flat(&book) { prop_assert!(last_rest_flat > i64::MIN, "never flat without REST"); }
            // All of the words lie within 3 s: too close for REST alone.
            if is_flat(&book) { prop_assert!(socket_flat, "two answers of one moment are one witness"); }
        }
    }
}
