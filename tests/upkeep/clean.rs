//! `trapline clean-simulation`.

use super::Place;
use super::legacy::{self, CONFUSING, SIMULATION};
use super::support::wait_for;
use std::collections::BTreeSet;
use std::process::Stdio;

fn names(place: &Place) -> BTreeSet<String> {
    redis::cmd("KEYS").arg("*").query(&mut place.redis.link()).expect("KEYS")
}

#[test]
fn a_plan_changes_nothing_and_what_it_shows_is_what_goes() {
    let place = Place::start();
    legacy::fill(&mut place.redis.link());
    let real = names(&place);
    legacy::simulate(&mut place.redis.link());
    let all = names(&place);

    let plan = place.run(&["clean-simulation", "--json"]).expect(0).json();
    assert_eq!(names(&place), all, "a plan changes nothing");
    let found: u64 =
        plan["plan"]["entries"].as_array().expect("entries").iter().filter_map(|e| e["keys"].as_u64()).sum();
    assert_eq!(found, SIMULATION.len() as u64, "{plan}");
    let kept: BTreeSet<&str> =
        plan["plan"]["kept"].as_array().expect("kept").iter().filter_map(|k| k["key"].as_str()).collect();
    assert_eq!(kept, BTreeSet::from(["sim_grafana_metrics:owner", "test:orders"]));
    let made_up: BTreeSet<&str> =
        plan["plan"]["made_up"].as_array().expect("made_up").iter().filter_map(|k| k["key"].as_str()).collect();
    let invented = ["current_position", "long_trader_position", "short_trader_position"];
    assert_eq!(made_up, BTreeSet::from(invented));
    let text = place.run(&["clean-simulation"]).expect(0);
    assert!(text.out.contains("nothing was changed") && text.out.contains("sim_price_history:*"), "{}", text.out);

    // No backup: refused, and nothing is gone.
    let refused = place.run(&["clean-simulation", "--apply"]).expect(75);
    assert!(refused.err.contains("trapline backup"), "{}", refused.err);
    assert_eq!(names(&place), all);

    place.run(&["backup"]).expect(0);
    let done = place.run(&["clean-simulation", "--apply"]).expect(0);
    assert!(done.out.contains("removed 16 keys"), "{}", done.out);
    assert_eq!(names(&place), real, "nothing but the simulation is gone");
    for words in CONFUSING {
        assert!(place.exists(words[1]), "{}", words[1]);
    }
    // Once more: nothing to do, no act.
    let acts = place.acts().len();
    place.run(&["clean-simulation", "--apply"]).expect(0);
    assert_eq!(place.acts().len(), acts);
    assert_eq!(
        place.steps(),
        [
            "backup begun",
            "backup copied",
            "backup done",
            "clean-simulation begun",
            "clean-simulation removed",
            "clean-simulation done"
        ]
    );
    // Leftovers only where they are asked for.
    assert!(place.exists("mm_trap_queue"));
    place.run(&["clean-simulation", "--apply", "--leftovers"]).expect(0);
    assert!(!place.exists("mm_trap_queue") && !place.exists("trader:positions:scalper:1743276645.386"));
    assert!(place.exists("trader:positions:scalper") && place.exists("abs_price_change_history"));
}

#[test]
fn a_backup_has_to_be_fresh_of_this_server_verified_and_whole() {
    let place = Place::start();
    legacy::simulate(&mut place.redis.link());
    let refused = |words: &[&str], why: &str| {
        let ended = place.run(&[&["clean-simulation", "--apply"], words].concat()).expect(75);
        assert!(ended.err.contains(why), "{why}: {}", ended.err);
        assert!(place.exists("sim_timestamp"));
    };
    refused(&[], "there is no backup");
    place.run(&["backup", "--no-verify"]).expect(0);
    refused(&[], "was not verified");
    let made = place.run(&["backup", "--json"]).expect(0).json();
    refused(&["--max-age", "0"], "old");
    let folder = std::path::Path::new(made["folder"].as_str().expect("folder"));
    let file = folder.join("dump.rdb");
    let whole = std::fs::read(&file).expect("the copy");
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    std::fs::write(&file, &damaged).expect("damage");
    refused(&[], "damaged");
    std::fs::write(&file, &whole).expect("whole again");
    // Another server.
    let other = Place::start();
    let backups = folder.parent().expect("backups").to_string_lossy().into_owned();
    legacy::simulate(&mut other.redis.link());
    let ended = other.run(&["clean-simulation", "--apply", "--backups", &backups]).expect(75);
    assert!(ended.err.contains("another server"), "{}", ended.err);
    other.run(&["clean-simulation", "--apply", "--without-backup"]).expect(0);
    assert_eq!(other.keys(), 0);
    // And the right one.
    place.run(&["clean-simulation", "--apply"]).expect(0);
    assert_eq!(place.keys(), 0);
}

#[test]
fn no_journal_no_removal() {
    let place = Place::start();
    legacy::simulate(&mut place.redis.link());
    let file = place.state.path().join("a-file");
    std::fs::write(&file, "").expect("a file");
    let mut command = std::process::Command::new(super::BIN);
    command.args(["clean-simulation", "--apply", "--without-backup", "--redis", &place.url(), "--state"]).arg(&file);
    let ended = super::Ended::of(&command.output().expect("runs")).expect(69);
    assert!(ended.err.contains("a-file"), "{}", ended.err);
    assert_eq!(place.keys(), SIMULATION.len() as u64);
}

