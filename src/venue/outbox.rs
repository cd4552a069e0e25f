//! What waits to be written to one client: a bounded buffer of whole frames, and the order to end the connection.

use super::frame;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The socket is closed without a close frame: the client sees 1006.
    Abrupt,
    /// The same by a TCP reset.
    Reset,
    /// What waits is written, then a close frame.
    Close { code: u16, reason: &'static str },
    /// What waits is written, then the socket is closed without a close frame.
    FlushThenAbrupt,
}

/// What the writer has to do next.
#[derive(Debug)]
pub enum Next {
    Write(Vec<u8>),
    End(End),
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    end: Option<End>,
    /// The line is dead in this direction (fault `half_open`): frames vanish.
    muted: bool,
}

/// One client's output, shared by those who publish and the client's writer.
#[derive(Debug)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    limit: usize,
    wake: Notify,
    /// Wakes a writer that is stuck in a write.
    pub cut: Notify,
}

impl Outbox {
    pub fn new(limit: usize) -> Self {
        Self { waiting: Mutex::default(), limit, wake: Notify::new(), cut: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a whole frame; false when the client has now been cut because it does not read.
    pub fn push(&self, bytes: &[u8]) -> bool {
        self.push_within(bytes, self.limit)
    }

    /// Adds a text frame whatever its size (fault `huge_frame`); one more such frame than fits twice is too many.
    pub fn push_huge(&self, text: &str) -> bool {
        let mut bytes = Vec::with_capacity(text.len() + 10);
        frame::put(&mut bytes, frame::TEXT, text.as_bytes());
        self.push_within(&bytes, self.limit + 2 * bytes.len())
    }

    fn push_within(&self, bytes: &[u8], limit: usize) -> bool {
        let mut waiting = self.lock();
        if waiting.muted || waiting.end.is_some() {
            return true;
        }
        if !waiting.bytes.is_empty() && waiting.bytes.len() + bytes.len() > limit {
            waiting.end = Some(End::Abrupt);
            drop(waiting);
            self.wake.notify_one();
            self.cut.notify_one();
            return false;
        }
        let idle = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(bytes);
        drop(waiting);
        if idle {
            self.wake.notify_one();
        }
        true
    }

    pub fn push_text(&self, text: &str) -> bool {
        let mut bytes = Vec::with_capacity(text.len() + 10);
        frame::put(&mut bytes, frame::TEXT, text.as_bytes());
        self.push(&bytes)
    }

    /// Ends the connection; the first order stands.
    pub fn end(&self, end: End) {
        let abrupt = matches!(end, End::Abrupt | End::Reset);
        let mut waiting = self.lock();
        if waiting.end.is_none() || abrupt {
            waiting.end = Some(end);
        }
        drop(waiting);
        self.wake.notify_one();
        if abrupt {
            self.cut.notify_one();
        }
    }

    pub fn mute(&self, muted: bool) {
        let mut waiting = self.lock();
        waiting.muted = muted;
        if muted {
            waiting.bytes.clear();
        }
    }

    pub fn is_muted(&self) -> bool {
        self.lock().muted
    }

    /// Bytes that wait.
    pub fn backlog(&self) -> usize {
        self.lock().bytes.len()
    }

    pub fn ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// What waits right now, without waiting for more; `spare` becomes the next buffer.
    pub fn take_now(&self, spare: Vec<u8>) -> Option<Next> {
        let mut waiting = self.lock();
        if let Some(end @ (End::Abrupt | End::Reset)) = &waiting.end {
            return Some(Next::End(end.clone()));
        }
        if !waiting.bytes.is_empty() {
            let mut spare = spare;
            spare.clear();
            return Some(Next::Write(std::mem::replace(&mut waiting.bytes, spare)));
        }
        waiting.end.clone().map(Next::End)
    }

    /// Waits until something may be there to take.
    pub async fn stirred(&self) {
        self.wake.notified().await;
    }

    /// Waits for something to do. `spare` is an old buffer to use again.
    pub async fn next(&self, spare: Vec<u8>) -> Next {
        let mut spare = Some(spare);
        loop {
            if let Some(next) = self.take_now(spare.take().unwrap_or_default()) {
                return next;
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_read_is_cut_at_the_bound() {
        let outbox = Outbox::new(10);
        assert!(outbox.push(&[0; 10]), "at the bound");
        assert!(!outbox.push(&[0; 1]), "one byte above it");
        assert!(matches!(outbox.take_now(Vec::new()), Some(Next::End(End::Abrupt))));
    }

    #[test]
    fn one_frame_above_the_bound_passes_an_empty_box() {
        let outbox = Outbox::new(10);
        assert!(outbox.push(&[0; 100]), "fault huge_frame must get through");
    }

    #[test]
    fn a_close_comes_after_what_waits() {
        let outbox = Outbox::new(10);
        outbox.push(&[1]);
        outbox.end(End::Close { code: 1000, reason: "bye" });
        assert!(matches!(outbox.take_now(Vec::new()), Some(Next::Write(bytes)) if bytes == [1]));
        assert!(matches!(outbox.take_now(Vec::new()), Some(Next::End(End::Close { code: 1000, .. }))));
    }
}
