//! Feeds and reconciler as rooms, under supervision, against the built-in exchange.

use crate::rest::ok;
use crate::scripted::{rest_server, until};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use trapline::actors::health::Problem;
use trapline::actors::reconciler::{Reconciler, ReconcilerCounters, ReconcilerMsg, ReconcilerSettings};
use trapline::actors::validator::ValidatorMsg;
use trapline::actors::watchdog::WatchdogMsg;
use trapline::actors::{feed, reconciler, validator, watchdog};
use trapline::clock::Clock;
use trapline::domain::position::PositionStatement;
use trapline::domain::report::{Origin, Report};
use trapline::domain::symbol::Symbols;
use trapline::exchange::bitget::consts::{Endpoints, Generation};
use trapline::exchange::bitget::credential::Credential;
use trapline::exchange::bitget::dialect::Dialect;
use trapline::exchange::bitget::rest::{Rest, RestSettings};
use trapline::exchange::bitget::subscribe::Stream;
use trapline::exchange::session::{Connections, FeedSettings, Heard};
use trapline::exchange::skew::Skew;
use trapline::supervise::{
    Budgets, Command, Cx, Factory, Fault, Message, Port, Room, Running, Strategy, Tree, TreeConfig,
};
use trapline::telemetry::metrics::Metrics;
use trapline::venue::{AccountKind, Credentials, FaultName, FaultSpec, Limits, Venue, VenueConfig};

const SECOND: Duration = Duration::from_secs(1);

/// A room that keeps what it is told.
struct Keeper<M>(Arc<Mutex<Vec<M>>>);

impl<M: Message + Clone> Keeper<M> {
    fn factory(kept: Arc<Mutex<Vec<M>>>) -> Factory<Self> {
        Arc::new(move |_, _| Ok(Self(kept.clone())))
    }
}

impl<M: Message + Clone> Room for Keeper<M> {
    type Msg = M;
    fn handle(&mut self, msg: &M, _cx: &mut Cx<Self>) -> Result<(), Fault> {
        self.0.lock().unwrap().push(msg.clone());
        Ok(())
    }
}

/// Feeds, reconciler, and keepers where validator and watchdog would be.
struct House {
    venue: Venue,
    running: Running,
    told: Arc<Mutex<Vec<ValidatorMsg>>>,
    problems: Arc<Mutex<Vec<WatchdogMsg>>>,
    reconciler: Port<ReconcilerMsg>,
    counters: ReconcilerCounters,
    dialect: Dialect,
}

