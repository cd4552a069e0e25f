//! The reconciler's task: what it asks, in which order, and what it does with answers and with none.

use super::super::health::Problem;
use super::super::validator::ValidatorMsg;
use super::super::watchdog::WatchdogMsg;
use super::fills::{Bookmark, Fills, Now, Reading, Step};
use super::{Outlets, ReconcilerCounters, ReconcilerSettings, Wanted};
use crate::alive::{SILENCE, while_waiting};
use crate::clock::Clock;
use crate::domain::account::Fill;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::report::{Batch, Origin};
use crate::domain::symbol::SymbolId;
use crate::error::Remedy;
use crate::exchange::bitget::consts::Generation;
use crate::exchange::bitget::dialect::Dialect;
use crate::exchange::bitget::error::{RestError, login_fix};
use crate::exchange::bitget::parse::Decoded;
use crate::exchange::bitget::rest::Rest;
use crate::exchange::bitget::subscribe::products_of;
use crate::supervise::Progress;
use rustc_hash::FxHashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Pause between two questions for the kind of account.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(2);
/// Shortest pause between two looks at the clock out of doubt.
const CLOCK_GAP: Duration = Duration::from_secs(1);

/// A suspicion that stays is asked about less and less often, up to this many doublings of the first gap: the limits of
/// REST belong to the whole account.
const DOUBLINGS: u32 = 3;

/// The nobody-listens-any-more of this task.
struct Gone;

pub(super) struct Rounds {
    rest: Rest,
    dialect: Dialect,
    settings: ReconcilerSettings,
    clock: Clock,
    counters: ReconcilerCounters,
    out: Outlets,
    progress: Progress,
    wanted: Rc<Wanted>,
    fills: Fills,
    /// What the validator was told last of the exchange's clock.
    told_offset_ms: Option<i64>,
    /// Last known state of each configured contract; `None` = not listed.
    contracts: FxHashMap<SymbolId, Option<String>>,
    /// What people were told, `None` before the first outcome: a former incarnation may have told them anything, so the
    /// first outcome of each one is told, whatever it is.
    failing: Option<bool>,
    key_refused: Option<bool>,
    /// Questions for one suspicion after another, and when the last of them was answered.
    hurried: u32,
    hurried_at: Option<Instant>,
}

impl Rounds {
    #[expect(clippy::too_many_arguments, reason = "what the room was made with, handed on once")]
    pub(super) fn new(
        rest: Rest,
        dialect: Dialect,
        settings: ReconcilerSettings,
        clock: Clock,
        counters: ReconcilerCounters,
        out: Outlets,
        progress: Progress,
        wanted: Rc<Wanted>,
    ) -> Self {
        Self {
            rest,
            dialect,
            settings,
            clock,
            counters,
            out,
            progress,
            wanted,
            fills: Fills::since(0, Bookmark::default()),
            told_offset_ms: None,
            contracts: FxHashMap::default(),
            failing: None,
            key_refused: None,
            hurried: 0,
            hurried_at: None,
        }
    }

    pub(super) fn reading_fills_since(mut self, since_ms: i64, bookmark: Bookmark) -> Self {
        self.fills = Fills::since(since_ms, bookmark);
        self
    }

    pub(super) async fn run(mut self) {
        self.progress.expect_within(SILENCE);
        let Err(Gone) = self.forever().await else { return };
    }

