//! Events → the operations that one atomic step applies, with an id and bytes that never change once assigned.

use super::json::{self, Object};
use super::{Layout, stamp};
use crate::domain::account::{FillEffect, OrderSide};
use crate::domain::event::{Alert, AttributedFill, Event};
use crate::domain::position::HoldSide;
use crate::domain::trap::{TrapDetected, TrapKind};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Format of [`Record`]; a spool of another format is set aside.
pub const RECORD_VERSION: u8 = 1;

const STREAM_MAX: &str = "10000";
const DAY_MS: i64 = 86_400_000;

/// One write of an event. The key's type follows from the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Redis command.
    pub c: String,
    pub k: String,
    /// Arguments after the key.
    pub a: Vec<String>,
}

impl Op {
    fn new<const N: usize>(command: &str, key: &str, args: [&str; N]) -> Self {
        Self { c: command.to_owned(), k: key.to_owned(), a: args.map(str::to_owned).to_vec() }
    }

    /// What `TYPE` must answer for the key, or `none`; an empty text where any will do.
    pub fn key_type(&self) -> &'static str {
        match self.c.as_str() {
            "XADD" => "stream",
            "ZADD" | "ZREMRANGEBYRANK" | "ZREMRANGEBYSCORE" => "zset",
            "HSET" => "hash",
            "LPUSH" | "LTRIM" => "list",
            "SET" => "string",
            _ => "",
        }
    }
}

/// An event as it stands in the spool: retries send the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub v: u8,
    /// Contiguous within one spool.
    pub seq: u64,
    /// Never decreases within one spool; with `seq` it is the id in the stream.
    pub ms: i64,
    /// The same event has the same id, also when it is detected again after a restart.
    pub id: String,
    pub kind: String,
    /// The first one is the stream entry, whose presence proves that the record is applied.
    pub ops: Vec<Op>,
}

