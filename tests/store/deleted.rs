//! What others delete: found by the audit, by the next write or by the rewriting of quiet state, and counted once each.

use crate::bench::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rust_decimal::Decimal;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use trapline::domain::picture::{BreakerPicture, MarketPicture};
use trapline::domain::position::HoldSide;
use trapline::domain::symbol::SymbolId;
use trapline::store::encode::state::{HealthPicture, TextState, TextValue};

/// So many that what is written again does not fit into one reading of Redis: others get their turn in between.
const SYMBOLS: usize = 200;

/// Each kind of write: first those that stand early in what is written again, last those that stand late.
const KEYS: [(&str, &str); 15] = [
    ("trapline:BTCUSDT:position:long", ""),
    ("short_trader_position", ""),
    ("current_position", ""),
    ("active_position", ""),
    ("trapline:breaker", ""),
    ("trapline:BTCUSDT:market_regime", ""),
    ("current_market_regime", ""),
    ("dashboard:trap_analysis", ""),
    ("trader:metrics:scalper", ""),
    ("trap_probability_history", ""),
    ("trapline:health", ""),
    ("trapline:BTCUSDT:market_state", "symbol"),
    ("market_state", ""),
    ("last_btc_price", ""),
    ("last_btc_volume", ""),
];

fn price(daemon: &Daemon, symbol: usize, seq: u64) {
    daemon.market(MarketPicture {
        symbol: SymbolId(symbol as u16),
        previous_price: Some(Decimal::from(59_000)),
        last_size: Some(Decimal::ONE),
        ..picture(seq)
    });
}

fn fill_all(daemon: &Daemon) {
    (0..SYMBOLS).for_each(|symbol| price(daemon, symbol, 1));
    HoldSide::BOTH.into_iter().for_each(|side| daemon.flat(side, 1));
    let text = |name: &str, value| TextState::new(name, value).expect("a key of the table");
    let mut shelf = daemon.desk.shelf();
    shelf.breaker(BreakerPicture {
        state: "closed",
        reason: String::new(),
        symbol: None,
        value: None,
        limit: None,
        since_ms: 1,
        opened_total: 0,
    });
    shelf.regime(BTC, "volatile");
    shelf.health(HealthPicture { ready: true, fields: Vec::new() });
    // Several, since what is remembered of each is a number made of it.
    for (i, name) in ["", ":data", ":performance"].iter().enumerate() {
        let name = format!("dashboard:trap_analysis{name}");
        shelf.text(text(&name, TextValue::Whole(format!("{{\"n\":{i}}}"))));
    }
    for name in ["latest_mm_trap", "current_trap_probability", "hf_trap_mode_active", "hf_trap_mode_multiplier"] {
        shelf.text(text(name, TextValue::Whole(name.to_owned())));
    }
    shelf.text(text("trader:metrics:scalper", TextValue::Fields(vec![("fills".to_owned(), "1".to_owned())])));
    shelf.text(text("trap_probability_history", TextValue::Items(vec!["{}".to_owned()])));
    drop(shelf);
    daemon.desk.wake();
}

#[test]
fn each_deleted_key_is_counted_once_however_it_is_found() {
    if skip() {
        return;
    }
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    // The audit alone; with the rewriting of quiet state beside it; with new prices all the time, conflated or not.
    for (case, refresh_ms, has_prices, conflate) in [
        ("audit", 60_000, false, true),
        ("refresh", 13, false, true),
        ("prices", 13, true, true),
        ("every price", 60_000, true, false),
    ] {
        let server = Server::start(&[]);
        let mut setup = Setup::at(&server.socket());
        setup.settings.audit_every = Duration::from_millis(60);
        setup.settings.refresh_every = Duration::from_millis(refresh_ms);
        setup.conflate = conflate;
        let names = (1..SYMBOLS).map(|n| &*Box::leak(format!("C{n}USDT").into_boxed_str()));
        setup.symbols = std::iter::once("BTCUSDT").chain(names).collect();
        let daemon = setup.start();
        fill_all(&daemon);
        let mut eyes = server.eyes();
        let stands = |eyes: &mut redis::Connection, (key, field): (&str, &str)| -> bool {
            let (command, args) = if field.is_empty() { ("EXISTS", vec![key]) } else { ("HEXISTS", vec![key, field]) };
            redis::cmd(command).arg(args).query(eyes).expect("an answer")
        };
        wait_for("all", || KEYS.iter().all(|key| stands(&mut eyes, *key)) && daemon.desk.shelf().is_settled());
        assert_eq!(daemon.count("audit_mismatch_total"), 0, "{case}: nobody has deleted anything");
        let done = AtomicBool::new(false);
        let mut deleted = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut seq = 1;
                while has_prices && !done.load(Relaxed) {
                    seq += 1;
                    price(&daemon, 0, seq);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            for round in 0..30 {
                // One that is written early, then at once one that is written late.
                for range in [0..6, 6..KEYS.len()] {
                    let key = KEYS[rng.random_range(range)];
                    let were: u64 = redis::cmd("DEL").arg(key.0).query(&mut eyes).expect("an answer");
                    assert_eq!(were, 1, "{case}, round {round}: {}", key.0);
                    deleted += 1;
                    let until = std::time::Instant::now() + Duration::from_secs(30);
                    // Without a pause: the next one goes while this one's repair is still being executed.
                    while !stands(&mut eyes, key) {
                        assert!(std::time::Instant::now() < until, "{case}, round {round}: {} comes back", key.0);
                    }
                }
            }
            done.store(true, Relaxed);
        });
        let count = || daemon.count("audit_mismatch_total");
        wait_for(&format!("{case}: {deleted} counted"), || count() >= deleted);
        // Nothing follows: two more looks at everything.
        let repairs = daemon.count("audit_repairs_total");
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(count(), deleted, "{case}, {repairs} repairs: each once");
    }
}
