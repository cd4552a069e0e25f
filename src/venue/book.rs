//! The order book, made from what is known of a market: its best prices and sizes. Pure: the same market at the same
//! time has the same ladder, for both generations and for REST. What clients hold is a [`Book`]: a ladder as it was
//! last told, with the number chain that lets them notice a lost update.

use super::config::Generation;
use super::market::state::SymbolState;
use crate::domain::symbol::Product;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// How many levels a book channel tells of. All but `Full` are told whole each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Depth {
    Full,
    Top(u8),
}

const V2: [Depth; 4] = [Depth::Full, Depth::Top(1), Depth::Top(5), Depth::Top(15)];
const V3: [Depth; 4] = [Depth::Full, Depth::Top(1), Depth::Top(5), Depth::Top(50)];

impl Depth {
    /// What a generation offers.
    pub const fn of(generation: Generation) -> &'static [Self; 4] {
        match generation {
            Generation::V2 => &V2,
            Generation::V3 => &V3,
        }
    }

    pub fn named(generation: Generation, channel: &str) -> Option<Self> {
        Self::of(generation).iter().copied().find(|depth| depth.channel() == channel)
    }

    pub const fn channel(self) -> &'static str {
        match self {
            Self::Full => "books",
            Self::Top(1) => "books1",
            Self::Top(5) => "books5",
            Self::Top(15) => "books15",
            Self::Top(_) => "books50",
        }
    }

    /// Levels of a side at most.
    pub const fn levels(self, generation: Generation, product: Product) -> usize {
        match (self, generation, product) {
            (Self::Top(count), ..) => count as usize,
            (Self::Full, Generation::V3, _) => 1_000,
            (Self::Full, Generation::V2, Product::UsdtFutures) => 500,
            (Self::Full, Generation::V2, _) => 200,
        }
    }
}

/// A price and what stands there, in ticks and steps of the instrument; 0 steps = nothing any more.
pub type Level = (i64, i64);

/// Both sides, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    pub bids: Vec<Level>,
    pub asks: Vec<Level>,
}

impl Ladder {
    /// The ladder of a market at a time, `count` levels a side (fewer where a bid would cost nothing). A market
    /// without a price has none.
    pub fn of(state: &SymbolState, count: usize, now_ms: i64) -> Self {
        if !state.priced() {
            return Self::default();
        }
        let i = &state.instrument;
        let bid = whole(state.bid, i.price_scale).max(1);
        let ask = whole(state.ask, i.price_scale).max(bid + 1);
        let (bid_size, ask_size) = (whole(state.bid_size, i.size_scale), whole(state.ask_size, i.size_scale));
        let seed = i.name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| mix(h ^ u64::from(b)));
        let typical = ((bid_size + ask_size) / 2).max(2);
        Self {
            bids: side(bid, bid_size, -1, count, seed, typical, now_ms),
            asks: side(ask, ask_size, 1, count, seed ^ 1, typical, now_ms),
        }
    }

    /// The best `count` levels of each side.
    pub fn top(&self, count: usize) -> (&[Level], &[Level]) {
        (&self.bids[..count.min(self.bids.len())], &self.asks[..count.min(self.asks.len())])
    }

    /// What has to be told to who holds `self` for it to hold `next`.
    pub fn changes(&self, next: &Self) -> Self {
        Self { bids: changes(&self.bids, &next.bids, -1), asks: changes(&self.asks, &next.asks, 1) }
    }

    /// Holds what `changes` tell, and no more than `count` levels.
    pub fn apply(&mut self, changes: &Self) {
        apply(&mut self.bids, &changes.bids, -1);
        apply(&mut self.asks, &changes.asks, 1);
    }

    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }
}

fn whole(value: Decimal, scale: u32) -> i64 {
    let mut value = value;
    value.rescale(scale);
    (value * Decimal::from(10_i64.pow(scale.min(18)))).to_i64().unwrap_or(0)
}

/// A hash step with good low bits.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn side(best: i64, best_size: i64, step: i64, count: usize, seed: u64, typical: i64, now_ms: i64) -> Vec<Level> {
    let mut levels = Vec::with_capacity(count);
    let mut ticks = best;
    while levels.len() < count && ticks > 0 {
        let distance = (ticks - best).unsigned_abs();
        let place = mix(seed ^ (ticks as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if distance == 0 {
            levels.push((ticks, best_size.max(1)));
        } else if distance <= 5 || !place.is_multiple_of(4) {
            // Each level is changed every few seconds, at a beat of its own.
            let period = 1_500 + (place >> 8) % 12_000;
            let epoch = (now_ms as u64).wrapping_add(place >> 24) / period;
            let draw = mix(place ^ epoch);
            // Heavy tails without floating point: doubled once for each leading zero, up to 64 times.
            let heavy = 1_i64 << draw.leading_zeros().min(6);
            let size = typical.saturating_mul(1 + (draw % 24) as i64).saturating_mul(heavy) / 16;
            levels.push((ticks, size.clamp(1, 1_000_000_000_000)));
        }
        ticks += step;
    }
    levels
}

fn changes(old: &[Level], new: &[Level], step: i64) -> Vec<Level> {
    let mut out = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let order = match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) => (a.0 * step).cmp(&(b.0 * step)),
            (Some(_), None) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        };
        match order {
            std::cmp::Ordering::Less => {
                out.push((old[i].0, 0));
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                out.push(new[j]);
                j += 1;
            }
            std::cmp::Ordering::Equal => {
                if old[i].1 != new[j].1 {
                    out.push(new[j]);
                }
                i += 1;
                j += 1;
            }
        }
    }
    out
}

