//! The health service's Watch.

use dualtor_sim::{Code, Health, ReplyFault, Rpc, Soc};
use h2::RecvStream;
use tokio::time::timeout;

use super::client::*;

async fn open(client: &mut Client) -> RecvStream {
    soon(client.open(WATCH, &(), &[]))
        .await
        .expect("headers")
        .into_body()
}

/// The next status; 0 is an empty message.
async fn next(stream: &mut RecvStream) -> u8 {
    let bytes = soon(stream.data()).await.expect("a status").expect("no error");
    bytes.get(6).copied().unwrap_or(0)
}

async fn end(mut stream: RecvStream) -> String {
    assert!(soon(stream.data()).await.is_none());
    let trailers = soon(stream.trailers()).await.expect("an end").expect("trailers");
    trailers["grpc-status"].to_str().expect("ASCII").to_owned()
}

fn say(soc: &Soc, health: Health) {
    soc.set(|state| state.health = health);
}

#[tokio::test]
async fn a_watch_says_the_status_at_once_and_then_each_change() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    let mut stream = open(&mut client).await;
    assert_eq!(next(&mut stream).await, 1);
    assert_eq!(soc.counters().health_streams, 1);
    for (health, status) in [
        (Health::NotServing, 2),
        (Health::ServiceUnknown, 3),
        (Health::Unknown, 0),
        // Not NOT_FOUND: that is what the protocol requires.
        (Health::NotFound, 3),
        (Health::Serving, 1),
    ] {
        say(&soc, health);
        assert_eq!(next(&mut stream).await, status, "{health:?}");
    }
    soc.set(|state| state.version = "2".to_owned());
    assert!(
        timeout(QUIET, stream.data()).await.is_err(),
        "nothing has changed"
    );
    assert_eq!(soc.counters().rpcs[&Rpc::Watch], 1);
    drop(stream);
    wait_for("the stream to be gone", || soc.counters().health_streams == 0).await;
}

#[tokio::test]
async fn a_watch_ends_as_it_is_told() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for (code, status) in [(None, "0"), (Some(Code::Unavailable), "14")] {
        let mut stream = open(&mut client).await;
        assert_eq!(next(&mut stream).await, 1);
        soc.end_health_streams(code);
        assert_eq!(end(stream).await, status);
    }
    let mut stream = open(&mut client).await;
    assert_eq!(next(&mut stream).await, 1);
    say(&soc, Health::None);
    assert_eq!(end(stream).await, "12");
}

#[tokio::test]
async fn there_may_be_a_check_and_no_watch() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| state.health_watch = false);
    let mut client = Client::connect(&soc).await;
    let answer = client.call(WATCH, &()).await.expect("an answer");
    assert_eq!(answer.status, Some(Code::Unimplemented as u16));
    let answer = client.call(HEALTH, &()).await.expect("an answer");
    assert_eq!(answer.status, Some(0));
}

#[tokio::test]
async fn a_flood_comes_all_at_once_and_ends_with_the_truth() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    let mut stream = open(&mut client).await;
    assert_eq!(next(&mut stream).await, 1);
    soc.flood_health(20);
    for nth in 0..20 {
        assert_eq!(next(&mut stream).await, if nth % 2 == 0 { 1 } else { 2 });
    }
    assert_eq!(next(&mut stream).await, 1);
}

#[tokio::test]
async fn faults_of_replies_are_faults_of_a_watch_too() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    soc.reply_fault(ReplyFault::Code {
        code: Code::Internal,
        message: String::new(),
    });
    let answer = client.call(WATCH, &()).await.expect("an answer");
    assert_eq!(answer.status, Some(Code::Internal as u16));
    soc.reply_fault(ReplyFault::Empty);
    assert_eq!(next(&mut open(&mut client).await).await, 0);
    soc.reply_fault(ReplyFault::NoTrailers);
    let mut stream = open(&mut client).await;
    assert_eq!(next(&mut stream).await, 1);
    assert!(soon(stream.data()).await.is_none());
    assert!(soon(stream.trailers()).await.expect("an end").is_none());
}
