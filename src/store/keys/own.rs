//! Monitoring and what is trapline's own.

use super::kind::{Field, Kind, count, field, flag, maybe, ms, text, words};
use super::{Bound, Class, Key, Shape};

const WRITER: &str = "redis_writer";

const EVENT_STREAM: &[Field] = &[
    words("kind", &["trap", "fill", "alert", "gap"], ""),
    text("id", "the same event has the same id"),
    text("symbol", "BTCUSDT; empty where it concerns no symbol"),
    ms("ts", "exchange time, or local time for alerts"),
    field("data", Kind::Json, "", "the whole event"),
];

const ALERT: &[Field] = &[
    text("code", "what it is about, a word"),
    words("severity", &["info", "warning", "critical"], ""),
    text("symbol", "BTCUSDT; empty where it concerns no symbol"),
    text("text", "for people"),
    ms("at_ms", ""),
    field("recovered", Kind::Bool, "", "true: it is over"),
];

const BREAKER_CHANGE: &[Field] = &[
    words("state", STATES, ""),
    text("reason", "the limit that opened it, a word; empty when closed"),
    text("symbol", "BTCUSDT; empty where it concerns no symbol"),
    maybe("value", "", "what was seen"),
    maybe("limit", "", "what is allowed"),
    ms("since", ""),
];

const CURSOR: &[Field] = &[
    count("epoch", "the process that wrote last"),
    count("spool", "which spool the offset counts in"),
    count("off", "last applied event"),
];

const STATES: &[&str] = &["closed", "open", "half_open"];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "update_latencies",
        Shape::List,
        Class::Metric,
        WRITER,
        "from frame to Redis' reply, sampled, newest first",
    )
    .value(Kind::Count, "ms")
    .bound(Bound::Items(10_000)),
    Key::new("trapline:{SYMBOL}:events", Shape::Stream, Class::Event, WRITER, "every event of a symbol, in order")
        .fields(EVENT_STREAM)
        .bound(Bound::Items(10_000)),
    Key::new("trapline:alerts", Shape::Stream, Class::Event, WRITER, "every alert")
        .fields(EVENT_STREAM)
        .channel(ALERT)
        .bound(Bound::Items(10_000)),
    Key::new("trapline:breaker", Shape::Hash, Class::State, "circuit_breaker", "whether bots may trade")
        .fields(&[
            words("state", STATES, "anything but closed: do not open a position"),
            text("reason", "the limit that opened it, a word; empty when closed"),
            text("symbol", "BTCUSDT; empty where it concerns no symbol"),
            maybe("value", "", "what was seen"),
            maybe("limit", "", "what is allowed"),
            ms("since", ""),
            count("opened_total", ""),
            ms("timestamp", "when it was written"),
            count("epoch", ""),
        ])
        .channel(BREAKER_CHANGE),
    Key::new(
        "trapline:health",
        Shape::Hash,
        Class::State,
        "health_watchdog",
        "whether the picture may be trusted, and why not",
    )
    .fields(&[
        flag("ready", "1: everything that is watched is fresh and written"),
        ms("timestamp", "when it was written: a dead daemon stops moving it"),
        count("epoch", "which process wrote it"),
        count("stale_keys", "market and position keys that are stale now"),
        text("problems", "words, separated by commas; empty when there is none"),
        words("redis", &["never", "connecting", "up", "down", "refused", "fenced"], "the writer's own connection"),
        text("instance", "name of the daemon"),
    ]),
    Key::new(
        "trapline:epoch",
        Shape::Text,
        Class::State,
        WRITER,
        "the newest process that may write; an older one is fenced",
    )
    .value(Kind::Count, ""),
    Key::new(
        "trapline:cursor",
        Shape::Hash,
        Class::State,
        WRITER,
        "how far events are applied; written in the same step. In a cluster it is written after them, and has besides a \
         field lane:KEY per key that holds events: SPOOL-NUMBER of the last one which that key has confirmed",
    )
    .fields(CURSOR),
    Key::new(
        "{{KEY}}:cursor",
        Shape::Hash,
        Class::State,
        WRITER,
        "in a cluster only: how far the events of KEY are applied; in its slot (the inner braces stand in the name: \
         {trap_events}:cursor), and written in the same step",
    )
    .fields(CURSOR),
    Key::new("trapline:gaps", Shape::Stream, Class::Event, WRITER, "ranges of events that could not be recovered")
        .fields(EVENT_STREAM)
        .bound(Bound::Items(10_000)),
];
