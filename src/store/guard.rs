//! Why nothing lands after something newer, without a script per write.
//!
//! A write can be held in a connection that its owner has given up: in a proxy, in a kernel buffer, in a stopped
//! server's query buffer. Sent again on a new connection, the newer value could be followed by the held, older one. A
//! compare-and-set script per write would refuse it, at six times the server's work. Instead the *connection* is
//! guarded. Each connection, in this order and waiting for each answer:
//!
//! 0. log in, and `SELECT` the database that it writes, once and for all;
//! 1. `CLIENT SETNAME trapline-writer-<instance>`;
//! 2. take the epoch (first connection of a process) or check that no higher one was taken (any later one);
//! 3. `CLIENT LIST`, and `CLIENT KILL` for every *other* connection on this database whose name begins with
//!    `trapline-writer-`, whatever the instance is called; the server frees them, with the commands that they had not
//!    executed yet, before it answers;
//! 4. only then write.
//!
//! **Proof.** The keys and the epoch belong to the database, so whoever writes there is meant, under any name. Let A and
//! B be two writers' connections on one database and let B be past step 3. A stands in its database (step 0) before it
//! has its name (step 1), so whoever lists A as a writer lists it with the database that it writes.
//! If A's step 1 came before B's step 3, A was killed there: nothing of A is executed after B's first write. If A's
//! step 1 came after B's step 3, then A's step 2 came after B's step 2. If A belongs to an older process than B it sees
//! B's epoch, or a higher one, and ends before it writes. If it belongs to a newer process, or to the same one later on,
//! its values are the newer ones, and its own step 3 kills B. A process uses one connection at a time and never goes
//! back to an older one; on one connection Redis executes in the order of sending. So no older write is executed after a
//! newer one. Within a process the shelf refuses older values; from process to process the times read back after step 3
//! do, when nobody else can write any more. Daemons on two databases share no key and leave each other alone.
//!
//! With Sentinel: what a former primary still executes after a failover, it throws away when it is made a replica; the
//! new one has seen none of it. Ours is asked for again every second, so that a primary that lost its office without
//! knowing it is left.
//!
//! **Cluster.** A writer has a connection to every master. Step 1 is done at *all* of them, then step 2 (the epoch is one
//! key), then step 3 at all of them and at every replica that answers, and only then anything is written. Let B be past
//! its steps 3 and let A's connection to node n have its name. If it had it before B's step 3 at n, it was killed there.
//! If it got it later, then A's step 2, which follows all of its steps 1, came after B's step 2, and the proof above goes
//! on as it stands: A ends, or is the newer one. If n is no node of B's view, or a replica that did not answer B, then it
//! is no master now: it answers MOVED, or it was cut off and throws away what it still executes when it learns of its
//! successor. (What is left over: such a node is made a master *again* while a write of A is held on its way there. The
//! slot then answers B from a node that B has no connection to, B begins a session anew, kills A there and writes all
//! state again.) While a slot moves, its old owner executes only on keys that it still holds and makes no new ones, the
//! new one only on keys that have arrived: no key lives at both. And of one writer only one flush is on its way, so a
//! command that was sent elsewhere does not land after a newer one of its key ([`super::cluster::many`]).
//!
//! What it needs: one Redis server (or primary, or cluster), and the right to use CLIENT. Without that right the writer refuses to
//! run and says which right is missing. Writes of *other* programs are not fenced by this; the audit finds them.

use super::class::Class;
use super::cluster::index::Index;
use super::cluster::slot;
use super::encode::Layout;
use super::lines::Lines;
use super::link::{Link, LinkError};
use super::reply;
use super::resp::Commands;
use super::tag::Tag;
use redis::Value;
use std::collections::{BTreeMap, BTreeSet};

pub const EPOCH: &str = "trapline:epoch";

/// The next epoch: above every one before, and not below the wall clock in seconds, so that a Redis that lost the key
/// does not hand a new process a lower number than an old one still holds.
const TAKE: &str = "local e = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
local n = string.format('%.0f', math.max(e + 1, tonumber(ARGV[1])))
redis.call('SET', KEYS[1], n)
return n";

/// Puts our epoch back where it is missing or lower; answers the one that stands there now.
const KEEP: &str = "local e = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if e > tonumber(ARGV[1]) then return string.format('%.0f', e) end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]";

