//! What faults do to connections and to the account's picture: begin, act, end. What they do to data frames is in
//! [`super::mangle`].

use super::core::Core;
use super::desk;
use super::faults::{Active, FaultName, FaultSpec};
use super::hub::{ClientId, Feed, Topic};
use super::market::state::SNAPSHOT_TRADES;
use super::outbox::End;
use super::wire;

impl Core {
    /// Starts a fault; what acts at once does.
    pub fn start_fault(&mut self, spec: FaultSpec) {
        let now_ms = self.clock.now_ms();
        tracing::info!(fault = spec.name.label(), ms = spec.ms, value = ?spec.value, "fault on");
        match spec.name {
            FaultName::HalfOpen => {
                self.faults.start(spec.clone(), now_ms);
                let chosen = self.hub.clients.values().filter(|c| spec.reaches(c.private));
                let hit = chosen.map(|c| c.outbox.mute(true)).count();
                (0..hit).for_each(|_| {
                    self.faults.hit(FaultName::HalfOpen);
                });
            }
            FaultName::StalePosition => {
                self.faults.start(spec, now_ms);
                for owner in &mut self.owners {
                    owner.stale = Some(Box::new(owner.account.clone()));
                }
            }
            name => {
                self.faults.start(spec, now_ms);
                if name.is_pulse() {
                    self.pulse(name);
                }
            }
        }
    }

    /// Ends a fault before its time.
    pub fn stop_fault(&mut self, name: FaultName) {
        if let Some(active) = self.faults.stop(name) {
            self.fault_over(&active);
        }
    }

    fn fault_over(&mut self, active: &Active) {
        tracing::info!(fault = active.spec.name.label(), hits = active.hits, "fault over");
        match active.spec.name {
            FaultName::HalfOpen => self.hub.clients.values().for_each(|c| c.outbox.mute(false)),
            FaultName::StalePosition => {
                self.owners.iter_mut().for_each(|owner| owner.stale = None);
                self.show_positions();
            }
            _ => {}
        }
    }

    /// A positions snapshot to all who listen, as after any change.
    fn show_positions(&mut self) {
        for topic in self.hub.topics(Feed::Positions) {
            let stamp = self.private_stamp();
            if let Some(text) = desk::snapshot(self.shown_account(topic.owner), topic, stamp) {
                self.publish(topic, text);
            }
        }
    }

    /// Called every few milliseconds: faults end in time, and those that act at moments act.
    pub fn fault_tick(&mut self) {
        if !self.faults.any() {
            return;
        }
        for active in self.faults.expire(self.clock.now_ms()) {
            self.fault_over(&active);
        }
        let now_ms = self.clock.now_ms();
        self.faults.pulses(now_ms).into_iter().for_each(|name| self.pulse(name));
    }

    /// Fault `replay_history_on_resub`: the trades of the snapshot come again, as if they had happened now.
    pub fn replay_history(&mut self, id: ClientId, topic: Topic) {
        let (Feed::Trade, Some(symbol)) = (topic.feed, topic.symbol) else { return };
        if self.faults.hit(FaultName::ReplayHistoryOnResub).is_some() {
            let now_ms = self.now_ms();
            let state = self.state(symbol);
            let newest = state.recent.iter().rev().take(SNAPSHOT_TRADES);
            let text = wire::trades(topic, state, wire::Action::Update, newest, now_ms);
            self.hub.tell(id, &text);
        }
    }

    fn pulse(&mut self, name: FaultName) {
        let Some(spec) = self.faults.hit(name).cloned() else { return };
        match name {
            FaultName::Kill => self.end_reached(&spec, &End::Reset),
            FaultName::DailyDisconnect => self.end_reached(&spec, &End::Abrupt),
            FaultName::KillAfterMs => {
                let before_ms = self.clock.now_ms() - spec.number(10_000);
                self.hub.end_all(&End::Abrupt, |c| spec.reaches(c.private) && c.since_ms <= before_ms);
            }
            FaultName::Close => {
                let code = u16::try_from(spec.number(1001)).unwrap_or(1001);
                self.end_reached(&spec, &End::Close { code, reason: "going away" });
            }
            FaultName::PhantomEmpty => {
                for topic in self.hub.topics(Feed::Positions) {
                    let stamp = self.private_stamp();
                    self.hub.publish(topic, &desk::empty_positions(topic, stamp));
                }
            }
            FaultName::GarbageFrame => {
                let text = spec.value.clone().unwrap_or_else(|| r#"}{"data":[{"lastPr":"#.to_owned());
                self.tell_reached(&spec, &text);
            }
            FaultName::HugeFrame => {
                let bytes = usize::try_from(spec.number(2 * 1024 * 1024)).unwrap_or(0).min(64 * 1024 * 1024);
                let text = format!(r#"{{"action":"update","padding":"{}"}}"#, "x".repeat(bytes));
                let chosen = self.hub.clients.values().filter(|client| spec.reaches(client.private));
                let told = chosen.filter(|client| client.outbox.push_huge(&text)).count();
                self.hub.frames += told as u64;
            }
            _ => {}
        }
    }

    fn end_reached(&mut self, spec: &FaultSpec, end: &End) {
        self.hub.end_all(end, |client| spec.reaches(client.private));
    }

    fn tell_reached(&mut self, spec: &FaultSpec, text: &str) {
        let chosen: Vec<ClientId> =
            self.hub.clients.iter().filter(|(_, c)| spec.reaches(c.private)).map(|(id, _)| *id).collect();
        chosen.into_iter().for_each(|id| self.hub.tell(id, text));
    }
}
