//! Ticker frames as fast as a client reads, for measurements: rendered once per symbol, then only the digits that
//! change are written in place. Each frame's bid size is its number plus [`FRAME_BASE`], so that a reader of Redis
//! can tell which frame a value came from, and when that frame was sent.

use super::config::Generation;
use super::core::Shared;
use super::frame;
use super::market::state::SymbolState;
use super::outbox::{Next, Outbox};
use super::wire;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Frame number 0 shows as this bid size.
pub const FRAME_BASE: u64 = 1_000_000_000;
/// Numbers wrap here, so that they keep their ten digits.
const NUMBERS: u64 = 8_000_000_000;
/// Frames of one write.
const BATCH: u64 = 128;
/// A client that still subscribes is not fired at.
const SETTLE: Duration = Duration::from_millis(300);
/// A firehose that is told to stop looks again after this long.
const NAP: Duration = Duration::from_millis(20);

/// Microseconds since 1970 at which each of the newest frames was handed to the socket, and each symbol's newest frame.
#[derive(Debug)]
pub struct SendStamps {
    ring: Box<[AtomicU64]>,
    /// Number of the newest frame plus one; 0 for none.
    newest: Box<[AtomicU64]>,
}

impl SendStamps {
    /// Frames whose send time is remembered.
    pub const KEPT: usize = 1 << 20;

    pub fn new(wanted: bool, symbols: usize) -> Self {
        let zeros = |count| (0..if wanted { count } else { 0 }).map(|_| AtomicU64::new(0)).collect();
        Self { ring: zeros(Self::KEPT), newest: zeros(symbols) }
    }

    fn put(&self, number: u64, symbol: usize, at_us: u64) {
        if let Some(newest) = self.newest.get(symbol) {
            newest.store(number + 1, Ordering::Relaxed);
        }
        if let Some(slot) = self.ring.get(number as usize % Self::KEPT) {
            slot.store(at_us, Ordering::Relaxed);
        }
    }

    /// When frame `number` was sent, if it is one of the newest of `sent` frames.
    pub fn get(&self, number: u64, sent: u64) -> Option<u64> {
        let kept = number < sent && sent - number <= Self::KEPT as u64;
        let at = self.ring.get(number as usize % Self::KEPT)?.load(Ordering::Relaxed);
        (kept && at > 0).then_some(at)
    }

    /// Number of the newest frame of the symbol with this index.
    pub fn newest(&self, symbol: usize) -> Option<u64> {
        self.newest.get(symbol)?.load(Ordering::Relaxed).checked_sub(1)
    }
}

/// Latencies need microseconds, which the crate's clock does not tell.
#[allow(clippy::disallowed_methods, reason = "send stamps for measurements, not data")]
fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// One symbol's frame, ready to be written again and again.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    /// Places of 13-digit times.
    times: Vec<usize>,
    /// Places of the last two digits of the price.
    price: [usize; 2],
    /// Place of the ten-digit number.
    number: usize,
    turn: u64,
}

/// Stands for the bid size until the first frame.
const NUMBER_TEXT: &str = "1000000000";
const TIME_TEXT: &str = "1000000000000";

impl Template {
    fn new(generation: Generation, state: &SymbolState) -> Option<Self> {
        let time = TIME_TEXT.parse().ok()?;
        let (text, price_key, size_key) = match generation {
            Generation::V2 => (wire::v2::ticker(state, time), "\"lastPr\":\"", "\"bidSz\":\""),
            Generation::V3 => (wire::v3::ticker(state, time), "\"lastPrice\":\"", "\"bid1Size\":\""),
        };
        let size = text.find(size_key)? + size_key.len();
        let size_end = size + text[size..].find('"')?;
        let text = format!("{}{NUMBER_TEXT}{}", &text[..size], &text[size_end..]);
        let mut bytes = Vec::with_capacity(text.len() + 4);
        frame::put(&mut bytes, frame::TEXT, text.as_bytes());
        let header = bytes.len() - text.len();
        let price = text.find(price_key)? + price_key.len();
        let price_end = price + text[price..].find('"')?;
        let digits: Vec<usize> = (price..price_end).rev().filter(|i| text.as_bytes()[*i].is_ascii_digit()).collect();
        let [low, high, _, ..] = digits[..] else { return None };
        let times = text.match_indices(TIME_TEXT).map(|(i, _)| header + i).collect();
        let number = header + text.find(NUMBER_TEXT)?;
        // The number's text is also the beginning of the time's: take the one at the size.
        let number = if number == header + size { number } else { header + size.min(text.len()) };
        Some(Self { bytes, times, price: [header + high, header + low], number, turn: 0 })
    }

    fn render(&mut self, number: u64, now_ms: i64, out: &mut Vec<u8>) {
        self.turn += 1;
        let step = (self.turn % 100) as u8;
        self.bytes[self.price[0]] = b'0' + step / 10;
        self.bytes[self.price[1]] = b'0' + step % 10;
        digits(&mut self.bytes[self.number..self.number + 10], FRAME_BASE + number % NUMBERS);
        for at in &self.times {
            digits(&mut self.bytes[*at..*at + 13], now_ms as u64);
        }
        out.extend_from_slice(&self.bytes);
    }
}

fn digits(place: &mut [u8], mut value: u64) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[derive(Debug, Default)]
struct Aim {
    templates: Vec<(usize, Template)>,
    cursor: usize,
    changed: Option<Instant>,
    begun: Option<Instant>,
    sent: u64,
}

/// One client's firehose.
#[derive(Debug)]
pub struct Hose {
    generation: Generation,
    aim: Mutex<Aim>,
    wake: Notify,
}

