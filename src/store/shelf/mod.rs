//! The newest value of every state key, what of it Redis has, and what has to be written next.
//!
//! Nothing older ever replaces something newer here: market values are ordered by (exchange time, sequence), positions
//! by when they were last proved. Values of an earlier process are respected through what was read back at the start.

mod fill;
mod left;
mod outcome;
mod owned;

pub(in crate::store) use outcome::Replaced;

use self::left::Left;
use super::board::{Board, Counts};
use super::encode::market::MarketExtra;
use super::encode::state::{HealthPicture, TextState};
use super::encode::{Layout, StaleMark};
use super::guard::Leftovers;
use super::resp::Commands;
use super::tag::Tag;
use crate::domain::picture::{AccountPicture, BreakerPicture, MarketPicture, PositionPicture};
use crate::domain::position::HoldSide;
use crate::domain::symbol::SymbolId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far a stored time may lie ahead of ours before it is taken for nonsense.
const SKEW_MS: i64 = 5_000;
const COINS_MAX: usize = 16;
const TEXTS_MAX: usize = 4_096;
const LATENCIES_MAX: usize = 512;
const SAMPLE_EVERY: Duration = Duration::from_millis(5);
const LATENCY_FLUSH: Duration = Duration::from_secs(1);
/// The channel `btc_price` carries at most one message in so long.
const CHANNEL_EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
struct MarketSlot {
    picture: Option<MarketPicture>,
    extra: MarketExtra,
    /// What this connection has written last.
    sent: Option<(MarketPicture, MarketExtra)>,
    /// The next write holds every field: somebody may have taken one away.
    whole: bool,
    dirty: bool,
    /// Exchange time that an earlier process wrote.
    floor_ms: Option<i64>,
}

#[derive(Default)]
struct PositionSlot {
    picture: Option<PositionPicture>,
    stale: Option<StaleMark>,
    dirty: bool,
    floor_ms: Option<i64>,
}

struct Kept<T> {
    value: T,
    dirty: bool,
}

/// See the module's text.
pub struct Shelf {
    pub layout: Layout,
    board: Arc<Board>,
    /// False: every market picture is written while the connection is up.
    conflate: bool,
    pub(in crate::store) connected: bool,
    /// A cluster is written to: state waits while anything is on its way, so that of two values of a key only the newer
    /// one is sent.
    pub(in crate::store) is_cluster: bool,
    market: Vec<MarketSlot>,
    market_dirty: Vec<SymbolId>,
    position: Vec<[PositionSlot; 2]>,
    primary_dirty: bool,
    current_dirty: bool,
    expiry_due: bool,
    breaker: Option<Kept<BreakerPicture>>,
    breaker_changed: bool,
    accounts: Vec<Kept<AccountPicture>>,
    account_stale: Option<StaleMark>,
    regimes: Vec<Kept<Option<&'static str>>>,
    texts: Vec<Kept<TextState>>,
    text_slots: FxHashMap<String, u16>,
    health: Option<Kept<HealthPicture>>,
    own_health: Vec<(&'static str, String)>,
    others_dirty: bool,
    /// Ready to be sent.
    pub(in crate::store) out: Commands,
    /// Keys of a foreign type and their new names: the RENAME stands in `out`.
    asides: Vec<[String; 2]>,
    /// Sent, not yet answered.
    pub(in crate::store) outstanding: usize,
    left: Left,
    /// Fingerprints of the strings that this connection has written.
    prints: FxHashMap<Tag, u64>,
    /// Hashes and windows that this connection has written whole.
    whole: FxHashSet<Tag>,
    samples: VecDeque<(SymbolId, u64, Instant)>,
    sampled_at: Option<Instant>,
    latencies: VecDeque<u32>,
    latencies_at: Option<Instant>,
    /// What the channel `btc_price` carried last, and when.
    channel: Option<(u64, Instant)>,
}

fn encode_aside(out: &mut Commands, key: &str, aside: &str) {
    out.words(Tag::Control, &["RENAME", key, aside]);
    out.words(Tag::Control, &["PERSIST", aside]);
}

impl Shelf {
    pub fn new(layout: Layout, board: Arc<Board>, conflate: bool) -> Self {
        let n = layout.symbols.len();
        Self {
            layout,
            board,
            conflate,
            connected: false,
            is_cluster: false,
            market: (0..n).map(|_| MarketSlot::default()).collect(),
            market_dirty: Vec::with_capacity(n),
            position: (0..n).map(|_| Default::default()).collect(),
            primary_dirty: false,
            current_dirty: false,
            expiry_due: false,
            breaker: None,
            breaker_changed: false,
            accounts: Vec::new(),
            account_stale: None,
            regimes: (0..n).map(|_| Kept { value: None, dirty: false }).collect(),
            texts: Vec::new(),
            text_slots: FxHashMap::default(),
            health: None,
            own_health: Vec::new(),
            others_dirty: false,
            out: Commands::new(),
            asides: Vec::new(),
            outstanding: 0,
            left: Left::default(),
            prints: FxHashMap::default(),
            whole: FxHashSet::default(),
            samples: VecDeque::new(),
            sampled_at: None,
            latencies: VecDeque::new(),
            latencies_at: None,
            channel: None,
        }
    }

