//! P16, the random day: all faults mixed by a seed, in chapters; after each the exchange stands still and everything is
//! compared.

use crate::Wanted;
use crate::chaos::Chaos;
use crate::eyes::{self, Shared, lock};
use crate::measure::{Look, Looks, look};
use crate::plan::Plan;
use crate::quantile::quantile;
use crate::scene::{SYMBOLS, Scene};
use crate::support::figures::Figures;
use crate::support::wait_for;
use crate::verdict::{self, Events, Messages};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Faults until everything is compared.
const CHAPTER: Duration = Duration::from_secs(12);
const STEP: Duration = Duration::from_millis(10);

/// What a day came to.
pub struct Told {
    pub seed: u64,
    /// The process was never ended on purpose.
    pub one_life: bool,
    pub span: Duration,
    pub chapters: u64,
    pub injected: BTreeMap<String, u64>,
    pub total: u64,
    pub starts: u64,
    pub escalated: Vec<i32>,
    pub events: Events,
    pub messages: Messages,
    pub reads: u64,
    pub mark_lag_ms: i64,
    pub recovered: Vec<(&'static str, f64)>,
    pub restarts: BTreeMap<String, Vec<f64>>,
    pub looks: Looks,
    pub wrong: Vec<String>,
}

/// Runs one; what was wrong is in it, and the scene's folders are named and kept then.
pub fn run(wanted: &Wanted) -> Told {
    let begun = Instant::now();
    let mut scene = Scene::start(wanted.seed, wanted.fills);
    eprintln!("logs: {} and {}", scene.folder.path().display(), scene.daemon.state.path().display());
    scene.wait_ready();
    let shared = Arc::new(Shared::default());
    let readers = eyes::open(scene.redis.socket(), &shared);
    let held = format!("trapline:{}:position:long", SYMBOLS[0]);
    wait_for("the position that stays", || {
        let size = scene.redis.run(&["HGET", &held, "size"]);
        let seen = redis::from_redis_value::<Option<String>>(size.unwrap_or(redis::Value::Nil)).ok().flatten();
        if seen.as_deref() == Some(crate::scene::HELD) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    shared.held.store(true, SeqCst);
    let mut day = Day {
        plan: Plan::new(ChaCha8Rng::seed_from_u64(wanted.seed), wanted.one_life),
        chaos: Chaos::new(),
        looks: Looks::default(),
        lives: BTreeMap::new(),
        born: (scene.daemon.child.id(), Instant::now(), 0),
        looked: Instant::now(),
        log: std::fs::File::create(scene.folder.path().join("troubles")).expect("the list of troubles"),
    };
    let (mut chapters, mut wrong) = (0, Vec::new());
    loop {
        day.chapter(&mut scene, &shared);
        chapters += 1;
        wrong.extend(day.check(&mut scene, &shared));
        let (events, span) = (shared.events(), begun.elapsed());
        eprintln!(
            "{:>5} s  chapter {chapters}  faults {}  starts {}  events {events}  reads {}",
            span.as_secs(),
            day.chaos.total,
            day.chaos.starts,
            lock(&shared.state).reads,
        );
        let enough = wanted.seconds.is_none_or(|s| span >= Duration::from_secs(s))
            && wanted.events.is_none_or(|wanted| events >= wanted);
        if enough || !wrong.is_empty() {
            break;
        }
        scene.exchange.venue.resume();
    }
    // While nothing is traded, market data grow stale and alerts go on: the reader is a moment behind.
    let mut differs = verdict::content(&scene, &shared);
    for _ in 0..40 {
        if differs.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
        differs = verdict::content(&scene, &shared);
    }
    wrong.extend(differs);
    let code = scene.daemon.stop();
    if code != 0 {
        wrong.push(format!("the last end was not in order: exit code {code}"));
    }
    shared.over.store(true, SeqCst);
    for reader in readers {
        let _ = reader.join();
    }
    wrong.extend(verdict::invented_sizes(&shared, &scene.truth));
    wrong.extend(verdict::journal(&scene));
    wrong.extend(verdict::secrets(&scene));
    let told = day.told(wanted, begun.elapsed(), chapters, &scene, &shared, wrong);
    if told.wrong.is_empty() && !wanted.keep {
        scene.forget();
    }
    told
}

struct Day {
    plan: Plan,
    chaos: Chaos,
    looks: Looks,
    /// The newest count of each life of the process.
    lives: BTreeMap<u32, Messages>,
    /// The life that goes on: its process, when it began, events before it.
    born: (u32, Instant, u64),
    looked: Instant,
    log: std::fs::File,
}

impl Day {
    fn chapter(&mut self, scene: &mut Scene, shared: &Shared) {
        let until = Instant::now() + CHAPTER;
        let mut next = self.plan.next(true);
        let mut denied = false;
        let mut due = Instant::now();
        while Instant::now() < until {
            self.chaos.step(scene, shared);
            self.look(scene, shared);
            if Instant::now() >= due && self.chaos.can(&next.what) {
                self.tell(&format!("{:?} for {} ms", next.what, next.ms));
                self.chaos.start(&next, scene, shared);
                due = Instant::now() + Duration::from_millis(next.gap_ms);
                denied |= next.what.denies_positions();
                next = self.plan.next(!denied);
            }
            std::thread::sleep(STEP);
        }
    }

    /// What was done when stands beside the logs.
    fn tell(&mut self, what: &str) {
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(eyes::now_ms()) * 1_000_000);
        let at = at.map_or_else(|_| String::new(), |at| at.time().to_string());
        let _ = writeln!(self.log, "{at} {what}");
    }

    fn look(&mut self, scene: &Scene, shared: &Shared) {
        if self.looked.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.looked = Instant::now();
        let pid = scene.daemon.child.id();
        if self.born.0 != pid {
            self.born = (pid, Instant::now(), shared.events());
        }
        let (_, since, before) = self.born;
        self.looks.add(look(pid, since.elapsed().as_secs_f64(), shared.events().saturating_sub(before)));
    }

    /// All faults end, the picture has to become fresh, the exchange stands still, everything is compared.
    fn check(&mut self, scene: &mut Scene, shared: &Shared) -> Vec<String> {
        self.tell("calm");
        self.chaos.calm(scene, shared);
        scene.wait_ready();
        scene.exchange.venue.pause();
        wait_for("the exchange stands still", || {
            if scene.exchange.venue.stands_still() { Ok(()) } else { Err("not yet".to_owned()) }
        });
        self.tell("the exchange stands still");
        let mut wrong = verdict::settle(scene, shared, &scene.truth);
        self.tell(&format!("compared: {} wrong", wrong.len()));
        self.lives.insert(scene.daemon.child.id(), verdict::messages(scene));
        let state = lock(&shared.state);
        for list in [&state.regressions, &state.false_flats, &state.unmarked] {
            wrong.extend(list.iter().cloned());
        }
        wrong
            .extend(self.chaos.escalated.drain(..).map(|code| format!("the daemon ended by itself, exit code {code}")));
        let bad = self.chaos.ended.keys().filter(|code| ![0, 75].contains(*code));
        wrong.extend(bad.map(|code| format!("exit code {code} after SIGTERM")));
        wrong
    }

    fn told(
        self,
        wanted: &Wanted,
        span: Duration,
        chapters: u64,
        scene: &Scene,
        shared: &Shared,
        mut wrong: Vec<String>,
    ) -> Told {
        let mut restarts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for entry in scene.daemon.journal().iter().filter(|entry| entry.event == "restarted") {
            let cause = entry.fields.get("cause").and_then(|c| c.as_str().or_else(|| c["kind"].as_str()));
            let times = restarts.entry(cause.unwrap_or("?").to_owned()).or_default();
            times.push(entry.number("recovery_us") as f64 / 1_000.0);
        }
        let mut messages = Messages::default();
        for life in self.lives.values() {
            messages.sent += life.sent;
            messages.handled += life.handled;
            messages.quarantined += life.quarantined;
            messages.refused += life.refused;
            messages.replaced += life.replaced;
            messages.left += life.left;
        }
        let events = verdict::events(shared, &scene.truth);
        if events.fills == 0 {
            wrong.push("no fill at all: nothing was shown".to_owned());
        }
        let state = lock(&shared.state);
        Told {
            seed: wanted.seed,
            one_life: wanted.one_life,
            span,
            chapters,
            injected: self.chaos.injected,
            total: self.chaos.total,
            starts: self.chaos.starts,
            escalated: self.chaos.escalated,
            events,
            messages,
            reads: state.reads,
            mark_lag_ms: state.mark_lag_ms,
            recovered: state.recovered.clone(),
            restarts,
            looks: self.looks,
            wrong,
        }
    }
}

impl Told {
    pub fn publish(&self) {
        let slope = self.looks.slope(Look::own_kib);
        let (e, m) = (&self.events, &self.messages);
        let mut more: BTreeMap<&'static str, serde_json::Value> = BTreeMap::new();
        more.insert("seed", self.seed.into());
        more.insert("span s", self.span.as_secs().into());
        more.insert("comparisons with the exchange", self.chapters.into());
        more.insert("reads of the state", self.reads.into());
        more.insert("state regressions", 0.into());
        more.insert("secrets found", 0.into());
        more.insert("fills told late by REST", e.late.into());
        more.insert("starts of the daemon", self.starts.into());
        more.insert("latest stale mark, ms after its limit", self.mark_lag_ms.into());
        more.insert("RSS max MiB", ((self.looks.max(|l| l.rss_kib) / 102.4).round() / 10.0).into());
        if let Some(slope) = slope {
            more.insert("own memory slope KiB/h", slope.per_hour.round().into());
            more.insert("error of the slope KiB/h", slope.error.round().into());
            more.insert("hours the slope was seen over", ((slope.hours * 100.0).round() / 100.0).into());
            more.insert("own memory MiB, least of each tenth", self.tenths_mib().into());
        }
        more.insert("fds max", self.looks.max(|l| l.fds).into());
        more.insert("threads max", self.looks.max(|l| l.threads).into());
        let equation = format!(
            "{} = {} handled + {} quarantined + {} refused + {} replaced by newer + {} left",
            m.sent, m.handled, m.quarantined, m.refused, m.replaced, m.left
        );
        more.insert("messages", equation.into());
        more.insert("injected by kind", serde_json::json!(self.injected));
        Figures {
            row: "P16",
            fault: if self.one_life {
                "all faults but the daemon's end, mixed by a seed"
            } else {
                "all faults mixed by a seed"
            },
            injected: self.total,
            detected: self.total,
            survived: self.total,
            escalated: self.escalated.len() as u64,
            detection_ms: Vec::new(),
            recovery_ms: self.recovered.iter().map(|(_, ms)| *ms).take(20_000).collect(),
            events: e.all,
            lost: e.lost,
            duplicated: e.duplicated,
            reordered: e.reordered,
            others_ratio: None,
            more,
        }
        .publish();
    }

    fn tenths_mib(&self) -> Vec<f64> {
        self.looks.tenths(Look::own_kib).into_iter().map(|kib| (kib / 102.4).round() / 10.0).collect()
    }

    /// The report of a long run.
    pub fn report(&self) -> String {
        let (e, m) = (&self.events, &self.messages);
        let mut text = format!(
            "# A random day, seed {}\n\n{} s, {} faults, {} starts of the daemon, {} comparisons with the exchange.\n\n\
             ## Events\n\n{} events, {} of them fills; lost {}, duplicated {}, reordered {}; {} fills came late, by REST.\n\
             State: {} reads by an independent reader; latest stale mark {} ms after its limit.\n\n\
             ## Messages between rooms\n\n{} sent = {} handled + {} quarantined + {} refused + {} replaced by newer + {} left.\n\n",
            self.seed,
            self.span.as_secs(),
            self.total,
            self.starts,
            self.chapters,
            e.all,
            e.fills,
            e.lost,
            e.duplicated,
            e.reordered,
            e.late,
            self.reads,
            self.mark_lag_ms,
            m.sent,
            m.handled,
            m.quarantined,
            m.refused,
            m.replaced,
            m.left,
        );
        text.push_str("## The process\n\n| | largest | slope per hour |\n|---|---|---|\n");
        type Get = fn(&Look) -> f64;
        let rows: [(&str, Get, f64); 5] = [
            ("resident, MiB", |l| l.rss_kib, 1_024.0),
            ("of it pages of files, MiB", |l| l.file_kib, 1_024.0),
            ("of it own memory, MiB", Look::own_kib, 1_024.0),
            ("file descriptors", |l| l.fds, 1.0),
            ("threads", |l| l.threads, 1.0),
        ];
        for (name, get, unit) in rows {
            let slope = self.looks.slope(get).map_or_else(
                || "no life was long enough".to_owned(),
                |slope| {
                    let (steep, error, hours) = (slope.per_hour / unit, 2.0 * slope.error / unit, slope.hours);
                    format!("{steep:.2} ± {error:.2} (over {hours:.2} h of lives)")
                },
            );
            let _ = writeln!(text, "| {name} | {:.1} | {slope} |", self.looks.max(get) / unit);
        }
        let tenths: Vec<String> = self.tenths_mib().iter().map(f64::to_string).collect();
        let _ = writeln!(
            text,
            "\nThe slope is that of the least of each minute, ± twice its standard error, in lives of half an hour or more; \
             what came before every buffer had been full once, after 100 000 events, is left out. Pages of files are the program's own code as far as it was run so far. Least own memory in each tenth of the longest life, MiB: {}.",
            tenths.join(", ")
        );
        text.push_str(
            "\n## Restarts of rooms, ms until ready\n\n| cause | times | p50 | p99 | max |\n|---|---|---|---|---|\n",
        );
        for (cause, times) in &self.restarts {
            text.push_str(&row(cause, times));
        }
        text.push_str(
            "\n## From the end of a fault to a fresh value in Redis, ms\n\nOther faults go on meanwhile.\n\n\
             | fault | times | p50 | p99 | max |\n|---|---|---|---|---|\n",
        );
        let mut classes: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (class, ms) in &self.recovered {
            classes.entry(class).or_default().push(*ms);
        }
        for (class, times) in &classes {
            text.push_str(&row(class, times));
        }
        text.push_str("\n## Injected\n\n| fault | times |\n|---|---|\n");
        for (what, times) in &self.injected {
            let _ = writeln!(text, "| {what} | {times} |");
        }
        text.push_str("\n## Not as promised\n\n");
        if self.wrong.is_empty() {
            text.push_str("Nothing.\n");
        }
        for wrong in self.wrong.iter().take(100) {
            let _ = writeln!(text, "- {wrong}");
        }
        text
    }
}

fn row(name: &str, times: &[f64]) -> String {
    let (p50, p99, max) = (quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1.0));
    format!("| {name} | {} | {p50:.1} | {p99:.1} | {max:.1} |\n", times.len())
}
