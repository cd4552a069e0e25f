//! Logs and metrics: what people and machines see of the daemon. Neither ever holds up a room, and no secret comes
//! here in the first place.

pub mod log;
pub mod metrics;
