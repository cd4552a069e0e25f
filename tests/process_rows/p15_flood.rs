//! P15: more comes in than is taken out. Every mailbox keeps its bound, memory too; orders of control pass the full
//! lanes; and when it is over everything that waited is handled, in order, with nothing lost.

use crate::common::{Trading, assert_each_fill_once, disturbed, goes_on, ms, order_room, proc_kib, rooms, with};
use crate::support::figures::Figures;
use crate::support::{Exchange, World, wait_for};
use std::time::{Duration, Instant};
use trapline::venue::{Firehose, ScriptChoice, VenueConfig};

#[test]
fn p15_a_flood_fills_mailboxes_to_their_bound_and_no_further() {
    let folder = tempfile::tempdir().expect("folder");
    let truth = folder.path().join("truth.jsonl");
    let venue = VenueConfig {
        script: ScriptChoice::Idle,
        truth: Some(truth.clone()),
        firehose: Some(Firehose { rate: Some(5_000.0), frames: None }),
        ..Exchange::config()
    };
    let options = with(
        vec![],
        &[("rates", "trades_per_minute = 1000000\nmarket_data_per_minute = 100000000"), ("", "allow_drills = true")],
    );
    let mut world = World::start(venue, &options);
    goes_on(&world, "BTCUSDT");
    let mut trading = Trading::start(&world.exchange, truth, Duration::from_millis(10));
    let before = rooms(&world.daemon);
    let resident = proc_kib(&world.daemon, "VmRSS");
    // Nobody takes anything out at the end: it fills up, room by room, back to the socket.
    order_room(&world.daemon, "suspend", "redis_writer");
    let begun = Instant::now();
    wait_for("the flood reaches the first room", || {
        let now = rooms(&world.daemon);
        let full = ["redis_writer", "circuit_breaker", "validator"].iter().all(|room| now[*room].depth > 0);
        if full { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let filled = begun.elapsed();
    let (mut deepest, mut most) = (0, resident);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for (name, room) in rooms(&world.daemon) {
            assert!(room.depth <= room.capacity, "{name}: {} of {} wait", room.depth, room.capacity);
            deepest = deepest.max(room.depth);
        }
        most = most.max(proc_kib(&world.daemon, "VmRSS"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(most < 256 * 1_024, "{resident} KiB became {most}");
    // The lane of control passes all that waits, in the middle of the flood.
    let asked = Instant::now();
    for room in ["validator", "circuit_breaker"] {
        order_room(&world.daemon, "restart", room);
        wait_for("restarted", || {
            let now = rooms(&world.daemon)[room].clone();
            if now.epoch > before[room].epoch { Ok(()) } else { Err(format!("{now:?}")) }
        });
    }
    let passed = asked.elapsed();
    order_room(&world.daemon, "resume", "redis_writer");
    let resumed = Instant::now();
    goes_on(&world, "BTCUSDT");
    let back = resumed.elapsed();
    let fills = assert_each_fill_once(&world, &trading.end());
    let now = rooms(&world.daemon);
    assert_eq!(disturbed(&before, &now, &["validator", "circuit_breaker"]), Vec::<String>::new());
    for room in ["validator", "circuit_breaker", "redis_writer", "analyst", "ledger"] {
        assert_eq!(now[room].refused, 0, "{room}: nothing on the way of data is dropped");
    }
    // A mailbox that is closed turns senders away: nothing is lost in the order of the end.
    assert_eq!(world.daemon.stop(), 0);
    assert!(world.daemon.ask(&serde_json::json!({"do": "status"})).is_none(), "nobody answers for the dead");
    Figures {
        row: "P15",
        fault: "a flood while the last room takes nothing",
        injected: 1,
        detected: 1,
        survived: 1,
        detection_ms: vec![ms(filled)],
        recovery_ms: vec![ms(back)],
        events: fills,
        more: [
            ("deepest mailbox", deepest.into()),
            ("orders of control passed after ms", ms(passed).into()),
            ("resident KiB at most", most.into()),
        ]
        .into(),
        ..Figures::default()
    }
    .publish();
}
