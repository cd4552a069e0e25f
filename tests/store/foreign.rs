//! Another program at our keys while the writer runs: its value is put aside whole, and ours comes back whole.

use crate::bench::*;
use redis::Commands;
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use trapline::domain::picture::MarketPicture;
use trapline::store::encode::market::MIRRORS;

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

/// A price with all four mirrors.
fn four_mirrors(seq: u64) -> MarketPicture {
    MarketPicture { previous_price: Some(Decimal::from(59_000)), last_size: Some(Decimal::ONE), ..picture(seq) }
}

/// Makes a list of `key` in one step, as a program would that was there first.
fn make_list(eyes: &mut redis::Connection, key: &str) {
    let _: () = redis::pipe().atomic().del(key).ignore().lpush(key, &["a", "b"]).ignore().query(eyes).expect("a list");
}

#[test]
fn a_foreign_type_at_a_mirror_of_the_price_is_put_aside_while_the_writer_runs() {
    if skip() {
        return;
    }
    let server = Server::start(&[]);
    let mut setup = Setup::at(&server.socket());
    setup.settings.migrate = true;
    let daemon = setup.start();
    let mut seq = 0;
    let mut next = || {
        seq += 1;
        daemon.market(four_mirrors(seq));
        seq
    };
    let mut eyes = server.eyes();
    for key in MIRRORS {
        let first = next();
        daemon.wait_written(first);
        wait_for("a string of ours", || eyes.exists(key).unwrap());
        make_list(&mut eyes, key);
        wait_for("a string again", || {
            next();
            eyes.get::<_, Option<String>>(key).ok().flatten().is_some()
        });
        let aside: Vec<String> = eyes.keys(format!("legacy:{key}:*")).unwrap();
        assert_eq!(aside.len(), 1, "{key} was overwritten: {aside:?}");
        assert_eq!(eyes.lrange::<_, Vec<String>>(&aside[0], 0, -1).unwrap(), ["b", "a"]);
        wait_for("told", || daemon.board.take_notes().iter().any(|n| n.code == "foreign_writer" && n.key == key));
    }
    // A string of another program's is noticed as well, with the next write.
    let before = daemon.count("foreign_writes_total");
    server.run(&["SET", MIRRORS[2], "1"]);
    next();
    wait_for("noticed", || daemon.count("foreign_writes_total") > before);
    assert_eq!(eyes.get::<_, String>(MIRRORS[2]).unwrap(), "59000");
}

#[test]
fn without_migrate_a_foreign_type_at_a_mirror_is_left_alone_and_told() {
    if skip() {
        return;
    }
    for key in MIRRORS {
        let server = Server::start(&[]);
        let mut setup = Setup::at(&server.socket());
        setup.settings.probe_every = std::time::Duration::from_millis(200);
        let daemon = setup.start();
        let mut seq = 1;
        daemon.market(four_mirrors(seq));
        daemon.wait_written(seq);
        let mut eyes = server.eyes();
        wait_for("all four", || eyes.exists::<_, usize>(MIRRORS.as_slice()).unwrap() == 4);
        make_list(&mut eyes, key);
        let mut notes = Vec::new();
        wait_for("told", || {
            seq += 1;
            daemon.market(four_mirrors(seq));
            notes.extend(daemon.board.take_notes());
            notes.iter().any(|n| n.code == "key_quarantined" && n.key == key)
        });
        // However often it is tried again.
        for _ in 0..3 {
            let before = daemon.board.errors().map(|(_, n)| n).sum::<u64>();
            wait_for("tried again", || {
                seq += 1;
                daemon.market(four_mirrors(seq));
                daemon.board.errors().map(|(_, n)| n).sum::<u64>() > before
            });
        }
        assert_eq!(eyes.lrange::<_, Vec<String>>(key, 0, -1).unwrap(), ["b", "a"], "{key}");
        assert!(eyes.keys::<_, Vec<String>>("legacy:*").unwrap().is_empty(), "{key}");
        // The others go on, and this one as soon as it is free.
        if key != MIRRORS[1] {
            let last = seq + 1;
            daemon.market(MarketPicture { received_ms: 1_800_000_000_000, ..four_mirrors(last) });
            wait_for("the others", || eyes.get::<_, String>(MIRRORS[1]).unwrap().starts_with("18000000"));
            seq = last;
        }
        server.run(&["DEL", key]);
        wait_for("a string again", || {
            seq += 1;
            daemon.market(four_mirrors(seq));
            eyes.get::<_, Option<String>>(key).ok().flatten().is_some()
        });
    }
}
