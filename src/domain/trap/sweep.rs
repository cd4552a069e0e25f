//! Excursion, then failure. A trap is only named once the market took the move back: going up is no trap yet.
//!
//! Two shapes, each tracked once per direction; the down side is the mirror image:
//! * **range break**: the extreme of the past hour is broken by more than the noise, on volume, and the move is given
//!   back into the range. Fast: stop hunt (on heavy volume: liquidity grab); slow: bull or bear trap.
//! * **violent move**: no range break needed, but larger and within minutes: fake pump, fake dump.

use super::TrapKind;
use super::bars::SecondBar;
use super::scale::Scale;
use super::settings::TrapSettings;
use super::windows::{Highest, Mark, PastHighest};
use rust_decimal::Decimal;

/// Which way the excursion goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

impl Way {
    /// The bar's far and near price for this direction, as marks whose values rise with the excursion.
    fn view(self, bar: &SecondBar) -> (Mark, Mark) {
        match self {
            Self::Up => (bar.high_mark(), bar.low_mark()),
            Self::Down => (negated(bar.low_mark()), negated(bar.high_mark())),
        }
    }
}

const fn negated(mark: Mark) -> Mark {
    Mark { value: -mark.value, ..mark }
}

/// A failed excursion: what the engine makes a [`super::TrapDetected`] of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failure {
    pub kind: TrapKind,
    pub way: Way,
    pub started_sec: i64,
    pub extreme_sec: i64,
    /// The swept level, or the launch of a violent move.
    pub level: Decimal,
    pub extreme: Decimal,
    /// Signed excursion beyond the level as a fraction of it.
    pub change: f64,
    /// Excursion in standard deviations of one-minute returns.
    pub excursion_sigma: f64,
    /// Fraction of the move given back so far.
    pub retrace: f64,
    /// Busiest minute over the median minute; 99 where the median is 0.
    pub volume_ratio: f64,
    /// Base coin traded before the start.
    pub traded_before: Decimal,
}

fn volume_ratio(scale: &Scale, median: f64, from_sec: i64, to_sec: i64) -> f64 {
    if median > 0.0 { scale.busiest(from_sec, to_sec) / median } else { 99.0 }
}

/// An excursion beyond the range that is still on.
#[derive(Clone, Copy, Debug)]
struct Excursion {
    level: Mark,
    launch: f64,
    started: Mark,
    peak: Mark,
    /// First second back inside the range after the peak.
    back_sec: Option<i64>,
    sigma: f64,
    median_volume: f64,
    /// Given back far enough, waiting for the minute's volume until this second.
    given_back_until: Option<i64>,
}

/// Watches one direction for range breaks that fail.
#[derive(Clone, Debug)]
pub struct RangeBreak {
    way: Way,
    past: PastHighest,
    launch: Highest,
    open: Option<Excursion>,
    quiet_until_sec: i64,
}

impl RangeBreak {
    pub fn new(way: Way, settings: &TrapSettings) -> Self {
        Self {
            way,
            past: PastHighest::new(settings.range_window_s, settings.range_gap_s),
            launch: Highest::new(settings.launch_window_s),
            open: None,
            quiet_until_sec: i64::MIN,
        }
    }

    pub fn clear(&mut self) {
        self.past.clear();
        self.launch.clear();
        self.open = None;
        self.quiet_until_sec = i64::MIN;
    }

    /// Price of the past range's extreme, as of the last second.
    pub fn level(&self) -> Option<f64> {
        let value = self.past.newest()?.value;
        Some(if self.way == Way::Up { value } else { -value })
    }

    /// Takes a closed second; `warm` = the range's whole window was seen.
    pub fn on_second(&mut self, bar: &SecondBar, scale: &Scale, warm: bool, s: &TrapSettings) -> Option<Failure> {
        let (far, near) = self.way.view(bar);
        // Lowest = highest of the negated value.
        self.launch.push(negated(near));
        let level = self.past.at(bar.sec).copied();
        self.past.push(far);
        let failure = self.follow(bar, &far, &near, scale, s);
        if failure.is_none() && self.open.is_none() && warm && bar.sec >= self.quiet_until_sec {
            self.begin(far, level, scale);
        }
        failure
    }

