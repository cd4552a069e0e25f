//! The model keeps the statistics of a real market, and says what it does on purpose.

use super::*;
use crate::venue::instrument::{as_f64, names};
use std::sync::{Arc, Mutex};

const START_MS: i64 = 1_795_404_675_000;

fn market(seed: u64, symbols: usize) -> (Seeded, Arc<Mutex<Log>>) {
    let instruments: Vec<_> = names(symbols).iter().map(|n| Instrument::named(n)).collect();
    let truth = Arc::new(Mutex::new(Log::default()));
    (Seeded::new(&instruments, seed, START_MS, Arc::clone(&truth)), truth)
}

fn events(seed: u64, symbols: usize, seconds: i64) -> Vec<Event> {
    let (mut market, _) = market(seed, symbols);
    std::iter::from_fn(|| market.next()).take_while(|e| e.ts_ms() < START_MS + seconds * 1_000).collect()
}

#[test]
fn the_same_seed_is_the_same_market_and_another_is_not() {
    assert_eq!(events(7, 5, 60), events(7, 5, 60));
    assert_ne!(events(7, 5, 60), events(8, 5, 60));
}

#[test]
fn events_come_in_time_order_and_are_sane() {
    let all = events(1, 20, 60);
    assert!(all.windows(2).all(|w| w[0].ts_ms() <= w[1].ts_ms()));
    let mut prints = 0;
    for event in &all {
        if let Event::Print { price, size, .. } = event {
            prints += 1;
            assert!(*price > rust_decimal::Decimal::ZERO && *size > rust_decimal::Decimal::ZERO);
        }
        if let Event::Quote { quote, .. } = event {
            assert!(quote.bid < quote.ask);
        }
    }
    assert!(prints > 1_000, "{prints}");
}

#[test]
fn arrivals_cluster_more_than_chance_and_sizes_have_a_heavy_tail() {
    let all = events(3, 1, 600);
    let mut per_second = vec![0_f64; 600];
    let mut sizes = Vec::new();
    for event in &all {
        if let Event::Print { ts_ms, size, .. } = event {
            per_second[((ts_ms - START_MS) / 1_000) as usize] += 1.0;
            sizes.push(as_f64(*size));
        }
    }
    let mean = per_second.iter().sum::<f64>() / 600.0;
    let variance = per_second.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 600.0;
    assert!(variance / mean > 3.0, "a Poisson process has 1: {}", variance / mean);
    sizes.sort_by(f64::total_cmp);
    let (median, top) = (sizes[sizes.len() / 2], sizes[sizes.len() * 999 / 1_000]);
    assert!(top / median > 20.0, "median {median}, 99.9 % {top}");
}

#[test]
fn sweeps_really_run_through_the_level_and_come_back() {
    let (mut market, truth) = market(5, 2);
    while market.next().is_some_and(|e| e.ts_ms() < START_MS + 900_000) {}
    let log = truth.lock().expect("log");
    let sweeps: Vec<_> =
        log.newest.iter().filter(|h| matches!(h.kind, Kind::SweepUpFails | Kind::SweepDownFails)).collect();
    assert!(sweeps.len() >= 3, "{}", sweeps.len());
    for sweep in sweeps {
        let up = sweep.kind == Kind::SweepUpFails;
        assert_eq!(sweep.extreme_price > sweep.from_price, up, "{sweep:?}");
        assert!(sweep.end_ms - sweep.start_ms < 30_000);
    }
}

/// Logarithmic returns of the middle price, one per `every_ms`; `None` while the symbol is in an episode, which is
/// what it is on purpose.
fn returns(seed: u64, symbols: usize, seconds: i64, every_ms: i64) -> Vec<Vec<Option<f64>>> {
    let (mut market, truth) = market(seed, symbols);
    let mut prices = vec![vec![f64::NAN; (seconds * 1_000 / every_ms) as usize]; symbols];
    // Longer than asked for, so that every episode is over and known.
    while let Some(event) = market.next().filter(|e| e.ts_ms() < START_MS + (seconds + 300) * 1_000) {
        if let Event::Quote { ts_ms, symbol, quote } = event
            && let (Some(bid), Some(ask)) = (quote.bid, quote.ask)
            && let Some(price) = prices[symbol].get_mut(((ts_ms - START_MS) / every_ms) as usize)
        {
            *price = (as_f64(bid) + as_f64(ask)) / 2.0;
        }
    }
    let log = truth.lock().expect("log");
    let paths = prices.into_iter().enumerate().map(|(symbol, path)| {
        let mut last = f64::NAN;
        // A price stands until the next.
        let stands = path.into_iter().map(|price| {
            last = if price.is_nan() { last } else { price };
            last
        });
        let stands: Vec<f64> = stands.collect();
        let between = stands.windows(2).enumerate().map(|(place, w)| {
            let at_ms = START_MS + place as i64 * every_ms;
            let on_purpose = log
                .newest
                .iter()
                .any(|h| h.symbol == symbol && at_ms + 2 * every_ms > h.start_ms && at_ms < h.end_ms + every_ms);
            let change = (w[1] / w[0]).ln();
            (!on_purpose && change.is_finite()).then_some(change)
        });
        between.collect()
    });
    paths.collect()
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len() as f64
}

