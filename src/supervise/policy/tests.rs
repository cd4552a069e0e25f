//! The policy against a world that obeys it, driven by seeded sequences.

use proptest::prelude::*;

use super::{
    Backoff, Budgets, Class, Death, Decision, Duration, Event, Fate, InHand, Policy, ROOT_ESCALATIONS, ROOT_WITHIN_MS,
    Restart, Strategy,
};

const RULE: Backoff =
    Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5), stable_after: Duration::from_secs(30) };

/// What is still to come of a decision.
#[derive(Clone, Copy, Debug)]
enum Due {
    Timer(Event),
    Birth { room: usize, epoch: u64 },
    Stop { room: usize, epoch: u64 },
}

/// Rooms that do what the policy says, and timers that it asked for.
struct World {
    policy: Policy,
    alive: Vec<Option<u64>>,
    stopping: Vec<bool>,
    last_epoch: Vec<u64>,
    ended: Vec<bool>,
    timers: Vec<(u64, Due)>,
    /// How long births and stops take, in turn; empty: no time.
    spans_ms: Vec<u64>,
    spans_taken: usize,
    group_stopped: bool,
    now_ms: u64,
    escalations: u32,
    gave_up: bool,
    log: Vec<Decision>,
}

impl World {
    fn new(strategy: Strategy, restarts: &[Restart], seed: u64) -> Self {
        Self::slow(strategy, restarts, seed, Vec::new())
    }

    fn slow(strategy: Strategy, restarts: &[Restart], seed: u64, spans_ms: Vec<u64>) -> Self {
        let mut policy = Policy::new(RULE, seed);
        let group = policy.add_group(strategy, Budgets::default());
        for restart in restarts {
            policy.add_room(group, *restart, 2);
        }
        let n = restarts.len();
        let mut world = Self {
            policy,
            alive: vec![None; n],
            stopping: vec![false; n],
            last_epoch: vec![0; n],
            ended: vec![false; n],
            timers: Vec::new(),
            spans_ms,
            spans_taken: 0,
            group_stopped: false,
            now_ms: 0,
            escalations: 0,
            gave_up: false,
            log: Vec::new(),
        };
        world.tell(Event::Boot);
        world
    }

