//! The web endpoint: a separate thread that accepts and limits connections, renders scrapes and answers requests.
//!
//! | module | what it holds |
//! |---|---|
//! | `limits` | limits for web clients, and counters |
//! | `gate` | which connections are accepted, and which are closed to make room |
//! | `client` | accepts a connection, and secures it with TLS |
//! | `http_versions` | serves a connection over HTTP/1 or HTTP/2, and ends it |
//! | `web_config` | `--web.config.file`: from text to a validated value (pure) |
//! | `follow` | reads that file again while the exporter runs |
//! | `access`, `sign_in` | what each request needs; names and passwords |
//! | `allowed_hosts` | the names that a page may be asked for (pure) |
//! | `client_socket` | a socket that fails when the peer reads nothing |
//! | `routes` | the routes and their answers |
//! | `same_site` | whether a page of another site sends a request (pure) |
//! | `port_lookup` | the port that a request names |
//! | `grafana_url` | links to Grafana's dashboards (pure) |
//! | `error_form` | answers that are not what was asked for: JSON or text |
//! | `handler_names` | which handler a request is counted for (pure) |
//! | `web_paths` | where the routes are, as clients see them (pure) |
//! | `api` | the JSON API |
//! | `module_probe` | /probe: a round of a module's target |
//! | `pages`, `landing` | the pages for people; a list of links instead |
//! | `cells` | what tables show of a port, and whether that is as usual (pure) |
//! | `exporter_problems` | what is wrong with the exporter itself (pure) |
//! | `negotiate` | `Accept`, `Accept-Encoding` (pure) |
//! | `out_of_date`, `peer_address` | what ends an event stream when web.config.file has changed; whose request it is |
//! | `scrape` | renders a scrape once for all requests that wait for it |
//! | `reply_body` | a rendered answer as a request takes it |
//! | `answer` | a rendered scrape, compressed; how clients read it; the memory limit for all answers |
//!
//! Why a thread: scrapes must not delay a probe. Everything here runs on one thread with low priority. So all clients together
//! use one core at most, and probing has priority there too. The fleet gives snapshots through its queue of questions. Nothing
//! that probes ever waits for the web side.
//!
//! Imports `model`, `runtime`, `config`, `sonic`, `telemetry`, and from `soc` how PEM files are read and times are written. It gets views from a function
//! (`ViewSource`), so it does not import the fleet.

mod access;
mod allowed_hosts;
mod answer;
mod api;
mod cells;
mod client;
mod client_socket;
mod error_form;
mod exporter_problems;
mod follow;
mod gate;
mod grafana_url;
mod handler_names;
mod http_versions;
mod landing;
mod limits;
mod module_probe;
mod negotiate;
mod out_of_date;
mod pages;
mod peer_address;
mod port_lookup;
mod reply_body;
mod routes;
mod same_site;
mod scrape;
mod scrape_patience;
mod sign_in;
mod web_config;
mod web_paths;

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::{History, TargetId, View};
use crate::runtime::low_thread::on_low_thread;
use access::Access;
use gate::Gate;

pub use allowed_hosts::AllowedHosts;
pub use grafana_url::GrafanaUrl;
pub(crate) use http_versions::linger;
pub use limits::{FilesLeft, Limits, WebStats};
pub use module_probe::{ModuleFound, ModuleLookup, ModuleSource};
pub use negotiate::format_for;
pub use web_config::{WebConfig, WebFile};
pub use web_paths::{WebPaths, external_path, route_prefix, telemetry_path_ok};

/// A request for a reload. The answer is an error with the reason if the reload failed.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// Makes a view of this moment. `app` supplies it.
pub type ViewSource = Arc<dyn Fn() -> ViewFuture + Send + Sync>;
/// `None` while the exporter is stopping.
pub type ViewFuture = std::pin::Pin<Box<dyn Future<Output = Option<View>> + Send>>;

/// What has happened to one SoC lately. `app` supplies it.
pub type HistorySource = Arc<dyn Fn(TargetId) -> HistoryFuture + Send + Sync>;
/// `None` while the exporter is stopping; `Some(None)`: there is no such SoC.
pub type HistoryFuture = std::pin::Pin<Box<dyn Future<Output = Option<Option<Arc<History>>>> + Send>>;

