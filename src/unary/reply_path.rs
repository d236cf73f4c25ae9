//! A path of the configuration, such as `items.0.name`, → the way through a reply: field names joined by dots, after a repeated
//! field an index, after a map a key.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::model::quoted;

/// One step of the way.
#[derive(Debug, PartialEq)]
pub(super) struct PathStep {
    /// The number of the field.
    pub(super) number: u64,
    /// The other members of its oneof: each of them that follows takes this one's place.
    pub(super) rivals: Vec<u64>,
    pub(super) choice: StepChoice,
    /// The type of the field: numbers of a repeated one may be packed.
    pub(super) kind: Kind,
}

/// Which of a field's values.
#[derive(Debug, PartialEq)]
pub(super) enum StepChoice {
    /// There is one, or all of them are meant.
    Only,
    /// The one with this number, from 0.
    Element(u32),
    /// The one that a map has for this key.
    Entry(EntryKey),
}

/// A map's key, as it is on the wire. A missing one is the type's default.
#[derive(Debug, PartialEq)]
pub(super) enum EntryKey {
    Text(String),
    /// Any number or bool; each type has one encoding of it.
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
}

/// What is at the end of a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LeafKind {
    /// A scalar or an enum.
    Scalar(Kind),
    /// The size of a repeated field, or the number of a map's keys.
    Size { map: bool },
    /// A Timestamp or a Duration.
    Seconds,
    /// Any other message.
    Message,
}

/// A path through replies of one type.
#[derive(Debug)]
pub(super) struct ReplyPath {
    pub(super) steps: Vec<PathStep>,
    pub(super) leaf: LeafKind,
    /// Whether an absent value is the type's default.
    pub(super) implicit: bool,
}

/// Longer paths are an error.
const MAX_STEPS: usize = 32;

impl ReplyPath {
    /// The error says what was expected.
    pub(super) fn new(path: &str, reply: &MessageDescriptor) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut message = reply.clone();
        let mut rest = Some(path);
        loop {
            let (name, after) = split(rest.unwrap_or(""));
            if steps.len() == MAX_STEPS {
                return Err(format!("expected at most {MAX_STEPS} names"));
            }
            let field = field(&message, name)?;
            rest = after;
            let (choice, kind, implicit) = match rest {
                Some(more) if field.is_list() => {
                    let (index, after) = split(more);
                    rest = after;
                    (element(index, name)?, field.kind(), false)
                }
                Some(more) if field.is_map() => {
                    let entry = field.kind().as_message().cloned();
                    let entry = entry.ok_or("expected a map that has entries")?;
                    let value = entry.map_entry_value_field().kind();
                    // A key may have dots, where nothing can follow it.
                    let (key, after) = match value {
                        Kind::Message(_) => split(more),
                        _ => (more, None),
                    };
                    rest = after;
                    (entry_key(key, &entry.map_entry_key_field().kind())?, value, false)
                }
                _ => (StepChoice::Only, field.kind(), !field.supports_presence()),
            };
            let is_many = choice == StepChoice::Only && (field.is_list() || field.is_map());
            steps.push(PathStep {
                number: field.number().into(),
                rivals: rivals(&field),
                choice,
                kind: field.kind(),
            });
            if let (Kind::Message(inner), false, true) = (&kind, is_many, rest.is_some()) {
                message = inner.clone();
                continue;
            }
            let leaf = leaf(&kind, is_many.then(|| field.is_map()));
            if rest.is_some() {
                return Err(format!(
                    "expected nothing after {}, which is no message",
                    quoted(name)
                ));
            }
            return Ok(Self {
                steps,
                leaf,
                implicit,
            });
        }
    }
}

/// `many`: all values of the field are meant, and whether it is a map.
fn leaf(kind: &Kind, many: Option<bool>) -> LeafKind {
    match (kind, many) {
        (_, Some(map)) => LeafKind::Size { map },
        (Kind::Message(message), None) => match message.full_name() {
            "google.protobuf.Timestamp" | "google.protobuf.Duration" => LeafKind::Seconds,
            _ => LeafKind::Message,
        },
        (scalar, None) => LeafKind::Scalar(scalar.clone()),
    }
}

/// The first name, and what stands behind its dot.
fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    }
}

fn field(message: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, String> {
    let found = message.get_field_by_name(name);
    found
        .or_else(|| message.get_field_by_json_name(name))
        .ok_or_else(|| {
            let mut names: Vec<String> = message
                .fields()
                .take(9)
                .map(|field| field.name().to_owned())
                .collect();
            if names.len() == 9 {
                names[8] = "...".to_owned();
            }
            let has = match &names[..] {
                [] => "no field".to_owned(),
                names => names.join(", "),
            };
            format!(
                "{} has no field {}, it has {has}",
                message.full_name(),
                quoted(name)
            )
        })
}

fn rivals(field: &FieldDescriptor) -> Vec<u64> {
    let members = field.containing_oneof();
    let members = members
        .iter()
        .flat_map(|oneof| oneof.fields().collect::<Vec<_>>());
    members
        .map(|member| u64::from(member.number()))
        .filter(|number| *number != u64::from(field.number()))
        .collect()
}

fn element(index: &str, field: &str) -> Result<StepChoice, String> {
    let is_decimal = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    match index.parse() {
        Ok(index) if is_decimal => Ok(StepChoice::Element(index)),
        _ => Err(format!(
            "expected an index after the repeated field {}, got {}",
            quoted(field),
            quoted(index)
        )),
    }
}

fn entry_key(text: &str, kind: &Kind) -> Result<StepChoice, String> {
    let wrong = || format!("expected a key of the map, {kind:?}, got {}", quoted(text));
    let signed = || text.parse::<i64>().map_err(|_| wrong());
    let unsigned = || text.parse::<u64>().map_err(|_| wrong());
    let small = || text.parse::<i32>().map_err(|_| wrong());
    let natural = || text.parse::<u32>().map_err(|_| wrong());
    let key = match kind {
        Kind::String => EntryKey::Text(text.to_owned()),
        Kind::Bool => match text {
            "true" => EntryKey::Varint(1),
            "false" => EntryKey::Varint(0),
            _ => return Err(wrong()),
        },
        Kind::Int32 => EntryKey::Varint(i64::from(small()?) as u64),
        Kind::Int64 => EntryKey::Varint(signed()? as u64),
        Kind::Uint32 => EntryKey::Varint(natural()?.into()),
        Kind::Uint64 => EntryKey::Varint(unsigned()?),
        Kind::Sint32 => EntryKey::Varint(zigzag(small()?.into())),
        Kind::Sint64 => EntryKey::Varint(zigzag(signed()?)),
        Kind::Fixed32 => EntryKey::Fixed32(natural()?),
        Kind::Sfixed32 => EntryKey::Fixed32(small()? as u32),
        Kind::Fixed64 => EntryKey::Fixed64(unsigned()?),
        Kind::Sfixed64 => EntryKey::Fixed64(signed()? as u64),
        Kind::Double | Kind::Float | Kind::Bytes | Kind::Message(_) | Kind::Enum(_) => return Err(wrong()),
    };
    Ok(StepChoice::Entry(key))
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}
