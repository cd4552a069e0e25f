//! A Redis snapshot as a file: its check sums, and its way here through the replication protocol.

use super::UpkeepError;
use super::progress::Progress;
use super::server::{Pipe, Server};
use crate::store::link::LinkError;
use bytes::{Buf, BytesMut};
use ring::digest;
use std::fs::File;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Longest silence while a snapshot comes in; the server sends a newline now and then while it prepares one.
const SILENCE: Duration = Duration::from_secs(120);
const MARK: usize = 40;
const LINE_MAX: usize = 1_024;
const CHUNK: usize = 256 * 1024;

/// The reflected polynomial that Redis sums its snapshots with (CRC-64/Jones).
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

fn crc64(mut crc: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        crc = TABLE[usize::from((crc as u8) ^ byte)] ^ (crc >> 8);
    }
    crc
}

/// What a snapshot says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub bytes: u64,
    pub sha256: String,
    /// Format number: 10 is Redis 7.0, 11 is 7.2, 12 is 7.4.
    pub version: u32,
    /// `None`: written without a check sum.
    pub sum_is_right: Option<bool>,
}

/// Sums over a stream; the check sum covers all but the last eight bytes.
struct Sums {
    sha: digest::Context,
    crc: u64,
    tail: Vec<u8>,
    head: Vec<u8>,
    bytes: u64,
}

impl Sums {
    fn new() -> Self {
        Self { sha: digest::Context::new(&digest::SHA256), crc: 0, tail: Vec::new(), head: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.sha.update(bytes);
        self.bytes += bytes.len() as u64;
        let room = 9usize.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend_from_slice(bytes);
        let sure = self.tail.len().saturating_sub(8);
        self.crc = crc64(self.crc, &self.tail[..sure]);
        self.tail.drain(..sure);
    }

    fn facts(self) -> Facts {
        let sha256 = self.sha.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let version =
            self.head.strip_prefix(b"REDIS").and_then(|v| std::str::from_utf8(v).ok()?.parse().ok()).unwrap_or(0);
        let stored = <[u8; 8]>::try_from(self.tail.as_slice()).map(u64::from_le_bytes);
        let sum_is_right = match stored {
            // Written so where the server is told not to sum; before version 5 there was none.
            Ok(0) => None,
            Ok(stored) => Some(stored == self.crc),
            Err(_) => Some(false),
        };
        Facts { bytes: self.bytes, sha256, version, sum_is_right }
    }
}

/// Reads a whole file.
pub fn facts(path: &Path) -> Result<Facts, UpkeepError> {
    let mut file = File::open(path).map_err(UpkeepError::file(path))?;
    copy(&mut file, path, None, &mut Progress::silent("bytes"))
}

/// Copies an open snapshot to a new file of mode 0600, on disk when this returns.
pub fn copy(from: &mut File, shown: &Path, to: Option<&Path>, progress: &mut Progress) -> Result<Facts, UpkeepError> {
    let mut out = to.map(create).transpose()?;
    let mut sums = Sums::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = from.read(&mut buffer).map_err(UpkeepError::file(shown))?;
        if count == 0 {
            break;
        }
        sums.add(&buffer[..count]);
        progress.add(count as u64);
        if let (Some(file), Some(path)) = (&mut out, to) {
            file.write_all(&buffer[..count]).map_err(UpkeepError::file(path))?;
        }
    }
    if let (Some(file), Some(path)) = (out, to) {
        file.sync_all().map_err(UpkeepError::file(path))?;
    }
    progress.end();
    Ok(sums.facts())
}

/// A new file that only its owner reads.
pub(super) fn create(path: &Path) -> Result<File, UpkeepError> {
    File::options().write(true).create_new(true).mode(0o600).open(path).map_err(UpkeepError::file(path))
}

