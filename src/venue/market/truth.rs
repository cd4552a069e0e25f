//! What really happened, for detectors and tests to be scored against: kept in memory for the control door, and
//! written to a file as JSON lines where one is wanted.
//!
//! Every line has `kind` and `at_ms` (frame time at which it was written). Kinds:
//!
//! * `start`: `seed`, `symbols`, `coin`, `balance`. The first line.
//! * `sweep_up_fails`, `sweep_down_fails`, `pump_and_dump`, `burst`: what a seeded market did on purpose, written once
//!   it is over: `symbol`, `start_ms`, `end_ms` (frame time), `source_start_ms`, `source_end_ms` (market time, the
//!   same at every speed), `from_price`, `extreme_price` (numbers). At speed `max` with fresh stamps frame times
//!   mean nothing: score by market time.
//! * `funding`: a settlement: `symbol`, `rate`, `mark`.
//! * `order`, `fill`, `position`, `closed`, `balance`: see [`crate::venue::account::record`]. Money is text.
//! * `refused`: something the account was told to do and could not: `step`, `why`.

use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Something that the model did on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Frame time of the beginning and, once it is over, of the end.
    pub start_ms: i64,
    pub end_ms: i64,
    pub symbol: usize,
    pub kind: Kind,
    /// Price before it and at its extreme.
    pub from_price: f64,
    pub extreme_price: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Trades run through a level upwards (downwards) and the price comes back.
    SweepUpFails,
    SweepDownFails,
    /// A fast rise on heavy buying, then the fall back.
    PumpAndDump,
    /// Many trades, no direction.
    Burst,
}

impl Kind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::SweepUpFails => "sweep_up_fails",
            Self::SweepDownFails => "sweep_down_fails",
            Self::PumpAndDump => "pump_and_dump",
            Self::Burst => "burst",
        }
    }
}

/// The newest happenings, older ones counted; and the truth log's file, if there is one.
#[derive(Debug, Default)]
pub struct Log {
    pub newest: VecDeque<Happening>,
    pub forgotten: u64,
    /// Happenings that are in no line yet: they end before their time has come.
    unwritten: VecDeque<Happening>,
    /// The newest lines of the account.
    pub account: VecDeque<Value>,
    file: Option<BufWriter<File>>,
    /// Lines that could not be written.
    pub lost: u64,
}

impl Log {
    pub const MAX: usize = 10_000;
    /// Lines of the account that are kept for the control door.
    pub const ACCOUNT_MAX: usize = 500;

    /// Writes to this file as well, from its beginning.
    pub fn to_file(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: Some(BufWriter::new(File::create(path)?)), ..Self::default() })
    }

    pub fn push(&mut self, happening: Happening) {
        if self.newest.len() == Self::MAX {
            self.newest.pop_front();
            self.forgotten += 1;
        }
        if self.file.is_some() && self.unwritten.len() < Self::MAX {
            self.unwritten.push_back(happening.clone());
        }
        self.newest.push_back(happening);
    }

    /// Happenings that were over by `source_ms` and are in no line yet.
    pub fn over_by(&mut self, source_ms: i64) -> Vec<Happening> {
        let over = self.unwritten.iter().take_while(|h| h.end_ms <= source_ms).count();
        self.unwritten.drain(..over).collect()
    }

    /// Lines of the account: kept, and written.
    pub fn account(&mut self, lines: Vec<Value>) {
        for line in lines {
            self.write(&line);
            if self.account.len() == Self::ACCOUNT_MAX {
                self.account.pop_front();
            }
            self.account.push_back(line);
        }
    }

    /// One line of the file.
    pub fn write(&mut self, line: &Value) {
        let Some(file) = self.file.as_mut() else { return };
        if let Err(error) = writeln!(file, "{line}") {
            if self.lost == 0 {
                tracing::warn!(%error, "truth log cannot be written");
            }
            self.lost += 1;
        }
    }

    /// Makes what was written readable.
    pub fn flush(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(Write::flush) {
            tracing::warn!(%error, "truth log cannot be written");
        }
    }
}
