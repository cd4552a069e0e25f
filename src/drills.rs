//! Drills on what lies outside of the rooms: the connections to the exchange and to Redis. They break what belongs to
//! this daemon and nothing else, so they may be run where others use the same Redis.

use crate::exchange::session::Connections;
use crate::store::cluster::door::{Known, Limits};
use crate::store::engine::EngineSettings;
use crate::store::guard::kill_writer;
use crate::store::lines::Lines;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outside {
    /// The connections to the exchange stay open and hear nothing any more.
    FeedBlackhole,
    /// The connections to the exchange end.
    FeedClose,
    /// Redis ends the writer's connection.
    RedisKill,
}

impl Outside {
    pub const ALL: [Self; 3] = [Self::FeedBlackhole, Self::FeedClose, Self::RedisKill];

    /// As people write it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FeedBlackhole => "feed-blackhole",
            Self::FeedClose => "feed-close",
            Self::RedisKill => "redis-kill",
        }
    }

    /// What is done, for people.
    pub const fn tell(self) -> &'static str {
        match self {
            Self::FeedBlackhole => "the connections to the exchange stay open and hear nothing any more (half-open)",
            Self::FeedClose => "the connections to the exchange end without a word",
            Self::RedisKill => {
                "Redis ends the writer's connection (CLIENT KILL from another one; the server and its other clients are not touched)"
            }
        }
    }
}

/// The means to break things.
#[derive(Clone)]
pub struct Drills {
    pub connections: Connections,
    pub redis: EngineSettings,
}

impl Drills {
    /// Breaks it; says what was hit.
    ///
    /// # Errors
    /// Why it could not be broken, for people.
    pub async fn inject(&self, what: Outside) -> Result<String, String> {
        match what {
            Outside::FeedBlackhole => self.connections.deafen(),
            Outside::FeedClose => self.connections.cut(),
            Outside::RedisKill => return self.kill_writer().await,
        }
        Ok(format!("connections up to number {}", self.connections.total()))
    }

    async fn kill_writer(&self) -> Result<String, String> {
        let limit = self.redis.connect_limit.max(Duration::from_secs(1));
        let limits = Limits { connect: limit, reply: limit };
        let opened = Lines::open(&self.redis.target, &mut Known::default(), limits).await;
        let mut lines = opened.map_err(|e| format!("redis cannot be reached for the drill: {e}"))?;
        let ended = kill_writer(&mut lines, &self.redis.instance).await;
        match ended.map_err(|e| format!("redis did not end the writer's connection: {e}"))? {
            0 => Err("the writer has no connection to Redis just now: nothing to break".to_owned()),
            ended => Ok(format!("{ended} connection")),
        }
    }
}

impl std::fmt::Debug for Drills {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drills").field("redis", &self.redis.target).finish_non_exhaustive()
    }
}
