//! Candles: the lengths Bitget offers, their grids, and one series per symbol and length.

use rust_decimal::Decimal;
use std::collections::VecDeque;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Bars that a snapshot may hold.
pub const SERIES_MAX: usize = 500;

/// A candle length and its grid. 6 hours and longer stand on the UTC+8 grid unless the name says `utc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub length: Length,
    pub utc: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Length {
    M1,
    M3,
    M5,
    M15,
    M30,
    H1,
    H2,
    H4,
    H6,
    H8,
    H12,
    D1,
    D3,
    W1,
    Month,
}

const LENGTHS: [(&str, Length); 15] = [
    ("1m", Length::M1),
    ("3m", Length::M3),
    ("5m", Length::M5),
    ("15m", Length::M15),
    ("30m", Length::M30),
    ("1H", Length::H1),
    ("2H", Length::H2),
    ("4H", Length::H4),
    ("6H", Length::H6),
    ("8H", Length::H8),
    ("12H", Length::H12),
    ("1D", Length::D1),
    ("3D", Length::D3),
    ("1W", Length::W1),
    ("1M", Length::Month),
];

/// What the v3 `kline` topic offers.
const V3_LENGTHS: [&str; 10] = ["1m", "3m", "5m", "15m", "30m", "1H", "4H", "6H", "12H", "1D"];

impl Span {
    pub const M1: Self = Self { length: Length::M1, utc: false };

    /// v2: the part of the channel's name after `candle`.
    pub fn v2(name: &str) -> Option<Self> {
        let (plain, utc) = match name.strip_suffix("utc") {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let (_, length) = LENGTHS.iter().find(|(n, _)| *n == plain)?;
        (!utc || (length.span_ms() >= 6 * HOUR && *length != Length::H8)).then_some(Self { length: *length, utc })
    }

    /// v3: the argument's `interval`.
    pub fn v3(name: &str) -> Option<Self> {
        V3_LENGTHS.contains(&name).then(|| Self::v2(name)).flatten()
    }

    pub fn name(self) -> String {
        let plain = LENGTHS.iter().find(|(_, l)| *l == self.length).map_or("1m", |(n, _)| n);
        if self.utc { format!("{plain}utc") } else { plain.to_owned() }
    }

    /// Start of the bar that `ts_ms` lies in.
    pub fn start_of(self, ts_ms: i64) -> i64 {
        let shift = if self.utc || self.length.span_ms() < 6 * HOUR { 0 } else { 8 * HOUR };
        let local = ts_ms + shift;
        let start = match self.length {
            // 1970-01-01 was a Thursday; weeks begin on Monday.
            Length::W1 => (local + 3 * DAY).div_euclid(7 * DAY) * 7 * DAY - 3 * DAY,
            Length::Month => month_start(local),
            length => local.div_euclid(length.span_ms()) * length.span_ms(),
        };
        start - shift
    }

    /// Start of the bar before the one that begins at `start_ms`.
    pub fn before(self, start_ms: i64) -> i64 {
        self.start_of(start_ms - 1)
    }
}

fn month_start(ts_ms: i64) -> i64 {
    time::OffsetDateTime::from_unix_timestamp(ts_ms.div_euclid(1_000))
        .ok()
        .and_then(|at| at.replace_day(1).ok())
        .map_or(0, |at| at.replace_time(time::Time::MIDNIGHT).unix_timestamp() * 1_000)
}

impl Length {
    /// Nominal length; a month counts 30 days here.
    pub const fn span_ms(self) -> i64 {
        match self {
            Self::M1 => MINUTE,
            Self::M3 => 3 * MINUTE,
            Self::M5 => 5 * MINUTE,
            Self::M15 => 15 * MINUTE,
            Self::M30 => 30 * MINUTE,
            Self::H1 => HOUR,
            Self::H2 => 2 * HOUR,
            Self::H4 => 4 * HOUR,
            Self::H6 => 6 * HOUR,
            Self::H8 => 8 * HOUR,
            Self::H12 => 12 * HOUR,
            Self::D1 => DAY,
            Self::D3 => 3 * DAY,
            Self::W1 => 7 * DAY,
            Self::Month => 30 * DAY,
        }
    }
}

/// One candle.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    pub start_ms: i64,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    pub base_volume: Decimal,
    pub quote_volume: Decimal,
}

impl Bar {
    pub fn flat(start_ms: i64, price: Decimal) -> Self {
        Self {
            start_ms,
            open: price,
            high: price,
            low: price,
            close: price,
            base_volume: Decimal::ZERO,
            quote_volume: Decimal::ZERO,
        }
    }

    pub fn print(&mut self, price: Decimal, size: Decimal) {
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.close = price;
        self.base_volume += size;
        self.quote_volume += price * size;
    }

    fn fold(&mut self, next: &Self) {
        self.high = self.high.max(next.high);
        self.low = self.low.min(next.low);
        self.close = next.close;
        self.base_volume += next.base_volume;
        self.quote_volume += next.quote_volume;
    }
}

