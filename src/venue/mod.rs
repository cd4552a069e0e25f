//! The built-in exchange: Bitget as a client sees it, on one port, with a market, an account, and faults on demand.
//!
//! The map, from the inside out:
//!
//! * [`market`]: prices from tapes or a seeded model, folded into tickers, trades and candles. Pure.
//! * [`account`]: the trading account, pure arithmetic, and its words on the wire. [`desk`]: who is pushed what.
//! * [`owners`]: the main account and its sub-accounts, and whose key is whose.
//! * [`book`] and [`liquidation`]: the ladder and other traders' forced orders, derived from the market. Pure.
//! * [`wire`]: public frames as text. [`hub`]: connections and subscriptions. [`outbox`]: one client's bounded output.
//! * `patient`: how long an answer waits for its reader. [`peers`]: what one address may do. [`schedule`]: faults as text and by time.
//! * [`core`]: all of that behind one lock. [`faults`], [`mangle`] and `trouble`: what goes wrong on purpose.
//! * [`playback`]: market time. [`session`]: one WebSocket connection. [`rest`]: REST. [`control`]: `/_exchange/…`.
//! * [`firehose`]: ticker frames as fast as they are read, for measurements.
//!
//! [`start`] runs on whatever tokio runtime it is called in; a current-thread runtime is enough.

pub mod account;
pub mod book;
mod closing;
pub mod config;
pub mod control;
pub mod core;
mod depth;
pub mod desk;
pub mod faults;
pub mod firehose;
pub mod frame;
pub mod http;
pub mod hub;
pub mod instrument;
pub mod liquidation;
pub mod mangle;
pub mod market;
pub mod outbox;
pub mod owners;
mod patient;
pub mod peers;
pub mod playback;
pub mod rest;
pub mod schedule;
mod script;
pub mod session;
mod trouble;
pub mod wire;

pub use config::{
    AccountKind, Credentials, Firehose, Generation, Hold, Limits, MarketSource, ScriptChoice, Speed, Stamps,
    SubAccount, VenueConfig, VenueError,
};
pub use core::SymbolTruth;
pub use faults::{FaultName, FaultSpec};
pub use schedule::{Scheduled, parse_fault, parse_schedule};

use self::core::{Core, Shared};
use crate::domain::symbol::Product;
use account::{Account, AccountConfig};
use instrument::Instrument;
use market::seeded::Seeded;
use market::state::SymbolState;
use market::truth::Log;
use market::{Market, Source, TimeMap, tapes};
use owners::{MAIN, MAIN_NAME, Owner, OwnerId};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Counts of a running exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames handed to clients, the firehose's included.
    pub frames: u64,
    pub clients: usize,
    pub connects: u64,
    /// Connections ended because the client did not read.
    pub slow_cut: u64,
    pub subscriptions: usize,
    pub faults: usize,
    /// How often each limit was met.
    pub met: hub::LimitsMet,
}

