//! Events in a cluster: one lane per key, each with a cursor in the key's own slot, so that both are written in one
//! atomic step and go back together.
//!
//! A record is cut into its lanes' parts, and its order holds within each lane. A lane takes what is newer than its
//! cursor and skips the rest, so a batch may be sent again to all of them. It refuses (GAP) where its cursor is behind
//! what this process knows it to have had: it has lost its tail, which must come before anything newer.

use super::slot::cursor_of;
use crate::store::encode::event::{Op, Record, gap_op};
use crate::store::outbox::Batch;
use crate::store::publish::{Publisher, Sent, is_of_events, sha_of, shared_lua};
use crate::store::resp::Commands;
use crate::store::tag::Tag;
use rustc_hash::FxHashSet;
use std::sync::LazyLock;

/// KEYS: the lane's cursor, its key.
/// ARGV: epoch, spool, the number that the cursor must have reached, the key's type, count of records, records.
///
/// What a record's first operation would add is looked for before it is added: a stream's entry by its id, a list's
/// item by its text (both hold the event's own identity). So a lane whose cursor alone was deleted, or counts in a
/// numbering that has ended, takes nothing twice.
const LANE: &str = concat!(
    shared_lua!(cursor),
    r"if off < tonumber(ARGV[3]) then return {'GAP', string.format('%.0f', off)} end
local have = redis.call('TYPE', KEYS[2]).ok
if ARGV[4] ~= '' and have ~= 'none' and have ~= ARGV[4] then return {'TYPE', KEYS[2], have} end
",
    shared_lua!(held),
    r"local i = 6
for _ = 1, tonumber(ARGV[5]) do
",
    shared_lua!(look),
    r"    if not skip and o == 1 and args[1] == 'LPUSH' and n == 3 then
      if type(redis.pcall('LPOS', args[2], args[3])) == 'number' then skip = true end
    end
",
    shared_lua!(apply)
);

/// KEYS: a key that one record alone writes, and that expires. ARGV: its type, count of operations, operations.
///
/// It has no cursor: the same operations may be done again. The first one tells whether anything can be written.
const LOOSE: &str = r"
local have = redis.call('TYPE', KEYS[1]).ok
if have ~= 'none' and have ~= ARGV[1] then return {'TYPE', KEYS[1], have} end
local i = 3
for o = 1, tonumber(ARGV[2]) do
  local args = {}
  local n = tonumber(ARGV[i])
  for a = 1, n do args[a] = ARGV[i + a] end
  i = i + n + 1
  local res = redis.pcall(unpack(args))
  if type(res) == 'table' and res.err then
    if o == 1 then return redis.error_reply(res.err) end
    return {'OK', '0', args[2] .. ' ' .. res.err}
  end
end
return {'OK', '0'}
";

static SHAS: LazyLock<[String; 2]> = LazyLock::new(|| [LANE, LOOSE].map(sha_of));

/// What goes to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub key: String,
    /// Number, stream id, operations. A loose key has one of them.
    pub records: Vec<(u64, String, Vec<Op>)>,
    /// Written by one record alone, and expires: see [`LOOSE`].
    pub is_loose: bool,
}

impl Part {
    /// The last record of the lane.
    pub fn last(&self) -> u64 {
        self.records.last().map_or(0, |(seq, ..)| *seq)
    }

    fn kind(&self) -> &'static str {
        let mut kinds = self.records.iter().flat_map(|(_, _, ops)| ops).map(Op::key_type);
        kinds.find(|kind| !kind.is_empty()).unwrap_or("")
    }

    /// Encodes the part as one script call; `had` is what its cursor must have reached.
    pub fn encode(&self, out: &mut Commands, who: Publisher, had: u64, whole: bool) {
        let ops = || self.records.iter().flat_map(|(_, _, ops)| ops);
        let op_args: usize = ops().map(|op| 3 + op.a.len()).sum();
        let args = if self.is_loose { 2 + op_args } else { 5 + 3 * self.records.len() + op_args };
        let (keys, script, sha) = if self.is_loose { (1, LOOSE, &SHAS[1]) } else { (2, LANE, &SHAS[0]) };
        out.begin(Tag::Events, 3 + keys + args);
        out.arg(if whole { "EVAL" } else { "EVALSHA" });
        out.arg(if whole { script } else { sha.as_str() });
        out.count(keys as u64);
        if !self.is_loose {
            out.arg(cursor_of(&self.key));
        }
        out.arg(&self.key);
        if self.is_loose {
            out.arg(self.kind());
            out.count(ops().count() as u64);
        } else {
            out.count(who.epoch);
            out.count(who.generation);
            out.count(had);
            out.arg(self.kind());
            out.count(self.records.len() as u64);
        }
        for (seq, id, ops) in &self.records {
            if !self.is_loose {
                out.count(*seq);
                out.arg(id);
                out.count(ops.len() as u64);
            }
            for op in ops {
                out.count(2 + op.a.len() as u64);
                out.arg(&op.c);
                out.arg(&op.k);
                op.a.iter().for_each(|arg| out.arg(arg));
            }
        }
        out.settle();
    }
}

