//! Redis: what it is, what it promises, what it lets us do.

use super::{Patient, Report, Severity, acl};
use crate::store::class::Class;
use crate::store::guard;
use crate::store::keys::{KEYS, Key, Shape, Since};
use crate::store::link::{Link, LinkError, Target};
use crate::store::reply;
use crate::upkeep::bytes_shown;
use redis::Value;
use std::io;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(5);
const REPLY: Duration = Duration::from_secs(5);
/// The least that is advised: events, lists and the copies that Redis makes of them while it saves.
const MEMORY_LEAST: u64 = 64 * 1024 * 1024;
/// Keys looked at below each pattern; more of one kind are of one kind.
const LOOKED_AT: usize = 1_000;
const SIMULATED: [&str; 4] = ["sim_timestamp", "sim_last_btc_price", "sim_running", "test:btc:history"];

pub(super) async fn examine(target: &Target, patient: &Patient, report: &mut Report) {
    let mut link = match Link::open(target, CONNECT, REPLY).await {
        Ok(link) => link,
        Err(error) => return refused(&error, target, report),
    };
    let info = match text(link.call(&["INFO"]).await) {
        Ok(info) => Info(info),
        Err(LinkError::Refused { code, .. }) if code == "NOPERM" => {
            let fix = "grant +info, or name a user who may look: --redis redis://admin@…";
            report.ok("R-CONNECT", format!("{target} answers"));
            return report.add("R-RIGHTS", Severity::Block, "this user may not ask INFO", fix);
        }
        Err(error) => return refused(&error, target, report),
    };
    report.ok("R-CONNECT", format!("{target} answers"));
    if info.get("loading") == Some("1") {
        return report.add("R-LOADING", Severity::Block, "redis is loading its data", "wait; trapline does so, too");
    }
    report.ok("R-LOADING", "loaded");
    if let Err(LinkError::Refused { code, .. }) = link.call(&["EXISTS", guard::EPOCH]).await
        && code == "BUSY"
    {
        let fix = "end it: redis-cli SCRIPT KILL (or SHUTDOWN NOSAVE if it has written)";
        return report.add("R-BUSY", Severity::Block, "a script runs and does not end (BUSY)", fix);
    }
    report.ok("R-BUSY", "no script in the way");
    kind(&info, report);
    if info.get("redis_mode") == Some("sentinel") {
        return;
    }
    version(&info, report);
    persistence(&info, report);
    memory(&info, report);
    clients(&info, &mut link, report).await;
    rights(&info, &mut link, report).await;
    types(patient, &mut link, report).await;
    writers(patient, &mut link, report).await;
}

fn text(answer: Result<Value, LinkError>) -> Result<String, LinkError> {
    answer.map(|value| match &value {
        Value::VerbatimString { text, .. } => text.clone(),
        other => reply::text(other).unwrap_or_default().to_owned(),
    })
}

fn refused(error: &LinkError, target: &Target, report: &mut Report) {
    match error {
        LinkError::Cluster => {
            report.ok("R-CONNECT", format!("{target} answers"));
            return cluster(report);
        }
        LinkError::ClusterDatabase(_) => {
            let fix = "take the number off the end of url in [redis]";
            return report.add("R-MODE", Severity::Block, error.to_string(), fix);
        }
        LinkError::Replica => {
            return report.add("R-ROLE", Severity::Block, format!("{target}: {error}"), Class::WrongNode.remedy());
        }
        _ => {}
    }
    let code = match error {
        LinkError::Refused { code, .. } if code == "LOADING" => "R-LOADING",
        LinkError::Refused { code, .. } if code == "BUSY" => "R-BUSY",
        _ => "R-CONNECT",
    };
    report.add(code, Severity::Block, format!("{target}: {}", said(error)), cure(error));
}

