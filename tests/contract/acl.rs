//! `trapline acl`: its line is enough for the daemon, and for nothing else.

use super::doctor::{link, tell};
use super::live::lively;
use crate::support::{BIN, Options, World};
use std::process::Command;

/// The whole daemon under the printed line; what it must not do is refused.
#[test]
fn the_daemon_runs_whole_under_the_least_rights() {
    let world = lively(false);
    let (url, admin) = (world.redis.server().url(), format!("redis://127.0.0.1:{}", world.redis.server().port()));
    let World { daemon, exchange, redis } = world;
    drop(daemon);
    tell(&admin, "FLUSHALL");
    let out = Command::new(BIN).args(["acl", "--redis", &url]).output().expect("acl");
    assert_eq!(out.status.code(), Some(0));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find(|l| l.starts_with("ACL SETUSER trapline")).expect("a line");
    // As a person pastes it: redis-cli takes the quotes away.
    tell(&admin, &line.replace('\'', "").replace("PASSWORD", "s3cret"));
    let as_user = format!("redis://trapline:s3cret@127.0.0.1:{}", redis.server().port());
    let mut own = link(&as_user);
    for foreign in [
        "FLUSHALL",
        "CONFIG GET *",
        "KEYS *",
        "DEL current_position",
        "SET btc_price 1",
        "GET sim_timestamp",
        "ACL LIST",
        "SHUTDOWN NOSAVE",
        "PUBLISH omega:commands x",
        "EVAL return(redis.call('DEL','market_state')) 0",
        "SCRIPT FLUSH",
        "MONITOR",
        "RENAME current_position elsewhere",
    ] {
        let mut command = redis::Cmd::new();
        foreign.split(' ').for_each(|w| {
            command.arg(w);
        });
        let answer = command.query::<redis::Value>(&mut own);
        let refused = answer.as_ref().is_err_and(|e| {
            let text = e.to_string().to_lowercase();
            text.contains("noperm") || text.contains("permission") || text.contains("can't run this command")
        });
        assert!(refused, "{foreign}: {answer:?}");
    }
    tell(&admin, "SET current_position foreign");
    let options = Options {
        more: vec![
            ("rules", "market_max_age_ms = 3600000\nfuture_tolerance_ms = 60000".to_owned()),
            ("redis", "migrate = true".to_owned()),
        ],
        env: vec![("TRAPLINE_REDIS_PASSWORD", "s3cret".into())],
        ..Options::default()
    };
    let user_url = format!("redis://trapline@127.0.0.1:{}", redis.server().port());
    let daemon = crate::support::Daemon::start(exchange.venue.addr().port(), &user_url, &options);
    let world = World { daemon, exchange, redis };
    world.daemon.wait_ready();
    super::live::wait_complete(&world, false);
    let log = world.daemon.log();
    for word in ["NOPERM", "quarantined", "permission"] {
        assert!(!log.contains(word), "{word} in {log}");
    }
    let aside: Vec<String> =
        redis::cmd("KEYS").arg("legacy:current_position:*").query(&mut world.redis.link()).expect("keys");
    assert_eq!(aside.len(), 1, "put aside with its own rights");
    super::live::compare_but(&world.redis, false, &aside);
}
