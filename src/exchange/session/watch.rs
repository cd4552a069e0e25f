//! Which subscriptions live: asked, acknowledged, first data, silence. Told the time.

use super::super::bitget::subscribe::{Channel, Stream};
use super::{FeedSettings, Memory};
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
        };
        let slots: Vec<Slot> = streams.iter().map(slot).collect();
        Self {
            index: slots.iter().enumerate().map(|(at, slot)| (slot.stream, at)).collect(),
            unsettled: slots.len(),
            slots,
            first_data: settings.first_data,
            silence: settings.silence,
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

    /// False when nobody subscribed to this stream.
    pub(super) fn data(&mut self, stream: &Stream, now: Instant) -> bool {
        let Some(slot) = self.slot(stream) else { return false };
        slot.last_data = Some(now);
        slot.waiting = false;
        slot.again = false;
        slot.muted_until = None;
        if !std::mem::replace(&mut slot.acked, true) {
            self.unsettled = self.unsettled.saturating_sub(1);
        }
        true
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
        // Trades and candles pause with the market, private channels with the account; the ticker never does.
        slot.last_data.filter(|_| slot.stream.channel == Channel::Ticker).map(|at| at + self.silence)
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
        watch.data(&OTHER, after(1));
        assert_eq!(watch.check(after(5), &mut memory).resubscribe, [TICKER]);
        watch.data(&OTHER, after(9));
        let verdict = watch.check(after(10), &mut memory);
        assert_eq!((verdict.given_up, verdict.lost), (vec![TICKER], None));
        watch.data(&OTHER, after(900));
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
        watch.data(&TICKER, after(1));
        watch.data(&TRADES, after(1));
        assert!(watch.is_settled(), "data settles as an acknowledgement does");
        assert_eq!(watch.check(after(10), &mut memory), Verdict::default());
        assert_eq!(watch.check(after(11), &mut memory).resubscribe, [TICKER]);
        watch.data(&TICKER, after(12));
        assert_eq!(watch.next_due(), Some(after(22)), "it spoke again: all is forgotten");
    }

    #[test]
    fn a_refused_subscription_is_not_waited_for_and_asked_for_again_after_growing_pauses() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let after = |s: u64| start + Duration::from_secs(s);
        let mut watch = Watch::new(&[TICKER, OTHER, FILLS], &settings());
        watch.asked(&[TICKER, OTHER, FILLS], start);
        watch.mute(&TICKER, memory.refuse(TICKER, start));
        watch.mute(&FILLS, memory.refuse(FILLS, start));
        watch.data(&OTHER, start);
        assert!(watch.is_settled(), "the others go on");
        assert_eq!(watch.check(after(4), &mut memory), Verdict::default());
        watch.data(&OTHER, after(5));
        assert_eq!(watch.check(after(5), &mut memory).resubscribe, [TICKER, FILLS], "also what is silent by nature");
        watch.mute(&TICKER, memory.refuse(TICKER, after(5)));
        watch.data(&OTHER, after(14));
        assert_eq!(watch.check(after(14), &mut memory), Verdict::default(), "the second pause is longer");
        assert_eq!(watch.check(after(15), &mut memory).resubscribe, [TICKER]);
        assert!(watch.data(&TICKER, after(16)), "and then it speaks");
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
