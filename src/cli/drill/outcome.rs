//! What a drill did to everybody: the daemon's books before and after.

use serde::Serialize;
use serde_json::Value;
use std::io::Write;

/// The difference that a drill made. Everything that came in is handled, waits, was replaced by something newer,
/// refused or put into quarantine; what is none of these is lost.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    /// Messages that no counter knows of; below zero: counted twice.
    pub(super) lost: i64,
    pub(super) quarantined: u64,
    /// Refused or displaced, by the room's card.
    pub(super) refused: u64,
    pub(super) waiting: u64,
    /// Events that were accepted during the drill.
    pub(super) events: u64,
    pub(super) events_waiting: u64,
    pub(super) events_lost: u64,
    /// Rooms that were restarted although they do not share the thread of the one that was broken.
    pub(super) others_restarted: Vec<String>,
    pub(super) restarted_with_it: Vec<String>,
}

pub(super) fn rooms(status: &Value) -> impl Iterator<Item = &Value> {
    status["rooms"].as_array().into_iter().flatten()
}

pub(super) fn room<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    rooms(status).find(|room| room["name"] == name)
}

/// The number at a JSON pointer; 0 when there is none.
pub(super) fn number(status: &Value, pointer: &str) -> u64 {
    status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn sum(status: &Value, fields: &[&str]) -> u64 {
    rooms(status).flat_map(|room| fields.iter().filter_map(|field| room[field].as_u64())).sum()
}

/// Messages of all rooms that went in and have not come out.
fn unaccounted(status: &Value) -> i64 {
    let came = sum(status, &["sent", "split_extra"]);
    let went = sum(status, &["handled", "quarantined", "conflated", "dropped_oldest", "depth", "in_hand"]);
    i64::try_from(came).unwrap_or(i64::MAX) - i64::try_from(went).unwrap_or(i64::MAX)
}

impl Outcome {
    /// `broken`: the room that the drill was about, if it was one.
    pub(super) fn of(broken: Option<&str>, before: &Value, now: &Value) -> Self {
        let more = |pointer: &str| number(now, pointer).saturating_sub(number(before, pointer));
        let more_of = |fields: &[&str]| sum(now, fields).saturating_sub(sum(before, fields));
        let thread = broken.and_then(|name| room(now, name)).map(|room| &room["thread"]);
        let (with_it, others) = rooms(now)
            .filter(|now| broken != now["name"].as_str())
            .filter(|now| {
                let had = now["name"].as_str().and_then(|name| room(before, name));
                had.is_some_and(|had| had["restarts_total"] != now["restarts_total"])
            })
            .partition::<Vec<_>, _>(|now| thread == Some(&now["thread"]));
        let names =
            |rooms: Vec<&Value>| rooms.iter().filter_map(|room| Some(room["name"].as_str()?.to_owned())).collect();
        Self {
            lost: unaccounted(now),
            quarantined: more_of(&["quarantined"]),
            refused: more_of(&["refused", "dropped_oldest"]),
            waiting: sum(now, &["depth", "in_hand"]),
            events: more("/counts/events_accepted_total"),
            events_waiting: number(now, "/counts/events_pending"),
            events_lost: more("/counts/events_dropped_total") + more("/counts/events_unrecoverable_total"),
            others_restarted: names(others),
            restarted_with_it: names(with_it),
        }
    }

    /// Nothing is on its way between two counters.
    pub(super) fn is_even(&self) -> bool {
        self.lost == 0 && self.events_waiting == 0
    }

    pub(super) fn is_good(&self) -> bool {
        self.is_even() && self.events_lost == 0 && self.others_restarted.is_empty()
    }

    pub(super) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { lost, quarantined, refused, waiting, .. } = self;
        writeln!(out, "messages  {lost} lost, {quarantined} quarantined, {refused} refused, {waiting} waiting")?;
        let fate = match (self.events_lost, self.events_waiting) {
            (0, 0) => "none lost, all in Redis".to_owned(),
            (lost, waiting) => format!("{lost} lost, {waiting} not yet in Redis"),
        };
        writeln!(out, "events    {} came meanwhile, {fate}", self.events)?;
        if !self.restarted_with_it.is_empty() {
            writeln!(out, "with it   {} (they share its thread)", self.restarted_with_it.join(", "))?;
        }
        let others = self.others_restarted.join(", ");
        writeln!(out, "others    {}", if others.is_empty() { "none restarted" } else { &others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(sent: u64, handled: u64, restarts: u64, pending: u64) -> Value {
        json!({
            "rooms": [
                {"name": "a", "thread": "a", "sent": sent, "handled": handled, "quarantined": 1, "depth": 2,
                 "in_hand": 1, "restarts_total": restarts},
                {"name": "b", "thread": "a", "sent": 5, "handled": 5, "restarts_total": restarts},
                {"name": "c", "thread": "c", "sent": 0, "handled": 0, "restarts_total": 0},
            ],
            "counts": {"events_pending": pending, "events_accepted_total": sent},
        })
    }

    #[test]
    fn what_no_counter_knows_is_lost() {
        for (name, sent, handled, lost) in [("even", 10, 6, 0), ("one lost", 11, 6, 1), ("one twice", 10, 7, -1)] {
            let outcome = Outcome::of(Some("a"), &status(4, 0, 0, 0), &status(sent, handled, 1, 0));
            assert_eq!(outcome.lost, lost, "case: {name}");
            assert_eq!(outcome.is_good(), lost == 0, "case: {name}");
        }
        let outcome = Outcome::of(Some("a"), &status(4, 0, 0, 0), &status(10, 6, 1, 3));
        assert!(!outcome.is_even(), "events wait");
    }

    #[test]
    fn who_shares_the_thread_is_no_stranger() {
        let (before, now) = (status(4, 0, 0, 0), status(4, 0, 1, 0));
        let outcome = Outcome::of(Some("a"), &before, &now);
        assert_eq!((outcome.restarted_with_it, outcome.others_restarted), (vec!["b".to_owned()], vec![]));
        let outcome = Outcome::of(None, &before, &now);
        assert_eq!(outcome.others_restarted, ["a", "b"], "a broken connection restarts no room");
    }
}
