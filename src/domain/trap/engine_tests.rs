//! What the detectors promise, on markets made for it. Prices around 100, one trade a second, a range of +-0.05.

use super::*;
use crate::domain::market::TakerSide;
use rust_decimal::prelude::FromPrimitive;

/// A seeded generator that needs no crate: numbers in -1..1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

struct Market {
    engine: TrapEngine,
    ms: i64,
    noise: Noise,
    found: Vec<TrapDetected>,
    history: bool,
    held: usize,
}

impl Market {
    fn new(settings: TrapSettings) -> Self {
        let engine = TrapEngine::new(SymbolId(3), "TESTUSDT", settings);
        // 00:30 UTC: no full hour near the moves below unless a test wants it.
        Self { engine, ms: 30 * 60_000, noise: Noise(7), found: Vec::new(), history: false, held: 0 }
    }

    fn trade(&mut self, price: f64, size: f64, side: TakerSide) {
        let trade = Trade {
            symbol: SymbolId(3),
            exchange_time_ms: self.ms,
            price: Decimal::from_f64(price).expect("price").round_dp(9),
            size: Decimal::from_f64(size).expect("size").round_dp(6),
            side,
            id: self.ms as u64,
            history: self.history,
        };
        self.engine.on_trade(&trade, &mut self.found);
        self.held = self.held.max(self.engine.held());
    }

    /// A calm range around `centre`, size 1 a second.
    fn calm(&mut self, centre: f64, seconds: i64) {
        for _ in 0..seconds {
            self.ms += 1_000;
            let price = centre + 0.05 * self.noise.next();
            self.trade(price, 1.0, TakerSide::Buy);
        }
    }

    /// A straight line.
    fn line(&mut self, from: f64, to: f64, seconds: i64, size: f64) {
        for n in 1..=seconds {
            self.ms += 1_000;
            self.trade(from + (to - from) * n as f64 / seconds as f64, size, TakerSide::Buy);
        }
    }

    fn kinds(&self) -> Vec<TrapKind> {
        self.found.iter().map(|trap| trap.kind).collect()
    }
}

/// Seventy calm minutes, then a move beyond the range by `beyond` and back; `stay` seconds outside.
fn sweep(sign: f64, beyond: f64, stay: i64, size: f64) -> Market {
    let mut market = Market::new(TrapSettings::default());
    market.calm(100.0, 70 * 60);
    let top = 100.0 + sign * (0.05 + beyond);
    market.line(100.0, top, 20, size);
    market.line(top - sign * 0.01, top - sign * 0.01, stay, size);
    market.line(top, 100.0 - sign * 0.04, 20, 1.0);
    market.calm(100.0, 1_800);
    market
}

#[test]
fn a_sweep_that_fails_is_found_with_its_kind_and_at_its_time() {
    let cases = [
        ("fast, some volume", 1.0, 0, 8.0, TrapKind::StopHunt),
        ("fast, heavy volume", 1.0, 0, 60.0, TrapKind::LiquidityGrab),
        ("fast, downward", -1.0, 0, 8.0, TrapKind::StopHunt),
        ("slow, upward", 1.0, 150, 8.0, TrapKind::BullTrap),
        ("slow, downward", -1.0, 150, 8.0, TrapKind::BearTrap),
    ];
    for (name, sign, stay, size, kind) in cases {
        let market = sweep(sign, 0.25, stay, size);
        assert_eq!(market.kinds(), [kind], "case: {name}");
        let trap = &market.found[0];
        let begin_ms = 30 * 60_000 + 70 * 60_000;
        assert!((begin_ms..begin_ms + 21_000).contains(&trap.started_ms), "case: {name}: {}", trap.started_ms);
        let end_ms = begin_ms + (20 + stay + 20) * 1_000;
        assert!((end_ms - 20_000..=end_ms + 1_000).contains(&trap.detected_ms), "case: {name}: {}", trap.detected_ms);
        assert_eq!(trap.change > 0.0, sign > 0.0, "case: {name}");
        assert!(trap.volume > Decimal::ZERO && trap.level > Decimal::ZERO, "case: {name}");
        assert!((0.0..=1.0).contains(&trap.confidence), "case: {name}");
    }
}

