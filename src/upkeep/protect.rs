//! Server settings that keep the picture from vanishing: a bound on memory, a policy that cannot evict, an append-only
//! file, and the expiry of `current_position`.
//!
//! The order matters. The policy comes before the bound: the other way round the server would begin to evict at once.

use super::UpkeepError;
use super::acts::Act;
use super::bytes_shown;
use super::sample::{self, Kind, Sample};
use super::server::Server;
use crate::store::encode::PositionFormat;
use crate::store::encode::position::CURRENT_EXPIRY_S;
use crate::store::reply;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

const CURRENT: &str = "current_position";
const POLICY: &str = "maxmemory-policy";
const MEMORY: &str = "maxmemory";
const APPEND: &str = "appendonly";
const FSYNC: &str = "appendfsync";
/// A bound that is nearly reached refuses every write at once.
const USED_MAX: f64 = 0.9;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Building the append-only file of a large data set.
const REWRITE_LIMIT: Duration = Duration::from_secs(3_600);

/// What should be.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// Bytes.
    pub maxmemory: u64,
    pub format: PositionFormat,
}

/// What a row needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Right,
    /// `--apply` sets it.
    Set,
    /// Setting it would do harm, or is not possible; the text says what to do.
    Blocked(String),
}

/// One setting.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub setting: &'static str,
    pub before: String,
    pub wanted: String,
    pub state: State,
    /// As it stands after `--apply`.
    pub after: Option<String>,
}

/// All settings.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub redis: String,
    pub rows: Vec<Row>,
    /// Whether the settings outlive a restart of the server; known after `--apply`.
    pub kept: Option<Kept>,
}

/// What became of the server's configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Nothing was changed.
    Unchanged,
    Written,
    /// Until the next restart only; why, and these lines belong into the configuration.
    OnlyNow(String, Vec<String>),
}

impl Plan {
    pub fn is_right(&self) -> bool {
        self.rows.iter().all(|row| row.state == State::Right)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.redis)?;
        writeln!(f, "  {:<26} {:<16} {:<16} {:<16}", "SETTING", "BEFORE", "WANTED", "AFTER")?;
        for row in &self.rows {
            let after = match (&row.after, &row.state) {
                (Some(after), _) => after.as_str(),
                (None, State::Right) => "=",
                (None, State::Set) => "(plan)",
                (None, State::Blocked(_)) => "BLOCKED",
            };
            writeln!(f, "  {:<26} {:<16} {:<16} {after}", row.setting, row.before, row.wanted)?;
            if let State::Blocked(why) = &row.state {
                writeln!(f, "      {why}")?;
            }
        }
        match &self.kept {
            None | Some(Kept::Unchanged) => Ok(()),
            Some(Kept::Written) => writeln!(f, "  written to the server's configuration file"),
            Some(Kept::OnlyNow(why, lines)) => {
                writeln!(
                    f,
                    "  NOT kept over a restart of the server ({why}); put these lines into its configuration:"
                )?;
                lines.iter().try_for_each(|line| writeln!(f, "      {line}"))
            }
        }
    }
}

/// Reads what is set.
pub async fn plan(server: &mut Server, wishes: &Wishes) -> Result<Plan, UpkeepError> {
    let Some(config) = server.config(&[POLICY, MEMORY, APPEND, FSYNC]).await? else {
        return Err(UpkeepError::Missing(format!(
            "{} does not let this user read its settings (CONFIG): use a user with +config, or set where it is hosted: \
             {}",
            server.shown,
            all_lines(wishes).join(", ")
        )));
    };
    let used = server.info("memory").await?.number("used_memory").unwrap_or(0);
    let mut rows = server_rows(&config, used, wishes);
    let sample = sample::look(server, &[CURRENT]).await?.pop().unwrap_or_default();
    let ttl_s = reply::number(&server.ask(&["TTL", CURRENT]).await?).unwrap_or(-1);
    rows.push(expiry_row(&sample, ttl_s, wishes.format));
    Ok(Plan { redis: server.shown.clone(), rows, kept: None })
}

/// Every wanted setting as a line of a configuration file.
fn all_lines(wishes: &Wishes) -> Vec<String> {
    vec![
        format!("{POLICY} noeviction"),
        format!("{MEMORY} {}", wishes.maxmemory),
        format!("{APPEND} yes"),
        format!("{FSYNC} everysec"),
    ]
}

/// The same of what holds now. What was refused is no part of it: with a bound below its use the server would refuse
/// writes after its next start.
fn lines(plan: &Plan) -> Vec<String> {
    let of_server = plan.rows.iter().filter(|row| !row.setting.starts_with("expiry"));
    let fit = of_server.filter(|row| !matches!(row.state, State::Blocked(_)));
    fit.map(|row| format!("{} {}", row.setting, row.wanted)).collect()
}

