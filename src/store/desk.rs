//! What the room and the engine share, and what outlives both: the shelf of state, the outbox of events, the board.
//!
//! It is made once per process. A room that dies leaves it to its successor, so that no accepted value is forgotten.

use super::board::{Board, LinkState};
use super::cluster::door::Known;
use super::encode::Layout;
use super::outbox::Outbox;
use super::shelf::Shelf;
use super::spool::{Spool, SpoolSettings};
use crate::clock::Clock;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Commands that may be outstanding when conflation is off, before the room takes no more.
const WINDOW: usize = 8_192;

/// See the module's text.
pub struct Desk {
    shelf: Mutex<Shelf>,
    outbox: Mutex<Outbox>,
    spool: Spool,
    board: Arc<Board>,
    pub clock: Clock,
    layout: Layout,
    /// Which engine may use the desk; an older one ends.
    turn: AtomicU64,
    /// Nodes of a cluster, beyond the one in the url.
    known: Mutex<Known>,
    spool_set_aside: Option<PathBuf>,
}

impl Desk {
    /// Opens the spool; blocks while its file is opened.
    pub fn open(layout: Layout, board: Arc<Board>, conflate: bool, spool: SpoolSettings, clock: Clock) -> Arc<Self> {
        let (spool, found) = Spool::open(spool, clock.now_ms());
        let spool_set_aside = found.set_aside.clone();
        Arc::new(Self {
            shelf: Mutex::new(Shelf::new(layout.clone(), Arc::clone(&board), conflate)),
            outbox: Mutex::new(Outbox::new(spool.clone(), found, Arc::clone(&board))),
            spool,
            board,
            clock,
            layout,
            turn: AtomicU64::new(0),
            known: Mutex::default(),
            spool_set_aside,
        })
    }

    /// A panic in the middle of a change leaves values that the next one overwrites: the lock's poison says nothing.
    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Names of the keys; its epoch is not the current one.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where a spool file that could not be read was put.
    pub fn spool_set_aside(&self) -> Option<&PathBuf> {
        self.spool_set_aside.as_ref()
    }

    /// Tells the engine that there is something to do.
    pub fn wake(&self) {
        self.spool.state().waker.wake();
    }

    /// Whether the room should take no more for now.
    pub fn is_congested(&self) -> bool {
        let shelf = self.shelf();
        shelf.out.len() + shelf.outstanding > WINDOW || self.outbox().is_congested()
    }

    /// Whether it may take more again.
    pub fn has_space(&self) -> bool {
        let shelf = self.shelf();
        shelf.out.len() + shelf.outstanding <= WINDOW / 2 && !self.outbox().is_congested()
    }

    /// Everything accepted is in Redis; while Redis is away: every event is in a durable spool.
    pub fn is_drained(&self) -> bool {
        let settled = self.shelf().is_settled();
        let outbox = self.outbox();
        if self.board.link() == LinkState::Up {
            settled && outbox.is_settled()
        } else {
            self.board.link() == LinkState::Fenced
                || (self.spool.is_durable() && self.spool.safe() >= outbox.last_seq())
        }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin_turn(&self) -> u64 {
        self.turn.fetch_add(1, SeqCst) + 1
    }

    pub(super) fn is_turn(&self, turn: u64) -> bool {
        self.turn.load(SeqCst) == turn
    }
}
