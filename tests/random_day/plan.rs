//! What goes wrong, drawn by a seed: the same seed draws the same troubles in the same order.

use crate::scene::{ROOMS, SYMBOLS};
use crate::support::relay::Relay;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use trapline::venue::FaultName;
use trapline::venue::faults::CATALOGUE;

/// What a network does to the connections of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFault {
    Delay(u64),
    HalfOpen,
    Reset,
    Cut,
    Garbage,
    Trickle,
    Closed,
}

impl WireFault {
    pub fn start(self, relay: &Relay) {
        match self {
            Self::Delay(ms) => relay.delay(ms),
            Self::HalfOpen => relay.hold(),
            Self::Reset => relay.reset(),
            Self::Cut => relay.cut(),
            Self::Garbage => relay.spoil(),
            Self::Trickle => relay.trickle(),
            Self::Closed => relay.close(),
        }
    }
}

/// One trouble and how long it lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub what: What,
    pub ms: u64,
    /// Pause before the next one.
    pub gap_ms: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A fault of the exchange, with the rest of its order to the control door.
    Exchange(FaultName, String),
    ExchangeWire(WireFault),
    RedisWire(WireFault),
    RedisKill,
    /// Killed, and this many bytes of its append-only file are gone.
    RedisPowerLoss(u64),
    RedisStop,
    RedisFlush,
    RedisFull,
    RedisReadOnly,
    RedisClientKill,
    RedisScriptFlush,
    /// Somebody deletes a key of ours.
    RedisDelete(String),
    DaemonKill,
    DaemonStop,
    /// SIGTERM, and started again.
    DaemonTerm,
    DaemonReload,
    Panic(&'static str),
    Hang(&'static str),
}

/// What cannot be on at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Exchange,
    ExchangeWire,
    RedisWire,
    Redis,
    Daemon,
}

impl What {
    /// For figures: the class, without its particulars.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Exchange(..) => "exchange",
            Self::ExchangeWire(_) => "exchange wire",
            Self::RedisWire(_) => "redis wire",
            Self::RedisKill => "redis SIGKILL",
            Self::RedisPowerLoss(_) => "redis power loss",
            Self::RedisStop => "redis SIGSTOP",
            Self::RedisFlush => "redis FLUSHALL",
            Self::RedisFull => "redis OOM",
            Self::RedisReadOnly => "redis READONLY",
            Self::RedisClientKill => "redis CLIENT KILL",
            Self::RedisScriptFlush => "redis SCRIPT FLUSH",
            Self::RedisDelete(_) => "redis DEL",
            Self::DaemonKill => "daemon SIGKILL",
            Self::DaemonStop => "daemon SIGSTOP",
            Self::DaemonTerm => "daemon SIGTERM",
            Self::DaemonReload => "daemon SIGHUP",
            Self::Panic(_) => "room panic",
            Self::Hang(_) => "room hang",
        }
    }

    pub fn place(&self) -> Place {
        match self {
            Self::Exchange(..) => Place::Exchange,
            Self::ExchangeWire(_) => Place::ExchangeWire,
            Self::RedisWire(_) => Place::RedisWire,
            Self::DaemonKill
            | Self::DaemonStop
            | Self::DaemonTerm
            | Self::DaemonReload
            | Self::Panic(_)
            | Self::Hang(_) => Place::Daemon,
            _ => Place::Redis,
        }
    }

    /// Says, or seems to say, that nothing is held. One such lie must not be believed; two agreeing witnesses are what
    /// the design believes, so at most one liar comes between two comparisons.
    pub fn denies_positions(&self) -> bool {
        use FaultName::{PhantomEmpty, RestListNull, UnknownSymbol};
        matches!(self, Self::Exchange(PhantomEmpty | RestListNull | UnknownSymbol, _))
    }

    /// The process that is looked at ends: its successor has a memory of its own.
    pub fn ends_daemon(&self) -> bool {
        matches!(self, Self::DaemonKill | Self::DaemonTerm)
    }

    /// Redis itself loses what it had. Also by a mere SIGKILL: while an fsync is under way, which a busy disk can make
    /// long, `appendfsync everysec` holds the writes of up to two seconds back in its memory.
    pub fn loses_data(&self) -> bool {
        matches!(self, Self::RedisKill | Self::RedisPowerLoss(_) | Self::RedisFlush | Self::RedisDelete(_))
    }

    /// It has lost them for good only when it is up again.
    pub fn loses_until_its_end(&self) -> bool {
        matches!(self, Self::RedisKill | Self::RedisPowerLoss(_))
    }
}

/// Books are not subscribed, so these faults of the exchange reach nobody: they are switched on all the same.
const EXCHANGE_MS: std::ops::Range<u64> = 200..2_500;

