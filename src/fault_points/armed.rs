//! The fault points of a debug build.

use super::Injected;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The only variable: entries, or `@` and the path of a file with entries.
const VARIABLE: &str = "TRAPLINE_FAULT_POINTS";
/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Whether anything is armed at all: what every point asks first.
static ON: AtomicBool = AtomicBool::new(false);
/// Changes with each new set of entries; a hang ends when its own is over.
static GENERATION: AtomicU64 = AtomicU64::new(0);
static ENTRIES: RwLock<Option<Arc<Entries>>> = RwLock::new(None);
/// Clocks are asked often: what they are shifted by stands apart.
static SHIFTS: [(&str, AtomicI64); 2] = [("clock.wall", AtomicI64::new(0)), ("clock.boot", AtomicI64::new(0))];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Panic,
    Abort,
    Poison,
    Kill,
    Torn,
    Hang,
    Sleep(u64),
    Never,
    Make(Injected),
    Shift(i64),
}

#[derive(Debug)]
struct Entry {
    /// Without the `*`.
    point: String,
    prefix: bool,
    action: Action,
    first: u64,
    last: u64,
    chance: f64,
    hits: AtomicU64,
    /// Number of the poisoned message; 0: none yet.
    poisoned: AtomicU64,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<Entry>,
    seed: u64,
    /// One line for each fault that came to be.
    told: Option<PathBuf>,
}

