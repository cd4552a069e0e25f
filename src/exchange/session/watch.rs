//! Which subscriptions live: asked, acknowledged, first data, silence. Told the time.

use super::super::bitget::subscribe::{Channel, Stream};
use super::{FeedSettings, Memory};
use rust_decimal::Decimal;
use rustc_hash::FxHashMap;
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Slot {
    stream: Stream,
    asked: Option<Instant>,
    acked: bool,
    /// No data since it was last asked for.
    waiting: bool,
    last_data: Option<Instant>,
    /// Asked again because of silence.
    again: bool,
    /// Given up until then.
    muted_until: Option<Instant>,
    /// Of a ticker: where the trades of its symbol are, and its newest price.
    trades: Option<usize>,
    price: Option<Decimal>,
    /// Of trades: when the ticker first showed a price that they have not explained.
    unexplained: Option<Instant>,
}

/// What a look at the deadlines asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Ask again for these.
    pub resubscribe: Vec<Stream>,
    /// Silent after asking again, while others speak: not worth a connection a second time.
    pub given_up: Vec<Stream>,
    /// Silent after asking again: replace the connection.
    pub lost: Option<Stream>,
}

#[derive(Debug)]
pub(super) struct Watch {
    slots: Vec<Slot>,
    index: FxHashMap<Stream, usize>,
    first_data: Duration,
    silence: Duration,
    trades_silence: Duration,
    ticked: bool,
    /// Something is due earlier than was known.
    sooner: bool,
    /// Whether every subscription has been acknowledged, has spoken or was dropped.
    unsettled: usize,
}

impl Watch {
    pub(super) fn new(streams: &[Stream], settings: &FeedSettings) -> Self {
        let slot = |&stream: &Stream| Slot {
            stream,
            asked: None,
            acked: false,
            waiting: false,
            last_data: None,
            again: false,
            muted_until: None,
            trades: None,
            price: None,
            unexplained: None,
        };
        let mut slots: Vec<Slot> = streams.iter().map(slot).collect();
        let index: FxHashMap<Stream, usize> = slots.iter().enumerate().map(|(at, slot)| (slot.stream, at)).collect();
        for slot in slots.iter_mut().filter(|slot| slot.stream.channel == Channel::Ticker) {
            slot.trades = index.get(&Stream { channel: Channel::Trades, ..slot.stream }).copied();
        }
        Self {
            index,
            unsettled: slots.len(),
            slots,
            first_data: settings.first_data,
            silence: settings.silence,
            trades_silence: settings.trades_silence,
            ticked: false,
            sooner: false,
        }
    }

    fn slot(&mut self, stream: &Stream) -> Option<&mut Slot> {
        self.index.get(stream).and_then(|&at| self.slots.get_mut(at))
    }

    pub(super) fn asked(&mut self, streams: &[Stream], now: Instant) {
        for stream in streams {
            if let Some(slot) = self.slot(stream) {
                slot.asked = Some(now);
                slot.waiting = true;
            }
        }
    }

    pub(super) fn acked(&mut self, stream: &Stream) {
        if let Some(slot) = self.slot(stream)
            && !std::mem::replace(&mut slot.acked, true)
        {
            self.unsettled = self.unsettled.saturating_sub(1);
        }
    }

    /// Data came; `last` is the price that a ticker showed. The stream's place in the plan, or `None` when nobody
    /// subscribed to it.
    pub(super) fn data(&mut self, stream: &Stream, last: Option<Decimal>, now: Instant) -> Option<usize> {
        let at = *self.index.get(stream)?;
        let slot = self.slots.get_mut(at)?;
        slot.unexplained = None;
        let moved = last.is_some() && slot.price.is_some() && slot.price != last;
        slot.price = last.or(slot.price);
        let trades = slot.trades.filter(|_| moved);
        self.ticked |= slot.stream.channel == Channel::Ticker;
        slot.last_data = Some(now);
        // From its first data on a stream is held to another limit.
        self.sooner |= slot.waiting;
        slot.waiting = false;
        slot.again = false;
        slot.muted_until = None;
        if !std::mem::replace(&mut slot.acked, true) {
            self.unsettled = self.unsettled.saturating_sub(1);
        }
        // A new price is a trade that should have come over the other channel, too.
        if let Some(trades) = trades.and_then(|at| self.slots.get_mut(at)).filter(|slot| slot.last_data.is_some()) {
            trades.unexplained.get_or_insert(now);
        }
        Some(at)
    }

