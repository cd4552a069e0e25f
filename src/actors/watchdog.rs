//! The health watchdog: freshness of every key, `stale` marks, alerts, the service manager's watchdog.
//!
//! It reads observations (the board, the tree's states) instead of asking rooms, so a stuck room cannot keep it from
//! seeing that the room is stuck. Hung rooms themselves are replaced by the supervisor's own thread.

use super::breaker::BreakerMsg;
use super::health::{Health, Problem};
use super::reconciler::ReconcilerMsg;
use super::saved;
use super::writer::{Subject, WriterMsg};
use crate::domain::event::{Alert, Event, Severity};
use crate::domain::freshness::{Freshness, judge};
use crate::domain::position::HoldSide;
use crate::domain::symbol::{SymbolId, Symbols};
use crate::memory::{END, Memory, SHED};
use crate::store::board::{Board, Counts, LinkState, Reading};
use crate::store::encode::StaleMark;
use crate::store::encode::state::HealthPicture;
use crate::supervise::journal::Record;
use crate::supervise::{Card, Cx, Factory, Fault, Message, Overflow, Port, Restart, Room};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// What the watchdog accepts.
#[derive(Clone, Debug)]
pub enum WatchdogMsg {
    Look,
    /// Something a room wants people to know; `None` when it is over.
    Problem {
        problem: Problem,
        text: Option<String>,
    },
}

impl Message for WatchdogMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Look => "Look",
            Self::Problem { .. } => "Problem",
        }
    }

    fn digest(&self) -> String {
        format!("{self:?}")
    }

    fn replayable(&self) -> Result<(), &'static str> {
        Err(saved::PASSED)
    }
}

pub fn card() -> Card {
    Card {
        name: "health_watchdog",
        purpose: "Marks what is stale, alerts, and tells the service manager that every room makes progress.",
        mailbox: 256,
        overflow: Overflow::Block,
        deadline: Duration::from_secs(2),
        restart: Restart::Permanent,
        attempts: 2,
        critical: true,
        accepts: &["Look", "Problem"],
        emits: &[
            "Stale -> redis_writer",
            "Event -> redis_writer",
            "Health -> redis_writer",
            "AccountFreshness -> circuit_breaker",
            "Suspicion -> reconciler",
        ],
        state_at_restart: "empty: every key is judged anew from the board at the next look",
    }
}

/// Limits of freshness, ms.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub position_ms: i64,
    pub market_ms: i64,
    pub look_every_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { position_ms: 60_000, market_ms: 5_000, look_every_ms: 250 }
    }
}

#[derive(Clone)]
pub struct Outlets {
    pub writer: Port<WriterMsg>,
    pub breaker: Port<BreakerMsg>,
    pub reconciler: Port<ReconcilerMsg>,
}

/// `trapline:health` is written at most this often while nothing changes.
const HEALTH_MS: i64 = 1_000;
/// The same note is an alert once in so long.
const NOTE_EVERY_MS: i64 = 60_000;
const NOTED_MAX: usize = 256;

pub struct Watchdog {
    limits: Limits,
    symbols: Arc<Symbols>,
    board: Arc<Board>,
    health: Health,
    private: bool,
    started_ms: i64,
    /// What is stale now, and since when.
    stale: FxHashMap<Subject, i64>,
    problems: FxHashMap<Problem, String>,
    account_stale: bool,
    /// Notes of the writer that were passed on, and when.
    noted: FxHashMap<(&'static str, String), i64>,
    published_ms: i64,
    /// How far the wall clock had stepped away at the last look, ms.
    ahead_ms: i64,
    measured_ms: i64,
    exhausted_looks: u32,
    out: Outlets,
}

impl Watchdog {
    /// `private`: whether the account's data are expected at all.
    pub fn factory(
        limits: Limits,
        symbols: Arc<Symbols>,
        board: Arc<Board>,
        health: Health,
        private: bool,
        out: Outlets,
    ) -> Factory<Self> {
        Arc::new(move |_birth, cx| {
            cx.every(Duration::from_millis(limits.look_every_ms), || WatchdogMsg::Look);
            Ok(Self {
                limits: limits.clone(),
                symbols: symbols.clone(),
                board: board.clone(),
                health: health.clone(),
                private,
                started_ms: cx.now_ms(),
                stale: FxHashMap::default(),
                problems: FxHashMap::default(),
                account_stale: false,
                noted: FxHashMap::default(),
                published_ms: i64::MIN / 2,
                ahead_ms: cx.clock().ahead_ms(),
                measured_ms: i64::MIN / 2,
                exhausted_looks: 0,
                out: out.clone(),
            })
        })
    }

