//! Which generation to speak: set, or found out once from the exchange.

use super::consts::Generation;
use super::error::RestError;
use super::rest::Rest;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The generation of the account, shared by clone: one room finds it out, all know it.
#[derive(Clone, Debug, Default)]
pub struct Dialect {
    known: Arc<OnceLock<Generation>>,
}

impl Dialect {
    /// A generation that a person chose.
    pub fn fixed(generation: Generation) -> Self {
        let dialect = Self::default();
        let _ = dialect.known.set(generation);
        dialect
    }

    /// To be found out by asking the exchange.
    pub fn auto() -> Self {
        Self::default()
    }

    pub fn known(&self) -> Option<Generation> {
        self.known.get().copied()
    }

    /// The generation, asking the exchange once where it is not known yet.
    ///
    /// # Errors
    /// When the exchange gave no answer; what it is worth says its remedy.
    pub async fn ask(&self, rest: &Rest) -> Result<Generation, RestError> {
        if let Some(generation) = self.known() {
            return Ok(generation);
        }
        let generation = rest.probe().await?;
        Ok(*self.known.get_or_init(|| generation))
    }

    /// The generation, as soon as somebody found it out: one asks, many wait.
    pub async fn wait(&self) -> Generation {
        loop {
            if let Some(generation) = self.known() {
                return generation;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