#[test]
fn both_sides_of_each_threshold_of_a_sweep() {
    // One-minute returns of this range have a standard deviation near 0.0004, so 1.5 of them are about 0.06.
    let cases = [
        ("excursion below", 0.03, 0, 8.0, 0),
        ("excursion above", 0.10, 0, 8.0, 1),
        ("volume below twice the median", 0.25, 0, 1.5, 0),
        ("volume above", 0.25, 0, 8.0, 1),
        ("outside for almost 15 minutes", 0.25, 860, 8.0, 1),
        ("outside for more than 15 minutes", 0.25, 920, 8.0, 0),
    ];
    for (name, beyond, stay, size, expected) in cases {
        assert_eq!(sweep(1.0, beyond, stay, size).found.len(), expected, "case: {name}");
    }
    for (name, stay, kind) in [("back after 100 s", 70, TrapKind::StopHunt), ("after 140 s", 110, TrapKind::BullTrap)] {
        assert_eq!(sweep(1.0, 0.25, stay, 4.0).kinds(), [kind], "case: {name}");
    }
}

#[test]
fn a_breakout_that_holds_is_no_trap() {
    let mut market = Market::new(TrapSettings::default());
    market.calm(100.0, 70 * 60);
    market.line(100.0, 100.6, 60, 8.0);
    assert!(market.engine.forming() > 0.5, "while it is on, one may form");
    market.calm(100.6, 3_600);
    assert_eq!(market.kinds(), []);
    assert!(market.engine.forming() < 0.3, "what is left is the range's own noise");
}

/// Inside a wide old range: no break, only a violent move that comes back to `back`.
fn violent(height: f64, back: f64) -> Market {
    let mut market = Market::new(TrapSettings::default());
    market.calm(100.0, 20 * 60);
    market.line(100.0, 102.0, 900, 1.0);
    market.line(102.0, 100.0, 900, 1.0);
    market.calm(100.0, 30 * 60);
    market.line(100.0, 100.0 + height, 60, 8.0);
    market.line(100.0 + height, back, 60, 1.0);
    market.calm(back, 600);
    market
}

#[test]
fn both_sides_of_each_threshold_of_a_violent_move() {
    // From 99.95 up to 101.5 are 1.55; 70 % of it back is 100.415.
    let cases = [
        ("too small", 0.5, 100.0, vec![]),
        ("large, given back", 1.5, 100.2, vec![TrapKind::FakePump]),
        ("large, given back too little", 1.5, 100.55, vec![]),
    ];
    for (name, height, back, expected) in cases {
        assert_eq!(violent(height, back).kinds(), expected, "case: {name}");
    }
}

#[test]
fn a_quiet_market_is_quiet() {
    let mut market = Market::new(TrapSettings::default());
    market.calm(100.0, 24 * 3_600);
    assert_eq!(market.kinds(), []);
    let mut market = Market::new(TrapSettings::default());
    market.line(100.0, 100.0, 6 * 3_600, 1.0);
    assert_eq!(market.kinds(), [], "a price that never moves has no yardstick and no trap");
}

#[test]
fn a_random_walk_gives_few_alarms() {
    let days = 4;
    for seed in [1, 2, 3] {
        let mut market = Market::new(TrapSettings::default());
        market.noise = Noise(seed);
        let mut price: f64 = 100.0;
        for _ in 0..days * 86_400 {
            market.ms += 1_000;
            price *= 1.0 + 0.000_1 * market.noise.next();
            let size = (-market.noise.next().abs().max(1e-9).ln()).max(0.000_1);
            market.trade(price, size, TakerSide::Buy);
        }
        assert!(market.found.len() <= 3 * days, "seed {seed}: {} alarms in {days} days", market.found.len());
        assert!(market.found.iter().all(|trap| trap.kind != TrapKind::Pump), "seed {seed}");
    }
}

