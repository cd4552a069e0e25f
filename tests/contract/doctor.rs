//! Every finding of `trapline doctor`, provoked on a real redis-server, the built-in exchange and this machine.

use crate::support::{BIN, Exchange, KEY, free_port, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use tempfile::TempDir;
use trapline::doctor::CODES;
use trapline::managed_redis::{ManagedRedis, ManagedRedisSettings, find_binary};
use trapline::venue::VenueConfig;
use trapline::venue::rest::key::KeyRights;

/// A redis-server with more arguments.
fn redis(args: &[&str]) -> (ManagedRedis, TempDir) {
    let dir = tempfile::Builder::new().prefix("tl-").tempdir().expect("folder");
    let settings = ManagedRedisSettings {
        folder: dir.path().join("redis"),
        leash: Some(BIN.into()),
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        ..ManagedRedisSettings::default()
    };
    (ManagedRedis::start(&settings).expect("redis-server is needed: run ./scripts/setup"), dir)
}

pub fn link(url: &str) -> redis::Connection {
    let open = || redis::Client::open(url)?.get_connection_with_timeout(std::time::Duration::from_secs(5));
    open().expect("redis answers")
}

pub fn tell(url: &str, words: &str) {
    let mut command = redis::Cmd::new();
    words.split(' ').for_each(|w| {
        command.arg(w);
    });
    command.query::<redis::Value>(&mut link(url)).unwrap_or_else(|e| panic!("{words}: {e}"));
}

/// `trapline doctor --json WORDS`: exit code and report.
fn doctor(words: &[&str], env: &[(&str, &str)]) -> (i32, Value) {
    let mut command = Command::new(BIN);
    command.args(["doctor", "--json"]).args(words).env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
    let out = command.envs(env.iter().copied()).output().expect("doctor");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let report =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&out.stderr)));
    (out.status.code().unwrap_or(-1), report)
}

fn of<'a>(report: &'a Value, code: &str) -> Vec<&'a Value> {
    report["findings"].as_array().expect("findings").iter().filter(|f| f["code"] == code).collect()
}

/// What each test has provoked, beyond `ok`; compared with the list by the last to look.
static PROVOKED: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// The finding is there, as bad as said, with a fix; and the exit code fits.
fn expect(what: &(i32, Value), code: &str, severity: &str, words: &str) {
    let (exit, report) = what;
    let found = of(report, code);
    assert!(
        found.iter().any(|f| f["severity"] == severity && f["what"].as_str().is_some_and(|w| w.contains(words))),
        "{code} {severity} {words:?}: {found:?} in {report:#}"
    );
    if matches!(severity, "warn" | "block") {
        assert!(found.iter().all(|f| f["fix"].as_str().is_some_and(|fix| fix.len() > 5)), "no fix: {found:?}");
    }
    if severity == "block" {
        assert_eq!((*exit, &report["blocked"]), (69, &Value::Bool(true)), "{code}");
    }
    PROVOKED.lock().unwrap().insert((code.to_owned(), severity.to_owned()));
}

/// A configuration in a folder of its own.
struct Desk {
    dir: TempDir,
    sections: String,
}

impl Desk {
    fn new(exchange_port: u16, redis_url: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let state = dir.path().join("state");
        let sections = format!(
            "[exchange]\npublic_url = \"ws://127.0.0.1:{exchange_port}\"\nprivate_url = \"ws://127.0.0.1:{exchange_port}\"\n\
             rest_url = \"http://127.0.0.1:{exchange_port}\"\nsymbols = [\"BTCUSDT\"]\n[recovery]\ntimeout_ms = 2000\n\
             [redis]\nurl = \"{redis_url}\"\n{more}\n[state]\ndir = \"{}\"\n",
            state.display()
        );
        Self { dir, sections }
    }

    fn edit(mut self, from: &str, to: &str) -> Self {
        assert!(self.sections.contains(from), "{from}");
        self.sections = self.sections.replace(from, to);
        self
    }

    fn look(&self, env: &[(&str, &str)]) -> (i32, Value) {
        let file = self.dir.path().join("trapline.toml");
        fs::write(&file, &self.sections).expect("configuration");
        doctor(&["--config", file.to_str().expect("a path")], env)
    }
}

