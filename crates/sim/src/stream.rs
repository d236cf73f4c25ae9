//! The two calls that stay open: GracefulRestart's notices and health's Watch. They run inside the connection's task until the
//! client or the SoC ends them.

use std::future::poll_fn;

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use prost::Message as _;
use tokio::sync::watch;

use super::fault::{Code, ReplyFault};
use super::grpc::{headers, status, trailers};
use super::rpc_reply;
use super::simulated_soc::{Control, Inner};
use dualtor_proto::{GracefulAdminRequest, ToRSide};

/// Serves the GracefulRestart stream until the client or the SoC ends it.
pub(super) async fn notices(
    soc: &Inner,
    mut control: watch::Receiver<Control>,
    request: &[u8],
    mut respond: SendResponse<Bytes>,
    fault: &ReplyFault,
) -> Result<(), h2::Error> {
    let (there, headers_early) = soc.with_state(|state| (state.graceful_restart, state.headers_early));
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
        stream = Some(respond.send_response(headers(fault), false)?);
    }
    loop {
        // Read before the notices: `changed` reports a change that comes between the two.
        let end = {
            let now = control.borrow_and_update();
            (now.stream_ends != ends).then_some(now.stream_end)
        };
        for notice in soc.notices_after(&mut seen) {
            let stream = match &mut stream {
                Some(stream) => stream,
                None => stream.insert(respond.send_response(headers(fault), false)?),
            };
            stream.send_data(rpc_reply::notice(&notice, fault), false)?;
        }
        if let Some(code) = end {
            return match (stream, code) {
                (Some(mut stream), code) => stream.send_trailers(trailers(code, fault)),
                (None, Some(code)) => status(&mut respond, code, ""),
                (None, None) => respond
                    .send_response(headers(fault), false)?
                    .send_trailers(trailers(None, fault)),
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

/// Serves the health stream: the present status at once, then each change.
pub(super) async fn watch(
    soc: &Inner,
    mut control: watch::Receiver<Control>,
    mut respond: SendResponse<Bytes>,
    fault: &ReplyFault,
) -> Result<(), h2::Error> {
    // Before the state is read for the first time, so that no change is missed.
    let (ends, mut flooded) = {
        let now = control.borrow_and_update();
        (now.watch_ends, now.flood)
    };
    let mut sent = match rpc_reply::watch(soc, fault) {
        Ok(message) => message,
        Err((code, message)) => return status(&mut respond, code, &message),
    };
    let _open = soc.health_stream();
    let mut stream = respond.send_response(headers(fault), false)?;
    match fault {
        ReplyFault::HugeAnnounced => {
            stream.send_data(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 8, 8]), false)?;
        }
        ReplyFault::NoTrailers => return stream.send_data(sent, true),
        _ => stream.send_data(sent.clone(), false)?,
    }
    loop {
        tokio::select! {
            biased;
            gone = poll_fn(|cx| stream.poll_reset(cx)) => return gone.map(drop),
            changed = control.changed() => if changed.is_err() {
                return Ok(());
            },
        }
        let (end, flood) = {
            let now = control.borrow_and_update();
            ((now.watch_ends != ends).then_some(now.watch_end), now.flood)
        };
        if let Some(code) = end {
            return stream.send_trailers(trailers(code, fault));
        }
        let message = match rpc_reply::watch(soc, fault) {
            Ok(message) => message,
            Err((code, _)) => return stream.send_trailers(trailers(Some(code), fault)),
        };
        for nth in flooded..flood {
            stream.send_data(rpc_reply::flood(nth, fault), false)?;
        }
        if message != sent || flood > flooded {
            stream.send_data(message.clone(), false)?;
        }
        (sent, flooded) = (message, flood);
    }
}
