//! A TCP proxy in front of the exchange or of Redis, with the faults of a network: delay, half-open, reset, cut,
//! garbage, one byte at a time, nobody there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// What lies behind.
#[derive(Clone)]
pub enum Behind {
    Port(u16),
    Socket(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFault {
    /// Each piece waits this long.
    Delay(u64),
    /// The connections of now stay open and nothing passes any more; new ones are well.
    HalfOpen,
    /// The connections of now end with a RST.
    Reset,
    /// The connections of now end with a FIN.
    Cut,
    /// Bytes that no protocol knows, between two reads, towards the daemon.
    Garbage,
    /// Every byte in a write of its own.
    Trickle,
    /// New connections are taken and closed at once.
    Closed,
}

#[derive(Default)]
struct Orders {
    connections: AtomicU64,
    stalled_to: AtomicU64,
    reset_to: AtomicU64,
    cut_to: AtomicU64,
    garbage_to: AtomicU64,
    delay_ms: AtomicU64,
    trickle: AtomicBool,
    closed: AtomicBool,
    over: AtomicBool,
}

pub struct Wire {
    pub port: u16,
    orders: Arc<Orders>,
}

const LOOK: Duration = Duration::from_millis(20);

impl Wire {
    pub fn start(behind: Behind) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("non-blocking");
        let port = listener.local_addr().expect("address").port();
        let orders = Arc::new(Orders::default());
        let shared = Arc::clone(&orders);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(serve(listener, behind, shared));
        });
        Self { port, orders }
    }

    /// How many there ever were.
    pub fn connections(&self) -> u64 {
        self.orders.connections.load(SeqCst)
    }

    pub fn start_fault(&self, fault: WireFault) {
        let now = self.orders.connections.load(SeqCst);
        match fault {
            WireFault::Delay(ms) => self.orders.delay_ms.store(ms, SeqCst),
            WireFault::HalfOpen => self.orders.stalled_to.store(now, SeqCst),
            WireFault::Reset => self.orders.reset_to.store(now, SeqCst),
            WireFault::Cut => self.orders.cut_to.store(now, SeqCst),
            WireFault::Garbage => self.orders.garbage_to.store(now, SeqCst),
            WireFault::Trickle => self.orders.trickle.store(true, SeqCst),
            WireFault::Closed => self.orders.closed.store(true, SeqCst),
        }
    }

    /// Ends what lasts. A half-open connection stays so: the far end has gone for good.
    pub fn mend(&self) {
        self.orders.delay_ms.store(0, SeqCst);
        self.orders.trickle.store(false, SeqCst);
        self.orders.closed.store(false, SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.orders.over.store(true, SeqCst);
    }
}

async fn serve(listener: std::net::TcpListener, behind: Behind, orders: Arc<Orders>) {
    let listener = TcpListener::from_std(listener).expect("listener");
    while !orders.over.load(SeqCst) {
        let Ok(Ok((client, _))) = tokio::time::timeout(LOOK, listener.accept()).await else { continue };
        let number = orders.connections.fetch_add(1, SeqCst) + 1;
        if !orders.closed.load(SeqCst) {
            tokio::spawn(join(client, behind.clone(), number, Arc::clone(&orders)));
        }
    }
}

type Source = Box<dyn AsyncRead + Unpin + Send>;
type Sink<'a> = Box<dyn AsyncWrite + Unpin + Send + 'a>;

async fn join(client: TcpStream, behind: Behind, number: u64, orders: Arc<Orders>) {
    let _ = client.set_nodelay(true);
    let (source, sink): (Source, Sink<'static>) = match behind {
        Behind::Port(port) => {
            let Ok(stream) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await else { return };
            let _ = stream.set_nodelay(true);
            let (read, write) = stream.into_split();
            (Box::new(read), Box::new(write))
        }
        Behind::Socket(path) => {
            let Ok(stream) = UnixStream::connect(path).await else { return };
            let (read, write) = stream.into_split();
            (Box::new(read), Box::new(write))
        }
    };
    let (from_client, mut to_client) = client.into_split();
    let up = pump(Box::new(from_client), sink, false, number, &orders);
    let down = async {
        pump(source, Box::new(&mut to_client), true, number, &orders).await;
        if number <= orders.reset_to.load(SeqCst) {
            let _ = to_client.as_ref().set_zero_linger();
        }
    };
    // Whichever ends first ends both: neither protocol knows half-closed connections.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// Until one side ends, or is told to. `down`: towards the daemon.
async fn pump(mut from: Source, mut to: Sink<'_>, down: bool, number: u64, orders: &Orders) {
    let mut buffer = vec![0; 16_384];
    let mut spoiled = 0;
    loop {
        if orders.over.load(SeqCst)
            || number <= orders.cut_to.load(SeqCst)
            || (down && number <= orders.reset_to.load(SeqCst))
        {
            return;
        }
        if number <= orders.stalled_to.load(SeqCst) {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let garbage = orders.garbage_to.load(SeqCst);
        if down && number <= garbage && spoiled < garbage {
            spoiled = garbage;
            // No UTF-8, no number, no type of an answer.
            if to.write_all(&[0xff, 0xfe, 0xff, 0xc0]).await.is_err() {
                return;
            }
        }
        let Ok(read) = tokio::time::timeout(LOOK, from.read(&mut buffer)).await else { continue };
        let Ok(n @ 1..) = read else { return };
        let delay = orders.delay_ms.load(SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let step = if orders.trickle.load(SeqCst) { 1 } else { n };
        for part in buffer[..n].chunks(step) {
            if to.write_all(part).await.is_err() {
                return;
            }
        }
    }
}