fn with_key() -> [(&'static str, &'static str); 3] {
    [("TRAPLINE_BITGET_KEY", KEY[0]), ("TRAPLINE_BITGET_SECRET", KEY[1]), ("TRAPLINE_BITGET_PASSPHRASE", KEY[2])]
}

fn bound_key() -> KeyRights {
    KeyRights { ips: "192.0.2.1".to_owned(), ..KeyRights::default() }
}

#[test]
fn where_all_is_well_nothing_is_in_the_way() {
    let (server, _dir) = redis(&["--maxmemory", "1gb"]);
    let exchange = Exchange::start(VenueConfig { key: bound_key(), ..Exchange::config() });
    let desk = Desk::new(exchange.venue.addr().port(), &server.url(), "");
    let mut env = with_key().to_vec();
    env.extend([("NOTIFY_SOCKET", "/run/x"), ("WATCHDOG_USEC", "10000000")]);
    let (exit, report) = desk.look(&env);
    assert_eq!(exit, 0, "{report:#}");
    let not_ok: Vec<_> = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter(|f| f["severity"] != "ok")
        .map(|f| f["code"].as_str().unwrap_or_default())
        .collect();
    // The test's own user is the default one; a small disk is not the doctor's fault.
    assert!(not_ok.iter().all(|c| ["R-USER", "H-DISK"].contains(c)), "{report:#}");
    assert!(report["acl"].as_str().is_some_and(|line| line.starts_with("ACL SETUSER trapline reset on")), "{report:#}");
    assert!(!report.to_string().contains("CANARY"), "no secret is shown");
    assert!(!desk.dir.path().join("state").exists(), "a look makes nothing");
    // For people, the same.
    let out = Command::new(BIN).args(["doctor", "--redis", &server.url()]).output().expect("doctor");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("ok    R-VERSION     version ") && text.contains("0 in the way"), "{text}");
}