/// Looks at one SoC at this moment, by a connection of its own. `app` supplies it. `None`: there is no such SoC.
pub type ProbeSource = Arc<dyn Fn(&TargetId) -> Option<ProbeFuture> + Send + Sync>;
/// What was found, as `probe --output json` prints it; else why there is no result. Dropping it ends the look.
pub type ProbeFuture = std::pin::Pin<Box<dyn Future<Output = Result<serde_json::Value, String>> + Send>>;

/// The answer of routes that `--web.enable-lifecycle` enables.
const NO_LIFECYCLE: &str = "Lifecycle API is not enabled: start with --web.enable-lifecycle.\n";

/// What the routes need.
#[derive(Clone)]
pub struct Web {
    /// Where the routes are.
    pub paths: WebPaths,
    /// The names that pages may be asked for.
    pub allowed_hosts: AllowedHosts,
    /// Makes the view that the metrics show.
    pub view: ViewSource,
    /// What has happened to one SoC, for the API.
    pub history: HistorySource,
    /// Whether `/-/ready` answers 200.
    pub ready: watch::Receiver<bool>,
    /// Takes requests for a reload; `None` without `--web.enable-lifecycle`.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
    /// Probes a SoC on request; `None` without `--web.enable-lifecycle`.
    pub probe: Option<ProbeSource>,
    /// Finds a target of a probe module, for /probe.
    pub modules: ModuleSource,
    /// web.config.file, if there is one.
    pub config: Option<WebFile>,
    /// Limits for clients.
    pub limits: Limits,
    /// How many file descriptors are left for connections.
    pub files: FilesLeft,
    /// Counters of connections.
    pub stats: Arc<WebStats>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web")
            .field("paths", &self.paths)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Serves the listeners until `stop`, then finishes requests under way. If the future is dropped, it ends at once.
pub async fn serve(listeners: Vec<TcpListener>, web: Web, stop: CancellationToken) -> io::Result<()> {
    if listeners.is_empty() {
        stop.cancelled().await;
        return Ok(());
    }
    // A socket belongs to one tokio runtime: take it out of this one, for the runtime of the web thread.
    let listeners = listeners.into_iter().map(TcpListener::into_std);
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    on_low_thread("web", move || accept_all(listeners, web, stop)).await
}

/// Accepts until the stop, then waits until all connections have ended.
async fn accept_all(
    listeners: Vec<std::net::TcpListener>,
    web: Web,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut files = web.files.clone();
    let gate = Gate::new(web.limits, files.clone(), web.stats.clone());
    let (following, access) = access_of(&web);
    let router = routes::router(web, stop.clone());
    let connections = TaskTracker::new();
    let mut accepting = Vec::new();
    for listener in listeners {
        let server = client::Server {
            listener: TcpListener::from_std(listener)?,
            gate: gate.clone(),
            router: router.clone(),
            access: access.clone(),
            connections: connections.clone(),
            stop: stop.clone(),
        };
        accepting.push(server.run());
    }
    let shedding = async {
        // `changed` fails only when the task that counts files has ended, shortly before the stop.
        while files.changed().await.is_ok() {
            gate.shed(std::time::Instant::now());
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = futures_util::future::join_all(accepting) => {}
        () = shedding => {}
        () = following => {}
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

/// What web.config.file asks of requests, and the work that follows the file. Without one, nothing is asked.
fn access_of(web: &Web) -> (impl Future<Output = ()> + use<>, Arc<Access>) {
    let config = web.config.as_ref().map(|file| file.config.clone());
    let (in_force, receiver) = watch::channel(config.unwrap_or_default());
    let (file, stats) = (web.config.clone(), web.stats.clone());
    if let Some(file) = &file {
        follow::begin(&file.config, &stats);
    }
    let following = async move {
        match file {
            Some(file) => follow::supervised(file, in_force, stats).await,
            None => in_force.closed().await,
        }
        std::future::pending::<()>().await;
    };
    let (hosts, paths) = (web.allowed_hosts.clone(), web.paths.clone());
    let access = Access::new(hosts, paths, web.stats.clone(), receiver);
    (following, access)
}

#[cfg(test)]
pub(crate) mod tests;
