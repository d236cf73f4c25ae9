//! The JSON API, `/api/v1/...`: the view as data. It only reads, except that a POST probes a SoC. docs/api.md describes it for users; `openapi.json` for programs.
//!
//! | file | job |
//! |---|---|
//! | `port_row` | a port in lists |
//! | `port_page` | all about one port, with its history |
//! | `fleet_summary` | the exporter and its counts |
//! | `event_stream` | `/api/v1/events`: rows as they change |
//! | `board` | which rows changed, in which order (no I/O) |
//! | `service_rows` | probe modules and their targets |
//! | `service_selection` | which targets a request asks for (pure) |
//! | `probe_now` | `POST /api/v1/ports/{port}/probe` |
//! | `probe_turns` | how often that may happen (pure) |
//! | `stream_places` | how the places of event streams are shared (pure) |
//! | `selection` | which ports a request asks for, in which order (pure) |
//! | `url_parameters` | the parameters that all lists have (pure) |
//! | `openapi.json` | the description for programs; a test compares it with the answers |
//!
//! Words are those of metrics and log. Times are RFC 3339, UTC, with milliseconds. Durations are seconds. What is unknown is
//! `null` or the word `unknown`; no field is ever absent.
//!
//! Imports `model`, `runtime` (a limit), `soc` (what modules found, as JSON), `sonic` (the names of a row's counters), its parent, and its siblings `cells`,
//! `error_form`, `exporter_problems`, `limits`, `out_of_date`, `peer_address`, `port_lookup`, `reply_body`, `same_site` and `scrape`.

mod board;
mod event_stream;
mod fleet_summary;
mod port_page;
mod port_row;
mod probe_now;
mod probe_turns;
pub(super) mod selection;
mod service_rows;
pub(super) mod service_selection;
mod stream_places;
mod url_parameters;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

use super::HistorySource;
use super::error_form::ErrorForm;
use super::port_lookup::{self, NoPort, look_up};
use super::reply_body::reply_body;
use super::scrape::{NotRendered, Renderer};
use crate::model::{Cause, ChannelStatus, View, text};
pub(super) use event_stream::EventStreams;
use fleet_summary::FleetSummary;
use port_page::PortPage;
use port_row::PortRow;
pub(super) use probe_now::ProbesNow;
use selection::Selection;
use service_rows::{ModuleRow, ServicePage, ServiceRow};
use service_selection::{JudgedService, ServiceSelection};

/// After this time a refused client may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) renderer: Arc<Renderer>,
    pub(super) history: HistorySource,
    pub(super) streams: Arc<EventStreams>,
    /// `None` without `--web.enable-lifecycle`.
    pub(super) probes: Option<Arc<ProbesNow>>,
}

/// To be nested, not a service: that would take `/api/v1//ports` for `/api/v1/ports`.
pub(super) fn router<S: Clone + Send + Sync + 'static>(api: Api) -> Router<S> {
    Router::new()
        .route("/fleet", get(fleet))
        .route("/ports/{port}", get(port))
        .route(
            "/ports/{port}/probe",
            post(probe_now::probe).fallback(probe_now::other_method),
        )
        .route("/modules", get(modules))
        .route("/targets/{module}/{target}", get(target))
        .route("/events", get(event_stream::events))
        .route("/openapi.json", get(openapi))
        .route_layer(from_fn(without_parameters))
        .route("/ports", get(ports))
        .route("/targets", get(targets))
        .method_not_allowed_fallback(async || {
            let error = ApiError::method_not_allowed().into_response();
            ([(header::ALLOW, HeaderValue::from_static("GET, HEAD"))], error)
        })
        .fallback(async || ApiError::not_found("there is nothing at this path; see /api/v1/openapi.json"))
        .with_state(api)
}

/// Paths that take no parameters. One that is ignored would make a client believe in an answer to another question.
async fn without_parameters(request: Request, next: Next) -> Response {
    match request.uri().query() {
        Some(query) if !query.is_empty() => {
            let query = text::quote(query);
            let text = format!("unknown parameter {query}: this path takes none");
            ApiError::bad_request(text).into_response()
        }
        _ => next.run(request).await,
    }
}

/// A time: RFC 3339, UTC, with milliseconds.
#[derive(Debug, Clone, Copy)]
struct Time(SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = DateTime::<Utc>::from(self.0).to_rfc3339_opts(SecondsFormat::Millis, true);
        serializer.serialize_str(&time)
    }
}

/// Failed dials and lost connections by cause: those that happened.
fn failures(channel: &ChannelStatus) -> BTreeMap<&'static str, u64> {
    let failures = Cause::ALL.iter().zip(channel.failures);
    let failures = failures.filter(|(_, count)| *count > 0);
    failures.map(|(cause, count)| (cause.label(), count)).collect()
}

/// An answer that is not data.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// After which time the client may ask again.
    retry_after: Option<Duration>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            code,
            message,
            retry_after: (code == "busy").then_some(RETRY_AFTER),
        }
    }

    fn retry_after(self, after: Duration) -> Self {
        let retry_after = Some(after);
        Self { retry_after, ..self }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    fn method_not_allowed() -> Self {
        let text = "this API only reads: GET and HEAD";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
    }
}

