//! Child processes and what the kernel says of them.

use super::{Fallible, fail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `/proc` counts time in hundredths of a second on every platform that Debian runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A child that does not outlive this value.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a child. Its standard input stays open until it is told to stop, its standard output is thrown away.
    pub fn start(name: &str, mut command: Command) -> Fallible<Self> {
        command.stdin(Stdio::piped());
        match command.spawn() {
            Ok(child) => Ok(Self { name: name.to_owned(), child }),
            Err(error) => fail(format!("cannot start {name} ({}): {error}", command.get_program().to_string_lossy())),
        }
    }

    /// Waits for the child's first line; what follows is read and thrown away.
    pub fn first_line(&mut self) -> Fallible<String> {
        let Some(stdout) = self.child.stdout.take() else { return fail("its output is not read") };
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Ok(line)
    }

    /// Fails with its exit code if the child has ended.
    pub fn must_live(&mut self) -> Fallible<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => fail(format!("{} ended early: {status} (--verbose shows what it says)", self.name)),
        }
    }

    /// Processor time used so far, user and system, all threads.
    pub fn cpu(&self) -> Fallible<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold spaces; fields 14 and 15 are counted after it.
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: Vec<u64> = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        match ticks[..] {
            [user, system] => Ok(Duration::from_secs_f64((user + system) as f64 / TICKS_PER_SECOND)),
            _ => fail(format!("/proc/{}/stat: unknown form", self.child.id())),
        }
    }

    /// Resident memory now and its highest mark, bytes.
    pub fn memory(&self) -> Fallible<(u64, u64)> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let now = field("VmRSS:").ok_or("no VmRSS in /proc")?;
        Ok((now * 1024, field("VmHWM:").unwrap_or(now) * 1024))
    }

    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id())).map_or(0, Iterator::count)
    }

    /// Asks the child to end and waits; kills it when it does not.
    pub fn stop(mut self) -> Fallible<()> {
        drop(self.child.stdin.take());
        self.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(8);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return fail(format!("{} did not end within 8 s of being asked", self.name));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Closes the child's standard input and waits for its end.
    pub fn finish(mut self) -> Fallible<()> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(8);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return fail(format!("{} did not end within 8 s of the end of its input", self.name));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
