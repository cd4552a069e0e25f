//! The exchange's wire, turned into domain values at the door.

pub mod bitget;
pub mod retry_after;
pub mod session;
pub mod skew;
mod tls;
