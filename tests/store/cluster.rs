//! Lanes against a real cluster of one node: what a key loses comes back, and nothing comes twice.

use crate::bench::*;
use crate::relay::{Place, Relay};
use redis::Commands;
use trapline::store::engine::End;
use trapline::store::link::Target;

const KEY: &str = "trapline:BTCUSDT:market_state";

/// A port whose neighbour 10000 further, the cluster bus', is free as well.
fn free_port() -> u16 {
    loop {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

fn is_ok(server: &Server) -> bool {
    format!("{:?}", server.run(&["CLUSTER", "INFO"])).contains("cluster_state:ok")
}

/// A node that owns all slots.
fn node() -> Server {
    let server = Server::start(&["--port", &free_port().to_string(), "--cluster-enabled", "yes"]);
    server.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait_for("cluster ok", || is_ok(&server));
    server
}

/// The guard holds at every node: what an older writer left on its way to another node than the epoch's never lands.
#[test]
fn a_write_held_on_its_way_to_another_node_never_lands_after_a_newer_one() {
    if skip() {
        return;
    }
    let ports = [free_port(), free_port()];
    let relays = ports.map(|port| Relay::start(Place::Port(port)));
    // All the world reaches the nodes through the relays.
    let nodes = [0, 1].map(|i| {
        let (port, told) = (ports[i].to_string(), relays[i].port().to_string());
        Server::start(&["--port", &port, "--cluster-enabled", "yes", "--cluster-announce-port", &told])
    });
    let slot = format!("{:?}", nodes[0].run(&["CLUSTER", "KEYSLOT", KEY]));
    let slot: u32 = slot.trim_start_matches("int(").trim_end_matches(')').parse().expect("a slot");
    let (below, above) = ((slot - 1).to_string(), (slot + 1).to_string());
    nodes[0].run(&["CLUSTER", "ADDSLOTSRANGE", "0", &below, &above, "16383"]);
    nodes[1].run(&["CLUSTER", "ADDSLOTS", &slot.to_string()]);
    nodes[1].run(&["CLUSTER", "SET-CONFIG-EPOCH", "2"]);
    let bus = (ports[0] + 10_000).to_string();
    nodes[1].run(&["CLUSTER", "MEET", "127.0.0.1", &ports[0].to_string(), &bus]);
    wait_for("cluster ok", || nodes.iter().all(is_ok));

    let setup = |seed: usize| {
        let mut setup = Setup::at(&nodes[0].socket());
        setup.settings.target = Target::parse(&format!("redis://127.0.0.1:{}", relays[seed].port())).unwrap();
        // Long enough that the first one does not give its held connection up by itself.
        setup.settings.reply_limit = std::time::Duration::from_secs(20);
        setup
    };
    let mut first = setup(0).start();
    first.price(1);
    first.wait_written(1);
    relays[1].hold();
    let writes = first.count("state_writes_total");
    first.price(2);
    wait_for("on its way", || first.count("state_writes_total") > writes);
    let second = setup(1).start();
    second.price(3);
    second.wait_written(3);
    assert_eq!(first.ended(), Some(End::Fenced));
    relays[1].release();
    for _ in 0..50 {
        assert_eq!(nodes[1].field(KEY, "seq").as_deref(), Some("3"));
        std::thread::sleep(std::time::Duration::from_millis(4));
    }
}

fn off(server: &Server, key: &str) -> u64 {
    server.field(key, "off").and_then(|off| off.parse().ok()).unwrap_or(0)
}

fn traps(server: &Server) -> usize {
    server.eyes().keys::<_, Vec<String>>("mm_trap:*").unwrap().len()
}

#[test]
fn what_a_key_of_a_cluster_loses_comes_back_and_nothing_comes_twice() {
    if skip() {
        return;
    }
    let server = node();
    let file = server.folder().join("spool.redb");
    let daemon = Setup::at(&server.socket()).spool(&file).start();
    (1..=30).for_each(|n| daemon.event(n));
    daemon.wait_settled();
    assert_exactly_once(&server, 30, "first");
    wait_for("the index", || off(&server, "trapline:cursor") == 30);

    // A key with its cursor: it alone is filled again.
    server.run(&["DEL", "recent_mm_traps", "{recent_mm_traps}:cursor"]);
    wait_for("sent again", || daemon.count("cursor_rewinds_total") >= 1);
    wait_for("all of it", || off(&server, "{recent_mm_traps}:cursor") == 30);
    daemon.wait_settled();
    assert_exactly_once(&server, 30, "a key lost");

    // The cursors alone: what stands in the keys proves itself.
    for (n, key) in (2..).zip(["recent_mm_traps", "trapline:BTCUSDT:events", "trap_events"]) {
        let cursor = format!("{{{key}}}:cursor");
        server.run(&["DEL", &cursor]);
        wait_for("sent again", || daemon.count("cursor_rewinds_total") >= n);
        wait_for("the cursor", || off(&server, &cursor) == 30);
        daemon.wait_settled();
        assert_exactly_once(&server, 30, key);
    }

    // The index alone: the process knows better.
    let rewinds = daemon.count("cursor_rewinds_total");
    server.run(&["DEL", "trapline:cursor"]);
    wait_for("the index again", || off(&server, "trapline:cursor") == 30);
    assert_eq!(daemon.count("cursor_rewinds_total"), rewinds);

    // What has no cursor comes again with the next connection.
    let names: Vec<String> = server.eyes().keys("mm_trap:*").unwrap();
    names.iter().for_each(|name| drop(server.run(&["DEL", name])));
    assert_eq!(traps(&server), 0);
    server.run(&["CLIENT", "KILL", "TYPE", "normal"]);
    wait_for("the hashes", || traps(&server) == 30);

    // The whole node.
    server.run(&["FLUSHALL"]);
    daemon.event(31);
    wait_for("all again", || off(&server, "trapline:cursor") == 31);
    daemon.wait_settled();
    assert_exactly_once(&server, 31, "emptied");
    assert!(!format!("{:?}", server.run(&["INFO", "errorstats"])).contains("CROSSSLOT"));
}

#[test]
fn a_key_that_lost_its_tail_while_the_daemon_was_away_gets_it() {
    if skip() {
        return;
    }
    let server = node();
    let file = server.folder().join("spool.redb");
    let daemon = Setup::at(&server.socket()).spool(&file).start();
    (1..=30).for_each(|n| daemon.event(n));
    wait_for("the index", || off(&server, "trapline:cursor") == 30);
    daemon.crash();
    server.run(&["DEL", "trap_events", "{trap_events}:cursor"]);
    server.run(&["LTRIM", "recent_mm_traps", "10", "-1"]);
    server.run(&["HSET", "{recent_mm_traps}:cursor", "off", "20"]);
    wait_for("the file is free", || trapline::store::spool::inspect(&file, |_| {}).is_ok());
    let daemon = Setup::at(&server.socket()).spool(&file).start();
    daemon.event(31);
    wait_for("31", || off(&server, "trapline:cursor") == 31);
    daemon.wait_settled();
    assert_exactly_once(&server, 31, "away");
}

#[test]
fn an_older_spool_begins_a_new_numbering_also_where_only_the_lanes_know() {
    if skip() {
        return;
    }
    for lagging in [false, true] {
        let server = node();
        let (file, copy) = (server.folder().join("spool.redb"), server.folder().join("copy.redb"));
        let daemon = Setup::at(&server.socket()).spool(&file).start();
        (1..=20).for_each(|n| daemon.event(n));
        daemon.wait_settled();
        daemon.crash();
        wait_for("the file is free", || trapline::store::spool::inspect(&file, |_| {}).is_ok());
        std::fs::copy(&file, &copy).unwrap();
        let daemon = Setup::at(&server.socket()).spool(&file).start();
        (21..=30).for_each(|n| daemon.event(n));
        wait_for("the index", || off(&server, "trapline:cursor") == 30);
        daemon.crash();
        wait_for("the file is free", || trapline::store::spool::inspect(&file, |_| {}).is_ok());
        std::fs::copy(&copy, &file).unwrap();
        if lagging {
            server.run(&["HSET", "trapline:cursor", "off", "18"]);
        }
        let daemon = Setup::at(&server.socket()).spool(&file).start();
        daemon.event(31);
        daemon.event(32);
        wait_for("both", || stream(&server).len() >= 32);
        daemon.wait_settled();
        // The hashes are named by the numbers, which were given out twice; everything else stands once and in order.
        assert_eq!(stream(&server), (1..=32).collect::<Vec<u64>>(), "lagging: {lagging}");
        let mut eyes = server.eyes();
        let counts: (u64, u64) = (eyes.zcard("trap_events").unwrap(), eyes.llen("recent_mm_traps").unwrap());
        assert_eq!(counts, (32, 32), "lagging: {lagging}");
    }
}

#[test]
fn a_foreign_type_is_put_aside_in_its_own_slot() {
    if skip() {
        return;
    }
    let server = node();
    for key in ["trap_events", "market_state"] {
        server.run(&["SET", key, "theirs"]);
    }
    let mut setup = Setup::at(&server.socket());
    setup.settings.migrate = true;
    let daemon = setup.start();
    daemon.event(1);
    daemon.price(1);
    daemon.wait_settled();
    daemon.wait_written(1);
    for key in ["trap_events", "market_state"] {
        let aside: Vec<String> = server.eyes().keys(format!("legacy:{{{key}}}:*")).unwrap();
        assert_eq!(aside.len(), 1, "{key}");
        assert_eq!(server.eyes().get::<_, String>(&aside[0]).unwrap(), "theirs");
    }
    wait_for("the hash", || server.field("market_state", "seq").as_deref() == Some("1"));
    assert_exactly_once(&server, 1, "put aside");
}

#[test]
fn the_least_rights_are_enough_for_a_cluster_and_a_missing_one_is_named() {
    if skip() {
        return;
    }
    let server = node();
    let words = trapline::doctor::acl::words("writer", (7, 0));
    let user: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(words.iter().map(String::as_str)).collect();
    server.run(&user);
    let mut setup = Setup::at(&server.socket());
    let url = format!("unix:{}?user=writer&pass=PASSWORD", server.socket().display());
    setup.settings.target = Target::parse(&url).unwrap();
    setup.settings.probe_every = std::time::Duration::from_secs(3);
    let daemon = setup.start();
    daemon.event(1);
    daemon.price(1);
    daemon.wait_written(1);
    daemon.wait_settled();
    assert_exactly_once(&server, 1, "least rights");
    let errors: Vec<_> = daemon.board.errors().filter(|(code, n)| *n > 0 && *code != "noscript").collect();
    assert_eq!(errors, [], "each lane's script had to be sent, nothing else was refused");

    // Without the cursors' pattern each lane is left out by its name, and counted; with it they go on.
    server.run(&["ACL", "SETUSER", "writer", "resetkeys", "~trap*", "~mm_*", "~*_mm_*", "~market_*", "~last_*"]);
    daemon.event(2);
    wait_for("left out", || daemon.count("event_ops_refused_total") > 0);
    assert!(daemon.count("quarantined_keys") > 0);
    server.run(&user);
    wait_for("tried again", || daemon.count("quarantined_keys") == 0);
    daemon.event(3);
    wait_for("3", || stream(&server).last() == Some(&3));
}