/// What a second daemon on the same database does when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TakeOver {
    /// Takes the keys; the other one is fenced and ends.
    #[default]
    Take,
    /// Waits until the other one has gone.
    Wait,
}

/// Why the keys could not be taken over.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GuardError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("epoch {newest} was taken by a newer daemon on this database, ours is {ours}")]
    Fenced { ours: u64, newest: u64 },
    #[error("another daemon writes on this database ({by}); waiting for it to end")]
    Occupied { by: String },
    #[error(
        "redis does not allow {0}: without it an old write could land after a newer one; grant the user \
         +client|setname +client|id +client|list +client|kill (ACL SETUSER), and +get +set +eval on trapline:*"
    )]
    Unguarded(&'static str),
    #[error("redis answered {0} in a way that no redis does")]
    Odd(&'static str),
}

impl GuardError {
    /// The label under which it is counted.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Link(error) => error.label(),
            Self::Unguarded(_) => "noperm",
            Self::Fenced { .. } | Self::Occupied { .. } | Self::Odd(_) => "other",
        }
    }

    pub fn class(&self) -> Class {
        match self {
            Self::Link(error) => error.class(),
            Self::Fenced { .. } | Self::Unguarded(_) => Class::Config,
            Self::Occupied { .. } => Class::Wait,
            Self::Odd(_) => Class::Bug,
        }
    }
}

fn allowed(what: &'static str, answer: Result<Value, LinkError>) -> Result<Value, GuardError> {
    match answer {
        Err(LinkError::Refused { code, .. }) if code == "NOPERM" || code == "ERR" => Err(GuardError::Unguarded(what)),
        other => Ok(other?),
    }
}

/// Every writer's connection has a name that begins so.
pub const WRITER_PREFIX: &str = "trapline-writer-";

/// The name that all connections of an instance carry. Redis takes no blanks in it.
pub fn client_name(instance: &str) -> String {
    let safe: String =
        instance.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    format!("{WRITER_PREFIX}{safe}")
}

/// A writer's connection, as `CLIENT LIST` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer<'a> {
    pub id: i64,
    pub name: &'a str,
}

/// The writers' connections on database `db`. One whose database is not told may be on ours, so it counts.
pub fn writers(list: &str, db: i64) -> Vec<Writer<'_>> {
    list.lines()
        .filter_map(|line| {
            let value = |field: &str| line.split(' ').find_map(|word| word.strip_prefix(field));
            let name = value("name=").filter(|name| name.starts_with(WRITER_PREFIX))?;
            let is_ours = value("db=").and_then(|at| at.parse::<i64>().ok()).is_none_or(|at| at == db);
            let id = value("id=")?.parse().ok()?;
            is_ours.then_some(Writer { id, name })
        })
        .collect()
}

/// Steps 1 to 3. `held` is the epoch that this process has taken before, if it has. Returns the epoch.
///
/// In a cluster each step is done at every node before the next one begins: see the module's proof.
pub async fn take_over(
    lines: &mut Lines,
    instance: &str,
    held: Option<u64>,
    policy: TakeOver,
    now_ms: i64,
) -> Result<u64, GuardError> {
    let name = client_name(instance);
    let mut own = Vec::new();
    for link in lines.links() {
        allowed("CLIENT SETNAME", link.call(&["CLIENT", "SETNAME", &name]).await)?;
        let id = reply::number(&allowed("CLIENT ID", link.call(&["CLIENT", "ID"]).await)?);
        own.push(id.ok_or(GuardError::Odd("CLIENT ID"))?);
    }
    if held.is_none() && policy == TakeOver::Wait {
        for (link, own) in lines.links().into_iter().zip(&own) {
            if let Some(other) = writers(&list(link).await?, link.db()).iter().find(|writer| writer.id != *own) {
                return Err(GuardError::Occupied { by: other.name.to_owned() });
            }
        }
    }
    let epoch = match held {
        Some(ours) => keep_epoch(lines, ours).await?,
        None => {
            let floor = (now_ms / 1_000).to_string();
            number(&allowed("EVAL", lines.call(&["EVAL", TAKE, "1", EPOCH, &floor]).await)?)?
        }
    };
    for (link, own) in lines.links().into_iter().zip(own) {
        end_writers(link, Some(own), |_| true).await?;
    }
    for mut replica in lines.take_others() {
        // One that is in trouble executes nothing of what it may still hold, or is asked when it is a master.
        if let Err(error) = end_writers(&mut replica, None, |_| true).await {
            tracing::debug!(%error, "a replica could not be asked for writers");
        }
    }
    Ok(epoch)
}

