//! The configuration in each room's own words. `config` knows names, units and defaults; rooms know what they need;
//! this is the one place that knows both.

use crate::actors::feed::{FeedShared, PublicDown};
use crate::actors::reconciler::ReconcilerSettings;
use crate::actors::{breaker, watchdog};
use crate::clock::Clock;
use crate::config::{self, Config, SecondDaemon};
use crate::domain::backoff::Backoff;
use crate::domain::symbol::Symbols;
use crate::domain::trap::TrapSettings;
use crate::domain::validate::MarketRules;
use crate::domain::{breaker as limits, ledger};
use crate::error::{Exit, Stop};
use crate::exchange::bitget::consts::{Endpoints, Generation};
use crate::exchange::bitget::credential::Credential;
use crate::exchange::bitget::dialect::Dialect;
use crate::exchange::bitget::rest::{Rest, RestSettings};
use crate::exchange::session::{Connections, FeedSettings, Heard};
use crate::exchange::skew::Skew;
use crate::store::encode;
use crate::store::engine::EngineSettings;
use crate::store::guard::TakeOver;
use crate::store::link::Target;
use crate::store::sentinel::Sentinels;
use crate::store::spool::SpoolSettings;
use crate::supervise::Budgets;
use crate::telemetry::metrics::Metrics;
use secrecy::{ExposeSecret, SecretString};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What the rooms of one daemon are made with.
pub struct Settings {
    pub symbols: Arc<Symbols>,
    pub feed: FeedShared,
    pub credential: Option<Credential>,
    pub rest: Rest,
    pub dialect: Dialect,
    /// Exchange clock minus ours, as last measured.
    pub skew: Skew,
    pub reconcile: ReconcilerSettings,
    pub market_rules: MarketRules,
    pub limits: limits::Limits,
    pub rates: breaker::Rates,
    pub traps: TrapSettings,
    pub ledger_rules: Vec<ledger::Rule>,
    pub default_strategy: String,
    pub freshness: watchdog::Limits,
    pub redis: EngineSettings,
    pub layout: encode::Settings,
    pub spool: SpoolSettings,
    pub budgets: Budgets,
    /// How long a room that died again waits.
    pub restart_backoff: Backoff,
    /// Abandoned threads that may be there at once.
    pub zombies: usize,
    /// Messages that the quarantine keeps for replay.
    pub quarantine: usize,
    /// All files of the journal together.
    pub journal_bytes: u64,
    pub status_address: Option<SocketAddr>,
    pub status_token: Option<SecretString>,
    /// For jitter only.
    pub seed: u64,
}

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

