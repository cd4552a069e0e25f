//! The same faults on plain `actix::Supervisor` and on this crate's supervision, each in a process of its own, because
//! some of them end it.

use crate::support::figures::Figures;
use actix::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use trapline::supervise::{Birth, Card, Cx, Fault, Overflow, Room};

/// Name, what happens, messages sent, and how many of these are to blame.
pub const CASES: [(&str, &str, u64, u64); 6] = [
    ("panic", "every hundredth message panics", 1_000, 10),
    ("drop", "the same, and the actor's Drop panics while it unwinds", 1_000, 10),
    ("block", "one message blocks its thread for 20 s", 1_000, 1),
    ("startup", "the start panics twice", 1_000, 0),
    ("burst", "a thousand messages in a row panic", 1_200, 1_000),
    ("flood", "100 000 messages at once, bound 16, 1 ms each", 100_000, 0),
];
/// How long each is watched after the last message was sent.
const WATCHED: Duration = Duration::from_secs(3);
const BOUND: usize = 16;

#[derive(Default)]
struct Counts {
    handled: AtomicU64,
    births: AtomicU64,
    sibling: AtomicU64,
}

fn is_bad(case: &str, n: u64) -> bool {
    match case {
        "panic" | "drop" => n % 100 == 99,
        "burst" => (100..1_100).contains(&n),
        _ => false,
    }
}

/// What a handler does in both worlds.
fn behave(case: &str, n: u64, counts: &Counts) {
    assert!(!is_bad(case, n), "message {n}");
    match case {
        "block" if n == 100 => std::thread::sleep(Duration::from_secs(20)),
        "flood" => std::thread::sleep(Duration::from_millis(1)),
        _ => {}
    }
    counts.handled.fetch_add(1, SeqCst);
}

fn be_born(case: &str, counts: &Counts) {
    let births = counts.births.fetch_add(1, SeqCst);
    assert!(case != "startup" || births >= 2, "birth {births}");
}

/// Dies a second time while the first death unwinds.
struct Grave(bool);

impl Drop for Grave {
    fn drop(&mut self) {
        assert!(!self.0 || !std::thread::panicking(), "in Drop");
    }
}

struct Plain {
    case: String,
    counts: Arc<Counts>,
    _grave: Grave,
}

#[derive(Clone, Debug)]
struct Number(u64);

impl Message for Number {
    type Result = ();
}

impl Actor for Plain {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(BOUND);
        be_born(&self.case, &self.counts);
    }
}

impl Supervised for Plain {}

impl Supervised for Sibling {}

impl Handler<Number> for Plain {
    type Result = ();

    fn handle(&mut self, Number(n): Number, _: &mut Self::Context) {
        behave(&self.case, n, &self.counts);
    }
}

struct Sibling(Arc<Counts>);

impl Actor for Sibling {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_millis(10), |me, _| {
            me.0.sibling.fetch_add(1, SeqCst);
        });
    }
}

#[allow(clippy::disallowed_methods)] // what users of plain actix do
async fn plain(case: &str, sent: u64) -> (Arc<Counts>, Value) {
    let counts = Arc::new(Counts::default());
    let arbiter = Arbiter::new();
    let (name, shared) = (case.to_owned(), Arc::clone(&counts));
    let _sibling = Supervisor::start_in_arbiter(&arbiter.handle(), {
        let counts = Arc::clone(&counts);
        move |_| Sibling(counts)
    });
    let grave = case == "drop";
    let actor = Supervisor::start_in_arbiter(&arbiter.handle(), move |_| Plain {
        case: name,
        counts: shared,
        _grave: Grave(grave),
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    for n in 0..sent {
        actor.do_send(Number(n));
    }
    let waiting = if case == "flood" { sent - counts.handled.load(SeqCst) } else { 0 };
    let before = counts.sibling.load(SeqCst);
    tokio::time::sleep(WATCHED).await;
    let sibling = counts.sibling.load(SeqCst) - before;
    (counts, json!({"refused": 0, "quarantined": 0, "waiting at most": waiting, "sibling": sibling}))
}

struct Ours {
    case: String,
    counts: Arc<Counts>,
    _grave: Grave,
}

impl trapline::supervise::Message for Number {
    fn kind(&self) -> &'static str {
        "number"
    }
}

impl Room for Ours {
    type Msg = Number;

    fn handle(&mut self, Number(n): &Number, _: &mut Cx<Self>) -> Result<(), Fault> {
        behave(&self.case, *n, &self.counts);
        Ok(())
    }
}

struct OursSibling;

#[derive(Clone, Debug)]
struct Tick;

impl trapline::supervise::Message for Tick {
    fn kind(&self) -> &'static str {
        "tick"
    }
}

