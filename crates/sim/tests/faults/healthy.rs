//! A healthy SoC answers as the interface requires.

use dualtor_proto::{
    AdminReply, AdminRequest, LinkStateReply, OperationReply, OperationRequest, ServerVersionReply,
};
use dualtor_sim::{Code, Direction, Health, Link, Rpc};
use prost::Message as _;

use super::client::*;

#[tokio::test]
async fn a_healthy_soc_answers_every_query() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| {
        state.version = "9.8.7".to_owned();
        state.links.lower = Link::Down;
    });
    let mut client = Client::connect(&soc).await;
    // portid 0 is the lower ToR's end, 1 the upper's.
    assert_eq!(client.lists().await, (vec![0, 1], vec![false, true]));
    let oper: OperationReply = client
        .call(OPERATION, &OperationRequest { portid: vec![0, 1] })
        .await
        .expect("an answer")
        .decode();
    assert_eq!((oper.portid, oper.state), (vec![0, 1], vec![true, true]));
    let link: LinkStateReply = client
        .call(LINK, &link_request())
        .await
        .expect("an answer")
        .decode();
    assert_eq!((link.portid, link.state), (vec![0, 1], vec![false, true]));
    let version: ServerVersionReply = client
        .call(VERSION, &version_request())
        .await
        .expect("an answer")
        .decode();
    assert_eq!(version.version, "9.8.7");
    let health = client.call(HEALTH, &()).await.expect("an answer");
    assert_eq!(
        (health.status, &health.body[5..]),
        (Some(0), &[8_u8, 1][..]),
        "SERVING"
    );

    let counters = soc.counters();
    assert_eq!((counters.connections, counters.open_connections), (1, 1));
    assert_eq!(counters.rpcs.values().sum::<u64>(), 5);
    assert_eq!((counters.rpcs[&Rpc::Admin], counters.set_calls), (1, 0));
}

#[tokio::test]
async fn a_change_of_direction_shows_in_the_next_reply() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    soc.set(|state| {
        state.directions.upper = Direction::Standby;
        state.directions.lower = Direction::Active;
    });
    assert_eq!(client.lists().await, (vec![0, 1], vec![true, false]));
}

#[tokio::test]
async fn setting_the_direction_works_and_is_counted() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    let request = AdminRequest {
        portid: vec![0],
        state: vec![true],
    };
    let reply: AdminReply = client
        .call(SET_ADMIN, &request)
        .await
        .expect("an answer")
        .decode();
    assert_eq!(reply.state, [true, true]);
    assert_eq!(soc.counters().set_calls, 1);
    assert_eq!(soc.state().directions.lower, Direction::Active);
}

#[tokio::test]
async fn requests_unlike_the_interface_are_invalid() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    let admin = AdminRequest {
        portid: vec![0, 1],
        state: vec![],
    };
    for (path, request) in [
        (ADMIN, admin.encode_to_vec()),
        (LINK, vec![]),
        (OPERATION, OperationRequest { portid: vec![0] }.encode_to_vec()),
        (VERSION, vec![]),
    ] {
        // Bytes that encode as themselves. A message of one unknown kind would do too.
        let answer = soon(client.call_raw(path, &request)).await.expect("an answer");
        assert_eq!(answer.status, Some(Code::InvalidArgument as u16), "{path}");
    }
    let answer = soon(client.call_raw(LINK, &[0xff])).await.expect("an answer");
    assert_eq!(answer.status, Some(Code::Internal as u16));
}

#[tokio::test]
async fn an_unknown_rpc_is_unimplemented() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for path in ["/DualToRActive/Nothing", "/grpc.health.v1.Health/List", "/"] {
        let answer = client.call(path, &()).await.expect("an answer");
        assert_eq!(answer.status, Some(Code::Unimplemented as u16));
    }
    assert_eq!(soc.counters().unknown_rpcs, 3);
}

#[tokio::test]
async fn health_has_all_its_words() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for (health, status, body) in [
        (Health::Serving, 0, Some(&[8_u8, 1][..])),
        (Health::NotServing, 0, Some(&[8, 2])),
        (Health::ServiceUnknown, 0, Some(&[8, 3])),
        (Health::Unknown, 0, Some(&[])),
        (Health::NotFound, Code::NotFound as u16, None),
        (Health::None, Code::Unimplemented as u16, None),
    ] {
        soc.set(|state| state.health = health);
        let answer = client.call(HEALTH, &()).await.expect("an answer");
        assert_eq!(answer.status, Some(status), "{health:?}");
        assert_eq!(answer.body.get(5..), body, "{health:?}");
    }
}

#[tokio::test]
async fn required_metadata_is_required() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| {
        state
            .require_metadata
            .insert("grpc_server".to_owned(), "127.9.0.1".to_owned());
    });
    let mut client = Client::connect(&soc).await;
    let without = client.admin().await.expect("an answer");
    assert_eq!(without.status, Some(Code::FailedPrecondition as u16));
    for (value, status) in [("127.9.0.2", Code::FailedPrecondition as u16), ("127.9.0.1", 0)] {
        let with = soon(client.call_with(ADMIN, &admin_request(), &[("grpc_server", value)])).await;
        assert_eq!(with.expect("an answer").status, Some(status));
    }
    assert_eq!(soc.counters().last_metadata["grpc_server"], "127.9.0.1");
}

#[tokio::test]
async fn pings_are_answered_and_counted() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for _ in 0..3 {
        assert!(client.pings_are_answered().await);
    }
    assert_eq!(soc.counters().pings_seen, 3);
}

#[tokio::test]
async fn the_stream_limit_is_announced() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| state.max_concurrent_streams = Some(3));
    let mut client = Client::connect(&soc).await;
    client.admin().await.expect("an answer");
    assert_eq!(client.send.current_max_send_streams(), 3);
}