fn server_rows(config: &BTreeMap<String, String>, used: u64, wishes: &Wishes) -> Vec<Row> {
    let now = |name: &str| config.get(name).cloned().unwrap_or_default();
    let row = |setting, wanted: &str, right: bool| {
        let state = if right { State::Right } else { State::Set };
        Row { setting, before: now(setting), wanted: wanted.to_owned(), state, after: None }
    };
    let policy = row(POLICY, "noeviction", now(POLICY) == "noeviction");
    let mut memory = row(MEMORY, &wishes.maxmemory.to_string(), now(MEMORY).parse() == Ok(wishes.maxmemory));
    if memory.state == State::Set && used as f64 > wishes.maxmemory as f64 * USED_MAX {
        memory.state = State::Blocked(format!(
            "{} are in use: with this bound the server would refuse writes; remove what is not needed, or ask for more \
             with --maxmemory",
            bytes_shown(used)
        ));
    }
    let fsync = now(FSYNC);
    let wanted = if fsync == "always" { "always" } else { "everysec" };
    vec![policy, memory, row(APPEND, "yes", now(APPEND) == "yes"), row(FSYNC, wanted, fsync == wanted)]
}

/// An expired key reads as 'flat' to old dashboards. So only a key that the daemon wrote, and renews, gets an expiry.
fn expiry_row(sample: &Sample, ttl_s: i64, format: PositionFormat) -> Row {
    let wanted = CURRENT_EXPIRY_S;
    let row = |before: String, state| Row {
        setting: "expiry of current_position",
        before,
        wanted: format!("{wanted} s"),
        state,
        after: None,
    };
    if sample.kind == Kind::None {
        // The daemon sets it with its first write.
        return row("no key yet".to_owned(), State::Right);
    }
    let before = if ttl_s < 0 { "none".to_owned() } else { format!("{ttl_s} s") };
    if !is_ours(sample, format) {
        let why = "the key is not trapline's, and an expired key would read as 'flat': put it aside with `trapline \
                   migrate --apply`; the daemon writes it with its expiry and renews that with each write";
        return row(before, State::Blocked(why.to_owned()));
    }
    let right = (0..=wanted).contains(&ttl_s);
    row(before, if right { State::Right } else { State::Set })
}

/// Whether the daemon wrote it: no other program knows these fields.
fn is_ours(sample: &Sample, format: PositionFormat) -> bool {
    match (sample.kind, format) {
        (Kind::Hash, PositionFormat::Hash) => {
            let has = |name: &[u8]| sample.pieces.chunks_exact(2).any(|pair| pair[0] == name);
            has(b"epoch") && has(b"stale")
        }
        (Kind::String, PositionFormat::LegacyJson) => {
            let value = sample.pieces.first().and_then(|text| serde_json::from_slice::<serde_json::Value>(text).ok());
            value.is_some_and(|v| v["ts_ms"].is_number() && v["stale_since"].is_number())
        }
        _ => false,
    }
}

/// Sets what the plan wants, in its order, and reads everything again.
pub async fn apply(server: &mut Server, plan: &Plan, wishes: &Wishes, act: &mut Act) -> Result<Plan, UpkeepError> {
    let (mut changed, mut config_changed) = (0, false);
    for row in plan.rows.iter().filter(|row| row.state == State::Set) {
        if row.setting.starts_with("expiry") {
            server.ask(&["EXPIRE", CURRENT, &CURRENT_EXPIRY_S.to_string()]).await?;
        } else {
            server.ask(&["CONFIG", "SET", row.setting, &row.wanted]).await?;
            config_changed = true;
        }
        if row.setting == APPEND {
            rewritten(server).await?;
        }
        act.step("set", json!({"setting": row.setting, "before": row.before, "after": row.wanted}))?;
        changed += 1;
    }
    let kept = match (changed, config_changed) {
        (0, _) | (_, false) => Kept::Unchanged,
        _ => keep(server, plan, act).await?,
    };
    // What counts is what the server says now.
    let now = self::plan(server, wishes).await?;
    let rows = plan
        .rows
        .iter()
        .zip(now.rows)
        .map(|(before, now)| Row { after: Some(now.before), before: before.before.clone(), ..now })
        .collect();
    Ok(Plan { redis: now.redis, rows, kept: Some(kept) })
}

