//! What waits, as commands.

use super::{CHANNEL_EVERY, LATENCIES_MAX, LATENCY_FLUSH, SAMPLE_EVERY, Shelf, left};
use crate::domain::position::HoldSide;
use crate::domain::symbol::SymbolId;
use crate::store::board::Counts;
use crate::store::encode::position::Side;
use crate::store::encode::{market, position, state};
use crate::store::tag::Tag;
use std::time::Instant;

impl Shelf {
    pub(super) fn encode_market(&mut self, symbol: SymbolId) {
        let slot = &mut self.market[symbol.index()];
        let Some(picture) = slot.picture else { return self.mark_left_market(symbol) };
        if slot.floor_ms.is_some() {
            return;
        }
        let whole = std::mem::take(&mut slot.whole);
        match &slot.sent {
            Some((before, extra)) if *extra == slot.extra && !whole => {
                market::market_lean(&mut self.out, &self.layout, before, &picture);
            }
            _ => market::market_full(&mut self.out, &self.layout, &picture, &slot.extra),
        }
        self.out.mark(picture.seq);
        slot.sent = Some((picture, slot.extra));
        if self.sampled_at.is_none_or(|at| picture.received.saturating_duration_since(at) >= SAMPLE_EVERY) {
            self.sampled_at = Some(picture.received);
            if self.board.is_shedding() {
                Counts::add(&self.board.counts.latencies_shed_total, 1);
            } else if self.samples.len() < LATENCIES_MAX {
                self.samples.push_back((symbol, picture.seq, picture.received));
            }
        }
    }

    /// Encodes everything that waits. Positions first.
    pub(in crate::store) fn fill(&mut self, now: Instant, now_ms: i64) {
        if self.others_dirty {
            self.others_dirty = false;
            self.fill_positions();
            self.fill_others(now_ms);
        }
        let mut symbols = std::mem::take(&mut self.market_dirty);
        for symbol in symbols.drain(..) {
            self.market[symbol.index()].dirty = false;
            self.encode_market(symbol);
        }
        self.market_dirty = symbols;
        if std::mem::take(&mut self.primary_dirty)
            && let Some(slot) = self.market.first()
            && let Some(picture) = &slot.picture
            && slot.floor_ms.is_none()
        {
            market::market_primary(&mut self.out, &self.layout, picture, &slot.extra);
            let news = self.channel.is_none_or(|(seq, at)| picture.seq != seq && now >= at + CHANNEL_EVERY);
            if news && slot.extra.stale.is_none() {
                self.channel = Some((picture.seq, now));
                market::price_message(&mut self.out, &self.layout, picture);
            }
        }
        self.fill_latencies(now);
        self.out.settle();
    }

    fn fill_positions(&mut self) {
        self.mark_left_positions();
        let Self { position, layout, out, .. } = self;
        for slot in position.iter_mut().flatten().filter(|s| s.dirty) {
            slot.dirty = false;
            if let Some(picture) = &slot.picture
                && slot.floor_ms.is_none()
            {
                let side = Side { picture, stale: slot.stale };
                position::position_side(out, layout, side);
                out.mark(picture.seq);
                if layout.is_primary(picture.symbol) {
                    position::side_json(out, layout, side);
                }
            }
        }
        if std::mem::take(&mut self.current_dirty)
            && let Some(sides) = self.position.first()
        {
            let [long, short] = [0, 1].map(|i| {
                let slot = &sides[i];
                let picture = slot.picture.as_ref().filter(|_| slot.floor_ms.is_none())?;
                Some(Side { picture, stale: slot.stale })
            });
            position::current(&mut self.out, &self.layout, long, short);
        }
        if std::mem::take(&mut self.expiry_due) {
            position::current_expiry(&mut self.out, &self.layout);
        }
    }

    /// Stale marks on what an earlier process left and this one knows nothing newer of.
    fn mark_left_positions(&mut self) {
        let Self { position, layout, out, left, .. } = self;
        for (i, sides) in position.iter().enumerate() {
            let symbol = SymbolId(i as u16);
            for (side, slot) in HoldSide::BOTH.into_iter().zip(sides).filter(|(_, s)| s.dirty && s.picture.is_none()) {
                if slot.floor_ms.is_some() {
                    left::mark_hash(out, &layout.of(symbol).position[side.index()], layout.mark(slot.stale));
                }
                if layout.is_primary(symbol) {
                    left.mark_json(out, 1 + side.index(), layout.mark(slot.stale));
                    if sides.iter().all(|s| s.picture.is_none()) {
                        left.mark_json(out, 0, layout.mark(slot.stale));
                        if left.has_hash(0) {
                            left::mark_hash(out, "current_position", layout.mark(slot.stale));
                        }
                    }
                }
            }
        }
    }

    fn mark_left_market(&mut self, symbol: SymbolId) {
        let slot = &self.market[symbol.index()];
        if slot.floor_ms.is_some() {
            left::mark_hash(&mut self.out, &self.layout.of(symbol).market_state, self.layout.mark(slot.extra.stale));
        }
        if self.layout.is_primary(symbol) && self.left.has_hash(1) {
            left::mark_hash(&mut self.out, "market_state", self.layout.mark(slot.extra.stale));
        }
    }

    fn fill_others(&mut self, now_ms: i64) {
        let Self { layout, out, .. } = self;
        if let Some(kept) = self.breaker.as_mut().filter(|k| k.dirty) {
            kept.dirty = false;
            state::breaker(out, layout, &kept.value, now_ms);
            if std::mem::take(&mut self.breaker_changed) {
                state::breaker_change(out, layout, &kept.value);
            }
        }
        for (slot, kept) in self.accounts.iter_mut().enumerate().filter(|(_, k)| k.dirty) {
            kept.dirty = false;
            state::account(out, layout, &kept.value, slot as u8, self.account_stale);
        }
        for (i, kept) in self.regimes.iter_mut().enumerate().filter(|(_, k)| k.dirty) {
            kept.dirty = false;
            if let Some(regime) = kept.value {
                state::regime(out, layout, SymbolId(i as u16), regime);
            }
        }
        for (slot, kept) in self.texts.iter_mut().enumerate().filter(|(_, k)| k.dirty) {
            kept.dirty = false;
            state::text(out, &kept.value, slot as u16);
        }
        if let Some(kept) = self.health.as_mut().filter(|k| k.dirty) {
            kept.dirty = false;
            state::health(out, layout, &kept.value, &self.own_health, now_ms);
        }
    }

    fn fill_latencies(&mut self, now: Instant) {
        if self.latencies.is_empty() || self.latencies_at.is_some_and(|at| now < at + LATENCY_FLUSH) {
            return;
        }
        self.latencies_at = Some(now);
        self.out.begin(Tag::Latency, 2 + self.latencies.len());
        self.out.mark(self.latencies.len() as u64);
        self.out.arg("LPUSH");
        self.out.arg("update_latencies");
        for ms in self.latencies.drain(..) {
            self.out.count(u64::from(ms));
        }
        self.out.words(Tag::Latency, &["LTRIM", "update_latencies", "0", "9999"]);
    }
}
