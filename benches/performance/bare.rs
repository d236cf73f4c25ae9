//! The minimum to compare with: the five RPCs of a round over h2 and nothing else. It sends and receives the same bytes as the
//! exporter, checks that each grpc-status is 0, and decodes each reply. It has no state, no deadline, no channel state.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use dualtor_proto::served::{HealthCheckRequest, HealthCheckResponse};
use dualtor_proto::{
    AdminReply, AdminRequest, LinkStateReply, LinkStateRequest, OperationReply, OperationRequest,
    ServerVersionReply, ServerVersionRequest,
};
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use prost::Message;
use tokio::net::TcpStream;

const PATHS: [&str; 5] = [
    "/DualToRActive/QueryAdminForwardingPortState",
    "/DualToRActive/QueryOperationPortState",
    "/DualToRActive/QueryLinkState",
    "/DualToRActive/QueryServerVersion",
    "/grpc.health.v1.Health/Check",
];

/// A connection, and everything that is the same in each round.
pub(crate) struct Bare {
    requests: SendRequest<Bytes>,
    uris: [http::Uri; 5],
    messages: [Bytes; 5],
}

fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len() as u32);
    bytes.put_slice(&message.encode_to_vec());
    bytes.freeze()
}

impl Bare {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = h2::client::Builder::new()
            .enable_push(false)
            .handshake(stream)
            .await?;
        tokio::spawn(connection);
        let uri = |path| {
            http::Uri::builder()
                .scheme("http")
                .authority(address.to_string())
                .path_and_query(path)
                .build()
        };
        let portid = vec![0, 1];
        Ok(Self {
            requests: requests.ready().await?,
            uris: [
                uri(PATHS[0])?,
                uri(PATHS[1])?,
                uri(PATHS[2])?,
                uri(PATHS[3])?,
                uri(PATHS[4])?,
            ],
            messages: [
                framed(&AdminRequest {
                    portid: portid.clone(),
                    state: vec![false, false],
                }),
                framed(&OperationRequest {
                    portid: portid.clone(),
                }),
                framed(&LinkStateRequest { portid }),
                framed(&ServerVersionRequest {
                    version: "1.0".to_owned(),
                }),
                framed(&HealthCheckRequest::default()),
            ],
        })
    }

    /// One round: all five are sent, then all five are read.
    pub(crate) async fn round(&mut self) -> anyhow::Result<()> {
        let admin = self.send(0)?;
        let operation = self.send(1)?;
        let link = self.send(2)?;
        let version = self.send(3)?;
        let health = self.send(4)?;
        tokio::try_join!(
            receive::<AdminReply>(admin),
            receive::<OperationReply>(operation),
            receive::<LinkStateReply>(link),
            receive::<ServerVersionReply>(version),
            receive::<HealthCheckResponse>(health),
        )?;
        Ok(())
    }

    fn send(&mut self, query: usize) -> anyhow::Result<ResponseFuture> {
        let request = Request::post(self.uris[query].clone())
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("grpc-timeout", "500000u")
            .header(
                "user-agent",
                concat!("dualtor-exporter/", env!("CARGO_PKG_VERSION")),
            )
            .body(())?;
        let (response, mut stream) = self.requests.send_request(request, false)?;
        stream.send_data(self.messages[query].clone(), true)?;
        Ok(response)
    }
}

async fn receive<M: Message + Default>(response: ResponseFuture) -> anyhow::Result<M> {
    let mut body = response.await?.into_body();
    let mut message = None;
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        message = Some(M::decode(data.get(5..).context("a short message")?)?);
    }
    let trailers = body.trailers().await?.context("no trailers")?;
    ensure!(
        trailers.get("grpc-status").is_some_and(|status| status == "0"),
        "not OK"
    );
    message.context("no message")
}
