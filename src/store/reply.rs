//! Replies out of the bytes that have arrived. `:n` and `+OK`, nearly all of them, are read on the spot; everything
//! else goes through the redis crate's parser, so that errors carry their code.

use bytes::{Buf, BytesMut};
use redis::Value;

/// The longest reply that is believed.
const REPLY_MAX: usize = 16 * 1024 * 1024;
const DEPTH_MAX: usize = 8;

/// One reply.
#[derive(Debug, PartialEq)]
pub enum Reply {
    Int(i64),
    Ok,
    Other(Value),
}

impl Reply {
    pub fn into_value(self) -> Value {
        match self {
            Self::Int(n) => Value::Int(n),
            Self::Ok => Value::Okay,
            Self::Other(value) => value,
        }
    }
}

/// The bytes are not RESP2: the connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak RESP2: is the url a redis server, and is TLS (rediss://) set as it should be?")]
pub struct Garbled;

/// Position after the line that begins at `at`, and the line; `None` if its end has not arrived.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let mut i = at;
    while i + 1 < bytes.len() {
        if bytes[i] == b'\r' && bytes[i + 1] == b'\n' {
            return Some((&bytes[at..i], i + 2));
        }
        i += 1;
    }
    None
}

fn integer(text: &[u8]) -> Result<i64, Garbled> {
    std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or(Garbled)
}

/// Where the reply at `at` ends; `None` while it is incomplete.
fn end(bytes: &[u8], at: usize, depth: usize) -> Result<Option<usize>, Garbled> {
    if at > REPLY_MAX || depth > DEPTH_MAX {
        return Err(Garbled);
    }
    let Some(&kind) = bytes.get(at) else { return Ok(None) };
    if !matches!(kind, b':' | b'+' | b'-' | b'$' | b'*') {
        return Err(Garbled);
    }
    let Some((text, mut next)) = line(bytes, at + 1) else {
        return if bytes.len() - at > REPLY_MAX { Err(Garbled) } else { Ok(None) };
    };
    match kind {
        b'$' => {
            let length = integer(text)?;
            if length > REPLY_MAX as i64 {
                return Err(Garbled);
            }
            if length >= 0 {
                next += length as usize + 2;
            }
            Ok((next <= bytes.len()).then_some(next))
        }
        b'*' => {
            for _ in 0..integer(text)?.max(0) {
                match end(bytes, next, depth + 1)? {
                    Some(after) => next = after,
                    None => return Ok(None),
                }
            }
            Ok(Some(next))
        }
        _ => Ok(Some(next)),
    }
}

/// Takes the next complete reply from the front of `bytes`.
pub fn next(bytes: &mut BytesMut) -> Result<Option<Reply>, Garbled> {
    match bytes.first() {
        None => return Ok(None),
        Some(b':') => {
            let Some((text, after)) = line(bytes, 1) else { return Ok(None) };
            let n = integer(text)?;
            bytes.advance(after);
            return Ok(Some(Reply::Int(n)));
        }
        Some(b'+') if bytes.starts_with(b"+OK\r\n") => {
            bytes.advance(5);
            return Ok(Some(Reply::Ok));
        }
        Some(_) => {}
    }
    let Some(after) = end(bytes, 0, 0)? else { return Ok(None) };
    let value = redis::parse_redis_value(&bytes[..after]).map_err(|_| Garbled)?;
    bytes.advance(after);
    Ok(Some(Reply::Other(value)))
}

/// Text of a bulk or simple string.
pub fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A number as integer reply or as text.
pub fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        other => text(other)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] = b":1\r\n+OK\r\n-WRONGTYPE Operation against\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n$1\r\nx\r\n*1\r\n:7\r\n+QUEUED\r\n*-1\r\n:-5\r\n";

    fn all(mut feed: impl FnMut(&mut BytesMut) -> bool) -> Vec<Reply> {
        let mut bytes = BytesMut::new();
        let mut replies = Vec::new();
        loop {
            let more = feed(&mut bytes);
            while let Some(reply) = next(&mut bytes).unwrap() {
                replies.push(reply);
            }
            if !more {
                assert!(bytes.is_empty());
                return replies;
            }
        }
    }

    fn whole() -> Vec<Reply> {
        all(|b| {
            b.extend_from_slice(STREAM);
            false
        })
    }

    #[test]
    fn replies_come_out_in_order_with_their_codes() {
        let replies = whole();
        assert_eq!(replies.len(), 9);
        assert_eq!((&replies[0], &replies[1], &replies[8]), (&Reply::Int(1), &Reply::Ok, &Reply::Int(-5)));
        let Reply::Other(Value::ServerError(error)) = &replies[2] else { panic!("not an error: {:?}", replies[2]) };
        assert_eq!(error.code(), "WRONGTYPE");
        assert_eq!(replies[3], Reply::Other(Value::BulkString(b"a\r\n".to_vec())));
        assert_eq!(replies[4], Reply::Other(Value::Nil));
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_replies(cuts in proptest::collection::vec(1usize..7, 1..80)) {
            let mut left = STREAM;
            let mut cuts = cuts.into_iter().cycle();
            let replies = all(|b| {
                let n = cuts.next().unwrap().min(left.len());
                b.extend_from_slice(&left[..n]);
                left = &left[n..];
                !left.is_empty()
            });
            prop_assert_eq!(replies, whole());
        }

        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = BytesMut::from(&noise[..]);
            while let Ok(Some(_)) = next(&mut bytes) {}
        }
    }

    #[test]
    fn what_is_not_resp_is_said_to_be_not_resp() {
        for bytes in [&b"HTTP/1.1 400\r\n"[..], b"$99999999999\r\n", b":x\r\n", b"\x15\x03\x01"] {
            assert_eq!(next(&mut BytesMut::from(bytes)), Err(Garbled), "{bytes:?}");
        }
    }
}