    /// Obeys.
    fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let settles = matches!(event, Event::Died(death) if death.in_hand != InHand::Nothing);
            let decisions = self.policy.decide(event, self.now_ms);
            let settled = decisions.iter().filter(|d| matches!(d, Decision::Settle { .. })).count();
            assert_eq!(settled, usize::from(settles), "a message in hand is settled once: {event:?} {decisions:?}");
            for decision in decisions {
                self.log.push(decision);
                match decision {
                    Decision::Start { room, epoch } => {
                        assert_eq!(self.alive[room], None, "room {room} started twice");
                        assert_eq!(epoch, self.last_epoch[room] + 1);
                        assert!(!self.gave_up && !self.group_stopped, "a start after giving up");
                        self.alive[room] = Some(epoch);
                        self.last_epoch[room] = epoch;
                        self.ended[room] = false;
                        if let Some(event) = self.in_time(Due::Birth { room, epoch }) {
                            events.insert(0, event);
                        }
                    }
                    Decision::Stop { room } => {
                        let epoch = self.alive[room].expect("only the living are stopped");
                        assert!(!std::mem::replace(&mut self.stopping[room], true), "room {room} stopped twice");
                        if let Some(event) = self.in_time(Due::Stop { room, epoch }) {
                            events.insert(0, event);
                        }
                    }
                    Decision::Wait { room, epoch, delay } => self.after(delay, Event::Due { room, epoch }),
                    Decision::WaitGroup { group, wave, delay } => self.after(delay, Event::GroupDue { group, wave }),
                    Decision::GroupStopped { .. } => {
                        assert!(!std::mem::replace(&mut self.group_stopped, true), "said once");
                        assert_eq!(self.alive, vec![None; self.alive.len()], "nobody is left");
                    }
                    Decision::Escalate { .. } => self.escalations += 1,
                    Decision::GiveUp => self.gave_up = true,
                    Decision::Ended { room } => self.ended[room] = true,
                    Decision::Settle { .. } => {}
                }
            }
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        assert!(delay <= RULE.cap);
        self.timers.push((self.now_ms + u64::try_from(delay.as_millis()).expect("short") + 1, Due::Timer(event)));
    }

    /// A birth or a stop takes its time.
    fn in_time(&mut self, due: Due) -> Option<Event> {
        if self.spans_ms.is_empty() {
            return self.come_due(due);
        }
        let span = self.spans_ms[self.spans_taken % self.spans_ms.len()];
        self.spans_taken += 1;
        self.timers.push((self.now_ms + span, due));
        None
    }

    /// What the policy hears of it, unless the room has died in the meantime.
    fn come_due(&mut self, due: Due) -> Option<Event> {
        match due {
            Due::Timer(event) => Some(event),
            Due::Birth { room, epoch } => (self.alive[room] == Some(epoch)).then_some(Event::Born { room, epoch }),
            Due::Stop { room, epoch } => {
                self.alive[room].take_if(|alive| *alive == epoch)?;
                self.stopping[room] = false;
                Some(Event::Died(death(room, epoch, Class::Stopped, InHand::Nothing)))
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(next) = (0..self.timers.len()).min_by_key(|i| self.timers[*i].0) {
            if self.timers[next].0 > until {
                break;
            }
            let (at, due) = self.timers.swap_remove(next);
            self.now_ms = self.now_ms.max(at);
            if let Some(event) = self.come_due(due) {
                self.tell(event);
            }
        }
        self.now_ms = until;
    }

    fn kill(&mut self, room: usize, class: Class, in_hand: InHand, progressed: bool) {
        if let Some(epoch) = self.alive[room].take() {
            self.stopping[room] = false;
            self.tell(Event::Died(Death { progressed, ..death(room, epoch, class, in_hand) }));
        }
    }
}

fn death(room: usize, epoch: u64, class: Class, in_hand: InHand) -> Death {
    Death { room, epoch, class, in_hand, progressed: false, lived: Duration::from_secs(1) }
}

fn any_death() -> impl proptest::strategy::Strategy<Value = (usize, Class, InHand, bool, u64)> {
    let class = prop_oneof![
        Just(Class::Panic),
        Just(Class::Retry),
        Just(Class::Poison),
        Just(Class::Hang),
        Just(Class::Aside),
        Just(Class::Birth),
        Just(Class::Finished),
        Just(Class::Fatal),
    ];
    let in_hand = prop_oneof![
        Just(InHand::Nothing),
        Just(InHand::Data { attempts: 0 }),
        Just(InHand::Data { attempts: 1 }),
        Just(InHand::Inner)
    ];
    (0..4_usize, class, in_hand, any::<bool>(), 0..3_000_u64)
}

fn any_strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::RestForOne), Just(Strategy::OneForAll)]
}