/// The error in words; the system's own would be "entity not found" and "uncategorized error".
fn said(error: &LinkError) -> String {
    match error {
        LinkError::Io(io::ErrorKind::NotFound) => "there is no such socket".to_owned(),
        LinkError::Io(io::ErrorKind::PermissionDenied) => "this user may not open the socket".to_owned(),
        LinkError::Io(kind @ (io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut)) => {
            format!("connection failed: {kind}: nobody answers there")
        }
        LinkError::Io(kind @ (io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)) => {
            format!("connection failed: {kind}")
        }
        LinkError::Io(_) => "connection failed: the host is not known, or there is no way to it".to_owned(),
        LinkError::Refused { code, .. } if code == "NOAUTH" => "redis wants a password (NOAUTH)".to_owned(),
        LinkError::Refused { code, .. } if code == "WRONGPASS" => {
            "redis knows no such user with this password (WRONGPASS)".to_owned()
        }
        other => other.to_string(),
    }
}

/// What a person does about a door that stays shut: each in its own words, not 'check everything'.
fn cure(error: &LinkError) -> &'static str {
    match error {
        LinkError::Io(_) | LinkError::Closed | LinkError::Timeout => {
            "start redis, or correct url in [redis] (host, port, TLS or not)"
        }
        LinkError::Garbled(_) => "correct the port of url in [redis]; rediss:// only where the port speaks TLS",
        LinkError::Tls(_) => "write redis:// for a port without TLS; else name its certificate's maker in ca_file",
        LinkError::Database(_) => "correct the number at the end of url in [redis], or raise databases at the server",
        LinkError::PasswordFile(_) => "correct password_file in [redis], and let trapline's user read it (mode 0600)",
        LinkError::Login(_) => "correct the user in url, and password_file or TRAPLINE_REDIS_PASSWORD",
        LinkError::Refused { code, .. } if code == "NOAUTH" => {
            "put it into a file of mode 0600 and name that as password_file in [redis], or set TRAPLINE_REDIS_PASSWORD"
        }
        LinkError::Refused { code, .. } if code == "WRONGPASS" => {
            "correct the user in url, and password_file or TRAPLINE_REDIS_PASSWORD"
        }
        other => match other.class() {
            Class::Transient | Class::Unknown => "start redis, or correct url in [redis] (host, port, TLS or not)",
            class => class.remedy(),
        },
    }
}

/// Lines of INFO.
struct Info(String);

impl Info {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|t| t.parse().ok()).unwrap_or(0)
    }
}

fn cluster(report: &mut Report) {
    let what = "this is a node of a Redis Cluster: trapline writes to all its masters, this examination knows single \
                servers only";
    let fix = "look at the nodes themselves: redis-cli --cluster check HOST:PORT, and INFO of each (append-only file, \
               eviction, memory)";
    report.add("R-MODE", Severity::Info, what, fix);
}

fn kind(info: &Info, report: &mut Report) {
    match info.get("redis_mode") {
        Some("cluster") => cluster(report),
        Some("sentinel") => {
            let fix = "name it under sentinels in [redis], or point url at the server that it watches";
            report.add("R-MODE", Severity::Block, "this is a Sentinel, not a server", fix);
        }
        mode => report.ok("R-MODE", mode.unwrap_or("standalone")),
    }
    match info.get("role") {
        Some("slave") => {
            report.add("R-ROLE", Severity::Block, "this node is a replica", Class::WrongNode.remedy());
        }
        _ => report.ok("R-ROLE", "takes writes"),
    }
}

fn version(info: &Info, report: &mut Report) {
    let shown = info.get("valkey_version").or(info.get("redis_version")).unwrap_or("unknown");
    let version = acl::version(info.get("redis_version").unwrap_or_default());
    report.acl = Some(acl::line("trapline", version));
    if version < (6, 2) {
        report.add("R-VERSION", Severity::Block, format!("version {shown}"), "install 6.2 or newer");
    } else {
        report.ok("R-VERSION", format!("version {shown}"));
    }
}

fn persistence(info: &Info, report: &mut Report) {
    let fix = "redis-cli CONFIG SET appendonly yes, then CONFIG REWRITE (or `trapline protect`)";
    if info.get("aof_enabled") == Some("1") {
        report.ok("R-PERSIST", "append-only file");
    } else {
        let what = "no append-only file: a killed Redis comes back as old as its last snapshot, and positions with it";
        report.add("R-PERSIST", Severity::Warn, what, fix);
    }
    let failed: Vec<_> = ["rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status"]
        .into_iter()
        .filter(|name| info.get(name).is_some_and(|status| status != "ok"))
        .collect();
    if failed.is_empty() {
        report.ok("R-SAVE", "saves to disk succeed");
    } else {
        let what = format!("{}: Redis refuses writes while it cannot save", failed.join(", "));
        report.add(
            "R-SAVE",
            Severity::Block,
            what,
            "free the disk or mend rights of Redis' dir, then redis-cli BGSAVE",
        );
    }
}

