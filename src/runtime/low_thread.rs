//! Threads with a lower priority, for work that must never delay a probe: serving clients.

use std::io;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::model::component::APP;

/// The thread's niceness is raised by this, so that probing comes first. Not more: on a busy switch a scrape must still be
/// answered within Prometheus' 10 s.
const NICE: i32 = 5;

/// Runs the work on a new thread of this name until it ends. If the future is dropped, the work is dropped at once.
pub async fn on_low_thread<W>(name: &'static str, work: impl FnOnce() -> W + Send + 'static) -> io::Result<()>
where
    W: Future<Output = io::Result<()>>,
{
    let abandoned = CancellationToken::new();
    let _abandons = abandoned.clone().drop_guard();
    let (ended, end) = oneshot::channel();
    let working = move || {
        let outcome = on_this_thread(work, &abandoned);
        // An error means that the caller was dropped.
        let _ = ended.send(outcome);
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(working)?;
    match end.await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::other("its thread has panicked")),
    }
}

fn on_this_thread<W>(work: impl FnOnce() -> W, abandoned: &CancellationToken) -> io::Result<()>
where
    W: Future<Output = io::Result<()>>,
{
    lower_priority(NICE);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let working = abandoned.run_until_cancelled(work());
        working.await.unwrap_or(Ok(()))
    })
}

/// Raises the niceness of the calling thread by this, to 19 at most. A thread that it starts inherits it.
pub fn lower_priority(by: i32) {
    // On Linux `None` means the calling thread, not the whole process.
    let ours = rustix::process::getpriority_process(None).unwrap_or(0);
    if let Err(error) = rustix::process::setpriority_process(None, ours + by) {
        debug!(target: APP, %error, "a thread that serves clients keeps its priority");
    }
}
