//! State: the newest value wins, never goes back, and comes back.

use crate::bench::*;
use std::time::{Duration, Instant};
use trapline::domain::position::HoldSide;
use trapline::store::board::LinkState;
use trapline::store::encode::StaleMark;

const KEY: &str = "trapline:BTCUSDT:market_state";

#[test]
fn every_accepted_value_arrives_and_conflation_keeps_the_newest() {
    if skip() {
        return;
    }
    for conflate in [true, false] {
        let server = Server::start(&[]);
        let mut setup = Setup::at(&server.socket());
        setup.conflate = conflate;
        let daemon = setup.start();
        daemon.price(1);
        daemon.wait_written(1);
        for seq in 2..=5_000 {
            daemon.price(seq);
        }
        daemon.wait_written(5_000);
        assert_eq!(server.field(KEY, "seq").as_deref(), Some("5000"), "conflate {conflate}");
        assert_eq!(server.field(KEY, "price").as_deref(), Some("65000"));
        wait_for("primary mirror", || server.field("market_state", "seq").as_deref() == Some("5000"));
        let conflated = daemon.count("conflated_total");
        assert!(if conflate { conflated > 0 } else { conflated == 0 }, "conflate {conflate}: {conflated}");
        wait_for("latencies", || {
            daemon.price(daemon.board.market(BTC).read().accepted_seq + 1);
            matches!(server.run(&["LLEN", "update_latencies"]), redis::Value::Int(n) if n > 0)
        });
    }
}

#[test]
fn older_values_are_refused_in_memory_and_across_restarts() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let daemon = Setup::at(&server.socket()).start();
    daemon.price(100);
    daemon.wait_written(100);
    daemon.price(90);
    assert_eq!(daemon.count("regressed_total"), 1);
    daemon.crash();

    let daemon = Setup::at(&server.socket()).start();
    wait_for("up", || daemon.board.link() == LinkState::Up);
    let mut old = picture(50);
    old.seq = 1;
    daemon.market(old);
    assert_eq!(daemon.count("regressed_total"), 1, "older than what the former process wrote");
    assert_eq!(server.field(KEY, "price").as_deref(), Some("60100"));
    let mut new = picture(101);
    new.seq = 2;
    daemon.market(new);
    daemon.wait_written(2);
    assert_eq!(server.field(KEY, "price").as_deref(), Some("60101"));
    daemon.crash();

    // Values that were accepted before the first connection are compared as well.
    let daemon = Setup::at(&server.socket()).start();
    {
        let mut shelf = daemon.desk.shelf();
        shelf.market(&[picture(102)]);
        drop(shelf);
    }
    daemon.wait_written(102);
    assert_eq!(server.field(KEY, "price").as_deref(), Some("60102"));
    daemon.crash();
    let daemon = Setup::at(&server.socket()).start();
    daemon.price(70);
    wait_for("up", || daemon.board.link() == LinkState::Up);
    daemon.desk.wake();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(server.field(KEY, "price").as_deref(), Some("60102"), "accepted before the stored time was known");
}

#[test]
fn a_killed_redis_gets_everything_back_also_when_it_comes_back_empty() {
    if skip() {
        return;
    }
    for empty in [false, true] {
        let mut server = Server::start(&[]);
        let daemon = Setup::at(&server.socket()).start();
        daemon.price(1);
        daemon.flat(HoldSide::Long, 1);
        daemon.flat(HoldSide::Short, 1);
        daemon.wait_written(1);
        server.kill();
        wait_for("noticed", || daemon.board.link() != LinkState::Up);
        daemon.price(2);
        if empty {
            server.forget_everything();
        }
        server.up();
        let up = Instant::now();
        daemon.wait_written(2);
        wait_for("all state", || {
            server.field("current_position", "has_position").as_deref() == Some("0")
                && server.field("market_state", "seq").as_deref() == Some("2")
        });
        println!("empty {empty}: all state after {} ms", up.elapsed().as_millis());
        assert!(up.elapsed() < Duration::from_secs(10), "limit 2 s on a quiet machine");
    }
}

