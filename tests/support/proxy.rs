//! A TCP proxy between the daemon and its exchange. It knows which connection is which (public socket, private
//! socket, REST), and where frames begin, so that it can stall, cut, reset, trickle, delay, reshape and add to what
//! passes through it, on one kind of connection and not on the others.

use super::frames::{CLOSE, PING, Splitter, TEXT, frame};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// What a connection is for, by the path of its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Public,
    Private,
    Rest,
}

pub const ALL: &[Kind] = &[Kind::Public, Kind::Private, Kind::Rest];
pub const SOCKETS: &[Kind] = &[Kind::Public, Kind::Private];

/// How the exchange's frames reach the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    #[default]
    Whole,
    /// One byte a write, each in a segment of its own.
    Trickle,
    /// Each text in pieces, with a ping between them.
    Fragments,
    /// What comes within this many ms in one write.
    Together(u64),
}

#[derive(Default)]
struct Link {
    kind: OnceLock<Kind>,
    stalled: AtomicBool,
    cut: AtomicBool,
    reset: AtomicBool,
    over: AtomicBool,
    /// Bytes to put between two frames of the exchange.
    inject: Mutex<Vec<u8>>,
}

impl Link {
    fn is(&self, kinds: &[Kind]) -> bool {
        self.kind.get().is_some_and(|kind| kinds.contains(kind))
    }

    fn ends(&self, orders: &Orders) -> bool {
        [&self.cut, &self.reset, &self.over, &orders.over].iter().any(|flag| flag.load(SeqCst))
    }
}

#[derive(Default)]
struct Orders {
    links: Mutex<Vec<Arc<Link>>>,
    shape: Mutex<Shape>,
    delay_ms: AtomicU64,
    /// Requests of these kinds are read and never answered.
    mute: Mutex<Vec<Kind>>,
    /// Answers to these kinds come one byte each 50 ms up to the end of their head.
    loris: Mutex<Vec<Kind>>,
    /// What a request is answered with instead of the exchange's own words; then the connection ends.
    answers: Mutex<Vec<(Kind, String)>>,
    /// A header line that is added to the exchange's answer to a handshake.
    offer: Mutex<Option<String>>,
    heads: Mutex<Vec<(Kind, String)>>,
    said: Mutex<Vec<(Kind, String)>>,
    closes: Mutex<Vec<u16>>,
    over: AtomicBool,
}

/// What is remembered of what clients said.
const REMEMBERED: usize = 4_096;

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
                if shared.over.load(SeqCst) {
                    return;
                }
                let (link, shared) = (Arc::new(Link::default()), Arc::clone(&shared));
                shared.links.lock().unwrap().push(Arc::clone(&link));
                std::thread::spawn(move || serve(client, upstream, &link, &shared));
            }
        });
        Self { port, orders }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections of these kinds there were.
    pub fn connections(&self, kinds: &[Kind]) -> usize {
        self.orders.links.lock().unwrap().iter().filter(|link| link.is(kinds)).count()
    }

    /// How many of them are open.
    pub fn open(&self, kinds: &[Kind]) -> usize {
        let links = self.orders.links.lock().unwrap();
        links.iter().filter(|link| link.is(kinds) && !link.over.load(SeqCst)).count()
    }

    /// Half-open: the connections of now stay, nothing comes through. New ones are well.
    pub fn stall(&self, kinds: &[Kind]) {
        self.each(kinds, |link| link.stalled.store(true, SeqCst));
    }

    /// Ends the connections of now without a word of the protocol.
    pub fn cut(&self, kinds: &[Kind]) {
        self.each(kinds, |link| link.cut.store(true, SeqCst));
    }

    /// The same by a TCP reset.
    pub fn reset(&self, kinds: &[Kind]) {
        self.each(kinds, |link| link.reset.store(true, SeqCst));
    }

    /// Puts bytes between two frames of the exchange.
    pub fn inject(&self, kinds: &[Kind], bytes: &[u8]) {
        self.each(kinds, |link| link.inject.lock().unwrap().extend_from_slice(bytes));
    }

    pub fn shape(&self, shape: Shape) {
        *self.orders.shape.lock().unwrap() = shape;
    }

    pub fn delay(&self, ms: u64) {
        self.orders.delay_ms.store(ms, SeqCst);
    }

    pub fn mute(&self, kinds: &[Kind]) {
        *self.orders.mute.lock().unwrap() = kinds.to_vec();
    }

    pub fn loris(&self, kinds: &[Kind]) {
        *self.orders.loris.lock().unwrap() = kinds.to_vec();
    }

    /// Answers new requests of these kinds by itself; the connections of now are cut. `None`: no more.
    pub fn answer(&self, kinds: &[Kind], text: Option<&str>) {
        let answers = text.map(|text| kinds.iter().map(|&kind| (kind, text.to_owned())).collect());
        *self.orders.answers.lock().unwrap() = answers.unwrap_or_default();
        if text.is_some() {
            self.cut(kinds);
        }
    }

    /// A header line that the exchange's answers to handshakes get besides.
    pub fn offer(&self, line: Option<&str>) {
        *self.orders.offer.lock().unwrap() = line.map(str::to_owned);
    }

    /// Heads of the requests, oldest first.
    pub fn heads(&self, kinds: &[Kind]) -> Vec<String> {
        of(&self.orders.heads, kinds)
    }

    /// Texts that clients sent over their sockets, oldest first.
    pub fn said(&self, kinds: &[Kind]) -> Vec<String> {
        of(&self.orders.said, kinds)
    }

    /// Codes of the close frames that clients sent.
    pub fn closes(&self) -> Vec<u16> {
        self.orders.closes.lock().unwrap().clone()
    }

    fn each(&self, kinds: &[Kind], order: impl Fn(&Link)) {
        self.orders.links.lock().unwrap().iter().filter(|link| link.is(kinds)).for_each(|link| order(link));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.over.store(true, SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn of(list: &Mutex<Vec<(Kind, String)>>, kinds: &[Kind]) -> Vec<String> {
    let list = list.lock().unwrap();
    list.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, text)| text.clone()).collect()
}

