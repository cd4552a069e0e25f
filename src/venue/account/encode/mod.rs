//! The account in the exchange's own words. `v2` and `v3` hold WebSocket rows and frames, `v2_rest` and `v3_rest`
//! whole REST bodies. Rows are JSON arrays as text, so that a server can put any subscription's `arg` around them.

pub mod v2;
mod v2_orders;
pub mod v2_rest;
mod v2_rest_account;
pub mod v3;
pub mod v3_rest;
mod words;

pub use words::{category, product_named, product_type};

use crate::domain::symbol::Product;
use serde::Serialize;

/// Whether a push states everything or what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Snapshot,
    Update,
}

impl Action {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Update => "update",
        }
    }
}

/// Which rows a REST page wants; everything open by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub symbol: Option<String>,
    pub order_id: Option<u64>,
    /// Inclusive, milliseconds since 1970.
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    /// Only ids below this one (v2 `idLessThan`, v3 `cursor`): the last id of the page before.
    pub before: Option<u64>,
    /// At most 100, which is also the default.
    pub limit: Option<usize>,
}

impl Query {
    pub const MAX_LIMIT: usize = 100;

    fn wants(&self, symbol: &str, order_id: Option<u64>, id: u64, time_ms: i64) -> bool {
        self.symbol.as_deref().is_none_or(|wanted| wanted == symbol)
            && self.order_id.is_none_or(|wanted| Some(wanted) == order_id)
            && self.before.is_none_or(|before| id < before)
            && self.start_ms.is_none_or(|start| time_ms >= start)
            && self.end_ms.is_none_or(|end| time_ms <= end)
    }

    fn rows(&self) -> usize {
        self.limit.unwrap_or(Self::MAX_LIMIT).clamp(1, Self::MAX_LIMIT)
    }
}

/// A REST answer around `data`, which is JSON already.
pub fn rest_ok(data: &str, now_ms: i64) -> String {
    format!(r#"{{"code":"00000","msg":"success","requestTime":{now_ms},"data":{data}}}"#)
}

/// A REST refusal; goes out with HTTP 400 for most codes.
pub fn rest_error(code: &str, message: &str, now_ms: i64) -> String {
    let (code, message) = (json(&code), json(&message));
    format!(r#"{{"code":{code},"msg":{message},"requestTime":{now_ms},"data":null}}"#)
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("rows hold only strings, numbers and lists of them")
}

/// An account answers for its own product; for every other it is empty.
fn speaks_for(account: &super::Account, product: Product) -> bool {
    account.product() == product
}