    fn knows(&self, symbol: SymbolId) -> bool {
        symbol.index() < self.market.len()
    }

    /// Takes accepted market pictures.
    pub fn market(&mut self, pictures: &[MarketPicture]) {
        for picture in pictures {
            if self.knows(picture.symbol) {
                self.one_market(*picture);
            }
        }
    }

    fn one_market(&mut self, mut picture: MarketPicture) {
        let symbol = picture.symbol;
        let cell = self.board.market(symbol);
        cell.accepted(picture.seq, picture.received_ms);
        let slot = &mut self.market[symbol.index()];
        if let Some(before) = &slot.picture {
            if picture.seq <= before.seq && picture.exchange_time_ms <= before.exchange_time_ms {
                Counts::add(&self.board.counts.regressed_total, 1);
                return;
            }
            // Folded from several channels: newer knowledge, but the time that orders the key does not go back.
            picture.exchange_time_ms = picture.exchange_time_ms.max(before.exchange_time_ms);
        }
        slot.picture = Some(picture);
        if slot.extra.stale.is_some_and(|s| picture.received_ms >= s.since_ms) {
            slot.extra.stale = None;
            cell.set_stale(false);
        }
        if let Some(floor) = slot.floor_ms {
            if picture.exchange_time_ms < floor {
                Counts::add(&self.board.counts.regressed_total, 1);
                return;
            }
            slot.floor_ms = None;
        }
        if self.conflates() || !self.connected {
            self.mark_market(symbol);
        } else {
            self.encode_market(symbol);
            self.primary_dirty |= self.layout.is_primary(symbol);
        }
    }

    fn mark_market(&mut self, symbol: SymbolId) {
        let slot = &mut self.market[symbol.index()];
        if slot.dirty {
            Counts::add(&self.board.counts.conflated_total, 1);
        } else {
            slot.dirty = true;
            self.market_dirty.push(symbol);
        }
        self.primary_dirty |= self.layout.is_primary(symbol);
    }

    /// Takes accepted positions.
    pub fn positions(&mut self, pictures: &[PositionPicture]) {
        for picture in pictures {
            if !self.knows(picture.symbol) {
                continue;
            }
            let (symbol, side) = (picture.symbol, picture.side);
            let cell = self.board.position(symbol, side);
            cell.accepted(picture.seq, picture.verified_ms);
            let slot = &mut self.position[symbol.index()][side.index()];
            if slot.picture.is_some_and(|b| picture.verified_ms < b.verified_ms && picture.seq <= b.seq) {
                Counts::add(&self.board.counts.regressed_total, 1);
                continue;
            }
            slot.picture = Some(*picture);
            if slot.stale.is_some_and(|s| picture.verified_ms >= s.since_ms) {
                slot.stale = None;
                cell.set_stale(false);
            }
            if let Some(floor) = slot.floor_ms {
                if picture.verified_ms < floor {
                    Counts::add(&self.board.counts.regressed_total, 1);
                    continue;
                }
                slot.floor_ms = None;
            }
            self.mark_position(symbol, side);
        }
    }

