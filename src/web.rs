//! The web endpoint: a thread of its own that accepts, limits, renders and answers.
//!
//! | module | what it holds |
//! |---|---|
//! | `limits` | what a client may cost (pure, but for its counters) |
//! | `gate` | who is let in, and who has to go for another |
//! | `client` | accepts, serves one connection, ends it |
//! | `client_socket` | a socket that gives up on a peer that takes nothing |
//! | `routes` | the routes and their answers |
//! | `negotiate` | `Accept`, `Accept-Encoding` (pure) |
//! | `scrape` | renders a scrape once for all who wait for it |
//! | `answer` | a rendered scrape, packed; how readers take it, and how much of it all may pin |
//!
//! Why a thread: scrapers must not cost a probe anything. Everything here runs on one thread with a low priority, so all
//! clients together cost one core at most, and that one only while probing does not want it. The fleet is asked for
//! a snapshot through its queue, as by any reader; nothing here is ever waited for by what probes.
//!
//! Imports `model`, `runtime`, `config` and `telemetry`; of the fleet it knows only how a scrape is asked for.

mod answer;
mod client;
mod client_socket;
mod gate;
mod limits;
mod negotiate;
mod page;
mod routes;
mod scrape;

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::model::View;
use crate::model::component::WEB;
use gate::Gate;

pub use limits::{FilesLeft, Limits, WebStats};
pub use negotiate::format_for;
pub use routes::telemetry_path_ok;

/// Asks for a reload; the answer is why it failed, if it did.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// Makes a view. Given by `app`: the web side does not know the fleet.
pub type ViewSource = Arc<dyn Fn() -> ViewFuture + Send + Sync>;
/// `None` while the exporter is stopping.
pub type ViewFuture = std::pin::Pin<Box<dyn Future<Output = Option<View>> + Send>>;

/// By how much the web thread stands back, as `nice` counts, where probing wants the processor too. Not more: on a switch
/// whose processor is busy a scrape must still come within Prometheus' 10 s.
const NICE: i32 = 5;

/// What the routes need.
#[derive(Clone)]
pub struct Web {
    /// Where `/metrics` is.
    pub telemetry_path: String,
    /// What it shows.
    pub view: ViewSource,
    /// What `/-/ready` says.
    pub ready: watch::Receiver<bool>,
    /// Where reloads are asked for; `None` without `--web.enable-lifecycle`.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
    /// What a client may cost.
    pub limits: Limits,
    /// How many files are left for connections.
    pub files: FilesLeft,
    /// What is counted of them.
    pub stats: Arc<WebStats>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web")
            .field("telemetry_path", &self.telemetry_path)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Serves the listeners until `stop`; requests under way are finished. Dropped, it ends at once.
pub async fn serve(listeners: Vec<TcpListener>, web: Web, stop: CancellationToken) -> io::Result<()> {
    if listeners.is_empty() {
        stop.cancelled().await;
        return Ok(());
    }
    // A socket belongs to the runtime that it was made in.
    let listeners = listeners.into_iter().map(TcpListener::into_std);
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    let abandoned = CancellationToken::new();
    let _abandons = abandoned.clone().drop_guard();
    let (ended, end) = oneshot::channel();
    let serving = move || {
        let outcome = on_this_thread(listeners, web, stop, &abandoned);
        // Nobody listens to the end of what was abandoned.
        let _ = ended.send(outcome);
    };
    std::thread::Builder::new()
        .name("web".to_owned())
        .spawn(serving)?;
    match end.await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::other("its thread has panicked")),
    }
}

fn on_this_thread(
    listeners: Vec<std::net::TcpListener>,
    web: Web,
    stop: CancellationToken,
    abandoned: &CancellationToken,
) -> io::Result<()> {
    // On Linux "this process" is the calling thread alone.
    let ours = rustix::process::getpriority_process(None).unwrap_or(0);
    if let Err(error) = rustix::process::setpriority_process(None, ours + NICE) {
        debug!(target: WEB, %error, "the web thread keeps its priority");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let serving = accept_all(listeners, web, stop);
        abandoned.run_until_cancelled(serving).await.unwrap_or(Ok(()))
    })
}

/// Until the stop, and then until the last answer is taken.
async fn accept_all(
    listeners: Vec<std::net::TcpListener>,
    web: Web,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut files = web.files.clone();
    let gate = Gate::new(web.limits, files.clone(), web.stats.clone());
    let router = routes::router(web);
    let connections = TaskTracker::new();
    let mut accepting = Vec::new();
    for listener in listeners {
        let server = client::Server {
            listener: TcpListener::from_std(listener)?,
            gate: gate.clone(),
            router: router.clone(),
            connections: connections.clone(),
            stop: stop.clone(),
        };
        accepting.push(server.run());
    }
    let shedding = async {
        // Its end: nobody counts any more, and the stop is near.
        while files.changed().await.is_ok() {
            gate.shed(std::time::Instant::now());
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = futures_util::future::join_all(accepting) => {}
        () = shedding => {}
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

#[cfg(test)]
mod tests;
