//! What the daemon's process costs, once a second; and what a list of spans amounts to.

use std::collections::BTreeMap;

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Of the process, so each of its lives has its own line.
    pub pid: u32,
    /// Since this life began, s.
    pub age_s: f64,
    /// In this life.
    pub events: u64,
    pub rss_kib: f64,
    /// Of these, pages of files: the program's own code, which comes as it is first run and which the kernel takes back
    /// when it wants room.
    pub file_kib: f64,
    pub fds: f64,
    pub threads: f64,
}

pub fn look(pid: u32, age_s: f64, events: u64) -> Option<Look> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as f64;
    let (rss_kib, file_kib, threads) = (field("VmRSS:")?, field("RssFile:")?, field("Threads:")?);
    Some(Look { pid, age_s, events, rss_kib, file_kib, fds, threads })
}

impl Look {
    /// What the process has put somewhere and not given back.
    pub fn own_kib(&self) -> f64 {
        self.rss_kib - self.file_kib
    }
}

/// How steep a figure is.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    pub per_hour: f64,
    /// Its standard error: twice as much either way is what the looks cannot tell from none.
    pub error: f64,
    /// Over so many hours of lives it was seen.
    pub hours: f64,
}

/// Looks with the lives of a process that each began anew: steepness within lives, not between them.
#[derive(Default)]
pub struct Looks {
    pub all: Vec<Look>,
}

impl Looks {
    /// A process is not judged by what it takes until every buffer has been full once. The one that takes longest is that
    /// of the events that are known again.
    const WARM_S: f64 = 300.0;
    const WARM_EVENTS: u64 = trapline::store::ids::REMEMBERED as u64;
    /// A shorter life says nothing of a slope: what it takes while it warms up would pass for one.
    const LIFE_LEAST_S: f64 = 1_800.0;
    /// The least of each span counts. What is left behind lifts it; what a fault takes for a while does not.
    const SPAN_S: f64 = 60.0;

    pub fn add(&mut self, look: Option<Look>) {
        // Bounded: a day of them is 86 400.
        if self.all.len() < 1_000_000 {
            self.all.extend(look);
        }
    }

    pub fn max(&self, what: impl Fn(&Look) -> f64) -> f64 {
        self.all.iter().map(what).fold(0.0, f64::max)
    }

    /// The least of each span of each life that is long enough: hours since it began, and the figure.
    fn floors(&self, what: impl Fn(&Look) -> f64) -> Vec<Vec<(f64, f64)>> {
        let mut lives: BTreeMap<u32, (f64, BTreeMap<u64, f64>)> = BTreeMap::new();
        for look in &self.all {
            let (age_s, spans) = lives.entry(look.pid).or_default();
            *age_s = age_s.max(look.age_s);
            if look.age_s >= Self::WARM_S && look.events >= Self::WARM_EVENTS {
                let least = spans.entry((look.age_s / Self::SPAN_S) as u64).or_insert(f64::MAX);
                *least = least.min(what(look));
            }
        }
        let long = lives.into_values().filter(|(age_s, _)| *age_s >= Self::LIFE_LEAST_S);
        let hours = |span: u64| span as f64 * Self::SPAN_S / 3_600.0;
        long.map(|(_, spans)| spans.into_iter().map(|(span, least)| (hours(span), least)).collect()).collect()
    }

    /// By least squares over all long lives, each with a height of its own.
    pub fn slope(&self, what: impl Fn(&Look) -> f64) -> Option<Slope> {
        let lives: Vec<_> = self.floors(what).into_iter().filter(|points| points.len() > 2).collect();
        let mut centred = Vec::new();
        let mut hours = 0.0;
        for points in &lives {
            let n = points.len() as f64;
            let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
            centred.push(points.iter().map(|(x, y)| (x - mx, y - my)).collect::<Vec<_>>());
            hours += points.last().map_or(0.0, |p| p.0) - points.first().map_or(0.0, |p| p.0);
        }
        let sum = |of: &dyn Fn(f64, f64) -> f64| centred.iter().flatten().map(|(x, y)| of(*x, *y)).sum::<f64>();
        let xx = sum(&|x, _| x * x);
        if xx <= 0.0 {
            return None;
        }
        let per_hour = sum(&|x, y| x * y) / xx;
        let rest = |(x, y): &(f64, f64)| y - per_hour * x;
        let squares = centred.iter().flatten().map(|p| rest(p).powi(2)).sum::<f64>();
        let (count, freed) = (centred.iter().map(Vec::len).sum::<usize>(), centred.len() + 1);
        // A minute is like the one before it: so many fewer of them tell anything.
        let next: f64 = centred.iter().flat_map(|life| life.windows(2)).map(|two| rest(&two[0]) * rest(&two[1])).sum();
        let alike = if squares > 0.0 { (next / squares).clamp(0.0, 0.9) } else { 0.0 };
        let spread = squares / count.saturating_sub(freed).max(1) as f64 / xx;
        Some(Slope { per_hour, error: (spread * (1.0 + alike) / (1.0 - alike)).sqrt(), hours })
    }

    /// The least of each tenth of the longest life, its beginning included: a slope is one number, this shows its shape.
    pub fn tenths(&self, what: impl Fn(&Look) -> f64) -> Vec<f64> {
        let Some(longest) = self.all.iter().max_by(|a, b| a.age_s.total_cmp(&b.age_s)) else { return Vec::new() };
        let mut tenths = vec![f64::MAX; 10];
        for look in self.all.iter().filter(|look| look.pid == longest.pid) {
            let tenth = (look.age_s / longest.age_s * 10.0) as usize;
            let least = &mut tenths[tenth.min(9)];
            *least = least.min(what(look));
        }
        tenths.retain(|least| *least < f64::MAX);
        tenths
    }
}
