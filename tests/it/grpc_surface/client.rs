//! A gRPC client that can be rude, on h2.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{PingPong, RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A connection.
pub(super) struct Client {
    requests: SendRequest<Bytes>,
    pub(super) pings: PingPong,
    /// How the connection ended.
    pub(super) end: JoinHandle<Result<(), h2::Error>>,
}

/// A call.
pub(super) struct Call {
    request: SendStream<Bytes>,
    response: Option<h2::client::ResponseFuture>,
    body: Option<RecvStream>,
    arrived: BytesMut,
    /// Of the answer, and at the end with its trailers.
    pub(super) headers: HeaderMap,
}

/// A message as it is sent.
pub(super) fn framed(message: &impl Message) -> Bytes {
    framed_bytes(0, &message.encode_to_vec())
}

pub(super) fn framed_bytes(flag: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(flag);
    bytes.put_u32(message.len() as u32);
    bytes.extend_from_slice(message);
    bytes.freeze()
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("a connection")
    }

    pub(super) async fn try_connect(address: SocketAddr) -> Result<Self, h2::Error> {
        let socket = TcpStream::connect(address).await.expect("TCP");
        let mut builder = Builder::new();
        // Before the server's SETTINGS: else the first calls could be too many.
        builder.initial_max_send_streams(1);
        let (requests, mut connection) = builder.handshake(socket).await?;
        let pings = connection.ping_pong().expect("the first");
        let end = tokio::spawn(connection);
        Ok(Self { requests, pings, end })
    }

    /// Begins a call, as soon as the server takes one more.
    pub(super) async fn call(&self, path: &str, metadata: &[(&'static str, &str)]) -> Call {
        self.try_call(path, metadata).await.expect("a call")
    }

    pub(super) async fn try_call(
        &self,
        path: &str,
        metadata: &[(&'static str, &str)],
    ) -> Result<Call, h2::Error> {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut requests = self.requests.clone().ready().await?;
        let (response, request) = requests.send_request(request, false)?;
        Ok(Call {
            request,
            response: Some(response),
            body: None,
            arrived: BytesMut::new(),
            headers: HeaderMap::new(),
        })
    }

    /// A call with one message.
    pub(super) async fn ask(
        &self,
        path: &str,
        metadata: &[(&'static str, &str)],
        message: &impl Message,
    ) -> Call {
        let mut call = self.call(path, metadata).await;
        call.send(framed(message), true);
        call
    }

    /// A call with one message, and its only answer.
    pub(super) async fn unary<M: Message + Default>(
        &self,
        path: &str,
        metadata: &[(&'static str, &str)],
        message: &impl Message,
    ) -> Result<M, i32> {
        let mut call = self.ask(path, metadata, message).await;
        let answer = call.next().await;
        match (answer, call.status().await) {
            (Some(answer), 0) => Ok(answer),
            (None, code) => Err(code),
            (answer, code) => panic!("an answer: {}, with {code}", answer.is_some()),
        }
    }
}

impl Call {
    pub(super) fn send(&mut self, bytes: Bytes, last: bool) {
        // The server may have answered already.
        let _ = self.request.send_data(bytes, last);
    }

    /// The next message; `None`: the answer has ended.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Option<M> {
        self.try_next().await.expect("no reset")
    }

    pub(super) async fn try_next<M: Message + Default>(&mut self) -> Result<Option<M>, h2::Error> {
        if let Some(response) = self.response.take() {
            let (head, body) = response.await?.into_parts();
            assert_eq!(head.status, 200);
            self.headers = head.headers;
            self.body = Some(body);
        }
        let body = self.body.as_mut().expect("an answer");
        loop {
            if let Some(prefix) = self.arrived.first_chunk::<5>() {
                let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
                if self.arrived.len() >= 5 + length {
                    let message = self.arrived.split_to(5 + length);
                    return Ok(Some(M::decode(&message[5..]).expect("a message")));
                }
            }
            match poll_fn(|cx| body.poll_data(cx)).await {
                Some(data) => {
                    let data = data?;
                    body.flow_control().release_capacity(data.len())?;
                    self.arrived.extend_from_slice(&data);
                }
                None => {
                    assert!(self.arrived.is_empty());
                    let trailers = body.trailers().await?;
                    self.headers.extend(trailers.into_iter().flatten());
                    return Ok(None);
                }
            }
        }
    }

    /// The code with which it ended. There must be no further message.
    pub(super) async fn status(&mut self) -> i32 {
        if !self.headers.contains_key("grpc-status") {
            let more: Option<()> = self.next().await;
            assert!(more.is_none(), "a message more");
        }
        let code = self.headers["grpc-status"].to_str().expect("text");
        code.parse().expect("a number")
    }
}
