//! The exchange's state, behind one lock: market, account, faults, and who listens. Sessions, REST, the control door
//! and the playback all act through it.

use super::account::Happened;
use super::book::Book;
use super::config::{Generation, VenueConfig};
use super::depth::Beat;
use super::desk;
use super::faults::{FaultName, Faults};
use super::hub::{ClientId, Feed, Hub, Topic};
use super::mangle::{self, Held};
use super::market::state::{PublicTrade, SNAPSHOT_TRADES, SymbolState};
use super::market::{Emit, Market, truth};
use super::owners::{Keys, Owner, OwnerId};
use super::wire::{self, Action};
use rust_decimal::Decimal;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// What all tasks of one exchange share.
pub struct Shared {
    core: Mutex<Core>,
    pub config: VenueConfig,
    /// Rings when a client has written out what waited, or went away.
    pub drained: Notify,
    /// Rings when somebody subscribed or the market was told to run.
    pub stirred: Notify,
    /// True once the exchange ends.
    pub stopping: watch::Sender<bool>,
    pub tape_finished: AtomicBool,
    /// Whether market time is told to run.
    pub run: AtomicBool,
    /// Frames that the firehose sent.
    pub fired: AtomicU64,
    pub stamps: super::firehose::SendStamps,
    pub keys: Keys,
    pub rates: super::rest::Rates,
    pub peers: super::peers::Peers,
}

impl Shared {
    pub fn new(core: Core, config: VenueConfig) -> Self {
        let stamps = super::firehose::SendStamps::new(config.firehose.is_some(), core.market.symbols.len());
        Self {
            core: Mutex::new(core),
            keys: Keys::new(config.credentials.clone(), &config.sub_accounts),
            config,
            drained: Notify::new(),
            stirred: Notify::new(),
            stopping: watch::Sender::new(false),
            tape_finished: AtomicBool::new(false),
            run: AtomicBool::new(true),
            fired: AtomicU64::new(0),
            stamps,
            rates: super::rest::Rates::default(),
            peers: super::peers::Peers::default(),
        }
    }

    /// Returns when the exchange ends.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // A sender lives as long as `self`, so this only ends by the word.
        let _ = stopping.wait_for(|stop| *stop).await.map(|_| ());
    }

    /// Never held across an await.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Newest values that went out (or would have, had somebody listened), per symbol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SymbolTruth {
    pub symbol: String,
    pub last: Decimal,
    pub mark: Decimal,
    pub bid: Decimal,
    pub ask: Decimal,
    /// Envelope time of the newest ticker frame; 0 = none was sent.
    pub ticker_ms: i64,
    /// Last price in the newest ticker frame.
    pub ticker_last: Decimal,
    pub tickers: u64,
    /// Newest trade sent.
    pub trade_id: u64,
    pub trade_price: Decimal,
    pub trade_ms: i64,
    pub trades: u64,
}

/// The exchange's state.
pub struct Core {
    pub market: Market,
    pub hub: Hub,
    pub faults: Faults,
    /// The main account and its sub-accounts.
    pub owners: Vec<Owner>,
    pub truth: Vec<SymbolTruth>,
    pub happenings: Arc<Mutex<truth::Log>>,
    pub by_name: FxHashMap<String, usize>,
    /// Subscriptions ever.
    pub subscribed: u64,
    pub last_subscribe: Option<std::time::Instant>,
    pub clock: crate::clock::Clock,
    /// Market time moves; until then frames carry the clock's time.
    pub running: bool,
    /// What moves the accounts.
    pub scripts: Vec<super::script::Running>,
    /// Market time of the last funding settlement's boundary.
    pub(super) settled_ms: Option<i64>,
    /// Books that somebody listens to, as they were last told.
    pub books: FxHashMap<(Generation, usize), Book>,
    held: Held,
    private_ms: i64,
}