/// Reads the variable, and watches the file if it names one. Without it nothing ever happens.
pub fn start() {
    let Some(text) = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()) else { return };
    match text.strip_prefix('@') {
        None => arm(&text, None),
        Some(path) => {
            let path = PathBuf::from(path);
            let mut known = read(&path);
            arm(&known, Some(&path));
            let watching = std::thread::Builder::new().name("fault-points".to_owned()).spawn(move || {
                loop {
                    std::thread::sleep(LOOK);
                    let now = read(&path);
                    if now != known {
                        arm(&now, Some(&path));
                        known = now;
                    }
                }
            });
            assert!(watching.is_ok(), "{VARIABLE}: no thread to watch the file");
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn arm(text: &str, file: Option<&Path>) {
    // Loud: a test that means another fault than it says shows nothing.
    let mut entries = parse(text).unwrap_or_else(|wrong| panic!("{VARIABLE}: {wrong}"));
    entries.told = file.map(|file| PathBuf::from(format!("{}.fired", file.display())));
    for (clock, shift) in &SHIFTS {
        let found = entries.list.iter().rev().find(|entry| entry.point == *clock);
        let ms = found.map_or(0, |entry| if let Action::Shift(ms) = entry.action { ms } else { 0 });
        shift.store(ms, Ordering::SeqCst);
    }
    let on = !entries.list.is_empty();
    *ENTRIES.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(entries));
    GENERATION.fetch_add(1, Ordering::SeqCst);
    ON.store(on, Ordering::SeqCst);
}

fn parse(text: &str) -> Result<Entries, String> {
    let mut entries = Entries::default();
    for item in text.split([';', '\n']).map(str::trim).filter(|item| !item.is_empty()) {
        let (point, rest) = item.split_once('=').ok_or_else(|| format!("{item:?}: write point=action"))?;
        if point == "seed" {
            entries.seed = rest.parse().map_err(|_| format!("{item:?}: the seed is a number"))?;
            continue;
        }
        let (rest, chance) = rest.split_once('%').unwrap_or((rest, "1"));
        let (action, when) = rest.split_once('@').unwrap_or((rest, "1+"));
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{item:?}: {text:?} is no number"));
        let (first, last) = match (when.strip_suffix('+'), when.split_once('-')) {
            (Some(first), _) => (number(first)?, u64::MAX),
            (None, Some((first, last))) => (number(first)?, number(last)?),
            (None, None) => (number(when)?, number(when)?),
        };
        entries.list.push(Entry {
            point: point.trim_end_matches('*').to_owned(),
            prefix: point.ends_with('*'),
            action: action_of(action).ok_or_else(|| format!("{item:?}: no action {action:?}"))?,
            first,
            last,
            chance: 1.0 / number(chance)?.max(1) as f64,
            hits: AtomicU64::new(0),
            poisoned: AtomicU64::new(0),
        });
    }
    Ok(entries)
}

fn action_of(text: &str) -> Option<Action> {
    let (word, value) = text.split_once(':').unwrap_or((text, ""));
    Some(match (word, value) {
        ("panic", "") => Action::Panic,
        ("abort", "") => Action::Abort,
        ("poison", "") => Action::Poison,
        ("kill", "") => Action::Kill,
        ("torn", "") => Action::Torn,
        ("hang", "") => Action::Hang,
        ("never", "") => Action::Never,
        ("sleep", ms) => Action::Sleep(ms.parse().ok()?),
        ("shift", ms) => Action::Shift(ms.parse().ok()?),
        ("error", "") => Action::Make(Injected::Error),
        ("retry", "") => Action::Make(Injected::Retry),
        ("fatal", "") => Action::Make(Injected::Fatal),
        ("full", "") => Action::Make(Injected::Full),
        ("eio", "") => Action::Make(Injected::Eio),
        ("rofs", "") => Action::Make(Injected::ReadOnly),
        _ => return None,
    })
}

impl Entries {
    /// What happens at this visit. `seq` is the message's number, 0 where there is none.
    fn due(&self, point: &str, seq: u64) -> Option<Action> {
        let mut due = None;
        for entry in &self.list {
            let here = if entry.prefix { point.starts_with(&entry.point) } else { point == entry.point };
            if !here || matches!(entry.action, Action::Shift(_)) {
                continue;
            }
            if entry.action == Action::Poison {
                let first = entry.poisoned.compare_exchange(0, seq, Ordering::SeqCst, Ordering::SeqCst);
                if first.is_err_and(|known| known != seq) {
                    continue;
                }
            } else {
                let hit = entry.hits.fetch_add(1, Ordering::SeqCst) + 1;
                if hit < entry.first || hit > entry.last || !chosen(self.seed, hit, entry.chance) {
                    continue;
                }
            }
            due = due.or(Some(entry.action));
        }
        if let (Some(action), Some(path)) = (due, &self.told)
            && let Ok(mut file) = File::options().create(true).append(true).open(path)
        {
            let _ = file.write_all(format!("{point} {action:?}\n").as_bytes());
        }
        due
    }
}

/// One in so many, the same ones for the same seed.
fn chosen(seed: u64, hit: u64, chance: f64) -> bool {
    let mut x = seed.wrapping_add(hit.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64) < chance
}

/// The action that is due; those that need no help of the caller are carried out.
fn visit(point: &str, seq: u64) -> Option<Action> {
    if !ON.load(Ordering::Relaxed) {
        return None;
    }
    let generation = GENERATION.load(Ordering::SeqCst);
    let entries = ENTRIES.read().unwrap_or_else(PoisonError::into_inner).clone()?;
    let action = entries.due(point, seq)?;
    match action {
        Action::Panic | Action::Poison => panic!("fault point {point}"),
        Action::Kill => kill(),
        #[allow(clippy::disallowed_methods, reason = "the fault is that nothing is flushed")]
        Action::Abort => std::process::abort(),
        Action::Sleep(ms) => std::thread::sleep(Duration::from_millis(ms)),
        Action::Hang => {
            while GENERATION.load(Ordering::SeqCst) == generation {
                std::thread::sleep(LOOK);
            }
        }
        Action::Torn | Action::Never | Action::Make(_) | Action::Shift(_) => return Some(action),
    }
    None
}

fn kill() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal comes within the call or a moment later: nothing else may happen in between.
    std::thread::park();
}

fn made(action: Option<Action>) -> Result<(), Injected> {
    if let Some(Action::Make(injected)) = action { Err(injected) } else { Ok(()) }
}

/// A place with nothing to return.
pub fn hit(point: &str) {
    visit(point, 0);
}

/// `ROOM.send`.
pub fn send(room: &str) {
    if ON.load(Ordering::Relaxed) {
        visit(&format!("{room}.send"), 0);
    }
}

