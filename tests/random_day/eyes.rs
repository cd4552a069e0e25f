//! Two readers beside the daemon's own: one reads the state all the time and says when it goes back, lies or is old
//! without saying so; the other follows the streams of events as a consumer does.

use crate::scene::{HELD, MARKET_LIMIT_MS, POSITION_LIMIT_MS, SYMBOLS, eyes};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use trapline::clock::Clock;

/// More than this many of one kind say nothing new.
const TOLD_MAX: usize = 50;
/// How much later than the limit a mark may stand on a shared machine; the promise is a second.
const MARK_LAG_MS: i64 = 2_500;
/// A daemon that could write for this long without a break has no excuse left.
const WRITING_MS: i64 = 2_000;
/// A longer pause between two reads is a break: Redis stood still, or was away.
const BREAK_MS: i64 = 300;

/// What both readers share with the day.
#[derive(Default)]
pub struct Shared {
    /// Odd while Redis is made to lose data: what is read then proves nothing. Each pair of steps is a new life of
    /// the data, in which values may begin lower.
    pub era: AtomicU64,
    /// The account never closes the first symbol's position, from this moment on.
    pub held: AtomicBool,
    pub over: AtomicBool,
    pub state: Mutex<State>,
    pub tail: Mutex<Tail>,
}

/// What the state's reader saw.
#[derive(Default)]
pub struct State {
    pub reads: u64,
    pub regressions: Vec<String>,
    pub false_flats: Vec<String>,
    pub unmarked: Vec<String>,
    /// Longest time by which a mark came after its limit, ms.
    pub mark_lag_ms: i64,
    /// When it was last read, and since when the daemon's own stamp has been new without a break.
    read_ms: i64,
    writing_since_ms: Option<i64>,
    /// Sizes seen, by symbol and side.
    pub sizes: BTreeMap<(usize, usize), FxHashSet<String>>,
    /// Ends of faults that wait for a fresh value, and how long each took.
    waiting: Vec<(&'static str, i64)>,
    pub recovered: Vec<(&'static str, f64)>,
}

/// One event as it stands in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub ms: u64,
    pub kind: String,
    pub id: String,
    /// Of all that it says.
    pub digest: u64,
}

/// What the streams' reader has read, by stream, in the order of reading.
#[derive(Default)]
pub struct Tail {
    pub streams: BTreeMap<String, Vec<Entry>>,
    pub count: u64,
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn now_ms() -> i64 {
    Clock::system().now_ms()
}

impl Shared {
    /// A fault ended: from here to the next fresh value is its recovery.
    pub fn fault_over(&self, label: &'static str) {
        let mut state = lock(&self.state);
        if state.waiting.len() < 1_000 {
            state.waiting.push((label, now_ms()));
        }
    }

