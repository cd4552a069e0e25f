//! The connections to all masters of a cluster, as one: commands go in, replies come out in the order of sending.
//!
//! One flush is on its way at a time, in passes: each unit goes to the owner of its slot, and when every reply of the
//! pass has come, those that were sent elsewhere (MOVED, ASK) go there in the order of sending. A redirected command
//! can therefore land after a newer one of the same key only if that one was executed in the pass before; then nothing
//! is sent again and the session ends, to write everything anew.

use super::map::{Master, Place, Redirect};
use super::split::{Group, Plan, Unit, joined};
use crate::store::link::{Link, LinkError, checked};
use crate::store::reply::Reply;
use crate::store::resp::Commands;
use redis::Value;
use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

/// Passes in which one flush may be sent elsewhere.
const HOPS_MAX: u32 = 5;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

struct Node {
    link: Link,
    master: Master,
    out: Vec<u8>,
    sent: usize,
    /// Whose replies will come, in order; `None`: the one to ASKING.
    awaited: VecDeque<Option<usize>>,
}

struct Flying {
    unit: Unit,
    got: Vec<Reply>,
    node: usize,
}

/// See the module's text.
pub struct Many {
    nodes: Vec<Node>,
    /// Connections to replicas, open only until the writer has taken over.
    pub others: Vec<Link>,
    /// The owner of each slot, as a place in `nodes`.
    owners: Box<[u16]>,
    flying: Vec<Flying>,
    groups: Vec<Group>,
    /// Replies of this pass that have not come.
    open: usize,
    passes: u32,
    ready: VecDeque<Reply>,
    /// Commands that were sent elsewhere and not yet counted.
    redirected: u64,
    limit: Duration,
}

impl Many {
    pub fn new(nodes: Vec<(Master, Link)>, others: Vec<Link>, owners: Box<[u16]>, limit: Duration) -> Self {
        let node = |(master, link)| Node { link, master, out: Vec::new(), sent: 0, awaited: VecDeque::new() };
        Self {
            nodes: nodes.into_iter().map(node).collect(),
            others,
            owners,
            flying: Vec::new(),
            groups: Vec::new(),
            open: 0,
            passes: 0,
            ready: VecDeque::new(),
            redirected: 0,
            limit,
        }
    }

