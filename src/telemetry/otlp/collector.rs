//! One connection to a collector, and one request over it: POST with protobuf over HTTP/1.1, or a unary gRPC call over HTTP/2. It is
//! kept between requests. After any failure it is closed, and the next request makes a new one, reading certificates and headers
//! from their files again: a rotation needs no restart. It remembers how long the collector wants to be left alone (`Retry-After`).
//!
//! Cancel-safe: a request that is cancelled closes the connection.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::collector_reply::{MAX_REPLY, SendError, of_grpc, of_http};
use super::grpc_frames::{framed, timeout_header};
use crate::config::files::{PATIENCE, Reader};
use crate::config::{OtlpProtocol, OtlpTarget};
use crate::model::text;
use crate::runtime::ration::Ration;
use crate::soc::channel::{ServerFault, plain_client};
use crate::sonic::discovery::https::{host, server_name};

/// Memory for the head of a reply over HTTP/1.1.
const MAX_HEAD: usize = 64 * 1024;
/// What may come for one request, in bytes: head and reply, twice, because of their framing.
const MAX_RECEIVED: usize = 2 * (MAX_HEAD + MAX_REPLY);
/// A collector that asks for more is asked again after this time: a mistaken number must not end the telemetry.
const LONGEST_REST: Duration = Duration::from_secs(300);
const USER_AGENT: &str = concat!("dualtor-exporter/", env!("CARGO_PKG_VERSION"));

enum HttpLink {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// An open connection, and the task that drives it.
struct OpenLink {
    link: HttpLink,
    headers: HeaderMap,
    ration: Ration,
    driver: AbortOnDropHandle<hyper::Result<()>>,
}

/// See the module's documentation.
pub(super) struct Collector {
    target: OtlpTarget,
    /// The gRPC method.
    method: &'static str,
    open: Option<OpenLink>,
    reader: Reader,
    /// Until when the collector wants to be left alone.
    rests_until: Option<Instant>,
}

impl Collector {
    /// Not connected yet. `method`: the path of gRPC.
    pub(super) fn new(target: OtlpTarget, method: &'static str) -> Self {
        Self {
            target,
            method,
            open: None,
            reader: Reader::default(),
            rests_until: None,
        }
    }

    /// For people: where it is.
    pub(super) fn url(&self) -> String {
        text::quote(self.target.url.to_string())
    }

    /// How long the collector still wants to be left alone.
    pub(super) fn rest(&self) -> Duration {
        let until = self.rests_until.unwrap_or_else(Instant::now);
        until.saturating_duration_since(Instant::now())
    }

