//! One call: route it, read it, wait if the SoC is slow, answer it. Runs inside the connection's task.
//!
//! An `h2::Error` here means that the client is gone or has cancelled: there is nobody left to tell, the call just ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use prost::Message as _;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::fault::{Code, H2Code, ReplyFault};
use super::reply::{self, PREFIX};
use super::soc::{Control, Inner};
use crate::proto::{GracefulAdminRequest, ToRSide};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// A request is a few bytes; past this it is none of ours.
const REQUEST_MAX: usize = 64 * 1024;

/// The RPCs of a SoC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rpc {
    /// DualToRActive/QueryAdminForwardingPortState
    Admin,
    /// DualToRActive/SetAdminForwardingPortState
    SetAdmin,
    /// DualToRActive/QueryOperationPortState
    Operation,
    /// DualToRActive/QueryLinkState
    Link,
    /// DualToRActive/QueryServerVersion
    Version,
    /// grpc.health.v1.Health/Check
    Health,
    /// GracefulRestart/NotifyGracefulRestartStart
    Notices,
}

impl Rpc {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Admin,
        Self::SetAdmin,
        Self::Operation,
        Self::Link,
        Self::Version,
        Self::Health,
        Self::Notices,
    ];

    fn from_path(path: &str) -> Option<Self> {
        Some(match path {
            "/DualToRActive/QueryAdminForwardingPortState" => Self::Admin,
            "/DualToRActive/SetAdminForwardingPortState" => Self::SetAdmin,
            "/DualToRActive/QueryOperationPortState" => Self::Operation,
            "/DualToRActive/QueryLinkState" => Self::Link,
            "/DualToRActive/QueryServerVersion" => Self::Version,
            "/grpc.health.v1.Health/Check" => Self::Health,
            "/GracefulRestart/NotifyGracefulRestartStart" => Self::Notices,
            _ => return None,
        })
    }
}

/// Serves one call to its end.
pub(super) async fn serve(
    soc: Arc<Inner>,
    control: watch::Receiver<Control>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let _ = answer(&soc, control, request, respond).await;
}

async fn answer(
    soc: &Inner,
    control: watch::Receiver<Control>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let rpc = Rpc::from_path(head.uri.path());
    let is_grpc = head.method == http::Method::POST
        && head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()));
    let deadline = grpc_timeout(&head.headers).map(|timeout| arrived + timeout);
    let missing = soc.with_state(|state| {
        let lacks = |(name, value): &(&String, &String)| {
            head.headers.get(name.as_str()).map(HeaderValue::as_bytes) != Some(value.as_bytes())
        };
        state
            .require_metadata
            .iter()
            .find(lacks)
            .map(|(name, _)| name.clone())
    });
    soc.saw_call(rpc, head.headers);

    if !is_grpc {
        return http_status(&mut respond, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let request = read(body).await?;
    let Some(rpc) = rpc else {
        return status(&mut respond, Code::Unimplemented, "no such RPC");
    };
    let Some(request) = request else {
        return status(
            &mut respond,
            Code::Internal,
            "expected one uncompressed message",
        );
    };
    if let Some(name) = missing {
        let message = format!("metadata {name} is missing or not what is required");
        return status(&mut respond, Code::FailedPrecondition, &message);
    }

    let fault = soc.fault_of(rpc);
    match &fault {
        ReplyFault::Slow { delay } => match wait(&mut respond, arrived + *delay, deadline).await {
            Waited::Out => {}
            Waited::Deadline => return status(&mut respond, Code::DeadlineExceeded, ""),
            Waited::Gone => return Ok(()),
        },
        ReplyFault::Stall => return hold(|cx| respond.poll_reset(cx)).await,
        ReplyFault::Code { code, message } => return status(&mut respond, *code, message),
        ReplyFault::HttpStatus { status } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return http_status(&mut respond, status);
        }
        ReplyFault::Cancel { after } => {
            if let Waited::Out = wait(&mut respond, arrived + *after, None).await {
                respond.send_reset(Reason::CANCEL);
            }
            return Ok(());
        }
        ReplyFault::ResetStream { code } => {
            respond.send_reset(reason(*code));
            return Ok(());
        }
        _ => {}
    }
    if rpc == Rpc::Notices {
        return notices(soc, control, &request[PREFIX..], respond).await;
    }
    match reply::message(soc, rpc, &request[PREFIX..], &fault) {
        Ok(message) => deliver(respond, message, &fault).await,
        Err((code, message)) => status(&mut respond, code, &message),
    }
}

