//! Redis answers, and refuses: R6 to R10, R12, R13.

use crate::scene::is_tried_slowly;
use crate::scene::{BTC, ETH, Scene, figures, more, ms, options};
use crate::server::{Server, skip};
use crate::support::relay::{Place, Relay};
use crate::support::{http_get, wait_for};
use std::time::{Duration, Instant};

#[test]
fn r06_a_full_redis_sheds_metrics_and_loses_nothing_else() {
    if skip() {
        return;
    }
    let mut scene = Scene::ready();
    let mut f = figures("R6", "Redis out of memory, nothing may be evicted (OOM)", 1);
    scene.trade(5);
    let rate = scene.others_rate(Duration::from_millis(700));
    let full = Instant::now();
    scene.server.run(&["CONFIG", "SET", "maxmemory", "100kb"]);
    scene.mark();
    f.detection_ms.push(scene.wait_noticed(full));
    scene.trade(5);
    f.others_ratio = Some(scene.others_rate(Duration::from_millis(700)) / rate);
    assert!(f.others_ratio > Some(0.3), "the other rooms go on: {:?}", f.others_ratio);
    wait_for("metrics are shed", || match scene.count("latencies_shed_total") {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    scene.says_unavailable();
    assert_eq!(scene.link(), "refused", "the connection is kept");
    scene.server.run(&["CONFIG", "SET", "maxmemory", "0"]);
    let (first, all) = scene.recovered(Instant::now());
    f.recovery_ms.push(all);
    f.more = more([("first_write_ms", first), ("metrics_shed", scene.count("latencies_shed_total") as f64)]);
    scene.wait_metric("trapline_redis_errors_total{code=\"oom\"}", 1.0);
    scene.wait_alert("redis_unavailable");
    scene.log_says(&["OOM", "maxmemory"]);
    scene.check(f);
}

#[test]
fn r07_a_primary_that_became_a_replica_is_left_and_told() {
    if skip() {
        return;
    }
    let mut scene = Scene::ready();
    let mut f = figures("R7", "Redis made a replica (REPLICAOF): READONLY", 1);
    scene.trade(5);
    scene.events_are_whole();
    scene.mark();
    let changed = Instant::now();
    scene.server.run(&["REPLICAOF", "127.0.0.1", "1"]);
    f.detection_ms.push(scene.wait_noticed(changed));
    scene.trade(5);
    scene.says_unavailable();
    scene.wait_metric("trapline_redis_errors_total{code=\"readonly\"}", 1.0);
    scene.server.run(&["REPLICAOF", "NO", "ONE"]);
    let (first, all) = scene.recovered(Instant::now());
    f.recovery_ms.push(all);
    f.more = more([("first_write_ms", first)]);
    scene.wait_alert("redis_unavailable");
    scene.log_says(&["READONLY", "replica"]);
    scene.check(f);
}

#[test]
fn r08_a_rotated_password_is_read_again_and_never_shown() {
    if skip() {
        return;
    }
    const SECRETS: [&str; 2] = ["CANARY-redis-old-77c1", "CANARY-redis-new-0e9b"];
    let server = Server::start(&[]);
    server.run(&["ACL", "SETUSER", "writer", "on", &format!(">{}", SECRETS[0]), "~*", "&*", "+@all"]);
    let file = server.folder().join("password");
    let write = |secret: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&file, format!("{secret}\n")).expect("password");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("mode");
    };
    write(SECRETS[0]);
    let line = format!("password_file = {:?}", file.display());
    // A user needs a host in the URL, so this one speaks TCP.
    let port = crate::support::free_port();
    server.run(&["CONFIG", "SET", "port", &port.to_string()]);
    let relay = Relay::start(Place::Port(port));
    let url = format!("redis://writer@127.0.0.1:{}", relay.port());
    let mut scene = Scene::at(server, &url, &options(&[("redis", &line)]));
    scene.wait_whole();
    let mut f =
        figures("R8", "Password rotated in Redis, the old one refused (WRONGPASS), then default locked (NOAUTH)", 2);
    scene.trade(5);
    scene.mark();
    let changed = Instant::now();
    scene.server.run(&["ACL", "SETUSER", "writer", "resetpass", &format!(">{}", SECRETS[1])]);
    scene.server.run(&["CLIENT", "KILL", "USER", "writer"]);
    f.detection_ms.push(scene.wait_noticed(changed));
    scene.wait_metric("trapline_redis_errors_total{code=\"auth\"}", 1.0);
    assert_eq!(scene.link(), "refused");
    scene.trade(5);
    is_tried_slowly(&relay, "wrong password");
    assert_eq!(http_get(scene.daemon.status_port, "/livez").0, 200, "no crash loop");
    write(SECRETS[1]);
    let (first, all) = scene.recovered(Instant::now());
    f.recovery_ms.push(all);
    f.more = more([("first_write_ms", first)]);
    // Nothing was restarted for it, and no word of either password is anywhere.
    let mut seen = scene.daemon.log();
    for path in ["/statusz", "/metrics", "/readyz"] {
        seen.push_str(&http_get(scene.daemon.status_port, path).1);
    }
    seen.push_str(&std::fs::read_to_string(scene.daemon.state.path().join("journal.jsonl")).unwrap_or_default());
    assert!(seen.contains("WRONGPASS") && seen.contains("password file"), "said with its remedy");
    assert!(!SECRETS.iter().any(|secret| seen.contains(secret)), "a secret was shown");
    scene.check(f);
}

