//! One measurement: start everything, wait until every symbol is written, look twice, hold the end to the truth.

use super::daemon::{Client, Scene};
use super::exchange::{Exchange, Stamps};
use super::options::{Case, Options};
use super::redis::{self, Monitor, Reply};
use super::{Fallible, fail, floor_key};
use std::path::Path;
use std::time::{Duration, Instant};

/// Time for everything to be subscribed and written once.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Time for the last frames to arrive in Redis once the exchange is silent.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// What stays the same over all measurements.
pub struct Bench<'a> {
    pub options: &'a Options,
    pub trapline: &'a Path,
    /// `HOST:PORT`.
    pub redis: &'a str,
    pub redis_is_ours: bool,
}

/// Figures of one round of one program.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Frames per second; HSETs per second at a given exchange.
    pub frames_per_s: f64,
    /// Processor time of the program, microseconds per frame.
    pub client_us: f64,
    /// Processor time of Redis, microseconds per frame.
    pub redis_us: f64,
    pub hsets_per_frame: f64,
    pub rss: u64,
    pub rss_peak: u64,
    pub threads: usize,
    /// Symbols whose newest frame is not what Redis holds at the end; `None` where that cannot be known.
    pub behind: Option<usize>,
}

/// Figures of one round at a fixed rate.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// From the exchange's send to the write in Redis, microseconds.
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub client_us: f64,
    /// Frames that were never seen in a write.
    pub unseen: usize,
}

struct Sample {
    at: Instant,
    frames: u64,
    hsets: u64,
    client: Duration,
    redis: Duration,
}

struct Stage<'a> {
    case: Case,
    exchange: Option<Exchange>,
    client: Client,
    redis: redis::Client,
    symbols: &'a [String],
}

impl Bench<'_> {
    fn stage<'a>(&self, case: Case, symbols: &'a [String], rate: Option<u32>) -> Fallible<Stage<'a>> {
        let mut redis = redis::Client::connect(self.redis)?;
        if self.redis_is_ours {
            redis.ask(&["FLUSHALL"])?;
        } else {
            let keys: Vec<_> = symbols.iter().flat_map(|name| Case::ALL.map(|case| key(case, name))).collect();
            let mut command = vec!["DEL"];
            command.extend(keys.iter().map(String::as_str));
            redis.ask(&command)?;
        }
        let exchange = match self.options.exchange {
            Some(_) => None,
            None => Some(Exchange::start(self.options, self.trapline, symbols, rate)?),
        };
        let url = exchange.as_ref().map(Exchange::url).or_else(|| self.options.exchange.clone()).unwrap_or_default();
        let scene = Scene { options: self.options, trapline: self.trapline, exchange: url, redis: self.redis, symbols };
        let client = Client::start(case, &scene)?;
        let mut stage = Stage { case, exchange, client, redis, symbols };
        stage.wait_for_all()?;
        std::thread::sleep(Duration::from_secs_f64(self.options.warmup()));
        Ok(stage)
    }

    /// As fast as it goes.
    pub fn throughput(&self, case: Case, symbols: &[String]) -> Fallible<Throughput> {
        let mut stage = self.stage(case, symbols, None)?;
        let before = stage.sample()?;
        std::thread::sleep(Duration::from_secs_f64(self.options.seconds()));
        let after = stage.sample()?;
        stage.must_live()?;
        let (rss, rss_peak) = stage.client.process.memory()?;
        let threads = stage.client.process.threads();
        let behind = stage.behind()?;
        stage.end()?;
        let frames = (after.frames - before.frames) as f64;
        if frames == 0.0 {
            return fail(format!("{}: no frame in {} s", case.label(), self.options.seconds()));
        }
        Ok(Throughput {
            frames_per_s: frames / (after.at - before.at).as_secs_f64(),
            client_us: (after.client - before.client).as_secs_f64() * 1e6 / frames,
            redis_us: (after.redis - before.redis).as_secs_f64() * 1e6 / frames,
            hsets_per_frame: (after.hsets - before.hsets) as f64 / frames,
            rss,
            rss_peak,
            threads,
            behind,
        })
    }

    /// At a fixed rate, with MONITOR looking on.
    pub fn latency(&self, case: Case, symbols: &[String]) -> Fallible<Latency> {
        let mut stage = self.stage(case, symbols, Some(self.options.latency_rate))?;
        let monitor = Monitor::start(self.redis)?;
        std::thread::sleep(Duration::from_millis(200));
        let before = stage.sample()?;
        std::thread::sleep(Duration::from_secs_f64(self.options.seconds()));
        let after = stage.sample()?;
        std::thread::sleep(Duration::from_millis(500));
        let sightings = monitor.finish()?;
        stage.must_live()?;
        let (from, until) = (before.frames, after.frames);
        let stamps = stage.stamps(from, until - from)?;
        stage.end()?;

        let mut first_seen = vec![None; (until - from) as usize];
        for seen in sightings {
            let number = seen.size.checked_sub(stamps.base + from);
            let slot = number.and_then(|number| first_seen.get_mut(number as usize));
            if let Some(slot) = slot {
                *slot = Some(slot.map_or(seen.at_us, |at: u64| at.min(seen.at_us)));
            }
        }
        let pairs = stamps.stamps_us.iter().zip(&first_seen);
        let mut spans: Vec<f64> =
            pairs.filter_map(|(sent, seen)| Some(seen.as_ref()?.saturating_sub(*sent.as_ref()?) as f64)).collect();
        spans.sort_by(f64::total_cmp);
        if spans.is_empty() {
            return fail(format!("{}: none of the frames was seen in a write", case.label()));
        }
        let at = |share: f64| spans[((spans.len() - 1) as f64 * share).round() as usize];
        Ok(Latency {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            client_us: (after.client - before.client).as_secs_f64() * 1e6 / first_seen.len() as f64,
            unseen: first_seen.len() - spans.len(),
        })
    }
}

