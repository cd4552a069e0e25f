//! Faults on demand: each by name, for a time, listed. What they do to frames is in [`super::mangle`].

use std::collections::BTreeMap;

/// Every fault that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultName {
    DropPong,
    Kill,
    KillAfterMs,
    Close,
    HalfOpen,
    AckSilent,
    FreezeChannel,
    LostClose,
    PhantomEmpty,
    StalePosition,
    ReorderTs,
    DupTrades,
    ReplayHistoryOnResub,
    SeqGap,
    BookReset,
    BookCrossed,
    GarbageFrame,
    HugeFrame,
    TruncatedFrame,
    WrongTypes,
    FutureTs,
    StaleTs,
    UnknownSymbol,
    OutOfRange,
    CodeAsString,
    EmptyNumeric,
    LoginReject30011,
    LoginReject30012,
    LoginReject30014,
    LoginReject30015,
    ClockSkewMs,
    RateLimit30006,
    Subscribe30001,
    Rest500,
    Rest429,
    RestHtml,
    RestEmptyBody,
    RestListNull,
    RestSlow,
    RestBusy,
    UtaGate40085,
    ClassicGate40084,
    DailyDisconnect,
    RefuseConnect,
    SymbolMaintain,
    LostPush,
}

/// Name, what it does, what its `value` means.
pub const CATALOGUE: [(FaultName, &str, &str, &str); 46] = [
    (FaultName::DropPong, "drop_pong", "text pings get no answer", ""),
    (FaultName::Kill, "kill", "connections are reset without a close frame, once a 200 ms while it lasts", ""),
    (
        FaultName::KillAfterMs,
        "kill_after_ms",
        "connections end without a close frame once they are this old",
        "ms, default 10000",
    ),
    (FaultName::Close, "close", "connections are closed with a close frame", "close code, default 1001"),
    (
        FaultName::HalfOpen,
        "half_open",
        "connections that are open now stay so, but nothing comes and no ping is answered",
        "",
    ),
    (FaultName::AckSilent, "ack_silent", "subscriptions are acknowledged and stay silent", ""),
    (
        FaultName::FreezeChannel,
        "freeze_channel",
        "a channel sends nothing",
        "ticker, trade, candle, positions, account, orders or fill; default all",
    ),
    (FaultName::LostClose, "lost_close", "the push that says a position is closed gets lost", ""),
    (FaultName::PhantomEmpty, "phantom_empty", "an empty position snapshot although positions are open", ""),
    (
        FaultName::StalePosition,
        "stale_position",
        "positions are shown as they were at the beginning, in push and REST",
        "",
    ),
    (FaultName::ReorderTs, "reorder_ts", "a frame overtakes the one before it", ""),
    (FaultName::DupTrades, "dup_trades", "every trade frame comes twice", ""),
    (
        FaultName::ReplayHistoryOnResub,
        "replay_history_on_resub",
        "after a subscription the trades of history come again, as updates",
        "",
    ),
    (FaultName::SeqGap, "seq_gap", "updates of books get lost, so the chain of numbers has a gap", ""),
    (FaultName::BookReset, "book_reset", "a book begins anew, with a snapshot that nobody asked for", ""),
    (FaultName::BookCrossed, "book_crossed", "bids and asks of books are exchanged", ""),
    (FaultName::GarbageFrame, "garbage_frame", "frames that are no JSON in between, once a 200 ms", "the text"),
    (FaultName::HugeFrame, "huge_frame", "a very large frame in between, once a 200 ms", "bytes, default 2097152"),
    (FaultName::TruncatedFrame, "truncated_frame", "the text of data frames ends in the middle", ""),
    (FaultName::WrongTypes, "wrong_types", "numbers in data rows are objects and booleans", ""),
    (FaultName::FutureTs, "future_ts", "times lie ahead", "ms, default 60000"),
    (FaultName::StaleTs, "stale_ts", "times lie back", "ms, default 60000"),
    (FaultName::UnknownSymbol, "unknown_symbol", "data frames speak of NOPEUSDT", ""),
    (FaultName::OutOfRange, "out_of_range", "prices and sizes that cannot be", "the number, default -1"),
    (FaultName::CodeAsString, "code_as_string", "codes of answers are strings", ""),
    (FaultName::EmptyNumeric, "empty_numeric", "numbers in data rows are empty strings", ""),
    (FaultName::LoginReject30011, "login_reject_30011", "login fails: key", "close = and closes"),
    (FaultName::LoginReject30012, "login_reject_30012", "login fails: passphrase", "close = and closes"),
    (FaultName::LoginReject30014, "login_reject_30014", "login fails: time", "close = and closes"),
    (FaultName::LoginReject30015, "login_reject_30015", "login fails: signature", "close = and closes"),
    (
        FaultName::ClockSkewMs,
        "clock_skew_ms",
        "the exchange's clock is off, in REST, frames and signature checks",
        "ms, default 60000",
    ),
    (FaultName::RateLimit30006, "rate_limit_30006", "requests are answered with 30006", ""),
    (FaultName::Subscribe30001, "subscribe_30001", "subscriptions are answered with 30001", ""),
    (FaultName::Rest500, "rest_500", "REST answers HTTP 500", ""),
    (FaultName::Rest429, "rest_429", "REST answers HTTP 429", ""),
    (FaultName::RestHtml, "rest_html", "REST answers an HTML page with status 200", "HTTP status, default 200"),
    (FaultName::RestEmptyBody, "rest_empty_body", "REST answers 200 with no body", ""),
    (FaultName::RestListNull, "rest_list_null", "REST answers success and no rows although there are some", ""),
    (FaultName::RestSlow, "rest_slow", "REST answers late", "ms, default 10000"),
    (
        FaultName::RestBusy,
        "rest_busy",
        "REST answers HTTP 400 with a code that says: try again",
        "40725, 40808, 45001 (default), 40015 or 40200",
    ),
    (FaultName::UtaGate40085, "uta_gate_40085", "v2 private REST answers 40085", ""),
    (FaultName::ClassicGate40084, "classic_gate_40084", "v3 private REST answers 40084", ""),
    (FaultName::DailyDisconnect, "daily_disconnect", "every connection ends, as after 24 hours", ""),
    (FaultName::RefuseConnect, "refuse_connect", "WebSocket connects are dropped; the control door stays open", ""),
    (
        FaultName::SymbolMaintain,
        "symbol_maintain",
        "a symbol is in maintenance: REST says so, and nothing is traded in it",
        "the symbol, default all",
    ),
    (FaultName::LostPush, "lost_push", "private pushes get lost", "the channel, default all"),
];

