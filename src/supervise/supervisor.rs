//! The supervisor: an actor on an arbiter of its own that carries out what [`Policy`] decides. It runs no code of a
//! room's author.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::prelude::{Actor, AsyncContext, Context, Handler, Message, MessageResult};
use actix_rt::Arbiter;
use tokio::sync::oneshot;

use super::cell::Obituary;
use super::crash::crash_report;
use super::fence::Fence;
use super::journal::Record;
use super::orders::Control;
use super::policy::{Class, Death, Decision, Event, Fate, Policy};
use super::room::DeathCause;
use super::shared::Shared;
use super::shell::{Birthright, Nursery, unborn};
use super::slot::Mourned;
use super::status::RoomState;
use super::watchdog::{self, Limits};
use crate::clock::Clock;
use crate::error::Exit;

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Born {
    pub(crate) room: usize,
    pub(crate) epoch: u64,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Died {
    pub(crate) room: usize,
    pub(crate) obituary: Box<Obituary>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ZombieEnded {
    pub(crate) room: usize,
    pub(crate) epoch: u64,
}

/// An operator's restart of one room.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RestartRoom(pub(crate) usize);

/// Stops a group for good; answered when all its rooms are down.
#[derive(Message)]
#[rtype(result = "oneshot::Receiver<()>")]
pub(crate) struct StopGroup(pub(crate) usize);

/// Ends the arbiters of all rooms and hands them out to be joined.
#[derive(Message)]
#[rtype(result = "Vec<(usize, Arbiter)>")]
pub(crate) struct TakeArbiters;

struct Place {
    nursery: Box<dyn Nursery>,
    /// Index of its thread; rooms with the same one share it.
    home: usize,
    cause: Option<DeathCause>,
    born_of: Option<(Instant, &'static str, String)>,
    started_at: Instant,
}

pub(crate) struct Supervisor {
    policy: Policy,
    shared: Arc<Shared>,
    clock: Clock,
    limits: Limits,
    places: Vec<Place>,
    /// The threads that rooms live on at present.
    homes: Vec<Option<(Arbiter, Fence)>>,
    waiting_stops: Vec<(usize, oneshot::Sender<()>)>,
}

impl Supervisor {
    pub(crate) fn new(
        policy: Policy,
        shared: Arc<Shared>,
        clock: Clock,
        limits: Limits,
        nurseries: Vec<(Box<dyn Nursery>, usize)>,
    ) -> Self {
        let homes = nurseries.iter().map(|_| None).collect();
        let places = nurseries
            .into_iter()
            .map(|(nursery, home)| Place { nursery, home, cause: None, born_of: None, started_at: Instant::now() })
            .collect();
        Self { policy, shared, clock, limits, places, homes, waiting_stops: Vec::new() }
    }

    fn decide(&mut self, event: Event, ctx: &mut Context<Self>) {
        let decisions = self.policy.decide(event, self.shared.millis());
        self.carry_out(decisions, ctx);
    }

    fn carry_out(&mut self, decisions: Vec<Decision>, ctx: &mut Context<Self>) {
        for decision in decisions {
            match decision {
                Decision::Start { room, epoch } => self.start(room, epoch, ctx),
                Decision::Stop { room } => {
                    self.cell(room).set_state(RoomState::Stopping, None);
                    self.cell(room).control(Control::Stop);
                }
                Decision::Wait { room, epoch, delay } => {
                    self.cell(room).set_state(RoomState::Waiting, Some(Instant::now() + delay));
                    ctx.run_later(delay, move |me, ctx| me.decide(Event::Due { room, epoch }, ctx));
                }
                Decision::WaitGroup { group, wave, delay } => {
                    ctx.run_later(delay, move |me, ctx| me.decide(Event::GroupDue { group, wave }, ctx));
                }
                // Settled when the report was written, before anything can start.
                Decision::Settle { .. } => {}
                Decision::Ended { room } => {
                    let cause = self.places[room].cause.as_ref().map_or("", DeathCause::kind);
                    let (path, cell) = (self.shared.path(room), self.cell(room));
                    let (name, epoch) = (cell.card().name, cell.status("", Instant::now()).epoch);
                    self.shared.journal.record(Record::Ended { room: name, path, epoch, cause });
                    let cell = self.cell(room);
                    cell.set_state(RoomState::Ended, None);
                    cell.close(&self.shared.quarantine);
                    let home = self.places[room].home;
                    if self.places.iter().filter(|place| place.home == home).count() == 1 {
                        self.end_home(room);
                    }
                }
                Decision::Escalate { group, room, why, delay } => {
                    self.shared.journal.record(Record::Escalate {
                        group: self.shared.groups[group],
                        room: self.cell(room).card().name,
                        why,
                        delay_ms: millis(delay),
                    });
                }
                Decision::GroupStopped { group } => self.group_stopped(group),
                Decision::GiveUp => self.shared.end(Exit::GaveUp, "escalated to the root too often"),
            }
        }
    }

    fn group_stopped(&mut self, group: usize) {
        let mut undelivered = 0;
        for child in self.shared.children.iter().filter(|child| child.group == group) {
            child.cell.set_state(RoomState::Ended, None);
            child.cell.close(&self.shared.quarantine);
            undelivered += child.cell.left();
        }
        self.shared.journal.record(Record::Stopped { group: self.shared.groups[group], undelivered });
        for (waiting, done) in std::mem::take(&mut self.waiting_stops) {
            if waiting == group {
                let _ = done.send(());
            } else {
                self.waiting_stops.push((waiting, done));
            }
        }
    }

    fn start(&mut self, room: usize, epoch: u64, ctx: &mut Context<Self>) {
        let home = self.places[room].home;
        let home_is_alive =
            self.homes[home].as_ref().is_some_and(|(arbiter, fence)| arbiter.alive() && !fence.is_raised());
        if !home_is_alive {
            match Arbiter::try_new() {
                Ok(arbiter) => {
                    // Who still lives on the old one learns from its fence that it was given up.
                    self.end_home(room);
                    self.homes[home] = Some((arbiter, Fence::new(Arc::clone(&self.shared.zombies))));
                }
                Err(error) => {
                    self.cell(room).miss(epoch);
                    let obituary = Box::new(unborn(epoch, format!("no thread: {error}")));
                    return ctx.notify(Died { room, obituary });
                }
            }
        }
        let place = &mut self.places[room];
        let Some((arbiter, fence)) = &self.homes[home] else { return };
        place.started_at = Instant::now();
        let cell = &self.shared.children[room].cell;
        cell.reopen();
        cell.begin(epoch, fence.clone());
        cell.set_state(RoomState::Starting, None);
        let me = ctx.address();
        let right = Birthright {
            room,
            epoch,
            cause: place.cause.take(),
            fence: fence.clone(),
            clock: self.clock.clone(),
            quarantine: Arc::clone(&self.shared.quarantine),
            born: me.clone().recipient(),
            died: me.clone().recipient(),
            zombie: me.recipient(),
        };
        // If the arbiter ends just now the watchdog finds a birth that never comes to an end.
        arbiter.spawn_fn(place.nursery.launch(right));
    }

    fn died(&mut self, room: usize, mut obituary: Obituary, ctx: &mut Context<Self>) {
        let cause = obituary.cause.clone();
        // The one that hung first has taken the thread with it: a later death is of the old thread, not of the new one.
        let given_up = self.homes[self.places[room].home].as_ref().is_some_and(|(_, fence)| fence.is_raised());
        if matches!(cause, DeathCause::Hang { .. }) && given_up {
            self.end_home(room);
        }
        let death = Death {
            room,
            epoch: obituary.epoch,
            class: class(&cause),
            in_hand: obituary.in_hand,
            progressed: obituary.handled > 0,
            lived: obituary.lived,
        };
        let decisions = self.policy.decide(Event::Died(death), self.shared.millis());
        let fate = decisions
            .iter()
            .find_map(|decision| match decision {
                Decision::Settle { fate, .. } => Some(*fate),
                _ => None,
            })
            .unwrap_or(Fate::Nothing);
        let cell = self.cell(room);
        cell.settle(fate, &cause);
        cell.set_state(RoomState::Waiting, None);
        if class(&cause) == Class::Stopped {
            self.places[room].born_of = None;
        } else {
            cell.count_death(cause.clone());
            let card = self.cell(room).card();
            let budget_left = self.policy.budget_left(room);
            let report = crash_report(self.shared.path(room), card, &mut obituary, fate, &decisions, budget_left);
            let fingerprint = report.fingerprint.clone();
            self.cell(room).mourn(Mourned { at: obituary.at, cause: cause.kind(), fingerprint: fingerprint.clone() });
            self.places[room].born_of = Some((obituary.at, cause.kind(), fingerprint));
            self.shared.journal.record(Record::Down(Box::new(report)));
        }
        self.places[room].cause = Some(cause);
        self.carry_out(decisions, ctx);
    }

    /// Lets go of a room's arbiter: it ends when whatever runs on it returns.
    fn end_home(&mut self, room: usize) {
        if let Some((arbiter, _)) = self.homes[self.places[room].home].take() {
            arbiter.stop();
        }
    }

    fn cell(&self, room: usize) -> &dyn super::cell::Cell {
        &*self.shared.children[room].cell
    }
}

const fn class(cause: &DeathCause) -> Class {
    match cause {
        DeathCause::Panic(_) => Class::Panic,
        DeathCause::Retry(_) => Class::Retry,
        DeathCause::Poison(_) => Class::Poison,
        DeathCause::Fatal(_) => Class::Fatal,
        DeathCause::Hang { .. } => Class::Hang,
        DeathCause::TaskPanic { .. } | DeathCause::TimerPanic(_) => Class::Aside,
        DeathCause::BirthPanic(_) | DeathCause::BirthFault(_) => Class::Birth,
        DeathCause::Finished => Class::Finished,
        DeathCause::Stopped => Class::Stopped,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.shared.beat_ms.store(self.shared.millis(), Ordering::Relaxed);
        if let Some(tid) = super::starved::this_thread() {
            let _ = self.shared.supervisor_tid.set(tid);
        }
        ctx.run_interval(self.limits.supervisor_deadline / 10, |me, _| {
            me.shared.beat_ms.store(me.shared.millis(), Ordering::Relaxed);
        });
        if !watchdog::start(Arc::clone(&self.shared), ctx.address().recipient(), self.limits) {
            return self.shared.end(Exit::GaveUp, "no thread for the watchdog");
        }
        self.decide(Event::Boot, ctx);
    }
}

impl Handler<Born> for Supervisor {
    type Result = ();

    fn handle(&mut self, Born { room, epoch }: Born, ctx: &mut Self::Context) {
        let path = self.shared.path(room);
        let name = self.cell(room).card().name;
        let place = &mut self.places[room];
        let record = match place.born_of.take() {
            Some((at, cause, fingerprint)) => Record::Restarted {
                room: name,
                path,
                epoch,
                cause,
                recovery_us: u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX),
                fingerprint,
            },
            None => Record::Ready {
                room: name,
                path,
                epoch,
                birth_us: u64::try_from(place.started_at.elapsed().as_micros()).unwrap_or(u64::MAX),
            },
        };
        self.shared.journal.record(record);
        self.cell(room).set_state(RoomState::Running, None);
        self.decide(Event::Born { room, epoch }, ctx);
    }
}

impl Handler<Died> for Supervisor {
    type Result = ();

    fn handle(&mut self, Died { room, obituary }: Died, ctx: &mut Self::Context) {
        self.died(room, *obituary, ctx);
    }
}

impl Handler<ZombieEnded> for Supervisor {
    type Result = ();

    fn handle(&mut self, ZombieEnded { room, epoch }: ZombieEnded, _: &mut Self::Context) {
        self.shared.journal.record(Record::ZombieEnded { room: self.cell(room).card().name, epoch });
    }
}

impl Handler<RestartRoom> for Supervisor {
    type Result = ();

    fn handle(&mut self, RestartRoom(room): RestartRoom, ctx: &mut Self::Context) {
        self.decide(Event::Restart { room }, ctx);
    }
}

impl Handler<StopGroup> for Supervisor {
    type Result = MessageResult<StopGroup>;

    fn handle(&mut self, StopGroup(group): StopGroup, ctx: &mut Self::Context) -> Self::Result {
        let (done, wait) = oneshot::channel();
        self.waiting_stops.push((group, done));
        if self.policy.is_stopped(group) {
            self.group_stopped(group);
        } else {
            self.decide(Event::Stop { group }, ctx);
        }
        MessageResult(wait)
    }
}

impl Handler<TakeArbiters> for Supervisor {
    type Result = MessageResult<TakeArbiters>;

    fn handle(&mut self, _: TakeArbiters, _: &mut Self::Context) -> Self::Result {
        let mut arbiters = Vec::new();
        for (room, home) in self.homes.iter_mut().enumerate() {
            if let Some((arbiter, _)) = home.take() {
                arbiter.stop();
                arbiters.push((room, arbiter));
            }
        }
        MessageResult(arbiters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::{Tree, TreeConfig};

    #[derive(Message)]
    #[rtype(result = "()")]
    pub(crate) struct Block(pub(crate) Duration);

    impl Handler<Block> for Supervisor {
        type Result = ();

        fn handle(&mut self, Block(span): Block, _: &mut Self::Context) {
            std::thread::sleep(span);
        }
    }

    #[actix_rt::test]
    async fn a_supervisor_that_hangs_is_found_from_outside() {
        let (tell, told) = std::sync::mpsc::channel();
        let config = TreeConfig {
            supervisor_deadline: Duration::from_millis(300),
            on_exit: Arc::new(move |exit| {
                let _ = tell.send(exit);
            }),
            ..TreeConfig::new(Clock::system(), 1)
        };
        let running = Tree::new(config).start();
        running.supervisor().do_send(Block(Duration::from_millis(1_500)));
        let exit = tokio::time::timeout(Duration::from_secs(20), running.ended()).await.expect("found");
        assert_eq!(exit, Exit::SupervisorHung);
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(Exit::SupervisorHung));
    }
}
