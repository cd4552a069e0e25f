//! `trapline schema`: the Redis contract as JSON Schema.

use super::SchemaArgs;
use crate::error::{Exit, Stop};
use crate::store::keys;

pub(super) fn run(args: &SchemaArgs) -> Result<Exit, Stop> {
    let schema = match &args.key {
        Some(name) => keys::schema_of(name)
            .ok_or_else(|| Stop::usage(format!("{name} is no key of trapline's: `trapline keys` lists them all")))?,
        None => keys::schemas(),
    };
    super::keys::print(&serde_json::to_string_pretty(&schema).unwrap_or_default())
}
