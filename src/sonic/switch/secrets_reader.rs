//! Reads SONiC's `grpc_secrets.json` again and again, like TLS files, and emits its content.
//!
//! One task. It waits for a read for `files::PATIENCE` at most. After that the last content stays in use, and the next read, or
//! another path after a reload, is not delayed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::config::files::{PATIENCE, Reader};
use crate::config::{Config, read_secrets};
use crate::model::component::INVENTORY;
use crate::model::text;
use crate::sonic::inventory::Secrets;

/// The same as for TLS files: new content is used within 10 s, and half of that is left for reading.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Runs until the configuration's sender is gone, or until no one reads its output.
pub(super) async fn run(mut config: watch::Receiver<Arc<Config>>, out: watch::Sender<Secrets>) {
    let mut every = interval(READ_EVERY);
    let (reader, mut failed) = (Reader::default(), false);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Both waits are cancel-safe: they take nothing.
        tokio::select! {
            _ = every.tick() => {}
            changed = config.changed() => if changed.is_err() {
                return;
            },
            () = out.closed() => return,
        }
        let path = config.borrow_and_update().grpc_secrets.clone();
        let file = path.display().to_string();
        let read = reader.read(PATIENCE, move || Secrets::of(&path, read_secrets(&path)));
        match read.await {
            Ok(secrets) => {
                adopt(&out, secrets);
                failed = false;
            }
            Err(error) => {
                if !failed {
                    warn!(target: INVENTORY, file = %text::quote(file), %error, "grpc_secrets.json could not be read: its last content stays in use");
                }
                failed = true;
            }
        }
    }
}

/// Emits and logs a change; the content is never logged.
fn adopt(out: &watch::Sender<Secrets>, secrets: Secrets) {
    out.send_if_modified(|before| {
        if *before == secrets {
            return false;
        }
        match &secrets {
            Secrets::Holds(path, _) => info!(target: INVENTORY, file = %path.display(), "grpc_secrets.json read"),
            Secrets::Unusable(reason) => {
                warn!(target: INVENTORY, %reason, "grpc_secrets.json cannot be used: where GRPCCLIENT has no rows, the last settings stay in use; without any, no SoC is dialled");
            }
            Secrets::Absent if matches!(before, Secrets::Holds(..) | Secrets::Unusable(_)) => {
                info!(target: INVENTORY, "grpc_secrets.json is gone");
            }
            Secrets::Absent | Secrets::Unread(_) => {}
        }
        *before = secrets;
        true
    });
}