enum Fill {
    Batch,
    At(Instant),
    Idle,
}

impl Hose {
    pub fn new(generation: Generation) -> Arc<Self> {
        Arc::new(Self { generation, aim: Mutex::default(), wake: Notify::new() })
    }

    /// The client subscribed to this symbol's ticker.
    pub fn add(&self, symbol: usize, state: &SymbolState) {
        let Some(template) = Template::new(self.generation, state) else { return };
        let mut aim = self.aim.lock().unwrap_or_else(PoisonError::into_inner);
        if !aim.templates.iter().any(|(known, _)| *known == symbol) {
            aim.templates.push((symbol, template));
        }
        aim.changed = Some(Instant::now());
        drop(aim);
        self.wake.notify_one();
    }

    /// What to write next: answers first, then frames.
    pub async fn next(&self, outbox: &Outbox, shared: &Shared, spare: Vec<u8>) -> Next {
        let mut batch = spare;
        loop {
            if let Some(next) = outbox.take_now(Vec::new()) {
                return next;
            }
            batch.clear();
            match self.fill(shared, &mut batch) {
                Fill::Batch => return Next::Write(batch),
                Fill::At(when) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(when) => {}
                        () = outbox.stirred() => {}
                    }
                }
                Fill::Idle => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = outbox.stirred() => {}
                    }
                }
            }
        }
    }

    fn fill(&self, shared: &Shared, out: &mut Vec<u8>) -> Fill {
        let Some(firehose) = shared.config.firehose else { return Fill::Idle };
        let mut aim = self.aim.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(changed) = aim.changed.filter(|_| !aim.templates.is_empty()) else { return Fill::Idle };
        let now = Instant::now();
        if !shared.run.load(Ordering::Relaxed) {
            return Fill::At(now + NAP);
        }
        if now < changed + SETTLE {
            return Fill::At(changed + SETTLE);
        }
        let symbols = shared.config.symbols.len().max(1) as f64;
        let share = aim.templates.len() as f64 / symbols;
        let mut count = BATCH;
        let pace = firehose.rate.map(|rate| (rate * share).max(0.001));
        // Connections take turns: each begins its period at another moment, by its first symbol.
        let phase = aim.templates.first().map_or(0.0, |(symbol, _)| *symbol as f64 / symbols);
        let wait = pace.map_or(Duration::ZERO, |rate| Duration::from_secs_f64((phase / rate).min(1.0)));
        let begun = *aim.begun.get_or_insert(now + wait);
        if let Some(rate) = pace {
            if now < begun {
                return Fill::At(begun);
            }
            let due = (begun.elapsed().as_secs_f64() * rate) as u64 + 1;
            count = due.saturating_sub(aim.sent).min(BATCH);
            if count == 0 {
                return Fill::At(begun + Duration::from_secs_f64(aim.sent as f64 / rate));
            }
        }
        let first = match firehose.frames {
            None => shared.fired.fetch_add(count, Ordering::Relaxed),
            Some(limit) => {
                let claim = shared.fired.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fired| {
                    (fired < limit).then(|| (fired + count).min(limit))
                });
                match claim {
                    Ok(first) => {
                        count = count.min(limit - first);
                        first
                    }
                    Err(_) => return Fill::Idle,
                }
            }
        };
        let (now_ms, at_us) = (shared.config.clock.now_ms(), now_us());
        for number in first..first + count {
            let cursor = aim.cursor % aim.templates.len();
            aim.cursor = cursor + 1;
            let (symbol, template) = &mut aim.templates[cursor];
            shared.stamps.put(number, *symbol, at_us);
            template.render(number, now_ms, out);
        }
        aim.sent += count;
        Fill::Batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::market::TakerSide;
    use crate::venue::instrument::{Instrument, names};
    use crate::venue::market::state::PublicTrade;

    #[test]
    fn a_template_stays_a_frame_and_carries_its_number_price_and_time() {
        for (generation, last, size) in [(Generation::V2, "lastPr", "bidSz"), (Generation::V3, "lastPrice", "bid1Size")]
        {
            for name in names(600) {
                let instrument = Instrument::named(&name);
                let price = instrument.price(instrument.start_price);
                let mut state = SymbolState::new(instrument, 0, None);
                state.print(PublicTrade { ts_ms: 1, price, size: price, side: TakerSide::Buy, id: 0 }, 2);
                let mut template = Template::new(generation, &state).expect("renders");
                let mut out = Vec::new();
                (0..37).for_each(|_| {
                    out.clear();
                    template.render(123_456, 1_795_404_675_001, &mut out);
                });
                let text = std::str::from_utf8(&out[4..]).expect("text");
                let frame: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
                assert_eq!(frame["ts"], 1_795_404_675_001_i64);
                assert_eq!(frame["data"][0][size], "1000123456");
                let shown = frame["data"][0][last].as_str().expect("price").replace('.', "");
                assert!(shown.ends_with("37"), "{shown}");
            }
        }
    }

    #[test]
    fn only_the_newest_send_times_are_known() {
        let stamps = SendStamps::new(true, 2);
        stamps.put(5, 1, 42);
        assert_eq!((stamps.get(5, 6), stamps.get(6, 6)), (Some(42), None));
        assert_eq!(stamps.get(5, 6 + SendStamps::KEPT as u64), None);
        assert_eq!((stamps.newest(1), stamps.newest(0), stamps.newest(2)), (Some(5), None, None));
        let unwanted = SendStamps::new(false, 2);
        unwanted.put(5, 1, 42);
        assert_eq!((unwanted.get(5, 6), unwanted.newest(1)), (None, None));
    }
}
