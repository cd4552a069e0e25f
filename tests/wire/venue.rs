//! Sessions and REST against the built-in exchange, which was written from the protocol and not from this client.

use crate::scripted::{Witness, alone, plan, until};
use rust_decimal::Decimal;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trapline::clock::Clock;
use trapline::domain::account::{Fill, FillEffect, OrderSide};
use trapline::domain::market::Interval;
use trapline::domain::position::HoldSide;
use trapline::domain::refusal::Refusal;
use trapline::domain::report::Report;
use trapline::domain::symbol::{Product, Symbols};
use trapline::exchange::bitget::consts::{Endpoints, Generation};
use trapline::exchange::bitget::credential::Credential;
use trapline::exchange::bitget::rest::{Rest, RestSettings};
use trapline::exchange::bitget::subscribe::Stream;
use trapline::exchange::session::{EndReason, FeedNotice, Plan, keep_connected};
use trapline::exchange::skew::Skew;
use trapline::venue::{
    AccountKind, Credentials, FaultName, FaultSpec, Limits, ScriptChoice, Speed, Venue, VenueConfig,
};

const GENERATIONS: [Generation; 2] = [Generation::Classic, Generation::Unified];
const INTERVALS: [Interval; 4] = [Interval::M1, Interval::M5, Interval::M15, Interval::H1];

fn symbols() -> Arc<Symbols> {
    Arc::new(Symbols::usdt(["BTCUSDT", "ETHUSDT"]))
}

fn key() -> Credential {
    Credential::new("key-of-the-test", "secret-of-the-test", "pass-of-the-test")
}

async fn venue(generation: Generation, speed: f64) -> Venue {
    let credentials = Credentials {
        key: "key-of-the-test".to_owned(),
        secret: "secret-of-the-test".to_owned(),
        pass: "pass-of-the-test".to_owned(),
    };
    let account = match generation {
        Generation::Classic => AccountKind::Classic,
        Generation::Unified => AccountKind::Unified,
    };
    let limits = Limits { messages_per_second: 1_000, rest_rates: false, ..Limits::default() };
    let config = VenueConfig {
        credentials: Some(credentials),
        account,
        script: ScriptChoice::Tour,
        speed: Speed::Times(speed),
        limits,
        ..VenueConfig::default()
    };
    trapline::venue::start(config).await.unwrap()
}

/// Public and private connection to `venue`, each with its witness.
fn connect(venue: &Venue, generation: Generation) -> (Witness, Witness) {
    let (endpoints, symbols) = (Endpoints::at(&venue.url()), symbols());
    let market = Stream::market(symbols.ids(), &INTERVALS);
    let public = Plan { generation, ..plan(&endpoints.public_url(generation), &symbols, market) };
    let streams = Stream::private(generation, &symbols);
    let private =
        Plan { generation, credential: Some(key()), ..plan(&endpoints.private_url(generation), &symbols, streams) };
    let keep = |plan: Plan| {
        let witness = Witness::default();
        let mut outlet = witness.clone();
        tokio::task::spawn_local(async move { keep_connected(&plan, None, &mut outlet).await });
        witness
    };
    (keep(public), keep(private))
}