/// Waits until the append-only file holds everything: before that a crash would lose what is only in memory.
async fn rewritten(server: &mut Server) -> Result<(), UpkeepError> {
    let begun = std::time::Instant::now();
    let mut told = begun;
    loop {
        let info = server.info("persistence").await?;
        if !info.is_on("aof_rewrite_in_progress") && !info.is_on("aof_rewrite_scheduled") {
            return match info.text("aof_last_bgrewrite_status") {
                "ok" => Ok(()),
                other => Err(UpkeepError::Missing(format!(
                    "{} could not build its append-only file (aof_last_bgrewrite_status is {other:?}): is its disk \
                     full, may it write to its folder?",
                    server.shown
                ))),
            };
        }
        if begun.elapsed() > REWRITE_LIMIT {
            return Err(UpkeepError::Later("the append-only file is still being built: look again later".to_owned()));
        }
        if told.elapsed() > Duration::from_secs(2) {
            told = std::time::Instant::now();
            let (done, total) = (info.text("current_save_keys_processed"), info.text("current_save_keys_total"));
            eprintln!(
                "the server builds its append-only file, {done} of {total} keys, {} s",
                begun.elapsed().as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn keep(server: &mut Server, plan: &Plan, act: &mut Act) -> Result<Kept, UpkeepError> {
    let kept = match server.ask(&["CONFIG", "REWRITE"]).await {
        Ok(_) => Kept::Written,
        Err(UpkeepError::Refused { code, detail, .. }) => Kept::OnlyNow(format!("{code} {detail}"), lines(plan)),
        Err(error) => return Err(error),
    };
    act.step("kept", json!(kept))?;
    Ok(kept)
}

/// Reads `1gb`, `512mb`, `1073741824` as Redis does (1k is 1000, 1kb is 1024).
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let lower = text.to_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let factor: u64 = match unit {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err(format!("{text:?}: write e.g. 1gb or 512mb")),
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| format!("{text:?}: write e.g. 1gb or 512mb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn memory_is_read_as_redis_reads_it() {
        for (text, bytes) in [("1GB", GIB), ("1g", 1_000_000_000), ("512mb", 512 << 20), ("7", 7)] {
            assert_eq!(parse_memory(text), Ok(bytes));
        }
        for text in ["", "0", "gb", "1 gb", "-1", "99999999999gb"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_policy_is_set_before_the_bound_and_a_bound_below_the_use_is_not() {
        let config = [(POLICY, "allkeys-lru"), (MEMORY, "0"), (APPEND, "no"), (FSYNC, "no")];
        let config: BTreeMap<_, _> = config.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let wishes = Wishes { maxmemory: GIB, format: PositionFormat::Hash };
        let rows = server_rows(&config, 1_000, &wishes);
        let order: Vec<_> = rows.iter().map(|r| (r.setting, r.state == State::Set)).collect();
        assert_eq!(order, [(POLICY, true), (MEMORY, true), (APPEND, true), (FSYNC, true)]);
        let full = server_rows(&config, GIB, &wishes);
        assert!(matches!(full[1].state, State::Blocked(_)));
        let right = [(POLICY, "noeviction"), (MEMORY, "1073741824"), (APPEND, "yes"), (FSYNC, "always")];
        let right: BTreeMap<_, _> = right.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert!(server_rows(&right, GIB * 2, &wishes).iter().all(|r| r.state == State::Right));
    }

    #[test]
    fn only_what_the_daemon_wrote_gets_an_expiry() {
        let ours = Sample::text(Kind::Hash, &["epoch", "7", "stale", "0"]);
        let seed = Sample::text(Kind::Hash, &["symbol", "BTCUSDT_UMCBL", "timestamp", "1"]);
        let old = Sample::text(Kind::String, &[r#"{"has_position":true}"#]);
        let json = Sample::text(Kind::String, &[r#"{"has_position":true,"ts_ms":1,"stale_since":0}"#]);
        let none = Sample::default();
        use PositionFormat::{Hash, LegacyJson};
        let cases = [
            ("there is none", &none, -2, Hash, "right"),
            ("ours, without", &ours, -1, Hash, "set"),
            ("ours, renewed", &ours, 3_599, Hash, "right"),
            ("ours, too long", &ours, 9_999, Hash, "set"),
            ("the seed's own bot", &seed, -1, Hash, "blocked"),
            ("an old program's", &old, -1, Hash, "blocked"),
            ("an old program's, with one already", &old, 60, LegacyJson, "blocked"),
            ("ours as JSON", &json, -1, LegacyJson, "set"),
            ("ours as JSON under the other setting", &json, -1, Hash, "blocked"),
        ];
        for (case, sample, ttl, format, expected) in cases {
            let state = match expiry_row(sample, ttl, format).state {
                State::Right => "right",
                State::Set => "set",
                State::Blocked(_) => "blocked",
            };
            assert_eq!(state, expected, "case: {case}");
        }
    }
}