    fn mark_position(&mut self, symbol: SymbolId, side: HoldSide) {
        let slot = &mut self.position[symbol.index()][side.index()];
        if std::mem::replace(&mut slot.dirty, true) {
            Counts::add(&self.board.counts.conflated_total, 1);
        }
        self.current_dirty |= self.layout.is_primary(symbol);
        self.others_dirty = true;
    }

    pub fn breaker(&mut self, picture: BreakerPicture) {
        self.breaker_changed |= self.breaker.as_ref().is_none_or(|b| b.value != picture);
        self.breaker = Some(Kept { value: picture, dirty: true });
        self.others_dirty = true;
    }

    pub fn account(&mut self, picture: AccountPicture) {
        let received_ms = picture.received_ms;
        match self.accounts.iter().position(|a| a.value.coin == picture.coin) {
            Some(slot) if self.accounts[slot].value.received_ms > received_ms => {
                return Counts::add(&self.board.counts.regressed_total, 1);
            }
            Some(slot) => self.accounts[slot] = Kept { value: picture, dirty: true },
            None if self.accounts.len() < COINS_MAX => self.accounts.push(Kept { value: picture, dirty: true }),
            None => return Counts::add(&self.board.counts.errors_total, 1),
        }
        self.board.account.accepted(1, received_ms);
        if self.account_stale.is_some_and(|s| received_ms >= s.since_ms) {
            self.set_account_stale(None);
        }
        self.others_dirty = true;
    }

    fn set_account_stale(&mut self, mark: Option<StaleMark>) {
        if self.account_stale != mark {
            self.account_stale = mark;
            self.board.account.set_stale(mark.is_some());
            self.accounts.iter_mut().for_each(|a| a.dirty = true);
            self.others_dirty = true;
        }
    }

    pub fn regime(&mut self, symbol: SymbolId, regime: &'static str) {
        if !self.knows(symbol) {
            return;
        }
        self.regimes[symbol.index()] = Kept { value: Some(regime), dirty: true };
        self.market[symbol.index()].extra.regime = regime;
        self.others_dirty = true;
        if self.market[symbol.index()].picture.is_some() {
            self.mark_market(symbol);
        }
    }

    pub fn text(&mut self, text: TextState) {
        self.others_dirty = true;
        if let Some(&slot) = self.text_slots.get(&text.name) {
            self.texts[usize::from(slot)] = Kept { value: text, dirty: true };
        } else if self.texts.len() < TEXTS_MAX {
            self.text_slots.insert(text.name.clone(), self.texts.len() as u16);
            self.texts.push(Kept { value: text, dirty: true });
        } else {
            Counts::add(&self.board.counts.errors_total, 1);
        }
    }

    pub fn health(&mut self, picture: HealthPicture) {
        self.health = Some(Kept { value: picture, dirty: true });
        self.others_dirty = true;
    }