#[test]
fn r09_a_missing_right_costs_that_key_alone() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let port = crate::support::free_port();
    server.run(&["CONFIG", "SET", "port", &port.to_string()]);
    // Every key but one.
    server.run(&["ACL", "SETUSER", "writer", "on", "nopass", "&*", "+@all", "~[^u]*", "~u[^p]*"]);
    let mut scene = Scene::at(server, &format!("redis://writer@127.0.0.1:{port}"), &options(&[]));
    let mut f = figures("R9", "No right to write one key (NOPERM by ACL): update_latencies", 1);
    let started = Instant::now();
    scene.wait_whole();
    wait_for("it is left out", || match scene.metric("trapline_quarantined_keys") {
        n if n >= 1.0 => Ok(()),
        n => Err(format!("{n}; {}", scene.daemon.log())),
    });
    f.detection_ms.push(ms(started));
    scene.wait_metric("trapline_redis_errors_total{code=\"noperm\"}", 1.0);
    scene.trade(5);
    scene.events_are_whole();
    scene.goes_on(BTC);
    scene.goes_on(ETH);
    scene.wait_alert("key_quarantined");
    scene.log_says(&["NOPERM", "update_latencies", "ACL"]);
    let granted = Instant::now();
    scene.server.run(&["ACL", "SETUSER", "writer", "~*"]);
    wait_for("tried again", || match scene.server.run(&["EXISTS", "update_latencies"]) {
        redis::Value::Int(1) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    f.recovery_ms.push(ms(granted));
    scene.check(f);
}

#[test]
fn r10_foreign_types_in_every_owned_key_cost_those_keys_alone() {
    if skip() {
        return;
    }
    // Each owned key of the primary symbol holds what an older system might have left there.
    const HASHES: [&str; 5] =
        ["current_position", "market_state", "trapline:BTCUSDT:position:long", "trapline:breaker", "trapline:account"];
    const STRINGS: [&str; 6] = [
        "active_position",
        "long_trader_position",
        "short_trader_position",
        "last_btc_price",
        "market_regime",
        "trapline:BTCUSDT:market_regime",
    ];
    for migrate in [false, true] {
        let server = Server::start(&[]);
        for key in HASHES {
            server.run(&["SET", key, "{\"left\":\"here\"}"]);
        }
        for key in STRINGS {
            server.run(&["HSET", key, "left", "here"]);
        }
        server.run(&["SET", "trader:trades:scalper", "left"]);
        let url = server.url();
        let mut scene = Scene::at(server, &url, &options(&[("redis", &format!("migrate = {migrate}"))]));
        let started = Instant::now();
        let mut f = figures(
            "R10",
            if migrate {
                "Foreign types in 12 owned keys at the start, migrate = true"
            } else {
                "Foreign types in 12 owned keys at the start"
            },
            12,
        );
        wait_for("the rest is written", || if scene.seq(ETH) > 0 { Ok(()) } else { Err(scene.daemon.log()) });
        scene.goes_on(ETH);
        let kind = |key: &str| match scene.server.run(&["TYPE", key]) {
            redis::Value::SimpleString(kind) => kind,
            other => format!("{other:?}"),
        };
        let touched = |keys: &[&'static str], foreign: &str| {
            keys.iter().copied().filter(|key| kind(key) != foreign).collect::<Vec<_>>()
        };
        if migrate {
            wait_for("all are ours", || match (touched(&HASHES, "hash").len(), touched(&STRINGS, "string").len()) {
                (0, 0) => Ok(()),
                other => Err(format!("{other:?}")),
            });
            f.recovery_ms.push(ms(started));
            let aside: Vec<String> = redis::cmd("KEYS").arg("legacy:*").query(&mut scene.server.eyes()).expect("keys");
            for key in HASHES.iter().chain(&STRINGS) {
                let copies = aside.iter().filter(|name| name.starts_with(&format!("legacy:{key}:"))).count();
                assert_eq!(copies, 1, "{key} is kept aside once: {aside:?}");
            }
            scene.wait_metric("trapline_migrated_keys_total", 11.0);
            scene.wait_alert("foreign_writer");
            scene.trade(5);
            scene.check(f);
        } else {
            wait_for("all are noticed", || match scene.metric("trapline_quarantined_keys") {
                n if n >= (HASHES.len() + STRINGS.len()) as f64 => Ok(()),
                n => Err(format!("{n}; {}", scene.daemon.log())),
            });
            f.detection_ms.push(ms(started));
            assert_eq!(touched(&HASHES, "string"), Vec::<&str>::new(), "never touched");
            assert_eq!(touched(&STRINGS, "hash"), Vec::<&str>::new(), "never touched");
            scene.wait_metric("trapline_redis_errors_total{code=\"wrong_type\"}", 11.0);
            scene.wait_alert("key_quarantined");
            scene.log_says(&["current_position", "active_position", "migrate"]);
            scene.trade(5);
            scene.events_are_whole();
            f.survived = f.injected;
            f.publish();
        }
    }
}

#[test]
fn r12_a_busy_redis_is_waited_for_and_the_hint_names_script_kill() {
    if skip() {
        return;
    }
    let mut scene = Scene::with(&["--busy-reply-threshold", "300"], &options(&[]));
    let mut f = figures("R12", "Another client's script runs without end (BUSY)", 1);
    scene.trade(5);
    let url = scene.server.url();
    let endless = std::thread::spawn(move || {
        let mut client = redis::Client::open(url).expect("url").get_connection().expect("redis");
        redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut client)
    });
    let began = Instant::now();
    f.detection_ms.push(scene.wait_noticed(began));
    scene.trade(5);
    scene.wait_metric("trapline_redis_errors_total{code=\"busy\"}", 1.0);
    scene.log_says(&["BUSY", "SCRIPT KILL"]);
    assert_eq!(http_get(scene.daemon.status_port, "/livez").0, 200);
    scene.server.run(&["SCRIPT", "KILL"]);
    assert!(endless.join().expect("joined").is_err());
    let (first, all) = scene.recovered(Instant::now());
    f.recovery_ms.push(all);
    f.more = more([("first_write_ms", first)]);
    scene.check(f);
}

