//! `trapline schema`: the Redis contract as JSON Schema.

use super::SchemaArgs;
use crate::config::nearest;
use crate::error::{Exit, Stop};
use crate::store::keys;

pub(super) fn run(args: &SchemaArgs) -> Result<Exit, Stop> {
    let schema = match &args.key {
        Some(name) => keys::schema_of(name).ok_or_else(|| {
            let near = nearest(name, keys::KEYS.iter().map(|key| key.name));
            let tip = near.map_or_else(String::new, |near| format!(" did you mean {near}?"));
            Stop::usage(format!("{name} is no key of trapline's:{tip} `trapline keys` lists them all"))
        })?,
        None => keys::schemas(),
    };
    super::keys::print(&serde_json::to_string_pretty(&schema).unwrap_or_default())
}
