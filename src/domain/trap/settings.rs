//! Every threshold of the trap detectors, with its unit. Few, and in units of the market's own volatility and volume,
//! so that one set serves all symbols.

/// Thresholds of [`super::engine::TrapEngine`]. Defaults are what the tapes are scored with.
#[derive(Clone, Debug, PartialEq)]
pub struct TrapSettings {
    /// The range whose extremes can be swept: this many seconds...
    pub range_window_s: i64,
    /// ...that ended this many seconds ago, so that a move cannot be its own reference.
    pub range_gap_s: i64,
    /// How far before a break the move's launch price is looked for, in seconds.
    pub launch_window_s: i64,
    /// A break that still makes new extremes after this many seconds is a real breakout.
    pub peak_within_s: i64,
    /// An extreme that stands this many seconds without failing is a real breakout.
    pub failure_within_s: i64,
    /// How far beyond the range an extreme has to reach, in standard deviations of one-minute returns...
    pub min_excursion_sigma: f64,
    /// ...and at least this fraction of the price.
    pub min_excursion: f64,
    /// Fraction of the move (launch to extreme) that has to be given back.
    pub retrace: f64,
    /// The busiest minute of the move has to have this many times the median minute's volume.
    pub volume_ratio: f64,
    /// Back inside the range within this many seconds of the break: a stop hunt; later: a bull or bear trap.
    pub fast_return_s: i64,
    /// A stop hunt with a minute of this many times the median minute's and the day's mean minute's volume is a
    /// liquidity grab.
    pub grab_volume_ratio: f64,
    /// Window of a fake pump or dump (a violent move without a range break), in seconds.
    pub fake_window_s: i64,
    /// Its size in standard deviations of one-minute returns, scaled by the root of the window's minutes...
    pub fake_sigma: f64,
    /// ...and at least this fraction of the price.
    pub fake_min_move: f64,
    /// No second sweep, or fake move, in the same direction for this many seconds after one failed.
    pub cooldown_s: i64,
    /// Window of a pump's burst, in seconds.
    pub pump_window_s: i64,
    /// Rise inside the window, as a fraction of the price before it.
    pub pump_min_rise: f64,
    /// Share of the window's volume that buyers took.
    pub pump_min_buy_share: f64,
    /// Volume of the window in mean minutes of the last day: a thin market that is thin no more.
    pub pump_volume_ratio: f64,
    /// Trades in the window: a crowd, not one order that ate an empty book.
    pub pump_min_trades: u32,
    /// Organised pumps are announced for a full hour. Announcements come late: outside a minute before to five minutes after one, rise and
    /// volume have to be this many times larger; 1 knows no clock.
    pub pump_off_hour_factor: f64,
    /// Quiet time after a pump alarm, in seconds.
    pub pump_cooldown_s: i64,
    /// A second counts as complete this many ms after its end by the caller's clock (late trades).
    pub settle_ms: i64,
}

impl Default for TrapSettings {
    fn default() -> Self {
        Self {
            range_window_s: 3_600,
            range_gap_s: 60,
            launch_window_s: 600,
            peak_within_s: 300,
            failure_within_s: 900,
            min_excursion_sigma: 1.5,
            min_excursion: 0.000_5,
            retrace: 0.70,
            volume_ratio: 2.0,
            fast_return_s: 120,
            grab_volume_ratio: 5.0,
            fake_window_s: 300,
            fake_sigma: 4.0,
            fake_min_move: 0.005,
            cooldown_s: 300,
            pump_window_s: 15,
            pump_min_rise: 0.05,
            pump_min_buy_share: 0.6,
            pump_volume_ratio: 40.0,
            pump_min_trades: 20,
            pump_off_hour_factor: 1.5,
            pump_cooldown_s: 900,
            settle_ms: 500,
        }
    }
}
