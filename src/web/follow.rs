//! Follows web.config.file and the files that it names: reads them every 5 s, so that a change is used within 10 s. A file that has
//! become bad replaces nothing; that is logged once, and shown in the metrics.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::limits::WebStats;
use super::web_config::{WebConfig, WebFile};
use crate::config::files::{PATIENCE, Reader};
use crate::model::ConfigStatus;
use crate::model::component::WEB;
use crate::runtime::defect::caught;

/// How often it is read.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Reports the file that was read at the start.
pub(super) fn begin(config: &WebConfig, stats: &WebStats) {
    tell(config);
    let status = ConfigStatus {
        successful: true,
        last_success: SystemTime::now(),
    };
    stats.loaded(status, config.certificate_expiry());
}

fn tell(config: &WebConfig) {
    for note in config.notes() {
        warn!(target: WEB, note, "web.config.file has something that is not used");
    }
}

/// Follows the file. Never ends: a defect is reported, and the work starts again.
pub(super) async fn supervised(file: WebFile, in_force: watch::Sender<Arc<WebConfig>>, stats: Arc<WebStats>) {
    while let Err(defect) = caught(Box::pin(follow(&file, &in_force, &stats, READ_EVERY))).await {
        error!(target: WEB, %defect, "following web.config.file failed by a defect of this program, please report it");
    }
}

/// Reads the file again and again. Never ends.
async fn follow(file: &WebFile, in_force: &watch::Sender<Arc<WebConfig>>, stats: &WebStats, every: Duration) {
    let reader = Reader::default();
    let mut status = ConfigStatus {
        successful: true,
        last_success: SystemTime::now(),
    };
    let mut told = None;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (path, http2) = (file.path.clone(), in_force.borrow().http2);
        let read = reader.read(PATIENCE, move || WebFile::load_again(&path, http2));
        let outcome = match read.await {
            Ok(Ok(read)) => usable(&in_force.borrow(), read.config),
            Ok(Err(error)) => Err(error.to_string()),
            Err(unread) => Err(format!("{}: {unread}", file.path.display())),
        };
        match outcome {
            Ok(None) if status.successful => continue,
            Ok(new) => {
                info!(target: WEB, "web.config.file was read again and is in force");
                told = None;
                status = ConfigStatus {
                    successful: true,
                    last_success: SystemTime::now(),
                };
                if let Some(new) = new {
                    tell(&new);
                    in_force.send_replace(new);
                }
            }
            Err(reason) => {
                status.successful = false;
                if told.as_ref() != Some(&reason) {
                    error!(target: WEB, reason, "web.config.file cannot be used, what was read before stays in force");
                    told = Some(reason);
                }
            }
        }
        stats.loaded(status, in_force.borrow().certificate_expiry());
    }
}

/// What is to be used from now on; `None`: nothing has changed.
pub(super) fn usable(before: &WebConfig, new: Arc<WebConfig>) -> Result<Option<Arc<WebConfig>>, String> {
    if before.is_like(&new) {
        return Ok(None);
    }
    if before.tls.is_some() != new.tls.is_some() {
        return Err("tls_server_config: a change between TLS and plain HTTP needs a restart".to_owned());
    }
    if before.rate != new.rate {
        warn!(target: WEB, "rate_limit: a change needs a restart; the rest of web.config.file is used");
    }
    Ok(Some(new))
}
