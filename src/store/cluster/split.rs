//! Commands cut into what one node can take: units of one slot each, and how their replies become the callers' again.

use super::slot::slot_of;
use crate::store::link::LinkError;
use crate::store::reply::Reply;
use crate::store::resp::Commands;
use redis::Value;
use std::ops::Range;

/// What is sent to one node and, where it has to go elsewhere, sent again as a whole.
#[derive(Debug)]
pub struct Unit {
    pub bytes: Vec<u8>,
    /// `None`: any node will do.
    pub slot: Option<u16>,
    /// The keys it names: what of one key belongs in the order of sending.
    pub keys: Vec<Box<[u8]>>,
    /// Replies of one sending.
    pub replies: usize,
}

/// How the replies of a group's units are handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// One unit, its replies as they are: a command, or a transaction with all of its steps.
    Same,
    /// EXISTS: counts are added.
    Sum,
    /// MSET: well if all went well.
    All,
}

/// The units behind one command, or behind one transaction.
#[derive(Debug)]
pub struct Group {
    pub units: Range<usize>,
    pub join: Join,
}

/// One flush.
#[derive(Debug, Default)]
pub struct Plan {
    pub units: Vec<Unit>,
    pub groups: Vec<Group>,
}

/// Words of one encoded command; as places in the bytes.
struct Command<'a> {
    bytes: &'a [u8],
    words: Vec<&'a [u8]>,
}

/// Takes the first command off `bytes`, which this program has encoded itself.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<Command<'a>> {
    fn number(bytes: &[u8], at: &mut usize, kind: u8) -> Option<usize> {
        let end = *at + bytes.get(*at..)?.windows(2).position(|w| w == b"\r\n")?;
        let text = bytes.get(*at..end)?;
        let text = text.strip_prefix(&[kind])?;
        *at = end + 2;
        std::str::from_utf8(text).ok()?.parse().ok()
    }
    let mut at = 0;
    let count = number(bytes, &mut at, b'*')?;
    let mut words = Vec::with_capacity(count.min(1_024));
    for _ in 0..count {
        let length = number(bytes, &mut at, b'$')?;
        words.push(bytes.get(at..at + length)?);
        at += length + 2;
    }
    let (command, rest) = bytes.split_at_checked(at)?;
    *bytes = rest;
    Some(Command { bytes: command, words })
}

/// The keys of a command; none: any node will do.
fn keys<'a>(words: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let word = |i: usize| words.get(i).copied();
    match words.first().copied().unwrap_or_default() {
        b"EVAL" | b"EVALSHA" => {
            let count = word(2).and_then(|n| std::str::from_utf8(n).ok()?.parse().ok()).unwrap_or(0);
            words.iter().skip(3).take(count).copied().collect()
        }
        b"RENAME" => words.iter().skip(1).take(2).copied().collect(),
        // A channel has no slot; the cluster's bus carries the message to every node.
        b"PUBLISH" | b"PING" | b"INFO" | b"CLUSTER" | b"CLIENT" | b"MULTI" | b"EXEC" => Vec::new(),
        _ => word(1).into_iter().collect(),
    }
}

/// The keys' slot. Keys of two slots in one step are a fault of this program, told before anything is sent.
fn slot(keys: &[Box<[u8]>], name: &[u8]) -> Result<Option<u16>, LinkError> {
    let mut slots = keys.iter().map(|key| slot_of(key));
    let Some(first) = slots.next() else { return Ok(None) };
    if slots.all(|slot| slot == first) {
        return Ok(Some(first));
    }
    Err(LinkError::CrossSlot(String::from_utf8_lossy(name).into_owned()))
}

fn encoded(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Commands::new();
    out.begin(crate::store::tag::Tag::Control, words.len());
    words.iter().for_each(|word| out.arg(word));
    out.bytes().to_vec()
}

impl Plan {
    /// Cuts what is to be sent. Every command is in exactly one group, in order.
    pub fn of(mut bytes: &[u8]) -> Result<Self, LinkError> {
        let mut plan = Self::default();
        while !bytes.is_empty() {
            let command = next(&mut bytes).ok_or(LinkError::CrossSlot("a command that cannot be read".to_owned()))?;
            let name = command.words[0];
            match name {
                b"MSET" if command.words.len() > 3 => {
                    plan.split(command.words[1..].chunks(2), name, Join::All)?;
                }
                b"EXISTS" if command.words.len() > 2 => {
                    plan.split(command.words[1..].chunks(1), name, Join::Sum)?;
                }
                b"MULTI" => {
                    let (mut all, mut named, mut replies) = (command.bytes.to_vec(), Vec::new(), 1);
                    while let Some(step) = next(&mut bytes) {
                        all.extend_from_slice(step.bytes);
                        named.extend(keys(&step.words));
                        replies += 1;
                        if step.words[0] == b"EXEC" {
                            break;
                        }
                    }
                    plan.group(vec![(all, named)], replies, name, Join::Same)?;
                }
                _ => plan.group(vec![(command.bytes.to_vec(), keys(&command.words))], 1, name, Join::Same)?,
            }
        }
        Ok(plan)
    }