/// `ROOM.STEP`, where a fault can be returned.
pub fn room(room: &str, step: &str) -> Result<(), Injected> {
    if ON.load(Ordering::Relaxed) { made(visit(&format!("{room}.{step}"), 0)) } else { Ok(()) }
}

/// `ROOM.STEP` and `ROOM.STEP:KIND`.
pub fn message(name: &str, step: &str, kind: &str, seq: u64) -> Result<(), Injected> {
    if !ON.load(Ordering::Relaxed) {
        return Ok(());
    }
    made(visit(&format!("{name}.{step}:{kind}"), seq))?;
    made(visit(&format!("{name}.{step}"), seq))
}

/// `THING.STEP`, where an error of the system can be returned.
pub fn io(thing: &str, step: &str) -> io::Result<()> {
    Ok(room(thing, step)?)
}

/// `THING.line`: half of `bytes` reaches the file, then the process is gone.
pub fn torn(thing: &str, path: &Path, bytes: &[u8]) {
    if ON.load(Ordering::Relaxed) && visit(&format!("{thing}.line"), 0) == Some(Action::Torn) {
        let file = File::options().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(&bytes[..bytes.len() / 2]));
        kill();
    }
}

/// `ROOM.task`, in a task of it.
pub async fn never(room: &str) {
    if ON.load(Ordering::Relaxed) && visit(&format!("{room}.task"), 0) == Some(Action::Never) {
        std::future::pending::<()>().await;
    }
}

/// How far a clock is pushed.
pub fn shift_ms(clock: &str) -> i64 {
    SHIFTS.iter().find(|(name, _)| *name == clock).map_or(0, |(_, shift)| shift.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(text: &str, point: &str, visits: u64) -> Vec<u64> {
        let entries = parse(text).expect("entries");
        (1..=visits).filter(|n| entries.due(point, *n).is_some()).collect()
    }

    #[test]
    fn each_entry_says_where_what_and_when() {
        let cases = [
            ("each time", "a.b=panic", "a.b", vec![1, 2, 3, 4, 5, 6]),
            ("another point", "a.b=panic", "a.bc", vec![]),
            ("a beginning", "a.*=panic", "a.bc", vec![1, 2, 3, 4, 5, 6]),
            ("the third", "x=hang; a.b=kill@3", "a.b", vec![3]),
            ("from the third on", "a.b=full@3+", "a.b", vec![3, 4, 5, 6]),
            ("some", "a.b=sleep:5@2-3", "a.b", vec![2, 3]),
            ("one message only", "a.b=poison", "a.b", vec![1]),
            ("clocks are no visit", "a.b=shift:5", "a.b", vec![]),
        ];
        for (name, text, point, expected) in cases {
            assert_eq!(fired(text, point, 6), expected, "case: {name}");
        }
        let entries = parse("a=poison").expect("entries");
        let deaths: Vec<bool> = [7, 8, 7, 9, 7].map(|seq| entries.due("a", seq).is_some()).into();
        assert_eq!(deaths, [true, false, true, false, true], "the first message, whenever it comes");
    }

    #[test]
    fn a_seed_chooses_the_same_ones_again() {
        let one = fired("seed=1;a=panic%10", "a", 1_000);
        assert!((50..200).contains(&one.len()), "{}", one.len());
        assert_eq!(one, fired("seed=1;a=panic%10", "a", 1_000));
        assert_ne!(one, fired("seed=2;a=panic%10", "a", 1_000));
    }

    #[test]
    fn what_is_not_understood_is_loud() {
        for text in ["a", "a=explode", "a=panic@x", "a=sleep:soon", "seed=x", "a=panic@1-"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_are_those_of_the_system() {
        let kind = |injected: Injected| io::Error::from(injected).kind();
        assert_eq!(kind(Injected::Full), io::ErrorKind::StorageFull);
        assert_eq!(kind(Injected::ReadOnly), io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(io::Error::from(Injected::Eio).raw_os_error(), Some(5));
    }
}