/// Of the places where both are known.
fn correlation(a: &[Option<f64>], b: &[Option<f64>]) -> f64 {
    let (a, b): (Vec<f64>, Vec<f64>) = a.iter().zip(b).filter_map(|(x, y)| x.zip(*y)).unzip();
    let (ma, mb) = (mean(&a), mean(&b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(&b).map(|(x, y)| f(x - ma, y - mb)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// Over several seeds, the middle one: a single path may be odd.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn volatility_clusters_and_returns_have_fat_tails_without_direction() {
    let (mut clustering, mut kurtosis, mut direction) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 1..=5 {
        let paths = returns(seed, 5, 1_800, 1_000);
        let returns = &paths[4];
        let sizes: Vec<Option<f64>> = returns.iter().map(|r| r.map(f64::abs)).collect();
        clustering.push(correlation(&sizes[..sizes.len() - 5], &sizes[5..]));
        direction.push(correlation(&returns[..returns.len() - 5], &returns[5..]).abs());
        let power = |by: i32| mean(&returns.iter().flatten().map(|r| r.powi(by)).collect::<Vec<_>>());
        kurtosis.push(power(4) / power(2).powi(2));
    }
    let said = format!("|r| {clustering:?}, r {direction:?}, kurtosis {kurtosis:?}");
    assert!(median(clustering) > 0.15, "{said}");
    assert!(median(direction) < 0.12, "{said}");
    assert!(median(kurtosis) > 5.0, "a normal distribution has 3: {said}");
}

#[test]
fn symbols_share_a_factor_and_are_not_the_same() {
    let correlations = (1..=5).map(|seed| {
        let paths = returns(seed, 2, 1_800, 5_000);
        correlation(&paths[0], &paths[1])
    });
    let correlations: Vec<f64> = correlations.collect();
    let middle = median(correlations.clone());
    assert!((0.15..0.9).contains(&middle), "{correlations:?}");
}

#[test]
fn spread_and_depth_react_to_volatility() {
    let (mut calm, mut wild) = ((0.0, 0.0, 0.0_f64), (0.0, 0.0, 0.0_f64));
    for seed in 1..=3 {
        let all = events(seed, 1, 1_200);
        let known = returns(seed, 1, 1_200, 10_000).remove(0);
        let mut order: Vec<(f64, usize)> =
            known.iter().enumerate().filter_map(|(place, r)| Some((r.as_ref()?.abs(), place))).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let order: Vec<usize> = order.into_iter().map(|(_, place)| place).collect();
        let (quietest, wildest) = (&order[..order.len() / 4], &order[order.len() * 3 / 4..]);
        for event in &all {
            let Event::Quote { ts_ms, quote, .. } = event else { continue };
            let place = (((ts_ms - START_MS) / 10_000) as usize).saturating_sub(1);
            let (Some(bid), Some(ask), Some(size)) = (quote.bid, quote.ask, quote.bid_size) else { continue };
            let into = match place {
                place if quietest.contains(&place) => &mut calm,
                place if wildest.contains(&place) => &mut wild,
                _ => continue,
            };
            into.0 += as_f64(ask - bid);
            into.1 += as_f64(size).ln();
            into.2 += 1.0;
        }
    }
    let (spread, depth) = (wild.0 / wild.2 / (calm.0 / calm.2), wild.1 / wild.2 - calm.1 / calm.2);
    assert!(spread > 1.1, "spread, wild against calm: {spread}");
    assert!(depth < 0.0, "logarithm of depth, wild against calm: {depth}");
}

#[test]
fn pumps_are_rare_rise_and_fall_back_and_are_in_the_log() {
    let mut pumps = 0;
    for seed in 1..=2 {
        let (mut market, truth) = market(seed, 6);
        while market.next().is_some_and(|e| e.ts_ms() < START_MS + 3_600_000) {}
        let log = truth.lock().expect("log");
        for pump in log.newest.iter().filter(|h| h.kind == Kind::PumpAndDump) {
            pumps += 1;
            assert!(pump.extreme_price > pump.from_price * 1.03, "{pump:?}");
            assert!((80_000..250_000).contains(&(pump.end_ms - pump.start_ms)), "{pump:?}");
        }
    }
    assert!((5..50).contains(&pumps), "{pumps} in 12 symbol hours");
}

#[test]
fn a_funding_rate_is_always_stated_and_stays_within_bounds() {
    let rates: Vec<f64> = events(2, 3, 300)
        .iter()
        .filter_map(|event| match event {
            Event::Quote { quote, .. } => quote.funding_rate.map(as_f64),
            _ => None,
        })
        .collect();
    assert!(rates.len() > 1_000 && rates.iter().all(|rate| rate.abs() <= 0.003), "{}", rates.len());
}
