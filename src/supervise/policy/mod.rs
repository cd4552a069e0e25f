//! What the supervisor decides: (event, now) to decisions. Pure, so that it can be tested by the hour in milliseconds.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::card::Restart;
use crate::domain::backoff::Backoff;

mod budget;
mod types;

pub use types::{Budgets, Strategy};
pub(crate) use types::{Class, Death, Decision, Event, Fate, InHand, ROOT_ESCALATIONS, ROOT_WITHIN_MS};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down,
    Starting,
    Running,
    Stopping,
    Waiting,
    Ended,
}

pub(crate) struct RoomPolicy {
    pub(crate) group: usize,
    pub(crate) restart: Restart,
    pub(crate) attempts: u8,
    state: State,
    epoch: u64,
    streak: u32,
    retries: u32,
    tries: u32,
    revive: bool,
}

pub(crate) struct GroupPolicy {
    strategy: Strategy,
    budgets: Budgets,
    rooms: Vec<usize>,
    /// Time and cost of recent deaths.
    window: VecDeque<(u64, u32)>,
    wave: Option<Wave>,
    queue: VecDeque<usize>,
    stopping: bool,
    stopped: bool,
}

/// Several rooms go down and come back together.
struct Wave {
    id: u64,
    /// Index into the group's rooms: this one and all after it.
    from: usize,
    due: bool,
}

pub(crate) struct Policy {
    rooms: Vec<RoomPolicy>,
    groups: Vec<GroupPolicy>,
    backoff: Backoff,
    escalations: VecDeque<u64>,
    rng: ChaCha8Rng,
    waves: u64,
    gave_up: bool,
    out: Vec<Decision>,
}

impl Policy {
    pub(crate) fn new(backoff: Backoff, seed: u64) -> Self {
        Self {
            rooms: Vec::new(),
            groups: Vec::new(),
            backoff,
            escalations: VecDeque::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            waves: 0,
            gave_up: false,
            out: Vec::new(),
        }
    }

    pub(crate) fn add_group(&mut self, strategy: Strategy, budgets: Budgets) -> usize {
        self.groups.push(GroupPolicy {
            strategy,
            budgets,
            rooms: Vec::new(),
            window: VecDeque::new(),
            wave: None,
            queue: VecDeque::new(),
            stopping: false,
            stopped: false,
        });
        self.groups.len() - 1
    }

    pub(crate) fn add_room(&mut self, group: usize, restart: Restart, attempts: u8) -> usize {
        let room = self.rooms.len();
        let state = State::Down;
        self.rooms.push(RoomPolicy {
            group,
            restart,
            attempts: attempts.max(1),
            state,
            epoch: 0,
            streak: 0,
            retries: 0,
            tries: 0,
            revive: false,
        });
        if let Some(group) = self.groups.get_mut(group) {
            group.rooms.push(room);
        }
        room
    }

    pub(crate) fn decide(&mut self, event: Event, now_ms: u64) -> Vec<Decision> {
        match event {
            Event::Boot => {
                for group in 0..self.groups.len() {
                    self.groups[group].queue = self.groups[group].rooms.iter().copied().collect();
                    self.pump(group);
                }
            }
            Event::Born { room, epoch } => {
                if self.rooms[room].epoch == epoch && self.rooms[room].state == State::Starting {
                    self.rooms[room].state = State::Running;
                    self.pump(self.rooms[room].group);
                }
            }
            Event::Died(death) => self.died(death, now_ms),
            Event::Due { room, epoch } => {
                let known = &self.rooms[room];
                if known.state == State::Waiting && known.epoch == epoch && !self.groups[known.group].stopping {
                    self.start(room);
                }
            }
            Event::GroupDue { group, wave } => {
                if let Some(pending) = self.groups[group].wave.as_mut().filter(|pending| pending.id == wave) {
                    pending.due = true;
                    self.pump(group);
                }
            }
            Event::Restart { room } => self.restart(room),
            Event::Stop { group } => {
                self.groups[group].stopping = true;
                self.groups[group].queue.clear();
                self.groups[group].wave = None;
                self.pump(group);
            }
        }
        std::mem::take(&mut self.out)
    }

