//! Drives market time: at the wall's pace or a multiple of it, or as fast as the slowest client reads.

use super::config::{Hold, Speed, Stamps};
use super::core::{Core, Shared};
use super::market::{Emit, Source, TimeMap};
use super::outbox::End;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Events taken under one lock, so that sessions get their turn.
const CHUNK: usize = 256;
/// At speed `max`: bytes that may wait for a client before the market waits.
const HIGH_WATER: usize = 256 * 1024;
/// A client that reads nothing for this long at speed `max` is cut, so that it does not stop the others.
const STUCK: Duration = Duration::from_secs(10);
/// The longest sleep: faults, clocks and new symbols are looked at this often.
const NAP: Duration = Duration::from_millis(20);

/// Plays `source`, whose live part begins at `begin_ms`, until the exchange stops.
pub async fn run(shared: Arc<Shared>, source: Box<dyn Source>, begin_ms: i64) {
    tokio::select! {
        () = play(&shared, source, begin_ms) => {}
        () = shared.stopped() => {}
    }
}

async fn play(shared: &Shared, mut source: Box<dyn Source>, begin_ms: i64) {
    held(shared).await;
    let mut emits = Vec::new();
    let mut at_ms = begin_ms;
    loop {
        while !shared.run.load(Ordering::Relaxed) {
            shared.core().running = false;
            let stirred = shared.stirred.notified();
            tokio::select! { () = stirred => {} () = tokio::time::sleep(NAP) => {} }
        }
        let anchor = anchor(shared, at_ms);
        let ended = match shared.config.speed {
            Speed::Times(speed) => paced(shared, source.as_mut(), speed, at_ms, anchor, &mut emits).await,
            Speed::Max => flat_out(shared, source.as_mut(), &mut emits).await,
        };
        at_ms = shared.core().market.advanced_ms();
        if ended {
            break;
        }
    }
    shared.tape_finished.store(true, Ordering::Relaxed);
    tracing::info!("market source is at its end; quotes go on unchanged");
    // The market is quiet from here on, and still there.
    let anchor = anchor(shared, at_ms);
    paced(shared, &mut Nothing, 1.0, at_ms, anchor, &mut emits).await;
}

/// A source that is at its end but never says so: time goes on, nothing happens.
struct Nothing;

impl Source for Nothing {
    fn peek_ms(&mut self) -> Option<i64> {
        Some(i64::MAX)
    }

    fn next(&mut self) -> Option<super::market::Event> {
        None
    }
}

/// Waits until the market may begin.
async fn held(shared: &Shared) {
    match shared.config.hold {
        Hold::No => {}
        Hold::UntilTold => shared.run.store(false, Ordering::Relaxed),
        Hold::UntilSubscribed { settle } => loop {
            let settled = {
                let core = shared.core();
                core.hub.public_listeners() > 0 && core.last_subscribe.is_some_and(|at| at.elapsed() >= settle)
            };
            if settled {
                return;
            }
            tokio::time::sleep(NAP).await;
        },
    }
}

/// Sets the clocks: source time `at_ms` is now.
fn anchor(shared: &Shared, at_ms: i64) -> Instant {
    let config = &shared.config;
    let mut core = shared.core();
    let now_ms = config.start_ms.unwrap_or_else(|| core.clock.now_ms());
    let scale = match (config.speed, config.stamps) {
        (_, Stamps::Market) => 1.0,
        (Speed::Times(speed), Stamps::Fresh) if !shared.tape_finished.load(Ordering::Relaxed) => speed,
        (Speed::Max, Stamps::Fresh) if !shared.tape_finished.load(Ordering::Relaxed) => f64::INFINITY,
        _ => 1.0,
    };
    // Market time that was shown already is not shown again.
    let before = core.market.time();
    let resumed = before.source_ms != 0 || before.shown_ms != 0;
    let shown_ms = match config.stamps {
        Stamps::Market if resumed => before.shown(at_ms),
        _ if resumed => now_ms.max(core.market.now_ms()),
        _ => now_ms,
    };
    core.market.begin(TimeMap { source_ms: at_ms, shown_ms, scale });
    core.running = true;
    Instant::now()
}

