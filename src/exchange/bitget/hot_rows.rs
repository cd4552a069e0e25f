//! The two rows that come by the thousand: tickers and trades.
//!
//! Read by hand instead of derived: keys are told apart by their length first, which is half of the work of reading
//! a row of which most keys are not wanted.

use super::scalar::{Name, Scalar};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::fmt;

/// `{"lastPr":"..","bidPr":"..",..,"ts":".."}` (v2), `{"lastPrice":"..","bid1Price":"..",..}` without a time (v3).
#[derive(Debug, Default)]
pub(super) struct TickerRow<'a> {
    pub inst_id: Name<'a>,
    pub last: Scalar<'a>,
    pub bid: Scalar<'a>,
    pub bid_size: Scalar<'a>,
    pub ask: Scalar<'a>,
    pub ask_size: Scalar<'a>,
    pub mark: Scalar<'a>,
    pub index: Scalar<'a>,
    pub funding_rate: Scalar<'a>,
    pub next_funding_time: Scalar<'a>,
    pub open_interest: Scalar<'a>,
    pub volume_24h: Scalar<'a>,
    pub ts: Scalar<'a>,
}

impl<'a> TickerRow<'a> {
    pub(super) fn cell(&mut self, key: &str) -> Option<&mut Scalar<'a>> {
        Some(match key.len() {
            2 if key == "ts" => &mut self.ts,
            5 => match key {
                "bidPr" => &mut self.bid,
                "bidSz" => &mut self.bid_size,
                "askPr" => &mut self.ask,
                "askSz" => &mut self.ask_size,
                _ => return None,
            },
            6 if key == "lastPr" => &mut self.last,
            8 => match key {
                "bid1Size" => &mut self.bid_size,
                "ask1Size" => &mut self.ask_size,
                _ => return None,
            },
            9 => match key {
                "markPrice" => &mut self.mark,
                "lastPrice" => &mut self.last,
                "bid1Price" => &mut self.bid,
                "ask1Price" => &mut self.ask,
                "volume24h" => &mut self.volume_24h,
                _ => return None,
            },
            10 => match key {
                "indexPrice" => &mut self.index,
                "baseVolume" => &mut self.volume_24h,
                _ => return None,
            },
            11 if key == "fundingRate" => &mut self.funding_rate,
            12 if key == "openInterest" => &mut self.open_interest,
            13 if key == "holdingAmount" => &mut self.open_interest,
            15 if key == "nextFundingTime" => &mut self.next_funding_time,
            _ => return None,
        })
    }
}

/// `{"ts","price","size","side","tradeId"}` (v2), `{"T","p","v","S","i"}` (v3).
#[derive(Debug, Default)]
pub(super) struct TradeRow<'a> {
    pub time: Scalar<'a>,
    pub price: Scalar<'a>,
    pub size: Scalar<'a>,
    pub side: Name<'a>,
    pub id: Scalar<'a>,
}

impl<'a> TradeRow<'a> {
    fn cell(&mut self, key: &str) -> Option<&mut Scalar<'a>> {
        Some(match key {
            "ts" | "T" => &mut self.time,
            "price" | "p" => &mut self.price,
            "size" | "v" => &mut self.size,
            "tradeId" | "i" => &mut self.id,
            _ => return None,
        })
    }
}

/// A key; one that was written with escapes is none of ours.
struct Word<'a>(&'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor;
        impl<'de> Visitor<'de> for WordVisitor {
            type Value = Word<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Word(text))
            }
            fn visit_str<E: de::Error>(self, _text: &str) -> Result<Self::Value, E> {
                Ok(Word(""))
            }
        }
        deserializer.deserialize_str(WordVisitor)
    }
}

/// Puts a value into its place, which must be empty: a key that stands twice says two things.
fn fill<'de, A: MapAccess<'de>>(map: &mut A, cell: &mut Scalar<'de>) -> Result<(), A::Error> {
    let value = map.next_value()?;
    if !cell.is_absent() {
        return Err(de::Error::custom("a key stands twice"));
    }
    *cell = value;
    Ok(())
}

macro_rules! rows {
    ($($row:ident, $name:ident = $key:expr, $what:literal;)+) => { $(
        impl<'de: 'a, 'a> Deserialize<'de> for $row<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct RowVisitor;
                impl<'de> Visitor<'de> for RowVisitor {
                    type Value = $row<'de>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut row = $row::default();
                        while let Some(Word(key)) = map.next_key()? {
                            if let Some(cell) = row.cell(key) {
                                fill(&mut map, cell)?;
                            } else if $key.contains(&key) {
                                row.$name = map.next_value()?;
                            } else {
                                map.next_value::<de::IgnoredAny>()?;
                            }
                        }
                        Ok(row)
                    }
                }
                deserializer.deserialize_map(RowVisitor)
            }
        }
    )+ };
}

rows! {
    TickerRow, inst_id = ["instId"], "a ticker";
    TradeRow, side = ["side", "S"], "a trade";
}