/// Asks the server for a snapshot as a replica would, and writes it to a new file. The connection is of no use
/// afterwards.
pub async fn fetch(mut server: Server, to: &Path, progress: &mut Progress) -> Result<Facts, UpkeepError> {
    let shown = server.shown.clone();
    let broken = |error: LinkError| UpkeepError::Link { target: shown.clone(), error };
    let mut pipe = Pipe::new();
    // Redis 7: the snapshot and nothing after it. Older ones refuse the word and go on; we hang up in time.
    pipe.add(&["REPLCONF", "rdb-only", "1"]);
    pipe.add(&["REPLCONF", "capa", "eof"]);
    server.run(pipe).await?;
    let link = server.link();
    let request = b"*1\r\n$4\r\nSYNC\r\n";
    let mut sent = 0;
    poll_fn(|cx| link.poll_send(cx, request, &mut sent)).await.map_err(&broken)?;
    let mut inbox = BytesMut::new();
    let mut form = None;
    let mut file = create(to)?;
    let mut sums = Sums::new();
    loop {
        let filled = tokio::time::timeout(SILENCE, poll_fn(|cx| link.poll_fill(cx))).await;
        filled.map_err(|_| broken(LinkError::Timeout))?.map_err(&broken)?;
        inbox.extend_from_slice(&link.take_raw());
        if form.is_none() {
            form = preamble(&mut inbox)?;
            if let Some(Form::Sized(total)) = form {
                progress.of(total);
            }
        }
        let (ready, ended) = match &form {
            None => continue,
            Some(Form::Sized(total)) => {
                let left = usize::try_from(total - sums.bytes).unwrap_or(usize::MAX);
                let ready = inbox.len().min(left);
                (ready, ready == left)
            }
            // The mark may be cut in two, so that many bytes wait.
            Some(Form::Marked(mark)) if inbox.ends_with(mark) => (inbox.len() - MARK, true),
            Some(Form::Marked(_)) => (inbox.len().saturating_sub(MARK), false),
        };
        let bytes = inbox.split_to(ready);
        sums.add(&bytes);
        file.write_all(&bytes).map_err(UpkeepError::file(to))?;
        progress.add(ready as u64);
        if ended {
            file.sync_all().map_err(UpkeepError::file(to))?;
            progress.end();
            return Ok(sums.facts());
        }
    }
}

enum Form {
    Sized(u64),
    Marked(Vec<u8>),
}

/// `$<length>` or `$EOF:<mark>`, after any number of newlines; `None` until its line has arrived.
fn preamble(inbox: &mut BytesMut) -> Result<Option<Form>, UpkeepError> {
    while inbox.first() == Some(&b'\n') {
        inbox.advance(1);
    }
    let Some(end) = inbox.iter().position(|b| *b == b'\n') else {
        return if inbox.len() > LINE_MAX { Err(UpkeepError::Odd("SYNC")) } else { Ok(None) };
    };
    let line = inbox.split_to(end + 1);
    let line = String::from_utf8_lossy(&line);
    let line = line.trim_end();
    if let Some(refusal) = line.strip_prefix('-') {
        let (code, detail) = refusal.split_once(' ').unwrap_or((refusal, ""));
        return Err(UpkeepError::Refused {
            command: "SYNC".to_owned(),
            code: code.to_owned(),
            detail: detail.to_owned(),
        });
    }
    let form = match line.strip_prefix("$EOF:") {
        Some(mark) if mark.len() == MARK => Some(Form::Marked(mark.as_bytes().to_vec())),
        Some(_) => None,
        None => line.strip_prefix('$').and_then(|n| n.parse().ok()).map(Form::Sized),
    };
    form.map(Some).ok_or(UpkeepError::Odd("SYNC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_one_that_redis_writes() {
        // The test vector in Redis' own crc64.c.
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn facts_do_not_depend_on_how_the_bytes_arrive() {
        let mut whole = b"REDIS0010 some content".to_vec();
        let sum = crc64(0, &whole);
        whole.extend_from_slice(&sum.to_le_bytes());
        let expect = |facts: &Facts| {
            assert_eq!((facts.version, facts.sum_is_right, facts.bytes), (10, Some(true), whole.len() as u64));
        };
        for size in [1, 3, 7, 8, 9, 64] {
            let mut sums = Sums::new();
            whole.chunks(size).for_each(|c| sums.add(c));
            expect(&sums.facts());
        }
        let mut bad = whole.clone();
        bad[12] ^= 1;
        let mut sums = Sums::new();
        sums.add(&bad);
        assert_eq!(sums.facts().sum_is_right, Some(false));
        let mut sums = Sums::new();
        sums.add(b"REDIS");
        assert_eq!(sums.facts().sum_is_right, Some(false), "too short to be a snapshot");
    }

    #[test]
    fn the_first_line_of_a_snapshot_is_read_in_each_form() {
        let read = |text: &str| preamble(&mut BytesMut::from(text));
        assert!(matches!(read("\n\n$88\r\nREDIS"), Ok(Some(Form::Sized(88)))));
        let mark = "0123456789".repeat(4);
        assert!(matches!(read(&format!("$EOF:{mark}\r\n")), Ok(Some(Form::Marked(m))) if m == mark.as_bytes()));
        assert!(matches!(read("\n$8"), Ok(None)));
        assert!(matches!(read("-NOPERM no\r\n"), Err(UpkeepError::Refused { code, .. }) if code == "NOPERM"));
        assert!(matches!(read("HTTP/1.1 400\r\n"), Err(UpkeepError::Odd(_))));
    }
}