#[test]
fn r13_a_redis_that_cannot_save_is_waited_for() {
    if skip() {
        return;
    }
    let mut scene = Scene::with(&["--save", "3600 1000000", "--enable-protected-configs", "yes"], &options(&[]));
    let mut f = figures("R13", "Redis cannot save: its folder is gone (MISCONF)", 1);
    scene.trade(5);
    let folder = scene.server.folder().join("data");
    let away = scene.server.folder().join("away");
    let began = Instant::now();
    std::fs::rename(&folder, &away).expect("moved");
    // Root may write anywhere, so the folder has to be gone, not only locked.
    std::fs::remove_dir_all(&away).expect("removed");
    let _ = redis::cmd("BGSAVE").query::<String>(&mut scene.server.eyes());
    f.detection_ms.push(scene.wait_noticed(began));
    scene.trade(5);
    scene.wait_metric("trapline_redis_errors_total{code=\"misconf\"}", 1.0);
    assert_eq!(scene.link(), "refused", "PING would say that all is well");
    scene.says_unavailable();
    std::fs::create_dir_all(&folder).expect("made");
    scene.server.run(&["CONFIG", "SET", "dir", &folder.display().to_string()]);
    let mended = Instant::now();
    let _ = redis::cmd("BGSAVE").query::<String>(&mut scene.server.eyes());
    let (first, all) = scene.recovered(mended);
    f.recovery_ms.push(all);
    f.more = more([("first_write_ms", first)]);
    scene.wait_alert("redis_unavailable");
    scene.log_says(&["MISCONF", "disk"]);
    scene.check(f);
    full_disk();
}

/// The second half of R13: the append-only file's disk is full. Needs the right to mount; said aloud where it is missing.
fn full_disk() {
    let place = tempfile::tempdir().expect("folder");
    let mount = |words: &[&str]| {
        std::process::Command::new(words[0])
            .args(&words[1..])
            .arg(place.path())
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs"]) {
        eprintln!("SKIPPED: no right to mount a small tmpfs");
        return;
    }
    let dir = place.path().display().to_string();
    let mut scene = Scene::with(&["--dir", &dir], &options(&[]));
    let mut f = figures("R13", "The disk of Redis' append-only file is full (6 MiB)", 1);
    scene.trade(5);
    let began = Instant::now();
    let ballast = place.path().join("ballast");
    std::fs::write(&ballast, vec![0; 16 << 20]).unwrap_err();
    f.detection_ms.push(scene.wait_noticed(began));
    scene.trade(5);
    scene.wait_metric("trapline_redis_errors_total{code=\"misconf\"}", 1.0);
    std::fs::remove_file(&ballast).expect("space");
    let (first, all) = scene.recovered(Instant::now());
    f.recovery_ms.push(all);
    f.more = more([("first_write_ms", first)]);
    scene.trade(5);
    scene.wait_whole();
    f.events = scene.events_are_whole();
    f.survived = 1;
    f.publish();
    drop(scene);
    assert!(mount(&["umount", "-l"]), "unmounted");
}