fn note(list: &Mutex<Vec<(Kind, String)>>, kind: Kind, text: String) {
    let mut list = list.lock().unwrap();
    if list.len() < REMEMBERED {
        list.push((kind, text));
    }
}

/// One connection, to its end.
fn serve(mut client: TcpStream, upstream: u16, link: &Arc<Link>, orders: &Arc<Orders>) {
    let _ = client.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = client.set_nodelay(true);
    exchange_words(&mut client, upstream, link, orders);
    link.over.store(true, SeqCst);
}

fn exchange_words(client: &mut TcpStream, upstream: u16, link: &Arc<Link>, orders: &Arc<Orders>) {
    let Some(head) = read_head(client, link, orders) else { return };
    let text = String::from_utf8_lossy(&head).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let kind = match (path.contains("/ws/"), path.ends_with("/private")) {
        (true, true) => Kind::Private,
        (true, false) => Kind::Public,
        _ => Kind::Rest,
    };
    let _ = link.kind.set(kind);
    note(&orders.heads, kind, text);
    while orders.mute.lock().unwrap().contains(&kind) {
        if link.ends(orders) || is_gone(client) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = orders.answers.lock().unwrap().iter().find(|(k, _)| *k == kind).map(|(_, text)| text.clone());
    if let Some(answer) = answer {
        let _ = client.write_all(answer.as_bytes());
        let _ = client.shutdown(Shutdown::Both);
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)) else { return };
    let _ = server.set_nodelay(true);
    let _ = server.set_read_timeout(Some(Duration::from_millis(20)));
    if server.write_all(&head).is_err() {
        return;
    }
    let (Ok(from), Ok(to)) = (server.try_clone(), client.try_clone()) else { return };
    let back = {
        let (link, orders) = (Arc::clone(link), Arc::clone(orders));
        std::thread::spawn(move || from_the_exchange(from, to, kind, &link, &orders))
    };
    from_the_client(client, &mut server, kind, link, orders);
    if link.reset.load(SeqCst) {
        let _ = back.join();
        reset(client);
    } else {
        let _ = client.shutdown(Shutdown::Both);
    }
    let _ = server.shutdown(Shutdown::Both);
}

/// With nothing to linger for, closing resets.
fn reset(stream: &TcpStream) {
    let Ok(stream) = stream.try_clone() else { return };
    let _ = stream.set_nonblocking(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let _inside = runtime.enter();
    if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
        let _ = stream.set_zero_linger();
    }
}

fn is_gone(stream: &TcpStream) -> bool {
    matches!(stream.peek(&mut [0]), Ok(0)) || matches!(stream.peek(&mut [0]), Err(e) if !is_quiet(&e))
}