    async fn forever(&mut self) -> Result<(), Gone> {
        let start = Instant::now();
        let (mut clock_due, mut contracts_due, mut round_due) = (start, start, start);
        // The exchange asked for a pause: until then nothing private is asked, whoever doubts.
        let mut quiet_until = start;
        let mut fills_due = start;
        let mut is_confirmed = false;
        // The clock first: everything that is signed and judged needs it.
        let mut read_at: Option<Instant> = None;
        let mut clock_read = start;
        loop {
            let now = Instant::now();
            crate::fault_points::never("reconciler").await;
            self.progress.beat();
            if self.wanted.clock.take() {
                clock_due = clock_due.min(clock_read + CLOCK_GAP);
            }
            if now >= clock_due {
                self.clock().await?;
                clock_read = now;
                clock_due = now + self.settings.clock_every;
            }
            self.late_fills().await?;
            let private = self.rest.has_credential();
            let everything = now >= quiet_until && (self.wanted.everything.take() || now >= round_due);
            let gap_over = read_at.is_none_or(|at| at + self.suspicion_gap() <= now);
            if private && now >= quiet_until && (everything || (self.wanted.positions.get() && gap_over)) {
                if self.wanted.positions.take() {
                    self.counters.shared.2.fetch_add(1, Ordering::Relaxed);
                    self.hurry(now);
                }
                let outcome = self.round(everything).await?;
                read_at = Some(Instant::now());
                let known = self.dialect.known().is_some();
                if let Err(Remedy::Retry { after }) = outcome.as_ref().map_err(RestError::remedy) {
                    quiet_until = Instant::now() + after;
                }
                is_confirmed = outcome.is_ok();
                let hopeless = match outcome {
                    // Told before the fills are read, which may take minutes; not while they are what fails.
                    Ok(()) if self.fills.is_failing() => false,
                    outcome => self.judge("positions cannot be confirmed", outcome).await,
                };
                let pause = match (hopeless, known) {
                    (true, _) => self.settings.refused_pause,
                    (false, true) => self.settings.every,
                    // Everything private waits for this answer.
                    (false, false) => self.settings.every.min(UNKNOWN_PAUSE),
                };
                if everything || hopeless {
                    round_due = Instant::now() + pause;
                }
            }
            // The exchange limits this path a second; positions are asked for in between.
            if private && self.fills.next().is_some() && Instant::now() >= quiet_until.max(fills_due) {
                let was_failing = self.fills.is_failing();
                let outcome = self.fills().await?;
                fills_due = Instant::now() + self.settings.fills_pause;
                if let Err(Remedy::Retry { after }) = outcome.as_ref().map_err(RestError::remedy) {
                    quiet_until = Instant::now() + after;
                }
                let is_over = was_failing && !self.fills.is_failing() && is_confirmed;
                if outcome.is_err() || is_over {
                    self.judge("fills cannot be read", outcome).await;
                }
            }
            if now >= contracts_due {
                let generation = self.dialect.known().unwrap_or(Generation::Unified);
                let outcome = self.contracts(generation).await;
                // Without a list nothing is known to be delisted: soon again.
                let pause = if outcome.is_ok() { self.settings.contracts_every } else { self.settings.clock_every };
                contracts_due = Instant::now() + pause;
            }
            let mut due = clock_due.min(contracts_due);
            if self.fills.is_holding() {
                due = due.min(Instant::now() + CLOCK_GAP);
            }
            if private {
                let mut next = round_due;
                if self.wanted.positions.get() {
                    next = next.min(read_at.map_or(now, |at| at + self.suspicion_gap()));
                }
                if self.fills.next().is_some() {
                    next = next.min(fills_due);
                }
                due = due.min(next.max(quiet_until));
            }
            let asked = async {
                tokio::select! {
                    () = self.wanted.poke.notified() => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                }
            };
            self.patiently(asked).await;
        }
    }

    /// Least time between two questions for a suspicion.
    fn suspicion_gap(&self) -> Duration {
        self.settings.suspicion_gap * 2_u32.pow(self.hurried.saturating_sub(1).min(DOUBLINGS))
    }

    /// Counts questions that follow each other; after a quiet while the next one comes at once again.
    fn hurry(&mut self, now: Instant) {
        let quiet = self.settings.suspicion_gap * 2_u32.pow(DOUBLINGS + 1);
        if self.hurried_at.is_none_or(|at| at + quiet < now) {
            self.hurried = 0;
        }
        self.hurried = self.hurried.saturating_add(1);
        self.hurried_at = Some(now);
    }

    /// Positions; the account too if `everything` is wanted, and then its fills are to be read.
    async fn round(&mut self, everything: bool) -> Result<Result<(), RestError>, Gone> {
        let generation = match self.patiently(self.dialect.ask(&self.rest)).await {
            Ok(generation) => generation,
            Err(error) => return self.failed("account", &error).await.map(|()| Err(error)),
        };
        let mut outcome = self.positions(generation).await?;
        if everything && outcome.is_ok() {
            outcome = self.account(generation).await?;
        }
        if everything && outcome.is_ok() {
            self.fills.begin(products_of(self.rest.symbols()));
        }
        Ok(outcome)
    }

