//! What deaths cost, and when it is too much.

use super::{Class, Death, Policy};
use crate::supervise::card::Restart;

impl Policy {
    /// Deaths left: in the group's window, and in the room's row.
    pub(crate) fn budget_left(&self, room: usize) -> (u32, u32) {
        let room = &self.rooms[room];
        let group = &self.groups[room.group];
        let spent: u32 = group.window.iter().map(|(_, cost)| cost).sum();
        let unit = group.budgets.poison_per_death.max(1);
        let left = group.budgets.deaths.saturating_mul(unit).saturating_sub(spent) / unit;
        (left, group.budgets.consecutive.saturating_sub(room.streak))
    }

    /// Books a death; returns the reason when a budget is exceeded.
    pub(super) fn charge(&mut self, death: &Death, by_message: bool, now_ms: u64) -> Option<&'static str> {
        let room = &mut self.rooms[death.room];
        let group = &mut self.groups[room.group];
        let budgets = group.budgets;
        // Rooms that work in tasks handle no messages, or few: what they do shows in how long they live.
        let progressed = death.progressed || self.backoff.is_stable(death.lived);
        if progressed || by_message {
            room.streak = 0;
        }
        if progressed {
            room.retries = 0;
        }
        let unit = budgets.poison_per_death.max(1);
        let cost = match death.class {
            Class::Stopped => return None,
            Class::Finished if room.restart != Restart::Permanent => return None,
            Class::Retry => {
                room.retries = room.retries.saturating_add(1);
                return (room.retries > budgets.retries).then_some("retries");
            }
            Class::Panic | Class::Poison if by_message => 1,
            _ => {
                room.streak = room.streak.saturating_add(1);
                unit
            }
        };
        let within_ms = u64::try_from(budgets.within.as_millis()).unwrap_or(u64::MAX);
        while group.window.front().is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= within_ms) {
            group.window.pop_front();
        }
        // Bounded: each entry costs at least one, and a full window escalates and is cleared.
        group.window.push_back((now_ms, cost));
        let spent: u64 = group.window.iter().map(|(_, cost)| u64::from(*cost)).sum();
        match death.class {
            Class::Fatal => Some("fatal"),
            _ if room.streak > budgets.consecutive => Some("deaths without progress"),
            _ if spent > u64::from(budgets.deaths) * u64::from(unit) => Some("deaths in the window"),
            _ => None,
        }
    }
}
