//! Six redis-servers as one cluster, a daemon that writes to it, and what R16 asks of them.

use crate::scene::{BTC, HASHES, STRINGS, ms, options};
use crate::server::Server;
use crate::support::figures::Figures;
use crate::support::{Daemon, Exchange, free_port, http_get, wait_for};
use redis::{FromRedisValue, Value};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Instant;

pub const NODE_TIMEOUT_MS: u64 = 1_000;
pub const ETH_EVENTS: &str = "trapline:ETHUSDT:events";

/// A port whose neighbour 10000 further, the cluster bus', is free as well.
fn node_port() -> u16 {
    wait_for("two free ports", || match free_port() {
        port if port < 55_000 && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() => Ok(port),
        port => Err(port.to_string()),
    })
}

/// How to look into a cluster from outside; cheap to copy into a thread.
#[derive(Clone)]
pub struct Eyes(Vec<(u16, String)>);

impl Eyes {
    fn at(&self, port: u16) -> Option<redis::Connection> {
        let (_, socket) = self.0.iter().find(|(at, _)| *at == port)?;
        redis::Client::open(format!("unix:{socket}")).ok()?.get_connection().ok()
    }

    /// Asks the node that has the key; with its port. `None`: nobody has it now.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Option<(u16, T)> {
        let mut ports: Vec<u16> = self.0.iter().map(|(port, _)| *port).collect();
        let (mut asking, mut hops) = (false, 0);
        while let Some(port) = ports.pop() {
            let Some(mut link) = self.at(port) else { continue };
            let _ = link.set_read_timeout(Some(std::time::Duration::from_secs(2)));
            if std::mem::take(&mut asking) {
                let _: Value = redis::cmd("ASKING").query(&mut link).ok()?;
            }
            // Not through the client's own mind: the answer's words are what counts.
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            match command.query::<T>(&mut link) {
                Ok(value) => return Some((port, value)),
                Err(error) => {
                    asking = error.code() == Some("ASK");
                    if let Some((place, _)) = error.redirect_node().filter(|_| hops < 6) {
                        hops += 1;
                        ports.extend(place.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()));
                    }
                }
            }
        }
        None
    }
}

pub struct Cluster {
    pub nodes: Vec<(u16, Server)>,
}

