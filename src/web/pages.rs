//! The pages for people: `/` shows the fleet, `/ports/{port}` one port, `/services` the targets of probe modules. They are complete without a script. With it, they follow
//! `/api/v1/events`.
//!
//! | file | job |
//! |---|---|
//! | `fleet_page` | the fleet: one sentence, what is wrong with the exporter, the frame of the table |
//! | `fleet_table` | the rows of the table |
//! | `services_table` | the targets of probe modules: a part of the fleet's page, and a page |
//! | `port_detail` | one port: what it is now, what to do, which commands show more |
//! | `port_history` | its transitions and rounds |
//! | `ages` | times in words (pure) |
//! | `runbook` | which section of the runbook says what to do |
//! | `assets` | script, style sheet and icon |
//!
//! maud escapes all text. A page loads nothing from elsewhere, and the browser is told so. All links are relative (`web_paths`).
//!
//! Imports `model`, its parent, `api` (which ports, in which order), `cells`, `exporter_problems`, `grafana_url`, `port_lookup`, `reply_body`,
//! `same_site` and `scrape`.

mod ages;
mod assets;
mod fleet_page;
mod fleet_table;
mod port_detail;
mod port_history;
mod runbook;
mod services_table;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::HistorySource;
use super::api::selection::Selection;
use super::api::service_selection::ServiceSelection;
use super::grafana_url::GrafanaUrl;
use super::port_lookup::{self, NoPort, look_up};
use super::reply_body::reply_body;
use super::same_site;
use super::scrape::{NotRendered, Renderer};
use crate::model::{View, text};

/// Only our own script, style sheet, icon and API; no forms, no frames.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Where a port's page is, seen from the first page, and back.
const UP: &str = "../";

/// The page of the targets of probe modules.
const SERVICES: &str = "/services";

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Pages {
    pub(super) renderer: Arc<Renderer>,
    pub(super) history: HistorySource,
    /// The path of the metrics.
    pub(super) metrics: String,
    /// Whether a SoC can be probed from its page.
    pub(super) probes: bool,
    /// Where its dashboards are.
    pub(super) grafana: Option<GrafanaUrl>,
}

pub(super) fn router<S>(pages: Pages) -> Router<S> {
    let mut router = Router::new()
        .route("/ports/{port}", get(port))
        .route("/static/{name}", get(assets::serve));
    if pages.metrics != "/" {
        router = router.route("/", get(fleet));
    }
    // A path that was free for metrics before there was this page.
    if pages.metrics != SERVICES {
        router = router.route(SERVICES, get(services));
    }
    router.with_state(pages)
}

/// A page that says why there is no other.
#[derive(Debug)]
struct PageError {
    status: StatusCode,
    text: String,
    base: &'static str,
}

impl PageError {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let (text, base) = (text.into(), "");
        Self { status, text, base }
    }

    /// On a port's page.
    fn of_port(self) -> Self {
        Self { base: UP, ..self }
    }
}

impl From<NotRendered> for PageError {
    fn from(reason: NotRendered) -> Self {
        match reason {
            NotRendered::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many requests at a time: this one had no turn. Please reload the page.",
            ),
            NotRendered::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "The exporter is stopping."),
            NotRendered::Failed => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "A defect of the exporter; its log has the details.",
            ),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let Self { status, text, base } = self;
        let body = html! {
            main {
                h1 { (status.as_str()) " " (status.canonical_reason().unwrap_or_default()) }
                p.sentence { (text) }
                p { a href=(home(base)) { "All ports" } }
            }
        };
        let frame = PageFrame {
            title: status.as_str(),
            base,
            kind: "error",
            data: status.as_str(),
            // A port may come back, and the exporter may have time again. A bad address stays bad.
            refresh: status != StatusCode::BAD_REQUEST,
        };
        (status, page_headers(), frame.around(&body).into_string()).into_response()
    }
}

/// The first page.
fn home(base: &str) -> &str {
    if base.is_empty() { "./" } else { base }
}

/// What is around each page.
struct PageFrame<'a> {
    title: &'a str,
    /// Leads to the first page: empty or `../`.
    base: &'static str,
    /// Which page it is, for the script.
    kind: &'static str,
    /// For the script: the port, the texts of the reasons as JSON, or an error's status.
    data: &'a str,
    /// Whether a browser without scripts asks again every 10 s.
    refresh: bool,
}

