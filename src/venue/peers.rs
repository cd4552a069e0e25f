//! What one address may do: connections it opens in five minutes, connections it holds, REST requests a minute.

use super::config::Limits;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct Peer {
    connects: VecDeque<Instant>,
    requests: VecDeque<Instant>,
    /// Asked too much: nothing is answered until then.
    shut_until: Option<Instant>,
}

/// Counts by address.
#[derive(Debug, Default)]
pub struct Peers(Mutex<FxHashMap<IpAddr, Peer>>);

fn forget(times: &mut VecDeque<Instant>, now: Instant, span: Duration) {
    while times.front().is_some_and(|at| now.duration_since(*at) >= span) {
        times.pop_front();
    }
}

impl Peers {
    const MAX: usize = 4_096;

    fn with<T>(&self, ip: IpAddr, act: impl FnOnce(&mut Peer) -> T) -> T {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= Self::MAX && !peers.contains_key(&ip) {
            peers.clear();
        }
        act(peers.entry(ip).or_default())
    }

    /// Notes a WebSocket connect; false when it is one too many.
    pub fn may_connect(&self, ip: IpAddr, limits: &Limits, now: Instant) -> bool {
        self.with(ip, |peer| {
            forget(&mut peer.connects, now, limits.connect_span);
            let free = peer.connects.len() < limits.connects as usize;
            if free {
                peer.connects.push_back(now);
            }
            free
        })
    }

    /// Notes a REST request; false when the address asks too much, and for a while after.
    pub fn may_ask(&self, ip: IpAddr, limits: &Limits, now: Instant) -> bool {
        self.with(ip, |peer| {
            if peer.shut_until.is_some_and(|until| now < until) {
                return false;
            }
            peer.shut_until = None;
            forget(&mut peer.requests, now, Duration::from_secs(60));
            if peer.requests.len() >= limits.requests_per_minute as usize {
                peer.shut_until = Some(now + limits.connect_span);
                return false;
            }
            peer.requests.push_back(now);
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn connects_and_requests_are_counted_by_address() {
        let (here, there) = (IpAddr::from(Ipv4Addr::new(127, 0, 0, 1)), IpAddr::from(Ipv4Addr::new(127, 0, 0, 2)));
        let limits = Limits { connects: 2, requests_per_minute: 2, ..Limits::default() };
        let (peers, begun) = (Peers::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for (name, ip, second, may) in [
            ("first", here, 0, true),
            ("second", here, 1, true),
            ("third", here, 2, false),
            ("another address", there, 2, true),
            ("just before five minutes", here, 299, false),
            ("at five minutes the first is forgotten", here, 300, true),
        ] {
            assert_eq!(peers.may_connect(ip, &limits, at(second)), may, "connect: {name}");
        }
        for (name, second, may) in [
            ("first", 0, true),
            ("second", 1, true),
            ("third", 2, false),
            ("still shut", 301, false),
            ("open again", 302, true),
        ] {
            assert_eq!(peers.may_ask(here, &limits, at(second)), may, "ask: {name}");
        }
    }
}
