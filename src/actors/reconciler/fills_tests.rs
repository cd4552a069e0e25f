use super::*;
use crate::domain::account::{FillEffect, OrderSide};
use crate::domain::symbol::SymbolId;
use proptest::prelude::*;
use rust_decimal::Decimal;

/// Rows of one stretch.
const ROWS: usize = 3;
/// Between two fills, so that several lie within what is looked at once more.
const STEP: i64 = 7_000;

fn fill(id: i64) -> Report {
    fill_at(id, id * STEP)
}

fn fill_at(id: i64, exchange_time_ms: i64) -> Report {
    Report::Fill(Box::new(Fill {
        symbol: SymbolId(0),
        exchange_time_ms,
        trade_id: id.to_string(),
        order_id: String::new(),
        client_order_id: None,
        side: OrderSide::Buy,
        hold_side: None,
        effect: FillEffect::Open,
        price: Decimal::ONE,
        size: Decimal::ONE,
        fee: Decimal::ZERO,
        fee_coin: String::new(),
        profit: Decimal::ZERO,
    }))
}

/// What the exchange and its client answer where fills `1..=last` have happened, one each [`STEP`].
fn stretch(fills: &Fills, reading: &Reading, last: i64) -> (Vec<Report>, Option<String>) {
    stretch_of(fills, reading, last, |id| id * STEP)
}

/// The same for fills whose times are told by `time`; their ids tell the order in which they happened.
fn stretch_of(fills: &Fills, reading: &Reading, last: i64, time: impl Fn(i64) -> i64) -> (Vec<Report>, Option<String>) {
    let from = reading.cursor.as_ref().map_or(last, |id| id.parse::<i64>().unwrap() - 1);
    let told = (1..=from).rev().filter(|id| time(*id) >= reading.since_ms).take(ROWS);
    let ids: Vec<i64> = told.collect();
    let rows: Vec<_> = ids.iter().map(|id| fill_at(*id, time(*id))).collect();
    let is_known = |r: &Report| matches!(r, Report::Fill(fill) if fills.is_known(fill));
    let is_end = rows.len() < ROWS || rows.iter().all(is_known);
    (rows, ids.last().filter(|_| !is_end).map(i64::to_string))
}

fn ids(reports: &[Report]) -> Vec<i64> {
    let id = |r: &Report| if let Report::Fill(fill) = r { fill.trade_id.parse().unwrap() } else { 0 };
    reports.iter().map(id).collect()
}

/// When every fill has happened.
fn later() -> Now {
    Now { ms: i64::MAX / 2, offset_ms: 0, instant: Instant::now() }
}

#[derive(Clone, Debug)]
enum Happens {
    /// So many fills.
    Fills(i64),
    Round,
    Question,
    NoAnswer,
    /// The exchange's clock is taken to be so many steps behind.
    Behind(i64),
    /// The exchange's clock is so many steps behind: what happens now is stamped so.
    Stamped(i64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        2 => (1_i64..80).prop_map(Happens::Fills),
        3 => Just(Happens::Round),
        12 => Just(Happens::Question),
        2 => Just(Happens::NoAnswer),
        1 => (0_i64..100).prop_map(Happens::Behind),
        1 => (0_i64..OVERLAP_MS / STEP).prop_map(Happens::Stamped),
    ]
}

/// The clock is right again, and enough questions for everything are answered.
fn calm() -> impl Iterator<Item = Happens> {
    let round = || std::iter::once(Happens::Round).chain(std::iter::repeat_n(Happens::Question, 25));
    std::iter::once(Happens::Behind(0)).chain((0..400).flat_map(move |_| round()))
}