/// A running exchange; it ends when this is dropped or stopped.
pub struct Venue {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts an exchange: it listens when this returns.
pub async fn start(mut config: VenueConfig) -> Result<Venue, VenueError> {
    config.open_named_accounts();
    config.check()?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| VenueError::Listen { listen: config.listen, source })?;
    let addr = listener.local_addr().map_err(|source| VenueError::Listen { listen: config.listen, source })?;
    let log = match &config.truth {
        Some(path) => Log::to_file(path).map_err(|source| VenueError::Truth { path: path.clone(), source })?,
        None => Log::default(),
    };
    let happenings = Arc::new(Mutex::new(log));
    let (market, source, begin_ms) = prepare(&config, &happenings)?;
    let scripts = std::iter::once((MAIN_NAME, &config.script));
    let scripts: Vec<_> =
        scripts.chain(config.sub_accounts.iter().map(|sub| (sub.name.as_str(), &sub.script))).collect();
    let owners = scripts
        .iter()
        .enumerate()
        .map(|(id, (name, script))| Owner::new(name, Account::new(account_of(&config, script, &market, id))));
    let owners = owners.collect();
    let mut core = Core::new(market, owners, happenings, config.clock.clone());
    (0..core.market.symbols.len()).for_each(|symbol| core.mark_accounts(symbol));
    for (owner, (_, script)) in scripts.iter().enumerate() {
        let running = script::Running::new(script, &core, owner, config.seed)?;
        core.scripts.push(running);
    }
    let names: Vec<String> = core.market.symbols.iter().map(|s| s.instrument.name.clone()).collect();
    core.tell_truth(script::first_line(&core, config.seed, &names, config.clock.now_ms()));
    config.faults.iter().for_each(|spec| core.start_fault(spec.clone()));
    let shared = Arc::new(Shared::new(core, config));
    let mut tasks = vec![tokio::spawn(http::serve(listener, Arc::clone(&shared)))];
    // A firehose has no market: its prices stand still but for the digits that it writes.
    if shared.config.firehose.is_none() {
        tasks.push(tokio::spawn(playback::run(Arc::clone(&shared), source, begin_ms)));
    }
    tasks.push(tokio::spawn(watch_faults(Arc::clone(&shared))));
    if !shared.config.schedule.is_empty() {
        tasks.push(tokio::spawn(schedule::run(Arc::clone(&shared))));
    }
    Ok(Venue { addr, shared, tasks })
}

/// The market before its first live moment, its source, and that moment in source time.
fn prepare(config: &VenueConfig, log: &Arc<Mutex<Log>>) -> Result<(Market, Box<dyn Source>, i64), VenueError> {
    match &config.market {
        MarketSource::Tapes(paths) => {
            let (source, symbols, begin_ms) = tapes::open(paths, &config.symbols)?;
            Ok((Market::new(symbols, config.seed), Box::new(source), begin_ms))
        }
        MarketSource::Seeded => {
            let instruments: Vec<_> = config.symbols.iter().map(|name| Instrument::named(name)).collect();
            let begin_ms = config.start_ms.unwrap_or_else(|| config.clock.now_ms());
            // A while of market before anybody looks, so that history is not empty.
            let warm_ms = if instruments.len() <= 50 { 30_000 } else { 5_000 };
            let warm_from_ms = begin_ms - warm_ms;
            let mut source = Seeded::new(&instruments, config.seed, warm_from_ms, Arc::clone(log));
            let symbols = instruments.into_iter().enumerate().map(|(number, instrument)| {
                let history = config.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number as u64;
                SymbolState::new(instrument, number, Some(history))
            });
            let mut market = Market::new(symbols.collect(), config.seed);
            market.begin(TimeMap { source_ms: warm_from_ms, shown_ms: warm_from_ms, scale: 1.0 });
            let mut unseen = Vec::new();
            while source.peek_ms().is_some_and(|ts_ms| ts_ms < begin_ms) {
                if let Some(event) = source.next() {
                    market.advance(event.ts_ms(), &mut unseen);
                    market.apply(event, &mut unseen);
                }
                unseen.clear();
            }
            market.advance(begin_ms, &mut unseen);
            market.begin(TimeMap { source_ms: 0, shown_ms: 0, scale: 1.0 });
            Ok((market, Box::new(source), begin_ms))
        }
    }
}

/// Every account trades the contracts that are margined like the first symbol.
fn account_of(config: &VenueConfig, script: &ScriptChoice, market: &Market, owner: OwnerId) -> AccountConfig {
    let usual = AccountConfig { kept: config.kept, ..AccountConfig::default() };
    // The random trader pays fees for hours.
    let (rich, fills_per_order) = if *script == ScriptChoice::Random { (100.0, 3) } else { (1.0, 1) };
    let Some(first) = market.symbols.first().map(|s| &s.instrument) else { return usual };
    let (coin, worth) = match first.product {
        Product::CoinFutures => (first.base.clone(), first.start_price),
        Product::UsdtFutures => ("USDT".to_owned(), 1.0),
        Product::UsdcFutures => ("USDC".to_owned(), 1.0),
    };
    let balance = Instrument { size_scale: 4, ..first.clone() }.size(config.funds * rich / worth.max(1e-9));
    let balance = balance.normalize();
    // No id of one account is one of another.
    let seed = config.seed ^ (owner as u64) << 32;
    AccountConfig { seed, coin, product: first.product, balance, fills_per_order, ..usual }
}

