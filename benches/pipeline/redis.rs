//! Redis: a server without persistence for the benchmark, a small blocking client, and a reader of MONITOR.

use super::options::Options;
use super::process::Process;
use super::{Fallible, fail};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A redis-server child in a folder of its own; nothing is saved.
pub struct Server {
    _process: Process,
    _folder: tempfile::TempDir,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Server {
    pub fn start(options: &Options) -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        // Freed at once and taken again: another program may be quicker, which the ping below finds out.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(&options.redis_bin);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--daemonize", "no", "--dir"]).arg(folder.path());
        command.stdout(Stdio::null()).stderr(options.child_stderr());
        let mut process = Process::start("redis-server", command)?;
        let address = format!("127.0.0.1:{port}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while Client::connect(&address).and_then(|mut client| client.ask(&["PING"])).is_err() {
            process.must_live()?;
            if Instant::now() > deadline {
                return fail("redis-server does not answer");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { _process: process, _folder: folder, address })
    }
}

/// A reply, as far as this benchmark needs one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Nothing,
    Number(i64),
    Text(String),
}

/// One connection, one question at a time or many in a pipeline.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: &str) -> Fallible<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    pub fn ask(&mut self, words: &[&str]) -> Fallible<Reply> {
        match self.ask_all(&[words.to_vec()])?.pop() {
            Some(reply) => Ok(reply),
            None => fail("no reply"),
        }
    }

    /// Sends all commands, then reads all replies.
    pub fn ask_all(&mut self, commands: &[Vec<&str>]) -> Fallible<Vec<Reply>> {
        let mut bytes = Vec::new();
        for words in commands {
            write!(bytes, "*{}\r\n", words.len())?;
            for word in words {
                write!(bytes, "${}\r\n{word}\r\n", word.len())?;
            }
        }
        self.reader.get_mut().write_all(&bytes)?;
        commands.iter().map(|_| self.reply()).collect()
    }

    fn line(&mut self) -> Fallible<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return fail("redis closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }

    fn reply(&mut self) -> Fallible<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(1.min(line.len()));
        match kind {
            "+" => Ok(Reply::Text(rest.to_owned())),
            ":" => Ok(Reply::Number(rest.parse()?)),
            "$" if rest == "-1" => Ok(Reply::Nothing),
            "$" => {
                let length: usize = rest.parse()?;
                let mut bytes = vec![0; length + 2];
                std::io::Read::read_exact(&mut self.reader, &mut bytes)?;
                bytes.truncate(length);
                Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
            }
            _ => fail(format!("redis says {line}")),
        }
    }

    /// Processor time of the server and how often HSET ran.
    pub fn usage(&mut self) -> Fallible<(Duration, u64)> {
        let text = |reply: Reply| if let Reply::Text(text) = reply { text } else { String::new() };
        let cpu = text(self.ask(&["INFO", "cpu"])?);
        let commands = text(self.ask(&["INFO", "commandstats"])?);
        let seconds = |name: &str| -> f64 {
            cpu.lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0.0)
        };
        let calls = |name: &str| -> u64 {
            let line = commands.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split(',').next()).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let used = seconds("used_cpu_user:") + seconds("used_cpu_sys:");
        Ok((Duration::from_secs_f64(used), calls("cmdstat_hset:calls=")))
    }

    pub fn version(&mut self) -> Fallible<String> {
        let Reply::Text(text) = self.ask(&["INFO", "server"])? else { return fail("no INFO") };
        let line = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(line.unwrap_or("unknown").trim().to_owned())
    }
}

/// A frame's bid size as seen in a write, and when: microseconds since 1970 by the server's clock.
pub struct Sighting {
    pub size: u64,
    pub at_us: u64,
}

/// Collects sightings until it is told to stop.
pub struct Monitor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Fallible<Vec<Sighting>>>,
}

impl Monitor {
    pub fn start(address: &str) -> Fallible<Self> {
        let mut client = Client::connect(address)?;
        client.ask(&["MONITOR"])?;
        client.reader.get_ref().set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut sightings, mut line) = (Vec::new(), Vec::new());
            while !told.load(Ordering::Relaxed) {
                match client.reader.read_until(b'\n', &mut line) {
                    Ok(0) => return fail("redis ended MONITOR: it was read too slowly"),
                    Ok(_) => {
                        sightings.extend(sighting(&String::from_utf8_lossy(&line)));
                        line.clear();
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(sightings)
        });
        Ok(Self { stop, thread })
    }

    pub fn finish(self) -> Fallible<Vec<Sighting>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| fail("the reader of MONITOR panicked"))
    }
}

/// `1700000000.123456 [0 127.0.0.1:1] "HSET" "floor:BTCUSDT" … "bid_size" "1000000007" …`
fn sighting(line: &str) -> Option<Sighting> {
    let (_, rest) = line.split_once("\"bid_size\" \"")?;
    let size = rest.split('"').next()?.parse().ok()?;
    let (seconds, micros) = line.trim_start_matches('+').split_once(' ')?.0.split_once('.')?;
    Some(Sighting { size, at_us: seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()? })
}
