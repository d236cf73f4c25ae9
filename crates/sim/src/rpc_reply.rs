//! What a SoC replies: from its state, a request and a fault to a framed gRPC message. No I/O.

use std::io::{self, Write};

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Compression as Level;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use prost::{DecodeError, Message};

use super::fault::{Code, Compression, ReplyFault};
use super::grpc::PREFIX;
use super::method::Rpc;
use super::simulated_soc::Inner;
use super::state::{Direction, Health, Link, Sides, SocState};
use dualtor_proto::{
    AdminReply, AdminRequest, LinkStateReply, LinkStateRequest, OperationReply, OperationRequest,
    ServerVersionReply, ServerVersionRequest,
};

/// A gRPC error instead of a message.
pub(super) type Status = (Code, String);

/// grpc.health.v1's messages.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The reply to a unary RPC.
///
/// Strict about requests: a client that does not follow the interface would get no useful answer from a real SoC either.
pub(super) fn message(soc: &Inner, rpc: Rpc, request: &[u8], fault: &ReplyFault) -> Result<Bytes, Status> {
    let good = match rpc {
        Rpc::Admin => {
            let request = decode::<AdminRequest>(request)?;
            both_portids(&request.portid)?;
            same_length(&request)?;
            admin(soc, fault)
        }
        Rpc::SetAdmin => {
            let request = decode::<AdminRequest>(request)?;
            same_length(&request)?;
            soc.change_state(|state| set_directions(state, &request));
            admin(soc, fault)
        }
        Rpc::Operation => {
            both_portids(&decode::<OperationRequest>(request)?.portid)?;
            let (portid, state) = lists(soc.with_state(|state| state.oper.map(Link::is_up)), fault);
            framed(&OperationReply { portid, state })
        }
        Rpc::Link => {
            both_portids(&decode::<LinkStateRequest>(request)?.portid)?;
            let (portid, state) = lists(soc.with_state(|state| state.links.map(Link::is_up)), fault);
            framed(&LinkStateReply { portid, state })
        }
        Rpc::Version => {
            if decode::<ServerVersionRequest>(request)?.version.is_empty() {
                return Err(invalid("expected a version"));
            }
            framed(&ServerVersionReply {
                version: soc.with_state(|state| state.version.clone()),
            })
        }
        Rpc::Health => health(soc, &decode::<HealthCheckRequest>(request)?)?,
        // Streams.
        Rpc::Watch | Rpc::Notices => return Err((Code::Internal, "not a unary RPC".to_owned())),
    };
    Ok(spoilt(good, fault))
}

/// The message as the fault changes it.
fn spoilt(good: Bytes, fault: &ReplyFault) -> Bytes {
    match fault {
        ReplyFault::Empty => frame(&[]),
        // Field 31, with a wire type that does not exist.
        ReplyFault::GarbageMessage => frame(&[0xff; 8]),
        ReplyFault::Oversized { bytes } => oversized(&good[PREFIX..], *bytes),
        ReplyFault::Compressed(how) => compressed(&good, *how),
        _ => good,
    }
}

/// A message of a Watch: the present status. The error: there is no Watch, or not any more.
pub(super) fn watch(soc: &Inner, fault: &ReplyFault) -> Result<Bytes, Status> {
    let (health, served) = soc.with_state(|state| (state.health, state.health_watch));
    match health {
        _ if !served => Err((Code::Unimplemented, "no Watch here".to_owned())),
        // As the protocol requires: the service may appear later.
        Health::NotFound => Ok(spoilt(status_message(3), fault)),
        health => Ok(spoilt(status_message(number(health)?), fault)),
    }
}

/// One message of a flood.
pub(super) fn flood(nth: u64, fault: &ReplyFault) -> Bytes {
    spoilt(status_message(if nth.is_multiple_of(2) { 1 } else { 2 }), fault)
}

/// A notice with this message.
pub(super) fn notice(message: &[u8], fault: &ReplyFault) -> Bytes {
    spoilt(frame(message), fault)
}

/// Compressed, or only marked as compressed.
fn compressed(good: &Bytes, how: Compression) -> Bytes {
    let message = &good[PREFIX..];
    // Writing to memory cannot fail.
    let packed = match how {
        Compression::Gzip => pack(
            GzEncoder::new(Vec::new(), Level::default()),
            message,
            GzEncoder::finish,
        ),
        Compression::Deflate => pack(
            ZlibEncoder::new(Vec::new(), Level::default()),
            message,
            ZlibEncoder::finish,
        ),
        Compression::RawDeflate => pack(
            DeflateEncoder::new(Vec::new(), Level::default()),
            message,
            DeflateEncoder::finish,
        ),
        Compression::HeaderOnly => return good.clone(),
        Compression::Unknown | Compression::Unannounced => message.to_vec(),
        Compression::Bomb => pack(
            GzEncoder::new(Vec::new(), Level::best()),
            &vec![0; 4 << 20],
            GzEncoder::finish,
        ),
    };
    let mut bytes = BytesMut::from(&frame(&packed)[..]);
    // The compression flag.
    bytes[0] = 1;
    bytes.freeze()
}

