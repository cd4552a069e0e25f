//! Rules that a setting's value must keep. They hold for a value from anywhere: file, environment or program.

use super::errors::Wrong;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// Every value that could be read is fine.
pub(super) fn any<T>(_value: &T) -> Result<(), Wrong> {
    Ok(())
}

pub(super) fn range<T: PartialOrd + Display>(range: RangeInclusive<T>) -> impl Fn(&T) -> Result<(), Wrong> {
    move |value| {
        if range.contains(value) {
            return Ok(());
        }
        let (low, high) = (range.start(), range.end());
        Err(Wrong::new(format!("{value} is out of range"), format!("write a value from {low} to {high}")))
    }
}

/// A short word for keys and logs.
pub(super) fn word(value: &str) -> Result<(), Wrong> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if (1..=32).contains(&value.len()) && value.chars().all(fits) {
        return Ok(());
    }
    Err(Wrong::new("is not a short word", "use 1 to 32 of a-z, 0-9, - and _"))
}

/// Names of instruments: some are not ASCII, none has spaces.
pub(super) fn symbols(list: &[String]) -> Result<(), Wrong> {
    const MAX: usize = crate::domain::symbol::Symbols::MAX;
    if list.is_empty() || list.len() > MAX {
        return Err(Wrong::new(
            format!("{} symbols", list.len()),
            format!("name 1 to {MAX} symbols; the first is the primary one"),
        ));
    }
    let mut seen = BTreeSet::new();
    for name in list {
        let bad = |c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, ':' | '"' | '{' | '}') || c.is_ascii_lowercase()
        };
        if name.is_empty() || name.len() > 64 || name.chars().any(bad) {
            return Err(Wrong::new(
                "an entry is not a symbol",
                "write names as the exchange spells them today, in capitals: \"BTCUSDT\"",
            ));
        }
        if name.ends_with("_UMCBL") || name.ends_with("_CMCBL") || name.ends_with("_DMCBL") {
            let plain = name.rsplit_once('_').map_or("", |(plain, _)| plain);
            return Err(Wrong::new(
                format!("{name} is a spelling of the exchange's first interface, which is switched off"),
                format!(
                    "write \"{plain}\" (perpetuals on USDC and on coins are spelled anew: see the exchange's list)"
                ),
            ));
        }
        if !seen.insert(name) {
            return Err(Wrong::new(format!("{name} stands twice"), "name each symbol once"));
        }
    }
    Ok(())
}

pub(super) fn unique<T: Ord>(list: &[T]) -> Result<(), Wrong> {
    let mut seen = BTreeSet::new();
    match list.iter().find(|item| !seen.insert(*item)) {
        Some(_) => Err(Wrong::new("an entry stands twice", "name each entry once")),
        None => Ok(()),
    }
}

/// `scheme://host[:port]`, TLS unless the host is this machine; no user, no password, no path.
pub(super) fn base_url(schemes: [&'static str; 2]) -> impl Fn(&Option<String>) -> Result<(), Wrong> {
    move |value| {
        let Some(url) = value else { return Ok(()) };
        let [secure, plain] = schemes;
        let form = format!("write {secure}://HOST or {secure}://HOST:PORT; the path is added by trapline");
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(Wrong::new("is not a URL", form));
        };
        if rest.contains('@') {
            return Err(inline_secret(
                "the URL holds a user or a password",
                "take it out; credentials are never part of this URL",
            ));
        }
        let host_and_port = rest.trim_end_matches('/');
        if !is_host_and_port(host_and_port) {
            return Err(Wrong::new("is not a scheme, host and port", form));
        }
        match scheme {
            s if s == secure => Ok(()),
            s if s == plain && is_loopback(host_and_port) => Ok(()),
            s if s == plain => Err(Wrong::new(
                format!("{plain}:// to another machine sends credentials in the clear"),
                format!("write {secure}://; {plain}:// is for 127.0.0.1, ::1 and localhost only"),
            )),
            _ => Err(Wrong::new("has an unknown scheme", form)),
        }
    }
}

/// `redis://`, `rediss://` (TLS) or `unix://`; a user name may stand in it, a password may not.
pub(super) fn redis_url(url: &str) -> Result<(), Wrong> {
    const FORM: &str = "write redis://[USER@]HOST[:PORT][/DB], rediss://… for TLS, or unix:///path/to/socket";
    let Some((scheme, rest)) = url.split_once("://") else { return Err(Wrong::new("is not a URL", FORM)) };
    match scheme {
        "unix" if rest.starts_with('/') && rest.len() < 108 && !rest.contains(char::is_whitespace) => Ok(()),
        "unix" => Err(Wrong::new("a socket path is absolute and shorter than 108 bytes", FORM)),
        "redis" | "rediss" => {
            let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
            if user.contains(':') || rest.contains("password=") || rest.contains("pass=") {
                return Err(inline_secret(
                    "the URL holds a password",
                    "keep USER@ at most, and put the password into `redis.password_file` or TRAPLINE_REDIS_PASSWORD",
                ));
            }
            let (host, database) = place.split_once('/').unwrap_or((place, ""));
            let numbered = database.is_empty() || database.parse::<u16>().is_ok();
            if is_host_and_port(host) && numbered { Ok(()) } else { Err(Wrong::new("is not a Redis URL", FORM)) }
        }
        _ => Err(Wrong::new("has an unknown scheme", FORM)),
    }
}

/// `HOST` or `HOST:PORT`, each once.
pub(super) fn hosts(list: &[String]) -> Result<(), Wrong> {
    match list.iter().find(|entry| !is_host_and_port(entry)) {
        Some(_) => Err(Wrong::new("an entry is not a host and port", "write \"10.0.0.1:26379\" or \"sentinel-1\"")),
        None => unique(list),
    }
}

/// The address the status pages listen on.
pub(super) fn listen(value: &Option<String>) -> Result<(), Wrong> {
    match value {
        Some(text) if text.parse::<SocketAddr>().is_err() => Err(Wrong::new(
            "is not an address with a port",
            "write \"127.0.0.1:8787\", \"[::1]:8787\", or \"\" for off",
        )),
        _ => Ok(()),
    }
}

fn inline_secret(problem: &str, remedy: &str) -> Wrong {
    Wrong::new(format!("{problem} (not repeated here)"), remedy)
}

fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return false,
        },
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    !host.is_empty() && host.chars().all(fits) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_loopback(host_and_port: &str) -> bool {
    let host = match host_and_port.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => host_and_port.rsplit_once(':').map_or(host_and_port, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
