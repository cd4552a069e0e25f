//! The queue against a list.

use proptest::prelude::*;

use super::card::Overflow;
use super::message::Envelope;
use super::queue::{Pushed, Queue};
use super::testing::Number;
use std::sync::Arc;

fn env(n: u64) -> Arc<Envelope<Number>> {
    Arc::new(Envelope { seq: n, sent_at: std::time::Instant::now(), msg: Number(n) })
}

proptest! {
    /// Against a list: a message replaces the one with its key in place, or goes to the end, or finds no space.
    #[test]
    fn a_conflating_queue_does_what_a_list_does(steps in prop::collection::vec(prop::option::of(0..40_u64), 0..200)) {
        let queue = Queue::<Number>::new(6, Overflow::Conflate);
        let mut list: Vec<u64> = Vec::new();
        for step in steps {
            match step {
                None => {
                    let expected = if list.is_empty() { None } else { Some(list.remove(0)) };
                    prop_assert_eq!(queue.pop().map(|env| env.msg.0), expected);
                }
                Some(n) => {
                    let pushed = queue.push(env(n));
                    if let Some(old) = list.iter_mut().find(|old| **old % 10 == n % 10) {
                        *old = n;
                        prop_assert!(matches!(pushed, Pushed::Replaced));
                    } else if list.len() == 6 {
                        prop_assert!(matches!(pushed, Pushed::Full(_)));
                    } else {
                        list.push(n);
                        prop_assert!(matches!(pushed, Pushed::Queued));
                    }
                }
            }
            prop_assert_eq!(queue.len(), list.len());
        }
    }
}