proptest! {
    /// Whatever fails in between and whatever comes meanwhile: each fill is handed on, once.
    #[test]
    fn every_fill_is_handed_on_once(story in prop::collection::vec(happens(), 1..200)) {
        let (mut fills, mut last, mut handed_on) = (Fills::since(0, Bookmark::default()), 0, Vec::new());
        fills.held_max = 7;
        // More than one reading holds, fewer than a round may hand on. Where a clock is wrong, times do not tell how far a
        // reading came: some are gone over twice, and what is remembered has to do.
        if !story.iter().any(|what| matches!(what, Happens::Behind(1..) | Happens::Stamped(1..))) {
            fills.seen.max = 35;
        }
        let (mut behind, mut back, mut times, instant) = (0, 0, vec![0], Instant::now());
        for what in story.into_iter().chain(calm()) {
            let now = Now { ms: last * STEP, offset_ms: -behind * STEP, instant };
            let of_age = fills.come_of_age(now);
            prop_assert!(of_age.is_sorted_by_key(Report::exchange_time_ms));
            handed_on.extend(ids(&of_age));
            match what {
                Happens::Behind(steps) => behind = steps,
                Happens::Stamped(steps) => back = steps,
                Happens::Fills(count) => {
                    times.extend((last + 1..=last + count).map(|id| (id - back).max(0) * STEP));
                    last += count;
                }
                Happens::Round => fills.begin([Product::UsdtFutures]),
                Happens::Question => {
                    let Some(reading) = fills.next() else { continue };
                    let time = |id: i64| times[id as usize];
                    let (mut rows, left) = stretch_of(&fills, reading, last, time);
                    let step = fills.answered(&mut rows, left, now);
                    prop_assert_ne!(step, Step::LeftOut);
                    prop_assert!(rows.iter().all(|r| !now.is_before(r)), "it would be refused");
                    prop_assert!(fills.held.len() <= fills.held_max + ROWS);
                    handed_on.extend(ids(&rows));
                }
                Happens::NoAnswer => {
                    if fills.next().is_some() {
                        prop_assert_eq!(fills.failed(false), None);
                        prop_assert!(fills.is_failing());
                    }
                }
            }
        }
        handed_on.sort_unstable();
        prop_assert_eq!(handed_on, (1..=last).collect::<Vec<_>>());
        prop_assert!(!fills.is_failing() && !fills.is_holding());
        prop_assert!(fills.next().is_none() && fills.left.unread.is_empty());
    }
}

/// Whether a fill is still to be read by this.
fn is_left(left: &Left, id: i64) -> bool {
    let since_ms = left.since_ms.get(&Product::UsdtFutures).copied().unwrap_or(0);
    let within = |r: &Reading| {
        let below = r.cursor.as_ref().is_none_or(|cursor| id < cursor.parse().unwrap());
        below && id * STEP >= r.since_ms
    };
    id * STEP >= since_ms || left.unread.iter().any(within)
}

proptest! {
    /// Whoever dies while reading: each fill is handed on, and again only what was still to be read.
    #[test]
    fn a_death_loses_no_fill_and_repeats_only_what_was_left(
        story in prop::collection::vec((happens(), 0_u32..20), 1..200),
    ) {
        let bookmark = Bookmark::default();
        let (mut fills, mut last, mut handed_on) = (Fills::since(0, bookmark.clone()), 0, FxHashSet::default());
        let (mut behind, mut left, instant) = (0, Left::default(), Instant::now());
        for (what, chance) in story.into_iter().chain(calm().map(|what| (what, 1))) {
            if chance == 0 {
                fills = Fills::since(0, bookmark.clone());
                left = bookmark.get();
                for id in 1..=last {
                    prop_assert!(is_left(&left, id) || handed_on.contains(&id), "{id} is not in {left:?}");
                }
            }
            let now = Now { ms: last * STEP, offset_ms: -behind * STEP, instant };
            handed_on.extend(ids(&fills.come_of_age(now)));
            match what {
                Happens::Behind(steps) => behind = steps,
                Happens::Fills(count) => last += count,
                // Which of them are repeated is told by time here.
                Happens::Stamped(_) => {}
                Happens::Round => fills.begin([Product::UsdtFutures]),
                Happens::Question => {
                    let Some(reading) = fills.next() else { continue };
                    let (mut rows, left_at) = stretch(&fills, reading, last);
                    fills.answered(&mut rows, left_at, now);
                    for id in ids(&rows) {
                        prop_assert!(handed_on.insert(id) || is_left(&left, id), "{id} again, was not in {left:?}");
                    }
                    fills.handed_on();
                }
                Happens::NoAnswer => {
                    fills.failed(false);
                }
            }
        }
        prop_assert_eq!(handed_on.len() as i64, last);
        prop_assert!(bookmark.get().unread.is_empty());
        let since_ms = bookmark.get().since_ms.get(&Product::UsdtFutures).copied().unwrap_or(0);
        prop_assert_eq!(since_ms, if last > 0 { (last * STEP - OVERLAP_MS).max(0) } else { 0 });
    }
}

