//! The floor: what a careful programmer writes by hand for this one job. One task, one socket, no actor, no check:
//! read a frame, take seven fields, append one HSET, send when nothing more is there to read, count the replies.

use super::options::FloorRole;
use super::ticker::{Writer, subscriptions};
use super::{Fallible, fail};
use futures_util::{Sink, Stream};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Interval;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Commands without a reply; more are not sent.
const WINDOW: u64 = 8_192;
/// Bytes of commands that may wait for the socket.
const OUT_MAX: usize = 256 * 1024;
/// The exchange takes ten messages a second.
const SUBSCRIBE_GAP: Duration = Duration::from_millis(130);
const PINGS: u32 = 150;

struct Floor {
    socket: WebSocketStream<TcpStream>,
    redis: TcpStream,
    writer: Writer,
    out: Vec<u8>,
    sent: usize,
    replies: Vec<u8>,
    written_total: u64,
    replied_total: u64,
    subscribe: VecDeque<String>,
    turn: Interval,
    turns: u32,
    stop: oneshot::Receiver<()>,
    stopping: bool,
}

/// Runs until standard input ends, which it does when the driver ends.
pub fn run(role: &FloorRole) -> Fallible<()> {
    let (told, stop) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = told.send(());
    });
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let path = role.generation.path();
        let host = role.exchange.trim_start_matches("ws://").trim_end_matches('/');
        let tcp = TcpStream::connect(host).await?;
        tcp.set_nodelay(true)?;
        let (socket, _) = tokio_tungstenite::client_async(format!("ws://{host}{path}"), tcp).await?;
        let redis = TcpStream::connect(&role.redis).await?;
        redis.set_nodelay(true)?;
        let mut floor = Floor {
            socket,
            redis,
            writer: Writer::new(role.generation, &role.symbols),
            out: Vec::with_capacity(2 * OUT_MAX),
            sent: 0,
            replies: vec![0; 64 * 1024],
            written_total: 0,
            replied_total: 0,
            subscribe: subscriptions(role.generation, &role.symbols).into(),
            turn: tokio::time::interval(SUBSCRIBE_GAP),
            turns: 0,
            stop,
            stopping: false,
        };
        poll_fn(|cx| floor.poll(cx)).await?;
        println!("{} written, {} replied", floor.written_total, floor.replied_total);
        Ok(())
    })
}

impl Floor {
    /// Goes round until nothing moves any more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fallible<()>> {
        if !self.stopping && Pin::new(&mut self.stop).poll(cx).is_ready() {
            self.stopping = true;
        }
        while self.turn.poll_tick(cx).is_ready() {
            if let Poll::Ready(Err(error)) = self.speak(cx) {
                return Poll::Ready(Err(error));
            }
        }
        loop {
            let mut moved = false;
            for step in [Self::read_frames, Self::write_commands, Self::read_replies] {
                match step(self, cx) {
                    Ok(did) => moved |= did,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if self.stopping && self.replied_total == self.written_total {
                return Poll::Ready(Ok(()));
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    fn speak(&mut self, cx: &mut Context<'_>) -> Poll<Fallible<()>> {
        self.turns += 1;
        let text = match self.subscribe.pop_front() {
            Some(text) => text,
            None if self.turns.is_multiple_of(PINGS) => "ping".to_owned(),
            None => return Poll::Ready(Ok(())),
        };
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx))?;
        socket.as_mut().start_send(Message::text(text))?;
        ready!(socket.poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    fn read_frames(&mut self, cx: &mut Context<'_>) -> Fallible<bool> {
        let mut moved = false;
        while !self.stopping && self.out.len() < OUT_MAX && self.written_total - self.replied_total < WINDOW {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(Message::Text(text)))) => {
                    moved = true;
                    self.written_total += u64::from(self.writer.write(&text, &mut self.out));
                }
                Poll::Ready(Some(Ok(_))) => moved = true,
                Poll::Ready(Some(Err(error))) => return Err(error.into()),
                Poll::Ready(None) => return fail("the exchange closed the connection"),
            }
        }
        Ok(moved)
    }

    fn write_commands(&mut self, cx: &mut Context<'_>) -> Fallible<bool> {
        let mut moved = false;
        while self.sent < self.out.len() {
            match Pin::new(&mut self.redis).poll_write(cx, &self.out[self.sent..]) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(count) => self.sent += count?,
            }
            moved = true;
        }
        self.out.clear();
        self.sent = 0;
        Ok(moved)
    }

    fn read_replies(&mut self, cx: &mut Context<'_>) -> Fallible<bool> {
        let mut moved = false;
        loop {
            let mut buffer = ReadBuf::new(&mut self.replies);
            match Pin::new(&mut self.redis).poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(result) => result?,
            }
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return fail("redis closed the connection");
            }
            if bytes.contains(&b'-') {
                return fail(format!("redis refuses: {}", String::from_utf8_lossy(bytes)));
            }
            self.replied_total += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
            moved = true;
        }
    }
}
