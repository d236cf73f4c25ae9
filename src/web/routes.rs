//! The routes.
//!
//! | route | answer |
//! |---|---|
//! | GET /, /ports/..., /static/... | the pages, see `pages`; with `--web.disable-page`: a list of links at / |
//! | GET /metrics (`--web.telemetry-path`) | text 0.0.4 or OpenMetrics 1.0.0 by `Accept`, gzip by `Accept-Encoding` |
//! | GET /probe | one round of a configured target of a probe module, see `module_probe` |
//! | GET /-/healthy | 200 while the process serves |
//! | GET /-/ready | 503 until every target has finished a round or failed a dial, at most 15 s; then 200 |
//! | GET /api/v1/... | the JSON API, see `api` |
//! | POST, PUT /-/reload | reloads the configuration; 403 without `--web.enable-lifecycle`, or if another site's page asks; 500 with the reason if it is bad |
//!
//! All are under `--web.route-prefix`, if there is one. HEAD works wherever GET does, without rendering anything. A request with a body is refused, because no route uses one.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use super::api::{self, Api, EventStreams, ProbesNow};
use super::error_form::ErrorForm;
use super::landing;
use super::module_probe;
use super::negotiate::{format_for, header_lines};
use super::pages::{self, Pages};
use super::reply_body::reply_body;
use super::scrape::{NotRendered, Renderer};
use super::scrape_patience::patience;
use super::{NO_LIFECYCLE, Web, limits::Limits, same_site};

/// Seconds after which a refused scraper may ask again: about as long as it has waited.
const RETRY_AFTER: &str = "5";

/// Where blackbox_exporter has it.
const PROBE_PATH: &str = "/probe";

/// What the handlers share.
#[derive(Clone)]
struct Routes {
    web: Web,
    renderer: Arc<Renderer>,
}

pub(super) fn router(web: Web, stop: CancellationToken) -> Router {
    let Limits {
        renders,
        turn,
        event_streams,
        ..
    } = web.limits;
    let renderer = Arc::new(Renderer::new(web.view.clone(), renders, turn));
    let mut router = Router::new()
        .route(&web.paths.telemetry, get(metrics))
        .route("/-/healthy", get(async || "dualtor-exporter is healthy.\n"))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).put(reload));
    if web.paths.telemetry != PROBE_PATH {
        router = router.route(PROBE_PATH, get(probe));
    }
    let api = Api {
        renderer: renderer.clone(),
        history: web.history.clone(),
        streams: Arc::new(EventStreams::new(
            web.view.clone(),
            event_streams,
            web.stats.clone(),
            stop,
        )),
        probes: web.probe.clone().map(|source| Arc::new(ProbesNow::new(source))),
    };
    router = router.nest("/api/v1", api::router(api));
    if web.paths.pages {
        let pages = Pages {
            renderer: renderer.clone(),
            history: web.history.clone(),
            metrics: web.paths.telemetry.clone(),
            probes: web.probe.is_some(),
            grafana: web.paths.grafana.clone(),
        };
        router = router.merge(pages::router(pages));
    } else if web.paths.telemetry != "/" {
        let page = landing::page(&web.paths.telemetry);
        router = router.route("/", get(async move || Html(page)));
    }
    let other_method = async || {
        let text = "this path takes other methods: see the header Allow";
        ErrorForm::Text.answer(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
    };
    // The API has its own for both.
    router
        .fallback(async |uri: Uri| ErrorForm::at(uri.path()).nothing_here())
        .method_not_allowed_fallback(other_method)
        .with_state(Routes { web, renderer })
}

/// Answers one request. A request with a body gets 413; the body is not read.
pub(super) async fn answer<B>(mut router: Router, request: Request<B>) -> Result<Response, Infallible>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    if !request.body().is_end_stream() {
        let text = "requests with a body are not accepted";
        let close = [(header::CONNECTION, "close")];
        let form = ErrorForm::at(request.uri().path());
        let answer = form.answer(StatusCode::PAYLOAD_TOO_LARGE, "body", text);
        return Ok((close, answer).into_response());
    }
    router.call(request).await
}

async fn metrics(State(routes): State<Routes>, method: Method, headers: HeaderMap) -> Response {
    let format = format_for(header_lines(&headers, &header::ACCEPT));
    let rendering = async {
        let rendering = routes.renderer.render(format);
        match patience(&headers) {
            Some(patience) => timeout(patience, rendering)
                .await
                .unwrap_or(Err(NotRendered::Busy)),
            None => rendering.await,
        }
    };
    let (encoding, body) = match reply_body(&method, &headers, rendering).await {
        Ok(reply) => reply,
        Err(reason) => return not_rendered(reason),
    };
    let head = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, "Accept, Accept-Encoding"),
    ];
    (head, encoding, body).into_response()
}

fn not_rendered(reason: NotRendered) -> Response {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match reason {
        NotRendered::Busy => {
            let text = "busy: this scrape was not rendered in time\n";
            (unavailable, [(header::RETRY_AFTER, RETRY_AFTER)], text).into_response()
        }
        NotRendered::Stopping => (unavailable, "the exporter is stopping\n").into_response(),
        NotRendered::Failed => {
            let text = "rendering failed because of a defect of the exporter; its log has the details\n";
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn probe(State(routes): State<Routes>, uri: Uri, headers: HeaderMap) -> Response {
    module_probe::answer(&routes.web.modules, &uri, &headers).await
}

async fn ready(State(routes): State<Routes>) -> Response {
    if *routes.web.ready.borrow() {
        "dualtor-exporter is ready.\n".into_response()
    } else {
        let text = "not ready: the first round of probes is under way\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn reload(State(routes): State<Routes>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(reload) = routes.web.reload else {
        return (StatusCode::FORBIDDEN, NO_LIFECYCLE).into_response();
    };
    // Another site may have its own name lead here. Then its pages seem to be ours.
    let is_rebound = headers.contains_key(header::ORIGIN) && !routes.web.allowed_hosts.allow(&uri, &headers);
    if is_rebound || same_site::is_from_elsewhere(&headers, &uri) {
        let text = "a page of another site must not reload the configuration\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
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
