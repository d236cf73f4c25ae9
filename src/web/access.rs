//! What web.config.file asks of each request: the rate limit, a login, and headers of the answer.
//!
//! `/-/healthy` and `/-/ready` need neither login nor rate limit: who restarts containers has no password.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use tokio::sync::watch;

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

type Body = axum::body::Body;

/// See the module's documentation. Shared by all listeners.
#[derive(Debug)]
pub(super) struct Access {
    config: InForce,
    paths: WebPaths,
    sign_in: SignIn,
    /// As it was at the start.
    rate: Option<(RateLimit, Mutex<Bucket>)>,
}

impl Access {
    pub(super) fn new(config: InForce, paths: WebPaths) -> Arc<Self> {
        let rate = config.borrow().rate;
        let rate = rate.map(|rate| (rate, Mutex::new(Bucket::new(rate.burst, rate.interval))));
        Arc::new(Self {
            config,
            paths,
            sign_in: SignIn::default(),
            rate,
        })
    }

    pub(super) fn config(&self) -> InForce {
        self.config.clone()
    }

    /// Whether one more request may be answered now.
    fn is_within_rate(&self) -> bool {
        let Some((limit, bucket)) = &self.rate else {
            return true;
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        limit.burst > 0 && bucket.take(Instant::now())
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
        let is_open = matches!(&place, Place::Route(uri) if OPEN.contains(&uri.path()));
        if !is_open {
            if !self.is_within_rate() {
                let text = "too many requests\n";
                return Ok((StatusCode::TOO_MANY_REQUESTS, text).into_response());
            }
            let config = self.config.borrow().clone();
            let login = parts.headers.get(header::AUTHORIZATION);
            match self.sign_in.check(&config.users, login).await {
                SignInResult::In => {}
                SignInResult::Out => {
                    let asks = [(header::WWW_AUTHENTICATE, "Basic")];
                    return Ok((StatusCode::UNAUTHORIZED, asks, "a login is needed\n").into_response());
                }
                SignInResult::Busy => {
                    let later = [(header::RETRY_AFTER, RETRY_AFTER)];
                    let text = "busy: too many logins are being checked\n";
                    return Ok((StatusCode::SERVICE_UNAVAILABLE, later, text).into_response());
                }
            }
        }
        match place {
            Place::Route(uri) => {
                parts.uri = uri;
                routes::answer(router, Request::from_parts(parts, body)).await
            }
            Place::Home(path) => Ok((
                StatusCode::FOUND,
                [(header::LOCATION, path)],
                "see the location\n",
            )
                .into_response()),
            Place::Elsewhere => {
                Ok((StatusCode::NOT_FOUND, "nothing is served at this path\n").into_response())
            }
        }
    }

    /// The file's headers, in every answer; they replace our own.
    pub(super) fn add_headers(&self, response: &mut Response<Body>) {
        for (name, value) in &self.config.borrow().headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
}
