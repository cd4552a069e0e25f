//! `trapline validate`: a configuration, with all its errors at once.

use super::ValidateArgs;
use crate::config::{Config, Env};
use crate::error::{Exit, Stop};
use std::path::Path;

pub(super) fn run(args: &ValidateArgs) -> Result<Exit, Stop> {
    let config = load(&args.config)?;
    if args.dump {
        for line in config.described() {
            if let Some(value) = line.value {
                println!("{} = {value}", line.path);
            }
        }
    } else {
        println!("{}: good", args.config.display());
    }
    Ok(Exit::Ok)
}

/// Loads a configuration; every error stands in the message, and the exit code is 78.
pub(super) fn load(path: &Path) -> Result<Config, Stop> {
    Config::load(path, &Env::from_process()).map_err(|errors| Stop::new(Exit::Config, errors.to_string()))
}
