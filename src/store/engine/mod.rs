//! The writer's engine: one task, one connection (or one to each master of a cluster), no actor.
//!
//! It waits for work on the desk, encodes what waits, sends it, and books the replies in order. Quiet: a value goes
//! out at once. Busy: at most one flush is on its way, and what comes meanwhile is conflated per key.

mod audit;
mod lanes;
mod serve;
mod settle;

use super::board::{Counts, LinkState};
use super::class::Class;
use super::cluster::door::Limits;
use super::cluster::lane::Part;
use super::desk::Desk;
use super::guard::{self, GuardError, TakeOver};
use super::lines::Lines;
use super::link::Target;
use crate::alive::while_waiting;
use crate::domain::position::HoldSide;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serve::Session;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Settings of the connection and of the guard.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    pub target: Target,
    /// Tells daemons apart for people. On one database only one of them writes at a time, whatever they are called.
    pub instance: String,
    pub take_over: TakeOver,
    pub connect_limit: Duration,
    /// Twice in a row without a reply for this long and the connection is replaced.
    pub reply_limit: Duration,
    /// How often it is checked that nobody emptied Redis or took over.
    pub audit_every: Duration,
    /// How often quiet state is written again.
    pub refresh_every: Duration,
    /// After so long a key in quarantine is tried again.
    pub probe_every: Duration,
    /// How often the sentinels are asked whether the primary is still the one we write to.
    pub sentinel_every: Duration,
    /// Keys of a foreign type are renamed to `legacy:<key>:<ms>`.
    pub migrate: bool,
    /// Least pause after errors that a person has to mend; lower only in tests.
    pub slow_retry: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

impl EngineSettings {
    pub fn new(target: Target) -> Self {
        Self {
            target,
            instance: "main".to_owned(),
            take_over: TakeOver::default(),
            connect_limit: Duration::from_secs(1),
            reply_limit: Duration::from_millis(500),
            audit_every: Duration::from_millis(1_000),
            refresh_every: Duration::from_secs(15),
            probe_every: Duration::from_secs(10),
            sentinel_every: Duration::from_secs(1),
            migrate: false,
            slow_retry: Duration::from_secs(5),
            seed: 0,
        }
    }
}

/// Why an engine ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A newer daemon on this database has taken over: the process must end with exit code 75.
    Fenced,
    /// A newer engine of this process uses the desk.
    Superseded,
}

/// Why a session ended; the engine connects again.
#[derive(Clone, Debug)]
pub(super) enum Broken {
    Lost {
        class: Class,
        /// Under which it is counted.
        label: &'static str,
        why: String,
    },
    End(End),
}

impl Broken {
    pub(super) fn lost(class: Class, label: &'static str, why: &str) -> Self {
        Self::Lost { class, label, why: why.to_owned() }
    }
}

impl From<super::link::LinkError> for Broken {
    fn from(error: super::link::LinkError) -> Self {
        Self::Lost { class: error.class(), label: error.label(), why: error.to_string() }
    }
}

impl From<GuardError> for Broken {
    fn from(error: GuardError) -> Self {
        match error {
            GuardError::Fenced { ours, newest } => {
                tracing::error!(ours, newest, "fenced by a newer daemon");
                Self::End(End::Fenced)
            }
            GuardError::Link(error) => error.into(),
            other => Self::Lost { class: other.class(), label: other.label(), why: other.to_string() },
        }
    }
}

/// Where a session begins.
#[derive(Default)]
struct Start {
    /// How far events are applied.
    off: u64,
    /// The cursor has to be moved into a new numbering.
    jump: bool,
    /// In a cluster: the lanes that the index names.
    named: BTreeSet<String>,
    /// In a cluster: what no cursor tells of is sent once more.
    again: Vec<Part>,
}

/// Between which the next attempt is drawn where sentinels name the primary, or a cluster makes a new one.
const FAILOVER_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// See the module's text.
pub struct Engine {
    desk: Arc<Desk>,
    settings: EngineSettings,
    turn: u64,
    /// Told when the room may take more messages again.
    on_space: Box<dyn Fn()>,
    /// Told at each turn: the task lives.
    on_beat: Box<dyn Fn()>,
    rng: StdRng,
    failures: u32,
    last_class: Option<Class>,
    floors_read: bool,
}

impl Engine {
    /// Takes the desk: an engine that used it before ends at its next step.
    pub fn new(desk: Arc<Desk>, settings: EngineSettings, on_space: Box<dyn Fn()>) -> Self {
        let turn = desk.begin_turn();
        desk.wake();
        let rng = StdRng::seed_from_u64(settings.seed ^ turn);
        let floors_read = desk.board().epoch() != 0;
        Self {
            desk,
            settings,
            turn,
            on_space,
            on_beat: Box::new(|| {}),
            rng,
            failures: 0,
            last_class: None,
            floors_read,
        }
    }

    /// Somebody watches whether the task lives.
    #[must_use]
    pub fn watched_by(mut self, on_beat: Box<dyn Fn()>) -> Self {
        self.on_beat = on_beat;
        self
    }

    /// Connects, writes, connects again; ends only when another writer has taken over.
    pub async fn run(mut self) -> End {
        loop {
            if !self.desk.is_turn(self.turn) {
                return End::Superseded;
            }
            match self.session().await {
                Broken::End(end) => {
                    self.desk.shelf().connected = false;
                    if end == End::Fenced {
                        Counts::add(&self.desk.board().counts.fenced_total, 1);
                        self.desk.board().set_link(LinkState::Fenced, self.desk.clock.now_ms());
                    }
                    return end;
                }
                Broken::Lost { class, label, why } => {
                    self.desk.board().failed(label);
                    if !self.desk.is_turn(self.turn) {
                        return End::Superseded;
                    }
                    self.disconnected(class, &why);
                    let pause = self.pause(class);
                    self.idle(pause).await;
                }
            }
        }
    }

