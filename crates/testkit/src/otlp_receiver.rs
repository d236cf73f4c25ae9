//! A receiver of OTLP that behaves as no real collector can be made to: mute, slow, rejecting. HTTP/1.1 and gRPC on one port each.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::Rack;

/// How many spans `rack` has counted as ok, error and dropped.
pub async fn spans_counted(rack: &Rack) -> [u64; 3] {
    let scrape = rack.scrape().await;
    ["ok", "error", "dropped"].map(|result| scrape.count("dualtor_otlp_spans_total", &[("result", result)]))
}

/// What it does with the next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes everything.
    Accept,
    /// Reads requests and never answers.
    Mute,
    /// Answers after this time.
    Slow(Duration),
    /// Takes each request of spans but for this many of them.
    Reject(i64),
    /// Answers with this status: of HTTP, or of gRPC.
    Fail(u16),
    /// Over HTTP: answers with this status and this header, and takes nothing.
    Odd(u16, (&'static str, &'static str)),
    /// Over HTTP: takes only what comes with this value of `authorization`; else 401.
    Login(&'static str),
}

/// What has arrived and was taken.
#[derive(Debug, Default)]
pub struct Received {
    pub resources: Vec<Resource>,
    pub spans: Vec<Span>,
    pub metrics: Vec<Metric>,
    pub logs: Vec<LogRecord>,
    /// Every request, taken or not: its path.
    pub requests: Vec<String>,
    /// When each of them came.
    pub came: Vec<Instant>,
    /// Headers of the last request.
    pub headers: HashMap<String, String>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    received: Mutex<Received>,
}

/// See the module's documentation. It listens until it is dropped.
pub struct OtlpReceiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OtlpReceiver {
    /// On a free port. `grpc`: HTTP/2 with gRPC, else HTTP/1.1.
    pub async fn start(grpc: bool) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), grpc).await
    }

    /// The same at an address.
    pub async fn start_at(address: SocketAddr, grpc: bool) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("a port");
        let listener = socket.listen(128).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Accept),
            received: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, shared.clone(), grpc));
        Self {
            address,
            shared,
            task,
        }
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self
            .shared
            .behaviour
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// What has arrived until now.
    pub fn received<T>(&self, look: impl FnOnce(&Received) -> T) -> T {
        look(
            &self
                .shared
                .received
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// How many spans have arrived.
    pub fn spans(&self) -> usize {
        self.received(|received| received.spans.len())
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, grpc: bool) {
    // Its connections end with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (socket, shared) = (TokioIo::new(socket), shared.clone());
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, shared.clone(), grpc));
            // A client that goes away is no matter.
            if grpc {
                let served = http2::Builder::new(TokioExecutor::new()).serve_connection(socket, service);
                drop(served.await);
            } else {
                drop(http1::Builder::new().serve_connection(socket, service).await);
            }
        });
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    grpc: bool,
) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes();
    let path = head.uri.path().to_owned();
    let packed = if grpc {
        let packed = body.get_u8() == 1;
        body.advance(4);
        packed
    } else {
        head.headers
            .get("content-encoding")
            .is_some_and(|value| value == "gzip")
    };
    let message = if packed { unpacked(&body) } else { body };
    let behaviour = *shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut received = shared.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.requests.push(path.clone());
        received.came.push(Instant::now());
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter();
        received.headers = headers
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        let is_taken = match behaviour {
            Behaviour::Mute | Behaviour::Fail(_) | Behaviour::Odd(..) => false,
            Behaviour::Login(login) => has_login(&head.headers, login),
            Behaviour::Accept | Behaviour::Slow(_) | Behaviour::Reject(_) => true,
        };
        if is_taken {
            received.take(&path, message.clone());
        }
    }
    let mut reply = ExportTraceServiceResponse::default();
    match behaviour {
        Behaviour::Accept => {}
        Behaviour::Mute => std::future::pending().await,
        Behaviour::Slow(time) => tokio::time::sleep(time).await,
        Behaviour::Reject(count) => {
            reply.partial_success = Some(ExportTracePartialSuccess {
                rejected_spans: count,
                error_message: "too many".to_owned(),
            });
        }
        Behaviour::Fail(status) => return Ok(failed(status, grpc)),
        Behaviour::Odd(status, (name, value)) => {
            let mut response = failed(status, grpc);
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
            return Ok(response);
        }
        Behaviour::Login(login) if has_login(&head.headers, login) => {}
        Behaviour::Login(_) => return Ok(failed(401, grpc)),
    }
    let reply = reply.encode_to_vec();
    Ok(if grpc {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(reply.len()).expect("short"));
        framed.put_slice(&reply);
        with_trailers(framed.freeze(), "0")
    } else {
        Response::new(Full::new(Bytes::from(reply)).boxed_unsync())
    })
}

fn has_login(headers: &HeaderMap, login: &str) -> bool {
    headers.get("authorization").is_some_and(|value| value == login)
}

fn failed(status: u16, grpc: bool) -> Response<Body> {
    if grpc {
        return with_trailers(Bytes::new(), &status.to_string());
    }
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    response
}

fn with_trailers(message: Bytes, status: &str) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().expect("a value"));
    let frames = [Ok(Frame::data(message)), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let mut response = Response::new(body.boxed_unsync());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}

fn unpacked(body: &[u8]) -> Bytes {
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut all).expect("gzip");
    all.into()
}

impl Received {
    fn take(&mut self, path: &str, message: Bytes) {
        if path.to_lowercase().contains("trace") {
            let request = ExportTraceServiceRequest::decode(message).expect("spans");
            for resource in request.resource_spans {
                self.resources.extend(resource.resource);
                let scopes = resource.scope_spans.into_iter();
                self.spans.extend(scopes.flat_map(|scope| scope.spans));
            }
        } else if path.to_lowercase().contains("metric") {
            let request = ExportMetricsServiceRequest::decode(message).expect("metrics");
            for resource in request.resource_metrics {
                self.resources.extend(resource.resource);
                let scopes = resource.scope_metrics.into_iter();
                self.metrics.extend(scopes.flat_map(|scope| scope.metrics));
            }
        } else {
            let request = ExportLogsServiceRequest::decode(message).expect("logs");
            for resource in request.resource_logs {
                self.resources.extend(resource.resource);
                let scopes = resource.scope_logs.into_iter();
                self.logs.extend(scopes.flat_map(|scope| scope.log_records));
            }
        }
    }
}

/// The value of an attribute, as text; empty: there is none.
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(whole)) => whole.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}
