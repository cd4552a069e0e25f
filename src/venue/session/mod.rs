//! One WebSocket connection: reads requests, writes what the outbox holds, ends when a rule says so.

pub mod login;
pub mod replies;
pub mod request;
pub mod topics;

use super::config::Generation;
use super::core::Shared;
use super::firehose::Hose;
use super::frame::{self, Assembler, Incoming};
use super::hub::{Client, ClientId};
use super::outbox::{End, Next, Outbox};
use bytes::BytesMut;
use request::Conversation;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

/// Which of the four doors a client came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    pub generation: Generation,
    pub private: bool,
}

impl Door {
    pub fn at(path: &str) -> Option<Self> {
        let (generation, private) = match path.trim_end_matches('/') {
            "/v2/ws/public" => (Generation::V2, false),
            "/v2/ws/private" => (Generation::V2, true),
            "/v3/ws/public" => (Generation::V3, false),
            "/v3/ws/private" => (Generation::V3, true),
            _ => return None,
        };
        Some(Self { generation, private })
    }
}

/// The largest message a client may send at all; the protocol's own limit is lower and has an answer.
const MESSAGE_MAX: usize = 64 * 1024;

/// Serves one upgraded connection until it ends.
pub async fn serve(shared: Arc<Shared>, stream: TcpStream, first_bytes: &[u8], door: Door, peer: SocketAddr) {
    let outbox = Arc::new(Outbox::new(shared.config.limits.backlog_bytes));
    let hose = shared.config.firehose.map(|_| Hose::new(door.generation));
    let id = {
        let mut core = shared.core();
        let since_ms = core.clock.now_ms();
        let client = Client {
            outbox: Arc::clone(&outbox),
            generation: door.generation,
            private: door.private,
            peer,
            since_ms,
            owner: None,
            topics: Vec::new(),
        };
        core.hub.join(client)
    };
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let pinged = AtomicU64::new(0);
    let begun = Instant::now();
    let conversation = Conversation::new(Arc::clone(&shared), id, door, hose.clone());
    tokio::select! {
        () = read(reader, first_bytes, conversation, &outbox, &pinged, begun) => {}
        () = write(writer, &outbox, &shared, hose) => {}
        () = lifetime(&outbox, &shared, id, &pinged, begun) => {}
    }
    shared.core().hub.leave(id);
    shared.drained.notify_waiters();
}

async fn read(
    mut reader: OwnedReadHalf,
    first_bytes: &[u8],
    mut conversation: Conversation,
    outbox: &Outbox,
    pinged: &AtomicU64,
    begun: Instant,
) {
    let mut assembler = Assembler::new(MESSAGE_MAX);
    let mut buffer = BytesMut::from(first_bytes);
    loop {
        loop {
            match assembler.next(&mut buffer) {
                Ok(None) => break,
                // A line that is dead in one direction is not answered, whatever arrives on it.
                Ok(Some(_)) if outbox.is_muted() => {}
                Ok(Some(Incoming::Text(text))) => {
                    if text == "ping" {
                        pinged.store(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
                    }
                    conversation.text(&text);
                }
                Ok(Some(Incoming::Ping(payload))) => {
                    let mut bytes = Vec::with_capacity(payload.len() + 10);
                    frame::put(&mut bytes, frame::PONG, &payload);
                    outbox.push(&bytes);
                }
                Ok(Some(Incoming::Binary)) => conversation.unrecognised(),
                Ok(Some(Incoming::Pong)) => {}
                Ok(Some(Incoming::Close)) => outbox.end(End::Close { code: 1000, reason: "" }),
                Err(error) => {
                    tracing::debug!(%error, "client frame refused");
                    outbox.end(End::Close { code: 1002, reason: "protocol error" });
                    buffer.clear();
                }
            }
        }
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// A buffer that grew for one huge frame is not kept.
const KEEP_BUFFER: usize = 1024 * 1024;

async fn write(mut writer: OwnedWriteHalf, outbox: &Outbox, shared: &Shared, hose: Option<Arc<Hose>>) {
    let mut spare = Vec::new();
    loop {
        let next = match &hose {
            Some(hose) => hose.next(outbox, shared, std::mem::take(&mut spare)).await,
            None => outbox.next(std::mem::take(&mut spare)).await,
        };
        match next {
            Next::Write(bytes) => {
                let written = tokio::select! {
                    biased;
                    result = writer.write_all(&bytes) => result.is_ok(),
                    () = outbox.cut.notified() => true,
                };
                shared.drained.notify_waiters();
                if !written {
                    return;
                }
                if bytes.capacity() <= KEEP_BUFFER {
                    spare = bytes;
                }
            }
            Next::End(end) => {
                match end {
                    End::Abrupt | End::FlushThenAbrupt => {}
                    End::Reset => {
                        let _ = writer.as_ref().set_zero_linger();
                    }
                    End::Close { code, reason } => {
                        let mut bytes = Vec::new();
                        frame::put_close(&mut bytes, code, reason);
                        let _ = tokio::time::timeout(Duration::from_secs(1), writer.write_all(&bytes)).await;
                        let _ = writer.shutdown().await;
                        // Gives the client's own close frame time to arrive, so that the end is no reset.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
                return;
            }
        }
    }
}

/// Ends the connection when its time is over: no ping, a day, the exchange stops.
async fn lifetime(outbox: &Outbox, shared: &Shared, id: ClientId, pinged: &AtomicU64, begun: Instant) {
    let limits = shared.config.limits;
    loop {
        let silent_from = begun + Duration::from_millis(pinged.load(Ordering::Relaxed));
        let deadline = (silent_from + limits.ping_kill).min(begun + limits.day);
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                let silent = begun + Duration::from_millis(pinged.load(Ordering::Relaxed)) + limits.ping_kill;
                if Instant::now() >= silent {
                    tracing::debug!(client = id, "no ping: cut");
                    shared.core().hub.met.ping += 1;
                    outbox.end(End::Abrupt);
                } else if Instant::now() >= begun + limits.day {
                    shared.core().hub.met.day += 1;
                    outbox.end(End::Abrupt);
                } else {
                    continue;
                }
            }
            () = shared.stopped() => outbox.end(End::Close { code: 1001, reason: "exchange stops" }),
        }
        // The writer does the rest.
        std::future::pending::<()>().await;
    }
}