impl Settings {
    /// # Errors
    /// When the HTTP client cannot be made (no TLS), or private data are wanted without a key.
    pub fn from_config(config: &Config, clock: Clock, state: &Path) -> Result<Self, Stop> {
        let symbols = Arc::new(config.symbols());
        let seed = seed(&clock);
        let credential = match (config.exchange.private, &config.secrets.bitget) {
            (config::PrivateData::Off, _) | (config::PrivateData::Auto, None) => None,
            (config::PrivateData::On, None) => {
                return Err(Stop::new(
                    Exit::Config,
                    "private data are on, but there is no key: see [exchange.credentials]",
                ));
            }
            (config::PrivateData::Auto | config::PrivateData::On, Some(secrets)) => Some(credential(secrets)),
        };
        let dialect = match (config.exchange.generation, &credential) {
            (config::Generation::V2, _) => Dialect::fixed(Generation::Classic),
            (config::Generation::V3, _) => Dialect::fixed(Generation::Unified),
            // Public data are the same on both; only a key has to be asked about.
            (config::Generation::Auto, None) => Dialect::fixed(Generation::Unified),
            (config::Generation::Auto, Some(_)) => Dialect::auto(),
        };
        let skew = Skew::default();
        let rest = Rest::new(
            endpoints(&config.exchange),
            credential.clone(),
            symbols.clone(),
            rest_settings(&config.recovery),
            clock.clone(),
            skew.clone(),
        )
        .map_err(|e| Stop::unavailable(format!("no HTTP client: {e}")))?;
        let feed = FeedShared {
            endpoints: endpoints(&config.exchange),
            dialect: dialect.clone(),
            symbols: symbols.clone(),
            settings: feed_settings(&config.exchange),
            rest: rest.clone(),
            clock,
            connections: Connections::default(),
            heard: Heard::default(),
            metrics: Metrics::new(),
            seed,
            public_down: PublicDown::default(),
        };
        Ok(Self {
            feed,
            credential,
            rest,
            dialect,
            skew,
            reconcile: ReconcilerSettings {
                every: ms(config.reconcile.every_ms),
                suspicion_gap: ms(config.reconcile.suspicion_gap_ms),
                clock_every: ms(config.reconcile.clock_every_ms),
                ..ReconcilerSettings::default()
            },
            market_rules: MarketRules::from(&config.rules),
            limits: limits::Limits::from(&config.breaker),
            rates: breaker::Rates {
                positions: config.rates.positions_per_minute,
                market_data: config.rates.market_data_per_minute,
                trades: config.rates.trades_per_minute,
            },
            traps: TrapSettings::from(&config.traps),
            ledger_rules: config.ledger.rules(&symbols),
            default_strategy: config.ledger.default_strategy.clone(),
            freshness: watchdog::Limits {
                position_ms: signed(config.freshness.position_ms),
                market_ms: signed(config.freshness.market_ms),
                look_every_ms: config.freshness.check_every_ms,
            },
            redis: redis_settings(config, seed)?,
            layout: encode::Settings {
                position_format: match config.redis.position_key_format {
                    config::PositionKeyFormat::Hash => encode::PositionFormat::Hash,
                    config::PositionKeyFormat::LegacyJson => encode::PositionFormat::LegacyJson,
                },
            },
            spool: spool_settings(config, state)?,
            budgets: Budgets {
                consecutive: config.supervision.max_deaths_in_a_row,
                deaths: config.supervision.max_deaths,
                within: ms(config.supervision.death_window_ms),
                retries: config.supervision.max_retries,
                ..Budgets::default()
            },
            restart_backoff: Backoff {
                base: ms(config.supervision.restart_backoff_ms),
                cap: ms(config.supervision.restart_backoff_max_ms),
                stable_after: ms(config.supervision.stable_after_ms),
            },
            zombies: config.supervision.max_zombies as usize,
            quarantine: config.supervision.quarantine_size,
            journal_bytes: config.supervision.journal_mib * 1_024 * 1_024,
            status_address: config.status.address(),
            status_token: config.secrets.status_token.clone(),
            symbols,
            seed,
        })
    }
}

/// Where Redis is and how to log in; for the writer and for tools.
///
/// # Errors
/// The URL is none; exit code 78.
pub fn redis_target(config: &Config) -> Result<Target, Stop> {
    let redis = &config.redis;
    Ok(Target::parse(&redis.url)
        .map_err(|e| Stop::new(Exit::Config, format!("url in [redis]: {e}")))?
        .with_password(config.secrets.redis_password.clone())
        .with_password_file(redis.password_file.clone())
        .with_ca_file(redis.ca_file.clone())
        .with_sentinels(Some(Sentinels::new(redis.sentinels.iter().map(String::as_str), &redis.sentinel_master))))
}

/// A client of the exchange that tries each call once, for a look.
///
/// # Errors
/// When the HTTP client cannot be made.
pub fn rest_once(config: &Config, clock: Clock) -> Result<Rest, Stop> {
    let settings = RestSettings { tries: 1, ..rest_settings(&config.recovery) };
    let credential = match config.exchange.private {
        config::PrivateData::Off => None,
        config::PrivateData::Auto | config::PrivateData::On => config.secrets.bitget.as_ref().map(credential),
    };
    Rest::new(endpoints(&config.exchange), credential, Arc::new(config.symbols()), settings, clock, Skew::default())
        .map_err(|e| Stop::unavailable(format!("no HTTP client: {e}")))
}

