//! Rows of the public channels: ticker, trades, candles.

use super::hot_rows::{TickerRow, TradeRow};
use super::messages::CandleRow;
use super::parse::{Decoded, Flaw};
use super::scalar::Scalar;
use super::subscribe::{Channel, Stream};
use crate::domain::market::{Candle, Interval, TakerSide, Ticker, Trade};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::report::Report;
use crate::domain::symbol::SymbolId;
use rust_decimal::Decimal;
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use std::fmt;

/// Stands for 'the envelope's time, not read yet'; never leaves this module's [`finish`].
const ENVELOPE_TIME: i64 = 0;

/// Reads the rows of one public frame. A row that cannot be is refused alone: rows are independent statements.
pub(super) struct PublicRows<'o> {
    pub stream: Stream,
    /// The stream's symbol as the exchange spells it.
    pub name: &'o str,
    pub snapshot: bool,
    pub received_ms: i64,
    pub out: &'o mut Decoded,
}

impl<'de> DeserializeSeed<'de> for PublicRows<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PublicRows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let Some(symbol) = self.stream.symbol else { return Err(de::Error::custom("no symbol")) };
        match self.stream.channel {
            Channel::Ticker => {
                let mut rows = 0;
                while let Some(row) = seq.next_element::<TickerRow<'de>>()? {
                    rows += 1;
                    let foreign = row.inst_id.get().is_some_and(|id| id != self.name);
                    let row =
                        if foreign { Err(Flaw::new(Refusal::Inconsistent, "instId")) } else { ticker(&row, symbol) };
                    self.take(symbol, row.map(Report::Ticker));
                }
                // A ticker frame is one row; none is no statement at all.
                if rows == 0 { Err(de::Error::custom("no ticker row")) } else { Ok(()) }
            }
            Channel::Trades => {
                let history = self.snapshot;
                let start = self.out.reports.len();
                while let Some(row) = seq.next_element::<TradeRow<'de>>()? {
                    self.take(symbol, trade(&row, symbol, history).map(Report::Trade));
                }
                oldest_first(self.out.reports.get_mut(start..).unwrap_or_default());
                Ok(())
            }
            Channel::Candles(interval) => {
                let history = self.snapshot;
                while let Some(row) = seq.next_element::<CandleRow<'de>>()? {
                    self.take(symbol, candle(&row, symbol, interval, history).map(Report::Candle));
                }
                Ok(())
            }
            _ => Err(de::Error::custom("not a public channel")),
        }
    }
}

impl PublicRows<'_> {
    fn take(&mut self, symbol: SymbolId, row: Result<Report, Flaw>) {
        match row {
            Ok(report) => self.out.reports.push(report),
            Err(flaw) => {
                let kind = self.stream.channel.label();
                let refused = Refused::new(flaw.refusal, kind, self.received_ms, flaw.field);
                self.out.refused.push(refused.with_symbol(Some(symbol)));
            }
        }
    }
}

/// Gives the envelope's time to rows that have none of their own.
pub(super) fn finish(reports: &mut [Report], envelope_ms: Option<i64>) -> Result<(), Flaw> {
    for report in reports {
        let time = match report {
            Report::Ticker(ticker) => &mut ticker.exchange_time_ms,
            Report::Candle(candle) => &mut candle.exchange_time_ms,
            _ => continue,
        };
        if *time == ENVELOPE_TIME {
            *time = envelope_ms.ok_or(Flaw::bad("ts is missing"))?;
        }
    }
    Ok(())
}

/// Frames hold their trades newest first; what comes later wants them in the order they happened.
fn oldest_first(reports: &mut [Report]) {
    if let ([Report::Trade(first), .., Report::Trade(last)], true) = (&*reports, reports.len() > 1)
        && (first.exchange_time_ms, first.id) > (last.exchange_time_ms, last.id)
    {
        reports.reverse();
    }
}

fn number(scalar: Scalar<'_>, field: &'static str) -> Result<Option<Decimal>, Flaw> {
    scalar.decimal().map_err(|refusal| Flaw::new(refusal, field))
}

fn required(scalar: Scalar<'_>, field: &'static str) -> Result<Decimal, Flaw> {
    number(scalar, field)?.ok_or(Flaw::bad(field))
}

/// A price that may not be there; the exchange writes "0" for none.
fn price(scalar: Scalar<'_>, field: &'static str) -> Result<Option<Decimal>, Flaw> {
    Ok(number(scalar, field)?.filter(|price| !price.is_zero()))
}

fn millis(scalar: Scalar<'_>, field: &'static str) -> Result<Option<i64>, Flaw> {
    scalar.millis().map_err(|refusal| Flaw::new(refusal, field))
}

/// A ticker whose row may have no time of its own.
pub(super) fn ticker_at(row: &TickerRow<'_>, symbol: SymbolId, envelope_ms: i64) -> Result<Ticker, Flaw> {
    let mut ticker = ticker(row, symbol)?;
    if ticker.exchange_time_ms == ENVELOPE_TIME {
        ticker.exchange_time_ms = envelope_ms;
    }
    Ok(ticker)
}

fn ticker(row: &TickerRow<'_>, symbol: SymbolId) -> Result<Ticker, Flaw> {
    Ok(Ticker {
        symbol,
        exchange_time_ms: millis(row.ts, "ts")?.unwrap_or(ENVELOPE_TIME),
        last: required(row.last, "last price")?,
        bid: price(row.bid, "bid price")?,
        bid_size: number(row.bid_size, "bid size")?,
        ask: price(row.ask, "ask price")?,
        ask_size: number(row.ask_size, "ask size")?,
        mark: price(row.mark, "mark price")?,
        index: price(row.index, "index price")?,
        funding_rate: number(row.funding_rate, "funding rate")?,
        next_funding_time_ms: millis(row.next_funding_time, "next funding time")?,
        open_interest: number(row.open_interest, "open interest")?,
        volume_24h: number(row.volume_24h, "24 h volume")?,
    })
}

fn trade(row: &TradeRow<'_>, symbol: SymbolId, history: bool) -> Result<Trade, Flaw> {
    Ok(Trade {
        symbol,
        exchange_time_ms: millis(row.time, "trade time")?.ok_or(Flaw::bad("trade time"))?,
        price: required(row.price, "trade price")?,
        size: required(row.size, "trade size")?,
        side: match row.side.as_str() {
            "buy" => TakerSide::Buy,
            "sell" => TakerSide::Sell,
            side if side.eq_ignore_ascii_case("buy") => TakerSide::Buy,
            side if side.eq_ignore_ascii_case("sell") => TakerSide::Sell,
            _ => return Err(Flaw::bad("trade side")),
        },
        id: row.id.id().ok_or(Flaw::bad("trade id"))?,
        history,
    })
}

fn candle(row: &CandleRow<'_>, symbol: SymbolId, interval: Interval, history: bool) -> Result<Candle, Flaw> {
    let start_ms = millis(row.start, "candle start")?.ok_or(Flaw::bad("candle start"))?;
    if start_ms % interval.span_ms() != 0 {
        return Err(Flaw::new(Refusal::OutOfRange, "candle start"));
    }
    Ok(Candle {
        symbol,
        exchange_time_ms: ENVELOPE_TIME,
        interval,
        start_ms,
        open: required(row.open, "open")?,
        high: required(row.high, "high")?,
        low: required(row.low, "low")?,
        close: required(row.close, "close")?,
        base_volume: required(row.base_volume, "volume")?,
        quote_volume: number(row.quote_volume, "quote volume")?,
        history,
    })
}
