//! `trapline acl`: the least that Redis has to allow the daemon.

use super::AclArgs;
use crate::config::{Config, Env};
use crate::doctor::acl;
use crate::error::{Exit, Stop};
use crate::settings;
use crate::store::link::{Link, Target};
use crate::store::reply;
use std::time::Duration;

pub(super) fn run(args: &AclArgs) -> Result<Exit, Stop> {
    let (version, source) = match &args.for_version {
        // What the installed one says is taken as it is; what a person writes may be a slip.
        Some(text) if !is_version(text) => {
            return Err(Stop::usage(format!("--for-version {text:?}: write a version of Redis, e.g. 6.2 or 7.0.15")));
        }
        Some(text) => (text.clone(), "as asked"),
        None => match target(args)? {
            Some(target) => (installed(&target)?, "as installed"),
            None => ("7.0".to_owned(), "assumed; --config or --redis asks yours"),
        },
    };
    let numbers = acl::version(&version);
    if numbers < (6, 2) {
        return Err(Stop::unavailable(format!("redis {version}: users and channels need 6.2 or newer")));
    }
    super::keys::print(&format!(
        "# Redis {version} ({source}). Replace PASSWORD by a long random text, and put it into password_file.\n{}\n\
         # A client whose login fails goes on as 'default': close that door, too.\nACL SETUSER default off",
        acl::line(&args.user, numbers)
    ))
}

fn is_version(text: &str) -> bool {
    text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn target(args: &AclArgs) -> Result<Option<Target>, Stop> {
    if let Some(url) = &args.redis {
        return Target::parse(url).map(Some).map_err(|e| Stop::usage(e.to_string()));
    }
    let Some(file) = &args.config else { return Ok(None) };
    settings::redis_target(&Config::load(file, &Env::from_process())?).map(Some)
}

fn installed(target: &Target) -> Result<String, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Stop::unavailable(format!("no runtime: {e}")))?;
    let limit = Duration::from_secs(5);
    let asked = runtime.block_on(async {
        let mut link = Link::open(target, limit, limit).await?;
        link.call(&["INFO", "server"]).await
    });
    let value = asked.map_err(|e| Stop::unavailable(format!("{target}: {e}; or say --for-version 7.0")))?;
    let text = reply::text(&value).unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default();
    Ok(version.trim().to_owned())
}
