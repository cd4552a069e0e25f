//! Every setting: its name, meaning, unit, default and rule. Adding one here is all it takes.

use super::leaf::words;
use super::reader::section;
use super::rules::{any, base_url, hosts, listen, range, redis_url, symbols, unique, word};
use crate::domain::account::OrderSide;
use crate::domain::backoff::Backoff;
use crate::domain::breaker::Limits;
use crate::domain::market::Interval;
use crate::domain::symbol::Product;
use crate::domain::trap::TrapSettings;
use crate::domain::validate::MarketRules;
use rust_decimal::Decimal;
use std::path::PathBuf;
use std::time::Duration;

/// Spans of the domain are signed, settings are not.
fn from_ms(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Which of the exchange's two living interfaces is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Asks the exchange which one the account belongs to.
    Auto,
    V2,
    V3,
}

/// Whether the account's own data (positions, orders, fills) are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateData {
    /// If a key is there.
    Auto,
    On,
    Off,
}

/// Of two daemons with the same keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondDaemon {
    TakeOver,
    Wait,
}

/// Redis type of `current_position` and its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionKeyFormat {
    Hash,
    LegacyJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// One object a line.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

words! {
    Generation { "auto" => Generation::Auto, "v2" => Generation::V2, "v3" => Generation::V3 }
    PrivateData { "auto" => PrivateData::Auto, "on" => PrivateData::On, "off" => PrivateData::Off }
    PositionKeyFormat { "hash" => PositionKeyFormat::Hash, "legacy-json" => PositionKeyFormat::LegacyJson }
    SecondDaemon { "take-over" => SecondDaemon::TakeOver, "wait" => SecondDaemon::Wait }
    LogFormat { "text" => LogFormat::Text, "json" => LogFormat::Json }
    LogLevel {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
    }
}

section! {
    /// The exchange: where it is, what is subscribed, and how long silence is borne.
    Exchange {
        /// Interface: "auto" asks the exchange, "v3" is the unified account, "v2" the classic one.
        generation: Generation = Generation::Auto; any,
        /// Public WebSocket, e.g. "wss://ws.bitget.com". "" is Bitget's own (or its demo host).
        public_url: Option<String> = None; base_url(["wss", "ws"]),
        /// Private WebSocket. "" is Bitget's own.
        private_url: Option<String> = None; base_url(["wss", "ws"]),
        /// REST, e.g. "https://api.bitget.com". "" is Bitget's own.
        rest_url: Option<String> = None; base_url(["https", "http"]),
        /// Uses the exchange's paper trading; needs a key made for it.
        demo_trading: bool = false; any,
        /// What the contracts are margined in: "usdt-futures", "usdc-futures" or "coin-futures".
        product: Product = Product::UsdtFutures; any,
        /// Instruments, at most 1024. The first is the primary one: keys without a symbol in their name are its.
        symbols: Vec<String> = vec!["BTCUSDT".to_owned()]; symbols,
        /// Candles subscribed for each symbol: any of "1m", "5m", "15m", "1h".
        candles: Vec<Interval> = vec![Interval::M1]; unique,
        /// The account's own data: "auto" if a key is there, "on" (a missing key is an error), "off".
        private: PrivateData = PrivateData::Auto; any,
        /// Channels on one connection; more are spread over further connections. The exchange bears 1000, likes 50.
        max_channels_per_connection: usize = 50; range(1..=1_000),
        /// Pause between two subscribe frames, ms. The exchange takes 10 messages a second.
        subscribe_gap_ms: u64 = 1_000; range(0..=60_000),
        /// Time to connect, TLS included, ms.
        connect_timeout_ms: u64 = 10_000; range(100..=120_000),
        /// Time for the answer to a login, ms.
        login_timeout_ms: u64 = 10_000; range(100..=120_000),
        /// Pause before a refused login is tried again, ms.
        login_retry_ms: u64 = 30_000; range(1_000..=3_600_000),
        /// Pause between two text pings, ms. The exchange hangs up after two minutes without one.
        ping_ms: u64 = 20_000; range(50..=60_000),
        /// Longest wait for the pong, ms; then the connection is replaced.
        pong_deadline_ms: u64 = 10_000; range(50..=60_000),
        /// Longest wait for the first data of a subscription, ms; an acknowledged one may stay silent for ever.
        first_data_ms: u64 = 10_000; range(50..=600_000),
        /// Longest silence of a ticker, or of a public connection as a whole, ms; the exchange repeats tickers several
        /// times a second. A silent ticker is subscribed anew, then the connection is replaced; a dead one at once.
        silence_ms: u64 = 5_000; range(50..=600_000),
        /// Longest silence of a symbol's trades while its ticker shows new prices, ms; then they are subscribed anew.
        trades_silence_ms: u64 = 60_000; range(50..=600_000),
        /// Share of unreadable frames above which a connection is replaced, percent.
        bad_frames_percent: u32 = 20; range(1..=100),
        /// Span over which that share is taken, ms.
        bad_frames_window_ms: u64 = 10_000; range(100..=600_000),
        /// Shortest pause before connecting again, ms; doubles up to `reconnect_max_ms`, with jitter, and never gives up.
        reconnect_min_ms: u64 = 250; range(1..=60_000),
        /// Longest pause before connecting again, ms.
        reconnect_max_ms: u64 = 30_000; range(1..=600_000),
        /// Age at which a connection is replaced in peace, ms. The exchange cuts it at 24 hours.
        planned_reconnect_ms: u64 = 82_800_000; range(1_000..=86_000_000),
        /// Where the key is.
        credentials: CredentialFiles = CredentialFiles::default(); any,
    }
}