#[test]
fn an_emptied_redis_is_noticed_and_filled() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let daemon = Setup::at(&server.socket()).start();
    daemon.price(1);
    daemon.flat(HoldSide::Long, 1);
    daemon.event(1);
    daemon.wait_written(1);
    daemon.wait_settled();
    server.run(&["FLUSHALL"]);
    wait_for("state is back", || server.field(KEY, "seq").as_deref() == Some("1"));
    wait_for("position is back", || server.field("trapline:BTCUSDT:position:long", "size").as_deref() == Some("0"));
    wait_for("event is back", || stream(&server) == [1]);
    wait_for("repair counted", || daemon.count("audit_repairs_total") >= 1);
    assert!(server.field(KEY, "symbol").is_some(), "every field, not only those that changed");

    // One key deleted by somebody: the next write finds out.
    server.run(&["DEL", KEY]);
    daemon.price(2);
    wait_for("every field is back", || {
        server.field(KEY, "symbol").is_some() && server.field(KEY, "seq").as_deref() == Some("2")
    });
}

#[test]
fn a_stopped_redis_is_survived_and_nothing_goes_back() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let daemon = Setup::at(&server.socket()).start();
    daemon.price(1);
    daemon.wait_written(1);
    server.signal(rustix::process::Signal::STOP);
    daemon.price(2);
    wait_for("given up", || daemon.board.link() != LinkState::Up);
    for seq in 3..=50 {
        daemon.price(seq);
    }
    server.signal(rustix::process::Signal::CONT);
    daemon.wait_written(50);
    for _ in 0..20 {
        assert_eq!(server.field(KEY, "seq").as_deref(), Some("50"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_stale_mark_stands_in_every_mirror_and_goes_with_the_next_value() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let daemon = Setup::at(&server.socket()).start();
    daemon.price(1);
    daemon.flat(HoldSide::Long, 1);
    daemon.flat(HoldSide::Short, 1);
    daemon.wait_written(1);
    let mark = StaleMark { since_ms: daemon.desk.clock.now_ms(), reason: "no_answer" };
    {
        let mut shelf = daemon.desk.shelf();
        shelf.stale_position(BTC, HoldSide::Long, Some(mark));
        shelf.stale_market(BTC, Some(StaleMark { since_ms: 1, reason: "no_data" }));
    }
    daemon.desk.wake();
    wait_for("marked", || {
        server.field("current_position", "stale").as_deref() == Some("1")
            && server.field("market_state", "stale_reason").as_deref() == Some("no_data")
    });
    let json: String = redis::cmd("GET").arg("active_position").query(&mut server.eyes()).unwrap();
    assert!(json.contains(r#""stale":1,"stale_reason":"no_answer""#), "{json}");
    daemon.flat(HoldSide::Long, 2);
    daemon.price(2);
    wait_for("fresh", || {
        server.field("current_position", "stale").as_deref() == Some("0")
            && server.field("market_state", "stale").as_deref() == Some("0")
    });
}

/// Another writer than the one that wrote a price and no position, and died; what it left has been read.
fn successor(server: &Server, meanwhile: impl FnOnce()) -> Daemon {
    let daemon = Setup::at(&server.socket()).start();
    daemon.price(1);
    daemon.flat(HoldSide::Long, 1);
    daemon.flat(HoldSide::Short, 1);
    daemon.wait_written(1);
    wait_for("written", || server.field("current_position", "stale").as_deref() == Some("0"));
    daemon.crash();
    meanwhile();
    let daemon = Setup::at(&server.socket()).start();
    wait_for("up", || daemon.board.link() == LinkState::Up);
    daemon
}

#[test]
fn what_a_former_process_left_can_be_marked_stale() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let daemon = successor(&server, || {});
    let mark = Some(StaleMark { since_ms: 1, reason: "login_refused" });
    {
        let mut shelf = daemon.desk.shelf();
        HoldSide::BOTH.into_iter().for_each(|side| shelf.stale_position(BTC, side, mark));
        shelf.stale_market(BTC, mark);
    }
    daemon.desk.wake();
    for key in ["current_position", "trapline:BTCUSDT:position:short", KEY, "market_state"] {
        wait_for(key, || server.field(key, "stale_reason").as_deref() == Some("login_refused"));
        assert!(server.field(key, "symbol").is_some(), "the rest stays: {key}");
    }
    for key in ["active_position", "long_trader_position", "short_trader_position"] {
        let json: String = redis::cmd("GET").arg(key).query(&mut server.eyes()).unwrap();
        assert!(json.contains(r#""stale":1"#) && json.contains(r#""has_position":false"#), "{key}: {json}");
    }
}

/// A mark alone would be a picture of nothing, and an old document would come back over a newer one.
#[test]
fn what_a_former_process_left_and_is_gone_or_changed_meanwhile_gets_no_mark() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let daemon = successor(&server, || {
        server.run(&["EXPIRE", "long_trader_position", "1000"]);
    });
    // What was left has been read. Now others take it away, expire it, or write it.
    let gone = ["current_position", "trapline:BTCUSDT:position:short", KEY, "active_position"];
    for key in gone {
        assert_eq!(server.run(&["DEL", key]), redis::Value::Int(1), "{key} was there");
    }
    server.run(&["SET", "short_trader_position", "{\"newer\":true}"]);
    // A connection that was lost meanwhile, and made again, has everything before it once more.
    let is_up = || daemon.board.link() == LinkState::Up;
    let is_settled = || is_up() && daemon.desk.shelf().is_settled() && is_up();
    let mark = |since_ms, reason| {
        let mut shelf = daemon.desk.shelf();
        let mark = Some(StaleMark { since_ms, reason });
        HoldSide::BOTH.into_iter().for_each(|side| shelf.stale_position(BTC, side, mark));
        shelf.stale_market(BTC, mark);
        drop(shelf);
        daemon.desk.wake();
    };
    let text = |key: &str| -> String { redis::cmd("GET").arg(key).query(&mut server.eyes()).expect("a string") };
    // The second mark replaces the first: the document is no longer the one that was found.
    for (since_ms, reason) in [(1, "login_refused"), (2, "no_answer")] {
        mark(since_ms, reason);
        wait_for("settled", is_settled);
        for key in ["trapline:BTCUSDT:position:long", "market_state"] {
            assert_eq!(server.field(key, "stale_reason").as_deref(), Some(reason), "{key}");
            assert!(server.field(key, "symbol").is_some(), "the rest stays: {key}");
        }
        let json = text("long_trader_position");
        assert!(json.contains(&format!("\"stale_reason\":\"{reason}\"")) && json.contains("has_position"), "{json}");
        assert!(matches!(server.run(&["TTL", "long_trader_position"]), redis::Value::Int(1..)), "its expiry stays");
        for key in gone {
            assert_eq!(server.run(&["EXISTS", key]), redis::Value::Int(0), "{key} came back as a mark alone");
        }
        assert_eq!(text("short_trader_position"), "{\"newer\":true}");
    }
    // A foreign type is left alone, and no reason to leave anything.
    server.run(&["DEL", "market_state", "long_trader_position"]);
    server.run(&["LPUSH", "long_trader_position", "x"]);
    server.run(&["SET", "market_state", "x"]);
    mark(3, "gone_silent");
    wait_for("settled", is_settled);
    assert_eq!(server.field("trapline:BTCUSDT:position:long", "stale_reason").as_deref(), Some("gone_silent"));
    assert_eq!(text("market_state"), "x");
    assert_eq!((daemon.count("connects_total"), daemon.board.link()), (1, LinkState::Up));
    // Whoever loses the connection before the mark is there marks again.
    server.run(&["HSET", "trapline:BTCUSDT:position:long", "stale", "0", "stale_reason", ""]);
    server.run(&["CLIENT", "KILL", "TYPE", "normal"]);
    wait_for("marked again", || {
        server.field("trapline:BTCUSDT:position:long", "stale_reason").as_deref() == Some("gone_silent")
    });
}

#[test]
fn fields_that_another_program_wrote_are_noticed_and_made_true_again() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let daemon = Setup::at(&server.socket()).start();
    daemon.flat(HoldSide::Long, 1);
    daemon.flat(HoldSide::Short, 1);
    wait_for("flat", || server.field("current_position", "size").as_deref() == Some("0"));
    // Nothing foreign is seen in what we wrote, however often it is looked at.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(daemon.count("foreign_writes_total"), 0);
    server.run(&["HSET", "current_position", "size", "99", "side", "long"]);
    wait_for("noticed", || daemon.count("foreign_writes_total") == 1);
    wait_for("true again", || {
        server.field("current_position", "size").as_deref() == Some("0")
            && server.field("current_position", "side").as_deref() == Some("none")
    });
    server.run(&["SET", "active_position", "{}"]);
    wait_for("noticed", || daemon.count("foreign_writes_total") == 2);
    let notes = daemon.board.take_notes();
    assert_eq!(
        notes.iter().map(|n| (n.code, n.key.as_str())).collect::<Vec<_>>(),
        [("foreign_writer", "current_position"), ("foreign_writer", "active_position")]
    );
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(daemon.count("foreign_writes_total"), 2, "told once each");
}
