//! R16: a Redis Cluster. Three masters with a replica each; slots move, a master dies, a second daemon comes.

use crate::cluster_scene::{Cluster, Desk, ETH_EVENTS, NODE_TIMEOUT_MS};
use crate::scene::{BTC, figures, more, ms, options};
use crate::server::skip;
use crate::support::{Daemon, Options, wait_for};
use redis::Commands;
use std::time::Instant;

/// Moves a slot as a person does, key by key; `between` is called at each step of the way.
fn move_slot(desk: &mut Desk, key: &str, mut between: impl FnMut(&mut Desk)) {
    let cluster = &desk.cluster;
    let (from, slot) = (cluster.owner(key), cluster.slot(key));
    let masters = (0..6).filter(|&i| format!("{:?}", cluster.nodes[i].1.run(&["ROLE"])).contains("master"));
    let to = masters.into_iter().find(|&i| i != from).expect("another master");
    let (from_id, to_id, port) = (cluster.id(from), cluster.id(to), cluster.nodes[to].0.to_string());
    cluster.nodes[to].1.run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    cluster.nodes[from].1.run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    loop {
        between(desk);
        let mut source = desk.cluster.nodes[from].1.eyes();
        let keys: Vec<String> =
            redis::cmd("CLUSTER").arg("GETKEYSINSLOT").arg(&slot).arg(1).query(&mut source).expect("keys");
        let Some(name) = keys.first() else { break };
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(&port).arg("").arg(0).arg(5_000).arg("KEYS").arg(name);
        let _: redis::Value = migrate.query(&mut source).expect("moved");
    }
    for i in [to, from].into_iter().chain((0..6).filter(|&i| i != to && i != from)) {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SETSLOT").arg(&slot).arg("NODE").arg(&to_id);
        // Replicas hear of it from their masters.
        let told: redis::RedisResult<()> = command.query(&mut desk.cluster.nodes[i].1.eyes());
        assert!(told.is_ok() || i >= 3, "{told:?}");
    }
    between(desk);
    assert_eq!(desk.cluster.owner(key), to, "{key} has moved");
}

#[test]
fn r16_a_cluster_holds_the_picture_and_its_slots_may_move() {
    if skip() {
        return;
    }
    // The url names one node alone; the others are found.
    let mut desk = Desk::at(|_| 1);
    desk.trade(20);
    desk.events_are_whole();
    let connects = desk.count("connects_total");
    let list = {
        let name = |server: &crate::server::Server| {
            server.eyes().keys::<_, Vec<String>>("trader:trades:*").expect("names").into_iter().next()
        };
        desk.cluster.nodes.iter().find_map(|(_, server)| name(server)).expect("a list of trades")
    };
    let mut f = figures("R16", "Cluster: slots of our keys are moved, key by key, while events flow", 5);
    for key in [ETH_EVENTS, list.as_str(), BTC, "trapline:cursor", "trapline:epoch"] {
        let began = Instant::now();
        let before = desk.metric("trapline_redis_errors_total{code=\"moved\"}");
        move_slot(&mut desk, key, |desk| {
            desk.trade(3);
            desk.goes_on("trapline:ETHUSDT:market_state");
        });
        desk.wait_metric("trapline_redis_errors_total{code=\"moved\"}", before + 1.0);
        f.detection_ms.push(ms(began));
        let moved = Instant::now();
        desk.trade(1);
        desk.events_are_whole();
        desk.goes_on(BTC);
        f.recovery_ms.push(ms(moved));
    }
    assert_eq!(desk.count("connects_total"), connects, "redirects are followed without a new connection");
    f.more = more([
        ("redirects", desk.metric("trapline_redis_errors_total{code=\"moved\"}")),
        ("tryagain", desk.metric("trapline_redis_errors_total{code=\"tryagain\"}")),
    ]);
    desk.wait_metric("trapline_redis_errors_total{code=\"tryagain\"}", 1.0);
    desk.check(f);
}

