//! The exchange that both sides read from: trapline's built-in one as a firehose, in a process of its own.

use super::options::Options;
use super::process::Process;
use super::{Fallible, fail};
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A running firehose.
pub struct Exchange {
    process: Process,
    /// `127.0.0.1:PORT`.
    host: String,
}

/// What the control door says about frames.
#[derive(Deserialize)]
pub struct Stamps {
    /// Frames sent so far; the next one's number.
    pub sent: u64,
    /// What is added to a frame's number to make it the bid size.
    pub base: u64,
    /// Microseconds since 1970, from the number that was asked for.
    pub stamps_us: Vec<Option<u64>>,
    /// The newest number of each symbol, where the exchange says so.
    #[serde(default)]
    pub newest: Vec<(String, Option<u64>)>,
}

impl Exchange {
    /// Starts one that fires at `rate` frames per second over all its clients, or as fast as they read.
    pub fn start(options: &Options, trapline: &Path, symbols: &[String], rate: Option<u32>) -> Fallible<Self> {
        let mut command = Command::new(trapline);
        command.args(["exchange", "--listen", "127.0.0.1:0", "--quiet-account", "--symbols", &symbols.join(",")]);
        command.args(["--firehose", &rate.map_or("max".to_owned(), |rate| rate.to_string())]);
        command.stdout(Stdio::piped()).stderr(options.child_stderr());
        let mut process = Process::start("the exchange", command)?;
        let line = process.first_line()?;
        match line.trim().strip_prefix("listening http://") {
            Some(host) => Ok(Self { host: host.to_owned(), process }),
            None => fail(format!("the exchange does not say where it listens, but {:?}", line.trim())),
        }
    }

    /// `ws://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("ws://{}", self.host)
    }

    fn get(&self, path: &str) -> Fallible<String> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => fail(format!("the exchange answers {path} with {:?}", answer.lines().next().unwrap_or_default())),
        }
    }

    /// Frames sent so far.
    pub fn sent(&self) -> Fallible<u64> {
        Ok(self.stamps(0, 0)?.sent)
    }

    pub fn stamps(&self, from: u64, count: u64) -> Fallible<Stamps> {
        Ok(serde_json::from_str(&self.get(&format!("/_exchange/stamps?from={from}&count={count}"))?)?)
    }

    /// Stops the firehose and says what was sent last of each symbol.
    pub fn halt(&self) -> Fallible<Stamps> {
        self.get("/_exchange/market?run=off")?;
        std::thread::sleep(Duration::from_millis(100));
        Ok(serde_json::from_str(&self.get("/_exchange/stamps?count=0&newest=1")?)?)
    }

    pub fn must_live(&mut self) -> Fallible<()> {
        self.process.must_live()
    }

    pub fn stop(self) -> Fallible<()> {
        self.process.stop()
    }
}
