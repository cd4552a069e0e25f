//! The least that Redis has to allow the daemon.

use crate::store::keys::{KEYS, Shape, Since};
use std::collections::BTreeSet;

/// Every command the daemon sends, with its subcommand where only that is needed.
pub const COMMANDS: &[&str] = &[
    "asking",
    "client|getname",
    "client|id",
    "client|kill",
    "client|list",
    "client|setname",
    "cluster|info",
    "cluster|nodes",
    "eval",
    "evalsha",
    "exec",
    "exists",
    "expire",
    "get",
    "hexists",
    "hget",
    "hgetall",
    "hmget",
    "hset",
    "info",
    "lpos",
    "lpush",
    "ltrim",
    "multi",
    "persist",
    "ping",
    "publish",
    "rename",
    "role",
    "rpush",
    "select",
    "set",
    "type",
    "xadd",
    "xinfo|stream",
    "xrange",
    "zadd",
    "zremrangebyrank",
    "zremrangebyscore",
];

/// `6.2.1` as numbers; what cannot be read counts as the oldest that is supported.
pub fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|p| p.trim().parse().unwrap_or(0));
    match (parts.next(), parts.next()) {
        (Some(major), minor) if major > 0 => (major, minor.unwrap_or(0)),
        _ => (6, 2),
    }
}

/// Key patterns and channels of today's table. A placeholder becomes `*`.
fn patterns() -> (BTreeSet<String>, BTreeSet<String>) {
    let glob = |name: &str| {
        let mut out = String::new();
        let mut rest = name;
        while let Some((head, tail)) = rest.split_once('{') {
            out.push_str(head);
            out.push('*');
            rest = tail.split_once('}').map_or("", |(_, after)| after);
        }
        out.push_str(rest);
        out
    };
    let today = || KEYS.iter().filter(|k| k.since == Since::V0_1);
    let keys = today()
        .filter(|k| k.shape != Shape::Channel)
        .map(|k| if k.name.starts_with("trapline:") { "trapline:*".to_owned() } else { glob(k.name) })
        // Where keys of a foreign type are put aside.
        .chain(["legacy:*".to_owned()])
        .collect();
    let channels =
        today().filter(|k| k.shape == Shape::Channel || k.channel.is_some()).map(|k| k.name.to_owned()).collect();
    (keys, channels)
}

/// The words after `ACL SETUSER`. `>PASSWORD` stands for the password.
pub fn words(user: &str, redis: (u32, u32)) -> Vec<String> {
    let (keys, channels) = patterns();
    let mut words = vec![user.to_owned(), "reset".to_owned(), "on".to_owned(), ">PASSWORD".to_owned()];
    words.extend(keys.iter().map(|k| format!("~{k}")));
    // Channels are open to everybody unless taken away; `reset` does so from 7.0 on.
    words.push("resetchannels".to_owned());
    words.extend(channels.iter().map(|c| format!("&{c}")));
    words.push("-@all".to_owned());
    words.extend(COMMANDS.iter().map(|c| format!("+{c}")));
    if redis >= (7, 2) {
        // Client libraries announce themselves with it; older servers refuse the whole line for it.
        words.push("+client|setinfo".to_owned());
    }
    words
}

/// The line for redis-cli.
pub fn line(user: &str, redis: (u32, u32)) -> String {
    let words = words(user, redis).into_iter().map(|w| {
        // A shell would take these for its own.
        if w.contains(['*', '&', '>', '|', '~']) { format!("'{w}'") } else { w }
    });
    format!("ACL SETUSER {}", words.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_tables_keys_and_no_dangerous_command() {
        let words = words("trapline", (7, 0));
        for wanted in [
            "~current_position",
            "~mm_trap:*:*:*",
            "~trapline:*",
            "~legacy:*",
            "~*}:cursor",
            "&btc_price",
            "&trapline:breaker",
        ] {
            assert!(words.iter().any(|w| w == wanted), "{wanted} is missing in {words:?}");
        }
        for never in ["~*", "+flushall", "+config", "+keys", "+del", "+@all", "+client|setinfo", "~btc_price_patterns"]
        {
            assert!(!words.iter().any(|w| w == never), "{never} in {words:?}");
        }
        assert!(super::words("t", (7, 2)).contains(&"+client|setinfo".to_owned()));
        assert!(line("t", (6, 2)).starts_with("ACL SETUSER t reset on '>PASSWORD' '~"));
    }

    #[test]
    fn versions_are_read_as_far_as_they_matter() {
        for (text, expected) in [("7.0.15", (7, 0)), ("6.2", (6, 2)), ("8", (8, 0)), ("", (6, 2)), ("x", (6, 2))] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
