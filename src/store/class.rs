//! What an error of Redis means for the writer: one table, by code, never by text.

use std::time::Duration;

/// Kind of failure, by what has to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// No reply in time: the write has landed or has not. Send it again; twice in a row, on a new connection.
    Unknown,
    /// The connection broke or was refused.
    Transient,
    /// This node does not take writes (any more): connect again, which resolves the name again.
    WrongNode,
    /// The server is busy with itself; the connection is good.
    Wait,
    /// The key lives on another node, and nobody has said before that this is a cluster.
    Route,
    /// The script is not in the server's cache.
    Reload,
    /// Memory or disk is full: keep state and events, shed windows and metrics.
    Resource,
    /// Login or rights: a person has to change something; the password file is read again each time.
    Config,
    /// A key holds a foreign type: that key alone waits.
    Data,
    /// A command that this program should not have sent.
    Bug,
}

impl Class {
    pub const ALL: [Self; 10] = [
        Self::Unknown,
        Self::Transient,
        Self::WrongNode,
        Self::Wait,
        Self::Route,
        Self::Reload,
        Self::Resource,
        Self::Config,
        Self::Data,
        Self::Bug,
    ];

    /// The class of an error reply, by its code.
    pub fn of_code(code: &str) -> Self {
        match code {
            "READONLY" | "MASTERDOWN" | "UNBLOCKED" => Self::WrongNode,
            "LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "NOREPLICAS" => Self::Wait,
            "MOVED" | "ASK" => Self::Route,
            "NOSCRIPT" => Self::Reload,
            "OOM" | "MISCONF" => Self::Resource,
            "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => Self::Config,
            "WRONGTYPE" => Self::Data,
            _ => Self::Bug,
        }
    }

    /// Whether a person has to change something, so that trying often is of no use.
    pub const fn is_slow(self) -> bool {
        matches!(self, Self::Config | Self::Route)
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Transient => "transient",
            Self::WrongNode => "wrong_node",
            Self::Wait => "wait",
            Self::Route => "route",
            Self::Reload => "reload",
            Self::Resource => "resource",
            Self::Config => "config",
            Self::Data => "data",
            Self::Bug => "bug",
        }
    }

    /// Whether the connection must go.
    pub const fn drops_connection(self) -> bool {
        match self {
            Self::Transient | Self::WrongNode | Self::Route => true,
            Self::Unknown | Self::Wait | Self::Reload | Self::Resource | Self::Config | Self::Data | Self::Bug => false,
        }
    }

    /// The bounds between which the next attempt is drawn (full jitter, doubling from the lower to the upper).
    pub const fn pause(self) -> (Duration, Duration) {
        let ms = Duration::from_millis;
        match self {
            // Redis takes writes again and nobody says so: what waits must be there within a second.
            Self::Unknown | Self::Transient | Self::WrongNode => (ms(50), ms(800)),
            Self::Wait => (ms(100), ms(1_000)),
            Self::Reload => (ms(0), ms(0)),
            Self::Resource => (ms(1_000), ms(1_000)),
            Self::Route | Self::Config => (ms(5_000), ms(60_000)),
            Self::Data | Self::Bug => (ms(1_000), ms(5_000)),
        }
    }

    /// What a person should do, for the one line in the log.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unknown | Self::Transient => "retrying on its own; is redis running and reachable?",
            Self::WrongNode => {
                "this node refuses writes: it is a replica; point the url at the primary, or name its sentinels"
            }
            Self::Wait => "redis is loading or busy (a script? SCRIPT KILL ends one); retrying",
            Self::Route => {
                "this is a redis cluster that may not be asked whether it is one: grant the user +info and +cluster|nodes \
                 (trapline acl prints the whole line)"
            }
            Self::Reload => "the script is sent again",
            Self::Resource => {
                "redis is out of memory or disk: raise maxmemory or free the disk (INFO memory, INFO persistence)"
            }
            Self::Config => "wrong login or missing rights: check url, password file and the user's ACL",
            Self::Data => {
                "another program wrote this key with another type: run `trapline migrate`, or set migrate = true"
            }
            Self::Bug => "please report this",
        }
    }
}

/// The label of an error reply in the metrics, one of [`crate::telemetry::metrics::REDIS_ERRORS`].
pub fn label_of(code: &str) -> &'static str {
    match code {
        "READONLY" => "readonly",
        "MASTERDOWN" => "masterdown",
        "UNBLOCKED" => "unblocked",
        "LOADING" => "loading",
        "BUSY" => "busy",
        "TRYAGAIN" => "tryagain",
        "CLUSTERDOWN" => "clusterdown",
        "NOREPLICAS" => "noreplicas",
        "MOVED" | "ASK" | "CROSSSLOT" => "moved",
        "NOSCRIPT" => "noscript",
        "OOM" => "oom",
        "MISCONF" => "misconf",
        "NOAUTH" | "WRONGPASS" | "DENIED" => "auth",
        "NOPERM" => "noperm",
        "WRONGTYPE" => "wrong_type",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        let rows = [
            ("READONLY", Class::WrongNode),
            ("MASTERDOWN", Class::WrongNode),
            ("LOADING", Class::Wait),
            ("BUSY", Class::Wait),
            ("TRYAGAIN", Class::Wait),
            ("CLUSTERDOWN", Class::Wait),
            ("MOVED", Class::Route),
            ("ASK", Class::Route),
            ("NOSCRIPT", Class::Reload),
            ("OOM", Class::Resource),
            ("MISCONF", Class::Resource),
            ("NOAUTH", Class::Config),
            ("WRONGPASS", Class::Config),
            ("NOPERM", Class::Config),
            ("WRONGTYPE", Class::Data),
            ("CROSSSLOT", Class::Bug),
            ("NOREPLICAS", Class::Wait),
            ("DENIED", Class::Config),
            ("UNBLOCKED", Class::WrongNode),
            ("ERR", Class::Bug),
        ];
        for (code, class) in rows {
            assert_eq!(Class::of_code(code), class, "code {code}");
            let label = label_of(code);
            let declared = crate::telemetry::metrics::REDIS_ERRORS.contains(&label);
            assert!(declared || (code == "ERR" && label == "other"), "code {code}: label {label}");
        }
    }

    #[test]
    fn no_class_gives_up_and_none_spins() {
        for class in Class::ALL {
            let (least, most) = class.pause();
            assert!(least <= most && (most > Duration::ZERO || class == Class::Reload), "{class:?}");
            assert!(!class.remedy().is_empty());
        }
    }
}