    fn split<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [&'a [u8]]>,
        name: &'a [u8],
        join: Join,
    ) -> Result<(), LinkError> {
        let parts = parts.map(|part| (encoded(&[&[name], part].concat()), vec![part[0]])).collect();
        self.group(parts, 1, name, join)
    }

    fn group(
        &mut self,
        parts: Vec<(Vec<u8>, Vec<&[u8]>)>,
        replies: usize,
        name: &[u8],
        join: Join,
    ) -> Result<(), LinkError> {
        let from = self.units.len();
        for (bytes, keys) in parts {
            let keys: Vec<Box<[u8]>> = keys.into_iter().map(Box::from).collect();
            self.units.push(Unit { bytes, slot: slot(&keys, name)?, keys, replies });
        }
        self.groups.push(Group { units: from..self.units.len(), join });
        Ok(())
    }
}

/// The replies of a group's units as the caller of the whole command expects them.
pub fn joined(join: Join, replies: Vec<Reply>) -> Vec<Reply> {
    if join == Join::Same {
        return replies;
    }
    let is_error = |reply: &Reply| matches!(reply, Reply::Other(Value::ServerError(_)));
    let mut sum = 0;
    for reply in replies {
        match reply {
            error if is_error(&error) => return vec![error],
            Reply::Int(n) => sum += n,
            Reply::Ok | Reply::Other(_) => {}
        }
    }
    vec![if join == Join::Sum { Reply::Int(sum) } else { Reply::Ok }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::resp::as_words;
    use crate::store::tag::Tag;

    fn plan(commands: &[&[&str]]) -> Result<Plan, LinkError> {
        let mut out = Commands::new();
        commands.iter().for_each(|words| out.words(Tag::Control, words));
        Plan::of(out.bytes())
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let unit = |unit: &Unit| as_words(&unit.bytes).iter().map(|w| w.join(" ")).collect::<Vec<_>>().join("; ");
        plan.units.iter().map(unit).collect()
    }

    #[test]
    fn each_unit_is_of_one_slot_and_each_command_in_one_group() {
        let plan = plan(&[
            &["HSET", "trap_events", "f", "v"],
            &["MSET", "a", "1", "b", "2"],
            &["EXISTS", "a", "b", "c"],
            &["MULTI"],
            &["LTRIM", "a", "1", "0"],
            &["RPUSH", "a", "EXEC", ""],
            &["EXEC"],
            &["EVALSHA", "x", "2", "{a}:cursor", "a", "b"],
            &["PUBLISH", "b", "text"],
            &["MSET", "a", "1"],
        ])
        .expect("a plan");
        let expected = [
            "HSET trap_events f v",
            "MSET a 1",
            "MSET b 2",
            "EXISTS a",
            "EXISTS b",
            "EXISTS c",
            "MULTI; LTRIM a 1 0; RPUSH a EXEC ; EXEC",
            "EVALSHA x 2 {a}:cursor a b",
            "PUBLISH b text",
            "MSET a 1",
        ];
        assert_eq!(shown(&plan), expected);
        let slots: Vec<_> = plan.units.iter().map(|u| u.slot).collect();
        let a = Some(slot_of(b"a"));
        assert_eq!((slots[0], slots[1], slots[6], slots[7], slots[8]), (Some(2_852), a, a, a, None));
        let groups: Vec<_> = plan.groups.iter().map(|g| (g.units.len(), g.join)).collect();
        let same = (1, Join::Same);
        assert_eq!(groups, [same, (2, Join::All), (3, Join::Sum), same, same, same, same]);
        assert_eq!(plan.units[6].replies, 4);
    }

    #[test]
    fn keys_of_two_slots_in_one_step_are_never_sent() {
        for words in [&["RENAME", "a", "b"][..], &["EVAL", "return 1", "2", "a", "b"]] {
            assert!(matches!(plan(&[words]), Err(LinkError::CrossSlot(_))), "case: {words:?}");
        }
        let parts: &[&[&str]] = &[&["MULTI"], &["SET", "a", "1"], &["SET", "b", "1"], &["EXEC"]];
        assert!(matches!(plan(parts), Err(LinkError::CrossSlot(_))), "a transaction");
    }

    #[test]
    fn replies_become_one_again_and_an_error_wins() {
        let error = || {
            let mut bytes = bytes::BytesMut::from(&b"-CLUSTERDOWN the cluster is down\r\n"[..]);
            crate::store::reply::next(&mut bytes).expect("resp").expect("whole")
        };
        assert_eq!(joined(Join::Sum, vec![Reply::Int(1), Reply::Int(0), Reply::Int(1)]), [Reply::Int(2)]);
        assert_eq!(joined(Join::All, vec![Reply::Ok, Reply::Ok]), [Reply::Ok]);
        assert_eq!(joined(Join::All, vec![Reply::Ok, error()]), [error()]);
        assert_eq!(joined(Join::Sum, vec![Reply::Int(1), error()]), [error()]);
        assert_eq!(joined(Join::Same, vec![Reply::Ok, Reply::Int(3)]), [Reply::Ok, Reply::Int(3)]);
    }
}
