//! More than one Redis, and one primary: R15 (Sentinel).

use crate::scene::{BTC, Scene, figures, more, ms, options};
use crate::server::{Server, skip};
use crate::support::{free_port, wait_for};
use redis::Commands;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use trapline::managed_redis::find_binary;

const DOWN_AFTER_MS: u64 = 1_000;

/// Three `redis-server --sentinel` that watch one primary.
struct Sentinels {
    children: Vec<Child>,
    ports: Vec<u16>,
    _folder: tempfile::TempDir,
}

impl Sentinels {
    fn start(primary: u16) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let children = ports.iter().map(|port| {
            let file = folder.path().join(format!("sentinel-{port}.conf"));
            let text = format!(
                "port {port}\nbind 127.0.0.1\nprotected-mode no\ndir {dir}\nsentinel monitor desk 127.0.0.1 {primary} 2\n\
                 sentinel down-after-milliseconds desk {DOWN_AFTER_MS}\nsentinel failover-timeout desk 5000\n",
                dir = folder.path().display()
            );
            std::fs::write(&file, text).expect("a configuration");
            let mut command = Command::new(find_binary(None).expect("redis-server"));
            command.arg(&file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().expect("a sentinel")
        });
        Self { children: children.collect(), ports: ports.clone(), _folder: folder }
    }

    /// What the first one knows of the primary.
    fn knows(&self, field: &str) -> Option<String> {
        let mut link =
            redis::Client::open(format!("redis://127.0.0.1:{}", self.ports[0])).ok()?.get_connection().ok()?;
        let state: std::collections::BTreeMap<String, String> =
            redis::cmd("SENTINEL").arg("MASTER").arg("desk").query(&mut link).ok()?;
        state.get(field).cloned()
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn r15_a_failover_with_a_lost_tail_loses_nothing() {
    if skip() {
        return;
    }
    let [primary_port, replica_port] = [free_port(), free_port()];
    let (port, other) = (primary_port.to_string(), replica_port.to_string());
    let mut primary = Server::start(&["--port", &port]);
    // The replica logs in as a user that can be locked out, so that it misses the end.
    primary.run(&["ACL", "SETUSER", "replica", "on", ">pw", "+psync", "+replconf", "+ping"]);
    let replica = Server::start(&["--port", &other, "--masteruser", "replica", "--masterauth", "pw"]);
    replica.run(&["REPLICAOF", "127.0.0.1", &port]);
    wait_for("replicating", || match format!("{:?}", replica.try_run(&["INFO", "replication"])) {
        info if info.contains("master_link_status:up") => Ok(()),
        info => Err(info),
    });
    let sentinels = Sentinels::start(primary_port);
    wait_for("the sentinels know each other and the replica", || {
        match (sentinels.knows("num-slaves"), sentinels.knows("num-other-sentinels")) {
            (Some(replicas), Some(others)) if replicas == "1" && others == "2" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let list = sentinels.ports.iter().map(|p| format!("\"127.0.0.1:{p}\"")).collect::<Vec<_>>().join(", ");
    let lines = [("redis", format!("sentinels = [{list}]")), ("redis", "sentinel_master = \"desk\"".to_owned())];
    let options = options(&lines.each_ref().map(|(section, line)| (*section, line.as_str())));
    // The watcher looks at the replica: there the state must never go back either.
    let mut scene = Scene::at(replica, "redis://127.0.0.1:1", &options);
    scene.wait_whole();
    scene.trade(20);
    scene.events_are_whole();
    let mut f = figures("R15", "Sentinel failover: the primary is killed, its replica lacks the last events", 1);

    let tail = Instant::now();
    primary.run(&["ACL", "SETUSER", "replica", "off"]);
    primary.run(&["CLIENT", "KILL", "TYPE", "replica"]);
    let before_tail = scene.orders;
    scene.trade(30);
    wait_for("the primary has the tail, the replica has not", || {
        let on = |server: &Server| -> usize {
            server.try_eyes().and_then(|mut eyes| eyes.xlen("trapline:ETHUSDT:events").ok()).unwrap_or(0)
        };
        match (on(&primary) as u64, on(&scene.server) as u64) {
            (all, some) if all >= scene.orders && some <= before_tail => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    scene.mark();
    let killed = Instant::now();
    primary.kill();
    f.detection_ms.push(scene.wait_noticed(killed));
    scene.trade(5);
    let (first, all) = scene.recovered(killed);
    f.recovery_ms.push(all);
    scene.events_are_whole();
    let events_ms = ms(killed);
    assert!(first < (DOWN_AFTER_MS + 2_000) as f64 + 10_000.0, "first write after {first} ms");
    scene.wait_metric("trapline_cursor_rewind_events_total", 30.0);
    f.more = more([
        ("down_after_ms", DOWN_AFTER_MS as f64),
        ("first_write_ms", first),
        ("all_events_ms", events_ms),
        ("events_sent_again", scene.metric("trapline_cursor_rewind_events_total")),
        ("tail_without_replica_ms", ms(tail) - ms(killed)),
    ]);
    // The sentinel that is asked may hear of it later than the one that told the daemon.
    wait_for("the replica is the primary now", || match sentinels.knows("port") {
        Some(port) if port == other => Ok(()),
        known => Err(format!("{known:?}")),
    });

    // The old primary comes back, is made a replica, and nobody writes to it. Sentinels that were held up for two
    // seconds themselves do nothing for thirty (TILT).
    primary.up();
    wait_for("the old primary follows", || match format!("{:?}", primary.try_run(&["INFO", "replication"])) {
        info if info.contains("role:slave") => Ok(()),
        info => Err(info),
    });
    scene.goes_on(BTC);
    scene.check(f);
}
