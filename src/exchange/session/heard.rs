//! When each subscription last spoke. Written by sessions, read when somebody asks: a silence that no rule has
//! noticed yet can be seen.

use super::super::bitget::subscribe::Stream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

/// The lines of all connections; shared by clone. A line is gone with its feed.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    lines: Arc<Mutex<Vec<Weak<Line>>>>,
}

/// One desired connection, whichever session serves it now.
#[derive(Debug)]
pub struct Line {
    private: bool,
    began: Instant,
    /// Newest frame of any kind, ms after `began`.
    frame_ms: AtomicU64,
    /// Newest data of each stream, in the plan's order.
    streams: Vec<(Stream, AtomicU64)>,
}

impl Heard {
    /// A line for a connection that begins now.
    pub fn line(&self, private: bool, streams: &[Stream]) -> Arc<Line> {
        let line = Arc::new(Line {
            private,
            began: Instant::now(),
            frame_ms: AtomicU64::new(0),
            streams: streams.iter().map(|&stream| (stream, AtomicU64::new(0))).collect(),
        });
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        line
    }

    /// Seconds without any frame on the quietest connection of the kind; `None` without such a connection.
    pub fn silence_s(&self, private: bool, now: Instant) -> Option<f64> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = lines.iter().filter_map(Weak::upgrade).filter(|line| line.private == private);
        lines.map(|line| line.age_s(&line.frame_ms, now)).reduce(f64::max)
    }

    /// Seconds without data on the quietest stream of each channel that speaks by itself, by the channel's label.
    pub fn channels_s(&self, now: Instant) -> Vec<(&'static str, f64)> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ages: Vec<(&'static str, f64)> = Vec::new();
        for line in lines.iter().filter_map(Weak::upgrade) {
            for (stream, at_ms) in line.streams.iter().filter(|(stream, _)| stream.channel.speaks_first()) {
                let (label, age) = (stream.channel.label(), line.age_s(at_ms, now));
                match ages.iter_mut().find(|(known, _)| *known == label) {
                    Some((_, oldest)) => *oldest = oldest.max(age),
                    None => ages.push((label, age)),
                }
            }
        }
        ages
    }
}

impl Line {
    /// A frame of any kind came.
    pub(super) fn frame(&self, now: Instant) {
        self.frame_ms.store(self.ms(now), Ordering::Relaxed);
    }

    /// The stream number `at` of the plan brought data.
    pub(super) fn data(&self, at: usize, now: Instant) {
        if let Some((_, heard_ms)) = self.streams.get(at) {
            heard_ms.store(self.ms(now), Ordering::Relaxed);
        }
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn age_s(&self, at_ms: &AtomicU64, now: Instant) -> f64 {
        self.ms(now).saturating_sub(at_ms.load(Ordering::Relaxed)) as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::bitget::subscribe::Channel;
    use super::*;
    use crate::domain::symbol::SymbolId;
    use std::time::Duration;

    #[test]
    fn the_quietest_stream_of_a_channel_is_its_age() {
        let heard = Heard::default();
        let ticker = |n| Stream::public(Channel::Ticker, SymbolId(n));
        let fills = Stream { channel: Channel::Fills, symbol: None, product: None };
        let line = heard.line(false, &[ticker(0), ticker(1), fills]);
        let after = |s| line.began + Duration::from_secs(s);
        line.data(0, after(8));
        line.data(1, after(3));
        line.frame(after(9));
        assert_eq!(heard.channels_s(after(10)), [("ticker", 7.0)], "fills are silent by nature");
        assert_eq!(heard.silence_s(false, after(10)), Some(1.0));
        assert_eq!(heard.silence_s(true, after(10)), None);
        drop(line);
        assert_eq!(heard.channels_s(Instant::now()), [], "nobody wants it any more");
    }
}
