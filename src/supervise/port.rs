//! The sending end of a mailbox.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::mailbox::{Mailbox, Offered};
use super::message::Message;

/// Why a message did not go out. The message comes back.
pub enum SendError<M> {
    /// No space; try later, or use [`Port::send`].
    Full(M),
    /// The room has ended for good.
    Closed(M),
    /// The sender itself was given up as hung and has a successor: stop.
    Fenced(M),
}

impl<M> SendError<M> {
    pub fn into_inner(self) -> M {
        match self {
            Self::Full(msg) | Self::Closed(msg) | Self::Fenced(msg) => msg,
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::Full(_) => "mailbox full",
            Self::Closed(_) => "room ended",
            Self::Fenced(_) => "sender was replaced",
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendError({})", self.reason())
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl<M> std::error::Error for SendError<M> {}

/// Where to send a room's messages. It stays valid over every restart of the room.
pub struct Port<M> {
    pub(crate) mailbox: Arc<Mailbox<M>>,
}

impl<M> Clone for Port<M> {
    fn clone(&self) -> Self {
        Self { mailbox: Arc::clone(&self.mailbox) }
    }
}

impl<M: Message> Port<M> {
    /// Sends at once or not at all, by the room's overflow policy. Inside a handler use
    /// [`Cx::send`](super::Cx::send), which neither loses nor doubles.
    ///
    /// # Errors
    /// [`SendError`] with the message.
    pub fn try_send(&self, msg: M) -> Result<(), SendError<M>> {
        let env = self.mailbox.envelope(msg);
        match self.mailbox.offer(env) {
            Offered::Taken => Ok(()),
            Offered::Full(env) => {
                self.mailbox.count_refused();
                // Nobody else has seen the envelope, so that the message can be taken out.
                Arc::into_inner(env).map_or(Ok(()), |env| Err(SendError::Full(env.msg)))
            }
            Offered::Closed(env) => Arc::into_inner(env).map_or(Ok(()), |env| Err(SendError::Closed(env.msg))),
            Offered::Fenced(env) => Arc::into_inner(env).map_or(Ok(()), |env| Err(SendError::Fenced(env.msg))),
        }
    }

    /// Waits for space; for tasks. Dropping the future before it is ready drops the message with it.
    ///
    /// # Errors
    /// [`SendError::Closed`] and [`SendError::Fenced`]; [`SendError::Full`] only under
    /// [`Overflow::Reject`](super::Overflow::Reject).
    pub async fn send(&self, msg: M) -> Result<(), SendError<M>> {
        let mut waiting = Some(self.mailbox.envelope(msg));
        poll_fn(|cx| {
            let mut registered = false;
            loop {
                let Some(env) = waiting.take() else { return Poll::Ready(Ok(())) };
                let (env, error): (_, fn(M) -> SendError<M>) = match self.mailbox.offer(env) {
                    Offered::Taken => return Poll::Ready(Ok(())),
                    Offered::Full(env) if self.mailbox.waits_when_full() => {
                        waiting = Some(env);
                        if registered {
                            return Poll::Pending;
                        }
                        // Once more after registering, or a place that came free in between would wake nobody.
                        self.mailbox.wake_task_when_space(cx.waker());
                        registered = true;
                        continue;
                    }
                    Offered::Full(env) => {
                        self.mailbox.count_refused();
                        (env, SendError::Full)
                    }
                    Offered::Closed(env) => (env, SendError::Closed),
                    Offered::Fenced(env) => (env, SendError::Fenced),
                };
                return Poll::Ready(Arc::into_inner(env).map_or(Ok(()), |env| Err(error(env.msg))));
            }
        })
        .await
    }

    /// Messages that wait in the data lane.
    pub fn depth(&self) -> usize {
        self.mailbox.depth()
    }

    /// Most messages that can wait.
    pub fn capacity(&self) -> usize {
        self.mailbox.card.mailbox
    }

    /// The room's name.
    pub fn name(&self) -> &'static str {
        self.mailbox.card.name
    }
}