const TYPES: [Restart; 4] = [Restart::Permanent, Restart::Transient, Restart::Permanent, Restart::Temporary];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// The world's own assertions hold (starts, stops, epochs, settlements), and in the end everyone is back who
    /// should be.
    #[test]
    fn whoever_should_live_lives_when_the_storm_is_over(
        strategy in any_strategy(),
        deaths in prop::collection::vec(any_death(), 0..80),
        seed: u64,
    ) {
        let mut world = World::new(strategy, &TYPES, seed);
        for (room, class, in_hand, progressed, pause_ms) in deaths {
            world.kill(room, class, in_hand, progressed);
            world.pass(pause_ms);
        }
        world.pass(100_000);
        for (room, restart) in TYPES.into_iter().enumerate() {
            let lives = world.alive[room].is_some();
            prop_assert_eq!(lives, !world.ended[room] && !world.gave_up, "room {}", room);
            prop_assert!(restart != Restart::Permanent || !world.ended[room]);
        }
    }

    /// The same where births and stops take their time, an operator restarts rooms in the middle of it, and the stop of
    /// the group may come in the middle, too.
    #[test]
    fn nobody_lives_twice_or_is_forgotten_whatever_an_operator_orders_meanwhile(
        strategy in any_strategy(),
        story in prop::collection::vec((any_death(), prop::option::weighted(0.3, 0..4_usize)), 0..80),
        spans_ms in prop::collection::vec(0..2_000_u64, 1..8),
        is_calm_before_the_stop: bool,
        seed: u64,
    ) {
        let mut world = World::slow(strategy, &TYPES, seed, spans_ms);
        for ((room, class, in_hand, progressed, pause_ms), restarted) in story {
            world.kill(room, class, in_hand, progressed);
            world.pass(pause_ms / 2);
            if let Some(room) = restarted {
                world.tell(Event::Restart { room });
            }
            world.pass(pause_ms / 2);
        }
        if is_calm_before_the_stop {
            world.pass(100_000);
            for room in 0..TYPES.len() {
                let lives = world.alive[room].is_some();
                prop_assert_eq!(lives, !world.ended[room] && !world.gave_up, "room {}", room);
            }
        }
        if is_calm_before_the_stop && !world.gave_up {
            // Whoever was ended lives again by an order.
            (0..TYPES.len()).for_each(|room| world.tell(Event::Restart { room }));
            world.pass(100_000);
            prop_assert!(world.alive.iter().all(Option::is_some));
        }
        world.tell(Event::Stop { group: 0 });
        world.kill(0, Class::Panic, InHand::Nothing, false);
        world.tell(Event::Restart { room: 1 });
        world.pass(100_000);
        prop_assert!(world.group_stopped);
    }

    #[test]
    fn the_same_seed_decides_the_same(
        strategy in any_strategy(),
        deaths in prop::collection::vec(any_death(), 0..40),
        seed: u64,
    ) {
        let run = || {
            let mut world = World::new(strategy, &TYPES, seed);
            for (room, class, in_hand, progressed, pause_ms) in &deaths {
                world.kill(*room, *class, *in_hand, *progressed);
                world.pass(*pause_ms);
            }
            world.log
        };
        prop_assert_eq!(run(), run());
    }

    /// Escalation happens exactly when a simple recount of both budgets says so.
    #[test]
    fn budgets_are_what_a_recount_says(
        deaths in prop::collection::vec((any::<bool>(), prop_oneof![4 => Just(0), 1 => 0..12_000_u64]), 1..60),
        seed: u64,
    ) {
        let mut world = World::new(Strategy::OneForOne, &[Restart::Permanent], seed);
        let (mut times, mut row) = (Vec::<u64>::new(), 0);
        for (progressed, pause_ms) in deaths {
            // Long enough for the longest delay, short enough for more than ten in a minute.
            world.pass(5_001 + pause_ms);
            let before = world.escalations;
            world.kill(0, Class::Aside, InHand::Nothing, progressed);
            row = if progressed { 1 } else { row + 1 };
            times.push(world.now_ms);
            times.retain(|at| world.now_ms - at < 60_000);
            let expected = row > 5 || times.len() > 10;
            prop_assert_eq!(world.escalations > before, expected, "row {} window {:?}", row, times);
            if expected {
                times.clear();
                row = 0;
            }
            if world.gave_up {
                break;
            }
        }
    }

    #[test]
    fn a_stale_death_changes_nothing(epoch in 0..1_000_u64, room in 0..4_usize) {
        let mut world = World::new(Strategy::OneForAll, &TYPES, 1);
        prop_assume!(Some(epoch) != world.alive[room]);
        let decisions = world.policy.decide(Event::Died(death(room, epoch, Class::Panic, InHand::Inner)), 5);
        prop_assert_eq!(decisions, vec![]);
    }
}

#[test]
fn messages_end_where_the_rules_say() {
    let first = InHand::Data { attempts: 0 };
    let last = InHand::Data { attempts: 1 };
    let cases = [
        ("first panic", Class::Panic, first, Fate::Back),
        ("last panic", Class::Panic, last, Fate::Quarantine),
        ("first hang", Class::Hang, first, Fate::Back),
        ("last hang", Class::Hang, last, Fate::Quarantine),
        ("poison at once", Class::Poison, first, Fate::Quarantine),
        ("retry is not its fault", Class::Retry, last, Fate::BackUncounted),
        ("fatal is not its fault", Class::Fatal, last, Fate::BackUncounted),
        ("own message panics", Class::Panic, InHand::Inner, Fate::Quarantine),
        ("own message retries", Class::Retry, InHand::Inner, Fate::Drop),
    ];
    for (name, class, in_hand, expected) in cases {
        let mut world = World::new(Strategy::OneForOne, &[Restart::Permanent], 1);
        world.kill(0, class, in_hand, false);
        assert!(world.log.contains(&Decision::Settle { room: 0, fate: expected }), "case: {name}: {:?}", world.log);
    }
}

#[test]
fn bad_messages_cost_little_but_not_nothing() {
    let mut world = World::new(Strategy::OneForOne, &[Restart::Permanent], 1);
    for n in 1..=5_001 {
        assert_eq!(world.escalations, 0, "after {n}");
        world.kill(0, Class::Panic, InHand::Data { attempts: 1 }, false);
    }
    assert_eq!(world.escalations, 1);
}

