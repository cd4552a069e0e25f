//! The newest ids, bounded. A copy is cheap: all but the newest few are shared.

use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is kept of an identity: enough that two never meet by chance, or by somebody's wish.
pub type Print = u128;

pub fn print(id: &str) -> Print {
    let digest = ring::digest::digest(&ring::digest::SHA256, id.as_bytes());
    digest.as_ref().iter().take(16).fold(0, |print, &byte| print << 8 | Print::from(byte))
}

/// Ids of one chunk; only the newest chunk is copied. As many as fill a table of 512 places.
const CHUNK: usize = 448;

/// The newest ids and what is known of each; the oldest are forgotten, a chunk at a time.
#[derive(Clone, Debug)]
pub struct Remembered<V> {
    chunks: usize,
    full: VecDeque<Arc<FxHashMap<Print, V>>>,
    newest: FxHashMap<Print, V>,
}

impl<V> Remembered<V> {
    /// At least the newest `least`, and at most a chunk more.
    pub fn new(least: usize) -> Self {
        Self { chunks: least.div_ceil(CHUNK), full: VecDeque::new(), newest: FxHashMap::default() }
    }

    pub fn get(&self, id: &str) -> Option<&V> {
        self.find(print(id))
    }

    fn find(&self, id: Print) -> Option<&V> {
        self.newest.get(&id).or_else(|| self.full.iter().rev().find_map(|chunk| chunk.get(&id)))
    }

    /// True for an id that is not remembered; of others nothing changes.
    pub fn insert(&mut self, id: &str, value: V) -> bool {
        let id = print(id);
        if self.find(id).is_some() {
            return false;
        }
        if self.newest.len() == CHUNK {
            if self.full.len() == self.chunks {
                self.full.pop_front();
            }
            self.full.push_back(Arc::new(std::mem::take(&mut self.newest)));
        }
        self.newest.insert(id, value);
        true
    }

    pub fn len(&self) -> usize {
        self.newest.len() + self.full.iter().map(|chunk| chunk.len()).sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list of everything that ever came.
        #[test]
        fn the_newest_are_known_and_memory_is_bounded(least in 1_usize..2_000, ids in prop::collection::vec(0_u32..3_000, 0..6_000)) {
            let (mut remembered, mut all) = (Remembered::new(least), Vec::new());
            for (n, id) in ids.iter().enumerate() {
                let id = id.to_string();
                let newest = &all[all.len().saturating_sub(least)..];
                let is_new = remembered.insert(&id, n);
                prop_assert!(!(is_new && newest.contains(&id)), "{} was forgotten too early", id);
                if is_new {
                    all.push(id);
                }
                prop_assert!(remembered.len() <= least + 2 * CHUNK);
            }
            for id in &all[all.len().saturating_sub(least)..] {
                prop_assert!(remembered.get(id).is_some());
            }
        }
    }

    #[test]
    fn a_copy_shares_what_is_old_and_goes_its_own_way() {
        let mut ours = Remembered::new(1_000);
        (0..1_000).for_each(|n| assert!(ours.insert(&n.to_string(), n)));
        let mut copy = ours.clone();
        assert!(ours.full.iter().zip(&copy.full).all(|(a, b)| Arc::ptr_eq(a, b)) && ours.full.len() == 2);
        assert!(copy.insert("more", 7) && ours.get("more").is_none() && copy.get("0") == Some(&0));
        assert!(!ours.insert("0", 9) && ours.get("0") == Some(&0), "what is known stays");
    }
}
