//! How many more files this process may open. Receives the inventory; emits how many files are left for web clients. If there are
//! not even enough for the SoCs, it logs an error, at the start and after a change of the inventory.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::make_view::Sources;
use super::parts::{Tasks, until};
use crate::grpc_surface::MOST_CLIENTS;
use crate::model::Inventory;
use crate::model::component::APP;
use crate::web::FilesLeft;

/// Files that the exporter itself may have open: standard streams, log, runtimes, listeners, the configuration
/// and certificates while they are read, /proc while a scrape reads it. Counted: 15, without those for Redis.
const OWN_FILES: usize = 48;
/// Connections to Redis per namespace: two for each of three mirrors, two for each of two publishers.
const REDIS_FILES: usize = 10;

/// Files of the exporter's own gRPC services with so many listeners: these, and twice as many as its clients: each may be
/// leaving while another comes.
fn grpc_files(listeners: usize) -> usize {
    match listeners {
        0 => 0,
        listeners => listeners + 2 * MOST_CLIENTS,
    }
}

/// Files that web clients must not use: one for each SoC, and our own. Pure.
fn reserved(targets: usize, namespaces: usize, grpc_listeners: usize) -> u64 {
    (targets + OWN_FILES + REDIS_FILES * namespaces + grpc_files(grpc_listeners)) as u64
}

/// Starts the task that counts how many files are left for web clients.
pub(super) fn count(
    sources: &Sources,
    grpc_listeners: usize,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> FilesLeft {
    let namespaces = sources.config.borrow().namespaces.len();
    let (open_files, files) = OpenFiles::new(sources.switch.inventory.clone(), namespaces, grpc_listeners);
    until(stop, tasks, "the count of files", open_files.run());
    files
}

/// See the module's documentation.
struct OpenFiles {
    inventory: watch::Receiver<Arc<Inventory>>,
    namespaces: usize,
    grpc_listeners: usize,
    left: watch::Sender<u64>,
    /// The last shortage that was logged: the limit and the number needed.
    told: Option<(u64, u64)>,
}

impl OpenFiles {
    fn new(
        inventory: watch::Receiver<Arc<Inventory>>,
        namespaces: usize,
        grpc_listeners: usize,
    ) -> (Self, FilesLeft) {
        let (left, files) = watch::channel(0);
        let mut this = Self {
            inventory,
            namespaces,
            grpc_listeners,
            left,
            told: None,
        };
        this.count();
        (this, files)
    }

    /// Ends when no inventory can come any more.
    async fn run(mut self) {
        while self.inventory.changed().await.is_ok() {
            self.count();
        }
    }

    fn count(&mut self) {
        let targets = self.inventory.borrow_and_update().targets.len();
        let needed = reserved(targets, self.namespaces, self.grpc_listeners);
        // The hard limit may have been raised meanwhile (prlimit).
        let raised = rlimit::increase_nofile_limit(u64::MAX);
        let soft = || rlimit::Resource::NOFILE.get_soft();
        let limit = raised.or_else(|_| soft()).unwrap_or(u64::MAX);
        self.tell(targets, needed, limit);
        self.left.send_replace(limit.saturating_sub(needed));
    }

    fn tell(&mut self, targets: usize, needed: u64, limit: u64) {
        let short = (limit < needed).then_some((limit, needed));
        if short == self.told {
            return;
        }
        self.told = short;
        match short {
            Some(_) => error!(target: APP,
                limit,
                targets,
                needed,
                "the limit of open files is too low: some targets cannot be dialled; raise the hard limit above `needed` (ulimit -Hn, LimitNOFILE= of a unit), then reload"
            ),
            None => {
                info!(target: APP, limit, targets, needed, "the limit of open files is sufficient for all targets again")
            }
        }
    }
}
