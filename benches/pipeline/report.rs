//! Medians, ratios, goals, and how they are shown.

use super::measure::{Latency, Throughput};
use super::options::Case;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Resident memory of the daemon at 600 symbols, bytes.
const RSS_GOAL: f64 = 40.0 * 1024.0 * 1024.0;
const RSS_SYMBOLS: usize = 600;

/// All figures of one number of symbols, round by round.
#[derive(Debug, Default)]
pub struct Setting {
    pub symbols: usize,
    pub throughput: BTreeMap<Case, Vec<Throughput>>,
    pub latency: BTreeMap<Case, Vec<Latency>>,
}

/// One goal and whether it was reached.
pub struct Verdict {
    pub pass: bool,
    pub text: String,
    pub name: String,
    pub value: f64,
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

impl Setting {
    fn rate(&self, case: Case, what: impl Fn(&Throughput) -> f64) -> Vec<f64> {
        self.throughput.get(&case).map_or_else(Vec::new, |rounds| rounds.iter().map(what).collect())
    }

    fn delay(&self, case: Case, what: impl Fn(&Latency) -> f64) -> Vec<f64> {
        self.latency.get(&case).map_or_else(Vec::new, |rounds| rounds.iter().map(what).collect())
    }

    /// Ratios of one round each.
    fn frames_over_floor(&self, case: Case) -> Vec<f64> {
        let floor = self.rate(Case::A, |t| t.frames_per_s);
        self.rate(case, |t| t.frames_per_s).iter().zip(floor).map(|(value, floor)| value / floor).collect()
    }

    fn delay_over_floor(&self) -> Vec<f64> {
        let floor = self.delay(Case::A, |l| l.p50_us);
        self.delay(Case::B, |l| l.p50_us).iter().zip(floor).map(|(value, floor)| value / floor).collect()
    }

    /// The goals that the figures at hand can judge. `frames_are_counted`: by the exchange, not by what was written.
    pub fn verdicts(&self, frames_are_counted: bool) -> Vec<Verdict> {
        let n = self.symbols;
        let mut list = Vec::new();
        let mut at_least = |name: &str, ratios: Vec<f64>, goal: f64| {
            if !ratios.is_empty() {
                let value = median(ratios.clone());
                let text = format!(
                    "{name} at {n} symbols: {value:.2} of the floor's frames/s, goal >= {goal:.2}{}",
                    spread(&ratios)
                );
                list.push(Verdict { pass: value >= goal, text, name: format!("{name}_{n}"), value });
            }
        };
        at_least("b/a", self.frames_over_floor(Case::B), 0.5);
        if frames_are_counted {
            at_least("c/a", self.frames_over_floor(Case::C), 1.0);
        }
        let delays = self.delay_over_floor();
        if !delays.is_empty() {
            let value = median(delays.clone());
            let text =
                format!("p50 b/a at {n} symbols: {value:.2} of the floor's latency, goal <= 1.50{}", spread(&delays));
            list.push(Verdict { pass: value <= 1.5, text, name: format!("p50_{n}"), value });
        }
        let peaks: Vec<f64> =
            [Case::B, Case::C].into_iter().flat_map(|case| self.rate(case, |t| t.rss_peak as f64)).collect();
        if n == RSS_SYMBOLS && !peaks.is_empty() {
            let value = peaks.into_iter().fold(0.0, f64::max);
            let text = format!("highest RSS of trapline at {n} symbols: {:.1} MiB, goal < 40", value / 1_048_576.0);
            list.push(Verdict { pass: value < RSS_GOAL, text, name: format!("rss_{n}"), value });
        }
        let written = self.rate(Case::B, |t| t.hsets_per_frame);
        if frames_are_counted && !written.is_empty() {
            let value = median(written.clone());
            // What is still on its way at the two looks makes a percent or two.
            let text = format!(
                "b writes each frame at {n} symbols: {value:.2} HSETs per frame, goal >= 0.95{}",
                spread(&written)
            );
            list.push(Verdict { pass: value >= 0.95, text, name: format!("written_{n}"), value });
        }
        let behind: Vec<usize> = self.throughput.values().flatten().filter_map(|t| t.behind).collect();
        if !behind.is_empty() {
            let (worst, rounds) = (behind.iter().max().copied().unwrap_or(0), behind.len());
            let text = format!(
                "newest frame of each of {n} symbols is in Redis at the end: {worst} behind at worst of {rounds} ends"
            );
            list.push(Verdict { pass: worst == 0, text, name: format!("behind_{n}"), value: worst as f64 });
        }
        list
    }

