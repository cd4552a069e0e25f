//! What must hold in every order of steps. `LOOM_MAX_PREEMPTIONS=3` tries more of them, in minutes.

use std::sync::Arc;

use super::cell::Cell;
use super::house::House;
use super::policy::Fate;
use crate::supervise::card::Overflow;

/// Two senders and `other`, all at once; `other` is an operator or a watchdog.
fn check(overflow: Overflow, capacity: usize, other: Option<fn(&House)>) {
    let mut model = loom::model::Builder::new();
    // Two interruptions at any places find every mutant of tests/mutants.
    model.preemption_bound = model.preemption_bound.or(Some(2));
    model.check(move || {
        let house = House::new(overflow, capacity);
        house.begin(1);
        let spawn = |f: Box<dyn FnOnce(&House)>| {
            let house = Arc::clone(&house);
            loom::thread::spawn(move || f(&house))
        };
        let mut threads = vec![spawn(Box::new(|house| house.send(1))), spawn(Box::new(|house| house.send(2)))];
        threads.extend(other.map(|other| spawn(Box::new(other))));
        house.run();
        for thread in threads {
            thread.join().expect("thread");
        }
        house.assert_each_once(2);
    });
}

#[test]
fn no_wake_up_is_lost_and_each_message_ends_once() {
    check(Overflow::Reject, 1, None);
    check(Overflow::Conflate, 1, None);
}

#[test]
fn nor_when_the_incarnation_is_given_up_at_any_moment() {
    check(Overflow::Reject, 1, Some(|house| house.replace(Fate::Quarantine)));
}

#[test]
fn nor_when_its_message_goes_back_to_the_head() {
    check(Overflow::Reject, 2, Some(|house| house.replace(Fate::Back)));
}

#[test]
fn nor_when_an_operator_suspends_and_resumes_it() {
    let suspend_and_resume = |house: &House| {
        Cell::set_suspended(&*house.mailbox, true);
        house.run();
        Cell::set_suspended(&*house.mailbox, false);
        house.run();
    };
    check(Overflow::Reject, 2, Some(suspend_and_resume));
}
