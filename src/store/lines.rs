//! The writer's way to Redis: one connection, or one to each master of a cluster.

use super::cluster::door::{self, Known, Limits, Opened};
use super::cluster::many::Many;
use super::link::{Link, LinkError, Target};
use super::reply::Reply;
use super::resp::Commands;
use redis::Value;
use std::task::{Context, Poll};

/// See the module's text.
pub enum Lines {
    One(Box<Link>),
    Many(Box<Many>),
}

impl Lines {
    /// Connects and logs in. `known` is what earlier connections have learned of a cluster.
    pub async fn open(target: &Target, known: &mut Known, limits: Limits) -> Result<Self, LinkError> {
        Ok(match door::open(target, known, limits).await? {
            Opened::One(link) => Self::One(Box::new(link)),
            Opened::Many(many) => Self::Many(Box::new(many)),
        })
    }

    pub fn is_many(&self) -> bool {
        matches!(self, Self::Many(_))
    }

    /// The connections that write.
    pub fn links(&mut self) -> Vec<&mut Link> {
        match self {
            Self::One(link) => vec![link],
            Self::Many(many) => many.links().collect(),
        }
    }

    /// Connections to nodes that may become masters; they end with this call.
    pub fn take_others(&mut self) -> Vec<Link> {
        match self {
            Self::One(_) => Vec::new(),
            Self::Many(many) => std::mem::take(&mut many.others),
        }
    }

    /// Host and port of the one server.
    pub fn peer(&self) -> Option<&(String, u16)> {
        match self {
            Self::One(link) => link.peer.as_ref(),
            Self::Many(_) => None,
        }
    }

    pub async fn call(&mut self, words: &[&str]) -> Result<Value, LinkError> {
        match self {
            Self::One(link) => link.call(words).await,
            Self::Many(many) => many.call(words).await,
        }
    }

    /// Several commands at once; error replies stand among the values.
    pub async fn exchange(&mut self, commands: &mut Commands) -> Result<Vec<Value>, LinkError> {
        match self {
            Self::One(link) => link.exchange(commands).await,
            Self::Many(many) => many.exchange(commands).await,
        }
    }

    /// Writes from `commands[*done..]` as far as the sockets take it; ready when the commands are no longer needed.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        commands: &Commands,
        done: &mut usize,
    ) -> Poll<Result<(), LinkError>> {
        match self {
            Self::One(link) => link.poll_send(cx, commands.bytes(), done),
            // What the sockets do not take yet waits there; the next flush comes only after all replies.
            Self::Many(many) => Poll::Ready(many.submit(commands.bytes())),
        }
    }

    /// Reads what has arrived; ready when there is something new.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        match self {
            Self::One(link) => link.poll_fill(cx),
            Self::Many(many) => many.poll(cx),
        }
    }

    /// The next reply, in the order of sending.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, LinkError> {
        match self {
            Self::One(link) => link.next_reply(),
            Self::Many(many) => many.next_reply(),
        }
    }

    /// How many commands a cluster has sent elsewhere since this was asked last.
    pub fn take_redirected(&mut self) -> u64 {
        match self {
            Self::One(_) => 0,
            Self::Many(many) => many.take_redirected(),
        }
    }
}