#[test]
fn what_redis_is_and_promises() {
    expect(&doctor(&["--redis", &format!("redis://127.0.0.1:{}", free_port())], &[]), "R-CONNECT", "block", "refused");

    let (server, dir) = redis(&["--appendonly", "no", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let url = server.url();
    let seen = doctor(&["--redis", &url], &[]);
    expect(&seen, "R-PERSIST", "warn", "no append-only file");
    expect(&seen, "R-EVICT", "block", "allkeys-lru");
    tell(&url, "CONFIG SET maxmemory-policy volatile-ttl");
    expect(&doctor(&["--redis", &url], &[]), "R-EVICT", "warn", "volatile-ttl");
    tell(&url, "CONFIG SET maxmemory-policy noeviction");
    let used = |share: f64| {
        let info: String = redis::cmd("INFO").arg("memory").query(&mut link(&url)).expect("info");
        let bytes: f64 = info.lines().find_map(|l| l.strip_prefix("used_memory:")?.parse().ok()).expect("a number");
        tell(&url, &format!("CONFIG SET maxmemory {}", (bytes / share) as u64));
    };
    used(0.88);
    expect(&doctor(&["--redis", &url], &[]), "R-MEMORY", "warn", "% of");
    used(1.02);
    expect(&doctor(&["--redis", &url], &[]), "R-MEMORY", "block", "");
    used(50.0);
    expect(&doctor(&["--redis", &url], &[]), "R-MEMORY", "block", "more than the");
    tell(&url, "CONFIG SET maxmemory 32mb");
    expect(&doctor(&["--redis", &url], &[]), "R-MEMORY", "warn", "less than the 64.0 MiB");
    tell(&url, "CONFIG SET maxmemory 0");
    expect(&doctor(&["--redis", &url], &[]), "R-MEMORY", "info", "no limit");
    tell(&url, "SET sim_last_btc_price 1");
    expect(&doctor(&["--redis", &url], &[]), "R-SIMULATION", "warn", "sim_last_btc_price");
    tell(&url, "REPLICAOF 127.0.0.1 1");
    expect(&doctor(&["--redis", &url], &[]), "R-ROLE", "block", "replica");
    tell(&url, "REPLICAOF NO ONE");
    // Its folder is gone: it cannot save, and refuses writes.
    fs::remove_dir_all(dir.path().join("redis")).expect("removed");
    let url = format!("redis://127.0.0.1:{}", server.port());
    tell(&url, "BGSAVE");
    wait_for("the save failed", || {
        let seen = doctor(&["--redis", &url], &[]);
        let failed = of(&seen.1, "R-SAVE").iter().any(|f| f["severity"] == "block");
        if failed {
            expect(&seen, "R-SAVE", "block", "rdb_last_bgsave_status");
            Ok(())
        } else {
            Err(seen.1.to_string())
        }
    });

    let (server, _dir) = redis(&[]);
    tell(&server.url(), "CONFIG SET requirepass s3cret");
    expect(&doctor(&["--redis", &server.url()], &[]), "R-CONNECT", "block", "NOAUTH");

    let (server, _dir) = redis(&["--cluster-enabled", "yes", "--appendonly", "no"]);
    expect(&doctor(&["--redis", &server.url()], &[]), "R-MODE", "info", "Cluster");
    let url = format!("{}?db=2", server.url());
    expect(&doctor(&["--redis", &url], &[]), "R-MODE", "block", "only database 0");
}

/// A child that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn raw(dir: &Path, args: &[&str]) -> Server {
    let binary = find_binary(None).expect("redis-server is needed: run ./scripts/setup");
    let mut command = Command::new(binary);
    command.args(args).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    Server(command.spawn().expect("redis-server starts"))
}

#[test]
fn a_sentinel_a_loading_redis_and_an_endless_script() {
    let dir = tempfile::tempdir().expect("folder");
    let port = free_port().to_string();
    let (server, _data) = redis(&[]);
    let watched = format!("sentinel monitor mymaster 127.0.0.1 {} 1", server.port());
    fs::write(dir.path().join("sentinel.conf"), format!("port {port}\nbind 127.0.0.1\n{watched}\n")).expect("file");
    let _sentinel = raw(dir.path(), &["sentinel.conf", "--sentinel"]);
    let url = format!("redis://127.0.0.1:{port}");
    let until = |url: &str, code: &str, words: &str| {
        wait_for(code, || {
            let seen = doctor(&["--redis", url], &[]);
            let there = of(&seen.1, code).iter().any(|f| f["severity"] == "block");
            if there {
                expect(&seen, code, "block", words);
                Ok(())
            } else {
                Err(seen.1.to_string())
            }
        });
    };
    until(&url, "R-MODE", "Sentinel");
    // Configured as one, it is what it should be: the server that it watches is looked at.
    let desk = Desk::new(1, &url, &format!("sentinels = [\"127.0.0.1:{port}\"]\nsentinel_master = \"mymaster\""));
    let (_, report) = desk.look(&[]);
    for code in ["R-CONNECT", "R-MODE", "R-ROLE"] {
        assert!(of(&report, code).iter().all(|f| f["severity"] == "ok") && !of(&report, code).is_empty(), "{report:#}");
    }

    let port = free_port().to_string();
    let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--lua-time-limit", "50"];
    let url = format!("redis://127.0.0.1:{port}");
    let first = raw(dir.path(), &args);
    wait_for("redis is up", || {
        redis::Client::open(url.as_str()).and_then(|c| c.get_connection()).map(|_| ()).map_err(|e| e.to_string())
    });
    let mut fill = redis::pipe();
    (0..2_000).for_each(|i| {
        fill.cmd("SET").arg(format!("k{i}")).arg("v".repeat(2_000)).ignore();
    });
    fill.query::<()>(&mut link(&url)).expect("filled");
    tell(&url, "SAVE");
    drop(first);
    let slow = [&args[..], &["--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"]].concat();
    let loading = raw(dir.path(), &slow);
    until(&url, "R-LOADING", "loading");
    drop(loading);

    let _second = raw(dir.path(), &args);
    let endless = std::thread::spawn({
        let url = url.clone();
        move || {
            let open = || redis::Client::open(url.as_str())?.get_connection();
            let mut link = wait_for("redis is up", || open().map_err(|e| e.to_string()));
            let _ = redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut link);
        }
    });
    until(&url, "R-BUSY", "BUSY");
    tell(&url, "SCRIPT KILL");
    endless.join().expect("the script ended");
}