const MANY: usize = 120_000;

#[test]
fn killed_in_the_middle_the_next_run_finishes_and_memory_stays_small() {
    let place = Place::start();
    legacy::fill(&mut place.redis.link());
    let real = place.keys();
    legacy::simulate_much(&mut place.redis.link(), MANY);

    let plan = place.run(&["clean-simulation"]).expect(0);
    assert!(
        plan.err.contains("keys looked at") && plan.err.contains("/s"),
        "progress has a count and a rate: {}",
        plan.err
    );
    assert!(plan.out.contains(&format!("{MANY}")), "{}", plan.out);

    let words = ["clean-simulation", "--apply", "--without-backup"];
    let mut child =
        place.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    wait_for("some keys are gone", || match place.keys() {
        keys if keys < real + MANY as u64 => Ok(()),
        keys => Err(keys.to_string()),
    });
    child.kill().expect("killed");
    let left = place.keys();
    assert!(!child.wait().expect("ended").success() && left > real, "killed in the middle: {left} keys are left");

    let mut child = place.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let mut peak_kib = 0;
    while child.try_wait().expect("the child").is_none() {
        peak_kib = peak_kib.max(peak(child.id()));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(child.wait().expect("ended").success());
    assert_eq!(place.keys(), real, "every simulation key is gone, and nothing else");
    assert!(peak_kib < 40 * 1_024, "{peak_kib} KiB at most in memory");
    println!("clean-simulation of {MANY} keys: at most {peak_kib} KiB");
    let steps = place.steps();
    assert_eq!(
        steps,
        ["begun", "begun", "removed", "done"].map(|s| format!("clean-simulation {s}")),
        "an act that was killed begins and never ends"
    );
}

/// Most memory that a process has used, KiB; 0 once it is gone.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A simulation that still runs would fill up again what is removed: the act stops and says so.
#[test]
fn more_keys_than_the_plan_found_stop_the_act() {
    use trapline::store::link::Target;
    use trapline::upkeep::{UpkeepError, acts::Act, clean, progress::Progress, server::Door};
    let place = Place::start();
    legacy::simulate_much(&mut place.redis.link(), 1_000);
    let patience = super::support::PATIENCE;
    let door = Door { target: Target::unix(place.redis.server().socket()), connect: patience, reply: patience };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let mut server = door.open().await.expect("redis answers");
        let plan = clean::plan(&mut server, false, &mut Progress::silent("keys")).await.expect("a plan");
        assert_eq!(plan.keys(), 1_000);
        legacy::simulate_much(&mut place.redis.link(), 1_500);
        let clock = trapline::clock::Clock::system();
        let mut act = Act::begin(place.state.path(), "test", "clean", "r", &clock, serde_json::json!({})).expect("act");
        let stopped = clean::apply(&mut server, &plan, &mut act, &mut Progress::silent("keys")).await;
        assert!(matches!(stopped, Err(UpkeepError::Later(_))), "{stopped:?}");
        assert!(place.keys() >= 500);
    });
}

/// A name changes its meaning again and again while keys are removed: what is precious at that moment stays.
#[test]
fn a_key_that_becomes_something_else_while_it_is_judged_stays() {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use trapline::store::link::Target;
    use trapline::upkeep::{acts::Act, clean, progress::Progress, server::Door};
    let place = Place::start();
    let patience = super::support::PATIENCE;
    let door = Door { target: Target::unix(place.redis.server().socket()), connect: patience, reply: patience };
    let stop = AtomicBool::new(false);
    let (mut lost, mut swaps) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut link = place.redis.link();
            while !stop.load(SeqCst) {
                // A simulation's key becomes somebody's, in one step, and a moment later its owner looks for it.
                let mut swap = redis::pipe();
                swap.cmd("SET").arg("sim_timestamp").arg("2025-03-29 20:09:50").ignore();
                swap.query::<()>(&mut link).expect("SET");
                let mut swap = redis::pipe();
                swap.atomic().cmd("DEL").arg("sim_timestamp").ignore();
                swap.cmd("HSET").arg("sim_timestamp").arg("precious").arg("1").ignore();
                swap.query::<()>(&mut link).expect("HSET");
                std::thread::sleep(std::time::Duration::from_micros(300));
                let there: bool = redis::cmd("EXISTS").arg("sim_timestamp").query(&mut link).expect("EXISTS");
                lost += u64::from(!there);
                swaps += 1;
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut server = door.open().await.expect("redis answers");
            let clock = trapline::clock::Clock::system();
            let json = serde_json::json!({});
            let mut act = Act::begin(place.state.path(), "test", "clean", "r", &clock, json).expect("act");
            let mut removed = 0;
            for _ in 0..1_000 {
                let plan = clean::plan(&mut server, false, &mut Progress::silent("keys")).await.expect("a plan");
                let outcome = clean::apply(&mut server, &plan, &mut act, &mut Progress::silent("keys")).await;
                removed += outcome.map_or(0, |o| o.removed);
            }
            stop.store(true, SeqCst);
            println!("{removed} removed");
        });
    });
    assert_eq!(lost, 0, "of {swaps} times that the key was precious");
    assert!(swaps > 100);
}
