//! From a request to its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dualtor_proto::served::reflection::ServerReflectionRequest;
use dualtor_proto::served::{Filter, HealthCheckRequest, HealthListRequest};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use prost::Message;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::error;

use super::LONG_REQUESTS;
use super::answer_body::{Answers, CallBody, framed, one, response};
use super::client_places::ClientPlace;
use super::health_answers::{HealthAnswers, stopping};
use super::health_board::BoardReader;
use super::info_answers::InfoService;
use super::reflection_answers::{self, LONGEST_QUESTION};
use super::request_messages::{RequestMessage, RequestMessages};
use super::surface_method::SurfaceMethod;
use crate::model::component::GRPC;
use crate::runtime::defect::caught;

/// How long a client may take to send its first message.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// Answers calls. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    health: HealthAnswers,
    /// See `LONG_REQUESTS`.
    long: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Calls {
    pub(super) fn new(board: BoardReader, stop: CancellationToken) -> Self {
        Self {
            health: HealthAnswers::new(board),
            long: Arc::new(Semaphore::new(LONG_REQUESTS)),
            stop,
        }
    }

    /// Answers one request, whatever happens.
    pub(super) async fn answer<B>(
        self,
        request: Request<B>,
        place: Arc<ClientPlace>,
    ) -> Result<Response<CallBody>, Infallible>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let call = place.call();
        if let Some(status) = not_grpc(request.method(), request.headers()) {
            let mut refusal = Response::new(CallBody::default());
            *refusal.status_mut() = status;
            return Ok(refusal);
        }
        let answering = caught(Box::pin(self.answers(request)));
        let answers = answering.await.unwrap_or_else(|defect| {
            error!(target: GRPC, %defect, "a gRPC call failed by a defect of this program, please report it");
            Err(Status::internal(
                "a defect of the exporter; its log has the details",
            ))
        });
        Ok(response(answers, call))
    }

    async fn answers<B>(self, request: Request<B>) -> Result<Answers, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let Some(method) = SurfaceMethod::of(request.uri().path()) else {
            return Err(Status::unimplemented("there is no such method"));
        };
        let (head, body) = request.into_parts();
        let mut messages = RequestMessages::new(body, self.long.clone());
        if method == SurfaceMethod::Reflection {
            return Ok(reflection(messages, self.stop));
        }
        let message = timeout(FIRST_MESSAGE, messages.next()).await;
        let message =
            message.map_err(|_| Status::deadline_exceeded(format!("no message within {FIRST_MESSAGE:?}")))?;
        let message = message?.ok_or_else(|| Status::internal("the request has no message"))?;
        match method {
            SurfaceMethod::Check => self.health.check(&service(&message)?),
            SurfaceMethod::Watch => Ok(self.health.watch(service(&message)?)),
            SurfaceMethod::List => {
                decoded::<HealthListRequest>(&message)?;
                self.health.list()
            }
            SurfaceMethod::Info(dialect) => {
                let filter = match dialect {
                    InfoService::Older => Filter::default(),
                    InfoService::RpcServer => decoded(&message)?,
                };
                let mut versions = head.headers.get_all("api_version").iter();
                let version = versions.next_back().map(HeaderValue::as_bytes);
                Ok(one(framed(&dialect.answer(version, &filter))))
            }
            SurfaceMethod::Reflection => Err(Status::internal("it has been answered")),
        }
    }
}

/// The HTTP status for a request that is not gRPC's.
fn not_grpc(method: &Method, headers: &HeaderMap) -> Option<StatusCode> {
    if method != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content = headers.get(header::CONTENT_TYPE);
    let content = content.map_or(&[][..], HeaderValue::as_bytes);
    let is_grpc = match content.strip_prefix(b"application/grpc") {
        // Not grpc-web, whose frames are others.
        Some(rest) => rest.is_empty() || matches!(rest[0], b'+' | b';'),
        None => false,
    };
    (!is_grpc).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

fn decoded<M: Message + Default>(message: &RequestMessage) -> Result<M, Status> {
    M::decode(&*message.bytes).map_err(|_| Status::internal("the message cannot be decoded"))
}

fn service(message: &RequestMessage) -> Result<String, Status> {
    Ok(decoded::<HealthCheckRequest>(message)?.service)
}

/// One answer for each question, when the client can take it, until the client has no more.
fn reflection<B>(messages: RequestMessages<B>, stop: CancellationToken) -> Answers
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let begin = Some((messages, stop));
    Box::pin(stream::unfold(begin, async |state| {
        let (mut messages, stop) = state?;
        let question = stop.run_until_cancelled(messages.next()).await;
        let answer = match question {
            None => Err(stopping()),
            Some(Ok(None)) => return None,
            Some(Ok(Some(message))) => reflection_answer(&message),
            Some(Err(status)) => Err(status),
        };
        let rest = answer.is_ok().then_some((messages, stop));
        Some((answer, rest))
    }))
}

fn reflection_answer(message: &RequestMessage) -> Result<Bytes, Status> {
    if message.bytes.len() > LONGEST_QUESTION {
        return Err(Status::invalid_argument(format!(
            "expected a question of at most {LONGEST_QUESTION} bytes"
        )));
    }
    reflection_answers::answer(decoded::<ServerReflectionRequest>(message)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_posts_with_grpcs_own_content_are_calls() {
        let check = |method: Method, content: &'static str, expected: Option<u16>| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content))]);
            let status = not_grpc(&method, &headers).map(|status| status.as_u16());
            assert_eq!(status, expected, "{method} {content}");
        };
        check(Method::POST, "application/grpc", None);
        check(Method::POST, "application/grpc+proto", None);
        check(Method::POST, "application/grpc;charset=utf-8", None);
        check(Method::POST, "application/grpc-web", Some(415));
        check(Method::POST, "application/json", Some(415));
        check(Method::GET, "application/grpc", Some(405));
        assert_eq!(
            not_grpc(&Method::POST, &HeaderMap::new()),
            Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        );
    }
}
