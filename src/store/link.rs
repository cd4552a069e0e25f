//! The writer's own connection: one socket, no pool, no hidden retry. Whoever holds it knows what was sent, what was
//! answered, and when to throw it away.

use super::class::{Class, label_of};
use super::reply::{self, Garbled, Reply};
use super::resp::Commands;
use super::sentinel::Sentinels;
use super::wire::{self, Addr, Wire};
use bytes::BytesMut;
use redis::{ConnectionAddr, IntoConnectionInfo, Value};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;

/// Where Redis is and how to log in. Never shows the password.
#[derive(Clone)]
pub struct Target {
    addr: Addr,
    user: Option<String>,
    password: Option<SecretString>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    db: i64,
    /// Where set, host and port are what the sentinels say.
    sentinels: Option<Sentinels>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// The address without user and password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sentinels) = &self.sentinels {
            return write!(f, "primary {} of the sentinels, db {}", sentinels.master, self.db);
        }
        match &self.addr {
            Addr::Tcp(host, port) => write!(f, "redis://{host}:{port}/{}", self.db),
            Addr::Tls(host, port) => write!(f, "rediss://{host}:{port}/{}", self.db),
            Addr::Unix(path) => write!(f, "unix:{}?db={}", path.display(), self.db),
        }
    }
}

/// The URL cannot be used. Never holds the URL itself: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a redis url: write redis://host:port/db, rediss://user@host:port/db or unix:/path/to/socket")]
pub struct BadUrl;

impl Target {
    /// Reads `redis://`, `rediss://`, `unix:` and `redis+unix:` URLs.
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        let info = url.into_connection_info().map_err(|_| BadUrl)?;
        let addr = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Addr::Tcp(host.clone(), *port),
            ConnectionAddr::TcpTls { host, port, .. } => Addr::Tls(host.clone(), *port),
            ConnectionAddr::Unix(path) => Addr::Unix(path.clone()),
            _ => return Err(BadUrl),
        };
        let login = info.redis_settings();
        Ok(Self {
            addr,
            user: login.username().map(str::to_owned),
            password: login.password().map(SecretString::from),
            password_file: None,
            ca_file: None,
            db: login.db(),
            sentinels: None,
        })
    }

    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self {
            addr: Addr::Unix(path.into()),
            user: None,
            password: None,
            password_file: None,
            ca_file: None,
            db: 0,
            sentinels: None,
        }
    }

    /// Number of the database.
    pub fn db(&self) -> i64 {
        self.db
    }

    /// A password from elsewhere than the URL; `None` changes nothing.
    #[must_use]
    pub fn with_password(mut self, password: Option<SecretString>) -> Self {
        self.password = password.or(self.password);
        self
    }

    /// Read again at each connection, so that a rotated password needs no restart. Wins over the URL's.
    #[must_use]
    pub fn with_password_file(mut self, path: Option<PathBuf>) -> Self {
        self.password_file = path;
        self
    }

    /// PEM file with the only authorities that may sign the server's certificate.
    #[must_use]
    pub fn with_ca_file(mut self, path: Option<PathBuf>) -> Self {
        self.ca_file = path;
        self
    }

    /// The primary is asked of these at every connect; none changes nothing. Scheme, user and database stay the URL's.
    #[must_use]
    pub fn with_sentinels(mut self, sentinels: Option<Sentinels>) -> Self {
        self.sentinels = sentinels.filter(|s| !s.is_empty());
        self
    }

    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        self.sentinels.as_ref()
    }

    /// Where the data connection goes now.
    async fn place(&self, limit: Duration) -> Result<Addr, LinkError> {
        let Some(sentinels) = &self.sentinels else { return Ok(self.addr.clone()) };
        let (host, port) = sentinels.primary(limit).await?;
        Ok(self.same_scheme(host, port))
    }

    fn same_scheme(&self, host: String, port: u16) -> Addr {
        match self.addr {
            Addr::Tls(..) => Addr::Tls(host, port),
            Addr::Tcp(..) | Addr::Unix(_) => Addr::Tcp(host, port),
        }
    }

    /// Host and port of the url, where it has them.
    pub(super) fn seed(&self) -> Option<(String, u16)> {
        match &self.addr {
            Addr::Tcp(host, port) | Addr::Tls(host, port) => Some((host.clone(), *port)),
            Addr::Unix(_) => None,
        }
    }

    async fn password(&self) -> Result<Option<SecretString>, LinkError> {
        match &self.password_file {
            None => Ok(self.password.clone()),
            Some(path) => {
                let text = tokio::fs::read_to_string(path).await.map_err(|e| LinkError::PasswordFile(e.kind()))?;
                Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())))
            }
        }
    }
}

