//! Follows the configuration file: a change of it is a reload. All processes of several must see a new `shard.count` at about the
//! same time, and Kubernetes changes a mounted file without a signal.
//!
//! It only looks whether the file has changed, and requests the same reload as SIGHUP. So a file that has become bad changes
//! nothing, and is reported once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::parts::{Tasks, until};
use super::reload;
use crate::config::Config;
use crate::config::files::{PATIENCE, Reader};
use crate::config::stamp::{Stamp, StampLog};
use crate::model::component::APP;
use crate::web::ReloadRequest;

/// How often it is looked at. A change counts at the second look at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The file to follow.
#[derive(Debug, Clone)]
pub struct FollowedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its stamp from before it was loaded. A change in between is then seen.
    pub before: Stamp,
    /// Whether it is followed whatever is in it. Otherwise only while its targets may be other switches', or one of several
    /// processes probes them: on a switch an operator who edits the file expects a reload on SIGHUP only.
    pub always: bool,
}

/// Starts the task, if there is a file.
pub(super) fn start(
    file: Option<FollowedFile>,
    config: &watch::Receiver<Arc<Config>>,
    reloader: &mpsc::Sender<ReloadRequest>,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) {
    if let Some(file) = file {
        let following = follow(file, config.clone(), reloader.clone());
        until(stop, tasks, "following the configuration file", following);
    }
}

/// Runs until the exporter stops.
async fn follow(
    file: FollowedFile,
    config: watch::Receiver<Arc<Config>>,
    reloader: mpsc::Sender<ReloadRequest>,
) {
    let FollowedFile { path, before, always } = file;
    let (reader, mut stamps, mut hangs) = (Reader::default(), StampLog::new(before), false);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let followed = path.clone();
        let seen = match reader.read(PATIENCE, move || Stamp::of(&followed)).await {
            Ok(seen) => seen,
            Err(error) => {
                if !std::mem::replace(&mut hangs, true) {
                    warn!(target: APP, %error, "the configuration file is not followed");
                }
                continue;
            }
        };
        hangs = false;
        let changed = stamps.look(seen, SystemTime::now());
        if !changed || !always && !config.borrow().is_central() {
            continue;
        }
        debug!(target: APP, "the configuration file has changed");
        // The outcome is logged where the reload happens.
        if reload(&reloader).await.is_none() {
            return;
        }
    }
}
