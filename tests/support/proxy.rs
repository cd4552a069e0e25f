//! A TCP proxy between the daemon and its exchange that can stall, cut, trickle and delay what passes through it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[derive(Default)]
struct Orders {
    /// Connections with a number up to this stay open, and nothing passes any more.
    stalled_to: AtomicU64,
    /// Connections with a number up to this are cut.
    cut_to: AtomicU64,
    connections: AtomicU64,
    /// One byte a write, each in a segment of its own.
    trickle: AtomicBool,
    /// New connections are accepted and never answered.
    mute: AtomicBool,
    delay_ms: AtomicU64,
    over: AtomicBool,
}

pub struct Proxy {
    port: u16,
    orders: Arc<Orders>,
}

impl Proxy {
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
                if shared.mute.load(Ordering::SeqCst) {
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || {
                        while !shared.over.load(Ordering::SeqCst) && shared.mute.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                        drop(client);
                    });
                    continue;
                }
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

    pub fn connections(&self) -> u64 {
        self.orders.connections.load(Ordering::SeqCst)
    }

    /// Half-open: the connections of now stay, nothing comes through. New ones are well.
    pub fn stall(&self) {
        self.orders.stalled_to.store(self.connections(), Ordering::SeqCst);
    }

    /// Ends the connections of now without a word of the protocol.
    pub fn cut(&self) {
        self.orders.cut_to.store(self.connections(), Ordering::SeqCst);
    }

    pub fn trickle(&self, on: bool) {
        self.orders.trickle.store(on, Ordering::SeqCst);
    }

    pub fn mute(&self, on: bool) {
        self.orders.mute.store(on, Ordering::SeqCst);
    }

    pub fn delay(&self, ms: u64) {
        self.orders.delay_ms.store(ms, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
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
        if orders.over.load(Ordering::SeqCst) || number <= orders.cut_to.load(Ordering::SeqCst) {
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
                let step = if orders.trickle.load(Ordering::SeqCst) { 1 } else { n };
                if buffer[..n].chunks(step).any(|part| to.write_all(part).is_err()) {
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