impl FaultName {
    pub fn parse(name: &str) -> Option<Self> {
        CATALOGUE.iter().find(|(_, n, ..)| *n == name).map(|(fault, ..)| *fault)
    }

    pub fn label(self) -> &'static str {
        CATALOGUE.iter().find(|(fault, ..)| *fault == self).map_or("?", |(_, name, ..)| name)
    }

    /// Happens at moments rather than all the time.
    pub const fn is_pulse(self) -> bool {
        matches!(
            self,
            Self::Kill
                | Self::KillAfterMs
                | Self::Close
                | Self::PhantomEmpty
                | Self::GarbageFrame
                | Self::HugeFrame
                | Self::DailyDisconnect
        )
    }

    /// Changes data frames.
    pub const fn mangles(self) -> bool {
        matches!(
            self,
            Self::ReorderTs
                | Self::DupTrades
                | Self::TruncatedFrame
                | Self::WrongTypes
                | Self::FutureTs
                | Self::StaleTs
                | Self::UnknownSymbol
                | Self::OutOfRange
                | Self::EmptyNumeric
                | Self::BookCrossed
        )
    }
}

/// A fault as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    pub name: FaultName,
    /// How long; 0 = one pulse (what lasts then lasts one second).
    pub ms: u64,
    pub value: Option<String>,
    /// Only frames of this symbol.
    pub symbol: Option<String>,
    /// `public` or `private` connections only.
    pub scope: Option<String>,
    /// Only every this many frames (frames that a fault changes).
    pub every: u64,
}

impl FaultSpec {
    pub const fn new(name: FaultName, ms: u64) -> Self {
        Self { name, ms, value: None, symbol: None, scope: None, every: 1 }
    }

    pub fn with_value(mut self, value: &str) -> Self {
        self.value = Some(value.to_owned());
        self
    }

    pub fn number(&self, default: i64) -> i64 {
        self.value.as_deref().and_then(|v| v.parse().ok()).unwrap_or(default)
    }

    /// Whether a fault whose value is a symbol means this one.
    pub fn means(&self, symbol: &str) -> bool {
        let named = self.symbol.as_deref().or(self.value.as_deref()).filter(|name| !name.is_empty());
        named.is_none_or(|name| name.eq_ignore_ascii_case(symbol))
    }

    pub fn reaches(&self, private: bool) -> bool {
        match self.scope.as_deref() {
            Some("private") => private,
            Some("public") => !private,
            _ => true,
        }
    }
}

