//! How an exchange is set up. Every duration that the real exchange fixes can be shortened here for a test.

use super::account::script::Script;
use super::faults::FaultSpec;
use super::owners::MAIN_NAME;
use super::rest::key::KeyRights;
use super::schedule::Scheduled;
use crate::clock::Clock;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a client has to sign with.
#[derive(Clone)]
pub struct Credentials {
    pub key: String,
    pub secret: String,
    pub pass: String,
}

/// Secrets stay out of every log line.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// Where prices come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarketSource {
    /// A model per symbol, the same for the same seed.
    Seeded,
    /// Recordings, merged by time. Recordings of different days begin together.
    Tapes(Vec<PathBuf>),
}

/// How fast market time runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Multiples of real time, above 0.
    Times(f64),
    /// As fast as the slowest client reads.
    Max,
}

/// When the market begins to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// At once.
    No,
    /// When the first public subscription stands and none has come for this long.
    UntilSubscribed { settle: Duration },
    /// When told: [`super::Venue::resume`] or `/_exchange/market?run=on`.
    UntilTold,
}

/// What times the frames carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// The time of sending, so that every frame is fresh; spans shrink with the speed.
    Fresh,
    /// Market time from the start on, unscaled: a tape keeps its spans at any speed.
    Market,
}

/// Which generation of the private REST interface the account belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountKind {
    /// v2 only; v3 answers 40084.
    Classic,
    /// v3 only; v2 answers 40085.
    Unified,
    /// Both answer: convenient, and unlike the real exchange.
    #[default]
    Any,
}

/// What the scripted account does while the market runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ScriptChoice {
    /// The account only moves by the control door.
    #[default]
    Idle,
    /// Opens, adds, reduces, flips and closes on both sides, over and over.
    Tour,
    /// `$1`, `$2` in place of symbols are the market's first, second.
    Given(Script),
    /// A trader with the exchange's seed and no plan: every kind of order, mode and mistake.
    Random,
}

/// One more account beside the main one, with a key of its own.
#[derive(Clone, Debug)]
pub struct SubAccount {
    /// Lower-case letters, digits and `-`; scripts, the control door and the truth log call it so.
    pub name: String,
    pub credentials: Credentials,
    /// What moves it by itself.
    pub script: ScriptChoice,
}

impl SubAccount {
    /// An idle one whose key is `NAME-key`, secret `NAME-secret`, passphrase `NAME-pass`.
    pub fn named(name: &str) -> Self {
        let word = |kind: &str| format!("{name}-{kind}");
        let credentials = Credentials { key: word("key"), secret: word("secret"), pass: word("pass") };
        Self { name: name.to_owned(), credentials, script: ScriptChoice::Idle }
    }
}

/// Protocol generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Generation {
    V2,
    V3,
}

/// Ticker frames as fast as the client reads, or at a fixed rate, for measurements. Each frame's bid size carries
/// its number (see [`super::firehose::FRAME_BASE`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Firehose {
    /// Frames per second over all clients; `None`: as fast as they read.
    pub rate: Option<f64>,
    /// Stop after this many frames over all clients.
    pub frames: Option<u64>,
}

/// What the real exchange limits, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A client that sent no text `ping` for this long is cut, even while data flows.
    pub ping_kill: Duration,
    /// A connection lives at most this long.
    pub day: Duration,
    pub messages_per_second: u32,
    pub subscribes_per_hour: u32,
    /// The hour of [`Self::subscribes_per_hour`].
    pub hour: Duration,
    pub channels: usize,
    pub frame_bytes: usize,
    pub frame_args: usize,
    /// Bytes that may wait for one client before it is cut.
    pub backlog_bytes: usize,
    /// Open WebSocket connections of one address.
    pub connections: usize,
    /// WebSocket connects of one address within [`Self::connect_span`].
    pub connects: u32,
    /// Five minutes; also how long an address that asked REST too much is shut out.
    pub connect_span: Duration,
    /// REST requests of one address over all paths.
    pub requests_per_minute: u32,
    /// How far a signature's time may be off.
    pub signature_window: Duration,
    /// A request whose head or body takes longer is not waited for, an answer that is not read is not kept longer.
    pub request_time: Duration,
    /// Whether REST answers 429 above its rates.
    pub rest_rates: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ping_kill: Duration::from_secs(120),
            day: Duration::from_secs(24 * 3600),
            messages_per_second: 10,
            subscribes_per_hour: 240,
            hour: Duration::from_secs(3600),
            channels: 1000,
            frame_bytes: 4096,
            frame_args: 24,
            backlog_bytes: 4 * 1024 * 1024,
            connections: 100,
            connects: 300,
            connect_span: Duration::from_secs(300),
            requests_per_minute: 6_000,
            signature_window: Duration::from_secs(30),
            request_time: Duration::from_secs(30),
            rest_rates: true,
        }
    }
}

impl Limits {
    /// Days, hours and five minutes pass `scale` times as fast. What a client keeps by its own clock stays as it is:
    /// messages per second, the two minutes between pings, the age of a signature.
    #[must_use]
    pub fn scaled(self, scale: f64) -> Self {
        let faster = |span: Duration| Duration::try_from_secs_f64(span.as_secs_f64() / scale).unwrap_or(span);
        Self { day: faster(self.day), hour: faster(self.hour), connect_span: faster(self.connect_span), ..self }
    }
}

