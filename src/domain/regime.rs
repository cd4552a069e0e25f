//! The market's regime from closed minutes: trending (moves that keep their direction), volatile (moves much larger
//! than usual without one), normal. Unknown until an hour was seen.

use super::trap::bars::MinuteBar;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Regime {
    Unknown,
    Normal,
    Trending,
    Volatile,
}

impl Regime {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Normal => "normal",
            Self::Trending => "trending",
            Self::Volatile => "volatile",
        }
    }
}

/// Minutes before anything is said.
const WARM: usize = 60;
/// Minutes that the present is judged by.
const RECENT: usize = 15;
/// Minutes that 'usual' is taken from.
const LONG: usize = 240;
/// Share of the way that must be net displacement to call it a trend.
const EFFICIENCY: f64 = 0.5;
/// How many times the usual movement counts as volatile.
const UNUSUAL: f64 = 2.0;

/// Watches the closed minutes of one symbol.
#[derive(Clone, Debug, Default)]
pub struct RegimeWatch {
    returns: VecDeque<f64>,
    close: Option<f64>,
    regime: Option<Regime>,
}

impl RegimeWatch {
    /// Takes a closed minute; says the regime when it changed.
    pub fn on_bar(&mut self, bar: &MinuteBar) -> Option<Regime> {
        let close = f64::try_from(bar.close).unwrap_or(f64::NAN);
        if close.is_nan() || close <= 0.0 {
            return None;
        }
        if let Some(before) = self.close.replace(close) {
            if self.returns.len() == LONG {
                self.returns.pop_front();
            }
            self.returns.push_back((close / before).ln());
        }
        let now = self.judge();
        (self.regime.replace(now) != Some(now)).then_some(now)
    }

    /// Minutes before and after a gap do not belong together.
    pub fn on_gap(&mut self) {
        self.close = None;
    }

    fn judge(&self) -> Regime {
        if self.returns.len() < WARM {
            return Regime::Unknown;
        }
        let recent = || self.returns.iter().rev().take(RECENT);
        let way: f64 = recent().map(|r| r.abs()).sum();
        let net: f64 = recent().sum::<f64>().abs();
        let usual = self.returns.iter().map(|r| r.abs()).sum::<f64>() / self.returns.len() as f64;
        let present = way / RECENT as f64;
        if way > 0.0 && net / way >= EFFICIENCY && present >= usual {
            Regime::Trending
        } else if usual > 0.0 && present >= UNUSUAL * usual {
            Regime::Volatile
        } else {
            Regime::Normal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_decimal::Decimal;

    fn bar(close: f64) -> MinuteBar {
        let price = Decimal::try_from(close).expect("price");
        MinuteBar {
            start_ms: 0,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Decimal::ONE,
            buy_volume: Decimal::ONE,
            sell_volume: Decimal::ZERO,
            trades: 1,
            partial: false,
        }
    }

    fn after(recent: impl Fn(usize) -> f64) -> Regime {
        let mut watch = RegimeWatch::default();
        let mut price = 100.0;
        for minute in 0..200 {
            price *= if minute % 2 == 0 { 1.001 } else { 1.0 / 1.001 };
            watch.on_bar(&bar(price));
        }
        for minute in 0..RECENT {
            price *= recent(minute);
            watch.on_bar(&bar(price));
        }
        watch.regime.expect("judged")
    }

    #[test]
    fn each_regime_has_its_market() {
        assert_eq!(after(|m| if m % 2 == 0 { 1.001 } else { 1.0 / 1.001 }), Regime::Normal);
        assert_eq!(after(|_| 1.002), Regime::Trending, "one direction");
        assert_eq!(after(|m| if m % 2 == 0 { 1.004 } else { 1.0 / 1.004 }), Regime::Volatile, "large and undecided");
        assert_eq!(after(|_| 1.000_1), Regime::Normal, "a drift smaller than usual is no trend");
    }

    #[test]
    fn an_hour_is_seen_before_anything_is_said() {
        let mut watch = RegimeWatch::default();
        assert_eq!(watch.on_bar(&bar(100.0)), Some(Regime::Unknown));
        for _ in 0..WARM - 1 {
            assert_eq!(watch.on_bar(&bar(100.0)), None);
        }
        assert_eq!(watch.on_bar(&bar(100.0)), Some(Regime::Normal));
    }
}
