//! An exchange that says and does what a test wants, and an outlet that remembers.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::cell::Cell;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use trapline::clock::Clock;
use trapline::domain::refusal::{Refusal, Refused};
use trapline::domain::report::{Batch, Report};
use trapline::domain::symbol::Symbols;
use trapline::exchange::bitget::consts::Generation;
use trapline::exchange::bitget::subscribe::Stream;
use trapline::exchange::session::{Connections, FeedNotice, FeedSettings, Gone, Heard, Outlet, Plan};
use trapline::exchange::skew::Skew;

/// Long enough for a machine under load; no test waits for it unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    /// Scripts that panicked: an assertion of the exchange's end did not hold.
    static BROKEN: Cell<usize> = const { Cell::new(0) };
}

/// Runs a test on one thread, as a room does, and holds the scripts to their assertions.
pub fn alone(test: impl Future<Output = ()>) {
    BROKEN.set(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let whole = async {
        test.await;
        // One turn for the watchers of the scripts.
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    LocalSet::new().block_on(&runtime, whole);
    assert_eq!(BROKEN.get(), 0, "an assertion of the scripted exchange failed, see above");
}

/// Waits until `found` says so.
pub async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert_eq!(BROKEN.get(), 0, "an assertion of the scripted exchange failed while waiting for: {what}");
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The exchange's end of one connection.
pub struct Peer {
    ws: WebSocketStream<TcpStream>,
    /// Counted from 1.
    pub number: usize,
}

impl Peer {
    pub async fn say(&mut self, text: impl Into<String>) {
        let _ = self.ws.send(Message::text(text.into())).await;
    }

    pub async fn say_binary(&mut self, bytes: Vec<u8>) {
        let _ = self.ws.send(Message::binary(bytes)).await;
    }

    /// The next text frame; `None` at the end of the connection. Where `pong` is true pings are answered
    /// and not returned.
    pub async fn hear(&mut self, pong: bool) -> Option<String> {
        loop {
            match self.ws.next().await? {
                Ok(Message::Text(text)) if text.as_str() == "ping" && pong => self.say("pong").await,
                Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn hear_json(&mut self) -> Option<Value> {
        let text = self.hear(true).await?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// Acknowledges every argument of a subscribe frame.
    pub async fn acknowledge(&mut self, frame: &Value) {
        for arg in frame["args"].as_array().unwrap() {
            self.say(serde_json::json!({"event": "subscribe", "arg": arg}).to_string()).await;
        }
    }

    /// Answers pings and whatever comes until the client hangs up.
    pub async fn stay(&mut self) {
        while self.hear(true).await.is_some() {}
    }

    /// Ends without a close frame.
    pub fn vanish(self) {
        drop(self.ws);
    }
}

/// Serves every connection with `script`; the URL of the socket.
pub async fn exchange<F, Fut>(script: F) -> String
where
    F: Fn(Peer) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::task::spawn_local(async move {
        for number in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(ws) = tokio_tungstenite::accept_async(stream).await {
                let scene = tokio::task::spawn_local(script(Peer { ws, number }));
                tokio::task::spawn_local(async move {
                    if scene.await.is_err_and(|error| error.is_panic()) {
                        BROKEN.set(BROKEN.get() + 1);
                    }
                });
            }
        }
    });
    url
}

/// A REST server: `answer` gets the request's head and says status and body.
pub async fn rest_server(answer: impl Fn(&str) -> (u16, String) + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let (status, body) = answer(&String::from_utf8_lossy(&head));
            if status == 0 {
                // Never answered.
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(PATIENCE).await;
                    drop(stream);
                });
                continue;
            }
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(body.as_bytes()).await;
        }
    });
    base
}

/// What an outlet was given, in order.
#[derive(Clone, Debug)]
pub enum Seen {
    Batch(Batch),
    Refused(Vec<Refused>),
    Notice(FeedNotice),
}

#[derive(Clone, Default)]
pub struct Witness(Arc<Mutex<Vec<Seen>>>);

impl Witness {
    pub fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    pub fn notices(&self) -> Vec<FeedNotice> {
        let notice = |seen| if let Seen::Notice(notice) = seen { Some(notice) } else { None };
        self.all().into_iter().filter_map(notice).collect()
    }

    pub fn batches(&self) -> Vec<Batch> {
        self.all()
            .into_iter()
            .filter_map(|seen| if let Seen::Batch(batch) = seen { Some(batch) } else { None })
            .collect()
    }

    pub fn reports(&self) -> Vec<Report> {
        self.batches().into_iter().flat_map(|batch| batch.reports.to_vec()).collect()
    }

    pub fn refusals(&self) -> Vec<Refusal> {
        let refused = |seen| if let Seen::Refused(refused) = seen { refused } else { Vec::new() };
        self.all().into_iter().flat_map(refused).map(|refused| refused.refusal).collect()
    }

    /// The first connection that became ready.
    pub fn ready(&self) -> Option<u32> {
        self.notices()
            .iter()
            .find_map(|n| if let FeedNotice::Ready { connection } = n { Some(*connection) } else { None })
    }

    fn note(&self, seen: Seen) -> Result<(), Gone> {
        self.0.lock().unwrap().push(seen);
        Ok(())
    }
}

impl Outlet for Witness {
    fn alive(&self) {}

    async fn batch(&mut self, batch: Batch) -> Result<(), Gone> {
        self.note(Seen::Batch(batch))
    }

    async fn refused(&mut self, refused: Vec<Refused>) -> Result<(), Gone> {
        self.note(Seen::Refused(refused))
    }

    async fn notice(&mut self, notice: FeedNotice) -> Result<(), Gone> {
        self.note(Seen::Notice(notice))
    }
}

/// A plan of the classic generation with deadlines that fit a test: long ones, of which each test shortens its own.
pub fn plan(url: &str, symbols: &Arc<Symbols>, streams: Vec<Stream>) -> Plan {
    Plan {
        url: url.to_owned(),
        generation: Generation::Classic,
        symbols: symbols.clone(),
        streams,
        credential: None,
        connections: Connections::default(),
        settings: FeedSettings {
            subscribe_gap: Duration::ZERO,
            messages_per_second: 1_000,
            first_data: Duration::from_secs(60),
            silence: Duration::from_secs(60),
            reconnect_min: Duration::from_millis(5),
            reconnect_max: Duration::from_millis(20),
            ..FeedSettings::default()
        },
        clock: Clock::system(),
        skew: Skew::default(),
        heard: Heard::default(),
        seed: 1,
    }
}

pub fn ticker(symbol: &str, price: u32) -> String {
    format!(
        r#"{{"action":"snapshot","arg":{{"instType":"USDT-FUTURES","channel":"ticker","instId":"{symbol}"}},"data":[{{"instId":"{symbol}","lastPr":"{price}","ts":"1790133569755"}}],"ts":1790133569757}}"#
    )
}

pub fn trade(symbol: &str, id: u64) -> String {
    format!(
        r#"{{"action":"update","arg":{{"instType":"USDT-FUTURES","channel":"trade","instId":"{symbol}"}},"data":[{{"ts":"1790133569755","price":"1","size":"1","side":"buy","tradeId":"{id}"}}],"ts":1790133569757}}"#
    )
}
