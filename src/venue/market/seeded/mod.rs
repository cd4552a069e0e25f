//! The seeded market: per symbol a price with stochastic volatility and a share of a common factor, trades that
//! excite each other (a Hawkes process in small steps), heavy-tailed sizes, a spread that widens with volatility,
//! and episodes (sweeps that fail, pumps, bursts) that go into the truth log. The same seed gives the same market.

mod episodes;

use super::truth::{Happening, Kind, Log};
use super::{Event, Quote, Source};
use crate::domain::market::TakerSide;
use crate::venue::instrument::Instrument;
use episodes::{EPISODE_MEAN_S, Episode};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, LogNormal, Pareto, Poisson, StandardNormal};
use std::collections::VecDeque;

/// The model's step.
pub const STEP_MS: i64 = 50;
const STEP_S: f64 = STEP_MS as f64 / 1_000.0;
/// Volatility per square root of a second at rest; 60 % a year.
const SIGMA: f64 = 1.07e-4;
const EXCITE_DECAY_PER_S: f64 = 2.0;
/// Share of trades that earlier trades cause.
const BRANCHING: f64 = 0.65;
const TRADES_PER_STEP_MAX: f64 = 60.0;

/// All symbols of the model.
#[derive(Debug)]
pub struct Seeded {
    symbols: Vec<Model>,
    common: ChaCha8Rng,
    clock_ms: i64,
    ready: VecDeque<Event>,
    batch: Vec<Event>,
    truth: std::sync::Arc<std::sync::Mutex<Log>>,
}

impl Seeded {
    /// Begins at `start_ms`; what the model does on purpose goes to `truth`, in source time.
    pub fn new(
        instruments: &[Instrument],
        seed: u64,
        start_ms: i64,
        truth: std::sync::Arc<std::sync::Mutex<Log>>,
    ) -> Self {
        let symbols = instruments
            .iter()
            .enumerate()
            .map(|(number, instrument)| Model::new(instrument.clone(), number, seed, start_ms))
            .collect();
        Self {
            symbols,
            common: ChaCha8Rng::seed_from_u64(seed),
            clock_ms: start_ms,
            ready: VecDeque::new(),
            batch: Vec::new(),
            truth,
        }
    }

    fn step(&mut self) {
        let common: f64 = StandardNormal.sample(&mut self.common);
        for (number, symbol) in self.symbols.iter_mut().enumerate() {
            if let Some(over) = symbol.step(number, self.clock_ms, common, &mut self.batch) {
                self.truth.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(over);
            }
        }
        self.batch.sort_by_key(Event::ts_ms);
        self.ready.extend(self.batch.drain(..));
        self.clock_ms += STEP_MS;
    }
}

impl Source for Seeded {
    fn peek_ms(&mut self) -> Option<i64> {
        // A step without any event moves on; the model's base rate makes a long run of them all but impossible.
        for _ in 0..10_000 {
            if let Some(event) = self.ready.front() {
                return Some(event.ts_ms());
            }
            self.step();
        }
        Some(self.clock_ms)
    }

    fn next(&mut self) -> Option<Event> {
        self.peek_ms();
        self.ready.pop_front()
    }
}

#[derive(Debug)]
struct Model {
    instrument: Instrument,
    rng: ChaCha8Rng,
    fair: f64,
    /// Logarithm of volatility against rest.
    heat: f64,
    excited: f64,
    base_rate: f64,
    beta: f64,
    lean: f64,
    sizes: LogNormal<f64>,
    tail: Pareto<f64>,
    spread_ticks: f64,
    /// Highest and lowest price of the running and of the last minute.
    range: [(f64, f64); 2],
    range_until_ms: i64,
    episode: Option<Episode>,
    next_ms: [i64; 3],
    funding: f64,
    shown: (i64, i64),
}

