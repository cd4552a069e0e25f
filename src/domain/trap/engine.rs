//! All detectors of one symbol behind three calls: a trade, a gap, the time. Event time only: the same calls give the
//! same traps to the byte, live or from a tape.

use super::bars::{PlainTrade, SecondBar};
use super::pump::{Burst, PumpWatch};
use super::scale::Scale;
use super::settings::TrapSettings;
use super::sweep::{Failure, RangeBreak, ViolentMove, Way};
use super::{DETECTOR_VERSION, TrapDetected, TrapKind};
use crate::domain::market::Trade;
use crate::domain::symbol::SymbolId;
use rust_decimal::Decimal;

/// Findings of one direction whose extremes are closer than this are one event.
const SAME_EXTREME_S: i64 = 60;

/// The detectors of one symbol. State is bounded by the windows of the settings (see [`TrapEngine::held`]) and a trade
/// costs amortised O(1): it is added to the open second, and the detectors see each second once.
#[derive(Clone, Debug)]
pub struct TrapEngine {
    symbol: SymbolId,
    symbol_name: String,
    settings: TrapSettings,
    bar: Option<SecondBar>,
    /// First second since the start or the last gap.
    since_sec: Option<i64>,
    /// Newest closed second.
    closed_sec: Option<i64>,
    traded: Decimal,
    scale: Scale,
    breaks: [RangeBreak; 2],
    moves: [ViolentMove; 2],
    pump: PumpWatch,
    /// Extreme of the newest published failure per direction.
    told_extreme_sec: [i64; 2],
}

impl TrapEngine {
    pub fn new(symbol: SymbolId, symbol_name: &str, settings: TrapSettings) -> Self {
        Self {
            symbol,
            symbol_name: symbol_name.to_owned(),
            breaks: [RangeBreak::new(Way::Up, &settings), RangeBreak::new(Way::Down, &settings)],
            moves: [ViolentMove::new(Way::Up, &settings), ViolentMove::new(Way::Down, &settings)],
            settings,
            bar: None,
            since_sec: None,
            closed_sec: None,
            traded: Decimal::ZERO,
            scale: Scale::default(),
            pump: PumpWatch::new(),
            told_extreme_sec: [i64::MIN / 2; 2],
        }
    }

    /// Takes a validated trade. One from an already closed second counts into the next one: event time never goes
    /// back. History trades warm the bars and never alarm.
    pub fn on_trade(&mut self, trade: &Trade, out: &mut Vec<TrapDetected>) {
        let Some(plain) = PlainTrade::from_trade(trade) else { return };
        let stamp_sec = trade.exchange_time_ms.div_euclid(1_000);
        // The windows take each second once: what comes for a closed one counts into the next.
        let sec = self.closed_sec.map_or(stamp_sec, |closed| stamp_sec.max(closed + 1));
        let open = match &mut self.bar {
            Some(bar) if sec <= bar.sec => {
                bar.add(&plain);
                *bar
            }
            _ => {
                self.close_second(out);
                self.since_sec.get_or_insert(sec);
                self.scale.advance(sec);
                self.pump.roll(sec, &self.settings);
                *self.bar.insert(SecondBar::open(sec, self.traded, &plain))
            }
        };
        let normal_volume = self.scale.normal_volume();
        if let Some(burst) = self.pump.look(&open, self.breaks[0].level(), normal_volume, &self.settings)
            && !open.history
        {
            let detected_ms = trade.exchange_time_ms.max(open.sec * 1_000);
            out.push(self.burst_told(&open, detected_ms, &burst));
        }
    }

    /// The feed was away: what was missed cannot be known, so every window begins again and nothing is told until
    /// they are warm.
    pub fn on_gap(&mut self, _now_ms: i64) {
        self.bar = None;
        (self.since_sec, self.closed_sec) = (None, None);
        self.scale.clear();
        self.breaks.iter_mut().for_each(RangeBreak::clear);
        self.moves.iter_mut().for_each(ViolentMove::clear);
        self.pump.clear();
    }

    /// Closes the open second while nothing trades; `now_ms` is exchange time as the caller believes it.
    pub fn on_time(&mut self, now_ms: i64, out: &mut Vec<TrapDetected>) {
        if self.bar.is_some_and(|bar| now_ms >= bar.end_ms() + self.settings.settle_ms) {
            self.close_second(out);
        }
    }

    /// False until the range's whole window was seen since the start or the last gap.
    pub fn is_warm(&self) -> bool {
        let newest = self.bar.map(|bar| bar.sec).or(self.closed_sec);
        newest.zip(self.since_sec).is_some_and(|(now, since)| now - since >= self.settings.range_window_s)
    }

    /// How far along an excursion beyond the range is: 0 without one, 1 at twice the size that a trap needs.
    pub fn forming(&self) -> f64 {
        self.breaks.iter().map(|watch| watch.forming(&self.settings)).fold(0.0, f64::max)
    }

    /// Entries held in all windows; never more than [`TrapEngine::held_max`].
    pub fn held(&self) -> usize {
        self.breaks.iter().map(RangeBreak::held).sum::<usize>()
            + self.moves.iter().map(ViolentMove::held).sum::<usize>()
            + self.pump.held()
    }