/// Ends the writers' connections that are meant, but our own. Returns how many.
async fn end_writers(link: &mut Link, own: Option<i64>, is_meant: impl Fn(&str) -> bool) -> Result<usize, GuardError> {
    let (list, mut ended) = (list(link).await?, 0);
    for writer in writers(&list, link.db()).iter().filter(|w| Some(w.id) != own && is_meant(w.name)) {
        // A connection that is gone already answers 0.
        let answer = allowed("CLIENT KILL", link.call(&["CLIENT", "KILL", "ID", &writer.id.to_string()]).await)?;
        ended += usize::from(reply::number(&answer) == Some(1));
    }
    Ok(ended)
}

/// Checks our epoch against the stored one, and stores it again where it is missing or lower.
pub async fn keep_epoch(lines: &mut Lines, ours: u64) -> Result<u64, GuardError> {
    let answer = allowed("EVAL", lines.call(&["EVAL", KEEP, "1", EPOCH, &ours.to_string()]).await)?;
    match number(&answer)? {
        newest if newest > ours => Err(GuardError::Fenced { ours, newest }),
        _ => Ok(ours),
    }
}

/// The same check as a command among others; its reply is the epoch that stands there.
pub fn audit(out: &mut Commands, ours: u64) {
    out.words(Tag::Audit, &["GET", EPOCH]);
    out.mark(ours);
}

/// Puts the marker back, as a command among others.
pub fn restore(out: &mut Commands, ours: u64) {
    out.words(Tag::Control, &["EVAL", KEEP, "1", EPOCH, &ours.to_string()]);
}

fn number(value: &Value) -> Result<u64, GuardError> {
    reply::number(value).and_then(|n| u64::try_from(n).ok()).ok_or(GuardError::Odd("GET trapline:epoch"))
}

async fn list(link: &mut Link) -> Result<String, GuardError> {
    match allowed("CLIENT LIST", link.call(&["CLIENT", "LIST", "TYPE", "normal"]).await)? {
        Value::VerbatimString { text, .. } => Ok(text),
        other => reply::text(&other).map(str::to_owned).ok_or(GuardError::Odd("CLIENT LIST")),
    }
}

/// Drill: ends the connections of this instance's writer from another one. The server and its other clients, writers of
/// other names or on other databases among them, are not touched. Returns how many were ended.
pub async fn kill_writer(lines: &mut Lines, instance: &str) -> Result<usize, GuardError> {
    let (name, mut ended) = (client_name(instance), 0);
    for link in lines.links() {
        ended += end_writers(link, None, |found| found == name).await?;
    }
    Ok(ended)
}

/// Times that an earlier process left in the state keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floors {
    pub market_ms: Option<i64>,
    pub sides_ms: [Option<i64>; 2],
    /// Of the market and both sides: when they were last proved (wall clock), where they are not marked stale.
    pub unmarked_ms: [Option<i64>; 3],
}

/// Reads back what stands in the keys of each symbol; foreign types read as nothing.
pub async fn floors(lines: &mut Lines, layout: &Layout) -> Result<Vec<Floors>, GuardError> {
    let mut floors = Vec::with_capacity(layout.symbols.len());
    let ids: Vec<_> = layout.symbols.ids().collect();
    for chunk in ids.chunks(128) {
        let mut out = Commands::new();
        for &symbol in chunk {
            let keys = layout.of(symbol);
            for key in std::iter::once(&keys.market_state).chain(&keys.position) {
                out.words(Tag::Control, &["HMGET", key, "timestamp", "stale", "exchange_time"]);
            }
        }
        let values = known(lines.exchange(&mut out).await?)?;
        floors.extend(values.chunks(3).map(|three| {
            let field = |key: usize, field: usize| match three.get(key) {
                Some(Value::Array(fields)) => fields.get(field).and_then(reply::number),
                _ => None,
            };
            let unmarked = |key| field(key, 0).filter(|_| field(key, 1) == Some(0));
            Floors {
                market_ms: field(0, 2),
                sides_ms: [field(1, 0), field(2, 0)],
                unmarked_ms: [unmarked(0), unmarked(1), unmarked(2)],
            }
        }));
    }
    Ok(floors)
}

