//! One batch of events in one atomic step, and what the answer means.
//!
//! The cursor is written in the same script as the data, so they go back and come back together: after a power loss, an
//! empty restart or a restored backup the cursor says exactly what is there. A batch that was applied but whose answer
//! was lost is skipped record by record when it comes again.

use super::encode::event::{Op, Record, gap_op};
use super::outbox::Batch;
use super::resp::Commands;
use super::tag::Tag;
use redis::Value;
use rustc_hash::FxHashSet;

/// What the scripts of one server and of a cluster's lanes share, so that a record is applied in one way only.
macro_rules! shared_lua {
    (cursor) => {
        r"
local cur = redis.pcall('HMGET', KEYS[1], 'epoch', 'spool', 'off')
if cur.err then return redis.error_reply(cur.err) end
if cur[1] and tonumber(cur[1]) > tonumber(ARGV[1]) then return {'FENCED', cur[1]} end
local off = 0
if cur[2] == ARGV[2] then off = tonumber(cur[3] or '0') or 0
elseif cur[2] and tonumber(cur[2]) > tonumber(ARGV[2]) then return {'SPOOL', cur[2]} end
"
    };
    (held) => {
        r"local held = redis.pcall('HSET', KEYS[1], 'epoch', ARGV[1], 'spool', ARGV[2])
if type(held) == 'table' and held.err then return redis.error_reply(held.err) end
local refused = {}
local function attempt(args)
  local res = redis.pcall(unpack(args))
  if type(res) == 'table' and res.err then return res.err end
  return nil
end
"
    };
    (look) => {
        r"  local seq, id, ops = tonumber(ARGV[i]), ARGV[i + 1], tonumber(ARGV[i + 2])
  i = i + 3
  local skip = seq <= off
  for o = 1, ops do
    local args = {}
    local n = tonumber(ARGV[i])
    for a = 1, n do args[a] = ARGV[i + a] end
    i = i + n + 1
    if not skip and o == 1 and args[1] == 'XADD' and args[6] == id then
      local there = redis.pcall('XRANGE', args[2], id, id)
      if type(there) == 'table' and not there.err and #there > 0 then skip = true end
    end
"
    };
    (apply) => {
        r"    if not skip then
      local err = attempt(args)
      if err and args[1] == 'XADD' and args[6] ~= '*' then
        local info = redis.pcall('XINFO', 'STREAM', args[2])
        if type(info) == 'table' and not info.err then
          for f = 1, #info, 2 do
            if info[f] == 'last-generated-id' then
              local ms, n = string.match(info[f + 1], '^(%d+)%-(%d+)$')
              if ms then
                args[6] = ms .. '-' .. string.format('%.0f', tonumber(n) + 1)
                err = attempt(args)
              end
            end
          end
        end
      end
      if err then refused[#refused + 1] = args[2] .. ' ' .. err end
    end
  end
  if seq > off then off = seq end
end
redis.call('HSET', KEYS[1], 'off', string.format('%.0f', off))
return {'OK', string.format('%.0f', off), unpack(refused, 1, math.min(#refused, 16))}
"
    };
}
pub(super) use shared_lua;

/// KEYS: the cursor, then every key that is touched.
/// ARGV: epoch, spool, first seq, 1 = a stated gap may be jumped, types, records.
///
/// The first write is the cursor's own: a full or read-only Redis refuses there, before anything is applied. After
/// that a failing operation is reported and the others go on; the stream entry, written first, proves that a record is
/// applied even if the cursor key alone was deleted.
pub const SCRIPT: &str = concat!(
    shared_lua!(cursor),
    r"local first = tonumber(ARGV[3])
if first > off + 1 then
  if ARGV[4] ~= '1' then return {'GAP', string.format('%.0f', off)} end
  off = first - 1
end
local i = 6
for _ = 1, tonumber(ARGV[5]) do
  local have = redis.call('TYPE', ARGV[i]).ok
  if have ~= 'none' and have ~= ARGV[i + 1] then return {'TYPE', ARGV[i], have} end
  i = i + 2
end
",
    shared_lua!(held),
    r"local records = tonumber(ARGV[i])
i = i + 1
for _ = 1, records do
",
    shared_lua!(look),
    shared_lua!(apply)
);

pub const CURSOR: &str = "trapline:cursor";

/// SHA-1 of the script, as EVALSHA wants it. It names a cached script; nothing rests on its strength.
pub fn script_sha() -> &'static str {
    static SHA: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| sha_of(SCRIPT));
    &SHA
}

pub(super) fn sha_of(script: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, script.as_bytes());
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Adds to a key that holds events.
pub(super) fn is_of_events(op: &Op) -> bool {
    matches!(op.c.as_str(), "XADD" | "ZADD" | "LPUSH")
}

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publisher {
    pub epoch: u64,
    pub generation: u64,
}

/// Ways to send a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// The cursor may be moved up to the batch's beginning.
    pub jump: bool,
    /// The script itself is sent, not its digest.
    pub whole: bool,
}

/// How a batch went out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub last: u64,
    /// Operations left out since their key is quarantined.
    pub left_out: u64,
    /// Records whose bytes cannot be read.
    pub unreadable: u64,
    /// Events that this batch states to be lost.
    pub lost: u64,
    /// Keys that hold events and do not expire.
    pub keys: Vec<String>,
    /// Every key that the batch writes.
    pub touched: Vec<String>,
}

