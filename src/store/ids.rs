//! Which events were accepted already, in little memory.

pub use crate::domain::remembered::{Print, print};
use rustc_hash::FxHashSet;
use std::collections::VecDeque;

/// Of so many newest events of this process the identity is known.
pub const REMEMBERED: usize = 100_000;

/// Of so many newest records of the spool the identity is known at the start, 16 bytes each.
pub const FOUND: usize = 1_000_000;

/// Identities of what the spool held at the start, and of this process' newest events, the oldest forgotten first. A start
/// is when many old events come again: the exchange is asked for the fills of a whole day.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// Sorted: less than half of what a table would take.
    found: Box<[Print]>,
    known: FxHashSet<Print>,
    order: VecDeque<Print>,
}

impl Ids {
    pub const MAX: usize = REMEMBERED;

    /// In any order.
    pub fn of(mut found: Vec<Print>) -> Self {
        found.sort_unstable();
        Self { found: found.into(), ..Self::default() }
    }

    /// True for one that was not known before.
    pub fn is_new(&mut self, id: &str) -> bool {
        let print = print(id);
        if self.found.binary_search(&print).is_ok() || !self.known.insert(print) {
            return false;
        }
        self.order.push_back(print);
        if self.order.len() > Self::MAX
            && let Some(old) = self.order.pop_front()
        {
            self.known.remove(&old);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_and_the_oldest_forgotten() {
        let mut ids = Ids::default();
        assert!(ids.is_new("fill:0") && !ids.is_new("fill:0"));
        assert!((1..Ids::MAX).all(|n| ids.is_new(&format!("fill:{n}"))));
        assert!(!ids.is_new("fill:0"), "as many as fit");
        assert!(ids.is_new("one more"));
        assert!(ids.is_new("fill:0") && !ids.is_new("fill:2"));
        assert_eq!((ids.known.len(), ids.order.len()), (Ids::MAX, Ids::MAX));
    }
    #[test]
    fn what_was_found_is_never_forgotten() {
        let name = |n: usize| format!("fill:{n}");
        let found = Ids::MAX + 1_000;
        let mut ids = Ids::of((0..found).map(|n| print(&name(n))).collect());
        assert!((0..Ids::MAX + 1).all(|n| ids.is_new(&name(found + n))));
        assert!(!(0..found).any(|n| ids.is_new(&name(n))), "however many came since");
    }
}