impl PageFrame<'_> {
    fn around(&self, body: &Markup) -> Markup {
        let Self {
            title,
            base,
            kind,
            data,
            refresh,
        } = self;
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { (title) }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    link rel="icon" type="image/svg+xml" href={ (base) (assets::icon()) };
                    link rel="stylesheet" href={ (base) (assets::style()) };
                    @if *refresh {
                        noscript { meta http-equiv="refresh" content="10"; }
                        script src={ (base) (assets::script()) } defer {}
                    }
                }
                body data-page=(kind) data-base=(base) data-of=(data) data-runbook=(runbook::address()) {
                    p #stale role="alert" hidden {}
                    (body)
                }
            }
        }
    }
}

/// The last lines of each page.
fn footer(view: &View, base: &str, metrics: &str, json: &str) -> Markup {
    html! {
        footer {
            p {
                "dualtor-exporter " (env!("CARGO_PKG_VERSION")) ", revision " (env!("DUALTOR_REVISION")) ", on "
                (view.exporter.host) ", up for " (ages::since(view.exporter.started, view.at)) ". Times are UTC."
            }
            p {
                a href={ (base) (metrics.trim_start_matches('/')) } { "Metrics" } " "
                a href={ (base) (json) } { "JSON" } " "
                a href={ (base) "-/ready" } { "Ready" } " "
                a href={ (base) "-/healthy" } { "Healthy" }
            }
        }
    }
}

fn page_headers() -> [(HeaderName, HeaderValue); 5] {
    let value = HeaderValue::from_static;
    [
        (header::CONTENT_TYPE, value("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, value("no-store")),
        (header::VARY, value("Accept-Encoding")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, value("no-referrer")),
    ]
}

async fn fleet(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let bad = |text: String| PageError::new(StatusCode::BAD_REQUEST, text);
    let selection = Selection::of_page(query.as_deref().unwrap_or("")).map_err(bad)?;
    let metrics = pages.metrics.clone();
    let pieces = |view| Ok(fleet_page::pieces(view, selection, &metrics));
    answered(&pages, &method, &headers, pieces).await
}

async fn services(
    State(pages): State<Pages>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let bad = |text: String| PageError::new(StatusCode::BAD_REQUEST, text);
    let selection = ServiceSelection::of_page(query.as_deref().unwrap_or("")).map_err(bad)?;
    let pieces = |view: View| {
        let page = services_table::page(&view, &selection, &pages.metrics);
        Ok(std::iter::once(page.into_string()))
    };
    answered(&pages, &method, &headers, pieces).await
}

async fn port(
    State(pages): State<Pages>,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let Path(name) = name.map_err(|_| {
        let text = "This exporter does not probe a port whose name is not UTF-8.";
        PageError::new(StatusCode::NOT_FOUND, text).of_port()
    })?;
    let unknown = |reason| match reason {
        NoPort::Unknown => {
            let text = format!("This exporter does not probe a port {}.", text::quote(&name));
            PageError::new(StatusCode::NOT_FOUND, text).of_port()
        }
        NoPort::Stopping => PageError::from(NotRendered::Stopping).of_port(),
    };
    let (id, history) = look_up(&pages.history, &name).await.map_err(unknown)?;
    let host = same_site::host(&headers, &uri);
    let grafana = pages.grafana.as_ref().map(|grafana| grafana.of_port(&id, host));
    let pieces = |view: View| {
        let soc = port_lookup::row(&view, &id).map_err(unknown)?;
        let page = port_detail::page(&view, soc, &history, &pages, grafana.as_deref());
        Ok(std::iter::once(page.into_string()))
    };
    let answered = answered(&pages, &method, &headers, pieces).await;
    answered.map_err(PageError::of_port)
}

/// A page of a view that is newer than this request.
async fn answered<P>(
    pages: &Pages,
    method: &Method,
    headers: &HeaderMap,
    pieces: impl FnOnce(View) -> Result<P, PageError>,
) -> Result<Response, PageError>
where
    P: Iterator<Item = String>,
{
    let rendered = pages.renderer.render_pieces(pieces);
    let (encoding, body) = reply_body(method, headers, rendered).await?;
    Ok((page_headers(), encoding, body).into_response())
}

/// A place in a page, to cut it into pieces there. Text from outside cannot look like it: maud escapes `<`.
const CUT: PreEscaped<&str> = PreEscaped("<cut>");

/// What stands before and after the cut.
fn cut(page: &Markup) -> (String, String) {
    let (before, after) = page.0.split_once(CUT.0).unwrap_or((&page.0, ""));
    (before.to_owned(), after.to_owned())
}
