//! What is at the end of a path, as its type says: for comparisons, as a text, as a number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{EnumDescriptor, Kind};

use super::reply_path::LeafKind;
use super::reply_walk::LeafFound;
use dualtor_proto::wire::WireValue;

/// The longest text of a value, in bytes. An expression's time grows with it.
const MAX_TEXT: usize = 64 * 1024;

/// A value of a reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ReplyValue<'a> {
    Absent,
    Bool(bool),
    /// Also numbers that no float has.
    Int(i128),
    Real(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Enum(i32, EnumDescriptor),
    /// Seconds of a Timestamp or a Duration.
    Seconds(f64),
    Size(u64),
    Message,
}

impl<'a> ReplyValue<'a> {
    pub(super) fn of(found: LeafFound<'a>, leaf: &LeafKind) -> Self {
        match (found, leaf) {
            (LeafFound::Absent, _) => Self::Absent,
            (LeafFound::Message, _) => Self::Message,
            (LeafFound::Size(size), _) => Self::Size(size),
            (LeafFound::Time(seconds, nanos), _) => Self::Seconds(seconds as f64 + f64::from(nanos) / 1e9),
            (LeafFound::Default, LeafKind::Scalar(kind)) => Self::default_of(kind),
            (LeafFound::One(value), LeafKind::Scalar(kind)) => Self::scalar(value, kind),
            // Only scalars have these.
            (LeafFound::Default | LeafFound::One(_), _) => Self::Absent,
        }
    }

    fn default_of(kind: &Kind) -> Self {
        match kind {
            Kind::String => Self::Text(""),
            Kind::Bytes => Self::Bytes(b""),
            Kind::Double | Kind::Float => Self::Real(0.0),
            kind => Self::scalar(WireValue::Varint(0), kind),
        }
    }

    /// The reply is well-formed, so the value has the type.
    fn scalar(value: WireValue<'a>, kind: &Kind) -> Self {
        match (kind, value) {
            (Kind::Bool, WireValue::Varint(value)) => Self::Bool(value != 0),
            (Kind::Enum(of), WireValue::Varint(value)) => Self::Enum(value as i32, of.clone()),
            (Kind::Int32, WireValue::Varint(value)) => Self::Int((value as i32).into()),
            (Kind::Int64, WireValue::Varint(value)) => Self::Int((value as i64).into()),
            (Kind::Uint32, WireValue::Varint(value)) => Self::Int((value as u32).into()),
            (Kind::Sint32, WireValue::Varint(value)) => {
                let value = value as u32;
                Self::Int(((value >> 1) as i32 ^ -((value & 1) as i32)).into())
            }
            (Kind::Sint64, WireValue::Varint(value)) => {
                Self::Int(((value >> 1) as i64 ^ -((value & 1) as i64)).into())
            }
            (Kind::Sfixed32, WireValue::Fixed32(value)) => Self::Int((value as i32).into()),
            (Kind::Sfixed64, WireValue::Fixed64(value)) => Self::Int((value as i64).into()),
            (Kind::Float, WireValue::Fixed32(value)) => Self::Real(f32::from_bits(value).into()),
            (Kind::Double, WireValue::Fixed64(value)) => Self::Real(f64::from_bits(value)),
            (Kind::String, WireValue::Bytes(text)) => {
                std::str::from_utf8(text).map_or(Self::Absent, Self::Text)
            }
            (Kind::Bytes, WireValue::Bytes(bytes)) => Self::Bytes(bytes),
            (
                Kind::Uint64 | Kind::Fixed64 | Kind::Fixed32,
                WireValue::Varint(value) | WireValue::Fixed64(value),
            ) => Self::Int(value.into()),
            (Kind::Fixed32, WireValue::Fixed32(value)) => Self::Int(value.into()),
            // The default of the others.
            (Kind::Sfixed32 | Kind::Sfixed64, WireValue::Varint(_)) => Self::Int(0),
            _ => Self::Absent,
        }
    }

    /// For people, for labels, and for expressions. At most `MAX_TEXT` bytes: a reply may have megabytes.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Absent => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Real(value) | Self::Seconds(value) => value.to_string(),
            Self::Text(text) => start_of(text).to_owned(),
            Self::Bytes(bytes) => STANDARD.encode(&bytes[..bytes.len().min(MAX_TEXT / 4 * 3)]),
            Self::Enum(number, of) => match of.get_value(*number) {
                Some(value) => value.name().to_owned(),
                None => number.to_string(),
            },
            Self::Size(size) => size.to_string(),
            Self::Message => "a message".to_owned(),
        }
    }

    /// For `grpc_reply_value`. `None`: it is not there, or no number.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::Int(value) => Some(*value as f64),
            Self::Real(value) | Self::Seconds(value) => Some(*value),
            Self::Enum(number, _) => Some((*number).into()),
            Self::Size(size) => Some(*size as f64),
            Self::Absent | Self::Text(_) | Self::Bytes(_) | Self::Message => None,
        }
    }
}

fn start_of(text: &str) -> &str {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Whether values at the end of such a path are numbers.
pub(super) fn is_number(leaf: &LeafKind) -> bool {
    match leaf {
        LeafKind::Scalar(kind) => !matches!(kind, Kind::String | Kind::Bytes),
        LeafKind::Size { .. } | LeafKind::Seconds => true,
        LeafKind::Message => false,
    }
}
