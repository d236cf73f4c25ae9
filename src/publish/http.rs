//! The web endpoint.
//!
//! | route | answer |
//! |---|---|
//! | GET / | the landing page |
//! | GET /metrics (`--web.telemetry-path`) | text 0.0.4 or OpenMetrics 1.0.0 by `Accept`, gzip by `Accept-Encoding`, streamed |
//! | GET /-/healthy | 200 while the process serves |
//! | GET /-/ready | 503 until every target was looked at once, then 200 |
//! | POST, PUT /-/reload | reloads the configuration; 403 without `--web.enable-lifecycle`, 500 with the reason if it is bad |

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tower_http::compression::CompressionLayer;

use super::exposition::{Format, Pieces};
use super::metrics::Scrape;
use super::page;

/// Asks for a reload; the answer is why it failed, if it did.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// Collects what one scrape shows. Made by the wiring: the fleet is not this stage's to know.
pub type Source = Arc<dyn Fn() -> SourceFuture + Send + Sync>;
/// `None` while the exporter is stopping.
pub type SourceFuture = std::pin::Pin<Box<dyn Future<Output = Option<Scrape>> + Send>>;

/// What the routes need.
#[derive(Clone)]
pub struct Web {
    /// Where `/metrics` is.
    pub telemetry_path: String,
    /// What it shows.
    pub scrape: Source,
    /// What `/-/ready` says.
    pub ready: watch::Receiver<bool>,
    /// Where reloads are asked for; `None` without `--web.enable-lifecycle`.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web")
            .field("telemetry_path", &self.telemetry_path)
            .finish_non_exhaustive()
    }
}

/// Whether `path` can be the metrics' path, beside the others.
pub fn telemetry_path_ok(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("/-/")
        && path
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_-.".contains(c))
}

/// Serves one listener until `stop`; requests under way are finished.
pub async fn serve(
    listener: TcpListener,
    web: Web,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(web))
        .with_graceful_shutdown(stop)
        .await
}

fn router(web: Web) -> Router {
    let mut router = Router::new()
        .route(&web.telemetry_path, get(metrics))
        .route("/-/healthy", get(async || "dualtor-exporter is healthy.\n"))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).put(reload));
    if web.telemetry_path != "/" {
        let page = page::landing(&web.telemetry_path);
        router = router.route("/", get(async move || Html(page)));
    }
    router.layer(CompressionLayer::new()).with_state(web)
}

async fn metrics(State(web): State<Web>, headers: HeaderMap) -> Response {
    let Some(scrape) = (web.scrape)().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the exporter is stopping\n").into_response();
    };
    let accept = headers.get_all(header::ACCEPT);
    let accept: Vec<&str> = accept.iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::from_accept(&accept.join(","));
    // Each piece is rendered when the scraper has taken the one before: a slow one costs no memory and no thread.
    let pieces = stream::iter(Pieces::new(scrape, format).map(Ok::<_, Infallible>));
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    (content_type, Body::from_stream(pieces)).into_response()
}

async fn ready(State(web): State<Web>) -> Response {
    if *web.ready.borrow() {
        "dualtor-exporter is ready.\n".into_response()
    } else {
        let text = "not ready: the first round of probes is under way\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn reload(State(web): State<Web>) -> Response {
    let Some(reload) = web.reload else {
        let text = "Lifecycle API is not enabled: start with --web.enable-lifecycle.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    };
    let (tx, rx) = oneshot::channel();
    let answer = match reload.send(tx).await {
        Ok(()) => rx.await.ok(),
        Err(_) => None,
    };
    match answer {
        Some(Ok(())) => "configuration reloaded\n".into_response(),
        Some(Err(reason)) => {
            let text = format!("failed to reload the configuration: {reason}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the exporter is stopping\n").into_response(),
    }
}