    fn look(&mut self, cx: &mut Cx<Self>) {
        let now_ms = cx.now_ms();
        for symbol in self.symbols.ids() {
            let reading = self.board.market(symbol).read();
            self.judge(Subject::Market(symbol), reading, self.limits.market_ms, now_ms, cx);
        }
        let mut account_stale = false;
        if self.private {
            for symbol in self.symbols.ids() {
                for side in HoldSide::BOTH {
                    let reading = self.board.position(symbol, side).read();
                    let subject = Subject::Position(symbol, side);
                    account_stale |= self.judge(subject, reading, self.limits.position_ms, now_ms, cx);
                }
            }
        }
        if account_stale != self.account_stale {
            self.account_stale = account_stale;
            cx.send(&self.out.breaker, BreakerMsg::AccountFreshness { stale: account_stale });
            if account_stale {
                cx.send(&self.out.reconciler, ReconcilerMsg::Suspicion { symbol: None });
            }
        }
        self.clock(cx);
        if now_ms - self.measured_ms >= HEALTH_MS {
            self.measured_ms = now_ms;
            self.memory(cx);
        }
        let link = self.board.link();
        let redis = (link != LinkState::Up && self.board.away_ms(now_ms) > 2_000)
            .then(|| format!("redis is {}: state waits, events go to the spool", link.label()));
        self.problem(Problem::Redis, redis, cx);
        let spool = (!self.board.spool_durable())
            .then(|| "events wait in memory only: the disk refuses them; make space or check the folder".to_owned());
        self.problem(Problem::Spool, spool, cx);
        self.pass_on_notes(now_ms, cx);
        self.publish(now_ms, cx);
    }

    /// A step of the wall clock changes nothing but stamps; people should know of it all the same.
    fn clock(&mut self, cx: &Cx<Self>) {
        let ahead_ms = cx.clock().ahead_ms();
        let step_ms = ahead_ms - std::mem::replace(&mut self.ahead_ms, ahead_ms);
        if step_ms != 0 {
            Counts::add(&self.board.counts.clock_steps_total, 1);
            warn!(step_ms, "the wall clock stepped: stamps follow it, ages and limits do not");
            let text = format!("by {step_ms} ms");
            self.health.write_down(Record::Trouble { problem: "clock_step", over: true, text });
        }
    }

    /// Sheds in time, and lets the process end in order before the kernel ends it.
    fn memory(&mut self, cx: &mut Cx<Self>) {
        let memory = Memory::now();
        let share = memory.map_or(0.0, |memory| memory.share());
        // Back only with a margin, so that it does not flicker.
        let short = share >= SHED || (self.problems.contains_key(&Problem::Memory) && share >= SHED - 0.05);
        // Twice in a row: one reading may fall into a moment.
        self.exhausted_looks = if share >= END { self.exhausted_looks + 1 } else { 0 };
        self.board.set_memory(short, self.exhausted_looks >= 2);
        let text = memory.filter(|_| short).map(|memory| {
            let mib = |bytes: u64| bytes / (1024 * 1024);
            let (used, limit) = (mib(memory.used), mib(memory.limit));
            format!("{used} of {limit} MiB are used: latencies are no longer kept; give the service more memory")
        });
        self.problem(Problem::Memory, text, cx);
    }

    /// What the writer found out about single keys; the same once in a while.
    fn pass_on_notes(&mut self, now_ms: i64, cx: &mut Cx<Self>) {
        self.noted.retain(|_, at_ms| now_ms - *at_ms < NOTE_EVERY_MS);
        for (i, note) in (0..).zip(self.board.take_notes()) {
            if self.noted.len() >= NOTED_MAX || self.noted.contains_key(&(note.code, note.key.clone())) {
                continue;
            }
            self.noted.insert((note.code, note.key), now_ms);
            let (code, text) = (note.code, note.text);
            // Code and time are an alert's identity: two notes of one moment must not be one alert.
            let at_ms = now_ms + i;
            let alert =
                Alert { code: code.into(), severity: Severity::Critical, symbol: None, text, at_ms, recovered: false };
            cx.send(&self.out.writer, WriterMsg::Event(vec![Event::Alert(alert)]));
        }
    }

    /// Judges one key; true when it is stale.
    fn judge(&mut self, subject: Subject, reading: Reading, limit_ms: i64, now_ms: i64, cx: &mut Cx<Self>) -> bool {
        let proof = (reading.verified_ms > 0).then_some(reading.verified_ms);
        // What an earlier process left as fresh has an age of its own, whenever this one began.
        let from_ms = if reading.found_ms > 0 { self.started_ms.min(reading.found_ms) } else { self.started_ms };
        match (judge(proof, from_ms, now_ms, limit_ms), self.stale.get(&subject)) {
            (Freshness::Fresh, None) => false,
            (Freshness::Fresh, Some(_)) => {
                let since_ms = self.stale.remove(&subject).unwrap_or(now_ms);
                info!(key = %subject_label(subject, &self.symbols), stale_ms = now_ms - since_ms, "fresh again");
                let (key, stale_ms) = (subject_label(subject, &self.symbols), since(since_ms, now_ms));
                self.health.write_down(Record::KeyFresh { key, stale_ms });
                self.alert(subject, true, String::new(), cx);
                false
            }
            (Freshness::Stale { .. }, Some(_)) => true,
            (Freshness::Stale { since_ms }, None) => {
                self.stale.insert(subject, since_ms);
                let label = subject_label(subject, &self.symbols);
                let reason = if proof.is_none() { "no_data" } else { "silent" };
                warn!(key = %label, reason, age_ms = now_ms - proof.unwrap_or(from_ms), "stale");
                cx.send(&self.out.writer, WriterMsg::Stale { what: subject, mark: StaleMark { since_ms, reason } });
                let age_ms = since(proof.unwrap_or(from_ms), now_ms);
                self.health.write_down(Record::KeyStale { key: label.clone(), reason, age_ms });
                let text = format!("{label} was not proved for more than {limit_ms} ms: do not trade on it");
                self.alert(subject, false, text, cx);
                true
            }
        }
    }

