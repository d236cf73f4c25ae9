//! Faults of replies.

use std::time::Duration;

use dualtor_proto::{AdminReply, LinkStateReply};
use dualtor_sim::{Code, Compression, H2Code, ReplyFault, Rpc};
use h2::Reason;
use http::StatusCode;
use prost::Message as _;
use tokio::time::{Instant, timeout};

use super::client::*;

#[tokio::test]
async fn portid_faults_do_what_they_say() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for (fault, portid, state) in [
        (ReplyFault::Swapped, vec![1, 0], vec![true, false]),
        (ReplyFault::WrongPortids, vec![0, 7], vec![false, true]),
        (ReplyFault::DuplicatePortids, vec![0, 0], vec![false, true]),
        (ReplyFault::Short, vec![0], vec![false]),
        (ReplyFault::LengthsDiffer, vec![0, 1], vec![false]),
        (ReplyFault::Extra, vec![0, 1, 2], vec![false, true, false]),
        (ReplyFault::Empty, vec![], vec![]),
        (ReplyFault::None, vec![0, 1], vec![false, true]),
    ] {
        soc.reply_fault(fault.clone());
        assert_eq!(client.lists().await, (portid, state), "{fault:?}");
    }
}

#[tokio::test]
async fn a_fault_may_be_limited_to_some_rpcs() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault_only(ReplyFault::Empty, &[Rpc::Link, Rpc::Version]);
    let mut client = Client::connect(&soc).await;
    assert_eq!(client.lists().await.0, [0, 1]);
    let link: LinkStateReply = client
        .call(LINK, &link_request())
        .await
        .expect("an answer")
        .decode();
    assert!(link.portid.is_empty());
}

#[tokio::test]
async fn every_grpc_code_comes_with_its_message() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for (number, code) in (1..).zip(Code::ALL) {
        soc.reply_fault(ReplyFault::Code {
            code,
            message: "100% ü".to_owned(),
        });
        let answer = client.admin().await.expect("an answer");
        assert_eq!(answer.status, Some(number), "{code:?}");
        assert_eq!(answer.message.as_deref(), Some("100%25 %C3%BC"));
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn a_slow_reply_is_late_and_right() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault(ReplyFault::Slow {
        delay: Duration::from_millis(80),
    });
    let mut client = Client::connect(&soc).await;
    let begin = Instant::now();
    assert_eq!(client.lists().await.0, [0, 1]);
    assert!(begin.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_slow_reply_ends_with_the_clients_deadline() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault(ReplyFault::Slow { delay: SOON * 2 });
    let mut client = Client::connect(&soc).await;
    let answer = soon(client.call_with(ADMIN, &admin_request(), &[("grpc-timeout", "50m")])).await;
    assert_eq!(
        answer.expect("an answer").status,
        Some(Code::DeadlineExceeded as u16)
    );
}

#[tokio::test]
async fn a_stalled_call_ignores_the_deadline_while_pings_are_answered() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault(ReplyFault::Stall);
    let mut client = Client::connect(&soc).await;
    let request = admin_request();
    let call = client.call_with(ADMIN, &request, &[("grpc-timeout", "10m")]);
    assert!(timeout(QUIET, call).await.is_err());
    assert!(client.pings_are_answered().await);
    soc.reply_fault(ReplyFault::None);
    assert_eq!(
        client.lists().await.0,
        [0, 1],
        "the connection is as good as before"
    );
}

#[tokio::test]
async fn an_oversized_reply_is_a_valid_message_of_that_size() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault(ReplyFault::Oversized { bytes: 300 * 1024 });
    let mut client = Client::connect(&soc).await;
    let answer = client.admin().await.expect("an answer");
    assert!(answer.body.len() > 300 * 1024);
    assert_eq!(answer.decode::<AdminReply>().portid, [0, 1]);
}

#[tokio::test]
async fn a_huge_reply_is_announced_and_never_comes() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault(ReplyFault::HugeAnnounced);
    let mut client = Client::connect(&soc).await;
    let mut stream = soon(client.open(ADMIN, &admin_request(), &[]))
        .await
        .expect("headers")
        .into_body();
    let data = soon(stream.data()).await.expect("data").expect("no error");
    assert_eq!(data[..5], [0, 0xff, 0xff, 0xff, 0xff]);
    assert!(timeout(QUIET, stream.data()).await.is_err());
}

#[tokio::test]
async fn a_half_closed_reply_has_its_message_and_no_end() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault(ReplyFault::HalfClosed);
    let mut client = Client::connect(&soc).await;
    let mut stream = soon(client.open(ADMIN, &admin_request(), &[]))
        .await
        .expect("headers")
        .into_body();
    let data = soon(stream.data()).await.expect("data").expect("no error");
    assert_eq!(AdminReply::decode(&data[5..]).expect("a reply").portid, [0, 1]);
    assert!(timeout(QUIET, stream.data()).await.is_err());
}

#[tokio::test]
async fn replies_that_are_not_quite_grpc() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    soc.reply_fault(ReplyFault::NoTrailers);
    let answer = client.admin().await.expect("an answer");
    assert_eq!((answer.http, answer.status), (StatusCode::OK, None));
    assert!(AdminReply::decode(&answer.body[5..]).is_ok());

    soc.reply_fault(ReplyFault::HttpStatus { status: 503 });
    let answer = client.admin().await.expect("an answer");
    assert_eq!((answer.http.as_u16(), answer.status), (503, None));

    soc.reply_fault(ReplyFault::GarbageMessage);
    let answer = client.admin().await.expect("an answer");
    assert_eq!(answer.status, Some(0));
    assert!(AdminReply::decode(&answer.body[5..]).is_err());
}

