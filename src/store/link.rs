//! The writer's own connection: one socket, no pool, no hidden retry. Whoever holds it knows what was sent, what was
//! answered, and when to throw it away.

use super::class::Class;
use super::reply::{self, Garbled, Reply};
use super::resp::Commands;
use bytes::BytesMut;
use redis::{ConnectionAddr, IntoConnectionInfo, Value};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where Redis is and how to log in. Never shows the password.
#[derive(Clone)]
pub struct Target {
    addr: Addr,
    user: Option<String>,
    password: Option<SecretString>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    db: i64,
}

#[derive(Clone, PartialEq, Eq)]
enum Addr {
    Tcp(String, u16),
    Tls(String, u16),
    Unix(PathBuf),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// The address without user and password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        })
    }

    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { addr: Addr::Unix(path.into()), user: None, password: None, password_file: None, ca_file: None, db: 0 }
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
    #[error("TLS set-up failed: {0}")]
    Tls(&'static str),
    #[error(transparent)]
    Garbled(#[from] Garbled),
    #[error("redis answered {code}")]
    Refused { code: String, class: Class },
}

impl LinkError {
    pub fn class(&self) -> Class {
        match self {
            Self::Io(_) | Self::Closed => Class::Transient,
            Self::Timeout => Class::Unknown,
            Self::PasswordFile(_) | Self::Tls(_) | Self::Garbled(_) => Class::Config,
            Self::Refused { class, .. } => *class,
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Unix(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.write_all(bytes).await,
            Self::Unix(s) => s.write_all(bytes).await,
            Self::Tls(s) => {
                s.write_all(bytes).await?;
                s.flush().await
            }
        }
    }
}

/// An open connection.
pub struct Link {
    wire: Wire,
    inbox: BytesMut,
    scratch: Box<[u8]>,
    limit: Duration,
}

const READ_CHUNK: usize = 16 * 1024;

impl Link {
    /// Connects and logs in. `connect_limit` holds for the socket and TLS, `reply_limit` for each answer.
    pub async fn open(target: &Target, connect_limit: Duration, reply_limit: Duration) -> Result<Self, LinkError> {
        let wire = tokio::time::timeout(connect_limit, connect(target)).await.map_err(|_| LinkError::Timeout)??;
        let mut link = Self {
            wire,
            inbox: BytesMut::with_capacity(READ_CHUNK),
            scratch: vec![0; READ_CHUNK].into(),
            limit: reply_limit,
        };
        if let Some(password) = target.password().await? {
            let secret = password.expose_secret();
            match &target.user {
                Some(user) => link.call(&["AUTH", user, secret]).await?,
                None => link.call(&["AUTH", secret]).await?,
            };
        }
        if target.db != 0 {
            link.call(&["SELECT", &target.db.to_string()]).await?;
        }
        Ok(link)
    }

    /// One command, one answer; an error reply is an error.
    pub async fn call(&mut self, words: &[&str]) -> Result<Value, LinkError> {
        let mut commands = Commands::new();
        commands.words(super::tag::Tag::Control, words);
        match self.exchange(&mut commands).await?.pop() {
            Some(Value::ServerError(error)) => {
                Err(LinkError::Refused { code: error.code().to_owned(), class: Class::of_code(error.code()) })
            }
            Some(value) => Ok(value),
            None => Err(LinkError::Closed),
        }
    }

    /// Several commands at once; error replies stand among the values.
    pub async fn exchange(&mut self, commands: &mut Commands) -> Result<Vec<Value>, LinkError> {
        let count = commands.len();
        let limit = self.limit;
        let work = async {
            self.wire.write_all(commands.bytes()).await?;
            let mut values = Vec::with_capacity(count);
            while values.len() < count {
                match reply::next(&mut self.inbox)? {
                    Some(reply) => values.push(reply.into_value()),
                    None => std::future::poll_fn(|cx| self.poll_fill(cx)).await?,
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

    /// The next reply that has arrived completely.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, LinkError> {
        Ok(reply::next(&mut self.inbox)?)
    }
}

async fn connect(target: &Target) -> Result<Wire, LinkError> {
    match &target.addr {
        Addr::Unix(path) => Ok(Wire::Unix(UnixStream::connect(path).await?)),
        Addr::Tcp(host, port) => Ok(Wire::Tcp(dial(host, *port).await?)),
        Addr::Tls(host, port) => {
            let config = tls_config(target.ca_file.as_deref())?;
            let name = ServerName::try_from(host.clone()).map_err(|_| LinkError::Tls("the host is no valid name"))?;
            let stream = TlsConnector::from(config).connect(name, dial(host, *port).await?).await?;
            Ok(Wire::Tls(Box::new(stream)))
        }
    }
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, LinkError> {
    let mut last = LinkError::Io(io::ErrorKind::NotFound);
    for addr in lookup_host((host, port)).await? {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_keepalive(true)?;
        socket.set_nodelay(true)?;
        match socket.connect(addr).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn tls_config(ca_file: Option<&std::path::Path>) -> Result<Arc<ClientConfig>, LinkError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|_| LinkError::Tls("the CA file cannot be read"))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|_| LinkError::Tls("the CA file is not PEM"))?;
                roots.add(certificate).map_err(|_| LinkError::Tls("the CA file holds a bad certificate"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(LinkError::Tls("no authority to trust: set ca_file or install ca-certificates"));
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| LinkError::Tls("no protocol version in common"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
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
