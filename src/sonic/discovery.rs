//! The sources of the key `inventory`: each is a task that reads one source again and again and emits what it has found.
//!
//! Whatever happens to a source (down, slow, half an answer, nonsense), its last good content stays in use: only a good answer
//! without targets removes targets. A failure is logged once when it begins and once when it is over. In a good answer, one group
//! that cannot be used affects itself alone; an answer of which no group can be used is a failure.
//!
//! Imports `model`, `runtime`, `config` and `soc`; in `sonic` `inventory`, `mirror` and `redis_link`.
//!
//! | file | job |
//! |---|---|
//! | target_groups | the format of Prometheus → targets and problems (pure) |
//! | any_value | values of any type, of which texts are used (pure) |
//! | target_files | `file_sd`: files, followed by their stamps |
//! | target_server | `http_sd`: asks an HTTP server |
//! | https | one bounded request, and its TLS |
//! | remote_switch | `config_db`: the MUX_CABLE rows of another switch |
//! | source_report | what a source emits and logs |

mod any_value;
pub(crate) mod https;
mod remote_switch;
mod source_report;
mod target_files;
mod target_groups;
mod target_server;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use crate::config::{InventorySource, SourceOrigin};
use crate::model::ProbeSettings;
use crate::model::component::INVENTORY;
use crate::runtime::defect::{Defect, Restarts, caught};
use crate::sonic::inventory::SourceContent;
use source_report::SourceReport;

/// A source whose task runs. Dropping it stops the task.
#[derive(Debug)]
pub struct RunningSource {
    /// Which source it is.
    pub source: InventorySource,
    /// What it has found.
    pub content: watch::Receiver<SourceContent>,
    _task: AbortOnDropHandle<()>,
}

impl RunningSource {
    /// Starts the task. `last`: the last good content of a source with this name, that was read in another way.
    pub fn start(
        source: InventorySource,
        last: SourceContent,
        probe: &watch::Receiver<ProbeSettings>,
    ) -> Self {
        let (out, content) = watch::channel(last);
        let task = supervised(source.clone(), out, probe.clone());
        Self {
            source,
            content,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }
}

/// Reads the source. A defect is reported, and the work starts again.
async fn supervised(
    source: InventorySource,
    out: watch::Sender<SourceContent>,
    probe: watch::Receiver<ProbeSettings>,
) {
    let mut restarts = Restarts::default();
    let mut report = SourceReport::new(source.name.clone(), out);
    loop {
        let began = Instant::now();
        let reading = async {
            match &source.origin {
                SourceOrigin::Files(files) => target_files::follow(files, &mut report).await,
                SourceOrigin::Http(server) => target_server::ask_again(server, &mut report).await,
                SourceOrigin::ConfigDb(remote) => remote_switch::follow(remote, &probe, &mut report).await,
            }
        };
        let ended = caught(Box::pin(reading)).await;
        let defect = ended.err().unwrap_or_else(|| Defect::new("its task has ended"));
        let wait: Duration = restarts.wait(began.elapsed());
        error!(target: INVENTORY, source = %source.name, %defect, tried_again_in = ?wait, "a source of the inventory is not read because of a defect of this program: please report it");
        report.failed("a defect of this program");
        sleep(wait).await;
    }
}