fn pack<E: Write>(mut encoder: E, message: &[u8], finish: impl FnOnce(E) -> io::Result<Vec<u8>>) -> Vec<u8> {
    let written = encoder.write_all(message);
    written.and_then(|()| finish(encoder)).unwrap_or_default()
}

/// A gRPC message on the wire.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(PREFIX + message.len());
    put_prefix(&mut bytes, message.len());
    bytes.extend_from_slice(message);
    bytes.into()
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(PREFIX + length);
    put_prefix(&mut bytes, length);
    message.encode_raw(&mut bytes);
    bytes.into()
}

fn put_prefix(bytes: &mut Vec<u8>, length: usize) {
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

fn decode<M: Message + Default>(request: &[u8]) -> Result<M, Status> {
    M::decode(request).map_err(|error: DecodeError| (Code::Internal, error.to_string()))
}

fn invalid(expected: &str) -> Status {
    (Code::InvalidArgument, expected.to_owned())
}

fn both_portids(portids: &[i32]) -> Result<(), Status> {
    match portids {
        [0, 1] | [1, 0] => Ok(()),
        _ => Err(invalid("expected portid [0, 1]")),
    }
}

fn same_length(request: &AdminRequest) -> Result<(), Status> {
    if request.portid.len() == request.state.len() {
        Ok(())
    } else {
        Err(invalid("expected a state for each portid"))
    }
}

fn set_directions(state: &mut SocState, request: &AdminRequest) {
    for (portid, active) in request.portid.iter().zip(&request.state) {
        let direction = if *active {
            Direction::Active
        } else {
            Direction::Standby
        };
        match portid {
            0 => state.directions.lower = direction,
            1 => state.directions.upper = direction,
            _ => {}
        }
    }
}

fn admin(soc: &Inner, fault: &ReplyFault) -> Bytes {
    let active = |direction| direction == Direction::Active;
    let (portid, state) = lists(soc.with_state(|state| state.directions.map(active)), fault);
    framed(&AdminReply { portid, state })
}

/// portids and states: right, or wrong in the way of the fault.
fn lists(states: Sides<bool>, fault: &ReplyFault) -> (Vec<i32>, Vec<bool>) {
    let Sides { upper, lower } = states;
    match fault {
        ReplyFault::Swapped => (vec![1, 0], vec![upper, lower]),
        ReplyFault::WrongPortids => (vec![0, 7], vec![lower, upper]),
        ReplyFault::DuplicatePortids => (vec![0, 0], vec![lower, upper]),
        ReplyFault::Short => (vec![0], vec![lower]),
        ReplyFault::LengthsDiffer => (vec![0, 1], vec![lower]),
        ReplyFault::Extra => (vec![0, 1, 2], vec![lower, upper, false]),
        _ => (vec![0, 1], vec![lower, upper]),
    }
}

fn health(soc: &Inner, request: &HealthCheckRequest) -> Result<Bytes, Status> {
    let status = number(soc.with_state(|state| state.health))?;
    if !request.service.is_empty() {
        return Err((Code::NotFound, "unknown service".to_owned()));
    }
    Ok(status_message(status))
}

fn number(health: Health) -> Result<i32, Status> {
    Ok(match health {
        Health::None => return Err((Code::Unimplemented, String::new())),
        Health::NotFound => return Err((Code::NotFound, "unknown service".to_owned())),
        Health::Unknown => 0,
        Health::Serving => 1,
        Health::NotServing => 2,
        Health::ServiceUnknown => 3,
    })
}

fn status_message(status: i32) -> Bytes {
    framed(&HealthCheckResponse { status })
}

/// The message followed by an unknown field of this many bytes. It is still a valid message.
fn oversized(message: &[u8], bytes: usize) -> Bytes {
    let mut big = Vec::with_capacity(message.len() + bytes + 16);
    big.extend_from_slice(message);
    prost::encoding::encode_key(15, prost::encoding::WireType::LengthDelimited, &mut big);
    prost::encoding::encode_varint(bytes as u64, &mut big);
    big.resize(big.len() + bytes, 0);
    frame(&big)
}
