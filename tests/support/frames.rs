//! WebSocket frames by hand: to write what no library writes, and to see where frames begin.

pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;

/// A server's frame (not masked).
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![if fin { 0x80 } else { 0 } | opcode];
    match (payload.len(), u16::try_from(payload.len())) {
        (short @ 0..126, _) => out.push(short as u8),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        (long, Err(_)) => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// A text in one frame.
pub fn text(payload: &str) -> Vec<u8> {
    frame(true, TEXT, payload.as_bytes())
}

/// Finds whole frames in a stream of bytes, of either side.
#[derive(Default)]
pub struct Splitter {
    bytes: Vec<u8>,
}

/// One frame as it came.
pub struct Whole {
    bytes: Vec<u8>,
    payload_at: usize,
    mask: Option<[u8; 4]>,
}

impl Splitter {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, once all of it is there.
    pub fn take(&mut self) -> Option<Whole> {
        let second = *self.bytes.get(1)?;
        let (length, at) = match second & 0x7f {
            126 => (u16::from_be_bytes(*self.bytes.get(2..)?.first_chunk()?) as usize, 4),
            127 => (u64::from_be_bytes(*self.bytes.get(2..)?.first_chunk()?) as usize, 10),
            short => (usize::from(short), 2),
        };
        let mask = if second & 0x80 == 0 { None } else { Some(*self.bytes.get(at..)?.first_chunk::<4>()?) };
        let payload_at = at + mask.map_or(0, |mask| mask.len());
        if self.bytes.len() < payload_at + length {
            return None;
        }
        let rest = self.bytes.split_off(payload_at + length);
        Some(Whole { bytes: std::mem::replace(&mut self.bytes, rest), payload_at, mask })
    }
}

impl Whole {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn opcode(&self) -> u8 {
        self.bytes[0] & 0x0f
    }

    pub fn payload(&self) -> Vec<u8> {
        let mask = self.mask.unwrap_or_default();
        self.bytes[self.payload_at..].iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect()
    }
}
