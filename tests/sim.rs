//! Proves that each fault of the simulator does what its name says, with a client of its own on bare h2 and bare TCP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dualtor_exporter::proto::{
    AdminReply, AdminRequest, GracefulAdminRequest, GracefulAdminResponse, LinkStateReply,
    LinkStateRequest, OperationReply, OperationRequest, ServerVersionReply, ServerVersionRequest,
    ToRSide,
};
use dualtor_exporter::sim::{
    Code, ConnectionFault, Direction, GoAway, H2Code, Health, Link, Notice, NoticeKind, Plane,
    ReplyFault, Rpc, Scenario, SimError, Simulator, Soc, SocSpec,
};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(10);
/// What must not happen is given this long to happen.
const QUIET: Duration = Duration::from_millis(150);

const ADMIN: &str = "/DualToRActive/QueryAdminForwardingPortState";
const SET_ADMIN: &str = "/DualToRActive/SetAdminForwardingPortState";
const OPERATION: &str = "/DualToRActive/QueryOperationPortState";
const LINK: &str = "/DualToRActive/QueryLinkState";
const VERSION: &str = "/DualToRActive/QueryServerVersion";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const NOTICES: &str = "/GracefulRestart/NotifyGracefulRestartStart";

// ---- harness ----

async fn one_soc() -> (Simulator, Soc) {
    let simulator = Simulator::start(Scenario::uniform(1))
        .await
        .expect("a simulator");
    let soc = simulator.soc("Ethernet0").expect("Ethernet0");
    (simulator, soc)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("within the deadline")
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A client's connection, and how it ends.
struct Client {
    send: SendRequest<Bytes>,
    ping: h2::PingPong,
    end: JoinHandle<Result<(), h2::Error>>,
}

/// What a call came to.
#[derive(Debug)]
struct Answer {
    http: StatusCode,
    /// From the trailers, or from the headers if there is nothing else.
    status: Option<u16>,
    message: Option<String>,
    body: Vec<u8>,
}

impl Client {
    async fn connect(soc: &Soc) -> Self {
        soon(Self::try_connect(soc.address()))
            .await
            .expect("a connection")
    }

    async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        let (send, mut connection) = h2::client::handshake(tcp).await.map_err(io::Error::other)?;
        let ping = connection.ping_pong().expect("the first taker");
        Ok(Self {
            send,
            ping,
            end: tokio::spawn(connection),
        })
    }

    async fn open(
        &mut self,
        path: &str,
        request: &impl Message,
        headers: &[(&str, &str)],
    ) -> Result<Response<RecvStream>, h2::Error> {
        let mut builder = Request::post(format!("http://soc{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let mut send = self.send.clone().ready().await?;
        let (response, mut body) =
            send.send_request(builder.body(()).expect("a request"), false)?;
        body.send_data(framed(request), true)?;
        response.await
    }

    async fn call_with(
        &mut self,
        path: &str,
        request: &impl Message,
        headers: &[(&str, &str)],
    ) -> Result<Answer, h2::Error> {
        let (head, mut stream) = self.open(path, request, headers).await?.into_parts();
        let mut body = Vec::new();
        while let Some(part) = stream.data().await {
            let part = part?;
            stream.flow_control().release_capacity(part.len())?;
            body.extend_from_slice(&part);
        }
        let trailers = stream.trailers().await?.unwrap_or(head.headers);
        let text = |name| {
            let value: Option<&http::HeaderValue> = HeaderMap::get(&trailers, name);
            value.map(|value| value.to_str().expect("ASCII").to_owned())
        };
        Ok(Answer {
            http: head.status,
            status: text("grpc-status").map(|code| code.parse().expect("a number")),
            message: text("grpc-message"),
            body,
        })
    }

    async fn call(&mut self, path: &str, request: &impl Message) -> Result<Answer, h2::Error> {
        soon(self.call_with(path, request, &[])).await
    }

    async fn admin(&mut self) -> Result<Answer, h2::Error> {
        self.call(ADMIN, &admin_request()).await
    }

    /// portid and state of an admin reply.
    async fn lists(&mut self) -> (Vec<i32>, Vec<bool>) {
        let reply: AdminReply = self.admin().await.expect("an answer").decode();
        (reply.portid, reply.state)
    }

    async fn pings_are_answered(&mut self) -> bool {
        timeout(SOON, self.ping.ping(h2::Ping::opaque()))
            .await
            .is_ok_and(|pong| pong.is_ok())
    }

    /// How the connection ended; panics if it does not.
    async fn end(self) -> Result<(), h2::Error> {
        drop(self.send);
        soon(self.end).await.expect("no panic")
    }
}

impl Answer {
    fn decode<M: Message + Default>(&self) -> M {
        assert_eq!(
            (self.http, self.status),
            (StatusCode::OK, Some(0)),
            "{self:?}"
        );
        let (prefix, message) = self.body.split_at(5);
        assert_eq!(prefix[0], 0);
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        assert_eq!(length as usize, message.len());
        M::decode(message).expect("a message")
    }
}

fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).expect("small").to_be_bytes());
    bytes.extend_from_slice(&message);
    bytes.into()
}

