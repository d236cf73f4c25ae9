//! Faults of connections.

use std::io;

use dualtor_sim::{ConnectionFault, FloodFrame, GoAway, H2Code, PingPolicy, ReplyFault, Rpc};
use h2::{Ping, Reason};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::client::*;

#[tokio::test]
async fn a_hang_freezes_and_thaws() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    client.admin().await.expect("an answer");
    soc.connection_fault(ConnectionFault::Hang);
    let pings = soc.counters().pings_seen;
    {
        let mut ping = Box::pin(client.ping.ping(h2::Ping::opaque()));
        assert!(
            timeout(QUIET, &mut ping).await.is_err(),
            "an answer from a hung SoC"
        );
        assert_eq!(soc.counters().pings_seen, pings, "a hung SoC reads nothing");
        // The kernel accepts, but the connection is not served.
        assert_eq!(first_bytes(&soc).await, (vec![], RawEnd::Open));
        assert_eq!(soc.counters().connections, 1);
        soc.connection_fault(ConnectionFault::None);
        soon(ping).await.expect("a late answer");
    }
    assert_eq!(client.lists().await.0, [0, 1]);
    wait_for("the one that waited", || soc.counters().connections == 2).await;
}

#[tokio::test]
async fn peers_that_are_not_http2() {
    let (_simulator, soc) = one_soc().await;
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    soc.connection_fault(ConnectionFault::Mute);
    assert_eq!(first_bytes(&soc).await, (vec![], RawEnd::Open));

    soc.connection_fault(ConnectionFault::PingsOnly);
    let (bytes, end) = first_bytes(&soc).await;
    assert_eq!(
        (bytes.len(), &bytes[..9], end),
        (17, &b"\0\0\x08\x06\0\0\0\0\0"[..], RawEnd::Open)
    );

    for (fault, expected_end) in [
        (ConnectionFault::Http1, RawEnd::Closed),
        (ConnectionFault::Http1KeepOpen, RawEnd::Open),
    ] {
        soc.connection_fault(fault);
        let (bytes, end) = first_bytes(&soc).await;
        assert!(bytes.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
        assert_eq!(end, expected_end);
    }

    soc.connection_fault(ConnectionFault::Echo);
    let (bytes, end) = first_bytes(&soc).await;
    assert!(bytes.starts_with(b"PRI * HTTP/2.0") && bytes.ends_with(settings));
    assert_eq!(end, RawEnd::Open);

    soc.connection_fault(ConnectionFault::Garbage);
    let (bytes, end) = first_bytes(&soc).await;
    assert_eq!((bytes.len(), end), (512, RawEnd::Open));

    soc.connection_fault(ConnectionFault::Close);
    assert_eq!(first_bytes(&soc).await, (vec![], RawEnd::Closed));

    soc.connection_fault(ConnectionFault::None);
    assert_eq!(Client::connect(&soc).await.lists().await.0, [0, 1]);
}

#[tokio::test]
async fn a_new_fault_closes_the_connections_that_exist() {
    let (_simulator, soc) = one_soc().await;
    for fault in [
        ConnectionFault::Mute,
        ConnectionFault::Http1,
        ConnectionFault::Refuse,
    ] {
        soc.connection_fault(ConnectionFault::None);
        let mut client = connect_when_open(&soc).await;
        client.admin().await.expect("an answer");
        soc.connection_fault(fault.clone());
        client
            .end()
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        wait_for("nothing open", || soc.counters().open_connections == 0).await;
    }
}

#[tokio::test]
async fn a_soc_that_refuses_comes_back_on_the_same_port() {
    let (_simulator, soc) = one_soc().await;
    for _ in 0..3 {
        soc.connection_fault(ConnectionFault::Refuse);
        refused(&soc).await;
        soc.connection_fault(ConnectionFault::None);
        assert_eq!(connect_when_open(&soc).await.lists().await.0, [0, 1]);
    }
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    client.admin().await.expect("an answer");
    soc.connection_fault(ConnectionFault::Reset);
    let error = client.end().await.expect_err("a reset");
    assert_eq!(
        error.get_io().expect("I/O").kind(),
        io::ErrorKind::ConnectionReset
    );
    // Before the client can send, or while it sends.
    let (bytes, end) = first_bytes(&soc).await;
    assert_eq!((bytes, end), (vec![], RawEnd::Reset));
}

#[tokio::test]
async fn a_reset_may_come_after_settings() {
    let (_simulator, soc) = one_soc().await;
    soc.connection_fault(ConnectionFault::ResetAfterSettings);
    let mut client = Client::connect(&soc).await;
    // A call keeps the client's side busy until the reset.
    assert!(client.admin().await.is_err());
    let error = client.end().await.expect_err("a reset");
    assert_eq!(
        error.get_io().expect("I/O").kind(),
        io::ErrorKind::ConnectionReset
    );
    // A client that never acknowledges is never reset.
    let (bytes, end) = first_bytes(&soc).await;
    assert_eq!((&bytes[..], end), (&b"\0\0\0\x04\0\0\0\0\0"[..], RawEnd::Open));
}

#[tokio::test]
async fn connections_are_closed_or_reset_once() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    client.admin().await.expect("an answer");
    soc.close_connections();
    client.end().await.expect("a clean end");
    let mut client = Client::connect(&soc).await;
    client.admin().await.expect("an answer");
    soc.reset_connections();
    assert!(client.end().await.expect_err("a reset").is_io());
    assert_eq!(Client::connect(&soc).await.lists().await.0, [0, 1]);
}

