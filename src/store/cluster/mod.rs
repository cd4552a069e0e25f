//! A Redis Cluster: where a key lives, who owns it, what a redirect says, and events without a step over many keys.
//!
//! **Links.** The engine holds [`super::lines::Lines`]: one [`super::link::Link`], or one per master ([`many`]). The
//! latter takes the same [`super::resp::Commands`], cut by slot ([`split`]), and gives the replies back *in the order of
//! sending*, so that the session's booking of replies stays as it is. A cluster has no database but 0, so the door asks
//! `INFO cluster` before SELECT, which a cluster answers like a server with fewer databases.
//!
//! **Nodes** ([`door`]). The set of nodes of a session is fixed: all masters of the view, those without slots too, since
//! slots may be on their way to one of them. The view is `CLUSTER NODES` ([`map`]) of the node that sees the cluster
//! whole (`cluster_state:ok`) and knows the highest epoch. MOVED between nodes of the set corrects one slot and sends the
//! command again, ASK sends ASKING before it (before MULTI it holds for the transaction). Anything else (a redirect to a
//! stranger, one of ours made a replica, a broken connection) ends the session: the next one looks again, guards all
//! nodes, reads the cursors and writes all state anew.
//!
//! **Order of state.** One flush is on its way at a time, and state conflates always: of two values of a key only the
//! newer one is sent. The guard over many nodes is proved in [`super::guard`].
//!
//! **Events** ([`lane`]). One lane per key, with a cursor in the key's slot ([`slot::cursor_of`]). A batch is applied when
//! every lane has it; then the [`index`] says so, which names a lane before anything is written to it. Where a lane's own
//! cursor is behind the index or behind what this process remembers, it has lost its tail: events are sent again from
//! there, and the other lanes skip what they have. A key that one record alone writes and that expires (`mm_trap:*`) has
//! no cursor; what of it belongs to the last records is sent once more by each session. A stated gap is a plain XADD: the
//! lane of `trapline:gaps` may be further than the gap already.
//!
//! **Seen at a 7.0.15** with a slot on its way: the script of two keys runs at the source while both are there, TRYAGAIN
//! at either end while one is, ASK once both have gone; a transaction at the source answers ASK to its command and
//! EXECABORT; the source makes no new key of the slot (ASK); RENAME over slots is CROSSSLOT; SELECT is `ERR`.

pub mod door;
pub mod index;
pub mod lane;
pub mod many;
pub mod map;
pub mod slot;
pub mod split;