fn apply(levels: &mut Vec<Level>, changes: &[Level], step: i64) {
    for &(ticks, size) in changes {
        match levels.binary_search_by_key(&(ticks * step), |level| level.0 * step) {
            Ok(place) if size == 0 => {
                levels.remove(place);
            }
            Ok(place) => levels[place].1 = size,
            Err(_) if size == 0 => {}
            Err(place) => levels.insert(place, (ticks, size)),
        }
    }
}

/// A ladder as clients of one generation were last told, and its place in the chain.
#[derive(Clone, Debug)]
pub struct Book {
    pub ladder: Ladder,
    pub seq: u64,
    /// What `seq` was before the newest change.
    pub pseq: u64,
    levels: usize,
    /// Coin-margined chains are above 2^53, where JavaScript numbers lose their last digits.
    offset: u64,
}

impl Book {
    pub fn new(state: &SymbolState, generation: Generation, now_ms: i64) -> Self {
        let product = state.instrument.product;
        let levels = Depth::Full.levels(generation, product);
        let offset = if product == Product::CoinFutures { 1 << 53 } else { 0 };
        let ladder = Ladder::of(state, levels, now_ms);
        Self { ladder, seq: first_seq(now_ms) + offset, pseq: 0, levels, offset }
    }

    /// Moves on to the market of now; returns what changed, nothing where nothing did.
    pub fn follow(&mut self, state: &SymbolState, now_ms: i64) -> Ladder {
        let next = Ladder::of(state, self.levels, now_ms);
        let changes = self.ladder.changes(&next);
        if !changes.is_empty() {
            self.ladder = next;
            self.pseq = self.seq;
            self.seq = (self.seq + 1).max(first_seq(now_ms) + self.offset);
        }
        changes
    }
}

/// Numbers rise with time, so that a book that nobody held for a while does not begin again below.
fn first_seq(now_ms: i64) -> u64 {
    u64::try_from(now_ms - 1_367_800_000_000).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::market::TakerSide;
    use crate::venue::instrument::Instrument;
    use crate::venue::market::state::PublicTrade;
    use proptest::prelude::*;

    const NOW: i64 = 1_795_404_675_000;

    fn market(name: &str, price: f64) -> SymbolState {
        let instrument = Instrument::named(name);
        let price = instrument.price(price);
        let mut state = SymbolState::new(instrument, 0, None);
        state.print(PublicTrade { ts_ms: NOW, price, size: price, side: TakerSide::Buy, id: 0 }, 2);
        state
    }

    #[test]
    fn levels_by_generation_and_product() {
        for (name, v2, v3) in [("BTCUSDT", 500, 1_000), ("BTCPERP", 200, 1_000), ("BTCUSD", 200, 1_000)] {
            let state = market(name, 86_500.0);
            for (generation, expected) in [(Generation::V2, v2), (Generation::V3, v3)] {
                let book = Book::new(&state, generation, NOW);
                assert_eq!((book.ladder.bids.len(), book.ladder.asks.len()), (expected, expected), "{name}");
            }
        }
        assert_eq!(Depth::named(Generation::V2, "books15"), Some(Depth::Top(15)));
        assert_eq!(Depth::named(Generation::V3, "books15"), None);
        assert_eq!(Depth::named(Generation::V2, "books50"), None);
    }

    #[test]
    fn numbers_of_coin_margined_books_need_64_bits() {
        assert!(Book::new(&market("BTCUSD", 86_500.0), Generation::V3, NOW).seq > 1 << 53);
        assert!(Book::new(&market("BTCUSDT", 86_500.0), Generation::V3, NOW).seq < 1 << 53);
    }

    #[test]
    fn bids_of_a_cheap_coin_end_at_one_tick_and_an_unpriced_market_has_no_book() {
        let ladder = Ladder::of(&market("DOGEUSDT", 0.0005), 500, NOW);
        assert!(ladder.bids.len() < 500 && ladder.bids.iter().all(|(ticks, _)| *ticks > 0));
        assert!(Ladder::of(&SymbolState::new(Instrument::named("X"), 0, None), 5, NOW).is_empty());
    }

    proptest! {
        #[test]
        fn updates_applied_to_a_snapshot_give_the_book_of_now(
            moves in prop::collection::vec((-40_i64..40, 0_i64..4_000), 1..30),
        ) {
            let mut state = market("BTCUSDT", 86_500.0);
            let mut book = Book::new(&state, Generation::V2, NOW);
            let (mut held, mut last) = (book.ladder.clone(), book.seq);
            let (mut ticks, mut now_ms) = (865_000, NOW);
            for (step, later) in moves {
                ticks += step;
                now_ms += later;
                let price = Decimal::new(ticks, 1);
                state.print(PublicTrade { ts_ms: now_ms, price, size: price, side: TakerSide::Buy, id: 0 }, 2);
                let changes = book.follow(&state, now_ms);
                if !changes.is_empty() {
                    prop_assert_eq!(book.pseq, last, "the chain");
                    prop_assert!(book.seq > last);
                    last = book.seq;
                }
                held.apply(&changes);
                prop_assert_eq!(&held, &book.ladder);
                prop_assert!(held.bids[0].0 < held.asks[0].0, "never crossed");
                prop_assert!(held.bids.windows(2).all(|w| w[0].0 > w[1].0) && held.asks.windows(2).all(|w| w[0].0 < w[1].0));
                prop_assert!(held.bids.iter().chain(&held.asks).all(|(_, size)| *size > 0));
            }
        }
    }
}
