//! What a room takes.

use std::time::Instant;

/// A message of a room's data lane, usually an enum.
pub trait Message: Sized + Send + Sync + 'static {
    /// A short constant name per variant, for the journal.
    fn kind(&self) -> &'static str;

    /// Messages with the same key replace each other under [`Overflow::Conflate`](super::Overflow::Conflate).
    fn conflate_key(&self) -> Option<u64> {
        None
    }

    /// The parts to try one by one when the whole made its room die; empty when it cannot be split.
    fn split(&self) -> Vec<Self> {
        Vec::new()
    }

    /// A short text for crash reports and the quarantine. It must not hold a secret.
    fn digest(&self) -> String {
        String::new()
    }

    /// Whether it may be handled once more, much later: `Err` says why not. State must refuse when a newer value may
    /// have replaced it, or a replay would show the old one as new.
    fn replayable(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// The whole message as text, so that it can be replayed from the quarantine after a restart of the program; `Err`
    /// says why it can be replayed only while the program lives. The text stays on disk: no secret.
    fn save(&self) -> Result<String, &'static str> {
        Err("its kind is not kept whole")
    }

    /// The message that [`Message::save`] wrote; `None`: not understood, as from another version.
    fn load(_saved: &str) -> Option<Self> {
        None
    }
}

/// A message on its way: numbered per mailbox, in the order of sending per sender.
pub(crate) struct Envelope<M> {
    pub(crate) seq: u64,
    pub(crate) sent_at: Instant,
    pub(crate) msg: M,
}
