//! The whole daemon on one screen: who is started, in which group, and who talks to whom. `actors.md` shows the same
//! picture, and a test holds the two together.

use crate::actors::health::Health;
use crate::actors::rejects::Rejects;
use crate::actors::{analyst, breaker, feed, ledger, reconciler, recorder, status, validator, watchdog, writer};
use crate::clock::Clock;
use crate::config::Config;
use crate::ctl::{self, Control, Controlled};
use crate::domain::symbol::Symbols;
use crate::drills::Drills;
use crate::error::Stop;
use crate::exchange::bitget::subscribe::{Stream, shard};
use crate::settings::Settings;
use crate::store::board::{Board, LinkState};
use crate::store::desk::Desk;
use crate::store::encode::Layout;
use crate::supervise::{Card, GroupId, Leftovers, Overflow, Running, Strategy, Tree, TreeConfig, Vocabulary};
use crate::telemetry::metrics::Metrics;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A running daemon and the boards that it can be watched on.
pub struct Daemon {
    pub running: Arc<Running>,
    pub symbols: Arc<Symbols>,
    pub board: Arc<Board>,
    pub health: Health,
    pub rejects: Rejects,
    pub metrics: Metrics,
    /// Where the status pages came to listen.
    pub status: status::Bound,
    groups: [GroupId; 4],
    /// Whether the control socket takes drills; may be turned while the daemon runs.
    pub allow_drills: Arc<AtomicBool>,
    _control: Option<Control>,
}

/// Every room's card, in the order of the flow; the feeds' cards stand for all their connections.
pub fn cards() -> Vec<Card> {
    vec![
        feed::public_card(1),
        feed::private_card(),
        reconciler::card(),
        validator::card(),
        breaker::card(),
        analyst::card(),
        recorder::card(),
        ledger::card(),
        writer::CARD,
        watchdog::card(),
        status::card(),
    ]
}

/// The table of `actors.md`, rendered from the cards.
pub fn table() -> String {
    let overflow = |o| match o {
        Overflow::Block => "sender waits",
        Overflow::Reject => "newest refused",
        Overflow::DropOldest => "oldest dropped",
        Overflow::Conflate => "newest per key",
    };
    let mut text = String::from(
        "| room | what it does | accepts | emits | mailbox | when full | hang after | tries | critical | state after a restart |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for card in cards() {
        let line = format!(
            "| {} | {} | {} | {} | {} | {} | {} ms | {} | {} | {} |\n",
            card.name,
            card.purpose,
            card.accepts.join(", "),
            if card.emits.is_empty() { "nothing".to_owned() } else { card.emits.join(", ") },
            card.mailbox,
            overflow(card.overflow),
            card.deadline.as_millis(),
            card.attempts,
            if card.critical { "yes" } else { "no" },
            card.state_at_restart,
        );
        text.push_str(&line);
    }
    text
}

