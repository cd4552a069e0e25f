//! The watchdog's judgement: at its limits, and over a day of seeded troubles.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::judge::{Amnesty, Judgement, Signs, is_doubtful, is_starved, judge};
use super::starved::Turns;

const DEADLINE: Duration = Duration::from_secs(2);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn each_sign_has_its_limit() {
    let base = Instant::now();
    let now = base + ms(10_000);
    let ago = |n: u64| now - ms(n);
    let idle = Signs { busy_since: None, beat: now, spoke: None, given_up: false, warned: false };
    let busy = |n: u64| Signs { busy_since: Some(ago(n)), ..idle };
    let quiet = |n: u64| Signs { spoke: Some((ago(n), ms(3_000))), ..idle };
    let hung = |n: u64| Judgement::Hung(ms(n));
    for (name, signs, expected) in [
        ("idle", idle, Judgement::Fine),
        ("busy for a moment", busy(500), Judgement::Fine),
        ("busy for more than a quarter", busy(501), Judgement::Slow(ms(501))),
        ("said already", Signs { warned: true, ..busy(501) }, Judgement::Fine),
        ("at the deadline", Signs { warned: true, ..busy(2_000) }, Judgement::Fine),
        ("past the deadline", busy(2_001), hung(2_001)),
        ("no beat for the deadline and one beat", Signs { beat: ago(2_500), ..idle }, Judgement::Fine),
        ("no beat for longer", Signs { beat: ago(2_501), ..idle }, hung(2_501)),
        ("its tasks may be silent for so long", quiet(3_000), Judgement::Fine),
        ("its tasks are silent", quiet(3_001), hung(3_001)),
        ("its thread was given up", Signs { given_up: true, ..idle }, hung(0)),
    ] {
        assert_eq!(judge(&signs, DEADLINE, now, base), expected, "case: {name}");
    }
    for signs in [busy(9_000), quiet(9_000), Signs { beat: ago(9_000), ..idle }] {
        assert_eq!(judge(&signs, DEADLINE, now, ago(400)), Judgement::Fine, "amnesty covers {signs:?}");
        assert!(matches!(judge(&signs, DEADLINE, now, ago(5_000)), Judgement::Hung(_)), "not for ever: {signs:?}");
    }
}

#[test]
fn who_was_not_let_run_is_not_judged() {
    let turns = |ran: u64, waited: u64| Turns { ran: ms(ran), waited: ms(waited), is_ready: false };
    let ready = |ran: u64| Turns { is_ready: true, ..turns(ran, 0) };
    for (name, silence, got, expected) in [
        ("it stood in line all the time", 2_000, turns(0, 2_000), true),
        ("for half of it, and slept", 2_000, turns(0, 1_000), true),
        ("for less than half", 2_000, turns(0, 999), false),
        ("it sleeps, as one that is blocked does", 2_000, turns(0, 0), false),
        ("a little of a processor", 2_000, turns(249, 1_751), true),
        ("it ran for long enough to show life", 2_000, turns(250, 1_750), false),
        ("it ran for long enough, however long the line", 60_000, turns(250, 59_750), false),
        ("it stands there still, which is counted later", 2_000, ready(0), true),
        ("it stands there, and spins when it is let", 2_000, ready(250), false),
    ] {
        assert_eq!(is_starved(ms(silence), got, DEADLINE), expected, "case: {name}");
    }
    let base = Instant::now();
    let now = base + ms(10_000);
    let ago = |n: u64| now - ms(n);
    let idle = Signs { busy_since: None, beat: now, spoke: None, given_up: false, warned: false };
    for (name, signs, expected) in [
        ("idle", idle, false),
        ("busy for an eighth", Signs { busy_since: Some(ago(250)), ..idle }, false),
        ("busy for longer", Signs { busy_since: Some(ago(251)), ..idle }, true),
        ("no beat for a beat and an eighth", Signs { beat: ago(750), ..idle }, false),
        ("no beat for longer", Signs { beat: ago(751), ..idle }, true),
        ("its tasks are silent for an eighth", Signs { spoke: Some((ago(375), ms(3_000))), ..idle }, false),
        ("for longer", Signs { spoke: Some((ago(376), ms(3_000))), ..idle }, true),
    ] {
        assert_eq!(is_doubtful(&signs, DEADLINE, now, base), expected, "case: {name}");
        assert!(!is_doubtful(&signs, DEADLINE, now, now), "amnesty: {name}");
    }
}

/// A day in steps of the watchdog: handlers of any length, and a process that stands still now and then. Judged hung is
/// exactly who was busy for longer than the deadline since the process last stood still.
#[test]
fn a_process_that_stood_still_is_not_judged_by_that_time() {
    for seed in 0..3 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |n: u64| rng.next_u64() % n;
        let (base, tick) = (Instant::now(), ms(100));
        let mut amnesty = Amnesty::new(tick, base);
        let (mut now, mut stood_until, mut busy_since, mut busy_for) = (base, base, base, ms(0));
        let (mut hangs, mut stops, mut spared) = (0, 0, 0);
        while now < base + Duration::from_secs(86_400) {
            // Each wait is late by a little; once in a while by seconds, as under SIGSTOP.
            let stop = if below(2_000) == 0 { ms(500 + below(20_000)) } else { ms(below(40)) };
            now += tick + stop;
            let stood = stop >= ms(500);
            stops += u64::from(stood);
            assert_eq!(amnesty.woke(now).is_some(), stood, "seed {seed}: a stop of {stop:?}");
            if stood {
                stood_until = now;
                busy_for += stop;
            }
            if now >= busy_since + busy_for {
                busy_since = now;
                busy_for = if below(500) == 0 { ms(2_000 + below(4_000)) } else { ms(below(1_500)) };
            }
            let signs = Signs { busy_since: Some(busy_since), beat: now, spoke: None, given_up: false, warned: true };
            let counted = now - busy_since.max(stood_until);
            let expected = if counted > DEADLINE { Judgement::Hung(counted) } else { Judgement::Fine };
            assert_eq!(judge(&signs, DEADLINE, now, amnesty.from), expected, "seed {seed}");
            if expected == Judgement::Fine {
                spared += u64::from(now - busy_since > DEADLINE);
            } else {
                hangs += 1;
                (busy_since, busy_for) = (now, ms(0));
            }
        }
        assert!(hangs > 50 && stops > 50 && spared > 0, "seed {seed}: {hangs} hangs, {stops} stops, {spared} spared");
    }
}
