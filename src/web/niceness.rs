//! The priority of the threads of the web side, so that probing comes first.

use rustix::process::{getpriority_process, setpriority_process};
use tracing::debug;

use crate::model::component::WEB;

/// Raises the niceness of the calling thread by this, to 19 at most. A thread that it starts inherits it.
pub(super) fn raise(by: i32) {
    // On Linux `None` means the calling thread, not the whole process.
    let ours = getpriority_process(None).unwrap_or(0);
    if let Err(error) = setpriority_process(None, ours + by) {
        debug!(target: WEB, %error, "a thread of the web side keeps its priority");
    }
}