    async fn clock(&mut self) -> Result<(), Gone> {
        match self.patiently(self.rest.measure_skew()).await {
            Ok(offset_ms) => {
                self.told_offset_ms = Some(offset_ms);
                self.validator(ValidatorMsg::ClockOffset { offset_ms }).await
            }
            Err(error) => {
                self.failed("time", &error).await?;
                Ok(())
            }
        }
    }

    async fn positions(&mut self, generation: Generation) -> Result<Result<(), RestError>, Gone> {
        for product in products_of(self.rest.symbols()) {
            match self.patiently(self.rest.positions(generation, product)).await {
                Ok(answer) => self.hand_on(answer).await?,
                Err(error) => return self.failed("positions", &error).await.map(|()| Err(error)),
            }
        }
        self.counters.shared.0.fetch_add(1, Ordering::Relaxed);
        Ok(Ok(()))
    }

    async fn account(&mut self, generation: Generation) -> Result<Result<(), RestError>, Gone> {
        match self.patiently(self.rest.account(generation)).await {
            Ok(answer) => self.hand_on(answer).await.map(Ok),
            Err(error) => self.failed("account", &error).await.map(|()| Err(error)),
        }
    }

    /// One stretch of the fills that are to be read.
    async fn fills(&mut self) -> Result<Result<(), RestError>, Gone> {
        let generation = self.dialect.known().unwrap_or(Generation::Unified);
        let Some(Reading { product, since_ms, cursor, .. }) = self.fills.next().cloned() else { return Ok(Ok(())) };
        let is_known = |fill: &Fill| self.fills.is_known(fill);
        let asked = self.rest.fills(generation, product, since_ms, cursor, &is_known);
        match self.patiently(asked).await {
            Ok((mut answer, left)) => {
                let (now, was_holding) = (self.now(), self.fills.is_holding());
                let step = self.fills.answered(&mut answer.reports, left, now);
                if self.fills.is_holding() && !was_holding {
                    warn!(
                        ?product,
                        "fills from the future by what is known of the exchange's clock; they are held back"
                    );
                    self.wanted.clock.set(true);
                }
                match step {
                    Step::More | Step::Done => {}
                    Step::Again => self.wanted.clock.set(true),
                    Step::Later => info!(?product, since_ms, "many fills: the older ones follow in the next rounds"),
                    Step::LeftOut => {
                        self.counters.shared.1.fetch_add(1, Ordering::Relaxed);
                        warn!(?product, since_ms, "too many outages with unread fills; these are left out");
                    }
                }
                self.tell_clock(now.offset_ms).await?;
                self.hand_on(answer).await?;
                self.fills.handed_on();
                Ok(Ok(()))
            }
            Err(error) => {
                if let Some(Reading { product, since_ms, .. }) = self.fills.failed(error.blames_question()) {
                    warn!(%error, ?product, since_ms, "older fills cannot be read on; they are left out");
                }
                self.failed("fills", &error).await.map(|()| Err(error))
            }
        }
    }

    fn now(&self) -> Now {
        Now { ms: self.clock.now_ms(), offset_ms: self.rest.skew().offset_ms(), instant: Instant::now() }
    }

    /// Tells the validator by which clock fills are handed on: others ask the exchange for its time, too, and it would
    /// judge by an older answer.
    async fn tell_clock(&mut self, offset_ms: i64) -> Result<(), Gone> {
        if self.told_offset_ms.replace(offset_ms) == Some(offset_ms) {
            return Ok(());
        }
        self.validator(ValidatorMsg::ClockOffset { offset_ms }).await
    }

    /// Hands on fills whose time has come, or for which the clock was found to be another.
    async fn late_fills(&mut self) -> Result<(), Gone> {
        if !self.fills.is_holding() {
            return Ok(());
        }
        let now = self.now();
        let reports = self.fills.come_of_age(now);
        self.tell_clock(now.offset_ms).await?;
        self.hand_on(Decoded { reports, ..Decoded::default() }).await
    }