    fn begin(&mut self, far: Mark, level: Option<Mark>, scale: &Scale) {
        let (Some(level), Some(yardstick), Some(launch)) = (level, scale.yardstick(), self.launch.get()) else {
            return;
        };
        if far.value > level.value && yardstick.sigma > 0.0 {
            self.open = Some(Excursion {
                level,
                launch: -launch.value,
                started: far,
                peak: far,
                back_sec: None,
                sigma: yardstick.sigma,
                median_volume: yardstick.median_volume,
                given_back_until: None,
            });
        }
    }

    fn follow(&mut self, bar: &SecondBar, far: &Mark, near: &Mark, scale: &Scale, s: &TrapSettings) -> Option<Failure> {
        let x = self.open.as_mut()?;
        let sec = bar.sec;
        if let Some(until) = x.given_back_until {
            if sec > until {
                self.open = None;
                return None;
            }
        } else {
            let broke_out = far.value > x.peak.value && sec > x.started.sec + s.peak_within_s;
            if broke_out || sec > x.peak.sec + s.failure_within_s {
                self.quiet_until_sec = x.peak.sec + s.range_gap_s;
                self.open = None;
                return None;
            }
            if far.value > x.peak.value {
                (x.peak, x.back_sec) = (*far, None);
            }
            if x.back_sec.is_none() && near.value < x.level.value {
                x.back_sec = Some(sec);
            }
            let beyond = x.peak.value - x.level.value;
            let need = s.min_excursion.max(s.min_excursion_sigma * x.sigma) * x.level.value.abs();
            let failed_at = x.level.value.min(x.peak.value - s.retrace * (x.peak.value - x.launch));
            if beyond < need || near.value > failed_at {
                return None;
            }
            // The minute after the extreme may still bring the volume; until then nothing is said.
            let minute_end = (x.peak.sec + 60).div_euclid(60) * 60 + 59;
            x.given_back_until = Some(minute_end.min(sec + 59).max(sec));
            self.quiet_until_sec = sec + s.cooldown_s;
        }
        let ratio = volume_ratio(scale, x.median_volume, x.started.sec - 60, x.peak.sec + 60);
        if ratio < s.volume_ratio {
            return None;
        }
        // Where most minutes are empty every trade is many medians, so the day's mean minute speaks for the kind.
        let busiest = scale.busiest(x.started.sec - 60, x.peak.sec + 60);
        let normal = x.median_volume.max(scale.normal_volume().unwrap_or(0.0));
        let fast = x.back_sec.is_some_and(|back| back - x.started.sec <= s.fast_return_s);
        let kind = match (fast, self.way) {
            (true, _) if busiest >= s.grab_volume_ratio * normal => TrapKind::LiquidityGrab,
            (true, _) => TrapKind::StopHunt,
            (false, Way::Up) => TrapKind::BullTrap,
            (false, Way::Down) => TrapKind::BearTrap,
        };
        let change = (x.peak.value - x.level.value) / x.level.value.abs();
        let failure = Failure {
            kind,
            way: self.way,
            started_sec: x.started.sec,
            extreme_sec: x.peak.sec,
            level: x.level.exact,
            extreme: x.peak.exact,
            change: if self.way == Way::Up { change } else { -change },
            excursion_sigma: change / x.sigma,
            retrace: (x.peak.value - near.value) / (x.peak.value - x.launch),
            volume_ratio: ratio,
            traded_before: x.started.traded_before,
        };
        self.open = None;
        Some(failure)
    }

    /// Size of the open excursion: 0 without one, 1 at twice what a trap needs.
    pub fn forming(&self, s: &TrapSettings) -> f64 {
        let Some(x) = &self.open else { return 0.0 };
        let need = s.min_excursion.max(s.min_excursion_sigma * x.sigma) * x.level.value.abs();
        ((x.peak.value - x.level.value) / (2.0 * need)).clamp(0.0, 1.0)
    }