fn admin_request() -> AdminRequest {
    AdminRequest {
        portid: vec![0, 1],
        state: vec![false, false],
    }
}

fn link_request() -> LinkStateRequest {
    LinkStateRequest { portid: vec![0, 1] }
}

fn version_request() -> ServerVersionRequest {
    ServerVersionRequest {
        version: "1.0".to_owned(),
    }
}

/// Connects TCP, sends the client's preface with empty SETTINGS, and reads until the peer is quiet or has closed.
async fn first_bytes(soc: &Soc) -> (Vec<u8>, RawEnd) {
    let mut tcp = TcpStream::connect(soc.address()).await.expect("TCP");
    let _ = tcp
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 1024];
        match timeout(QUIET, tcp.read(&mut part)).await {
            Err(_) => return (bytes, RawEnd::Open),
            Ok(Ok(0)) => return (bytes, RawEnd::Closed),
            Ok(Ok(n)) => bytes.extend_from_slice(&part[..n]),
            Ok(Err(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                return (bytes, RawEnd::Reset);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum RawEnd {
    Open,
    Closed,
    Reset,
}

fn goaway_reason(end: Result<(), h2::Error>) -> Option<Reason> {
    let error = end.expect_err("a GOAWAY with an error");
    assert!(error.is_go_away() && error.is_remote(), "{error:?}");
    error.reason()
}

// ---- a healthy SoC ----

#[tokio::test]
async fn a_healthy_soc_answers_every_query() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| {
        state.version = "9.8.7".to_owned();
        state.links.lower = Link::Down;
    });
    let mut client = Client::connect(&soc).await;
    assert_eq!(client.lists().await, (vec![0, 1], vec![true, false]));
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
    assert_eq!((link.portid, link.state), (vec![0, 1], vec![true, false]));
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
    assert_eq!(client.lists().await, (vec![0, 1], vec![false, true]));
}

#[tokio::test]
async fn setting_the_direction_works_and_is_counted() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    let request = AdminRequest {
        portid: vec![1],
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
        (
            OPERATION,
            OperationRequest { portid: vec![0] }.encode_to_vec(),
        ),
        (VERSION, vec![]),
    ] {
        // Bytes that encode as themselves: a message of one unknown kind would do as well.
        let answer = soon(client.call_raw(path, &request))
            .await
            .expect("an answer");
        assert_eq!(answer.status, Some(Code::InvalidArgument as u16), "{path}");
    }
    let answer = soon(client.call_raw(LINK, &[0xff]))
        .await
        .expect("an answer");
    assert_eq!(answer.status, Some(Code::Internal as u16));
}

