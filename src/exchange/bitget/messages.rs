//! Frames and rows as Bitget spells them, borrowed from the frame's text. Both generations and REST share a row
//! where they mean the same thing; where both spellings can stand in one row, each has its own field.

use super::scalar::{Name, Scalar};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What data or an answer belongs to: `{"instType","channel","instId"}` (v2), `{"instType","topic","symbol"}` (v3).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Arg<'a> {
    #[serde(borrow)]
    pub inst_type: Name<'a>,
    #[serde(borrow)]
    pub channel: Name<'a>,
    #[serde(borrow)]
    pub topic: Name<'a>,
    #[serde(borrow)]
    pub inst_id: Name<'a>,
    #[serde(borrow)]
    pub symbol: Name<'a>,
    #[serde(borrow)]
    pub interval: Name<'a>,
}

/// `["start","open","high","low","close","base","quote",..]` (v2), an object with `start`..`turnover` (v3).
#[derive(Debug, Default)]
pub(super) struct CandleRow<'a> {
    pub start: Scalar<'a>,
    pub open: Scalar<'a>,
    pub high: Scalar<'a>,
    pub low: Scalar<'a>,
    pub close: Scalar<'a>,
    pub base_volume: Scalar<'a>,
    pub quote_volume: Scalar<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for CandleRow<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RowVisitor;
        impl<'de> Visitor<'de> for RowVisitor {
            type Value = CandleRow<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a candle")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut cells = [Scalar::Absent; 7];
                for cell in &mut cells {
                    match seq.next_element()? {
                        Some(value) => *cell = value,
                        None => break,
                    }
                }
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                let [start, open, high, low, close, base_volume, quote_volume] = cells;
                Ok(CandleRow { start, open, high, low, close, base_volume, quote_volume })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut row = CandleRow::default();
                while let Some(key) = map.next_key::<Name<'de>>()? {
                    let cell = match key.as_str() {
                        "start" => &mut row.start,
                        "open" => &mut row.open,
                        "high" => &mut row.high,
                        "low" => &mut row.low,
                        "close" => &mut row.close,
                        "volume" => &mut row.base_volume,
                        "turnover" => &mut row.quote_volume,
                        _ => {
                            map.next_value::<de::IgnoredAny>()?;
                            continue;
                        }
                    };
                    if !cell.is_absent() {
                        return Err(de::Error::custom("duplicate candle field"));
                    }
                    *cell = map.next_value()?;
                }
                Ok(row)
            }
        }
        deserializer.deserialize_any(RowVisitor)
    }
}

/// A position row of either generation, of the socket or of REST.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PositionRow<'a> {
    #[serde(borrow)]
    pub inst_id: Name<'a>,
    #[serde(borrow)]
    pub symbol: Name<'a>,
    /// v3 REST only.
    #[serde(borrow)]
    pub category: Name<'a>,
    #[serde(borrow)]
    pub hold_side: Name<'a>,
    #[serde(borrow)]
    pub pos_side: Name<'a>,
    #[serde(borrow)]
    pub pos_mode: Name<'a>,
    #[serde(borrow)]
    pub hold_mode: Name<'a>,
    #[serde(borrow)]
    pub position_status: Name<'a>,
    #[serde(borrow)]
    pub total: Scalar<'a>,
    #[serde(borrow)]
    pub size: Scalar<'a>,
    #[serde(borrow)]
    pub available: Scalar<'a>,
    #[serde(borrow)]
    pub open_price_avg: Scalar<'a>,
    #[serde(borrow)]
    pub avg_price: Scalar<'a>,
    #[serde(borrow)]
    pub mark_price: Scalar<'a>,
    #[serde(borrow, rename = "unrealizedPL")]
    pub unrealized_pl: Scalar<'a>,
    #[serde(borrow)]
    pub unrealised_pnl: Scalar<'a>,
    #[serde(borrow)]
    pub leverage: Scalar<'a>,
    #[serde(borrow)]
    pub margin_mode: Name<'a>,
    #[serde(borrow)]
    pub margin_size: Scalar<'a>,
    #[serde(borrow)]
    pub position_balance: Scalar<'a>,
    #[serde(borrow)]
    pub liquidation_price: Scalar<'a>,
    #[serde(borrow)]
    pub liq_price: Scalar<'a>,
    #[serde(borrow)]
    pub break_even_price: Scalar<'a>,
    #[serde(borrow)]
    pub total_fee: Scalar<'a>,
    #[serde(borrow)]
    pub total_funding_fee: Scalar<'a>,
    #[serde(borrow)]
    pub total_funding: Scalar<'a>,
    #[serde(borrow)]
    pub u_time: Scalar<'a>,
    #[serde(borrow)]
    pub updated_time: Scalar<'a>,
}