#[test]
fn what_was_known_ends_a_reading_at_its_first_stretch() {
    let mut fills = Fills::since(0, Bookmark::default());
    let read = |fills: &mut Fills, last: i64| {
        fills.begin([Product::UsdtFutures]);
        let mut questions = 0;
        while let Some(reading) = fills.next() {
            let (mut rows, left) = stretch(fills, reading, last);
            fills.answered(&mut rows, left, later());
            questions += 1;
        }
        questions
    };
    assert_eq!(read(&mut fills, 12), 5, "four full stretches, and one that tells the end");
    assert_eq!(read(&mut fills, 12), 1);
    assert_eq!(fills.left.since_ms[&Product::UsdtFutures], 12 * STEP - OVERLAP_MS);
}

/// A start has a whole day to read; what comes meanwhile is neither handed on again nor does it wait for that.
#[test]
fn a_long_day_neither_repeats_new_fills_nor_holds_them_up() {
    let (mut fills, mut last, mut handed_on) = (Fills::since(0, Bookmark::default()), 10_000, Vec::new());
    fills.seen.max = 35;
    for round in 0..1_000 {
        // Each sixth round many: more than a round reads, so that a rest of them is left.
        last += if round > 500 {
            0
        } else if round % 6 == 0 {
            50
        } else {
            3
        };
        fills.begin([Product::UsdtFutures]);
        while let Some(reading) = fills.next() {
            let (mut rows, left) = stretch(&fills, reading, last);
            assert_ne!(fills.answered(&mut rows, left, later()), Step::LeftOut, "round {round}");
            handed_on.extend(ids(&rows));
        }
        if round % 6 == 5 {
            let newest: FxHashSet<_> = handed_on.iter().rev().take(400).copied().collect();
            assert!(
                (last - 50..=last).all(|id| newest.contains(&id)),
                "round {round}: the gap is closed, the day is not"
            );
        }
    }
    handed_on.sort_unstable();
    assert_eq!(handed_on, (1..=last).collect::<Vec<_>>());
}

/// A busy account leaves more in each round than one reads: the oldest of it does not wait for the end of that.
#[test]
fn neither_the_newest_nor_the_oldest_rest_waits_for_the_others() {
    let (mut fills, mut last, mut rounds) = (Fills::since(0, Bookmark::default()), 0, FxHashMap::default());
    for round in 0..20 {
        last += 100;
        fills.begin([Product::UsdtFutures]);
        while let Some(reading) = fills.next() {
            let (mut rows, left) = stretch(&fills, reading, last);
            assert_ne!(fills.answered(&mut rows, left, later()), Step::LeftOut, "round {round}");
            rounds.extend(ids(&rows).into_iter().map(|id| (id, round)));
        }
    }
    // Of the first hundred thirty were read at once; the rest takes three turns.
    let waited: Vec<_> = (1..=100).map(|id| rounds.get(&id).copied()).collect();
    assert!(waited.iter().all(|round| round.is_some_and(|round| round <= 6)), "{waited:?}");
}

/// A rest in turn in the same round as newer fills, and not answered then: what they told is not told again by it, even
/// when it is no longer among the newest.
#[test]
fn a_rest_that_has_to_wait_again_knows_what_was_told_meanwhile() {
    let mut fills = Fills::since(0, Bookmark::default());
    fills.seen.max = 3;
    let told = |fills: &mut Fills, told: &[i64]| {
        let mut rows: Vec<_> = told.iter().copied().map(fill).collect();
        fills.answered(&mut rows, None, later());
        ids(&rows)
    };
    fills.begin([Product::UsdtFutures]);
    for _ in 1..=STRETCHES {
        fills.answered(&mut vec![fill(9)], Some("9".to_owned()), later());
    }
    fills.begin([Product::UsdtFutures]);
    assert_eq!(told(&mut fills, &[10, 9, 8]), [10, 8], "one was listed late, below what had been read");
    assert_eq!(fills.failed(false), None, "the rest has to wait");
    fills.begin([Product::UsdtFutures]);
    assert_eq!(told(&mut fills, &[14, 13, 12, 11]), [14, 13, 12, 11]);
    assert_eq!(told(&mut fills, &[8, 7, 6]), [7, 6]);
}