/// Why a connection could not be made or has to go.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    #[error("connection failed: {0}")]
    Io(io::ErrorKind),
    #[error("connection closed by redis")]
    Closed,
    #[error("no answer within the limit")]
    Timeout,
    #[error("the password file cannot be read ({0}): check its path and owner")]
    PasswordFile(io::ErrorKind),
    #[error("TLS failed: {0}")]
    Tls(&'static str),
    #[error("redis has no database {0}: check the number at the end of the url")]
    Database(i64),
    #[error("redis refuses the login ({0}): check user and password")]
    Login(String),
    #[error("redis takes no more connections: raise maxclients, or end clients that nobody needs")]
    Crowded,
    #[error("this node is a replica; the sentinels have not agreed yet, or the url names the wrong node")]
    Replica,
    #[error("no sentinel answers: check sentinels in [redis]")]
    NoSentinel,
    #[error("the sentinels know no primary {0:?}: check sentinel_master in [redis]")]
    UnknownMaster(String),
    #[error(
        "this is a node of a redis cluster: the daemon works with all of its nodes, this command with a single server \
         only; look at the cluster with redis-cli -c"
    )]
    Cluster,
    #[error("a redis cluster has only database 0, the url says {0}: take the number off its end")]
    ClusterDatabase(i64),
    #[error("no node of the redis cluster sees it whole: some of its slots have no master that answers")]
    ClusterDown,
    #[error("the redis cluster's map has changed: {0}")]
    Strayed(&'static str),
    #[error("keys of two slots in one step, which a redis cluster cannot do: {0}")]
    CrossSlot(String),
    #[error(transparent)]
    Garbled(#[from] Garbled),
    #[error("redis answered {code}")]
    Refused { code: String, class: Class },
}

impl LinkError {
    /// The label under which it is counted.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Io(_) | Self::Closed | Self::NoSentinel => "dropped",
            Self::Timeout => "timeout",
            Self::PasswordFile(_)
            | Self::Database(_)
            | Self::ClusterDatabase(_)
            | Self::Login(_)
            | Self::UnknownMaster(_) => "auth",
            Self::Tls(_) => "tls",
            Self::Garbled(_) => "garbled",
            Self::Crowded => "maxclients",
            Self::Replica => "readonly",
            Self::Cluster | Self::Strayed(_) | Self::CrossSlot(_) => "moved",
            Self::ClusterDown => "clusterdown",
            Self::Refused { code, .. } => label_of(code),
        }
    }

    pub fn class(&self) -> Class {
        match self {
            Self::Io(_) | Self::Closed | Self::NoSentinel | Self::Strayed(_) => Class::Transient,
            Self::Timeout => Class::Unknown,
            Self::PasswordFile(_)
            | Self::Tls(_)
            | Self::Garbled(_)
            | Self::Database(_)
            | Self::ClusterDatabase(_)
            | Self::Login(_)
            | Self::UnknownMaster(_) => Class::Config,
            Self::ClusterDown => Class::Wait,
            Self::CrossSlot(_) => Class::Bug,
            Self::Crowded => Class::Resource,
            Self::Replica => Class::WrongNode,
            Self::Cluster => Class::Route,
            Self::Refused { class, .. } => *class,
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

/// An open connection.
pub struct Link {
    wire: Wire,
    inbox: BytesMut,
    scratch: Box<[u8]>,
    limit: Duration,
    /// Host and port, where it has them.
    pub(super) peer: Option<(String, u16)>,
    db: i64,
}

const READ_CHUNK: usize = 16 * 1024;

impl Link {
    /// Connects to a single server and logs in. `connect_limit` holds for the sentinels, for the socket and for TLS,
    /// `reply_limit` for each answer.
    pub async fn open(target: &Target, connect_limit: Duration, reply_limit: Duration) -> Result<Self, LinkError> {
        match Self::enter(target, connect_limit, reply_limit).await? {
            (link, false) => Ok(link),
            (_, true) => Err(LinkError::Cluster),
        }
    }

    /// The same, and whether it is a node of a cluster.
    pub(super) async fn enter(
        target: &Target,
        connect_limit: Duration,
        reply_limit: Duration,
    ) -> Result<(Self, bool), LinkError> {
        let place = target.place(connect_limit).await?;
        Self::enter_by(target, place, connect_limit, reply_limit).await
    }

    /// The same at another node.
    pub(super) async fn enter_at(
        target: &Target,
        (host, port): (String, u16),
        connect_limit: Duration,
        reply_limit: Duration,
    ) -> Result<(Self, bool), LinkError> {
        Self::enter_by(target, target.same_scheme(host, port), connect_limit, reply_limit).await
    }

    async fn enter_by(
        target: &Target,
        place: Addr,
        connect_limit: Duration,
        reply_limit: Duration,
    ) -> Result<(Self, bool), LinkError> {
        let mut link = Self::over(wire::connect(&place, target.ca_file.as_deref(), connect_limit).await?, reply_limit);
        if let Addr::Tcp(host, port) | Addr::Tls(host, port) = place {
            link.peer = Some((host, port));
        }
        let password = target.password().await?;
        let secret = password.as_ref().map_or("", ExposeSecret::expose_secret);
        // A user without a password logs in too: else the default user's rights would be used without a word.
        let words: &[&str] = match &target.user {
            Some(user) => &["AUTH", user, secret],
            None if password.is_some() => &["AUTH", secret],
            None => &[],
        };
        if !words.is_empty() {
            match link.call(words).await {
                // A password where none is set, or a command that this server does not know.
                Err(LinkError::Refused { code, class: Class::Bug }) => return Err(LinkError::Login(code)),
                other => other?,
            };
        }
        // Before SELECT, which a cluster answers like a server that has fewer databases.
        let is_cluster = link.is_cluster().await?;
        if is_cluster {
            return if target.db == 0 { Ok((link, true)) } else { Err(LinkError::ClusterDatabase(target.db)) };
        }
        if target.db != 0 {
            match link.call(&["SELECT", &target.db.to_string()]).await {
                Err(LinkError::Refused { class: Class::Bug, .. }) => return Err(LinkError::Database(target.db)),
                other => other?,
            };
            link.db = target.db;
        }
        if target.sentinels.is_some() {
            link.must_be_primary().await?;
        }
        Ok((link, false))
    }

    /// A connection without login, to ask something.
    pub(super) async fn plain(host: &str, port: u16, limit: Duration) -> Result<Self, LinkError> {
        let stream = tokio::time::timeout(limit, wire::dial(host, port)).await.map_err(|_| LinkError::Timeout)??;
        Ok(Self::over(Wire::Tcp(stream), limit))
    }

    fn over(wire: Wire, limit: Duration) -> Self {
        Self {
            wire,
            inbox: BytesMut::with_capacity(READ_CHUNK),
            scratch: vec![0; READ_CHUNK].into(),
            limit,
            peer: None,
            db: 0,
        }
    }

    /// Number of the database that was selected.
    pub fn db(&self) -> i64 {
        self.db
    }

    /// Known before anything is written, instead of by a key that happens to live elsewhere.
    async fn is_cluster(&mut self) -> Result<bool, LinkError> {
        match self.call(&["INFO", "cluster"]).await {
            Ok(info) => Ok(reply::text(&info).is_some_and(|t| t.contains("cluster_enabled:1"))),
            // A user without the right to ask: a cluster's own words (MOVED, CROSSSLOT) will tell.
            Err(LinkError::Refused { code: _, class: Class::Config | Class::Bug }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A sentinel may name a node that was the primary a moment ago.
    async fn must_be_primary(&mut self) -> Result<(), LinkError> {
        match self.call(&["ROLE"]).await {
            Ok(Value::Array(items)) if items.first().and_then(reply::text) != Some("master") => Err(LinkError::Replica),
            // A user without the right to ask: the first write will tell.
            Ok(_) | Err(LinkError::Refused { class: Class::Config, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One command, one answer; an error reply is an error.
    pub async fn call(&mut self, words: &[&str]) -> Result<Value, LinkError> {
        let mut commands = Commands::new();
        commands.words(super::tag::Tag::Control, words);
        checked(self.exchange(&mut commands).await?.pop())
    }

    /// Several commands at once; error replies stand among the values.
    pub async fn exchange(&mut self, commands: &mut Commands) -> Result<Vec<Value>, LinkError> {
        let count = commands.len();
        let limit = self.limit;
        let work = async {
            // A server that shows us out says why before it closes: what it said counts for more than the broken write.
            let written = self.wire.write_all(commands.bytes()).await;
            let mut values = Vec::with_capacity(count);
            while values.len() < count {
                match reply::next(&mut self.inbox)? {
                    Some(reply) => values.push(reply.into_value()),
                    None => match std::future::poll_fn(|cx| self.poll_fill(cx)).await {
                        Ok(()) => {}
                        Err(error) => return Err(written.err().map_or(error, LinkError::from)),
                    },
                }
            }
            Ok(values)
        };
        tokio::time::timeout(limit, work).await.map_err(|_| LinkError::Timeout)?
    }

    /// Reads what has arrived; ready when there is something new.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let mut buf = ReadBuf::new(&mut self.scratch);
        match self.wire.poll_read(cx, &mut buf) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => Poll::Ready(Err(LinkError::Closed)),
            Poll::Ready(Ok(())) => {
                self.inbox.extend_from_slice(buf.filled());
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Writes from `bytes[*done..]` as far as the socket takes it; ready when all is out.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8], done: &mut usize) -> Poll<Result<(), LinkError>> {
        while *done < bytes.len() {
            match self.wire.poll_write(cx, &bytes[*done..]) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(LinkError::Closed)),
                Poll::Ready(Ok(n)) => *done += n,
            }
        }
        match self.wire.poll_flush(cx) {
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
        }
    }

    /// What has arrived and is no reply: after `SYNC` the stream is a file.
    pub fn take_raw(&mut self) -> BytesMut {
        self.inbox.split()
    }

    /// The next reply that has arrived completely.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, LinkError> {
        Ok(reply::next(&mut self.inbox)?)
    }
}

/// The answer to one command; an error reply is an error.
pub(super) fn checked(answer: Option<Value>) -> Result<Value, LinkError> {
    match answer {
        // Redis has no code for it: this text, then the end of the connection.
        Some(Value::ServerError(error)) if error.details().is_some_and(|d| d.starts_with("max number of clients")) => {
            Err(LinkError::Crowded)
        }
        Some(Value::ServerError(error)) => {
            Err(LinkError::Refused { code: error.code().to_owned(), class: Class::of_code(error.code()) })
        }
        Some(value) => Ok(value),
        None => Err(LinkError::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_secrets() {
        let cases = [
            ("redis://h:1/2", "redis://h:1/2"),
            ("redis://user:CANARY@h:1", "redis://h:1/0"),
            ("rediss://:CANARY@h:6380/1", "rediss://h:6380/1"),
            ("unix:/tmp/r.sock", "unix:/tmp/r.sock?db=0"),
            ("redis+unix:///tmp/r.sock?db=3&pass=CANARY", "unix:/tmp/r.sock?db=3"),
        ];
        for (url, shown) in cases {
            let target = Target::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!(target.to_string(), shown);
            assert!(!format!("{target:?}").contains("CANARY"));
        }
        let error = Target::parse("http://CANARY").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("CANARY"));
    }
}
