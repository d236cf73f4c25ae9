//! How many RPCs run on a connection, and which ones wait for a place.
//!
//! h2 would queue what the peer does not allow yet, and it keeps a queued request even when no one waits for it any more. With
//! a peer that allows no stream, or fewer than are held open, it would keep more with every round.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

/// The places of one connection.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: AtomicUsize,
    freed: Notify,
}

/// How many RPCs are open on a connection, as long as it exists.
#[derive(Debug, Default)]
pub(crate) struct OpenRpcs(Weak<Places>);

impl OpenRpcs {
    pub(super) fn of(places: &Arc<Places>) -> Self {
        Self(Arc::downgrade(places))
    }

    pub(crate) fn count(&self) -> usize {
        let places = self.0.upgrade();
        places.map_or(0, |places| places.taken.load(Ordering::Relaxed))
    }
}

/// A place; dropping it frees it.
#[derive(Debug)]
pub(super) struct StreamPlace(Arc<Places>);

impl Places {
    /// A place, if fewer than `max` are taken.
    pub(super) fn enter_now(self: &Arc<Self>, max: usize) -> Option<StreamPlace> {
        let more = |taken| (taken < max).then_some(taken + 1);
        let entered = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.is_ok().then(|| StreamPlace(self.clone()))
    }

    /// Waits until fewer than `max` are taken. `max` may change while it waits: it is read again when a place is freed.
    /// Cancel-safe.
    pub(super) async fn enter(self: &Arc<Self>, max: impl Fn() -> usize) -> StreamPlace {
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on no freed place is missed.
            freed.as_mut().enable();
            if let Some(place) = self.enter_now(max()) {
                return place;
            }
            freed.await;
        }
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_gets_the_next_that_is_freed() {
        let places = Arc::new(Places::default());
        let first = places.enter(|| 1).await;
        let mut second = Box::pin(places.enter(|| 1));
        assert!(second.as_mut().now_or_never().is_none());
        let open = OpenRpcs::of(&places);
        assert_eq!(open.count(), 1);
        drop(first);
        let second = second.await;
        let allowed = places.enter(|| 2).now_or_never();
        assert!(allowed.is_some(), "the peer allows more now");
        drop((second, allowed));
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
    }
}