/// An exchange that fails now and then must not make a long day be read again and again.
#[test]
fn what_failures_left_is_read_once() {
    let (mut fills, last, mut questions) = (Fills::since(0, Bookmark::default()), 1_000, 0);
    for round in 0.. {
        fills.begin([Product::UsdtFutures]);
        for n in 0.. {
            let Some(reading) = fills.next() else { break };
            if round < 30 && n == 2 {
                fills.failed(false);
                break;
            }
            let (mut rows, left) = stretch(&fills, reading, last);
            fills.answered(&mut rows, left, later());
            questions += 1;
        }
        if round >= 30 && fills.left.unread.is_empty() {
            break;
        }
    }
    let rounds = 500;
    assert!(questions < last as usize / ROWS + rounds, "{questions} questions");
}

#[test]
fn old_fills_that_cannot_be_read_are_left_out_and_new_ones_never() {
    let mut fills = Fills::since(0, Bookmark::default());
    let left = || Some("7".to_owned());
    let begin = |fills: &mut Fills| fills.begin([Product::UsdtFutures, Product::UsdcFutures]);
    begin(&mut fills);
    assert_eq!(fills.failed(true), None, "the next round asks again");
    begin(&mut fills);
    for n in 1..=STRETCHES {
        let step = fills.answered(&mut vec![], left(), later());
        assert_eq!(step, if n < STRETCHES { Step::More } else { Step::Later });
    }
    assert!(fills.is_failing(), "the other product's were not answered");
    assert_eq!(fills.answered(&mut vec![], None, later()), Step::Done);
    assert!(!fills.is_failing());
    begin(&mut fills);
    fills.answered(&mut vec![], None, later());
    fills.answered(&mut vec![], None, later());
    let old = fills.next().cloned().expect("what was left");
    assert_eq!((old.cursor.clone(), fills.failed(false)), (left(), None), "it is tried again");
    begin(&mut fills);
    fills.answered(&mut vec![], None, later());
    fills.answered(&mut vec![], None, later());
    assert_eq!(fills.failed(true), Some(old));
    assert!(fills.left.unread.is_empty());
}

/// A row whose time is nonsense would be held for ever, and nobody would hear why. What does not fit is neither lost nor
/// handed on, to be refused.
#[test]
fn a_fill_is_not_held_back_for_ever_nor_are_more_than_fit() {
    let mut fills = Fills::since(0, Bookmark::default());
    let now = Now { ms: 0, offset_ms: 0, instant: Instant::now() };
    fills.begin([Product::UsdtFutures]);
    let last = HELD_MAX as i64;
    let mut rows: Vec<Report> = (4..=last + 1).map(fill).collect();
    assert_eq!(fills.answered(&mut rows, Some("4".to_owned()), now), Step::More);
    assert_eq!(rows.len(), 0);
    let rest = || (0..=3).rev().map(fill).collect::<Vec<_>>();
    let mut rows = rest();
    let asked = fills.next().cloned();
    assert_eq!(fills.answered(&mut rows, None, now), Step::Again);
    assert_eq!((rows.len(), fills.next().cloned()), (0, asked), "nothing was taken");
    assert_eq!(fills.come_of_age(now).len(), 0);
    assert_eq!(fills.left.since_ms.get(&Product::UsdtFutures), None, "such a time says nothing of what was read");
    assert_eq!(fills.come_of_age(Now { offset_ms: 5 * STEP, ..now }).len(), 2, "their time has come");
    let mut rows = rest();
    assert_eq!((fills.answered(&mut rows, None, now), rows.len()), (Step::Done, 1), "there is room");
    let much_later = Now { instant: now.instant + HELD_LONGEST, ..now };
    assert_eq!(fills.come_of_age(much_later).len(), HELD_MAX - 1);
    assert!(!fills.is_holding());
}

#[test]
fn so_many_outages_wait_and_the_next_is_left_out() {
    let mut fills = Fills::since(0, Bookmark::default());
    for n in 0..=UNREAD_MAX {
        let wanted = if n < UNREAD_MAX { Step::Later } else { Step::LeftOut };
        fills.now.push_back(Reading {
            product: Product::UsdtFutures,
            since_ms: 0,
            cursor: None,
            read_to_ms: None,
            known: Arc::default(),
            stretches: STRETCHES - 1,
            is_new: true,
        });
        assert_eq!(fills.answered(&mut vec![], Some("7".to_owned()), later()), wanted);
    }
}
