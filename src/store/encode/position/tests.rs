use super::super::Settings;
use super::*;
use crate::domain::position::{HoldMode, MarginMode};
use crate::domain::report::Origin;
use crate::domain::symbol::{SymbolId, Symbols};
use crate::store::resp::as_words;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn layout(format: PositionFormat) -> Layout {
    Layout::new(Arc::new(Symbols::usdt(["BTCUSDT"])), Settings { position_format: format })
}

fn open(side: HoldSide, size: &str, update_time_ms: i64) -> PositionPicture {
    let position = Position {
        symbol: SymbolId(0),
        side,
        size: size.parse().unwrap(),
        available: Some(size.parse().unwrap()),
        entry_price: Decimal::new(64_000, 0),
        mark_price: Some(Decimal::new(64_320, 0)),
        unrealised_pnl: None,
        leverage: Decimal::TEN,
        margin_mode: MarginMode::Crossed,
        hold_mode: HoldMode::Hedge,
        margin: None,
        liquidation_price: None,
        break_even_price: None,
        total_fee: None,
        update_time_ms,
    };
    picture(side, Holding::Open(position), update_time_ms, 1_723_075_260_000)
}

fn picture(side: HoldSide, holding: Holding, update_time_ms: i64, verified_ms: i64) -> PositionPicture {
    PositionPicture { symbol: SymbolId(0), side, holding, update_time_ms, verified_ms, source: Origin::Socket, seq: 4 }
}

fn fresh(picture: &PositionPicture) -> Option<Side<'_>> {
    Some(Side { picture, stale: None })
}

fn fields(words: &[String]) -> BTreeMap<&str, &str> {
    words[2..].chunks(2).map(|c| (c[0].as_str(), c[1].as_str())).collect()
}

fn promised(key: &str) -> BTreeSet<&'static str> {
    crate::store::keys::row_of(key).unwrap().fields_of().iter().map(|f| f.name).collect()
}

fn names(json: &str) -> BTreeSet<String> {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json).unwrap().keys().cloned().collect()
}

fn run(format: PositionFormat, long: Option<Side<'_>>, short: Option<Side<'_>>) -> Vec<Vec<String>> {
    let mut out = Commands::new();
    current(&mut out, &layout(format), long, short);
    as_words(out.bytes())
}

#[test]
fn an_open_position_as_the_seed_and_as_old_dashboards_read_it() {
    let long = open(HoldSide::Long, "0.01", 1_723_075_200_000);
    let commands = run(PositionFormat::Hash, fresh(&long), None);
    let hash = fields(&commands[0]);
    for (name, value) in [
        ("symbol", "BTCUSDT_UMCBL"),
        ("side", "long"),
        ("size", "0.01"),
        ("entryPrice", "64000"),
        ("markPrice", "64320"),
        ("unrealizedPnL", "3.20"),
        ("pnl_percent", "5.00"),
        ("leverage", "10"),
        ("marginMode", "crossed"),
        ("updateTime", "1723075200000"),
        ("timestamp", "1723075260000"),
        ("has_position", "1"),
        ("hedge", "0"),
        ("stale", "0"),
    ] {
        assert_eq!(hash[name], value, "field {name}");
    }
    assert_eq!(hash.keys().copied().collect::<BTreeSet<_>>(), promised("current_position"));
    assert_eq!(&commands[1][..2], ["SET", "active_position"]);
    assert_eq!(
        commands[1][2],
        r#"{"has_position":true,"symbol":"BTCUSDT_UMCBL","position_side":"long","direction":"LONG","entry_price":64000,"current_price":64320,"position_size":0.01,"size":0.01,"leverage":10,"pnl_percent":5.00,"pnl_usd":3.20,"pnl":3.20,"stop_loss":null,"take_profit":null,"take_profit_target":null,"take_profits":[],"entry_time":null,"update_time":1723075200000,"timestamp":"2024-08-08T00:01:00.000+00:00","ts_ms":1723075260000,"source":"bitget-ws","stale":0,"stale_reason":"","stale_since":0}"#
    );
    assert_eq!(names(&commands[1][2]), promised("active_position").iter().map(|s| (*s).to_owned()).collect());
}

#[test]
fn the_old_format_moves_the_hash_aside() {
    let short = open(HoldSide::Short, "0.01", 5);
    let commands = run(PositionFormat::LegacyJson, None, fresh(&short));
    assert_eq!(commands[0][1], "current_position:hash");
    assert_eq!(
        (&commands[1][..2], &commands[1][3..]),
        (&["SET".to_owned(), "current_position".to_owned()][..], &["EX", "3600", "GET"].map(str::to_owned)[..])
    );
    assert_eq!(commands[1][2], commands[2][2]);
    let hash = fields(&commands[0]);
    assert_eq!((hash["side"], hash["unrealizedPnL"], hash["pnl_percent"]), ("short", "-3.20", "-5.00"));
}