#[tokio::test]
async fn a_client_that_leaves_is_no_longer_counted() {
    let (_simulator, soc) = one_soc().await;
    for fault in [
        ConnectionFault::None,
        ConnectionFault::Mute,
        ConnectionFault::PingsOnly,
        ConnectionFault::Garbage,
    ] {
        soc.connection_fault(fault);
        let tcp = TcpStream::connect(soc.address()).await.expect("TCP");
        wait_for("it to be there", || soc.counters().open_connections == 1).await;
        drop(tcp);
        wait_for("it to be gone", || soc.counters().open_connections == 0).await;
    }
    assert_eq!(soc.counters().connections, 4);
}

#[tokio::test]
async fn too_many_pings_is_a_goaway_with_that_text() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    client.admin().await.expect("an answer");
    soc.connection_fault(ConnectionFault::Goaway(GoAway {
        code: H2Code::EnhanceYourCalm,
        debug: "too_many_pings".to_owned(),
        grace: None,
    }));
    let end = soon(client.end).await.expect("no panic");
    let text = format!("{:?}", end.as_ref().expect_err("a GOAWAY"));
    assert!(text.contains("too_many_pings"), "{text}");
    assert_eq!(goaway_reason(end), Some(Reason::ENHANCE_YOUR_CALM));
    wait_for("nothing open", || soc.counters().open_connections == 0).await;
    assert_eq!(
        Client::connect(&soc).await.lists().await.0,
        [0, 1],
        "served as ever"
    );
}

#[tokio::test]
async fn a_server_with_a_ping_policy_ends_a_connection_at_the_third_strike() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| state.pings = Some(PingPolicy::default()));
    let mut client = Client::connect(&soc).await;
    for _ in 0..5 {
        soon(client.ping.ping(Ping::opaque())).await.expect("a PONG");
        client.admin().await.expect("an answer");
    }
    for _ in 0..3 {
        soon(client.ping.ping(Ping::opaque())).await.expect("a PONG");
    }
    // The PONG of the fourth may or may not come.
    let _ = soon(client.ping.ping(Ping::opaque())).await;
    let end = soon(client.end).await.expect("no panic");
    let text = format!("{:?}", end.as_ref().expect_err("a GOAWAY"));
    assert!(text.contains("too_many_pings"), "{text}");
    assert_eq!(goaway_reason(end), Some(Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_graceful_goaway_lets_calls_finish() {
    for debug in ["", "maintenance"] {
        let (_simulator, soc) = one_soc().await;
        soc.reply_fault(ReplyFault::Slow { delay: QUIET });
        let mut client = Client::connect(&soc).await;
        let mut call = Box::pin(client.admin());
        tokio::select! {
            biased;
            _ = &mut call => panic!("too early"),
            () = wait_for("the call", || soc.counters().rpcs[&Rpc::Admin] == 1) => {}
        }
        soc.connection_fault(ConnectionFault::Goaway(GoAway {
            debug: debug.to_owned(),
            ..GoAway::default()
        }));
        assert_eq!(soon(call).await.expect("an answer").status, Some(0));
        client.end().await.expect("a clean end");
    }
}

#[tokio::test]
async fn a_goaway_with_an_error_may_let_calls_finish_and_ends_patience_with_the_rest() {
    let (_simulator, soc) = one_soc().await;
    soc.reply_fault(ReplyFault::Stall);
    let mut client = Client::connect(&soc).await;
    let mut call = Box::pin(client.admin());
    tokio::select! {
        biased;
        _ = &mut call => panic!("too early"),
        () = wait_for("the call", || soc.counters().rpcs[&Rpc::Admin] == 1) => {}
    }
    let begin = Instant::now();
    soc.connection_fault(ConnectionFault::Goaway(GoAway {
        code: H2Code::InternalError,
        debug: String::new(),
        grace: Some(QUIET),
    }));
    assert!(soon(call).await.is_err());
    assert_eq!(goaway_reason(client.end().await), Some(Reason::INTERNAL_ERROR));
    wait_for("nothing open", || soc.counters().open_connections == 0).await;
    assert!(begin.elapsed() >= QUIET);
}

#[tokio::test]
async fn a_flood_of_frames_comes_between_answers_and_never_ends() {
    let (_simulator, soc) = one_soc().await;
    // SETTINGS would end the connection (see the fault), and RST_STREAM the first call.
    for frame in [
        FloodFrame::Unknown,
        FloodFrame::Priority,
        FloodFrame::Ping,
        FloodFrame::WindowUpdate,
    ] {
        soc.connection_fault(ConnectionFault::Flood(frame));
        let mut client = Client::connect(&soc).await;
        assert_eq!(client.lists().await.0, [0, 1], "{frame:?}");
        assert!(client.pings_are_answered().await, "{frame:?}");
    }
}