    pub fn print(&self) {
        let mib = |bytes: f64| format!("{:.1}", bytes / 1_048_576.0);
        if !self.throughput.is_empty() {
            println!("\n{} symbols, as fast as it goes", self.symbols);
            println!(
                "  {:<24}{:>11}{:>14}{:>14}{:>14}{:>12}{:>12}{:>9}",
                "", "frames/s", "client us/fr", "redis us/fr", "HSETs/frame", "RSS MiB", "peak MiB", "threads"
            );
        }
        for &case in self.throughput.keys() {
            let of = |what: fn(&Throughput) -> f64| median(self.rate(case, what));
            println!(
                "  {:<24}{:>11}{:>14.2}{:>14.2}{:>14.3}{:>12}{:>12}{:>9}",
                case.label(),
                thousands(of(|t| t.frames_per_s)),
                of(|t| t.client_us),
                of(|t| t.redis_us),
                of(|t| t.hsets_per_frame),
                mib(of(|t| t.rss as f64)),
                mib(of(|t| t.rss_peak as f64)),
                of(|t| t.threads as f64),
            );
        }
        if !self.latency.is_empty() {
            println!("\n{} symbols, at a fixed rate, from send to write", self.symbols);
            println!(
                "  {:<24}{:>11}{:>14}{:>14}{:>14}{:>12}",
                "", "p50 us", "p90 us", "p99 us", "client us/fr", "unseen"
            );
        }
        for &case in self.latency.keys() {
            let of = |what: fn(&Latency) -> f64| median(self.delay(case, what));
            println!(
                "  {:<24}{:>11.0}{:>14.0}{:>14.0}{:>14.1}{:>12}",
                case.label(),
                of(|l| l.p50_us),
                of(|l| l.p90_us),
                of(|l| l.p99_us),
                of(|l| l.client_us),
                of(|l| l.unseen as f64),
            );
        }
    }

    pub fn json(&self) -> Value {
        let throughput = self.throughput.iter().map(|(case, rounds)| {
            let rounds = rounds.iter().map(|t| {
                json!({
                    "frames_per_s": t.frames_per_s, "client_us_per_frame": t.client_us, "redis_us_per_frame": t.redis_us,
                    "hsets_per_frame": t.hsets_per_frame, "rss_bytes": t.rss, "rss_peak_bytes": t.rss_peak,
                    "threads": t.threads, "behind": t.behind,
                })
            });
            (letter(*case), Value::Array(rounds.collect()))
        });
        let latency = self.latency.iter().map(|(case, rounds)| {
            let rounds = rounds.iter().map(|l| {
                json!({
                    "p50_us": l.p50_us, "p90_us": l.p90_us, "p99_us": l.p99_us, "client_us_per_frame": l.client_us,
                    "unseen": l.unseen,
                })
            });
            (letter(*case), Value::Array(rounds.collect()))
        });
        json!({
            "symbols": self.symbols,
            "throughput": throughput.collect::<serde_json::Map<_, _>>(),
            "latency": latency.collect::<serde_json::Map<_, _>>(),
        })
    }
}

fn letter(case: Case) -> String {
    case.label().chars().take(1).collect()
}

fn spread(values: &[f64]) -> String {
    let each: Vec<_> = values.iter().map(|value| format!("{value:.2}")).collect();
    if each.len() < 2 { String::new() } else { format!(" (rounds: {})", each.join(" ")) }
}

/// `281 400`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}
