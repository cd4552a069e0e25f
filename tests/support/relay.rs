//! A relay between two programs, with the faults of a network: it delays, holds, cuts, resets, garbles, trickles, and
//! takes nobody in. It knows no protocol; `proxy.rs` is the one that knows the exchange's.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, tcp, unix};

/// One end: a port on loopback, or a socket in the file system.
#[derive(Clone, Debug)]
pub enum Place {
    Port(u16),
    Socket(PathBuf),
}

/// Orders for the connections of now are the number of the newest one: later ones are well.
#[derive(Default)]
struct Orders {
    newest: AtomicU64,
    /// When each of them came.
    accepted: Mutex<Vec<Instant>>,
    held_to: AtomicU64,
    released_to: AtomicU64,
    cut_to: AtomicU64,
    reset_to: AtomicU64,
    spoiled_to: AtomicU64,
    delay_ms: AtomicU64,
    trickle: AtomicBool,
    closed: AtomicBool,
    over: AtomicBool,
}

impl Orders {
    fn is_held(&self, number: u64) -> bool {
        number <= self.held_to.load(SeqCst) && number > self.released_to.load(SeqCst)
    }

    fn ends(&self, number: u64) -> bool {
        [&self.cut_to, &self.reset_to].iter().any(|to| number <= to.load(SeqCst)) || self.over.load(SeqCst)
    }
}

pub struct Relay {
    port: u16,
    orders: Arc<Orders>,
}

/// How soon an order is noticed where nothing passes.
const LOOK: Duration = Duration::from_millis(20);
/// How soon what was held goes on.
const HELD_LOOK: Duration = Duration::from_millis(2);
/// No UTF-8, no number, no type of an answer, no frame.
const GARBAGE: [u8; 4] = [0xff, 0xfe, 0xff, 0xc0];

impl Relay {
    /// On a free port of loopback, in front of `behind`.
    pub fn start(behind: Place) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("non-blocking");
        let port = listener.local_addr().expect("address").port();
        Self::serve(port, behind, || Door::Tcp(TcpListener::from_std(listener).expect("listener")))
    }

    /// On a socket at `path`.
    pub fn start_at(path: &std::path::Path, behind: Place) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).expect("bind");
        listener.set_nonblocking(true).expect("non-blocking");
        Self::serve(0, behind, || Door::Unix(UnixListener::from_std(listener).expect("listener")))
    }

    fn serve(port: u16, behind: Place, door: impl FnOnce() -> Door + Send + 'static) -> Self {
        let orders = Arc::new(Orders::default());
        let shared = Arc::clone(&orders);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async move { welcome(&door(), &behind, &shared).await });
        });
        Self { port, orders }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many there ever were.
    pub fn connections(&self) -> u64 {
        self.orders.newest.load(SeqCst)
    }

    /// When each of them came.
    pub fn accepted(&self) -> Vec<Instant> {
        self.orders.accepted.lock().expect("not poisoned").clone()
    }

    /// The connections of now stay open and nothing passes any more: half-open, unless [`Self::release`] is called.
    pub fn hold(&self) {
        self.orders.held_to.store(self.connections(), SeqCst);
    }

    /// What is held goes on, with what was on its way.
    pub fn release(&self) {
        self.orders.released_to.store(self.orders.held_to.load(SeqCst), SeqCst);
    }

    /// The connections of now end in order, as far as TCP knows.
    pub fn cut(&self) {
        self.orders.cut_to.store(self.connections(), SeqCst);
    }

    /// The connections of now end with a RST.
    pub fn reset(&self) {
        self.orders.reset_to.store(self.connections(), SeqCst);
    }

    /// Bytes that no protocol knows, between two reads, towards the client.
    pub fn spoil(&self) {
        self.orders.spoiled_to.store(self.connections(), SeqCst);
    }

    /// Each piece waits this long, each way.
    pub fn delay(&self, ms: u64) {
        self.orders.delay_ms.store(ms, SeqCst);
    }

    /// Every byte in a write of its own.
    pub fn trickle(&self) {
        self.orders.trickle.store(true, SeqCst);
    }

    /// New connections are taken and closed at once.
    pub fn close(&self) {
        self.orders.closed.store(true, SeqCst);
    }

    /// Ends what lasts. A half-open connection stays so: the far end has gone for good.
    pub fn mend(&self) {
        self.orders.delay_ms.store(0, SeqCst);
        self.orders.trickle.store(false, SeqCst);
        self.orders.closed.store(false, SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.orders.over.store(true, SeqCst);
    }
}

