//! One WebSocket session: connect, log in, subscribe, keep alive, hand on what was said, end with a reason.
//!
//! A session knows no actor: it talks to an [`Outlet`]. [`keep_connected`] puts one session after the other.

mod answers;
mod connect;
mod heard;
mod keep;
mod machine;
mod relief;
mod watch;

pub use heard::Heard;
pub use keep::{Reconnect, keep_connected};
pub use machine::run;

use super::bitget::consts::{CHANNELS_PER_CONNECTION, Generation, MESSAGES_PER_SECOND};
use super::bitget::credential::Credential;
use super::bitget::subscribe::Stream;
use super::skew::Skew;
use crate::clock::Clock;
use crate::domain::refusal::Refused;
use crate::domain::report::Batch;
use crate::domain::symbol::Symbols;
use crate::error::Remedy;
use rustc_hash::FxHashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How a session behaves; the defaults are for the real exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSettings {
    /// TCP, TLS and the WebSocket handshake together.
    pub connect_timeout: Duration,
    /// From the login frame to its answer.
    pub login_timeout: Duration,
    /// Between two text pings; up to a quarter is added by chance, so that connections do not ping together.
    pub ping_every: Duration,
    /// From a ping to its pong, counted only while nothing waits to be read.
    pub pong_deadline: Duration,
    /// From a subscription to its first data; an acknowledged one may be silent for ever.
    pub first_data: Duration,
    /// Longest silence of a ticker, which the exchange repeats even when nothing changes; and of a public connection
    /// as a whole, pongs included.
    pub silence: Duration,
    /// Longest silence of a symbol's trades while its ticker shows new prices.
    pub trades_silence: Duration,
    /// Age at which a connection is replaced in peace; up to a twentieth is taken off by chance.
    pub planned_reconnect: Duration,
    /// Pause between two subscribe frames.
    pub subscribe_gap: Duration,
    /// Most messages per second that are sent, pings included.
    pub messages_per_second: u32,
    /// Channels on one connection; what decides how many connections there are.
    pub max_channels: usize,
    /// Reports that one batch holds at most, give or take the rows of one frame.
    pub batch_max: usize,
    /// Share of unreadable frames, in percent, above which the connection is replaced.
    pub bad_percent: u32,
    /// Frames are judged in windows of this length.
    pub bad_window: Duration,
    /// First pause before connecting again; doubles up to `reconnect_max`.
    pub reconnect_min: Duration,
    pub reconnect_max: Duration,
    /// First pause after a refused login; doubles up to ten times this.
    pub login_retry: Duration,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(10),
            ping_every: Duration::from_secs(20),
            pong_deadline: Duration::from_secs(10),
            first_data: Duration::from_secs(10),
            silence: Duration::from_secs(5),
            trades_silence: Duration::from_secs(60),
            planned_reconnect: Duration::from_secs(23 * 3_600),
            subscribe_gap: Duration::from_secs(1),
            messages_per_second: MESSAGES_PER_SECOND,
            max_channels: CHANNELS_PER_CONNECTION,
            batch_max: 128,
            bad_percent: 20,
            bad_window: Duration::from_secs(10),
            reconnect_min: Duration::from_millis(250),
            reconnect_max: Duration::from_secs(30),
            login_retry: Duration::from_secs(30),
        }
    }
}

/// What one connection is for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `ws://` or `wss://`, path included.
    pub url: String,
    pub generation: Generation,
    pub symbols: Arc<Symbols>,
    pub streams: Vec<Stream>,
    /// Present for the private connection, which logs in with it.
    pub credential: Option<Credential>,
    /// Numbers connections, over all plans of the process.
    pub connections: Connections,
    pub settings: FeedSettings,
    pub clock: Clock,
    pub skew: Skew,
    /// Where it is noted when which stream spoke.
    pub heard: Heard,
    /// For jitter only.
    pub seed: u64,
}

impl Plan {
    pub const fn is_private(&self) -> bool {
        self.credential.is_some()
    }
}

