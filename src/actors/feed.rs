//! The exchange feed: one room per WebSocket connection, public shards and the private one.
//!
//! The connection itself is a task of the room (`exchange::session`); frames go from it straight to the validator,
//! batch by batch, so that a slow validator slows the socket and nothing piles up in between.

use super::health::Problem;
use super::reconciler::ReconcilerMsg;
use super::validator::ValidatorMsg;
use super::watchdog::WatchdogMsg;
use crate::alive::{SILENCE, while_waiting};
use crate::clock::Clock;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::report::Batch;
use crate::domain::symbol::Symbols;
use crate::exchange::bitget::consts::{Endpoints, Generation};
use crate::exchange::bitget::credential::Credential;
use crate::exchange::bitget::dialect::Dialect;
use crate::exchange::bitget::rest::Rest;
use crate::exchange::bitget::subscribe::{Channel, Stream};
use crate::exchange::session::{
    Connections, EndReason, FeedNotice, FeedSettings, Gone, Heard, Outlet, Plan, keep_connected,
};
use crate::supervise::{Card, Cx, Factory, Fault, Message, Overflow, Port, Progress, Restart, Room, TaskHandle};
use crate::telemetry::metrics::Metrics;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{debug, info, warn};

/// What a feed accepts.
#[derive(Clone, Debug)]
pub enum FeedMsg {
    /// Throw the connection away and begin again.
    Reconnect { why: &'static str },
}

impl Message for FeedMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Reconnect { .. } => "Reconnect",
        }
    }

    fn digest(&self) -> String {
        format!("{self:?}")
    }

    fn save(&self) -> Result<String, &'static str> {
        Err("it is done anyway when the program starts")
    }
}

const EMITS: &[&str] = &[
    "Reports -> validator",
    "Refused -> validator",
    "FeedReady -> validator",
    "FeedLost -> validator",
    "Problem -> health_watchdog",
];

/// The card of public connection number `shard`, counted from 1.
pub fn public_card(shard: usize) -> Card {
    let name: &'static str = if shard == 1 {
        "exchange_feed"
    } else {
        // A room's name lives as long as the process, and there are as many as there are connections.
        Box::leak(format!("exchange_feed_{shard}").into_boxed_str())
    };
    Card {
        name,
        purpose: "Keeps one public connection to the exchange and turns its frames into reports.",
        mailbox: 16,
        overflow: Overflow::Reject,
        deadline: Duration::from_secs(2),
        restart: Restart::Permanent,
        attempts: 2,
        critical: false,
        accepts: &["Reconnect"],
        emits: EMITS,
        state_at_restart: "empty: connects anew, subscribes the desired set, history is marked as such",
    }
}

/// The card of the private connection.
pub fn private_card() -> Card {
    Card {
        name: "exchange_feed_private",
        purpose: "Keeps the private connection to the exchange: positions, balance, orders, fills.",
        emits: &[
            "Reports -> validator",
            "Refused -> validator",
            "FeedReady -> validator",
            "FeedLost -> validator",
            "FeedReady -> reconciler",
            "Suspicion -> reconciler",
            "Problem -> health_watchdog",
        ],
        state_at_restart: "empty: logs in anew; positions are unknown until socket or REST speak",
        ..public_card(1)
    }
}

/// What all feeds of a daemon share.
#[derive(Clone)]
pub struct FeedShared {
    pub endpoints: Endpoints,
    pub dialect: Dialect,
    pub symbols: Arc<Symbols>,
    pub settings: FeedSettings,
    pub rest: Rest,
    pub clock: Clock,
    pub connections: Connections,
    pub heard: Heard,
    pub metrics: Metrics,
    /// For jitter only.
    pub seed: u64,
    pub public_down: PublicDown,
}

/// Where a feed's findings go.
#[derive(Clone)]
pub struct Outlets {
    pub validator: Port<ValidatorMsg>,
    pub reconciler: Port<ReconcilerMsg>,
    pub watchdog: Port<WatchdogMsg>,
}

/// What one feed is for.
#[derive(Clone)]
enum Purpose {
    Public(Vec<Stream>),
    Private(Credential),
}

pub struct Feed {
    shared: FeedShared,
    purpose: Purpose,
    out: Outlets,
    connection: TaskHandle,
}

impl Feed {
    /// A public connection for `streams`, at most `FeedSettings::max_channels` of them (see
    /// [`shard`](crate::exchange::bitget::subscribe::shard)).
    pub fn public(shared: FeedShared, streams: Vec<Stream>, out: Outlets) -> Factory<Self> {
        Self::factory(shared, Purpose::Public(streams), out)
    }

