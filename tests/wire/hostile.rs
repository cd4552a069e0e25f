//! Text that nobody should send: refused with its reason, never a panic, never a wrong picture.

use crate::fixtures::{NOW_MS, all, decoder, read};
use proptest::prelude::*;
use trapline::domain::refusal::Refusal;
use trapline::domain::report::Report;
use trapline::exchange::bitget::consts::{DEPTH_MAX, FRAME_MAX_BYTES, Generation};
use trapline::exchange::bitget::parse::{Decoded, Frame, frame_sanity};

const GENERATIONS: [Generation; 2] = [Generation::Classic, Generation::Unified];

fn ticker(data: &str) -> String {
    let arg = r#"{"instType":"USDT-FUTURES","channel":"ticker","instId":"BTCUSDT"}"#;
    format!(r#"{{"action":"snapshot","arg":{arg},"data":{data},"ts":1790133569757}}"#)
}

fn positions(data: &str) -> String {
    let arg = r#"{"instType":"USDT-FUTURES","channel":"positions","instId":"default"}"#;
    format!(r#"{{"action":"snapshot","arg":{arg},{data}"ts":1790133569757}}"#)
}

#[test]
fn each_kind_of_bad_frame_has_its_reason() {
    let deep = format!("{}1{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
    let position = r#""instId":"BTCUSDT","holdSide":"long","total":"1","openPriceAvg":"5","marginMode":"crossed""#;
    let cases = [
        ("not json", "hello".to_owned(), Refusal::Garbage),
        ("empty", String::new(), Refusal::Garbage),
        ("html", "<html>503</html>".to_owned(), Refusal::Garbage),
        ("too deep", ticker(&deep), Refusal::Garbage),
        ("oversized", " ".repeat(FRAME_MAX_BYTES + 1), Refusal::Oversized),
        ("a list", "[]".to_owned(), Refusal::UnknownShape),
        ("a number", "17".to_owned(), Refusal::UnknownShape),
        ("an empty object", "{}".to_owned(), Refusal::UnknownShape),
        ("another event", r#"{"event":"party"}"#.to_owned(), Refusal::UnknownShape),
        ("no action", ticker("[]").replace("action", "auction"), Refusal::UnknownShape),
        ("odd action", ticker("[]").replace("snapshot", "guess"), Refusal::UnknownShape),
        ("no ticker row", ticker("[]"), Refusal::BadField),
        ("data null", ticker("null"), Refusal::BadField),
        ("data an object", ticker("{}"), Refusal::BadField),
        ("no price", ticker(r#"[{"bidPr":"1"}]"#), Refusal::BadField),
        ("price is a list", ticker(r#"[{"lastPr":[1]}]"#), Refusal::BadField),
        ("price is a word", ticker(r#"[{"lastPr":"NaN"}]"#), Refusal::BadField),
        ("price has no end", ticker(r#"[{"lastPr":"1e300"}]"#), Refusal::OutOfRange),
        ("time in microseconds", ticker(r#"[{"lastPr":"1","ts":"1790133569757000"}]"#), Refusal::OutOfRange),
        ("a key stands twice", ticker("[]").replace("\"ts\"", "\"data\":[],\"ts\""), Refusal::BadField),
        ("other symbol", ticker("[]").replace("BTCUSDT", "XUSDT"), Refusal::UnknownSymbol),
        ("other product", ticker("[]").replace("USDT-FUTURES", "SPOT"), Refusal::UnknownSymbol),
        ("other channel", ticker("[]").replace("ticker", "books"), Refusal::UnknownChannel),
        ("positions without data", positions(""), Refusal::BadField),
        ("positions null", positions(r#""data":null,"#), Refusal::BadField),
        ("positions an object", positions(r#""data":{},"#), Refusal::BadField),
        (
            "positions without time",
            positions(r#""data":[],"#).replace("\"ts\":1790133569757", "\"x\":1"),
            Refusal::BadField,
        ),
        ("position without leverage", positions(&format!(r#""data":[{{{position}}}],"#)), Refusal::BadField),
        ("position without symbol", positions(r#""data":[{"holdSide":"long","total":"1"}],"#), Refusal::BadField),
    ];
    for (name, text, expected) in cases {
        let (frame, decoded) = read(Generation::Classic, &text);
        assert_eq!(decoded.reports, [], "case: {name}");
        assert_eq!(decoded.refused.iter().map(|r| r.refusal).collect::<Vec<_>>(), [expected], "case: {name}");
        let row_alone = matches!(name, "no price" | "price is a word" | "price has no end" | "time in microseconds");
        assert_eq!(frame == Frame::Refused, !row_alone, "case: {name}");
    }
}

#[test]
fn one_bad_trade_does_not_harm_its_neighbours() {
    let all = all(Generation::Classic);
    let text = all["trade_snapshot"].replace("\"0.25\"", "\"much\"");
    let (frame, decoded) = read(Generation::Classic, &text);
    assert!(matches!(frame, Frame::Data(_)));
    assert_eq!((decoded.reports.len(), decoded.refused.len()), (2, 1));
    assert_eq!(decoded.refused[0].refusal, Refusal::BadField);
}

#[test]
fn one_bad_position_row_refuses_the_statement_because_its_absence_would_say_flat() {
    let text = all(Generation::Classic)["positions_hedge"].replace("\"0.002\"", "\"?\"");
    let (frame, decoded) = read(Generation::Classic, &text);
    assert_eq!((frame, decoded.reports.len()), (Frame::Refused, 0));
}

#[test]
fn a_ticker_row_of_another_instrument_is_not_taken_for_this_one() {
    let text = ticker(r#"[{"instId":"DASHUSDT","lastPr":"27.1","ts":"1790133569757"}]"#);
    let (_, decoded) = read(Generation::Classic, &text);
    assert_eq!(decoded.reports, []);
    assert_eq!(decoded.refused[0].refusal, Refusal::Inconsistent);
}

#[test]
fn the_quarantine_never_holds_a_login() {
    let text = r#"{"op":"login","args":[{"apiKey":"canary","passphrase":"canary","sign":"canary"}]"#;
    let (_, decoded) = read(Generation::Classic, text);
    assert!(!format!("{decoded:?}").contains("canary"));
    let (frame, _) = read(Generation::Classic, r#"{"event":"error","code":30011,"msg":"apiKey canary is unknown"}"#);
    assert!(!format!("{frame:?}").contains("canary"));
}

#[test]
fn any_truncation_of_a_fixture_is_refused() {
    for generation in GENERATIONS {
        for (name, text) in all(generation) {
            for cut in (0..text.len()).filter(|&cut| text.is_char_boundary(cut)) {
                let (frame, decoded) = read(generation, &text[..cut]);
                assert_eq!((frame, decoded.reports.len()), (Frame::Refused, 0), "case: {name} cut at {cut}");
                assert_eq!(decoded.refused.len(), 1, "case: {name} cut at {cut}");
                assert_eq!(decoded.refused[0].refusal, Refusal::Garbage, "case: {name} cut at {cut}");
            }
        }
    }
}

#[test]
fn depth_is_counted_outside_of_text_only() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let cases = [
        ("at the limit", nested(DEPTH_MAX), Ok(())),
        ("past it", nested(DEPTH_MAX + 1), Err(Refusal::Garbage)),
        ("wide, not deep", format!("[{}]", vec!["[]"; 1_000].join(",")), Ok(())),
        ("brackets in text", format!("\"{}\"", "[".repeat(1_000)), Ok(())),
        ("after an escaped quote", format!(r#""\"{}""#, "[".repeat(1_000)), Ok(())),
        ("longest", " ".repeat(FRAME_MAX_BYTES), Ok(())),
        ("longer", " ".repeat(FRAME_MAX_BYTES + 1), Err(Refusal::Oversized)),
    ];
    for (name, text, expected) in cases {
        assert_eq!(frame_sanity(&text), expected, "case: {name}");
    }
}

/// What a fixture becomes after `edits` of single bytes.
fn edited(generation: Generation, pick: usize, edits: &[(usize, u8)]) -> String {
    let all = all(generation);
    let mut bytes = all.values().nth(pick % all.len()).unwrap().clone().into_bytes();
    for &(at, byte) in edits {
        let at = at % bytes.len();
        bytes[at] = byte;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,400}", classic: bool) {
        let generation = GENERATIONS[usize::from(!classic)];
        let mut out = Decoded::default();
        let frame = decoder(generation).decode(&text, NOW_MS, &mut out);
        prop_assert_eq!(frame == Frame::Refused, !out.refused.is_empty() && out.reports.is_empty());
    }

    #[test]
    fn edited_fixtures_never_panic_and_never_empty_a_statement(
        pick: usize,
        classic: bool,
        edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let generation = GENERATIONS[usize::from(!classic)];
        let text = edited(generation, pick, &edits);
        let (frame, decoded) = read(generation, &text);
        if frame == Frame::Refused {
            prop_assert!(decoded.reports.is_empty());
            prop_assert_eq!(decoded.refused.len(), 1);
        }
        for report in &decoded.reports {
            if let Report::Positions(statement) = report
                && statement.rows.is_empty()
            {
                let unknown = decoded.refused.iter().any(|r| r.refusal == Refusal::UnknownSymbol);
                prop_assert!(text.contains("\"data\":[]") || unknown, "{}", text);
            }
        }
    }
}