    pub fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        self.nodes.iter_mut().map(|node| &mut node.link)
    }

    /// How many commands were sent elsewhere since this was asked last.
    pub fn take_redirected(&mut self) -> u64 {
        std::mem::take(&mut self.redirected)
    }

    /// Takes one flush; every reply of the one before must have been taken.
    pub fn submit(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        if !self.groups.is_empty() || !self.ready.is_empty() {
            return Err(LinkError::Strayed("two flushes at a time"));
        }
        let plan = Plan::of(bytes)?;
        self.groups = plan.groups;
        self.passes = 0;
        let owners = &self.owners;
        let owner = |unit: &Unit| unit.slot.map_or(0, |slot| usize::from(owners[usize::from(slot)]));
        self.flying = plan.units.into_iter().map(|unit| Flying { node: owner(&unit), unit, got: Vec::new() }).collect();
        for i in 0..self.flying.len() {
            self.launch(i, false);
        }
        Ok(())
    }

    fn launch(&mut self, i: usize, asking: bool) {
        let flying = &self.flying[i];
        let node = &mut self.nodes[flying.node];
        if asking {
            node.out.extend_from_slice(ASKING);
            node.awaited.push_back(None);
            self.open += 1;
        }
        node.out.extend_from_slice(&flying.unit.bytes);
        node.awaited.extend(std::iter::repeat_n(Some(i), flying.unit.replies));
        self.open += flying.unit.replies;
    }

    /// Sends what waits and reads what has arrived; ready when there is something new.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let mut is_new = false;
        for node in &mut self.nodes {
            if !node.out.is_empty() {
                match node.link.poll_send(cx, &node.out, &mut node.sent) {
                    Poll::Ready(Ok(())) => {
                        node.out.clear();
                        node.sent = 0;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            match node.link.poll_fill(cx) {
                Poll::Ready(Ok(())) => is_new = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if is_new { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The next reply in the order of sending; they come when the whole flush is done.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, LinkError> {
        if let Some(reply) = self.ready.pop_front() {
            return Ok(Some(reply));
        }
        for node in &mut self.nodes {
            while let Some(reply) = node.link.next_reply()? {
                let Some(awaited) = node.awaited.pop_front() else {
                    return Err(LinkError::Strayed("a reply that nothing asked for"));
                };
                self.open -= 1;
                if let Some(i) = awaited {
                    self.flying[i].got.push(reply);
                }
            }
        }
        if self.open == 0 && !self.groups.is_empty() {
            self.end_pass()?;
        }
        Ok(self.ready.pop_front())
    }

    /// Every reply of the pass is there: what was sent elsewhere goes there, or all is handed on.
    fn end_pass(&mut self) -> Result<(), LinkError> {
        let mut again = Vec::new();
        for i in 0..self.flying.len() {
            let flying = &self.flying[i];
            let host = &self.nodes[flying.node].master.place.0;
            match flying.got.iter().find_map(|reply| redirect(reply, host)) {
                None => {}
                Some(Redirect::Moved(slot, place)) => {
                    let node = self.node_at(&place)?;
                    self.owners[usize::from(slot)] = node as u16;
                    again.push((i, node, false));
                }
                Some(Redirect::Ask(_, place)) => again.push((i, self.node_at(&place)?, true)),
            }
        }
        if again.is_empty() {
            let mut flying = std::mem::take(&mut self.flying);
            for group in self.groups.drain(..) {
                let got = flying[group.units.clone()].iter_mut().flat_map(|f| std::mem::take(&mut f.got)).collect();
                self.ready.extend(joined(group.join, got));
            }
            return Ok(());
        }
        self.passes += 1;
        if self.passes > HOPS_MAX {
            return Err(LinkError::Strayed("sent from node to node without end"));
        }
        let goes = |j: usize| again.iter().any(|&(i, ..)| i == j);
        for &(i, ..) in &again {
            let overtaken = |later: &Flying| later.unit.keys.iter().any(|key| self.flying[i].unit.keys.contains(key));
            if (i + 1..self.flying.len()).any(|j| !goes(j) && overtaken(&self.flying[j])) {
                return Err(LinkError::Strayed("a slot moved between two commands of one key"));
            }
        }
        self.redirected += again.len() as u64;
        for (i, node, asking) in again {
            self.flying[i].got.clear();
            self.flying[i].node = node;
            self.launch(i, asking);
        }
        Ok(())
    }

    fn node_at(&self, place: &Place) -> Result<usize, LinkError> {
        let found = self.nodes.iter().position(|node| node.master.is_at(place));
        found.ok_or(LinkError::Strayed("a slot has moved to a node that was no master"))
    }

    /// Several commands at once; error replies stand among the values.
    pub async fn exchange(&mut self, commands: &mut Commands) -> Result<Vec<Value>, LinkError> {
        let count = commands.len();
        self.submit(commands.bytes())?;
        let limit = self.limit;
        let work = async {
            let mut values = Vec::with_capacity(count);
            loop {
                while let Some(reply) = self.next_reply()? {
                    values.push(reply.into_value());
                }
                if values.len() >= count {
                    return Ok(values);
                }
                std::future::poll_fn(|cx| self.poll(cx)).await?;
            }
        };
        tokio::time::timeout(limit, work).await.map_err(|_| LinkError::Timeout)?
    }

    pub async fn call(&mut self, words: &[&str]) -> Result<Value, LinkError> {
        let mut commands = Commands::new();
        commands.words(crate::store::tag::Tag::Control, words);
        checked(self.exchange(&mut commands).await?.pop())
    }
}

fn redirect(reply: &Reply, host: &str) -> Option<Redirect> {
    let Reply::Other(Value::ServerError(error)) = reply else { return None };
    Redirect::of(error.code(), error.details()?, host)
}