fn exchange(rng: &mut ChaCha8Rng, n: usize) -> What {
    let (name, ..) = CATALOGUE[n % CATALOGUE.len()];
    let mut order = String::new();
    match name {
        FaultName::ClockSkewMs => {
            // Behind by more than a signature may be old, or a little ahead or behind. Far ahead is left out: when it
            // ends the exchange's time goes back, and for that long its word about positions is rightly not believed.
            order = format!("&value={}", [-40_000, -3_000, 3_000][rng.random_range(0..3_usize)]);
        }
        FaultName::KillAfterMs => order = format!("&value={}", rng.random_range(500..3_000)),
        FaultName::RestSlow => order = format!("&value={}", rng.random_range(300..2_000)),
        FaultName::FreezeChannel | FaultName::LostPush => {
            let channels = ["ticker", "trade", "positions", "account", "orders", "fill", ""];
            let channel = channels[rng.random_range(0..channels.len())];
            if !channel.is_empty() {
                order = format!("&value={channel}");
            }
        }
        FaultName::Close => {
            order = format!("&value={}", [1000, 1001, 1006, 1011, 1012][rng.random_range(0..5_usize)]);
        }
        name if name.mangles() => {
            if rng.random_bool(0.5) {
                order = format!("&every={}", rng.random_range(2..6));
            }
            if rng.random_bool(0.3) {
                order.push_str("&symbol=");
                order.push_str(SYMBOLS[rng.random_range(0..SYMBOLS.len())]);
            }
        }
        _ => {}
    }
    if rng.random_bool(0.3) {
        order.push_str(if rng.random_bool(0.5) { "&scope=private" } else { "&scope=public" });
    }
    What::Exchange(name, order)
}

fn wire(rng: &mut ChaCha8Rng) -> WireFault {
    match rng.random_range(0..7) {
        0 => WireFault::Delay(rng.random_range(20..400)),
        1 => WireFault::HalfOpen,
        2 => WireFault::Reset,
        3 => WireFault::Cut,
        4 => WireFault::Garbage,
        5 => WireFault::Trickle,
        _ => WireFault::Closed,
    }
}

/// Draws troubles without an end.
pub struct Plan {
    rng: ChaCha8Rng,
    /// The catalogue in an order of the seed, so that each fault comes before any comes twice.
    knobs: Vec<usize>,
    rooms: Vec<&'static str>,
    one_life: bool,
}

impl Plan {
    /// `one_life`: none that ends the daemon's process.
    pub fn new(rng: ChaCha8Rng, one_life: bool) -> Self {
        Self { rng, knobs: Vec::new(), rooms: Vec::new(), one_life }
    }

    fn room(&mut self) -> &'static str {
        if self.rooms.is_empty() {
            self.rooms = ROOMS.to_vec();
        }
        let at = self.rng.random_range(0..self.rooms.len());
        self.rooms.swap_remove(at)
    }

    fn knob(&mut self) -> What {
        if self.knobs.is_empty() {
            self.knobs = (0..CATALOGUE.len()).collect();
        }
        let at = self.rng.random_range(0..self.knobs.len());
        let n = self.knobs.swap_remove(at);
        exchange(&mut self.rng, n)
    }

    /// `liars`: whether one that denies positions may be drawn.
    pub fn next(&mut self, liars: bool) -> Trouble {
        loop {
            let trouble = self.draw();
            let is_wanted = !(self.one_life && trouble.what.ends_daemon());
            if is_wanted && (liars || !trouble.what.denies_positions()) {
                return trouble;
            }
        }
    }

    fn draw(&mut self) -> Trouble {
        let dice = self.rng.random_range(0..1_000);
        let (what, span) = match dice {
            0..480 => (self.knob(), EXCHANGE_MS),
            480..560 => (What::ExchangeWire(wire(&mut self.rng)), 200..1_500),
            560..640 => (What::RedisWire(wire(&mut self.rng)), 200..1_500),
            640..665 => (What::RedisKill, 50..1_500),
            665..690 => (What::RedisPowerLoss(self.rng.random_range(1..60_000)), 50..1_000),
            690..730 => (What::RedisStop, 100..3_000),
            730..745 => (What::RedisFlush, 0..1),
            745..770 => (What::RedisFull, 200..2_000),
            770..795 => (What::RedisReadOnly, 200..2_000),
            795..820 => (What::RedisClientKill, 0..1),
            820..830 => (What::RedisScriptFlush, 0..1),
            830..845 => {
                let symbol = SYMBOLS[self.rng.random_range(0..SYMBOLS.len())];
                let which = ["market_state", "position:long", "position:short"][self.rng.random_range(0..3_usize)];
                (What::RedisDelete(format!("trapline:{symbol}:{which}")), 0..1)
            }
            845..865 => (What::DaemonKill, 0..500),
            865..880 => (What::DaemonTerm, 0..500),
            880..900 => (What::DaemonStop, 100..4_000),
            900..910 => (What::DaemonReload, 0..1),
            910..975 => (What::Panic(self.room()), 0..1),
            _ => (What::Hang(self.room()), 2_500..4_000),
        };
        let ms = match what {
            // Not long enough for two answers: these would be two witnesses.
            What::Exchange(FaultName::RestListNull, _) => 200,
            _ => self.rng.random_range(span),
        };
        Trouble { what, ms, gap_ms: self.rng.random_range(50..900) }
    }
}
