//! Recorded market data: gzip JSON lines, first line the meta row. Read once, one row at a time.
//!
//! Shapes of the rows (times in ms since 1970, prices and sizes as decimal text):
//!
//! * `{"ts","kind":"trade","symbol","price","size","side":"buy|sell","id"}`
//! * `{"ts","kind":"ticker","symbol","bid","bid_size","ask","ask_size"[,"last","mark"]}`
//! * `{"ts","kind":"candle","symbol","interval","open","high","low","close","volume"}`
//! * `{"recv","dir":"in|out|open","raw"}`: a frame as it came, of some exchange

use crate::domain::market::TakerSide;
use flate2::read::MultiGzDecoder;
use rust_decimal::Decimal;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// What a tape says of itself in its first line.
#[derive(Clone, Debug, Deserialize)]
pub struct Meta {
    pub tape: String,
    #[serde(default)]
    pub symbols: Option<Vec<String>>,
    pub rows: u64,
    pub first_ts: i64,
    pub last_ts: i64,
}

/// One row of a tape.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    Trade {
        ts_ms: i64,
        symbol: String,
        price: Decimal,
        size: Decimal,
        side: TakerSide,
        id: String,
    },
    Ticker {
        ts_ms: i64,
        symbol: String,
        bid: Decimal,
        bid_size: Decimal,
        ask: Decimal,
        ask_size: Decimal,
        last: Option<Decimal>,
        mark: Option<Decimal>,
    },
    Candle {
        ts_ms: i64,
        symbol: String,
        interval: String,
        open: Decimal,
        high: Decimal,
        low: Decimal,
        close: Decimal,
        volume: Decimal,
    },
    /// `incoming` = sent by the exchange; a line that tells the URL is not a frame and is passed over.
    Raw {
        received_ms: i64,
        incoming: bool,
        text: String,
    },
}

impl Row {
    pub const fn ts_ms(&self) -> i64 {
        match self {
            Self::Trade { ts_ms, .. } | Self::Ticker { ts_ms, .. } | Self::Candle { ts_ms, .. } => *ts_ms,
            Self::Raw { received_ms, .. } => *received_ms,
        }
    }

    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::Trade { symbol, .. } | Self::Ticker { symbol, .. } | Self::Candle { symbol, .. } => Some(symbol),
            Self::Raw { .. } => None,
        }
    }
}

/// Why a tape cannot be read; names the file, the line and what to look at.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    #[error("{path}: cannot be opened: {source}; check the path", path = path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("{path}: line {line}: cannot be read: {source}; is it gzip, and complete?", path = path.display())]
    Read { path: PathBuf, line: u64, source: std::io::Error },
    #[error("{path}: line 1 is not a meta row: {detail}", path = path.display())]
    Meta { path: PathBuf, detail: String },
    #[error("{path}: line {line}: {detail}", path = path.display())]
    Row { path: PathBuf, line: u64, detail: String },
}

/// An open tape; iterate it for its rows.
pub struct Tape {
    pub meta: Meta,
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    line: u64,
    buffer: String,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

/// The longest line a tape may have, so that a file without line ends cannot fill the memory.
const LINE_MAX: u64 = 4 * 1024 * 1024;

impl Tape {
    /// Opens a tape (`.gz` or plain) and reads its meta row.
    pub fn open(path: &Path) -> Result<Self, TapeError> {
        let file = File::open(path).map_err(|source| TapeError::Open { path: path.to_owned(), source })?;
        let lines: Box<dyn BufRead + Send> = if path.extension().is_some_and(|e| e == "gz") {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file)))
        } else {
            Box::new(BufReader::with_capacity(1 << 16, file))
        };
        let mut tape = Self {
            meta: Meta { tape: String::new(), symbols: None, rows: 0, first_ts: 0, last_ts: 0 },
            path: path.to_owned(),
            lines,
            line: 0,
            buffer: String::new(),
        };
        if !tape.next_line()? {
            return Err(TapeError::Meta { path: path.to_owned(), detail: "the file is empty".to_owned() });
        }
        tape.meta = serde_json::from_str(&tape.buffer)
            .map_err(|e| TapeError::Meta { path: path.to_owned(), detail: e.to_string() })?;
        Ok(tape)
    }

    fn next_line(&mut self) -> Result<bool, TapeError> {
        self.buffer.clear();
        self.line += 1;
        let read = (&mut self.lines).take(LINE_MAX).read_line(&mut self.buffer).map_err(|source| TapeError::Read {
            path: self.path.clone(),
            line: self.line,
            source,
        })?;
        Ok(read > 0)
    }

    fn row_error(&self, detail: impl Into<String>) -> TapeError {
        TapeError::Row { path: self.path.clone(), line: self.line, detail: detail.into() }
    }
}

impl Iterator for Tape {
    type Item = Result<Row, TapeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_line() {
                Err(e) => return Some(Err(e)),
                Ok(false) => return None,
                Ok(true) => {}
            }
            if self.buffer.trim().is_empty() {
                continue;
            }
            let wire: WireRow<'_> = match serde_json::from_str(&self.buffer) {
                Ok(wire) => wire,
                Err(e) => return Some(Err(self.row_error(e.to_string()))),
            };
            match wire.into_row() {
                Ok(Some(row)) => return Some(Ok(row)),
                Ok(None) => {}
                Err(detail) => return Some(Err(self.row_error(detail))),
            }
        }
    }
}

