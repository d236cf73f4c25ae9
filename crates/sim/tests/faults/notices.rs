//! The GracefulRestart stream.

use dualtor_proto::{GracefulAdminRequest, GracefulAdminResponse, ToRSide};
use dualtor_sim::{Code, Notice, NoticeKind, Plane};
use h2::RecvStream;
use prost::Message as _;
use tokio::time::timeout;

use super::client::*;

fn begin() -> Notice {
    Notice {
        kind: NoticeKind::Begin,
        plane: Plane::Data,
        guid: "g1".to_owned(),
        period: 10,
    }
}

async fn next_notice(stream: &mut RecvStream) -> GracefulAdminResponse {
    let bytes = soon(stream.data()).await.expect("a notice").expect("no error");
    GracefulAdminResponse::decode(&bytes[5..]).expect("a notice")
}

#[tokio::test]
async fn a_notice_stream_sends_its_headers_with_the_first_notice() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    let request = GracefulAdminRequest {
        tor: ToRSide::UpperTor.into(),
    };
    let mut opening = Box::pin(client.open(NOTICES, &request, &[]));
    assert!(
        timeout(QUIET, &mut opening).await.is_err(),
        "headers without a notice"
    );
    assert_eq!(soc.counters().notice_streams, 1);
    assert_eq!(soc.counters().last_tor, Some(ToRSide::UpperTor));

    soc.announce(&begin());
    let mut stream = soon(opening).await.expect("headers").into_body();
    let notice = next_notice(&mut stream).await;
    assert_eq!((notice.msgtype, notice.notifytype), (0, 1));
    assert_eq!((notice.guid.as_str(), notice.period), ("g1", 10));
    soc.announce(&Notice {
        kind: NoticeKind::End,
        ..begin()
    });
    assert_eq!(next_notice(&mut stream).await.msgtype, 1);

    soc.end_notice_streams(Some(Code::Unavailable));
    assert!(soon(stream.data()).await.is_none());
    let trailers = soon(stream.trailers()).await.expect("an end").expect("trailers");
    assert_eq!(trailers["grpc-status"], "14");
    wait_for("the stream to be gone", || soc.counters().notice_streams == 0).await;
}

#[tokio::test]
async fn headers_come_early_if_asked_for_and_old_notices_never() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| state.headers_early = true);
    soc.announce(&begin());
    let mut client = Client::connect(&soc).await;
    let request = GracefulAdminRequest::default();
    let response = soon(client.open(NOTICES, &request, &[])).await.expect("headers");
    let mut stream = response.into_body();
    assert!(timeout(QUIET, stream.data()).await.is_err(), "an old notice");
    assert_eq!(soc.counters().last_tor, Some(ToRSide::LowerTor));
    for _ in 0..10 {
        soc.announce(&begin());
    }
    let mut bytes = 0;
    while bytes < 10 * framed(&next(&begin())).len() {
        bytes += soon(stream.data())
            .await
            .expect("notices")
            .expect("no error")
            .len();
    }
}

/// The form of [`begin`] on the wire.
fn next(notice: &Notice) -> GracefulAdminResponse {
    GracefulAdminResponse {
        msgtype: 0,
        notifytype: 1,
        guid: notice.guid.clone(),
        period: notice.period,
    }
}

#[tokio::test]
async fn without_the_service_the_stream_is_unimplemented() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| state.graceful_restart = false);
    let mut client = Client::connect(&soc).await;
    let answer = client
        .call(NOTICES, &GracefulAdminRequest::default())
        .await
        .expect("an answer");
    assert_eq!(answer.status, Some(Code::Unimplemented as u16));
}
