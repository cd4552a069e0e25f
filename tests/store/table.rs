//! The error table, class by class, against a live Redis: what it is counted as, whether the connection is kept, and
//! that all is well when the cause is gone. The classes by code stand in `store/class.rs`.

use crate::bench::*;
use trapline::store::board::LinkState;
use trapline::store::class::Class;

struct Row {
    class: Class,
    /// One of these labels is counted.
    labels: &'static [&'static str],
    /// Whether writes go on over the same connection afterwards.
    keeps_connection: bool,
    break_it: fn(&mut Server),
    mend_it: fn(&mut Server),
}

const fn row(
    class: Class,
    labels: &'static [&'static str],
    keeps_connection: bool,
    break_it: fn(&mut Server),
    mend_it: fn(&mut Server),
) -> Row {
    Row { class, labels, keeps_connection, break_it, mend_it }
}

fn set(server: &Server, name: &str, value: &str) {
    server.run(&["CONFIG", "SET", name, value]);
}

const ROWS: &[Row] = &[
    row(
        Class::Unknown,
        &["timeout"],
        false,
        |s| s.signal(rustix::process::Signal::STOP),
        |s| s.signal(rustix::process::Signal::CONT),
    ),
    row(Class::Transient, &["dropped"], false, Server::kill, Server::up),
    row(
        Class::WrongNode,
        &["readonly", "masterdown"],
        false,
        |s| {
            s.run(&["REPLICAOF", "127.0.0.1", "1"]);
        },
        |s| {
            s.run(&["REPLICAOF", "NO", "ONE"]);
        },
    ),
    row(
        Class::WrongNode,
        &["readonly", "masterdown"],
        false,
        |s| {
            set(s, "replica-serve-stale-data", "no");
            s.run(&["REPLICAOF", "127.0.0.1", "1"]);
        },
        |s| {
            s.run(&["REPLICAOF", "NO", "ONE"]);
        },
    ),
    row(
        Class::Wait,
        &["noreplicas"],
        true,
        |s| set(s, "min-replicas-to-write", "1"),
        |s| set(s, "min-replicas-to-write", "0"),
    ),
    row(
        Class::Reload,
        &["noscript"],
        true,
        |s| {
            s.run(&["SCRIPT", "FLUSH"]);
        },
        |_| {},
    ),
    row(Class::Resource, &["oom"], true, |s| set(s, "maxmemory", "1"), |s| set(s, "maxmemory", "0")),
    row(
        Class::Config,
        &["auth"],
        false,
        |s| {
            set(s, "requirepass", "a-password-that-the-writer-lacks");
            s.run_as("a-password-that-the-writer-lacks", &["CLIENT", "KILL", "TYPE", "normal"]);
        },
        |s| {
            s.run_as("a-password-that-the-writer-lacks", &["CONFIG", "SET", "requirepass", ""]);
        },
    ),
    row(
        Class::Config,
        &["noperm"],
        true,
        |s| {
            s.run(&["ACL", "SETUSER", "default", "resetkeys", "%R~*", "~[^m]*", "~mm_*"]);
        },
        |s| {
            s.run(&["ACL", "SETUSER", "default", "~*"]);
        },
    ),
    row(
        Class::Data,
        &["wrong_type"],
        true,
        |s| {
            s.run(&["DEL", "market_state"]);
            s.run(&["SET", "market_state", "foreign"]);
        },
        |s| {
            s.run(&["DEL", "market_state"]);
        },
    ),
];

#[test]
fn each_class_of_error_is_counted_answered_and_healed() {
    if skip() {
        return;
    }
    for (i, row) in ROWS.iter().enumerate() {
        let mut server = Server::start(&[]);
        let mut setup = Setup::at(&server.socket());
        setup.settings.probe_every = std::time::Duration::from_millis(300);
        let daemon = setup.start();
        daemon.price(1);
        daemon.event(1);
        daemon.wait_written(1);
        daemon.wait_settled();
        let connects = daemon.count("connects_total");
        let name = format!("row {i}: {:?} {:?}", row.class, row.labels);
        (row.break_it)(&mut server);
        daemon.price(2);
        daemon.event(2);
        wait_for(&name, || daemon.board.errors().any(|(label, n)| n > 0 && row.labels.contains(&label)));
        let waits = matches!(row.class, Class::Wait | Class::Resource);
        if waits {
            wait_for(&name, || daemon.board.link() == LinkState::Refused);
        } else if !row.keeps_connection {
            wait_for(&name, || daemon.board.link() != LinkState::Up);
        }
        (row.mend_it)(&mut server);
        daemon.price(3);
        daemon.event(3);
        daemon.wait_written(3);
        daemon.wait_settled();
        wait_for(&name, || server.field("market_state", "seq").as_deref() == Some("3"));
        assert_exactly_once(&server, 3, &name);
        assert_eq!(daemon.count("connects_total") == connects, row.keeps_connection, "{name}");
        wait_for(&name, || daemon.board.link() == LinkState::Up && daemon.board.away_ms(i64::MAX) == 0);
    }
}

/// A cluster whose door cannot be asked: its own words are understood all the same.
#[test]
fn a_clusters_own_words_mean_the_same_as_its_sign() {
    if skip() {
        return;
    }
    for (slots, label) in [(None, "clusterdown"), (Some("16383"), "moved")] {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Server::start(&["--port", &port.to_string(), "--cluster-enabled", "yes"]);
        server.run(&["ACL", "SETUSER", "writer", "on", ">pw", "~*", "&*", "+@all", "-info"]);
        if let Some(last) = slots {
            server.run(&["CLUSTER", "ADDSLOTSRANGE", "0", last]);
            wait_for("cluster ok", || format!("{:?}", server.run(&["CLUSTER", "INFO"])).contains("cluster_state:ok"));
        }
        let mut setup = Setup::at(&server.socket());
        let url = format!("unix:{}?user=writer&pass=pw", server.socket().display());
        setup.settings.target = trapline::store::link::Target::parse(&url).unwrap();
        let daemon = setup.start();
        daemon.price(1);
        daemon.event(1);
        wait_for(label, || daemon.board.errors().any(|(found, n)| n > 0 && found == label));
        if slots.is_some() {
            assert_eq!(stream(&server), Vec::<u64>::new(), "no event by halves");
        }
        // CROSSSLOT comes from the events' script; the state of single keys is not its matter.
        wait_for(label, || daemon.board.link() == LinkState::Refused);
    }
}
