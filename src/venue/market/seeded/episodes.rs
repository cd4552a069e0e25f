//! What a symbol does on purpose from time to time: sweeps that fail, pumps, bursts.

use super::{Model, STEP_MS};
use crate::venue::market::truth::{Happening, Kind};
use rand::RngExt;

/// What a symbol is up to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Episode {
    pub(super) kind: Kind,
    start_ms: i64,
    /// End of the push, of the hold, of the return.
    turns_ms: [i64; 3],
    from: f64,
    target: f64,
    back: f64,
    extreme: f64,
}

/// Mean seconds between episodes: sweeps, pumps, bursts.
pub(super) const EPISODE_MEAN_S: [f64; 3] = [150.0, 1_800.0, 240.0];

impl Model {
    pub(super) fn keep_range(&mut self, now_ms: i64) {
        let (high, low) = &mut self.range[0];
        *high = high.max(self.fair);
        *low = low.min(self.fair);
        if now_ms >= self.range_until_ms {
            self.range[1] = self.range[0];
            self.range[0] = (self.fair, self.fair);
            self.range_until_ms = now_ms + 60_000;
        }
    }

    /// Begins, drives and ends episodes.
    pub(super) fn follow_episode(&mut self, number: usize, now_ms: i64) -> Option<Happening> {
        let Some(mut episode) = self.episode else {
            let due = (0..3).find(|kind| now_ms >= self.next_ms[*kind])?;
            self.next_ms[due] = now_ms + self.wait_ms(EPISODE_MEAN_S[due]);
            self.episode = Some(self.plan(due, now_ms));
            return None;
        };
        let [push, hold, back] = episode.turns_ms;
        let (goal, until) = match now_ms {
            now if now < push => (episode.target, push),
            now if now < hold => (episode.target, hold),
            _ => (episode.back, back),
        };
        if episode.kind != Kind::Burst {
            let left = ((until - now_ms) as f64 / STEP_MS as f64).max(1.0);
            self.fair *= ((goal / self.fair).ln() / left).exp();
        }
        let further = (self.fair - episode.from).abs() > (episode.extreme - episode.from).abs();
        if further {
            episode.extreme = self.fair;
        }
        self.episode = Some(episode);
        if now_ms < back {
            return None;
        }
        self.episode = None;
        Some(Happening {
            start_ms: episode.start_ms,
            end_ms: now_ms,
            symbol: number,
            kind: episode.kind,
            from_price: episode.from,
            extreme_price: episode.extreme,
        })
    }

    fn plan(&mut self, due: usize, now_ms: i64) -> Episode {
        let from = self.fair;
        let high = self.range[0].0.max(self.range[1].0);
        let low = self.range[0].1.min(self.range[1].1);
        let (kind, target, back, spans) = match due {
            0 => {
                let beyond = self.rng.random_range(0.0012..0.0028);
                let spans = [
                    self.rng.random_range(1_500..3_500),
                    self.rng.random_range(300..1_200),
                    self.rng.random_range(3_000..9_000),
                ];
                if self.rng.random_bool(0.5) {
                    (Kind::SweepUpFails, high * (1.0 + beyond), from * (1.0 - beyond / 2.0), spans)
                } else {
                    (Kind::SweepDownFails, low * (1.0 - beyond), from * (1.0 + beyond / 2.0), spans)
                }
            }
            1 => {
                let rise = self.rng.random_range(0.04..0.12);
                let spans = [
                    self.rng.random_range(25_000..60_000),
                    self.rng.random_range(2_000..8_000),
                    self.rng.random_range(60_000..150_000),
                ];
                (Kind::PumpAndDump, from * (1.0 + rise), from * (1.0 + rise * 0.15), spans)
            }
            _ => (Kind::Burst, from, from, [self.rng.random_range(1_000..2_500), 1, 1]),
        };
        let push = now_ms + spans[0];
        let hold = push + spans[1];
        Episode { kind, start_ms: now_ms, turns_ms: [push, hold, hold + spans[2]], from, target, back, extreme: from }
    }

    /// How much more often trades come, and on which side.
    pub(super) fn episode_flow(&self, now_ms: i64) -> (f64, Option<f64>) {
        let Some(episode) = &self.episode else { return (1.0, None) };
        let pushing = now_ms < episode.turns_ms[0];
        match episode.kind {
            Kind::Burst => (10.0, Some(0.5)),
            Kind::SweepUpFails => (if pushing { 9.0 } else { 4.0 }, Some(if pushing { 0.92 } else { 0.2 })),
            Kind::SweepDownFails => (if pushing { 9.0 } else { 4.0 }, Some(if pushing { 0.08 } else { 0.8 })),
            Kind::PumpAndDump => (if pushing { 12.0 } else { 5.0 }, Some(if pushing { 0.93 } else { 0.25 })),
        }
    }
}