impl Daemon {
    /// Wires and starts the rooms inside a running actix system. `state` is the folder for journal, quarantine, spool.
    ///
    /// # Errors
    /// When a folder, the spool or the credentials cannot be used.
    pub fn start(config: &Config, clock: Clock, state: &Path) -> Result<Self, Stop> {
        let set = Settings::from_config(config, clock.clone(), state)?;
        let symbols = set.symbols.clone();
        let board = Board::new(symbols.len());
        let (health, rejects, metrics) = (Health::default(), Rejects::default(), set.feed.metrics.clone());
        let budgets = set.budgets;
        let mut tree = Tree::new(TreeConfig {
            state_dir: Some(state.to_owned()),
            backoff: set.restart_backoff,
            zombies: set.zombies,
            quarantine: set.quarantine,
            journal_bytes: set.journal_bytes,
            vocabulary: Vocabulary(symbols.iter().map(|(_, symbol)| symbol.name.clone()).collect()),
            ..TreeConfig::new(clock.clone(), set.seed)
        });

        // The groups, in the order in which they are stopped: sources first, the writer last but for those who watch.
        let ingest = tree.group("ingest", Strategy::OneForOne, budgets);
        let pipeline = tree.group("pipeline", Strategy::OneForOne, budgets);
        let sinks = tree.group("sinks", Strategy::OneForOne, budgets);
        let operations = tree.group("operations", Strategy::OneForOne, budgets);

        // Mailboxes first: they outlive their rooms, and commands may flow back.
        let to_reconciler = tree.port(&reconciler::card());
        let to_validator = tree.port(&validator::card());
        let to_breaker = tree.port(&breaker::card());
        let to_analyst = tree.port(&analyst::card());
        let to_recorder = tree.port(&recorder::card());
        let to_ledger = tree.port(&ledger::card());
        let to_writer = tree.port(&writer::CARD);
        let to_watchdog = tree.port(&watchdog::card());
        let to_status = tree.port(&status::card());

        let layout = Layout::new(symbols.clone(), set.layout);
        let desk = Desk::open(layout, board.clone(), config.redis.conflate, set.spool.clone(), clock.clone());

        // Last in the flow is started first, so that everybody finds a live room behind him.
        tree.room(sinks, writer::CARD, to_writer.clone(), writer::RedisWriter::factory(desk, set.redis.clone()));
        tree.room(
            pipeline,
            ledger::card(),
            to_ledger.clone(),
            ledger::LedgerRoom::factory(set.ledger_rules.clone(), set.default_strategy.clone(), to_writer.clone()),
        );
        tree.room(
            pipeline,
            recorder::card(),
            to_recorder.clone(),
            recorder::TrapRecorder::factory(symbols.clone(), set.skew.clone(), metrics.clone(), to_writer.clone()),
        );
        tree.room(
            pipeline,
            analyst::card(),
            to_analyst.clone(),
            analyst::Analyst::factory(
                set.traps.clone(),
                symbols.clone(),
                set.skew.clone(),
                analyst::Outlets { recorder: to_recorder, writer: to_writer.clone() },
            ),
        );
        tree.room(
            pipeline,
            breaker::card(),
            to_breaker.clone(),
            breaker::CircuitBreaker::factory(
                set.limits.clone(),
                set.rates.clone(),
                symbols.clone(),
                metrics.clone(),
                breaker::Outlets { writer: to_writer.clone(), analyst: to_analyst, ledger: to_ledger },
            ),
        );
        tree.room(
            pipeline,
            validator::card(),
            to_validator.clone(),
            validator::Validator::factory(
                set.market_rules.clone(),
                symbols.clone(),
                rejects.clone(),
                metrics.clone(),
                validator::Outlets { breaker: to_breaker.clone(), reconciler: to_reconciler.clone() },
            ),
        );
        let counters = reconciler::ReconcilerCounters::default();
        tree.room(
            ingest,
            reconciler::card(),
            to_reconciler.clone(),
            reconciler::Reconciler::factory(
                set.rest.clone(),
                set.dialect.clone(),
                set.reconcile.clone(),
                clock.clone(),
                counters.clone(),
                reconciler::Outlets { validator: to_validator.clone(), watchdog: to_watchdog.clone() },
            ),
        );
        let feeds =
            feed::Outlets { validator: to_validator, reconciler: to_reconciler.clone(), watchdog: to_watchdog.clone() };
        let streams = Stream::market(symbols.ids(), &config.exchange.candles);
        let mut public_feeds = Vec::new();
        for (n, streams) in shard(&streams, set.feed.settings.max_channels).into_iter().enumerate() {
            let card = feed::public_card(n + 1);
            public_feeds.push(card.name);
            let port = tree.port(&card);
            tree.room(ingest, card, port, feed::Feed::public(set.feed.clone(), streams, feeds.clone()));
        }
        if let Some(credential) = &set.credential {
            let card = feed::private_card();
            let port = tree.port(&card);
            tree.room(ingest, card, port, feed::Feed::private(set.feed.clone(), credential.clone(), feeds));
        }
        tree.room(
            operations,
            watchdog::card(),
            to_watchdog,
            watchdog::Watchdog::factory(
                set.freshness.clone(),
                symbols.clone(),
                board.clone(),
                health.clone(),
                set.credential.is_some(),
                watchdog::Outlets { writer: to_writer, breaker: to_breaker, reconciler: to_reconciler },
            ),
        );
        let bound = status::Bound::default();
        if let Some(address) = set.status_address {
            let sources = status::Sources {
                health: health.clone(),
                rejects: rejects.clone(),
                board: board.clone(),
                symbols: symbols.clone(),
                metrics: metrics.clone(),
                token: set.status_token.clone(),
                reconciles: counters.clone(),
                skew: set.skew.clone(),
                heard: set.feed.heard.clone(),
                started_ms: clock.wall_ms(),
                clock: clock.clone(),
            };
            tree.room(operations, status::card(), to_status, status::Status::factory(address, sources, bound.clone()));
        }

        // One after the other on the way of every batch: a thread for each would cost a wake-up for each. The feeds
        // have another, so that reading and parsing go on beside them; one for each would cost memory and caches.
        tree.share_thread(&[validator::card().name, breaker::card().name, writer::CARD.name]);
        tree.share_thread(&public_feeds);
        let running = Arc::new(tree.start());
        health.observe_with({
            let running = running.clone();
            move || running.observe()
        });
        health.journal_with(running.journal());
        rejects.journal_with(running.journal());
        let allow_drills = Arc::new(AtomicBool::new(config.allow_drills));
        let controlled = Controlled {
            running: running.clone(),
            started_ms: clock.wall_ms(),
            clock,
            allow_drills: allow_drills.clone(),
            drills: Drills { connections: set.feed.connections.clone(), redis: set.redis.clone() },
            board: board.clone(),
            health: health.clone(),
        };
        let control = ctl::open_or_warn(state, controlled);
        let groups = [ingest, pipeline, sinks, operations];
        Ok(Self {
            running,
            symbols,
            board,
            health,
            rejects,
            metrics,
            status: bound,
            groups,
            allow_drills,
            _control: control,
        })
    }

    /// Resolves when another daemon on the same database has taken the keys over.
    pub async fn fenced(&self) {
        while self.board.link() != LinkState::Fenced {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Resolves when so little memory is left that the process should end while it can in order.
    pub async fn exhausted(&self) {
        while !self.board.is_exhausted() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends in order: sources, pipeline, writer, then those who watch. What was left undone is counted.
    pub async fn stop(&self, deadline: Duration) -> Leftovers {
        self.running.stop(&self.groups, deadline).await
    }

    /// Ends without waiting for anything but the journal.
    pub fn leave(&self, reason: &'static str) {
        self.running.leave(reason);
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("symbols", &self.symbols.len()).finish_non_exhaustive()
    }
}