impl From<NotRendered> for ApiError {
    fn from(reason: NotRendered) -> Self {
        match reason {
            NotRendered::Busy => {
                let text = "too many requests at a time: this one had no turn within 5 s";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
            }
            NotRendered::Stopping => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the exporter is stopping",
            ),
            NotRendered::Failed => {
                let text = "a defect of the exporter; its log has the details";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "defect", text)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let answer = ErrorForm::Json.answer(self.status, self.code, &self.message);
        let after = self.retry_after.map(|after| after.as_secs_f64().ceil() as u64);
        let retry = after.map(|seconds| [(header::RETRY_AFTER, HeaderValue::from(seconds))]);
        (retry, answer).into_response()
    }
}

type ApiResult = Result<Response, ApiError>;

async fn fleet(State(api): State<Api>, method: Method, headers: HeaderMap) -> ApiResult {
    let pieces = |view: View| Ok(std::iter::once(line(&FleetSummary::of(&view))));
    answered(&api, &method, &headers, pieces).await
}

async fn ports(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> ApiResult {
    let selection = Selection::parse(query.as_deref().unwrap_or("")).map_err(ApiError::bad_request)?;
    let pieces = move |view: View| {
        let (total, chosen) = selection.of(&view.socs);
        let begin = format!("{{\"total\":{total},\"ports\":[");
        let rows = (0..chosen.len()).map(move |n| {
            let comma = if n == 0 { "" } else { ",\n" };
            format!("{comma}{}", json(&PortRow::of(&view.socs[chosen[n]])))
        });
        Ok(std::iter::once(begin).chain(rows).chain(["]}\n".to_owned()]))
    };
    answered(&api, &method, &headers, pieces).await
}

async fn port(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> ApiResult {
    let Path(name) = name.map_err(|_| no_utf8())?;
    let unknown = |reason| no_port(reason, &name);
    let (id, history) = look_up(&api.history, &name).await.map_err(unknown)?;
    let pieces = |view: View| {
        let soc = port_lookup::row(&view, &id).map_err(unknown)?;
        Ok(std::iter::once(line(&PortPage::of(soc, &history))))
    };
    answered(&api, &method, &headers, pieces).await
}

async fn modules(State(api): State<Api>, method: Method, headers: HeaderMap) -> ApiResult {
    let pieces = |view: View| {
        let modules = json(&ModuleRow::all(&view));
        Ok(std::iter::once(format!("{{\"modules\":{modules}}}\n")))
    };
    answered(&api, &method, &headers, pieces).await
}

async fn targets(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> ApiResult {
    let selection = ServiceSelection::parse(query.as_deref().unwrap_or("")).map_err(ApiError::bad_request)?;
    let pieces = move |view: View| {
        let (total, chosen) = selection.of(&view);
        let rows: Vec<String> = chosen
            .into_iter()
            .map(|service| json(&ServiceRow::of(service)))
            .collect();
        let rows = rows.join(",\n");
        Ok(std::iter::once(format!(
            "{{\"total\":{total},\"targets\":[{rows}]}}\n"
        )))
    };
    answered(&api, &method, &headers, pieces).await
}

async fn target(
    State(api): State<Api>,
    name: Result<Path<(String, String)>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> ApiResult {
    let Path((module, name)) =
        name.map_err(|_| ApiError::not_found("no such target: its name is not UTF-8"))?;
    let pieces = |view: View| {
        let found = JudgedService::all(&view).find(|service| {
            let job = &service.status.job;
            (&*job.spec.name, &*job.target.name) == (&*module, &*name)
        });
        let Some(service) = found else {
            let asked = text::quote(format!("{module}/{name}"));
            return Err(ApiError::not_found(format!("no such target: {asked}")));
        };
        Ok(std::iter::once(line(&ServicePage::of(service))))
    };
    answered(&api, &method, &headers, pieces).await
}

fn unknown_port(name: &str) -> ApiError {
    ApiError::not_found(format!("no such port: {}", text::quote(name)))
}

fn no_utf8() -> ApiError {
    ApiError::not_found("no such port: its name is not UTF-8")
}

fn no_port(reason: NoPort, name: &str) -> ApiError {
    match reason {
        NoPort::Unknown => unknown_port(name),
        NoPort::Stopping => NotRendered::Stopping.into(),
    }
}

async fn openapi() -> Response {
    let head = [(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, NO_STORE)];
    (head, include_str!("api/openapi.json")).into_response()
}

/// A view that is newer than this request, as JSON.
async fn answered<P>(
    api: &Api,
    method: &Method,
    headers: &HeaderMap,
    pieces: impl FnOnce(View) -> Result<P, ApiError>,
) -> ApiResult
where
    P: Iterator<Item = String>,
{
    let rendered = api.renderer.render_pieces(pieces);
    let (encoding, body) = reply_body(method, headers, rendered).await?;
    let head = [
        (header::CONTENT_TYPE, JSON),
        (header::CACHE_CONTROL, NO_STORE),
        (header::VARY, HeaderValue::from_static("Accept-Encoding")),
    ];
    Ok((head, encoding, body).into_response())
}

fn line(value: &impl Serialize) -> String {
    format!("{}\n", json(value))
}

/// None of our types can fail to become JSON: no map has keys that are not strings.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
