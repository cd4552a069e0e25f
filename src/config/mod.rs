//! Every setting, once. A configuration is a TOML file, overridden by `TRAPLINE__SECTION__KEY` variables; all its
//! faults are found at once, each with its place and its remedy. `trapline.example.toml` is rendered from here.

mod domain;
mod env;
mod errors;
mod leaf;
mod reader;
mod rows;
mod rules;
mod secrets;
mod sections;
mod suggest;

pub use env::Env;
pub use errors::{ConfigError, ConfigErrors, Place, Wrong};
pub use reader::{Described, ENV_PREFIX};
pub use secrets::{BitgetCredentials, Secrets};
pub use sections::{
    Breaker, CredentialFiles, Exchange, Freshness, Generation, Ledger, Log, LogFormat, LogLevel, PositionKeyFormat,
    PrivateData, Rates, Reconcile, Recovery, Redis, Rules, SecondDaemon, Spool, State, Status, Strategy, Supervision,
    Traps,
};
pub(crate) use suggest::nearest;

use crate::error::words;
use reader::{Faults, Node, Reader, section};
use rules::any;
use std::io::Read;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

section! {
    /// trapline's settings, each with its default. Names end in their unit.
    /// Any single value can be overridden by an environment variable: TRAPLINE__REDIS__URL is url in [redis].
    Config {
        /// Lets people break rooms on purpose in the running daemon, to see them recover.
        allow_drills: bool = false; any,
        /// The exchange.
        exchange: Exchange = Exchange::default(); any,
        /// Redis.
        redis: Redis = Redis::default(); any,
        /// Events on disk.
        spool: Spool = Spool::default(); any,
        /// What can be believed.
        rules: Rules = Rules::default(); any,
        /// How often keys are written.
        rates: Rates = Rates::default(); any,
        /// Limits that open the breaker.
        breaker: Breaker = Breaker::default(); any,
        /// Single calls.
        recovery: Recovery = Recovery::default(); any,
        /// When a value is stale.
        freshness: Freshness = Freshness::default(); any,
        /// Asking for the truth.
        reconcile: Reconcile = Reconcile::default(); any,
        /// Trap detection.
        traps: Traps = Traps::default(); any,
        /// Whose fill it was.
        ledger: Ledger = Ledger::default(); any,
        /// How often rooms may die.
        supervision: Supervision = Supervision::default(); any,
        /// Status pages.
        status: Status = Status::default(); any,
        /// The log.
        log: Log = Log::default(); any,
        /// The daemon's own files.
        state: State = State::default(); any,
    }
    with {
        /// Keys and passwords, found by [`Config::load`]; never part of a dump.
        secrets: Secrets
    }
}

impl Config {
    /// The largest configuration file that is read, bytes.
    pub const FILE_MAX: u64 = 1_048_576;