    /// What the seed calls `notifyStaleData`, once per change.
    fn alert(&mut self, subject: Subject, recovered: bool, text: String, cx: &mut Cx<Self>) {
        let at_ms = cx.wall_ms();
        let (code, severity) = match subject {
            Subject::Market(_) => ("market_stale", Severity::Warning),
            Subject::Position(..) | Subject::Positions | Subject::Account | Subject::Everything => {
                ("position_stale", Severity::Critical)
            }
        };
        let alert = Alert { code: code.into(), severity, symbol: subject_symbol(subject), text, at_ms, recovered };
        cx.send(&self.out.writer, WriterMsg::Event(vec![Event::Alert(alert)]));
    }

    fn problem(&mut self, problem: Problem, text: Option<String>, cx: &mut Cx<Self>) {
        let at_ms = cx.wall_ms();
        let known = self.problems.contains_key(&problem);
        if text.is_some() == known {
            return;
        }
        let recovered = text.is_none();
        match &text {
            Some(text) => {
                warn!(problem = problem.label(), "{text}");
                self.problems.insert(problem, text.clone());
            }
            None => {
                info!(problem = problem.label(), "over");
                self.problems.remove(&problem);
            }
        }
        self.health.write_down(Record::Trouble {
            problem: problem.label(),
            over: recovered,
            text: text.clone().unwrap_or_default(),
        });
        let severity = Severity::Critical;
        let alert = Alert {
            code: problem.label().into(),
            severity,
            symbol: None,
            text: text.unwrap_or_default(),
            at_ms,
            recovered,
        };
        cx.send(&self.out.writer, WriterMsg::Event(vec![Event::Alert(alert)]));
        self.published_ms = i64::MIN / 2;
    }

    fn publish(&mut self, now_ms: i64, cx: &mut Cx<Self>) {
        let mut unfit: Vec<String> = self.problems.keys().map(|p| p.label().to_owned()).collect();
        unfit.extend(self.health.suspended());
        unfit.sort_unstable();
        let unwritten = self.symbols.ids().filter(|&s| self.board.market(s).read().written_seq == 0).count();
        self.health.set_readiness(now_ms, &self.stale, unfit.clone(), unwritten);
        if now_ms - self.published_ms < HEALTH_MS {
            return;
        }
        self.published_ms = now_ms;
        let ready = self.health.is_ready();
        let fields = vec![
            ("stale_keys", self.stale.len().to_string()),
            ("problems", unfit.join(",")),
            ("redis", self.board.link().label().to_owned()),
        ];
        cx.send(&self.out.writer, WriterMsg::Health(HealthPicture { ready, fields }));
        self.health.feed_service_manager(ready, self.stale.len());
    }
}

impl Room for Watchdog {
    type Msg = WatchdogMsg;

    fn handle(&mut self, msg: &WatchdogMsg, cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            WatchdogMsg::Look => self.look(cx),
            WatchdogMsg::Problem { problem, text } => self.problem(*problem, text.clone(), cx),
        }
        Ok(())
    }
}

fn since(then_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(now_ms - then_ms).unwrap_or(0)
}

const fn subject_symbol(subject: Subject) -> Option<SymbolId> {
    match subject {
        Subject::Market(symbol) | Subject::Position(symbol, _) => Some(symbol),
        Subject::Positions | Subject::Account | Subject::Everything => None,
    }
}

/// `market:BTCUSDT`, `position:BTCUSDT:long`.
pub fn subject_label(subject: Subject, symbols: &Symbols) -> String {
    match subject {
        Subject::Market(symbol) => format!("market:{}", symbols.name(symbol)),
        Subject::Position(symbol, side) => format!("position:{}:{}", symbols.name(symbol), side.label()),
        Subject::Positions => "positions".to_owned(),
        Subject::Account => "account".to_owned(),
        Subject::Everything => "everything".to_owned(),
    }
}

impl std::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchdog").field("stale", &self.stale.len()).finish_non_exhaustive()
    }
}
