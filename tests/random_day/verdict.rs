//! The promises, checked while the exchange stands still: every fill is an event once, the events' numbers have no
//! gap, each room's messages are accounted for, and Redis says what the exchange says.

use crate::eyes::{Entry, Shared, lock, range, streams};
use crate::scene::{SYMBOLS, Scene, eyes};
use crate::support::KEY;
use crate::truth::Book;
use rust_decimal::Decimal;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use trapline::domain::position::HoldSide;

/// Time for everything to be in place once all is calm.
const SETTLE: Duration = Duration::from_secs(60);
/// What the program keeps of each stream at least.
const STREAM_KEPT: usize = 10_000;
/// So many events a spool has in any case, with its usual bound on bytes; a day with more of them outgrows it.
const SPOOL_KEEPS: u64 = 100_000;

/// The equation of events.
#[derive(Clone, Debug, Default)]
pub struct Events {
    pub fills: u64,
    pub all: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Fills that came behind a younger one: REST told them after an outage.
    pub late: u64,
    pub unknown: u64,
}

/// The equation of messages, over all rooms; a life of the process counts up to its last check.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    pub sent: u64,
    pub handled: u64,
    pub quarantined: u64,
    pub refused: u64,
    pub replaced: u64,
    pub left: u64,
}

/// Counts the events again from the beginning: simple, and done a few times a run.
pub fn events(shared: &Shared, book: &Book) -> Events {
    let (tail, truth) = (lock(&shared.tail), lock(book));
    let mut seen: FxHashMap<&str, u64> = FxHashMap::default();
    let mut numbers: Vec<u64> = Vec::new();
    let mut told = Events { fills: truth.fills.len() as u64, ..Events::default() };
    for entries in tail.streams.values() {
        let (mut newest, mut before) = (0, 0);
        for entry in entries {
            numbers.push(entry.seq);
            told.all += 1;
            told.reordered += u64::from(entry.seq <= before);
            before = entry.seq;
            if entry.kind != "fill" {
                continue;
            }
            *seen.entry(&entry.id).or_default() += 1;
            match truth.fills.get(&entry.id) {
                Some(place) => {
                    told.late += u64::from(*place < newest);
                    newest = newest.max(*place);
                }
                None => told.unknown += 1,
            }
        }
    }
    told.lost = truth.fills.keys().filter(|id| !seen.contains_key(id.as_str())).count() as u64;
    told.duplicated = seen.values().map(|n| n - 1).sum();
    // Numbers are given out without a gap over all streams: a hole is an event that was decided and is not there.
    numbers.sort_unstable();
    told.duplicated += numbers.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
    numbers.dedup();
    told.lost += numbers.last().map_or(0, |last| last - numbers.len() as u64);
    told
}

