//! The socket under a connection: plain, unix or TLS, each step of opening it with a limit.

use super::link::LinkError;
use std::io;
use std::path::{Path, PathBuf};
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

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Addr {
    Tcp(String, u16),
    Tls(String, u16),
    Unix(PathBuf),
}

pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Unix(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, bytes),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
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

pub(super) async fn connect(place: &Addr, ca_file: Option<&Path>, limit: Duration) -> Result<Wire, LinkError> {
    let (host, port) = match place {
        Addr::Unix(path) => {
            let stream = tokio::time::timeout(limit, UnixStream::connect(path)).await;
            return Ok(Wire::Unix(stream.map_err(|_| LinkError::Timeout)??));
        }
        Addr::Tcp(host, port) | Addr::Tls(host, port) => (host, *port),
    };
    let stream = tokio::time::timeout(limit, dial(host, port)).await.map_err(|_| LinkError::Timeout)??;
    if !matches!(place, Addr::Tls(..)) {
        return Ok(Wire::Tcp(stream));
    }
    let config = tls_config(ca_file)?;
    let name = ServerName::try_from(host.clone()).map_err(|_| LinkError::Tls("the host is no valid name"))?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => Ok(Wire::Tls(Box::new(stream))),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(LinkError::Tls("the server's certificate is not trusted, or it does not speak TLS: check ca_file"))
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(LinkError::Tls("no answer to the handshake: is the port of the url a TLS port?")),
    }
}

pub(super) async fn dial(host: &str, port: u16) -> Result<TcpStream, LinkError> {
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

fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, LinkError> {
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