impl House {
    async fn build(account: AccountKind, secret: &str) -> Self {
        let config = VenueConfig {
            credentials: Some(Credentials { key: "k".into(), secret: "right".into(), pass: "p".into() }),
            account,
            limits: Limits { messages_per_second: 1_000, rest_rates: false, ..Limits::default() },
            ..VenueConfig::default()
        };
        let venue = trapline::venue::start(config).await.unwrap();
        let (clock, symbols) = (Clock::system(), Arc::new(Symbols::usdt(["BTCUSDT", "ETHUSDT"])));
        let credential = Credential::new("k", secret, "p");
        let endpoints = Endpoints::at(&venue.url());
        let rest = RestSettings { backoff: Duration::from_millis(5), timeout: 2 * SECOND, ..RestSettings::default() };
        let rest = Rest::new(
            endpoints.clone(),
            Some(credential.clone()),
            symbols.clone(),
            rest,
            clock.clone(),
            Skew::default(),
        )
        .unwrap();
        let dialect = Dialect::auto();
        let shared = feed::FeedShared {
            endpoints,
            dialect: dialect.clone(),
            symbols: symbols.clone(),
            settings: FeedSettings {
                subscribe_gap: Duration::ZERO,
                messages_per_second: 1_000,
                reconnect_min: Duration::from_millis(10),
                ..FeedSettings::default()
            },
            rest: rest.clone(),
            clock: clock.clone(),
            connections: Connections::default(),
            heard: Heard::default(),
            metrics: Metrics::new(),
            seed: 1,
            public_down: feed::PublicDown::default(),
        };
        let mut tree = Tree::new(TreeConfig::new(clock.clone(), 1));
        let group = tree.group("ingest", Strategy::OneForOne, Budgets::default());
        let (told, problems) = (Arc::default(), Arc::default());
        let to_validator = tree.port(&validator::card());
        let to_watchdog = tree.port(&watchdog::card());
        let to_reconciler = tree.port(&reconciler::card());
        tree.room(group, validator::card(), to_validator.clone(), Keeper::factory(Arc::clone(&told)));
        tree.room(group, watchdog::card(), to_watchdog.clone(), Keeper::factory(Arc::clone(&problems)));
        let counters = ReconcilerCounters::default();
        // Rounds only at the start and when asked for.
        let settings = ReconcilerSettings { every: 600 * SECOND, ..ReconcilerSettings::default() };
        let out = reconciler::Outlets { validator: to_validator.clone(), watchdog: to_watchdog.clone() };
        let factory = Reconciler::factory(rest, dialect.clone(), settings, clock, counters.clone(), out);
        tree.room(group, reconciler::card(), to_reconciler.clone(), factory);
        let out = feed::Outlets { validator: to_validator, reconciler: to_reconciler.clone(), watchdog: to_watchdog };
        let streams = Stream::market(symbols.ids(), &[]);
        let (public, private) = (feed::public_card(1), feed::private_card());
        let (to_public, to_private) = (tree.port(&public), tree.port(&private));
        tree.room(group, public, to_public, feed::Feed::public(shared.clone(), streams, out.clone()));
        tree.room(group, private, to_private, feed::Feed::private(shared, credential, out));
        Self { venue, running: tree.start(), told, problems, reconciler: to_reconciler, counters, dialect }
    }

    fn told(&self) -> Vec<ValidatorMsg> {
        self.told.lock().unwrap().clone()
    }

    fn reports(&self, origin: Origin) -> Vec<Report> {
        let of = |msg| match msg {
            ValidatorMsg::Reports(batch) if batch.origin == origin => batch.reports.to_vec(),
            _ => Vec::new(),
        };
        self.told().into_iter().flat_map(of).collect()
    }

    fn statements(&self, origin: Origin) -> Vec<PositionStatement> {
        let of = |report| if let Report::Positions(statement) = report { Some(*statement) } else { None };
        self.reports(origin).into_iter().filter_map(of).collect()
    }

    /// Connection numbers of the private feed's logins.
    fn logins(&self) -> Vec<u32> {
        let of = |msg| match msg {
            ValidatorMsg::FeedReady { connection, private: true, .. } => Some(connection),
            _ => None,
        };
        self.told().into_iter().filter_map(of).collect()
    }

    /// The last word about `problem`: its text while it lasts.
    fn problem(&self, wanted: Problem) -> Option<Option<String>> {
        let problems = self.problems.lock().unwrap();
        let of = |msg: &WatchdogMsg| match msg {
            WatchdogMsg::Problem { problem, text } if *problem == wanted => Some(text.clone()),
            _ => None,
        };
        problems.iter().rev().find_map(of)
    }

    async fn end(self) {
        let Self { venue, running, .. } = self;
        running.stop(&[], 10 * SECOND).await;
        venue.stop().await;
    }
}

