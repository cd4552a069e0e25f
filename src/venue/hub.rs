//! Who is connected and who listens to what.

use super::book::Depth;
use super::config::Generation;
use super::frame;
use super::market::candles::Span;
use super::outbox::{End, Outbox};
use super::owners::{MAIN, OwnerId};
use crate::domain::symbol::Product;
use rustc_hash::FxHashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Identity of a connection, unique for the exchange's life.
pub type ClientId = u64;

/// What a channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    Ticker,
    Trade,
    Candle(Span),
    Book(Depth),
    /// Forced orders of all symbols of a product (v3).
    Liquidation,
    Positions,
    Account,
    Orders,
    Fills,
    /// Closed positions (v2).
    History,
    /// Equity of the futures account (v2).
    Equity,
    /// Accepted, and nothing ever comes (a wrong instType, a channel that this exchange does not fill).
    Silent(u64),
}

impl Feed {
    pub const fn is_private(self) -> bool {
        use Feed::{Account, Equity, Fills, History, Orders, Positions};
        matches!(self, Positions | Account | Orders | Fills | History | Equity)
    }

    /// Name for faults and the control door.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ticker => "ticker",
            Self::Trade => "trade",
            Self::Candle(_) => "candle",
            Self::Book(depth) => depth.channel(),
            Self::Liquidation => "liquidation",
            Self::Positions => "positions",
            Self::Account => "account",
            Self::Orders => "orders",
            Self::Fills => "fill",
            Self::History => "positions-history",
            Self::Equity => "equity",
            Self::Silent(_) => "silent",
        }
    }
}

/// One stream that clients share: the rendered frames are the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    pub generation: Generation,
    pub feed: Feed,
    /// Index of the symbol; `None` for the private "all".
    pub symbol: Option<usize>,
    /// v2 private channels are per product.
    pub product: Option<Product>,
    /// Whose private stream; of public ones always the same.
    pub owner: OwnerId,
}

impl Topic {
    pub const fn public(generation: Generation, feed: Feed, symbol: usize) -> Self {
        Self { generation, feed, symbol: Some(symbol), product: None, owner: MAIN }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    pub outbox: Arc<Outbox>,
    pub generation: Generation,
    pub private: bool,
    pub peer: SocketAddr,
    pub since_ms: i64,
    /// Whose account it logged in to.
    pub owner: Option<OwnerId>,
    pub topics: Vec<Topic>,
}

/// How often each limit was met, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsMet {
    /// Connections that were cut when their day was over.
    pub day: u64,
    /// Connections that were cut for want of a ping.
    pub ping: u64,
    /// Messages beyond those of a second.
    pub messages: u64,
    /// Subscribe requests beyond those of an hour.
    pub subscribes: u64,
    pub channels: u64,
    /// Requests with too many bytes or arguments.
    pub sizes: u64,
    /// Connects beyond those of five minutes, or of one address at a time.
    pub connects: u64,
    /// REST requests that were answered with 429.
    pub requests: u64,
}

impl LimitsMet {
    /// Name and count of each.
    pub fn list(self) -> [(&'static str, u64); 8] {
        [
            ("day", self.day),
            ("ping", self.ping),
            ("messages", self.messages),
            ("subscribes", self.subscribes),
            ("channels", self.channels),
            ("sizes", self.sizes),
            ("connects", self.connects),
            ("requests", self.requests),
        ]
    }
}

/// All connections and subscriptions.
#[derive(Debug, Default)]
pub struct Hub {
    pub clients: FxHashMap<ClientId, Client>,
    listeners: FxHashMap<Topic, Vec<(ClientId, Arc<Outbox>)>>,
    /// Topics of books and forced orders that somebody listens to.
    depth_topics: usize,
    next_id: ClientId,
    scratch: Vec<u8>,
    /// Frames handed to clients; a frame for three clients counts three times.
    pub frames: u64,
    /// Connections ended because the client did not read.
    pub slow_cut: u64,
    pub connects: u64,
    pub met: LimitsMet,
}

impl Hub {
    pub fn join(&mut self, client: Client) -> ClientId {
        self.next_id += 1;
        self.connects += 1;
        self.clients.insert(self.next_id, client);
        self.next_id
    }