async fn watch_faults(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(10)) => shared.core().fault_tick(),
            () = shared.stopped() => return,
        }
    }
}

impl Venue {
    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT`, for REST and, with `ws` in place of `http`, for the four doors.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Names of the listed symbols.
    pub fn symbols(&self) -> Vec<String> {
        self.shared.core().market.symbols.iter().map(|s| s.instrument.name.clone()).collect()
    }

    pub fn stats(&self) -> Stats {
        let core = self.shared.core();
        Stats {
            frames: core.hub.frames + self.shared.fired.load(Ordering::Relaxed),
            clients: core.hub.clients.len(),
            connects: core.hub.connects,
            slow_cut: core.hub.slow_cut,
            subscriptions: core.hub.clients.values().map(|c| c.topics.len()).sum(),
            faults: core.faults.list().count(),
            met: core.hub.met,
        }
    }

    /// Newest values that went out, per symbol.
    pub fn truth(&self) -> Vec<SymbolTruth> {
        self.shared.core().truth()
    }

    /// Open positions of the main account: symbol, side, size, entry price.
    pub fn positions(&self) -> Vec<account::PositionRow> {
        self.shared.core().account(MAIN).positions()
    }

    /// A copy of the account of this name, as it is now.
    pub fn account(&self, name: &str) -> Option<Account> {
        let core = self.shared.core();
        core.owner_named(name).map(|owner| core.account(owner).clone())
    }

    /// True once every tape was played to its end.
    pub fn tape_finished(&self) -> bool {
        self.shared.tape_finished.load(Ordering::Relaxed)
    }

    /// Stops market time: nothing new is sent until [`Venue::resume`].
    pub fn pause(&self) {
        self.shared.run.store(false, Ordering::Relaxed);
    }

    /// True once a [`Venue::pause`] has taken hold: neither market nor account moves by itself any more.
    pub fn stands_still(&self) -> bool {
        !self.shared.run.load(Ordering::Relaxed) && !self.shared.core().running
    }

    pub fn resume(&self) {
        self.shared.run.store(true, Ordering::Relaxed);
        self.shared.stirred.notify_waiters();
    }

    /// Starts a fault.
    pub fn fault(&self, spec: FaultSpec) {
        self.shared.core().start_fault(spec);
    }

    pub fn stop_fault(&self, name: FaultName) {
        self.shared.core().stop_fault(name);
    }

    /// Frames that the firehose sent so far; the numbers in them are below this.
    pub fn fired(&self) -> u64 {
        self.shared.fired.load(Ordering::Relaxed)
    }

    /// Microseconds since 1970 at which firehose frame `number` was sent, while it is remembered.
    pub fn send_time_us(&self, number: u64) -> Option<u64> {
        self.shared.stamps.get(number, self.fired())
    }

    /// One calm line about what is going on.
    pub fn status_line(&self) -> String {
        let stats = self.stats();
        let core = self.shared.core();
        let prices = core.market.symbols.iter().take(3).map(|s| format!("{} {}", s.instrument.name, s.last));
        let prices = prices.collect::<Vec<_>>().join("  ");
        let more = core.market.symbols.len().saturating_sub(3);
        let more = if more > 0 { format!("  +{more}") } else { String::new() };
        let faults: Vec<_> = core.faults.list().map(|active| active.spec.name.label()).collect();
        let faults = if faults.is_empty() { String::new() } else { format!("  faults: {}", faults.join(" ")) };
        format!(
            "{prices}{more}  clients {}  subscriptions {}  frames {}  positions {}{faults}",
            stats.clients,
            stats.subscriptions,
            stats.frames,
            core.owners.iter().map(|owner| owner.account.positions().len()).sum::<usize>(),
        )
    }

    /// Ends all connections with a close frame, then the exchange.
    pub async fn stop(mut self) {
        self.shared.stopping.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
        }
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        self.shared.stopping.send_replace(true);
    }
}