/// A thin market (one trade in 20 s), then `seconds` of buying, `rate` trades a second of `size`.
fn pump(rise: f64, rate: i64, size: f64, sells_in_ten: i64, start_past_hour_s: i64) -> Market {
    let mut market = Market::new(TrapSettings::default());
    market.ms = start_past_hour_s * 1_000;
    for n in 0..540_i64 {
        market.ms += 20_000;
        market.trade(if n % 2 == 0 { 0.000_005 } else { 0.000_005_01 }, 1.0, TakerSide::Sell);
    }
    let seconds = 45;
    for n in 1..=seconds * rate {
        market.ms += 1_000 / rate;
        let side = if n % 10 < sells_in_ten { TakerSide::Sell } else { TakerSide::Buy };
        market.trade(0.000_005 * (1.0 + rise * n as f64 / (seconds * rate) as f64), size, side);
    }
    market
}

#[test]
fn a_pump_is_found_long_before_its_peak() {
    let market = pump(1.0, 5, 10.0, 1, 0);
    assert_eq!(market.kinds(), [TrapKind::Pump], "once, not every second");
    let trap = &market.found[0];
    assert!(market.ms - trap.detected_ms >= 25_000, "{} ms before the peak", market.ms - trap.detected_ms);
    assert!(trap.change >= 0.05 && trap.change < 0.2, "{}", trap.change);
    assert!(trap.started_ms <= trap.detected_ms);
}

#[test]
fn both_sides_of_each_threshold_of_a_pump() {
    // Normal are 3 a minute; 15 s at rate 5 are 75 trades. The pump starts on a full hour or half past.
    let cases = [
        ("all there", 0.6, 5, 10.0, 1, 0, 1),
        ("rise too slow", 0.12, 5, 10.0, 1, 0, 0),
        ("rise just enough", 0.17, 5, 10.0, 1, 0, 1),
        ("just enough, but half past", 0.17, 5, 10.0, 1, 1_800, 0),
        ("much, half past", 0.6, 5, 10.0, 1, 1_800, 1),
        ("volume too small", 0.6, 5, 1.4, 1, 0, 0),
        ("volume just enough", 0.6, 5, 1.8, 1, 0, 1),
        ("sellers take half", 0.6, 5, 10.0, 5, 0, 0),
        ("a fifth sold", 0.6, 5, 10.0, 2, 0, 1),
        ("too few trades", 0.6, 1, 60.0, 0, 0, 0),
        ("enough trades", 0.6, 2, 30.0, 0, 0, 1),
    ];
    for (name, rise, rate, size, sells, past_s, expected) in cases {
        assert_eq!(pump(rise, rate, size, sells, past_s).kinds().len(), expected, "case: {name}");
    }
}

#[test]
fn a_rebound_below_the_hours_high_is_no_pump() {
    for (name, top, expected) in [("an old high above", 0.000_02, 0), ("none", 0.000_005, 1)] {
        let mut market = Market::new(TrapSettings::default());
        market.ms = 0;
        for n in 0..540_i64 {
            market.ms += 20_000;
            market.trade(if n == 500 { top } else { 0.000_005 }, 1.0, TakerSide::Sell);
        }
        for n in 1..=100 {
            market.ms += 200;
            market.trade(0.000_005 * (1.0 + 0.005 * f64::from(n)), 10.0, TakerSide::Buy);
        }
        assert_eq!(market.kinds().iter().filter(|kind| **kind == TrapKind::Pump).count(), expected, "case: {name}");
    }
}