    fn disconnected(&mut self, class: Class, why: &str) {
        let now_ms = self.desk.clock.now_ms();
        self.desk.shelf().disconnected();
        let refused = class.is_slow() || matches!(class, Class::Wait | Class::Resource);
        let state = if refused { LinkState::Refused } else { LinkState::Down };
        self.desk.board().set_link(state, now_ms);
        if self.last_class.replace(class) != Some(class) {
            tracing::warn!(target = %self.settings.target, class = class.label(), why, remedy = class.remedy(), "redis lost");
        }
        (self.on_space)();
    }

    /// Waits, while events still go to the spool.
    async fn idle(&self, pause: Duration) {
        let until = tokio::time::Instant::now() + pause;
        while tokio::time::Instant::now() < until && self.desk.is_turn(self.turn) {
            {
                let mut outbox = self.desk.outbox();
                outbox.pump();
                outbox.report();
            }
            if self.desk.has_space() {
                (self.on_space)();
            }
            (self.on_beat)();
            tokio::time::sleep_until(until.min(tokio::time::Instant::now() + Duration::from_millis(50))).await;
        }
    }

    fn pause(&mut self, class: Class) -> Duration {
        let (least, most) = match class {
            slow if slow.is_slow() => (self.settings.slow_retry, self.settings.slow_retry * 12),
            // A failover is over any moment, and nobody else asks the sentinels that we ask.
            Class::Transient | Class::WrongNode
                if self.settings.target.sentinels().is_some() || self.desk.known().is_cluster() =>
            {
                FAILOVER_PAUSE
            }
            other => other.pause(),
        };
        let ceiling = least.saturating_mul(1 << self.failures.min(10)).clamp(least, most.max(least));
        self.failures += 1;
        let floor = if class.is_slow() || class == Class::Resource { least } else { Duration::from_millis(5) };
        floor.max(ceiling.mul_f64(self.rng.random::<f64>()))
    }

    /// One connection from beginning to end.
    async fn session(&mut self) -> Broken {
        let now_ms = self.desk.clock.now_ms();
        self.desk.board().set_link(LinkState::Connecting, now_ms);
        let settings = &self.settings;
        let limits = Limits { connect: settings.connect_limit, reply: settings.reply_limit };
        let mut known = self.desk.known().clone();
        let opened = while_waiting(&self.on_beat, Lines::open(&settings.target, &mut known, limits)).await;
        *self.desk.known() = known;
        let mut lines = match opened {
            Ok(lines) => lines,
            Err(error) => return error.into(),
        };
        // Each of its questions has a limit of its own.
        let on_beat = std::mem::replace(&mut self.on_beat, Box::new(|| {}));
        let prepared = while_waiting(&on_beat, self.prepare(&mut lines)).await;
        self.on_beat = on_beat;
        match prepared {
            Ok(start) => {
                self.failures = 0;
                if self.last_class.take().is_some() {
                    tracing::info!(target = %self.settings.target, "redis is back");
                }
                Session::new(self, lines, start).run().await
            }
            Err(broken) => broken,
        }
    }

    /// Takes over, reads back, says what has to be written. Returns how far events are applied.
    async fn prepare(&mut self, lines: &mut Lines) -> Result<Start, Broken> {
        let board = Arc::clone(self.desk.board());
        let held = (board.epoch() != 0).then(|| board.epoch());
        let now_ms = self.desk.clock.now_ms();
        let epoch = guard::take_over(lines, &self.settings.instance, held, self.settings.take_over, now_ms).await?;
        if !self.desk.is_turn(self.turn) {
            return Err(Broken::End(End::Superseded));
        }
        board.set_epoch(epoch);
        if !self.floors_read {
            let floors = guard::floors(lines, self.desk.layout()).await?;
            let left = guard::leftovers(lines).await?;
            let mut shelf = self.desk.shelf();
            shelf.set_leftovers(left);
            let ahead_ms = self.desk.clock.ahead_ms();
            for (symbol, floor) in self.desk.layout().symbols.ids().zip(floors) {
                shelf.set_floors(symbol, floor.market_ms, floor.sides_ms, now_ms);
                let cells = [
                    board.market(symbol),
                    board.position(symbol, HoldSide::Long),
                    board.position(symbol, HoldSide::Short),
                ];
                for (cell, proved_ms) in cells.into_iter().zip(floor.unmarked_ms) {
                    cell.found(proved_ms.map_or(0, |ms| ms - ahead_ms));
                }
            }
            self.floors_read = true;
        }
        let start =
            if lines.is_many() { self.meet_lanes(lines).await? } else { self.meet(lines, held.is_none()).await? };
        let mut shelf = self.desk.shelf();
        shelf.layout.epoch = epoch;
        shelf.set_own_health(vec![("instance", self.settings.instance.clone())]);
        shelf.republish();
        shelf.is_cluster = lines.is_many();
        shelf.connected = true;
        shelf.outstanding = 0;
        drop(shelf);
        Counts::add(&board.counts.connects_total, 1);
        board.set_link(LinkState::Up, self.desk.clock.now_ms());
        Ok(start)
    }

    async fn meet(&self, lines: &mut Lines, first: bool) -> Result<Start, Broken> {
        let cursor = match lines.call(&guard::CURSOR_FIELDS).await {
            Ok(value) => guard::cursor_of(&value),
            Err(super::link::LinkError::Refused { class: Class::Data, .. }) => guard::Cursor::default(),
            Err(error) => return Err(error.into()),
        };
        let (off, jump) = self.desk.outbox().meet(cursor, first);
        Ok(Start { off, jump, ..Start::default() })
    }
}
