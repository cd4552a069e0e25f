//! Who is the primary now? Asked of the sentinels at every connect, and now and then while a connection lives.
//!
//! A sentinel's answer may be old, so what it names is asked for its role before anything is written
//! ([`super::link::Link::open`]). Sentinels are asked in turn, beginning with the one that answered last; one that is
//! down or knows nothing costs one connect limit.

use super::link::{Link, LinkError};
use super::reply;
use redis::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The sentinels of one primary.
#[derive(Clone, Debug)]
pub struct Sentinels {
    /// Host and port of each.
    addresses: Arc<[(String, u16)]>,
    /// The name under which they watch the primary.
    pub master: String,
    /// Which one answered last.
    good: Arc<AtomicUsize>,
}

impl Sentinels {
    /// `addresses` as `host:port` or `[v6]:port`; the port is 26379 where none stands.
    pub fn new<'a>(addresses: impl IntoIterator<Item = &'a str>, master: &str) -> Self {
        let addresses = addresses.into_iter().map(split).collect();
        Self { addresses, master: master.to_owned(), good: Arc::new(AtomicUsize::new(0)) }
    }

    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Address of the primary, by the first sentinel that knows it.
    pub async fn primary(&self, limit: Duration) -> Result<(String, u16), LinkError> {
        let from = self.good.load(Relaxed);
        let mut answered = false;
        for i in 0..self.addresses.len() {
            let at = (from + i) % self.addresses.len();
            let (host, port) = &self.addresses[at];
            match ask(host, *port, &self.master, limit).await {
                Ok(Some(found)) => {
                    self.good.store(at, Relaxed);
                    return Ok(found);
                }
                Ok(None) => answered = true,
                Err(error) => tracing::debug!(host, port, %error, "sentinel does not answer"),
            }
        }
        Err(if answered { LinkError::UnknownMaster(self.master.clone()) } else { LinkError::NoSentinel })
    }
}

fn split(address: &str) -> (String, u16) {
    const PORT: u16 = 26_379;
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (bare(host), port),
            Err(_) => (bare(address), PORT),
        },
        _ => (bare(address), PORT),
    }
}

/// `None`: it answers, and knows no primary of this name.
async fn ask(host: &str, port: u16, master: &str, limit: Duration) -> Result<Option<(String, u16)>, LinkError> {
    let mut link = Link::plain(host, port, limit).await?;
    let answer = link.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]).await?;
    let Value::Array(items) = &answer else { return Ok(None) };
    let host = items.first().and_then(reply::text).map(str::to_owned);
    let port = items.get(1).and_then(reply::number).and_then(|n| u16::try_from(n).ok());
    Ok(host.zip(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_with_the_usual_port() {
        for (text, host, port) in [
            ("10.0.0.1:26380", "10.0.0.1", 26_380),
            ("sentinel-1", "sentinel-1", 26_379),
            ("[::1]:5000", "::1", 5_000),
            ("[::1]", "::1", 26_379),
        ] {
            assert_eq!(split(text), (host.to_owned(), port), "case: {text}");
        }
    }
}