impl Record {
    pub fn stream_id(&self) -> String {
        format!("{}-{}", self.ms, self.seq)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` for bytes that no known version wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|r| r.v == RECORD_VERSION)
    }

    /// The id alone, at a fraction of the cost; `None` as for [`Record::from_bytes`].
    pub fn id_in(bytes: &[u8]) -> Option<Cow<'_, str>> {
        #[derive(Deserialize)]
        struct Identity<'a> {
            v: u8,
            #[serde(borrow)]
            id: Cow<'a, str>,
        }
        serde_json::from_slice::<Identity<'_>>(bytes).ok().filter(|r| r.v == RECORD_VERSION).map(|r| r.id)
    }
}

/// Identity of an event, the same for the same fact.
pub fn event_id(layout: &Layout, event: &Event) -> String {
    match event {
        Event::Trap(t) => format!("trap:{}", t.id),
        Event::Fill(f) => format!("fill:{}", f.fill.trade_id),
        Event::Alert(a) => {
            format!("alert:{}:{}:{}:{}", a.code, layout.name_or_empty(a.symbol), a.at_ms, u8::from(a.recovered))
        }
    }
}

/// The event's own time.
pub fn event_ms(event: &Event) -> i64 {
    match event {
        Event::Trap(t) => t.detected_ms,
        Event::Fill(f) => f.fill.exchange_time_ms,
        Event::Alert(a) => a.at_ms,
    }
}

/// The record of `event` with its place in the spool.
pub fn record(layout: &Layout, event: &Event, seq: u64, ms: i64) -> Record {
    let at = Place { seq, ms };
    let (kind, ops) = match event {
        Event::Trap(t) => ("trap", trap_ops(layout, t, at)),
        Event::Fill(f) => ("fill", fill_ops(layout, f, at)),
        Event::Alert(a) => ("alert", alert_ops(layout, a, at)),
    };
    Record { v: RECORD_VERSION, seq, ms, id: event_id(layout, event), kind: kind.to_owned(), ops }
}

/// What stands for events that nobody can recover: stated, never hidden.
pub fn gap_op(first: u64, last: u64, at_ms: i64, why: &str) -> Op {
    let id = format!("gap:{first}-{last}");
    let data = Object::new().int("first", first as i64).int("last", last as i64).text("why", why).end();
    let ts = at_ms.to_string();
    Op::new(
        "XADD",
        "trapline:gaps",
        ["MAXLEN", "~", STREAM_MAX, "*", "kind", "gap", "id", &id, "symbol", "", "ts", &ts, "data", &data],
    )
}

/// A record's number and time: its id in the stream.
#[derive(Clone, Copy)]
struct Place {
    seq: u64,
    ms: i64,
}

/// What every stream entry says about its event.
struct Head<'a> {
    kind: &'a str,
    id: &'a str,
    symbol: &'a str,
    ts: i64,
}

fn stream_op(key: &str, at: Place, head: &Head<'_>, data: &str) -> Op {
    let entry = format!("{}-{}", at.ms, at.seq);
    let ts = head.ts.to_string();
    let Head { kind, id, symbol, .. } = *head;
    Op::new(
        "XADD",
        key,
        ["MAXLEN", "~", STREAM_MAX, &entry, "kind", kind, "id", id, "symbol", symbol, "ts", &ts, "data", data],
    )
}

const fn title(kind: TrapKind) -> &'static str {
    match kind {
        TrapKind::StopHunt => "Stop Hunt",
        TrapKind::LiquidityGrab => "Liquidity Grab",
        TrapKind::FakePump => "Fake Pump",
        TrapKind::FakeDump => "Fake Dump",
        TrapKind::BullTrap => "Bull Trap",
        TrapKind::BearTrap => "Bear Trap",
        TrapKind::Pump => "Pump",
    }
}

/// The shortest of the old timeframes that holds the whole move.
fn timeframe(t: &TrapDetected) -> &'static str {
    match t.detected_ms - t.started_ms {
        ..=60_000 => "1min",
        60_001..=300_000 => "5min",
        300_001..=900_000 => "15min",
        _ => "60min",
    }
}

/// All that is known of a trap; also what the stream carries.
pub fn trap_json(symbol: &str, t: &TrapDetected) -> String {
    Object::new()
        .text("kind", "trap")
        .int("ts", t.detected_ms)
        .text("symbol", symbol)
        .text("type", t.kind.label())
        .raw("probability", &t.probability.map_or_else(|| "null".to_owned(), json::float))
        .float("confidence", t.confidence)
        .decimal("price", t.price)
        .decimal("volume", t.volume)
        .decimal("level", t.level)
        .decimal("extreme", t.extreme)
        .float("change", t.change)
        .int("started_ts", t.started_ms)
        .int("extreme_ts", t.extreme_ms)
        .text("id", &t.id)
        .int("detector_version", i64::from(t.detector_version))
        .raw("evidence", &evidence(t))
        .end()
}

fn evidence(t: &TrapDetected) -> String {
    t.evidence.iter().fold(Object::new(), |o, (name, value)| o.float(name, *value)).end()
}

/// What old readers parse: Title Case, epoch seconds as a number.
fn legacy_trap_json(symbol: &str, t: &TrapDetected) -> String {
    Object::new()
        .text("id", &t.id)
        .text("symbol", symbol)
        .text("type", title(t.kind))
        .text("timeframe", timeframe(t))
        .float("confidence", t.confidence)
        .float("price_change", t.change)
        .decimal("price", t.price)
        .decimal("volume", t.volume)
        .raw("timestamp", &stamp::epoch_seconds(t.detected_ms))
        .text("time", &stamp::iso(t.detected_ms))
        .end()
}

fn trap_ops(layout: &Layout, t: &TrapDetected, at: Place) -> Vec<Op> {
    let keys = layout.of(t.symbol);
    let whole = trap_json(&keys.name, t);
    let member = Object::new()
        .text("type", t.kind.label())
        .float("probability", t.probability.unwrap_or(t.confidence))
        .decimal("price", t.price)
        .decimal("volume", t.volume)
        .text("id", &t.id)
        .text("symbol", &keys.name)
        .int("ts", t.detected_ms)
        .end();
    let score = t.detected_ms.to_string();
    let oldest = (t.detected_ms - 30 * DAY_MS).to_string();
    let hash_key = format!("mm_trap:{}:{}:{}", t.detected_ms.div_euclid(1_000), keys.name, at.seq);
    let change = json::float(t.change);
    let mut ops = vec![
        stream_op(&keys.events, at, &Head { kind: "trap", id: &t.id, symbol: &keys.name, ts: t.detected_ms }, &whole),
        Op::new("ZADD", "trap_events", [&score, &member]),
        Op::new("ZREMRANGEBYRANK", "trap_events", ["0", "-10001"]),
        Op::new("ZREMRANGEBYSCORE", "trap_events", ["-inf", &oldest]),
        Op::new(
            "HSET",
            &hash_key,
            [
                "id",
                &t.id,
                "type",
                t.kind.label(),
                "confidence",
                &json::float(t.confidence),
                "probability",
                &t.probability.map_or_else(String::new, json::float),
                "price",
                &t.price.to_string(),
                "level",
                &t.level.to_string(),
                "extreme",
                &t.extreme.to_string(),
                "change",
                &change,
                "price_change",
                &change,
                "volume",
                &t.volume.to_string(),
                "timestamp",
                &stamp::iso(t.detected_ms),
                "ts_ms",
                &score,
                "started_ms",
                &t.started_ms.to_string(),
                "symbol",
                &keys.name,
                "timeframe",
                timeframe(t),
                "detector_version",
                &t.detector_version.to_string(),
                "evidence",
                &evidence(t),
            ],
        ),
        Op::new("EXPIRE", &hash_key, ["604800"]),
    ];
    // The readers of these three take every price for the primary symbol's.
    if layout.is_primary(t.symbol) {
        let old = legacy_trap_json(&keys.name, t);
        ops.push(Op::new("SET", "latest_mm_trap", [&old]));
        ops.push(Op::new("LPUSH", "recent_mm_traps", [&old]));
        ops.push(Op::new("LTRIM", "recent_mm_traps", ["0", "49"]));
        if t.detected_ms - t.started_ms <= 300_000 {
            ops.push(Op::new("LPUSH", "mm_trap_detections:5min", [&old]));
            ops.push(Op::new("LTRIM", "mm_trap_detections:5min", ["0", "999"]));
        }
    }
    ops
}

fn fill_ops(layout: &Layout, f: &AttributedFill, at: Place) -> Vec<Op> {
    let fill = &f.fill;
    let keys = layout.of(fill.symbol);
    let json = Object::new()
        .text("trade_id", &fill.trade_id)
        .text("symbol", &keys.name)
        .text(
            "side",
            match fill.side {
                OrderSide::Buy => "buy",
                OrderSide::Sell => "sell",
            },
        )
        .text(
            "direction",
            match fill.hold_side {
                Some(HoldSide::Long) => "LONG",
                Some(HoldSide::Short) => "SHORT",
                None => "NET",
            },
        )
        .text(
            "effect",
            match fill.effect {
                FillEffect::Open => "open",
                FillEffect::Close => "close",
                FillEffect::Net => "net",
            },
        )
        .decimal("price", fill.price)
        .decimal("size", fill.size)
        .decimal("fee", fill.fee)
        .decimal("pnl", f.net_profit)
        .text("profile_type", &f.strategy)
        .text("timestamp", &stamp::iso(fill.exchange_time_ms))
        .int("ts_ms", fill.exchange_time_ms)
        .end();
    let list = format!("trader:trades:{}", f.strategy);
    let head = Head { kind: "fill", id: &fill.trade_id, symbol: &keys.name, ts: fill.exchange_time_ms };
    vec![
        stream_op(&keys.events, at, &head, &json),
        Op::new("LPUSH", &list, [&json]),
        Op::new("LTRIM", &list, ["0", "99"]),
    ]
}

fn alert_ops(layout: &Layout, a: &Alert, at: Place) -> Vec<Op> {
    let symbol = layout.name_or_empty(a.symbol);
    let json = Object::new()
        .text("code", &a.code)
        .text("severity", a.severity.label())
        .text("symbol", symbol)
        .text("text", &a.text)
        .int("at_ms", a.at_ms)
        .bool("recovered", a.recovered)
        .end();
    let head = Head { kind: "alert", id: &a.code, symbol, ts: a.at_ms };
    vec![stream_op("trapline:alerts", at, &head, &json), Op::new("PUBLISH", "trapline:alerts", [&json])]
}

#[cfg(test)]
pub(crate) mod tests;
