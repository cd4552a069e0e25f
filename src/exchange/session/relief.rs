//! How a session is relieved by the next one without a gap: the fresh connection is subscribed and heard before the
//! old one is dropped.
//!
//! While two sessions run, one speaks and the other keeps what it hears. Public data are kept from the moment on at
//! which every subscription stands; the old one goes on for [`GRACE`] beyond it and then leaves once nothing waits to
//! be read. So whatever the exchange sent reaches people over at least one of them; what came over both is told apart
//! by the validator, by its ids.

use super::{FeedNotice, Gone, Outlet};
use crate::domain::refusal::Refused;
use crate::domain::report::{Batch, Report};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// How long both run after the successor is complete: longer than the two lie apart, shorter than ids are remembered.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// The successor has to be complete within this time.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// An old session that always has something to read is dropped after this time; the new one has it, too.
pub(super) const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// What a successor keeps at most; then it stops reading until its turn has come.
const KEPT_MAX: usize = 1_024;

/// Where one session stands; shared with whoever runs it.
#[derive(Debug, Default)]
pub(super) struct Shift {
    due: Cell<bool>,
    settled: Cell<bool>,
    leave: Cell<bool>,
    news: Notify,
    /// Speaks rather than keeps.
    open: Cell<bool>,
    /// Its end is no news: the successor is there.
    quiet: Cell<bool>,
    kept: RefCell<Vec<Kept>>,
    opened: Notify,
}

impl Shift {
    pub fn speaking() -> Self {
        Self { open: Cell::new(true), ..Self::default() }
    }

    /// The session is old and would like to be relieved.
    pub fn ask(&self) {
        if !self.due.replace(true) {
            self.news.notify_one();
        }
    }

    /// Every subscription was acknowledged, has spoken or was dropped.
    pub fn settle(&self) {
        if !self.settled.replace(true) {
            self.news.notify_one();
        }
    }

    pub async fn until_due(&self) {
        while !self.due.get() {
            self.news.notified().await;
        }
    }

    pub async fn until_settled(&self) {
        while !self.settled.get() {
            self.news.notified().await;
        }
    }

    /// Whether the session is to end at its next quiet moment.
    pub fn is_leaving(&self) -> bool {
        self.leave.get()
    }

    pub fn let_go(&self, go: bool) {
        self.leave.set(go);
        self.quiet.set(go);
    }

    /// Hands on what was kept, in its order; from here on the session speaks itself.
    pub async fn open<O: Outlet>(&self, to: &Mutex<&mut O>) -> Result<(), Gone> {
        for kept in self.kept.take() {
            deliver(&mut **to.lock().await, kept).await?;
        }
        self.open.set(true);
        self.opened.notify_one();
        Ok(())
    }

    /// Keeps it, or gives it back when there is no room.
    fn keep(&self, what: Kept, public: bool) -> Result<(), Kept> {
        let what = match what {
            Kept::Batch(_) if public && !self.settled.get() => return Ok(()),
            Kept::Batch(batch) if public => {
                // The old connection's tickers are as new, and the next ones are near.
                let events = batch.reports.iter().filter(|r| !matches!(r, Report::Ticker(_))).cloned();
                Kept::Batch(batch.with(events.collect()))
            }
            other => other,
        };
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT_MAX {
            return Err(what);
        }
        if !matches!(&what, Kept::Batch(batch) if batch.reports.is_empty()) {
            kept.push(what);
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Kept {
    Batch(Batch),
    Refused(Vec<Refused>),
    Notice(FeedNotice),
}

async fn deliver<O: Outlet>(to: &mut O, what: Kept) -> Result<(), Gone> {
    match what {
        Kept::Batch(batch) => to.batch(batch).await,
        Kept::Refused(refused) => to.refused(refused).await,
        Kept::Notice(notice) => to.notice(notice).await,
    }
}

/// The outlet of one session among several.
pub(super) struct Relay<'a, 'o, O> {
    pub to: &'a Mutex<&'o mut O>,
    pub shift: Rc<Shift>,
    pub public: bool,
}

impl<O: Outlet> Relay<'_, '_, O> {
    async fn pass(&mut self, mut what: Kept) -> Result<(), Gone> {
        while !self.shift.open.get() {
            match self.shift.keep(what, self.public) {
                Ok(()) => return Ok(()),
                Err(back) => what = back,
            }
            self.shift.opened.notified().await;
        }
        deliver(&mut **self.to.lock().await, what).await
    }
}

impl<O: Outlet> Outlet for Relay<'_, '_, O> {
    fn alive(&self) {
        // Where somebody hands something on just now, that somebody lives.
        if let Ok(to) = self.to.try_lock() {
            to.alive();
        }
    }

    async fn batch(&mut self, batch: Batch) -> Result<(), Gone> {
        self.pass(Kept::Batch(batch)).await
    }

    async fn refused(&mut self, refused: Vec<Refused>) -> Result<(), Gone> {
        self.pass(Kept::Refused(refused)).await
    }

    async fn notice(&mut self, notice: FeedNotice) -> Result<(), Gone> {
        if self.shift.quiet.get() && matches!(notice, FeedNotice::Lost { .. }) {
            return Ok(());
        }
        self.pass(Kept::Notice(notice)).await
    }
}
