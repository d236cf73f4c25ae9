//! The wait for the first of several watched values, for mirrors and sources.

use std::future::{pending, poll_fn};
use std::task::Poll;

use tokio::sync::watch;

/// Waits until one of them is new; without any it never returns. The receivers are copies, so that nothing is marked as seen in
/// their originals. Cancel-safe for the same reason.
pub(super) async fn any_of<T>(receivers: impl IntoIterator<Item = watch::Receiver<T>>) {
    let mut changes: Vec<_> = receivers
        .into_iter()
        .map(|mut receiver| {
            Box::pin(async move {
                // Its sender is gone: it never changes again.
                if receiver.changed().await.is_err() {
                    pending::<()>().await;
                }
            })
        })
        .collect();
    poll_fn(|cx| {
        let ready = changes
            .iter_mut()
            .any(|change| change.as_mut().poll(cx).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