#[tokio::test]
async fn an_unknown_rpc_is_unimplemented() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for path in [
        "/DualToRActive/Nothing",
        "/grpc.health.v1.Health/Watch",
        "/",
    ] {
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
    for (value, status) in [
        ("127.9.0.2", Code::FailedPrecondition as u16),
        ("127.9.0.1", 0),
    ] {
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

// ---- notices ----

fn begin() -> Notice {
    Notice {
        kind: NoticeKind::Begin,
        plane: Plane::Data,
        guid: "g1".to_owned(),
        period: 10,
    }
}

async fn next_notice(stream: &mut RecvStream) -> GracefulAdminResponse {
    let bytes = soon(stream.data())
        .await
        .expect("a notice")
        .expect("no error");
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
    let trailers = soon(stream.trailers())
        .await
        .expect("an end")
        .expect("trailers");
    assert_eq!(trailers["grpc-status"], "14");
    wait_for("the stream to be gone", || {
        soc.counters().notice_streams == 0
    })
    .await;
}

#[tokio::test]
async fn headers_come_early_if_asked_for_and_old_notices_never() {
    let (_simulator, soc) = one_soc().await;
    soc.set(|state| state.headers_early = true);
    soc.announce(&begin());
    let mut client = Client::connect(&soc).await;
    let request = GracefulAdminRequest::default();
    let response = soon(client.open(NOTICES, &request, &[]))
        .await
        .expect("headers");
    let mut stream = response.into_body();
    assert!(
        timeout(QUIET, stream.data()).await.is_err(),
        "an old notice"
    );
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

/// What [`begin`] looks like on the wire.
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

// ---- faults of replies ----

#[tokio::test]
async fn portid_faults_do_what_they_say() {
    let (_simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    for (fault, portid, state) in [
        (ReplyFault::Swapped, vec![1, 0], vec![false, true]),
        (ReplyFault::WrongPortids, vec![0, 7], vec![true, false]),
        (ReplyFault::DuplicatePortids, vec![0, 0], vec![true, false]),
        (ReplyFault::Short, vec![0], vec![true]),
        (ReplyFault::LengthsDiffer, vec![0, 1], vec![true]),
        (ReplyFault::Extra, vec![0, 1, 2], vec![true, false, false]),
        (ReplyFault::Empty, vec![], vec![]),
        (ReplyFault::None, vec![0, 1], vec![true, false]),
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
    assert_eq!(
        AdminReply::decode(&data[5..]).expect("a reply").portid,
        [0, 1]
    );
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
    // With room for one stream, each next call gets through only if the one before is gone.
    for calls in 1..=5 {
        tokio::select! {
            _ = client.admin() => panic!("an answer"),
            () = wait_for("the call", || soc.counters().rpcs[&Rpc::Admin] == calls) => {}
        }
    }
    assert!(client.pings_are_answered().await);
}

// ---- faults of connections ----

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
        // The kernel accepts, nobody serves.
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

async fn connect_when_open(soc: &Soc) -> Client {
    soon(async {
        loop {
            if let Ok(client) = Client::try_connect(soc.address()).await {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

async fn refused(soc: &Soc) {
    soon(async {
        while TcpStream::connect(soc.address())
            .await
            .map_err(|error| error.kind())
            .err()
            != Some(io::ErrorKind::ConnectionRefused)
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
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
    // Before the client can send or while it does.
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
    // Who never acknowledges is never reset.
    let (bytes, end) = first_bytes(&soc).await;
    assert_eq!(
        (&bytes[..], end),
        (&b"\0\0\0\x04\0\0\0\0\0"[..], RawEnd::Open)
    );
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
    assert_eq!(
        goaway_reason(client.end().await),
        Some(Reason::INTERNAL_ERROR)
    );
    wait_for("nothing open", || soc.counters().open_connections == 0).await;
    assert!(begin.elapsed() >= QUIET);
}

// ---- the simulator ----

#[tokio::test]
async fn dropping_the_simulator_stops_everything() {
    let (simulator, soc) = one_soc().await;
    let mut client = Client::connect(&soc).await;
    client.admin().await.expect("an answer");
    drop(simulator);
    let _ = client.end().await;
    refused(&soc).await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_simulator, soc) = one_soc().await;
    let scenario = Scenario {
        socs: vec![SocSpec {
            port: "Ethernet8".to_owned(),
            address: Some(soc.address()),
            ..SocSpec::default()
        }],
        ..Scenario::default()
    };
    let error = Simulator::start(scenario).await.expect_err("in use");
    assert!(
        matches!(&error, SimError::Listen { soc, .. } if soc == "Ethernet8"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with("Ethernet8: cannot listen on 127.0.0.1:")
    );
}

#[tokio::test]
async fn the_timeline_plays_in_order_and_again() {
    let scenario = Scenario::from_yaml(
        "
rack: {count: 3, port: 0}
loop: 60ms
timeline:
  - {at: 20ms, soc: [Ethernet4, Ethernet8], fault: hang}
  - {at: 10ms, soc: Ethernet0, set: {directions: {lower: active}}}
  - {at: 30ms, soc: all, reply: {slow: {delay: 300ms}}, only: [link], fault: none}
",
    )
    .expect("a scenario");
    let simulator = Simulator::start(scenario).await.expect("a simulator");
    let mut events = simulator.events();
    for _ in 0..2 {
        for line in [
            "Ethernet0: directions lower Active",
            "Ethernet4, Ethernet8: hang",
            "all: connections are well again, replies 300ms late, only [Link]",
        ] {
            assert_eq!(soon(events.recv()).await.expect("a line"), line);
        }
    }
    let soc = simulator.soc("Ethernet0").expect("Ethernet0");
    assert_eq!(soc.state().directions.lower, Direction::Active);
    assert_eq!(simulator.socs().len(), 3);
}

#[tokio::test]
async fn run_reports_and_stops_when_told() {
    let mut lines = Vec::new();
    let done = dualtor_exporter::sim::run(Scenario::uniform(2), async {}, |line| {
        lines.push(line.to_owned())
    });
    soon(done).await.expect("a clean end");
    assert!(
        lines[0].starts_with("2 SoCs: Ethernet0 on 127.0.0.1:"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn the_example_scenario_starts() {
    let yaml = std::fs::read_to_string("tests/data/rack.yaml").expect("the example");
    let scenario = Scenario::from_yaml(&yaml).expect("a scenario");
    assert_eq!(scenario.rack.expect("a rack").count, 24);
    assert_eq!(scenario.timeline.len(), 16);
}

impl Client {
    /// A call with any bytes as its message.
    async fn call_raw(&mut self, path: &str, message: &[u8]) -> Result<Answer, h2::Error> {
        let request = Request::post(format!("http://soc{path}"))
            .header("content-type", "application/grpc")
            .body(())
            .expect("a request");
        let mut send = self.send.clone().ready().await?;
        let (response, mut body) = send.send_request(request, false)?;
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(message.len()).expect("small").to_be_bytes());
        bytes.extend_from_slice(message);
        // In two pieces, as some clients send it.
        let mut bytes = Bytes::from(bytes);
        body.send_data(bytes.split_to(3), false)?;
        tokio::task::yield_now().await;
        body.send_data(bytes, true)?;
        let (head, _) = response.await?.into_parts();
        let text = |name| {
            head.headers
                .get(name)
                .map(|value| value.to_str().expect("ASCII"))
        };
        Ok(Answer {
            http: head.status,
            status: text("grpc-status").map(|code| code.parse().expect("a number")),
            message: text("grpc-message").map(str::to_owned),
            body: Vec::new(),
        })
    }
}
