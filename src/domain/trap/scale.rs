//! The market's own yardstick: what a normal minute's return and volume are, not counting the last minutes, so that a
//! move does not raise the bar it is measured by.

use std::collections::VecDeque;

/// What is normal now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yardstick {
    /// Standard deviation of one-minute log returns; 0 where the price did not move.
    pub sigma: f64,
    /// Base coin in a median minute; 0 where most minutes are without a trade.
    pub median_volume: f64,
}

/// Minutes of the last hour, filled where nothing traded, and the volume of the last day. Memory: 2 x 66 + 144 numbers.
#[derive(Clone, Debug, Default)]
pub struct Scale {
    minute: i64,
    close: f64,
    volume: f64,
    closes: VecDeque<f64>,
    volumes: VecDeque<f64>,
    yardstick: Option<Yardstick>,
    day: DayVolume,
}

/// Volume of the last day in ten-minute buckets.
#[derive(Clone, Debug, Default)]
struct DayVolume {
    full: VecDeque<f64>,
    sum: f64,
    open: f64,
    open_minutes: usize,
}

impl DayVolume {
    const BUCKET_MIN: usize = 10;
    const BUCKETS: usize = 144;
    /// Fewest minutes that make a mean.
    const LEAST_MIN: usize = 60;

    fn push(&mut self, volume: f64) {
        self.open += volume;
        self.open_minutes += 1;
        if self.open_minutes < Self::BUCKET_MIN {
            return;
        }
        self.full.push_back(self.open);
        if self.full.len() > Self::BUCKETS {
            self.full.pop_front();
        }
        // Summed anew, so that rounding cannot build up over weeks.
        self.sum = self.full.iter().sum();
        (self.open, self.open_minutes) = (0.0, 0);
    }

    fn mean_minute(&self) -> Option<f64> {
        let minutes = self.full.len() * Self::BUCKET_MIN + self.open_minutes;
        (minutes >= Self::LEAST_MIN).then(|| (self.sum + self.open) / minutes as f64)
    }
}

impl Scale {
    /// Minutes measured.
    pub const WINDOW_MIN: usize = 60;
    /// Newest closed minutes left out.
    pub const LAG_MIN: usize = 5;
    /// Fewest returns that make a yardstick.
    const LEAST_MIN: usize = 30;
    const KEEP: usize = Self::WINDOW_MIN + Self::LAG_MIN + 1;

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Tells the time: minutes that ended are closed.
    pub fn advance(&mut self, sec: i64) {
        let minute = sec.div_euclid(60);
        if self.close == 0.0 || minute <= self.minute {
            return;
        }
        // After a silence longer than a day only its last minutes matter.
        let passed = (minute - self.minute).min((DayVolume::BUCKETS * DayVolume::BUCKET_MIN + Self::KEEP) as i64);
        for n in 0..passed {
            self.closes.push_back(self.close);
            self.volumes.push_back(if n == 0 { self.volume } else { 0.0 });
            if self.closes.len() > Self::KEEP {
                self.closes.pop_front();
                self.volumes.pop_front();
            }
            let settled = self.volumes.len().checked_sub(Self::LAG_MIN + 1).and_then(|index| self.volumes.get(index));
            if let Some(volume) = settled {
                self.day.push(*volume);
            }
        }
        (self.minute, self.volume) = (minute, 0.0);
        self.yardstick = self.measure();
    }

    /// Adds what traded in a second; [`Scale::advance`] goes first.
    pub fn add(&mut self, sec: i64, close: f64, volume: f64) {
        if self.close == 0.0 {
            self.minute = sec.div_euclid(60);
        }
        self.close = close;
        self.volume += volume;
    }

    /// `None` while warming up.
    pub const fn yardstick(&self) -> Option<&Yardstick> {
        self.yardstick.as_ref()
    }

    /// Base coin in a mean minute of the last day, the last minutes left out; `None` within the first hour.
    pub fn normal_volume(&self) -> Option<f64> {
        self.day.mean_minute()
    }

    /// Base coin in the busiest minute that touches `[from_sec, to_sec]`, the open minute included.
    pub fn busiest(&self, from_sec: i64, to_sec: i64) -> f64 {
        let (from, to) = (from_sec.div_euclid(60), to_sec.div_euclid(60));
        let open = if to >= self.minute { self.volume } else { 0.0 };
        let newest = self.minute - 1;
        let closed = self.volumes.iter().rev().enumerate().map(|(n, volume)| (newest - n as i64, *volume));
        closed
            .skip_while(|(minute, _)| *minute > to)
            .take_while(|(minute, _)| *minute >= from)
            .fold(open, |most, (_, volume)| most.max(volume))
    }