    /// The private connection.
    pub fn private(shared: FeedShared, credential: Credential, out: Outlets) -> Factory<Self> {
        Self::factory(shared, Purpose::Private(credential), out)
    }

    fn factory(shared: FeedShared, purpose: Purpose, out: Outlets) -> Factory<Self> {
        Arc::new(move |birth, cx| {
            if birth.cause.is_some() {
                // The predecessor took its connection with it and could not say so.
                let lost = ValidatorMsg::FeedLost {
                    connection: 0,
                    private: matches!(purpose, Purpose::Private(_)),
                    reason: "the feed was restarted".to_owned(),
                    at_ms: cx.now_ms(),
                };
                cx.send(&out.validator, lost);
            }
            let connection = connect(&shared, &purpose, &out, cx);
            Ok(Self { shared: shared.clone(), purpose: purpose.clone(), out: out.clone(), connection })
        })
    }
}

impl Room for Feed {
    type Msg = FeedMsg;

    fn handle(&mut self, msg: &FeedMsg, cx: &mut Cx<Self>) -> Result<(), Fault> {
        match msg {
            FeedMsg::Reconnect { why } => {
                info!(why, "reconnect ordered");
                self.connection.abort();
                let lost = ValidatorMsg::FeedLost {
                    connection: 0,
                    private: matches!(self.purpose, Purpose::Private(_)),
                    reason: (*why).to_owned(),
                    at_ms: cx.now_ms(),
                };
                cx.send(&self.out.validator, lost);
                self.connection = connect(&self.shared, &self.purpose, &self.out, cx);
            }
        }
        Ok(())
    }

    fn on_drain(&mut self, cx: &mut Cx<Self>) {
        self.connection.abort();
        cx.progress().expect_within(Duration::ZERO);
    }
}

fn connect(shared: &FeedShared, purpose: &Purpose, out: &Outlets, cx: &mut Cx<Feed>) -> TaskHandle {
    let (shared, purpose, progress) = (shared.clone(), purpose.clone(), cx.progress());
    progress.expect_within(Duration::ZERO);
    let mut outlet = RoomOutlet {
        private: matches!(purpose, Purpose::Private(_)),
        out: out.clone(),
        clock: shared.clock.clone(),
        symbols: shared.symbols.clone(),
        progress,
        failures: 0,
        why: "start",
        metrics: shared.metrics.clone(),
        down: shared.public_down.begin(&purpose),
    };
    cx.task("connection", async move {
        let plan = plan(shared, purpose, &mut outlet).await;
        let Gone = keep_connected(&plan.0, Some(&plan.1), &mut outlet).await;
    })
}

/// Waits for the generation where it is not known yet; the reconciler asks for it. The market does not wait long: the newer interface serves it
/// to everybody.
async fn plan(shared: FeedShared, purpose: Purpose, outlet: &mut RoomOutlet) -> (Plan, Rest) {
    const MARKET_WAITS: Duration = Duration::from_secs(5);
    let found = shared.dialect.wait();
    let generation = match &purpose {
        Purpose::Private(_) => found.await,
        Purpose::Public(_) => tokio::time::timeout(MARKET_WAITS, found).await.unwrap_or(Generation::Unified),
    };
    let (url, streams, credential) = match purpose {
        Purpose::Public(streams) => (shared.endpoints.public_url(generation), streams, None),
        Purpose::Private(credential) => {
            let streams = Stream::private(generation, &shared.symbols);
            (shared.endpoints.private_url(generation), streams, Some(credential))
        }
    };
    outlet.progress.beat();
    info!(url, generation = generation.label(), streams = streams.len(), "feed begins");
    let plan = Plan {
        url,
        generation,
        symbols: shared.symbols,
        streams,
        credential,
        connections: shared.connections,
        settings: shared.settings,
        clock: shared.clock,
        skew: shared.rest.skew().clone(),
        heard: shared.heard,
        seed: shared.seed,
    };
    (plan, shared.rest)
}

/// Which public connections are down, by the first of their streams. An incarnation that was given up as hung may live on for a while: only
/// the newest one of each room has a say.
#[derive(Clone, Debug, Default)]
pub struct PublicDown(Arc<Mutex<Feeds>>);

/// Which incarnation is the newest, and whether it is down.
type Feeds = FxHashMap<Option<Stream>, (u64, bool)>;

