//! Redis' rows of the fault matrix, R1 to R20, one test each: the built daemon between an exchange that goes on and a
//! real redis-server that is killed, stopped, emptied, filled, locked or replaced. Each publishes what it measured.
//!
//! `TRAPLINE_LONG_FAULTS=1` adds the long variants (a minute's outage, half a minute's stop).

mod support;

#[path = "support/server.rs"]
mod server;

#[path = "redis_rows/cluster.rs"]
mod cluster;
#[path = "redis_rows/cluster_scene.rs"]
mod cluster_scene;
#[path = "redis_rows/doors.rs"]
mod doors;
#[path = "redis_rows/nodes.rs"]
mod nodes;
#[path = "redis_rows/others.rs"]
mod others;
#[path = "redis_rows/outages.rs"]
mod outages;
#[path = "redis_rows/refusals.rs"]
mod refusals;
#[path = "redis_rows/scene.rs"]
mod scene;
