//! SIGHUP: reads the configuration again. A wrong one is refused, with all its errors in the log, and the old one
//! stays. Of a good one each changed setting is named, and whether it holds from now on or from the next start.

use crate::config::{Config, Env};
use crate::telemetry::log::LogHandle;
use crate::topology::Daemon;
use std::path::Path;
use std::sync::atomic::Ordering;
use tracing::{info, warn};

/// Settings that hold at once; all others were built into rooms and connections at the start.
const APPLIED: [&str; 3] = ["allow_drills", "log.level", "supervision.stop_deadline_ms"];

pub(super) fn reload(config: &mut Config, file: &Path, daemon: &Daemon, log: &LogHandle) {
    let new = match Config::load(file, &Env::from_process()) {
        Ok(new) => new,
        Err(errors) => {
            for line in errors.to_string().lines() {
                warn!("configuration refused: {line}");
            }
            return warn!(config = %file.display(), "configuration refused, the old one stays");
        }
    };
    let changed = changes(config, &new);
    if changed.is_empty() {
        return info!(config = %file.display(), "configuration read again, nothing changed");
    }
    log.set_level(new.log.level);
    daemon.allow_drills.store(new.allow_drills, Ordering::Relaxed);
    for (setting, old, now) in &changed {
        if APPLIED.contains(&setting.as_str()) {
            info!(%setting, %old, new = %now, "setting applied");
        } else {
            warn!(%setting, %old, new = %now, "setting changed, needs a restart");
        }
    }
    // What needs a restart is compared with what runs, so that it is named again at the next reading.
    config.log.level = new.log.level;
    config.allow_drills = new.allow_drills;
    config.supervision.stop_deadline_ms = new.supervision.stop_deadline_ms;
}

/// Setting, old and new value, in the order of the configuration. Secrets are no part of it.
fn changes(old: &Config, new: &Config) -> Vec<(String, String, String)> {
    let lines = |config: &Config| -> Vec<(String, String)> {
        config.described().into_iter().filter_map(|line| Some((line.path, line.value?))).collect()
    };
    let (before, after) = (lines(old), lines(new));
    let none = || "(none)".to_owned();
    let value =
        |list: &[(String, String)], path: &str| list.iter().find(|(known, _)| known == path).map(|(_, v)| v.clone());
    let mut changed: Vec<_> = after
        .iter()
        .filter_map(|(path, now)| {
            let old = value(&before, path);
            (old.as_ref() != Some(now)).then(|| (path.clone(), old.unwrap_or_else(none), now.clone()))
        })
        .collect();
    let gone = before.iter().filter(|(path, _)| value(&after, path).is_none());
    changed.extend(gone.map(|(path, old)| (path.clone(), old.clone(), none())));
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn changes_name_setting_old_and_new() {
        let old = Config::default();
        let cases: [(&str, Box<dyn Fn(&mut Config)>, Vec<&str>); 3] = [
            ("nothing", Box::new(|_: &mut Config| {}), vec![]),
            ("a level", Box::new(|c: &mut Config| c.log.level = LogLevel::Debug), vec!["log.level"]),
            (
                "two",
                Box::new(|c: &mut Config| {
                    c.allow_drills = true;
                    c.redis.url = "redis://127.0.0.1:1".to_owned();
                }),
                vec!["allow_drills", "redis.url"],
            ),
        ];
        for (name, change, expected) in cases {
            let mut new = Config::default();
            change(&mut new);
            let changed = changes(&old, &new);
            let paths: Vec<&str> = changed.iter().map(|(path, ..)| path.as_str()).collect();
            assert_eq!(paths, expected, "case: {name}");
            assert!(changed.iter().all(|(_, old, now)| old != now), "case: {name}");
        }
    }

    #[test]
    fn what_is_applied_at_once_exists() {
        let paths: Vec<String> = Config::default().described().into_iter().map(|line| line.path).collect();
        for setting in APPLIED {
            assert!(paths.iter().any(|path| path == setting), "{setting}");
        }
    }
}