impl PublicDown {
    fn lock(&self) -> MutexGuard<'_, Feeds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A feed connects anew; what was known of it holds until it knows better.
    fn begin(&self, purpose: &Purpose) -> Down {
        let feed = match purpose {
            Purpose::Public(streams) => streams.first().copied(),
            Purpose::Private(_) => None,
        };
        let mut feeds = self.lock();
        let (turn, _) = feeds.entry(feed).or_default();
        *turn += 1;
        Down { all: self.clone(), feed, turn: *turn }
    }
}

/// One incarnation's say in it.
struct Down {
    all: PublicDown,
    feed: Option<Stream>,
    turn: u64,
}

impl Down {
    /// How many are down after the change.
    fn set(&self, down: bool) -> usize {
        let mut feeds = self.all.lock();
        if let Some((turn, is_down)) = feeds.get_mut(&self.feed)
            && *turn == self.turn
        {
            *is_down = down;
        }
        feeds.values().filter(|(_, is_down)| *is_down).count()
    }
}

/// Puts what a session learns where the rooms want it.
struct RoomOutlet {
    private: bool,
    out: Outlets,
    clock: Clock,
    symbols: Arc<Symbols>,
    progress: Progress,
    /// Sessions in a row that did not become ready.
    failures: u32,
    /// Why the next connection is made.
    why: &'static str,
    metrics: Metrics,
    down: Down,
}

impl RoomOutlet {
    /// A full mailbox is waited for, however long: that is what slows the socket.
    async fn validator(&self, msg: ValidatorMsg) -> Result<(), Gone> {
        while_waiting(|| self.progress.beat(), self.out.validator.send(msg)).await.map_err(|_| Gone)
    }

    async fn problem(&self, problem: Problem, text: Option<String>) {
        // A watchdog that is gone has nobody to tell.
        let told = self.out.watchdog.send(WatchdogMsg::Problem { problem, text });
        let _ = while_waiting(|| self.progress.beat(), told).await;
    }

    const fn own_problem(&self) -> Problem {
        if self.private { Problem::PrivateFeed } else { Problem::PublicFeed }
    }

    async fn ready(&mut self, connection: u32) -> Result<(), Gone> {
        let (private, at_ms) = (self.private, self.clock.now_ms());
        info!(connection, private, "feed ready");
        self.validator(ValidatorMsg::FeedReady { connection, private, at_ms }).await?;
        let others_down = if private { 0 } else { self.down.set(false) };
        // Also without failures of our own: a former incarnation may have told of some.
        self.failures = 0;
        if others_down == 0 {
            self.problem(self.own_problem(), None).await;
        }
        if private {
            self.problem(Problem::Login, None).await;
            let told = self.out.reconciler.send(ReconcilerMsg::FeedReady { at_ms });
            let _ = while_waiting(|| self.progress.beat(), told).await;
        }
        Ok(())
    }

    /// One lost connection is ordinary; a second in a row is a problem that people should hear of.
    async fn waiting(&mut self, reason: EndReason, retry_in: Duration) {
        let retry_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
        self.why = reason.label();
        if reason == EndReason::Planned {
            return debug!(retry_ms, "connection is replaced as planned");
        }
        self.failures = self.failures.saturating_add(1);
        if !self.private {
            self.down.set(true);
        }
        warn!(%reason, retry_ms, failures = self.failures, private = self.private, "no connection");
        // Each time: a watchdog that was replaced meanwhile has forgotten it.
        if self.failures >= 2 && !matches!(reason, EndReason::LoginRefused { .. }) {
            let text = format!("no connection to the exchange: {reason}; it is tried again without end");
            self.problem(self.own_problem(), Some(text)).await;
        }
    }

    /// A subscription that gives no data is no secret: it stands among the refusals, too.
    async fn useless(&self, stream: Stream, refusal: Refusal, why: &str) -> Result<(), Gone> {
        let name = stream.symbol.map_or("account", |id| self.symbols.name(id));
        warn!(channel = stream.channel.label(), symbol = name, why, "subscription gives no data");
        let refused = Refused::new(refusal, stream.channel.label(), self.clock.now_ms(), why);
        self.validator(ValidatorMsg::Refused(vec![refused.with_symbol(stream.symbol)])).await
    }
}

impl Outlet for RoomOutlet {
    fn alive(&self) {
        self.progress.beat();
    }

    async fn batch(&mut self, batch: Batch) -> Result<(), Gone> {
        self.progress.beat();
        self.validator(ValidatorMsg::Reports(batch)).await
    }