fn is_quiet(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Reads what is there: `None` at the end, nothing while it is quiet.
fn read<'b>(from: &mut TcpStream, buffer: &'b mut [u8], link: &Link, orders: &Orders) -> Option<&'b [u8]> {
    if link.ends(orders) {
        return None;
    }
    if link.stalled.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
        return Some(&[]);
    }
    match from.read(buffer) {
        Ok(0) => None,
        Ok(n) => Some(&buffer[..n]),
        Err(error) if is_quiet(&error) => Some(&[]),
        Err(_) => None,
    }
}

fn read_head(client: &mut TcpStream, link: &Link, orders: &Orders) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        head.extend_from_slice(read(client, &mut byte, link, orders)?);
    }
    Some(head)
}

fn from_the_client(client: &mut TcpStream, server: &mut TcpStream, kind: Kind, link: &Link, orders: &Orders) {
    let (mut buffer, mut splitter) = ([0; 16_384], Splitter::default());
    while let Some(bytes) = read(client, &mut buffer, link, orders) {
        if bytes.is_empty() {
            continue;
        }
        if kind != Kind::Rest {
            splitter.feed(bytes);
            while let Some(whole) = splitter.take() {
                match whole.opcode() {
                    TEXT => note(&orders.said, kind, String::from_utf8_lossy(&whole.payload()).into_owned()),
                    CLOSE => {
                        let code = whole.payload().first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                        orders.closes.lock().unwrap().push(code);
                    }
                    _ => {}
                }
            }
        }
        if server.write_all(bytes).is_err() {
            return;
        }
    }
}

fn from_the_exchange(mut server: TcpStream, mut client: TcpStream, kind: Kind, link: &Link, orders: &Orders) {
    let (mut buffer, mut splitter) = ([0; 16_384], Splitter::default());
    // A socket's answer has a head; frames follow it. What REST says passes as it is.
    let mut head = (kind != Kind::Rest).then(Vec::new);
    let (mut together, mut since) = (Vec::new(), Instant::now());
    while let Some(bytes) = read(&mut server, &mut buffer, link, orders) {
        let delay_ms = orders.delay_ms.load(SeqCst);
        if delay_ms > 0 && !bytes.is_empty() {
            std::thread::sleep(Duration::from_millis(delay_ms));
        }
        let mut out = Vec::new();
        let mut shape = *orders.shape.lock().unwrap();
        match &mut head {
            _ if kind == Kind::Rest => out.extend_from_slice(bytes),
            Some(begun) => {
                begun.extend_from_slice(bytes);
                let Some(end) = begun.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else { continue };
                splitter.feed(&begun.split_off(end));
                out.append(begun);
                head = None;
                if let Some(line) = &*orders.offer.lock().unwrap() {
                    out.truncate(out.len() - 2);
                    out.extend_from_slice(format!("{line}\r\n\r\n").as_bytes());
                }
                if orders.loris.lock().unwrap().contains(&kind) {
                    for byte in out {
                        std::thread::sleep(Duration::from_millis(50));
                        if link.ends(orders) || client.write_all(&[byte]).is_err() {
                            return link.cut.store(true, SeqCst);
                        }
                    }
                    continue;
                }
                shape = Shape::Whole;
            }
            None => splitter.feed(bytes),
        }
        while let Some(whole) = splitter.take() {
            if shape == Shape::Fragments && whole.opcode() == TEXT {
                fragments(&whole.payload(), &mut out);
            } else {
                out.extend_from_slice(whole.bytes());
            }
        }
        if head.is_none() {
            out.append(&mut link.inject.lock().unwrap());
        }
        if let Shape::Together(ms) = shape {
            together.append(&mut out);
            if since.elapsed() < Duration::from_millis(ms) {
                continue;
            }
            since = Instant::now();
        }
        together.append(&mut out);
        let step = if shape == Shape::Trickle { 1 } else { together.len().max(1) };
        if together.chunks(step).any(|part| client.write_all(part).is_err()) {
            break;
        }
        together.clear();
    }
    // The other direction ends with this one.
    link.over.store(true, SeqCst);
}

/// A text in up to four pieces, a ping between each two of them.
fn fragments(payload: &[u8], out: &mut Vec<u8>) {
    let step = payload.len().div_ceil(4).max(1);
    let pieces: Vec<&[u8]> = payload.chunks(step).collect();
    for (n, piece) in pieces.iter().enumerate() {
        let opcode = if n == 0 { TEXT } else { 0 };
        out.extend(frame(n + 1 == pieces.len(), opcode, piece));
        if n + 1 < pieces.len() {
            out.extend(frame(true, PING, b"between"));
        }
    }
    if pieces.is_empty() {
        out.extend(frame(true, TEXT, b""));
    }
}
