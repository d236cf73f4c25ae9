//! One call: finds its RPC, reads it, waits if the SoC is slow, answers it. Runs inside the connection's task.
//!
//! An `h2::Error` here means that the client is gone or has cancelled. No one waits for an answer, so the call just ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Request, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::fault::{Code, ReplyFault};
use super::grpc::{self, PREFIX, headers, http_status, reason, status, status_with, trailers};
use super::method::Rpc;
use super::raw_frames::{self, Block};
use super::server_wire::Socket;
use super::simulated_soc::{Control, Inner};
use super::{rpc_reply, stream};

/// Serves one call to its end.
pub(super) async fn serve(
    soc: Arc<Inner>,
    socket: Arc<Socket>,
    control: watch::Receiver<Control>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let _ = answer(&soc, &socket, control, request, respond).await;
}

async fn answer(
    soc: &Inner,
    socket: &Socket,
    control: watch::Receiver<Control>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let rpc = Rpc::from_path(head.uri.path());
    let is_grpc = grpc::is_grpc(&head);
    let deadline = grpc::timeout(&head.headers).map(|timeout| arrived + timeout);
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
    let request = grpc::read(body).await?;
    let Some(rpc) = rpc else {
        return status(&mut respond, Code::Unimplemented, "no such RPC");
    };
    let Some(request) = request else {
        return status(&mut respond, Code::Internal, "expected one uncompressed message");
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
        ReplyFault::WebPage { status, content_type } => {
            return grpc::web_page(&mut respond, *status, content_type.as_deref());
        }
        ReplyFault::DetailsBin { head: true, .. } => {
            return status_with(&mut respond, Code::Internal, "with details", &fault);
        }
        ReplyFault::LongMessage { bytes, head, piece } => {
            let message = "x".repeat(*bytes);
            let fields = [("grpc-status", "13"), ("grpc-message", message.as_str())];
            let stream = respond.stream_id().as_u32();
            let good = rpc_reply::message(soc, rpc, &request[PREFIX..], &fault).unwrap_or_default();
            socket.inject(&match head {
                true => raw_frames::answer(stream, &Block::head(&fields), None, *piece),
                false => {
                    let trailers = Block::trailers(&fields);
                    raw_frames::answer(stream, &Block::head(&[]), Some((&good[..], &trailers)), *piece)
                }
            });
            return Ok(());
        }
        ReplyFault::Informational { count: None } => {
            let heads =
                raw_frames::informational(respond.stream_id().as_u32(), raw_frames::INFORMATIONAL_AT_ONCE);
            socket.inject_for_ever(&heads).await;
        }
        ReplyFault::Informational { count: Some(count) } => {
            socket.inject(&raw_frames::informational(respond.stream_id().as_u32(), *count));
        }
        ReplyFault::Late { delay } => {
            sleep_until(arrived + *delay).await;
            if let Ok(good) = rpc_reply::message(soc, rpc, &request[PREFIX..], &fault) {
                let stream = respond.stream_id().as_u32();
                let trailers = Block::trailers(&[("grpc-status", "0")]);
                let rest = Some((&good[..], &trailers));
                socket.inject(&raw_frames::answer(stream, &Block::head(&[]), rest, usize::MAX));
                soc.answered_late();
                return Ok(());
            }
        }
        _ => {}
    }
    match rpc {
        Rpc::Notices => return stream::notices(soc, control, &request[PREFIX..], respond, &fault).await,
        Rpc::Watch => return stream::watch(soc, control, respond, &fault).await,
        _ => {}
    }
    match rpc_reply::message(soc, rpc, &request[PREFIX..], &fault) {
        Ok(message) => deliver(respond, message, &fault).await,
        Err((code, message)) => status(&mut respond, code, &message),
    }
}

/// Sends headers, the message, and as much of the end as the fault allows.
async fn deliver(
    mut respond: SendResponse<Bytes>,
    message: Bytes,
    fault: &ReplyFault,
) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(headers(fault), false)?;
    match fault {
        ReplyFault::HugeAnnounced => {
            stream.send_data(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 8, 8]), false)?;
            hold(|cx| stream.poll_reset(cx)).await
        }
        ReplyFault::HalfClosed => {
            stream.send_data(message, false)?;
            hold(|cx| stream.poll_reset(cx)).await
        }
        ReplyFault::NoTrailers => stream.send_data(message, true),
        _ => {
            stream.send_data(message, false)?;
            stream.send_trailers(trailers(None, fault))
        }
    }
}

enum Waited {
    /// The delay is over.
    Out,
    /// The client's deadline came first.
    Deadline,
    /// The client has cancelled.
    Gone,
}

async fn wait(respond: &mut SendResponse<Bytes>, until: Instant, deadline: Option<Instant>) -> Waited {
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