impl Model {
    fn new(instrument: Instrument, number: usize, seed: u64, start_ms: i64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number as u64 + 1));
        let price = instrument.start_price * (1.0 + rng.random_range(-0.01..0.01));
        let base_rate = match number {
            0 => 5.0,
            1 => 3.0,
            2..10 => 1.5,
            _ => 0.35,
        };
        let typical = 900.0 / price;
        let mut model = Self {
            fair: price,
            heat: 0.0,
            excited: 0.0,
            base_rate,
            beta: rng.random_range(0.5..0.85),
            lean: 0.0,
            sizes: LogNormal::new(typical.ln(), 1.3).expect("a finite mean and deviation are valid"),
            tail: Pareto::new(12.0 * typical, 1.5).expect("a scale and a shape above zero are valid"),
            spread_ticks: 1.0,
            range: [(price, price); 2],
            range_until_ms: start_ms + 60_000,
            episode: None,
            next_ms: [0; 3],
            funding: 1e-4 * rng.random_range(-0.5..1.5),
            shown: (0, 0),
            instrument,
            rng,
        };
        for (kind, mean_s) in EPISODE_MEAN_S.iter().enumerate() {
            model.next_ms[kind] = start_ms + model.wait_ms(*mean_s);
        }
        if number == 0 {
            // A watcher of the first symbol sees a sweep within its first minute.
            model.next_ms[0] = start_ms + model.rng.random_range(35_000..45_000);
        }
        model
    }

    fn wait_ms(&mut self, mean_s: f64) -> i64 {
        let unit: f64 = Exp1.sample(&mut self.rng);
        (1_000.0 * mean_s * (0.3 + 0.7 * unit)) as i64
    }

    fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.rng)
    }

    /// One step from `now_ms` on; returns an episode that is over.
    fn step(&mut self, number: usize, now_ms: i64, common: f64, out: &mut Vec<Event>) -> Option<Happening> {
        let z = self.normal();
        let shock = self.normal();
        self.heat += -0.01 * self.heat * STEP_S + 0.12 * STEP_S.sqrt() * shock;
        let sigma = SIGMA * self.heat.clamp(-1.5, 2.5).exp();
        let own = (1.0 - self.beta * self.beta).sqrt();
        self.fair *= (sigma * STEP_S.sqrt() * (self.beta * common + own * z)).exp();
        // Keeps a market that runs for days inside the decimals of its contract.
        let stray = (self.fair / self.instrument.start_price).ln();
        self.fair *= (-2e-6 * stray * STEP_S).exp();

        self.keep_range(now_ms);
        let over = self.follow_episode(number, now_ms);
        let (boost, side_bias) = self.episode_flow(now_ms);

        let lean_shock = self.normal();
        self.lean += -0.4 * self.lean * STEP_S + 0.5 * STEP_S.sqrt() * lean_shock;
        self.excited *= (-EXCITE_DECAY_PER_S * STEP_S).exp();
        let rate = (self.base_rate * self.heat.clamp(-1.0, 1.5).exp() * boost + self.excited) * STEP_S;
        let mean = rate.clamp(1e-9, TRADES_PER_STEP_MAX);
        let orders = Poisson::new(mean).map_or(0.0, |p| p.sample(&mut self.rng));
        let orders = orders.min(TRADES_PER_STEP_MAX) as u32;
        self.excited += f64::from(orders) * BRANCHING * EXCITE_DECAY_PER_S;
        self.excited = self.excited.min(60.0);

        let wanted = 1.0 + 3.0 * (self.heat.max(0.0) + boost.ln().max(0.0) * 0.3);
        self.spread_ticks += (wanted - self.spread_ticks) * 0.1;
        self.quote(number, now_ms, out);
        for _ in 0..orders {
            self.order(number, now_ms, side_bias, out);
        }
        over
    }

    /// The top of the book, whenever it moved.
    fn quote(&mut self, number: usize, now_ms: i64, out: &mut Vec<Event>) {
        let tick = 10_f64.powi(-(self.instrument.price_scale as i32));
        let half = self.spread_ticks.max(1.0) / 2.0;
        let bid = (self.fair / tick - half).round() as i64;
        let ask = bid + self.spread_ticks.round().max(1.0) as i64;
        if (bid, ask) == self.shown || bid < 1 {
            return;
        }
        self.shown = (bid, ask);
        let depth = 8.0 / (1.0 + self.heat.max(0.0));
        let bid_size = self.sizes.sample(&mut self.rng) * depth;
        let ask_size = self.sizes.sample(&mut self.rng) * depth;
        let walk = self.normal();
        self.funding = (self.funding + 1e-8 * walk - 1e-5 * (self.funding - 1e-4) * STEP_S).clamp(-0.003, 0.003);
        let scale = self.instrument.price_scale;
        out.push(Event::Quote {
            ts_ms: now_ms,
            symbol: number,
            quote: Quote {
                bid: Some(rust_decimal::Decimal::new(bid, scale)),
                bid_size: Some(self.instrument.size(bid_size)),
                ask: Some(rust_decimal::Decimal::new(ask, scale)),
                ask_size: Some(self.instrument.size(ask_size)),
                funding_rate: Some(rust_decimal::Decimal::new((self.funding * 1e6) as i64, 6)),
                ..Quote::default()
            },
        });
    }

    /// One market order: one or more prints of the same millisecond, the later ones at worse prices.
    fn order(&mut self, number: usize, now_ms: i64, side_bias: Option<f64>, out: &mut Vec<Event>) {
        let buy_share = side_bias.unwrap_or_else(|| 1.0 / (1.0 + (-self.lean).exp()));
        let buys = self.rng.random_bool(buy_share.clamp(0.02, 0.98));
        let mut size = self.sizes.sample(&mut self.rng);
        if self.rng.random_bool(0.02) {
            size = self.tail.sample(&mut self.rng).min(size * 500.0 + 1_000.0 * self.instrument_step());
        }
        if matches!(self.episode, Some(Episode { kind: Kind::PumpAndDump, .. })) {
            size *= 3.0;
        }
        let ts_ms = now_ms + self.rng.random_range(0..STEP_MS);
        let mut pieces = 1;
        while pieces < 8 && self.rng.random_bool(0.35) {
            pieces += 1;
        }
        let (bid, ask) = self.shown;
        let top = if buys { ask } else { bid };
        for piece in 0..pieces {
            let walk = i64::from(piece) / 2;
            let ticks = if buys { top + walk } else { (top - walk).max(1) };
            let part = size / f64::from(pieces) * self.rng.random_range(0.5..1.5);
            out.push(Event::Print {
                ts_ms,
                symbol: number,
                price: rust_decimal::Decimal::new(ticks, self.instrument.price_scale),
                size: self.instrument.size(part),
                side: if buys { TakerSide::Buy } else { TakerSide::Sell },
            });
        }
        // Flow moves the price: a little, and more for large orders.
        let impact = 1.5e-6 * (1.0 + (size * self.fair / 20_000.0)).ln();
        self.fair *= if buys { 1.0 + impact } else { 1.0 - impact };
    }

    fn instrument_step(&self) -> f64 {
        10_f64.powi(-(self.instrument.size_scale as i32))
    }
}

#[cfg(test)]
mod tests;
