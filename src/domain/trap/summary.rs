//! What the traps of the last weeks add up to: counts for the dashboard, the trap probability, the high-frequency mode.
//! Pure and bounded; it never feeds back into detection.

use super::{TrapDetected, TrapKind};
use std::collections::VecDeque;

/// One remembered trap.
#[derive(Clone, Debug, PartialEq)]
pub struct Brief {
    pub id: String,
    pub kind: TrapKind,
    pub detected_ms: i64,
    pub confidence: f64,
    /// From the move's begin to its detection.
    pub span_ms: i64,
    pub change: f64,
}

/// The dashboard's figures, for the window [`TrapSummary::WINDOW_MS`].
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    pub total: usize,
    /// In the order of [`TrapKind::ALL`].
    pub by_kind: [(TrapKind, usize); TrapKind::ALL.len()],
    /// The most frequent kind; of equals the first of [`TrapKind::ALL`].
    pub dominant: Option<TrapKind>,
    /// 0 without traps.
    pub average_confidence: f64,
    /// Traps above [`TrapSummary::HIGH_CONFIDENCE`].
    pub high_confidence: usize,
    /// By hour of the day, UTC.
    pub by_hour: [usize; 24],
    /// By day of the week, Monday first, UTC.
    pub by_weekday: [usize; 7],
    /// The newest of high confidence, newest first, at most [`TrapSummary::RECENT_HIGH`].
    pub recent_high: Vec<Brief>,
}

/// How likely it is that the market sets traps right now: a documented score, not a calibrated frequency.
///
/// `value = 1 - (1 - 0.6 forming)(1 - 0.5 recent)(1 - 0.2 clustered)`: each component alone can raise it, none alone
/// makes it certain, and a quiet market gives 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrapProbability {
    /// 0..1.
    pub value: f64,
    /// How far along an excursion beyond the range is, 0..1: [`super::TrapEngine::forming`].
    pub forming: f64,
    /// `1 - exp(-sum of confidence x 2^(-age / 15 min))` over the remembered traps.
    pub recent: f64,
    /// 1 while the high-frequency mode is on.
    pub clustered: f64,
}

impl TrapProbability {
    /// Names, values and meaning of the components, for keys and pages.
    pub const fn components(&self) -> [(&'static str, f64, &'static str); 3] {
        [
            ("forming", self.forming, "an excursion beyond the range is on, by size and volume"),
            ("recent", self.recent, "confirmed traps, by confidence, half-life 15 minutes"),
            ("clustered", self.clustered, "two or more traps within three minutes, held ten minutes"),
        ]
    }
}

/// Traps in quick succession: bots multiply their thresholds while it is on.
#[derive(Clone, Debug, Default)]
pub struct HighFrequencyMode {
    previous_ms: Option<i64>,
    active_until_ms: Option<i64>,
}

impl HighFrequencyMode {
    /// Two traps within this time switch it on...
    pub const WITHIN_MS: i64 = 180_000;
    /// ...until this long after the last such pair.
    pub const HOLD_MS: i64 = 600_000;
    pub const MULTIPLIER: f64 = 0.6;

    pub fn on_trap(&mut self, detected_ms: i64) {
        if self.previous_ms.is_some_and(|previous| detected_ms - previous <= Self::WITHIN_MS) {
            self.active_until_ms = Some(detected_ms + Self::HOLD_MS);
        }
        self.previous_ms = Some(detected_ms);
    }

    pub fn is_active(&self, now_ms: i64) -> bool {
        self.active_until_ms.is_some_and(|until| now_ms < until)
    }

    /// 0.6 while active, else 1.0; nothing in between, never lower.
    pub fn multiplier(&self, now_ms: i64) -> f64 {
        if self.is_active(now_ms) { Self::MULTIPLIER } else { 1.0 }
    }
}