    async fn refused(&mut self, refused: Vec<Refused>) -> Result<(), Gone> {
        let positions = Channel::Positions.label();
        let doubtful = |r: &Refused| r.kind == positions && r.refusal != Refusal::UnknownSymbol;
        if self.private && refused.iter().any(doubtful) {
            // Something was said about positions and not understood: ask the other witness.
            let told = self.out.reconciler.send(ReconcilerMsg::Suspicion { symbol: None });
            let _ = while_waiting(|| self.progress.beat(), told).await;
        }
        self.validator(ValidatorMsg::Refused(refused)).await
    }

    async fn notice(&mut self, notice: FeedNotice) -> Result<(), Gone> {
        self.progress.beat();
        match notice {
            FeedNotice::Connected => {
                self.progress.expect_within(SILENCE);
                // Without a word about waiting it relieves the one before it.
                let why = std::mem::replace(&mut self.why, EndReason::Planned.label());
                self.metrics.ws_connects_total.of(why).inc();
                debug!(private = self.private, why, "connected");
            }
            FeedNotice::Ready { connection } => self.ready(connection).await?,
            FeedNotice::Lost { connection, reason } => {
                let (private, at_ms) = (self.private, self.clock.now_ms());
                info!(connection, private, %reason, "feed lost");
                let reason = reason.to_string();
                self.validator(ValidatorMsg::FeedLost { connection, private, reason, at_ms }).await?;
            }
            FeedNotice::LoginRefused { code, fix } => {
                self.metrics.login_failures_total.inc();
                let text = format!("the exchange refuses the login, code {code}: {fix}");
                self.problem(Problem::Login, Some(text)).await;
            }
            FeedNotice::SubscriptionDropped { stream, code, message } => {
                let why = format!("the exchange does not know it, code {code}: {message}");
                self.useless(stream, Refusal::UnknownSymbol, &why).await?;
            }
            FeedNotice::Silent { stream } => {
                self.useless(stream, Refusal::Stale, "subscribed twice, and nothing comes").await?;
            }
            FeedNotice::Told { code, message } => warn!(?code, message, "the exchange complains"),
            FeedNotice::NotRelieved { reason, retry_in } => {
                let retry_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                warn!(%reason, retry_ms, private = self.private, "no successor for an old connection; it goes on");
            }
            FeedNotice::Waiting { reason, retry_in } => {
                // The pause and the next handshake have limits of their own.
                self.progress.expect_within(Duration::ZERO);
                self.waiting(reason, retry_in).await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::CONNECT_REASONS;

    /// One end after the other, each once: whoever adds one is asked by the compiler for its place in this row.
    fn after(reason: &EndReason) -> Option<EndReason> {
        Some(match reason {
            EndReason::Connect(_) => EndReason::Refused { status: 403, after: None },
            EndReason::Refused { .. } => EndReason::ConnectTimeout(Duration::ZERO),
            EndReason::ConnectTimeout(_) => EndReason::LoginTimeout(Duration::ZERO),
            EndReason::LoginTimeout(_) => EndReason::LoginRefused { code: 0 },
            EndReason::LoginRefused { .. } => EndReason::ClockOff { code: 0 },
            EndReason::ClockOff { .. } => EndReason::LoggedOut,
            EndReason::LoggedOut => EndReason::BackOff { code: 0 },
            EndReason::BackOff { .. } => EndReason::NoPong(Duration::ZERO),
            EndReason::NoPong(_) => EndReason::NothingHeard(Duration::ZERO),
            EndReason::NothingHeard(_) => EndReason::Silent("ticker"),
            EndReason::Silent(_) => EndReason::BadFrames(0),
            EndReason::BadFrames(_) => EndReason::Oversized,
            EndReason::Oversized => EndReason::Closed { code: None },
            EndReason::Closed { .. } => EndReason::Broken(String::new()),
            EndReason::Broken(_) => EndReason::Planned,
            // After this one nobody connects again.
            EndReason::Planned => EndReason::Stopped,
            EndReason::Stopped => return None,
        })
    }

    #[test]
    fn every_end_of_a_session_is_a_reason_of_the_counter() {
        let ends = std::iter::successors(Some(EndReason::Connect(String::new())), after);
        let again: Vec<&str> = ends.filter(|end| *end != EndReason::Stopped).map(|end| end.label()).collect();
        assert_eq!(CONNECT_REASONS.strip_prefix(&["start"]), Some(again.as_slice()));
    }
}
