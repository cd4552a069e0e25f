//! The keys that must be there now, so that a deleted one is missed also where nothing new is written for hours.

use super::Shelf;
use crate::domain::position::HoldSide;
use crate::domain::symbol::SymbolId;
use crate::store::encode::PositionFormat;
use crate::store::encode::market::MIRRORS;
use crate::store::encode::position::CURRENT_LOOKED;
use crate::store::encode::state::{REGIME_MIRRORS, TextValue, is_main_coin};
use crate::store::resp::Commands;
use crate::store::tag::Tag;
use std::borrow::Cow;

/// Keys of one EXISTS.
const CHUNK: usize = 128;
/// More keys than this are looked at in turn, a quarter each time.
const AT_ONCE: usize = 1_024;
const TURNS: usize = 4;

impl Shelf {
    /// Asks how many of our keys are there. Everything that waits must have been encoded before.
    pub(in crate::store) fn ask_owned(&self, out: &mut Commands, turn: usize) {
        let keys = self.owned();
        let all = keys.len() <= AT_ONCE;
        for (_, chunk) in keys.chunks(CHUNK).enumerate().filter(|(i, _)| all || i % TURNS == turn % TURNS) {
            out.begin(Tag::Owned, 1 + chunk.len());
            out.mark(chunk.len() as u64);
            out.arg("EXISTS");
            chunk.iter().for_each(|key| out.arg(key.as_bytes()));
        }
        out.settle();
    }

    /// Asks what stands in the keys that others are known to write.
    pub(in crate::store) fn ask_looked(&self, out: &mut Commands) {
        for (i, tag) in (0..).zip(Tag::LOOKED).filter(|(_, tag)| self.prints.contains_key(tag)) {
            let Some(key) = self.key_of(tag) else { continue };
            if tag == Tag::CurrentHash {
                let words = [&["HMGET", key.as_str()], &CURRENT_LOOKED[..]].concat();
                out.words(Tag::Look(i), &words);
            } else {
                out.words(Tag::Look(i), &["GET", &key]);
            }
        }
        out.settle();
    }

    /// Whether what was read is what this connection wrote last. What is foreign is remembered, so that it is told once;
    /// a key that is gone is another matter.
    pub(in crate::store) fn looked(&mut self, tag: Tag, print: u64) -> bool {
        self.prints.get_mut(&tag).is_none_or(|known| std::mem::replace(known, print) == print)
    }

    fn owned<'a>(&'a self) -> Vec<Cow<'a, str>> {
        let mut keys: Vec<Cow<'a, str>> = Vec::new();
        let free = |tag: Tag| !self.out.blocked().contains(&tag.key());
        let mut add = |tag: Tag, key: &'a str| {
            if free(tag) {
                keys.push(Cow::Borrowed(key));
            }
        };
        for (i, slot) in self.market.iter().enumerate().filter(|(_, s)| s.sent.is_some()) {
            let symbol = SymbolId(i as u16);
            add(Tag::Market(symbol), self.layout.of(symbol).market_state.as_str());
            if self.layout.is_primary(symbol) && slot.floor_ms.is_none() && !self.primary_dirty {
                add(Tag::PrimaryMarket, "market_state");
                for (i, key) in (0..).zip(MIRRORS).filter(|(i, _)| self.prints.contains_key(&Tag::Mirror(*i))) {
                    add(Tag::Mirror(i), key);
                }
            }
        }
        for (i, sides) in self.position.iter().enumerate() {
            let symbol = SymbolId(i as u16);
            let written = |side: HoldSide| {
                let slot = &sides[side.index()];
                slot.picture.is_some() && slot.floor_ms.is_none() && !slot.dirty
            };
            for side in HoldSide::BOTH.into_iter().filter(|&side| written(side)) {
                add(Tag::Position(symbol, side), self.layout.of(symbol).position[side.index()].as_str());
                if self.layout.is_primary(symbol) {
                    let json = if side == HoldSide::Long { "long_trader_position" } else { "short_trader_position" };
                    add(Tag::SideJson(side), json);
                }
            }
            if self.layout.is_primary(symbol) && HoldSide::BOTH.into_iter().all(written) && !self.current_dirty {
                add(Tag::Active, "active_position");
                if self.layout.settings.position_format == PositionFormat::LegacyJson {
                    add(Tag::CurrentJson, "current_position");
                    add(Tag::CurrentHash, "current_position:hash");
                } else {
                    add(Tag::CurrentHash, "current_position");
                }
            }
        }
        if self.breaker.as_ref().is_some_and(|k| !k.dirty) {
            add(Tag::Breaker, "trapline:breaker");
        }
        if self.health.as_ref().is_some_and(|k| !k.dirty) {
            add(Tag::Health, "trapline:health");
        }
        for (i, _) in self.regimes.iter().enumerate().filter(|(_, k)| k.value.is_some() && !k.dirty) {
            let symbol = SymbolId(i as u16);
            add(Tag::Regime(symbol), self.layout.of(symbol).regime.as_str());
            if self.layout.is_primary(symbol) {
                (0..).zip(REGIME_MIRRORS).for_each(|(i, key)| add(Tag::RegimeMirror(i), key));
            }
        }
        for (slot, kept) in self.texts.iter().enumerate().filter(|(_, k)| !k.dirty && k.value.row.expiry_s.is_none()) {
            let is_there = match &kept.value.value {
                TextValue::Whole(_) => true,
                TextValue::Fields(fields) => !fields.is_empty(),
                TextValue::Items(items) => !items.is_empty(),
            };
            if is_there {
                add(Tag::Text(slot as u16), kept.value.name.as_str());
            }
        }
        for (slot, kept) in (0..).zip(&self.accounts).filter(|(_, k)| !k.dirty) {
            let own = format!("trapline:account:{}", kept.value.coin);
            if free(Tag::Account(slot)) {
                keys.push(Cow::Owned(own));
            }
            if is_main_coin(&kept.value.coin) && free(Tag::MainAccount) {
                keys.push(Cow::Borrowed("trapline:account"));
            }
        }
        keys
    }
}
