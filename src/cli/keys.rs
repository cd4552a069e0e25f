//! `trapline keys`: the Redis contract.

use super::KeysArgs;
use crate::error::{Exit, Stop};
use crate::store::keys;
use std::io::{ErrorKind, Write};

pub(super) fn run(args: &KeysArgs) -> Result<Exit, Stop> {
    if args.live.live {
        return super::keys_live::run(args, &args.redis);
    }
    if args.redis.config.is_some() || args.redis.redis.is_some() {
        return Err(Stop::usage("the contract is the same for every redis: add --live to compare one with it"));
    }
    print(&if args.json { keys::render_json() } else { keys::render_table() })
}

/// Prints what may be long.
pub(super) fn print(text: &str) -> Result<Exit, Stop> {
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end()) {
        // `trapline keys | head` is no error.
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Stop::unavailable(format!("cannot print: {e}"))),
        _ => Ok(Exit::Ok),
    }
}
