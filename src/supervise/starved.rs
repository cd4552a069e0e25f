//! Whether a room that is silent was let run at all. On a machine with far more to do than processors, a thread may stand
//! in line for seconds while the watchdog, which hardly does anything, is served at once: that is nobody's hang.

use std::time::{Duration, Instant};

use super::judge::is_starved;

/// What the kernel counts of a thread since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// It had a processor.
    pub(crate) ran: Duration,
    /// It was ready to run and had none; what it waits just now is added only when it gets one.
    pub(crate) waited: Duration,
    /// It runs or is ready to.
    pub(crate) is_ready: bool,
}

impl Turns {
    /// `None` where the system does not tell, and for a thread that is gone.
    fn of(tid: &str) -> Option<Self> {
        let turns = Self::parse(&std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?)?;
        Some(Self { is_ready: state_of(tid).is_some_and(|state| state == "R"), ..turns })
    }

    /// `ran waited slices`, times in nanoseconds.
    fn parse(schedstat: &str) -> Option<Self> {
        let mut fields = schedstat.split_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
        Some(Self { ran: fields.next()??, waited: fields.next()??, is_ready: false })
    }
}

/// The kernel's letter for what a thread does: `R` runs or is ready to, `S` and `D` wait for something.
pub(crate) fn state_of(tid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
    // Behind the name, which may hold anything.
    Some(stat.rsplit(')').next()?.split_whitespace().next()?.to_owned())
}

/// One room's thread, from when the room is first in doubt until it shows a sign of life.
#[derive(Debug, Default)]
pub(crate) struct InLine {
    began: Option<(String, Instant, Turns)>,
    told: bool,
}

impl InLine {
    /// The room is in doubt: from now on its thread is followed.
    pub(crate) fn doubt(&mut self, tid: Option<&str>, now: Instant) {
        if self.began.as_ref().map(|(known, ..)| known.as_str()) != tid {
            self.began = tid.and_then(|tid| Some((tid.to_owned(), now, Turns::of(tid)?)));
        }
    }

    /// It showed a sign of life.
    pub(crate) fn clear(&mut self) {
        if self.began.is_some() {
            *self = Self::default();
        }
    }

    /// What its thread has got since the doubt began, if that was too little to judge it.
    pub(crate) fn excuse(&self, deadline: Duration, now: Instant) -> Option<Turns> {
        let (tid, since, before) = self.began.as_ref()?;
        let after = Turns::of(tid)?;
        let got = Turns {
            ran: after.ran.saturating_sub(before.ran),
            waited: after.waited.saturating_sub(before.waited),
            is_ready: after.is_ready,
        };
        is_starved(now.saturating_duration_since(*since), got, deadline).then_some(got)
    }

    /// True once in each doubt.
    pub(crate) fn tell_once(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }
}

/// The kernel's number of the calling thread, as /proc names it.
pub(crate) fn this_thread() -> Option<String> {
    let path = std::fs::read_link("/proc/thread-self").ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_is_read() {
        let ms = Duration::from_millis;
        assert_eq!(Turns::parse("5000000 7000000 12\n"), Some(Turns { ran: ms(5), waited: ms(7), is_ready: false }));
        assert_eq!(Turns::parse("5000000"), None);
        assert_eq!(Turns::parse("a b c"), None);
        let own = this_thread().expect("Linux tells");
        // Counted at the next tick of the machine's timer, or when it stops running.
        while Turns::of(&own).expect("it runs").ran.is_zero() {
            std::hint::spin_loop();
        }
        assert!(Turns::of(&own).is_some_and(|turns| turns.is_ready), "who asks runs");
        assert_eq!(Turns::of("0"), None);
    }

    /// A thread that sleeps does not stand in line, and nobody is no excuse.
    #[test]
    fn who_sleeps_has_no_excuse() {
        let deadline = Duration::from_millis(100);
        let (tell, told) = std::sync::mpsc::channel();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tell.send(this_thread()).expect("heard");
            let _ = wait.recv();
        });
        let tid = told.recv().expect("told").expect("Linux tells");
        while state_of(&tid).as_deref() != Some("S") {
            std::thread::yield_now();
        }
        let (mut line, now) = (InLine::default(), Instant::now());
        assert_eq!(line.excuse(deadline, now), None, "not in doubt");
        line.doubt(Some(&tid), now);
        assert_eq!(line.excuse(deadline, now + Duration::from_secs(3)), None, "it sleeps");
        line.doubt(this_thread().as_deref(), now);
        assert!(
            line.excuse(Duration::from_secs(3_600), now + Duration::from_secs(3)).is_some(),
            "ready, and hardly ran"
        );
        assert_eq!(line.excuse(Duration::ZERO, now + Duration::from_secs(3)), None, "it ran for long enough");
        line.doubt(None, now);
        assert_eq!(line.excuse(deadline, now), None, "no thread");
        line.clear();
        assert!(line.tell_once() && !line.tell_once());
        drop(end);
        sleeper.join().expect("it ends");
    }
}
