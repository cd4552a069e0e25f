//! A connection that only grew old: replaced in peace, and without a gap.

use crate::scripted::{Peer, Witness, alone, exchange, plan, ticker, trade, until};
use crate::session::{keep, one, symbols, tickers};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use trapline::domain::refusal::Refused;
use trapline::domain::report::{Batch, Report};
use trapline::exchange::bitget::subscribe::{Channel, Stream};
use trapline::exchange::session::{EndReason, FeedNotice, Gone, Outlet, keep_connected};

#[test]
fn a_connection_is_replaced_in_peace_before_the_exchange_does_it() {
    alone(async {
        let url = exchange(|mut peer: Peer| async move {
            let frame = peer.hear_json().await.unwrap();
            peer.acknowledge(&frame).await;
            peer.say(ticker("BTCUSDT", 1)).await;
            peer.stay().await;
        })
        .await;
        let symbols = symbols();
        let mut plan = plan(&url, &symbols, tickers(&symbols));
        plan.settings.planned_reconnect = Duration::from_millis(100);
        let (end, witness) = one(&plan).await;
        assert_eq!((end.reason, end.useful), (EndReason::Planned, true));
        assert!(matches!(witness.notices().last(), Some(FeedNotice::Lost { .. })));
    });
}

#[test]
fn an_old_connection_is_relieved_without_a_gap_or_a_repetition() {
    alone(async {
        // Trades are numbered over all connections, as on a real exchange: each open connection hears each.
        let newest = Rc::new(Cell::new(0_u64));
        let open = Rc::new(Cell::new(0_usize));
        let most = Rc::new(Cell::new(0_usize));
        let (counter, opened, highest) = (newest.clone(), open.clone(), most.clone());
        let url = exchange(move |mut peer: Peer| {
            let (newest, open, most) = (counter.clone(), opened.clone(), highest.clone());
            async move {
                let frame = peer.hear_json().await.unwrap();
                peer.acknowledge(&frame).await;
                peer.say(ticker("BTCUSDT", 1)).await;
                open.set(open.get() + 1);
                most.set(most.get().max(open.get()));
                let mut said = newest.get();
                loop {
                    while said < newest.get() {
                        said += 1;
                        peer.say(trade("BTCUSDT", said)).await;
                    }
                    match tokio::time::timeout(Duration::from_millis(3), peer.hear(true)).await {
                        Ok(None) => break,
                        _ => continue,
                    }
                }
                open.set(open.get() - 1);
            }
        })
        .await;
        tokio::task::spawn_local(async move {
            loop {
                newest.set(newest.get() + 1);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let symbols = symbols();
        let btc = symbols.id("BTCUSDT").unwrap();
        let mut plan =
            plan(&url, &symbols, vec![Stream::public(Channel::Ticker, btc), Stream::public(Channel::Trades, btc)]);
        plan.settings.planned_reconnect = Duration::from_millis(300);
        let witness = keep(plan);
        let served = |w: &Witness| w.batches().iter().map(|b| b.connection).max().unwrap_or(0);
        until("four connections", || (served(&witness) >= 4).then_some(())).await;
        assert!(!witness.notices().iter().any(|n| matches!(n, FeedNotice::Lost { .. } | FeedNotice::Waiting { .. })));
        assert_eq!(most.get(), 2, "two at a time, no more");
        let ids: Vec<u64> =
            witness.reports().iter().filter_map(|r| if let Report::Trade(t) = r { Some(t.id) } else { None }).collect();
        let mut once = ids.clone();
        once.sort_unstable();
        once.dedup();
        let (first, last) = (once[0], once[once.len() - 1]);
        assert_eq!(once.len() as u64, last - first + 1, "a trade is missing");
        assert!(ids.len() < 2 * once.len(), "only what comes while both run is heard twice");
    });
}

/// Hands on only when it is let, as a full mailbox does.
#[derive(Clone, Default)]
struct Blocked {
    witness: Witness,
    is_blocked: Rc<Cell<bool>>,
    waits: Rc<Cell<bool>>,
    free: Rc<tokio::sync::Notify>,
}

impl Blocked {
    /// A connection that is soon old hands on to this one.
    fn keep(&self, url: &str) {
        let symbols = symbols();
        let mut plan = plan(url, &symbols, tickers(&symbols));
        plan.settings.planned_reconnect = Duration::from_millis(200);
        let mut outlet = self.clone();
        tokio::task::spawn_local(async move { keep_connected(&plan, None, &mut outlet).await });
    }

    fn block(&self) {
        self.is_blocked.set(true);
    }

    fn free(&self) {
        self.is_blocked.set(false);
        self.free.notify_one();
    }

    /// How many batches were handed on of the first connection, and of those after it.
    fn of_old_and_new(&self) -> (usize, usize) {
        let batches = self.witness.batches();
        let old = batches.iter().take_while(|batch| batch.connection == batches[0].connection).count();
        (old, batches.len() - old)
    }
}

/// Says new prices until the other side leaves.
async fn prices(mut peer: Peer) {
    for price in 1.. {
        peer.say(ticker("BTCUSDT", price)).await;
        if matches!(tokio::time::timeout(Duration::from_millis(5), peer.hear(true)).await, Ok(None)) {
            return;
        }
    }
}

impl Outlet for Blocked {
    fn alive(&self) {}

    async fn batch(&mut self, batch: Batch) -> Result<(), Gone> {
        while self.is_blocked.get() {
            self.waits.set(true);
            self.free.notified().await;
        }
        self.witness.batch(batch).await
    }

    async fn refused(&mut self, refused: Vec<Refused>) -> Result<(), Gone> {
        self.witness.refused(refused).await
    }

    async fn notice(&mut self, notice: FeedNotice) -> Result<(), Gone> {
        self.witness.notice(notice).await
    }
}

/// An old connection hands something on, and is not let, while its successor cannot be had: both go on afterwards.
#[test]
fn an_old_connection_that_has_the_outlet_in_hand_gives_it_back() {
    alone(async {
        let blocked = Blocked::default();
        let (outlet, gone) = (blocked.clone(), Rc::new(Cell::new(false)));
        let left = gone.clone();
        let url = exchange(move |mut peer: Peer| {
            let (outlet, left) = (outlet.clone(), left.clone());
            async move {
                let frame = peer.hear_json().await.unwrap();
                if peer.number > 1 {
                    // The successor ends just when the old one waits with something in hand.
                    outlet.is_blocked.set(!left.get());
                    until("the old one waits", || (outlet.waits.get() || left.get()).then_some(())).await;
                    left.set(true);
                    return peer.vanish();
                }
                peer.acknowledge(&frame).await;
                prices(peer).await;
            }
        })
        .await;
        blocked.keep(&url);
        until("a successor that cannot be had", || gone.get().then_some(())).await;
        // Time for the news of it to want the outlet.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = blocked.witness.batches().len();
        blocked.free();
        let told = |n: &FeedNotice| matches!(n, FeedNotice::NotRelieved { .. });
        until("the news", || blocked.witness.notices().iter().any(told).then_some(())).await;
        until("more data", || (blocked.witness.batches().len() > before + 3).then_some(())).await;
    });
}

/// An old connection that still hands something on when its time to leave is over: that arrives, then the new one speaks.
#[test]
fn an_old_connection_that_is_late_to_leave_hands_on_what_it_has_in_hand() {
    alone(async {
        let blocked = Blocked::default();
        let outlet = blocked.clone();
        let url = exchange(move |mut peer: Peer| {
            let outlet = outlet.clone();
            async move {
                let frame = peer.hear_json().await.unwrap();
                if peer.number == 2 {
                    // From now on the old one cannot hand anything on; the new one comes to work all the same.
                    outlet.block();
                    until("the old one waits", || outlet.waits.get().then_some(())).await;
                }
                peer.acknowledge(&frame).await;
                prices(peer).await;
            }
        })
        .await;
        blocked.keep(&url);
        until("the old one waits", || blocked.waits.get().then_some(())).await;
        // Longer than both may run, and than an old one may take to leave; nothing that could be waited for tells of it.
        tokio::time::sleep(Duration::from_secs(7)).await;
        let (before, of_new) = blocked.of_old_and_new();
        assert_eq!(of_new, 0, "the new one does not speak before what is older was handed on");
        blocked.free();
        until("the new one speaks", || (blocked.of_old_and_new().1 > 3).then_some(())).await;
        let (after, _) = blocked.of_old_and_new();
        assert!(after > before, "what the old one had in hand is lost");
    });
}