fn memory(info: &Info, report: &mut Report) {
    let policy = info.get("maxmemory_policy").unwrap_or("noeviction");
    let (used, limit) = (info.number("used_memory"), info.number("maxmemory"));
    let fix = "redis-cli CONFIG SET maxmemory-policy noeviction (or `trapline protect`)";
    let lost = "an evicted position would look like none";
    match policy {
        "noeviction" => report.ok("R-EVICT", policy),
        any if any.starts_with("allkeys") && limit > 0 => {
            report.add("R-EVICT", Severity::Block, format!("{any}: {lost}"), fix);
        }
        any => report.add("R-EVICT", Severity::Warn, format!("{any}: once memory is limited, {lost}"), fix),
    }
    const MIB: u64 = 1024 * 1024;
    if limit == 0 {
        let fix = "redis-cli CONFIG SET maxmemory 1gb (or `trapline protect`)";
        return report.add("R-MEMORY", Severity::Info, format!("{} MiB used, no limit", used / MIB), fix);
    }
    let share = used.saturating_mul(100) / limit;
    let what = match share {
        0..=100 => format!("{share} % of {} used", bytes_shown(limit)),
        _ => format!("{} used, more than the {} of maxmemory", bytes_shown(used), bytes_shown(limit)),
    };
    let fix = "raise maxmemory, or look what fills it: redis-cli --bigkeys";
    match share {
        95.. => report.add("R-MEMORY", Severity::Block, what, fix),
        80..95 => report.add("R-MEMORY", Severity::Warn, what, fix),
        _ if limit < MEMORY_LEAST => {
            let what = format!("{what}: less than the {} that are advised", bytes_shown(MEMORY_LEAST));
            report.add("R-MEMORY", Severity::Warn, what, "redis-cli CONFIG SET maxmemory 1gb (or `trapline protect`)");
        }
        _ => report.ok("R-MEMORY", what),
    }
}

async fn clients(info: &Info, link: &mut Link, report: &mut Report) {
    let mut most = info.number("maxclients");
    if most == 0
        && let Ok(Value::Array(pair)) = link.call(&["CONFIG", "GET", "maxclients"]).await
    {
        most = pair.get(1).and_then(reply::number).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    }
    let now = info.number("connected_clients");
    let what = format!("{now} of {most} connections");
    let fix = "raise maxclients, or find who opens them: redis-cli CLIENT LIST";
    match now.saturating_mul(100).checked_div(most) {
        None => report.add("R-CLIENTS", Severity::Info, format!("{now} connections, limit unknown"), ""),
        Some(95..) => report.add("R-CLIENTS", Severity::Block, what, fix),
        Some(80..95) => report.add("R-CLIENTS", Severity::Warn, what, fix),
        Some(_) => report.ok("R-CLIENTS", what),
    }
}

