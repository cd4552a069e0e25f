//! A test bench: a Redis to maltreat, daemons to write into it, and eyes that look.

use redis::Commands;
use rust_decimal::Decimal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trapline::clock::Clock;
use trapline::domain::event::Event;
use trapline::domain::picture::{Holding, MarketPicture, PositionPicture};
use trapline::domain::position::HoldSide;
use trapline::domain::report::Origin;
use trapline::domain::symbol::{SymbolId, Symbols};
use trapline::domain::trap::{TrapDetected, TrapKind};
use trapline::store::board::Board;
use trapline::store::desk::Desk;
use trapline::store::encode::{Layout, Settings};
use trapline::store::engine::{End, Engine, EngineSettings};
use trapline::store::link::Target;
use trapline::store::spool::SpoolSettings;

pub use crate::server::*;

pub const BTC: SymbolId = SymbolId(0);

/// One daemon's writer: a desk and an engine on a thread of its own.
pub struct Daemon {
    pub desk: Arc<Desk>,
    pub board: Arc<Board>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Option<End>>>,
}

pub struct Setup {
    pub settings: EngineSettings,
    pub conflate: bool,
    pub spool: SpoolSettings,
    pub symbols: Vec<&'static str>,
}

impl Setup {
    pub fn at(socket: &Path) -> Self {
        let mut settings = EngineSettings::new(Target::unix(socket));
        settings.audit_every = Duration::from_millis(200);
        settings.slow_retry = Duration::from_millis(200);
        Self { settings, conflate: true, spool: SpoolSettings::default(), symbols: vec!["BTCUSDT", "ETHUSDT"] }
    }

    pub fn spool(mut self, file: &Path) -> Self {
        self.spool.file = Some(file.to_owned());
        self
    }

    pub fn start(self) -> Daemon {
        let symbols = Arc::new(Symbols::usdt(self.symbols));
        let board = Board::new(symbols.len());
        let layout = Layout::new(symbols, Settings::default());
        let desk = Desk::open(layout, Arc::clone(&board), self.conflate, self.spool, Clock::system());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&desk);
        let settings = self.settings;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let engine = Engine::new(shared, settings, Box::new(|| {}));
                tokio::select! { end = engine.run() => Some(end), _ = stopped => None }
            })
        });
        Daemon { desk, board, stop: Some(stop), thread: Some(thread) }
    }
}

impl Daemon {
    /// Ends it as a crash would: what is in memory is gone, what is in the spool stays.
    pub fn crash(mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }

    pub fn ended(&mut self) -> Option<End> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn price(&self, seq: u64) {
        self.market(picture(seq));
    }

    pub fn market(&self, picture: MarketPicture) {
        self.desk.shelf().market(&[picture]);
        self.desk.wake();
    }

    pub fn flat(&self, side: HoldSide, seq: u64) {
        let now_ms = self.desk.clock.now_ms();
        let picture = PositionPicture {
            symbol: BTC,
            side,
            holding: Holding::Flat,
            update_time_ms: 5,
            verified_ms: now_ms,
            source: Origin::Rest,
            seq,
        };
        self.desk.shelf().positions(&[picture]);
        self.desk.wake();
    }

    pub fn event(&self, n: u64) {
        let mut outbox = self.desk.outbox();
        outbox.accept(self.desk.layout(), &Event::Trap(trap(n)));
        drop(outbox);
        self.desk.wake();
    }

    pub fn count(&self, name: &str) -> u64 {
        self.board.counts.read().into_iter().find(|(n, _)| *n == name).unwrap().1
    }

    pub fn wait_written(&self, seq: u64) {
        wait_for(&format!("seq {seq} written"), || self.board.market(BTC).read().written_seq >= seq);
    }

    pub fn wait_settled(&self) {
        wait_for("all events in redis", || self.desk.outbox().is_settled());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn picture(seq: u64) -> MarketPicture {
    MarketPicture {
        symbol: BTC,
        price: Decimal::from(60_000 + seq),
        previous_price: None,
        last_size: None,
        bid: None,
        bid_size: None,
        ask: None,
        ask_size: None,
        mark: None,
        index: None,
        funding_rate: None,
        open_interest: None,
        volume_1m: Decimal::ONE,
        exchange_time_ms: 1_700_000_000_000 + seq as i64,
        received_ms: 1_700_000_000_001 + seq as i64,
        received: Instant::now(),
        seq,
    }
}

pub fn trap(n: u64) -> TrapDetected {
    TrapDetected {
        id: format!("{n:016x}"),
        symbol: BTC,
        kind: TrapKind::StopHunt,
        detected_ms: 1_700_000_000_000 + n as i64,
        started_ms: 1_700_000_000_000,
        extreme_ms: 1_700_000_000_000,
        price: Decimal::from(60_000 + n),
        level: Decimal::from(60_000),
        extreme: Decimal::from(60_100),
        change: 0.001,
        volume: Decimal::ONE,
        confidence: 0.5,
        probability: None,
        evidence: vec![],
        detector_version: 1,
    }
}

/// Trap numbers in the order of the stream.
pub fn stream(server: &Server) -> Vec<u64> {
    let reply: redis::streams::StreamRangeReply = server.eyes().xrange_all("trapline:BTCUSDT:events").unwrap();
    reply.ids.iter().map(|entry| u64::from_str_radix(&entry.get::<String>("id").unwrap(), 16).unwrap()).collect()
}

/// Every event once, in order, in every key that holds it.
pub fn assert_exactly_once(server: &Server, count: u64, seed: &str) {
    let expected: Vec<u64> = (1..=count).collect();
    assert_eq!(stream(server), expected, "stream, {seed}");
    let mut eyes = server.eyes();
    let members: Vec<String> = eyes.zrange("trap_events", 0, -1).unwrap();
    assert_eq!(members.len() as u64, count, "trap_events, {seed}");
    let recent: Vec<String> = eyes.lrange("recent_mm_traps", 0, -1).unwrap();
    let ids: Vec<u64> = recent
        .iter()
        .map(|json| {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            u64::from_str_radix(value["id"].as_str().unwrap(), 16).unwrap()
        })
        .collect();
    let newest: Vec<u64> = expected.into_iter().rev().take(50).collect();
    assert_eq!(ids, newest, "recent_mm_traps, {seed}");
    let hashes: Vec<String> = redis::cmd("KEYS").arg("mm_trap:*").query(&mut eyes).unwrap();
    assert_eq!(hashes.len() as u64, count, "mm_trap:*, {seed}");
}
