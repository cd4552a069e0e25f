use super::*;
use Effect::{Close, Net, Open};
use HoldSide::{Long, Short};
use OrderSide::{Buy, Sell};

/// What a table row expects of one side: side, size, entry, realised, open fee, close fee.
type Held = (HoldSide, &'static str, &'static str, &'static str, &'static str, &'static str);
/// One trade: side, effect, size, price.
type Trade = (OrderSide, Effect, &'static str, &'static str);

struct Case {
    name: &'static str,
    mode: HoldMode,
    trades: &'static [Trade],
    held: &'static [Held],
    balance: &'static str,
}

/// What the door is told: name, side, size, entry; then size and entry as they should be.
type DoorStep = (&'static str, HoldSide, &'static str, Option<&'static str>, Option<(&'static str, &'static str)>);

/// Fee 0.0006 of the notional, start 10 000, leverage 20.
const CASES: &[Case] = &[
    Case {
        name: "a buy opens a long and pays the fee",
        mode: HoldMode::OneWay,
        trades: &[(Buy, Net, "0.1", "50000")],
        held: &[(Long, "0.1", "50000", "0", "3", "0")],
        balance: "9997",
    },
    Case {
        name: "an add averages the entry",
        mode: HoldMode::OneWay,
        trades: &[(Buy, Net, "0.1", "50000"), (Buy, Net, "0.3", "54000")],
        held: &[(Long, "0.4", "53000", "0", "12.72", "0")],
        balance: "9987.28",
    },
    Case {
        name: "a reduce keeps the entry and realises its part",
        mode: HoldMode::OneWay,
        trades: &[(Buy, Net, "0.4", "50000"), (Sell, Net, "0.1", "51000")],
        held: &[(Long, "0.3", "50000", "100", "12", "3.06")],
        balance: "10084.94",
    },
    Case {
        name: "a short earns when the price falls",
        mode: HoldMode::OneWay,
        trades: &[(Sell, Net, "2", "3000"), (Buy, Net, "0.5", "2900")],
        held: &[(Short, "1.5", "3000", "50", "3.6", "0.87")],
        balance: "10045.53",
    },
    Case {
        name: "closing the last lot leaves nothing",
        mode: HoldMode::OneWay,
        trades: &[(Buy, Net, "1", "100"), (Sell, Close, "1", "90")],
        held: &[],
        balance: "9989.886",
    },
    Case {
        name: "a close order never turns the position",
        mode: HoldMode::OneWay,
        trades: &[(Buy, Net, "1", "100"), (Sell, Close, "5", "110")],
        held: &[],
        balance: "10009.874",
    },
    Case {
        name: "a flip closes first and opens the rest at the new price",
        mode: HoldMode::OneWay,
        trades: &[(Buy, Net, "1", "100"), (Sell, Net, "3", "110")],
        held: &[(Short, "2", "110", "0", "0.132", "0")],
        balance: "10009.742",
    },
    Case {
        name: "a thirds average keeps exact books",
        mode: HoldMode::OneWay,
        trades: &[(Buy, Net, "1", "100"), (Buy, Net, "2", "101"), (Sell, Close, "1", "100"), (Sell, Close, "2", "100")],
        held: &[],
        balance: "9997.6388",
    },
    Case {
        name: "hedge mode holds both sides at once",
        mode: HoldMode::Hedge,
        trades: &[(Buy, Open, "1", "100"), (Sell, Open, "2", "105"), (Sell, Close, "0.5", "110")],
        held: &[(Long, "0.5", "100", "5", "0.06", "0.033"), (Short, "2", "105", "0", "0.126", "0")],
        balance: "10004.781",
    },
    Case {
        name: "a hedged short is closed by a buy",
        mode: HoldMode::Hedge,
        trades: &[(Sell, Open, "2", "105"), (Buy, Close, "2", "100")],
        held: &[],
        balance: "10009.754",
    },
];

#[test]
fn trades_lead_to_exactly_these_books() {
    for case in CASES {
        for fills_per_order in [1, 3] {
            let config = AccountConfig { hold_mode: case.mode, fills_per_order, ..AccountConfig::default() };
            let mut account = Account::new(config);
            for (side, effect, size, price) in case.trades {
                let done = account.execute(order("X", *side, *effect, size), dec(price), NOW);
                done.unwrap_or_else(|refused| panic!("{}: {refused}", case.name));
            }
            let name = format!("{}, {fills_per_order} fills", case.name);
            let rows = account.positions();
            assert_eq!(rows.len(), case.held.len(), "{name}");
            for (row, (side, size, entry, realised, open_fee, close_fee)) in rows.iter().zip(case.held) {
                let is = (row.side, row.size, row.entry_price, row.realised, row.open_fee, row.close_fee);
                let wanted = (*side, dec(size), dec(entry), dec(realised), dec(open_fee), dec(close_fee));
                assert_eq!(is, wanted, "{name}");
            }
            assert_eq!(account.balance(), dec(case.balance), "{name}");
        }
    }
}

#[test]
fn an_order_tells_its_life_in_order() {
    let mut account = Account::new(AccountConfig { fills_per_order: 3, ..AccountConfig::default() });
    let happened = account.execute(order("X", Buy, Net, "0.007"), dec("100"), NOW).unwrap();
    let statuses: Vec<_> = happened.orders.iter().map(|o| o.status).collect();
    let partly = OrderStatus::PartiallyFilled;
    assert_eq!(statuses, [OrderStatus::Live, partly, partly, OrderStatus::Filled]);
    let sizes: Vec<_> = happened.fills.iter().map(|f| f.size).collect();
    assert_eq!(sizes, [dec("0.002"), dec("0.002"), dec("0.003")], "whole steps of the order's own precision");
    assert_eq!(happened.positions.len(), 1, "one row for the whole order");
    assert!(happened.account.is_some());
    assert!(happened.history.is_empty());
    assert_eq!(account.waiting_orders().count(), 0);
    assert_eq!(account.finished_orders().count(), 1);
}

#[test]
fn a_flip_ends_the_old_side_before_it_opens_the_new_one() {
    let mut account = account(HoldMode::OneWay);
    account.execute(order("X", Buy, Net, "1"), dec("100"), NOW).unwrap();
    let happened = account.execute(order("X", Sell, Net, "3"), dec("110"), NOW + 5).unwrap();
    let effects: Vec<_> = happened.fills.iter().map(|f| (f.effect, f.hold_side, f.size, f.profit)).collect();
    assert_eq!(effects, [(Close, Long, dec("1"), dec("10")), (Open, Short, dec("2"), dec("0"))]);
    let rows: Vec<_> = happened.positions.iter().map(|p| (p.side, p.size)).collect();
    assert_eq!(rows, [(Long, dec("0")), (Short, dec("2"))]);
    let closed = &happened.history[0];
    assert_eq!((closed.open_price, closed.close_price), (dec("100"), dec("110")));
    assert_eq!(closed.net(), dec("9.874"));
}

#[test]
fn ids_and_creation_time_of_a_position_are_reused() {
    let mut account = account(HoldMode::OneWay);
    let first = account.execute(order("X", Buy, Net, "1"), dec("100"), NOW).unwrap().positions[0].clone();
    account.execute(order("X", Sell, Close, "1"), dec("100"), NOW + 1_000).unwrap();
    let later = account.execute(order("X", Sell, Net, "1"), dec("100"), NOW + 90_000).unwrap().positions[0].clone();
    assert_eq!(later.side, Short);
    assert_eq!((later.position_id, later.created_ms), (first.position_id, NOW), "one-way: one id for both sides");
    assert_eq!(later.updated_ms, NOW + 90_000);
    let other = account.execute(order("Y", Buy, Net, "1"), dec("100"), NOW).unwrap().positions[0].clone();
    assert_ne!(other.position_id, first.position_id);
}

#[test]
fn ids_have_19_digits_and_grow() {
    let mut account = account(HoldMode::OneWay);
    let mut last = 0;
    for turn in 0..200 {
        let side = if turn % 3 == 0 { Sell } else { Buy };
        let happened = account.execute(order("X", side, Net, "0.1"), dec("100"), NOW).unwrap();
        for fill in &happened.fills {
            assert!(fill.order_id > last && fill.trade_id > fill.order_id);
            assert_eq!((fill.trade_id.to_string().len(), fill.trade_id % 2), (19, 0));
            last = fill.trade_id;
        }
    }
}

#[test]
fn refusals_say_why_and_change_nothing() {
    let fits = |account: &mut Account| account.execute(order("X", Buy, Net, "1"), dec("100"), NOW).map(|_| ());
    let mut one_way = account(HoldMode::OneWay);
    fits(&mut one_way).unwrap();
    let before = format!("{:?} {:?}", one_way.positions(), one_way.account_row());
    let hedge_side = |hold_side| MarketOrder { hold_side: Some(hold_side), ..order("X", Buy, Open, "1") };
    let cases: Vec<(&str, MarketOrder, &str, OrderRefused)> = vec![
        ("no size", order("X", Buy, Net, "0"), "100", OrderRefused::Size(dec("0"))),
        ("negative size", order("X", Buy, Net, "-1"), "100", OrderRefused::Size(dec("-1"))),
        ("11 decimals", order("X", Buy, Net, "0.00000000001"), "100", OrderRefused::Size(dec("0.00000000001"))),
        ("no price", order("X", Buy, Net, "1"), "0", OrderRefused::Price(dec("0"))),
        ("too much", order("X", Buy, Net, "1000000000000"), "2", OrderRefused::Notional(dec("2000000000000"))),
        ("open in one-way", order("X", Buy, Open, "1"), "100", OrderRefused::Mode("open")),
        ("one-way with a side", hedge_side(Long), "100", OrderRefused::Mode("open")),
        (
            "nothing there",
            order("Y", Sell, Close, "1"),
            "100",
            OrderRefused::NothingToClose { symbol: "Y".into(), side: "long" },
        ),
        (
            "wrong direction",
            order("X", Buy, Close, "1"),
            "100",
            OrderRefused::NothingToClose { symbol: "X".into(), side: "short" },
        ),
    ];
    for (name, order, price, wanted) in cases {
        assert_eq!(one_way.execute(order, dec(price), NOW).unwrap_err(), wanted, "{name}");
    }
    assert_eq!(one_way.set_hold_mode(HoldMode::Hedge), Err(OrderRefused::NotFlat));
    assert_eq!(one_way.set_leverage(dec("5")), Err(OrderRefused::NotFlat));
    assert_eq!(before, format!("{:?} {:?}", one_way.positions(), one_way.account_row()));

    let mut hedge = account(HoldMode::Hedge);
    let wrong = MarketOrder { hold_side: Some(Short), ..order("X", Buy, Open, "1") };
    assert_eq!(hedge.execute(wrong, dec("100"), NOW), Err(OrderRefused::Sides));
    assert_eq!(hedge.execute(order("X", Buy, Net, "1"), dec("100"), NOW), Err(OrderRefused::Mode("net")));
}

#[test]
fn margin_is_asked_for_to_the_last_cent() {
    // 10 000 / (1/20 + 0.0006) of notional at price 1 is 197 628.45849802…
    let cases = [("197628.4584", true), ("197628.4585", false)];
    for (size, fits) in cases {
        let done = account(HoldMode::OneWay).execute(order("X", Buy, Net, size), dec("1"), NOW);
        assert_eq!(done.is_ok(), fits, "{size}: {done:?}");
    }
    let mut account = account(HoldMode::OneWay);
    account.execute(order("X", Buy, Net, "190000"), dec("1"), NOW).unwrap();
    let flip = account.execute(order("X", Sell, Net, "370000"), dec("1"), NOW);
    assert!(flip.is_ok(), "a flip may use the margin that its closing half sets free: {flip:?}");
}

#[test]
fn liquidation_prices_follow_the_written_formula() {
    let config = |margin_mode| AccountConfig {
        margin_mode,
        leverage: dec("10"),
        taker_fee: dec("0.0006"),
        maintenance_rate: dec("0.0044"),
        balance: dec("1000"),
        ..AccountConfig::default()
    };
    // burden 0.005; cost 1000, margin 100, fee 0.6
    let cases = [
        ("isolated long", MarginMode::Isolated, Buy, "10", "90.452261306533"),
        ("isolated short", MarginMode::Isolated, Sell, "10", "109.452736318408"),
        ("crossed long: (1000 - 999.4) / 9.95", MarginMode::Crossed, Buy, "10", "0.060301507538"),
        ("crossed short: (1000 + 999.4) / 10.05", MarginMode::Crossed, Sell, "10", "198.945273631841"),
        ("a small crossed long has none: (100 - 999.94) / 0.995", MarginMode::Crossed, Buy, "1", "-904.462311557789"),
    ];
    for (name, mode, side, size, wanted) in cases {
        let mut account = Account::new(config(mode));
        account.execute(order("X", side, Net, size), dec("100"), NOW).unwrap();
        account.mark("X", dec("100"));
        assert_eq!(account.positions()[0].liquidation_price, dec(wanted), "{name}");
    }
}

#[test]
fn marks_move_unrealised_and_nothing_else() {
    let mut account = account(HoldMode::Hedge);
    account.execute(order("X", Buy, Open, "2"), dec("100"), NOW).unwrap();
    account.execute(order("X", Sell, Open, "1"), dec("100"), NOW).unwrap();
    let balance = account.balance();
    account.mark("X", dec("110"));
    let pnl: Vec<_> = account.positions().iter().map(|p| p.unrealised_pnl).collect();
    assert_eq!(pnl, [dec("20"), dec("-10")]);
    assert_eq!(account.account_row().equity, balance + dec("10"));
    assert_eq!(account.balance(), balance);
    for silly in ["0", "-5", "10000000000000"] {
        account.mark("X", dec(silly));
        assert_eq!(account.mark_price("X"), Some(dec("110")), "{silly} is no price");
    }
}

#[test]
fn funding_goes_from_longs_to_shorts() {
    let mut account = account(HoldMode::Hedge);
    account.execute(order("X", Buy, Open, "2"), dec("100"), NOW).unwrap();
    account.execute(order("X", Sell, Open, "1"), dec("100"), NOW).unwrap();
    account.mark("X", dec("150"));
    let happened = account.funding("X", dec("0.0001"), NOW + 1);
    let received: Vec<_> = happened.positions.iter().map(|p| (p.side, p.funding)).collect();
    assert_eq!(received, [(Long, Some(dec("-0.03"))), (Short, Some(dec("0.015")))]);
    assert_eq!(account.funding_received(), dec("-0.015"));
    assert!(account.funding("Y", dec("0.0001"), NOW).is_empty());
    assert!(account.funding("X", dec("1.1"), NOW).is_empty(), "a rate above 100 % is a mistake");
}

#[test]
fn a_waiting_close_order_freezes_and_a_cancel_frees() {
    let mut account = account(HoldMode::OneWay);
    account.execute(order("X", Buy, Net, "6"), dec("100"), NOW).unwrap();
    let placed = account.place(order("X", Sell, Close, "4"), dec("100"), NOW + 500).unwrap();
    let row = &placed.positions[0];
    assert_eq!((row.size, row.frozen, row.available()), (dec("6"), dec("4"), dec("2")));
    assert_eq!(row.updated_ms, NOW, "placing an order does not touch the row's time");
    assert_eq!(account.waiting_orders().count(), 1);
    let id = placed.orders[0].order_id;
    let again = account.place(order("X", Sell, Close, "9"), dec("100"), NOW).unwrap();
    assert_eq!(again.orders[0].size, dec("2"), "only what is not frozen yet can be closed");
    let cancelled = account.cancel(id, NOW + 600).unwrap();
    assert_eq!(cancelled.orders[0].status, OrderStatus::Cancelled);
    assert_eq!(cancelled.positions[0].frozen, dec("2"));
    assert_eq!(account.cancel(id, NOW).unwrap_err(), OrderRefused::UnknownOrder(id));
}

#[test]
fn limit_orders_reserve_margin_and_pay_the_makers_fee() {
    let mut account = account(HoldMode::OneWay);
    let placed = account.place_limit(order("X", Buy, Net, "10"), dec("90"), NOW).unwrap();
    assert_eq!(placed.account.unwrap().frozen, dec("45"));
    let id = placed.orders[0].order_id;
    let part = account.fill(id, dec("90"), dec("4"), NOW + 1).unwrap();
    assert_eq!(part.orders[0].status, OrderStatus::PartiallyFilled);
    assert_eq!(part.account.unwrap().frozen, dec("27"));
    assert_eq!(account.set_hold_mode(HoldMode::Hedge), Err(OrderRefused::NotFlat));
    let rest = account.fill(id, dec("90"), dec("100"), NOW + 2).unwrap();
    assert_eq!(rest.fills[0].size, dec("6"), "never more than the order");
    assert_eq!(account.fees(), dec("0.18"));
}

#[test]
fn a_reduce_only_order_that_comes_too_late_is_cancelled() {
    let mut account = account(HoldMode::OneWay);
    account.execute(order("X", Buy, Net, "1"), dec("100"), NOW).unwrap();
    let placed = account.place(order("X", Sell, Close, "1"), dec("100"), NOW).unwrap();
    account.execute(order("X", Sell, Net, "1"), dec("100"), NOW).unwrap();
    let late = account.fill(placed.orders[0].order_id, dec("100"), dec("1"), NOW).unwrap();
    assert!(late.fills.is_empty());
    assert_eq!(late.orders[0].status, OrderStatus::Cancelled);
    assert!(account.is_flat());
}

#[test]
fn the_door_sets_a_position_to_what_it_says() {
    let mut account = account(HoldMode::OneWay);
    assert_eq!(
        account.set_position("X", Long, dec("1"), None, NOW).unwrap_err(),
        OrderRefused::NoPrice("X".to_owned())
    );
    account.mark("X", dec("100"));
    let steps: [DoorStep; 8] = [
        ("opens at the mark", Long, "2", None, Some(("2", "100"))),
        ("says nothing new", Long, "2", None, Some(("2", "100"))),
        ("reduces", Long, "1.5", None, Some(("1.5", "100"))),
        ("moves the entry", Long, "1.5", Some("90"), Some(("1.5", "90"))),
        ("adds at the same entry", Long, "3", Some("90"), Some(("3", "90"))),
        ("turns it", Short, "4", Some("120"), Some(("4", "120"))),
        ("closes", Short, "0", None, None),
        ("closes what is closed", Short, "0", None, None),
    ];
    for (name, side, size, entry, wanted) in steps {
        let happened = account.set_position("X", side, dec(size), entry.map(dec), NOW).unwrap();
        assert_eq!(happened.is_empty(), name.starts_with("says") || name.starts_with("closes what"), "{name}");
        let rows: Vec<_> = account.positions().iter().map(|p| (p.side, p.size, p.entry_price)).collect();
        let wanted: Vec<_> = wanted.map(|(size, entry)| (side, dec(size), dec(entry))).into_iter().collect();
        assert_eq!(rows, wanted, "{name}");
    }
    assert_eq!(account.balance(), dec("10000") + account.realised() - account.fees());
    account.set_position("X", Long, dec("1000000"), None, NOW).unwrap();
    assert_eq!(account.account_row().available, dec("0"), "the door needs no margin, and says what is left");
}
