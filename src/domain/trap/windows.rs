//! Sliding extremes in bounded memory: monotone rings with one entry a second at most.

use rust_decimal::Decimal;
use std::collections::VecDeque;

/// A price at a second, as statistic and as published value, with the volume traded before that second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    pub sec: i64,
    /// May be mirrored (negated) by the caller; `exact` never is.
    pub value: f64,
    pub exact: Decimal,
    /// Base coin traded since the engine began, up to this second's start.
    pub traded_before: Decimal,
}

/// The highest mark of the last `window_s` seconds. Callers that want the lowest negate `value`.
///
/// Bound: marks come with strictly rising seconds, so the ring never holds more than `window_s + 1` entries; a random
/// walk keeps about the root of that.
#[derive(Clone, Debug)]
pub struct Highest {
    window_s: i64,
    ring: VecDeque<Mark>,
}

impl Highest {
    pub fn new(window_s: i64) -> Self {
        Self { window_s, ring: VecDeque::new() }
    }

    /// Takes a mark later than all before it. Amortised O(1).
    pub fn push(&mut self, mark: Mark) {
        // An equal later mark does not replace an earlier one: the first touch names the level.
        while self.ring.back().is_some_and(|last| last.value < mark.value) {
            self.ring.pop_back();
        }
        self.ring.push_back(mark);
        self.forget(mark.sec);
    }

    /// Drops what is older than the window at `now_sec`.
    pub fn forget(&mut self, now_sec: i64) {
        while self.ring.front().is_some_and(|first| first.sec < now_sec - self.window_s) {
            self.ring.pop_front();
        }
    }

    pub fn get(&self) -> Option<&Mark> {
        self.ring.front()
    }

    pub fn clear(&mut self) {
        self.ring.clear();
    }

    pub fn len(&self) -> usize {
        self.ring.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

/// Like [`Highest`], over a range that ended `gap_s` seconds ago: young marks wait in a queue of at most
/// `gap_s + 1` entries.
#[derive(Clone, Debug)]
pub struct PastHighest {
    gap_s: i64,
    young: VecDeque<Mark>,
    past: Highest,
}

impl PastHighest {
    pub fn new(window_s: i64, gap_s: i64) -> Self {
        Self { gap_s, young: VecDeque::new(), past: Highest::new(window_s) }
    }

    /// The highest mark in `[now - window, now - gap]`.
    pub fn at(&mut self, now_sec: i64) -> Option<&Mark> {
        while self.young.front().is_some_and(|mark| mark.sec <= now_sec - self.gap_s) {
            if let Some(mark) = self.young.pop_front() {
                self.past.push(mark);
            }
        }
        self.past.forget(now_sec);
        self.past.get()
    }

    /// What [`PastHighest::at`] said last.
    pub fn newest(&self) -> Option<&Mark> {
        self.past.get()
    }

    pub fn push(&mut self, mark: Mark) {
        self.at(mark.sec);
        self.young.push_back(mark);
    }

    pub fn clear(&mut self) {
        self.young.clear();
        self.past.clear();
    }

    pub fn len(&self) -> usize {
        self.young.len() + self.past.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark(sec: i64, value: f64) -> Mark {
        Mark { sec, value, exact: Decimal::ZERO, traded_before: Decimal::ZERO }
    }

    proptest! {
        #[test]
        fn the_ring_agrees_with_looking_at_everything(
            steps in proptest::collection::vec((1_i64..9, -50_i32..50), 1..200), window_s in 1_i64..60, gap_s in 0_i64..20,
        ) {
            let mut ring = Highest::new(window_s);
            let mut past = PastHighest::new(window_s + gap_s, gap_s);
            let (mut all, mut sec) = (Vec::new(), 0);
            for (pause, value) in steps {
                sec += pause;
                let value = f64::from(value);
                all.push((sec, value));
                ring.push(mark(sec, value));
                past.push(mark(sec, value));
                let most = |from: i64, to: i64| {
                    all.iter().filter(|(at, _)| (from..=to).contains(at)).map(|(_, v)| *v).reduce(f64::max)
                };
                prop_assert_eq!(ring.get().map(|m| m.value), most(sec - window_s, sec));
                prop_assert_eq!(past.at(sec).map(|m| m.value), most(sec - window_s - gap_s, sec - gap_s));
                prop_assert!(ring.len() as i64 <= window_s + 1);
                prop_assert!(past.len() as i64 <= window_s + 2 * gap_s + 2);
            }
        }
    }

    #[test]
    fn the_first_touch_names_the_level() {
        let mut ring = Highest::new(10);
        ring.push(mark(1, 5.0));
        ring.push(mark(2, 5.0));
        assert_eq!(ring.get().map(|m| m.sec), Some(1));
    }

    #[test]
    fn a_falling_market_fills_the_ring_to_its_bound_and_not_further() {
        let mut ring = Highest::new(3_600);
        for sec in 0..20_000 {
            ring.push(mark(sec, -(sec as f64)));
        }
        assert_eq!(ring.len(), 3_601);
    }
}