#[test]
fn the_root_gives_up_after_its_escalations() {
    let mut world = World::new(Strategy::OneForAll, &TYPES, 1);
    for n in 1..=ROOT_ESCALATIONS {
        world.kill(0, Class::Fatal, InHand::Nothing, true);
        world.pass(10_000);
        assert!(!world.gave_up && world.alive[0].is_some(), "escalation {n}");
    }
    world.kill(0, Class::Fatal, InHand::Nothing, true);
    assert!(world.gave_up);
    let mut patient = World::new(Strategy::OneForAll, &TYPES, 1);
    for _ in 0..20 {
        patient.kill(0, Class::Fatal, InHand::Nothing, true);
        patient.pass(ROOT_WITHIN_MS / 2);
    }
    assert!(!patient.gave_up, "rare escalations are lived with");
}

/// Hours in milliseconds: the policy is told the time.
mod a_day {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    /// Lets the room die again and again for a day, each time after `lived`; the delays before its restarts.
    fn deaths(class: Class, lived: Duration, progressed: bool, seed: u64) -> (World, Vec<Duration>) {
        let mut world = World::new(Strategy::OneForOne, &[Restart::Permanent], seed);
        let mut delays = Vec::new();
        while world.now_ms < DAY_MS && !world.gave_up {
            world.pass(u64::try_from(lived.as_millis()).expect("short"));
            let epoch = world.alive[0].take().expect("alive again after its delay");
            world.log.clear();
            let died = Death { progressed, lived, ..death(0, epoch, class, InHand::Nothing) };
            world.tell(Event::Died(died));
            delays.extend(world.log.iter().find_map(|decision| match decision {
                Decision::Start { .. } => Some(Duration::ZERO),
                Decision::Wait { delay, .. } | Decision::WaitGroup { delay, .. } => Some(*delay),
                _ => None,
            }));
            world.pass(u64::try_from(RULE.cap.as_millis()).expect("short") + 1);
        }
        (world, delays)
    }

    #[test]
    fn a_dependency_that_is_down_is_asked_for_ever_and_never_in_a_hurry() {
        let (world, delays) = deaths(Class::Retry, Duration::from_millis(10), false, 3);
        assert!(!world.gave_up, "a dependency may be down for a day");
        assert!(delays.len() > 10_000, "{} tries", delays.len());
        assert!(!delays[0].is_zero(), "not even the first at once");
        let late = &delays[20..];
        let mean = late.iter().sum::<Duration>() / u32::try_from(late.len()).expect("few");
        assert!(late.iter().all(|delay| *delay <= RULE.cap), "never longer than the cap");
        assert!(mean > RULE.cap / 3 && mean < RULE.cap * 2 / 3, "full jitter: {mean:?}");
        assert_eq!(deaths(Class::Retry, Duration::from_millis(10), false, 3).1, delays, "by the seed");
        assert_ne!(deaths(Class::Retry, Duration::from_millis(10), false, 4).1, delays);
    }

    #[test]
    fn stability_makes_the_next_death_a_first_one_again() {
        let stable = RULE.stable_after;
        let (world, delays) = deaths(Class::Aside, stable, true, 1);
        assert!(!world.gave_up && world.escalations == 0, "two a minute are within every budget");
        assert!(delays.len() > 2_000 && delays.iter().all(Duration::is_zero), "at once, each time");
        let (world, delays) = deaths(Class::Aside, stable - Duration::from_millis(1), true, 1);
        assert!(!world.gave_up && world.escalations == 0);
        let late = &delays[20..];
        assert!(late.iter().filter(|delay| **delay > RULE.cap / 4).count() > late.len() / 2, "not stable, so it waits");
        // A feed handles no messages: its deaths of weeks must neither add up to a wait nor to the group's end.
        let (world, delays) = deaths(Class::Aside, stable, false, 1);
        assert!(!world.gave_up && world.escalations == 0, "long, and it works in tasks");
        assert!(delays.iter().all(Duration::is_zero));
    }

    #[test]
    fn budgets_forget_by_the_hour() {
        // Ten in sixty seconds are allowed, the window slides; with its wait each death is at least five seconds apart.
        for (name, lived_ms, gives_up) in [("nine a minute", 2_000, false), ("twelve a minute", 1, true)] {
            let lived = Duration::from_millis(lived_ms);
            let (world, _) = deaths(Class::Aside, lived, true, 1);
            assert_eq!(world.escalations > 0, gives_up, "case: {name}");
            assert_eq!(world.gave_up, gives_up, "case: {name}: four escalations in five minutes");
        }
    }
}