impl Case {
    pub const ALL: [Self; 3] = [Self::A, Self::B, Self::C];
}

/// The key that a program writes for a symbol.
fn key(case: Case, symbol: &str) -> String {
    match case {
        Case::A => floor_key(symbol),
        Case::B | Case::C => format!("trapline:{symbol}:market_state"),
    }
}

impl Stage<'_> {
    fn must_live(&mut self) -> Fallible<()> {
        self.client.process.must_live()?;
        self.exchange.as_mut().map_or(Ok(()), Exchange::must_live)
    }

    /// The bid size that Redis holds for each symbol.
    fn sizes(&mut self) -> Fallible<Vec<Option<u64>>> {
        let keys: Vec<String> = self.symbols.iter().map(|name| key(self.case, name)).collect();
        let questions: Vec<_> = keys.iter().map(|key| vec!["HGET", key, "bid_size"]).collect();
        let number = |reply| match reply {
            Reply::Text(text) => Some(text.parse().unwrap_or(0)),
            _ => None,
        };
        Ok(self.redis.ask_all(&questions)?.into_iter().map(number).collect())
    }

    fn wait_for_all(&mut self) -> Fallible<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            self.must_live()?;
            let missing = self.sizes()?.iter().filter(|size| size.is_none()).count();
            if missing == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                let (who, count) = (self.case.label(), self.symbols.len());
                return fail(format!("{who}: {missing} of {count} symbols not written after {START_LIMIT:?}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn sample(&mut self) -> Fallible<Sample> {
        let client = self.client.process.cpu()?;
        let (redis, hsets) = self.redis.usage()?;
        let frames = match &self.exchange {
            Some(exchange) => exchange.sent()?,
            None => hsets,
        };
        Ok(Sample { at: Instant::now(), frames, hsets, client, redis })
    }

    /// At most what one answer of the control door holds, however long the measurement was.
    fn stamps(&self, from: u64, count: u64) -> Fallible<Stamps> {
        let Some(exchange) = &self.exchange else { return fail("a given exchange tells no send times") };
        let mut all = exchange.stamps(from, count)?;
        while (all.stamps_us.len() as u64) < count {
            let next = exchange.stamps(from + all.stamps_us.len() as u64, count - all.stamps_us.len() as u64)?;
            if next.stamps_us.is_empty() {
                break;
            }
            all.stamps_us.extend(next.stamps_us);
        }
        Ok(all)
    }

    /// Silences the exchange and counts the symbols whose newest frame does not arrive in Redis.
    fn behind(&mut self) -> Fallible<Option<usize>> {
        let Some(exchange) = &self.exchange else { return Ok(None) };
        let last = exchange.halt()?;
        if last.newest.len() != self.symbols.len() {
            return Ok(None);
        }
        let wanted: Vec<_> = last.newest.iter().map(|(_, number)| number.map(|number| last.base + number)).collect();
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let held = self.sizes()?;
            let behind = held.iter().zip(&wanted).filter(|(held, wanted)| held != wanted).count();
            if behind == 0 || Instant::now() > deadline {
                return Ok(Some(behind));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn end(self) -> Fallible<()> {
        self.client.stop()?;
        self.exchange.map_or(Ok(()), Exchange::stop)
    }
}
