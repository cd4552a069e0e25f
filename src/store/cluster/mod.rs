//! Groundwork for a Redis Cluster: where a key lives, who owns it, what a redirect says. Not yet connected to the
//! engine: a cluster is still refused at the door. This is the design that the rest is to follow.
//!
//! **Links.** The engine holds `Lines`, an enum of one [`super::link::Link`] (today's path, unchanged) and of many, one
//! per master. The latter takes the same [`super::resp::Commands`], cuts them by slot ([`slot`]), sends each to its
//! node and gives the replies back *in the order of sending*, so that the session's booking of replies stays as it is.
//! MSET and EXISTS are cut into single keys (the replies become one again), MULTI to EXEC travels as one unit, PUBLISH
//! goes by its channel's name. It has no database but 0, so the door asks `INFO cluster` before SELECT.
//!
//! **Nodes.** The set of nodes of a session is fixed: all masters of the view, those without slots too, since slots may
//! be on their way to one of them. The view is `CLUSTER NODES` ([`map`]), asked of every known address at once at the
//! door, and the one with `cluster_state:ok` and the highest epoch counts; it is asked again each second, at nodes in
//! turn, and a view of a lower epoch than the session's is ignored, else late gossip would make sessions flap. MOVED
//! between nodes of the set corrects one slot and sends the command again, ASK sends ASKING before it (before MULTI it
//! holds for the transaction), at most five times. Anything else (a redirect to a stranger, one of ours made a replica,
//! a broken connection) ends the session, quietly where the map is the reason: the next one guards all nodes, reads the
//! cursors and writes all state again.
//!
//! **Order of state.** With many nodes the session conflates always: state goes out only when nothing is outstanding. So
//! a redirected value cannot land after a newer one of the same key.
//!
//! **Guard.** Step 1 (name) at *all* masters, then step 2 (epoch, one slot), then step 3 (kill) at all, then write. Let B
//! be past its steps 3, and let A's connection to node n have been named before B's step 3 there: it was killed. If it
//! was named after, then A's step 2, which follows all its steps 1, follows B's step 2: A sees B's epoch and ends, or is
//! the newer one. A write of A held at a node that is none of B's: it is not a master, so it answers MOVED; or it does
//! not know yet that it lost its office, executes, and throws it away when it learns of it. Between nodes of a slot that
//! moves: the old owner executes only on keys that it still has and makes no new ones, the new one only on those that
//! have arrived, so both never hold the same key.
//!
//! **Events.** One lane per key, with the script of [`super::publish`] on two keys: the key and its cursor
//! ([`slot::cursor_of`]), which live in the same slot also while it moves (meanwhile TRYAGAIN: that lane waits, nothing is
//! told). A lane knows what Redis has *stored*, and how far it is *virtually*: records without an operation for its key
//! move it for free; after 256 of them an empty call stores it. The outbox' progress is the least virtual place; a lane
//! whose cursor went back moves it back, and the other lanes skip by what they have stored. Three places need care:
//!
//! * A key that only one record writes (`mm_trap:*`, HSET and EXPIRE) has no cursor; its operations may be repeated, so
//!   each session begins by sending those of the last 512 records again.
//! * A missing cursor means loss, or a key that is new (a symbol or strategy that was added). `trapline:cursor` becomes
//!   the index: the least place and the names of the lanes. Who stands there and has no cursor has lost something, and
//!   what the spool no longer holds of it is stated; who does not stand there is new and begins at the spool's first.
//! * A stated gap is written by a plain XADD: the lane of `trapline:gaps` may be further than the gap already.
//!
//! **Seen at a 7.0.15** with a slot on its way: the two keys' script runs at the source while both are there, TRYAGAIN at
//! either end while one is, ASK once both have gone; ASKING before MULTI holds to EXEC; a transaction at the source
//! answers ASK to its command and EXECABORT; the source makes no new key of the slot (ASK); RENAME over slots is
//! CROSSSLOT; SELECT is `ERR`, so a database but 0 looks like a missing one unless the door asks first.
//!
//! **Keys put aside** are renamed to `legacy:{KEY}:TIME`, braces meant: RENAME does not cross slots.
//! **Rights:** besides today's `+cluster|nodes +cluster|info +asking`, and the keys `{*}:cursor` and `*:cursor`.

pub mod map;
pub mod slot;