/// Sends headers, the message and whatever of the end the fault leaves.
async fn deliver(
    mut respond: SendResponse<Bytes>,
    message: Bytes,
    fault: &ReplyFault,
) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(headers(), false)?;
    match fault {
        ReplyFault::HugeAnnounced => {
            stream.send_data(
                Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 8, 8]),
                false,
            )?;
            hold(|cx| stream.poll_reset(cx)).await
        }
        ReplyFault::HalfClosed => {
            stream.send_data(message, false)?;
            hold(|cx| stream.poll_reset(cx)).await
        }
        ReplyFault::NoTrailers => stream.send_data(message, true),
        _ => {
            stream.send_data(message, false)?;
            stream.send_trailers(trailers(None))
        }
    }
}

/// Serves the GracefulRestart stream until the client or the SoC ends it.
async fn notices(
    soc: &Inner,
    mut control: watch::Receiver<Control>,
    request: &[u8],
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (there, headers_early) =
        soc.with_state(|state| (state.graceful_restart, state.headers_early));
    if !there {
        return status(&mut respond, Code::Unimplemented, "no GracefulRestart here");
    }
    let side = GracefulAdminRequest::decode(request).map(|request| ToRSide::try_from(request.tor));
    let Ok(Ok(side)) = side else {
        return status(&mut respond, Code::InvalidArgument, "expected a ToRSide");
    };
    let mut seen = soc.notices();
    let ends = control.borrow_and_update().stream_ends;
    soc.saw_tor(side);
    let _open = soc.notice_stream();

    let mut stream: Option<SendStream<Bytes>> = None;
    if headers_early {
        stream = Some(respond.send_response(headers(), false)?);
    }
    loop {
        for notice in soc.notices_after(&mut seen) {
            let stream = match &mut stream {
                Some(stream) => stream,
                None => stream.insert(respond.send_response(headers(), false)?),
            };
            stream.send_data(reply::frame(&notice), false)?;
        }
        let end = {
            let now = control.borrow_and_update();
            (now.stream_ends != ends).then_some(now.stream_end)
        };
        if let Some(code) = end {
            return match (stream, code) {
                (Some(mut stream), code) => stream.send_trailers(trailers(code)),
                (None, Some(code)) => status(&mut respond, code, ""),
                (None, None) => respond
                    .send_response(headers(), false)?
                    .send_trailers(trailers(None)),
            };
        }
        tokio::select! {
            biased;
            gone = poll_fn(|cx| match &mut stream {
                Some(stream) => stream.poll_reset(cx),
                None => respond.poll_reset(cx),
            }) => return gone.map(drop),
            changed = control.changed() => if changed.is_err() {
                return Ok(());
            },
        }
    }
}

/// Reads the one message of a request, prefix included. `None` if there is not exactly one.
async fn read(mut body: RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let mut whole = Bytes::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        // A request comes in one piece, but for clients that go out of their way.
        whole = match whole.is_empty() {
            true => part,
            false => [whole, part].concat().into(),
        };
        if whole.len() > REQUEST_MAX {
            return Ok(None);
        }
    }
    Ok(match whole.first_chunk::<PREFIX>() {
        Some([0, length @ ..]) if u32::from_be_bytes(*length) as usize == whole.len() - PREFIX => {
            Some(whole)
        }
        _ => None,
    })
}

enum Waited {
    /// The time is over.
    Out,
    /// The client's deadline came first.
    Deadline,
    /// The client has cancelled.
    Gone,
}

async fn wait(
    respond: &mut SendResponse<Bytes>,
    until: Instant,
    deadline: Option<Instant>,
) -> Waited {
    let (until, waited) = match deadline {
        Some(deadline) if deadline < until => (deadline, Waited::Deadline),
        _ => (until, Waited::Out),
    };
    tokio::select! {
        biased;
        _ = poll_fn(|cx| respond.poll_reset(cx)) => Waited::Gone,
        () = sleep_until(until) => waited,
    }
}

/// Keeps a stream open until the client cancels.
async fn hold(
    mut poll_reset: impl FnMut(&mut Context<'_>) -> Poll<Result<Reason, h2::Error>>,
) -> Result<(), h2::Error> {
    poll_fn(|cx| poll_reset(cx)).await.map(drop)
}

fn headers() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn trailers(code: Option<Code>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(
        "grpc-status",
        HeaderValue::from(code.map_or(0, |code| code as u16)),
    );
    trailers
}

/// A gRPC error: headers and trailers in one.
fn status(respond: &mut SendResponse<Bytes>, code: Code, message: &str) -> Result<(), h2::Error> {
    let mut response = headers();
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(message))
        && !message.is_empty()
    {
        headers.insert("grpc-message", message);
    }
    respond.send_response(response, true).map(drop)
}

fn http_status(respond: &mut SendResponse<Bytes>, status: StatusCode) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    respond.send_response(response, true).map(drop)
}

/// As gRPC wants `grpc-message`: everything but printable ASCII as %XX, and the percent sign too.
fn percent_encoded(message: &str) -> String {
    message.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

/// `500m` is 500 milliseconds here: gRPC's own notation.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The code as h2 has it.
pub(super) fn reason(code: H2Code) -> Reason {
    Reason::from(code as u32)
}