/// Knocks at the exchange's control door.
async fn control(venue: &Venue, what: &str) {
    let mut stream = TcpStream::connect(venue.addr()).await.unwrap();
    let request = format!("GET /_exchange/{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
}

fn rest(venue: &Venue) -> Rest {
    let settings =
        RestSettings { backoff: Duration::from_millis(5), timeout: Duration::from_secs(2), ..RestSettings::default() };
    Rest::new(Endpoints::at(&venue.url()), Some(key()), symbols(), settings, Clock::system(), Skew::default()).unwrap()
}

fn fills(witness: &Witness) -> Vec<Fill> {
    witness.reports().into_iter().filter_map(|r| if let Report::Fill(fill) = r { Some(*fill) } else { None }).collect()
}

#[test]
fn every_channel_of_both_generations_speaks_and_nothing_is_refused() {
    for generation in GENERATIONS {
        alone(async {
            let venue = venue(generation, 60.0).await;
            let (public, private) = connect(&venue, generation);
            let kinds = |witness: &Witness| witness.reports().iter().map(Report::kind).collect::<BTreeSet<_>>();
            let all = |witness: &Witness, wanted: &[&'static str]| {
                kinds(witness).is_superset(&wanted.iter().copied().collect()).then_some(())
            };
            until("market data", || all(&public, &["ticker", "trade", "candle"])).await;
            until("flat", || all(&private, &["positions", "account"])).await;
            for step in [
                "mode?hold=hedge",
                "order?symbol=BTCUSDT&side=buy&size=0.02&effect=open&hold_side=long",
                "order?symbol=ETHUSDT&side=sell&size=0.3&effect=open&hold_side=short",
                "order?symbol=BTCUSDT&side=sell&size=0.02&effect=close&hold_side=long",
            ] {
                control(&venue, step).await;
            }
            until("three fills", || (fills(&private).len() == 3).then_some(())).await;
            let expected = [
                (OrderSide::Buy, Some(HoldSide::Long), FillEffect::Open),
                (OrderSide::Sell, Some(HoldSide::Short), FillEffect::Open),
                (OrderSide::Sell, Some(HoldSide::Long), FillEffect::Close),
            ];
            let told = fills(&private).iter().map(|f| (f.side, f.hold_side, f.effect)).collect::<Vec<_>>();
            assert_eq!(told, expected, "{generation:?}");
            assert!(
                fills(&private).iter().all(|f| f.fee > Decimal::ZERO && f.fee_coin == "USDT"),
                "a fee paid is positive"
            );
            until("private data", || all(&private, &["positions", "account", "order", "fill"])).await;
            let intervals = || {
                let reports = public.reports();
                let of = reports.iter().filter_map(|r| {
                    if let Report::Candle(c) = r { Some((c.symbol, c.interval.span_ms())) } else { None }
                });
                (of.collect::<BTreeSet<_>>().len() == 8).then_some(())
            };
            until("four intervals of two symbols", intervals).await;
            for witness in [&public, &private] {
                assert_eq!(witness.refusals(), [], "{generation:?} {:?}", witness.all().last());
                assert_eq!(witness.ready(), Some(1));
            }
            let history = |fresh: bool| {
                public.reports().iter().any(|r| matches!(r, Report::Trade(t) if t.history != fresh)).then_some(())
            };
            until("history", || history(false)).await;
            until("fresh trades", || history(true)).await;
            venue.stop().await;
        });
    }
}

#[test]
fn rest_agrees_with_the_account() {
    for generation in GENERATIONS {
        alone(async {
            let venue = venue(generation, 60.0).await;
            let rest = rest(&venue);
            assert!(rest.measure_skew().await.unwrap().abs() < 5_000);
            assert_eq!(rest.probe().await.unwrap(), generation);
            assert_eq!(rest.contracts(generation, Product::UsdtFutures).await.unwrap().len(), 2);
            control(&venue, "position?symbol=BTCUSDT&side=long&size=0.5&entry=60000").await;
            control(&venue, "position?symbol=ETHUSDT&side=short&size=2&entry=3000").await;
            control(&venue, "order?symbol=BTCUSDT&side=buy&size=0.1").await;
            let truth = venue.positions();
            let answer = rest.positions(generation, Product::UsdtFutures).await.unwrap();
            let [Report::Positions(statement)] = answer.reports.as_slice() else { panic!("{answer:?}") };
            assert_eq!(statement.rows.len(), 2);
            for row in &truth {
                let said = statement.rows.iter().find(|p| symbols().name(p.symbol) == row.symbol).unwrap();
                assert_eq!((said.size, said.entry_price), (row.size, row.entry_price));
                assert_eq!(said.side.label(), format!("{:?}", row.side).to_lowercase());
            }
            let account = rest.account(generation).await.unwrap();
            assert!(matches!(account.reports.as_slice(), [Report::Account(_)]), "{account:?}");
            let (fills, left) = rest.fills(generation, Product::UsdtFutures, 0, None, &|_| false).await.unwrap();
            assert!(left.is_none() && !fills.reports.is_empty() && fills.refused.is_empty(), "{fills:?}");
            venue.stop().await;
        });
    }
}

#[test]
fn broken_rest_is_never_flat() {
    let faults = [FaultName::Rest500, FaultName::RestHtml, FaultName::RestEmptyBody, FaultName::Rest429];
    for generation in GENERATIONS {
        alone(async {
            let venue = venue(generation, 1.0).await;
            let rest = rest(&venue);
            for fault in faults {
                venue.fault(FaultSpec::new(fault, 60_000));
                let answer = rest.positions(generation, Product::UsdtFutures).await;
                assert!(answer.is_err(), "{fault:?} {answer:?}");
                venue.stop_fault(fault);
            }
            assert!(rest.positions(generation, Product::UsdtFutures).await.is_ok());
            venue.stop().await;
        });
    }
}

#[test]
fn broken_frames_are_refused_and_the_connection_is_kept() {
    let cases: [(FaultName, &[Refusal]); 5] = [
        (FaultName::GarbageFrame, &[Refusal::Garbage, Refusal::UnknownShape]),
        (FaultName::TruncatedFrame, &[Refusal::Garbage]),
        (FaultName::WrongTypes, &[Refusal::BadField]),
        (FaultName::UnknownSymbol, &[Refusal::UnknownSymbol, Refusal::Inconsistent]),
        (FaultName::EmptyNumeric, &[Refusal::BadField]),
    ];
    for generation in GENERATIONS {
        alone(async {
            let venue = Rc::new(venue(generation, 1.0).await);
            let (public, _) = connect(&venue, generation);
            until("data", || (public.reports().len() > 10).then_some(())).await;
            for (fault, expected) in cases {
                let before = public.refusals().len();
                venue.fault(FaultSpec::new(fault, 60_000));
                let refused = || public.refusals().get(before..).filter(|r| !r.is_empty()).map(<[_]>::to_vec);
                let reasons = until(fault.label(), refused).await;
                venue.stop_fault(fault);
                assert!(reasons.iter().all(|r| expected.contains(r)), "{generation:?} {fault:?} {reasons:?}");
                let so_far = public.reports().len();
                until("data again", || (public.reports().len() > so_far + 5).then_some(())).await;
            }
            assert_eq!(public.notices(), [FeedNotice::Connected, FeedNotice::Ready { connection: 1 }]);
        });
    }
}

#[test]
fn whatever_ends_a_connection_data_come_back() {
    alone(async {
        let generation = Generation::Unified;
        let venue = venue(generation, 1.0).await;
        let (public, private) = connect(&venue, generation);
        for fault in [FaultName::Kill, FaultName::Close, FaultName::DailyDisconnect] {
            let batches = public.batches().len();
            until("data", || (public.batches().len() > batches).then_some(())).await;
            let sessions =
                |witness: &Witness| witness.notices().iter().filter(|n| matches!(n, FeedNotice::Ready { .. })).count();
            let before = (sessions(&public), sessions(&private));
            venue.fault(FaultSpec::new(fault, 0));
            until(fault.label(), || (sessions(&public) > before.0 && sessions(&private) > before.1).then_some(()))
                .await;
        }
        venue.stop().await;
    });
}

#[test]
fn a_wrong_secret_is_told_while_public_data_go_on() {
    alone(async {
        let generation = Generation::Classic;
        let venue = venue(generation, 1.0).await;
        let (public, _) = connect(&venue, generation);
        let (endpoints, symbols) = (Endpoints::at(&venue.url()), symbols());
        let streams = Stream::private(generation, &symbols);
        let wrong = Credential::new("key-of-the-test", "canary-secret", "pass-of-the-test");
        let plan = Plan { credential: Some(wrong), ..plan(&endpoints.private_url(generation), &symbols, streams) };
        let private = Witness::default();
        let mut outlet = private.clone();
        tokio::task::spawn_local(async move { keep_connected(&plan, None, &mut outlet).await });
        let refused = || {
            private
                .notices()
                .into_iter()
                .find_map(|n| if let FeedNotice::Waiting { reason, .. } = n { Some(reason) } else { None })
        };
        let reason = until("the refusal", refused).await;
        assert_eq!(reason, EndReason::LoginRefused { code: 30015 });
        assert!(!format!("{:?} {reason}", private.all()).contains("canary"));
        let so_far = public.reports().len();
        until("public data", || (public.reports().len() > so_far + 5).then_some(())).await;
        venue.stop().await;
    });
}
