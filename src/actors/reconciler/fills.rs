//! Which fills are still to be read. Bookkeeping only: no question is asked here.
//!
//! The exchange tells fills newest first. They are read a stretch of pages at a time, so that positions can be asked
//! for in between however many there are. A reading ends where it meets what is known or what it was to reach back to;
//! one that takes too long makes room for newer fills and is taken up again in later rounds.

use crate::domain::account::Fill;
use crate::domain::report::Report;
use crate::domain::symbol::Product;
use crate::domain::validate::check_private_time;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Fills may be listed later than they happened.
const OVERLAP_MS: i64 = 60_000;
/// Stretches that a reading takes before newer fills are looked for again.
const STRETCHES: u32 = 10;
/// So many outages' fills wait to be read, give or take the one that is being read.
const UNREAD_MAX: usize = 32;

/// Of so many fills a reading knows that they were handed on.
const KNOWN_MAX: usize = 16_384;
/// So many fills whose time has not come are held back, give or take a stretch; further ones have to be asked for again.
const HELD_MAX: usize = 1_024;
/// A fill whose time has not come after so long is handed on too: it is no doubt of the clock any more.
const HELD_LONGEST: Duration = Duration::from_secs(300);

/// The newest fills of each product that were handed on: bounded, the oldest by the exchange's time forgotten first. New
/// readings look among the newest only; old fills, however many are read meanwhile, are read once and must not push
/// these out.
struct Seen {
    max: usize,
    of: FxHashMap<Product, SeenOf>,
}

#[derive(Default)]
struct SeenOf {
    ids: FxHashSet<Arc<str>>,
    by_time: BTreeSet<(i64, Arc<str>)>,
}

impl Default for Seen {
    fn default() -> Self {
        // Somewhat more than one reading holds.
        Self { max: KNOWN_MAX, of: FxHashMap::default() }
    }
}

impl Seen {
    fn is_known(&self, product: Product, fill: &Fill) -> bool {
        self.of.get(&product).is_some_and(|of| of.ids.contains(fill.trade_id.as_str()))
    }

    /// Those that happened at `since_ms` or later.
    fn since(&self, product: Product, since_ms: i64) -> FxHashSet<Arc<str>> {
        let of = self.of.get(&product).map(|of| of.by_time.range((since_ms, Arc::from(""))..));
        of.into_iter().flatten().map(|(_, id)| Arc::clone(id)).collect()
    }

    /// True for a fill that was not seen before.
    fn is_new(&mut self, product: Product, fill: &Fill) -> bool {
        if self.is_known(product, fill) {
            return false;
        }
        let of = self.of.entry(product).or_default();
        let id: Arc<str> = fill.trade_id.as_str().into();
        of.by_time.insert((fill.exchange_time_ms, Arc::clone(&id)));
        of.ids.insert(id);
        if of.ids.len() > self.max
            && let Some((_, oldest)) = of.by_time.pop_first()
        {
            of.ids.remove(&oldest);
        }
        true
    }
}

/// Fills of one product from `cursor` (`None`: the newest) back to `since_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub product: Product,
    pub since_ms: i64,
    pub cursor: Option<String>,
    /// When the oldest fill happened that it has read before it was left for later; `None` before its first.
    read_to_ms: Option<i64>,
    /// What was known where it is to end, and what others told meanwhile of what lies before it. It comes there perhaps
    /// much later, behind more fills than are remembered.
    known: Arc<FxHashSet<Arc<str>>>,
    stretches: u32,
    /// Begun in this round: behind known fills it has nothing to find. What an earlier round left unread may lie
    /// between known ones.
    is_new: bool,
}

impl Reading {
    /// A fill was handed on by another reading: this one may come upon it, perhaps when it is no longer among the newest.
    fn note(&mut self, product: Product, fill: &Fill) {
        let may_meet = self.product == product
            && fill.exchange_time_ms >= self.since_ms
            && self.read_to_ms.is_none_or(|ms| fill.exchange_time_ms <= ms + OVERLAP_MS);
        if may_meet && self.known.len() < KNOWN_MAX {
            Arc::make_mut(&mut self.known).insert(fill.trade_id.as_str().into());
        }
    }

