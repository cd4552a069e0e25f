//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::Stdio;

/// Measures trapline's path from the exchange's socket to Redis against a hand-written floor.
///
/// Three programs take turns on the same exchange and the same redis-server:
///
///   a  the floor: WebSocket read, typed parse of seven fields, one pipelined HSET per frame; no actor, no check
///   b  `trapline run`, every check on, conflation off: each frame is written
///   c  `trapline run`, every check on, conflation on: the newest value of each symbol is written
///
/// The exchange is trapline's own, firing ticker frames as fast as they are read (so what is sent is what was read,
/// but for the socket buffers). Redis is a child without persistence. Each figure is the median of the rounds; each
/// ratio is the median of the ratios of one round, so that a busy machine disturbs both sides of it alike.
/// At the end of a round the newest frame of every symbol must be what Redis holds.
#[derive(Parser, Debug)]
#[command(name = "pipeline", args_conflicts_with_subcommands = true, verbatim_doc_comment)]
#[command(after_help = "\
Run by cargo:    cargo bench --bench pipeline                the full series, about 6 minutes
                 cargo bench --bench pipeline -- --quick     less than a minute, for a first look
Other programs:  give the address of any exchange that speaks Bitget's public WebSocket and any Redis:
                 cargo bench --bench pipeline -- --exchange ws://127.0.0.1:9001 --redis redis://127.0.0.1:6379 \\
                     --names BTCUSDT,ETHUSDT
                 Frames are then not counted at the exchange: rates are HSETs by Redis' own count, latency is left out,
                 and c, which writes less than it reads, has no ratio.

Compare only figures of one run: the machine and what else runs on it make most of an absolute number.")]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub role: Option<Role>,
}

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// One short round of everything
    #[arg(long)]
    pub quick: bool,
    /// Exit with 1 when a goal is missed (else 0)
    #[arg(long)]
    pub check: bool,
    /// One JSON object on standard output instead of the table
    #[arg(long)]
    pub json: bool,
    /// Rounds of a, b, c for each number of symbols [default: 3, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Seconds that one measurement takes [default: 5, quick: 1.5]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds before it that are not counted [default: 2, quick: 0.5]
    #[arg(long)]
    warmup: Option<f64>,
    /// Numbers of symbols
    #[arg(long, value_delimiter = ',', default_value = "10,600")]
    pub symbols: Vec<usize>,
    /// Which programs take part
    #[arg(long, value_delimiter = ',', value_enum, default_value = "a,b,c")]
    pub cases: Vec<Case>,
    /// Leave the latency out
    #[arg(long)]
    pub no_latency: bool,
    /// Leave the throughput out
    #[arg(long)]
    pub no_throughput: bool,
    /// Frames per second over all symbols while latency is measured
    #[arg(long, default_value_t = 1_000)]
    pub latency_rate: u32,
    /// Generation of the exchange's protocol
    #[arg(long, value_enum, default_value = "v3")]
    pub generation: Generation,
    /// Channels on one connection of trapline (its setting max_channels_per_connection); the floor has one connection
    #[arg(long, default_value_t = 50)]
    pub channels: usize,
    /// Measure against this exchange, ws://HOST:PORT, instead of the built-in one
    #[arg(long, value_name = "URL")]
    pub exchange: Option<String>,
    /// Measure against this Redis, redis://HOST:PORT, instead of a child; its keys of the measured symbols are deleted
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// Symbols to subscribe at a given exchange, in place of the built-in one's
    #[arg(long, value_delimiter = ',')]
    pub names: Vec<String>,
    /// The trapline program; default: the one that cargo built for this benchmark
    #[arg(long, value_name = "FILE")]
    pub trapline: Option<PathBuf>,
    /// The server to start
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    pub redis_bin: PathBuf,
    /// Show what the children say on standard error
    #[arg(long, short)]
    pub verbose: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    pub fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 1.5 } else { 5.0 })
    }

    pub fn warmup(&self) -> f64 {
        self.warmup.unwrap_or(if self.quick { 0.5 } else { 2.0 })
    }

    pub fn child_stderr(&self) -> Stdio {
        if self.verbose { Stdio::inherit() } else { Stdio::null() }
    }
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Case {
    /// The floor
    A,
    /// trapline without conflation
    B,
    /// trapline with conflation
    C,
}

impl Case {
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "a floor",
            Self::B => "b trapline, each frame",
            Self::C => "c trapline, conflating",
        }
    }
}

/// Protocol generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generation {
    V2,
    V3,
}

impl Generation {
    pub const fn label(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    /// Where the public socket is.
    pub const fn path(self) -> &'static str {
        match self {
            Self::V2 => "/v2/ws/public",
            Self::V3 => "/v3/ws/public",
        }
    }
}

/// What this program does as a child of itself.
#[derive(Subcommand, Debug)]
pub enum Role {
    /// The floor (started by the benchmark)
    #[command(hide = true)]
    Floor(FloorRole),
}

#[derive(Args, Debug)]
pub struct FloorRole {
    #[arg(long)]
    pub exchange: String,
    /// HOST:PORT
    #[arg(long)]
    pub redis: String,
    #[arg(long, value_enum)]
    pub generation: Generation,
    #[arg(long, value_delimiter = ',')]
    pub symbols: Vec<String>,
}