#[actix_rt::test]
async fn the_rooms_find_out_the_account_and_bring_the_truth_from_both_witnesses() {
    for (account, generation) in
        [(AccountKind::Classic, Generation::Classic), (AccountKind::Unified, Generation::Unified)]
    {
        let house = House::build(account, "right").await;
        until("a login", || house.logins().first().copied()).await;
        assert_eq!(house.dialect.known(), Some(generation));
        until("flat by socket", || house.statements(Origin::Socket).first().map(|s| assert!(s.rows.is_empty()))).await;
        until("flat by REST", || house.statements(Origin::Rest).first().map(|s| assert!(s.rows.is_empty()))).await;
        until("market", || {
            house.reports(Origin::Socket).iter().find_map(|r| matches!(r, Report::Ticker(_)).then_some(()))
        })
        .await;
        let offset = |msg| if let ValidatorMsg::ClockOffset { offset_ms } = msg { Some(offset_ms) } else { None };
        let offset = until("the clock", || house.told().into_iter().find_map(offset)).await;
        assert!(offset.abs() < 5_000, "{offset}");
        // Two doubts, two answers, the second not long after the first.
        until("the round after the login", || (house.counters.answered_total() >= 2).then_some(())).await;
        for _ in 0..2 {
            let answered = house.counters.answered_total();
            house.reconciler.send(ReconcilerMsg::Suspicion { symbol: None }).await.unwrap();
            until("an answer to the doubt", || (house.counters.answered_total() > answered).then_some(())).await;
        }
        assert_eq!(house.counters.suspicions_total(), 2);
        assert_eq!(house.counters.failed_total(), 0);
        house.end().await;
    }
}

#[actix_rt::test]
async fn a_wrong_secret_is_told_with_its_fix_and_the_market_goes_on() {
    let house = House::build(AccountKind::Unified, "canary-wrong").await;
    let text = until("the problem", || house.problem(Problem::Login).flatten()).await;
    assert!(text.contains("secret") && !text.contains("canary"), "{text}");
    until("market", || (house.reports(Origin::Socket).len() > 5).then_some(())).await;
    assert_eq!((house.logins().len(), house.statements(Origin::Rest).len()), (0, 0));
    assert!(!format!("{:?}", house.told()).contains("canary"));
    house.end().await;
}

#[actix_rt::test]
async fn a_restarted_feed_says_that_its_predecessor_is_lost_and_logs_in_anew() {
    let house = House::build(AccountKind::Unified, "right").await;
    let first = until("a login", || house.logins().first().copied()).await;
    house.running.command(Command::Restart, feed::private_card().name, "test", "drill").unwrap();
    let second = until("a second login", || house.logins().get(1).copied()).await;
    assert!(second > first, "{first} {second}");
    let lost = |msg: &ValidatorMsg| matches!(msg, ValidatorMsg::FeedLost { private: true, .. });
    let told = house.told();
    let lost_at = told.iter().position(lost).expect("the loss is told");
    let again = |msg: &ValidatorMsg| matches!(msg, ValidatorMsg::FeedReady { connection, .. } if *connection == second);
    assert!(lost_at < told.iter().position(again).unwrap());
    house.end().await;
}

#[actix_rt::test]
async fn no_answer_is_a_problem_and_never_flat() {
    let house = House::build(AccountKind::Unified, "right").await;
    until("the round after the login", || (house.counters.answered_total() >= 2).then_some(())).await;
    for fault in [FaultName::RestHtml, FaultName::RestEmptyBody, FaultName::Rest500] {
        house.venue.fault(FaultSpec::new(fault, 60_000));
        // The first failure shows that what was asked before the fault has been answered.
        let mut stated = 0;
        for asked in 0..2 {
            let failed = house.counters.failed_total();
            house.reconciler.send(ReconcilerMsg::Suspicion { symbol: None }).await.unwrap();
            until("a failure", || (house.counters.failed_total() > failed).then_some(())).await;
            let now = house.statements(Origin::Rest).len();
            assert!(asked == 0 || now == stated, "{fault:?}: a failed answer became a statement");
            stated = now;
        }
        house.venue.stop_fault(fault);
    }
    until("the problem", || house.problem(Problem::Reconcile).flatten()).await;
    // A whole round, since the fills may be what was not answered; asked for twice, since a question that is still on its
    // way under the fault may take the first wish with it.
    for _ in 0..2 {
        let answered = house.counters.answered_total();
        house.reconciler.send(ReconcilerMsg::FeedReady { at_ms: 0 }).await.unwrap();
        house.reconciler.send(ReconcilerMsg::Suspicion { symbol: None }).await.unwrap();
        until("an answer", || (house.counters.answered_total() > answered).then_some(())).await;
    }
    until("its end", || house.problem(Problem::Reconcile).filter(Option::is_none)).await;
    house.end().await;
}

