//! Whether trapline can keep its promises here: what stands around it, looked at once, each finding with a stable code
//! and a line that says what to do.

pub mod acl;
mod exchange;
mod host;
mod redis;

use crate::config::Config;
use crate::exchange::bitget::rest::Rest;
use crate::store::link::Target;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Ok,
    /// Worth knowing.
    Info,
    /// It works, and a promise is weaker than it could be.
    Warn,
    /// trapline cannot do its work like this.
    Block,
}

impl Severity {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Block => "block",
        }
    }
}

/// Everything that is looked at: code, and the question behind it. `docs/doctor.md` is rendered from this.
pub const CODES: &[(&str, &str)] = &[
    ("C-CONFIG", "is the configuration free of faults?"),
    ("R-CONNECT", "does Redis answer, and does it let this user in?"),
    ("R-LOADING", "has Redis finished loading its data?"),
    ("R-BUSY", "is Redis free of scripts that do not end?"),
    ("R-MODE", "is it a Redis server or a cluster, not a Sentinel?"),
    ("R-ROLE", "does this node take writes?"),
    ("R-VERSION", "is it 6.2 or newer?"),
    ("R-PERSIST", "does it keep an append-only file?"),
    ("R-SAVE", "did its last save to disk succeed?"),
    ("R-EVICT", "are keys safe from eviction?"),
    ("R-MEMORY", "is there memory left?"),
    ("R-CLIENTS", "are there connections left?"),
    ("R-RIGHTS", "may this user do all that trapline does?"),
    ("R-USER", "is trapline's user its own, with the door behind it closed?"),
    ("R-TYPE", "does each key of ours hold the type of the table?"),
    ("R-SIMULATION", "is it free of what the older system's simulations left?"),
    ("R-WRITER", "who writes on this database now?"),
    ("X-REACH", "does the exchange answer?"),
    ("X-CLOCK", "do its clock and ours agree?"),
    ("X-KEY", "does it accept the key?"),
    ("X-RIGHTS", "may the key read only?"),
    ("X-ADDRESS", "is the key bound to addresses?"),
    ("X-SYMBOLS", "does it list the configured symbols, and do they trade?"),
    ("H-SECRETS", "are the files with secrets closed to others?"),
    ("H-STATE", "can the state folder be written?"),
    ("H-DISK", "is there room for spool and journal?"),
    ("H-FILES", "may the process open enough files?"),
    ("H-WATCHDOG", "does somebody start it again, and notice when it hangs?"),
];

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of [`CODES`].
    pub code: &'static str,
    pub severity: Severity,
    pub what: String,
    /// What a person does about it; empty where nothing has to be done.
    pub fix: String,
}

/// All answers, in the order of [`CODES`].
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// The least-privilege line for the Redis that answered.
    pub acl: Option<String>,
}

impl Report {
    fn add(&mut self, code: &'static str, severity: Severity, what: impl Into<String>, fix: impl Into<String>) {
        debug_assert!(CODES.iter().any(|(known, _)| *known == code), "{code} is not in the list");
        self.findings.push(Finding { code, severity, what: what.into(), fix: fix.into() });
    }

    fn ok(&mut self, code: &'static str, what: impl Into<String>) {
        self.add(code, Severity::Ok, what, "");
    }

    pub fn blocks(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Block)
    }

    fn sort(&mut self) {
        let place = |f: &Finding| CODES.iter().position(|(code, _)| *code == f.code);
        self.findings.sort_by_key(place);
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for f in &self.findings {
            let _ = writeln!(out, "{:<6}{:<14}{}", f.severity.label(), f.code, f.what);
            if !f.fix.is_empty() {
                let _ = writeln!(out, "{:>20}fix: {}", "", f.fix);
            }
        }
        if let Some(line) = &self.acl {
            let _ = write!(out, "\nleast privilege for this Redis (see `trapline acl`):\n{line}\n");
        }
        let _ = write!(
            out,
            "\n{} good, {} to know, {} to mend, {} in the way",
            self.count(Severity::Ok),
            self.count(Severity::Info),
            self.count(Severity::Warn),
            self.count(Severity::Block)
        );
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|f| json!({"code": f.code, "severity": f.severity.label(), "what": f.what, "fix": f.fix}))
            .collect();
        json!({"blocked": self.blocks(), "findings": findings, "acl": self.acl})
    }
}

/// What is known before anything is asked.
pub struct Patient {
    pub target: Option<Target>,
    /// Name of the daemon in its own keys.
    pub instance: String,
    /// Whether foreign types are put aside by the daemon itself.
    pub migrate: bool,
    pub legacy_position: bool,
    pub rest: Option<Rest>,
    pub config: Option<Config>,
    pub state: Option<PathBuf>,
    /// Variables of the environment that a service manager sets.
    pub notify_socket: bool,
    pub watchdog: bool,
}

/// Looks at everything that is there to be looked at.
pub async fn examine(patient: &Patient, report: &mut Report) {
    if let Some(target) = &patient.target {
        redis::examine(target, patient, report).await;
    }
    if let (Some(rest), Some(config)) = (&patient.rest, &patient.config) {
        exchange::examine(rest, config, report).await;
    }
    host::examine(patient, report);
    report.sort();
}

/// Faults of a configuration as findings: those about files with secrets under a code of their own.
pub fn config_faults(errors: &crate::config::ConfigErrors, report: &mut Report) {
    for error in &errors.list {
        let secret = ["_file", "credentials"].iter().any(|word| error.setting.contains(word));
        let code = if secret { "H-SECRETS" } else { "C-CONFIG" };
        let whose = if error.setting.is_empty() { &errors.file } else { &error.setting };
        report.add(code, Severity::Block, format!("{whose}: {}", error.wrong.problem), &error.wrong.remedy);
    }
    report.sort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_blocks_and_what_to_do() {
        let mut report = Report::default();
        report.ok("R-VERSION", "redis 7.0.15");
        assert!(!report.blocks());
        report.add("R-CONNECT", Severity::Block, "no answer", "start it");
        report.sort();
        assert!(report.blocks());
        let text = report.text();
        assert!(text.starts_with("block R-CONNECT     no answer\n"), "{text}");
        assert!(
            text.contains("fix: start it") && text.ends_with("1 good, 0 to know, 0 to mend, 1 in the way"),
            "{text}"
        );
        assert_eq!(report.json()["findings"][0]["severity"], "block");
    }

    #[test]
    fn no_code_stands_twice() {
        let codes: std::collections::BTreeSet<_> = CODES.iter().map(|(code, _)| code).collect();
        assert_eq!(codes.len(), CODES.len());
    }
}
