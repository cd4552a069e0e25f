//! Another program at our keys while the writer runs: its value is put aside whole, and ours comes back whole.

use crate::bench::*;
use redis::Commands;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

const KEY: &str = "trapline:BTCUSDT:market_state";

/// What is encoded when the refusal arrives holds only the fields that changed: behind the RENAME it would be half a hash.
#[test]
fn a_hash_that_was_put_aside_comes_back_whole() {
    if skip() {
        return;
    }
    for round in 0..6 {
        let server = Server::start(&[]);
        let mut setup = Setup::at(&server.socket());
        setup.settings.migrate = true;
        setup.conflate = round % 2 == 1;
        let daemon = setup.start();
        daemon.price(1);
        daemon.wait_written(1);
        let whole: usize = server.eyes().hlen(KEY).unwrap();
        let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
        let halves = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut eyes, mut halves) = (server.eyes(), Vec::new());
                while !done.load(Relaxed) {
                    // A foreign type and a key that is away for a moment are no hash of ours.
                    let Ok(fields) = eyes.hgetall::<_, BTreeMap<String, String>>(KEY) else { continue };
                    looks.fetch_add(u64::from(!fields.is_empty()), Relaxed);
                    if !fields.is_empty() && fields.len() != whole {
                        halves.push(fields);
                    }
                }
                halves
            });
            let mut seq = 1;
            let mut burst = || {
                (0..50).for_each(|_| {
                    seq += 1;
                    daemon.price(seq);
                });
                std::thread::sleep(std::time::Duration::from_micros(500));
                seq
            };
            for _ in 0..20 {
                burst();
            }
            // However busy the machine: it looks before, and it looks after.
            let another_look = || {
                let before = looks.load(Relaxed);
                wait_for("another look", || looks.load(Relaxed) > before);
            };
            another_look();
            server.run(&["SET", KEY, "foreign"]);
            wait_for("put aside", || {
                burst();
                daemon.count("migrated_keys_total") == 1
            });
            let last = burst();
            daemon.wait_written(last);
            another_look();
            done.store(true, Relaxed);
            reader.join().unwrap()
        });
        println!("round {round}: {} looks", looks.load(Relaxed));
        assert!(halves.is_empty(), "round {round}: {} halves, {:?}", halves.len(), halves.first());
        assert_eq!(daemon.count("audit_mismatch_total"), 0, "round {round}: a part was written where nothing stood");
        let aside: Vec<String> = server.eyes().keys(format!("legacy:{KEY}:*")).unwrap();
        assert_eq!(aside.len(), 1, "round {round}: {aside:?}");
        assert_eq!(server.eyes().get::<_, String>(&aside[0]).unwrap(), "foreign");
    }
}