section! {
    /// Files that hold the exchange's key, one secret each, mode 0600. A read-only key is enough, and safer.
    /// Other ways: TRAPLINE_BITGET_KEY, TRAPLINE_BITGET_SECRET and TRAPLINE_BITGET_PASSPHRASE in the environment, or
    /// systemd credentials bitget_key, bitget_secret and bitget_passphrase. Never write a secret into this file.
    CredentialFiles {
        /// File with the key. "" is none.
        key_file: Option<PathBuf> = None; any,
        /// File with the secret. "" is none.
        secret_file: Option<PathBuf> = None; any,
        /// File with the passphrase. "" is none.
        passphrase_file: Option<PathBuf> = None; any,
    }
}

section! {
    /// Redis, 6.2 or newer: the place where the picture is published.
    Redis {
        /// redis://[USER@]HOST[:PORT][/DB], rediss://… for TLS, or unix:///path/to/socket. No password here.
        url: String = "redis://127.0.0.1:6379/0".to_owned(); redis_url,
        /// File with the password, mode 0600. "" is none; or TRAPLINE_REDIS_PASSWORD, or the credential redis_password.
        password_file: Option<PathBuf> = None; any,
        /// Sentinels that know the primary, HOST[:PORT]; it is asked anew at every connect. Then url only says whether
        /// TLS is spoken, as which user, and which database. [] is none.
        sentinels: Vec<String> = Vec::new(); hosts,
        /// Name under which the sentinels watch the primary.
        sentinel_master: String = "mymaster".to_owned(); any,
        /// Certificates to trust for rediss://, PEM. "" is the system's.
        ca_file: Option<PathBuf> = None; any,
        /// Name of this daemon in trapline:health and in Redis' list of clients. It does not let a second daemon write:
        /// two daemons on one Redis need two databases.
        instance: String = "trapline".to_owned(); word,
        /// What a second daemon on the same database does, whatever its name: "take-over" writes, and the first one ends
        /// with code 75; "wait" waits until the first one has gone.
        second_daemon: SecondDaemon = SecondDaemon::TakeOver; any,
        /// Publishes only the newest value of a key when many wait; false writes each of them.
        conflate: bool = true; any,
        /// Time to connect, ms.
        connect_timeout_ms: u64 = 2_000; range(50..=60_000),
        /// Longest wait for an answer, ms; after twice that without one the writes are unknown, and sent again on a new
        /// connection.
        reply_timeout_ms: u64 = 500; range(50..=60_000),
        /// Type of current_position: "hash", or "legacy-json" (a JSON text) for older readers; the hash then stands at
        /// current_position:hash. The JSON mirrors (active_position and its siblings) are written in any case.
        position_key_format: PositionKeyFormat = PositionKeyFormat::Hash; any,
        /// Renames a key of the wrong type to legacy:KEY:TIME and goes on; false leaves it alone and reports it.
        migrate: bool = false; any,
    }
}

section! {
    /// Events on disk on their way to Redis: none is lost, none is written twice.
    Spool {
        /// Folder. "" is `spool` in the state folder.
        dir: Option<PathBuf> = None; any,
        /// Time an event stays on disk after Redis has it, hours, in case Redis falls back to an older state. At least a day:
        /// a start reads the fills of the last day again, and knows by this which are old.
        retain_hours: u64 = 24; range(24..=8_760),
        /// Disk space for such events, MiB; the oldest go first.
        retain_mib: u64 = 256; range(8..=1_048_576),
    }
}

