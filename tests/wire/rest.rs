//! REST against a scripted server: what is an answer, what is none, and how often it is asked for.

use crate::scripted::{alone, rest_server};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use trapline::clock::Clock;
use trapline::domain::account::Fill;
use trapline::domain::report::Report;
use trapline::domain::symbol::{Product, Symbols};
use trapline::exchange::bitget::consts::{Endpoints, Generation};
use trapline::exchange::bitget::credential::Credential;
use trapline::exchange::bitget::error::RestError;
use trapline::exchange::bitget::rest::{Rest, RestSettings};
use trapline::exchange::skew::Skew;

fn client(base: &str, clock: Clock) -> Rest {
    let settings = RestSettings {
        timeout: Duration::from_millis(300),
        backoff: Duration::from_millis(5),
        body_max: 64 * 1024,
        ..RestSettings::default()
    };
    let symbols = Arc::new(Symbols::usdt(["BTCUSDT"]));
    let credential = Some(Credential::new("key", "s", "pass"));
    Rest::new(Endpoints::at(base), credential, symbols, settings, clock, Skew::default()).unwrap()
}

pub fn ok(data: &str) -> String {
    format!(r#"{{"code":"00000","msg":"success","requestTime":1753103840140,"data":{data}}}"#)
}

#[test]
fn what_is_no_answer_is_an_error_after_as_many_tries_as_it_is_worth() {
    let huge = format!("\"{}\"", "x".repeat(70_000));
    let cases: Vec<(&str, u16, String, &str, usize)> = vec![
        ("server error", 500, String::new(), "status", 3),
        ("a proxy's page", 502, "<html></html>".into(), "status", 3),
        ("maintenance page with status 200", 200, "<html></html>".into(), "unreadable", 3),
        ("empty body", 200, String::new(), "unreadable", 3),
        ("busy", 400, r#"{"code":"45001","msg":"busy","data":null}"#.into(), "code", 3),
        ("rate limited: more would be punished", 429, String::new(), "status", 1),
        ("wrong key", 400, r#"{"code":"40006","msg":"Invalid ACCESS_KEY","data":null}"#.into(), "code", 1),
        (
            "unified account on the classic interface",
            400,
            r#"{"code":"40085","msg":"x","data":null}"#.into(),
            "code",
            1,
        ),
        ("longer than an answer may be", 200, ok(&huge), "oversized", 3),
        ("never answered", 0, String::new(), "transport", 3),
    ];
    for (name, status, body, label, tries) in cases {
        alone(async {
            let asked = Rc::new(Cell::new(0));
            let counted = asked.clone();
            let base = rest_server(move |_| {
                counted.set(counted.get() + 1);
                (status, body.clone())
            })
            .await;
            let rest = client(&base, Clock::system());
            let error = rest.positions(Generation::Classic, Product::UsdtFutures).await.unwrap_err();
            assert_eq!(error.label(), label, "case: {name}: {error}");
            assert_eq!(asked.get(), tries, "case: {name}");
        });
    }
}

#[test]
fn a_second_try_may_succeed() {
    alone(async {
        let asked = Cell::new(0);
        let base = rest_server(move |_| {
            asked.set(asked.get() + 1);
            if asked.get() < 3 { (503, String::new()) } else { (200, ok("[]")) }
        })
        .await;
        let answer = client(&base, Clock::system()).positions(Generation::Classic, Product::UsdtFutures).await.unwrap();
        assert!(matches!(answer.reports.as_slice(), [Report::Positions(s)] if s.rows.is_empty()));
    });
}

#[test]
fn calls_are_signed_over_what_is_sent() {
    alone(async {
        let head = Rc::new(RefCell::new(String::new()));
        let seen = head.clone();
        let base = rest_server(move |head| {
            *seen.borrow_mut() = head.to_owned();
            (200, ok(r#"{"list":null}"#))
        })
        .await;
        let rest = client(&base, Clock::manual(1_659_076_670_000));
        rest.positions(Generation::Unified, Product::UsdtFutures).await.unwrap();
        let head = head.borrow();
        let path = "/api/v3/position/current-position?category=USDT-FUTURES";
        assert!(head.starts_with(&format!("GET {path} ")), "{head}");
        let header = |name: &str| {
            let line =
                head.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}: "))).unwrap_or_default();
            line.split_once(": ").map(|(_, v)| v.to_owned()).unwrap_or_default()
        };
        let expected = Credential::new("key", "s", "pass").sign(&format!("1659076670000GET{path}"));
        assert_eq!(header("access-sign"), expected);
        assert_eq!((header("access-key"), header("access-passphrase")), ("key".to_owned(), "pass".to_owned()));
        assert_eq!(header("access-timestamp"), "1659076670000");
    });
}

#[test]
fn the_kind_of_account_is_found_out() {
    let cases: [(&str, u16, String, Result<Generation, ()>); 3] = [
        ("unified", 200, ok("{}"), Ok(Generation::Unified)),
        ("classic", 400, r#"{"code":"40084","msg":"classic","data":null}"#.into(), Ok(Generation::Classic)),
        ("no answer is no answer", 500, String::new(), Err(())),
    ];
    for (name, status, body, expected) in cases {
        alone(async {
            let base = rest_server(move |_| (status, body.clone())).await;
            let found = client(&base, Clock::system()).probe().await;
            assert_eq!(found.map_err(drop), expected, "case: {name}");
        });
    }
}

#[test]
fn fills_are_read_page_by_page_and_come_oldest_first() {
    alone(async {
        let base = rest_server(|head| {
            let first = 300 - 100 * u64::from(head.contains("idLessThan=201")) - 200 * u64::from(head.contains("idLessThan=101"));
            let count = if head.contains("idLessThan=101") { 50 } else { 100 };
            let row = |id: u64| {
                let time = 1_753_103_840_000_u64 + id;
                format!(r#"{{"tradeId":"{id}","orderId":"1","symbol":"BTCUSDT","side":"buy","price":"1","baseVolume":"1","tradeSide":"buy_single","cTime":"{time}"}}"#)
            };
            let rows: Vec<String> = (0..count).map(|n| row(first - n)).collect();
            (200, ok(&format!(r#"{{"fillList":[{}],"endId":"{}"}}"#, rows.join(","), first - count + 1)))
        })
        .await;
        let rest = client(&base, Clock::system());
        let (answer, left) = rest.fills(Generation::Classic, Product::UsdtFutures, 0, None, &|_| false).await.unwrap();
        assert_eq!((answer.reports.len(), left), (250, None), "{:?}", answer.refused.first());
        assert!(answer.reports.is_sorted_by_key(Report::exchange_time_ms));
    });
}

/// An outage with more fills than one reading takes: the next readings go on where the last one ended.
#[test]
fn fills_beyond_one_reading_are_read_on_and_known_ones_are_not_read_again() {
    const ALL: u64 = 2_350;
    alone(async {
        let asked = Rc::new(Cell::new(0));
        let counted = asked.clone();
        let base = rest_server(move |head| {
            counted.set(counted.get() + 1);
            let before = head.split("idLessThan=").nth(1).and_then(|rest| rest.split(['&', ' ']).next());
            let newest = before.map_or(ALL, |id| id.parse::<u64>().unwrap() - 1);
            let oldest = newest.saturating_sub(99).max(1);
            let row = |id: u64| {
                let time = 1_753_103_840_000_u64 + id;
                format!(r#"{{"tradeId":"{id}","orderId":"1","symbol":"BTCUSDT","side":"buy","price":"1","baseVolume":"1","tradeSide":"buy_single","cTime":"{time}"}}"#)
            };
            let rows: Vec<String> = (oldest..=newest).rev().map(row).collect();
            (200, ok(&format!(r#"{{"fillList":[{}],"endId":"{oldest}"}}"#, rows.join(","))))
        })
        .await;
        let settings = RestSettings { fill_pages: 10, ..RestSettings::default() };
        let symbols = Arc::new(Symbols::usdt(["BTCUSDT"]));
        let credential = Some(Credential::new("key", "s", "pass"));
        let rest =
            Rest::new(Endpoints::at(&base), credential, symbols, settings, Clock::system(), Skew::default()).unwrap();
        let (mut from, mut readings, mut seen) = (None, 0, std::collections::BTreeSet::new());
        loop {
            let read = rest.fills(Generation::Classic, Product::UsdtFutures, 0, from, &|_| false).await;
            let (answer, left) = read.unwrap();
            readings += 1;
            for report in answer.reports {
                let Report::Fill(fill) = report else { panic!("{report:?}") };
                assert!(seen.insert(fill.trade_id.clone()), "{} twice", fill.trade_id);
            }
            match left {
                Some(_) => from = left,
                None => break,
            }
        }
        assert_eq!((seen.len() as u64, readings, asked.get()), (ALL, 3, 24));
        let known = |fill: &Fill| seen.contains(&fill.trade_id);
        let (answer, left) = rest.fills(Generation::Classic, Product::UsdtFutures, 0, None, &known).await.unwrap();
        assert_eq!((answer.reports.len(), left, asked.get()), (1_000, None, 34), "ten pages tell that nothing is new");
    });
}

#[test]
fn errors_never_show_the_key() {
    alone(async {
        let rest = client("http://127.0.0.1:1", Clock::system());
        let error = rest.account(Generation::Unified).await.unwrap_err();
        assert!(matches!(error, RestError::Transport { .. }));
        assert!(!format!("{error:?} {rest:?}").contains("pass"), "{error:?} {rest:?}");
    });
}

#[test]
fn an_answer_that_a_suspend_fell_into_sets_no_clock() {
    // What each answer takes by the clock that counts sleep, what is measured, and how many answers are refused.
    let hour = 3_600_000;
    let cases: [(&str, [i64; 3], Result<i64, &str>, u64); 3] = [
        ("at once", [100, 100, 100], Ok(500), 0),
        ("slept during the first", [hour, 100, 100], Ok(500), 1),
        ("slow each time", [2_001, hour, 5_000], Err("slow"), 3),
    ];
    for (name, took_ms, expected, refused) in cases {
        alone(async {
            let clock = Clock::manual(1_753_103_840_000);
            let (asked, at) = (Cell::new(0), clock.clone());
            let base = rest_server(move |_| {
                let (asked_ms, took_ms) = (at.now_ms(), took_ms[asked.replace(asked.get() + 1)]);
                // The exchange is half a second ahead and answers 50 ms after the question.
                at.set_ms(asked_ms + took_ms);
                (200, ok(&format!(r#"{{"serverTime":"{}"}}"#, asked_ms + 550)))
            })
            .await;
            let rest = client(&base, clock);
            rest.skew().set(7);
            let told = rest.measure_skew().await.map_err(|error| error.label());
            assert_eq!(told, expected, "case: {name}");
            assert_eq!(rest.skew().offset_ms(), expected.unwrap_or(7), "case: {name}: what is known stays");
            assert_eq!(rest.skew().refused_total(), refused, "case: {name}");
        });
    }
}
