//! Sessions against a scripted exchange: what is promised about order, pace, deadlines, errors and return.

use crate::scripted::{PATIENCE, Peer, Seen, Witness, alone, exchange, plan, rest_server, ticker, until};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trapline::clock::Clock;
use trapline::domain::refusal::Refusal;
use trapline::domain::report::{Origin, Report};
use trapline::domain::symbol::Symbols;
use trapline::exchange::bitget::consts::{Endpoints, Generation};
use trapline::exchange::bitget::credential::Credential;
use trapline::exchange::bitget::rest::{Rest, RestSettings};
use trapline::exchange::bitget::subscribe::{Channel, Stream};
use trapline::exchange::session::{EndReason, FeedNotice, Memory, Plan, SessionEnd, keep_connected, run};

pub fn symbols() -> Arc<Symbols> {
    Arc::new(Symbols::usdt(["BTCUSDT", "ETHUSDT"]))
}

pub fn tickers(symbols: &Symbols) -> Vec<Stream> {
    symbols.ids().map(|id| Stream::public(Channel::Ticker, id)).collect()
}

pub async fn one(plan: &Plan) -> (SessionEnd, Witness) {
    let mut witness = Witness::default();
    let mut memory = Memory::default();
    let running = run(plan, &mut memory, &mut witness);
    let end = tokio::time::timeout(PATIENCE, running).await.expect("the session ends by itself");
    (end, witness)
}

/// Keeps `plan` connected in the background.
pub fn keep(plan: Plan) -> Witness {
    let witness = Witness::default();
    let mut outlet = witness.clone();
    tokio::task::spawn_local(async move { keep_connected(&plan, None, &mut outlet).await });
    witness
}

fn private(url: &str) -> Plan {
    let symbols = symbols();
    let streams = Stream::private(Generation::Classic, &symbols);
    Plan { credential: Some(Credential::new("k", "s", "p")), ..plan(url, &symbols, streams) }
}