/// The user itself asks, inside a script, whether it may: nothing is written.
async fn rights(info: &Info, link: &mut Link, report: &mut Report) {
    const ASK: &str = "local no = {}
for i = 1, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[i], '%S+') do words[#words + 1] = word end
  if not redis.acl_check_cmd(unpack(words)) then no[#no + 1] = words[1] .. ' ' .. (words[2] or '') end
end
return no";
    if let Some(name) = whoami(link).await {
        user(&name, link, report).await;
    }
    if acl::version(info.get("redis_version").unwrap_or_default()) < (7, 0) {
        return report.add(
            "R-RIGHTS",
            Severity::Info,
            "this Redis cannot tell what a user may do",
            "see `trapline acl`",
        );
    }
    let asked = probes();
    let mut words = vec!["EVAL", ASK, "0"];
    words.extend(asked.iter().map(String::as_str));
    let fix = "grant the line of `trapline acl` to this user";
    match link.call(&words).await {
        Ok(Value::Array(no)) if no.is_empty() => report.ok("R-RIGHTS", "this user may do all that trapline does"),
        Ok(Value::Array(no)) => {
            let mut names: Vec<_> = no.iter().filter_map(reply::text).map(|t| t.trim().to_owned()).collect();
            names.dedup();
            names.truncate(8);
            report.add("R-RIGHTS", Severity::Block, format!("not allowed: {}", names.join(", ")), fix);
        }
        Err(LinkError::Refused { code, .. }) if code == "NOPERM" => {
            report.add("R-RIGHTS", Severity::Block, "not allowed: eval", fix);
        }
        other => {
            let why = other.err().map_or_else(|| "an odd answer".to_owned(), |e| e.to_string());
            report.add("R-RIGHTS", Severity::Info, format!("cannot be asked here: {why}"), fix);
        }
    }
}

/// Our own line in the list of clients says it; ACL WHOAMI would be one right more.
async fn whoami(link: &mut Link) -> Option<String> {
    let id = reply::number(&link.call(&["CLIENT", "ID"]).await.ok()?)?;
    let list = text(link.call(&["CLIENT", "LIST"]).await).ok()?;
    let own = list.lines().find(|line| line.starts_with(&format!("id={id} ")))?;
    own.split(' ').find_map(|word| word.strip_prefix("user=")).map(str::to_owned)
}

/// Calls like the daemon's: each command once, and a write to every key.
fn probes() -> Vec<String> {
    let sorted = KEYS.iter().find(|k| k.shape == Shape::Zset).map_or("", |k| k.name);
    let mut calls: Vec<String> = acl::COMMANDS
        .iter()
        .map(|command| match *command {
            "client|kill" => "client kill id 0".to_owned(),
            "client|setname" => "client setname x".to_owned(),
            "eval" | "evalsha" => format!("{command} x 1 {}", guard::EPOCH),
            "exec" | "multi" | "info" | "ping" | "role" => (*command).to_owned(),
            "select" => "select 0".to_owned(),
            "publish" => "publish trapline:breaker x".to_owned(),
            "rename" => "rename current_position legacy:current_position:1".to_owned(),
            "set" => "set last_btc_price x get".to_owned(),
            "xinfo|stream" => "xinfo stream trapline:alerts".to_owned(),
            "xadd" => "xadd trapline:alerts * a b".to_owned(),
            "xrange" => "xrange trapline:alerts - +".to_owned(),
            "zadd" => format!("zadd {sorted} 1 x"),
            "zremrangebyrank" | "zremrangebyscore" => format!("{command} {sorted} 0 0"),
            "hset" => "hset current_position a b".to_owned(),
            "hget" | "hexists" | "hmget" => format!("{command} current_position a"),
            "lpush" | "rpush" => format!("{command} update_latencies 1"),
            "ltrim" => "ltrim update_latencies 0 1".to_owned(),
            "expire" => "expire current_position 1".to_owned(),
            "exists" | "get" | "type" | "persist" => format!("{command} last_btc_price"),
            other => other.replace('|', " "),
        })
        .collect();
    for key in KEYS.iter().filter(|k| k.since == Since::V0_1) {
        if key.shape == Shape::Channel {
            calls.push(format!("publish {} x", key.name));
        } else {
            calls.push(format!("type {}", key.name));
        }
    }
    calls
}

async fn user(name: &str, link: &mut Link, report: &mut Report) {
    let open = match link.call(&["ACL", "GETUSER", "default"]).await {
        Ok(Value::Array(fields)) => fields.windows(2).any(|pair| {
            reply::text(&pair[0]) == Some("flags")
                && matches!(&pair[1], Value::Array(flags)
                    if ["on", "nopass"].iter().all(|f| flags.iter().any(|have| reply::text(have) == Some(f))))
        }),
        // Not allowed to look, as it should be for a user with few rights.
        _ => false,
    };
    if name == "default" {
        let fix = "on a shared Redis give trapline a user of its own: see `trapline acl`";
        return report.add("R-USER", Severity::Info, "trapline works as the user 'default'", fix);
    }
    if open {
        let what = format!("user {name}, but 'default' needs no password: a refused login goes on as default");
        return report.add("R-USER", Severity::Warn, what, "redis-cli ACL SETUSER default off, or give it a password");
    }
    report.ok("R-USER", format!("user {name}"));
}

/// What `TYPE` should answer for a key in the configured format.
fn wanted(key: &Key, patient: &Patient) -> &'static str {
    match key.or {
        Some(other) if patient.legacy_position => other.shape.redis_type(),
        _ => key.shape.redis_type(),
    }
}

