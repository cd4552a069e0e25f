//! A pump in a thin market, named while it rises: within seconds a crowd of buyers lifts the price out of the hour's
//! range on many normal minutes' volume. It is looked at with every trade, since the peak is often seconds away.

use super::bars::SecondBar;
use super::settings::TrapSettings;
use rust_decimal::Decimal;
use std::collections::VecDeque;

/// A burst that looks like a pump.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    pub started_sec: i64,
    pub extreme_sec: i64,
    /// Price before the burst.
    pub level: Decimal,
    pub extreme: Decimal,
    /// Rise as a fraction of the level.
    pub change: f64,
    /// Share of the window's volume that buyers took.
    pub buy_share: f64,
    /// The window's volume in the last day's mean minutes.
    pub volume_ratio: f64,
    pub trades: u32,
    pub traded_before: Decimal,
}

/// From a minute before to five minutes after a full hour (UTC; every zone with whole hours agrees).
const fn near_full_hour(sec: i64) -> bool {
    let past = sec.rem_euclid(3_600);
    past >= 3_540 || past < 300
}

/// Sums over the closed seconds of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    volume: f64,
    buy_volume: f64,
    trades: u32,
}

/// Watches a sliding window of seconds. Memory: at most `pump_window_s` bars.
#[derive(Clone, Debug)]
pub struct PumpWatch {
    /// Closed seconds; the open one comes with each look.
    window: VecDeque<SecondBar>,
    flow: Flow,
    /// Last close before the window.
    base: Option<(f64, Decimal)>,
    quiet_until_sec: i64,
}

impl PumpWatch {
    pub fn new() -> Self {
        Self { window: VecDeque::new(), flow: Flow::default(), base: None, quiet_until_sec: i64::MIN }
    }

    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Takes a closed second.
    pub fn on_second(&mut self, bar: &SecondBar) {
        self.window.push_back(*bar);
        self.flow.volume += bar.volume;
        self.flow.buy_volume += bar.buy_volume;
        self.flow.trades = self.flow.trades.saturating_add(bar.trades);
    }

    /// A new second began: what left the window gives the base price.
    pub fn roll(&mut self, sec: i64, s: &TrapSettings) {
        while self.window.front().is_some_and(|first| first.sec <= sec - s.pump_window_s) {
            if let Some(first) = self.window.pop_front() {
                self.flow.volume -= first.volume;
                self.flow.buy_volume -= first.buy_volume;
                self.flow.trades = self.flow.trades.saturating_sub(first.trades);
                self.base = Some((first.close, first.close_exact));
            }
        }
        if self.window.is_empty() {
            // Sums of floats drift; an empty window is exactly zero.
            self.flow = Flow::default();
        }
    }

    /// Looks at the open second as it stands. `range_high`: highest price of the past hour without the last minute;
    /// `normal_volume`: mean minute of the last day.
    pub fn look(
        &mut self,
        open: &SecondBar,
        range_high: Option<f64>,
        normal_volume: Option<f64>,
        s: &TrapSettings,
    ) -> Option<Burst> {
        let (base, level) = self.base?;
        let change = open.close / base - 1.0;
        let factor = if near_full_hour(open.sec) { 1.0 } else { s.pump_off_hour_factor };
        if change < factor * s.pump_min_rise
            || open.sec < self.quiet_until_sec
            || range_high.is_some_and(|top| open.close < top)
        {
            return None;
        }
        let volume = self.flow.volume + open.volume;
        let buy_share = (self.flow.buy_volume + open.buy_volume) / volume;
        let trades = self.flow.trades.saturating_add(open.trades);
        let volume_ratio = volume / normal_volume?.max(f64::MIN_POSITIVE);
        if trades < s.pump_min_trades || buy_share < s.pump_min_buy_share || volume_ratio < factor * s.pump_volume_ratio
        {
            return None;
        }
        self.quiet_until_sec = open.sec + s.pump_cooldown_s;
        let first = self.window.front().unwrap_or(open);
        let top = self.window.iter().fold(open, |top, bar| if bar.high > top.high { bar } else { top });
        Some(Burst {
            started_sec: first.sec,
            extreme_sec: top.sec,
            level,
            extreme: top.high_exact,
            change,
            buy_share,
            volume_ratio,
            trades,
            traded_before: first.traded_before,
        })
    }

    pub fn held(&self) -> usize {
        self.window.len()
    }
}

impl Default for PumpWatch {
    fn default() -> Self {
        Self::new()
    }
}
