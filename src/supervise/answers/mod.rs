//! Answers from the restart journal: pure functions from records to what people ask.

mod restarts;
mod tell;
#[cfg(test)]
mod tests;
mod why;

pub use restarts::{By, Cost, Restarts, Row, Spans, StaleKey, restarts};
pub use tell::{span, tell};
pub use why::{Story, why};
