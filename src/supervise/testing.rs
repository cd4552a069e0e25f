//! A message for unit tests.

use super::message::Message;

pub(crate) struct Number(pub(crate) u64);

impl Message for Number {
    fn kind(&self) -> &'static str {
        "number"
    }

    fn conflate_key(&self) -> Option<u64> {
        Some(self.0 % 10)
    }
}