/// Whoever told of a problem may be replaced before it is over; its successor knows nothing of it.
#[actix_rt::test]
async fn a_problem_that_a_replaced_room_told_of_ends_with_its_successor() {
    let house = House::build(AccountKind::Unified, "right").await;
    until("a login", || house.logins().first().copied()).await;
    house.venue.fault(FaultSpec::new(FaultName::Rest500, 60_000));
    house.venue.fault(FaultSpec::new(FaultName::RefuseConnect, 60_000));
    house.venue.fault(FaultSpec::new(FaultName::Kill, 0));
    house.reconciler.send(ReconcilerMsg::Suspicion { symbol: None }).await.unwrap();
    until("no answer", || house.problem(Problem::Reconcile).flatten()).await;
    until("no connection", || house.problem(Problem::PrivateFeed).flatten()).await;
    // Again and again: the watchdog may be replaced, too, and keeps nothing.
    let times = |problem| {
        let told = house.problems.lock().unwrap();
        told.iter().filter(|m| matches!(m, WatchdogMsg::Problem { problem: p, text: Some(_) } if *p == problem)).count()
    };
    for problem in [Problem::Reconcile, Problem::PrivateFeed] {
        let before = times(problem);
        house.reconciler.send(ReconcilerMsg::Suspicion { symbol: None }).await.unwrap();
        until("it is told again", || (times(problem) > before).then_some(())).await;
    }
    house.venue.stop_fault(FaultName::Rest500);
    house.venue.stop_fault(FaultName::RefuseConnect);
    for room in [reconciler::card().name, feed::private_card().name] {
        house.running.command(Command::Restart, room, "test", "drill").unwrap();
    }
    for problem in [Problem::Reconcile, Problem::PrivateFeed] {
        until("its end", || house.problem(problem).filter(Option::is_none)).await;
    }
    house.end().await;
}

/// One that hangs while its connection is down is given up with what it knew; its thread may come back much later.
#[actix_rt::test]
async fn a_feed_that_hangs_while_it_is_down_does_not_stay_down() {
    let house = House::build(AccountKind::Unified, "right").await;
    until("a login", || house.logins().first().copied()).await;
    house.venue.fault(FaultSpec::new(FaultName::RefuseConnect, 60_000));
    house.venue.fault(FaultSpec::new(FaultName::Kill, 0));
    until("no connection", || house.problem(Problem::PublicFeed).flatten()).await;
    house.running.command(Command::Hang(30_000), feed::public_card(1).name, "test", "drill").unwrap();
    house.venue.stop_fault(FaultName::RefuseConnect);
    until("its end", || house.problem(Problem::PublicFeed).filter(Option::is_none)).await;
    assert_eq!(house.running.zombies(), 1, "while the thread still hangs");
    house.end().await;
}

fn is_fill(report: &Report) -> bool {
    matches!(report, Report::Fill(_))
}

/// A reconciler of the classic interface, and keepers where validator and watchdog would be.
struct Alone {
    running: Running,
    told: Arc<Mutex<Vec<ValidatorMsg>>>,
    problems: Arc<Mutex<Vec<WatchdogMsg>>>,
    counters: ReconcilerCounters,
    port: Port<ReconcilerMsg>,
    skew: Skew,
}