impl Core {
    pub fn new(
        market: Market,
        owners: Vec<Owner>,
        happenings: Arc<Mutex<truth::Log>>,
        clock: crate::clock::Clock,
    ) -> Self {
        let by_name = market.symbols.iter().enumerate().map(|(i, s)| (s.instrument.name.clone(), i)).collect();
        let truth = market
            .symbols
            .iter()
            .map(|s| SymbolTruth { symbol: s.instrument.name.clone(), ..SymbolTruth::default() })
            .collect();
        Self {
            market,
            hub: Hub::default(),
            faults: Faults::default(),
            owners,
            truth,
            happenings,
            by_name,
            subscribed: 0,
            last_subscribe: None,
            clock,
            running: false,
            scripts: Vec::new(),
            settled_ms: None,
            books: FxHashMap::default(),
            held: Held::default(),
            private_ms: 0,
        }
    }

    /// The exchange's clock: the machine's, and what fault `clock_skew_ms` adds.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms() + self.skew_ms()
    }

    fn skew_ms(&self) -> i64 {
        self.faults.get(FaultName::ClockSkewMs).map_or(0, |spec| spec.number(60_000))
    }

    /// Envelope time of a private frame: strictly rising, so that it orders them.
    pub(super) fn private_stamp(&mut self) -> i64 {
        self.private_ms = self.now_ms().max(self.private_ms + 1);
        self.private_ms
    }

    pub fn state(&self, symbol: usize) -> &SymbolState {
        &self.market.symbols[symbol]
    }

    /// Sends what the market brought forth.
    pub fn emit(&mut self, emits: &mut Vec<Emit>) {
        if emits.is_empty() {
            return;
        }
        let skew = self.skew_ms();
        for emit in emits.drain(..) {
            match emit {
                Emit::Ticker { symbol, now_ms } => {
                    let now_ms = now_ms + skew;
                    let state = &self.market.symbols[symbol];
                    let last = state.last;
                    self.mark_accounts(symbol);
                    let mut sent = false;
                    for generation in [Generation::V2, Generation::V3] {
                        let topic = Topic::public(generation, Feed::Ticker, symbol);
                        if self.hub.wanted(topic) {
                            let text = wire::ticker(topic, &self.market.symbols[symbol], now_ms);
                            self.publish(topic, text);
                            sent = true;
                        }
                    }
                    if sent {
                        let truth = &mut self.truth[symbol];
                        truth.ticker_ms = now_ms;
                        truth.ticker_last = last;
                        truth.tickers += 1;
                    }
                    self.move_books(symbol, now_ms, Beat::Quotes);
                }
                Emit::Trades { symbol, count, upto, envelope_ms } => {
                    let mut sent = false;
                    for generation in [Generation::V2, Generation::V3] {
                        let topic = Topic::public(generation, Feed::Trade, symbol);
                        if self.hub.wanted(topic) {
                            let state = &self.market.symbols[symbol];
                            let later = (state.trades - upto) as usize;
                            let newest = state.recent.iter().rev().skip(later).take(count);
                            let text = if skew == 0 {
                                wire::trades(topic, state, Action::Update, newest, envelope_ms)
                            } else {
                                let shifted: Vec<_> =
                                    newest.map(|t| PublicTrade { ts_ms: t.ts_ms + skew, ..*t }).collect();
                                wire::trades(topic, state, Action::Update, shifted.iter(), envelope_ms + skew)
                            };
                            self.publish(topic, text);
                            sent = true;
                        }
                    }
                    let later = (self.market.symbols[symbol].trades - upto) as usize;
                    let newest = self.market.symbols[symbol].recent.iter().rev().nth(later);
                    if let Some(newest) = newest.filter(|_| sent) {
                        let truth = &mut self.truth[symbol];
                        truth.trade_id = newest.id;
                        truth.trade_price = newest.price;
                        truth.trade_ms = newest.ts_ms;
                        truth.trades += count as u64;
                    }
                    self.move_books(symbol, envelope_ms + skew, Beat::Trades);
                    self.tell_liquidations(symbol, count, envelope_ms + skew);
                }
                Emit::Candle { symbol, span, closed, now_ms } => {
                    for generation in [Generation::V2, Generation::V3] {
                        let topic = Topic::public(generation, Feed::Candle(span), symbol);
                        if self.hub.wanted(topic) {
                            let state = &self.market.symbols[symbol];
                            let bar = state.bar(span, closed).into_iter();
                            let text = wire::candles(topic, state, Action::Update, bar, now_ms + skew);
                            self.publish(topic, text);
                        }
                    }
                }
            }
        }
    }

    /// Sends a text to all who listen, through the faults that are on.
    pub fn publish(&mut self, topic: Topic, text: String) {
        if !self.faults.any() {
            for (topic, held) in self.held.drain() {
                self.hub.publish(topic, &held);
            }
            self.hub.publish(topic, &text);
            return;
        }
        let name = topic.symbol.map(|symbol| self.market.symbols[symbol].instrument.name.as_str());
        for text in mangle::apply(&mut self.faults, &mut self.held, topic, name, text) {
            self.hub.publish(topic, &text);
        }
    }

    /// What a client is told right after its subscription was acknowledged.
    pub fn snapshot(&mut self, id: ClientId, topic: Topic) {
        let shown_ms = if self.running { self.market.now_ms() } else { self.clock.now_ms() };
        let now_ms = shown_ms + self.skew_ms();
        let text = match (topic.feed, topic.symbol) {
            (Feed::Ticker, Some(symbol)) => {
                let state = &self.market.symbols[symbol];
                state.priced().then(|| wire::ticker(topic, state, now_ms))
            }
            (Feed::Trade, Some(symbol)) => {
                let state = &self.market.symbols[symbol];
                let newest = state.recent.iter().rev().take(SNAPSHOT_TRADES);
                Some(wire::trades(topic, state, Action::Snapshot, newest, now_ms))
            }
            (Feed::Candle(span), Some(symbol)) => {
                let state = &mut self.market.symbols[symbol];
                let bars = state.series(span, shown_ms).bars;
                (!bars.is_empty()).then(|| wire::candles(topic, state, Action::Snapshot, bars.iter(), now_ms))
            }
            (Feed::Book(depth), Some(symbol)) => self.book_snapshot(topic.generation, depth, symbol, now_ms),
            _ if topic.feed.is_private() => {
                let stamp = self.private_stamp();
                desk::snapshot(self.shown_account(topic.owner), topic, stamp)
            }
            _ => None,
        };
        let Some(text) = text else { return };
        if topic.feed == Feed::Ticker
            && let Some(symbol) = topic.symbol
        {
            let truth = &mut self.truth[symbol];
            truth.ticker_ms = now_ms;
            truth.ticker_last = self.market.symbols[symbol].last;
        }
        if self.faults.any() {
            let name = topic.symbol.map(|symbol| self.market.symbols[symbol].instrument.name.as_str());
            let mut held = Held::default();
            for text in mangle::apply(&mut self.faults, &mut held, topic, name, text) {
                self.hub.tell(id, &text);
            }
        } else {
            self.hub.tell(id, &text);
        }
    }

    /// Tells the owner's private clients, of both generations, what happened to the account.
    pub fn account_moved(&mut self, owner: OwnerId, happened: &Happened) {
        if happened.is_empty() {
            return;
        }
        self.record(owner, happened);
        self.tell_own_liquidations(happened);
        let mut ended = happened.positions.iter().filter(|row| row.has_ended());
        let lost = ended.any(|row| self.faults.turn(FaultName::LostClose, Some(&row.symbol), true).is_some());
        for feed in [Feed::Orders, Feed::Fills, Feed::Positions, Feed::History, Feed::Account, Feed::Equity] {
            let hidden = feed == Feed::Positions && (lost || self.owners[owner].stale.is_some());
            if hidden {
                continue;
            }
            for topic in self.hub.topics_of(feed, owner) {
                let symbol = topic.symbol.map(|s| self.market.symbols[s].instrument.name.clone());
                let stamp = self.private_stamp();
                for text in desk::pushes(self.account(owner), topic, symbol.as_deref(), happened, stamp) {
                    self.publish(topic, text);
                }
            }
        }
    }

    /// What is true now, per symbol.
    pub fn truth(&self) -> Vec<SymbolTruth> {
        self.truth
            .iter()
            .zip(&self.market.symbols)
            .map(|(truth, state)| SymbolTruth {
                last: state.last,
                mark: state.mark,
                bid: state.bid,
                ask: state.ask,
                ..truth.clone()
            })
            .collect()
    }
}