    /// Connects, if it is not connected.
    pub(super) async fn connect(&mut self) -> Result<(), SendError> {
        if self.open.as_ref().is_some_and(OpenLink::is_usable) {
            return Ok(());
        }
        self.open = None;
        let within = self.target.timeout;
        let opened = timeout(within, open(&self.target, &self.reader)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no connection within {within:?}")));
        self.open = Some(opened.map_err(SendError::again)?);
        Ok(())
    }

    /// Sends one message. Returns the message of the reply.
    pub(super) async fn send(&mut self, message: &[u8]) -> Result<Bytes, SendError> {
        let was_open = self.open.as_ref().is_some_and(OpenLink::is_usable);
        self.connect().await?;
        let Some(mut open) = self.open.take() else {
            return Err(SendError::again("not connected"));
        };
        let within = self.target.timeout;
        let request = self.request(message, &open.headers).map_err(SendError::refused)?;
        let reply = async {
            let response = open.send(request).await?;
            match self.target.protocol {
                OtlpProtocol::Http => of_http(response).await,
                OtlpProtocol::Grpc => of_grpc(response).await,
            }
        };
        let reply = timeout(within, reply).await;
        let reply = reply.unwrap_or_else(|_| Err(SendError::again(format!("no reply within {within:?}"))));
        match reply {
            Ok(reply) => {
                self.open = Some(open);
                Ok(reply)
            }
            Err(mut error) => {
                let rest = error.after.map(|after| after.min(LONGEST_REST));
                self.rests_until = rest.map(|rest| Instant::now() + rest);
                // The file with the login may have changed since: a new connection reads it again.
                error.again |= error.login && was_open;
                Err(error)
            }
        }
    }

    fn request(&self, message: &[u8], headers: &HeaderMap) -> Result<Request<Body>, String> {
        let Self { target, method, .. } = self;
        let is_grpc = target.protocol == OtlpProtocol::Grpc;
        let packed = target.gzip.then(|| gzip(message));
        let message = packed.as_deref().unwrap_or(message);
        let (uri, kind, body) = if is_grpc {
            let mut parts = target.url.clone().into_parts();
            parts.path_and_query = method.parse().ok();
            let uri = http::Uri::from_parts(parts).map_err(|error| error.to_string())?;
            (uri, "application/grpc", framed(message, target.gzip))
        } else {
            let path = target.url.path().parse().map_err(|_| "a bad path".to_owned())?;
            (path, "application/x-protobuf", Bytes::copy_from_slice(message))
        };
        let length = body.len();
        let mut request = Request::post(uri)
            .body(Body::from(body))
            .map_err(|error| error.to_string())?;
        let all = request.headers_mut();
        all.extend(headers.clone());
        all.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        all.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if is_grpc {
            all.insert(header::TE, HeaderValue::from_static("trailers"));
            let timeout = timeout_header(target.timeout);
            if let Ok(timeout) = HeaderValue::from_str(&timeout) {
                all.insert(HeaderName::from_static("grpc-timeout"), timeout);
            }
        } else {
            let authority = target.url.authority().map_or("", |authority| authority.as_str());
            let authority = HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
            all.insert(header::HOST, authority);
            all.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if target.gzip {
            let name = if is_grpc {
                HeaderName::from_static("grpc-encoding")
            } else {
                header::CONTENT_ENCODING
            };
            all.insert(name, HeaderValue::from_static("gzip"));
        }
        Ok(request)
    }
}

impl OpenLink {
    fn is_usable(&self) -> bool {
        match &self.link {
            HttpLink::Http1(sender) => sender.is_ready(),
            HttpLink::Http2(sender) => sender.is_ready(),
        }
    }

    async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, SendError> {
        self.ration.renew();
        let response = match &mut self.link {
            HttpLink::Http1(sender) => sender.send_request(request).await,
            HttpLink::Http2(sender) => sender.send_request(request).await,
        };
        match response {
            Ok(response) => Ok(response),
            Err(error) => {
                let fault = ServerFault::of_request(error, &mut self.driver).await;
                Err(SendError::again(format!("no reply: {fault}")))
            }
        }
    }
}

async fn open(target: &OtlpTarget, reader: &Reader) -> Result<OpenLink, String> {
    let alpn = (target.protocol == OtlpProtocol::Grpc).then_some(&b"h2"[..]);
    let (settings, url, headers) = (target.tls.clone(), target.url.clone(), target.headers.clone());
    // Files that hang must not stop the task.
    let prepared = reader.read(PATIENCE, move || {
        let tls = settings.map(|tls| {
            let mut client = plain_client(&tls)?;
            client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Ok::<_, String>((server_name(&url, &tls)?, TlsConnector::from(Arc::new(client))))
        });
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let bad = || format!("the header {name} has characters that no header may have");
            let mut value = HeaderValue::from_bytes(&value.read()?).map_err(|_| bad())?;
            value.set_sensitive(true);
            all.insert(name, value);
        }
        Ok::<_, String>((tls.transpose()?, all))
    });
    let (tls, headers) = prepared.await.map_err(|unread| unread.to_string())??;
    let port = target.url.port_u16();
    let port = port.unwrap_or(if tls.is_some() { 443 } else { 80 });
    let tcp = TcpStream::connect((host(&target.url)?, port)).await;
    let tcp = tcp.map_err(|error| format!("cannot connect: {error}"))?;
    // A request is one write.
    let _ = tcp.set_nodelay(true);
    let ration = Ration::new(MAX_RECEIVED);
    let tcp = ration.of(tcp);
    let (link, driver) = match tls {
        None => shake_hands(tcp, target.protocol).await?,
        Some((name, tls)) => {
            let tls = tls.connect(name, tcp).await;
            shake_hands(
                tls.map_err(|error| format!("TLS: {}", ServerFault::of(&error)))?,
                target.protocol,
            )
            .await?
        }
    };
    Ok(OpenLink {
        link,
        headers,
        ration,
        driver,
    })
}

async fn shake_hands<S>(
    socket: S,
    protocol: OtlpProtocol,
) -> Result<(HttpLink, AbortOnDropHandle<hyper::Result<()>>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| format!("HTTP: {}", ServerFault::of(&error));
    match protocol {
        OtlpProtocol::Http => {
            let mut http = http1::Builder::new();
            http.max_buf_size(MAX_HEAD);
            let (sender, connection) = http.handshake(TokioIo::new(socket)).await.map_err(failed)?;
            let driver = tokio::spawn(connection);
            Ok((HttpLink::Http1(sender), AbortOnDropHandle::new(driver)))
        }
        OtlpProtocol::Grpc => {
            let mut http = http2::Builder::new(TokioExecutor::new());
            http.max_header_list_size(16 * 1024);
            let (sender, connection) = http.handshake(TokioIo::new(socket)).await.map_err(failed)?;
            let driver = tokio::spawn(connection);
            Ok((HttpLink::Http2(sender), AbortOnDropHandle::new(driver)))
        }
    }
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 8), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(message);
    encoder.finish().unwrap_or_default()
}