/// Plays at a multiple of real time; true at the source's end, false when told to stop.
async fn paced(
    shared: &Shared,
    source: &mut dyn Source,
    speed: f64,
    begin_ms: i64,
    anchor: Instant,
    emits: &mut Vec<Emit>,
) -> bool {
    loop {
        let mut target_ms = begin_ms + (anchor.elapsed().as_secs_f64() * 1_000.0 * speed) as i64;
        let (mut done, mut ended) = (false, false);
        while !done {
            {
                let mut core = shared.core();
                for _ in 0..CHUNK {
                    match source.peek_ms() {
                        Some(ts_ms) if ts_ms <= target_ms => {
                            step(&mut core, source, ts_ms, emits);
                        }
                        next => {
                            done = true;
                            ended = next.is_none();
                            break;
                        }
                    }
                }
                if done {
                    if ended {
                        target_ms = target_ms.max(core.market.advanced_ms() + 1);
                    }
                    core.market.advance(target_ms, emits);
                }
                core.emit(emits);
                super::script::drive(&mut core);
            }
            tokio::task::yield_now().await;
        }
        if ended {
            return true;
        }
        if !shared.run.load(Ordering::Relaxed) {
            return false;
        }
        let next_ms = {
            let core = shared.core();
            source.peek_ms().into_iter().chain(core.market.next_due_ms()).min().unwrap_or(i64::MAX)
        };
        let wait = (next_ms.saturating_sub(target_ms) as f64 / speed / 1_000.0).max(0.0);
        tokio::time::sleep(Duration::from_secs_f64(wait.min(NAP.as_secs_f64())).max(Duration::from_millis(1))).await;
    }
}

/// Takes the next event; frames go out before the state moves on.
fn step(core: &mut Core, source: &mut dyn Source, ts_ms: i64, emits: &mut Vec<Emit>) {
    core.market.advance(ts_ms, emits);
    core.emit(emits);
    if let Some(event) = source.next() {
        core.market.apply(event, emits);
        core.emit(emits);
    }
}

/// Plays as fast as the slowest client reads; true at the source's end, false when told to stop.
async fn flat_out(shared: &Shared, source: &mut dyn Source, emits: &mut Vec<Emit>) -> bool {
    loop {
        if !shared.run.load(Ordering::Relaxed) {
            return false;
        }
        if shared.core().hub.public_listeners() == 0 {
            let stirred = shared.stirred.notified();
            tokio::select! { () = stirred => {} () = tokio::time::sleep(NAP) => {} }
            continue;
        }
        {
            let mut core = shared.core();
            if shared.config.stamps == Stamps::Fresh {
                let now_ms = core.clock.now_ms();
                core.market.raise_floor(now_ms);
            }
            for _ in 0..CHUNK {
                let Some(ts_ms) = source.peek_ms() else {
                    let last_ms = core.market.advanced_ms() + 1;
                    core.market.advance(last_ms, emits);
                    core.emit(emits);
                    return true;
                };
                step(&mut core, source, ts_ms, emits);
            }
            super::script::drive(&mut core);
        }
        back_pressure(shared).await;
    }
}

/// Waits for the slowest client; cuts one that reads nothing at all.
async fn back_pressure(shared: &Shared) {
    tokio::task::yield_now().await;
    let begun = Instant::now();
    loop {
        let drained = shared.drained.notified();
        if shared.core().hub.largest_backlog() < HIGH_WATER {
            return;
        }
        if begun.elapsed() > STUCK {
            let mut core = shared.core();
            let cut = core.hub.end_all(&End::Abrupt, |client| client.outbox.backlog() >= HIGH_WATER);
            core.hub.slow_cut += cut as u64;
            return;
        }
        tokio::select! { () = drained => {} () = tokio::time::sleep(NAP) => {} }
    }
}
