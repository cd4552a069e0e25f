//! What the floor does with one frame: read seven fields where they stand, write one HSET.

use super::options::Generation;
use super::{Fallible, fail};
use serde::Deserialize;
use std::collections::HashMap;

/// The names of the exchange's envelope that matter here.
#[derive(Deserialize)]
struct Frame<A, R> {
    arg: A,
    data: [R; 1],
    ts: u64,
}

#[derive(Deserialize)]
struct ClassicArg<'a> {
    #[serde(rename = "instId")]
    symbol: &'a str,
}

#[derive(Deserialize)]
struct UnifiedArg<'a> {
    symbol: &'a str,
}

#[derive(Deserialize)]
struct ClassicRow<'a> {
    #[serde(rename = "lastPr")]
    price: &'a str,
    #[serde(rename = "bidPr")]
    bid: &'a str,
    #[serde(rename = "bidSz")]
    bid_size: &'a str,
    #[serde(rename = "askPr")]
    ask: &'a str,
    #[serde(rename = "askSz")]
    ask_size: &'a str,
    #[serde(rename = "markPrice")]
    mark: &'a str,
}

#[derive(Deserialize)]
struct UnifiedRow<'a> {
    #[serde(rename = "lastPrice")]
    price: &'a str,
    #[serde(rename = "bid1Price")]
    bid: &'a str,
    #[serde(rename = "bid1Size")]
    bid_size: &'a str,
    #[serde(rename = "ask1Price")]
    ask: &'a str,
    #[serde(rename = "ask1Size")]
    ask_size: &'a str,
    #[serde(rename = "markPrice")]
    mark: &'a str,
}

/// The seven values, borrowed from the frame.
struct Ticker<'a> {
    symbol: &'a str,
    values: [&'a str; 6],
    time_ms: u64,
}

fn read(generation: Generation, text: &str) -> Option<Ticker<'_>> {
    match generation {
        Generation::V2 => {
            let Frame { arg, data: [row], ts } =
                serde_json::from_str::<Frame<ClassicArg<'_>, ClassicRow<'_>>>(text).ok()?;
            let values = [row.price, row.bid, row.bid_size, row.ask, row.ask_size, row.mark];
            Some(Ticker { symbol: arg.symbol, values, time_ms: ts })
        }
        Generation::V3 => {
            let Frame { arg, data: [row], ts } =
                serde_json::from_str::<Frame<UnifiedArg<'_>, UnifiedRow<'_>>>(text).ok()?;
            let values = [row.price, row.bid, row.bid_size, row.ask, row.ask_size, row.mark];
            Some(Ticker { symbol: arg.symbol, values, time_ms: ts })
        }
    }
}

const NAMES: [&[u8]; 6] = [
    b"$5\r\nprice\r\n",
    b"$3\r\nbid\r\n",
    b"$8\r\nbid_size\r\n",
    b"$3\r\nask\r\n",
    b"$8\r\nask_size\r\n",
    b"$4\r\nmark\r\n",
];

/// Turns frames into commands.
pub struct Writer {
    generation: Generation,
    /// Everything of a symbol's command before its first field.
    heads: HashMap<String, Vec<u8>, rustc_hash::FxBuildHasher>,
}

impl Writer {
    pub fn new(generation: Generation, symbols: &[String]) -> Self {
        let head = |name: &String| {
            let key = super::floor_key(name);
            format!("*16\r\n$4\r\nHSET\r\n${}\r\n{key}\r\n", key.len()).into_bytes()
        };
        Self { generation, heads: symbols.iter().map(|name| (name.clone(), head(name))).collect() }
    }

    /// Appends the command of a ticker frame; false for a frame that is none.
    pub fn write(&self, text: &str, out: &mut Vec<u8>) -> bool {
        let Some(ticker) = read(self.generation, text) else { return false };
        let Some(head) = self.heads.get(ticker.symbol) else { return false };
        out.extend_from_slice(head);
        for (name, value) in NAMES.iter().zip(ticker.values) {
            out.extend_from_slice(name);
            value_arg(value.as_bytes(), out);
        }
        out.extend_from_slice(b"$9\r\ntimestamp\r\n");
        let mut digits = [0; 20];
        value_arg(decimal(ticker.time_ms, &mut digits), out);
        true
    }
}

fn value_arg(value: &[u8], out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    out.push(b'$');
    out.extend_from_slice(decimal(value.len() as u64, &mut digits));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn decimal(mut value: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}

/// The subscribe frames for every symbol's ticker, few enough bytes in each.
pub fn subscriptions(generation: Generation, symbols: &[String]) -> Vec<String> {
    let arg = |name: &String| match generation {
        Generation::V2 => format!(r#"{{"instType":"USDT-FUTURES","channel":"ticker","instId":"{name}"}}"#),
        Generation::V3 => format!(r#"{{"instType":"usdt-futures","topic":"ticker","symbol":"{name}"}}"#),
    };
    let frame = |chunk: &[String]| {
        let args: Vec<_> = chunk.iter().map(arg).collect();
        format!(r#"{{"op":"subscribe","args":[{}]}}"#, args.join(","))
    };
    symbols.chunks(20).map(frame).collect()
}

/// Holds the reader and the encoder to one known frame, so that a benchmark of nothing is noticed.
pub fn self_check() -> Fallible<()> {
    let frame = concat!(
        r#"{"data":[{"lastPrice":"86500.1","bid1Price":"86500.0","ask1Price":"86500.2","bid1Size":"1000000007","#,
        r#""ask1Size":"2","markPrice":"86500.3"}],"arg":{"instType":"usdt-futures","topic":"ticker","symbol":"BTCUSDT"},"#,
        r#""action":"snapshot","ts":1795404675001}"#
    );
    let mut out = Vec::new();
    let written = Writer::new(Generation::V3, &["BTCUSDT".to_owned()]).write(frame, &mut out);
    let expected = concat!(
        "*16\r\n$4\r\nHSET\r\n$13\r\nfloor:BTCUSDT\r\n$5\r\nprice\r\n$7\r\n86500.1\r\n$3\r\nbid\r\n$7\r\n86500.0\r\n",
        "$8\r\nbid_size\r\n$10\r\n1000000007\r\n$3\r\nask\r\n$7\r\n86500.2\r\n$8\r\nask_size\r\n$1\r\n2\r\n",
        "$4\r\nmark\r\n$7\r\n86500.3\r\n$9\r\ntimestamp\r\n$13\r\n1795404675001\r\n"
    );
    if written && out == expected.as_bytes() { Ok(()) } else { fail("the floor's own encoder is wrong") }
}