/// Encodes `batch` as one script call. Operations on `blocked` keys are left out.
pub fn encode(
    out: &mut Commands,
    who: Publisher,
    batch: &Batch,
    blocked: &FxHashSet<String>,
    how: How,
    now_ms: i64,
) -> Sent {
    let mut sent = Sent::default();
    let mut records = Vec::with_capacity(batch.len());
    for (seq, bytes) in batch {
        sent.last = *seq;
        let Some(mut record) = Record::from_bytes(bytes) else {
            sent.unreadable += 1;
            sent.lost += 1;
            records.push((*seq, String::new(), vec![gap_op(*seq, *seq, now_ms, "its record cannot be read")]));
            continue;
        };
        let before = record.ops.len();
        record.ops.retain(|op| !blocked.contains(&op.k));
        sent.left_out += (before - record.ops.len()) as u64;
        for op in &record.ops {
            if !sent.touched.contains(&op.k) {
                sent.touched.push(op.k.clone());
            }
            if is_of_events(op) && !sent.keys.contains(&op.k) {
                sent.keys.push(op.k.clone());
            }
        }
        records.push((*seq, record.stream_id(), record.ops));
    }
    let first = batch.first().map_or(1, |(seq, _)| *seq);
    write(out, who, first, how, &records);
    sent
}

/// Encodes the statement that `first..=last` cannot be recovered, and moves the cursor past it.
pub fn encode_gap(out: &mut Commands, who: Publisher, first: u64, last: u64, now_ms: i64, whole: bool) -> Sent {
    let op = gap_op(first, last, now_ms, "no longer in the spool");
    write(out, who, last, How { jump: true, whole }, &[(last, String::new(), vec![op])]);
    Sent { last, lost: last + 1 - first, ..Sent::default() }
}

fn write(out: &mut Commands, who: Publisher, first: u64, How { jump, whole }: How, records: &[(u64, String, Vec<Op>)]) {
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for op in records.iter().flat_map(|(_, _, ops)| ops) {
        match keys.iter_mut().find(|(key, _)| *key == op.k) {
            Some((_, kind)) if kind.is_empty() => *kind = op.key_type(),
            Some(_) => {}
            None => keys.push((&op.k, op.key_type())),
        }
    }
    let typed: Vec<_> = keys.iter().filter(|(_, kind)| !kind.is_empty()).collect();
    let per_record = |ops: &[Op]| 3 + ops.iter().map(|op| 3 + op.a.len()).sum::<usize>();
    let args = 6 + 2 * typed.len() + records.iter().map(|(_, _, ops)| per_record(ops)).sum::<usize>();
    out.begin(Tag::Events, 3 + 1 + keys.len() + args);
    if whole {
        out.arg("EVAL");
        out.arg(SCRIPT);
    } else {
        out.arg("EVALSHA");
        out.arg(script_sha());
    }
    out.count(1 + keys.len() as u64);
    out.arg(CURSOR);
    for (key, _) in &keys {
        out.arg(key);
    }
    out.count(who.epoch);
    out.count(who.generation);
    // A jump over a gap begins one earlier: the statement itself takes the last number of the gap.
    out.count(first);
    out.arg(if jump { "1" } else { "0" });
    out.count(typed.len() as u64);
    for (key, kind) in typed {
        out.arg(key);
        out.arg(kind);
    }
    out.count(records.len() as u64);
    for (seq, id, ops) in records {
        out.count(*seq);
        out.arg(id);
        out.count(ops.len() as u64);
        for op in ops {
            out.count(2 + op.a.len() as u64);
            out.arg(&op.c);
            out.arg(&op.k);
            for arg in &op.a {
                out.arg(arg);
            }
        }
    }
    out.settle();
}

/// The script's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Everything up to `off` is applied; `refused` names operations that were not.
    Applied { off: u64, refused: Vec<String> },
    /// The batch begins after something that is missing.
    Gap { off: u64 },
    /// A newer process publishes.
    Fenced,
    /// The cursor counts in a newer spool.
    NewerSpool(u64),
    /// A key holds another type; nothing was applied.
    WrongType { key: String, have: String },
}

impl Answer {
    pub fn of(value: &Value) -> Option<Self> {
        let Value::Array(items) = value else { return None };
        let text = |i: usize| items.get(i).and_then(super::reply::text);
        let number = |i: usize| text(i).and_then(|t| t.parse().ok());
        Some(match text(0)? {
            "OK" => Self::Applied {
                off: number(1)?,
                refused: (2..items.len()).filter_map(text).map(str::to_owned).collect(),
            },
            "GAP" => Self::Gap { off: number(1)? },
            "FENCED" => Self::Fenced,
            "SPOOL" => Self::NewerSpool(number(1)?),
            "TYPE" => Self::WrongType { key: text(1)?.to_owned(), have: text(2)?.to_owned() },
            _ => return None,
        })
    }
}