    /// The hard bound of [`TrapEngine::held`]: one entry a second and window.
    pub fn held_max(&self) -> usize {
        let s = &self.settings;
        let seconds = 2 * (s.range_window_s + s.range_gap_s + s.launch_window_s + 3)
            + 4 * (s.fake_window_s + 1)
            + s.pump_window_s
            + 1;
        usize::try_from(seconds).unwrap_or(0)
    }

    fn close_second(&mut self, out: &mut Vec<TrapDetected>) {
        let Some(bar) = self.bar.take() else { return };
        let told_before = out.len();
        self.closed_sec = Some(bar.sec);
        self.traded = bar.traded_after;
        self.scale.advance(bar.sec);
        self.scale.add(bar.sec, bar.close, bar.volume);
        let warm = self.since_sec.is_some_and(|since| bar.sec - since >= self.settings.range_window_s);
        for way in 0..2 {
            let broken = self.breaks[way].on_second(&bar, &self.scale, warm, &self.settings);
            let violent = self.moves[way].on_second(&bar, &self.scale, &self.settings);
            for failure in [broken, violent].into_iter().flatten() {
                if (failure.extreme_sec - self.told_extreme_sec[way]).abs() > SAME_EXTREME_S {
                    self.told_extreme_sec[way] = failure.extreme_sec;
                    out.push(self.failure_told(&bar, &failure));
                }
            }
        }
        self.pump.on_second(&bar);
        if bar.history {
            out.truncate(told_before);
        }
    }

    fn failure_told(&self, bar: &SecondBar, f: &Failure) -> TrapDetected {
        let s = &self.settings;
        let size = part(f.excursion_sigma, s.min_excursion_sigma);
        let volume = part(f.volume_ratio, s.volume_ratio);
        TrapDetected {
            extreme_ms: f.extreme_sec * 1_000,
            level: f.level,
            extreme: f.extreme,
            change: f.change,
            confidence: 0.5 + 0.2 * size + 0.15 * volume + 0.15 * f.retrace.clamp(0.0, 1.0),
            evidence: super::named([
                ("excursion_sigma", f.excursion_sigma),
                ("min_excursion_sigma", s.min_excursion_sigma),
                ("retrace", f.retrace),
                ("min_retrace", s.retrace),
                ("volume_ratio", f.volume_ratio),
                ("min_volume_ratio", s.volume_ratio),
            ]),
            ..self.told(bar, f.kind, bar.end_ms(), f.started_sec, f.traded_before)
        }
    }

    fn burst_told(&self, bar: &SecondBar, detected_ms: i64, b: &Burst) -> TrapDetected {
        let s = &self.settings;
        let size = part(b.change, s.pump_min_rise);
        let volume = part(b.volume_ratio, s.pump_volume_ratio);
        TrapDetected {
            extreme_ms: b.extreme_sec * 1_000,
            level: b.level,
            extreme: b.extreme,
            change: b.change,
            confidence: 0.5 + 0.2 * size + 0.15 * volume + 0.15 * b.buy_share.clamp(0.0, 1.0),
            evidence: super::named([
                ("rise", b.change),
                ("min_rise", s.pump_min_rise),
                ("buy_share", b.buy_share),
                ("min_buy_share", s.pump_min_buy_share),
                ("volume_ratio", b.volume_ratio),
                ("min_volume_ratio", s.pump_volume_ratio),
                ("trades", f64::from(b.trades)),
                ("min_trades", f64::from(s.pump_min_trades)),
            ]),
            ..self.told(bar, TrapKind::Pump, detected_ms, b.started_sec, b.traded_before)
        }
    }

    /// What all findings have in common; the rest is filled in by the caller.
    fn told(
        &self,
        bar: &SecondBar,
        kind: TrapKind,
        detected_ms: i64,
        started_sec: i64,
        traded_before: Decimal,
    ) -> TrapDetected {
        let started_ms = started_sec * 1_000;
        TrapDetected {
            id: identity(kind, &self.symbol_name, started_ms, detected_ms),
            symbol: self.symbol,
            kind,
            detected_ms,
            started_ms,
            extreme_ms: started_ms,
            price: bar.close_exact,
            level: bar.close_exact,
            extreme: bar.close_exact,
            change: 0.0,
            volume: (bar.traded_after - traded_before).max(Decimal::ZERO),
            confidence: 0.0,
            probability: None,
            evidence: Vec::new(),
            detector_version: DETECTOR_VERSION,
        }
    }
}

/// 0 at what is asked for, 1 at twice that.
fn part(value: f64, asked: f64) -> f64 {
    if asked > 0.0 { (value / asked - 1.0).clamp(0.0, 1.0) } else { 1.0 }
}

/// 16 hex digits that name a finding: FNV-1a of what it is, so that a replay or a restart names it the same.
fn identity(kind: TrapKind, symbol_name: &str, started_ms: i64, detected_ms: i64) -> String {
    let version = DETECTOR_VERSION.to_le_bytes();
    let (started, detected) = (started_ms.to_le_bytes(), detected_ms.to_le_bytes());
    let parts: [&[u8]; 5] = [kind.label().as_bytes(), symbol_name.as_bytes(), &started, &detected, &version];
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        // A byte that no text contains keeps the parts apart.
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