#[tokio::test]
async fn streams_are_reset_at_once_or_later() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    soc.reply_fault(ReplyFault::ResetStream {
        code: H2Code::RefusedStream,
    });
    let error = client.admin().await.expect_err("a reset");
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));

    soc.reply_fault(ReplyFault::Cancel {
        after: Duration::from_millis(60),
    });
    let begin = Instant::now();
    let error = client.admin().await.expect_err("a reset");
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert!(begin.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_call_that_the_client_cancels_is_forgotten() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| state.max_concurrent_streams = Some(1));
    soc.reply_fault(ReplyFault::Stall);
    let mut client = Client::connect(&soc).await;
    // With room for one stream, each next call succeeds only if the previous one has ended.
    for calls in 1..=5 {
        tokio::select! {
            _ = client.admin() => panic!("an answer"),
            () = wait_for("the call", || soc.counters().rpcs[&Rpc::Admin] == calls) => {}
        }
    }
    assert!(client.pings_are_answered().await);
}

#[tokio::test]
async fn a_late_reply_comes_although_the_client_has_cancelled() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault(ReplyFault::Late {
        delay: Duration::from_millis(80),
    });
    let mut client = Client::connect(&soc).await;
    let request = admin_request();
    let call = client.call_with(ADMIN, &request, &[("grpc-timeout", "10m")]);
    assert!(timeout(Duration::from_millis(10), call).await.is_err());
    wait_for("a late reply", || soc.counters().late_replies == 1).await;
    assert_eq!(
        client.lists().await.0,
        [0, 1],
        "a client that waits gets the right reply"
    );
}

#[tokio::test]
async fn details_are_in_head_and_trailers_or_in_a_head_alone() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for (head, code) in [(false, 0), (true, Code::Internal as u16)] {
        let value = "!!!".to_owned();
        soc.reply_fault(ReplyFault::DetailsBin { value, head });
        let response = soon(client.open(ADMIN, &admin_request(), &[]))
            .await
            .expect("a head");
        let (head, mut body) = response.into_parts();
        while let Some(data) = soon(body.data()).await {
            data.expect("data");
        }
        let trailers = soon(body.trailers()).await.expect("an end");
        let last = trailers.as_ref().unwrap_or(&head.headers);
        assert_eq!(last["grpc-status"], code.to_string());
        for headers in trailers.iter().chain([&head.headers]) {
            assert_eq!(headers["grpc-status-details-bin"], "!!!");
        }
    }
}

#[tokio::test]
async fn a_long_message_comes_whole_however_it_is_cut() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for (bytes, piece) in [(100, 1), (70_000, 1000), (70_000, usize::MAX)] {
        for head in [true, false] {
            soc.reply_fault(ReplyFault::LongMessage { bytes, head, piece });
            let answer = client.admin().await.expect("an answer");
            assert_eq!(answer.status, Some(Code::Internal as u16));
            assert_eq!(answer.message.map(|message| message.len()), Some(bytes));
            assert_eq!(answer.body.is_empty(), head);
        }
    }
}

#[tokio::test]
async fn informational_heads_come_before_the_reply() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault(ReplyFault::Informational { count: Some(3) });
    let mut client = Client::connect(&soc).await;
    assert_eq!(client.lists().await.0, [0, 1]);
    soc.reply_fault(ReplyFault::Informational { count: None });
    let request = admin_request();
    assert!(
        timeout(QUIET, client.call_with(ADMIN, &request, &[]))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_compressed_reply_says_so_in_head_and_flag() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for (how, encoding, flag) in [
        (Compression::Gzip, Some("gzip"), 1),
        (Compression::Deflate, Some("deflate"), 1),
        (Compression::RawDeflate, Some("deflate"), 1),
        (Compression::HeaderOnly, Some("gzip"), 0),
        (Compression::Unknown, Some("snappy"), 1),
        (Compression::Unannounced, None, 1),
    ] {
        soc.reply_fault(ReplyFault::Compressed(how));
        let response = soon(client.open(ADMIN, &admin_request(), &[]))
            .await
            .expect("a head");
        let said = response.headers().get("grpc-encoding").cloned();
        assert_eq!(
            said.as_ref().map(|said| said.to_str().expect("ASCII")),
            encoding,
            "{how:?}"
        );
        let data = soon(response.into_body().data())
            .await
            .expect("data")
            .expect("no error");
        assert_eq!(data[0], flag, "{how:?}");
    }
}

#[tokio::test]
async fn a_web_page_is_html_and_no_grpc() {
    let (_simulator, soc) = one_soc().await;
    let content_type = Some("text/html".to_owned());
    soc.reply_fault(ReplyFault::WebPage {
        status: 200,
        content_type,
    });
    let mut client = Client::connect(&soc).await;
    let answer = client.admin().await.expect("an answer");
    assert_eq!((answer.http, answer.status), (StatusCode::OK, None));
    assert!(answer.body.starts_with(b"<!DOCTYPE html>"));
}