    pub(in crate::store) fn set_own_health(&mut self, fields: Vec<(&'static str, String)>) {
        self.own_health = fields;
    }

    pub fn stale_market(&mut self, symbol: SymbolId, mark: Option<StaleMark>) {
        if self.knows(symbol) && self.market[symbol.index()].extra.stale != mark {
            self.market[symbol.index()].extra.stale = mark;
            self.board.market(symbol).set_stale(mark.is_some());
            self.mark_market(symbol);
        }
    }

    pub fn stale_position(&mut self, symbol: SymbolId, side: HoldSide, mark: Option<StaleMark>) {
        if self.knows(symbol) && self.position[symbol.index()][side.index()].stale != mark {
            self.position[symbol.index()][side.index()].stale = mark;
            self.board.position(symbol, side).set_stale(mark.is_some());
            self.mark_position(symbol, side);
        }
    }

    pub fn stale_account(&mut self, mark: Option<StaleMark>) {
        self.set_account_stale(mark);
    }

    /// What an earlier process left in Redis; asked once. A time far ahead of ours is nonsense and holds up nothing.
    pub(in crate::store) fn set_floors(
        &mut self,
        symbol: SymbolId,
        market_ms: Option<i64>,
        sides_ms: [Option<i64>; 2],
        now_ms: i64,
    ) {
        let floor = |stored: Option<i64>, known: Option<i64>| {
            stored.filter(|&stored| stored <= now_ms + SKEW_MS && known.is_none_or(|known| known < stored))
        };
        let slot = &mut self.market[symbol.index()];
        slot.floor_ms = floor(market_ms, slot.picture.map(|p| p.exchange_time_ms));
        for (slot, stored) in self.position[symbol.index()].iter_mut().zip(sides_ms) {
            slot.floor_ms = floor(stored, slot.picture.map(|p| p.verified_ms));
        }
    }

    pub(in crate::store) fn set_leftovers(&mut self, leftovers: Leftovers) {
        self.left = leftovers.into();
    }

    /// Everything known is to be written again: after a reconnect, and when somebody emptied Redis. What stood there
    /// before is forgotten with it.
    pub(in crate::store) fn republish(&mut self) {
        self.out.clear();
        for [key, aside] in &self.asides {
            encode_aside(&mut self.out, key, aside);
        }
        self.prints.clear();
        self.whole.clear();
        self.samples.clear();
        self.write_again();
    }

    /// The same where keys are missing. What stood there is remembered: each write tells whether its key was one of them.
    pub(in crate::store) fn write_again(&mut self) {
        for i in 0..self.market.len() {
            let symbol = SymbolId(i as u16);
            let slot = &mut self.market[i];
            slot.sent = None;
            // Without a picture there may be a mark on what an earlier process left.
            if (slot.picture.is_some() || slot.extra.stale.is_some()) && !slot.dirty {
                slot.dirty = true;
                self.market_dirty.push(symbol);
                self.primary_dirty |= self.layout.is_primary(symbol);
            }
        }
        self.refresh_quiet();
    }

    /// State that may stay the same for hours: written again now and then, which also renews its expiry and repairs a
    /// key that somebody deleted.
    pub(in crate::store) fn refresh_quiet(&mut self) {
        let mut count = 0;
        self.market.iter_mut().for_each(|slot| slot.whole = true);
        for slot in self.position.iter_mut().flatten().filter(|s| s.picture.is_some() || s.stale.is_some()) {
            slot.dirty = true;
            count += 1;
        }
        self.breaker.iter_mut().for_each(|k| k.dirty = true);
        self.accounts.iter_mut().for_each(|k| k.dirty = true);
        self.regimes.iter_mut().for_each(|k| k.dirty = k.value.is_some());
        self.texts.iter_mut().for_each(|k| k.dirty = true);
        self.health.iter_mut().for_each(|k| k.dirty = true);
        self.current_dirty = true;
        self.primary_dirty = true;
        self.others_dirty = true;
        Counts::add(&self.board.counts.republished_total, count);
    }

    /// Puts a key of a foreign type aside, in the order of what is encoded: fields that waited already are refused before
    /// the RENAME, and what is encoded after it is whole. In front of them, they would leave a part of the hash there.
    pub(in crate::store) fn put_aside(&mut self, key: String, aside: String) {
        encode_aside(&mut self.out, &key, &aside);
        self.asides.push([key, aside]);
    }

    /// Moves what is encoded to the end of `sending`.
    pub(in crate::store) fn hand_over(&mut self, sending: &mut Commands) {
        if sending.is_empty() {
            self.out.trade(sending);
        } else {
            sending.take_from(&mut self.out);
        }
        self.asides.clear();
    }

    /// The connection is gone: the newest values stay in their places and are written again after the reconnect.
    pub(in crate::store) fn disconnected(&mut self) {
        self.connected = false;
        self.outstanding = 0;
        self.out.clear();
        self.asides.clear();
    }

    pub(in crate::store) fn conflates(&self) -> bool {
        self.conflate || self.is_cluster
    }

    /// Whether [`Shelf::fill`] would write something.
    pub(in crate::store) fn wants(&self) -> bool {
        !self.out.is_empty() || !self.market_dirty.is_empty() || self.others_dirty || self.primary_dirty
    }

    /// Nothing waits and nothing is on its way.
    pub fn is_settled(&self) -> bool {
        self.outstanding == 0 && !self.wants()
    }
}