/// What a node does not tell now is not what is not there: an older value could be written over a newer one.
fn known(values: Vec<Value>) -> Result<Vec<Value>, LinkError> {
    for value in &values {
        if let Value::ServerError(error) = value
            && matches!(Class::of_code(error.code()), Class::Wait | Class::WrongNode | Class::Route)
        {
            return Err(LinkError::Refused { code: error.code().to_owned(), class: Class::of_code(error.code()) });
        }
    }
    Ok(values)
}

/// Old keys of the primary symbol that an earlier process left, as far as they can be marked stale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// `active_position`, `long_trader_position`, `short_trader_position`: their JSON.
    pub json: [Option<String>; 3],
    /// `current_position` and `market_state` are hashes.
    pub hashes: [bool; 2],
}

/// The keys of [`Leftovers::json`].
pub const JSON_KEYS: [&str; 3] = ["active_position", "long_trader_position", "short_trader_position"];

pub async fn leftovers(lines: &mut Lines) -> Result<Leftovers, GuardError> {
    let mut out = Commands::new();
    for key in JSON_KEYS {
        out.words(Tag::Control, &["GET", key]);
    }
    for key in ["current_position", "market_state"] {
        out.words(Tag::Control, &["HEXISTS", key, "timestamp"]);
    }
    let values = known(lines.exchange(&mut out).await?)?;
    let text = |i: usize| values.get(i).and_then(reply::text).map(str::to_owned);
    let exists = |i: usize| values.get(i) == Some(&Value::Int(1));
    Ok(Leftovers { json: [text(0), text(1), text(2)], hashes: [exists(3), exists(4)] })
}

/// What stands in `trapline:cursor` of a cluster, and where the cursors of the lanes stand: of those that it names, and of
/// `more`.
pub async fn lanes(
    lines: &mut Lines,
    more: impl Iterator<Item = String>,
) -> Result<(Index, BTreeMap<String, Cursor>), GuardError> {
    let index = match lines.call(&["HGETALL", super::publish::CURSOR]).await {
        Ok(value) => Index::of(&value),
        Err(LinkError::Refused { class: Class::Data, .. }) => Index::default(),
        Err(error) => return Err(error.into()),
    };
    let keys: BTreeSet<String> = index.lanes.keys().cloned().chain(more).collect();
    let mut out = Commands::new();
    for key in &keys {
        out.words(Tag::Control, &["HMGET", &slot::cursor_of(key), "epoch", "spool", "off"]);
    }
    if keys.is_empty() {
        return Ok((index, BTreeMap::new()));
    }
    let values = known(lines.exchange(&mut out).await?)?;
    Ok((index, keys.into_iter().zip(values.iter().map(cursor_of)).collect()))
}

/// Where Redis' cursor stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub epoch: u64,
    pub generation: u64,
    pub off: u64,
}

/// `HMGET` of the cursor as words.
pub const CURSOR_FIELDS: [&str; 5] = ["HMGET", super::publish::CURSOR, "epoch", "spool", "off"];

/// The cursor out of the answer to [`CURSOR_FIELDS`]; missing fields are 0.
pub fn cursor_of(value: &Value) -> Cursor {
    let Value::Array(items) = value else { return Cursor::default() };
    let field = |i: usize| items.get(i).and_then(reply::number).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    Cursor { epoch: field(0), generation: field(1), off: field(2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_are_told_by_name_and_database() {
        let list = "id=3 addr=127.0.0.1:5 laddr=x name=trapline-writer-main age=1 db=0 sub=0\n\
                    id=4 addr=a name=trapline-writer-main age=1 db=1\n\
                    id=5 addr=b name=trapline-writer-two age=1 db=0\n\
                    id=6 addr=c name= age=2 db=0\n\
                    id=7 addr=d name=not-trapline-writer-main age=2 db=0\n\
                    id=8 addr=e name=trapline-writer-silent age=2\n\
                    id=9 addr=f name=trapline-writer-ten age=2 db=10\n\
                    garbage\n";
        let found = |db| writers(list, db).iter().map(|writer| (writer.id, writer.name)).collect::<Vec<_>>();
        let silent = (8, "trapline-writer-silent");
        assert_eq!(found(0), [(3, "trapline-writer-main"), (5, "trapline-writer-two"), silent]);
        assert_eq!(found(1), [(4, "trapline-writer-main"), silent], "10 is not 1");
        assert_eq!(found(2), [silent], "who does not tell its database counts");
        assert_eq!(client_name("my desk\n"), "trapline-writer-my_desk_");
    }
}
