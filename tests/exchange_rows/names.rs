//! X15: names that do not resolve, and addresses that answer nothing.

use crate::support::{Options, http_get, wait_for};
use crate::way::{Row, Way, with};
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// Whether a process of ours may have files of its own in place of /etc/hosts; said aloud where not.
fn own_names_are_possible() -> bool {
    let tried = std::process::Command::new("unshare").args(["-m", "true"]).output();
    let possible = tried.is_ok_and(|output| output.status.success());
    if !possible {
        let _ = writeln!(std::io::stderr(), "SKIPPED: x15 needs root (unshare -m) for a resolver of its own");
    }
    possible
}

/// Starts the daemon with these two files in place of the system's.
fn with_names(mut options: Options, folder: &Path, public_url: &str) -> Options {
    let script = "mount --bind \"$NAMES/hosts\" /etc/hosts && mount --bind \"$NAMES/resolv.conf\" /etc/resolv.conf && exec \"$@\"";
    options.through = ["unshare", "-m", "sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    options.env.push(("NAMES", folder.into()));
    options.env.push(("TRAPLINE__EXCHANGE__PUBLIC_URL", public_url.into()));
    options
}

/// A resolver that answers nothing: the public host has no address for a while. Everything else has, and goes on.
#[test]
fn x15_a_name_that_does_not_resolve_is_asked_for_until_it_does() {
    if !own_names_are_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("hosts"), "127.0.0.1 elsewhere\n").expect("hosts");
    // Nobody listens there: what is not in the file above is not found.
    std::fs::write(folder.path().join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        .expect("resolver");
    let options = with(&[("exchange", "reconnect_max_ms = 300")]);
    let way = Way::start_with(&|port| {
        let url = format!("ws://localhost:{port}");
        with_names(
            Options { key: options.key.clone(), more: options.more.clone(), ..Options::default() },
            folder.path(),
            &url,
        )
    });
    let begun = Instant::now();
    let line = way.wait_log(&["no connection", "cannot connect"]);
    assert!(line.contains("private=false"), "{line}");
    let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    // The account does not hang on it.
    way.world.exchange.control("position?symbol=BTCUSDT&side=long&size=0.005&entry=60000");
    way.world.redis.wait_field("trapline:BTCUSDT:position:long", "size", |s| s.starts_with("0.005"));
    wait_for("it is tried again", || match way.world.daemon.log().matches("cannot connect").count() {
        tries if tries >= 3 => Ok(()),
        tries => Err(tries.to_string()),
    });
    assert_eq!(http_get(way.world.daemon.status_port, "/readyz").0, 503);
    let mut row = Row::begin(&way, "X15", "no address for the exchange's name");
    let begun = Instant::now();
    std::fs::write(folder.path().join("hosts"), "127.0.0.1 localhost\n").expect("hosts");
    way.world.redis.wait_field("trapline:BTCUSDT:market_state", "stale", |stale| stale == "0");
    row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
    way.world.daemon.wait_ready();
    row.end(&way);
}

/// An address that swallows every packet: a listener whose queue is full. Kept alive by what it returns.
fn black_hole(port: u16) -> Option<Vec<Box<dyn std::any::Any>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let made = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v6()?;
        socket.bind(address)?;
        let listener = socket.listen(1)?;
        let mut kept: Vec<Box<dyn std::any::Any>> = vec![Box::new(listener)];
        loop {
            let trying = tokio::net::TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(400), trying).await {
                Ok(Ok(stream)) => kept.push(Box::new(stream)),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(kept),
            }
        }
    });
    match made {
        Ok(mut kept) => {
            kept.push(Box::new(runtime));
            Some(kept)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: x15 needs IPv6 on loopback: {error}");
            None
        }
    }
}

/// The exchange's name has two addresses, and the preferred one answers nothing: the other is tried soon.
#[test]
fn x15_an_ipv6_address_that_answers_nothing_is_passed_by() {
    if !own_names_are_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("hosts"), "::1 localhost\n127.0.0.1 localhost\n").expect("hosts");
    std::fs::write(folder.path().join("resolv.conf"), "nameserver 127.0.0.1\n").expect("resolver");
    let mut hole = None;
    let held = std::cell::RefCell::new(&mut hole);
    let way = Way::start_with(&|port| {
        **held.borrow_mut() = black_hole(port);
        with_names(with(&[]), folder.path(), &format!("ws://localhost:{port}"))
    });
    if hole.is_none() {
        return;
    }
    way.world.daemon.wait_ready();
    let mut row = Row::begin(&way, "X15", "the exchange's IPv6 address answers nothing");
    let connections = way.proxy.connections(&[crate::support::proxy::Kind::Public]);
    let begun = Instant::now();
    way.proxy.cut(&[crate::support::proxy::Kind::Public]);
    way.wait_connections(&[crate::support::proxy::Kind::Public], connections);
    way.fresh_again("over IPv4");
    row.note(0.0, begun.elapsed().as_secs_f64() * 1_000.0);
    assert_eq!(way.metric("trapline_ws_connects_total", "connect_timeout"), 0.0, "no try was lost to it");
    row.end(&way);
}