    fn died(&mut self, death: Death, now_ms: u64) {
        let Death { room, epoch, class, in_hand, lived, .. } = death;
        if self.rooms[room].epoch != epoch || !self.is_alive(room) {
            return;
        }
        let group = self.rooms[room].group;
        let was_stopping = self.rooms[room].state == State::Stopping;
        self.rooms[room].state = State::Down;
        let fate = self.fate(room, class, in_hand);
        if in_hand != InHand::Nothing {
            self.out.push(Decision::Settle { room, fate });
        }
        let revive = std::mem::take(&mut self.rooms[room].revive);
        let ends = match self.rooms[room].restart {
            _ if revive => false,
            Restart::Permanent => false,
            Restart::Transient => class == Class::Finished,
            Restart::Temporary => class != Class::Stopped,
        };
        let by_message = matches!(in_hand, InHand::Data { .. }) && matches!(class, Class::Panic | Class::Poison);
        let exceeded = if self.groups[group].stopping { None } else { self.charge(&death, by_message, now_ms) };
        if ends {
            self.rooms[room].state = State::Ended;
            self.out.push(Decision::Ended { room });
        }
        if self.groups[group].stopping {
            return self.pump(group);
        }
        if let Some(why) = exceeded {
            return self.escalate(group, room, why, now_ms);
        }
        if ends {
            return self.pump(group);
        }
        if was_stopping && class == Class::Stopped && self.is_in_wave(room) {
            return self.pump(group);
        }
        let tries = if self.backoff.is_stable(lived) { 0 } else { self.rooms[room].tries };
        self.rooms[room].tries = tries;
        let delay = if by_message || class == Class::Stopped {
            Duration::ZERO
        } else {
            // A dependency that is down is not up a moment later: the first retry waits already.
            let count = if class == Class::Retry { tries + 1 } else { tries };
            self.rooms[room].tries = tries.saturating_add(1);
            let random = self.rng.next_u64();
            self.backoff.delay(count, random)
        };
        self.come_back(group, room, delay);
    }

    fn fate(&self, room: usize, class: Class, in_hand: InHand) -> Fate {
        let tries_left = |attempts: u8| attempts.saturating_add(1) < self.rooms[room].attempts;
        match (in_hand, class) {
            (InHand::Nothing, _) => Fate::Nothing,
            (InHand::Inner, Class::Panic | Class::Poison | Class::Hang) | (InHand::Data { .. }, Class::Poison) => {
                Fate::Quarantine
            }
            (InHand::Inner, _) => Fate::Drop,
            (InHand::Data { attempts }, Class::Panic | Class::Hang) if !tries_left(attempts) => Fate::Quarantine,
            (InHand::Data { .. }, Class::Panic | Class::Hang) => Fate::Back,
            (InHand::Data { .. }, _) => Fate::BackUncounted,
        }
    }

    fn escalate(&mut self, group: usize, room: usize, why: &'static str, now_ms: u64) {
        while self.escalations.front().is_some_and(|at| now_ms.saturating_sub(*at) >= ROOT_WITHIN_MS) {
            self.escalations.pop_front();
        }
        self.escalations.push_back(now_ms);
        let count = self.escalations.len();
        let random = self.rng.next_u64();
        let delay = self.backoff.delay(u32::try_from(count - 1).unwrap_or(u32::MAX), random);
        self.out.push(Decision::Escalate { group, room, why, delay });
        if count > ROOT_ESCALATIONS {
            if !std::mem::replace(&mut self.gave_up, true) {
                self.out.push(Decision::GiveUp);
            }
            // The other groups are stopped in order by whoever runs the tree: sources first, the writer last, so that it
            // can still mark what nobody keeps up to date any more.
            self.groups[group].stopping = true;
            self.groups[group].queue.clear();
            self.groups[group].wave = None;
            self.pump(group);
            return;
        }
        self.groups[group].window.clear();
        for member in self.groups[group].rooms.clone() {
            self.rooms[member].streak = 0;
            self.rooms[member].retries = 0;
        }
        self.begin_wave(group, 0, delay);
    }

    /// Brings a dead room back, with those that share its death.
    fn come_back(&mut self, group: usize, room: usize, delay: Duration) {
        match self.groups[group].strategy {
            Strategy::RestForOne => self.begin_wave(group, self.place(room), delay),
            Strategy::OneForAll => self.begin_wave(group, 0, delay),
            Strategy::OneForOne if self.groups[group].wave.is_some() => self.pump(group),
            Strategy::OneForOne if delay.is_zero() => self.start(room),
            Strategy::OneForOne => {
                self.rooms[room].state = State::Waiting;
                self.out.push(Decision::Wait { room, epoch: self.rooms[room].epoch, delay });
            }
        }
    }