    pub fn leave(&mut self, id: ClientId) {
        let Some(client) = self.clients.remove(&id) else { return };
        for topic in client.topics {
            self.remove(topic, id);
        }
    }

    fn remove(&mut self, topic: Topic, id: ClientId) {
        if let Some(list) = self.listeners.get_mut(&topic) {
            list.retain(|(listener, _)| *listener != id);
            if list.is_empty() {
                self.listeners.remove(&topic);
                self.depth_topics -= usize::from(is_depth(topic.feed));
            }
        }
    }

    /// False when the client listened already (the stream is not doubled).
    pub fn listen(&mut self, id: ClientId, topic: Topic) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        if client.topics.contains(&topic) {
            return false;
        }
        client.topics.push(topic);
        if !matches!(topic.feed, Feed::Silent(_)) {
            let list = self.listeners.entry(topic).or_default();
            self.depth_topics += usize::from(list.is_empty() && is_depth(topic.feed));
            list.push((id, Arc::clone(&client.outbox)));
        }
        true
    }

    /// False when the client did not listen.
    pub fn forget(&mut self, id: ClientId, topic: Topic) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        let before = client.topics.len();
        client.topics.retain(|t| *t != topic);
        let found = client.topics.len() < before;
        self.remove(topic, id);
        found
    }

    pub fn wanted(&self, topic: Topic) -> bool {
        self.listeners.contains_key(&topic)
    }

    /// Open connections of one address.
    pub fn connections_of(&self, ip: IpAddr) -> usize {
        self.clients.values().filter(|client| client.peer.ip() == ip).count()
    }

    /// Whether anybody listens to a book or to forced orders; asked for every trade.
    pub const fn any_depth(&self) -> bool {
        self.depth_topics > 0
    }

    /// Topics of one feed that somebody listens to.
    pub fn topics(&self, feed: Feed) -> Vec<Topic> {
        self.listeners.keys().filter(|t| t.feed == feed).copied().collect()
    }

    /// The same, of one owner.
    pub fn topics_of(&self, feed: Feed, owner: OwnerId) -> Vec<Topic> {
        self.listeners.keys().filter(|t| t.feed == feed && t.owner == owner).copied().collect()
    }

    /// Ends every private subscription of a client.
    pub fn forget_private(&mut self, id: ClientId) {
        let private = |client: &Client| client.topics.iter().filter(|t| t.feed.is_private()).copied().collect();
        let topics: Vec<Topic> = self.clients.get(&id).map(private).unwrap_or_default();
        topics.into_iter().for_each(|topic| {
            self.forget(id, topic);
        });
    }

    /// Listeners of public topics, over all clients.
    pub fn public_listeners(&self) -> usize {
        self.listeners.iter().filter(|(t, _)| !t.feed.is_private()).map(|(_, l)| l.len()).sum()
    }

    /// Sends one text to all who listen.
    pub fn publish(&mut self, topic: Topic, text: &str) {
        let Some(list) = self.listeners.get(&topic) else { return };
        self.scratch.clear();
        frame::put(&mut self.scratch, frame::TEXT, text.as_bytes());
        for (_, outbox) in list {
            self.frames += 1;
            if !outbox.push(&self.scratch) {
                self.slow_cut += 1;
            }
        }
    }

    /// Sends one text to one client.
    pub fn tell(&mut self, id: ClientId, text: &str) {
        if let Some(client) = self.clients.get(&id) {
            self.frames += 1;
            if !client.outbox.push_text(text) {
                self.slow_cut += 1;
            }
        }
    }

    pub fn end_all(&self, end: &End, only: impl Fn(&Client) -> bool) -> usize {
        let chosen = self.clients.values().filter(|client| only(client));
        chosen.map(|client| client.outbox.end(end.clone())).count()
    }

    /// The most bytes that wait for one client that is still connected.
    pub fn largest_backlog(&self) -> usize {
        self.clients.values().filter(|c| !c.outbox.ended()).map(|c| c.outbox.backlog()).max().unwrap_or(0)
    }
}

const fn is_depth(feed: Feed) -> bool {
    matches!(feed, Feed::Book(_) | Feed::Liquidation)
}
