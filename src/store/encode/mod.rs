//! Domain values → Redis commands. Pure: told the time, knows no connection.

pub mod event;
pub mod json;
pub mod layout;
pub mod market;
pub mod position;
pub mod stamp;
pub mod state;
pub mod summary;

pub use layout::{Layout, PositionFormat, Settings, SymbolKeys};

/// Why and since when a value may not be trusted any more. `None` in the places that hold it means fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleMark {
    pub since_ms: i64,
    /// A bounded word, e.g. `no_data`, `feed_lost`, `stopped`.
    pub reason: &'static str,
}

/// The three fields of a stale mark, as they stand in every state hash.
pub(crate) fn stale_args(out: &mut super::resp::Commands, stale: Option<StaleMark>) {
    out.arg("stale");
    out.arg(if stale.is_some() { "1" } else { "0" });
    out.arg("stale_reason");
    out.arg(stale.map_or("", |s| s.reason));
    out.arg("stale_since");
    out.int(stale.map_or(0, |s| s.since_ms));
}
