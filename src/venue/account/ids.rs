//! Ids as the exchange hands them out: 19 decimal digits, always growing, gaps in between.

/// A seeded sequence of even 19-digit ids. Even, because an execution's link id on the unified protocol is id + 1.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    last: u64,
    state: u64,
}

impl Ids {
    /// The smallest id; 19 digits are enough for 7 × 10^14 ids of the largest step.
    const FIRST: u64 = 1_380_000_000_000_000_000;

    pub(super) fn new(seed: u64) -> Self {
        let mut ids = Self { last: Self::FIRST, state: seed };
        ids.last += ids.draw() % 1_000_000_000_000 * 2;
        ids
    }

    pub(super) fn next(&mut self) -> u64 {
        self.last += 2 + self.draw() % 5_000 * 2;
        self.last
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
