//! Monitoring and what is trapline's own.

use super::{Bound, Class, Field, Key, Shape, field};

const WRITER: &str = "redis_writer";

const EVENT_STREAM: &[Field] = &[
    field("kind", "trap|fill|alert|gap", ""),
    field("id", "text", "the same event has the same id"),
    field("symbol", "BTCUSDT", "empty where it concerns no symbol"),
    field("ts", "ms", "exchange time, or local time for alerts"),
    field("data", "JSON", "the whole event"),
];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "update_latencies",
        Shape::List,
        Class::Metric,
        WRITER,
        "ms from frame to Redis' reply, sampled, newest first",
    )
    .bound(Bound::Items(10_000)),
    Key::new("trapline:{SYMBOL}:events", Shape::Stream, Class::Event, WRITER, "every event of a symbol, in order")
        .fields(EVENT_STREAM)
        .bound(Bound::Items(10_000)),
    Key::new(
        "trapline:alerts",
        Shape::Stream,
        Class::Event,
        WRITER,
        "every alert; also published on the channel of this name",
    )
    .fields(EVENT_STREAM)
    .bound(Bound::Items(10_000)),
    Key::new(
        "trapline:breaker",
        Shape::Hash,
        Class::State,
        "circuit_breaker",
        "whether bots may trade; changes are also published here",
    )
    .fields(&[
        field("state", "closed|open|half_open", ""),
        field("reason", "word", "the limit that opened it; empty when closed"),
        field("symbol", "BTCUSDT", ""),
        field("value", "", "what was seen"),
        field("limit", "", "what is allowed"),
        field("since", "ms", ""),
        field("opened_total", "count", ""),
        field("timestamp", "ms", "when it was written"),
        field("epoch", "count", ""),
    ]),
    Key::new(
        "trapline:health",
        Shape::Hash,
        Class::State,
        "health_watchdog",
        "whether the picture may be trusted, and why not",
    )
    .fields(&[
        field("ready", "0/1", ""),
        field("timestamp", "ms", "when it was written: a dead daemon stops moving it"),
        field("epoch", "count", ""),
        field("instance", "text", ""),
    ]),
    Key::new(
        "trapline:epoch",
        Shape::Text,
        Class::State,
        WRITER,
        "the newest process that may write; an older one is fenced",
    ),
    Key::new(
        "trapline:cursor",
        Shape::Hash,
        Class::State,
        WRITER,
        "how far events are applied; written in the same step",
    )
    .fields(&[
        field("epoch", "count", "the process that wrote last"),
        field("spool", "count", "which spool the offset counts in"),
        field("off", "count", "last applied event"),
    ]),
    Key::new("trapline:gaps", Shape::Stream, Class::Event, WRITER, "ranges of events that could not be recovered")
        .fields(EVENT_STREAM)
        .bound(Bound::Items(10_000)),
];
