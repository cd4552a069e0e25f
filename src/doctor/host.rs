//! The machine: files, disk, limits, and who watches the process.

use super::{Patient, Report, Severity};
use std::path::Path;

const MIB: u64 = 1024 * 1024;
/// Less free space than this, and nothing durable can be promised.
const DISK_LEAST: u64 = 64 * MIB;
/// Sockets, files, and some air: the daemon itself uses about twenty, and one per connection to the exchange.
const FILES_LEAST: u64 = 64;
const FILES_GOOD: u64 = 256;

pub(super) fn examine(patient: &Patient, report: &mut Report) {
    files(report);
    if let (Some(config), Some(state)) = (&patient.config, &patient.state) {
        let wanted = (config.spool.retain_mib + config.supervision.journal_mib) * MIB;
        folder(state, wanted, report);
        secrets(config, report);
        watchdog(patient, report);
    }
}

fn files(report: &mut Report) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let what = if limit == u64::MAX { "no limit on open files".to_owned() } else { format!("{limit} open files") };
    let fix = "raise it: LimitNOFILE=1024 in the unit, or ulimit -n 1024";
    match limit {
        0..FILES_LEAST => report.add("H-FILES", Severity::Block, what, fix),
        FILES_LEAST..FILES_GOOD => report.add("H-FILES", Severity::Warn, what, fix),
        _ => report.ok("H-FILES", what),
    }
}

fn folder(state: &Path, wanted: u64, report: &mut Report) {
    // What does not exist yet is made by the daemon: its nearest parent has to bear it.
    let place = state.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let fix = "set dir in [state] to a folder of the user that runs trapline";
    let probe = tempfile::Builder::new().prefix(".trapline-doctor-").tempfile_in(place);
    if let Err(error) = &probe {
        let what = format!("{} cannot be written: {error}", state.display());
        return report.add("H-STATE", Severity::Block, what, fix);
    }
    drop(probe);
    report.ok("H-STATE", format!("{} can be written", state.display()));
    match rustix::fs::statvfs(place) {
        Ok(disk) => space(disk.f_bavail.saturating_mul(disk.f_frsize), wanted, report),
        Err(error) => report.add("H-DISK", Severity::Warn, format!("free space unknown: {error}"), "look with df -h"),
    }
}

fn space(free: u64, wanted: u64, report: &mut Report) {
    let what = format!("{} MiB free, spool and journal may take {} MiB", free / MIB, wanted / MIB);
    if free < DISK_LEAST {
        report.add("H-DISK", Severity::Block, what, "make room: events wait in memory only when the disk is full");
    } else if free < wanted {
        report.add("H-DISK", Severity::Warn, what, "make room, or lower retain_mib in [spool]");
    } else {
        report.ok("H-DISK", what);
    }
}

/// Modes are judged when the configuration is read; here only where the secrets come from.
fn secrets(config: &crate::config::Config, report: &mut Report) {
    let files = &config.exchange.credentials;
    let named = [&files.key_file, &files.secret_file, &files.passphrase_file, &config.redis.password_file];
    let count = named.iter().filter(|f| f.is_some()).count();
    if count == 0 && config.secrets.bitget.is_some() {
        let what = "secrets come from credentials of the service manager or from the environment";
        report.ok("H-SECRETS", what);
    } else {
        report.ok("H-SECRETS", format!("{count} files with secrets, closed to others"));
    }
}

fn watchdog(patient: &Patient, report: &mut Report) {
    let fix = "use deploy/trapline.service: it starts trapline again and notices when it hangs";
    if patient.notify_socket {
        if patient.watchdog {
            return report.ok("H-WATCHDOG", "a service manager watches this process");
        }
        return report.add("H-WATCHDOG", Severity::Warn, "a service manager started this, and no watchdog is set", fix);
    }
    let unit = std::process::Command::new("systemctl")
        .args(["show", "-p", "LoadState,WatchdogUSec,Restart", "trapline.service"])
        .output()
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        .unwrap_or_default();
    judge_unit(&unit, fix, report);
}

/// Of `systemctl show`; empty where there is no systemd.
fn judge_unit(unit: &str, fix: &str, report: &mut Report) {
    let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match (value("LoadState"), value("WatchdogUSec"), value("Restart")) {
        (Some("loaded"), Some(span), Some(restart)) if span != "0" && span != "infinity" && restart != "no" => {
            report.ok("H-WATCHDOG", format!("trapline.service: Restart={restart}, WatchdogSec={span}"));
        }
        (Some("loaded"), span, restart) => {
            let what =
                format!("trapline.service: Restart={}, WatchdogSec={}", restart.unwrap_or("?"), span.unwrap_or("?"));
            report.add("H-WATCHDOG", Severity::Warn, what, fix);
        }
        _ => {
            let what = "no unit trapline.service: make sure that something starts trapline again";
            report.add("H-WATCHDOG", Severity::Info, what, fix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severity(judge: impl FnOnce(&mut Report)) -> Severity {
        let mut report = Report::default();
        judge(&mut report);
        report.findings[0].severity
    }

    #[test]
    fn disks_on_both_sides_of_each_limit() {
        for (free, expected) in [
            (DISK_LEAST - 1, Severity::Block),
            (DISK_LEAST, Severity::Warn),
            (320 * MIB - 1, Severity::Warn),
            (320 * MIB, Severity::Ok),
        ] {
            assert_eq!(severity(|r| space(free, 320 * MIB, r)), expected, "free {free}");
        }
    }

    #[test]
    fn units_are_judged_by_restart_and_watchdog() {
        for (unit, expected) in [
            ("", Severity::Info),
            ("Restart=no\nWatchdogUSec=0\nLoadState=not-found\n", Severity::Info),
            ("Restart=always\nWatchdogUSec=10s\nLoadState=loaded\n", Severity::Ok),
            ("Restart=always\nWatchdogUSec=0\nLoadState=loaded\n", Severity::Warn),
            ("Restart=no\nWatchdogUSec=10s\nLoadState=loaded\n", Severity::Warn),
        ] {
            assert_eq!(severity(|r| judge_unit(unit, "", r)), expected, "{unit:?}");
        }
    }
}