    /// Part of it was read: what lies above is not looked for again.
    fn is_begun(&self) -> bool {
        self.stretches > 0 || !self.is_new
    }

    /// To be taken up in a later round.
    fn left(&self) -> Self {
        Self { stretches: 0, is_new: false, ..self.clone() }
    }
}

/// What a reader leaves to the one after it: how far back new fills of each product have to be looked for, ms since 1970,
/// and what is still to be read below that. All the rest was handed on. Reading a whole day again would be much, and those
/// who count fills remember fewer than an account may have in a day.
#[derive(Clone, Debug, Default, PartialEq)]
struct Left {
    since_ms: FxHashMap<Product, i64>,
    /// Newest first: a gap of a minute ago is not to wait until a whole day was read.
    unread: VecDeque<Reading>,
}

impl Left {
    /// The rest of a reading is for later.
    fn leave(&mut self, reading: &Reading) {
        let at = self.unread.partition_point(|other| other.since_ms > reading.since_ms);
        self.unread.insert(at, reading.left());
    }
}

/// Where it stands; shared by clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Bookmark(Arc<Mutex<Left>>);

impl Bookmark {
    fn get(&self) -> Left {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, left: Left) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}

/// What an answer came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The reading goes on.
    More,
    /// It makes room; the rest is read in later rounds.
    Later,
    /// It makes room, and its rest is left out: too many wait already.
    LeftOut,
    /// It has come to its end.
    Done,
    /// No room to hold back what is from the future: nothing was taken, it is asked for again.
    Again,
}

/// See the module's text.
pub(super) struct Fills {
    seen: Seen,
    first_ms: i64,
    /// Of this round, in this order.
    now: VecDeque<Reading>,
    /// What earlier rounds did not reach.
    left: Left,
    /// Read, but from the future by the exchange's clock as it is known: they would be refused, and are not read again.
    held: Vec<(Instant, Report)>,
    held_max: usize,
    /// The oldest of what was left is in turn: while newer ones follow each other it must not wait until what the
    /// connection told of its time is forgotten by those who tell fills apart.
    is_oldest_due: bool,
    is_failing: bool,
    bookmark: Bookmark,
}

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// By ours, ms since 1970.
    pub ms: i64,
    /// The exchange's clock minus ours, as it is known.
    pub offset_ms: i64,
    pub instant: Instant,
}

impl Now {
    fn is_before(self, report: &Report) -> bool {
        check_private_time(report.exchange_time_ms(), self.ms, self.offset_ms).is_err()
    }
}

impl Fills {
    /// Goes on where the former reader was, if there was one; otherwise back to `first_ms`.
    pub fn since(first_ms: i64, bookmark: Bookmark) -> Self {
        Self {
            seen: Seen::default(),
            first_ms,
            now: VecDeque::new(),
            left: bookmark.get(),
            held: Vec::new(),
            held_max: HELD_MAX,
            is_oldest_due: false,
            is_failing: false,
            bookmark,
        }
    }

    /// Everything that was answered was handed on: whoever reads next goes on from here.
    pub fn handed_on(&self) {
        if self.is_holding() {
            return;
        }
        let mut left = self.left.clone();
        self.now.iter().filter(|reading| reading.is_begun()).for_each(|reading| left.leave(reading));
        self.bookmark.set(left);
    }

    /// A round begins: the newest fills of each product, then one of the readings that were left, the newest and the
    /// oldest in turn. Nothing happens while the former round's fills are being read.
    pub fn begin(&mut self, products: impl IntoIterator<Item = Product>) {
        if !self.now.is_empty() {
            return;
        }
        for product in products {
            let since_ms = self.left.since_ms.get(&product).copied().unwrap_or(self.first_ms);
            self.now.push_back(Reading {
                product,
                since_ms,
                cursor: None,
                read_to_ms: None,
                known: Arc::new(self.seen.since(product, since_ms)),
                stretches: 0,
                is_new: true,
            });
        }
        let unread = &mut self.left.unread;
        self.now.extend(if self.is_oldest_due { unread.pop_back() } else { unread.pop_front() });
        self.is_oldest_due = !self.is_oldest_due;
    }

    /// What is to be asked for next.
    pub fn next(&self) -> Option<&Reading> {
        self.now.front()
    }

