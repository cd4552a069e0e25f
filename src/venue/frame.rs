//! WebSocket frames by hand: the server's side needs no masking, and a broadcast renders each frame once.

use bytes::{Buf, BytesMut};

pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// Appends one unfragmented server frame.
pub fn put(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

fn put_header(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    if length < 126 {
        out.push(length as u8);
    } else if let Ok(short) = u16::try_from(length) {
        out.push(126);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// Appends a close frame.
pub fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.bytes().take(120));
    put(out, CLOSE, &payload);
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// Why a client's bytes are no WebSocket frames; the connection cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("client frame is not masked")]
    Unmasked,
    #[error("client message is longer than {0} bytes")]
    TooLong(usize),
    #[error("unknown opcode {0}")]
    Opcode(u8),
    #[error("text is not UTF-8")]
    NotUtf8,
}

/// Puts a client's bytes together into messages; one message is at most `limit` bytes.
#[derive(Debug)]
pub struct Assembler {
    limit: usize,
    opcode: u8,
    message: Vec<u8>,
}

impl Assembler {
    pub const fn new(limit: usize) -> Self {
        Self { limit, opcode: 0, message: Vec::new() }
    }

    /// The next whole message in `buffer`, if it has one.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        loop {
            let Some((opcode, last, payload)) = self.frame(buffer)? else { return Ok(None) };
            match opcode {
                PING => return Ok(Some(Incoming::Ping(payload))),
                PONG => return Ok(Some(Incoming::Pong)),
                CLOSE => return Ok(Some(Incoming::Close)),
                0 | TEXT | BINARY => {
                    if opcode != 0 {
                        self.opcode = opcode;
                        self.message.clear();
                    }
                    self.message.extend_from_slice(&payload);
                    if self.message.len() > self.limit {
                        return Err(FrameError::TooLong(self.limit));
                    }
                    if last {
                        let message = std::mem::take(&mut self.message);
                        if self.opcode == BINARY {
                            return Ok(Some(Incoming::Binary));
                        }
                        return String::from_utf8(message)
                            .map(|text| Some(Incoming::Text(text)))
                            .map_err(|_| FrameError::NotUtf8);
                    }
                }
                other => return Err(FrameError::Opcode(other)),
            }
        }
    }

    fn frame(&self, buffer: &mut BytesMut) -> Result<Option<(u8, bool, Vec<u8>)>, FrameError> {
        let [first, second, ..] = buffer[..] else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(FrameError::Unmasked);
        }
        let (length, start) = match second & 0x7f {
            126 => {
                let [_, _, a, b, ..] = buffer[..] else { return Ok(None) };
                (usize::from(u16::from_be_bytes([a, b])), 4)
            }
            127 => {
                let Some(bytes) = buffer.get(2..10) else { return Ok(None) };
                let length = bytes.iter().fold(0_u64, |n, b| (n << 8) | u64::from(*b));
                (usize::try_from(length).unwrap_or(usize::MAX), 10)
            }
            short => (usize::from(short), 2),
        };
        if length > self.limit {
            return Err(FrameError::TooLong(self.limit));
        }
        let Some(mask) = buffer.get(start..start + 4).map(<[u8]>::to_vec) else { return Ok(None) };
        let Some(masked) = buffer.get(start + 4..start + 4 + length) else { return Ok(None) };
        let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        buffer.advance(start + 4 + length);
        Ok(Some((first & 0x0f, first & 0x80 != 0, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let key = [1, 2, 3, 4];
        let mut out = vec![first];
        if payload.len() < 126 {
            out.push(0x80 | payload.len() as u8);
        } else {
            out.push(0x80 | 126);
            out.extend((payload.len() as u16).to_be_bytes());
        }
        out.extend(key);
        out.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
        out
    }

    #[test]
    fn a_message_in_pieces_is_put_together() {
        let mut assembler = Assembler::new(1000);
        let mut all = masked(TEXT, b"hel");
        all.extend(masked(0x80 | PING, b"x"));
        all.extend(masked(0x80, b"lo"));
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for byte in all {
            buffer.extend_from_slice(&[byte]);
            seen.extend(assembler.next(&mut buffer).expect("frames"));
        }
        assert_eq!(seen, [Incoming::Ping(b"x".to_vec()), Incoming::Text("hello".to_owned())]);
    }

    #[test]
    fn limits_are_kept() {
        for (bytes, expected) in [
            (masked(0x81, &[b'a'; 300]), FrameError::TooLong(200)),
            (vec![0x81, 1, b'a'], FrameError::Unmasked),
            (masked(0x83, b""), FrameError::Opcode(3)),
            (masked(0x81, &[0xff]), FrameError::NotUtf8),
        ] {
            assert_eq!(Assembler::new(200).next(&mut BytesMut::from(&bytes[..])), Err(expected));
        }
    }

    #[test]
    fn server_headers_have_three_lengths() {
        for (length, header) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            put(&mut out, TEXT, &vec![b'a'; length]);
            assert_eq!(out.len(), header + length);
        }
    }
}
