//! Proof of life of a task: it beats at each turn of its loop, and while it waits for what may rightly take long.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// A task that says nothing for so long hangs: it awaits what never comes. Longer than the rooms' deadline, so that of
/// those on one blocked thread the one that blocks it is found first.
pub const SILENCE: Duration = Duration::from_millis(2_500);
/// Pause between two beats of one that waits.
const BEAT: Duration = Duration::from_millis(250);

/// Awaits a socket, a full mailbox, a pause: what has an end of its own, or may rightly have none. Beats meanwhile.
pub async fn while_waiting<T>(beat: impl Fn(), wait: impl Future<Output = T>) -> T {
    let mut wait = pin!(wait);
    // What is ready at once needs no timer.
    let ready = poll_fn(|cx| match wait.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    });
    if let Some(value) = ready.await {
        return value;
    }
    loop {
        beat();
        if let Ok(value) = tokio::time::timeout(BEAT, wait.as_mut()).await {
            beat();
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[actix_rt::test]
    async fn one_that_waits_beats_and_one_that_is_ready_does_not_wait() {
        let beats = Cell::new(0);
        let beat = || beats.set(beats.get() + 1);
        assert_eq!(while_waiting(beat, async { 7 }).await, 7);
        assert_eq!(beats.get(), 0);
        let slow = async {
            tokio::time::sleep(BEAT * 3).await;
            8
        };
        assert_eq!(while_waiting(beat, slow).await, 8);
        assert!(beats.get() >= 3, "{}", beats.get());
    }
}
