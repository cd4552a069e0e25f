//! What a shell does whose thread came to it too late.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::{Actor, Context, Handler};

use super::card::Card;
use super::cell::Cell as _;
use super::cx::Cx;
use super::fence::Fence;
use super::journal::Journal;
use super::mailbox::Mailbox;
use super::outgoing::Target as _;
use super::quarantine::{Quarantine, Vocabulary};
use super::queue::lock;
use super::room::{Factory, Fault, Room};
use super::shell::{Birthright, Nursery as _, NurseryOf};
use super::supervisor::{Born, Died, ZombieEnded};
use super::testing::Number;
use crate::clock::Clock;

struct Counting;

impl Room for Counting {
    type Msg = Number;

    fn handle(&mut self, _: &Number, _: &mut Cx<Self>) -> Result<(), Fault> {
        Ok(())
    }
}

/// In the supervisor's place; what it hears, by epoch.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<(&'static str, u64)>>>);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<Born> for Ear {
    type Result = ();

    fn handle(&mut self, born: Born, _: &mut Self::Context) {
        lock(&self.0).push(("born", born.epoch));
    }
}

impl Handler<Died> for Ear {
    type Result = ();

    fn handle(&mut self, died: Died, _: &mut Self::Context) {
        lock(&self.0).push(("died", died.obituary.epoch));
    }
}

impl Handler<ZombieEnded> for Ear {
    type Result = ();

    fn handle(&mut self, ended: ZombieEnded, _: &mut Self::Context) {
        lock(&self.0).push(("zombie ended", ended.epoch));
    }
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            actix_rt::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("in good time");
}

/// A thread that another room had blocked comes to a birth that was given up meanwhile: the successor keeps the room, its
/// wake-ups and what waits for its birth. And a thread that ends before it came to it counts as ended, too.
#[actix_rt::test]
async fn a_birth_that_comes_too_late_takes_nothing_over() {
    let clock = Clock::manual(5);
    let quarantine =
        Arc::new(Quarantine::new(clock.clone(), Journal::start(clock.clone(), None), (8, Vocabulary::default()), None));
    let (cell, births, zombies) =
        (Mailbox::<Number>::new(&Card::new("a", "test")), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&births);
    let factory: Factory<Counting> = Arc::new(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(Counting)
    });
    let nursery = NurseryOf { cell: Arc::clone(&cell), factory };
    let ear = Ear::default();
    let heard = Arc::clone(&ear.0);
    let address = ear.start();
    let right = |epoch: u64, fence: &Fence| Birthright {
        room: 0,
        epoch,
        cause: None,
        fence: fence.clone(),
        clock: clock.clone(),
        quarantine: Arc::clone(&quarantine),
        born: address.clone().recipient(),
        died: address.clone().recipient(),
        zombie: address.clone().recipient(),
    };
    let hears = async |what: (&'static str, u64)| until(|| lock(&heard).contains(&what)).await;
    let given_up = || {
        let fence = Fence::new(Arc::clone(&zombies));
        assert_eq!(fence.raise(), 1);
        fence
    };
    cell.begin(3, Fence::default());
    nursery.launch(right(3, &Fence::default()))();
    hears(("born", 3)).await;

    let late = given_up();
    nursery.launch(right(2, &late))();
    hears(("zombie ended", 2)).await;
    assert_eq!((births.load(Ordering::SeqCst), zombies.load(Ordering::SeqCst)), (1, 0), "it was not born");
    assert!(cell.deliver(cell.envelope(Number(1))).is_ok());
    until(|| lock(&cell.slot).handled == 1).await;

    let never = given_up();
    drop(nursery.launch(right(1, &never)));
    hears(("zombie ended", 1)).await;
    assert_eq!(zombies.load(Ordering::SeqCst), 0);
}
