//! The writer's engine against real redis-server processes: what is accepted is what Redis holds, whatever fails.
//!
//! A missing redis-server skips these tests visibly, and fails them where TRAPLINE_REQUIRE_REDIS is set.

#[path = "support/figures.rs"]
mod figures;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/server.rs"]
mod server;

#[path = "store/bench.rs"]
mod bench;
#[path = "store/chaos.rs"]
mod chaos;
#[path = "store/cluster.rs"]
mod cluster;
#[path = "store/cost.rs"]
mod cost;
#[path = "store/deleted.rs"]
mod deleted;
#[path = "store/events.rs"]
mod events;
#[path = "store/foreign.rs"]
mod foreign;
#[path = "store/guard.rs"]
mod guard;
#[path = "store/refusals.rs"]
mod refusals;
#[path = "store/room.rs"]
mod room;
#[path = "store/state.rs"]
mod state;
#[path = "store/table.rs"]
mod table;
#[path = "store/usual.rs"]
mod usual;
