//! A separate client on bare h2 and bare TCP, which waits with deadlines.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dualtor_proto::{AdminReply, AdminRequest, LinkStateRequest, ServerVersionRequest};
use dualtor_sim::{Scenario, Simulator, Soc};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Much longer than anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long a test waits to see that something does not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(150);

pub(crate) const ADMIN: &str = "/DualToRActive/QueryAdminForwardingPortState";
pub(crate) const SET_ADMIN: &str = "/DualToRActive/SetAdminForwardingPortState";
pub(crate) const OPERATION: &str = "/DualToRActive/QueryOperationPortState";
pub(crate) const LINK: &str = "/DualToRActive/QueryLinkState";
pub(crate) const VERSION: &str = "/DualToRActive/QueryServerVersion";
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/Check";
pub(crate) const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub(crate) const NOTICES: &str = "/GracefulRestart/NotifyGracefulRestartStart";

pub(crate) async fn one_soc() -> (Simulator, Soc) {
    let simulator = Simulator::start(Scenario::uniform(1)).await.expect("a simulator");
    let soc = simulator.soc("Ethernet0").expect("Ethernet0");
    (simulator, soc)
}

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("within the deadline")
}

pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A client's connection, and how it ends.
pub(crate) struct Client {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) ping: h2::PingPong,
    pub(crate) end: JoinHandle<Result<(), h2::Error>>,
}

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: StatusCode,
    /// From the trailers, or from the headers if there are no trailers.
    pub(crate) status: Option<u16>,
    pub(crate) message: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(soc: &Soc) -> Self {
        soon(Self::try_connect(soc.address()))
            .await
            .expect("a connection")
    }

    pub(crate) async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        let (send, mut connection) = h2::client::handshake(tcp).await.map_err(io::Error::other)?;
        let ping = connection.ping_pong().expect("the first taker");
        Ok(Self {
            send,
            ping,
            end: tokio::spawn(connection),
        })
    }

    pub(crate) async fn open(
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
        let (response, mut body) = send.send_request(builder.body(()).expect("a request"), false)?;
        body.send_data(framed(request), true)?;
        response.await
    }

    pub(crate) async fn call_with(
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

    pub(crate) async fn call(&mut self, path: &str, request: &impl Message) -> Result<Answer, h2::Error> {
        soon(self.call_with(path, request, &[])).await
    }

    pub(crate) async fn admin(&mut self) -> Result<Answer, h2::Error> {
        self.call(ADMIN, &admin_request()).await
    }

    /// portid and state of an admin reply.
    pub(crate) async fn lists(&mut self) -> (Vec<i32>, Vec<bool>) {
        let reply: AdminReply = self.admin().await.expect("an answer").decode();
        (reply.portid, reply.state)
    }

    pub(crate) async fn pings_are_answered(&mut self) -> bool {
        timeout(SOON, self.ping.ping(h2::Ping::opaque()))
            .await
            .is_ok_and(|pong| pong.is_ok())
    }

    /// How the connection ended. Panics if it does not end.
    pub(crate) async fn end(self) -> Result<(), h2::Error> {
        drop(self.send);
        soon(self.end).await.expect("no panic")
    }
}

impl Answer {
    pub(crate) fn decode<M: Message + Default>(&self) -> M {
        assert_eq!((self.http, self.status), (StatusCode::OK, Some(0)), "{self:?}");
        let (prefix, message) = self.body.split_at(5);
        assert_eq!(prefix[0], 0);
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        assert_eq!(length as usize, message.len());
        M::decode(message).expect("a message")
    }
}

pub(crate) fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).expect("small").to_be_bytes());
    bytes.extend_from_slice(&message);
    bytes.into()
}

pub(crate) fn admin_request() -> AdminRequest {
    AdminRequest {
        portid: vec![0, 1],
        state: vec![false, false],
    }
}

pub(crate) fn link_request() -> LinkStateRequest {
    LinkStateRequest { portid: vec![0, 1] }
}

pub(crate) fn version_request() -> ServerVersionRequest {
    ServerVersionRequest {
        version: "1.0".to_owned(),
    }
}

/// Connects TCP, sends the client's preface with empty SETTINGS, and reads until the peer sends nothing more or has closed.
pub(crate) async fn first_bytes(soc: &Soc) -> (Vec<u8>, RawEnd) {
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
pub(crate) enum RawEnd {
    Open,
    Closed,
    Reset,
}

pub(crate) fn goaway_reason(end: Result<(), h2::Error>) -> Option<Reason> {
    let error = end.expect_err("a GOAWAY with an error");
    assert!(error.is_go_away() && error.is_remote(), "{error:?}");
    error.reason()
}

impl Client {
    /// A call with any bytes as its message.
    pub(crate) async fn call_raw(&mut self, path: &str, message: &[u8]) -> Result<Answer, h2::Error> {
        let request = Request::post(format!("http://soc{path}"))
            .header("content-type", "application/grpc")
            .body(())
            .expect("a request");
        let mut send = self.send.clone().ready().await?;
        let (response, mut body) = send.send_request(request, false)?;
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(message.len()).expect("small").to_be_bytes());
        bytes.extend_from_slice(message);
        // In two parts, as some clients send it.
        let mut bytes = Bytes::from(bytes);
        body.send_data(bytes.split_to(3), false)?;
        tokio::task::yield_now().await;
        body.send_data(bytes, true)?;
        let (head, _) = response.await?.into_parts();
        let text = |name| head.headers.get(name).map(|value| value.to_str().expect("ASCII"));
        Ok(Answer {
            http: head.status,
            status: text("grpc-status").map(|code| code.parse().expect("a number")),
            message: text("grpc-message").map(str::to_owned),
            body: Vec::new(),
        })
    }
}

pub(crate) async fn connect_when_open(soc: &Soc) -> Client {
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

pub(crate) async fn refused(soc: &Soc) {
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
