//! Events: once each, in order, in every key.

use crate::bench::*;

#[test]
fn events_survive_the_daemons_death_and_a_second_detection() {
    if skip() {
        return;
    }
    let mut server = Server::start(&[]);
    let file = server.folder().join("spool.redb");
    let daemon = Setup::at(&server.socket()).spool(&file).start();
    (1..=20).for_each(|n| daemon.event(n));
    daemon.wait_settled();
    server.kill();
    (21..=40).for_each(|n| daemon.event(n));
    wait_for("spooled", || daemon.desk.spool().safe() == 40);
    daemon.crash();
    server.up();
    let daemon = Setup::at(&server.socket()).spool(&file).start();
    // Detected again from the same data after the restart.
    daemon.event(40);
    daemon.event(41);
    daemon.wait_settled();
    assert_exactly_once(&server, 41, "after the daemon's death");
    assert_eq!(daemon.count("events_duplicate_total"), 1);
}

#[test]
fn a_redis_that_lost_its_tail_or_all_is_filled_again() {
    if skip() {
        return;
    }
    for (name, cut) in [("tail lost", Some(9_000)), ("all lost", None)] {
        let mut server = Server::start(&[]);
        let file = server.folder().join("spool.redb");
        let daemon = Setup::at(&server.socket()).spool(&file).start();
        (1..=200).for_each(|n| daemon.event(n));
        daemon.wait_settled();
        server.kill();
        match cut {
            Some(bytes) => server.cut_tail(bytes),
            None => server.forget_everything(),
        }
        server.up();
        daemon.event(201);
        wait_for("sent again", || daemon.count("cursor_rewinds_total") >= 1);
        daemon.wait_settled();
        assert_exactly_once(&server, 201, name);
    }
}

#[test]
fn a_deleted_cursor_alone_doubles_nothing() {
    if skip() {
        return;
    }
    let mut server = Server::start(&[]);
    let file = server.folder().join("spool.redb");
    let daemon = Setup::at(&server.socket()).spool(&file).start();
    (1..=30).for_each(|n| daemon.event(n));
    daemon.wait_settled();
    server.run(&["DEL", "trapline:cursor"]);
    server.kill();
    server.up();
    daemon.event(31);
    wait_for("31", || stream(&server).last() == Some(&31));
    daemon.wait_settled();
    assert_exactly_once(&server, 31, "cursor deleted");
}

#[test]
fn a_lost_spool_is_followed_by_a_new_one_and_not_skipped() {
    if skip() {
        return;
    }
    for corrupt in [false, true] {
        let server = Server::start(&[]);
        let file = server.folder().join("spool.redb");
        let daemon = Setup::at(&server.socket()).spool(&file).start();
        (1..=30).for_each(|n| daemon.event(n));
        daemon.wait_settled();
        daemon.crash();
        wait_for("the file is free", || trapline::store::spool::inspect(&file, |_| {}).is_ok());
        if corrupt {
            std::fs::write(&file, vec![7; 10_000]).unwrap();
        } else {
            std::fs::remove_file(&file).unwrap();
        }
        let daemon = Setup::at(&server.socket()).spool(&file).start();
        assert_eq!(daemon.desk.spool_set_aside().is_some(), corrupt);
        (31..=40).for_each(|n| daemon.event(n));
        daemon.wait_settled();
        assert_eq!(stream(&server), (1..=40).collect::<Vec<_>>(), "corrupt {corrupt}");
    }
}

#[test]
fn a_spool_that_is_behind_redis_begins_a_new_numbering() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let file = server.folder().join("spool.redb");
    let copy = server.folder().join("copy.redb");
    let free = || wait_for("the file is free", || trapline::store::spool::inspect(&file, |_| {}).is_ok());
    let run = |events: std::ops::RangeInclusive<u64>| {
        let daemon = Setup::at(&server.socket()).spool(&file).start();
        events.for_each(|n| daemon.event(n));
        daemon.wait_settled();
        wait_for("in redis", || daemon.board.epoch() > 0 && daemon.desk.outbox().is_settled());
        daemon.crash();
        free();
    };
    run(1..=5);
    std::fs::copy(&file, &copy).unwrap();
    run(6..=10);
    std::fs::copy(&copy, &file).unwrap();
    // Numbers 6 to 10 are given out a second time: the cursor must not take them for applied.
    run(11..=18);
    run(19..=20);
    assert_eq!(stream(&server), (1..=20).collect::<Vec<_>>());
}

#[test]
fn what_can_no_longer_be_recovered_is_stated() {
    if skip() {
        return;
    }
    let mut server = Server::start(&[]);
    let file = server.folder().join("spool.redb");
    let mut setup = Setup::at(&server.socket()).spool(&file);
    setup.spool.keep_bytes = 40_000;
    let daemon = setup.start();
    (1..=100).for_each(|n| daemon.event(n));
    daemon.wait_settled();
    daemon.desk.spool().trim_now();
    wait_for("trimmed", || daemon.desk.spool().first() > 1);
    let first = daemon.desk.spool().first();
    server.kill();
    server.forget_everything();
    server.up();
    daemon.event(101);
    wait_for("gap counted", || daemon.count("events_unrecoverable_total") == first - 1);
    daemon.wait_settled();
    assert_eq!(stream(&server), (first..=101).collect::<Vec<_>>());
    let gaps: redis::streams::StreamRangeReply =
        redis::Commands::xrange_all(&mut server.eyes(), "trapline:gaps").unwrap();
    assert_eq!(gaps.ids.len(), 1);
    let id: String = gaps.ids[0].get("id").unwrap();
    assert_eq!(id, format!("gap:1-{}", first - 1));
}