    async fn contracts(&mut self, generation: Generation) -> Result<(), RestError> {
        for product in products_of(self.rest.symbols()) {
            let listed = match self.patiently(self.rest.contracts(generation, product)).await {
                Ok(listed) => listed,
                Err(error) => {
                    self.counters.shared.1.fetch_add(1, Ordering::Relaxed);
                    warn!(%error, "no list of contracts");
                    return Err(error);
                }
            };
            let configured: Vec<SymbolId> =
                self.rest.symbols().iter().filter(|(_, s)| s.product == product).map(|(id, _)| id).collect();
            for id in configured {
                let found = listed.iter().find(|c| c.symbol == id);
                let state = found.map(|c| c.status.clone());
                let before = self.contracts.insert(id, state.clone());
                if before.as_ref() != Some(&state) {
                    let symbol = self.rest.symbols().name(id);
                    match found {
                        None => warn!(symbol, "the exchange does not list this contract"),
                        Some(c) if !c.open => warn!(symbol, status = c.status, "contract is not open for trading"),
                        Some(c) if before.is_some() => info!(symbol, status = c.status, "contract changed"),
                        Some(_) => {}
                    }
                }
            }
        }
        Ok(())
    }

    async fn hand_on(&mut self, answer: Decoded) -> Result<(), Gone> {
        let Decoded { reports, refused } = answer;
        if !refused.is_empty() {
            self.validator(ValidatorMsg::Refused(refused)).await?;
        }
        if reports.is_empty() {
            return Ok(());
        }
        let (received_ms, received) = (self.clock.now_ms(), self.clock.instant());
        let reports = Arc::new(reports);
        let batch = Batch { origin: Origin::Rest, connection: 0, received_ms, received, reports };
        self.validator(ValidatorMsg::Reports(batch)).await
    }

    /// Counts what is no answer; an odd one is kept for people to look at.
    async fn failed(&mut self, what: &'static str, error: &RestError) -> Result<(), Gone> {
        self.counters.shared.1.fetch_add(1, Ordering::Relaxed);
        let refusal = match error {
            RestError::Unreadable { .. } => Refusal::UnknownShape,
            RestError::Oversized { .. } => Refusal::Oversized,
            RestError::Transport { .. }
            | RestError::Status { .. }
            | RestError::Code { .. }
            | RestError::Slow { .. }
            | RestError::NoCredential => {
                return Ok(());
            }
        };
        let refused = Refused::new(refusal, what, self.clock.now_ms(), &format!("rest: {error}"));
        self.validator(ValidatorMsg::Refused(vec![refused])).await
    }

    /// Tells people when asking begins to fail and when it works again. True when only a person can help.
    async fn judge(&mut self, what: &str, outcome: Result<(), RestError>) -> bool {
        let error = match outcome {
            Ok(()) => {
                match self.failing.replace(false) {
                    Some(false) => {}
                    before => {
                        if before.is_some() {
                            info!("reconciling works again");
                        }
                        self.problem(Problem::Reconcile, None).await;
                    }
                }
                if self.key_refused.replace(false) != Some(false) {
                    self.problem(Problem::Login, None).await;
                }
                return false;
            }
            Err(error) => error,
        };
        let hopeless = error.remedy() == Remedy::GiveUp;
        if self.failing.replace(true) != Some(true) {
            warn!(%error, "no answer to the question for the truth");
        }
        // Each time: a watchdog that was replaced meanwhile has forgotten it; one that knows it says nothing.
        let text = format!("{what} over REST: {error}");
        self.problem(Problem::Reconcile, Some(text)).await;
        if let (true, RestError::Code { code, .. }) = (hopeless, &error) {
            self.key_refused = Some(true);
            let text = format!("the exchange refuses the key, code {code}: {}", login_fix(*code));
            self.problem(Problem::Login, Some(text)).await;
        }
        hopeless
    }

    /// Questions to the exchange have limits of their own, and a full mailbox may rightly take long.
    async fn patiently<T>(&self, wait: impl Future<Output = T>) -> T {
        while_waiting(|| self.progress.beat(), wait).await
    }

    async fn validator(&self, msg: ValidatorMsg) -> Result<(), Gone> {
        self.patiently(self.out.validator.send(msg)).await.map_err(|_| Gone)
    }

    async fn problem(&self, problem: Problem, text: Option<String>) {
        let _ = self.patiently(self.out.watchdog.send(WatchdogMsg::Problem { problem, text })).await;
    }
}