impl Cluster {
    /// Three masters, each with a replica.
    pub fn start() -> Self {
        let timeout = NODE_TIMEOUT_MS.to_string();
        let node = || {
            let port = node_port();
            let text = port.to_string();
            // A replica logs in as a user that can be locked out, so that it misses the end; it is promoted all the same.
            let args = ["--port", &text, "--cluster-enabled", "yes", "--cluster-node-timeout", &timeout];
            let more = ["--cluster-replica-validity-factor", "0", "--masteruser", "replica", "--masterauth", "pw"];
            let server = Server::start(&[&args[..], &more[..]].concat());
            server.run(&["ACL", "SETUSER", "replica", "on", ">pw", "+psync", "+replconf", "+ping"]);
            (port, server)
        };
        let cluster = Self { nodes: (0..6).map(|_| node()).collect() };
        for (i, slots) in ["0 5460", "5461 10922", "10923 16383"].iter().enumerate() {
            let (first, last) = slots.split_once(' ').expect("a range");
            cluster.nodes[i].1.run(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
            cluster.nodes[i].1.run(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
        }
        let first = cluster.nodes[0].0.to_string();
        for (_, server) in &cluster.nodes[1..] {
            server.run(&["CLUSTER", "MEET", "127.0.0.1", &first]);
        }
        cluster.wait_each("knows all", |info| info.contains("cluster_known_nodes:6"));
        for i in 0..3 {
            let master = cluster.id(i);
            wait_for("replicates", || {
                let mut command = redis::cmd("CLUSTER");
                command.arg("REPLICATE").arg(&master);
                command.query::<()>(&mut cluster.nodes[i + 3].1.eyes()).map_err(|e| e.to_string())
            });
        }
        cluster.wait_each("is ok", |info| info.contains("cluster_state:ok"));
        wait_for("replicating", || {
            for (_, server) in &cluster.nodes[3..] {
                let info = format!("{:?}", server.run(&["INFO", "replication"]));
                if !info.contains("master_link_status:up") {
                    return Err(info);
                }
            }
            Ok(())
        });
        cluster
    }

    fn wait_each(&self, what: &str, is_met: impl Fn(&str) -> bool) {
        for (_, server) in self.nodes.iter().filter(|(_, s)| s.pid() != 0) {
            wait_for(what, || match format!("{:?}", server.run(&["CLUSTER", "INFO"])) {
                info if is_met(&info) => Ok(()),
                info => Err(info),
            });
        }
    }

    pub fn id(&self, i: usize) -> String {
        String::from_redis_value(self.nodes[i].1.run(&["CLUSTER", "MYID"])).expect("an id")
    }

    pub fn eyes(&self) -> Eyes {
        Eyes(self.nodes.iter().map(|(port, server)| (*port, server.socket().display().to_string())).collect())
    }

    pub fn url(&self, i: usize) -> String {
        format!("redis://127.0.0.1:{}", self.nodes[i].0)
    }

    /// The place of the node that serves `key` now.
    pub fn owner(&self, key: &str) -> usize {
        let (port, _) = self.eyes().ask::<i64>(&["EXISTS", key]).expect("an owner");
        self.nodes.iter().position(|(at, _)| *at == port).expect("a node of ours")
    }

    pub fn slot(&self, key: &str) -> String {
        let slot = i64::from_redis_value(self.nodes[0].1.run(&["CLUSTER", "KEYSLOT", key])).expect("a slot");
        slot.to_string()
    }

    /// Errors with this code that any node has ever given to anybody.
    pub fn errors(&self, code: &str) -> usize {
        let alive = self.nodes.iter().filter(|(_, server)| server.pid() != 0);
        alive.filter(|(_, s)| format!("{:?}", s.run(&["INFO", "errorstats"])).contains(&format!("_{code}:"))).count()
    }
}

/// Exchange, cluster and daemon.
pub struct Desk {
    pub daemon: Daemon,
    pub exchange: Exchange,
    pub cluster: Cluster,
    pub orders: u64,
    watching: Arc<AtomicBool>,
    watcher: Option<JoinHandle<Vec<String>>>,
}

impl Desk {
    /// The url names this node alone.
    pub fn at(seed: impl Fn(&Cluster) -> usize) -> Self {
        let (cluster, exchange) = (Cluster::start(), Exchange::start(Exchange::config()));
        let url = cluster.url(seed(&cluster));
        let daemon = Daemon::start(exchange.venue.addr().port(), &url, &options(&[]));
        let watching = Arc::new(AtomicBool::new(true));
        let watcher = Some(watch(cluster.eyes(), Arc::clone(&watching)));
        let desk = Self { daemon, exchange, cluster, orders: 0, watching, watcher };
        desk.daemon.wait_ready();
        desk.wait_all();
        desk
    }

    pub fn field(&self, key: &str, field: &str) -> Option<String> {
        self.cluster.eyes().ask::<Option<String>>(&["HGET", key, field])?.1
    }

    pub fn wait_all(&self) {
        let eyes = self.cluster.eyes();
        let there = |words: &[&str]| eyes.ask::<i64>(words).is_some_and(|(_, n)| n > 0);
        wait_for("all state is there", || {
            let hashes = HASHES.iter().filter(|key| !there(&["HEXISTS", key, "epoch"]));
            let missing: Vec<_> = hashes.chain(STRINGS.iter().filter(|key| !there(&["EXISTS", key]))).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
        });
    }

    pub fn seq(&self, key: &str) -> i64 {
        self.field(key, "seq").and_then(|s| s.parse().ok()).unwrap_or(-1)
    }

    pub fn goes_on(&self, key: &str) {
        let before = self.seq(key);
        wait_for(&format!("{key} goes on"), || match self.seq(key) {
            now if now > before => Ok(()),
            now => Err(format!("seq {now}; log:\n{}", self.daemon.log())),
        });
    }

    pub fn count(&self, name: &str) -> u64 {
        self.daemon.statusz()["counts"][name].as_u64().unwrap_or(0)
    }

    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = http_get(self.daemon.status_port, "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(-1.0)
    }

    pub fn wait_metric(&self, name: &str, least: f64) {
        wait_for(name, || match self.metric(name) {
            now if now >= least => Ok(()),
            now => Err(format!("{now}, wanted {least}")),
        });
    }

    pub fn link(&self) -> String {
        self.daemon.statusz()["redis"]["link"].as_str().unwrap_or("?").to_owned()
    }

    pub fn trade(&mut self, orders: u64) {
        for _ in 0..orders {
            let side = if self.orders.is_multiple_of(2) { "buy&effect=open" } else { "sell&effect=close" };
            let told = self.exchange.control(&format!("order?symbol=ETHUSDT&size=0.01&side={side}&hold_side=long"));
            assert!(!told.contains("error"), "{told}");
            self.orders += 1;
        }
    }

    /// Fills in the stream, as a node has it.
    pub fn fills_at(eyes: &Eyes) -> Vec<String> {
        let reply = eyes.ask::<redis::streams::StreamRangeReply>(&["XRANGE", ETH_EVENTS, "-", "+"]);
        let ids = reply.map(|(_, reply)| reply.ids).unwrap_or_default();
        let fills = ids.iter().filter(|entry| entry.get::<String>("kind").as_deref() == Some("fill"));
        fills.filter_map(|entry| entry.get::<String>("id")).collect()
    }

    /// Trade ids in the lists of strategies, oldest first: another lane, in another slot.
    pub fn listed(&self) -> Vec<String> {
        let eyes = self.cluster.eyes();
        let mut keys = BTreeSet::new();
        for (_, server) in self.cluster.nodes.iter().filter(|(_, s)| s.pid() != 0) {
            let found = Vec::<String>::from_redis_value(server.run(&["KEYS", "trader:trades:*"]));
            keys.extend(found.expect("names").into_iter().filter(|key| !key.contains('{')));
        }
        let mut listed = Vec::new();
        for key in keys {
            let items = eyes.ask::<Vec<String>>(&["LRANGE", &key, "0", "-1"]).map(|(_, items)| items);
            for item in items.unwrap_or_default().iter().rev() {
                let item: serde_json::Value = serde_json::from_str(item).expect("a document");
                listed.push(item["trade_id"].as_str().unwrap_or_default().to_owned());
            }
        }
        listed
    }

    /// Every order is an event once and in order, in each of its lanes.
    pub fn events_are_whole(&self) -> u64 {
        let eyes = self.cluster.eyes();
        wait_for("every event is there", || match (Self::fills_at(&eyes).len() as u64, self.listed().len() as u64) {
            (n, m) if n >= self.orders && m >= self.orders.min(100) && self.count("events_pending") == 0 => Ok(()),
            (n, m) => Err(format!("{n} and {m} of {}; pending {}", self.orders, self.count("events_pending"))),
        });
        let (fills, listed) = (Self::fills_at(&eyes), self.listed());
        let unique: BTreeSet<_> = fills.iter().collect();
        assert_eq!((fills.len() as u64, unique.len()), (self.orders, fills.len()), "each once: {fills:?}");
        let numbers: Vec<u128> = fills.iter().filter_map(|id| id.trim_start_matches("fill:").parse().ok()).collect();
        assert!(numbers.len() == fills.len() && numbers.is_sorted(), "in order: {fills:?}");
        let bare: Vec<_> = fills.iter().map(|id| id.trim_start_matches("fill:").to_owned()).collect();
        assert_eq!(listed, bare[bare.len().saturating_sub(100)..], "the list holds the same in the same order");
        self.orders
    }

    pub fn check(mut self, mut figures: Figures) {
        self.wait_all();
        self.goes_on(BTC);
        figures.events = self.events_are_whole();
        self.watching.store(false, SeqCst);
        let regressions = self.watcher.take().expect("watched").join().expect("the watch ended");
        assert_eq!(regressions, Vec::<String>::new(), "{}: state went back", figures.row);
        assert_eq!(self.cluster.errors("CROSSSLOT"), 0, "never a step over two slots");
        for (_, server) in self.cluster.nodes.iter().filter(|(_, s)| s.pid() != 0) {
            let names = Vec::<String>::from_redis_value(server.run(&["KEYS", "*"])).expect("names");
            let strange: Vec<_> = names.iter().filter(|name| trapline::store::keys::row_of(name).is_none()).collect();
            assert!(strange.is_empty(), "not in the table: {strange:?}");
        }
        assert_eq!(http_get(self.daemon.status_port, "/livez").0, 200, "alive");
        let status = self.daemon.statusz();
        let rooms = status["rooms"].as_array().cloned().unwrap_or_default();
        let restarts: u64 = rooms.iter().filter_map(|room| room["restarts_total"].as_u64()).sum();
        assert!(!rooms.is_empty() && restarts == 0, "{}: a cluster being ill is no death of a room", figures.row);
        figures.survived = figures.injected;
        figures.publish();
    }

    /// Messages that the rooms which do not write have handled.
    pub fn handled(&self) -> u64 {
        let status = self.daemon.statusz();
        let rooms = status["rooms"].as_array().cloned().unwrap_or_default();
        let others = rooms.iter().filter(|room| room["name"] != "redis_writer");
        others.filter_map(|room| room["handled"].as_u64()).sum()
    }

    pub fn wait_noticed(&self, from: Instant) -> f64 {
        wait_for("noticed", || match self.link().as_str() {
            "up" => Err("still up".to_owned()),
            _ => Ok(()),
        });
        ms(from)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.watching.store(false, SeqCst);
    }
}

/// A time that goes back at the same node is a regression; a replica that was promoted may lack the end.
fn watch(eyes: Eyes, watching: Arc<AtomicBool>) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let (mut regressions, mut highest, mut at) = (Vec::new(), 0_i64, 0);
        while watching.load(SeqCst) {
            match eyes.ask::<Option<i64>>(&["HGET", BTC, "exchange_time"]) {
                Some((port, Some(time))) => {
                    if port == at && time < highest {
                        regressions.push(format!("{highest} -> {time}"));
                    }
                    (highest, at) = (time, port);
                }
                _ => at = 0,
            }
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        regressions
    })
}