/// The newest bars of one length, oldest first; the last one is open.
#[derive(Clone, Debug)]
pub struct Series {
    pub span: Span,
    pub bars: VecDeque<Bar>,
    /// Changed since it was last shown.
    pub dirty: bool,
}

impl Series {
    pub const fn new(span: Span) -> Self {
        Self { span, bars: VecDeque::new(), dirty: false }
    }

    /// A longer series out of the minutes.
    pub fn folded(span: Span, minutes: &VecDeque<Bar>) -> Self {
        let mut series = Self::new(span);
        for bar in minutes {
            let start_ms = span.start_of(bar.start_ms);
            match series.bars.back_mut() {
                Some(last) if last.start_ms == start_ms => last.fold(bar),
                _ => series.push(Bar { start_ms, ..bar.clone() }),
            }
        }
        series
    }

    /// Takes a trade; true when that closed the bar before and the bar's last state was not shown yet.
    pub fn print(&mut self, ts_ms: i64, price: Decimal, size: Decimal) -> bool {
        let unshown = self.roll(ts_ms, price).is_some_and(|unshown| unshown);
        if let Some(bar) = self.bars.back_mut() {
            if bar.base_volume.is_zero() {
                // A new bar opens at its first trade.
                *bar = Bar::flat(bar.start_ms, price);
            }
            bar.print(price, size);
        }
        self.dirty = true;
        unshown
    }

    /// Opens a new bar at `price` if the time has come; tells whether the closed one's last state was unshown.
    pub fn roll(&mut self, ts_ms: i64, price: Decimal) -> Option<bool> {
        let start_ms = self.span.start_of(ts_ms);
        match self.bars.back() {
            Some(bar) if bar.start_ms >= start_ms => None,
            other => {
                let unshown = self.dirty && other.is_some();
                self.push(Bar::flat(start_ms, price));
                self.dirty = true;
                Some(unshown)
            }
        }
    }

    pub fn push(&mut self, bar: Bar) {
        if self.bars.len() == SERIES_MAX {
            self.bars.pop_front();
        }
        self.bars.push_back(bar);
    }

    /// The open bar, or the newest closed one.
    pub fn newest(&self, closed: bool) -> Option<&Bar> {
        self.bars.iter().rev().nth(usize::from(closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(text: &str) -> Decimal {
        Decimal::from_str_exact(text).expect("number")
    }

    #[test]
    fn grids() {
        // 2026-11-23 03:31:15 UTC, a Monday.
        let at = 1_795_404_675_000;
        for (name, expected) in [
            ("1m", 1_795_404_660_000),
            ("1H", 1_795_402_800_000),
            ("1Dutc", 1_795_392_000_000),
            // 16:00 UTC the day before = midnight UTC+8.
            ("1D", 1_795_363_200_000),
            ("1Wutc", 1_795_392_000_000),
            ("1Mutc", 1_793_491_200_000),
        ] {
            assert_eq!(Span::v2(name).expect(name).start_of(at), expected, "{name}");
        }
    }

    #[test]
    fn names_by_generation() {
        for (name, v2, v3) in [
            ("1m", true, true),
            ("2H", true, false),
            ("6Hutc", true, false),
            ("7m", false, false),
            ("1h", false, false),
            ("1Hutc", false, false),
        ] {
            assert_eq!((Span::v2(name).is_some(), Span::v3(name).is_some()), (v2, v3), "{name}");
        }
    }

    #[test]
    fn a_later_trade_closes_the_bar() {
        let mut series = Series::new(Span::M1);
        assert!(!series.print(30_000, dec("10"), dec("1")), "nothing to close");
        assert!(!series.print(31_000, dec("12"), dec("2")));
        assert!(series.print(60_000, dec("9"), dec("1")), "the first bar's end was never shown");
        let first = &series.bars[0];
        assert_eq!((first.open, first.high, first.low, first.close), (dec("10"), dec("12"), dec("10"), dec("12")));
        assert_eq!((first.base_volume, first.quote_volume), (dec("3"), dec("34")));
        assert_eq!(series.bars[1].open, dec("9"));
    }

    #[test]
    fn a_quiet_minute_is_flat_and_opens_at_its_first_trade() {
        let mut series = Series::new(Span::M1);
        series.print(0, dec("10"), dec("1"));
        series.roll(60_000, dec("10"));
        series.print(61_000, dec("11"), dec("1"));
        let bar = &series.bars[1];
        assert_eq!((bar.open, bar.low), (dec("11"), dec("11")));
    }

    #[test]
    fn five_minutes_fold_out_of_one() {
        let mut minutes = Series::new(Span::M1);
        for minute in 0..10 {
            minutes.print(minute * 60_000, Decimal::from(minute + 1), dec("1"));
        }
        let folded = Series::folded(Span::v2("5m").expect("span"), &minutes.bars);
        assert_eq!(folded.bars.len(), 2);
        assert_eq!(
            (folded.bars[0].open, folded.bars[0].close, folded.bars[0].base_volume),
            (dec("1"), dec("5"), dec("5"))
        );
    }
}
