//! A plain client: knows WebSocket and HTTP, and nothing of the exchange but what the tests say.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use trapline::venue::{Limits, Venue, VenueConfig, start};

/// Long enough for a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a close frame with this code.
    Close(u16),
    /// Without one: what browsers call 1006.
    Abnormal,
}

/// One thing that came.
#[derive(Debug)]
pub enum Came {
    Text(String),
    Ended(Ended),
}

impl Client {
    pub async fn connect(venue: &Venue, path: &str) -> Self {
        Self::try_connect(venue, path).await.expect("connects")
    }

    pub async fn try_connect(venue: &Venue, path: &str) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let (ws, _) = connect_async(format!("ws://{}{path}", venue.addr())).await?;
        Ok(Self { ws })
    }

    pub async fn say(&mut self, text: &str) {
        self.ws.send(Message::text(text)).await.expect("sends");
    }

    pub async fn subscribe(&mut self, arg: &Value) {
        self.say(&json!({"op": "subscribe", "args": [arg]}).to_string()).await;
    }

    /// The next thing that comes.
    pub async fn next(&mut self) -> Came {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.ws.next()).await.expect("something within the time");
            match message {
                Some(Ok(Message::Text(text))) => return Came::Text(text.to_string()),
                Some(Ok(Message::Close(Some(frame)))) => return Came::Ended(Ended::Close(frame.code.into())),
                Some(Ok(Message::Close(None))) => return Came::Ended(Ended::Close(1005)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Came::Ended(Ended::Abnormal),
            }
        }
    }

    pub async fn text(&mut self) -> String {
        match self.next().await {
            Came::Text(text) => text,
            Came::Ended(ended) => panic!("ended: {ended:?}"),
        }
    }

    pub async fn frame(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// The first frame that fits; others are passed over.
    pub async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = self.text().await;
            if let Ok(frame) = serde_json::from_str::<Value>(&text)
                && fits(&frame)
            {
                return frame;
            }
            assert!(tokio::time::Instant::now() < deadline, "no such frame; the last was {text}");
        }
    }

    /// The first text that fits, JSON or not.
    pub async fn until_text(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = self.text().await;
            if fits(&text) {
                return text;
            }
            assert!(tokio::time::Instant::now() < deadline, "no such text; the last was {text}");
        }
    }

    /// Reads on until the end.
    pub async fn end(&mut self) -> Ended {
        loop {
            if let Came::Ended(ended) = self.next().await {
                return ended;
            }
        }
    }

    /// Whether anything comes within `span`.
    pub async fn silent_for(&mut self, span: Duration) -> bool {
        tokio::time::timeout(span, self.ws.next()).await.is_err()
    }
}

/// A seeded market of two symbols without message limits, and whatever else the test wants.
pub async fn venue(change: impl FnOnce(&mut VenueConfig)) -> Venue {
    let limits = Limits { messages_per_second: 1_000, rest_rates: false, ..Limits::default() };
    let mut config = VenueConfig { seed: 7, limits, ..VenueConfig::default() };
    change(&mut config);
    start(config).await.expect("starts")
}

/// The argument of a public subscription.
pub fn public(generation: u8, channel: &str) -> Value {
    let (interval, topic) = match channel.strip_prefix("candle") {
        Some(interval) => (Some(interval), "kline"),
        None if channel == "trade" => (None, "publicTrade"),
        None => (None, channel),
    };
    match (generation, interval) {
        (2, _) => json!({"instType": "USDT-FUTURES", "channel": channel, "instId": "BTCUSDT"}),
        (_, Some(interval)) => {
            json!({"instType": "usdt-futures", "topic": topic, "symbol": "BTCUSDT", "interval": interval})
        }
        _ => json!({"instType": "usdt-futures", "topic": topic, "symbol": "BTCUSDT"}),
    }
}

/// The argument of a private subscription.
pub fn private(generation: u8, channel: &str) -> Value {
    match (generation, channel) {
        (2, "account") => json!({"instType": "USDT-FUTURES", "channel": "account", "coin": "default"}),
        (2, _) => json!({"instType": "USDT-FUTURES", "channel": channel, "instId": "default"}),
        (_, "positions") => json!({"instType": "UTA", "topic": "position"}),
        (_, "orders") => json!({"instType": "UTA", "topic": "order"}),
        _ => json!({"instType": "UTA", "topic": channel}),
    }
}

pub fn door(generation: u8, kind: &str) -> String {
    format!("/v{generation}/ws/{kind}")
}

/// A client that is logged in (to an exchange that lets everybody in).
pub async fn trader(venue: &Venue, generation: u8) -> Client {
    let mut client = Client::connect(venue, &door(generation, "private")).await;
    client.say(r#"{"op":"login","args":[{"apiKey":"k","passphrase":"p","timestamp":"1","sign":"x"}],"url":"x"}"#).await;
    let ack = client.frame().await;
    assert_eq!((ack["event"].as_str(), ack["code"].as_i64()), (Some("login"), Some(0)), "{ack}");
    client
}

/// A plain HTTP answer.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// One HTTP request over its own connection.
pub async fn http(addr: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut all = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("in time").expect("reads");
    let all = String::from_utf8(all).expect("text");
    let (head, body) = all.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("status");
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

pub async fn get(venue: &Venue, path: &str) -> Answer {
    http(venue.addr(), "GET", path, "", "").await
}

/// A command through the control door.
pub async fn command(venue: &Venue, command: &str) -> Value {
    let answer = get(venue, &format!("/_exchange/{command}")).await;
    assert_eq!(answer.status, 200, "{command}: {}", answer.body);
    answer.json()
}
