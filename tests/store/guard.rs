//! The guard: of several writers one writes, and what another one held back never lands.

use crate::bench::*;
use crate::relay::{Place, Relay};
use std::time::{Duration, Instant};
use trapline::store::board::LinkState;
use trapline::store::cluster::door::{Known, Limits};
use trapline::store::engine::End;
use trapline::store::guard::{TakeOver, kill_writer};
use trapline::store::lines::Lines;
use trapline::store::link::Target;

const KEY: &str = "trapline:BTCUSDT:market_state";

/// A daemon's set-up with a name and a database of its own.
fn named(server: &Server, instance: &str, db: u8) -> Setup {
    let mut setup = Setup::at(&server.socket());
    let url = format!("unix:{}?db={db}", server.socket().display());
    setup.settings.target = Target::parse(&url).expect("a url");
    setup.settings.instance = instance.to_owned();
    setup
}

fn seq_in(server: &Server, db: u8) -> Option<String> {
    let mut eyes = server.eyes();
    let _: () = redis::cmd("SELECT").arg(db).query(&mut eyes).expect("a database");
    redis::cmd("HGET").arg(KEY).arg("seq").query(&mut eyes).expect("a field")
}

#[test]
fn of_two_daemons_the_newer_writes_and_the_older_is_fenced() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let mut old = Setup::at(&server.socket()).start();
    old.price(1);
    old.wait_written(1);
    let new = Setup::at(&server.socket()).start();
    new.price(5);
    new.wait_written(5);
    assert_eq!(old.ended(), Some(End::Fenced));
    assert_eq!(old.board.link(), LinkState::Fenced);
    assert!(new.board.epoch() > old.board.epoch());
    old.price(9);
    new.price(6);
    new.wait_written(6);
    assert_eq!(server.field(KEY, "seq").as_deref(), Some("6"));

    // The polite one waits its turn.
    let mut setup = Setup::at(&server.socket());
    setup.settings.take_over = TakeOver::Wait;
    let waiting = setup.start();
    waiting.price(7);
    wait_for("it waits", || waiting.board.link() == LinkState::Refused);
    assert_eq!(new.board.link(), LinkState::Up);
    new.crash();
    waiting.wait_written(7);
}

#[test]
fn a_write_held_in_a_dead_connection_never_lands_after_a_newer_one() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let path = server.folder().join("relay.sock");
    let proxy = Relay::start_at(&path, Place::Socket(server.socket()));
    let daemon = Setup::at(&path).start();
    daemon.price(1);
    daemon.wait_written(1);
    proxy.hold();
    let frozen = Instant::now();
    daemon.price(2);
    wait_for("given up", || daemon.board.link() != LinkState::Up);
    println!("half-open connection found after {} ms", frozen.elapsed().as_millis());
    daemon.price(3);
    daemon.wait_written(3);
    assert_eq!(proxy.connections(), 2);
    assert!(daemon.count("unknown_outcome_total") >= 1);
    // Now the old connection lets go of the write it held.
    proxy.release();
    for _ in 0..50 {
        assert_eq!(server.field(KEY, "seq").as_deref(), Some("3"));
        std::thread::sleep(Duration::from_millis(4));
    }
}

/// The keys and the epoch are the database's: another name makes no second right to write.
#[test]
fn of_two_names_on_one_database_the_older_is_fenced_and_what_it_held_never_lands() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let path = server.folder().join("relay.sock");
    let proxy = Relay::start_at(&path, Place::Socket(server.socket()));
    let mut setup = Setup::at(&path);
    setup.settings.instance = "first".to_owned();
    // Long enough that the second one comes before the first gives its held connection up by itself.
    setup.settings.reply_limit = Duration::from_secs(2);
    let mut first = setup.start();
    first.price(1);
    first.wait_written(1);
    // The second one waits for the first, though it is called otherwise.
    let mut setup = named(&server, "second", 0);
    setup.settings.take_over = TakeOver::Wait;
    let polite = setup.start();
    wait_for("it waits", || polite.board.link() == LinkState::Refused);
    polite.crash();
    assert_eq!(first.board.link(), LinkState::Up);
    // A write of the first is held on its way, while the second takes over.
    proxy.hold();
    let writes = first.count("state_writes_total");
    first.price(2);
    wait_for("on its way", || first.count("state_writes_total") > writes);
    let second = named(&server, "second", 0).start();
    second.price(5);
    second.wait_written(5);
    assert_eq!(first.ended(), Some(End::Fenced));
    assert!(second.board.epoch() > first.board.epoch());
    proxy.release();
    for _ in 0..50 {
        assert_eq!(server.field(KEY, "seq").as_deref(), Some("5"));
        std::thread::sleep(Duration::from_millis(4));
    }
    second.price(6);
    second.wait_written(6);
    assert_eq!(second.count("connects_total"), 1, "nobody ended the second's connection");
}

#[test]
fn writers_on_two_databases_leave_each_other_alone() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    for names in [["one", "two"], ["same", "same"]] {
        let mut setups = [named(&server, names[0], 2), named(&server, names[1], 3)];
        // Nor does the one wait for the other.
        setups[1].settings.take_over = TakeOver::Wait;
        let [a, b] = setups.map(Setup::start);
        for seq in 1..=200 {
            a.price(seq);
            b.price(seq + 1_000);
            a.wait_written(seq);
            b.wait_written(seq + 1_000);
        }
        assert_eq!(seq_in(&server, 2).as_deref(), Some("200"), "{names:?}");
        assert_eq!(seq_in(&server, 3).as_deref(), Some("1200"), "{names:?}");
        for daemon in [&a, &b] {
            assert_eq!((daemon.board.link(), daemon.count("connects_total")), (LinkState::Up, 1), "{names:?}");
        }
        server.run(&["FLUSHALL"]);
    }
}

#[test]
fn a_drill_ends_its_own_instance_and_nobody_else() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let [mine, far] = [("mine", 0), ("mine", 1)].map(|(name, db)| named(&server, name, db).start());
    for daemon in [&mine, &far] {
        daemon.price(1);
        daemon.wait_written(1);
    }
    // Another writer's connection of now: it came after mine was up.
    let mut other = server.eyes();
    let _: () = redis::cmd("CLIENT").arg("SETNAME").arg("trapline-writer-mine-too").query(&mut other).expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async {
        let limit = Duration::from_secs(5);
        let mut link =
            Lines::open(&Target::unix(server.socket()), &mut Known::default(), Limits { connect: limit, reply: limit })
                .await
                .expect("a link");
        kill_writer(&mut link, "mine").await
    });
    assert_eq!(ended.expect("redis allows it"), 1);
    let pong: String = redis::cmd("PING").query(&mut other).expect("the other one lives");
    assert_eq!(pong, "PONG");
    wait_for("it comes back", || mine.count("connects_total") == 2 && mine.board.link() == LinkState::Up);
    mine.price(2);
    far.price(2);
    mine.wait_written(2);
    far.wait_written(2);
    assert_eq!(far.count("connects_total"), 1, "on another database, under the same name");
}