#[test]
fn users_rights_clients_and_writers() {
    let (server, _dir) = redis(&["--maxclients", "30"]);
    let url = format!("redis://127.0.0.1:{}", server.port());
    let as_user = |name: &str| format!("redis://{name}:s3cret@127.0.0.1:{}", server.port());
    let seen = doctor(&["--redis", &url], &[]);
    expect(&seen, "R-USER", "info", "default");

    let line = seen.1["acl"].as_str().expect("a line").replace('\'', "").replace("PASSWORD", "s3cret");
    tell(&url, &line);
    let seen = doctor(&["--redis", &as_user("trapline")], &[]);
    expect(&seen, "R-USER", "ok", "trapline");
    expect(&seen, "R-RIGHTS", "ok", "may do all");
    // One who may look, with the door behind it open.
    tell(&url, "ACL SETUSER looking on >s3cret ~* &* +@all");
    expect(&doctor(&["--redis", &as_user("looking")], &[]), "R-USER", "warn", "needs no password");
    for (less, words) in [("-xadd", "xadd"), ("-eval", "eval"), ("-info", "INFO")] {
        tell(&url, &format!("ACL SETUSER less reset on >s3cret ~* &* +@all {less}"));
        expect(&doctor(&["--redis", &as_user("less")], &[]), "R-RIGHTS", "block", words);
    }
    tell(&url, "ACL SETUSER less reset on >s3cret ~trapline:* ~legacy:* &* +@all");
    expect(&doctor(&["--redis", &as_user("less")], &[]), "R-RIGHTS", "block", "current_position");

    let mut crowd: Vec<_> = (0..24).map(|_| link(&url)).collect();
    expect(&doctor(&["--redis", &url], &[]), "R-CLIENTS", "warn", "of 30");
    crowd.extend((0..4).map(|_| link(&url)));
    expect(&doctor(&["--redis", &url], &[]), "R-CLIENTS", "block", "of 30");
    drop(crowd);
    let mut writers: Vec<_> = (0..1).map(|_| link(&url)).collect();
    let name = |link: &mut redis::Connection| {
        redis::cmd("CLIENT").arg("SETNAME").arg("trapline-writer-trapline").query::<()>(link).expect("named");
    };
    writers.iter_mut().for_each(name);
    wait_for("the crowd has gone", || {
        let seen = doctor(&["--redis", &url], &[]);
        let ok = of(&seen.1, "R-CLIENTS").iter().all(|f| f["severity"] == "ok");
        if ok {
            expect(&seen, "R-WRITER", "info", "is writing");
            Ok(())
        } else {
            Err(seen.1.to_string())
        }
    });
    expect(&doctor(&["--redis", &format!("{url}/1")], &[]), "R-WRITER", "ok", "no daemon");
    writers.push(link(&url));
    writers.iter_mut().for_each(name);
    expect(&doctor(&["--redis", &url], &[]), "R-WRITER", "warn", "2 connections");
    drop(writers.remove(0));
    redis::cmd("CLIENT").arg("SETNAME").arg("trapline-writer-two").query::<()>(&mut writers[0]).expect("named");
    wait_for("the first has gone", || {
        let seen = doctor(&["--redis", &url], &[]);
        let told = of(&seen.1, "R-WRITER").iter().any(|f| f["what"].to_string().contains("trapline-writer-two"));
        if told { Ok(()) } else { Err(seen.1.to_string()) }
    });
}

#[test]
fn keys_of_a_foreign_type() {
    let (server, _dir) = redis(&[]);
    let url = server.url();
    tell(&url, "SET current_position {}");
    tell(&url, "SET trader:trades:scalper x");
    tell(&url, "LPUSH trapline:ETHUSDT:position:long x");
    let exchange = Exchange::start(Exchange::config());
    let port = exchange.venue.addr().port();
    let seen = Desk::new(port, &url, "").look(&[]);
    for words in
        ["current_position is a string and should be a hash", "trader:trades:scalper", "trapline:ETHUSDT:position:long"]
    {
        expect(&seen, "R-TYPE", "block", words);
    }
    let migrating = Desk::new(port, &url, "migrate = true").look(&[]);
    expect(&migrating, "R-TYPE", "warn", "current_position");
    assert!(of(&migrating.1, "R-TYPE").iter().all(|f| f["severity"] == "warn"));
    let legacy = Desk::new(port, &url, "position_key_format = \"legacy-json\"").look(&[]);
    assert!(!of(&legacy.1, "R-TYPE").iter().any(|f| f["what"].to_string().contains("current_position")), "{legacy:?}");
}