/// Numbers connections from 1; shared by clone. Each session takes the next number, so that what came over one
/// connection is never compared with what came over another. Drills break those that there are.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    last: AtomicU32,
    deaf_to: AtomicU32,
    cut_to: AtomicU32,
}

impl Connections {
    pub fn next(&self) -> u32 {
        self.0.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// How many there have been so far.
    pub fn total(&self) -> u32 {
        self.0.last.load(Ordering::Relaxed)
    }

    /// Drill: the connections of now stay open and hear nothing any more, as when the way there is lost.
    pub fn deafen(&self) {
        self.0.deaf_to.store(self.total(), Ordering::Relaxed);
    }

    /// Drill: the connections of now end at their next frame.
    pub fn cut(&self) {
        self.0.cut_to.store(self.total(), Ordering::Relaxed);
    }

    fn is_deaf(&self, connection: u32) -> bool {
        connection <= self.0.deaf_to.load(Ordering::Relaxed)
    }

    fn is_cut(&self, connection: u32) -> bool {
        connection <= self.0.cut_to.load(Ordering::Relaxed)
    }
}

/// The receiver of an [`Outlet`] is gone: the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Where a session puts what it learns. Waiting here slows the socket down, which is what should happen.
pub trait Outlet {
    fn batch(&mut self, batch: Batch) -> impl Future<Output = Result<(), Gone>>;
    fn refused(&mut self, refused: Vec<Refused>) -> impl Future<Output = Result<(), Gone>>;
    fn notice(&mut self, notice: FeedNotice) -> impl Future<Output = Result<(), Gone>>;
    /// Told at each turn of a live session, twice a second at least: its task lives.
    fn alive(&self);
}

/// What happens to the connection itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedNotice {
    /// The socket is open.
    Connected,
    /// Subscribed: said once per session, before its first batch.
    Ready { connection: u32 },
    /// The session ended; what it fed is no longer fresh. Said only after [`FeedNotice::Ready`].
    Lost { connection: u32, reason: EndReason },
    /// The exchange does not accept the key; `fix` names what a person changes. Tried again, slowly.
    LoginRefused { code: i64, fix: &'static str },
    /// The exchange does not know this subscription; the others go on.
    SubscriptionDropped { stream: Stream, code: i64, message: String },
    /// Subscribed, but nothing comes, also after asking again; the others go on.
    Silent { stream: Stream },
    /// An error of the exchange that changes nothing.
    Told { code: Option<i64>, message: String },
    /// The connection is old, and its successor did not come to work; it goes on meanwhile.
    NotRelieved { reason: EndReason, retry_in: Duration },
    /// No connection; tried again after `retry_in`.
    Waiting { reason: EndReason, retry_in: Duration },
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the handshake was answered with http {status}")]
    Refused { status: u16, after: Option<Duration> },
    #[error("no handshake within {} ms", .0.as_millis())]
    ConnectTimeout(Duration),
    #[error("no answer to the login within {} ms", .0.as_millis())]
    LoginTimeout(Duration),
    #[error("login refused with code {code}: {}", super::bitget::error::login_fix(*.code))]
    LoginRefused { code: i64 },
    #[error("the clock is off, code {code}")]
    ClockOff { code: i64 },
    #[error("logged out by the exchange")]
    LoggedOut,
    #[error("asked too much, code {code}")]
    BackOff { code: i64 },
    #[error("no pong within {} ms", .0.as_millis())]
    NoPong(Duration),
    #[error("nothing was heard for {} ms, not even a pong", .0.as_millis())]
    NothingHeard(Duration),
    #[error("{0} stays silent")]
    Silent(&'static str),
    #[error("more than {0} % of the frames were unreadable")]
    BadFrames(u32),
    #[error("a frame was longer than anything the protocol has")]
    Oversized,
    #[error("closed by the exchange{}", match .code { Some(code) => format!(", code {code}"), None => String::new() })]
    Closed { code: Option<u16> },
    #[error("connection broken: {0}")]
    Broken(String),
    #[error("planned replacement")]
    Planned,
    #[error("nobody listens any more")]
    Stopped,
}

impl EndReason {
    /// A bounded word for counters; all of them stand in [`crate::telemetry::metrics::CONNECT_REASONS`].
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Refused { .. } => "http",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::LoginTimeout(_) => "login_timeout",
            Self::LoginRefused { .. } => "login_refused",
            Self::ClockOff { .. } => "clock_off",
            Self::LoggedOut => "logged_out",
            Self::BackOff { .. } => "back_off",
            Self::NoPong(_) => "no_pong",
            Self::NothingHeard(_) => "nothing_heard",
            Self::Silent(_) => "silent",
            Self::BadFrames(_) => "bad_frames",
            Self::Oversized => "oversized",
            Self::Closed { .. } => "closed",
            Self::Broken(_) => "broken",
            Self::Planned => "planned",
            Self::Stopped => "stopped",
        }
    }

