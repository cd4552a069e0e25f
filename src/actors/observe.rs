//! Fills the metrics from the boards, when somebody asks: nothing is counted twice on the way of the data.

use super::status::Sources;
use crate::domain::position::HoldSide;
use crate::store::board::LinkState;
use crate::supervise::RoomState;
use crate::telemetry::metrics::{RoomReading, raise};
use std::sync::atomic::Ordering::Relaxed;

/// Takes every board's present state over into the metrics.
pub(super) fn observe(sources: &Sources, now_ms: i64) {
    let metrics = &sources.metrics;
    for room in sources.health.rooms() {
        metrics.read_room(&RoomReading {
            name: room.name,
            is_running: matches!(room.state, RoomState::Running | RoomState::Draining),
            mailbox_depth: room.depth,
            handled_total: room.handled,
            refused_total: room.refused + room.dropped_oldest,
            progress_age_ms: room.progress_age_ms,
            restarts: &room.restarts,
        });
    }
    for (refusal, total) in sources.rejects.counts() {
        raise(metrics.rejects_total.of(refusal.label()), total);
    }
    raise(&metrics.reconcile_total, sources.reconciles.answered_total());
    raise(&metrics.reconcile_failed_total, sources.reconciles.failed_total());
    raise(&metrics.reconcile_suspicions_total, sources.reconciles.suspicions_total());
    raise(&metrics.clock_answers_refused_total, sources.skew.refused_total());
    metrics.clock_skew_seconds.set(sources.skew.offset_ms() as f64 / 1_000.0);
    let now = sources.clock.instant();
    for (label, private) in [("public", false), ("private", true)] {
        metrics.ws_silence_seconds.of(label).set(sources.heard.silence_s(private, now).unwrap_or(0.0));
    }
    for (channel, age_s) in sources.heard.channels_s(now) {
        metrics.channel_age_seconds.of(channel).set(age_s);
    }
    let board = &sources.board;
    let age_s = |verified_ms: i64| (verified_ms > 0).then(|| (now_ms - verified_ms).max(0) as f64 / 1_000.0);
    let (mut market_age, mut position_age) = (0.0_f64, 0.0_f64);
    let (mut stale_market, mut stale_positions) = (0, 0);
    for symbol in sources.symbols.ids() {
        let market = board.market(symbol).read();
        market_age = market_age.max(age_s(market.verified_ms).unwrap_or(0.0));
        stale_market += i64::from(market.stale);
        for side in HoldSide::BOTH {
            let position = board.position(symbol, side).read();
            position_age = position_age.max(age_s(position.verified_ms).unwrap_or(0.0));
            stale_positions += i64::from(position.stale);
        }
    }
    metrics.key_age_seconds.of("market").set(market_age);
    metrics.key_age_seconds.of("position").set(position_age);
    metrics.stale_keys.of("market").set(stale_market);
    metrics.stale_keys.of("position").set(stale_positions);
    let counts = &board.counts;
    raise(&metrics.clock_steps_total, counts.clock_steps_total.load(Relaxed));
    raise(&metrics.log_dropped_total, crate::telemetry::log::dropped_total());
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    metrics.open_fds.set(i64::try_from(open).unwrap_or(i64::MAX));
    metrics.write_lag_seconds.set(board.write_lag_ms() as f64 / 1_000.0);
    metrics.redis_up.set(i64::from(board.link() == LinkState::Up));
    raise(&metrics.redis_commands_total, counts.state_writes_total.load(Relaxed));
    raise(&metrics.redis_pipelines_total, counts.state_flushes_total.load(Relaxed));
    raise(&metrics.redis_connects_total, counts.connects_total.load(Relaxed));
    raise(&metrics.redis_reconnects_total, counts.connects_total.load(Relaxed).saturating_sub(1));
    metrics.redis_unavailable_seconds.set(board.away_ms(now_ms) as f64 / 1_000.0);
    raise(&metrics.redis_unknown_outcome_total, counts.unknown_outcome_total.load(Relaxed));
    raise(&metrics.redis_half_open_total, counts.half_open_total.load(Relaxed));
    for (label, total) in board.errors() {
        raise(metrics.redis_errors_total.of(label), total);
    }
    raise(&metrics.cursor_rewind_events_total, counts.cursor_rewind_events_total.load(Relaxed));
    raise(&metrics.audit_mismatch_total, counts.audit_mismatch_total.load(Relaxed));
    raise(&metrics.foreign_writes_total, counts.foreign_writes_total.load(Relaxed));
    metrics.quarantined_keys.set(i64::try_from(counts.quarantined_keys.load(Relaxed)).unwrap_or(i64::MAX));
    raise(&metrics.migrated_keys_total, counts.migrated_keys_total.load(Relaxed));
    raise(&metrics.fenced_total, counts.fenced_total.load(Relaxed));
    raise(&metrics.spool_failures_total, counts.spool_failures_total.load(Relaxed));
    raise(&metrics.events_dropped_total, counts.events_dropped_total.load(Relaxed));
    raise(metrics.conflated_total.of("market"), counts.conflated_total.load(Relaxed));
    raise(&metrics.regressions_refused_total, counts.regressed_total.load(Relaxed));
    raise(metrics.shed_total.of("monitoring"), counts.latencies_shed_total.load(Relaxed));
    raise(&metrics.events_written_total, counts.events_published_total.load(Relaxed));
    raise(&metrics.events_unrecoverable_total, counts.events_unrecoverable_total.load(Relaxed));
    metrics.cursor_lag_events.set(i64::try_from(counts.events_pending.load(Relaxed)).unwrap_or(i64::MAX));
    metrics.spool_bytes.set(i64::try_from(counts.spool_bytes.load(Relaxed)).unwrap_or(i64::MAX));
    metrics.spool_durable.set(i64::from(board.spool_durable()));
}