    /// Whether reading may stop behind this one.
    pub fn is_known(&self, fill: &Fill) -> bool {
        self.now.front().is_some_and(|reading| reading.is_new) && self.was_handed_on(fill)
    }

    fn was_handed_on(&self, fill: &Fill) -> bool {
        self.now.front().is_some_and(|reading| {
            reading.known.contains(fill.trade_id.as_str()) || self.seen.is_known(reading.product, fill)
        })
    }

    /// Books one stretch of the reading that [`Fills::next`] tells, and takes out of it what was handed on before and
    /// what is held back. `left` is where it goes on. All of it is taken out where there is no room to hold it back.
    pub fn answered(&mut self, reports: &mut Vec<Report>, left: Option<String>, now: Now) -> Step {
        let is_early = |r: &Report| now.is_before(r) && !matches!(r, Report::Fill(fill) if self.was_handed_on(fill));
        let early = reports.iter().filter(|r| is_early(r)).count();
        if !self.held.is_empty() && self.held.len() + early > self.held_max {
            reports.clear();
            return Step::Again;
        }
        let Some(mut reading) = self.now.pop_front() else { return Step::Done };
        let times = || reports.iter().filter(|r| !now.is_before(r)).map(Report::exchange_time_ms);
        let newest_ms = times().max();
        if reading.is_new {
            reading.read_to_ms = times().chain(reading.read_to_ms).min();
        }
        reports.retain(|report| match report {
            Report::Fill(fill) => {
                let is_new = !reading.known.contains(fill.trade_id.as_str()) && self.seen.is_new(reading.product, fill);
                if is_new {
                    // One that is in turn in this round may have to wait for a later one, too.
                    let others = self.left.unread.iter_mut().chain(&mut self.now);
                    others.for_each(|other| other.note(reading.product, fill));
                }
                is_new
            }
            _ => true,
        });
        let early = reports.extract_if(.., |report| now.is_before(report));
        self.held.extend(early.map(|report| (now.instant, report)));
        if let (true, Some(newest_ms)) = (reading.is_new, newest_ms) {
            let since_ms = self.left.since_ms.entry(reading.product).or_insert(self.first_ms);
            *since_ms = (*since_ms).max(newest_ms - OVERLAP_MS);
        }
        let step = match left {
            None => Step::Done,
            Some(_) if reading.stretches + 1 < STRETCHES => {
                self.now.push_front(Reading { cursor: left, stretches: reading.stretches + 1, ..reading });
                Step::More
            }
            Some(_) if self.left.unread.len() < UNREAD_MAX => {
                self.left.leave(&Reading { cursor: left, ..reading });
                Step::Later
            }
            Some(_) => Step::LeftOut,
        };
        self.is_failing &= !self.now.is_empty();
        step
    }

    /// No answer: the newest fills are asked for again in the next round, and what had been begun goes on there. Returns
    /// what is left out: what an earlier round left is given up if asking again `is_hopeless`.
    pub fn failed(&mut self, is_hopeless: bool) -> Option<Reading> {
        self.is_failing = true;
        let asked = self.now.pop_front();
        let is_given_up = |reading: &Reading| is_hopeless && !reading.is_new && reading.stretches == 0;
        let left_out = asked.as_ref().filter(|reading| is_given_up(reading)).cloned();
        // The next reading looks no further back than to where this one began.
        let rest = asked.into_iter().chain(self.now.drain(..)).filter(Reading::is_begun);
        rest.filter(|reading| left_out.as_ref() != Some(reading)).for_each(|reading| self.left.leave(&reading));
        left_out
    }

    /// Whether the time of some fills has not come.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// What was held back and need not be any longer, oldest first.
    pub fn come_of_age(&mut self, now: Now) -> Vec<Report> {
        let is_due = |(since, report): &mut (Instant, Report)| {
            now.instant.saturating_duration_since(*since) >= HELD_LONGEST || !now.is_before(report)
        };
        let mut due: Vec<Report> = self.held.extract_if(.., is_due).map(|(_, report)| report).collect();
        due.sort_by_key(Report::exchange_time_ms);
        due
    }

    /// The last question was not answered, and not all that followed were yet.
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }
}

#[cfg(test)]
#[path = "fills_tests.rs"]
mod tests;