/// Remembers the traps of one symbol.
#[derive(Clone, Debug, Default)]
pub struct TrapSummary {
    /// Oldest first.
    traps: VecDeque<Brief>,
    pub high_frequency: HighFrequencyMode,
}

impl TrapSummary {
    pub const WINDOW_MS: i64 = 30 * 86_400_000;
    pub const MAX: usize = 10_000;
    pub const HIGH_CONFIDENCE: f64 = 0.7;
    pub const RECENT_HIGH: usize = 5;
    const HALF_LIFE_MS: f64 = 900_000.0;

    pub fn on_trap(&mut self, trap: &TrapDetected) {
        self.high_frequency.on_trap(trap.detected_ms);
        self.traps.push_back(Brief {
            id: trap.id.clone(),
            kind: trap.kind,
            detected_ms: trap.detected_ms,
            confidence: trap.confidence,
            span_ms: trap.detected_ms - trap.started_ms,
            change: trap.change,
        });
        self.forget(trap.detected_ms);
    }

    fn forget(&mut self, now_ms: i64) {
        while self.traps.len() > Self::MAX
            || self.traps.front().is_some_and(|oldest| oldest.detected_ms < now_ms - Self::WINDOW_MS)
        {
            self.traps.pop_front();
        }
    }

    /// Newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Brief> {
        self.traps.iter().rev()
    }

    pub fn len(&self) -> usize {
        self.traps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.traps.is_empty()
    }

    pub fn analysis(&mut self, now_ms: i64) -> Analysis {
        self.forget(now_ms);
        let mut by_kind = TrapKind::ALL.map(|kind| (kind, 0));
        let (mut by_hour, mut by_weekday) = ([0; 24], [0; 7]);
        let (mut confidence, mut high_confidence) = (0.0, 0);
        for trap in &self.traps {
            if let Some((_, count)) = by_kind.iter_mut().find(|(kind, _)| *kind == trap.kind) {
                *count += 1;
            }
            by_hour[usize::try_from(trap.detected_ms.div_euclid(3_600_000).rem_euclid(24)).unwrap_or(0)] += 1;
            // 1970-01-01 was a Thursday.
            by_weekday[usize::try_from((trap.detected_ms.div_euclid(86_400_000) + 3).rem_euclid(7)).unwrap_or(0)] += 1;
            confidence += trap.confidence;
            high_confidence += usize::from(trap.confidence > Self::HIGH_CONFIDENCE);
        }
        let most = by_kind.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let high = |trap: &&Brief| trap.confidence > Self::HIGH_CONFIDENCE;
        Analysis {
            total: self.traps.len(),
            by_kind,
            dominant: by_kind.iter().find(|(_, count)| most > 0 && *count == most).map(|(kind, _)| *kind),
            average_confidence: if self.traps.is_empty() { 0.0 } else { confidence / self.traps.len() as f64 },
            high_confidence,
            by_hour,
            by_weekday,
            recent_high: self.recent().filter(high).take(Self::RECENT_HIGH).cloned().collect(),
        }
    }

    /// `forming` comes from the symbol's engine.
    pub fn probability(&self, now_ms: i64, forming: f64) -> TrapProbability {
        // Older than ten half-lives adds less than a thousandth.
        let newer = |trap: &&Brief| (now_ms - trap.detected_ms) as f64 <= 10.0 * Self::HALF_LIFE_MS;
        let weight: f64 = self
            .recent()
            .take_while(newer)
            .map(|trap| trap.confidence * (-((now_ms - trap.detected_ms).max(0) as f64) / Self::HALF_LIFE_MS).exp2())
            .sum();
        let forming = forming.clamp(0.0, 1.0);
        let recent = 1.0 - (-weight).exp();
        let clustered = if self.high_frequency.is_active(now_ms) { 1.0 } else { 0.0 };
        let value = 1.0 - (1.0 - 0.6 * forming) * (1.0 - 0.5 * recent) * (1.0 - 0.2 * clustered);
        TrapProbability { value, forming, recent, clustered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::symbol::SymbolId;
    use rust_decimal::Decimal;

    fn trap(kind: TrapKind, detected_ms: i64, confidence: f64) -> TrapDetected {
        TrapDetected {
            id: format!("{detected_ms:016x}"),
            symbol: SymbolId(0),
            kind,
            detected_ms,
            started_ms: detected_ms - 60_000,
            extreme_ms: detected_ms - 30_000,
            price: Decimal::ONE,
            level: Decimal::ONE,
            extreme: Decimal::ONE,
            change: 0.01,
            volume: Decimal::ONE,
            confidence,
            probability: None,
            evidence: Vec::new(),
            detector_version: 1,
        }
    }

    #[test]
    fn high_frequency_mode_needs_two_traps_within_three_minutes_and_ends_ten_minutes_later() {
        let cases = [
            ("one trap", vec![0], 1, 1.0),
            ("two at the limit", vec![0, 180_000], 180_001, 0.6),
            ("two past the limit", vec![0, 180_001], 180_002, 1.0),
            ("just before the end", vec![0, 1_000], 600_999, 0.6),
            ("at the end", vec![0, 1_000], 601_000, 1.0),
            ("a third pair prolongs it", vec![0, 1_000, 100_000], 601_000, 0.6),
        ];
        for (name, traps, now_ms, expected) in cases {
            let mut mode = HighFrequencyMode::default();
            traps.iter().for_each(|ms| mode.on_trap(*ms));
            assert!((mode.multiplier(now_ms) - expected).abs() < 1e-12, "case: {name}");
        }
    }

    #[test]
    fn the_analysis_counts_by_kind_hour_and_day() {
        let mut summary = TrapSummary::default();
        // Thursday 1970-01-01 00:00, 01:00 and Friday 00:00.
        for (kind, ms, confidence) in
            [(TrapKind::BullTrap, 0, 0.9), (TrapKind::StopHunt, 3_600_000, 0.7), (TrapKind::BullTrap, 86_400_000, 0.8)]
        {
            summary.on_trap(&trap(kind, ms, confidence));
        }
        let analysis = summary.analysis(86_400_000);
        assert_eq!((analysis.total, analysis.dominant), (3, Some(TrapKind::BullTrap)));
        assert_eq!((analysis.by_hour[0], analysis.by_hour[1]), (2, 1));
        assert_eq!((analysis.by_weekday[3], analysis.by_weekday[4]), (2, 1));
        assert_eq!(analysis.high_confidence, 2, "0.7 itself is not above 0.7");
        assert_eq!(analysis.recent_high[0].detected_ms, 86_400_000);
        assert!((analysis.average_confidence - 0.8).abs() < 1e-12);
    }

    #[test]
    fn nothing_is_kept_past_its_window_or_bound() {
        let mut summary = TrapSummary::default();
        for n in 0..(TrapSummary::MAX as i64 + 50) {
            summary.on_trap(&trap(TrapKind::Pump, n, 0.8));
        }
        assert_eq!(summary.len(), TrapSummary::MAX);
        assert_eq!(summary.analysis(TrapSummary::WINDOW_MS * 2).total, 0);
        assert_eq!(summary.analysis(0).dominant, None);
    }

    #[test]
    fn the_probability_is_zero_in_a_quiet_market_and_falls_with_age() {
        let mut summary = TrapSummary::default();
        assert_eq!(summary.probability(0, 0.0).value, 0.0);
        assert!((summary.probability(0, 1.0).value - 0.6).abs() < 1e-12);
        summary.on_trap(&trap(TrapKind::BullTrap, 0, 0.9));
        let at = |ms| summary.probability(ms, 0.0).value;
        assert!(at(0) > at(900_000) && at(900_000) > at(3_600_000) && at(3_600_000) > 0.0);
        assert!(summary.probability(0, 1.0).value < 1.0);
        assert_eq!(at(100 * 900_000), 0.0);
    }
}
