//! Whether a daemon writes here at this moment.

use super::UpkeepError;
use super::server::Server;
use crate::store::guard::{self, EPOCH};
use crate::store::reply;
use redis::Value;

/// A daemon renews its health each second.
const HEALTH_LIMIT_MS: i64 = 10_000;
const HEALTH: &str = "trapline:health";

/// Who writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Daemons {
    /// Names of the writers' connections on this database; `None` where the server does not tell.
    pub writers: Option<Vec<String>>,
    /// When a daemon last said that it lives.
    pub health_ms: Option<i64>,
    /// The process that owns the keys.
    pub epoch: Option<u64>,
}

impl Daemons {
    /// What shows that one runs; `None`: none does.
    pub fn running(&self, now_ms: i64) -> Option<String> {
        match (&self.writers, self.health_ms) {
            (Some(writers), _) if !writers.is_empty() => Some(format!("connection {}", writers.join(", "))),
            (Some(_), _) => None,
            (None, Some(at)) if (now_ms - at).abs() < HEALTH_LIMIT_MS => {
                Some(format!("{HEALTH} was written {} ms ago", now_ms - at))
            }
            (None, _) => None,
        }
    }
}

pub async fn daemons(server: &mut Server) -> Result<Daemons, UpkeepError> {
    let writers = match server.ask(&["CLIENT", "LIST"]).await {
        Ok(Value::VerbatimString { text, .. }) => Some(names(&text, server.db())),
        Ok(value) => Some(names(reply::text(&value).unwrap_or_default(), server.db())),
        Err(UpkeepError::Refused { .. }) => None,
        Err(error) => return Err(error),
    };
    // A key of another type, or one that this user may not read, says nothing.
    let health = optional(server.ask(&["HGET", HEALTH, "timestamp"]).await)?;
    let epoch = optional(server.ask(&["GET", EPOCH]).await)?;
    let epoch = epoch.as_ref().and_then(reply::number).and_then(|n| u64::try_from(n).ok());
    Ok(Daemons { writers, health_ms: health.as_ref().and_then(reply::number), epoch })
}

fn optional(answer: Result<Value, UpkeepError>) -> Result<Option<Value>, UpkeepError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(UpkeepError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Who writes another database has nothing to do with the keys of this one.
fn names(list: &str, db: i64) -> Vec<String> {
    guard::writers(list, db).iter().map(|writer| writer.name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_seen_by_its_connection_else_by_its_pulse() {
        let list = "id=3 name=trapline-writer-main age=1 db=0\nid=4 name= age=2 db=0\n\
                    id=5 name=trapline-writer-far age=1 db=3\n";
        assert_eq!(names(list, 0), ["trapline-writer-main"]);
        assert_eq!(names(list, 3), ["trapline-writer-far"]);
        assert_eq!(names(list, 1), Vec::<String>::new(), "nobody writes there");
        let seen = |writers: Option<&[&str]>, health_ms| {
            let writers = writers.map(|w| w.iter().map(|n| (*n).to_owned()).collect());
            Daemons { writers, health_ms, epoch: None }.running(100_000).is_some()
        };
        assert!(seen(Some(&["trapline-writer-a"]), None));
        assert!(!seen(Some(&[]), Some(99_999)), "the list is the better witness");
        assert!(seen(None, Some(95_000)) && !seen(None, Some(80_000)) && !seen(None, None));
    }
}