/// A door that stays shut says which door it is, and its cure is not another one's.
#[test]
fn each_way_to_miss_redis_has_words_and_a_cure_of_its_own() {
    let (server, dir) = redis(&[]);
    let exchange = Exchange::start(Exchange::config());
    let plain = format!("127.0.0.1:{}", server.port());
    let gone = dir.path().join("gone.sock");
    let cases = [
        ("no socket", format!("unix://{}", gone.display()), "no such socket", "start redis"),
        ("no host", "redis://nohost.invalid".to_owned(), "host is not known", "host, port"),
        ("not a redis", format!("redis://{}", exchange.venue.addr()), "RESP", "correct the port"),
        ("TLS to a plain port", format!("rediss://{plain}"), "TLS", "redis:// for a port without TLS"),
        ("no such database", format!("redis://{plain}/99"), "no database 99", "number at the end"),
        ("a user that nobody made", format!("redis://who:x@{plain}"), "WRONGPASS", "correct the user"),
    ];
    for (case, url, what, fix) in cases {
        let seen = doctor(&["--redis", &url], &[]);
        expect(&seen, "R-CONNECT", "block", what);
        let found = of(&seen.1, "R-CONNECT")[0].clone();
        assert!(found["fix"].as_str().is_some_and(|f| f.contains(fix)), "case: {case}: {found}");
        for raw in ["entity not found", "uncategorized"] {
            assert!(!found.to_string().contains(raw), "case: {case}: {found}");
        }
    }
    tell(&server.url(), "CONFIG SET requirepass s3cret");
    let seen = doctor(&["--redis", &server.url()], &[]);
    assert!(of(&seen.1, "R-CONNECT")[0]["fix"].as_str().is_some_and(|f| f.contains("password_file")), "{}", seen.1);
    let (exit, report) = doctor(&["--config", "/no/such.toml"], &[]);
    let found = of(&report, "C-CONFIG")[0].clone();
    assert!(exit == 69 && found["what"] == "/no/such.toml: cannot be read: there is no such file", "{found}");
}

#[test]
fn the_exchange_its_clock_and_the_key() {
    let (server, _dir) = redis(&[]);
    let look = |venue: VenueConfig, env: &[(&str, &str)]| {
        let exchange = Exchange::start(venue);
        Desk::new(exchange.venue.addr().port(), &server.url(), "").look(env)
    };
    let config = || VenueConfig { key: bound_key(), ..Exchange::config() };
    let seen = Desk::new(free_port(), &server.url(), "").look(&[]);
    expect(&seen, "X-REACH", "block", "no answer");
    expect(&seen, "X-REACH", "block", "onnection refused");
    let crowded = Exchange::start(config());
    crowded.control("fault?name=rest_429&ms=600000");
    let seen = Desk::new(crowded.venue.addr().port(), &server.url(), "").look(&[]);
    assert!(of(&seen.1, "X-REACH")[0]["fix"].as_str().is_some_and(|f| f.contains("too often")), "{}", seen.1);
    expect(&look(config(), &[]), "X-KEY", "info", "no key");

    let mut wrong = with_key();
    wrong[2].1 = "wrong";
    expect(&look(config(), &wrong), "X-KEY", "block", "code");
    for kind in [trapline::venue::AccountKind::Classic, trapline::venue::AccountKind::Unified] {
        let with = |key: KeyRights| look(VenueConfig { account: kind, key, ..Exchange::config() }, &with_key());
        let seen = with(KeyRights { trade: true, ..bound_key() });
        expect(&seen, "X-RIGHTS", "warn", "the key may trade");
        assert_eq!(of(&seen.1, "X-ADDRESS")[0]["severity"], "ok");
        expect(&with(KeyRights { withdraw: true, ..bound_key() }), "X-RIGHTS", "warn", "withdraw");
        let seen = with(KeyRights::default());
        expect(&seen, "X-ADDRESS", "warn", "no address");
        assert_eq!(of(&seen.1, "X-RIGHTS")[0]["severity"], "ok", "{:#}", seen.1);
    }
    for (skew_ms, severity) in [(5_000, "warn"), (-40_000, "block")] {
        let exchange = Exchange::start(config());
        exchange.control(&format!("fault?name=clock_skew_ms&ms=600000&value={skew_ms}"));
        let seen = Desk::new(exchange.venue.addr().port(), &server.url(), "").look(&[]);
        expect(&seen, "X-CLOCK", severity, "ahead of ours");
    }
    let exchange = Exchange::start(config());
    let desk = Desk::new(exchange.venue.addr().port(), &server.url(), "").edit("BTCUSDT", "NOSUCHUSDT");
    expect(&desk.look(&[]), "X-SYMBOLS", "block", "NOSUCHUSDT");
    exchange.control("fault?name=symbol_maintain&ms=600000&symbol=BTCUSDT");
    let desk = desk.edit("NOSUCHUSDT", "BTCUSDT");
    expect(&desk.look(&[]), "X-SYMBOLS", "warn", "BTCUSDT");
}