fn credential(secrets: &config::BitgetCredentials) -> Credential {
    Credential::new(secrets.key.expose_secret(), secrets.secret.expose_secret(), secrets.passphrase.expose_secret())
}

fn redis_settings(config: &Config, seed: u64) -> Result<EngineSettings, Stop> {
    let redis = &config.redis;
    let target = redis_target(config)?;
    Ok(EngineSettings {
        instance: redis.instance.clone(),
        connect_limit: ms(redis.connect_timeout_ms),
        reply_limit: ms(redis.reply_timeout_ms),
        migrate: redis.migrate,
        take_over: match redis.second_daemon {
            SecondDaemon::TakeOver => TakeOver::Take,
            SecondDaemon::Wait => TakeOver::Wait,
        },
        seed,
        ..EngineSettings::new(target)
    })
}

/// What a start reads again is still known then, also where the exchange's clock is ahead of ours.
const SPOOL_MARGIN: Duration = Duration::from_secs(600);

fn spool_settings(config: &Config, state: &Path) -> Result<SpoolSettings, Stop> {
    let dir = config.spool.dir.clone().unwrap_or_else(|| state.join("spool"));
    std::fs::create_dir_all(&dir)
        .map_err(|e| Stop::new(Exit::Config, format!("{}: cannot be made: {e}; set dir in [spool]", dir.display())))?;
    Ok(SpoolSettings {
        file: Some(dir.join("events.redb")),
        keep: Duration::from_secs(config.spool.retain_hours * 3_600) + SPOOL_MARGIN,
        keep_bytes: config.spool.retain_mib * 1_024 * 1_024,
    })
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Different on every start, so that daemons that start together do not reconnect together.
fn seed(clock: &Clock) -> u64 {
    (clock.now_ms() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id())
}

fn endpoints(exchange: &config::Exchange) -> Endpoints {
    let usual = if exchange.demo_trading { Endpoints::demo() } else { Endpoints::default() };
    Endpoints {
        public_ws: exchange.public_url.clone().unwrap_or(usual.public_ws),
        private_ws: exchange.private_url.clone().unwrap_or(usual.private_ws),
        rest: exchange.rest_url.clone().unwrap_or(usual.rest),
        demo: usual.demo,
    }
}

fn rest_settings(recovery: &config::Recovery) -> RestSettings {
    RestSettings {
        timeout: ms(recovery.timeout_ms),
        tries: recovery.max_retries.saturating_add(1),
        backoff: ms(recovery.backoff_ms),
        ..RestSettings::default()
    }
}

fn feed_settings(exchange: &config::Exchange) -> FeedSettings {
    FeedSettings {
        connect_timeout: ms(exchange.connect_timeout_ms),
        login_timeout: ms(exchange.login_timeout_ms),
        ping_every: ms(exchange.ping_ms),
        pong_deadline: ms(exchange.pong_deadline_ms),
        first_data: ms(exchange.first_data_ms),
        silence: ms(exchange.silence_ms),
        trades_silence: ms(exchange.trades_silence_ms),
        bad_percent: exchange.bad_frames_percent,
        bad_window: ms(exchange.bad_frames_window_ms),
        planned_reconnect: ms(exchange.planned_reconnect_ms),
        subscribe_gap: ms(exchange.subscribe_gap_ms),
        max_channels: exchange.max_channels_per_connection,
        reconnect_min: ms(exchange.reconnect_min_ms),
        reconnect_max: ms(exchange.reconnect_max_ms),
        login_retry: ms(exchange.login_retry_ms),
        ..FeedSettings::default()
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("symbols", &self.symbols.len()).finish_non_exhaustive()
    }
}