/// Waits until nothing is wrong any more, at most [`SETTLE`] after the last missing event came; what still is then.
pub fn settle(scene: &Scene, shared: &Shared, book: &Book) -> Vec<String> {
    let mut until = Instant::now() + SETTLE;
    let mut missing = u64::MAX;
    loop {
        let mut wrong = compare(scene).unwrap_or_else(|e| vec![format!("redis cannot be read: {e}")]);
        let told = events(shared, book);
        if told.lost + told.duplicated + told.reordered + told.unknown > 0 {
            wrong.push(format!("events: {told:?}"));
        }
        // Fills of an outage are read at the pace that the exchange allows: as long as they come, they are waited for.
        if told.lost < missing {
            (missing, until) = (told.lost, Instant::now() + SETTLE);
        }
        wrong.extend(unbalanced(scene));
        if wrong.is_empty() || Instant::now() >= until {
            return wrong;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Redis against the exchange: each symbol's newest price, each side's size.
fn compare(scene: &Scene) -> redis::RedisResult<Vec<String>> {
    let mut wrong = Vec::new();
    let Some(mut link) = eyes(scene.redis.socket()) else { return Ok(vec!["redis is not there".to_owned()]) };
    let open: BTreeMap<(String, HoldSide), Decimal> = scene
        .exchange
        .venue
        .positions()
        .into_iter()
        .map(|p| ((p.symbol.clone(), p.side), p.size.normalize()))
        .collect();
    for truth in scene.exchange.venue.truth() {
        let name = &truth.symbol;
        let price: Option<String> =
            redis::cmd("HGET").arg(format!("trapline:{name}:market_state")).arg("price").query(&mut link)?;
        let newest = if truth.trade_ms > truth.ticker_ms { truth.trade_price } else { truth.ticker_last };
        let has = price.as_deref().and_then(|p| p.parse::<Decimal>().ok());
        // A trade and a ticker of the same millisecond may differ; either is the newest.
        let same = |price: Decimal| has == Some(price);
        let agree = same(newest) || (truth.trade_ms == truth.ticker_ms && same(truth.trade_price));
        if !agree {
            wrong.push(format!("{name}: price {price:?}, the exchange's newest is {newest}"));
        }
        for side in HoldSide::BOTH {
            let key = format!("trapline:{name}:position:{}", side.label());
            let (size, stale): (Option<String>, Option<String>) =
                redis::cmd("HMGET").arg(&key).arg("size").arg("stale").query(&mut link)?;
            let held = open.get(&(name.clone(), side)).copied().unwrap_or_default();
            let has = size.as_deref().and_then(|s| s.parse::<Decimal>().ok()).map(|d| d.normalize());
            if has != Some(held) || stale.as_deref() != Some("0") {
                wrong.push(format!("{key}: size {size:?} stale {stale:?}, the account holds {held}"));
            }
        }
    }
    Ok(wrong)
}

fn number(room: &serde_json::Value, field: &str) -> u64 {
    room[field].as_u64().unwrap_or(0)
}

/// Rooms whose messages do not add up.
fn unbalanced(scene: &Scene) -> Vec<String> {
    let rooms = scene.rooms();
    if rooms.is_empty() {
        return vec!["nobody answers on the control socket".to_owned()];
    }
    let wrong = |room: &&serde_json::Value| {
        let gone = ["handled", "quarantined", "conflated", "dropped_oldest", "depth"].map(|f| number(room, f));
        let in_hand = u64::from(number(room, "busy_ms") > 0);
        let (came, went) = (number(room, "sent") + number(room, "split_extra"), gone.iter().sum::<u64>());
        came != went && came != went + in_hand
    };
    rooms.iter().filter(wrong).map(|room| format!("messages do not add up: {room}")).collect()
}

/// What the rooms of this life of the process have counted so far.
pub fn messages(scene: &Scene) -> Messages {
    let mut sum = Messages::default();
    for room in scene.rooms() {
        sum.sent += number(&room, "sent") + number(&room, "refused") + number(&room, "split_extra");
        sum.handled += number(&room, "handled");
        sum.quarantined += number(&room, "quarantined");
        sum.refused += number(&room, "refused");
        sum.replaced += number(&room, "conflated") + number(&room, "dropped_oldest");
        sum.left += number(&room, "depth");
    }
    sum
}

/// The newest number that a stated gap covers: a Redis that was emptied cannot get back what the spool no longer has.
fn gap_end(link: &mut redis::Connection) -> redis::RedisResult<u64> {
    let gaps: redis::streams::StreamRangeReply =
        redis::cmd("XRANGE").arg("trapline:gaps").arg("-").arg("+").query(link)?;
    let last = |gap: &redis::streams::StreamId| {
        let data = serde_json::from_str::<serde_json::Value>(&gap.get::<String>("data")?).ok()?;
        data["last"].as_u64()
    };
    // One that cannot be read covers nothing.
    Ok(gaps.ids.iter().filter_map(last).max().unwrap_or(0))
}

/// What stands in Redis now is the end of what a consumer read on the way, to the byte; and so is the list of trades.
/// What a stated gap covers may be gone; it may cover only what a full spool has let go.
pub fn content(scene: &Scene, shared: &Shared) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(mut link) = eyes(scene.redis.socket()) else { return vec!["redis is not there".to_owned()] };
    let tail = lock(&shared.tail);
    let gone = match gap_end(&mut link) {
        Ok(gone) => gone,
        Err(error) => return vec![format!("trapline:gaps: {error}")],
    };
    let newest = tail.streams.values().flatten().map(|e| e.seq).max().unwrap_or(0);
    if gone > newest.saturating_sub(SPOOL_KEEPS) {
        wrong.push(format!("a gap up to {gone} is stated, the newest is {newest}: the spool has that"));
    }
    let mut fills: Vec<&Entry> = Vec::new();
    for name in streams() {
        let read = tail.streams.get(&name).map_or(&[][..], Vec::as_slice);
        fills.extend(read.iter().filter(|e| e.kind == "fill"));
        let read: Vec<&Entry> = read.iter().filter(|e| e.seq > gone).collect();
        let all = match range(&mut link, &name, "-", 1_000_000) {
            Ok(all) => all,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let now: Vec<&Entry> = all.iter().filter(|e| e.seq > gone).collect();
        let end = &read[read.len().saturating_sub(now.len())..];
        if now.len() < read.len().min(STREAM_KEPT) || end != now.as_slice() {
            wrong.push(format!(
                "{name}: {} entries stand there, {} were read; their ends differ",
                now.len(),
                read.len()
            ));
        }
    }
    fills.sort_by_key(|e| e.seq);
    let newest: Vec<&str> = fills.iter().rev().take(100).map(|e| e.id.as_str()).collect();
    let list: Vec<String> =
        redis::cmd("LRANGE").arg("trader:trades:scalper").arg(0).arg(-1).query(&mut link).unwrap_or_default();
    let told: Vec<String> = list
        .iter()
        .filter_map(|json| {
            serde_json::from_str::<serde_json::Value>(json).ok()?["trade_id"].as_str().map(str::to_owned)
        })
        .collect();
    if told != newest {
        wrong.push(format!("trader:trades:scalper: {} trades, not the newest {} in order", told.len(), newest.len()));
    }
    wrong
}

/// Sizes that a reader saw and the account never had.
pub fn invented_sizes(shared: &Shared, book: &Book) -> Vec<String> {
    let (state, truth) = (lock(&shared.state), lock(book));
    let mut wrong = Vec::new();
    for ((symbol, kind), sizes) in state.sizes.iter().filter(|((symbol, _), _)| *symbol > 0) {
        let side = ["market", "long", "short"][*kind];
        let had = truth.sizes.get(&(SYMBOLS[*symbol].to_owned(), side.to_owned()));
        let plain = |text: &str| text.parse::<Decimal>().unwrap_or_default().normalize().to_string();
        for size in sizes.iter().filter(|size| plain(size) != "0") {
            if !had.is_some_and(|had| had.contains(&plain(size))) {
                wrong.push(format!("{} {side}: size {size} was never held", SYMBOLS[*symbol]));
            }
        }
    }
    wrong
}

/// Places where a secret can be read: everything in the folder and what the daemon tells over HTTP.
pub fn secrets(scene: &Scene) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut look = |place: String, bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let found = KEY.into_iter().filter(|secret| text.contains(secret));
        wrong.extend(found.map(|secret| format!("{place} holds {secret}")));
    };
    for path in ["/statusz", "/metrics", "/readyz", "/livez"] {
        look(path.to_owned(), crate::support::http_get(scene.daemon.status_port, path).1.as_bytes());
    }
    for folder in [scene.daemon.state.path(), scene.folder.path()] {
        for file in files(folder) {
            look(file.display().to_string(), &std::fs::read(&file).unwrap_or_default());
        }
    }
    wrong
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// Every life's records are numbered without a gap, but for gaps that the journal states itself.
pub fn journal(scene: &Scene) -> Vec<String> {
    let mut boots: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in scene.daemon.journal() {
        let first = boots.len();
        let (last, gaps) = boots.entry(entry.boot.clone()).or_insert((entry.jseq.saturating_sub(1), 0));
        // The oldest life may have lost its beginning to rotation.
        if entry.jseq != *last + 1 && first > 0 {
            wrong.push(format!("journal of boot {}: {} after {last}", entry.boot, entry.jseq));
        }
        *last = entry.jseq;
        *gaps += u64::from(entry.event == "journal_gap");
    }
    wrong
}