/// v2: one row per margin coin; v3: one row for the whole account (REST spells `accountEquity`, `unrealisedPnl`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AccountRow<'a> {
    #[serde(borrow)]
    pub margin_coin: Name<'a>,
    #[serde(borrow, alias = "locked")]
    pub frozen: Scalar<'a>,
    #[serde(borrow)]
    pub available: Scalar<'a>,
    #[serde(borrow)]
    pub equity: Scalar<'a>,
    #[serde(borrow)]
    pub account_equity: Scalar<'a>,
    #[serde(borrow)]
    pub total_equity: Scalar<'a>,
    #[serde(borrow, rename = "unrealizedPL")]
    pub unrealized_pl: Scalar<'a>,
    #[serde(borrow, rename = "unrealisedPnL", alias = "unrealisedPnl")]
    pub unrealised_pnl: Scalar<'a>,
}

/// An order row of either generation.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OrderRow<'a> {
    #[serde(borrow)]
    pub inst_id: Name<'a>,
    #[serde(borrow)]
    pub symbol: Name<'a>,
    #[serde(borrow)]
    pub category: Name<'a>,
    #[serde(borrow)]
    pub order_id: Name<'a>,
    #[serde(borrow)]
    pub client_oid: Name<'a>,
    #[serde(borrow)]
    pub side: Name<'a>,
    #[serde(borrow)]
    pub order_type: Name<'a>,
    #[serde(borrow)]
    pub price: Scalar<'a>,
    /// v2; v3 says `qty`.
    #[serde(borrow, alias = "qty")]
    pub size: Scalar<'a>,
    #[serde(borrow, rename = "accBaseVolume", alias = "cumExecQty")]
    pub filled: Scalar<'a>,
    #[serde(borrow, rename = "priceAvg", alias = "avgPrice")]
    pub average_price: Scalar<'a>,
    #[serde(borrow, alias = "orderStatus")]
    pub status: Name<'a>,
    #[serde(borrow, rename = "uTime", alias = "updatedTime")]
    pub update_time: Scalar<'a>,
}

/// `{"feeCoin","totalFee"}` (v2, negative = paid), `{"feeCoin","fee"}` (v3, positive = paid).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FeeRow<'a> {
    #[serde(borrow)]
    pub fee_coin: Name<'a>,
    #[serde(borrow)]
    pub total_fee: Scalar<'a>,
    #[serde(borrow)]
    pub fee: Scalar<'a>,
}

/// A fill row of either generation, of the socket or of REST.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FillRow<'a> {
    #[serde(borrow)]
    pub symbol: Name<'a>,
    #[serde(borrow)]
    pub category: Name<'a>,
    #[serde(borrow)]
    pub order_id: Name<'a>,
    #[serde(borrow)]
    pub client_oid: Name<'a>,
    #[serde(borrow, rename = "tradeId", alias = "execId")]
    pub trade_id: Name<'a>,
    #[serde(borrow)]
    pub side: Name<'a>,
    #[serde(borrow, alias = "holdMode")]
    pub pos_mode: Name<'a>,
    #[serde(borrow)]
    pub hold_side: Name<'a>,
    #[serde(borrow)]
    pub pos_side: Name<'a>,
    #[serde(borrow)]
    pub trade_side: Name<'a>,
    #[serde(borrow, alias = "execPrice")]
    pub price: Scalar<'a>,
    #[serde(borrow, rename = "baseVolume", alias = "execQty")]
    pub size: Scalar<'a>,
    #[serde(borrow, alias = "execPnl")]
    pub profit: Scalar<'a>,
    #[serde(borrow, deserialize_with = "null_is_none")]
    pub fee_detail: Vec<FeeRow<'a>>,
    #[serde(borrow, rename = "uTime", alias = "updatedTime")]
    pub update_time: Scalar<'a>,
    #[serde(borrow, rename = "cTime")]
    pub create_time: Scalar<'a>,
    #[serde(borrow)]
    pub exec_time: Scalar<'a>,
    #[serde(borrow)]
    pub created_time: Scalar<'a>,
}

fn null_is_none<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FeeRow<'a>>, D::Error> {
    Ok(Option::<Vec<FeeRow<'a>>>::deserialize(deserializer)?.unwrap_or_default())
}