    fn begin_wave(&mut self, group: usize, from: usize, delay: Duration) {
        self.waves += 1;
        let id = self.waves;
        // With those that an earlier one was still to bring back.
        let going_down = self.groups[group].wave.as_ref().map(|wave| wave.from);
        let coming_up = self.groups[group].queue.front().map(|room| self.place(*room));
        let from = going_down.into_iter().chain(coming_up).fold(from, usize::min);
        self.groups[group].wave = Some(Wave { id, from, due: delay.is_zero() });
        self.groups[group].queue.clear();
        for member in from..self.groups[group].rooms.len() {
            let member = self.groups[group].rooms[member];
            if self.rooms[member].state == State::Waiting {
                // Its own backoff is overtaken: it comes back with the others.
                self.rooms[member].state = State::Down;
            }
        }
        if !delay.is_zero() {
            self.out.push(Decision::WaitGroup { group, wave: id, delay });
        }
        self.pump(group);
    }

    fn restart(&mut self, room: usize) {
        match self.rooms[room].state {
            State::Starting | State::Running => {
                self.rooms[room].revive = true;
                self.rooms[room].state = State::Stopping;
                self.out.push(Decision::Stop { room });
            }
            State::Down | State::Waiting | State::Ended => {
                let group = &self.groups[self.rooms[room].group];
                if group.stopping || group.queue.contains(&room) {
                    return;
                }
                if self.is_in_wave(room) {
                    // It comes back in its turn, with the others.
                    self.rooms[room].state = State::Down;
                } else {
                    self.start(room);
                }
            }
            State::Stopping => {}
        }
    }

    /// Does the next step of a group that goes down or comes up: down one by one in reverse, up in order.
    fn pump(&mut self, group: usize) {
        let from = match (&self.groups[group].wave, self.groups[group].stopping) {
            (_, true) => Some(0),
            (Some(wave), false) => Some(wave.from),
            (None, false) => None,
        };
        if let Some(from) = from {
            let last_alive = self.groups[group].rooms[from..].iter().rev().copied().find(|room| self.is_alive(*room));
            if let Some(room) = last_alive {
                if self.rooms[room].state != State::Stopping {
                    self.rooms[room].state = State::Stopping;
                    self.out.push(Decision::Stop { room });
                }
                return;
            }
            if self.groups[group].stopping {
                if !std::mem::replace(&mut self.groups[group].stopped, true) {
                    self.out.push(Decision::GroupStopped { group });
                }
                return;
            }
            if self.groups[group].wave.as_ref().is_some_and(|wave| !wave.due) {
                return;
            }
            self.groups[group].wave = None;
            let members = self.groups[group].rooms[from..].to_vec();
            self.groups[group].queue =
                members.into_iter().filter(|room| self.rooms[*room].state != State::Ended).collect();
        }
        let together = self.groups[group].strategy == Strategy::OneForOne;
        while together || !self.groups[group].rooms.iter().any(|room| self.rooms[*room].state == State::Starting) {
            let Some(room) = self.groups[group].queue.pop_front() else { return };
            self.start(room);
        }
    }

    fn start(&mut self, room: usize) {
        let known = &mut self.rooms[room];
        known.epoch += 1;
        known.state = State::Starting;
        self.out.push(Decision::Start { room, epoch: known.epoch });
    }

    /// Its index in its group, which is the order of starting.
    fn place(&self, room: usize) -> usize {
        let rooms = &self.groups[self.rooms[room].group].rooms;
        rooms.iter().position(|known| *known == room).unwrap_or(0)
    }

    /// It goes down and comes back with others just now.
    fn is_in_wave(&self, room: usize) -> bool {
        self.groups[self.rooms[room].group].wave.as_ref().is_some_and(|wave| self.place(room) >= wave.from)
    }

    pub(crate) fn is_stopped(&self, group: usize) -> bool {
        self.groups[group].stopped
    }

    fn is_alive(&self, room: usize) -> bool {
        matches!(self.rooms[room].state, State::Starting | State::Running | State::Stopping)
    }
}

#[cfg(test)]
mod tests;