async fn types(patient: &Patient, link: &mut Link, report: &mut Report) {
    let mut foreign = Vec::new();
    let mut looked_at = 0;
    for key in KEYS.iter().filter(|k| k.shape != Shape::Channel) {
        let names = match key.name.split_once('{') {
            None => vec![key.name.to_owned()],
            Some((prefix, _)) => match scan(link, &format!("{prefix}*")).await {
                Some(names) => names.into_iter().filter(|n| crate::store::keys::row_of(n) == Some(key)).collect(),
                // Keys of strategies and coins cannot be listed without the right to SCAN.
                None => Vec::new(),
            },
        };
        for name in names {
            let Ok(found) = text(link.call(&["TYPE", &name]).await) else { continue };
            looked_at += 1;
            let wanted = wanted(key, patient);
            if found != "none" && found != wanted {
                foreign.push(format!("{name} is a {found} and should be a {wanted}"));
            }
        }
    }
    if foreign.is_empty() {
        report.ok("R-TYPE", format!("{looked_at} keys looked at"));
    }
    for what in foreign {
        if patient.migrate {
            let fix = "nothing: trapline renames it to legacy:KEY:TIME; find the program that wrote it";
            report.add("R-TYPE", Severity::Warn, what, fix);
        } else {
            let fix = "stop the program that wrote it, then `trapline migrate`, or migrate = true in [redis]";
            report.add("R-TYPE", Severity::Block, what, fix);
        }
    }
    let mut left = Vec::new();
    for name in SIMULATED {
        if matches!(link.call(&["EXISTS", name]).await, Ok(Value::Int(1))) {
            left.push(name);
        }
    }
    if left.is_empty() {
        report.ok("R-SIMULATION", "nothing left of simulations");
    } else {
        let what = format!("left by simulations: {} (old dashboards show them as prices)", left.join(", "));
        report.add("R-SIMULATION", Severity::Warn, what, "`trapline backup`, then `trapline clean-simulation`");
    }
}

async fn scan(link: &mut Link, pattern: &str) -> Option<Vec<String>> {
    let (mut cursor, mut names) = ("0".to_owned(), Vec::new());
    loop {
        let Ok(Value::Array(answer)) = link.call(&["SCAN", &cursor, "MATCH", pattern, "COUNT", "1000"]).await else {
            return None;
        };
        cursor = answer.first().and_then(reply::text)?.to_owned();
        if let Some(Value::Array(found)) = answer.get(1) {
            names.extend(found.iter().filter_map(reply::text).map(str::to_owned));
        }
        if cursor == "0" || names.len() >= LOOKED_AT {
            return Some(names);
        }
    }
}

async fn writers(patient: &Patient, link: &mut Link, report: &mut Report) {
    let db = link.db();
    match text(link.call(&["CLIENT", "LIST"]).await) {
        Ok(list) => match guard::writers(&list, db).as_slice() {
            [] => report.ok("R-WRITER", "no daemon is connected to this database"),
            [one] if one.name == guard::client_name(&patient.instance) => {
                report.add("R-WRITER", Severity::Info, "a daemon of this instance is writing", "");
            }
            [one] => {
                let fix = "of two on one database one is fenced: stop one, or give it another database in url";
                report.add(
                    "R-WRITER",
                    Severity::Warn,
                    format!("a daemon of another name writes here: {}", one.name),
                    fix,
                );
            }
            many => {
                let fix = "stop all but one, or give each its own database in url";
                report.add(
                    "R-WRITER",
                    Severity::Warn,
                    format!("{} connections write on this database", many.len()),
                    fix,
                );
            }
        },
        Err(error) => report.add("R-WRITER", Severity::Info, format!("unknown: {error}"), "grant +client|list"),
    }
}