#[test]
fn nothing_is_subscribed_before_the_login_is_acknowledged() {
    alone(async {
        let url = exchange(|mut peer: Peer| async move {
            let login = peer.hear_json().await.unwrap();
            assert_eq!(login["op"], "login");
            let seconds: i64 = login["args"][0]["timestamp"].as_str().unwrap().parse().unwrap();
            assert!((1_000_000_000..100_000_000_000).contains(&seconds), "seconds, not milliseconds");
            let early = tokio::time::timeout(Duration::from_millis(100), peer.hear(true)).await;
            assert!(early.is_err(), "sent before the acknowledgement: {early:?}");
            peer.say(r#"{"event":"login","code":0}"#).await;
            let frame = peer.hear_json().await.unwrap();
            assert_eq!(frame["op"], "subscribe");
            assert_eq!(frame["args"].as_array().unwrap().len(), 4);
            peer.acknowledge(&frame).await;
            peer.stay().await;
        })
        .await;
        let witness = keep(private(&url));
        until("ready", || witness.ready()).await;
    });
}

#[test]
fn subscriptions_go_out_ten_at_a_time_with_a_pause_between() {
    alone(async {
        let sizes = Rc::new(RefCell::new(Vec::new()));
        let seen = sizes.clone();
        let url = exchange(move |mut peer: Peer| {
            let seen = seen.clone();
            async move {
                while let Some(frame) = peer.hear_json().await {
                    seen.borrow_mut().push((frame["args"].as_array().unwrap().len(), Instant::now()));
                }
            }
        })
        .await;
        let names: Vec<String> = (0..25).map(|n| format!("S{n}USDT")).collect();
        let symbols = Arc::new(Symbols::usdt(names.iter().map(String::as_str)));
        let mut plan = plan(&url, &symbols, tickers(&symbols));
        plan.settings.subscribe_gap = Duration::from_millis(300);
        keep(plan);
        until("three frames", || (sizes.borrow().len() == 3).then_some(())).await;
        let sizes = sizes.borrow();
        assert_eq!(sizes.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [10, 10, 5]);
        let took = sizes[2].1 - sizes[0].1;
        assert!(took >= Duration::from_millis(300), "600 ms planned, arrival may bunch: {took:?}");
    });
}

#[test]
fn an_unanswered_ping_ends_the_session_even_while_the_market_talks() {
    alone(async {
        let url = exchange(|mut peer: Peer| async move {
            loop {
                peer.say(ticker("BTCUSDT", 86_000)).await;
                let heard = tokio::time::timeout(Duration::from_millis(10), peer.hear(false)).await;
                if matches!(heard, Ok(None)) {
                    return;
                }
            }
        })
        .await;
        let symbols = symbols();
        let mut plan = plan(&url, &symbols, tickers(&symbols));
        plan.settings.ping_every = Duration::from_millis(50);
        plan.settings.pong_deadline = Duration::from_millis(100);
        let (end, witness) = one(&plan).await;
        assert_eq!(end.reason, EndReason::NoPong(Duration::from_millis(100)));
        assert!(!witness.reports().is_empty());
    });
}

#[test]
fn answered_pings_keep_a_silent_private_connection_alive() {
    alone(async {
        let pings = Rc::new(Cell::new(0));
        let counted = pings.clone();
        let url = exchange(move |mut peer: Peer| {
            let counted = counted.clone();
            async move {
                peer.hear_json().await.unwrap();
                peer.say(r#"{"event":"login","code":"0"}"#).await;
                let frame = peer.hear_json().await.unwrap();
                peer.acknowledge(&frame).await;
                // Flat, and from here on nothing happens.
                for channel in ["positions", "account"] {
                    let arg = if channel == "account" { r#""coin""# } else { r#""instId""# };
                    let row = if channel == "account" { r#"{"marginCoin":"USDT","equity":"1"}"# } else { "" };
                    peer.say(format!(r#"{{"action":"snapshot","arg":{{"instType":"USDT-FUTURES","channel":"{channel}",{arg}:"default"}},"data":[{row}],"ts":1790133569757}}"#)).await;
                }
                loop {
                    let text = peer.hear(false).await;
                    assert_eq!(text.as_deref(), Some("ping"), "only pings from here on");
                    peer.say("pong").await;
                    counted.set(counted.get() + 1);
                }
            }
        })
        .await;
        let mut plan = private(&url);
        plan.settings.ping_every = Duration::from_millis(30);
        plan.settings.first_data = Duration::from_millis(100);
        plan.settings.silence = Duration::from_millis(100);
        let witness = keep(plan);
        until("flat", || (witness.reports().len() == 2).then_some(())).await;
        until("pings for longer than any silence would be borne", || (pings.get() >= 12).then_some(())).await;
        assert_eq!(witness.notices(), [FeedNotice::Connected, FeedNotice::Ready { connection: 1 }]);
    });
}

#[test]
fn an_acknowledged_but_silent_subscription_is_asked_for_again_and_then_costs_the_connection() {
    alone(async {
        let asked = Rc::new(RefCell::new(Vec::new()));
        let noted = asked.clone();
        let url = exchange(move |mut peer: Peer| {
            let noted = noted.clone();
            async move {
                while let Some(frame) = peer.hear_json().await {
                    let names =
                        frame["args"].as_array().unwrap().iter().map(|a| a["instId"].as_str().unwrap().to_owned());
                    noted.borrow_mut().push(names.collect::<Vec<_>>());
                    peer.acknowledge(&frame).await;
                    peer.say(ticker("BTCUSDT", 1)).await;
                }
            }
        })
        .await;
        let symbols = symbols();
        let mut plan = plan(&url, &symbols, tickers(&symbols));
        plan.settings.first_data = Duration::from_millis(200);
        let (end, _) = one(&plan).await;
        assert_eq!(end.reason, EndReason::Silent("ticker"));
        assert_eq!(*asked.borrow(), [vec!["BTCUSDT".to_owned(), "ETHUSDT".to_owned()], vec!["ETHUSDT".to_owned()]]);
    });
}

#[test]
fn an_unknown_instrument_is_dropped_and_the_others_go_on() {
    alone(async {
        let asked = Rc::new(RefCell::new(Vec::new()));
        let noted = asked.clone();
        let url = exchange(move |mut peer: Peer| {
            let noted = noted.clone();
            async move {
                let frame = peer.hear_json().await.unwrap();
                noted.borrow_mut().push(frame["args"].as_array().unwrap().len());
                for arg in frame["args"].as_array().unwrap() {
                    if arg["instId"] == "ETHUSDT" {
                        let error = serde_json::json!({"event": "error", "arg": arg, "code": 30001, "msg": "doesn't exist", "op": "subscribe"});
                        peer.say(error.to_string()).await;
                    } else {
                        peer.say(serde_json::json!({"event": "subscribe", "arg": arg}).to_string()).await;
                    }
                }
                for price in 0..3 {
                    peer.say(ticker("BTCUSDT", 100 + price)).await;
                }
                if peer.number == 1 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    peer.vanish();
                } else {
                    peer.stay().await;
                }
            }
        })
        .await;
        let symbols = symbols();
        let witness = keep(plan(&url, &symbols, tickers(&symbols)));
        until("data of two connections", || (witness.reports().len() >= 6).then_some(())).await;
        let eth = Stream::public(Channel::Ticker, symbols.id("ETHUSDT").unwrap());
        let dropped = FeedNotice::SubscriptionDropped { stream: eth, code: 30001, message: "doesn't exist".to_owned() };
        assert_eq!(witness.notices().iter().filter(|n| **n == dropped).count(), 1);
        assert_eq!(*asked.borrow(), [2, 1], "not asked for again at once");
    });
}

#[test]
fn a_refused_login_is_told_with_its_fix_and_not_hammered() {
    alone(async {
        let connections = Rc::new(Cell::new(0));
        let counted = connections.clone();
        let url = exchange(move |mut peer: Peer| {
            counted.set(peer.number);
            async move {
                peer.hear_json().await.unwrap();
                peer.say(r#"{"event":"error","code":30012,"msg":"Invalid passphrase"}"#).await;
                // The exchange does not close by itself.
                assert_eq!(peer.hear(true).await, None, "the client hangs up");
            }
        })
        .await;
        let witness = keep(private(&url));
        let waiting =
            |n: &FeedNotice| if let FeedNotice::Waiting { retry_in, .. } = n { Some(*retry_in) } else { None };
        let retry_in = until("the pause", || witness.notices().iter().find_map(waiting)).await;
        assert!((30..=300).contains(&retry_in.as_secs()), "{retry_in:?}");
        let told = witness.notices();
        assert!(
            told.iter()
                .any(|n| matches!(n, FeedNotice::LoginRefused { code: 30012, fix } if fix.contains("passphrase"))),
            "{told:?}"
        );
        assert_eq!(witness.ready(), None);
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn a_login_without_an_answer_ends() {
    alone(async {
        let url = exchange(|mut peer: Peer| async move { peer.stay().await }).await;
        let mut plan = private(&url);
        plan.settings.login_timeout = Duration::from_millis(50);
        let (end, _) = one(&plan).await;
        assert_eq!(end.reason, EndReason::LoginTimeout(Duration::from_millis(50)));
        assert!(!end.useful);
    });
}

#[test]
fn a_host_that_does_not_shake_hands_or_is_not_there_ends() {
    alone(async {
        let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let symbols = symbols();
        let mut to_deaf = plan(&format!("ws://{}", deaf.local_addr().unwrap()), &symbols, tickers(&symbols));
        to_deaf.settings.connect_timeout = Duration::from_millis(50);
        let (end, _) = one(&to_deaf).await;
        assert_eq!(end.reason, EndReason::ConnectTimeout(Duration::from_millis(50)));
        let address = deaf.local_addr().unwrap();
        drop(deaf);
        let (end, _) = one(&plan(&format!("ws://{address}"), &symbols, tickers(&symbols))).await;
        assert!(matches!(end.reason, EndReason::Connect(_)), "{end}");
    });
}

#[test]
fn bad_frames_are_counted_by_reason_and_the_connection_is_kept() {
    alone(async {
        let url = exchange(|mut peer: Peer| async move {
            assert_eq!(peer.number, 1, "connected again");
            let frame = peer.hear_json().await.unwrap();
            peer.acknowledge(&frame).await;
            peer.say("garbage").await;
            peer.say_binary(vec![1, 2, 3]).await;
            peer.say(r#"{"hello":1}"#).await;
            peer.say(ticker("BTCUSDT", 5).replace("\"5\"", "\"five\"")).await;
            peer.say(ticker("DOGEUSDT", 5)).await;
            peer.say(ticker("BTCUSDT", 5).replace("\"ticker\"", "\"trade\"").replace(r#"[{"#, r#"[{"x":1},{"#)).await;
            peer.say(ticker("BTCUSDT", 86_000)).await;
            peer.stay().await;
        })
        .await;
        let symbols = symbols();
        let witness = keep(plan(&url, &symbols, tickers(&symbols)));
        let price = |r: &Report| if let Report::Ticker(t) = r { Some(t.last) } else { None };
        until("the good frame", || witness.reports().iter().find_map(price).filter(|p| *p == 86_000.into())).await;
        let refusals = until("all refusals", || Some(witness.refusals()).filter(|r| r.len() == 6)).await;
        let expected = [
            Refusal::Garbage,
            Refusal::Garbage,
            Refusal::UnknownShape,
            Refusal::BadField,
            Refusal::UnknownSymbol,
            Refusal::UnknownChannel,
        ];
        assert_eq!(refusals, expected);
    });
}

#[test]
fn an_exchange_that_sends_mostly_garbage_is_left() {
    alone(async {
        let url = exchange(|mut peer: Peer| async move {
            loop {
                peer.say("{{{").await;
                peer.say(ticker("BTCUSDT", 1)).await;
                if matches!(tokio::time::timeout(Duration::from_millis(5), peer.hear(true)).await, Ok(None)) {
                    return;
                }
            }
        })
        .await;
        let symbols = symbols();
        let mut plan = plan(&url, &symbols, tickers(&symbols));
        plan.settings.bad_window = Duration::from_millis(100);
        let (end, _) = one(&plan).await;
        assert_eq!(end.reason, EndReason::BadFrames(20));
    });
}

#[test]
fn a_broken_connection_is_told_and_everything_is_subscribed_anew() {
    alone(async {
        let url = exchange(|mut peer: Peer| async move {
            let frame = peer.hear_json().await.unwrap();
            assert_eq!(frame["args"].as_array().unwrap().len(), 2, "the whole desired set");
            peer.acknowledge(&frame).await;
            peer.say(ticker("BTCUSDT", peer.number as u32)).await;
            if peer.number < 4 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                return peer.vanish();
            }
            peer.stay().await;
        })
        .await;
        let symbols = symbols();
        let witness = keep(plan(&url, &symbols, tickers(&symbols)));
        until("four connections", || (witness.reports().len() == 4).then_some(())).await;
        let mut story = String::new();
        for seen in witness.all() {
            story.push(match seen {
                Seen::Notice(FeedNotice::Connected) => 'c',
                Seen::Notice(FeedNotice::Ready { .. }) => 'r',
                Seen::Notice(FeedNotice::Lost { .. }) => 'l',
                Seen::Notice(FeedNotice::Waiting { .. }) => 'w',
                Seen::Batch(_) => 'b',
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(story, "crblwcrblwcrblwcrb", "ready comes before data, lost after it");
        let numbers: Vec<u32> = witness.batches().iter().map(|b| b.connection).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    });
}

#[test]
fn frames_that_wait_together_become_one_batch_within_the_bound() {
    alone(async {
        let url = exchange(|mut peer: Peer| async move {
            let frame = peer.hear_json().await.unwrap();
            peer.acknowledge(&frame).await;
            for price in 1..=2_000 {
                peer.say(ticker("BTCUSDT", price)).await;
            }
            peer.stay().await;
        })
        .await;
        let symbols = symbols();
        let witness = keep(plan(&url, &symbols, tickers(&symbols)));
        until("all of them", || (witness.reports().len() == 2_000).then_some(())).await;
        let batches = witness.batches();
        assert!(batches.iter().all(|b| b.reports.len() <= 128 && b.origin == Origin::Socket && b.connection == 1));
        println!("{} batches for 2000 frames", batches.len());
        assert!(batches.len() < 1_000, "{} batches", batches.len());
        let prices = witness
            .reports()
            .iter()
            .map(|r| if let Report::Ticker(t) = r { t.last } else { panic!() })
            .collect::<Vec<_>>();
        assert!(prices.is_sorted(), "order is kept");
    });
}

#[test]
fn too_many_messages_are_answered_with_patience() {
    alone(async {
        let url = exchange(|mut peer: Peer| async move {
            let frame = peer.hear_json().await.unwrap();
            peer.acknowledge(&frame).await;
            peer.say(r#"{"event":"error","code":30006,"msg":"request too many"}"#).await;
            peer.say(r#"{"event":"error","code":"30006","msg":"request too many"}"#).await;
            peer.stay().await;
        })
        .await;
        let symbols = symbols();
        let witness = keep(plan(&url, &symbols, tickers(&symbols)));
        let waiting =
            |n: &FeedNotice| if let FeedNotice::Waiting { retry_in, .. } = n { Some(*retry_in) } else { None };
        let retry_in = until("the pause", || witness.notices().iter().find_map(waiting)).await;
        assert!(retry_in >= Duration::from_secs(60), "{retry_in:?}");
    });
}

/// Told to slow down before everything was subscribed, it waits with the rest, and only with that: pings go on, and who
/// watches the session sees that it lives.
#[test]
fn a_word_to_slow_down_puts_off_nothing_but_subscriptions() {
    alone(async {
        let begun = Rc::new(Cell::new(None));
        let pinged = Rc::new(Cell::new(None));
        let (first, ping) = (begun.clone(), pinged.clone());
        let url = exchange(move |mut peer: Peer| {
            let (first, ping) = (first.clone(), ping.clone());
            async move {
                // The first ping comes before the first subscription, which is answered in this way.
                while peer.hear(false).await.is_some_and(|text| text == "ping") {}
                peer.say(r#"{"event":"error","code":30006,"msg":"request too many"}"#).await;
                first.set(Some(Instant::now()));
                while let Some(text) = peer.hear(false).await {
                    if text == "ping" && ping.get().is_none() {
                        ping.set(Some(Instant::now()));
                    }
                    assert!(text == "ping" || ping.get().is_some(), "the rest is put off: {text}");
                }
            }
        })
        .await;
        let names: Vec<String> = (0..25).map(|n| format!("S{n}USDT")).collect();
        let symbols = Arc::new(Symbols::usdt(names.iter().map(String::as_str)));
        let mut plan = plan(&url, &symbols, tickers(&symbols));
        plan.settings.ping_every = Duration::from_millis(100);
        plan.settings.subscribe_gap = Duration::from_millis(50);
        keep(plan);
        let came = until("a ping", || pinged.get()).await;
        // What is put off waits for ten seconds at least.
        let after: Duration = came - begun.get().expect("said before");
        assert!(after < Duration::from_secs(9), "{after:?}");
    });
}

#[test]
fn a_clock_that_is_off_is_corrected_by_the_exchanges_and_the_login_tried_again() {
    alone(async {
        let ahead_ms = 600_000;
        let base = rest_server(move |_| {
            let now_ms = Clock::system().now_ms() + ahead_ms;
            (
                200,
                format!(
                    r#"{{"code":"00000","msg":"success","requestTime":{now_ms},"data":{{"serverTime":"{now_ms}"}}}}"#
                ),
            )
        })
        .await;
        let url = exchange(move |mut peer: Peer| async move {
            let login = peer.hear_json().await.unwrap();
            let sent_ms = login["args"][0]["timestamp"].as_str().unwrap().parse::<i64>().unwrap() * 1_000;
            if (Clock::system().now_ms() + ahead_ms - sent_ms).abs() > 30_000 {
                return peer.say(r#"{"event":"error","code":30014,"msg":"timestamp expired"}"#).await;
            }
            peer.say(r#"{"event":"login","code":0}"#).await;
            let frame = peer.hear_json().await.unwrap();
            peer.acknowledge(&frame).await;
            peer.stay().await;
        })
        .await;
        let plan = private(&url);
        let (clock, skew) = (Clock::system(), plan.skew.clone());
        let settings = RestSettings::default();
        let rest = Rest::new(Endpoints::at(&base), None, symbols(), settings, clock, skew.clone()).unwrap();
        let witness = Witness::default();
        let mut outlet = witness.clone();
        tokio::task::spawn_local(async move { keep_connected(&plan, Some(&rest), &mut outlet).await });
        until("ready", || witness.ready()).await;
        assert!((skew.offset_ms() - ahead_ms).abs() < 10_000);
    });
}