    /// What follows. `GiveUp` means: only a person can help; a daemon goes on trying, slowly.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::LoginRefused { .. } => Remedy::GiveUp,
            Self::BackOff { .. } => Remedy::Retry { after: Duration::from_secs(60) },
            Self::Refused { after: Some(after), .. } => Remedy::Retry { after: *after },
            // Too many connects, or the address is shut out: asking on makes it longer.
            Self::Refused { status: 403 | 418 | 429, after: None } => Remedy::Retry { after: Duration::from_secs(60) },
            Self::Refused { .. } => Remedy::Restart,
            Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::LoginTimeout(_)
            | Self::ClockOff { .. }
            | Self::LoggedOut
            | Self::NoPong(_)
            | Self::NothingHeard(_)
            | Self::Silent(_)
            | Self::BadFrames(_)
            | Self::Oversized
            | Self::Closed { .. }
            | Self::Broken(_)
            | Self::Planned
            | Self::Stopped => Remedy::Restart,
        }
    }
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    pub reason: EndReason,
    /// Reports were handed on: the connection was of use.
    pub useful: bool,
    pub lived: Duration,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} s", self.reason, self.lived.as_secs())
    }
}

/// What one session leaves for the next: whom not to ask again soon. Bounded by the number of streams.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Subscriptions that the exchange refused: when to ask again, and the pause that led there.
    dropped: FxHashMap<Stream, (Instant, Duration)>,
    /// Streams whose silence already cost a connection.
    blamed: FxHashMap<Stream, Instant>,
}

impl Memory {
    /// Longest time for which a refused or silent subscription is not worth another try.
    const HOLDS: Duration = Duration::from_secs(15 * 60);
    /// First pause after a refusal; doubles up to [`Memory::HOLDS`]. A refusal may be a mistake of the moment, and an
    /// unknown instrument must not be asked for in a loop.
    const FIRST_PAUSE: Duration = Duration::from_secs(5);

    /// Notes a refusal; returns when to ask again.
    fn refuse(&mut self, stream: Stream, now: Instant) -> Instant {
        let pause = self.dropped.get(&stream).map_or(Self::FIRST_PAUSE, |(_, pause)| (*pause * 2).min(Self::HOLDS));
        self.dropped.insert(stream, (now + pause, pause));
        now + pause
    }

    /// When a refused stream may be asked for again, if that is still ahead.
    fn dropped_until(&self, stream: &Stream, now: Instant) -> Option<Instant> {
        self.dropped.get(stream).map(|(until, _)| *until).filter(|until| *until > now)
    }

    /// The stream speaks: what was refused before is forgotten.
    fn accept(&mut self, stream: &Stream) {
        if !self.dropped.is_empty() {
            self.dropped.remove(stream);
        }
    }

    fn is_blamed(&self, stream: &Stream, now: Instant) -> bool {
        self.blamed.get(stream).is_some_and(|at| now.saturating_duration_since(*at) < Self::HOLDS)
    }
}
