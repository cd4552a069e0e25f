//! Metrics in the Prometheus text format. Every name and every set of labels stands here, once; label values come
//! from fixed sets, so that the number of series has a bound whatever the exchange sends.
//!
//! [`Metrics`] is cheap to clone; its counters and gauges are atomics that a room keeps and moves without a lock.

use crate::domain::refusal::Refusal;
use crate::domain::trap::TrapKind;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A gauge of seconds or other fractions.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// The two kinds of connection.
pub const CONNECTIONS: &[&str] = &["public", "private"];
/// Why a connection is made: the first one, or how the one before ended
/// (what a session's end is called).
pub const CONNECT_REASONS: &[&str] = &[
    "start",
    "connect",
    "http",
    "connect_timeout",
    "login_timeout",
    "login_refused",
    "clock_off",
    "logged_out",
    "back_off",
    "no_pong",
    "nothing_heard",
    "silent",
    "bad_frames",
    "oversized",
    "closed",
    "broken",
    "planned",
];
/// Kinds of report, as [`crate::domain::report::Report::kind`] says them.
pub const REPORT_KINDS: &[&str] = &["ticker", "trade", "candle", "positions", "account", "order", "fill"];
/// Classes of keys in Redis.
pub const KEY_CLASSES: &[&str] = &["position", "market", "account", "trap", "strategy", "monitoring"];
/// Failed Redis calls: error replies by their code, and what ends a connection.
pub const REDIS_ERRORS: &[&str] = &[
    "timeout",
    "dropped",
    "tls",
    "garbled",
    "maxclients",
    "auth",
    "noperm",
    "readonly",
    "masterdown",
    "unblocked",
    "loading",
    "busy",
    "tryagain",
    "clusterdown",
    "noreplicas",
    "moved",
    "noscript",
    "oom",
    "misconf",
    "wrong_type",
];
/// Causes of a room's restart, as [`crate::supervise::DeathCause::kind`] says them.
pub const RESTART_CAUSES: &[&str] = &[
    "panic",
    "task_panic",
    "timer_panic",
    "birth_panic",
    "birth_fault",
    "retry",
    "poison",
    "fatal",
    "hang",
    "finished",
    "stopped",
];

/// What stands in for a label value that is not in its set.
pub const OTHER: &str = "other";

/// Rooms that get a series of their own; later ones share [`OTHER`].
pub const ROOMS_MAX: usize = 96;

/// One metric for each value of one label, and one for [`OTHER`].
#[derive(Clone, Debug)]
pub struct Labelled<M> {
    cells: Arc<[(&'static str, M)]>,
}

impl<M> Labelled<M> {
    /// The metric of `value`; an unknown value is counted as [`OTHER`].
    pub fn of(&self, value: &str) -> &M {
        let known = self.cells.iter().find(|(label, _)| *label == value);
        // The last cell is `other`: `Builder::labelled` puts it there.
        &known.unwrap_or(&self.cells[self.cells.len() - 1]).1
    }
}

impl Labelled<Counter> {
    /// Sum over all values.
    pub fn total(&self) -> u64 {
        self.cells.iter().map(|(_, counter)| counter.get()).sum()
    }
}

/// What one room shows at one moment; read from the supervision tree before each scrape.
#[derive(Clone, Debug, Default)]
pub struct RoomReading<'a> {
    pub name: &'a str,
    pub is_running: bool,
    pub mailbox_depth: usize,
    pub handled_total: u64,
    /// Messages its full mailbox did not take.
    pub refused_total: u64,
    pub progress_age_ms: u64,
    /// Total per cause; causes as in [`RESTART_CAUSES`].
    pub restarts: &'a [(&'a str, u64)],
}