    /// Whether the next moment to look at has come nearer since this was asked last.
    pub(super) const fn is_due_sooner(&mut self) -> bool {
        std::mem::replace(&mut self.sooner, false)
    }

    /// Whether a ticker has ever spoken on this connection.
    pub(super) const fn has_ticked(&self) -> bool {
        self.ticked
    }

    pub(super) fn knows(&self, stream: &Stream) -> bool {
        self.index.contains_key(stream)
    }

    /// Refused by the exchange: nothing is expected of it until it is asked for again.
    pub(super) fn mute(&mut self, stream: &Stream, until: Instant) {
        self.acked(stream);
        if let Some(slot) = self.slot(stream) {
            slot.asked = None;
            slot.waiting = false;
            slot.last_data = None;
            slot.again = false;
            slot.unexplained = None;
            slot.muted_until = Some(until);
        }
    }

    pub(super) const fn is_settled(&self) -> bool {
        self.unsettled == 0
    }

    /// The next moment at which [`Watch::check`] could find something.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| self.due(slot)).min()
    }

    fn due(&self, slot: &Slot) -> Option<Instant> {
        if slot.muted_until.is_some() {
            return slot.muted_until;
        }
        if !slot.stream.channel.speaks_first() {
            return None;
        }
        if slot.waiting {
            return slot.asked.map(|at| at + self.first_data);
        }
        match slot.stream.channel {
            Channel::Ticker => slot.last_data.map(|at| at + self.silence),
            // They pause with the market, and the ticker tells whether it pauses.
            Channel::Trades => slot.unexplained.map(|at| at + self.trades_silence),
            // Candles pause with the market, private channels with the account.
            _ => None,
        }
    }

    /// Looks at every deadline. To be asked only when nothing waits to be read: late reading is not silence.
    pub(super) fn check(&mut self, now: Instant, memory: &mut Memory) -> Verdict {
        let mut verdict = Verdict::default();
        let longest = self.first_data.max(self.silence);
        let others_speak = self.slots.iter().any(|s| s.last_data.is_some_and(|at| at + longest > now));
        for at in 0..self.slots.len() {
            let slot = &self.slots[at];
            if self.due(slot).is_none_or(|due| due > now) {
                continue;
            }
            let slot = &mut self.slots[at];
            let muted = slot.muted_until.take().is_some();
            if muted || !slot.again {
                slot.again = true;
                slot.waiting = true;
                // Counted from here, as asking may have to wait its turn.
                slot.asked = Some(now);
                verdict.resubscribe.push(slot.stream);
            } else if others_speak && memory.is_blamed(&slot.stream, now) {
                slot.muted_until = Some(now + Memory::HOLDS);
                verdict.given_up.push(slot.stream);
            } else {
                memory.blamed.insert(slot.stream, now);
                verdict.lost = Some(slot.stream);
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::symbol::SymbolId;

    const TICKER: Stream = Stream::public(Channel::Ticker, SymbolId(0));
    const OTHER: Stream = Stream::public(Channel::Ticker, SymbolId(1));
    const TRADES: Stream = Stream::public(Channel::Trades, SymbolId(0));
    const FILLS: Stream = Stream { channel: Channel::Fills, symbol: None, product: None };

    fn settings() -> FeedSettings {
        let second = Duration::from_secs(1);
        FeedSettings { first_data: 5 * second, silence: 10 * second, ..FeedSettings::default() }
    }

    #[test]
    fn an_acknowledged_but_silent_subscription_is_asked_for_once_more_and_then_costs_the_connection() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let after = |s: u64| start + Duration::from_secs(s);
        let mut watch = Watch::new(&[TICKER, FILLS], &settings());
        watch.asked(&[TICKER, FILLS], start);
        watch.acked(&TICKER);
        assert_eq!(watch.next_due(), Some(after(5)));
        assert_eq!(watch.check(after(4), &mut memory), Verdict::default());
        assert_eq!(watch.check(after(5), &mut memory).resubscribe, [TICKER], "fills are silent by nature");
        assert_eq!(watch.check(after(9), &mut memory), Verdict::default());
        assert_eq!(watch.check(after(10), &mut memory).lost, Some(TICKER));
    }

    #[test]
    fn a_stream_that_cost_a_connection_is_given_up_while_others_speak() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let after = |s: u64| start + Duration::from_secs(s);
        memory.blamed.insert(TICKER, start);
        let mut watch = Watch::new(&[TICKER, OTHER], &settings());
        watch.asked(&[TICKER, OTHER], start);
        watch.data(&OTHER, None, after(1));
        assert_eq!(watch.check(after(5), &mut memory).resubscribe, [TICKER]);
        watch.data(&OTHER, None, after(9));
        let verdict = watch.check(after(10), &mut memory);
        assert_eq!((verdict.given_up, verdict.lost), (vec![TICKER], None));
        watch.data(&OTHER, None, after(900));
        assert_eq!(watch.check(after(909), &mut memory), Verdict::default());
        assert_eq!(watch.check(after(910), &mut memory).resubscribe, [TICKER, OTHER], "tried again later");
    }

    #[test]
    fn the_ticker_must_go_on_and_trades_may_pause() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let after = |s: u64| start + Duration::from_secs(s);
        let mut watch = Watch::new(&[TICKER, TRADES], &settings());
        watch.asked(&[TICKER, TRADES], start);
        assert!(!watch.is_settled());
        watch.data(&TICKER, None, after(1));
        watch.data(&TRADES, None, after(1));
        assert!(watch.is_settled(), "data settles as an acknowledgement does");
        assert_eq!(watch.check(after(10), &mut memory), Verdict::default());
        assert_eq!(watch.check(after(11), &mut memory).resubscribe, [TICKER]);
        watch.data(&TICKER, None, after(12));
        assert_eq!(watch.next_due(), Some(after(22)), "it spoke again: all is forgotten");
    }

    #[test]
    fn trades_that_do_not_explain_the_tickers_price_are_asked_for_again() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let after = |s: u64| start + Duration::from_secs(s);
        let mut watch = Watch::new(&[TICKER, TRADES], &settings());
        watch.asked(&[TICKER, TRADES], start);
        watch.data(&TRADES, None, start);
        let mut tick = |watch: &mut Watch, s: u64, price: i64| {
            watch.data(&TICKER, Some(Decimal::from(price)), after(s));
            watch.check(after(s), &mut memory).resubscribe
        };
        for s in 0..100 {
            assert_eq!(tick(&mut watch, s, 100), [], "a market that stands still has no trades");
        }
        assert_eq!(tick(&mut watch, 100, 101), []);
        watch.data(&TRADES, None, after(101));
        for s in 102..200 {
            assert_eq!(tick(&mut watch, s, 101), [], "the trade came later than the price");
        }
        for s in 200..260 {
            assert_eq!(tick(&mut watch, s, 200 + s as i64), []);
        }
        assert_eq!(tick(&mut watch, 260, 1), [TRADES], "sixty seconds of prices without a trade");
    }

    #[test]
    fn a_refused_subscription_is_not_waited_for_and_asked_for_again_after_growing_pauses() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let after = |s: u64| start + Duration::from_secs(s);
        let mut watch = Watch::new(&[TICKER, OTHER, FILLS], &settings());
        watch.asked(&[TICKER, OTHER, FILLS], start);
        watch.mute(&TICKER, memory.refuse(TICKER, start));
        watch.mute(&FILLS, memory.refuse(FILLS, start));
        watch.data(&OTHER, None, start);
        assert!(watch.is_settled(), "the others go on");
        assert_eq!(watch.check(after(4), &mut memory), Verdict::default());
        watch.data(&OTHER, None, after(5));
        assert_eq!(watch.check(after(5), &mut memory).resubscribe, [TICKER, FILLS], "also what is silent by nature");
        watch.mute(&TICKER, memory.refuse(TICKER, after(5)));
        watch.data(&OTHER, None, after(14));
        assert_eq!(watch.check(after(14), &mut memory), Verdict::default(), "the second pause is longer");
        assert_eq!(watch.check(after(15), &mut memory).resubscribe, [TICKER]);
        assert!(watch.data(&TICKER, None, after(16)).is_some(), "and then it speaks");
        memory.accept(&TICKER);
        assert_eq!(memory.dropped_until(&TICKER, after(16)), None);
    }

    #[test]
    fn the_pause_after_a_refusal_has_a_limit() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let pauses: Vec<u64> = (0..10).map(|_| (memory.refuse(TICKER, start) - start).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    }
}
