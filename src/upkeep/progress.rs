//! How far a long walk is: on standard error, in one line that is renewed on a terminal, and now and then in a log.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const ON_TERMINAL: Duration = Duration::from_millis(200);
const IN_LOG: Duration = Duration::from_secs(2);

/// Counts something with its rate; the last line always comes.
pub struct Progress {
    what: &'static str,
    done: u64,
    total: Option<u64>,
    begun: Instant,
    told: Instant,
    terminal: bool,
    silent: bool,
}

impl Progress {
    /// `what` stands behind the number: `keys looked at`.
    pub fn new(what: &'static str) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Self { what, done: 0, total: None, begun: now, told: now, terminal, silent: false }
    }

    /// Tells nobody; for tests and for walks inside of another.
    pub fn silent(what: &'static str) -> Self {
        Self { silent: true, ..Self::new(what) }
    }

    /// What is expected in all; more may come.
    pub fn of(&mut self, total: u64) {
        self.total = Some(total);
    }

    pub fn add(&mut self, count: u64) {
        self.set(self.done + count);
    }

    pub fn set(&mut self, done: u64) {
        self.done = done;
        let every = if self.terminal { ON_TERMINAL } else { IN_LOG };
        if self.told.elapsed() >= every {
            self.told = Instant::now();
            let head = if self.terminal { "\r\x1b[K" } else { "" };
            let tail = if self.terminal { "" } else { "\n" };
            self.tell(head, tail);
        }
    }

    pub fn done(&self) -> u64 {
        self.done
    }

    /// The last line.
    pub fn end(&mut self) {
        let head = if self.terminal { "\r\x1b[K" } else { "" };
        self.tell(head, "\n");
    }

    fn tell(&self, head: &str, tail: &str) {
        if !self.silent {
            // A closed standard error is no reason to stop.
            let _ = write!(
                std::io::stderr(),
                "{head}{}{tail}",
                line(self.done, self.total, self.what, self.begun.elapsed())
            );
        }
    }
}

fn line(done: u64, total: Option<u64>, what: &str, took: Duration) -> String {
    let rate = done as f64 / took.as_secs_f64().max(0.001);
    let share = match total {
        Some(total) if total > 0 => format!(" of {total} ({:.0} %)", done as f64 * 100.0 / total as f64),
        _ => String::new(),
    };
    format!("{done}{share} {what}, {rate:.0}/s, {:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_count_share_and_rate() {
        let took = Duration::from_secs(4);
        assert_eq!(line(2_000, Some(8_000), "keys", took), "2000 of 8000 (25 %) keys, 500/s, 4.0 s");
        assert_eq!(line(0, None, "bytes", took), "0 bytes, 0/s, 4.0 s");
    }
}