section! {
    /// What can be believed.
    Rules {
        /// Oldest market data that are believed, ms, the exchange's clock corrected.
        market_max_age_ms: u64 = from_ms(MarketRules::default().max_age_ms); range(100..=3_600_000),
        /// How far a time may lie ahead of ours, ms, the exchange's clock corrected.
        future_tolerance_ms: u64 = from_ms(MarketRules::default().future_tolerance_ms); range(0..=60_000),
        /// Largest step from the last accepted price, as a fraction of it; a larger one needs confirmation.
        price_band_fraction: Decimal = MarketRules::default().price_band; range(Decimal::new(1, 4)..=Decimal::TEN),
        /// Readings in a row, each near the one before, that confirm a larger step.
        price_band_confirmations: u8 = MarketRules::default().band_confirmations; range(1..=100),
        /// Furthest that a ticker's last price may be from a recent trade, as a fraction of it.
        two_source_fraction: Decimal = MarketRules::default().two_source_band; range(Decimal::new(1, 4)..=Decimal::TEN),
        /// How recent that trade has to be, ms.
        two_source_ms: u64 = from_ms(MarketRules::default().two_source_ms); range(1..=60_000),
        /// How far a trade may lie before the newest accepted one, ms.
        reorder_tolerance_ms: u64 = from_ms(MarketRules::default().reorder_tolerance_ms); range(0..=60_000),
    }
}

section! {
    /// How often one symbol's keys are written. Above the limit state waits and only its newest value is written,
    /// events wait in order; nothing is dropped.
    Rates {
        /// Position updates.
        positions_per_minute: u32 = 100; range(1..=1_000_000),
        /// Market state updates.
        market_data_per_minute: u32 = 600; range(1..=100_000_000),
        /// Trade events.
        trades_per_minute: u32 = 50; range(1..=1_000_000),
    }
}

section! {
    /// Limits that open the circuit breaker. It never hides data: the truth is written, and `trapline:breaker` tells
    /// bots to stop.
    Breaker {
        /// Largest position, base coin.
        max_position_size: Decimal = Limits::default().max_position_size; range(Decimal::new(1, 12)..=Decimal::from(1_000_000_000_u64)),
        /// Highest leverage.
        max_leverage: Decimal = Limits::default().max_leverage; range(Decimal::ONE..=Decimal::from(1_000)),
        /// Least margin available, in the margin coin.
        min_margin: Decimal = Limits::default().min_margin; range(Decimal::ZERO..=Decimal::from(1_000_000_000_u64)),
        /// Largest adverse distance of a fill from the market, as a fraction of the price.
        max_slippage: Decimal = Limits::default().max_slippage; range(Decimal::new(1, 6)..=Decimal::ONE),
        /// How long all limits must hold before the breaker closes again, ms.
        cool_down_ms: u64 = from_ms(Limits::default().cool_down_ms); range(100..=86_400_000),
    }
}

section! {
    /// Single calls (REST, one command). Reconnecting is another matter and never gives up.
    Recovery {
        /// Tries after the first one.
        max_retries: u32 = 3; range(0..=20),
        /// Pause between tries, ms.
        backoff_ms: u64 = 1_000; range(10..=60_000),
        /// Longest wait for one try, ms.
        timeout_ms: u64 = 5_000; range(50..=60_000),
    }
}

section! {
    /// When a value that nobody proved for a while is marked stale.
    Freshness {
        /// Positions, ms since they were last proved. Quiet is not stale: a REST answer proves, too.
        position_ms: u64 = 60_000; range(500..=86_400_000),
        /// Market state, ms.
        market_ms: u64 = 5_000; range(100..=86_400_000),
        /// Pause between two looks, ms.
        check_every_ms: u64 = 250; range(10..=1_000),
    }
}

section! {
    /// Asking for the truth over REST.
    Reconcile {
        /// Pause between two rounds, ms. A round also follows each login and each suspicion.
        every_ms: u64 = 10_000; range(200..=3_600_000),
        /// Shortest pause between two rounds out of suspicion, ms.
        suspicion_gap_ms: u64 = 250; range(50..=60_000),
        /// Pause between two comparisons with the exchange's clock, ms.
        clock_every_ms: u64 = 60_000; range(1_000..=3_600_000),
    }
}

section! {
    /// Trap detection. A sigma is the standard deviation of one-minute returns of the symbol itself.
    Traps {
        /// How far beyond the last hour's range a sweep has to reach, sigmas.
        sweep_min_excursion_sigma: f64 = TrapSettings::default().min_excursion_sigma; range(0.1..=100.0),
        /// And at least this far, as a fraction of the price.
        sweep_min_excursion_fraction: f64 = TrapSettings::default().min_excursion; range(0.0..=1.0),
        /// How much of the move has to be given back, as a fraction of it.
        sweep_retrace_fraction: f64 = TrapSettings::default().retrace; range(0.05..=2.0),
        /// Volume of the move's busiest minute, in median minutes.
        sweep_volume_ratio: f64 = TrapSettings::default().volume_ratio; range(0.0..=1_000.0),
        /// Size of a fake pump or dump, sigmas.
        fake_min_move_sigma: f64 = TrapSettings::default().fake_sigma; range(0.1..=100.0),
        /// Rise of a pump's burst, as a fraction of the price before it.
        pump_min_rise_fraction: f64 = TrapSettings::default().pump_min_rise; range(0.001..=10.0),
        /// Volume of a pump's burst, in mean minutes.
        pump_volume_ratio: f64 = TrapSettings::default().pump_volume_ratio; range(0.0..=10_000.0),
        /// Share of that volume which buyers took, as a fraction.
        pump_min_buy_fraction: f64 = TrapSettings::default().pump_min_buy_share; range(0.0..=1.0),
    }
}

