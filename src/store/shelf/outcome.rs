//! What Redis' answers change.

use super::{LATENCIES_MAX, Shelf};
use crate::domain::position::HoldSide;
use crate::domain::symbol::SymbolId;
use crate::store::board::Counts;
use crate::store::encode::PositionFormat;
use crate::store::encode::market::MIRRORS;
use crate::store::encode::state::REGIME_MIRRORS;
use crate::store::resp::fingerprint;
use crate::store::tag::Tag;
use std::time::Instant;

/// Whose value a string of ours replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Replaced {
    Ours,
    /// Somebody deleted it.
    Missing,
    Foreign,
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}

impl Shelf {
    /// Metrics go first when Redis is short of something.
    pub(in crate::store) fn shed(&mut self) {
        Counts::add(&self.board.counts.latencies_shed_total, self.latencies.len() as u64);
        self.latencies.clear();
    }

    /// A string was replaced: what stood there before, against what this connection had put there.
    pub(in crate::store) fn replaced(&mut self, tag: Tag, print: u64, before: Option<&[u8]>) -> Replaced {
        let expected = self.prints.insert(tag, print);
        match (expected, before) {
            (Some(_), None) if self.expires(tag) => Replaced::Ours,
            (Some(expected), Some(bytes)) if fingerprint(bytes) == expected => Replaced::Ours,
            (Some(_), Some(_)) => Replaced::Foreign,
            (Some(_), None) => Replaced::Missing,
            // Of an earlier connection nothing is remembered: documents of ours say themselves whether they are stale.
            (None, Some(bytes)) if tag.is_document() && !contains(bytes, b"\"stale_reason\"") => Replaced::Foreign,
            (None, _) => Replaced::Ours,
        }
    }

    /// A hash or a window was written. Where it was written whole before and parts of it are new now, somebody took them
    /// away; each such key is counted by the write that mends it, so once, whoever noticed first.
    fn stood(&mut self, tag: Tag, is_missed: bool) {
        if !self.whole.insert(tag) && is_missed {
            Counts::add(&self.board.counts.audit_mismatch_total, 1);
        }
    }

    /// A window was replaced: how many of its key were there, and whether one is there now.
    pub(in crate::store) fn window_replaced(&mut self, tag: Tag, were: i64, is_there: bool) {
        self.stood(tag, were == 0);
        if !is_there || self.expires(tag) {
            self.whole.remove(&tag);
        }
    }

    /// Another type stands there: what is written after it was put aside or deleted finds nothing of ours.
    pub(in crate::store) fn not_ours(&mut self, tag: Tag) {
        self.prints.remove(&tag.key());
        self.whole.remove(&tag.key());
    }

    /// Whether the key goes by itself.
    fn expires(&self, tag: Tag) -> bool {
        matches!(tag, Tag::Text(slot) if self.texts.get(usize::from(slot)).is_some_and(|k| k.value.row.expiry_s.is_some()))
    }

    /// Redis has confirmed a command.
    pub(in crate::store) fn confirmed(&mut self, tag: Tag, mark: u64, answer: i64, now: Instant, now_ms: i64) {
        match tag {
            Tag::Market(symbol) | Tag::MarketLean(symbol) => {
                self.board.market(symbol).written(mark, now_ms);
                if self.samples.front().is_some_and(|&(s, seq, _)| s == symbol && seq == mark)
                    && let Some((_, _, received)) = self.samples.pop_front()
                {
                    let ms = now.saturating_duration_since(received).as_millis();
                    self.board.lagged(i64::try_from(ms).unwrap_or(i64::MAX));
                    if self.latencies.len() < LATENCIES_MAX {
                        self.latencies.push_back(u32::try_from(ms).unwrap_or(u32::MAX));
                    } else {
                        Counts::add(&self.board.counts.latencies_shed_total, 1);
                    }
                }
                if matches!(tag, Tag::Market(_)) {
                    self.stood(tag, answer > 0);
                } else if answer > 0 {
                    // What it has made is a part; those that were on their way behind it add to the same part.
                    if self.whole.remove(&tag.key()) {
                        Counts::add(&self.board.counts.audit_repairs_total, 1);
                        Counts::add(&self.board.counts.audit_mismatch_total, 1);
                    }
                    self.market[symbol.index()].sent = None;
                    self.mark_market(symbol);
                }
            }
            Tag::Position(symbol, side) => {
                self.stood(tag, answer > 0);
                self.board.position(symbol, side).written(mark, now_ms);
            }
            Tag::MainAccount => {
                self.stood(tag, answer > 0);
                self.board.account.written(1, now_ms);
            }
            Tag::PrimaryMarket | Tag::Breaker | Tag::Account(_) => self.stood(tag, answer > 0),
            // The number of their fields may differ from write to write.
            Tag::Health | Tag::Text(_) if mark != 0 => self.stood(tag, answer > 0 && answer.unsigned_abs() >= mark),
            Tag::CurrentHash => {
                self.stood(tag, answer > 0);
                self.prints.insert(tag, mark);
                self.expiry_due = true;
                self.others_dirty = true;
            }
            _ => {}
        }
    }

