//! Refusals: each stops what it must and nothing else, and is waited for.

use crate::bench::*;
use std::path::Path;
use trapline::domain::position::HoldSide;
use trapline::store::board::LinkState;
use trapline::store::link::Target;

const KEY: &str = "trapline:BTCUSDT:market_state";

#[test]
fn a_foreign_type_stops_that_key_alone() {
    if skip() {
        return;
    }
    for migrate in [false, true] {
        let server = Server::start(&[]);
        server.run(&["SET", "current_position", "{\"has_position\":true}"]);
        server.run(&["LPUSH", "market_state", "x"]);
        server.run(&["SET", "trap_events", "x"]);
        let mut setup = Setup::at(&server.socket());
        setup.settings.migrate = migrate;
        let daemon = setup.start();
        daemon.price(1);
        daemon.flat(HoldSide::Long, 1);
        daemon.flat(HoldSide::Short, 1);
        daemon.event(1);
        daemon.wait_written(1);
        daemon.wait_settled();
        assert_eq!(stream(&server), [1], "the event goes on without its blocked key");
        wait_for("mirror", || matches!(server.run(&["EXISTS", "active_position"]), redis::Value::Int(1)));
        if migrate {
            wait_for("moved aside", || {
                server.field("current_position", "side").as_deref() == Some("none")
                    && server.field("market_state", "seq").as_deref() == Some("1")
            });
            wait_for(
                "expiry",
                || matches!(server.run(&["TTL", "current_position"]), redis::Value::Int(n) if n > 3_000),
            );
            let aside: Vec<String> = redis::cmd("KEYS").arg("legacy:*").query(&mut server.eyes()).unwrap();
            assert_eq!(aside.len(), 3, "{aside:?}");
            assert_exactly_once(&server, 1, "migrated");
        } else {
            wait_for("quarantined", || daemon.count("quarantined_keys") >= 3);
            let expiry: i64 = redis::cmd("TTL").arg("current_position").query(&mut server.eyes()).unwrap();
            assert_eq!(expiry, -1, "a foreign key must not be made to vanish");
            let text: String = redis::cmd("GET").arg("current_position").query(&mut server.eyes()).unwrap();
            assert_eq!(text, "{\"has_position\":true}", "never touched");
        }
    }
}

#[test]
fn a_missing_right_for_one_key_of_events_costs_that_key_alone() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    server.run(&["ACL", "SETUSER", "default", "resetkeys", "%R~*", "~[^r]*"]);
    let mut setup = Setup::at(&server.socket());
    setup.settings.probe_every = std::time::Duration::from_secs(1);
    let daemon = setup.start();
    (1..=3).for_each(|n| daemon.event(n));
    daemon.wait_settled();
    assert_eq!(stream(&server), [1, 2, 3], "the events go on");
    let exists = |key: &str| server.run(&["EXISTS", key]) == redis::Value::Int(1);
    assert!(exists("trap_events") && !exists("recent_mm_traps"), "without the key that may not be written");
    assert!(daemon.count("event_ops_refused_total") >= 3 && daemon.count("quarantined_keys") >= 1);
    server.run(&["ACL", "SETUSER", "default", "~*"]);
    wait_for("tried again", || {
        daemon.event(4 + daemon.count("events_accepted_total"));
        daemon.wait_settled();
        exists("recent_mm_traps")
    });
}

#[test]
fn a_wrong_password_is_retried_slowly_and_a_rotated_one_is_read_again() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let file = server.folder().join("password");
    std::fs::write(&file, "old\n").unwrap();
    server.run(&["ACL", "SETUSER", "writer", "on", ">old", "~*", "&*", "+@all"]);
    let mut setup = Setup::at(&server.socket());
    let url = format!("unix:{}?user=writer", server.socket().display());
    setup.settings.target = Target::parse(&url).unwrap().with_password_file(Some(file.clone()));
    let daemon = setup.start();
    daemon.price(1);
    daemon.wait_written(1);
    server.run(&["ACL", "SETUSER", "writer", "resetpass", ">new"]);
    server.run(&["CLIENT", "KILL", "USER", "writer"]);
    wait_for("refused", || daemon.board.link() == LinkState::Refused);
    daemon.price(2);
    std::fs::write(&file, "new\n").unwrap();
    daemon.wait_written(2);
}

#[test]
fn without_the_right_to_kill_connections_it_refuses_to_write() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    server.run(&["ACL", "SETUSER", "writer", "on", ">pw", "~*", "&*", "+@all", "-client|kill", "-client|list"]);
    let mut setup = Setup::at(&server.socket());
    let url = format!("unix:{}?user=writer&pass=pw", server.socket().display());
    setup.settings.target = Target::parse(&url).unwrap();
    let daemon = setup.start();
    daemon.price(1);
    wait_for("refused", || daemon.board.link() == LinkState::Refused);
    assert_eq!(server.field(KEY, "seq"), None);
    server.run(&["ACL", "SETUSER", "writer", "+client|kill", "+client|list"]);
    daemon.wait_written(1);
}

/// A certificate for localhost and the authority that signed it; `None` without openssl.
fn certificates(folder: &Path) -> Option<()> {
    let run = |words: &str| {
        let output = std::process::Command::new("openssl").args(words.split(' ')).current_dir(folder).output().ok()?;
        output.status.success().then_some(())
    };
    run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=trapline-test-ca")?;
    run("req -newkey rsa:2048 -nodes -keyout redis.key -out redis.csr -subj /CN=localhost")?;
    std::fs::write(folder.join("san"), "subjectAltName=DNS:localhost\n").ok()?;
    run("x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out redis.crt -extfile san")
}

#[test]
fn tls_is_spoken_and_a_stranger_is_not_believed() {
    if skip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    if certificates(folder.path()).is_none() {
        eprintln!("SKIPPED: no openssl to make certificates with");
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key, ca) = (file("redis.crt"), file("redis.key"), file("ca.crt"));
    let args = [
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        &ca,
    ];
    let server = Server::start(&args);
    let target = Target::parse(&format!("rediss://localhost:{port}")).unwrap();
    let with = |target: Target| {
        let mut setup = Setup::at(&server.socket());
        setup.settings.target = target;
        setup.start()
    };
    let stranger = with(target.clone());
    stranger.price(1);
    wait_for("not believed", || matches!(stranger.board.link(), LinkState::Down | LinkState::Refused));
    assert_eq!(server.field(KEY, "seq"), None);
    drop(stranger);
    let daemon = with(target.with_ca_file(Some(folder.path().join("ca.crt"))));
    for seq in 1..=200 {
        daemon.price(seq);
    }
    daemon.wait_written(200);
    assert_eq!(server.field(KEY, "seq").as_deref(), Some("200"));
}
