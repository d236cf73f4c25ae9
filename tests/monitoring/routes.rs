//! A server of gRIBI with three entries, one of which is not programmed. Real ones are asked in tests/peers.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Serves as long as it exists.
pub(crate) struct Routes {
    pub(crate) address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Routes {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serve = async move {
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                tokio::spawn(connection(socket));
            }
        };
        Self {
            address,
            _server: AbortOnDropHandle::new(tokio::spawn(serve)),
        }
    }
}

async fn connection(socket: TcpStream) {
    let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
    // A client that leaves is no failure.
    while let Some(Ok((request, response))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/gribi.gRIBI/Get");
        _ = answer(response);
    }
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("a short field");
    [&[number << 3 | 2, length], bytes].concat()
}

/// A network instance, the field of its kind, and whether it is in the RIB and in the FIB.
fn entry(instance: &str, kind: u8, [rib, fib]: [u8; 2]) -> Vec<u8> {
    let flags = [11 << 3, rib, 12 << 3, fib];
    field(
        1,
        &[field(1, instance.as_bytes()), field(kind, b"key"), flags.to_vec()].concat(),
    )
}

fn answer(mut response: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let entries = [
        entry("DEFAULT", 4, [1, 1]),
        entry("DEFAULT", 4, [1, 2]),
        entry("VRF-1", 8, [0, 0]),
    ];
    let message = entries.concat();
    let length = u32::try_from(message.len()).expect("a short message");
    let frame = [&[0][..], &length.to_be_bytes(), &message].concat();
    let head = Response::builder().header("content-type", "application/grpc");
    let mut stream = response.send_response(head.body(()).expect("a head"), false)?;
    stream.send_data(frame.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    stream.send_trailers(trailers)
}
