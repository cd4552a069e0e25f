use super::*;
use crate::venue::account::script::{Amount, Instruction, Script};

#[test]
fn both_spellings_give_the_same_script() {
    let lines = r#"
        # comment
        {"repeat_every_ms": 30000}
        {"at_ms": 0, "do": "leverage", "leverage": 10}
        {"at_ms": 0, "do": "buy", "symbol": "BTCUSDT", "size": "0.01", "note": "in"}
        {"at_ms": 1500, "do": "open", "symbol": "ETHUSDT", "side": "short", "value": 250.5, "only_in": "hedge"}

        {"at_ms": 1500, "do": "flip", "symbol": "BTCUSDT"}
        {"at_ms": 2000, "do": "set", "symbol": "BTCUSDT", "side": "long", "size": 0, "entry": 1e2}
        {"at_ms": 2500, "do": "funding", "symbol": "BTCUSDT", "rate": -0.0001}
        {"at_ms": 3000, "do": "close", "symbol": "ETHUSDT", "side": "short"}
        {"at_ms": 4000, "do": "hold_mode", "mode": "hedge"}
        {"at_ms": 4000, "do": "margin_mode", "mode": "isolated"}
    "#;
    let toml = r#"
        repeat_every_ms = 30000
        step = [
          { at_ms = 0, do = "leverage", leverage = 10 },
          { at_ms = 0, do = "buy", symbol = "BTCUSDT", size = 0.01 },
          { at_ms = 1500, do = "open", symbol = "ETHUSDT", side = "short", value = "250.5", only_in = "hedge" },
          { at_ms = 1500, do = "flip", symbol = "BTCUSDT" },
          { at_ms = 2000, do = "set", symbol = "BTCUSDT", side = "long", size = 0, entry = 100 },
          { at_ms = 2500, do = "funding", symbol = "BTCUSDT", rate = -0.0001 },
          { at_ms = 3000, do = "close", symbol = "ETHUSDT", side = "short" },
          { at_ms = 4000, do = "hold_mode", mode = "hedge" },
          { at_ms = 4000, do = "margin_mode", mode = "isolated" },
        ]
    "#;
    let script = Script::from_json_lines(lines).unwrap();
    assert_eq!(script, Script::from_toml(toml).unwrap());
    assert_eq!((script.steps().len(), script.repeat_every_ms()), (9, Some(30_000)));
    let close = Instruction::Close { symbol: "ETHUSDT".to_owned(), side: HoldSide::Short, amount: Amount::All };
    assert_eq!(script.steps()[6].instruction, close);
}