section! {
    /// Whose fill it was: the first strategy whose conditions all hold; else the default one.
    Ledger {
        /// Strategy of fills that no row claims.
        default_strategy: String = "scalper".to_owned(); word,
        /// Rows, at most 32.
        strategies: Vec<Strategy> = Vec::new(); at_most_32,
    }
}

section! {
    /// A strategy and what its fills look like.
    Strategy {
        /// Name in the keys.
        name: String = "scalper".to_owned(); word,
        /// Beginning of its own order ids; "" is any.
        client_order_id_prefix: String = String::new(); any,
        /// Symbol; "" is any.
        symbol: String = String::new(); any,
        /// Side of the order: "any", "buy" or "sell".
        side: Option<OrderSide> = None; any,
    }
}

fn at_most_32(list: &[Strategy]) -> Result<(), super::Wrong> {
    let count = list.len();
    if count <= 32 { Ok(()) } else { Err(super::Wrong::new(format!("{count} rows"), "write at most 32")) }
}

section! {
    /// How often rooms may die, and when the process gives up so that the service manager starts it anew (exit 70).
    Supervision {
        /// Deaths of one room in a row with neither a handled message nor `stable_after_ms` between them.
        max_deaths_in_a_row: u32 = 5; range(1..=1_000),
        /// Deaths of all rooms of a group within `death_window_ms`.
        max_deaths: u32 = 10; range(1..=100_000),
        /// Window of `max_deaths`, ms.
        death_window_ms: u64 = 60_000; range(1_000..=86_400_000),
        /// Restarts in a row because something the room needs is down.
        max_retries: u32 = 1_000; range(1..=1_000_000),
        /// A room's second death waits up to so long, ms, each further one up to twice as long. The first is not held
        /// back, nor is one that a message brought about; where something it needs is down, the first waits as well.
        restart_backoff_ms: u64 = whole_ms(Backoff::default().base); range(1..=60_000),
        /// No death waits longer, ms.
        restart_backoff_max_ms: u64 = whole_ms(Backoff::default().cap); range(1..=3_600_000),
        /// After a life of so long the next death is a first one again, ms.
        stable_after_ms: u64 = whole_ms(Backoff::default().stable_after); range(100..=86_400_000),
        /// Hung rooms that are left behind before the process gives up.
        max_zombies: u32 = 4; range(1..=64),
        /// Poison messages kept to look at and to play again.
        quarantine_size: usize = 100; range(1..=10_000),
        /// Time for an orderly end, ms.
        stop_deadline_ms: u64 = 5_000; range(100..=120_000),
        /// Restart journal on disk, MiB; older lines are rotated away.
        journal_mib: u64 = 64; range(1..=10_240),
    }
}

section! {
    /// Status pages: /livez, /readyz, /statusz and /metrics.
    Status {
        /// Address and port; "" is off. Beyond this machine it needs a token.
        listen: Option<String> = Some("127.0.0.1:8787".to_owned()); listen,
        /// File with the token that callers present as `Authorization: Bearer …`, mode 0600. "" is none.
        token_file: Option<PathBuf> = None; any,
    }
}

impl Status {
    /// The address to listen on; `None` is off.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.listen.as_ref().and_then(|text| text.parse().ok())
    }

    /// Whether other machines could ask.
    pub fn listens_beyond_this_machine(&self) -> bool {
        self.address().is_some_and(|address| !address.ip().is_loopback())
    }
}

section! {
    /// The log, on standard error.
    Log {
        /// "text" (coloured on a terminal unless NO_COLOR is set) or "json", one object a line.
        format: LogFormat = LogFormat::Text; any,
        /// Least level: "error", "warn", "info", "debug" or "trace".
        level: LogLevel = LogLevel::Info; any,
    }
}

section! {
    /// The daemon's own files: journal, quarantine, spool.
    State {
        /// Folder. "" is $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/trapline, else ~/.local/state/trapline.
        dir: Option<PathBuf> = None; any,
    }
}