#[test]
fn r16_a_master_dies_with_the_last_events_and_the_url_s_node() {
    if skip() {
        return;
    }
    // The node that will die is the one that the url names, and no other is named anywhere.
    let mut desk = Desk::at(|cluster: &Cluster| cluster.owner(ETH_EVENTS));
    desk.trade(20);
    desk.events_are_whole();
    let dying = desk.cluster.owner(ETH_EVENTS);
    let mut f = figures("R16", "Cluster: a master is killed, its replica lacks the last events", 1);
    let master = &desk.cluster.nodes[dying].1;
    master.run(&["ACL", "SETUSER", "replica", "off"]);
    master.run(&["CLIENT", "KILL", "TYPE", "replica"]);
    desk.trade(30);
    // The master has the tail and the index counts it: only the lane's own cursor will tell that it is lost.
    desk.events_are_whole();
    wait_for("the index counts the tail", || {
        let lane = desk.field("trapline:cursor", &format!("lane:{ETH_EVENTS}"));
        let own = desk.field(&format!("{{{ETH_EVENTS}}}:cursor"), "off");
        let is_told = own.as_ref().zip(lane.as_ref()).is_some_and(|(own, lane)| lane.ends_with(&format!("-{own}")));
        if is_told { Ok(()) } else { Err(format!("{lane:?} {own:?}")) }
    });
    let killed = Instant::now();
    desk.cluster.nodes[dying].1.kill();
    f.detection_ms.push(desk.wait_noticed(killed));
    let handled = desk.handled();
    desk.trade(5);
    wait_for("it writes again", || match desk.link().as_str() {
        "up" => Ok(()),
        other => Err(format!("{other}; {}", desk.daemon.log())),
    });
    assert!(desk.handled() > handled, "the other rooms go on");
    desk.goes_on(BTC);
    let first = ms(killed);
    desk.wait_all();
    f.recovery_ms.push(ms(killed));
    desk.events_are_whole();
    let events_ms = ms(killed);
    assert!(first < (NODE_TIMEOUT_MS + 2_000) as f64 + 15_000.0, "first write after {first} ms");
    desk.wait_metric("trapline_cursor_rewind_events_total", 30.0);
    f.more = more([
        ("node_timeout_ms", NODE_TIMEOUT_MS as f64),
        ("first_write_ms", first),
        ("all_events_ms", events_ms),
        ("events_sent_again", desk.metric("trapline_cursor_rewind_events_total")),
    ]);
    assert_ne!(desk.cluster.owner(ETH_EVENTS), dying, "the replica is the master now");
    // The old master comes back, is made a replica, and nobody writes to it.
    desk.cluster.nodes[dying].1.up();
    wait_for("the old master follows", || match format!("{:?}", desk.cluster.nodes[dying].1.run(&["ROLE"])) {
        role if role.contains("slave") => Ok(()),
        role => Err(role),
    });
    desk.trade(3);
    desk.check(f);
}

#[test]
fn r16_of_two_daemons_on_a_cluster_one_writes_and_a_database_is_refused() {
    if skip() {
        return;
    }
    let mut desk = Desk::at(|_| 0);
    desk.trade(10);
    desk.events_are_whole();
    let mut f = figures("R16", "Cluster: a second daemon, by another node's address", 1);
    let taken = Instant::now();
    let port = desk.exchange.venue.addr().port();
    let newer = Daemon::start(port, &desk.cluster.url(2), &options(&[]));
    let code = wait_for("the first ends", || match desk.daemon.child.try_wait() {
        Ok(Some(status)) => Ok(status.code()),
        other => Err(format!("{other:?}")),
    });
    f.detection_ms.push(ms(taken));
    assert_eq!(code, Some(75), "log:\n{}", desk.daemon.log());
    assert!(desk.daemon.log().contains("fenced by a newer daemon"), "log:\n{}", desk.daemon.log());
    newer.wait_ready();
    drop(newer);
    // The fenced one is started again. Its spool is older than what the other has left: nothing of it comes twice.
    let freed = Instant::now();
    desk.daemon.start_again(&Options::default());
    wait_for("it writes again", || match desk.link().as_str() {
        "up" => Ok(()),
        other => Err(format!("{other}; {}", desk.daemon.log())),
    });
    desk.goes_on(BTC);
    f.recovery_ms.push(ms(freed));
    // Before it has read the account, fills may reach it by two ways.
    desk.daemon.wait_ready();
    desk.trade(5);
    desk.events_are_whole();

    let lost = Daemon::start(port, &format!("{}/3", desk.cluster.url(1)), &options(&[]));
    wait_for("a database is refused in words", || match lost.log() {
        log if log.contains("has only database 0, the url says 3") => Ok(()),
        log => Err(log),
    });
    desk.check(f);
}