    /// Redis has refused a command: what it was for waits to be written again.
    pub(in crate::store) fn refused(&mut self, tag: Tag) {
        self.samples.clear();
        match tag.key() {
            Tag::Market(symbol) => {
                self.market[symbol.index()].sent = None;
                self.mark_market(symbol);
            }
            Tag::PrimaryMarket | Tag::Mirror(_) => self.primary_dirty = true,
            Tag::Position(symbol, side) => self.mark_position(symbol, side),
            Tag::SideJson(side) => self.mark_position(SymbolId(0), side),
            Tag::CurrentHash | Tag::CurrentJson | Tag::Active => {
                self.current_dirty = true;
                self.others_dirty = true;
            }
            Tag::Breaker => self.breaker.iter_mut().for_each(|k| k.dirty = true),
            Tag::Account(slot) => self.accounts.iter_mut().skip(slot.into()).take(1).for_each(|k| k.dirty = true),
            Tag::MainAccount => self.accounts.iter_mut().for_each(|k| k.dirty = true),
            Tag::Regime(symbol) => self.regimes[symbol.index()].dirty = true,
            Tag::RegimeMirror(_) => self.regimes.iter_mut().take(1).for_each(|k| k.dirty = true),
            Tag::Text(slot) => self.texts.iter_mut().skip(slot.into()).take(1).for_each(|k| k.dirty = true),
            Tag::Health => self.health.iter_mut().for_each(|k| k.dirty = true),
            _ => return,
        }
        self.others_dirty = true;
    }

    /// The key behind a tag, where there is exactly one that may hold a foreign type.
    pub(in crate::store) fn key_of(&self, tag: Tag) -> Option<String> {
        let legacy = self.layout.settings.position_format == PositionFormat::LegacyJson;
        Some(match tag.key() {
            Tag::Market(symbol) => self.layout.of(symbol).market_state.clone(),
            Tag::PrimaryMarket => "market_state".to_owned(),
            Tag::Position(symbol, side) => self.layout.of(symbol).position[side.index()].clone(),
            Tag::CurrentHash if legacy => "current_position:hash".to_owned(),
            Tag::CurrentHash | Tag::CurrentJson => "current_position".to_owned(),
            Tag::SideJson(HoldSide::Long) => "long_trader_position".to_owned(),
            Tag::SideJson(HoldSide::Short) => "short_trader_position".to_owned(),
            Tag::Active => "active_position".to_owned(),
            Tag::Regime(symbol) => self.layout.of(symbol).regime.clone(),
            Tag::RegimeMirror(i) => (*REGIME_MIRRORS.get(usize::from(i))?).to_owned(),
            Tag::Mirror(i) => (*MIRRORS.get(usize::from(i))?).to_owned(),
            Tag::Breaker => "trapline:breaker".to_owned(),
            Tag::MainAccount => "trapline:account".to_owned(),
            Tag::Account(slot) => format!("trapline:account:{}", self.accounts.get(usize::from(slot))?.value.coin),
            Tag::Health => "trapline:health".to_owned(),
            Tag::Latency => "update_latencies".to_owned(),
            Tag::Text(slot) => self.texts.get(usize::from(slot))?.value.name.clone(),
            _ => return None,
        })
    }
}