impl Alone {
    fn build(base: &str, rest: RestSettings, settings: ReconcilerSettings) -> Self {
        let (clock, symbols) = (Clock::system(), Arc::new(Symbols::usdt(["BTCUSDT"])));
        let credential = Some(Credential::new("k", "s", "p"));
        let skew = Skew::default();
        let rest = Rest::new(Endpoints::at(base), credential, symbols, rest, clock.clone(), skew.clone()).unwrap();
        let mut tree = Tree::new(TreeConfig::new(clock.clone(), 1));
        let group = tree.group("ingest", Strategy::OneForOne, Budgets::default());
        let (told, problems) = (Arc::default(), Arc::default());
        let (validator, watchdog) = (tree.port(&validator::card()), tree.port(&watchdog::card()));
        let port = tree.port(&reconciler::card());
        tree.room(group, validator::card(), validator.clone(), Keeper::factory(Arc::clone(&told)));
        tree.room(group, watchdog::card(), watchdog.clone(), Keeper::factory(Arc::clone(&problems)));
        let counters = ReconcilerCounters::default();
        let out = reconciler::Outlets { validator, watchdog };
        let dialect = Dialect::fixed(Generation::Classic);
        let factory = Reconciler::factory(rest, dialect, settings, clock, counters.clone(), out);
        tree.room(group, reconciler::card(), port.clone(), factory);
        Self { running: tree.start(), told, problems, counters, port, skew }
    }

    /// Rounds only at the start and when asked for; stretches of 200 fills.
    fn reading_for_long(base: &str) -> Self {
        let rest = RestSettings { fill_pages: 2, tries: 1, ..RestSettings::default() };
        let settings = ReconcilerSettings {
            every: 600 * SECOND,
            fills_pause: Duration::from_millis(20),
            ..ReconcilerSettings::default()
        };
        Self::build(base, rest, settings)
    }

    /// What the validator was told of the exchange's clock before it was told of a fill.
    fn offsets_before_the_fill(&self) -> Vec<i64> {
        let told = self.told.lock().unwrap();
        let before = told
            .iter()
            .take_while(|msg| !matches!(msg, ValidatorMsg::Reports(batch) if batch.reports.iter().any(is_fill)));
        let offset = |msg: &ValidatorMsg| match msg {
            ValidatorMsg::ClockOffset { offset_ms } => Some(*offset_ms),
            _ => None,
        };
        before.filter_map(offset).collect()
    }

    fn fills(&self) -> Vec<Report> {
        let told = self.told.lock().unwrap();
        let of = |msg: &ValidatorMsg| match msg {
            ValidatorMsg::Reports(batch) => batch.reports.iter().filter(|r| is_fill(r)).cloned().collect(),
            _ => Vec::new(),
        };
        told.iter().flat_map(of).collect()
    }
}

/// The newest fill that an account with a million of them is asked for.
fn newest_asked(head: &str) -> u64 {
    let before = head.split("idLessThan=").nth(1).and_then(|rest| rest.split(['&', ' ']).next());
    before.map_or(1_000_000, |id| id.parse::<u64>().unwrap() - 1)
}

