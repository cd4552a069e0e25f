//! The words of the policy: what it is told and what it answers.

use std::time::Duration;

/// Which rooms of a group share a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Only the dead one is restarted.
    OneForOne,
    /// The dead one and those that were started after it.
    RestForOne,
    /// The whole group.
    OneForAll,
}

/// How much a group may die before its parent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Deaths of one room without a handled or quarantined message or a stable life between.
    pub consecutive: u32,
    /// Deaths of all rooms of the group within [`Budgets::within`].
    pub deaths: u32,
    pub within: Duration,
    /// A death by a message costs only this part of a death: the message leaves after its attempts, so that a burst of
    /// bad messages comes to an end by itself.
    pub poison_per_death: u32,
    /// Consecutive [`Fault::Retry`](crate::supervise::Fault::Retry) of one room: a dependency may be down for long.
    pub retries: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { consecutive: 5, deaths: 10, within: Duration::from_secs(60), poison_per_death: 500, retries: 1000 }
    }
}

/// The root's: how many escalations before it gives up.
pub(crate) const ROOT_ESCALATIONS: usize = 3;
pub(crate) const ROOT_WITHIN_MS: u64 = 300_000;

/// A death, as far as it matters for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Panic,
    Retry,
    Poison,
    Fatal,
    Hang,
    /// A task, a timer, something without a message.
    Aside,
    Birth,
    Finished,
    Stopped,
}

/// What was in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InHand {
    Nothing,
    Data { attempts: u8 },
    Inner,
}

/// What becomes of the message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Nothing,
    /// To the head, this try counted.
    Back,
    /// To the head, not counted: the message is not at fault.
    BackUncounted,
    Quarantine,
    Drop,
}

impl Fate {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Back | Self::BackUncounted => "back",
            Self::Quarantine => "quarantine",
            Self::Drop => "dropped",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) room: usize,
    pub(crate) epoch: u64,
    pub(crate) class: Class,
    pub(crate) in_hand: InHand,
    /// Handled a message in this life.
    pub(crate) progressed: bool,
    pub(crate) lived: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Boot,
    Born { room: usize, epoch: u64 },
    Died(Death),
    Due { room: usize, epoch: u64 },
    GroupDue { group: usize, wave: u64 },
    Restart { room: usize },
    Stop { group: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Start { room: usize, epoch: u64 },
    Stop { room: usize },
    Wait { room: usize, epoch: u64, delay: Duration },
    WaitGroup { group: usize, wave: u64, delay: Duration },
    Settle { room: usize, fate: Fate },
    Ended { room: usize },
    Escalate { group: usize, room: usize, why: &'static str, delay: Duration },
    GroupStopped { group: usize },
    GiveUp,
}