#[test]
fn flat_is_said_only_when_both_sides_are_known_to_be_flat() {
    let flat_long = picture(HoldSide::Long, Holding::Flat, 10, 200);
    let flat_short = picture(HoldSide::Short, Holding::Flat, 11, 100);
    assert!(run(PositionFormat::Hash, fresh(&flat_long), None).is_empty(), "one side is not the account");
    assert!(run(PositionFormat::Hash, None, None).is_empty());
    let commands = run(PositionFormat::Hash, fresh(&flat_long), fresh(&flat_short));
    let hash = fields(&commands[0]);
    for (name, value) in
        [("side", "none"), ("size", "0"), ("has_position", "0"), ("timestamp", "100"), ("markPrice", "")]
    {
        assert_eq!(hash[name], value, "field {name}");
    }
    assert!(
        commands[1][2]
            .starts_with(r#"{"has_position":false,"symbol":"BTCUSDT_UMCBL","position_side":"none","direction":"NONE""#)
    );
    let stale = Some(Side { picture: &flat_long, stale: Some(StaleMark { since_ms: 3, reason: "no_answer" }) });
    assert_eq!(
        fields(&run(PositionFormat::Hash, stale, fresh(&flat_short))[0])["stale"],
        "1",
        "either side's doubt counts"
    );
}

#[test]
fn in_hedge_mode_the_largest_notional_is_current() {
    let cases = [
        ("long larger", "0.02", 1, "0.01", 2, "long"),
        ("short larger", "0.01", 9, "0.02", 1, "short"),
        ("tie, short changed last", "0.01", 1, "0.01", 2, "short"),
        ("tie, long changed last", "0.01", 3, "0.01", 2, "long"),
        ("tie in all", "0.01", 2, "0.01", 2, "long"),
    ];
    for (name, long_size, long_time, short_size, short_time, expected) in cases {
        let (long, short) = (open(HoldSide::Long, long_size, long_time), open(HoldSide::Short, short_size, short_time));
        let commands = run(PositionFormat::Hash, fresh(&long), fresh(&short));
        let hash = fields(&commands[0]);
        assert_eq!((hash["side"], hash["hedge"]), (expected, "1"), "case: {name}");
    }
}

#[test]
fn the_expiry_belongs_to_the_hash() {
    for (format, key) in
        [(PositionFormat::Hash, "current_position"), (PositionFormat::LegacyJson, "current_position:hash")]
    {
        let mut out = Commands::new();
        current_expiry(&mut out, &layout(format));
        assert_eq!(as_words(out.bytes())[0].join(" "), format!("EXPIRE {key} 3600"));
    }
}

#[test]
fn each_side_has_a_hash_and_an_old_json() {
    let short = open(HoldSide::Short, "0.5", 5);
    let mut out = Commands::new();
    let layout = layout(PositionFormat::Hash);
    let stale = Some(StaleMark { since_ms: 77, reason: "stopped" });
    position_side(&mut out, &layout, Side { picture: &short, stale });
    side_json(&mut out, &layout, Side { picture: &short, stale });
    let commands = as_words(out.bytes());
    assert_eq!(commands[0][1], "trapline:BTCUSDT:position:short");
    let hash = fields(&commands[0]);
    assert_eq!(hash.keys().copied().collect::<BTreeSet<_>>(), promised("trapline:BTCUSDT:position:short"));
    assert_eq!((hash["stale"], hash["stale_reason"], hash["stale_since"]), ("1", "stopped", "77"));
    assert_eq!(commands[1][1], "short_trader_position");
    assert_eq!(
        commands[1][2],
        r#"{"id":"BTCUSDT-short","symbol":"BTC/USDT:USDT","direction":"SHORT","has_position":true,"status":"OPEN","entry_price":64000,"entry_time":null,"current_price":64320,"size":0.5,"leverage":10,"unrealized_pnl":-160.0,"pnl_percent":-5.00,"take_profits":[],"stop_loss":null,"timestamp":"2024-08-08T00:01:00.000+00:00","ts_ms":1723075260000,"stale":1,"stale_reason":"stopped","stale_since":77}"#
    );
    assert_eq!(names(&commands[1][2]), promised("short_trader_position").iter().map(|s| (*s).to_owned()).collect());
    out.clear();
    let flat = picture(HoldSide::Long, Holding::Flat, 1, 2);
    side_json(&mut out, &layout, Side { picture: &flat, stale: None });
    let json = &as_words(out.bytes())[0][2];
    assert!(json.contains(r#""has_position":false,"status":"FLAT""#) && json.contains(r#""size":0,"#), "{json}");
}