#[test]
fn the_same_trades_give_the_same_traps() {
    let (a, b) = (sweep(1.0, 0.25, 0, 8.0).found, sweep(1.0, 0.25, 0, 8.0).found);
    assert_eq!(a, b);
    assert_eq!(a[0].id.len(), 16);
    assert!(a[0].id.bytes().all(|c| c.is_ascii_hexdigit()));
    assert_ne!(a[0].id, sweep(1.0, 0.25, 150, 8.0).found[0].id);
}

#[test]
fn history_warms_and_never_alarms() {
    let mut market = Market::new(TrapSettings::default());
    market.history = true;
    market.calm(100.0, 70 * 60);
    market.line(100.0, 100.3, 20, 8.0);
    market.line(100.3, 99.96, 20, 1.0);
    market.calm(100.0, 900);
    assert_eq!(market.kinds(), []);
    assert!(market.engine.is_warm());
    market.history = false;
    market.line(100.0, 100.6, 20, 8.0);
    market.line(100.6, 99.96, 20, 1.0);
    market.calm(100.0, 60);
    assert_eq!(market.found.len(), 1, "the next move is news, and the windows are warm");
}

#[test]
fn after_a_gap_nothing_is_told_until_warm_again() {
    let mut market = Market::new(TrapSettings::default());
    market.calm(100.0, 70 * 60);
    market.line(100.0, 100.3, 20, 8.0);
    market.engine.on_gap(market.ms);
    assert!(!market.engine.is_warm());
    market.line(100.3, 99.96, 20, 1.0);
    market.calm(100.0, 40 * 60);
    market.line(100.0, 100.42, 20, 8.0);
    market.line(100.42, 99.96, 20, 1.0);
    market.calm(100.0, 60);
    assert_eq!(market.kinds(), [], "the hour's range is not known yet");
}

#[test]
fn time_closes_the_last_second_once_it_settled() {
    let mut market = Market::new(TrapSettings::default());
    market.calm(100.0, 70 * 60);
    market.line(100.0, 100.3, 20, 8.0);
    market.ms += 1_000;
    market.trade(99.96, 1.0, TakerSide::Sell);
    let end_ms = market.ms + 1_000;
    market.engine.on_time(end_ms + 499, &mut market.found);
    assert_eq!(market.kinds(), []);
    market.engine.on_time(end_ms + 500, &mut market.found);
    assert_eq!(market.kinds(), [TrapKind::StopHunt]);
    assert_eq!(market.found[0].detected_ms, end_ms, "event time, not the caller's");
}

#[test]
fn a_trade_for_a_closed_second_counts_into_the_next() {
    let mut market = Market::new(TrapSettings::default());
    market.calm(100.0, 70 * 60);
    assert!(market.engine.is_warm());
    market.engine.on_time(market.ms + 10_000, &mut market.found);
    assert!(market.engine.is_warm(), "a closed second is no gap");
    let closed = market.engine.closed_sec.expect("closed");
    market.ms -= 3_000;
    market.trade(100.0, 1.0, TakerSide::Sell);
    assert_eq!(market.engine.bar.map(|bar| bar.sec), Some(closed + 1));
}

#[test]
fn state_never_passes_its_bound() {
    // The worst case for the rings: falling and rising for hours without pause.
    for slope in [-0.004, 0.004] {
        let mut market = Market::new(TrapSettings::default());
        market.line(100.0, 100.0 + slope * 20_000.0, 20_000, 1.0);
        assert!(market.held <= market.engine.held_max(), "{} of {}", market.held, market.engine.held_max());
    }
}

#[test]
fn what_is_not_positive_is_passed_over() {
    let mut market = Market::new(TrapSettings::default());
    market.trade(0.0, 1.0, TakerSide::Buy);
    market.trade(1.0, 0.0, TakerSide::Buy);
    market.trade(-1.0, 1.0, TakerSide::Buy);
    assert_eq!(market.engine.held(), 0);
    assert!(market.engine.bar.is_none());
}
