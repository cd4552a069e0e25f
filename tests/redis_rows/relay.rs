//! Bytes between the daemon and its Redis: a relay that can stall and delay what passes through it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Least pause of the daemon between two tries at something that a person has to mend.
const SLOW_RETRY: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Orders {
    /// Connections with a number up to this stay open, and nothing passes any more.
    stalled_to: AtomicU64,
    connections: AtomicU64,
    /// When each of them came.
    accepted: Mutex<Vec<Instant>>,
    delay_ms: AtomicU64,
    over: AtomicBool,
}

pub struct Relay {
    port: u16,
    orders: Arc<Orders>,
}

impl Relay {
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let orders = Arc::new(Orders::default());
        let shared = Arc::clone(&orders);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                shared.accepted.lock().expect("not poisoned").push(Instant::now());
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || pump(from, to, number, &shared));
                }
            }
        });
        Self { port, orders }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn connections(&self) -> u64 {
        self.orders.connections.load(Ordering::SeqCst)
    }

    /// Waits for the next connection. It comes no sooner after the last one, which was refused, than a slow retry may: a
    /// wrong password that is tried again and again looks like an attack. Half of the pause is left to a busy machine.
    pub fn is_tried_slowly(&self, what: &str) {
        let accepted = || self.orders.accepted.lock().expect("not poisoned").clone();
        let refused = accepted().len();
        assert!(refused > 0, "{what}: not tried at all");
        let gap = crate::support::wait_for(&format!("{what}: the next try"), || match accepted().get(refused) {
            Some(next) => Ok(next.duration_since(accepted()[refused - 1])),
            None => Err(format!("{refused} tries")),
        });
        assert!(gap >= SLOW_RETRY / 2, "{what}: tried again after {gap:?}, {} times by now", accepted().len());
    }

    /// Half-open: the connections of now stay, nothing comes through. New ones are well.
    pub fn stall(&self) {
        self.orders.stalled_to.store(self.connections(), Ordering::SeqCst);
    }

    pub fn delay(&self, ms: u64) {
        self.orders.delay_ms.store(ms, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.orders.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, number: u64, orders: &Orders) {
    let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = to.set_nodelay(true);
    let mut buffer = [0; 16_384];
    loop {
        if orders.over.load(Ordering::SeqCst) {
            break;
        }
        if number <= orders.stalled_to.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                let delay = orders.delay_ms.load(Ordering::SeqCst);
                if delay > 0 {
                    std::thread::sleep(Duration::from_millis(delay));
                }
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
