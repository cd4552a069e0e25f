//! What the watchdog finds in a cell, and what a shell finds before it rests.

use std::time::{Duration, Instant};

use super::card::Card;
use super::cell::{Cell, Verdict};
use super::fence::Fence;
use super::mailbox::Mailbox;
use super::orders::Control;
use super::starved::InLine;
use super::testing::Number;

#[test]
fn the_watchdogs_own_lateness_is_nobodys_hang() {
    let card = Card { deadline: Duration::from_secs(1), ..Card::new("a", "test") };
    let mailbox = Mailbox::<Number>::new(&card);
    Cell::begin(&*mailbox, 1, Fence::default());
    let now = Instant::now();
    let late = now + Duration::from_secs(3);
    let mut line = InLine::default();
    assert!(mailbox.check(now, now, &mut line).is_none(), "in time");
    assert!(mailbox.check(late, late, &mut line).is_none(), "the watchdog itself was away");
    assert!(
        matches!(mailbox.check(now + Duration::from_millis(300), now, &mut line), Some(Verdict::Slow { .. })),
        "warned"
    );
    assert!(mailbox.check(now + Duration::from_millis(400), now, &mut line).is_none(), "warned once");
    assert!(matches!(mailbox.check(late, now, &mut line), Some(Verdict::Hung(_))));
    assert!(mailbox.check(late, now, &mut line).is_none(), "revoked once");
}

#[test]
fn a_shell_that_goes_to_rest_sees_what_came_just_before() {
    use crate::supervise::waiters::Wake;
    let mailbox = Mailbox::<Number>::new(&Card::new("a", "test"));
    assert!(!mailbox.rest(true), "nothing came");
    mailbox.set_wake(None);
    assert!(matches!(mailbox.offer(mailbox.envelope(Number(1))), crate::supervise::mailbox::Offered::Taken));
    assert!(!mailbox.rest(false), "data does not count while the gate is closed");
    assert!(mailbox.rest(true), "a message between the last look and the rest");
    Wake::wake(&*mailbox);
    assert!(mailbox.rest(false), "space for a parked message between the last look and the rest");
    assert!(mailbox.control(Control::Stop) && mailbox.rest(false), "an order");
}

/// Whoever is stopped must hear of it: the supervisor waits for that, and orders the room nothing else meanwhile.
#[test]
fn a_stop_passes_drills_that_fill_the_lane_and_is_for_one_life() {
    let mailbox = Mailbox::<Number>::new(&Card::new("a", "test"));
    Cell::begin(&*mailbox, 1, Fence::default());
    let drills = std::iter::repeat_with(|| mailbox.control(Control::Panic)).take_while(|taken| *taken).count();
    assert!(mailbox.control(Control::Stop) && !mailbox.orders.is_empty());
    assert_eq!(mailbox.next_control(1), Some(Control::Stop));
    assert_eq!(mailbox.next_control(1), Some(Control::Panic));
    assert!(mailbox.control(Control::Stop));
    Cell::begin(&*mailbox, 2, Fence::default());
    assert_eq!(mailbox.next_control(1), None, "given up, it takes no orders of its successor");
    let orders: Vec<_> = std::iter::from_fn(|| mailbox.next_control(2)).collect();
    assert_eq!(orders, vec![Control::Panic; drills - 1], "the drills are for whoever lives");
    assert!(mailbox.orders.is_empty());
}

#[test]
fn nobody_hangs_who_had_no_thread() {
    let mailbox = Mailbox::<Number>::new(&Card::new("a", "test"));
    Cell::miss(&*mailbox, 1);
    let now = Instant::now();
    assert!(mailbox.check(now + Duration::from_secs(3_600), now, &mut InLine::default()).is_none());
    assert_eq!(Cell::status(&*mailbox, "g", now).epoch, 1);
}

#[test]
fn a_room_that_was_not_started_yet_is_calm_only_while_nothing_waits() {
    let mailbox = Mailbox::<Number>::new(&Card::new("a", "test"));
    assert!(mailbox.quiet().0);
    assert!(matches!(mailbox.offer(mailbox.envelope(Number(1))), crate::supervise::mailbox::Offered::Taken));
    assert!(!mailbox.quiet().0, "a stop that comes before the start leaves nothing behind");
}

#[test]
fn a_birth_is_no_progress_while_messages_wait() {
    let mailbox = Mailbox::<Number>::new(&Card::new("a", "test"));
    let later = mailbox.base + Duration::from_secs(60);
    let age = || Cell::status(&*mailbox, "g", later).progress_age_ms;
    mailbox.beat_of_arbiter(later);
    assert_eq!(age(), 0, "nothing to do, all done");
    assert!(matches!(mailbox.offer(mailbox.envelope(Number(1))), crate::supervise::mailbox::Offered::Taken));
    let much_later = later + Duration::from_secs(60);
    for epoch in 1..=3 {
        Cell::begin(&*mailbox, epoch, Fence::default());
        mailbox.beat_of_arbiter(much_later);
        assert_eq!(Cell::status(&*mailbox, "g", much_later).progress_age_ms, 60_000, "epoch {epoch}");
    }
}
