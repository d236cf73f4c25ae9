//! What is asked of each request: a name that may be asked for (`allowed_hosts`), and what web.config.file has: the rate limit, a
//! login, headers of the answer.
//!
//! `/-/healthy` and `/-/ready` need neither login nor rate limit: who restarts containers has no password.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use axum::response::IntoResponse as _;
use tokio::sync::watch;

use super::allowed_hosts::AllowedHosts;
use super::error_form::ErrorForm;
use super::handler_names::handler_of;
use super::limits::WebStats;
use super::routes;
use super::sign_in::{SignIn, SignInResult};
use super::web_config::{RateLimit, WebConfig};
use super::web_paths::{Place, WebPaths};
use crate::runtime::bucket::Bucket;

/// The configuration in force; it changes when the file does.
pub(super) type InForce = watch::Receiver<Arc<WebConfig>>;

/// The routes that are open to everyone who may connect.
const OPEN: [&str; 2] = ["/-/healthy", "/-/ready"];
/// Seconds after which a client that found too many logins waiting may ask again.
const RETRY_AFTER: &str = "5";

const OTHER_HOST: &str =
    "this page is shown for IP addresses, localhost, and names given by --web.allowed-host";

type Body = axum::body::Body;

/// See the module's documentation. Shared by all listeners.
#[derive(Debug)]
pub(super) struct Access {
    hosts: AllowedHosts,
    config: InForce,
    paths: WebPaths,
    stats: Arc<WebStats>,
    sign_in: SignIn,
    /// As it was at the start.
    rate: Option<(RateLimit, Mutex<Bucket>)>,
}

impl Access {
    pub(super) fn new(
        hosts: AllowedHosts,
        paths: WebPaths,
        stats: Arc<WebStats>,
        config: InForce,
    ) -> Arc<Self> {
        let rate = config.borrow().rate;
        let rate = rate.map(|rate| (rate, Mutex::new(Bucket::new(rate.burst, rate.interval))));
        Arc::new(Self {
            hosts,
            config,
            paths,
            stats,
            sign_in: SignIn::default(),
            rate,
        })
    }

    pub(super) fn config(&self) -> InForce {
        self.config.clone()
    }

    /// In which form a request gets an error.
    pub(super) fn error_form(&self, uri: &Uri) -> ErrorForm {
        ErrorForm::of(&self.paths.place(uri.clone()))
    }

    /// A request was answered.
    pub(super) fn answered(&self, uri: &Uri, status: StatusCode, took: Duration) {
        let handler = handler_of(&self.paths, uri);
        self.stats.answered(handler, status.as_u16(), took);
    }

    /// Whether one more request may be answered now.
    fn is_within_rate(&self) -> bool {
        let Some((limit, bucket)) = &self.rate else {
            return true;
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        limit.burst > 0 && bucket.take(Instant::now())
    }

    /// Whether the request is for a page under a name that it may not be asked for. Behind a login or a client certificate,
    /// pages have no need of this: a browser sends neither to another name.
    fn is_elsewheres(&self, place: &Place, request: &Parts, config: &WebConfig) -> bool {
        let is_page = match place {
            Place::Route(uri) => uri.path() != self.paths.telemetry && !uri.path().starts_with("/-/"),
            Place::Home(_) | Place::Elsewhere => true,
        };
        is_page && !config.knows_clients() && !self.hosts.allow(&request.uri, &request.headers)
    }

    /// Why a request is not answered, if that is so.
    async fn refuses(&self, place: &Place, request: &Parts) -> Option<Response<Body>> {
        if matches!(place, Place::Route(uri) if OPEN.contains(&uri.path())) {
            return None;
        }
        let form = ErrorForm::of(place);
        if !self.is_within_rate() {
            return Some(form.answer(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests"));
        }
        let config = self.config.borrow().clone();
        if self.is_elsewheres(place, request, &config) {
            return Some(form.answer(StatusCode::FORBIDDEN, "forbidden", OTHER_HOST));
        }
        let login = request.headers.get(header::AUTHORIZATION);
        match self.sign_in.check(&config.users, login).await {
            SignInResult::In => None,
            SignInResult::Out => {
                let asks = [(header::WWW_AUTHENTICATE, "Basic")];
                let answer = form.answer(StatusCode::UNAUTHORIZED, "unauthorized", "a login is needed");
                Some((asks, answer).into_response())
            }
            SignInResult::Busy => {
                let later = [(header::RETRY_AFTER, RETRY_AFTER)];
                let text = "busy: too many logins are being checked";
                let answer = form.answer(StatusCode::SERVICE_UNAVAILABLE, "busy", text);
                Some((later, answer).into_response())
            }
        }
    }

    /// Answers one request.
    pub(super) async fn answer<B>(
        self: Arc<Self>,
        router: Router,
        request: Request<B>,
    ) -> Result<Response<Body>, Infallible>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let place = self.paths.place(parts.uri.clone());
        if let Some(refusal) = self.refuses(&place, &parts).await {
            return Ok(refusal);
        }
        Ok(match place {
            Place::Route(uri) => {
                parts.uri = uri;
                return routes::answer(router, Request::from_parts(parts, body)).await;
            }
            Place::Home(path) => {
                let location = [(header::LOCATION, path)];
                (StatusCode::FOUND, location, "see the location\n").into_response()
            }
            Place::Elsewhere => ErrorForm::Text.nothing_here(),
        })
    }

    /// In every answer: what keeps a browser from taking text for a script, and the file's headers, which replace our own.
    pub(super) fn add_headers(&self, response: &mut Response<Body>) {
        let nosniff = HeaderValue::from_static("nosniff");
        response
            .headers_mut()
            .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        for (name, value) in &self.config.borrow().headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
}