#[test]
fn the_machine_and_the_configuration() {
    let (server, _dir) = redis(&[]);
    let exchange = Exchange::start(Exchange::config());
    let desk = |more: &str| Desk::new(exchange.venue.addr().port(), &server.url(), more);
    expect(&desk("unheard_of = 1").look(&[]), "C-CONFIG", "block", "unheard_of");
    let secret = desk("");
    let file = secret.dir.path().join("secret");
    fs::write(&file, "s3cret").expect("file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("mode");
    let secret = secret.edit("[redis]\n", &format!("[redis]\npassword_file = \"{}\"\n", file.display()));
    expect(&secret.look(&[]), "H-SECRETS", "block", "can be read or changed by others");

    let place = desk("");
    fs::write(place.dir.path().join("state"), "in the way").expect("file");
    let path = place.dir.path().join("state").display().to_string();
    let place = place.edit(&path, &format!("{path}/below"));
    expect(&place.look(&[]), "H-STATE", "block", "cannot be written");
    expect(&desk("[spool]\nretain_mib = 1048576").look(&[]), "H-DISK", "warn", "MiB free");
    expect(&desk("").look(&[("NOTIFY_SOCKET", "/run/x")]), "H-WATCHDOG", "warn", "no watchdog");
    expect(&desk("").look(&[]), "H-WATCHDOG", "info", "no unit");
    for (limit, severity) in [(40, "block"), (100, "warn")] {
        let script = format!("ulimit -n {limit}; exec \"$0\" doctor --json --redis \"$1\"");
        let out = Command::new("sh").args(["-c", &script, BIN, &server.url()]).output().expect("sh");
        let report = serde_json::from_slice(&out.stdout).expect("JSON");
        expect(&(out.status.code().unwrap_or(-1), report), "H-FILES", severity, &format!("{limit} open files"));
    }
    let out = Command::new(BIN).arg("doctor").output().expect("doctor");
    assert_eq!(out.status.code(), Some(64), "nothing to look at");
}

const BEGIN: &str = "<!-- table:begin -->\n";
const END: &str = "<!-- table:end -->";

/// `UPDATE_DOCS=1 cargo test --test contract` rewrites the list. Also: each code is provoked by a test above, or stands
/// in the list of those that this machine cannot provoke.
#[test]
fn the_page_lists_every_code_and_the_tests_provoke_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
    let text = fs::read_to_string(&path).expect("docs/doctor.md");
    let (head, rest) = text.split_once(BEGIN).expect("marked");
    let (old, tail) = rest.split_once(END).expect("marked");
    let rows: String = CODES.iter().map(|(code, question)| format!("| {code} | {question} |\n")).collect();
    let table = format!("| code | the question |\n|---|---|\n{rows}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}")).expect("docs/doctor.md can be written");
    } else {
        assert_eq!(old, table, "stale: run UPDATE_DOCS=1 cargo test --test contract");
    }
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file!())).expect("this file");
    // An old redis-server to be too old: tests of `acl::version` and the code path stand for it.
    let impossible = ["R-VERSION"];
    for (code, _) in CODES.iter().filter(|(code, _)| !impossible.contains(code)) {
        let provoked = ["warn", "block"].iter().any(|s| {
            source.contains(&format!("\"{code}\", \"{s}\"")) || source.contains(&format!("\"{code}\", severity"))
        }) || source.contains(&format!(", \"{code}\", \""));
        assert!(provoked, "no test provokes {code}");
    }
}