/// The hundred fills up to this one.
fn page_of_fills(newest: u64) -> String {
    let row = |id: u64| {
        let time = Clock::system().now_ms() - 1_000_000 + i64::try_from(id).unwrap();
        format!(
            r#"{{"tradeId":"{id}","orderId":"1","symbol":"BTCUSDT","side":"buy","price":"1","baseVolume":"1","tradeSide":"buy_single","cTime":"{time}"}}"#
        )
    };
    let rows: Vec<String> = (newest - 99..=newest).rev().map(row).collect();
    format!(r#"{{"fillList":[{}],"endId":"{}"}}"#, rows.join(","), newest - 99)
}

/// An account may have more fills than can be read in an hour: who is told of its positions does not wait for them.
#[actix_rt::test]
async fn positions_are_confirmed_while_fills_are_still_being_read() {
    let base = rest_server(|head| {
        let fills = page_of_fills(newest_asked(head));
        (200, ok(if head.contains("/order/fills") { &fills } else { "[]" }))
    })
    .await;
    let alone = Alone::reading_for_long(&base);
    let Alone { problems, counters, port, .. } = &alone;
    let fills = || alone.fills().len();
    until("the account is confirmed", || {
        let told = problems.lock().unwrap();
        let over = |m: &&WatchdogMsg| matches!(m, WatchdogMsg::Problem { problem: Problem::Reconcile, text: None });
        told.iter().find(over).map(|_| ())
    })
    .await;
    for stretches in [2, 5] {
        let answered = counters.answered_total();
        port.send(ReconcilerMsg::Suspicion { symbol: None }).await.unwrap();
        until("an answer to the doubt", || (counters.answered_total() > answered).then_some(())).await;
        until("more fills", || (fills() >= stretches * 200).then_some(())).await;
    }
    until("a reading makes room", || (fills() >= 2_000).then_some(())).await;
    port.send(ReconcilerMsg::FeedReady { at_ms: 1 }).await.unwrap();
    until("and is taken up again", || (fills() >= 2_400).then_some(())).await;
    alone.running.stop(&[], 10 * SECOND).await;
}

/// A key that is refused says nothing of the question: what waits to be read is asked for again when the key is taken.
#[actix_rt::test]
async fn a_refused_key_costs_no_older_fills() {
    let (refuses, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (is_refusing, count) = (Arc::clone(&refuses), Arc::clone(&refused));
    let base = rest_server(move |head| {
        let newest = newest_asked(head);
        // Only what an earlier round left: the newest are answered.
        if is_refusing.load(SeqCst) && newest <= 998_000 {
            count.fetch_add(1, SeqCst);
            return (400, r#"{"code":"40006","msg":"Invalid ACCESS_KEY","data":null}"#.to_owned());
        }
        let fills = page_of_fills(newest);
        (200, ok(if head.contains("/order/fills") { &fills } else { "[]" }))
    })
    .await;
    let alone = Alone::reading_for_long(&base);
    until("a reading makes room", || (alone.fills().len() >= 2_000).then_some(())).await;
    refuses.store(true, SeqCst);
    alone.port.send(ReconcilerMsg::FeedReady { at_ms: 1 }).await.unwrap();
    until("the key is refused", || (refused.load(SeqCst) > 0).then_some(())).await;
    refuses.store(false, SeqCst);
    alone.port.send(ReconcilerMsg::FeedReady { at_ms: 1 }).await.unwrap();
    until("older fills", || (alone.fills().len() >= 2_400).then_some(())).await;
    alone.running.stop(&[], 10 * SECOND).await;
}

fn one_fill(time_ms: i64) -> String {
    format!(
        r#"{{"fillList":[{{"tradeId":"7","orderId":"1","symbol":"BTCUSDT","side":"buy","price":"1","baseVolume":"1","tradeSide":"buy_single","cTime":"{time_ms}"}}],"endId":"7"}}"#
    )
}

/// What is known of the exchange's clock may be wrong for a while. A fill that seems to be from the future would be
/// refused then, and is not asked for again.
#[actix_rt::test]
async fn fills_from_the_future_wait_until_the_clock_is_right() {
    let born_ms = Clock::system().now_ms();
    let is_asked = AtomicBool::new(false);
    let base = rest_server(move |head| {
        let fill = one_fill(born_ms);
        let behind_ms = if is_asked.load(SeqCst) { 0 } else { 40_000 };
        let time = format!(r#"{{"serverTime":"{}"}}"#, Clock::system().now_ms() - behind_ms);
        is_asked.fetch_or(head.contains("/order/fills"), SeqCst);
        let is = |part: &str| head.contains(part);
        let data = if is("/public/time") {
            &time
        } else if is("/order/fills") {
            &fill
        } else {
            "[]"
        };
        (200, ok(data))
    })
    .await;
    let alone = Alone::build(&base, RestSettings::default(), ReconcilerSettings::default());
    until("the fill", || alone.fills().first().cloned()).await;
    let offsets = alone.offsets_before_the_fill();
    assert!(offsets.len() > 1, "it came by a wrong clock: {offsets:?}");
    assert!(offsets[0] < -30_000 && offsets.last().is_some_and(|ms| ms.abs() < 10_000), "{offsets:?}");
    let answered = alone.counters.answered_total();
    alone.port.send(ReconcilerMsg::FeedReady { at_ms: 1 }).await.unwrap();
    until("another round", || (alone.counters.answered_total() > answered).then_some(())).await;
    assert_eq!(alone.fills().len(), 1, "and once");
    alone.running.stop(&[], 10 * SECOND).await;
}

/// An account may have more fills in a day than anybody remembers: they would be read again, and count twice.
#[actix_rt::test]
async fn a_reconciler_that_died_goes_on_reading_fills_where_it_was() {
    let born_ms = Clock::system().now_ms();
    let asked: Arc<Mutex<Vec<i64>>> = Arc::default();
    let heard = Arc::clone(&asked);
    let base = rest_server(move |head| {
        let time = format!(r#"{{"serverTime":"{}"}}"#, Clock::system().now_ms());
        if head.contains("/order/fills") {
            let (_, since) = head.split_once("startTime=").expect("since when");
            let digits: String = since.chars().take_while(char::is_ascii_digit).collect();
            heard.lock().unwrap().push(digits.parse().unwrap());
            return (200, ok(&one_fill(born_ms)));
        }
        (200, ok(if head.contains("/public/time") { &time } else { "[]" }))
    })
    .await;
    // Rounds only at the start and when asked for.
    let settings = ReconcilerSettings { every: 600 * SECOND, ..ReconcilerSettings::default() };
    let alone = Alone::build(&base, RestSettings::default(), settings);
    until("the fill", || alone.fills().first().cloned()).await;
    alone.running.command(Command::Restart, reconciler::card().name, "test", "drill").unwrap();
    until("asked again", || (asked.lock().unwrap().len() > 1).then_some(())).await;
    let asked = asked.lock().unwrap().clone();
    assert!(asked[0] < born_ms - 86_000_000, "a day at the start: {asked:?}");
    assert_eq!(asked[1], born_ms - 60_000, "fills may be listed a minute late");
    alone.running.stop(&[], 10 * SECOND).await;
}

/// Feeds ask the exchange for its time, too, and the validator hears of it from the reconciler alone.
#[actix_rt::test]
async fn fills_are_handed_on_by_the_clock_that_the_validator_knows() {
    let born_ms = Clock::system().now_ms();
    let (times, asked) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
    let is_asked = Arc::clone(&asked);
    let base = rest_server(move |head| {
        let is = |part: &str| head.contains(part);
        is_asked.fetch_or(is("/order/fills"), SeqCst);
        if is("/public/time") {
            // After a first wrong answer there is none.
            let status = if times.fetch_add(1, SeqCst) == 0 { 200 } else { 500 };
            return (status, ok(&format!(r#"{{"serverTime":"{}"}}"#, Clock::system().now_ms() - 40_000)));
        }
        (200, ok(if is("/order/fills") { one_fill(born_ms) } else { "[]".to_owned() }.as_str()))
    })
    .await;
    let rest = RestSettings { tries: 1, ..RestSettings::default() };
    let alone = Alone::build(&base, rest, ReconcilerSettings::default());
    until("fills are asked for", || asked.load(SeqCst).then_some(())).await;
    alone.skew.set(1);
    until("the fill", || alone.fills().first().cloned()).await;
    assert_eq!(alone.offsets_before_the_fill().last(), Some(&1));
    alone.running.stop(&[], 10 * SECOND).await;
}