impl Room for OursSibling {
    type Msg = Tick;

    fn handle(&mut self, _: &Tick, _: &mut Cx<Self>) -> Result<(), Fault> {
        Ok(())
    }
}

async fn ours(case: &str, sent: u64) -> (Arc<Counts>, Value) {
    let counts = Arc::new(Counts::default());
    let mut tree = crate::rooms::tree(1);
    let group = crate::rooms::group(&mut tree);
    // The flood meets a bound that refuses; all other senders wait for space.
    let overflow = if case == "flood" { Overflow::Reject } else { Overflow::Block };
    let card = Card { mailbox: BOUND, overflow, ..crate::rooms::card("worker", Duration::from_millis(500)) };
    let port = tree.port(&card);
    let (name, shared) = (case.to_owned(), Arc::clone(&counts));
    let factory = move |_: Birth, _: &mut Cx<Ours>| {
        be_born(&name, &shared);
        Ok(Ours { case: name.clone(), counts: Arc::clone(&shared), _grave: Grave(name == "drop") })
    };
    tree.room(group, card, port.clone(), Arc::new(factory));
    let beside = crate::rooms::card("sibling", Duration::from_secs(1));
    let to_sibling = tree.port(&beside);
    let shared = Arc::clone(&counts);
    let factory = move |_: Birth, cx: &mut Cx<OursSibling>| {
        let counts = Arc::clone(&shared);
        cx.every(Duration::from_millis(10), move || {
            counts.sibling.fetch_add(1, SeqCst);
            Tick
        });
        Ok(OursSibling)
    };
    tree.room(group, beside, to_sibling, Arc::new(factory));
    let running = tree.start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut refused = 0;
    for n in 0..sent {
        if case == "flood" {
            refused += u64::from(port.try_send(Number(n)).is_err());
        } else {
            let _ = port.send(Number(n)).await;
        }
    }
    let waiting = crate::rooms::status(&running, "worker").depth;
    let before = counts.sibling.load(SeqCst);
    tokio::time::sleep(WATCHED).await;
    let sibling = counts.sibling.load(SeqCst) - before;
    let room = crate::rooms::status(&running, "worker");
    let told = json!({
        "refused": refused, "quarantined": room.quarantined, "waiting at most": waiting, "sibling": sibling,
        "restarts": room.restarts_total,
    });
    (counts, told)
}

/// In the child: one case in one world; a line of JSON at the end, if it comes to that.
pub fn child(world: &str, case: &str) {
    let (_, _, sent, bad) = CASES.into_iter().find(|(name, ..)| *name == case).expect("a case");
    std::panic::set_hook(Box::new(|_| {}));
    let system = System::new();
    let (counts, mut told) =
        system.block_on(async { if world == "plain" { plain(case, sent).await } else { ours(case, sent).await } });
    let handled = counts.handled.load(SeqCst);
    if case == "flood" {
        // What was neither handled nor refused still waits.
        told["lost"] = json!(0);
    } else {
        let set_aside = told["quarantined"].as_u64().unwrap_or(0).max(bad);
        told["lost"] = json!(sent.saturating_sub(handled + set_aside));
    }
    told["sent"] = json!(sent);
    told["handled"] = json!(handled);
    if told["restarts"].is_null() {
        told["restarts"] = json!(counts.births.load(SeqCst).saturating_sub(1));
    }
    println!("{told}");
    use std::io::Write;
    let _ = std::io::stdout().flush();
    // A thread that is blocked would be waited for.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// All cases in both worlds; what our side did not keep.
pub fn run() -> Vec<String> {
    let mut wrong = Vec::new();
    for (case, fault, sent, bad) in CASES {
        let worlds = ["plain", "ours"].map(|world| ask(world, case));
        let [plain, ours] = &worlds;
        println!("{fault}\n  plain actix {plain}\n  trapline    {ours}");
        let number = |field: &str| ours[field].as_u64();
        if number("lost") != Some(0) || ours["aborted"] == true || number("quarantined") != Some(bad) {
            wrong.push(format!("{fault}: {ours}"));
        }
        let more = BTreeMap::from([("plain", plain.clone()), ("trapline", ours.clone())]);
        let survived = u64::from(wrong.is_empty());
        Figures { row: "baseline", fault, injected: bad.max(1), survived, events: sent, more, ..Figures::default() }
            .publish();
    }
    wrong
}

fn ask(world: &str, case: &str) -> Value {
    let begun = Instant::now();
    let me = std::env::current_exe().expect("this program");
    let output = Command::new(me)
        .args(["baseline-child", world, case])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    // SIGABRT before it could say anything.
    told.unwrap_or_else(|| json!({"aborted": true, "after s": begun.elapsed().as_secs()}))
}
