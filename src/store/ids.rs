//! Which events were accepted already, in little memory.

use rustc_hash::FxHashSet;
use std::collections::VecDeque;

/// Of so many newest events the identity is known: as many as are read from the spool at the start.
pub const REMEMBERED: usize = 100_000;

/// What is kept of an event's identity: enough that two never meet by chance, or by somebody's wish.
pub type Print = u128;

pub fn print(id: &str) -> Print {
    let digest = ring::digest::digest(&ring::digest::SHA256, id.as_bytes());
    digest.as_ref().iter().take(16).fold(0, |print, &byte| print << 8 | Print::from(byte))
}

/// Identities of the newest events, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Ids {
    known: FxHashSet<Print>,
    order: VecDeque<Print>,
}

impl Ids {
    pub const MAX: usize = REMEMBERED;

    /// Oldest first.
    pub fn of(prints: Vec<Print>) -> Self {
        Self { known: prints.iter().copied().collect(), order: prints.into() }
    }

    /// True for one that was not known before.
    pub fn is_new(&mut self, id: &str) -> bool {
        let print = print(id);
        if !self.known.insert(print) {
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
        let mut ids = Ids::of(vec![print("fill:0")]);
        assert!(!ids.is_new("fill:0"));
        assert!((1..Ids::MAX).all(|n| ids.is_new(&format!("fill:{n}"))));
        assert!(!ids.is_new("fill:0"), "as many as fit");
        assert!(ids.is_new("one more"));
        assert!(ids.is_new("fill:0") && !ids.is_new("fill:2"));
        assert_eq!((ids.known.len(), ids.order.len()), (Ids::MAX, Ids::MAX));
    }
}