/// Faults that act at moments do so at their beginning, and this often while they last.
const PULSE_MS: i64 = 200;

/// A fault that is on.
#[derive(Clone, Debug)]
pub struct Active {
    pub spec: FaultSpec,
    pub until_ms: i64,
    /// Times it did something.
    pub hits: u64,
    seen: u64,
    /// When a fault that acts at moments acts next.
    next_ms: i64,
}

/// The faults that are on now, by the exchange's clock.
#[derive(Debug, Default)]
pub struct Faults {
    active: BTreeMap<FaultName, Active>,
    /// Hits of all faults ever, by name.
    pub total: BTreeMap<FaultName, u64>,
}

impl Faults {
    /// Starts a fault, or starts it again.
    pub fn start(&mut self, spec: FaultSpec, now_ms: i64) {
        let ms = if spec.ms == 0 && !spec.name.is_pulse() { 1_000 } else { spec.ms };
        let until_ms = now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
        self.active.insert(spec.name, Active { spec, until_ms, hits: 0, seen: 0, next_ms: now_ms + PULSE_MS });
    }

    pub fn stop(&mut self, name: FaultName) -> Option<Active> {
        self.active.remove(&name)
    }

    pub fn stop_all(&mut self) {
        self.active.clear();
    }

    /// The faults that act now, at one of their moments.
    pub fn pulses(&mut self, now_ms: i64) -> Vec<FaultName> {
        let due = self.active.values_mut().filter(|a| a.spec.name.is_pulse() && a.next_ms <= now_ms);
        due.map(|active| {
            active.next_ms = now_ms + PULSE_MS;
            active.spec.name
        })
        .collect()
    }

    /// Removes what is over; returns it.
    pub fn expire(&mut self, now_ms: i64) -> Vec<Active> {
        let over: Vec<FaultName> = self.active.iter().filter(|(_, a)| a.until_ms <= now_ms).map(|(n, _)| *n).collect();
        over.into_iter().filter_map(|name| self.active.remove(&name)).collect()
    }

    pub fn any(&self) -> bool {
        !self.active.is_empty()
    }

    pub fn list(&self) -> impl Iterator<Item = &Active> {
        self.active.values()
    }

    /// The fault if it is on; does not count as a hit.
    pub fn get(&self, name: FaultName) -> Option<&FaultSpec> {
        self.active.get(&name).map(|a| &a.spec)
    }

    /// The fault if it is on; it counts as having done something.
    pub fn hit(&mut self, name: FaultName) -> Option<&FaultSpec> {
        let active = self.active.get_mut(&name)?;
        active.hits += 1;
        *self.total.entry(name).or_default() += 1;
        Some(&active.spec)
    }

    /// For a frame of `symbol` on a private or public connection: the fault if this frame's turn has come.
    pub fn turn(&mut self, name: FaultName, symbol: Option<&str>, private: bool) -> Option<FaultSpec> {
        let active = self.active.get_mut(&name)?;
        if !active.spec.reaches(private) || (active.spec.symbol.is_some() && active.spec.symbol.as_deref() != symbol) {
            return None;
        }
        active.seen += 1;
        if !(active.seen - 1).is_multiple_of(active.spec.every.max(1)) {
            return None;
        }
        let spec = active.spec.clone();
        self.hit(name);
        Some(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_stands_once_in_the_catalogue() {
        for (fault, name, ..) in CATALOGUE {
            assert_eq!(FaultName::parse(name), Some(fault));
            assert_eq!(fault.label(), name);
        }
        assert_eq!(FaultName::parse("nonsense"), None);
    }

    #[test]
    fn a_fault_lasts_as_long_as_it_says() {
        let mut faults = Faults::default();
        faults.start(FaultSpec::new(FaultName::DropPong, 100), 1_000);
        assert!(faults.expire(1_099).is_empty());
        assert!(faults.get(FaultName::DropPong).is_some(), "one ms before its end");
        assert_eq!(faults.expire(1_100).len(), 1);
        assert!(faults.get(FaultName::DropPong).is_none(), "at its end");
    }

    #[test]
    fn every_third_frame_of_one_symbol() {
        let mut faults = Faults::default();
        let spec = FaultSpec { every: 3, symbol: Some("A".to_owned()), ..FaultSpec::new(FaultName::StaleTs, 100) };
        faults.start(spec, 0);
        let mut turns = || faults.turn(FaultName::StaleTs, Some("A"), false).is_some();
        assert_eq!([turns(), turns(), turns(), turns()], [true, false, false, true]);
        assert!(faults.turn(FaultName::StaleTs, Some("B"), false).is_none());
    }
}