/// Cuts a batch. Parts of `blocked` keys (or of keys whose cursor is blocked) are left out.
pub fn cut(batch: &Batch, blocked: &FxHashSet<String>, now_ms: i64) -> (Vec<Part>, Sent) {
    let (mut parts, mut sent): (Vec<Part>, Sent) = (Vec::new(), Sent::default());
    for (seq, bytes) in batch {
        sent.last = *seq;
        let (id, ops) = match Record::from_bytes(bytes) {
            Some(record) => (record.stream_id(), record.ops),
            None => {
                sent.unreadable += 1;
                sent.lost += 1;
                (String::new(), vec![gap_op(*seq, *seq, now_ms, "its record cannot be read")])
            }
        };
        for op in &ops {
            if blocked.contains(&op.k) || (!blocked.is_empty() && blocked.contains(&cursor_of(&op.k))) {
                sent.left_out += 1;
                continue;
            }
            let is_loose = ops.iter().any(|other| other.k == op.k && other.c == "EXPIRE");
            if is_of_events(op) && !is_loose && !sent.keys.contains(&op.k) {
                sent.keys.push(op.k.clone());
            }
            let part = match parts.iter_mut().position(|part| part.key == op.k) {
                Some(at) => &mut parts[at],
                None => {
                    parts.push(Part { key: op.k.clone(), records: Vec::new(), is_loose });
                    let last = parts.len() - 1;
                    &mut parts[last]
                }
            };
            match part.records.last_mut() {
                Some((last, _, ops)) if last == seq => ops.push(op.clone()),
                _ => part.records.push((*seq, id.clone(), vec![op.clone()])),
            }
        }
    }
    (parts, sent)
}

/// The loose parts of records that Redis has had: no cursor tells whether it still has them.
pub fn loose(batch: &Batch) -> Vec<Part> {
    cut(batch, &FxHashSet::default(), 0).0.into_iter().filter(|part| part.is_loose).collect()
}

/// Encodes the statement that `first..=last` cannot be recovered. It goes by no cursor: that of `trapline:gaps` may be
/// further already, where another lane has lost its tail.
pub fn encode_gap(out: &mut Commands, first: u64, last: u64, now_ms: i64) {
    let op = gap_op(first, last, now_ms, "no longer in the spool");
    out.begin(Tag::Events, 2 + op.a.len());
    out.arg(&op.c);
    out.arg(&op.k);
    op.a.iter().for_each(|arg| out.arg(arg));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Event;
    use crate::store::cluster::slot::slot_of;
    use crate::store::encode::event::{record, tests as events};
    use crate::store::resp::as_words;

    fn batch() -> Batch {
        let trap = |seq: u64| {
            let event = Event::Trap(events::trap(&format!("{seq:016x}"), 0, 1_000 * seq as i64));
            (seq, record(&events::layout(), &event, seq, 1_000 * seq as i64).to_bytes().into())
        };
        vec![trap(7), trap(8), (9, b"nonsense".to_vec().into())]
    }

    #[test]
    fn each_lane_gets_its_records_in_order_and_each_call_is_of_one_slot() {
        let (parts, sent) = cut(&batch(), &FxHashSet::default(), 5);
        assert_eq!((sent.last, sent.unreadable, sent.lost, sent.left_out), (9, 1, 1, 0));
        let seqs = |key: &str| {
            let part = parts.iter().find(|part| part.key == key).unwrap_or_else(|| panic!("no {key}"));
            (part.is_loose, part.records.iter().map(|(seq, _, ops)| (*seq, ops.len())).collect::<Vec<_>>())
        };
        assert_eq!(seqs("trapline:BTCUSDT:events"), (false, vec![(7, 1), (8, 1)]));
        assert_eq!(seqs("trap_events"), (false, vec![(7, 3), (8, 3)]));
        assert_eq!(seqs("trapline:gaps"), (false, vec![(9, 1)]));
        assert_eq!(seqs("mm_trap:8:BTCUSDT:8"), (true, vec![(8, 2)]));
        assert_eq!(loose(&batch()).len(), 2);
        let mut out = Commands::new();
        for part in &parts {
            part.encode(&mut out, Publisher { epoch: 1, generation: 2 }, 6, false);
        }
        let calls = as_words(out.bytes());
        assert_eq!(calls.len(), parts.len());
        for (words, part) in calls.iter().zip(&parts) {
            let count: usize = words[2].parse().expect("a count");
            let keys = &words[3..3 + count];
            assert!(keys.iter().all(|key| slot_of(key.as_bytes()) == slot_of(part.key.as_bytes())), "{keys:?}");
        }
        let lane = calls.iter().find(|words| words[4] == "trapline:gaps").expect("a lane");
        assert_eq!(lane[3..10], ["{trapline:gaps}:cursor", "trapline:gaps", "1", "2", "6", "stream", "1"]);
    }

    #[test]
    fn a_blocked_key_or_cursor_blocks_its_lane_alone() {
        for name in ["trap_events", "{trap_events}:cursor"] {
            let (parts, sent) = cut(&batch(), &std::iter::once(name.to_owned()).collect(), 5);
            assert!(parts.iter().all(|part| part.key != "trap_events") && parts.len() > 3, "case: {name}");
            assert_eq!(sent.left_out, 6, "case: {name}");
        }
    }
}