    pub fn events(&self) -> u64 {
        lock(&self.tail).count
    }
}

/// Both readers; they end with [`Shared::over`].
pub fn open(socket: &Path, shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let (one, two) = (Arc::clone(shared), Arc::clone(shared));
    let (first, second) = (socket.to_owned(), socket.to_owned());
    vec![std::thread::spawn(move || watch(&first, &one)), std::thread::spawn(move || follow(&second, &two))]
}

#[derive(Clone, Default)]
struct Seen {
    order: (u64, u64),
    time: i64,
}

fn watch(socket: &Path, shared: &Shared) {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let mut life = u64::MAX;
    while !shared.over.load(SeqCst) {
        let Some(mut link) = eyes(socket) else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        while !shared.over.load(SeqCst) {
            let era = shared.era.load(SeqCst);
            let asked_ms = now_ms();
            let Ok(rows) = look(&mut link) else { break };
            if era % 2 == 1 || era != shared.era.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            if era != life {
                life = era;
                seen.clear();
            }
            let mut state = lock(&shared.state);
            judge(&rows, asked_ms, &mut seen, &mut state, shared.held.load(SeqCst));
            drop(state);
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

type Fields = Vec<Option<String>>;

/// Health, then market, long and short of each symbol.
fn look(link: &mut redis::Connection) -> redis::RedisResult<Vec<Fields>> {
    let mut pipe = redis::pipe();
    pipe.cmd("HMGET").arg("trapline:health").arg("timestamp");
    for symbol in SYMBOLS {
        let key = format!("trapline:{symbol}:market_state");
        pipe.cmd("HMGET").arg(key).arg(&["epoch", "seq", "exchange_time", "timestamp", "stale", "price"]);
        for side in ["long", "short"] {
            let key = format!("trapline:{symbol}:position:{side}");
            pipe.cmd("HMGET").arg(key).arg(&["epoch", "seq", "update_time", "timestamp", "stale", "size"]);
        }
    }
    pipe.query(link)
}

fn judge(rows: &[Fields], now_ms: i64, seen: &mut BTreeMap<String, Seen>, state: &mut State, held: bool) {
    state.reads += 1;
    let number = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
    let alive = rows.first().is_some_and(|row| row.first().is_some_and(|at| now_ms - number(at) <= 1_000));
    if !alive || now_ms - state.read_ms > BREAK_MS {
        state.writing_since_ms = None;
    }
    state.read_ms = now_ms;
    let writing = alive && now_ms - *state.writing_since_ms.get_or_insert(now_ms) >= WRITING_MS;
    for (n, row) in rows.iter().skip(1).enumerate() {
        let [epoch, seq, time, verified, stale, value] = row.as_slice() else { continue };
        let (Some(value), Some(stale)) = (value, stale) else { continue };
        let (symbol, kind) = (n / 3, n % 3);
        let name = format!("{} {}", SYMBOLS[symbol], ["market", "long", "short"][kind]);
        let order = (number(epoch).unsigned_abs(), number(seq).unsigned_abs());
        let now = Seen { order, time: number(time) };
        let before = seen.entry(name.clone()).or_default();
        // In the order of process, time, number: a fresh room may meet an exchange whose clock was set back.
        let life = |order: (u64, u64)| (order.0, order.1 >> 40);
        let back = now.order < before.order || (life(now.order) == life(before.order) && now.time < before.time);
        if back && state.regressions.len() < TOLD_MAX {
            let told = format!("{name}: {:?} at {} after {:?} at {}", now.order, now.time, before.order, before.time);
            state.regressions.push(told);
        }
        *before = now;
        let limit_ms = if kind == 0 { MARKET_LIMIT_MS } else { POSITION_LIMIT_MS };
        let late_ms = now_ms - number(verified) - limit_ms;
        if writing && stale == "0" && late_ms > 0 {
            state.mark_lag_ms = state.mark_lag_ms.max(late_ms);
            if late_ms > MARK_LAG_MS && state.unmarked.len() < TOLD_MAX {
                state.unmarked.push(format!("{name}: {late_ms} ms past its limit, not marked"));
            }
        }
        if kind > 0 {
            if held && symbol == 0 && kind == 1 && value != HELD && state.false_flats.len() < TOLD_MAX {
                state.false_flats.push(format!("{name}: size {value}, the account holds {HELD} all the time"));
            }
            let sizes = state.sizes.entry((symbol, kind)).or_default();
            if !sizes.contains(value) && sizes.len() < 10_000 {
                sizes.insert(value.clone());
            }
        }
        if n == 0 && stale == "0" && alive {
            let verified_ms = number(verified);
            let (done, still): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.waiting).into_iter().partition(|(_, end_ms)| verified_ms >= *end_ms);
            state.waiting = still;
            state.recovered.extend(done.into_iter().map(|(label, end_ms)| (label, (now_ms - end_ms) as f64)));
        }
    }
}

/// The names of all streams of events.
pub fn streams() -> Vec<String> {
    SYMBOLS.iter().map(|s| format!("trapline:{s}:events")).chain(["trapline:alerts".to_owned()]).collect()
}

fn follow(socket: &Path, shared: &Shared) {
    let names = streams();
    let mut last: Vec<String> = names.iter().map(|_| "-".to_owned()).collect();
    loop {
        // Once more after the end was told: what came before it is read.
        let over = shared.over.load(SeqCst);
        if let Some(mut link) = eyes(socket) {
            loop {
                let mut found = 0;
                for (name, last) in names.iter().zip(&mut last) {
                    let Ok(entries) = range(&mut link, name, last, 1_000) else { break };
                    let mut tail = lock(&shared.tail);
                    found += entries.len();
                    tail.count += entries.len() as u64;
                    if let Some(entry) = entries.last() {
                        *last = format!("({}-{}", entry.ms, entry.seq);
                    }
                    tail.streams.entry(name.clone()).or_default().extend(entries);
                }
                if shared.over.load(SeqCst) && found == 0 {
                    break;
                }
                if found == 0 {
                    std::thread::sleep(Duration::from_millis(50));
                    if redis::cmd("PING").query::<String>(&mut link).is_err() {
                        break;
                    }
                }
            }
        }
        if over {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Entries of a stream after an id.
pub fn range(link: &mut redis::Connection, name: &str, from: &str, count: usize) -> redis::RedisResult<Vec<Entry>> {
    let reply: redis::streams::StreamRangeReply =
        redis::cmd("XRANGE").arg(name).arg(from).arg("+").arg("COUNT").arg(count).query(link)?;
    let entry = |row: &redis::streams::StreamId| {
        let (ms, seq) = row.id.split_once('-').unwrap_or((&row.id, "0"));
        let text = |field: &str| row.get::<String>(field).unwrap_or_default();
        Entry {
            seq: seq.parse().unwrap_or(0),
            ms: ms.parse().unwrap_or(0),
            kind: text("kind"),
            id: text("id"),
            digest: digest(&[&row.id, &text("kind"), &text("id"), &text("data")]),
        }
    };
    Ok(reply.ids.iter().map(entry).collect())
}

fn digest(texts: &[&str]) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = rustc_hash::FxHasher::default();
    texts.hash(&mut hasher);
    hasher.finish()
}