    /// Marks held, for the test of the bound.
    pub fn held(&self) -> usize {
        self.past.len() + self.launch.len()
    }
}

/// A violent move that may fail.
#[derive(Clone, Copy, Debug)]
struct Move {
    launch: Mark,
    peak: Mark,
    sigma: f64,
    median_volume: f64,
}

/// Watches one direction for violent moves that fail.
#[derive(Clone, Debug)]
pub struct ViolentMove {
    way: Way,
    highest: Highest,
    lowest: Highest,
    open: Option<Move>,
    quiet_until_sec: i64,
}

impl ViolentMove {
    pub fn new(way: Way, settings: &TrapSettings) -> Self {
        Self {
            way,
            highest: Highest::new(settings.fake_window_s),
            lowest: Highest::new(settings.fake_window_s),
            open: None,
            quiet_until_sec: i64::MIN,
        }
    }

    pub fn clear(&mut self) {
        self.highest.clear();
        self.lowest.clear();
        self.open = None;
        self.quiet_until_sec = i64::MIN;
    }

    pub fn on_second(&mut self, bar: &SecondBar, scale: &Scale, s: &TrapSettings) -> Option<Failure> {
        let (far, near) = self.way.view(bar);
        self.highest.push(far);
        self.lowest.push(negated(near));
        if self.open.is_some_and(|m| far.value > m.peak.value || bar.sec > m.peak.sec + s.failure_within_s) {
            self.open = None;
        }
        let failure = self.fail(bar, &near, scale, s);
        if failure.is_none() && bar.sec >= self.quiet_until_sec {
            self.begin(&far, scale, s);
        }
        failure
    }

    fn begin(&mut self, far: &Mark, scale: &Scale, s: &TrapSettings) {
        let (Some(yardstick), Some(highest), Some(lowest)) = (scale.yardstick(), self.highest.get(), self.lowest.get())
        else {
            return;
        };
        let higher_than_held = self.open.is_none_or(|m| far.value > m.peak.value);
        if yardstick.sigma <= 0.0 || far.value < highest.value || !higher_than_held {
            return;
        }
        let launch = negated(*lowest);
        let rise = (far.value - launch.value) / launch.value.abs();
        let minutes = s.fake_window_s as f64 / 60.0;
        if rise >= s.fake_min_move.max(s.fake_sigma * yardstick.sigma * minutes.sqrt()) {
            self.open =
                Some(Move { launch, peak: *far, sigma: yardstick.sigma, median_volume: yardstick.median_volume });
        }
    }

    fn fail(&mut self, bar: &SecondBar, near: &Mark, scale: &Scale, s: &TrapSettings) -> Option<Failure> {
        let m = self.open?;
        let height = m.peak.value - m.launch.value;
        if near.value > m.peak.value - s.retrace * height {
            return None;
        }
        let ratio = volume_ratio(scale, m.median_volume, m.launch.sec, m.peak.sec + 60);
        if ratio < s.volume_ratio {
            return None;
        }
        self.open = None;
        self.quiet_until_sec = bar.sec + s.cooldown_s;
        let change = height / m.launch.value.abs();
        Some(Failure {
            kind: if self.way == Way::Up { TrapKind::FakePump } else { TrapKind::FakeDump },
            way: self.way,
            started_sec: m.launch.sec,
            extreme_sec: m.peak.sec,
            level: m.launch.exact,
            extreme: m.peak.exact,
            change: if self.way == Way::Up { change } else { -change },
            excursion_sigma: change / m.sigma,
            retrace: (m.peak.value - near.value) / height,
            volume_ratio: ratio,
            traded_before: m.launch.traded_before,
        })
    }

    pub fn held(&self) -> usize {
        self.highest.len() + self.lowest.len()
    }
}