    /// Reads the file, the environment and the secrets, and holds every rule.
    ///
    /// # Errors
    /// All faults at once; the program ends with exit code 78.
    pub fn load(path: &Path, env: &Env) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let text = read_file(path).map_err(|wrong| {
            let fault = ConfigError { place: Place::File, setting: String::new(), wrong };
            ConfigErrors::sorted(&name, vec![fault])
        })?;
        Self::parse(&text, &name, env)
    }

    /// As [`Config::load`], from a text; `name` stands for the file in the errors.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse(text: &str, name: &str, env: &Env) -> Result<Self, ConfigErrors> {
        let paths: Vec<String> = Self::default().described().into_iter().map(|line| line.path).collect();
        let mut reader = Reader::new(text, env, &paths);
        let (tree, syntax) = DeTable::parse_recoverable(text);
        for error in syntax {
            let place = error.span().map_or(Place::File, |span| Place::Line(reader.line_at(span.start)));
            // Only the description: the error's own text would repeat the line, which may hold a secret.
            let remedy = if error.message() == "duplicate key" {
                "keep one of the two"
            } else {
                "write `name = value` lines below [section] lines; texts stand in quotes"
            };
            reader.faults.report_at(place, "", Wrong::new(error.message().to_owned(), remedy));
        }
        let span = tree.span();
        let tree = toml::Spanned::new(span, toml::de::DeValue::Table(tree.into_inner()));
        let mut config = Node::read(Self::default(), &mut reader, "", Some(&tree));
        reader.unknown_variables();
        let mut faults = reader.faults;
        config.check("", &mut faults);
        config.check_together(&mut faults);
        config.secrets = secrets::read(&config, env, &mut faults);
        if faults.list.is_empty() { Ok(config) } else { Err(ConfigErrors::sorted(name, faults.list)) }
    }

    /// Holds every rule for a configuration that a program put together.
    ///
    /// # Errors
    /// All faults at once.
    pub fn validated(self) -> Result<Self, ConfigErrors> {
        let mut faults = Faults::default();
        self.check("", &mut faults);
        self.check_together(&mut faults);
        if faults.list.is_empty() { Ok(self) } else { Err(ConfigErrors::sorted("configuration", faults.list)) }
    }

    /// Rules between settings.
    fn check_together(&self, faults: &mut Faults) {
        let mut ordered = |low: (&str, u64), high: (&str, u64)| {
            if low.1 > high.1 {
                let problem = format!("{} is more than {} ({})", low.1, high.0, high.1);
                faults.report(low.0, Wrong::new(problem, "make the first smaller or the second larger"));
            }
        };
        let (exchange, redis) = (&self.exchange, &self.redis);
        ordered(
            ("exchange.reconnect_min_ms", exchange.reconnect_min_ms),
            ("exchange.reconnect_max_ms", exchange.reconnect_max_ms),
        );
        ordered(
            ("supervision.restart_backoff_ms", self.supervision.restart_backoff_ms),
            ("supervision.restart_backoff_max_ms", self.supervision.restart_backoff_max_ms),
        );
        ordered(
            ("freshness.check_every_ms", self.freshness.check_every_ms),
            ("freshness.market_ms", self.freshness.market_ms),
        );
        if self.exchange.private != PrivateData::Off {
            ordered(
                ("reconcile.every_ms", self.reconcile.every_ms),
                ("freshness.position_ms", self.freshness.position_ms),
            );
        }
        for (i, row) in self.ledger.strategies.iter().enumerate() {
            if !row.symbol.is_empty() && !exchange.symbols.contains(&row.symbol) {
                let wrong =
                    Wrong::new("is not among `exchange.symbols`", "add it there, or leave it empty for any symbol");
                faults.report(&format!("ledger.strategies[{i}].symbol"), wrong);
            }
        }
        let is_tls = redis.url.starts_with("rediss://");
        match &redis.ca_file {
            Some(_) if !is_tls => faults.report(
                "redis.ca_file",
                Wrong::new("has no use without TLS", "write rediss:// in `redis.url`, or leave `ca_file` empty"),
            ),
            Some(path) => {
                if let Err(error) = std::fs::File::open(path) {
                    let problem = format!("cannot read {}: {}", path.display(), words(error.kind()));
                    faults.report("redis.ca_file", Wrong::new(problem, "name a PEM file that trapline may read"));
                }
            }
            None => {}
        }
    }

    /// Every section and setting in order, with documentation and current value.
    pub fn described(&self) -> Vec<Described> {
        let mut lines = Vec::new();
        self.describe("", &[], &mut lines);
        lines
    }

    /// The configuration as TOML that reads back as itself; secrets are no part of it.
    pub fn to_toml(&self) -> String {
        rows::render(&self.described(), false)
    }

    /// The commented example: every setting with its documentation and default.
    pub fn example() -> String {
        rows::render(&Self::default().described(), true)
    }

    /// Where the daemon keeps its own files.
    pub fn state_dir(&self, env: &Env) -> PathBuf {
        if let Some(dir) = &self.state.dir {
            return dir.clone();
        }
        let home = || Path::new(env.get("HOME").unwrap_or("/var/lib")).join(".local/state");
        match env.get("STATE_DIRECTORY") {
            // systemd may name several, joined by colons.
            Some(list) => list.split(':').next().unwrap_or(list).into(),
            None => env.get("XDG_STATE_HOME").map_or_else(home, PathBuf::from).join("trapline"),
        }
    }

    /// Where events wait for Redis.
    pub fn spool_dir(&self, env: &Env) -> PathBuf {
        self.spool.dir.clone().unwrap_or_else(|| self.state_dir(env).join("spool"))
    }
}

fn read_file(path: &Path) -> Result<String, Wrong> {
    let copy = "name the right file; a new one: copy trapline.example.toml and keep what differs";
    let file = std::fs::File::open(path)
        .map_err(|error| Wrong::new(format!("cannot be read: {}", words(error.kind())), copy))?;
    let mut bytes = Vec::new();
    file.take(Config::FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Wrong::new(format!("cannot be read: {}", words(error.kind())), copy))?;
    if bytes.len() as u64 > Config::FILE_MAX {
        return Err(Wrong::new("is larger than 1 MiB", copy));
    }
    String::from_utf8(bytes).map_err(|_| Wrong::new("is not UTF-8", "save it as UTF-8 text"))
}
