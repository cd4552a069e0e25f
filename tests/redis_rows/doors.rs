//! R20: what is wrong at the door is said in words and tried again slowly.

use crate::scene::is_tried_slowly;
use crate::scene::{BTC, Scene, figures, ms, options};
use crate::server::{Server, skip};
use crate::support::relay::{Place, Relay};
use crate::support::{free_port, wait_for};
use std::path::Path;
use std::time::Instant;

#[test]
fn r20_what_is_wrong_at_the_door_is_said_and_tried_again() {
    if skip() {
        return;
    }
    let mut f =
        figures("R20", "maxclients reached, no such database, TLS on a plain port, a stranger's certificate", 0);
    for case in ["maxclients", "database", "tls", "stranger"] {
        let Some((server, url, words, mend, relay)) = door(case) else { continue };
        let started = Instant::now();
        let scene = Scene::at(server, &url, &options(&[]));
        scene.log_says(&words);
        f.detection_ms.push(ms(started));
        assert_ne!(scene.link(), "up", "{case}");
        assert_eq!(scene.seq(BTC), -1, "{case}: nothing is written");
        match &relay {
            Some(relay) => is_tried_slowly(relay, case),
            // Over the socket file: nobody is asked to mend it, so it is tried a little faster.
            None => {
                let tries = || scene.daemon.statusz()["counts"]["errors_total"].as_u64().unwrap_or(0);
                let before = tries();
                std::thread::sleep(std::time::Duration::from_millis(1_500));
                assert!(tries() <= before + 3, "{case}: tried slowly, {before} -> {}", tries());
            }
        }
        assert_eq!(crate::support::http_get(scene.daemon.status_port, "/livez").0, 200, "{case}: no crash loop");
        if let Some(mend) = mend {
            mend(&scene.server);
            let mended = Instant::now();
            wait_for(case, || if scene.seq(BTC) > 0 { Ok(()) } else { Err(scene.daemon.log()) });
            f.recovery_ms.push(ms(mended));
        }
        f.injected += 1;
    }
    f.detected = f.injected;
    f.survived = f.injected;
    f.publish();
    both_protocols_read_the_same();
}

type Mend = Box<dyn Fn(&Server)>;

type Door = (Server, String, Vec<&'static str>, Option<Mend>, Option<Relay>);

/// A Redis with one thing wrong, the way to it, what the log has to say, what mends it, and who counts the tries.
fn door(case: &str) -> Option<Door> {
    let port = free_port();
    let server = Server::start(&["--port", &port.to_string()]);
    Some(match case {
        "maxclients" => {
            // The test's own eyes keep the only places.
            let mut kept = vec![server.eyes(), server.eyes(), server.eyes()];
            let _: () = redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(3).query(&mut kept[0]).expect("set");
            let kept = std::sync::Mutex::new(kept);
            let mend = move |_: &Server| {
                let mut kept = kept.lock().expect("not poisoned");
                let _: () =
                    redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(1_000).query(&mut kept[0]).expect("set");
            };
            let url = server.url();
            (server, url, vec!["takes no more connections", "maxclients"], Some(Box::new(mend)), None)
        }
        "database" => {
            let relay = Relay::start(Place::Port(port));
            let url = format!("redis://127.0.0.1:{}/99", relay.port());
            (server, url, vec!["no database 99", "check the number"], None, Some(relay))
        }
        "tls" => {
            let relay = Relay::start(Place::Port(port));
            let url = format!("rediss://localhost:{}", relay.port());
            (server, url, vec!["is the port of the url a TLS port"], None, Some(relay))
        }
        _ => {
            let folder = server.folder().to_owned();
            if certificates(&folder).is_none() {
                eprintln!("SKIPPED: no openssl to make certificates with");
                return None;
            }
            let port = free_port();
            let (tls, relay) = (port.to_string(), Relay::start(Place::Port(port)));
            let file = |name: &str| folder.join(name).display().to_string();
            let set = |name: &str, value: &str| server.run(&["CONFIG", "SET", name, value]);
            set("tls-auth-clients", "no");
            set("tls-ca-cert-file", &file("ca.crt"));
            server.run(&["CONFIG", "SET", "tls-cert-file", &file("redis.crt"), "tls-key-file", &file("redis.key")]);
            set("tls-port", &tls);
            let url = format!("rediss://localhost:{}", relay.port());
            (server, url, vec!["not trusted", "ca_file"], None, Some(relay))
        }
    })
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

/// What trapline wrote over RESP2 is the same to readers of either protocol.
fn both_protocols_read_the_same() {
    let scene = Scene::ready();
    scene.exchange.venue.pause();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let read = |protocol: &str| {
        let client = redis::Client::open(format!("{}?protocol={protocol}", scene.server.url())).expect("url");
        let mut link = client.get_connection().expect("redis");
        let hash: std::collections::BTreeMap<String, String> =
            redis::cmd("HGETALL").arg("trapline:BTCUSDT:position:long").query(&mut link).expect("hash");
        let id: i64 = redis::cmd("CLIENT").arg("ID").query(&mut link).expect("id");
        let info: String = redis::cmd("CLIENT").arg("INFO").query(&mut link).expect("info");
        assert!(info.contains(&format!("id={id} ")) && info.contains(&format!("resp={}", &protocol[4..])), "{info}");
        hash
    };
    let mut pair = [read("resp2"), read("resp3")];
    // Renewed between the two readings.
    pair.iter_mut().for_each(|hash| {
        hash.remove("timestamp");
        hash.remove("seq");
    });
    assert!(!pair[0].is_empty());
    assert_eq!(pair[0], pair[1]);
}