type RoomLabel = [(&'static str, String); 1];
type RestartLabels = [(&'static str, String); 2];

#[derive(Debug)]
struct Rooms {
    names: Mutex<Vec<String>>,
    up: Family<RoomLabel, Gauge>,
    mailbox_depth: Family<RoomLabel, Gauge>,
    handled: Family<RoomLabel, Counter>,
    mailbox_refused: Family<RoomLabel, Counter>,
    progress_age: Family<RoomLabel, FloatGauge>,
    restarts: Family<RestartLabels, Counter>,
}

struct Builder {
    registry: Registry,
    names: Vec<&'static str>,
}

impl Builder {
    fn add<M: Metric + Clone>(&mut self, name: &'static str, help: &str, metric: M) -> M {
        self.names.push(name);
        // The text format adds `_total` to counters by itself, and a full stop to the help.
        let plain = name.strip_prefix("trapline_").unwrap_or(name);
        let plain = plain.strip_suffix("_total").or_else(|| plain.strip_suffix("_info")).unwrap_or(plain);
        self.registry.register(plain, help, metric.clone());
        metric
    }

    fn counter(&mut self, name: &'static str, help: &str) -> Counter {
        self.add(name, help, Counter::default())
    }

    fn gauge(&mut self, name: &'static str, help: &str) -> Gauge {
        self.add(name, help, Gauge::default())
    }

    fn seconds(&mut self, name: &'static str, help: &str) -> FloatGauge {
        self.add(name, help, FloatGauge::default())
    }

    fn labelled<M: Clone + Default + Metric + prometheus_client::metrics::TypedMetric>(
        &mut self,
        name: &'static str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Labelled<M> {
        let family = self.add(name, help, Family::<[(&'static str, &'static str); 1], M>::default());
        let values = values.into_iter().chain([OTHER]);
        Labelled { cells: values.map(|value| (value, family.get_or_create_owned(&[(label, value)]))).collect() }
    }
}

macro_rules! metrics {
    ($( $(#[doc = $doc:literal])+ $field:ident : $ty:ty = $name:literal, $make:ident $(($label:literal, $values:expr))? ; )+) => {
        /// Handles of all metrics. Cloning shares them.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            $( $(#[doc = $doc])+ pub $field: $ty, )+
            rooms: Arc<Rooms>,
            resident_memory: Gauge,
            registry: Arc<Registry>,
            names: Arc<[&'static str]>,
        }

        impl Metrics {
            pub fn new() -> Self {
                let mut b = Builder { registry: Registry::with_prefix("trapline"), names: Vec::new() };
                $( let $field = b.$make($name, concat!($($doc),+).trim().trim_end_matches('.') $(, $label, $values)?); )+
                let rooms = Arc::new(Rooms {
                    names: Mutex::new(Vec::new()),
                    up: b.add("trapline_actor_up", "1 while the room takes messages", Family::default()),
                    mailbox_depth: b.add("trapline_mailbox_depth", "Messages waiting", Family::default()),
                    handled: b.add("trapline_actor_handled_total", "Messages handled", Family::default()),
                    mailbox_refused: b.add("trapline_mailbox_refused_total", "Messages that a full mailbox did not take", Family::default()),
                    progress_age: b.add("trapline_actor_progress_age_seconds", "Time since the last sign of progress", Family::default()),
                    restarts: b.add("trapline_actor_restarts_total", "Restarts by cause", Family::default()),
                });
                let resident_memory = b.gauge("trapline_resident_memory_bytes", "Memory in use");
                b.add(
                    "trapline_build_info",
                    "Version of this program",
                    Known(Arc::new(Info::new([("version", env!("CARGO_PKG_VERSION"))]))),
                );
                Self {
                    $($field,)+
                    rooms,
                    resident_memory,
                    registry: Arc::new(b.registry),
                    names: b.names.into(),
                }
            }
        }
    };
}

metrics! {
    /// Reports that passed every rule.
    accepted_total: Labelled<Counter> = "trapline_accepted_total", labelled("kind", REPORT_KINDS.iter().copied());
    /// Reports and frames refused, by reason.
    rejects_total: Labelled<Counter> = "trapline_rejects_total", labelled("reason", Refusal::ALL.iter().map(|r| r.label()));
    /// Connections made to the exchange's sockets, by why: the first ones, and how the one before ended.
    ws_connects_total: Labelled<Counter> = "trapline_ws_connects_total", labelled("reason", CONNECT_REASONS.iter().copied());
    /// Time since the last frame on the quietest connection.
    ws_silence_seconds: Labelled<FloatGauge> = "trapline_ws_silence_seconds", labelled("connection", CONNECTIONS.iter().copied());
    /// Time since the last data on the quietest subscription of a channel.
    channel_age_seconds: Labelled<FloatGauge> = "trapline_channel_age_seconds", labelled("channel", REPORT_KINDS.iter().copied());
    /// Logins that the exchange refused.
    login_failures_total: Counter = "trapline_login_failures_total", counter;
    /// Holes in a symbol's trades that the history after a reconnect did not close.
    seq_gaps_total: Counter = "trapline_seq_gaps_total", counter;
    /// The exchange's clock minus ours.
    clock_skew_seconds: FloatGauge = "trapline_clock_skew_seconds", seconds;
    /// Rounds of asking the exchange for the truth.
    reconcile_total: Counter = "trapline_reconcile_total", counter;
    /// Such rounds without a usable answer.
    reconcile_failed_total: Counter = "trapline_reconcile_failed_total", counter;
    /// Such rounds that doubt asked for: a second witness was wanted.
    reconcile_suspicions_total: Counter = "trapline_reconcile_suspicions_total", counter;
    /// Oldest age among the keys of a class.
    key_age_seconds: Labelled<FloatGauge> = "trapline_key_age_seconds", labelled("class", KEY_CLASSES.iter().copied());
    /// Keys marked stale.
    stale_keys: Labelled<Gauge> = "trapline_stale_keys", labelled("class", KEY_CLASSES.iter().copied());
    /// State of the circuit breaker: 0 closed, 1 half open, 2 open.
    breaker_state: Gauge = "trapline_breaker_state", gauge;
    /// Times the breaker opened.
    breaker_opened_total: Counter = "trapline_breaker_opened_total", counter;
    /// Traps detected.
    traps_total: Labelled<Counter> = "trapline_traps_total", labelled("type", TrapKind::ALL.iter().map(|k| k.label()));
    /// 1 while Redis answers.
    redis_up: Gauge = "trapline_redis_up", gauge;
    /// Commands that Redis confirmed.
    redis_commands_total: Counter = "trapline_redis_commands_total", counter;
    /// From the arrival of a value's frame to Redis's confirmation, newest sample; all of them: `update_latencies`.
    write_lag_seconds: FloatGauge = "trapline_write_lag_seconds", seconds;
    /// Pipelines that Redis confirmed.
    redis_pipelines_total: Counter = "trapline_redis_pipelines_total", counter;
    /// Connections made to Redis.
    redis_connects_total: Counter = "trapline_redis_connects_total", counter;
    /// Connections made to Redis after the first one.
    redis_reconnects_total: Counter = "trapline_redis_reconnects_total", counter;
    /// How long Redis has taken no writes, 0 while it takes them.
    redis_unavailable_seconds: FloatGauge = "trapline_redis_unavailable_seconds", seconds;
    /// Writes whose answer was lost with the connection; each was sent again.
    redis_unknown_outcome_total: Counter = "trapline_redis_unknown_outcome_total", counter;
    /// Connections given up because they were silent twice in a row.
    redis_half_open_total: Counter = "trapline_redis_half_open_total", counter;
    /// Failed Redis calls, by code.
    redis_errors_total: Labelled<Counter> = "trapline_redis_errors_total", labelled("code", REDIS_ERRORS.iter().copied());
    /// Values replaced by a newer one before they were written.
    conflated_total: Labelled<Counter> = "trapline_conflated_total", labelled("class", KEY_CLASSES.iter().copied());
    /// Writes that Redis held to be older than what it has.
    regressions_refused_total: Counter = "trapline_regressions_refused_total", counter;
    /// Values of a metric list or window given up under pressure.
    shed_total: Labelled<Counter> = "trapline_shed_total", labelled("class", KEY_CLASSES.iter().copied());
    /// Fills handed on before their slot, because too many waited for theirs.
    fills_early_total: Counter = "trapline_fills_early_total", counter;
    /// Events that Redis has, each counted once.
    events_written_total: Counter = "trapline_events_written_total", counter;
    /// Events lost because spool and Redis had both lost them; should stay 0.
    events_unrecoverable_total: Counter = "trapline_events_unrecoverable_total", counter;
    /// Steps of the wall clock that were noticed; ages and limits do not follow them, stamps do.
    clock_steps_total: Counter = "trapline_clock_steps_total", counter;
    /// Answers about the exchange's time that were too long under way to set a clock by.
    clock_answers_refused_total: Counter = "trapline_clock_answers_refused_total", counter;
    /// Log lines given up because nobody read them.
    log_dropped_total: Counter = "trapline_log_dropped_total", counter;
    /// Descriptors in use.
    open_fds: Gauge = "trapline_open_fds", gauge;
    /// Events that Redis had, lost, and was sent again.
    cursor_rewind_events_total: Counter = "trapline_cursor_rewind_events_total", counter;
    /// Keys that others deleted or took fields from, one each time that ours is written again there.
    audit_mismatch_total: Counter = "trapline_audit_mismatch_total", counter;
    /// Values in our keys that another program wrote.
    foreign_writes_total: Counter = "trapline_foreign_writes_total", counter;
    /// Keys left out for now: a foreign type, or a missing right.
    quarantined_keys: Gauge = "trapline_quarantined_keys", gauge;
    /// Keys of a foreign type renamed to legacy:KEY:TIME.
    migrated_keys_total: Counter = "trapline_migrated_keys_total", counter;
    /// Times that a newer daemon took these keys over.
    fenced_total: Counter = "trapline_fenced_total", counter;
    /// Commits of the spool that the disk refused.
    spool_failures_total: Counter = "trapline_spool_failures_total", counter;
    /// Events dropped because disk and memory were full.
    events_dropped_total: Counter = "trapline_events_dropped_total", counter;
    /// Events in the spool that Redis does not have yet.
    cursor_lag_events: Gauge = "trapline_cursor_lag_events", gauge;
    /// Disk space of the spool.
    spool_bytes: Gauge = "trapline_spool_bytes", gauge;
    /// 1 while events are made durable on disk, 0 while they are kept in memory only.
    spool_durable: Gauge = "trapline_spool_durable", gauge;
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Counts a refusal.
    pub fn reject(&self, refusal: Refusal) {
        self.rejects_total.of(refusal.label()).inc();
    }

    /// Takes over what one room shows.
    pub fn read_room(&self, reading: &RoomReading<'_>) {
        let rooms = &self.rooms;
        let room = self.room_name(reading.name);
        let label = [("actor", room.clone())];
        rooms.up.get_or_create(&label).set(i64::from(reading.is_running));
        rooms.mailbox_depth.get_or_create(&label).set(i64::try_from(reading.mailbox_depth).unwrap_or(i64::MAX));
        rooms.progress_age.get_or_create(&label).set(reading.progress_age_ms as f64 / 1_000.0);
        raise(&rooms.handled.get_or_create(&label), reading.handled_total);
        raise(&rooms.mailbox_refused.get_or_create(&label), reading.refused_total);
        for (cause, total) in reading.restarts {
            let cause = RESTART_CAUSES.iter().find(|known| *known == cause).unwrap_or(&OTHER);
            let labels = [("actor", room.clone()), ("cause", (*cause).to_owned())];
            raise(&rooms.restarts.get_or_create(&labels), *total);
        }
    }

    fn room_name(&self, name: &str) -> String {
        let mut names = self.rooms.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.iter().any(|known| known == name) {
            return name.to_owned();
        }
        if names.len() >= ROOMS_MAX {
            return OTHER.to_owned();
        }
        names.push(name.to_owned());
        name.to_owned()
    }

    /// Names of all metrics, as they are scraped (histograms without their suffixes).
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// The text that `/metrics` answers, `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn encode(&self) -> String {
        self.resident_memory.set(resident_bytes().unwrap_or(0));
        let mut text = String::with_capacity(16_384);
        // Writing into a String cannot fail.
        _ = encode(&mut text, &self.registry);
        text
    }
}

/// Lifts a counter to a total that only grows.
pub(crate) fn raise(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}

/// Resident memory as the kernel counts it; `None` where there is no /proc.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok().map(|kib| kib * 1_024)
}

/// [`Info`] cannot be cloned; this can.
#[derive(Clone, Debug)]
struct Known(Arc<Info<[(&'static str, &'static str); 1]>>);

impl prometheus_client::encoding::EncodeMetric for Known {
    fn encode(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> prometheus_client::metrics::MetricType {
        self.0.metric_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(text: &str) -> usize {
        text.lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn every_declared_metric_is_scraped_under_its_name_once() {
        let metrics = Metrics::new();
        metrics.read_room(&RoomReading { name: "validator", restarts: &[("panic", 2)], ..RoomReading::default() });
        let text = metrics.encode();
        for name in metrics.names() {
            let shown = text
                .lines()
                .any(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
            assert!(shown || text.contains(&format!("{name}_bucket{{")), "{name} is not in:\n{text}");
            assert_eq!(metrics.names().iter().filter(|other| *other == name).count(), 1, "{name} stands twice");
        }
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            assert!(line.starts_with("# TYPE trapline_"), "{line}");
            assert!(!line.contains("_total"), "the format adds _total by itself: {line}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains(r#"trapline_actor_restarts_total{actor="validator",cause="panic"} 2"#), "{text}");
    }

    #[test]
    fn counts_reach_the_text() {
        let metrics = Metrics::new();
        metrics.clone().reject(Refusal::Stale);
        metrics.accepted_total.of("trade").inc_by(3);
        metrics.traps_total.of("pump").inc();
        metrics.key_age_seconds.of("position").set(1.5);
        metrics.write_lag_seconds.set(0.003);
        let text = metrics.encode();
        for line in [
            r#"trapline_rejects_total{reason="stale"} 1"#,
            r#"trapline_accepted_total{kind="trade"} 3"#,
            r#"trapline_traps_total{type="pump"} 1"#,
            r#"trapline_key_age_seconds{class="position"} 1.5"#,
            "trapline_write_lag_seconds 0.003",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        assert_eq!(metrics.rejects_total.total(), 1);
    }

    #[test]
    fn no_input_makes_the_number_of_series_grow_without_bound() {
        let metrics = Metrics::new();
        let before = series(&metrics.encode());
        for i in 0..10_000 {
            metrics.redis_errors_total.of(&format!("ERR{i}")).inc();
            metrics.accepted_total.of(&format!("kind{i}")).inc();
        }
        assert_eq!(series(&metrics.encode()), before);
        assert_eq!(metrics.redis_errors_total.of(OTHER).get(), 10_000);
        let causes: Vec<String> = (0..50).map(|i| format!("cause{i}")).collect();
        let causes: Vec<(&str, u64)> = causes.iter().map(|cause| (cause.as_str(), 1)).collect();
        for i in 0..1_000 {
            metrics.read_room(&RoomReading { name: &format!("room{i}"), restarts: &causes, ..RoomReading::default() });
        }
        let per_room = 5 + RESTART_CAUSES.len() + 1;
        let after = series(&metrics.encode());
        assert!(after <= before + (ROOMS_MAX + 1) * per_room, "{after} series");
    }
}