type Source = Box<dyn AsyncRead + Unpin + Send>;

trait Sink: AsyncWrite + Unpin + Send {
    /// Closing will reset, where the way can be reset; the other half must go next.
    fn reset(self: Box<Self>);
}

impl Sink for tcp::OwnedWriteHalf {
    fn reset(self: Box<Self>) {
        let _ = (*self).as_ref().set_zero_linger();
        // Dropped as usual it would say FIN first.
        self.forget();
    }
}

impl Sink for unix::OwnedWriteHalf {
    fn reset(self: Box<Self>) {}
}

/// Both directions of one connection.
type Ends = (Source, Box<dyn Sink>);

fn tcp_ends(stream: TcpStream) -> Ends {
    let _ = stream.set_nodelay(true);
    let (from, to) = stream.into_split();
    (Box::new(from), Box::new(to))
}

fn unix_ends(stream: UnixStream) -> Ends {
    let (from, to) = stream.into_split();
    (Box::new(from), Box::new(to))
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    async fn accept(&self) -> io::Result<Ends> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| tcp_ends(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| unix_ends(stream)),
        }
    }
}

impl Place {
    async fn connect(&self) -> io::Result<Ends> {
        match self {
            Self::Port(port) => TcpStream::connect(("127.0.0.1", *port)).await.map(tcp_ends),
            Self::Socket(path) => UnixStream::connect(path).await.map(unix_ends),
        }
    }
}

async fn welcome(door: &Door, behind: &Place, orders: &Arc<Orders>) {
    while !orders.over.load(SeqCst) {
        let Ok(Ok(client)) = tokio::time::timeout(LOOK, door.accept()).await else { continue };
        orders.accepted.lock().expect("not poisoned").push(Instant::now());
        let number = orders.newest.fetch_add(1, SeqCst) + 1;
        if !orders.closed.load(SeqCst) {
            let (behind, orders) = (behind.clone(), Arc::clone(orders));
            tokio::spawn(async move {
                if let Ok(server) = behind.connect().await {
                    join(client, server, number, &orders).await;
                }
            });
        }
    }
}

async fn join(client: Ends, server: Ends, number: u64, orders: &Orders) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client, server);
    // Whichever ends first ends both: no protocol of ours knows half-closed connections.
    tokio::select! {
        () = pump(&mut from_client, &mut to_server, false, number, orders) => {}
        () = pump(&mut from_server, &mut to_client, true, number, orders) => {}
    }
    if number <= orders.reset_to.load(SeqCst) {
        to_client.reset();
    }
}

/// Until one side ends, or is told to. `down`: towards the client.
async fn pump(from: &mut Source, to: &mut Box<dyn Sink>, down: bool, number: u64, orders: &Orders) {
    let mut buffer = vec![0; 16_384];
    let mut spoiled = 0;
    while !orders.ends(number) {
        let spoil = orders.spoiled_to.load(SeqCst);
        if down && number <= spoil && spoiled < spoil && !orders.is_held(number) {
            spoiled = spoil;
            if to.write_all(&GARBAGE).await.is_err() {
                return;
            }
        }
        let Ok(read) = tokio::time::timeout(LOOK, from.read(&mut buffer)).await else { continue };
        let delay_ms = orders.delay_ms.load(SeqCst);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        // After the read: nothing passes once the order is given, and an end is not told either.
        while orders.is_held(number) && !orders.ends(number) {
            tokio::time::sleep(HELD_LOOK).await;
        }
        let Ok(n @ 1..) = read else { return };
        let step = if orders.trickle.load(SeqCst) { 1 } else { n };
        for part in buffer[..n].chunks(step) {
            if to.write_all(part).await.is_err() {
                return;
            }
        }
    }
}