    fn measure(&self) -> Option<Yardstick> {
        let end = self.closes.len().checked_sub(Self::LAG_MIN)?;
        let returns = end.checked_sub(1)?;
        if returns < Self::LEAST_MIN {
            return None;
        }
        let closes = self.closes.iter().take(end);
        let mut sum = 0.0;
        let mut squares = 0.0;
        for (before, after) in closes.clone().zip(closes.skip(1)) {
            let step = (after / before).ln();
            sum += step;
            squares += step * step;
        }
        let n = returns as f64;
        let sigma = (squares / n - (sum / n).powi(2)).max(0.0).sqrt();
        // Rounding leaves about 1e-9 where nothing moved at all.
        let sigma = if sigma < 1e-8 { 0.0 } else { sigma };
        let mut volumes = [0.0; Self::KEEP];
        let volumes = &mut volumes[..returns];
        for (slot, volume) in volumes.iter_mut().zip(self.volumes.iter().skip(1)) {
            *slot = *volume;
        }
        volumes.sort_unstable_by(f64::total_cmp);
        let middle = returns / 2;
        let median_volume =
            if returns % 2 == 1 { volumes[middle] } else { (volumes[middle - 1] + volumes[middle]) / 2.0 };
        Some(Yardstick { sigma, median_volume })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `minutes` minutes of the given closes and volumes, one trade each.
    fn fed(minutes: i64, close: impl Fn(i64) -> f64, volume: impl Fn(i64) -> f64) -> Scale {
        let mut scale = Scale::default();
        for minute in 0..minutes {
            scale.advance(minute * 60 + 30);
            scale.add(minute * 60 + 30, close(minute), volume(minute));
        }
        scale
    }

    fn zigzag(minute: i64) -> f64 {
        if minute % 2 == 0 { 100.0 } else { 100.1 }
    }

    #[test]
    fn it_warms_up_with_thirty_returns_that_are_five_minutes_old() {
        // 31 closes, five left out, and the open minute.
        for (name, minutes, warm) in [("not yet", 36, false), ("just", 37, true)] {
            assert_eq!(fed(minutes, zigzag, |_| 1.0).yardstick().is_some(), warm, "case: {name}");
        }
    }

    #[test]
    fn it_measures_returns_and_volumes_of_the_hour_before_the_last_minutes() {
        let scale = fed(200, |m| if m < 195 { zigzag(m) } else { 200.0 }, |m| if m < 195 { 2.0 } else { 500.0 });
        let yardstick = scale.yardstick().expect("warm");
        let step = (100.1_f64 / 100.0).ln();
        assert!((yardstick.sigma - step).abs() < 1e-9, "{}", yardstick.sigma);
        assert_eq!(yardstick.median_volume, 2.0, "the last five minutes do not count");
        assert_eq!(scale.normal_volume(), Some(2.0));
        assert_eq!(scale.busiest(194 * 60, 194 * 60), 2.0);
        assert_eq!(scale.busiest(194 * 60, 199 * 60 + 59), 500.0, "the open minute counts");
    }

    #[test]
    fn minutes_without_a_trade_count_as_empty() {
        let mut scale = fed(70, zigzag, |_| 3.0);
        scale.advance((69 + 6 * 60) * 60);
        let yardstick = scale.yardstick().expect("warm");
        assert_eq!((yardstick.sigma, yardstick.median_volume), (0.0, 0.0));
        let normal = scale.normal_volume().expect("an hour was seen");
        assert!((normal - 3.0 * 70.0 / (70.0 + 6.0 * 60.0)).abs() < 0.1, "{normal}");
    }

    #[test]
    fn a_silence_of_years_costs_no_more_than_a_day_and_state_is_bounded() {
        let mut scale = fed(70, zigzag, |_| 3.0);
        scale.advance(i64::from(i32::MAX));
        assert_eq!(scale.normal_volume(), Some(0.0));
        assert!(scale.closes.len() <= Scale::KEEP && scale.day.full.len() <= DayVolume::BUCKETS);
    }
}