#[derive(Deserialize)]
struct WireRow<'a> {
    ts: Option<i64>,
    recv: Option<i64>,
    #[serde(borrow)]
    kind: Option<&'a str>,
    dir: Option<&'a str>,
    raw: Option<String>,
    symbol: Option<&'a str>,
    price: Option<&'a str>,
    size: Option<&'a str>,
    side: Option<&'a str>,
    id: Option<&'a str>,
    bid: Option<&'a str>,
    bid_size: Option<&'a str>,
    ask: Option<&'a str>,
    ask_size: Option<&'a str>,
    last: Option<&'a str>,
    mark: Option<&'a str>,
    interval: Option<&'a str>,
    open: Option<&'a str>,
    high: Option<&'a str>,
    low: Option<&'a str>,
    close: Option<&'a str>,
    volume: Option<&'a str>,
}

impl WireRow<'_> {
    /// `Ok(None)` for rows that carry no data (the line that tells the URL).
    fn into_row(self) -> Result<Option<Row>, String> {
        fn need<'v>(value: Option<&'v str>, field: &str) -> Result<&'v str, String> {
            value.ok_or_else(|| format!("field `{field}` is missing"))
        }
        fn number(value: Option<&str>, field: &str) -> Result<Decimal, String> {
            let text = need(value, field)?;
            Decimal::from_str_exact(text)
                .map_err(|e| format!("field `{field}`: {text:?} is not a decimal number ({e})"))
        }
        fn maybe(value: Option<&str>, field: &str) -> Result<Option<Decimal>, String> {
            value.filter(|text| !text.is_empty()).map(|text| number(Some(text), field)).transpose()
        }
        if let Some(text) = self.raw {
            let received_ms = self.recv.ok_or("field `recv` is missing")?;
            return match self.dir {
                Some("in") => Ok(Some(Row::Raw { received_ms, incoming: true, text })),
                Some("out") => Ok(Some(Row::Raw { received_ms, incoming: false, text })),
                Some("open") => Ok(None),
                other => Err(format!("field `dir`: {other:?} is not in, out or open")),
            };
        }
        let ts_ms = self.ts.ok_or("field `ts` is missing")?;
        let symbol = need(self.symbol, "symbol")?.to_owned();
        match need(self.kind, "kind")? {
            "trade" => Ok(Some(Row::Trade {
                ts_ms,
                symbol,
                price: number(self.price, "price")?,
                size: number(self.size, "size")?,
                side: match need(self.side, "side")? {
                    "buy" => TakerSide::Buy,
                    "sell" => TakerSide::Sell,
                    other => return Err(format!("field `side`: {other:?} is not buy or sell")),
                },
                id: need(self.id, "id")?.to_owned(),
            })),
            "ticker" => {
                let (last, mark) = (maybe(self.last, "last")?, maybe(self.mark, "mark")?);
                // Some exchanges' tickers carry no book top; the last price then stands for both sides.
                let side = |v: Option<&str>, f: &str| match (maybe(v, f)?, last) {
                    (Some(price), _) | (None, Some(price)) => Ok(price),
                    (None, None) => Err(format!("field `{f}` is missing, and so is `last`")),
                };
                Ok(Some(Row::Ticker {
                    ts_ms,
                    symbol,
                    bid: side(self.bid, "bid")?,
                    bid_size: maybe(self.bid_size, "bid_size")?.unwrap_or_default(),
                    ask: side(self.ask, "ask")?,
                    ask_size: maybe(self.ask_size, "ask_size")?.unwrap_or_default(),
                    last,
                    mark,
                }))
            }
            "candle" => Ok(Some(Row::Candle {
                ts_ms,
                symbol,
                interval: need(self.interval, "interval")?.to_owned(),
                open: number(self.open, "open")?,
                high: number(self.high, "high")?,
                low: number(self.low, "low")?,
                close: number(self.close, "close")?,
                volume: number(self.volume, "volume")?,
            })),
            other => Err(format!("field `kind`: {other:?} is not trade, ticker or candle")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tape(lines: &str) -> (tempfile::NamedTempFile, Result<Tape, TapeError>) {
        let mut file = tempfile::NamedTempFile::new().expect("temp file");
        file.write_all(lines.as_bytes()).expect("write");
        let tape = Tape::open(file.path());
        (file, tape)
    }

    const META: &str = r#"{"kind":"meta","tape":"t","rows":1,"symbols":["X"],"first_ts":1,"last_ts":2}"#;

    #[test]
    fn a_trade_row_is_read() {
        let row = r#"{"ts":5,"kind":"trade","symbol":"X","price":"1.50","size":"2","side":"sell","id":"a"}"#;
        let (_file, tape) = tape(&format!("{META}\n{row}\n"));
        let rows: Vec<_> = tape.expect("opens").map(|r| r.expect("row")).collect();
        assert_eq!(rows.len(), 1);
        assert!(
            matches!(&rows[0], Row::Trade { ts_ms: 5, side: TakerSide::Sell, price, .. } if price.to_string() == "1.50")
        );
    }

    #[test]
    fn a_bad_row_names_line_and_field() {
        let row = r#"{"ts":5,"kind":"trade","symbol":"X","price":"1e","size":"2","side":"sell","id":"a"}"#;
        let (_file, tape) = tape(&format!("{META}\n{row}\n"));
        let error = tape.expect("opens").next().expect("a row").expect_err("refused").to_string();
        assert!(error.contains("line 2") && error.contains("`price`"), "{error}");
    }

    #[test]
    fn a_file_without_meta_is_refused() {
        let (_file, tape) = tape("{}\n");
        assert!(matches!(tape, Err(TapeError::Meta { .. })));
    }
}
