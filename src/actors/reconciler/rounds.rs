//! The reconciler's task: what it asks, in which order, and what it does with answers and with none.

use super::super::health::Problem;
use super::super::validator::ValidatorMsg;
use super::super::watchdog::WatchdogMsg;
use super::{Outlets, ReconcilerCounters, ReconcilerSettings, Wanted};
use crate::alive::{SILENCE, while_waiting};
use crate::clock::Clock;
use crate::domain::account::Fill;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::report::{Batch, Origin, Report};
use crate::domain::symbol::{Product, SymbolId};
use crate::error::Remedy;
use crate::exchange::bitget::consts::Generation;
use crate::exchange::bitget::dialect::Dialect;
use crate::exchange::bitget::error::{RestError, login_fix};
use crate::exchange::bitget::parse::Decoded;
use crate::exchange::bitget::rest::Rest;
use crate::exchange::bitget::subscribe::products_of;
use crate::supervise::Progress;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
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

/// Ids of the fills that were handed on; bounded, oldest forgotten first.
#[derive(Default)]
struct SeenFills {
    ids: FxHashSet<String>,
    order: VecDeque<String>,
}

impl SeenFills {
    /// More than one answer holds, or each round would hand on the oldest again.
    const MAX: usize = 16_384;

    /// True for a fill that was not seen before.
    fn is_new(&mut self, id: &str) -> bool {
        if self.ids.contains(id) {
            return false;
        }
        if self.order.len() == Self::MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.ids.insert(id.to_owned());
        self.order.push_back(id.to_owned());
        true
    }
}

/// Older fills behind the ones that were read: they are read on in the next rounds, from `cursor` back to `since_ms`.
struct Unread {
    product: Product,
    since_ms: i64,
    cursor: String,
}

/// So many outages' fills wait to be read.
const UNREAD_MAX: usize = 32;

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
    fills: SeenFills,
    fills_since_ms: i64,
    /// Fills that a reading did not reach.
    unread: VecDeque<Unread>,
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
            fills: SeenFills::default(),
            fills_since_ms: 0,
            unread: VecDeque::new(),
            contracts: FxHashMap::default(),
            failing: None,
            key_refused: None,
            hurried: 0,
            hurried_at: None,
        }
    }

    pub(super) fn reading_fills_since(mut self, since_ms: i64) -> Self {
        self.fills_since_ms = since_ms;
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
                let hopeless = self.judge(outcome).await;
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
            if now >= contracts_due {
                let generation = self.dialect.known().unwrap_or(Generation::Unified);
                let outcome = self.contracts(generation).await;
                // Without a list nothing is known to be delisted: soon again.
                let pause = if outcome.is_ok() { self.settings.contracts_every } else { self.settings.clock_every };
                contracts_due = Instant::now() + pause;
            }
            let mut due = clock_due.min(contracts_due);
            if private {
                let mut next = round_due;
                if self.wanted.positions.get() {
                    next = next.min(read_at.map_or(now, |at| at + self.suspicion_gap()));
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

    /// Positions, and the rest of what the account has to say if `everything` is wanted.
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
            outcome = self.fills(generation).await?;
        }
        Ok(outcome)
    }

    async fn clock(&mut self) -> Result<(), Gone> {
        match self.patiently(self.rest.measure_skew()).await {
            Ok(offset_ms) => self.validator(ValidatorMsg::ClockOffset { offset_ms }).await,
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

    async fn fills(&mut self, generation: Generation) -> Result<Result<(), RestError>, Gone> {
        /// Fills may be listed later than they happened.
        const OVERLAP_MS: i64 = 60_000;
        let mut newest_ms = self.fills_since_ms;
        for product in products_of(self.rest.symbols()) {
            let since_ms = self.fills_since_ms;
            let known = |fill: &Fill| self.fills.ids.contains(&fill.trade_id);
            let asked = self.rest.fills(generation, product, since_ms, None, &known);
            let (answer, left) = match self.patiently(asked).await {
                Ok(answer) => answer,
                Err(error) => return self.failed("fills", &error).await.map(|()| Err(error)),
            };
            newest_ms = answer.reports.iter().map(Report::exchange_time_ms).fold(newest_ms, i64::max);
            self.later(product, since_ms, left);
            self.hand_on_new(answer).await?;
        }
        self.fills_since_ms = self.fills_since_ms.max(newest_ms - OVERLAP_MS);
        // One reading a round: positions are asked for in between.
        let Some(Unread { product, since_ms, cursor }) = self.unread.pop_front() else { return Ok(Ok(())) };
        let asked = self.rest.fills(generation, product, since_ms, Some(cursor.clone()), &|_| false);
        match self.patiently(asked).await {
            Ok((answer, left)) => {
                self.later(product, since_ms, left);
                self.hand_on_new(answer).await.map(Ok)
            }
            Err(error) => {
                if error.remedy() == Remedy::GiveUp {
                    warn!(%error, ?product, since_ms, "older fills cannot be read on; they are left out");
                } else {
                    self.unread.push_front(Unread { product, since_ms, cursor });
                }
                self.failed("fills", &error).await.map(|()| Err(error))
            }
        }
    }

    /// Notes where reading has to go on.
    fn later(&mut self, product: Product, since_ms: i64, left: Option<String>) {
        let Some(cursor) = left else { return };
        info!(?product, since_ms, "more fills than are read at once; the older ones follow in the next rounds");
        if self.unread.len() == UNREAD_MAX {
            self.counters.shared.1.fetch_add(1, Ordering::Relaxed);
            warn!(?product, since_ms, "too many outages with unread fills; these are left out");
            return;
        }
        self.unread.push_back(Unread { product, since_ms, cursor });
    }

    /// Fills that were handed on before are not handed on again.
    async fn hand_on_new(&mut self, mut answer: Decoded) -> Result<(), Gone> {
        answer.reports.retain(|report| match report {
            Report::Fill(fill) => self.fills.is_new(&fill.trade_id),
            _ => true,
        });
        self.hand_on(answer).await
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
    async fn judge(&mut self, outcome: Result<(), RestError>) -> bool {
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
        let text = format!("positions cannot be confirmed over REST: {error}");
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