#[test]
fn errors_name_the_step_and_the_field() {
    let cases = [
        ("no step", "", "file: has no step"),
        ("no JSON", "{\"at_ms\": 1", "line 1: not a JSON object"),
        ("no object", "[1]", "line 1: a step must be an object"),
        ("no time", r#"{"do": "flip", "symbol": "X"}"#, "line 1: field `at_ms` is missing"),
        ("time as text", r#"{"at_ms": "1", "do": "flip"}"#, "line 1: field `at_ms` must be a whole number"),
        ("negative time", r#"{"at_ms": -1, "do": "flip"}"#, "line 1: field `at_ms` must be a whole number"),
        ("no deed", r#"{"at_ms": 1}"#, "line 1: field `do` is missing"),
        ("unknown deed", r#"{"at_ms": 1, "do": "hodl"}"#, "line 1: field `do` must be buy"),
        ("unknown field", r#"{"at_ms": 1, "do": "flip", "symbl": "X"}"#, "line 1: field `symbl` is unknown"),
        ("idle field", r#"{"at_ms": 1, "do": "flip", "symbol": "X", "side": "long"}"#, "line 1: field `side` has no"),
        ("no size", r#"{"at_ms": 1, "do": "buy", "symbol": "X"}"#, "line 1: field `size` (base coin)"),
        ("size zero", r#"{"at_ms": 1, "do": "buy", "symbol": "X", "size": 0}"#, "line 1: field `size` must be above"),
        (
            "size of letters",
            r#"{"at_ms": 1, "do": "buy", "symbol": "X", "size": "x"}"#,
            "line 1: field `size` must be a",
        ),
        (
            "both sizes",
            r#"{"at_ms": 1, "do": "buy", "symbol": "X", "size": 1, "value": 1}"#,
            "line 1: field `value` and",
        ),
        ("no side", r#"{"at_ms": 1, "do": "close", "symbol": "X", "side": "up"}"#, "line 1: field `side` must be long"),
        (
            "a rate in percent",
            r#"{"at_ms": 1, "do": "funding", "symbol": "X", "rate": 5}"#,
            "line 1: field `rate` must",
        ),
        ("mode", r#"{"at_ms": 1, "do": "hold_mode", "mode": "both"}"#, "line 1: field `mode` must be one_way"),
        (
            "back in time",
            "{\"at_ms\":5,\"do\":\"flip\",\"symbol\":\"X\"}\n\n{\"at_ms\":4,\"do\":\"flip\",\"symbol\":\"X\"}",
            "line 3: field `at_ms` is earlier",
        ),
        (
            "too late",
            "{\"repeat_every_ms\":5}\n{\"at_ms\":5,\"do\":\"flip\",\"symbol\":\"X\"}",
            "line 2: field `at_ms` is not before",
        ),
        ("no round", "{\"repeat_every_ms\":0}", "line 1: field `repeat_every_ms` must be a whole"),
    ];
    for (name, text, wanted) in cases {
        let error = Script::from_json_lines(text).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{name}: {error}");
    }
    let toml = [
        ("no TOML", "step = [", "file: not TOML"),
        ("unknown head", "steps = 1", "file: field `steps` is unknown"),
        ("no list", "step = 1", "file: field `step` must be a list"),
        (
            "second step",
            "[[step]]\nat_ms=1\ndo='flip'\nsymbol='X'\n[[step]]\nat_ms=1\ndo='flip'",
            "step 2: field `symbol` is missing",
        ),
    ];
    for (name, text, wanted) in toml {
        let error = Script::from_toml(text).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{name}: {error}");
    }
}

#[test]
fn steps_fall_due_once_in_order_and_again_each_round() {
    let line = |at: i64| format!("{{\"at_ms\":{at},\"do\":\"flip\",\"symbol\":\"X\"}}\n");
    let once = line(0) + &line(10);
    let mut script = Script::from_json_lines(&once).unwrap();
    let times = |steps: Vec<script::Step>| steps.iter().map(|s| s.at_ms).collect::<Vec<_>>();
    assert_eq!(times(script.due(9)), [0]);
    assert!(!script.is_over());
    assert_eq!(times(script.due(10)), [10]);
    assert_eq!(times(script.due(1_000_000)), [0; 0]);
    assert!(script.is_over());
    let mut round = Script::from_json_lines(&("{\"repeat_every_ms\":100}\n".to_owned() + &once)).unwrap();
    assert_eq!(times(round.due(215)), [0, 10, 100, 110, 200, 210]);
    assert_eq!(round.due(10_000_000).len(), Script::MAX_DUE, "a long sleep is caught up with in portions");
    assert!(!round.is_over());
}

#[test]
fn the_tour_goes_through_everything_and_comes_home_flat() {
    let symbols: Vec<String> = ["BTCUSDT", "ETHUSDT", "SOLUSDT"].map(str::to_owned).to_vec();
    let mut script = Script::default_tour(&symbols);
    let mut account = account(HoldMode::OneWay);
    let (mut hedged, mut flips, mut ended, mut adds) = (false, 0, 0, 0);
    for now_ms in (0..60_000).step_by(50) {
        for step in script.due(now_ms) {
            let price = Some(dec("86000.5") + Decimal::from(now_ms % 700));
            let happened = account.follow(&step, price, dec("0.0001"), NOW + now_ms);
            let happened = happened.unwrap_or_else(|refused| panic!("{step:?}: {refused}"));
            let rows = account.positions();
            hedged |= rows.windows(2).any(|pair| pair[0].symbol == pair[1].symbol);
            flips += usize::from(happened.positions.len() == 2);
            ended += happened.history.len();
            adds += usize::from(happened.positions.iter().any(|p| p.size > dec("0.0116")));
        }
    }
    assert!(hedged && adds > 0, "both sides at once, and adds");
    assert_eq!(flips, 3 * 3, "one flip per symbol and round");
    assert_eq!(ended, 3 * 3 * 4, "flip, close and two hedge closes per symbol and round");
    assert!(account.is_flat());
    assert_eq!(account.hold_mode(), HoldMode::OneWay);
}

#[test]
fn the_tour_leaves_out_its_hedge_part_when_something_is_open() {
    let mut script = Script::default_tour(&["BTCUSDT".to_owned()]);
    let mut account = account(HoldMode::OneWay);
    account.set_position("ETHUSDT", HoldSide::Long, dec("1"), Some(dec("3000")), NOW).unwrap();
    let mut refused = Vec::new();
    for step in script.due(19_999) {
        let done = account.follow(&step, Some(dec("86000")), dec("0.0001"), NOW);
        refused.extend(done.err());
    }
    assert_eq!(refused, [OrderRefused::NotFlat], "the switch, once, and nothing after it");
    assert_eq!(account.positions().len(), 1, "only the foreign position is left");
}