/// Everything an exchange needs to start; [`VenueConfig::default`] is a seeded BTCUSDT and ETHUSDT market on a free
/// loopback port that lets any key in.
#[derive(Clone, Debug)]
pub struct VenueConfig {
    pub listen: SocketAddr,
    /// `None`: any login and any signature is accepted.
    pub credentials: Option<Credentials>,
    /// What the key may do, as the exchange tells it.
    pub key: KeyRights,
    pub account: AccountKind,
    /// Whether a rejected login also ends the connection (documented so, seen otherwise).
    pub close_on_bad_login: bool,
    /// The market's symbols. With tapes: the spelling that a tape's symbols are renamed to.
    pub symbols: Vec<String>,
    pub market: MarketSource,
    pub speed: Speed,
    pub hold: Hold,
    pub stamps: Stamps,
    pub seed: u64,
    /// Time of the first frame, ms since 1970; `None`: now.
    pub start_ms: Option<i64>,
    pub script: ScriptChoice,
    /// Beside the main account; those that only the script names are added by themselves.
    pub sub_accounts: Vec<SubAccount>,
    /// What each account begins with, worth so many dollars; one that trades at random gets a hundred times as much.
    pub funds: f64,
    /// How many fills, finished orders and closed positions REST still tells.
    pub kept: usize,
    /// The truth log's file, see [`super::market::truth`].
    pub truth: Option<PathBuf>,
    pub firehose: Option<Firehose>,
    /// Faults that begin with the exchange.
    pub faults: Vec<FaultSpec>,
    /// Faults that begin later, sorted by time.
    pub schedule: Vec<Scheduled>,
    pub limits: Limits,
    pub clock: Clock,
}

impl Default for VenueConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            credentials: None,
            key: KeyRights::default(),
            account: AccountKind::default(),
            close_on_bad_login: false,
            symbols: vec!["BTCUSDT".to_owned(), "ETHUSDT".to_owned()],
            market: MarketSource::Seeded,
            speed: Speed::Times(1.0),
            hold: Hold::No,
            stamps: Stamps::Fresh,
            seed: 1,
            start_ms: None,
            script: ScriptChoice::default(),
            sub_accounts: Vec::new(),
            funds: 10_000.0,
            kept: super::account::AccountConfig::default().kept,
            truth: None,
            firehose: None,
            faults: Vec::new(),
            schedule: Vec::new(),
            limits: Limits::default(),
            clock: Clock::system(),
        }
    }
}

/// Why an exchange cannot start.
#[derive(Debug, thiserror::Error)]
pub enum VenueError {
    #[error("cannot listen on {listen}: {source}; is the port taken? port 0 picks a free one")]
    Listen { listen: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Tape(#[from] crate::tape::TapeError),
    #[error("the tapes {names} hold no trade, ticker or candle that this exchange can play")]
    EmptyTapes { names: String },
    #[error("cannot write the truth log {path}: {source}")]
    Truth { path: PathBuf, source: std::io::Error },
    #[error("the script cannot be followed: {0}")]
    Script(#[from] super::account::script::StepError),
    #[error("no symbol: name at least one, e.g. BTCUSDT")]
    NoSymbol,
    #[error("{count} symbols: at most {max} are served", max = VenueConfig::SYMBOLS_MAX)]
    TooManySymbols { count: usize },
    #[error("sub-account {name:?}: {problem}")]
    SubAccount { name: String, problem: String },
    #[error("speed {speed}: give a number above 0, or max")]
    Speed { speed: f64 },
}

impl VenueConfig {
    pub const SYMBOLS_MAX: usize = 600;
    pub const SUB_ACCOUNTS_MAX: usize = 20;

    /// Says at once what cannot work.
    pub fn check(&self) -> Result<(), VenueError> {
        if self.symbols.len() > Self::SYMBOLS_MAX {
            return Err(VenueError::TooManySymbols { count: self.symbols.len() });
        }
        if self.symbols.is_empty() && self.market == MarketSource::Seeded {
            return Err(VenueError::NoSymbol);
        }
        self.check_sub_accounts()?;
        match self.speed {
            Speed::Times(speed) if !(speed.is_finite() && speed > 0.0) => Err(VenueError::Speed { speed }),
            _ => Ok(()),
        }
    }

    /// Adds the accounts that the script names and nobody else did.
    pub(super) fn open_named_accounts(&mut self) {
        let ScriptChoice::Given(script) = &self.script else { return };
        for name in script.accounts() {
            if name != MAIN_NAME && !self.sub_accounts.iter().any(|sub| sub.name == name) {
                self.sub_accounts.push(SubAccount::named(name));
            }
        }
    }

    fn check_sub_accounts(&self) -> Result<(), VenueError> {
        let wrong = |name: &str, problem: String| Err(VenueError::SubAccount { name: name.to_owned(), problem });
        for (place, sub) in self.sub_accounts.iter().enumerate() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if sub.name.is_empty() || sub.name.len() > 32 || !sub.name.chars().all(plain) {
                return wrong(&sub.name, "a name has 1 to 32 lower-case letters, digits and `-`".to_owned());
            }
            if place >= Self::SUB_ACCOUNTS_MAX {
                return wrong(&sub.name, format!("at most {} are served", Self::SUB_ACCOUNTS_MAX));
            }
            let before = &self.sub_accounts[..place];
            if sub.name == MAIN_NAME || before.iter().any(|other| other.name == sub.name) {
                return wrong(&sub.name, "the name is taken: choose another".to_owned());
            }
            let key = &sub.credentials.key;
            let taken = self.credentials.as_ref().is_some_and(|main| main.key == *key);
            if taken || before.iter().any(|other| other.credentials.key == *key) {
                return wrong(&sub.name, "its API key opens another account: choose another".to_owned());
            }
        }
        Ok(())
    }
}
