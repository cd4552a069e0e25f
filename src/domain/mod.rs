//! Pure rules and values: no actor, no socket, no clock, no wire word. A rule is told the time.

pub mod account;
pub mod backoff;
pub mod breaker;
pub mod event;
pub mod freshness;
pub mod ledger;
pub mod market;
pub mod market_view;
pub mod picture;
pub mod position;
pub mod position_book;
pub mod rate;
pub mod refusal;
pub mod regime;
pub mod remembered;
pub mod report;
pub mod symbol;
pub mod symbol_watch;
pub mod trap;
pub mod validate;
