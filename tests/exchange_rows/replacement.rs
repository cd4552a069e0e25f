//! Ends that are known before: the day that a connection lasts, and maintenance.

use crate::frames::{trades, trades_at_rest};
use crate::support::proxy::{Kind, SOCKETS};
use crate::support::{Exchange, wait_for};
use crate::way::{Row, Way, hasty, seconds, with};
use std::time::Instant;
use trapline::venue::{FaultName, FaultSpec, VenueConfig};

/// X11: an old connection is relieved by a fresh one before it is dropped: no gap, no trade lost, none taken twice.
#[test]
fn x11_an_old_connection_is_relieved_before_it_is_dropped() {
    let way = Way::ready(&with(&[("exchange", "planned_reconnect_ms = 2000"), ("freshness", "market_ms = 2000")]));
    let mut row = Row::begin_within(&way, "X11", "planned replacement with overlap", 2_000);
    let until = Instant::now() + seconds(5.0);
    let (first, mut both, mut fills) = (trades_at_rest(&way), 0, 0);
    let mut next_order = Instant::now();
    while Instant::now() < until || way.metric("trapline_ws_connects_total", "planned") < 4.0 {
        assert!(Instant::now() < until + crate::support::PATIENCE, "no replacement");
        let open = way.proxy.open(&[Kind::Public]);
        assert!(open > 0, "a moment without a connection");
        both += usize::from(open > 1);
        if Instant::now() >= next_order && fills < 8 {
            next_order += std::time::Duration::from_millis(600);
            way.order(fills);
            fills += 1;
        }
    }
    assert!(both > 0, "the old one was dropped first");
    way.world.exchange.venue.pause();
    let last = wait_for("every trade was taken once", || match trades(&way) {
        now if now.0 - first.0 == now.1 - first.1 => Ok(now),
        now => Err(format!("{first:?} {now:?}")),
    });
    way.world.exchange.venue.resume();
    row.figures.events = last.0 - first.0 + way.each_fill_once(fills);
    let planned = way.metric("trapline_ws_connects_total", "planned");
    row.figures.more.insert("replacements", planned.into());
    for reason in ["closed", "broken", "no_pong", "nothing_heard", "silent"] {
        assert_eq!(way.metric("trapline_ws_connects_total", reason), 0.0, "{reason}");
    }
    assert_eq!(way.metric("trapline_seq_gaps_total", ""), 0.0);
    for _ in 0..planned as usize {
        row.note(0.0, 0.0);
    }
    let log = way.world.daemon.log();
    assert!(!log.contains("feed lost") && !log.contains("no connection"), "nobody noticed");
    assert!(!row.end(&way).marked, "nothing was stale at any time");
}

/// X11: a successor that cannot be had costs nothing: the old connection goes on until the exchange ends it.
#[test]
fn x11_without_a_successor_the_old_connection_goes_on() {
    let way = Way::ready(&with(&[("exchange", "planned_reconnect_ms = 1500")]));
    let mut row = Row::begin(&way, "X11", "planned replacement while no new connection is to be had");
    way.world.exchange.control("fault?name=refuse_connect&ms=120000");
    way.wait_log(&["no successor"]);
    way.fresh_again("on the old connection");
    // The day is over: now it is an end as any other.
    let begun = Instant::now();
    way.world.exchange.control("fault?name=refuse_connect&stop=1");
    way.world.exchange.fault("daily_disconnect", 0);
    row.note(0.0, way.fresh_again("the day is over").max(begun.elapsed().as_secs_f64() * 1_000.0));
    way.world.daemon.wait_ready();
    row.end(&way);
}

/// X11: the exchange's own disconnect each 24 hours, and a symbol in maintenance.
#[test]
fn x11_the_daily_disconnect_and_maintenance_are_told_and_no_more() {
    let maintained = FaultSpec::new(FaultName::SymbolMaintain, 600_000).with_value("ETHUSDT");
    let venue = VenueConfig { faults: vec![maintained], ..Exchange::config() };
    let way = Way::start(venue, &hasty());
    way.world.daemon.wait_ready();
    let line = way.wait_log(&["contract is not open for trading", "ETHUSDT"]);
    assert!(line.contains("status="), "{line}");
    way.world.exchange.control("fault?name=symbol_maintain&stop=1");
    way.world.daemon.wait_ready();
    let mut row = Row::begin(&way, "X11", "disconnect after 24 hours, maintenance");
    for n in 0..3 {
        let connections = way.proxy.connections(SOCKETS);
        let begun = Instant::now();
        way.world.exchange.fault("daily_disconnect", 0);
        way.order(n);
        way.wait_connections(SOCKETS, connections + 1);
        let detected_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        way.fresh_again("daily disconnect");
        row.note(detected_ms, begun.elapsed().as_secs_f64() * 1_000.0);
        way.world.daemon.wait_ready();
    }
    row.figures.events = way.each_fill_once(3);
    row.end(&way);
}
